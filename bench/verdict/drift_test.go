package verdict

import (
	"strings"
	"testing"

	"genbench/bench"
)

// Of a run that drifted a stored comparison says so, of a steady one nothing.
func TestDriftDoubts(t *testing.T) {
	// Twelve launches of three points, each slower than the one before by half a per cent.
	log := story{launches: 12, points: 3, seed: 1}.log()
	for i := range log.Rounds {
		log.Rounds[i].Start = int64(i) * 1e9
	}
	if doubts := driftDoubts(log); len(doubts) != 0 {
		t.Errorf("a steady run is doubted: %v", doubts)
	}
	for i := range log.Rounds {
		r := &log.Rounds[i]
		for k := range r.DeviceNS {
			r.DeviceNS[k] += r.DeviceNS[k] * int64(r.Launch) / 200
		}
	}
	doubts := driftDoubts(log)
	if len(doubts) != 1 || doubts[0].Code != bench.Drifted || !strings.HasPrefix(doubts[0].Text, "the machine drifted while it was measured: latency of all points changed by +") {
		t.Errorf("a drifting run has the doubts %v", doubts)
	}
}
