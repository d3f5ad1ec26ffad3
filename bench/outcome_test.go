package bench

import (
	"path/filepath"
	"testing"
)

// The two ways to a point's state agree on every journal there is to test with.
func TestOutcomesAgreeWithResult(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join("..", "reports", "testdata", "*", JournalName))
	if err != nil || len(dirs) < 3 {
		t.Fatalf("journals to test with: %v, %v", dirs, err)
	}
	states := map[State]int{}
	for _, dir := range dirs {
		log, err := ReadLog(dir)
		if err != nil {
			continue // damaged on purpose
		}
		outcomes := Outcomes(log)
		for i, m := range NewResult(log).Measurements {
			o := outcomes[i]
			states[o.State]++
			if o.Point != m.Point || o.State != m.State || o.Launches != m.Launches {
				t.Errorf("%s: %s is %s with %d launches, in the result %s is %s with %d", dir, o.Point, o.State, o.Launches, m.Point, m.State, m.Launches)
			}
			if o.State != Measured && o.State != Invalid && o.Reason != m.Reason {
				t.Errorf("%s: %s: reason %q, in the result %q", dir, o.Point, o.Reason, m.Reason)
			}
		}
	}
	for _, s := range []State{Measured, Skipped, Failed, Invalid} {
		if states[s] == 0 {
			t.Errorf("no journal has a point that is %s", s)
		}
	}
}
