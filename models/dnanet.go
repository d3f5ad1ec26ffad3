package models

// dnanets are those of Li et al., "Block-wisely Supervised Neural Architecture
// Search with Knowledge Distillation" (arXiv:1911.13053), from the authors'
// changlin31/DNA (156c16c), whose README has the accuracies. Built on timm's
// EfficientNet, they have its keys.
func dnanets() []definition {
	const source = "arXiv:1911.13053, changlin31/DNA 156c16c"
	network := func(name string, percent float64, choices [6][]choice, outs [6]int) config {
		strides := [6]int{2, 2, 2, 1, 2, 1}
		stages := []stage{{block: separable, out: 16, se: true}}
		for i, c := range choices {
			stages = append(stages, stage{block: inverted, out: outs[i], stride: strides[i], se: true, choices: c})
		}
		return config{
			name: name, source: source, resolution: 224, top1: accuracy{percent, "DNA README"},
			style: dnaStyle(), stem: 32, stages: stages, features: 1280,
		}
	}
	return define("dna", []config{
		network("dna-a", 77.1, [6][]choice{
			{{5, 3}, {3, 3}, {3, 6}},
			{{3, 3}, {3, 3}, {5, 3}, {3, 6}},
			{{7, 6}, {3, 3}, {5, 3}, {3, 6}},
			{{5, 6}, {5, 3}, {5, 3}, {5, 6}},
			{{5, 6}, {5, 3}, {5, 3}, {5, 3}, {5, 6}},
			{{3, 6}},
		}, [6]int{24, 40, 80, 96, 160, 320}),
		network("dna-b", 77.5, [6][]choice{
			{{3, 3}, {5, 3}, {7, 6}},
			{{7, 6}, {5, 3}, {7, 6}},
			{{5, 6}, {5, 3}, {5, 3}, {3, 6}},
			{{5, 6}, {5, 3}, {5, 3}, {5, 6}},
			{{7, 6}, {5, 3}, {5, 3}, {5, 3}, {7, 6}},
			{{3, 6}},
		}, [6]int{24, 40, 80, 96, 192, 320}),
		network("dna-c", 77.8, [6][]choice{
			{{5, 6}, {3, 6}},
			{{5, 6}, {5, 6}, {3, 6}, {5, 6}},
			{{5, 6}, {3, 6}, {5, 6}, {5, 6}},
			{{3, 6}, {5, 6}, {5, 6}, {5, 3}},
			{{5, 6}, {5, 3}, {5, 6}, {5, 6}},
			{{3, 6}},
		}, [6]int{24, 40, 80, 112, 192, 320}),
		network("dna-d", 78.4, [6][]choice{
			{{7, 6}, {5, 6}, {7, 6}},
			{{7, 6}, {7, 6}, {7, 6}, {7, 6}},
			{{7, 6}, {5, 6}, {5, 6}, {7, 6}},
			{{7, 6}, {5, 6}, {7, 6}, {5, 6}},
			{{7, 6}, {5, 6}, {5, 6}, {5, 6}, {7, 6}},
			{{3, 6}},
		}, [6]int{24, 40, 80, 112, 192, 320}),
	})
}

func dnaStyle() style {
	st := timmStyle(SiLU)
	st.se = squeezeStyle{width: quarter, act: SiLU, gate: Sigmoid}
	return st
}
