package models

import (
	"fmt"
	"math"
)

// efficientnets are EfficientNet-B0..B7 (arXiv:1905.11946), at the resolutions of
// the paper, and EfficientNetV2-S (arXiv:2104.00298), with torchvision's keys.
// Accuracies are those of torchvision 0.14.1's first weights. Its B2 was evaluated
// at 288; for 260 the figure is timm's for the weights of the paper's authors.
func efficientnets() []definition {
	torchvision := func(percent float64, weights string) accuracy {
		return accuracy{percent, "torchvision 0.14.1 " + weights + " IMAGENET1K_V1"}
	}
	return define("efficientnet", []config{
		efficientnet("efficientnet-b0", 224, 1.0, 1.0, 1e-5, torchvision(77.692, "EfficientNet_B0")),
		efficientnet("efficientnet-b1", 240, 1.0, 1.1, 1e-5, torchvision(78.642, "EfficientNet_B1")),
		efficientnet("efficientnet-b2", 260, 1.1, 1.2, 1e-5, accuracy{79.612, "timm results-imagenet.csv tf_efficientnet_b2.in1k @260"}),
		efficientnet("efficientnet-b3", 300, 1.2, 1.4, 1e-5, torchvision(82.008, "EfficientNet_B3")),
		efficientnet("efficientnet-b4", 380, 1.4, 1.8, 1e-5, torchvision(83.384, "EfficientNet_B4")),
		efficientnet("efficientnet-b5", 456, 1.6, 2.2, 1e-3, torchvision(83.444, "EfficientNet_B5")),
		efficientnet("efficientnet-b6", 528, 1.8, 2.6, 1e-3, torchvision(84.008, "EfficientNet_B6")),
		efficientnet("efficientnet-b7", 600, 2.0, 3.1, 1e-3, torchvision(84.122, "EfficientNet_B7")),
		{
			name: "efficientnetv2-s", source: "arXiv:2104.00298, torchvision 0.14.1", resolution: 384,
			top1: torchvision(84.228, "EfficientNet_V2_S"), style: efficientnetStyle(1e-3), stem: 24,
			// Table 4 of the paper; the head has 1280 channels in all releases.
			stages: []stage{
				{block: fused, ratio: 1, out: 24, depth: 2},
				{block: fused, ratio: 4, out: 48, depth: 4, stride: 2},
				{block: fused, ratio: 4, out: 64, depth: 4, stride: 2},
				{block: inverted, ratio: 4, out: 128, depth: 6, stride: 2, se: true},
				{block: inverted, ratio: 6, out: 160, depth: 9, se: true},
				{block: inverted, ratio: 6, out: 256, depth: 15, stride: 2, se: true},
			},
			features: 1280,
		},
	})
}

// efficientnet scales B0, Table 1 of the paper, in width and depth. The epsilon of
// the batch norms is torchvision's.
func efficientnet(name string, resolution int, width, depth, epsilon float64, top1 accuracy) config {
	channels := func(c int) int { return divisible(float64(c)*width, 8) }
	blocks := func(n int) int { return int(math.Ceil(float64(n) * depth)) }
	return config{
		name: name, source: "arXiv:1905.11946, torchvision 0.14.1", resolution: resolution,
		top1: top1, style: efficientnetStyle(epsilon), others: efficientnetOthers(), stem: channels(32),
		stages: []stage{
			{block: separable, out: channels(16), depth: blocks(1), se: true},
			{block: inverted, ratio: 6, out: channels(24), depth: blocks(2), stride: 2, se: true},
			{block: inverted, ratio: 6, kernel: 5, out: channels(40), depth: blocks(2), stride: 2, se: true},
			{block: inverted, ratio: 6, out: channels(80), depth: blocks(3), stride: 2, se: true},
			{block: inverted, ratio: 6, kernel: 5, out: channels(112), depth: blocks(3), se: true},
			{block: inverted, ratio: 6, kernel: 5, out: channels(192), depth: blocks(4), stride: 2, se: true},
			{block: inverted, ratio: 6, out: channels(320), depth: blocks(1), se: true},
		},
		features: 4 * channels(320),
	}
}

func efficientnetOthers() []namedStyle {
	st := timmStyle(SiLU)
	st.se = efficientnetStyle(st.epsilon).se
	return []namedStyle{{"timm keys", st}}
}

func efficientnetStyle(epsilon float64) style {
	return style{
		epsilon: epsilon,
		act:     SiLU,
		prefix:  func(stage, index, _ int) string { return fmt.Sprintf("features.%d.%d.block", stage+1, index) },
		keys:    torchvisionKeys,
		se:      squeezeStyle{width: quarter, act: SiLU, gate: Sigmoid},
		stem:    threeByThree("features.0.0", "features.0.1"),
		head: func(b *builder, c config, x int) {
			last := fmt.Sprintf("features.%d", len(c.stages)+1)
			pooled(last+".0", last+".1", "classifier.1")(b, c, x)
		},
	}
}
