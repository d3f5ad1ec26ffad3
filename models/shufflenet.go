package models

import "fmt"

// shufflenets is ShuffleNetV2 1.0× (Ma et al., arXiv:1807.11164, Table 5) with the
// keys and the accuracy of torchvision 0.14.1. Its units split and interleave
// channels, which no stack of residual blocks does.
func shufflenets() []definition {
	return []definition{{
		name: "shufflenetv2-1.0", family: "shufflenet", source: "arXiv:1807.11164, torchvision 0.14.1", resolution: 224,
		top1: accuracy{69.362, "torchvision 0.14.1 ShuffleNet_V2_X1_0 IMAGENET1K_V1"},
		build: func(b *builder) {
			shufflenet(b, 24, [3]int{116, 232, 464}, [3]int{4, 8, 4}, 1024)
		},
	}}
}

func shufflenet(b *builder, stem int, outs, depths [3]int, features int) {
	x := b.layer(Image, layer{conv: "conv1.0", norm: "conv1.1", out: stem, kernel: 3, stride: 2, act: ReLU})
	x = b.add("maxpool", MaxPool{Kernel: 3, Stride: 2, Pad: 1}, "", x)
	for s, out := range outs {
		for i := range depths[s] {
			x = shuffleUnit(b, x, fmt.Sprintf("stage%d.%d", s+2, i), out, i == 0)
		}
	}
	x = b.layer(x, layer{conv: "conv5.0", norm: "conv5.1", out: features, kernel: 1, act: ReLU})
	b.classifier(x, "fc")
}

// shuffleUnit works on half of the channels and leaves the other half as it is; one
// with a stride works on all of them twice. Then it mixes the halves.
func shuffleUnit(b *builder, x int, name string, out int, strided bool) int {
	half, stride := out/2, 1
	left, right := x, x
	if strided {
		stride = 2
		branch := name + ".branch1"
		in := b.channels(x)
		left = b.layer(x, layer{conv: branch + ".0", norm: branch + ".1", out: in, kernel: 3, stride: stride, groups: in})
		left = b.layer(left, layer{conv: branch + ".2", norm: branch + ".3", out: half, kernel: 1, act: ReLU})
	} else {
		left = b.add(name+".left", Slice{0, half}, "", x)
		right = b.add(name+".right", Slice{half, out}, "", x)
	}
	branch := name + ".branch2"
	right = b.layer(right, layer{conv: branch + ".0", norm: branch + ".1", out: half, kernel: 1, act: ReLU})
	right = b.layer(right, layer{conv: branch + ".3", norm: branch + ".4", out: half, kernel: 3, stride: stride, groups: half})
	right = b.layer(right, layer{conv: branch + ".5", norm: branch + ".6", out: half, kernel: 1, act: ReLU})
	joined := b.add(name+".concat", Concat{}, "", left, right)
	return b.add(name+".shuffle", Shuffle{2}, "", joined)
}
