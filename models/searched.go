package models

import "slices"

// searched are mobile networks that an architecture search found, with timm's keys
// and accuracies (1.0.29, results-imagenet.csv, aa4b585): MnasNet-B1 and -A1
// (arXiv:1807.11626), Single-Path NAS (arXiv:1904.02877), FBNet-C
// (arXiv:1812.03443) and HardCoRe-NAS A (arXiv:2102.11646).
func searched() []definition {
	results := func(percent float64, weights string) accuracy {
		return accuracy{percent, "timm results-imagenet.csv " + weights + " @224"}
	}
	excited := timmStyle(ReLU)
	excited.se = squeezeStyle{width: quarter, act: ReLU, gate: Sigmoid}
	return slices.Concat(
		define("mnasnet", []config{
			{
				name: "mnasnet-1.0", source: "arXiv:1807.11626 (B1), timm mnasnet_100", resolution: 224,
				top1:  results(74.672, "mnasnet_100.rmsp_in1k"),
				style: timmStyle(ReLU), stem: 32,
				stages: []stage{
					{block: separable, out: 16},
					{block: inverted, ratio: 3, out: 24, depth: 3, stride: 2},
					{block: inverted, ratio: 3, kernel: 5, out: 40, depth: 3, stride: 2},
					{block: inverted, ratio: 6, kernel: 5, out: 80, depth: 3, stride: 2},
					{block: inverted, ratio: 6, out: 96, depth: 2},
					{block: inverted, ratio: 6, kernel: 5, out: 192, depth: 4, stride: 2},
					{block: inverted, ratio: 6, out: 320},
				},
				features: 1280,
			},
			{
				name: "semnasnet-1.0", source: "arXiv:1807.11626 (A1), timm semnasnet_100", resolution: 224,
				top1:  results(75.452, "semnasnet_100.rmsp_in1k"),
				style: excited, stem: 32,
				stages: []stage{
					{block: separable, out: 16},
					{block: inverted, ratio: 6, out: 24, depth: 2, stride: 2},
					{block: inverted, ratio: 3, kernel: 5, out: 40, depth: 3, stride: 2, se: true},
					{block: inverted, ratio: 6, out: 80, depth: 4, stride: 2},
					{block: inverted, ratio: 6, out: 112, depth: 2, se: true},
					{block: inverted, ratio: 6, kernel: 5, out: 160, depth: 3, stride: 2, se: true},
					{block: inverted, ratio: 6, out: 320},
				},
				features: 1280,
			},
		}),
		define("spnasnet", []config{
			{
				name: "spnasnet-1.0", source: "arXiv:1904.02877, timm spnasnet_100", resolution: 224,
				top1:  results(74.086, "spnasnet_100.rmsp_in1k"),
				style: timmStyle(ReLU), stem: 32,
				stages: []stage{
					{block: separable, out: 16},
					{block: inverted, out: 24, stride: 2, ratio: 3, depth: 3},
					{block: inverted, out: 40, stride: 2, choices: []choice{{5, 6}, {3, 3}, {3, 3}, {3, 3}}},
					{block: inverted, out: 80, stride: 2, choices: []choice{{5, 6}, {3, 3}, {3, 3}, {3, 3}}},
					{block: inverted, out: 96, choices: []choice{{5, 6}, {5, 3}, {5, 3}, {5, 3}}},
					{block: inverted, out: 192, stride: 2, ratio: 6, kernel: 5, depth: 4},
					{block: inverted, out: 320, ratio: 6},
				},
				features: 1280,
			},
		}),
		define("fbnet", []config{
			{
				name: "fbnet-c", source: "arXiv:1812.03443, timm fbnetc_100", resolution: 224,
				top1:  results(75.120, "fbnetc_100.rmsp_in1k"),
				style: timmStyle(ReLU), stem: 16,
				stages: []stage{
					{block: inverted, out: 16, ratio: 1},
					{block: inverted, out: 24, stride: 2, choices: []choice{{3, 6}, {3, 1}, {3, 1}}},
					{block: inverted, out: 32, stride: 2, choices: []choice{{5, 6}, {5, 3}, {5, 6}, {3, 6}}},
					{block: inverted, out: 64, stride: 2, choices: []choice{{5, 6}, {5, 3}, {5, 6}, {5, 6}}},
					{block: inverted, out: 112, choices: []choice{{5, 6}, {5, 6}, {5, 6}, {5, 3}}},
					{block: inverted, out: 184, stride: 2, ratio: 6, kernel: 5, depth: 4},
					{block: inverted, out: 352, ratio: 6},
				},
				features: 1984,
			},
		}),
		define("hardcorenas", []config{
			{
				name: "hardcorenas-a", source: "arXiv:2102.11646, timm hardcorenas_a", resolution: 224,
				top1:  results(75.926, "hardcorenas_a.miil_green_in1k"),
				style: hardcoreStyle(), stem: 32,
				stages: []stage{
					{block: separable, out: 16, act: ReLU},
					{block: inverted, out: 24, stride: 2, ratio: 3, kernel: 5, act: ReLU},
					{block: inverted, out: 24, ratio: 3, kernel: 5, act: ReLU, se: true, join: true},
					{block: inverted, out: 40, stride: 2, ratio: 3, kernel: 5, act: ReLU},
					{block: inverted, out: 40, ratio: 6, kernel: 5, act: ReLU, se: true, join: true},
					{block: inverted, out: 80, stride: 2, ratio: 6, kernel: 5, depth: 2, se: true},
					{block: inverted, out: 112, ratio: 6, kernel: 5, depth: 2, se: true},
					{block: inverted, out: 192, stride: 2, ratio: 6, kernel: 5, depth: 2, se: true},
				},
				features: 960, embedding: 1280,
			},
		}),
	)
}

func hardcoreStyle() style {
	st := timmStyle(HardSwish)
	st.se = squeezeStyle{width: quarterWeighed, act: ReLU, gate: HardSigmoid}
	st.head = timmLateHead
	return st
}
