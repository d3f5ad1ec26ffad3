package reports

import (
	"path/filepath"
	"strings"
	"testing"

	"genbench/bench"
)

// A figure that is amortised says so in every format that shows it, and one beside it
// that is not does not (M4).
func TestAmortisedIsSaid(t *testing.T) {
	log, err := bench.ReadLog(filepath.Join("testdata", "gpu"))
	if err != nil {
		t.Fatal(err)
	}
	first := log.Run.Plan[0].ID
	for i := range log.Rounds {
		if log.Rounds[i].ID == first {
			log.Rounds[i].AmortisedOver = 25
		}
	}
	result := bench.NewResult(log)
	for format, want := range map[string][]string{
		"text":              {"amortised", "\n  amortised: how many inferences back to back", "means of blocks, whose tails"},
		"md":                {"amortised", "means of blocks, whose tails"},
		"csv":               {",amortised_over,"},
		"json":              {`"amortised_over":25`},
		"gobench":           {"\t25 amortised-over\n"},
		"smaller-is-better": {"amortised over 25 inferences"},
	} {
		report, err := Lookup(format, 400)
		if err != nil {
			t.Fatal(err)
		}
		got := written(t, report, result)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q", format, w)
			}
		}
		if n := strings.Count(got, "\t25 amortised-over\n"); format == "gobench" && n != 4 {
			t.Errorf("%d rounds are amortised, want those of one point", n)
		}
	}
}
