package verdict

import (
	"fmt"
	"math"
	"slices"

	"genbench/bench"
)

// A Metric is one figure of a launch that two results are compared by.
type Metric struct {
	Name string
	Doc  string
	// Threshold is the relative change that counts, where none was asked for (R2).
	Threshold float64
	// HigherIsBetter: throughput, as opposed to times.
	HigherIsBetter bool
	// of gives the metric of one launch from its kept rounds, or why it has none.
	of func(rounds []*bench.RoundRecord) (float64, string)
}

// Metrics lists what `--metric` takes. The first is the default.
func Metrics() []Metric {
	return []Metric{
		{"latency", "median device time of one inference", 0.01, false, medianOf},
		{"p99", "99th percentile of the device time", 0.03, false, p99Of},
		{"throughput", "images a second over the timed block", 0.02, true, rateOf},
	}
}

// MetricNamed finds a metric.
func MetricNamed(name string) (Metric, error) {
	var names []string
	for _, m := range Metrics() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Metric{}, fmt.Errorf("unknown metric %q: want one of %v", name, names)
}

// medianOf averages the logarithms of the rounds' medians (E1).
func medianOf(rounds []*bench.RoundRecord) (float64, string) {
	sum := 0.0
	for _, r := range rounds {
		ns := slices.Clone(r.DeviceNS)
		slices.Sort(ns)
		n := len(ns)
		sum += math.Log((float64(ns[(n-1)/2]) + float64(ns[n/2])) / 2)
	}
	return math.Exp(sum / float64(len(rounds))), ""
}

// p99Samples is the least number of samples from which a 99th percentile is worth
// quoting (S6).
const p99Samples = 662

func p99Of(rounds []*bench.RoundRecord) (float64, string) {
	var ns []int64
	for _, r := range rounds {
		ns = append(ns, r.DeviceNS...)
	}
	if len(ns) < p99Samples {
		return 0, fmt.Sprintf("a launch has %d samples, its p99 needs %d", len(ns), p99Samples)
	}
	slices.Sort(ns)
	return float64(ns[int(math.Ceil(0.99*float64(len(ns))))-1]), ""
}

// rateOf counts inferences a second; images are a constant factor of a point.
func rateOf(rounds []*bench.RoundRecord) (float64, string) {
	if p, err := bench.ParsePoint(rounds[0].ID); err == nil && p.Gap > 0 {
		return 0, bench.NoPacedThroughput
	}
	n, total := 0, 0.0 // a hostile journal overflows an integer
	for _, r := range rounds {
		n += len(r.DeviceNS)
		for _, ns := range r.DeviceNS {
			total += float64(ns)
		}
	}
	return float64(n) / (total / 1e9), ""
}

// cyclesOf is the median time in clock cycles; false where the clock of a round is
// not known (E4). The clock in a round's record is the host's, so a round of another
// device, which has host times beside its own, has none.
func cyclesOf(rounds []*bench.RoundRecord) (float64, bool) {
	sum := 0.0
	for _, r := range rounds {
		mhz := r.Interval.MeanFrequencyMHz
		if r.HostNS != nil || mhz == nil || !(*mhz > 0) {
			return 0, false
		}
		sum += math.Log(*mhz)
	}
	median, _ := medianOf(rounds)
	return median * math.Exp(sum/float64(len(rounds))), true
}
