package models

import "fmt"

// resnets are He et al.'s (arXiv:1512.03385) in torchvision's form, the stride of a
// bottleneck on its 3×3 convolution, and their relatives: ResNeXt
// (arXiv:1611.05431), SE-ResNet (arXiv:1709.01507) and ResNeSt (arXiv:2004.08955),
// the last two with timm's keys, which extend torchvision's. Accuracies are those
// of torchvision 0.14.1's first weights and of timm's results-imagenet.csv
// (aa4b585).
func resnets() []definition {
	const source = "arXiv:1512.03385, torchvision 0.14.1"
	return define("resnet", []config{
		{
			name: "resnet-18", source: source, resolution: 224, top1: accuracy{69.758, "torchvision 0.14.1 ResNet18 IMAGENET1K_V1"},
			style: resnetStyle(), stem: 64, stages: resnetStages(basic, [4]int{2, 2, 2, 2}, stage{out: 64, ratio: 1}),
		},
		{
			name: "resnet-34", source: source, resolution: 224, top1: accuracy{73.314, "torchvision 0.14.1 ResNet34 IMAGENET1K_V1"},
			style: resnetStyle(), stem: 64, stages: resnetStages(basic, [4]int{3, 4, 6, 3}, stage{out: 64, ratio: 1}),
		},
		{
			name: "resnet-50", source: source, resolution: 224, top1: accuracy{76.130, "torchvision 0.14.1 ResNet50 IMAGENET1K_V1"},
			style: resnetStyle(), stem: 64, stages: resnetStages(bottleneck, [4]int{3, 4, 6, 3}, stage{out: 256, ratio: 1. / 4}),
		},
		{
			name: "resnet-101", source: source, resolution: 224, top1: accuracy{77.374, "torchvision 0.14.1 ResNet101 IMAGENET1K_V1"},
			style: resnetStyle(), stem: 64, stages: resnetStages(bottleneck, [4]int{3, 4, 23, 3}, stage{out: 256, ratio: 1. / 4}),
		},
		{
			name: "resnet-152", source: source, resolution: 224, top1: accuracy{78.312, "torchvision 0.14.1 ResNet152 IMAGENET1K_V1"},
			style: resnetStyle(), stem: 64, stages: resnetStages(bottleneck, [4]int{3, 8, 36, 3}, stage{out: 256, ratio: 1. / 4}),
		},
		{
			name: "resnext-50-32x4d", source: "arXiv:1611.05431, torchvision 0.14.1", resolution: 224, top1: accuracy{77.618, "torchvision 0.14.1 ResNeXt50_32X4D IMAGENET1K_V1"},
			style: resnetStyle(), stem: 64, stages: resnetStages(bottleneck, [4]int{3, 4, 6, 3}, stage{out: 256, ratio: 1. / 2, groups: 32}),
		},
		{
			name: "se-resnet-50", source: "arXiv:1709.01507, timm 1.0.29 seresnet50", resolution: 224, top1: accuracy{80.260, "timm results-imagenet.csv seresnet50.ra2_in1k @224"},
			style: resnetStyle(), stem: 64, stages: resnetStages(bottleneck, [4]int{3, 4, 6, 3}, stage{out: 256, ratio: 1. / 4, se: true}),
		},
		{
			name: "resnest-50d", source: "arXiv:2004.08955, timm 1.0.29 resnest50d", resolution: 224, top1: accuracy{80.958, "timm results-imagenet.csv resnest50d.in1k @224"},
			style: resnestStyle(), stem: 64, stages: resnetStages(splitBottleneck, [4]int{3, 4, 6, 3}, stage{out: 256, ratio: 1. / 4}),
		},
	})
}

// resnetStages doubles the channels of the first stage three times; all but the
// first begin with stride 2.
func resnetStages(block block, depths [4]int, like stage) []stage {
	stages := make([]stage, len(depths))
	for i, depth := range depths {
		s := like
		s.block, s.depth, s.out = block, depth, like.out<<i
		if i > 0 {
			s.stride = 2
		}
		stages[i] = s
	}
	return stages
}

func resnetStyle() style {
	return style{
		epsilon: 1e-5,
		act:     ReLU,
		prefix:  func(stage, index, _ int) string { return fmt.Sprintf("layer%d.%d", stage+1, index) },
		keys: func(s spec, p part) (string, string) {
			switch p {
			case shortcut:
				return s.name + ".downsample.0", s.name + ".downsample.1"
			case squeeze:
				return s.name + ".se.fc1", ""
			case excite:
				return s.name + ".se.fc2", ""
			}
			return fmt.Sprintf("%s.conv%d", s.name, p-first+1), fmt.Sprintf("%s.bn%d", s.name, p-first+1)
		},
		se: squeezeStyle{
			width: func(_, weighed int) int { return divisible(float64(weighed)/16, 8) },
			act:   ReLU, gate: Sigmoid, last: true,
		},
		stem: func(b *builder, c config) int {
			x := b.layer(Image, layer{conv: "conv1", norm: "bn1", out: c.stem, kernel: 7, stride: 2, act: ReLU})
			return b.add("maxpool", MaxPool{Kernel: 3, Stride: 2, Pad: 1}, "", x)
		},
		head: pooled("", "", "fc"),
	}
}

// resnestStyle is a ResNet with three 3×3 convolutions in the stem and an average
// pool in the shortcuts ("d").
func resnestStyle() style {
	st := resnetStyle()
	keys := st.keys
	st.keys = func(s spec, p part) (string, string) {
		if p == shortcut { // downsample.0 is the pool
			return s.name + ".downsample.1", s.name + ".downsample.2"
		}
		return keys(s, p)
	}
	st.stem = func(b *builder, c config) int {
		x := b.layer(Image, layer{conv: "conv1.0", norm: "conv1.1", out: c.stem / 2, kernel: 3, stride: 2, act: ReLU})
		x = b.layer(x, layer{conv: "conv1.3", norm: "conv1.4", out: c.stem / 2, kernel: 3, act: ReLU})
		x = b.layer(x, layer{conv: "conv1.6", norm: "bn1", out: c.stem, kernel: 3, act: ReLU})
		return b.add("maxpool", MaxPool{Kernel: 3, Stride: 2, Pad: 1}, "", x)
	}
	return st
}
