package hardware

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"genbench/hardware/native"
)

// WithDeadline gives a sampler whose calls return within d, whatever becomes of the
// driver. A call that takes longer gives a reading of nothing, with the reason at
// every field; so do the next ones, at once, until that call has returned and its
// late answer is thrown away. All calls of the sampler run on one goroutine of its
// own. Close waits d for a call that hangs and then is an error: the sampler, and the
// library below it, are left as they are, because closing would hang as well.
func WithDeadline(s Sampler, d time.Duration) Sampler {
	w := &deadlineSampler{sampler: s, patience: d, calls: make(chan struct{}), answers: make(chan answer, 1), now: native.Now}
	go func() {
		defer close(w.answers)
		for range w.calls {
			reading, err := s.Sample()
			w.answers <- answer{reading, err}
		}
	}()
	return w
}

// A blankReader is a sampler that can say "not known" to everything it would read.
type blankReader interface{ blank(why string) Reading }

type answer struct {
	reading Reading
	err     error
}

type deadlineSampler struct {
	sampler  Sampler
	patience time.Duration
	now      func() int64

	mu      sync.Mutex
	calls   chan struct{}
	answers chan answer // holds one, so that a late one never blocks
	late    int64       // when the call that has not returned was made; 0 is none
	closed  bool
}

func (w *deadlineSampler) Sample() (Reading, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return Reading{}, fmt.Errorf("sample: the sampler is closed")
	}
	if w.late != 0 {
		select {
		case <-w.answers: // of another time
			w.late = 0
		default:
			return w.nothing(), nil
		}
	}
	w.calls <- struct{}{}
	timer := time.NewTimer(w.patience)
	defer timer.Stop()
	started := w.now()
	select {
	case a := <-w.answers:
		return a.reading, a.err
	case <-timer.C:
		w.late = started
		return w.nothing(), nil
	}
}

// nothing is the reading while a call hangs.
func (w *deadlineSampler) nothing() Reading {
	now := w.now()
	why := fmt.Sprintf("the call for the counters has not returned for %v", time.Duration(now-w.late).Round(time.Millisecond))
	reading := Reading{}
	if b, ok := w.sampler.(blankReader); ok {
		reading = b.blank(why)
	}
	reading.Time = now
	return reading
}

func (w *deadlineSampler) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	close(w.calls)
	if w.late != 0 {
		timer := time.NewTimer(w.patience)
		defer timer.Stop()
		select {
		case <-w.answers:
		case <-timer.C:
			return fmt.Errorf("close sampler: a call for the counters has not returned for %v; it is left to hang",
				time.Duration(w.now()-w.late).Round(time.Millisecond))
		}
	}
	return w.sampler.Close()
}

func (s *hostSampler) blank(why string) Reading {
	h := &HostReading{}
	h.Reasons = reasonsForAll(h, why)
	return Reading{Host: h}
}

func (s *gpuSampler) blank(why string) Reading {
	g := &GPUReading{}
	g.Reasons = reasonsForAll(g, why)
	return Reading{GPU: g}
}

// reasonsForAll gives one reason for every key of a record that is empty.
func reasonsForAll(record any, why string) Reasons {
	object, err := json.Marshal(record)
	if err != nil {
		panic(err) // the records of this package can be encoded
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		panic(err)
	}
	var reasons Reasons
	for key := range fields {
		reasons.add(key, "%s", why)
	}
	return reasons
}
