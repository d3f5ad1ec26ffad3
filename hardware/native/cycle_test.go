package native

import "testing"

// A cycle makes its calls in turn, begins anew after the last, and tells which one
// failed.
func TestCycle(t *testing.T) {
	short, long := NewSpin(1), NewSpin(2e6)
	defer short.Free()
	defer long.Free()
	c := NewCycle([]Call{short.Call(), long.Call(), short.Call()})
	defer c.Free()
	sample := make([]Sample, 1)
	for i := range 7 {
		if err := TimeHost(c.Call(), sample); err != nil {
			t.Fatal(err)
		}
		if c.Last() != i%3 || i%3 == 1 && sample[0].Device < 2e6 {
			t.Errorf("time %d made call %d, which took %d ns", i, c.Last(), sample[0].Device)
		}
	}
}

// A chain makes all of its calls each time.
func TestChain(t *testing.T) {
	a, b := NewSpin(1e6), NewSpin(2e6)
	defer a.Free()
	defer b.Free()
	c := NewChain(a.Call(), b.Call())
	defer c.Free()
	twice := NewChain(c.Call(), c.Call()) // a chain is a call like others
	defer twice.Free()
	sample := make([]Sample, 1)
	if err := TimeHost(twice.Call(), sample); err != nil || sample[0].Device < 6e6 {
		t.Errorf("took %d ns, %v; want 6 ms at least", sample[0].Device, err)
	}
}
