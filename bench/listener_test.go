package bench

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A worker that not even SIGKILL ends, as one that waits inside a driver, does not hold
// the run for ever: not when it hangs, nor when the run is interrupted or must end.
func TestWorkerThatCannotBeKilled(t *testing.T) {
	for name, c := range map[string]struct {
		cancel bool
		says   string
		killed int
		hung   bool
		after  time.Duration
	}{
		"hangs":                  {killed: 1, hung: true, after: time.Minute + grace + undyingAfter},
		"interrupted":            {cancel: true, after: undyingAfter},
		"says what is no record": {says: "?", killed: 1, after: undyingAfter},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if c.cancel {
					cancel()
				}
				lines := make(chan []byte, 1)
				if c.says != "" {
					lines <- []byte(c.says)
				}
				killed := 0
				start := time.Now()
				l := &listener{allow: time.Minute}
				fatal, hung := l.listen(ctx, lines, nil, func() { killed++ })
				if !errors.Is(fatal, errUndying) || hung != c.hung || killed != c.killed || time.Since(start) != c.after {
					t.Errorf("%v, hung %t, killed %d times, after %s", fatal, hung, killed, time.Since(start))
				}
			})
		})
	}
}

// A parent that was stopped and goes on finds its timer expired while the worker's lines
// wait: it reads them before it judges.
func TestStoppedParentDoesNotKillItsWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := make(chan []byte)
		go func() {
			time.Sleep(time.Minute + grace/2)
			lines <- []byte(`{"type":"done"}`)
			close(lines)
		}()
		l := &listener{runner: &Runner{}, allow: time.Minute}
		fatal, hung := l.listen(context.Background(), lines, nil, func() { t.Error("killed") })
		if fatal != nil || hung || !l.done {
			t.Errorf("%v, hung %t, done %t", fatal, hung, l.done)
		}
	})
}
