package bench

import (
	"math"
	"strings"
	"testing"
	"time"

	"genbench/hardware"
)

// What is copied around an inference stands beside its latency and is no part of it.
func TestCopies(t *testing.T) {
	s := simulate(t, "quick", hardware.CUDA)
	p := &s.config.Protocol
	p.Settle, p.SettleAgain, p.Launches = 0, 0, 3
	s.config.Grid.Engines, s.config.Grid.Batches = []string{"sim", "unwilling", "failing"}, []int{4}
	// Launches differ by a tenth of a percent, so that intervals have a width.
	s.latency = func(i inference) time.Duration {
		return 4*time.Millisecond + time.Duration(i.launch)*4*time.Microsecond
	}
	s.refuses = func(engine, what string) bool {
		return engine == "unwilling" && what == "copy" || engine == "failing" && what == "inference between copies"
	}
	r := s.run(t)
	m := r.point(t, "sim")
	c := m.Copies
	if m.State != Measured || c == nil || m.NoCopies != "" {
		t.Fatalf("%s %s, copies %+v, %q", m.State, m.Reason, c, m.NoCopies)
	}
	near := func(e Estimate, want time.Duration) bool {
		return math.Abs(e.Value-float64(want)) < 1000 && e.Low != nil && *e.Low <= e.Value && *e.High >= e.Value && e.Launches == 3
	}
	if !near(c.In, 400*time.Microsecond) || !near(c.Out, 200*time.Microsecond) || !near(c.Around, 4608*time.Microsecond) || c.InputBytes != 4<<20 || c.OutputBytes != 2<<20 {
		t.Errorf("in %v, out %v, around %v, %d and %d bytes", c.In, c.Out, c.Around, c.InputBytes, c.OutputBytes)
	}
	if math.Abs(m.Latency.Value-4.008e6) > 1000 {
		t.Errorf("latency %g ns with the copies beside it, want 4.008 ms", m.Latency.Value)
	}
	if rule := ruleNamed(t, r.Result, "M2"); rule.State != RuleNotMet || !strings.HasPrefix(rule.Why, "1 of 3") {
		t.Errorf("rule M2 %s: %s", rule.State, rule.Why)
	}
	// Three visits of thirty inferences, of which the one that warms up is no sample.
	if n := len(r.Log.Copies); n != 9 {
		t.Errorf("%d records of copies, want 9", n)
	}
	for _, record := range r.Log.Copies {
		if record.Missing == "" && (len(record.InNS) != 30 || len(record.OutNS) != 30 || len(record.AroundNS) != 30) {
			t.Errorf("%d, %d and %d samples", len(record.InNS), len(record.OutNS), len(record.AroundNS))
		}
	}
	// What goes wrong costs the copies and no round.
	for engine, why := range map[string]string{"unwilling": "no pinned memory", "failing": "code 7"} {
		if m := r.point(t, engine); m.State != Measured || m.Launches != 3 || m.Copies != nil || !strings.Contains(m.NoCopies, why) {
			t.Errorf("%s: %s with %+v, %q; want %q", engine, m.State, m.Copies, m.NoCopies, why)
		}
	}
}

// A worker that dies of taking copies costs the copies, and what disturbed every try of a
// round is not copied under.
func TestCopiesThatFail(t *testing.T) {
	s := simulate(t, "quick", hardware.CUDA)
	s.config.Protocol.Settle, s.config.Protocol.SettleAgain, s.config.Protocol.Launches = 0, 0, 2
	s.config.Grid.Engines = []string{"sim", "dying"}
	s.fault = func(i inference) string {
		if i.engine == "dying" && i.copies {
			return "signal: segmentation fault"
		}
		return ""
	}
	r := s.run(t)
	if m := r.point(t, "dying"); m.State != Measured || m.Launches != 2 || m.Copies != nil || !strings.Contains(m.NoCopies, "segmentation fault") {
		t.Errorf("dying: %s %s, %d launches, copies %+v, %q", m.State, m.Reason, m.Launches, m.Copies, m.NoCopies)
	}
	if m := r.point(t, "sim"); m.State != Measured || m.Copies == nil {
		t.Errorf("sim: %s %s, copies %q", m.State, m.Reason, m.NoCopies)
	}

	s = simulate(t, "quick", hardware.CUDA)
	s.config.Protocol.Settle, s.config.Protocol.SettleAgain, s.config.Protocol.Launches = 0, 0, 1
	s.counters = func(_ time.Duration, r *hardware.Reading) error {
		r.GPU.ForeignProcesses = []int{1}
		return nil
	}
	r = s.run(t)
	if m := r.point(t, "sim"); m.Dropped() != 4 || len(r.Log.Copies) != 0 {
		t.Errorf("%d rounds dropped, %d records of copies", m.Dropped(), len(r.Log.Copies))
	}
}

// A host has nothing to copy, and a run that was told so copies nothing.
func TestNoCopies(t *testing.T) {
	for kind, why := range map[hardware.DeviceKind]string{hardware.Host: NoHostCopies, hardware.CUDA: noCopyPass} {
		s := simulate(t, "quick", kind)
		s.config.Protocol.Settle, s.config.Protocol.SettleAgain, s.config.Protocol.Launches = 0, 0, 2
		s.config.Protocol.CopySamples = 0
		r := s.run(t)
		if m := r.point(t, "sim"); m.State != Measured || m.Copies != nil || m.NoCopies != why || len(r.Log.Copies) != 0 {
			t.Errorf("%s: %s, copies %+v for %q, want none for %q", kind, m.State, m.Copies, m.NoCopies, why)
		}
	}
	if p, err := protocolFor("quick", hardware.Host); err != nil || p.CopySamples != 0 {
		t.Errorf("a host's protocol takes %d copies, %v", p.CopySamples, err)
	}
}

// Slow inferences are copied around less often, but not so little that a median says
// nothing.
func TestCopiesAreFew(t *testing.T) {
	p := gpuProtocol()
	for inference, want := range map[time.Duration]int{time.Millisecond: 30, 20 * time.Millisecond: 25, time.Second: 5, 0: 30} {
		if n := p.copies(inference); n != want {
			t.Errorf("%d copies around an inference of %s, want %d", n, inference, want)
		}
	}
	if n := HostProtocol().copies(time.Millisecond); n != 0 {
		t.Errorf("%d copies on a host, want none", n)
	}
}
