package models

import "fmt"

// regnets are those of Radosavovic et al., "Designing Network Design Spaces"
// (arXiv:2003.13678), in pycls's form and with the keys of timm, whose
// results-imagenet.csv (aa4b585) has the accuracies. torchvision rounds the widths of
// two of them differently.
func regnets() []definition {
	results := func(percent float64, weights string) accuracy {
		return accuracy{percent, "timm results-imagenet.csv " + weights + ".pycls_in1k @224"}
	}
	return define("regnet", []config{
		regnet("regnetx-200mf", results(68.758, "regnetx_002"), false, 8, [4]int{24, 56, 152, 368}, [4]int{1, 1, 4, 7}),
		regnet("regnetx-400mf", results(72.482, "regnetx_004"), false, 16, [4]int{32, 64, 160, 384}, [4]int{1, 2, 7, 12}),
		regnet("regnetx-600mf", results(73.904, "regnetx_006"), false, 24, [4]int{48, 96, 240, 528}, [4]int{1, 3, 5, 7}),
		regnet("regnetx-800mf", results(75.054, "regnetx_008"), false, 16, [4]int{64, 128, 288, 672}, [4]int{1, 3, 7, 5}),
		regnet("regnety-200mf", results(70.288, "regnety_002"), true, 8, [4]int{24, 56, 152, 368}, [4]int{1, 1, 4, 7}),
		regnet("regnety-400mf", results(74.004, "regnety_004"), true, 8, [4]int{48, 104, 208, 440}, [4]int{1, 3, 6, 6}),
		regnet("regnety-600mf", results(75.274, "regnety_006"), true, 16, [4]int{48, 112, 256, 608}, [4]int{1, 3, 7, 4}),
		regnet("regnety-800mf", results(76.334, "regnety_008"), true, 16, [4]int{64, 128, 320, 768}, [4]int{1, 3, 8, 2}),
		regnet("regnety-1.6gf", results(77.880, "regnety_016"), true, 24, [4]int{48, 120, 336, 888}, [4]int{2, 6, 17, 2}),
	})
}

// regnet has four stages of bottlenecks that do not narrow, with groups of a fixed
// width; Y is X with squeeze and excite.
func regnet(name string, top1 accuracy, y bool, groupWidth int, widths, depths [4]int) config {
	c := config{
		name: name, source: "arXiv:2003.13678", resolution: 224, top1: top1,
		style: regnetStyle(), stem: 32, stages: make([]stage, len(widths)),
	}
	for i, w := range widths {
		c.stages[i] = stage{block: bottleneck, depth: depths[i], out: w, stride: 2, ratio: 1, groups: w / groupWidth, se: y}
	}
	return c
}

func regnetStyle() style {
	return style{
		epsilon: 1e-5,
		act:     ReLU,
		prefix:  func(stage, index, _ int) string { return fmt.Sprintf("s%d.b%d", stage+1, index+1) },
		keys: func(s spec, p part) (conv, norm string) {
			name := s.name
			switch p {
			case squeeze:
				return name + ".se.fc1", ""
			case excite:
				return name + ".se.fc2", ""
			case shortcut:
				name += ".downsample"
			default:
				name = fmt.Sprintf("%s.conv%d", name, p-first+1)
			}
			return name + ".conv", name + ".bn"
		},
		se:   squeezeStyle{width: quarter, act: ReLU, gate: Sigmoid},
		stem: threeByThree("stem.conv", "stem.bn"),
		head: pooled("", "", "head.fc"),
	}
}
