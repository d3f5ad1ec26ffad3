package bench

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// A SteadyProof is the evidence that latency had settled in a round (W4).
type SteadyProof struct {
	Met bool `json:"met"`
	// WindowMedians are the medians of all windows run, in order, WindowErrors their
	// standard errors as the samples within each window predict them.
	WindowMedians []int64   `json:"window_median_ns"`
	WindowErrors  []float64 `json:"window_error_ns"`
	// Windows is how many of the last ones were judged, whose samples are the round's:
	// three, or more where three were too noisy to show a drift. Ratio is the largest over
	// the smallest of their medians, Drift the Theil-Sen slope over them from first to last
	// relative to their median, DriftError the half-width of its 95 % interval.
	Windows    int     `json:"windows"`
	Ratio      float64 `json:"ratio"`
	Drift      float64 `json:"drift"`
	DriftError float64 `json:"drift_error"`
	// WindowClocks are the mean clocks of the device in all windows, in MHz: on a GPU by
	// its own cycle counters, on a host by its frequency at their ends; null with the
	// reason where one of them is not known. ClockSpread is the share by which the
	// largest of those judged exceeds the smallest, ClockLimit what the proof allows; 0
	// allows all.
	WindowClocks []float64 `json:"window_clock_mhz"`
	ClockReason  string    `json:"window_clock_mhz_reason,omitempty"`
	ClockSpread  float64   `json:"clock_spread,omitempty"`
	ClockLimit   float64   `json:"clock_limit,omitempty"`
	// Seconds spent until it was met or given up.
	Seconds float64 `json:"seconds"`
}

// steadyWindows is how many consecutive windows make a proof.
const steadyWindows = 3

// add takes the samples of one more window.
func (s *SteadyProof) add(ns []int64) {
	s.WindowMedians = append(s.WindowMedians, median(ns))
	s.WindowErrors = append(s.WindowErrors, medianError(ns))
}

// addClock adds the mean clock of the last window, or why it is not known.
func (s *SteadyProof) addClock(mhz *float64, missing string) {
	switch {
	case s.ClockReason != "":
	case mhz == nil:
		s.WindowClocks, s.ClockReason = nil, missing
	case !(*mhz > 0):
		s.WindowClocks, s.ClockReason = nil, fmt.Sprintf("a clock of %g MHz was read", *mhz)
	default:
		s.WindowClocks = append(s.WindowClocks, *mhz)
	}
}

// spreadOfClocks is that of the last k windows; 0 where their clocks are not known.
func (s *SteadyProof) spreadOfClocks(k int) float64 {
	if len(s.WindowClocks) < k {
		return 0
	}
	last := s.WindowClocks[len(s.WindowClocks)-k:]
	return slices.Max(last)/slices.Min(last) - 1
}

// clockHeld tells whether the clock stood still in the last k windows, as far as that is
// known and asked for.
func (s *SteadyProof) clockHeld(k int) bool {
	return s.ClockLimit == 0 || s.spreadOfClocks(k) <= s.ClockLimit
}

// ClockMoved tells whether the clock kept the windows from being a proof.
func (s *SteadyProof) ClockMoved() bool { return s.ClockLimit > 0 && s.ClockSpread > s.ClockLimit }

// judge fills in the proof from the windows so far. Latency has settled when the
// last windows differ and drift by no more than the protocol allows beyond what
// their own noise explains, that noise is small enough to show a drift at all, and the
// clock stood still in them; else more windows are wanted. After the last one, when
// patience ends, noise is no fault: the interval shows it. Then only a trend that noise
// does not explain, or a clock that moved in the last three windows, leaves the proof
// unmet.
//
// By simulation (TestSteadyNoise, TestSteadyTrends), seven windows being what the
// profile quick has patience for: stationary noise of 0.5 to 5 % a sample is called
// unsteady in at most 4 % of rounds, in 8 to 14 % if neighbours are correlated by
// one half; latency that rises by 2 % over three windows is seen in 95 % of rounds
// where a window holds 25 samples with up to 2 % of noise, or 3 samples with up to
// half a percent. In three samples with 5 % of noise nothing could detect a ramp.
func (s *SteadyProof) judge(p Protocol, last bool) {
	s.Met = false
	n := len(s.WindowMedians)
	if n < steadyWindows {
		return
	}
	longest := max(steadyWindows, (2*n+2)/3) // what came first may have been warm-up
	for k := steadyWindows; k <= longest; k++ {
		if !s.clockHeld(k) {
			break // nor in a longer stretch
		}
		t := s.tail(k)
		allowed := t.noise * math.Sqrt2 * normal(1-0.05/float64(k*(k-1))) // range of k equal values
		if t.critical*t.driftError <= (p.SteadyRatio-1)*steadyResolution && math.Abs(t.drift) <= p.SteadyDrift+t.driftError && t.ratio <= p.SteadyRatio+allowed {
			s.take(t)
			s.Met = true
			return
		}
	}
	for longest > steadyWindows && !s.clockHeld(longest) {
		longest--
	}
	t := s.tail(longest)
	if last {
		t.widen()
		s.Met = math.Abs(t.drift) <= p.SteadyDrift+t.critical*t.driftError && s.clockHeld(longest)
	}
	s.take(t)
}

// steadyResolution is how finely a drift must be known before its absence counts,
// as a share of the tolerance: half the width of its interval.
const steadyResolution = 0.75

// take notes what was judged.
func (s *SteadyProof) take(t windowTrend) {
	s.Windows, s.Ratio, s.Drift, s.DriftError = len(t.medians), t.ratio, t.drift, t.critical*t.driftError
	s.ClockSpread = s.spreadOfClocks(s.Windows)
}

// A windowTrend is what a stretch of windows shows, relative to their median.
type windowTrend struct {
	medians           []int64
	level             float64
	ratio             float64
	noise             float64 // standard error of a window's median
	drift, driftError float64 // from first to last window
	critical          float64 // driftError times this is half a 95 % interval
}

func (s *SteadyProof) tail(k int) windowTrend {
	n := len(s.WindowMedians)
	t := windowTrend{medians: s.WindowMedians[n-k:], critical: 1.96}
	t.level = float64(median(t.medians))
	t.ratio = float64(slices.Max(t.medians)) / float64(slices.Min(t.medians))
	squares := 0.0
	for _, e := range s.WindowErrors[n-k:] {
		squares += e * e / float64(k)
	}
	t.noise = math.Sqrt(squares) / t.level
	t.drift = theilSen(t.medians) * float64(k-1) / t.level
	t.driftError = t.noise * float64(k-1) / math.Sqrt(spreadOfSteps(k))
	return t
}

// spreadOfSteps is the sum of squares of 1..k about their mean.
func spreadOfSteps(k int) float64 { return float64(k) * (float64(k*k) - 1) / 12 }

// widen replaces the noise predicted from within the windows by how much the windows
// scatter about their line, where that is clearly more: latency that wanders from
// window to window without going anywhere.
func (t *windowTrend) widen() {
	k := len(t.medians)
	if k <= steadyWindows {
		return
	}
	slope := t.drift * t.level / float64(k-1)
	rest := make([]float64, k)
	mean := 0.0
	for i, m := range t.medians {
		rest[i] = float64(m) - slope*float64(i)
		mean += rest[i] / float64(k)
	}
	squares := 0.0
	for _, v := range rest {
		squares += (v - mean) * (v - mean) / (t.level * t.level)
	}
	dof := float64(k - 2)
	if squares <= t.noise*t.noise*(distuv.ChiSquared{K: dof}).Quantile(0.95) {
		return
	}
	t.driftError = math.Sqrt(squares/dof) * float64(k-1) / math.Sqrt(spreadOfSteps(k))
	t.critical = studentT(dof, 0.975)
}

func normal(q float64) float64 { return distuv.UnitNormal.Quantile(q) }

// medianError is the standard error of the median of a series of samples, from the
// differences of neighbours: a few slow samples or a drift along the series hardly
// change it. It supposes that neighbours are independent.
func medianError(ns []int64) float64 {
	if len(ns) < 2 {
		return float64(ns[0]) // one sample says nothing about its error
	}
	steps := make([]int64, len(ns)-1)
	for i := range steps {
		steps[i] = max(ns[i+1]-ns[i], ns[i]-ns[i+1])
	}
	// The median of |differences| of normal samples is 0.6745 √2 standard deviations;
	// the standard error of a median is √(π/2) that of a mean.
	sd := float64(median(steps)) / (0.6745 * math.Sqrt2)
	return sd * math.Sqrt(math.Pi/2/float64(len(ns)))
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
