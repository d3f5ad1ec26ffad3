package bench

import (
	"slices"
	"strings"
	"testing"
	"time"

	"genbench/hardware"
)

// brief makes launches short where only what they hold counts.
func brief(s *simulation) *simulation {
	p := &s.config.Protocol
	p.Launches, p.Rounds, p.MaxLaunches, p.SentinelEvery = 2, 1, 0, 0
	p.WarmupTime, p.WindowTime, p.RoundTime, p.RoundMost = 20*time.Millisecond, 30*time.Millisecond, 100*time.Millisecond, 200
	return s
}

// A GPU's axes are its own: a run that names none takes the protocol's, and every
// point is submitted and finds its cache as its id says.
func TestAxesOfAGPU(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	if g := s.config.Grid.On(hardware.Host); g.Graph != nil || g.Cache != nil {
		t.Errorf("a host's grid has %v, %v", g.Graph, g.Cache)
	}
	usual := s.config.Grid.On(hardware.CUDA)
	if !slices.Equal(usual.Graph, []string{Eager, Graphed}) || !slices.Equal(usual.Cache, []string{Rotate}) {
		t.Errorf("a GPU's grid has %v, %v", usual.Graph, usual.Cache)
	}
	s.config.Grid.Graph, s.config.Grid.Cache = GraphModes(), CacheModes()
	ways := map[simulatedWay]bool{}
	s.latency = func(i inference) time.Duration {
		ways[i.way] = true
		return time.Millisecond
	}
	r := s.run(t)
	if r.err != nil || len(r.Measurements) != 9 {
		t.Fatalf("%v, %d points", r.err, len(r.Measurements))
	}
	for _, m := range r.Measurements {
		if m.State != Measured || !strings.HasSuffix(m.Point.String(), "/graph="+m.Point.Graph+"/cache="+m.Point.Cache) {
			t.Errorf("%s: %s %s", m.Point, m.State, m.Reason)
		}
	}
	for _, want := range []simulatedWay{
		{}, {inputs: 8}, {cold: true},
		{graphs: 1}, {graphs: 8, inputs: 8}, {graphs: 1, cold: true},
		{held: true}, {held: true, inputs: 8}, {held: true, cold: true},
	} {
		if !ways[want] {
			t.Errorf("nothing ran as %+v", want)
		}
		delete(ways, want)
	}
	delete(ways, simulatedWay{inputs: 8, graphs: 0})
	if len(ways) > 0 {
		t.Errorf("something ran as %v", ways)
	}
	for _, p := range r.Log.Points {
		if (p.GraphNodes == 7) != (p.Point.Graph == Graphed) || (p.RotatedInputs == 8) != (p.Point.Cache == Rotate) {
			t.Errorf("%s: %d nodes, %d inputs", p.ID, p.GraphNodes, p.RotatedInputs)
		}
	}
	if rule := ruleNamed(t, r.Result, "M5"); rule.State != RuleMet {
		t.Errorf("M5: %+v", rule)
	}
	if rule := ruleNamed(t, r.Result, "M6"); rule.State != RuleMet {
		t.Errorf("M6: %+v", rule)
	}
}

// Graphs take memory, so that there are no more of them than it allows, and the result
// says of how many inputs they are. Without graphs all inputs rotate.
func TestGraphsAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		nodes, rotated int
	}{"as many as may be": {mostGraphNodes / 8, 8}, "more": {mostGraphNodes / 5, 5}, "too many": {mostGraphNodes, 2}} {
		s := brief(simulate(t, "quick", hardware.CUDA))
		s.config.Protocol.Launches = 1
		s.config.Grid.Graph, s.config.Grid.Cache = []string{Eager, Graphed}, []string{Rotate}
		s.graphNodes = c.nodes
		graphs := 0
		s.latency = func(i inference) time.Duration {
			graphs = max(graphs, i.way.graphs)
			return time.Millisecond
		}
		r := s.run(t)
		if r.err != nil || graphs != c.rotated {
			t.Errorf("%s: %v, %d graphs, want %d", name, r.err, graphs, c.rotated)
		}
		few := false
		for _, m := range r.Measurements {
			want, asked := 8, 0
			if m.Point.Graph == Graphed && c.rotated < 8 {
				want, asked, few = c.rotated, 8, true
			}
			if m.Inputs != want || m.InputsAsked != asked || slices.Contains(codes(m.Warnings), FewInputs) != (asked > 0) {
				t.Errorf("%s: %s rotates %d of %d inputs, %v; want %d of %d", name, m.Point, m.Inputs, m.InputsAsked, m.Warnings, want, asked)
			}
		}
		if rule := ruleNamed(t, r.Result, "M6"); (rule.State == RuleMet) == few {
			t.Errorf("%s: M6 %+v", name, rule)
		}
	}
}

// A point that is lost while it only watches for drift, before its first own visit, has
// its reason in the result, whose exit code is that of the run.
func TestLostWhileWatching(t *testing.T) {
	for what, want := range map[string]State{"build": Failed, "graph": Skipped} {
		s := brief(simulate(t, "quick", hardware.CUDA))
		s.config.Protocol.SentinelEvery = time.Second
		s.config.Grid.Graph = []string{Graphed}
		s.refuses = func(engine, w string) bool { return engine == "sim" && w == what }
		r := s.run(t)
		m := r.point(t, "sim")
		if len(r.Log.Points) == 0 || !r.Log.Points[0].Sentinel {
			t.Fatalf("%s: the first visit is not the sentinel's", what)
		}
		if r.err != nil || m.State != want || m.Reason == "" || r.ExitCode() != ExitCode(r.Log) {
			t.Errorf("%s: %v, %s %q, want %s; exit code %d of the result, %d of the run", what, r.err, m.State, m.Reason, want, r.ExitCode(), ExitCode(r.Log))
		}
	}
}

// What an engine does not let be done costs the point, with the reason, and no exit
// code; and it is not tried again in every launch.
func TestAxesAreRefused(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.config.Grid.Graph, s.config.Grid.Cache = GraphModes(), []string{Rotate, Hot}
	s.config.Grid.Engines = []string{"obliging", "stubborn"}
	tried := 0
	s.refuses = func(engine, what string) bool {
		if engine == "stubborn" && what == "graph" {
			tried++
		}
		return engine == "stubborn" && what != "build"
	}
	r := s.run(t)
	if r.err != nil || r.ExitCode() != 0 {
		t.Errorf("%v, exit code %d", r.err, r.ExitCode())
	}
	if tried != 1 {
		t.Errorf("a graph was tried %d times", tried)
	}
	for _, m := range r.Measurements {
		want, reason := Measured, ""
		switch {
		case m.Point.Engine == "obliging":
		case m.Point.Cache == Rotate:
			want, reason = Skipped, "cannot rotate it; ask for --cache hot or cold"
		case m.Point.Graph == Graphed:
			want, reason = Skipped, "engine stubborn cannot be captured as a graph: it synchronises"
		case m.Point.Graph == Blocked:
			want, reason = Skipped, "the stream cannot be held"
		}
		if m.State != want || !strings.Contains(m.Reason, reason) {
			t.Errorf("%s: %s %q, want %s %q", m.Point, m.State, m.Reason, want, reason)
		}
	}
	if n := len(slices.DeleteFunc(slices.Clone(r.events), func(e Event) bool { return e.Kind != Refused })); n != 5 {
		t.Errorf("%d points were said to be refused, want 5", n)
	}
	// A run that goes on knows what was refused.
	log, err := ReadLog(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	runner := &Runner{Plan: &Plan{Config: s.config, Points: log.Run.Plan}, Past: log}
	runner.begin()
	if len(runner.failed) != 5 {
		t.Errorf("%d points are known to be refused", len(runner.failed))
	}
}

// A run of which nothing can be measured says so.
func TestEverythingIsRefused(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.config.Grid.Graph, s.refuses = []string{Graphed}, func(_, what string) bool { return what != "build" }
	if r := s.run(t); r.err != nil || r.ExitCode() != 3 {
		t.Errorf("%v, exit code %d", r.err, r.ExitCode())
	}
}

// A host has no such axes: what is asked for there is skipped with the reason.
func TestAxesOfAHost(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.Host))
	s.config.Grid.Graph, s.config.Grid.Cache = GraphModes(), CacheModes()
	r := s.run(t)
	for _, m := range r.Measurements {
		want := Skipped
		if m.Point.Graph == Eager && m.Point.Cache == Hot {
			want = Measured
		}
		if m.State != want || want == Skipped && !strings.Contains(m.Reason, "for GPUs: on the host") {
			t.Errorf("%s: %s %q, want %s", m.Point, m.State, m.Reason, want)
		}
	}
}

// Inferences too short for the events are timed in blocks of a millisecond, the same
// in all launches, and say so wherever their number stands (M4).
func TestShortInferencesAreAmortised(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.config.Grid.Engines = []string{"short", "long"}
	s.config.Grid.Cache = []string{Hot, Cold}
	groups := map[int]bool{}
	s.latency = func(i inference) time.Duration {
		each := 250 * time.Microsecond
		if i.engine == "short" {
			each = 60 * time.Microsecond // and 40 back to back
			if i.way.group > 1 {
				groups[i.way.group] = true
				each = 40 * time.Microsecond
			}
			if i.launch == 2 {
				each += each / 2
			}
		}
		return each
	}
	r := s.run(t)
	for _, m := range r.Measurements {
		amortised := m.Point.Engine == "short" && m.Point.Cache == Hot
		if amortised != (m.AmortisedOver == 25) || amortised != slices.Contains(codes(m.Warnings), Amortised) {
			t.Errorf("%s: amortised over %d, %v", m.Point, m.AmortisedOver, m.Warnings)
		}
		if (m.P90 == nil) != amortised {
			t.Errorf("%s: p90 %+v of %d samples", m.Point, m.P90, m.Samples)
		}
	}
	if m := r.Measurements[0]; m.Latency.Value < 40e3 || m.Latency.Value > 60e3 {
		t.Errorf("%s takes %g ns, want that of one inference of a block", m.Point, m.Latency.Value)
	}
	for _, round := range r.Log.Rounds {
		if amortised := strings.Contains(round.ID, "short") && strings.Contains(round.ID, Hot); amortised != (round.AmortisedOver == 25) {
			t.Errorf("launch %d of %s: amortised over %d", round.Launch, round.ID, round.AmortisedOver)
		}
	}
	// 17 were too few back to back; launch 2 takes what launch 1 found.
	if len(groups) != 2 || !groups[17] || !groups[25] {
		t.Errorf("blocks of %v", groups)
	}
	rule := ruleNamed(t, r.Result, "M4")
	if rule.State != RuleNotMet || !strings.Contains(rule.Why, "1 of 2") {
		t.Errorf("M4: %+v", rule)
	}
}

// A run takes the kind of samples from the run that it follows, though the time has
// come to lie on the other side of what is short.
func TestFollowingKeepsTheKindOfSamples(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.config.Grid.Cache = []string{Hot}
	each := 190 * time.Microsecond
	s.latency = func(inference) time.Duration { return each }
	first := s.run(t).Log.Rounds[0]
	if first.AmortisedOver < 2 {
		t.Fatalf("inferences of %v are amortised over %d", each, first.AmortisedOver)
	}
	each = 210 * time.Microsecond
	for _, groups := range []map[string]int{nil, {first.ID: first.AmortisedOver}} {
		s.groups = groups
		for _, round := range s.run(t).Log.Rounds {
			if round.AmortisedOver != groups[round.ID] {
				t.Errorf("%v after %v: amortised over %d", each, groups, round.AmortisedOver)
			}
		}
	}
}

// On a host there are no events whose resolution would count.
func TestHostIsNotAmortised(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.Host))
	s.latency = func(inference) time.Duration { return 50 * time.Microsecond }
	m := s.run(t).point(t, "sim")
	if m.AmortisedOver != 0 || m.P90 == nil {
		t.Errorf("amortised over %d, p90 %+v", m.AmortisedOver, m.P90)
	}
}

// The most that a run may take holds the time in which a device may settle (S7).
func TestMostSecondsOfSettling(t *testing.T) {
	p := &Plan{Config: Config{Protocol: gpuProtocol()}}
	p.Config.Protocol.Launches = 3
	if got, want := p.MostSeconds(), 180.0+60+60; got != want || p.PlannedSeconds() != 40 {
		t.Errorf("%g s at most and %g planned, want %g and 40", got, p.PlannedSeconds(), want)
	}
	// Launches that are added visit and settle; the energy pass stays one.
	p.Config.Protocol.MaxLaunches, p.Config.Energy = 5, true
	p.Points = []PlannedPoint{{PlannedSeconds: 30}}
	if got, want := p.MostSeconds(), 180.0+60+60+30+100+20+60+60; got != want || p.PlannedSeconds() != 170 {
		t.Errorf("%g s at most and %g planned, want %g and 170", got, p.PlannedSeconds(), want)
	}
}

// What a GPU does is not planned by the threads of its host.
func TestPlannedRate(t *testing.T) {
	for kind, follows := range map[hardware.DeviceKind]bool{hardware.Host: true, hardware.CUDA: false} {
		one, four := Config{Threads: 1}, Config{Threads: 4}
		if got := four.rate(kind, false) > one.rate(kind, false); got != follows {
			t.Errorf("%s: more threads are planned to be faster: %t, want %t", kind, got, follows)
		}
	}
}
