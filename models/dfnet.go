package models

import "fmt"

// dfnets are those of Li et al., "Partial Order Pruning: for Best Speed/Accuracy
// Trade-off in Neural Architecture Search" (arXiv:1903.03777), from the authors'
// lixincn2015/Partial-Order-Pruning (e136726), whose README has the accuracies.
// The source is a Caffe prototxt without a state dict; the keys are genbench's.
func dfnets() []definition {
	const source = "arXiv:1903.03777, Partial-Order-Pruning e136726"
	readme := func(percent float64) accuracy { return accuracy{percent, "Partial-Order-Pruning README"} }
	return define("dfnet", []config{
		{
			name: "dfnet-1", source: source, resolution: 224, top1: readme(69.78), style: dfnetStyle(), stem: 32,
			stages: []stage{
				{block: basic, depth: 3, out: 64, stride: 2, ratio: 1},
				{block: basic, depth: 3, out: 128, stride: 2, ratio: 1},
				{block: basic, depth: 3, out: 256, stride: 2, ratio: 1},
				{block: basic, depth: 1, out: 512, ratio: 1, join: true},
			},
		},
		{
			name: "dfnet-2", source: source, resolution: 224, top1: readme(73.92), style: dfnetStyle(), stem: 32,
			stages: []stage{
				{block: basic, depth: 2, out: 64, stride: 2, ratio: 1},
				{block: basic, depth: 1, out: 128, ratio: 1, join: true},
				{block: basic, depth: 10, out: 128, stride: 2, ratio: 1},
				{block: basic, depth: 1, out: 256, ratio: 1, join: true},
				{block: basic, depth: 4, out: 256, stride: 2, ratio: 1},
				{block: basic, depth: 2, out: 512, ratio: 1, join: true},
			},
		},
		{
			name: "dfnet-2a", source: source, resolution: 224, top1: readme(76.00), style: dfnetStyle(), stem: 32,
			stages: []stage{
				{block: basic, depth: 2, out: 64, stride: 2, ratio: 1},
				{block: basic, depth: 1, out: 128, ratio: 1, join: true},
				{block: bottleneck, depth: 10, out: 512, stride: 2, ratio: 1. / 4},
				{block: bottleneck, depth: 1, out: 1024, ratio: 1. / 4, join: true},
				{block: bottleneck, depth: 4, out: 1024, stride: 2, ratio: 1. / 4},
				// The prototxt has a convolution in this shortcut.
				{block: bottleneck, depth: 2, out: 1024, ratio: 1. / 2, join: true, project: true},
			},
		},
	})
}

func dfnetStyle() style {
	return style{
		epsilon: 1e-4,
		act:     ReLU,
		prefix:  func(stage, index, _ int) string { return fmt.Sprintf("res%d_%d", stage+2, index+1) },
		keys: func(s spec, p part) (conv, norm string) {
			name := s.name + "_skip"
			if p != shortcut {
				name = fmt.Sprintf("%s_conv%d", s.name, p-first+1)
			}
			return name, name + "_bn"
		},
		stem: func(b *builder, c config) int {
			x := b.layer(Image, layer{conv: "conv1", norm: "conv1_bn", out: c.stem, kernel: 3, stride: 2, act: ReLU})
			return b.layer(x, layer{conv: "conv2", norm: "conv2_bn", out: 2 * c.stem, kernel: 3, stride: 2, act: ReLU})
		},
		head: pooled("", "", "fc"),
	}
}
