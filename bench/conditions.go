package bench

import "slices"

// A Range is what a counter showed over the rounds of a point.
type Range struct {
	Low  float64 `json:"low"`
	Mean float64 `json:"mean"` // over rounds
	High float64 `json:"high"`
}

// rangeOf summarises values; nil without any.
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

// conditions gives the device's mean clock in MHz and its temperature in °C as the round
// has them; nil where they were not readable. A GPU's clock is that of its own cycle
// counters, which miss no part of the round as readings from outside can; a host's is
// the mean of the readings at the ends. The temperature is that at the end. A round
// without enqueue times ran on the host.
func (r *RoundRecord) conditions() (clock, temperature *float64) {
	if r.EnqueueNS == nil {
		return r.Interval.MeanFrequencyMHz, r.Interval.TemperatureC
	}
	if gpu := r.Interval.GPU; gpu != nil && gpu.TemperatureC != nil {
		c := float64(*gpu.TemperatureC)
		temperature = &c
	}
	return r.ClockMHz, temperature
}

// conditions fills in what the device's clock and temperature were, and with them
// the latency in cycles (E4). builds are those of the launches where they differ.
func (m *Measurement) conditions(launches []int, kept map[int][]*RoundRecord, builds []int) {
	var clocks, temperatures []float64
	cycles := make([][]float64, len(launches))
	rounds := 0
	for i, l := range launches {
		for _, r := range kept[l] {
			rounds++
			clock, temperature := r.conditions()
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
		e := overReplicas(cycles, builds)
		m.Cycles = &e
	}
}
