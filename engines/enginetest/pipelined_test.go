package enginetest

import (
	"strings"
	"sync"
	"testing"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// lagging is a stream on which every inference waits for the one before, starts
// its own and returns: in a block only the last one's work is hidden.
type lagging struct {
	hardware.Stream
	busy *sync.Mutex
}

func (l lagging) Time(c native.Call, out []hardware.Sample) error {
	for i := range out {
		start := time.Now()
		l.busy.Lock()
		go func() {
			defer l.busy.Unlock()
			// A failure shows as a wrong output, which is what is looked for anyhow.
			_ = l.Stream.Time(c, make([]hardware.Sample, 1))
		}()
		took := time.Since(start).Nanoseconds()
		out[i] = hardware.Sample{Device: took, Enqueue: took, Host: took}
	}
	return nil
}

// patient waits for the work before it touches the session.
type patient struct {
	engines.Session
	busy *sync.Mutex
}

func (p patient) SetInput(t models.Tensor) error {
	p.busy.Lock()
	defer p.busy.Unlock()
	return p.Session.SetInput(t)
}

func (p patient) Output() (models.Tensor, error) {
	p.busy.Lock()
	defer p.busy.Unlock()
	return p.Session.Output()
}

func TestLaggingByOneIsFound(t *testing.T) {
	busy := new(sync.Mutex)
	d := defect{session: func(s engines.Session, _ hardware.Stream) engines.Session { return patient{s, busy} }}
	r := openRig(t, d.apply())
	r.stream = lagging{r.stream, busy}
	// Which of its two traces is seen first is a matter of timing.
	err := checkNoDeferredWork(r)
	if err == nil || !strings.Contains(err.Error(), "the output right after inference") && !strings.Contains(err.Error(), "in reading the output") {
		t.Errorf("found as %v", err)
	}
}
