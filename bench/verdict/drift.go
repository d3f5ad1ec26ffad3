package verdict

import (
	"fmt"
	"slices"

	"genbench/bench"
)

// mostForDrift is how many points of a run are asked whether it drifted: that is a matter
// of the machine, which so many tell as well as ten thousand, and much sooner.
const mostForDrift = 50

// driftDoubts is what a whole run shows of its machine changing meanwhile (D1 to D3). A
// gate has no need of it, whose versions take turns.
//
// It is what a bench.Result of the run warns of. Its other estimates take time by the
// points, the rounds and the samples; so it is given a part of the points, and of a round
// the median, which is all that drift is judged by.
func driftDoubts(log *bench.Log) []Doubt {
	part := bench.Log{Run: log.Run, Clocks: log.Clocks, End: log.End, Unknown: map[string]int{}}
	plan := log.Run.Plan
	part.Run.Plan = nil
	chosen := map[string]bool{}
	for i := range min(len(plan), mostForDrift) {
		p := plan[i*len(plan)/min(len(plan), mostForDrift)]
		part.Run.Plan, chosen[p.ID] = append(part.Run.Plan, p), true
	}
	for _, p := range log.Points {
		if chosen[p.ID] {
			part.Points = append(part.Points, p)
		}
	}
	for _, r := range log.Rounds {
		if r.Sentinel {
			part.Rounds = append(part.Rounds, r) // its samples tell what chance explains
			continue
		}
		if !chosen[r.ID] {
			continue
		}
		ns := slices.Sorted(slices.Values(r.DeviceNS))
		r.DeviceNS = ns[len(ns)/2 : len(ns)/2+1]
		r.HostNS, r.EnqueueNS = nil, nil
		part.Rounds = append(part.Rounds, r)
	}
	var list []Doubt
	for _, w := range bench.NewResult(&part).Warnings {
		switch w.Code {
		case bench.Drifted:
			list = append(list, Doubt{w.Code, "the machine drifted while it was measured: " + w.Detail})
		case bench.OddEvenDiffer:
			list = append(list, Doubt{w.Code, fmt.Sprintf("odd and even rounds differ at %s, more often than by chance", w.Detail)})
		}
	}
	return list
}
