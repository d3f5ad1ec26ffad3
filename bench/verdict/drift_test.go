package verdict

import (
	"fmt"
	"path/filepath"
	"testing"

	"genbench/bench"
)

// What is told of drift is what the whole result tells.
func TestDriftDoubts(t *testing.T) {
	logs := map[string]*bench.Log{}
	journals, err := filepath.Glob("../../reports/testdata/*/" + bench.JournalName)
	if err != nil || len(journals) == 0 {
		t.Fatal(journals, err)
	}
	for _, path := range journals {
		log, err := bench.ReadLog(path)
		if err != nil {
			t.Fatal(err)
		}
		logs[path] = log
	}
	// Twelve launches of three points, each slower than the one before by half a per cent.
	drifting := story{launches: 12, points: 3, seed: 1}.log()
	for i := range drifting.Rounds {
		r := &drifting.Rounds[i]
		r.Start = int64(i) * 1e9
		for k := range r.DeviceNS {
			r.DeviceNS[k] += r.DeviceNS[k] * int64(r.Launch) / 200
		}
	}
	logs["drifting"] = drifting
	for name, log := range logs {
		var want []bench.Code
		for _, w := range bench.NewResult(log).Warnings {
			if w.Code == bench.Drifted || w.Code == bench.OddEvenDiffer {
				want = append(want, w.Code)
			}
		}
		var got []bench.Code
		for _, d := range driftDoubts(log) {
			got = append(got, d.Code)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || name == "drifting" && len(got) == 0 {
			t.Errorf("%s: doubts %v, its result has %v", name, got, want)
		}
	}
}
