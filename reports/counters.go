package reports

import (
	"cmp"
	"slices"

	"genbench/bench"
	"genbench/hardware"
)

// A series is one counter over the run.
type series struct {
	name   string
	unit   string
	points []reading
}

// A reading is a counter's value at a time, seconds from the start of the run. For
// a rate it is the mean since the reading before.
type reading struct{ at, value float64 }

// shortest is the time two readings must lie apart to make a rate: the kernel
// counts in ticks of 10 ms, of which there should be a few dozen.
const shortest = 0.3

// counters gives every counter that was read at least twice, the most telling first.
func counters(r *bench.Result) []series {
	readings := slices.Clone(r.Log.Readings)
	slices.SortStableFunc(readings, func(a, b bench.ReadingRecord) int { return cmp.Compare(a.Time, b.Time) })

	// Beside a GPU's counters the host's must not pass for them.
	whose, devices := "", r.Log.Run.Devices
	if onGPU(r.Log.Run) {
		whose = "host "
	}
	host := func(name, unit string, value func(*hardware.HostReading) *float64) series {
		name = whose + name
		return collect(name, unit, readings, func(r hardware.Reading) *float64 {
			if r.Host == nil {
				return nil
			}
			return value(r.Host)
		})
	}
	// Of the GPUs beside the one measured on the journal tells, too.
	others := func(r bench.ReadingRecord) bool {
		return r.GPU != nil && r.Device != "" && !slices.ContainsFunc(devices, func(d hardware.Info) bool { return d.ID == r.Device })
	}
	measured := slices.DeleteFunc(slices.Clone(readings), others)
	gpu := func(name, unit string, value func(*hardware.GPUReading) *float64) series {
		return collect(name, unit, measured, func(r hardware.Reading) *float64 {
			if r.GPU == nil {
				return nil
			}
			return value(r.GPU)
		})
	}
	all := []series{
		gpu("SM clock", "MHz", func(g *hardware.GPUReading) *float64 { return float(g.SMClockMHz) }),
		gpu("power", "W", func(g *hardware.GPUReading) *float64 { return g.PowerW }),
		gpu("GPU temp.", "°C", func(g *hardware.GPUReading) *float64 { return float(g.TemperatureC) }),
		rate(host("busy", "processors", func(h *hardware.HostReading) *float64 { return h.BusySeconds })),
		rate(host("stolen", "processors", func(h *hardware.HostReading) *float64 { return h.StealSeconds })),
		host("frequency", "MHz", func(h *hardware.HostReading) *float64 { return h.FrequencyMHz }),
		host("temperature", "°C", func(h *hardware.HostReading) *float64 { return h.TemperatureC }),
		host("runnable", "threads", func(h *hardware.HostReading) *float64 { return float(h.Running) }),
	}
	return slices.DeleteFunc(all, func(s series) bool { return len(s.points) < 2 })
}

func collect(name, unit string, readings []bench.ReadingRecord, value func(hardware.Reading) *float64) series {
	s := series{name: name, unit: unit}
	for _, r := range readings {
		if v := value(r.Reading); v != nil {
			s.points = append(s.points, reading{float64(r.Time) / 1e9, *v})
		}
	}
	return s
}

// rate turns seconds counted into seconds a second.
func rate(s series) series {
	var rates []reading
	for i, from := 1, 0; i < len(s.points); i++ {
		a, b := s.points[from], s.points[i]
		if b.value < a.value {
			from = i // the counter began anew
			continue
		}
		if b.at-a.at >= shortest {
			rates = append(rates, reading{b.at, (b.value - a.value) / (b.at - a.at)})
			from = i
		}
	}
	s.points = rates
	return s
}

func float(v *int) *float64 {
	if v == nil {
		return nil
	}
	f := float64(*v)
	return &f
}
