package hardware

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// A Sampler reads a device's counters once. Implementations are quick (a host
// reading takes well under a millisecond) and are never called inside a timed
// block (but see EventSampler); NVML polling is known to show up as latency spikes.
type Sampler interface {
	Sample() (Reading, error)
	Close() error
}

// An EventSampler is the sampler of a GPU, which can be asked for a single thing. It is
// the exception to the rule above: short limits of heat and power show in no reading
// before or after a round, and not every board counts them. So a worker asks beside its
// timed blocks, on another thread, ten times a second; `genbench selftest` shows what a
// whole reading at that rate does to what is timed.
type EventSampler interface {
	Sampler
	// EventReasons says why the clocks are what they are now, by one call of the driver.
	EventReasons() (EventReasons, error)
}

// An EventWatch is what a GPU reported about its clocks between the ends of an interval.
type EventWatch struct {
	Looks int `json:"looks"`
	// Seen counts the looks at which a reason held, by its name (EventReasons.Names).
	Seen map[string]int `json:"seen"`
	// Joined has all bits that were seen.
	Joined EventReasons `json:"event_reasons"`
	// Failed counts the looks that the driver did not answer.
	Failed int `json:"failed,omitempty"`
}

// Add counts one look.
func (w *EventWatch) Add(r EventReasons) {
	if w.Seen == nil {
		w.Seen = map[string]int{}
	}
	w.Looks++
	w.Joined |= r
	for _, name := range r.Names() {
		w.Seen[name]++
	}
}

// A Reading is one row of counters. A nil field is one the device does not
// report; the reader must not take it for zero.
type Reading struct {
	// Time is native.Now at the reading, nanoseconds.
	Time int64        `json:"t_ns"`
	Host *HostReading `json:"host,omitempty"`
	GPU  *GPUReading  `json:"gpu,omitempty"`
}

// HostReading holds the CPU twin of a GPU's counters. Cumulative fields count
// from boot; the difference of two readings is what happened between them.
type HostReading struct {
	CPUs         *int     `json:"cpus"`    // logical CPUs online; the capacity that the next two share
	BusySeconds  *float64 `json:"busy_s"`  // cumulative over all CPUs: user, nice, system, irq, softirq (/proc/stat)
	StealSeconds *float64 `json:"steal_s"` // cumulative over all CPUs: wanted by this guest, given to another
	Running      *int     `json:"running"` // runnable threads now, ours included (procs_running)
	Load1        *float64 `json:"load_1m"` // one-minute load average
	// FrequencyMHz is the mean of up to eight clocks that drive CPUs of this process.
	FrequencyMHz *float64 `json:"frequency_mhz"`
	// TemperatureC is the hottest sensor of the processor.
	TemperatureC *float64 `json:"temperature_c"`
	// ThermalThrottles is cumulative over cores and packages
	// (thermal_throttle/{core,package}_throttle_count).
	ThermalThrottles *int64 `json:"thermal_throttles"`

	Reasons Reasons `json:"-"` // why a field is nil
}

// MarshalJSON puts each reason beside its field.
func (h HostReading) MarshalJSON() ([]byte, error) {
	type plain HostReading
	return marshalWithReasons(plain(h), h.Reasons)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *HostReading) UnmarshalJSON(b []byte) error {
	type plain HostReading
	return unmarshalWithReasons(b, (*plain)(h), &h.Reasons)
}

// GPUReading holds what NVML says about one GPU.
type GPUReading struct {
	SMClockMHz     *int     `json:"sm_clock_mhz"`
	MemoryClockMHz *int     `json:"memory_clock_mhz"`
	PState         *int     `json:"p_state"`
	PowerW         *float64 `json:"power_w"`
	TemperatureC   *int     `json:"temperature_c"`
	// EventReasons is NVML's clock event (throttle) bit mask; see EventReasons.Names.
	EventReasons *EventReasons `json:"event_reasons"`
	EnergyJ      *float64      `json:"energy_j"` // cumulative since the driver was loaded
	// PowerViolationNS and ThermalViolationNS are how long clocks were held down by the
	// power limit and by heat; cumulative.
	PowerViolationNS   *int64 `json:"power_violation_ns"`
	ThermalViolationNS *int64 `json:"thermal_violation_ns"`
	// HWSlowdownNS is how long the board itself cut its clocks to half or less, because
	// of heat or because the power supply asked for it; cumulative.
	HWSlowdownNS *int64 `json:"hw_slowdown_ns"`
	ECCErrors    *int64 `json:"ecc_uncorrectable"` // cumulative since the driver was loaded
	PCIeReplays  *int64 `json:"pcie_replays"`      // packets sent again; cumulative
	// Xids are the faults that the driver reported since the same sampler's previous
	// reading, by NVIDIA's numbers. Empty is none, nil is not known.
	Xids []int `json:"xids"`
	// ForeignProcesses are the ids of processes with a compute or graphics context
	// on the GPU, without those the sampler was told are ours. Empty is none, nil
	// is not known.
	ForeignProcesses []int `json:"foreign_processes"`

	Reasons Reasons `json:"-"` // why a field is nil
}

// MarshalJSON puts each reason beside its field.
func (g GPUReading) MarshalJSON() ([]byte, error) {
	type plain GPUReading
	return marshalWithReasons(plain(g), g.Reasons)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (g *GPUReading) UnmarshalJSON(b []byte) error {
	type plain GPUReading
	return unmarshalWithReasons(b, (*plain)(g), &g.Reasons)
}

// ProcessUsage is what this process has used of the host since it started.
type ProcessUsage struct {
	CPUSeconds          float64 `json:"cpu_s"`                        // user and system, all threads
	InvoluntarySwitches int64   `json:"involuntary_context_switches"` // another thread was given our CPU
}

// Usage reads this process's own use of the host. The difference of two calls is
// what it used between them.
func Usage() (ProcessUsage, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return ProcessUsage{}, fmt.Errorf("read process usage: getrusage: %w", err)
	}
	seconds := func(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return ProcessUsage{
		CPUSeconds:          seconds(u.Utime) + seconds(u.Stime),
		InvoluntarySwitches: int64(u.Nivcsw),
	}, nil
}

// An Interval is what happened between two readings of one device: the evidence
// on which a round is kept or dropped. A nil field is unknown and has its reason.
type Interval struct {
	Seconds *float64 `json:"seconds"`
	// StealFraction is the time a hypervisor took away, as a share of what all CPUs
	// online could have done.
	StealFraction *float64 `json:"steal_fraction"`
	// ForeignCPUs is how many CPUs other processes kept busy on average. It counts in
	// ticks of 10 ms per CPU, so intervals of less than a few tenths of a second say
	// little.
	ForeignCPUs *float64 `json:"foreign_cpus"`
	// MeanFrequencyMHz is the mean of the two ends.
	MeanFrequencyMHz *float64 `json:"mean_frequency_mhz"`
	TemperatureC     *float64 `json:"temperature_c"` // at the end
	ThermalThrottles *int64   `json:"thermal_throttles"`
	// GPU is nil where the readings hold none.
	GPU *GPUInterval `json:"gpu,omitempty"`

	Reasons Reasons `json:"-"` // why a field is nil
}

// MarshalJSON puts each reason beside its field.
func (i Interval) MarshalJSON() ([]byte, error) {
	type plain Interval
	return marshalWithReasons(plain(i), i.Reasons)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (i *Interval) UnmarshalJSON(b []byte) error {
	type plain Interval
	return unmarshalWithReasons(b, (*plain)(i), &i.Reasons)
}

// A GPUInterval is the GPU's part of an Interval.
type GPUInterval struct {
	// EventReasons joins the bits of both ends and of the looks between them.
	EventReasons *EventReasons `json:"event_reasons"`
	// Watch holds the looks between the ends; what came and went between two of them
	// was not seen. Nil where nobody looked.
	Watch        *EventWatch `json:"event_watch"`
	EnergyJ      *float64    `json:"energy_j"`
	TemperatureC *int        `json:"temperature_c"` // at the end
	// What came in between; see GPUReading.
	PowerViolationNS   *int64 `json:"power_violation_ns"`
	ThermalViolationNS *int64 `json:"thermal_violation_ns"`
	HWSlowdownNS       *int64 `json:"hw_slowdown_ns"`
	ECCErrors          *int64 `json:"ecc_uncorrectable"`
	PCIeReplays        *int64 `json:"pcie_replays"`
	Xids               []int  `json:"xids"`
	ForeignProcesses   []int  `json:"foreign_processes"`

	Reasons Reasons `json:"-"` // why a field is nil
}

// MarshalJSON puts each reason beside its field.
func (g GPUInterval) MarshalJSON() ([]byte, error) {
	type plain GPUInterval
	return marshalWithReasons(plain(g), g.Reasons)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (g *GPUInterval) UnmarshalJSON(b []byte) error {
	type plain GPUInterval
	return unmarshalWithReasons(b, (*plain)(g), &g.Reasons)
}

// Between compares two readings of one sampler. ownCPUSeconds is what the
// measuring processes used of the host between them, as Usage says.
func Between(start, end Reading, ownCPUSeconds float64) Interval {
	var i Interval
	if end.Time > start.Time {
		seconds := float64(end.Time-start.Time) / 1e9
		i.Seconds = &seconds
	} else {
		i.Reasons.add("seconds", "the clock went from %d to %d ns", start.Time, end.Time)
	}
	if start.Host != nil && end.Host != nil {
		i.host(*start.Host, *end.Host, ownCPUSeconds)
	} else {
		for _, key := range []string{"steal_fraction", "foreign_cpus", "mean_frequency_mhz", "temperature_c", "thermal_throttles"} {
			i.Reasons.add(key, "no host reading")
		}
	}
	if start.GPU != nil && end.GPU != nil {
		i.GPU = gpuBetween(*start.GPU, *end.GPU)
	}
	return i
}

func (i *Interval) host(start, end HostReading, own float64) {
	capacity, err := capacityBetween(i, start, end)
	if err != nil {
		i.Reasons.add("steal_fraction", "%v", err)
		i.Reasons.add("foreign_cpus", "%v", err)
	} else {
		if steal, err := increase("steal_s", start.StealSeconds, end.StealSeconds, start.Reasons, end.Reasons); err != nil {
			i.Reasons.add("steal_fraction", "%v", err)
		} else {
			// The hypervisor's ticks do not coincide with ours.
			fraction := min(1, steal/capacity)
			i.StealFraction = &fraction
		}
		busy, err := increase("busy_s", start.BusySeconds, end.BusySeconds, start.Reasons, end.Reasons)
		// What one tick more or less on every CPU, at both ends, can simulate.
		ticks := 2 * float64(*end.CPUs) / userHZ
		switch {
		case err != nil:
			i.Reasons.add("foreign_cpus", "%v", err)
		case own < 0:
			i.Reasons.add("foreign_cpus", "own CPU time went backwards by %g s", -own)
		case own > busy+ticks:
			i.Reasons.add("foreign_cpus", "own CPU time of %g s exceeds the %g s that all CPUs were busy", own, busy)
		default:
			foreign := max(0, busy-own) / *i.Seconds
			i.ForeignCPUs = &foreign
		}
	}

	if start.FrequencyMHz != nil && end.FrequencyMHz != nil {
		mean := (*start.FrequencyMHz + *end.FrequencyMHz) / 2
		i.MeanFrequencyMHz = &mean
	} else {
		i.Reasons.add("mean_frequency_mhz", "%s", reasonOf("frequency_mhz", start.Reasons, end.Reasons))
	}
	if i.TemperatureC = end.TemperatureC; end.TemperatureC == nil {
		i.Reasons.add("temperature_c", "%s", reasonOf("temperature_c", end.Reasons))
	}
	throttles, err := increase("thermal_throttles", start.ThermalThrottles, end.ThermalThrottles, start.Reasons, end.Reasons)
	i.ThermalThrottles = try(throttles, err).or(&i.Reasons, "thermal_throttles")
}

// capacityBetween is the CPU seconds that all CPUs online could give.
func capacityBetween(i *Interval, start, end HostReading) (float64, error) {
	switch {
	case i.Seconds == nil:
		return 0, fmt.Errorf("%s", i.Reasons["seconds"])
	case start.CPUs == nil || end.CPUs == nil:
		return 0, fmt.Errorf("%s", reasonOf("cpus", start.Reasons, end.Reasons))
	case *start.CPUs != *end.CPUs:
		return 0, fmt.Errorf("CPUs online went from %d to %d", *start.CPUs, *end.CPUs)
	}
	return float64(*end.CPUs) * *i.Seconds, nil
}

// Watched adds what was seen between the ends, or why nothing was.
func (g *GPUInterval) Watched(watch *EventWatch, missing string) {
	g.Watch = watch
	delete(g.Reasons, "event_watch")
	if watch == nil {
		g.Reasons.add("event_watch", "%s", missing)
		return
	}
	if watch.Looks == 0 {
		return
	}
	joined := watch.Joined
	if g.EventReasons != nil {
		joined |= *g.EventReasons
	}
	g.EventReasons = &joined
	delete(g.Reasons, "event_reasons")
}

func gpuBetween(start, end GPUReading) *GPUInterval {
	g := &GPUInterval{TemperatureC: end.TemperatureC}
	if start.EventReasons != nil && end.EventReasons != nil {
		both := *start.EventReasons | *end.EventReasons
		g.EventReasons = &both
	} else {
		g.Reasons.add("event_reasons", "%s", reasonOf("event_reasons", start.Reasons, end.Reasons))
	}
	g.Reasons.add("event_watch", "nobody looked between the ends")
	energy, err := increase("energy_j", start.EnergyJ, end.EnergyJ, start.Reasons, end.Reasons)
	g.EnergyJ = try(energy, err).or(&g.Reasons, "energy_j")
	if end.TemperatureC == nil {
		g.Reasons.add("temperature_c", "%s", reasonOf("temperature_c", end.Reasons))
	}
	for _, counter := range []struct {
		key        string
		start, end *int64
		grown      **int64
	}{
		{"power_violation_ns", start.PowerViolationNS, end.PowerViolationNS, &g.PowerViolationNS},
		{"thermal_violation_ns", start.ThermalViolationNS, end.ThermalViolationNS, &g.ThermalViolationNS},
		{"hw_slowdown_ns", start.HWSlowdownNS, end.HWSlowdownNS, &g.HWSlowdownNS},
		{"ecc_uncorrectable", start.ECCErrors, end.ECCErrors, &g.ECCErrors},
		{"pcie_replays", start.PCIeReplays, end.PCIeReplays, &g.PCIeReplays},
	} {
		*counter.grown = try(increase(counter.key, counter.start, counter.end, start.Reasons, end.Reasons)).or(&g.Reasons, counter.key)
	}
	if g.Xids = end.Xids; end.Xids == nil {
		g.Reasons.add("xids", "%s", reasonOf("xids", end.Reasons))
	}
	if start.ForeignProcesses != nil && end.ForeignProcesses != nil {
		both := slices.Concat(start.ForeignProcesses, end.ForeignProcesses)
		slices.Sort(both)
		g.ForeignProcesses = slices.Compact(both)
		if g.ForeignProcesses == nil {
			g.ForeignProcesses = []int{}
		}
	} else {
		g.Reasons.add("foreign_processes", "%s", reasonOf("foreign_processes", start.Reasons, end.Reasons))
	}
	return g
}

// increase is by how much a cumulative counter grew. Counters restart when a CPU goes
// offline or a driver is reloaded; what they lost is not known.
func increase[T int64 | float64](key string, start, end *T, reasons ...Reasons) (T, error) {
	if start == nil || end == nil {
		return 0, fmt.Errorf("%s", reasonOf(key, reasons...))
	}
	if *end < *start {
		return 0, fmt.Errorf("%s went backwards from %v to %v", key, *start, *end)
	}
	return *end - *start, nil
}

// reasonOf finds why key was nil in one of several readings.
func reasonOf(key string, readings ...Reasons) string {
	for _, r := range readings {
		if why, ok := r[key]; ok {
			return why
		}
	}
	return key + " was not reported"
}
