package bench

import (
	"math"
	"strings"
	"testing"
	"time"

	"genbench/hardware"
)

// The pass comes after everything that is timed, and gives what the device's counter
// says: 150 W under load, 50 W at rest, 1 ms an inference.
func TestEnergyPass(t *testing.T) {
	s := simulate(t, "quick", hardware.Host)
	s.config.Energy = true
	r := s.run(t)
	if r.err != nil {
		t.Fatal(r.err)
	}
	m := r.point(t, "sim")
	if m.Energy == nil {
		t.Fatalf("no energy: %s", m.NoEnergy)
	}
	for name, c := range map[string]struct{ got, want float64 }{
		"gross": {m.Energy.Gross.Value, 0.15}, "net": {m.Energy.Net.Value, 0.10},
		"at rest": {m.Energy.IdleW, 50}, "under load": {m.Energy.BusyW, 150},
	} {
		if math.Abs(c.got/c.want-1) > 0.02 {
			t.Errorf("%s: %.4g, want %.4g", name, c.got, c.want)
		}
	}
	if low, high := m.Energy.Gross.Low, m.Energy.Gross.High; low == nil || high == nil || *low > 0.15 || *high < 0.149 {
		t.Errorf("the interval is %v to %v", low, high)
	}
	proto := s.config.Protocol
	if least := time.Duration(2*proto.EnergyWindows) * proto.EnergyWindow; r.took < least {
		t.Errorf("the run took %v, its energy pass alone takes %v", r.took, least)
	}
	last := r.Log.Rounds[len(r.Log.Rounds)-1]
	if e := r.Log.Energies[0]; e.Launch <= last.Launch || e.Windows[0].Idle.StartNS < last.Start {
		t.Errorf("the pass, launch %d, is not after the last round, launch %d", e.Launch, last.Launch)
	}
	if !rule(t, r.Result, "J") {
		t.Error("rule J is not met")
	}
}

// Short inferences follow each other as in a round, so that the board is not idle between
// them; what idles between them on purpose has no energy of its own.
func TestEnergyOfShortInferences(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.config.Energy = true
	s.config.Grid.Gaps = []time.Duration{0, 10 * time.Millisecond}
	singles, groups := 0, 0
	s.latency = func(i inference) time.Duration {
		if i.launch > s.config.Protocol.Launches && i.way.group > 1 {
			groups++
		} else if i.launch > s.config.Protocol.Launches {
			singles++
		}
		return 50 * time.Microsecond
	}
	r := s.run(t)
	m, spaced := &r.Measurements[0], &r.Measurements[1]
	if m.Energy == nil || math.Abs(m.Energy.Gross.Value/(150*50e-6)-1) > 0.02 || singles > groups/10 {
		t.Errorf("%q, energy %+v, %d blocks and %d single inferences", m.NoEnergy, m.Energy, groups, singles)
	}
	if spaced.Energy != nil || !strings.Contains(spaced.NoEnergy, "/gap=10ms are not") {
		t.Errorf("%s: energy %+v, %q", spaced.Point, spaced.Energy, spaced.NoEnergy)
	}
}

// Where nothing counts energy the result says why, and its latencies stand.
func TestNoEnergy(t *testing.T) {
	for name, c := range map[string]struct {
		asked   bool
		missing string
		dies    bool
		want    string
	}{
		"not asked for": {false, "", false, "no energy pass"},
		"no counter":    {true, "there is no counter", false, "there is no counter"},
		"it crashes":    {true, "", true, "SIGSEGV"},
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, "quick", hardware.Host)
			s.config.Energy, s.noCounter = c.asked, c.missing
			s.fault = func(i inference) string {
				if c.dies && i.launch > s.config.Protocol.Launches {
					return "SIGSEGV"
				}
				return ""
			}
			r := s.run(t)
			m := r.point(t, "sim")
			if r.err != nil || m.State != Measured || m.Energy != nil || !strings.Contains(m.NoEnergy, c.want) {
				t.Errorf("%v; %s, energy %v, %q; want %q", r.err, m.State, m.Energy, m.NoEnergy, c.want)
			}
			if rule(t, r.Result, "J") {
				t.Error("rule J is met")
			}
		})
	}
}

// A pass that was interrupted goes on with the points that have no energy yet.
func TestEnergyIsResumed(t *testing.T) {
	s := simulate(t, "quick", hardware.Host)
	s.config.Energy = true
	s.config.Grid.Batches = []int{1, 2}
	whole := s.run(t)
	if whole.err != nil {
		t.Fatal(whole.err)
	}
	proto := s.config.Protocol
	s.interrupt = whole.took - time.Duration(proto.EnergyWindows)*proto.EnergyWindow // within the last point's
	cut := s.run(t)
	if len(cut.Log.Energies) != 1 {
		t.Fatalf("the interrupted run has the energy of %d points", len(cut.Log.Energies))
	}
	s.interrupt = 0
	resumed := s.resume(t, cut.dir)
	if resumed.err != nil || len(resumed.Log.Energies) != 2 || resumed.Log.Energies[0].ID == resumed.Log.Energies[1].ID {
		t.Errorf("%v; energies of %d points", resumed.err, len(resumed.Log.Energies))
	}
}

// A counter that disagrees with the integrated power is doubted, the latency is not.
func TestSuspectEnergy(t *testing.T) {
	p := Point{Model: "m", Engine: "engine", Precision: "fp32", Batch: 1, Resolution: 32}
	for suspect, want := range map[bool]int{true: 1, false: 0} {
		s := newScript(t, PlannedPoint{Point: p})
		s.begin()
		for launch := range 4 {
			s.add(cleanRound(p, launch+1, 10+0.01*float64(launch%2)))
		}
		window := hardware.EnergyWindow{EndNS: 1e10, GrossJ: 1000, Suspect: suspect}
		s.add(EnergyRecord{Type: "energy", ID: p.String(), Launch: 5, Windows: []EnergySample{
			{Idle: hardware.EnergyWindow{EndNS: 1e10, GrossJ: 400}, Busy: window, Rate: 100},
		}})
		s.add(EndRecord{Type: "end"})
		m := s.load().Measurements[0]
		if n := len(m.Warnings); n != want || want == 1 && m.Warnings[0].Code != EnergySuspect || m.Quality != Q2 {
			t.Errorf("suspect %v: warnings %v, quality %s", suspect, m.Warnings, m.Quality)
		}
		if m.Energy.Gross.Value != 1 || math.Abs(m.Energy.Net.Value-0.6) > 1e-12 || m.Energy.Gross.Low != nil {
			t.Errorf("energy %+v; want 1 J gross and 0.6 J net of one window, without an interval", m.Energy)
		}
	}
}

// rule tells whether a result met a rule.
func rule(t *testing.T, r *Result, id string) bool {
	t.Helper()
	for _, rule := range r.Rules {
		if rule.ID == id {
			return rule.State == RuleMet
		}
	}
	t.Fatalf("no rule %s", id)
	return false
}
