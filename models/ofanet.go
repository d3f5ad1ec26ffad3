package models

import (
	"fmt"
	"slices"
)

// ofanets are ProxylessNAS (arXiv:1812.00332) and the specialised networks of
// Once-for-All (arXiv:1908.09791), with the keys of the latter's code
// (mit-han-lab/once-for-all f03b267; structures in han-cai/files a7c9bcd,
// net.config). The latency in a name is that on a V100 at batch 64, which the
// search aimed at; ofa-389m and its like aimed at MACs. Accuracies are in the
// model identifiers and the README of Once-for-All.
func ofanets() []definition {
	const once = "arXiv:1908.09791, "
	identifier := func(percent float64, id string) accuracy { return accuracy{percent, "once-for-all model " + id} }
	readme := func(percent float64) accuracy { return accuracy{percent, "once-for-all README"} }
	// The 5 ms and the 9 ms network differ in resolution only.
	fiveAndNine := []stage{
		{block: separable, out: 24},
		{block: inverted, out: 32, stride: 2, choices: []choice{{3, 3}, {3, 3}}},
		{block: inverted, out: 56, stride: 2, choices: []choice{{5, 3}, {3, 6}}},
		{block: inverted, out: 104, stride: 2, choices: []choice{{3, 4}, {5, 4}, {3, 6}}},
		{block: inverted, out: 128, choices: []choice{{3, 4}, {3, 6}, {7, 4}}},
		{block: inverted, out: 248, stride: 2, choices: []choice{{3, 6}, {5, 4}, {5, 4}}},
		{block: inverted, out: 416, ratio: 4},
	}
	return slices.Concat(
		define("proxyless", []config{
			{
				name: "proxyless-gpu", source: "arXiv:1812.00332 (GPU)", resolution: 224, style: proxylessStyle(), stem: 40,
				stages: []stage{
					{block: separable, out: 24},
					{block: inverted, out: 32, stride: 2, choices: []choice{{5, 3}, {}, {}, {}}},
					{block: inverted, out: 56, stride: 2, choices: []choice{{7, 3}, {}, {}, {3, 3}}},
					{block: inverted, out: 112, stride: 2, choices: []choice{{7, 6}, {}, {}, {5, 3}}},
					{block: inverted, out: 128, choices: []choice{{5, 6}, {}, {3, 3}, {5, 3}}},
					{block: inverted, out: 256, stride: 2, choices: []choice{{7, 6}, {7, 6}, {7, 6}, {5, 6}}},
					{block: inverted, out: 432, kernel: 7, ratio: 6},
				},
				features: 1728,
			},
			{
				name: "proxyless-mobile", source: "arXiv:1812.00332 (mobile)", resolution: 224, style: proxylessStyle(), stem: 32,
				stages: []stage{
					{block: separable, out: 16},
					{block: inverted, out: 32, stride: 2, choices: []choice{{5, 3}, {3, 3}, {}, {}}},
					{block: inverted, out: 40, stride: 2, choices: []choice{{7, 3}, {3, 3}, {5, 3}, {5, 3}}},
					{block: inverted, out: 80, stride: 2, choices: []choice{{7, 6}, {5, 3}, {5, 3}, {5, 3}}},
					{block: inverted, out: 96, choices: []choice{{5, 6}, {5, 3}, {5, 3}, {5, 3}}},
					{block: inverted, out: 192, stride: 2, choices: []choice{{7, 6}, {7, 6}, {7, 3}, {7, 3}}},
					{block: inverted, out: 320, kernel: 7, ratio: 6},
				},
				features: 1280,
			},
		}),
		define("ofa", []config{
			{
				name: "ofa-v100-5ms", source: once + "v100_gpu64@5ms", resolution: 128,
				top1:  identifier(71.6, "v100_gpu64@5ms_top1@71.6_finetune@25"),
				style: proxylessStyle(), stem: 40, stages: fiveAndNine, features: 1664,
			},
			{
				name: "ofa-v100-6ms", source: once + "v100_gpu64@6ms", resolution: 144,
				top1:  identifier(73.0, "v100_gpu64@6ms_top1@73.0_finetune@25"),
				style: proxylessStyle(), stem: 40,
				stages: []stage{
					{block: separable, out: 24},
					{block: inverted, out: 32, stride: 2, choices: []choice{{3, 3}, {3, 4}}},
					{block: inverted, out: 56, stride: 2, choices: []choice{{5, 3}, {3, 4}}},
					{block: inverted, out: 104, stride: 2, choices: []choice{{3, 6}, {7, 3}, {3, 3}}},
					{block: inverted, out: 128, choices: []choice{{5, 3}, {5, 4}, {3, 6}}},
					{block: inverted, out: 248, stride: 2, choices: []choice{{3, 6}, {5, 4}, {3, 3}}},
					{block: inverted, out: 416, ratio: 4},
				},
				features: 1664,
			},
			{
				name: "ofa-v100-9ms", source: once + "v100_gpu64@9ms", resolution: 188,
				top1:  identifier(75.3, "v100_gpu64@9ms_top1@75.3_finetune@25"),
				style: proxylessStyle(), stem: 40, stages: fiveAndNine, features: 1664,
			},
			{
				name: "ofa-v100-11ms", source: once + "v100_gpu64@11ms", resolution: 192,
				top1:  identifier(76.1, "v100_gpu64@11ms_top1@76.1_finetune@25"),
				style: proxylessStyle(), stem: 40,
				stages: []stage{
					{block: separable, out: 24},
					{block: inverted, out: 32, stride: 2, choices: []choice{{3, 3}, {3, 3}}},
					{block: inverted, out: 56, stride: 2, choices: []choice{{5, 6}, {5, 3}}},
					{block: inverted, out: 104, stride: 2, choices: []choice{{7, 3}, {3, 3}, {7, 4}}},
					{block: inverted, out: 128, choices: []choice{{7, 4}, {5, 4}, {3, 3}, {7, 4}}},
					{block: inverted, out: 248, stride: 2, choices: []choice{{3, 6}, {5, 6}, {5, 4}, {3, 6}}},
					{block: inverted, out: 416, ratio: 4},
				},
				features: 1664,
			},
			{
				name: "ofa-389m", source: once + "flops@389M", resolution: 224, top1: readme(79.1), style: ofaStyle(), stem: 24,
				stages: []stage{
					{block: separable, out: 24, act: ReLU},
					{block: inverted, out: 32, stride: 2, act: ReLU, choices: []choice{{3, 3}, {3, 3}}},
					{block: inverted, out: 48, stride: 2, act: ReLU, se: true, choices: []choice{{5, 3}, {5, 6}, {3, 3}}},
					{block: inverted, out: 96, stride: 2, choices: []choice{{5, 4}, {5, 4}, {3, 3}}},
					{block: inverted, out: 136, se: true, choices: []choice{{5, 6}, {5, 4}, {3, 4}, {3, 4}}},
					{block: inverted, out: 192, stride: 2, se: true, choices: []choice{{3, 6}, {3, 6}, {7, 6}, {3, 3}}},
				},
				features: 1152, embedding: 1536,
			},
			{
				name: "ofa-482m", source: once + "flops@482M", resolution: 224, top1: readme(79.6), style: ofaStyle(), stem: 24,
				stages: []stage{
					{block: separable, out: 24, act: ReLU},
					{block: inverted, out: 32, stride: 2, act: ReLU, choices: []choice{{5, 3}, {3, 3}, {3, 3}}},
					{block: inverted, out: 48, stride: 2, act: ReLU, se: true, choices: []choice{{5, 4}, {3, 4}, {5, 4}, {3, 3}}},
					{block: inverted, out: 96, stride: 2, choices: []choice{{5, 4}, {5, 6}, {3, 3}, {3, 3}}},
					{block: inverted, out: 136, se: true, choices: []choice{{5, 6}, {7, 6}, {3, 6}, {5, 4}}},
					{block: inverted, out: 192, stride: 2, se: true, choices: []choice{{7, 6}, {3, 6}, {3, 6}, {3, 3}}},
				},
				features: 1152, embedding: 1536,
			},
			{
				name: "ofa-595m", source: once + "flops@595M", resolution: 236, top1: readme(80.0), style: ofaStyle(), stem: 24,
				stages: []stage{
					{block: separable, out: 24, act: ReLU},
					{block: inverted, out: 32, stride: 2, act: ReLU, choices: []choice{{3, 3}, {5, 4}, {3, 3}}},
					{block: inverted, out: 48, stride: 2, act: ReLU, se: true, choices: []choice{{5, 4}, {5, 4}, {3, 6}, {5, 3}}},
					{block: inverted, out: 96, stride: 2, choices: []choice{{7, 6}, {5, 6}, {3, 3}, {5, 4}}},
					{block: inverted, out: 136, se: true, choices: []choice{{3, 6}, {5, 6}, {7, 6}, {3, 4}}},
					{block: inverted, out: 192, stride: 2, se: true, choices: []choice{{3, 6}, {3, 6}, {5, 6}, {3, 3}}},
				},
				features: 1152, embedding: 1536,
			},
		}),
	)
}

// proxylessStyle is that of networks in ProxylessNAS's search space.
func proxylessStyle() style {
	return style{
		epsilon: 1e-3,
		act:     ReLU6,
		prefix:  func(_, _, flat int) string { return fmt.Sprintf("blocks.%d.conv", flat) },
		keys: func(s spec, p part) (conv, norm string) {
			name := s.name
			switch p {
			case expansion:
				name += ".inverted_bottleneck"
			case depthwise:
				name += ".depth_conv"
			case projection:
				name += ".point_linear"
			case squeeze:
				return name + ".depth_conv.se.fc.reduce", ""
			case excite:
				return name + ".depth_conv.se.fc.expand", ""
			}
			return name + ".conv", name + ".bn"
		},
		stem: threeByThree("first_conv.conv", "first_conv.bn"),
		head: pooled("feature_mix_layer.conv", "feature_mix_layer.bn", "classifier.linear"),
	}
}

// ofaStyle is that of networks in Once-for-All's MobileNetV3 search space. After the
// pooling comes a convolution on single pixels without norm or bias.
func ofaStyle() style {
	st := proxylessStyle()
	st.epsilon, st.act = 1e-5, HardSwish
	st.se = squeezeStyle{width: quarterWeighed, act: ReLU, gate: HardSigmoid}
	st.head = func(b *builder, c config, x int) {
		x = b.layer(x, layer{conv: "final_expand_layer.conv", norm: "final_expand_layer.bn", out: c.features, kernel: 1, act: HardSwish})
		x = b.add("pool", GlobalAvgPool{}, "", x)
		x = b.layer(x, layer{conv: "feature_mix_layer.conv", out: c.embedding, kernel: 1, act: HardSwish})
		b.linear(b.add("flatten", Flatten{}, "", x), "classifier.linear", classes)
	}
	return st
}
