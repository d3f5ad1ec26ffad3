package verdict

import (
	"fmt"
	"math"
	"slices"

	"genbench/bench"
)

// A Metric is a figure of a launch by which two results are compared.
type Metric struct {
	Name string
	Doc  string
	// Threshold is the relative change that counts, where none was asked for (R2).
	Threshold float64
	// HigherIsBetter: throughput, as opposed to times.
	HigherIsBetter bool
	// Unit of its values: ns, 1/s or J.
	Unit string
	// of gives the metric of one launch, or why it has none.
	of func(*launch) (float64, string)
}

// Clocked tells whether a metric consists of times, which a change of clock alone may move
// (R7) and which are judged no finer than the machine's noise floor (R2). Energy is not so
// simple: at a lower clock a device takes longer and draws less.
func (m Metric) Clocked() bool { return m.Unit != "J" }

// Calibrated tells whether a machine's noise floor says how far two results of a metric
// may lie apart: it is measured on latencies (R5), which throughput mirrors.
func (m Metric) Calibrated() bool { return m.Name == Metrics()[0].Name || m.HigherIsBetter }

// launches are those that may have the metric, and how many should have it: of energy
// there is one figure per run, not one per launch.
func (m Metric) launches(s *side) (list []launch, planned int) {
	if m.Unit == "J" {
		return s.passes, s.journals
	}
	return s.launches, s.planned
}

// Metrics lists what `--metric` takes. The first is the default.
func Metrics() []Metric {
	return []Metric{
		{"latency", "median device time of one inference", 0.01, false, "ns", medianOf},
		{"p99", "99th percentile of the device time", 0.03, false, "ns", p99Of},
		{"throughput", "inferences per second over the timed block", 0.02, true, "1/s", rateOf},
		{"energy", "joules of one inference, all that the device takes", 0.03, false, "J", energyOf},
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
func medianOf(l *launch) (float64, string) {
	sum := 0.0
	for _, r := range l.rounds {
		ns := slices.Clone(r.DeviceNS)
		slices.Sort(ns)
		n := len(ns)
		sum += math.Log((float64(ns[(n-1)/2]) + float64(ns[n/2])) / 2)
	}
	return math.Exp(sum / float64(len(l.rounds))), ""
}

// p99Samples is the least number of samples from which a 99th percentile is worth
// quoting (S6).
const p99Samples = 662

func p99Of(l *launch) (float64, string) {
	var ns []int64
	for _, r := range l.rounds {
		if r.AmortisedOver > 0 {
			return 0, "samples are means of blocks (amortised), whose tails say nothing about single inferences"
		}
		ns = append(ns, r.DeviceNS...)
	}
	if len(ns) < p99Samples {
		return 0, fmt.Sprintf("a launch has %d samples, its p99 needs %d", len(ns), p99Samples)
	}
	slices.Sort(ns)
	return float64(ns[int(math.Ceil(0.99*float64(len(ns))))-1]), ""
}

// rateOf counts inferences a second; images are a constant factor of a point.
func rateOf(l *launch) (float64, string) {
	if p, err := bench.ParsePoint(l.rounds[0].ID); err == nil && p.NoThroughput() != "" {
		return 0, p.NoThroughput()
	}
	n, total := 0, 0.0 // a hostile journal overflows an integer
	for _, r := range l.rounds {
		n += len(r.DeviceNS)
		for _, ns := range r.WallNS() {
			total += float64(ns)
		}
	}
	return float64(n) / (total / 1e9), ""
}

// energyOf is what the energy pass of a run counted.
func energyOf(l *launch) (float64, string) {
	if l.energy == nil {
		return 0, l.noEnergy
	}
	return l.energy.Gross.Value, ""
}

// cyclesOf is a time of a launch in clock cycles, or the reciprocal of a rate; false
// where the clock of a round is not known (E4).
func (m Metric) cyclesOf(l *launch) (float64, bool) {
	value, why := m.of(l)
	if why != "" {
		return 0, false
	}
	if m.HigherIsBetter {
		value = 1 / value
	}
	sum := 0.0
	for _, mhz := range l.clocks {
		if mhz <= 0 {
			return 0, false
		}
		sum += math.Log(mhz)
	}
	return value * math.Exp(sum/float64(len(l.rounds))), true
}
