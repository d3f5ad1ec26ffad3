package models

import "fmt"

// zennets are those that Lin et al., "Zen-NAS: A Zero-Shot NAS for High-Performance
// Image Recognition" (arXiv:2102.01063), by GENet's authors, found for a latency on
// a V100 at batch 64, from their code (idstcv/ZenNAS d1d617e), whose README has the
// accuracies. Their blocks start with a projected shortcut even where the shapes
// fit.
func zennets() []definition {
	network := func(name string, percent float64, stem, features int, stages ...stage) config {
		for i := range stages {
			stages[i].project = true
		}
		return config{
			name: name, source: "arXiv:2102.01063, ZenNAS d1d617e", resolution: 224, top1: accuracy{percent, "ZenNAS README"},
			style: zennetStyle(), stem: stem, stages: stages, features: features,
		}
	}
	return define("zennet", []config{
		network("zennet-0.1ms", 77.8, 24, 2384,
			stage{block: basic, depth: 1, inner: 64, out: 32, stride: 2},
			stage{block: basic, depth: 1, kernel: 5, inner: 32, out: 64, stride: 2},
			stage{block: basic, depth: 1, kernel: 5, inner: 96, out: 168, stride: 2},
			stage{block: bottleneck, depth: 2, kernel: 5, inner: 120, out: 320},
			stage{block: bottleneck, depth: 6, kernel: 5, inner: 304, out: 640, stride: 2},
			stage{block: bottleneck, depth: 2, kernel: 5, inner: 384, out: 512},
		),
		network("zennet-0.3ms", 81.5, 24, 6704,
			stage{block: bottleneck, depth: 2, kernel: 5, inner: 32, out: 64, stride: 2},
			stage{block: bottleneck, depth: 2, inner: 128, out: 128, stride: 2},
			stage{block: bottleneck, depth: 2, kernel: 7, inner: 128, out: 432, stride: 2},
			stage{block: bottleneck, depth: 2, kernel: 5, inner: 160, out: 272},
			stage{block: bottleneck, depth: 8, kernel: 5, inner: 384, out: 848, stride: 2},
			stage{block: bottleneck, depth: 6, kernel: 5, inner: 320, out: 848},
			stage{block: bottleneck, depth: 6, kernel: 5, inner: 320, out: 456},
		),
		network("zennet-0.8ms", 83.0, 16, 4912,
			stage{block: bottleneck, depth: 2, kernel: 5, inner: 64, out: 64, stride: 2},
			stage{block: bottleneck, depth: 4, inner: 128, out: 240, stride: 2},
			stage{block: bottleneck, depth: 6, kernel: 7, inner: 160, out: 640, stride: 2},
			stage{block: bottleneck, depth: 8, kernel: 7, inner: 192, out: 768},
			stage{block: bottleneck, depth: 10, kernel: 5, inner: 384, out: 1536, stride: 2},
			stage{block: bottleneck, depth: 6, kernel: 5, inner: 384, out: 1536},
			stage{block: bottleneck, depth: 10, kernel: 5, inner: 384, out: 2304},
		),
	})
}

// zennetStyle numbers modules as ZenNAS does: every block is followed by its
// activation, and inside a block every convolution by norm and activation.
func zennetStyle() style {
	return style{
		epsilon: 1e-3,
		act:     ReLU,
		prefix: func(stage, index, _ int) string {
			return fmt.Sprintf("module_list.%d.module_list.%d", stage+1, 2*index)
		},
		keys: func(s spec, p part) (conv, norm string) {
			if p == shortcut {
				return s.name + ".proj.0", s.name + ".proj.1"
			}
			at := 3 * int(p-first)
			return fmt.Sprintf("%s.module_list.%d.netblock", s.name, at), fmt.Sprintf("%s.module_list.%d.netblock", s.name, at+1)
		},
		shortcutBias: true,
		stem:         threeByThree("module_list.0.module_list.0.netblock", "module_list.0.module_list.1.netblock"),
		head: func(b *builder, c config, x int) {
			last := fmt.Sprintf("module_list.%d.module_list", len(c.stages)+1)
			pooled(last+".0.netblock", last+".1.netblock", "fc_linear.netblock")(b, c, x)
		},
	}
}
