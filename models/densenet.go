package models

import "fmt"

// densenets is DenseNet-121 (Huang et al., arXiv:1608.06993, Table 1) with the keys
// and the accuracy of torchvision 0.14.1. Norm and activation come ahead of the
// convolutions, so most norms cannot be folded.
func densenets() []definition {
	return []definition{{
		name: "densenet-121", family: "densenet", source: "arXiv:1608.06993, torchvision 0.14.1", resolution: 224,
		top1:  accuracy{74.434, "torchvision 0.14.1 DenseNet121 IMAGENET1K_V1"},
		build: func(b *builder) { densenet(b, 64, 32, []int{6, 12, 24, 16}) },
	}}
}

func densenet(b *builder, stem, growth int, depths []int) {
	x := b.layer(Image, layer{conv: "features.conv0", norm: "features.norm0", out: stem, kernel: 7, stride: 2, act: ReLU})
	x = b.add("features.pool0", MaxPool{Kernel: 3, Stride: 2, Pad: 1}, "", x)
	for i, depth := range depths {
		block := fmt.Sprintf("features.denseblock%d", i+1)
		for j := range depth {
			x = denseLayer(b, x, fmt.Sprintf("%s.denselayer%d", block, j+1), growth)
		}
		if i == len(depths)-1 {
			break
		}
		transition := fmt.Sprintf("features.transition%d", i+1)
		half := b.channels(x) / 2
		x = b.act(b.norm(x, transition+".norm"), ReLU)
		x = b.layer(x, layer{conv: transition + ".conv", out: half, kernel: 1})
		x = b.add(transition+".pool", AvgPool{Kernel: 2, Stride: 2, CountPad: true}, "", x)
	}
	x = b.act(b.norm(x, "features.norm5"), ReLU)
	b.classifier(x, "classifier")
}

// denseLayer adds growth channels to those it is given.
func denseLayer(b *builder, x int, name string, growth int) int {
	y := b.act(b.norm(x, name+".norm1"), ReLU)
	y = b.layer(y, layer{conv: name + ".conv1", norm: name + ".norm2", out: 4 * growth, kernel: 1, act: ReLU})
	y = b.layer(y, layer{conv: name + ".conv2", out: growth, kernel: 3})
	return b.add(name+".concat", Concat{}, "", x, y)
}
