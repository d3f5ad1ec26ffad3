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

// A point is invalid when more than a quarter of all its visits left no clean round,
// whether they were planned or added for width (X1, S5).
func TestAddedVisitsCount(t *testing.T) {
	p := pointOf("m")
	for _, c := range []struct {
		name string
		kept string // a letter for each launch from the first; d is dropped
		want State
	}{
		{"the four of the plan", "kkkk", Measured},
		{"one of the plan lost", "kkkd", Measured},
		{"two of the plan lost", "kkdd", Invalid},
		{"all that were added lost", "kkkkdd", Invalid},
		{"one that was added lost", "kkkkkd", Measured},
		{"two of eight", "kkddkkkk", Measured},
		{"added ones do not make up for three of eight", "kdddkkkk", Invalid},
	} {
		s := newScript(t, PlannedPoint{Point: p})
		s.begin()
		for i, letter := range c.kept {
			r := cleanRound(p, i+1, 10+0.01*float64(i%2))
			if letter == 'd' {
				// A visit is one however often its round was tried.
				r.Status, r.DropReason = Dropped, "others worked"
				s.add(r)
				r.Try = 2
			}
			s.add(r)
		}
		r := s.add(EndRecord{Type: "end"}).load()
		if m := r.Measurements[0]; m.State != c.want {
			t.Errorf("%s: %s %q, want %s", c.name, m.State, m.Reason, c.want)
		}
		if o := Outcomes(r.Log)[0]; o.State != c.want {
			t.Errorf("%s: the outcome is %s %q, want %s", c.name, o.State, o.Reason, c.want)
		}
	}
}
