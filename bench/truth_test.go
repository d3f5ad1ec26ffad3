package bench_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"genbench/bench"
	"genbench/engines"
	"genbench/engines/enginetest/faulty"
	"genbench/engines/reference"
	"genbench/hardware"
)

func truthOf(t *testing.T, d engines.Driver) (bench.EngineTruth, error) {
	t.Helper()
	device, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := device.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := d.Open(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	truth, err := bench.TestTruth(t.Context(), engine, device, stream)
	for _, c := range truth.Checks {
		t.Logf("%-12s %-42s %8.3f %% of %g, passed %t", d.Name, c.Name, c.Value, c.Limit, c.Passed)
	}
	return truth, err
}

func fake(name string) engines.Driver {
	drivers := faulty.Drivers()
	return drivers[slices.IndexFunc(drivers, func(d engines.Driver) bool { return d.Name == name })]
}

func TestTruthOfAnHonestEngine(t *testing.T) {
	var truth bench.EngineTruth
	for range 8 { // a busy machine may spoil some
		var err error
		if truth, err = truthOf(t, reference.Driver()); err != nil {
			t.Fatal(err)
		}
		if truth.Passed {
			break
		}
	}
	if !truth.Passed || len(truth.Checks) == 0 || truth.Engine != "reference" || truth.Inferences == 0 {
		t.Errorf("got %+v", truth)
	}
}

// TestTruthFindsLies has engines whose calls do not take as long as their work, or
// do not work at all.
func TestTruthFindsLies(t *testing.T) {
	for name, words := range map[string][]string{
		// Its call takes no time; a thread does, during the block and after it.
		"fake-defer": {"outside of its samples|beyond its samples", "after a block", "reading the output"},
		// Its call takes the same time whatever the network.
		"fake-spin": {"twice the work"},
	} {
		truth, err := truthOf(t, fake(name))
		if err != nil {
			t.Fatal(err)
		}
		if truth.Passed {
			t.Errorf("%s passes", name)
		}
		for _, word := range words {
			found := slices.ContainsFunc(truth.Checks, func(c hardware.SelfCheck) bool {
				return !c.Passed && slices.ContainsFunc(strings.Split(word, "|"), func(w string) bool { return strings.Contains(c.Name, w) })
			})
			if !found {
				t.Errorf("%s: no failed check speaks of %q", name, word)
			}
		}
	}
}

func TestTruthTellsWhatFailed(t *testing.T) {
	if _, err := truthOf(t, fake("fake-fail")); err == nil || !strings.Contains(err.Error(), "fake-fail") || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("got %v", err)
	}
	device, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := reference.Driver().Open(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bench.TestTruth(ctx, engine, device, nil); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("got %v", err)
	}
}
