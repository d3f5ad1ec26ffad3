package bench

import "fmt"

// A Suite is a grid with a name.
type Suite struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
	Grid Grid   `json:"grid"`
}

// Suites lists the grids that `--suite` takes. An empty list of engines stands
// for every engine that is available and not the reference.
func Suites() []Suite {
	return []Suite{
		{
			Name: "default",
			Doc:  "GENet and the baselines it was designed against, at a latency-bound and a throughput-bound batch",
			Grid: Grid{
				Models:     []string{"genet-small", "genet-normal", "genet-large", "resnet-18", "resnet-50", "mobilenetv2-1.0", "efficientnet-b0"},
				Precisions: []string{"fp32"},
				Batches:    []int{1, 8},
			},
		},
	}
}

// SuiteNamed finds a suite.
func SuiteNamed(name string) (Suite, error) {
	var names []string
	for _, s := range Suites() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Suite{}, fmt.Errorf("unknown suite %q: want one of %v", name, names)
}
