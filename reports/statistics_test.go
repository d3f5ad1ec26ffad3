package reports

import (
	"strings"
	"testing"

	"genbench/bench"
)

// A run that drifted says so first, in words, and again with its figures.
func TestDriftIsTold(t *testing.T) {
	r := load(t, "cpu")
	r.Drift = bench.Drift{
		Sentinel:    &bench.Sentinel{Point: "resnet-50@224/onnxruntime/fp32/b8", Visits: 5, Shift: 0.04, Error: 0.01},
		Trend:       &bench.Trend{Change: -0.002, P: 0.4, Rounds: 56},
		Temperature: &bench.Correlation{R: 0.71, P: 0.0004, Rounds: 56},
		OddEven:     bench.OddEven{Points: 14, Rejected: 1},
	}
	r.Warnings = append(r.Warnings, bench.Warning{Code: bench.Drifted, Detail: r.Drift.Drifted()})
	page := written(t, Markdown, r)
	for _, want := range []string{
		"> **Doubt about the whole run:** the machine became faster or slower",
		"**Drifted**: resnet-50@224/onnxruntime/fp32/b8 changed by +4.0 %",
		"changed by -0.2 % over the run (Mann-Kendall p = 0.4",
		"against the device's temperature: correlation +0.71 (p = 0.0004, 56 rounds)",
		"Odd rounds against even ones: 1 of 14 points differ",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if strings.Index(page, "Doubt about the whole run") > strings.Index(page, "## Results") {
		t.Error("the doubt stands after the results")
	}
	if text := written(t, Text(100), r); !strings.Contains(text, "! drifted: the machine became") {
		t.Errorf("the text does not say that the run drifted:\n%s", text)
	}
}

// The classes are counted by their reasons, without the figures of single points.
func TestClasses(t *testing.T) {
	list := classes([]row{
		{nil, &bench.Measurement{Quality: bench.Q3, Lowered: []string{"unsteady: 1 of 4 rounds", "imprecise: ±7 %"}}},
		{nil, &bench.Measurement{Quality: bench.Q1}},
		{nil, &bench.Measurement{Quality: bench.Q3, Lowered: []string{"unsteady: 3 of 4 rounds", "imprecise: ±9 %"}}},
	})
	var lines []string
	for _, l := range list {
		lines = append(lines, l.markdown())
	}
	if got, want := strings.Join(lines, "\n"), "**Q3**, 2 points: unsteady, imprecise.\n**Q1**, 1 point."; got != want {
		t.Errorf("classes\n%s\nwant\n%s", got, want)
	}
}

// The rules that a run did not meet are named without unfolding anything.
func TestRulesAreTold(t *testing.T) {
	page := written(t, Markdown, load(t, "cpu"))
	for _, want := range []string{"not met: M6, M9, C2, D1, J.", "<summary>The rules, one by one</summary>", "`W4`  | met "} {
		if !strings.Contains(page, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}
