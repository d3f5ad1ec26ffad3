package models

import (
	"fmt"
	"strings"
)

// genets are the GPU-efficient networks of Lin et al., "Neural Architecture Design
// for GPU-Efficient Networks" (arXiv:2006.14090), with the keys of timm's
// gernet_s, gernet_m and gernet_l. Structures from the authors' repository
// idstcv/GPU-Efficient-Networks (392ebb3), GENet_*.txt; accuracies from the
// paper's Table 3.
func genets() []definition {
	const source = "arXiv:2006.14090"
	paper := func(percent float64) accuracy { return accuracy{percent, "GENet paper, Table 3"} }
	return define("genet", []config{
		{
			name: "genet-small", source: source, resolution: 192, top1: paper(75.7), style: genetStyle(), others: genetOthers(), stem: 13,
			stages: []stage{
				{block: basic, depth: 1, out: 48, stride: 2, ratio: 1}, // XX
				{block: basic, depth: 3, out: 48, stride: 2, ratio: 1},
				{block: bottleneck, depth: 7, out: 384, stride: 2, ratio: 1. / 4},     // BL
				{block: depthwiseBottleneck, depth: 2, out: 560, stride: 2, ratio: 3}, // DW
				{block: depthwiseBottleneck, depth: 1, out: 256, stride: 1, ratio: 3},
			},
			features: 1920,
		},
		{
			name: "genet-normal", source: source, resolution: 192, top1: paper(80.0), style: genetStyle(), others: genetOthers(), stem: 32,
			stages: []stage{
				{block: basic, depth: 1, out: 128, stride: 2, ratio: 1},
				{block: basic, depth: 2, out: 192, stride: 2, ratio: 1},
				{block: bottleneck, depth: 6, out: 640, stride: 2, ratio: 1. / 4},
				{block: depthwiseBottleneck, depth: 4, out: 640, stride: 2, ratio: 3},
				{block: depthwiseBottleneck, depth: 1, out: 640, stride: 1, ratio: 3},
			},
			features: 2560,
		},
		{
			name: "genet-large", source: source, resolution: 256, top1: paper(81.3), style: genetStyle(), others: genetOthers(), stem: 32,
			stages: []stage{
				{block: basic, depth: 1, out: 128, stride: 2, ratio: 1},
				{block: basic, depth: 2, out: 192, stride: 2, ratio: 1},
				{block: bottleneck, depth: 6, out: 640, stride: 2, ratio: 1. / 4},
				{block: depthwiseBottleneck, depth: 5, out: 640, stride: 2, ratio: 3},
				{block: depthwiseBottleneck, depth: 4, out: 640, stride: 1, ratio: 3},
			},
			features: 2560,
		},
	})
}

func genetStyle() style {
	return style{
		epsilon: 1e-5,
		act:     ReLU,
		prefix:  func(stage, index, _ int) string { return fmt.Sprintf("stages.%d.%d", stage, index) },
		keys: func(s spec, p part) (string, string) {
			// timm numbers the convolutions of a block and names their kernel. Only
			// XX-blocks, which begin with a k×k convolution, have ratio 1.
			name := "shortcut"
			switch {
			case p == first && s.ratio == 1:
				name = "conv1_kxk"
			case p == first:
				name = "conv1_1x1"
			case p == second:
				name = "conv2_kxk"
			case p == third:
				name = "conv3_1x1"
			}
			return s.name + "." + name + ".conv", s.name + "." + name + ".bn"
		},
		stem: threeByThree("stem.conv", "stem.bn"),
		head: pooled("final_conv.conv", "final_conv.bn", "head.fc"),
	}
}

// genetOthers has the keys of the authors' own files (checkpoint["state_dict"] of
// GENet_*.pth), in which modules have numbers: 0 to 2 are the stem, 3 to 7 the
// stages, 8 to 10 the last 1×1 convolution.
func genetOthers() []namedStyle {
	st := genetStyle()
	st.prefix = func(stage, index, _ int) string { return fmt.Sprintf("module_list.%d.conv_list.%d", stage+3, index) }
	st.keys = func(s spec, p part) (string, string) {
		name, at := s.name, 0
		switch p {
		case shortcut:
			name = strings.Replace(name, "conv_list", "shortcut_list", 1)
		case second: // a convolution, its norm, an activation
			at = 3
		case third:
			at = 6
		}
		return fmt.Sprintf("%s.%d", name, at), fmt.Sprintf("%s.%d", name, at+1)
	}
	st.stem = threeByThree("module_list.0.netblock", "module_list.1.netblock")
	st.head = pooled("module_list.8.netblock", "module_list.9.netblock", "fc_linear")
	return []namedStyle{{"keys of the original release", st}}
}
