package bench

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A worker that not even SIGKILL ends, as one that waits inside a driver, does not hold
// the run for ever.
func TestWorkerThatCannotBeKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		killed := 0
		start := time.Now()
		l := &listener{allow: time.Minute}
		fatal, hung := l.listen(make(chan []byte), nil, func() { killed++ })
		if !errors.Is(fatal, errUndying) || !hung || killed != 1 || time.Since(start) != time.Minute+undyingAfter {
			t.Errorf("%v, hung %t, killed %d times, after %s", fatal, hung, killed, time.Since(start))
		}
	})
}
