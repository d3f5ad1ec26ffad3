package bench

import (
	"math"
	"slices"
	"strings"
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

// A first launch that dies while it settles leaves nothing to come back to, and the
// next one says so.
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
	if n := len(r.Log.Settles); n != 1 || r.Log.Settles[0].First || !strings.Contains(r.Log.Settles[0].Reason, "the first launch left no clock") {
		t.Errorf("got %+v", r.Log.Settles)
	}
	if m := r.point(t, "works"); m.State != Measured || !slices.Contains(codes(r.Warnings), Unsettled) {
		t.Errorf("%s, warnings %v", m.State, r.Warnings)
	}
}
