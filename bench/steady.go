package bench

import (
	"slices"
)

// A SteadyProof is the evidence that latency had settled before a round (W4).
type SteadyProof struct {
	Met bool `json:"met"`
	// WindowMedians are the medians of all windows run, in order; the last three
	// are the proof.
	WindowMedians []int64 `json:"window_median_ns"`
	// Ratio is the largest over the smallest of the last three medians, Drift the
	// Theil-Sen slope over them from first to last, relative to their median.
	Ratio float64 `json:"ratio"`
	Drift float64 `json:"drift"`
	// Seconds spent until it was met or given up.
	Seconds float64 `json:"seconds"`
}

// steadyWindows is how many consecutive windows make a proof.
const steadyWindows = 3

// judge fills in Ratio, Drift and Met from the windows so far.
func (s *SteadyProof) judge(p Protocol) {
	s.Met = false
	if len(s.WindowMedians) < steadyWindows {
		return
	}
	last := s.WindowMedians[len(s.WindowMedians)-steadyWindows:]
	s.Ratio = float64(slices.Max(last)) / float64(slices.Min(last))
	s.Drift = theilSen(last) * float64(len(last)-1) / float64(median(last))
	s.Met = s.Ratio <= p.SteadyRatio && s.Drift < p.SteadyDrift && s.Drift > -p.SteadyDrift
}

// theilSen is the median of the slopes between all pairs of equally spaced
// values, per step.
func theilSen(ys []int64) float64 {
	var slopes []float64
	for i := range ys {
		for j := i + 1; j < len(ys); j++ {
			slopes = append(slopes, float64(ys[j]-ys[i])/float64(j-i))
		}
	}
	slices.Sort(slopes)
	return quantile(slopes, 0.5)
}

// median of nanoseconds; the mean of the middle two when their number is even.
func median(ns []int64) int64 {
	sorted := slices.Clone(ns)
	slices.Sort(sorted)
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
