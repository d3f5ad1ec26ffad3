package bench

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"genbench/hardware"
)

// counters reads a sampler from a goroutine of its own, so that a reading which hangs
// or fails costs that reading and nothing else. One goroutine uses it.
type counters struct {
	sampler  hardware.Sampler
	patience time.Duration
	pending  chan answer // of a reading that has not come back; nil where none is owed
}

type answer struct {
	reading hardware.Reading
	err     error
}

// read gives a reading, or the reason why there is none. A sampler that hung is asked
// again only when it has come back.
func (c *counters) read(now func() int64) (reading hardware.Reading, missing string) {
	if c.owed() {
		return hardware.Reading{Time: now()}, stillOwed
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

const stillOwed = "an earlier reading of the counters has not come back"

// owed tells whether a reading that hung has still not come back.
func (c *counters) owed() bool {
	if c.pending == nil {
		return false
	}
	select {
	case <-c.pending: // too old to be of use
		c.pending = nil
		return false
	default:
		return true
	}
}

// watching runs a block and looks at a GPU's clock events every so often beside it (X):
// the driver is asked on another thread than the one that times. so tells the block
// what was seen up to then. Where nobody could look, missing says why.
func (c *counters) watching(every time.Duration, block func(so func() hardware.EventReasons) error) (seen *hardware.EventWatch, missing string, err error) {
	sampler, ok := c.sampler.(hardware.EventSampler)
	switch {
	case !ok:
		missing = "no driver here reports clock events"
	case every == 0:
		missing = "the protocol's event_every is 0"
	case c.owed():
		missing = stillOwed
	}
	if missing != "" {
		return nil, missing, block(func() hardware.EventReasons { return 0 })
	}
	w := &eventWatcher{sampler: sampler}
	end, ended := make(chan struct{}), make(chan answer, 1)
	go func() {
		w.look(every, end)
		ended <- answer{}
	}()
	// Deferred, for a block that takes its goroutine with it.
	defer func() {
		close(end)
		late := time.NewTimer(c.patience)
		defer late.Stop()
		select {
		case <-ended:
		case <-late.C:
			c.pending = ended
			w.fail(fmt.Errorf("the driver did not answer within %s", c.patience))
		}
		seen, missing = w.result()
	}()
	return nil, "", block(w.joined)
}

// An eventWatcher looks at clock events on a goroutine of its own.
type eventWatcher struct {
	sampler hardware.EventSampler
	mutex   sync.Mutex // guards what follows
	seen    hardware.EventWatch
	err     error // of the first look that failed
}

func (w *eventWatcher) look(every time.Duration, end <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		if reasons, err := w.sampler.EventReasons(); err != nil {
			w.fail(err)
		} else {
			w.mutex.Lock()
			w.seen.Add(reasons)
			w.mutex.Unlock()
		}
	}
}

func (w *eventWatcher) fail(err error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.seen.Failed++
	if w.err == nil {
		w.err = err
	}
}

func (w *eventWatcher) joined() hardware.EventReasons {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.seen.Joined
}

// result is what was seen by now; nil, with the reason, where no look was answered.
func (w *eventWatcher) result() (*hardware.EventWatch, string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.seen.Looks == 0 && w.err != nil {
		return nil, fmt.Sprintf("read clock events: %v", w.err)
	}
	seen := w.seen
	seen.Seen = maps.Clone(seen.Seen) // a look that hangs may still come
	return &seen, ""
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
	gpu, err := hardware.NewNVMLSampler(library, d.Info().ID, ours)
	if err != nil {
		return nil, errors.Join(err, host.Close(), library.Close())
	}
	return &bothSamplers{host: host, gpu: gpu, library: library}, nil
}

// ours tells the processes of a run: the worker and its parent. The parent has no
// context on the GPU while it listens, and one that a library made there would be nobody
// else's work.
func ours(pid int) bool { return pid == os.Getpid() || pid == os.Getppid() }

// bothSamplers reads the host and a GPU at nearly one moment.
type bothSamplers struct {
	host    hardware.Sampler
	gpu     hardware.EventSampler
	library *hardware.NVML
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

// EventReasons implements hardware.EventSampler.
func (s *bothSamplers) EventReasons() (hardware.EventReasons, error) { return s.gpu.EventReasons() }

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

// temperature of the measured device in degrees Celsius; nil where a reading does not
// hold it. A GPU that no NVML reads has none: the processors beside it say nothing about
// it.
func (w *worker) temperature(r hardware.Reading) *float64 {
	switch {
	case w.device.Info().Kind == hardware.Host && r.Host != nil:
		return r.Host.TemperatureC
	case w.device.Info().Kind != hardware.Host && r.GPU != nil && r.GPU.TemperatureC != nil:
		c := float64(*r.GPU.TemperatureC)
		return &c
	}
	return nil
}
