package models

import "fmt"

// vggs is VGG-16 (Simonyan and Zisserman, arXiv:1409.1556, configuration D), plain
// and with batch norms, with the keys and accuracies of torchvision 0.14.1.
func vggs() []definition {
	const source = "arXiv:1409.1556 (D), torchvision 0.14.1"
	return []definition{
		{
			name: "vgg-16", family: "vgg", source: source, resolution: 224,
			top1:  accuracy{71.592, "torchvision 0.14.1 VGG16 IMAGENET1K_V1"},
			build: func(b *builder) { vgg16(b, false) },
		},
		{
			name: "vgg-16-bn", family: "vgg", source: source, resolution: 224,
			top1:  accuracy{73.36, "torchvision 0.14.1 VGG16_BN IMAGENET1K_V1"},
			build: func(b *builder) { vgg16(b, true) },
		},
	}
}

func vgg16(b *builder, norms bool) {
	stages := []struct{ out, depth int }{{64, 2}, {128, 2}, {256, 3}, {512, 3}, {512, 3}}
	x, module := Image, 0 // torchvision numbers norms, activations and pools too
	key := func() string { return fmt.Sprintf("features.%d", module) }
	for _, s := range stages {
		for range s.depth {
			l := layer{conv: key(), out: s.out, kernel: 3, bias: true, act: ReLU}
			module++
			if norms {
				l.norm = key()
				module++
			}
			x = b.layer(x, l)
			module++
		}
		x = b.add(key(), MaxPool{Kernel: 2, Stride: 2}, "", x)
		module++
	}
	x = adaptiveAvgPool(b, x, 7)
	x = b.add("flatten", Flatten{}, "", x)
	x = b.act(b.linear(x, "classifier.0", 4096), ReLU)
	x = b.act(b.linear(x, "classifier.3", 4096), ReLU)
	b.linear(x, "classifier.6", classes)
}

// adaptiveAvgPool averages to a fixed extent. Windows of one size exist only where
// the input is a multiple of it; engines have no operator for the others.
func adaptiveAvgPool(b *builder, x, extent int) int {
	if b.err != nil {
		return x
	}
	in := b.shape(x)[2]
	if in == 0 || in%extent != 0 {
		b.err = fmt.Errorf("node %s: the map of %dx%d after it must be a multiple of %dx%d", b.net.Nodes[x].Name, in, in, extent, extent)
		return x
	}
	if in == extent {
		return x
	}
	return b.add("avgpool", AvgPool{Kernel: in / extent, Stride: in / extent}, "", x)
}
