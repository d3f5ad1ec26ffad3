package bench

import (
	"errors"
	"fmt"
	"time"

	"genbench/hardware"
)

// Counters reads a sampler from a goroutine of its own, so that a reading which
// hangs or fails costs that reading and nothing else. One goroutine uses it.
type counters struct {
	sampler  hardware.Sampler
	patience time.Duration
	pending  chan answer // of a reading that has not come back; nil where none is owed
}

type answer struct {
	reading hardware.Reading
	err     error
}

// read gives a reading, or the reason why there is none. A sampler that hung once
// is asked again when it has come back, not before.
func (c *counters) read(now func() int64) (reading hardware.Reading, missing string) {
	if c.pending != nil {
		select {
		case <-c.pending: // too old to be of use
		default:
			return hardware.Reading{Time: now()}, "an earlier reading of the counters has not come back"
		}
	}
	c.pending = make(chan answer, 1)
	go func(to chan<- answer) {
		reading, err := c.sampler.Sample()
		to <- answer{reading, err}
	}(c.pending)
	late := time.NewTimer(c.patience)
	defer late.Stop()
	select {
	case a := <-c.pending:
		c.pending = nil
		if a.err != nil {
			return hardware.Reading{Time: now()}, fmt.Sprintf("read counters: %v", a.err)
		}
		return a.reading, ""
	case <-late.C:
		return hardware.Reading{Time: now()}, fmt.Sprintf("the counters did not answer within %s", c.patience)
	}
}

// openCounters gives the sampler of what disturbs work on a device: the host's
// counters always, for its processors feed every device, and a GPU's beside them
// where there is NVML. nvml names its library; empty is the loader's choice.
func openCounters(d hardware.Device, nvml string) (hardware.Sampler, error) {
	host, err := hardware.NewHostSampler("")
	if err != nil || d.Info().Kind == hardware.Host {
		return host, err
	}
	library, err := hardware.OpenNVML(nvml)
	var absent *hardware.NVMLUnavailableError
	if errors.As(err, &absent) {
		return host, nil
	}
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	gpu, err := hardware.NewNVMLSampler(library, d.Info().ID, nil)
	if err != nil {
		return nil, errors.Join(err, host.Close(), library.Close())
	}
	return &bothSamplers{host: host, gpu: gpu, library: library}, nil
}

// bothSamplers reads the host and a GPU at nearly one moment.
type bothSamplers struct {
	host, gpu hardware.Sampler
	library   *hardware.NVML
}

func (s *bothSamplers) Sample() (hardware.Reading, error) {
	host, err := s.host.Sample()
	if err != nil {
		return host, err
	}
	gpu, err := s.gpu.Sample()
	host.GPU = gpu.GPU
	return host, err
}

func (s *bothSamplers) Close() error {
	return errors.Join(s.host.Close(), s.gpu.Close(), s.library.Close())
}

// interval is what happened between two readings, of which either may be missing.
func interval(from hardware.Reading, fromMissing string, to hardware.Reading, toMissing string, ownCPUSeconds float64) hardware.Interval {
	i := hardware.Between(from, to, ownCPUSeconds)
	missing := fromMissing
	if missing == "" {
		missing = toMissing
	}
	if missing == "" {
		return i
	}
	for key := range i.Reasons {
		i.Reasons[key] = missing
	}
	return i
}

// temperature of the device that a reading is of, in degrees Celsius; nil where it
// is not known.
func temperature(r hardware.Reading) *float64 {
	if r.GPU != nil && r.GPU.TemperatureC != nil {
		c := float64(*r.GPU.TemperatureC)
		return &c
	}
	if r.GPU == nil && r.Host != nil {
		return r.Host.TemperatureC
	}
	return nil
}
