package bench

import (
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"genbench/hardware"
)

// warming is a device that comes to 65 °C and 1410 MHz in the time it takes, by the
// launch's clock.
func warming(s *simulation, share func(at time.Duration) float64) {
	s.counters = func(at time.Duration, r *hardware.Reading) error {
		c := int(math.Round(65 - 30*share(at)))
		r.GPU.TemperatureC = &c
		return nil
	}
	s.clock = func(at time.Duration) float64 { return 1410 * (1 + 0.05*share(at)) }
}

// cooling gives exp(-t/tau).
func cooling(tau time.Duration) func(time.Duration) float64 {
	return func(at time.Duration) float64 { return math.Exp(-float64(at) / float64(tau)) }
}

// The first launch waits for slopes, later ones for the state that it left (W2).
func TestDeviceSettles(t *testing.T) {
	for _, c := range []struct {
		name    string
		profile string
		script  func(*simulation)
		seconds [2]float64 // of the first launch's settling, from and to
		again   float64    // of the second's
		met     [2]bool
		reason  string
	}{
		{name: "at rest", script: func(*simulation) {}, seconds: [2]float64{30, 31}, again: 5, met: [2]bool{true, true}},
		{name: "quick", profile: "quick", script: func(*simulation) {}, seconds: [2]float64{10, 11}, again: 2, met: [2]bool{true, true}},
		// The slope falls below half a degree in 10 s after 68 s, and is that of the 20 s
		// before; the clock's below 0.2 % after 50.
		{name: "warming", script: func(s *simulation) { warming(s, cooling(20*time.Second)) }, seconds: [2]float64{70, 110}, again: 5, met: [2]bool{true, true}},
		{name: "slow", script: func(s *simulation) {
			s.clock = func(at time.Duration) float64 { return 1500 * (1 - 0.0003*at.Seconds()) }
		}, seconds: [2]float64{180, 182}, again: 5, met: [2]bool{false, true}, reason: "the clock changed by -0.3"},
		{name: "only the temperature", script: func(s *simulation) {
			warming(s, cooling(2*time.Minute))
			s.clock = func(time.Duration) float64 { return math.NaN() }
		}, seconds: [2]float64{180, 182}, again: 5, met: [2]bool{false, true}, reason: "the temperature changed by +"},
		{name: "blind", script: func(s *simulation) {
			s.clock = func(time.Duration) float64 { return math.NaN() }
			s.counters = func(_ time.Duration, r *hardware.Reading) error { r.GPU.TemperatureC = nil; return nil }
		}, seconds: [2]float64{30, 31}, again: 5, met: [2]bool{false, false}, reason: "neither clock nor temperature"},
		{name: "a flickering sensor", script: func(s *simulation) {
			s.counters = func(at time.Duration, r *hardware.Reading) error {
				c := 60 + int(at/(3*time.Second))%2
				r.GPU.TemperatureC = &c
				return nil
			}
		}, seconds: [2]float64{30, 34}, again: 5, met: [2]bool{true, true}},
		{name: "another clock in the second launch", script: func(s *simulation) {
			s.clock = func(at time.Duration) float64 {
				if at > 32*time.Second {
					return 1485
				}
				return 1500
			}
		}, seconds: [2]float64{30, 31}, again: 60, met: [2]bool{true, false}, reason: "the clock is -1.00 % from the first launch's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			profile := c.profile
			if profile == "" {
				profile = "ci"
			}
			s := brief(simulate(t, profile, hardware.CUDA))
			s.latency = func(inference) time.Duration { return 20 * time.Millisecond }
			c.script(s)
			r := s.run(t)
			if r.err != nil || len(r.Log.Settles) != 2 {
				t.Fatalf("%v, %d records", r.err, len(r.Log.Settles))
			}
			first, second := r.Log.Settles[0], r.Log.Settles[1]
			if first.Seconds < c.seconds[0] || first.Seconds > c.seconds[1] || !first.First {
				t.Errorf("the first launch settled for %g s: %+v", first.Seconds, first)
			}
			if second.Seconds < c.again || second.Seconds > c.again+1.1 || second.First {
				t.Errorf("the second launch settled for %g s: %+v", second.Seconds, second)
			}
			if first.Met != c.met[0] || second.Met != c.met[1] || !strings.Contains(first.Reason+second.Reason, c.reason) {
				t.Errorf("got %+v, then %+v", first, second)
			}
			// Not reached is never silent.
			if want := !c.met[0] || !c.met[1]; slices.Contains(codes(r.Warnings), Unsettled) != want {
				t.Errorf("warnings %v", r.Warnings)
			}
			if rule := ruleNamed(t, r.Result, "W2"); (rule.State == RuleMet) != (c.met[0] && c.met[1]) {
				t.Errorf("W2: %+v", rule)
			}
			if n := slices.IndexFunc(r.events, func(e Event) bool { return e.Kind == Settled }); n < 0 {
				t.Error("nobody was told")
			}
		})
	}
}

// A heaviest point that does not run leaves the launch unsettled, and says so.
func TestSettlingFails(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.refuses = func(engine, what string) bool { return engine == "sim" && what == "build" }
	r := s.run(t)
	if len(r.Log.Settles) != 1 || r.Log.Settles[0].Met || !strings.Contains(r.Log.Settles[0].Reason, "no engine today") {
		t.Errorf("got %+v", r.Log.Settles)
	}
	if m := r.point(t, "sim"); m.State != Failed || r.ExitCode() != 5 {
		t.Errorf("%s, exit code %d", m.State, r.ExitCode())
	}
}

// Every later launch comes back to where the first one was, not to the one before it:
// small steps would add up.
func TestLaunchesComeBackToTheFirst(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.config.Protocol.Launches = 3
	launch := 0
	s.latency = func(i inference) time.Duration {
		launch = i.launch
		return 20 * time.Millisecond
	}
	s.clock = func(time.Duration) float64 { return 1500 * (1 - 0.004*float64(launch)) }
	r := s.run(t)
	var met []bool
	for _, settle := range r.Log.Settles {
		met = append(met, settle.Met)
	}
	if !slices.Equal(met, []bool{true, true, false}) {
		t.Errorf("settled %v, want the third launch too far from the first", met)
	}
}

// A first launch that dies while it settles says so and leaves nothing to come back to:
// the next one settles as the first.
func TestNothingToComeBackTo(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.config.Grid.Engines = []string{"crashes", "works"}
	s.latency = func(inference) time.Duration { return 20 * time.Millisecond }
	died := false
	s.fault = func(i inference) string {
		if i.launch == 1 && i.engine == "crashes" && !died {
			died = true
			return "signal: segmentation fault"
		}
		return ""
	}
	r := s.run(t)
	if s := r.Log.Settles; len(s) != 2 || s[0].Met || !strings.Contains(s[0].Reason, "segmentation fault") || !s[1].First || !s[1].Met {
		t.Errorf("got %+v", s)
	}
	if m := r.point(t, "works"); m.State != Measured || !slices.Contains(codes(r.Warnings), Unsettled) {
		t.Errorf("%s, warnings %v", m.State, r.Warnings)
	}
	if rule := ruleNamed(t, r.Result, "W2"); rule.State != RuleNotMet {
		t.Errorf("W2: %+v", rule)
	}
}

// Where NVML does not read the GPU, the processors' temperature does not stand in for its.
func TestSettlesWithoutNVML(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.latency = func(inference) time.Duration { return 20 * time.Millisecond }
	s.counters = func(at time.Duration, r *hardware.Reading) error {
		celsius := 50 + at.Seconds() // they spin
		r.GPU, r.Host.TemperatureC = nil, &celsius
		return nil
	}
	r := s.run(t)
	if len(r.Log.Settles) == 0 {
		t.Fatal("nothing settled")
	}
	for _, record := range r.Log.Settles {
		if record.End.TemperatureC != nil || !record.Met {
			t.Errorf("met %t at %v °C: %s", record.Met, record.End.TemperatureC, record.Reason)
		}
	}
}

// A host that was not warmed says so.
func TestHostIsNotSettled(t *testing.T) {
	for _, fault := range []string{"break", "signal: segmentation fault"} {
		s := brief(simulate(t, "quick", hardware.Host))
		s.config.Grid.Engines = []string{"fails", "works"}
		s.fault = func(i inference) string {
			if i.engine == "fails" {
				return fault
			}
			return ""
		}
		r := s.run(t)
		rule := ruleNamed(t, r.Result, "W2")
		if m := r.point(t, "works"); m.State != Measured || rule.State != RuleNotMet || !slices.Contains(codes(r.Warnings), Unsettled) {
			t.Errorf("%s: %s, %+v, warnings %v", fault, m.State, rule, r.Warnings)
		}
	}
}

// After the lock was lowered the next launch settles as the first one under that clock.
func TestSettlesUnderALowerLock(t *testing.T) {
	b := &simulatedBoard{}
	s := onBoard(t, LockedClocks(1410), b)
	p := &s.config.Protocol
	p.Launches, p.Settle, p.SettleAgain = 3, 10*time.Second, 2*time.Second
	var hot atomic.Bool
	b.cap = func(time.Duration) float64 {
		if hot.Load() {
			return 1320
		}
		return 2000
	}
	launch := 0
	s.latency = func(i inference) time.Duration {
		hot.Store(hot.Load() || launch == 1 && i.at > 11*time.Second)
		launch = i.launch
		return 10 * time.Millisecond
	}
	r := s.run(t)
	if got := r.Log.ClockSetting(); r.err != nil || got != "locked at 1410 MHz, then locked at 1305 MHz" {
		t.Fatalf("%v, clocks %q", r.err, got)
	}
	var first, met []bool
	for _, s := range r.Log.Settles {
		first, met = append(first, s.First), append(met, s.Met)
	}
	if !slices.Equal(first, []bool{true, true, false}) || !slices.Equal(met, []bool{true, true, true}) {
		t.Errorf("settled as first %v, met %v", first, met)
	}
}

// A run that follows another comes back to where that left the device, if its clock is
// the same.
func TestSettlesWhereAnotherDid(t *testing.T) {
	at := func(mhz, celsius float64) *DeviceState { return &DeviceState{&mhz, &celsius} }
	for _, c := range []struct {
		settled *DeviceState
		first   bool
	}{{nil, true}, {at(1410, 40), false}, {at(1305, 40), true}} {
		s := onBoard(t, LockedClocks(1410), &simulatedBoard{})
		s.config.Protocol.Settle, s.settled = 5*time.Second, c.settled
		r := s.run(t)
		if settle := r.Log.Settles[0]; settle.First != c.first || !settle.Met || !c.first && settle.Seconds > 6 {
			t.Errorf("after %+v: %+v", c.settled, settle)
		}
	}
}

// Clocks that are set anew leave nothing to compare with; those that are taken again do.
func TestClocksSetAnew(t *testing.T) {
	journal, err := CreateJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	for _, mhz := range []int{1410, 1305, 0} {
		set, kept := ClocksRecord{Policy: clocksLocked, LockMHz: mhz}, mhz == 1410
		if mhz == 0 {
			set.Policy = clocksFloating
		}
		r := &Runner{Plan: &Plan{}, Journal: journal, Events: func(Event) {}, now: func() int64 { return 0 }}
		r.clocks.set = ClocksRecord{Type: "clocks", Policy: clocksLocked, LockMHz: 1410}
		r.watch.first, r.settled = 1e6, &DeviceState{}
		if err := r.setTo(set); err != nil {
			t.Fatal(err)
		}
		if (r.watch.first > 0) != kept || (r.settled != nil) != kept {
			t.Errorf("%s: sentinel's first %g, settled %v; want kept %t", set, r.watch.first, r.settled, kept)
		}
	}
}

// The last look at the sentinel is taken on a warm device, and once.
func TestLastLookOfAResumedRun(t *testing.T) {
	s := brief(simulate(t, "ci", hardware.CUDA))
	s.config.Energy, s.config.Protocol.SentinelEvery = true, 10*time.Minute
	whole := s.run(t)
	looks := func(r *simulated) (all []RoundRecord) {
		for _, round := range r.Log.Rounds {
			if round.Sentinel {
				all = append(all, round)
			}
		}
		return all
	}
	if n := len(looks(whole)); whole.err != nil || n != 2 {
		t.Fatalf("%v, %d looks", whole.err, n)
	}
	last := time.Duration(looks(whole)[1].Start)
	for name, c := range map[string]struct {
		cut     time.Duration
		settles int
	}{
		"before the last look":   {last - 10*time.Millisecond, 3},
		"during the energy pass": {whole.took - 5*time.Second, 2},
	} {
		s.interrupt = c.cut
		part := s.run(t)
		s.interrupt = 0
		r := s.resume(t, part.dir)
		if n, settles := len(looks(r)), len(r.Log.Settles); r.err != nil || n != 2 || settles != c.settles {
			t.Errorf("%s: %v, %d looks, settled %d times, want 2 and %d", name, r.err, n, settles, c.settles)
		}
	}
}
