package models

// ghostnets is that of Han et al., "GhostNet: More Features from Cheap Operations"
// (arXiv:1911.11907), Table 7, with the keys and the accuracy of timm's
// ghostnet_100.
func ghostnets() []definition {
	st := timmStyle(ReLU)
	st.se = squeezeStyle{width: func(_, weighed int) int { return divisible(float64(weighed)/4, 4) }, act: ReLU, gate: HardSigmoid}
	st.head = timmLateHead
	return define("ghostnet", []config{
		{
			name: "ghostnet-1.0", source: "arXiv:1911.11907, timm ghostnet_100", resolution: 224,
			top1:  accuracy{73.958, "timm results-imagenet.csv ghostnet_100.in1k @224"},
			style: st, stem: 16,
			stages: []stage{
				{block: ghost, inner: 16, out: 16},
				{block: ghost, inner: 48, out: 24, stride: 2},
				{block: ghost, inner: 72, out: 24},
				{block: ghost, kernel: 5, inner: 72, out: 40, stride: 2, se: true},
				{block: ghost, kernel: 5, inner: 120, out: 40, se: true},
				{block: ghost, inner: 240, out: 80, stride: 2},
				{block: ghost, inner: 200, out: 80},
				{block: ghost, inner: 184, out: 80, depth: 2, join: true},
				{block: ghost, inner: 480, out: 112, se: true, join: true},
				{block: ghost, inner: 672, out: 112, se: true, join: true},
				{block: ghost, kernel: 5, inner: 672, out: 160, stride: 2, se: true},
				{block: ghost, kernel: 5, inner: 960, out: 160},
				{block: ghost, kernel: 5, inner: 960, out: 160, se: true, join: true},
				{block: ghost, kernel: 5, inner: 960, out: 160, join: true},
				{block: ghost, kernel: 5, inner: 960, out: 160, se: true, join: true},
			},
			features: 960, embedding: 1280,
		},
	})
}
