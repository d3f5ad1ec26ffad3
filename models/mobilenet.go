package models

import "fmt"

// mobilenets are MobileNetV2 (arXiv:1801.04381) and V3 (arXiv:1905.02244). Width 1.0
// and V3 have torchvision's keys; other widths exist in timm only and have its
// keys. Accuracies are those of torchvision 0.14.1's first weights and of timm's
// results-imagenet.csv (aa4b585).
func mobilenets() []definition {
	return define("mobilenet", []config{
		mobilenetV2("mobilenetv2-0.35", 0.35, timmStyle(ReLU6), accuracy{}),
		mobilenetV2("mobilenetv2-0.5", 0.5, timmStyle(ReLU6), accuracy{65.928, "timm results-imagenet.csv mobilenetv2_050.lamb_in1k @224"}),
		mobilenetV2("mobilenetv2-0.75", 0.75, timmStyle(ReLU6), accuracy{}),
		mobilenetV2("mobilenetv2-1.0", 1, mobilenetV2Style(), accuracy{71.878, "torchvision 0.14.1 MobileNet_V2 IMAGENET1K_V1"}),
		mobilenetV2("mobilenetv2-1.4", 1.4, timmStyle(ReLU6), accuracy{76.528, "timm results-imagenet.csv mobilenetv2_140.ra_in1k @224"}),
		{
			name: "mobilenetv3-small", source: "arXiv:1905.02244, torchvision 0.14.1", resolution: 224,
			top1:  accuracy{67.668, "torchvision 0.14.1 MobileNet_V3_Small IMAGENET1K_V1"},
			style: mobilenetV3Style(), stem: 16,
			// Table 2 of the paper.
			stages: []stage{
				{block: separable, out: 16, stride: 2, act: ReLU, se: true},
				{block: inverted, inner: 72, out: 24, stride: 2, act: ReLU},
				{block: inverted, inner: 88, out: 24, act: ReLU},
				{block: inverted, kernel: 5, inner: 96, out: 40, stride: 2, se: true},
				{block: inverted, kernel: 5, inner: 240, out: 40, depth: 2, se: true},
				{block: inverted, kernel: 5, inner: 120, out: 48, se: true},
				{block: inverted, kernel: 5, inner: 144, out: 48, se: true},
				{block: inverted, kernel: 5, inner: 288, out: 96, stride: 2, se: true},
				{block: inverted, kernel: 5, inner: 576, out: 96, depth: 2, se: true},
			},
			features: 576, embedding: 1024,
		},
		{
			name: "mobilenetv3-large", source: "arXiv:1905.02244, torchvision 0.14.1", resolution: 224,
			top1:  accuracy{74.042, "torchvision 0.14.1 MobileNet_V3_Large IMAGENET1K_V1"},
			style: mobilenetV3Style(), stem: 16,
			// Table 1 of the paper.
			stages: []stage{
				{block: separable, out: 16, act: ReLU},
				{block: inverted, inner: 64, out: 24, stride: 2, act: ReLU},
				{block: inverted, inner: 72, out: 24, act: ReLU},
				{block: inverted, kernel: 5, inner: 72, out: 40, stride: 2, act: ReLU, se: true},
				{block: inverted, kernel: 5, inner: 120, out: 40, depth: 2, act: ReLU, se: true},
				{block: inverted, inner: 240, out: 80, stride: 2},
				{block: inverted, inner: 200, out: 80},
				{block: inverted, inner: 184, out: 80, depth: 2},
				{block: inverted, inner: 480, out: 112, se: true},
				{block: inverted, inner: 672, out: 112, se: true},
				{block: inverted, kernel: 5, inner: 672, out: 160, stride: 2, se: true},
				{block: inverted, kernel: 5, inner: 960, out: 160, depth: 2, se: true},
			},
			features: 960, embedding: 1280,
		},
	})
}

// mobilenetV2 scales Table 2 of the paper. The last convolution only grows.
func mobilenetV2(name string, width float64, st style, top1 accuracy) config {
	scale := func(channels int) int { return divisible(float64(channels)*width, 8) }
	return config{
		name: name, source: "arXiv:1801.04381", resolution: 224, top1: top1,
		style: st, others: mobilenetV2Others(), stem: scale(32),
		stages: []stage{
			{block: separable, out: scale(16)},
			{block: inverted, ratio: 6, out: scale(24), depth: 2, stride: 2},
			{block: inverted, ratio: 6, out: scale(32), depth: 3, stride: 2},
			{block: inverted, ratio: 6, out: scale(64), depth: 4, stride: 2},
			{block: inverted, ratio: 6, out: scale(96), depth: 3},
			{block: inverted, ratio: 6, out: scale(160), depth: 3, stride: 2},
			{block: inverted, ratio: 6, out: scale(320)},
		},
		features: max(1280, scale(1280)),
	}
}

// mobilenetV2Style counts blocks from 1 after the stem; inside, a convolution with its
// norm and activation is one module, the last one is not.
func mobilenetV2Style() style {
	return style{
		epsilon: 1e-5,
		act:     ReLU6,
		prefix:  func(_, _, flat int) string { return fmt.Sprintf("features.%d", flat+1) },
		keys: func(s spec, p part) (string, string) {
			at := position(s, p)
			if p == projection {
				return fmt.Sprintf("%s.conv.%d", s.name, at), fmt.Sprintf("%s.conv.%d", s.name, at+1)
			}
			return fmt.Sprintf("%s.conv.%d.0", s.name, at), fmt.Sprintf("%s.conv.%d.1", s.name, at)
		},
		stem: threeByThree("features.0.0", "features.0.1"),
		head: func(b *builder, c config, x int) {
			last := fmt.Sprintf("features.%d", c.blocks()+1)
			pooled(last+".0", last+".1", "classifier.1")(b, c, x)
		},
	}
}

// mobilenetV2Others has both usual namings; a network's own depends on its width.
func mobilenetV2Others() []namedStyle {
	return []namedStyle{{"torchvision keys", mobilenetV2Style()}, {"timm keys", timmStyle(ReLU6)}}
}

func mobilenetV3Style() style {
	return style{
		epsilon: 1e-3,
		act:     HardSwish,
		prefix:  func(_, _, flat int) string { return fmt.Sprintf("features.%d.block", flat+1) },
		keys:    torchvisionKeys,
		se:      squeezeStyle{width: quarterWeighed, act: ReLU, gate: HardSigmoid},
		stem:    threeByThree("features.0.0", "features.0.1"),
		head: func(b *builder, c config, x int) {
			last := fmt.Sprintf("features.%d", c.blocks()+1)
			x = b.layer(x, layer{conv: last + ".0", norm: last + ".1", out: c.features, kernel: 1, act: HardSwish})
			x = b.add("pool", GlobalAvgPool{}, "", x)
			x = b.add("flatten", Flatten{}, "", x)
			x = b.act(b.linear(x, "classifier.0", c.embedding), HardSwish)
			b.linear(x, "classifier.3", classes)
		},
	}
}

// position is a part's place among the modules of an inverted block, which
// torchvision names by number.
func position(s spec, p part) int {
	at := 0
	if s.expands {
		at = 1
	}
	switch p {
	case expansion:
		return 0
	case depthwise:
		return at
	case projection:
		if s.se {
			at++
		}
	}
	return at + 1
}

// torchvisionKeys are those of the inverted blocks of MobileNetV3 and EfficientNet.
func torchvisionKeys(s spec, p part) (conv, norm string) {
	at := position(s, p)
	switch p {
	case squeeze:
		return fmt.Sprintf("%s.%d.fc1", s.name, at), ""
	case excite:
		return fmt.Sprintf("%s.%d.fc2", s.name, at), ""
	}
	return fmt.Sprintf("%s.%d.0", s.name, at), fmt.Sprintf("%s.%d.1", s.name, at)
}

// timmStyle is what the mobile networks of timm 1.0.29 have in common.
func timmStyle(act ActivationFunc) style {
	return style{
		epsilon: 1e-5,
		act:     act,
		prefix:  func(stage, index, _ int) string { return fmt.Sprintf("blocks.%d.%d", stage, index) },
		keys: func(s spec, p part) (string, string) {
			name, norm := "", 1
			switch p {
			case expansion:
				name = "conv_pw"
			case depthwise:
				name = "conv_dw"
			case projection:
				name, norm = "conv_pw", 2
				if s.expands {
					name = "conv_pwl"
				}
			case squeeze:
				return s.name + ".se.conv_reduce", ""
			case excite:
				return s.name + ".se.conv_expand", ""
			}
			if s.expands && p != expansion {
				norm++
			}
			return s.name + "." + name, fmt.Sprintf("%s.bn%d", s.name, norm)
		},
		stem: threeByThree("conv_stem", "bn1"),
		head: pooled("conv_head", "bn2", "classifier"),
	}
}

// timmLateHead is the head of timm's MobileNetV3-like networks: the last stage is
// one 1×1 convolution, and a layer of 1×1 pixels follows the pooling.
func timmLateHead(b *builder, c config, x int) {
	last := fmt.Sprintf("blocks.%d.0", c.numberedStages())
	x = b.layer(x, layer{conv: last + ".conv", norm: last + ".bn1", out: c.features, kernel: 1, act: c.ends()})
	x = b.add("pool", GlobalAvgPool{}, "", x)
	x = b.layer(x, layer{conv: "conv_head", out: c.embedding, kernel: 1, bias: true, act: c.ends()})
	b.linear(b.add("flatten", Flatten{}, "", x), "classifier", classes)
}
