package bench

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// A Range is what a counter said over the rounds of a point.
type Range struct {
	Low  float64 `json:"low"`
	Mean float64 `json:"mean"` // over rounds
	High float64 `json:"high"`
}

// rangeOf sums values up; nil without any.
func rangeOf(values []float64) *Range {
	if len(values) == 0 {
		return nil
	}
	r := &Range{Low: slices.Min(values), High: slices.Max(values)}
	for _, v := range values {
		r.Mean += v / float64(len(values))
	}
	return r
}

// conditions finds the clock and the temperature of the device during a round.
type conditions struct {
	gpu []ReadingRecord // that hold a GPU's counters, by time
}

func newConditions(log *Log) conditions {
	var c conditions
	for _, r := range log.Readings {
		if r.GPU != nil {
			c.gpu = append(c.gpu, r)
		}
	}
	slices.SortStableFunc(c.gpu, func(a, b ReadingRecord) int { return cmp.Compare(a.Time, b.Time) })
	return c
}

// beside is how far from a round's ends a reading of a GPU may lie to speak for it.
// The worker reads directly before and after.
const beside = 100 * time.Millisecond

// of gives the mean clock in MHz and the highest temperature in °C of a round; nil
// where they were not readable. A GPU's clock is that of its own cycle counters, which
// no reading from outside can miss a part of, or else the mean of what was read at the
// ends. A round without enqueue times ran on the host.
func (c conditions) of(r *RoundRecord) (clock, temperature *float64) {
	if r.EnqueueNS == nil {
		return r.Interval.MeanFrequencyMHz, r.Interval.TemperatureC
	}
	end := r.Start
	for _, ns := range r.DeviceNS {
		end += ns
	}
	from := sort.Search(len(c.gpu), func(i int) bool { return c.gpu[i].Time >= r.Start-int64(beside) })
	clocks, hottest := []float64(nil), []float64(nil)
	for _, reading := range c.gpu[from:] {
		if reading.Time > end+int64(beside) {
			break
		}
		if v := reading.GPU.SMClockMHz; v != nil {
			clocks = append(clocks, float64(*v))
		}
		if v := reading.GPU.TemperatureC; v != nil {
			hottest = append(hottest, float64(*v))
		}
	}
	if clock = r.ClockMHz; clock == nil {
		if read := rangeOf(clocks); read != nil {
			clock = &read.Mean
		}
	}
	if r := rangeOf(hottest); r != nil {
		temperature = &r.High
	}
	return clock, temperature
}

// conditions fills in what the device's clock and temperature were, and with them
// the latency in cycles (E4).
func (m *Measurement) conditions(of conditions, launches []int, kept map[int][]*RoundRecord) {
	var clocks, temperatures []float64
	cycles := make([][]float64, len(launches))
	rounds := 0
	for i, l := range launches {
		for _, r := range kept[l] {
			rounds++
			clock, temperature := of.of(r)
			if temperature != nil {
				temperatures = append(temperatures, *temperature)
			}
			if clock != nil && *clock > 0 {
				clocks = append(clocks, *clock)
				cycles[i] = append(cycles[i], float64(median(r.DeviceNS))**clock/1e3) // ns times MHz
			}
		}
	}
	m.Clock, m.Temperature = rangeOf(clocks), rangeOf(temperatures)
	switch {
	case len(clocks) == 0:
		m.NoCycles = "the device's clock was not readable"
	case len(clocks) < rounds:
		m.NoCycles = "the device's clock was not read in every round"
	default:
		e := overLaunches(cycles)
		m.Cycles = &e
	}
}
