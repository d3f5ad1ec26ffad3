package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// noisy gives latencies around ms milliseconds an image with relative standard
// deviations between launches and between samples, the same for the same seed.
func noisy(ms, launchSD, sampleSD float64) func(inference) time.Duration {
	r := rand.New(rand.NewPCG(1, 2))
	effect := map[int]float64{}
	return func(i inference) time.Duration {
		if _, ok := effect[i.launch]; !ok {
			effect[i.launch] = launchSD * r.NormFloat64()
		}
		return time.Duration(ms * float64(i.batch) * 1e6 * math.Exp(effect[i.launch]+sampleSD*r.NormFloat64()))
	}
}

// visits counts the rounds that ended a visit, by launch.
func visits(r *simulated) map[int]int {
	n := map[int]int{}
	for _, round := range r.Log.Rounds {
		if !round.Sentinel && round.Status == OK {
			n[round.Launch]++
		}
	}
	return n
}

func TestProfilesAreCarriedOut(t *testing.T) {
	for _, c := range []struct {
		profile          string
		launches, rounds int
	}{{"quick", 4, 1}, {"ci", 12, 1}, {"publish", 5, 4}} {
		t.Run(c.profile, func(t *testing.T) {
			s := simulate(t, c.profile, hardware.Host)
			s.latency = noisy(20, 0, 0.0001)
			r := s.run(t)
			if r.err != nil || r.ExitCode() != 0 {
				t.Fatalf("%v, exit code %d", r.err, r.ExitCode())
			}
			n := visits(r)
			if len(n) != c.launches || n[1] != c.rounds {
				t.Errorf("rounds by launch %v, want %d launches of %d", n, c.launches, c.rounds)
			}
			m := r.point(t, "sim")
			if m.State != Measured || math.Abs(m.Latency.Value/20e6-1) > 0.001 {
				t.Errorf("%s, latency %g", m.State, m.Latency.Value)
			}
			// Every result of a fake says so, whatever else it is.
			if m.Quality != Q0 || !slices.Contains(codes(m.Warnings), FakeEngine) {
				t.Errorf("quality %s, warnings %v", m.Quality, m.Warnings)
			}
			// The plan was near what was used.
			end := r.Log.End
			if end.UsedSeconds != r.took.Seconds() || end.PlannedSeconds <= 0 {
				t.Errorf("planned %g s, used %g s of %s", end.PlannedSeconds, end.UsedSeconds, r.took)
			}
		})
	}
}

// Every round of a launch visits the points in a permutation of its own (S3).
func TestOrderIsDrawnForEveryRound(t *testing.T) {
	s := simulate(t, "publish", hardware.Host)
	s.config.Grid.Batches = []int{1, 2, 3, 4, 5, 6}
	s.config.Protocol.Launches, s.config.Protocol.MaxLaunches = 2, 0
	r := s.run(t)
	orders := map[string]bool{}
	order, last := "", [2]int{1, 1}
	for _, round := range r.Log.Rounds {
		if round.Sentinel {
			continue
		}
		if at := [2]int{round.Launch, round.Round}; at != last {
			orders[order], order, last = true, "", at
		}
		order += round.ID + " "
	}
	orders[order] = true
	if len(orders) != 8 {
		t.Errorf("%d orders in 2 launches of 4 rounds, want 8", len(orders))
	}
}

// publish adds launches for the points that need them, and for no others (S5).
func TestLaunchesAreAddedForWidth(t *testing.T) {
	s := simulate(t, "publish", hardware.Host)
	s.config.Grid.Engines = []string{"still", "shaky", "hopeless"}
	still, shaky, hopeless := noisy(20, 0, 0.0001), noisy(20, 0.006, 0.0001), noisy(20, 0.2, 0.0001)
	s.latency = func(i inference) time.Duration {
		switch i.engine {
		case "still":
			return still(i)
		case "shaky":
			return shaky(i)
		}
		return hopeless(i)
	}
	r := s.run(t)
	proto := s.config.Protocol
	if m := r.point(t, "still"); m.Launches != proto.Launches {
		t.Errorf("still: %d launches, want %d", m.Launches, proto.Launches)
	}
	m := r.point(t, "shaky")
	if m.Launches <= proto.Launches || m.Launches >= proto.MaxLaunches || m.Latency.HalfWidth() > proto.RelWidth {
		t.Errorf("shaky: %d launches, half-width %g; want some added, until it is below %g", m.Launches, m.Latency.HalfWidth(), proto.RelWidth)
	}
	m = r.point(t, "hopeless")
	if m.Launches != proto.MaxLaunches || !slices.Contains(codes(m.Warnings), Imprecise) {
		t.Errorf("hopeless: %d launches, warnings %v; want %d and imprecise", m.Launches, m.Warnings, proto.MaxLaunches)
	}
	if n := slices.IndexFunc(r.events, func(e Event) bool { return e.Kind == Extended }); n < 0 {
		t.Error("nothing said that launches were added")
	}
}

// ci never looks: the number of launches is fixed however wide the interval (S5).
func TestGateIsNotExtended(t *testing.T) {
	s := simulate(t, "ci", hardware.Host)
	s.latency = noisy(20, 0.2, 0.0001)
	if m := s.run(t).point(t, "sim"); m.Launches != 12 {
		t.Errorf("%d launches, want 12", m.Launches)
	}
}

// Hours of virtual time cost about a second.
func TestTwoHoursOfPublish(t *testing.T) {
	s := simulate(t, "publish", hardware.CUDA)
	s.config.Grid.Engines = []string{"a", "b", "c"}
	s.config.Grid.Batches = []int{1, 2, 4, 8, 16}
	s.config.Protocol.MaxLaunches = 0
	s.latency = noisy(40, 0.002, 0.001)
	real := time.Now()
	r := s.run(t)
	t.Logf("%s simulated in %s", r.took, time.Since(real).Round(time.Millisecond))
	if r.err != nil || r.took < 2*time.Hour {
		t.Errorf("%v after %s, want two hours", r.err, r.took)
	}
	for _, m := range r.Measurements {
		if m.State != Measured || m.Launches != 5 || m.Dropped() != 0 {
			t.Errorf("%s: %s, %d launches, %d dropped", m.Point, m.State, m.Launches, m.Dropped())
		}
	}
	// The sentinel was visited at the start, at the end, and at most a visit late
	// every ten minutes.
	var at []int64
	for _, round := range r.Log.Rounds {
		if round.Sentinel {
			at = append(at, round.Start)
		}
	}
	if n := int(r.took / (11 * time.Minute)); len(at) < n {
		t.Errorf("%d visits of the sentinel in %s, want %d", len(at), r.took, n)
	}
	if last := time.Duration(at[len(at)-1]); r.took-last > time.Minute {
		t.Errorf("the last visit of the sentinel was at %s of %s", last, r.took)
	}
	if first := r.Log.Rounds[0]; !first.Sentinel {
		t.Error("the first round is not the sentinel's")
	}
}

func TestDriftStops(t *testing.T) {
	drifting := func(i inference) time.Duration {
		return time.Duration(20e6 * (1 + 0.2*i.at.Hours()))
	}
	s := simulate(t, "publish", hardware.CUDA)
	s.config.Grid.Batches = []int{1, 2, 3, 4, 5, 6}
	s.latency = drifting
	r := s.run(t)
	var drifted *DriftError
	if !errors.As(r.err, &drifted) || drifted.Shift < 0.03 || drifted.Shift > 0.06 {
		t.Fatalf("%v, want a stop soon after 3 %%", r.err)
	}
	if end := r.Log.End; end == nil || end.ExitCode != 4 || !strings.Contains(end.Reason, "drift") {
		t.Errorf("end %+v", end)
	}
	// Shared machines drift, and are not stopped for it.
	s = simulate(t, "publish", hardware.Host)
	s.config.Protocol.MaxLaunches = 0
	s.latency = drifting
	if r := s.run(t); r.err != nil {
		t.Errorf("host: %v", r.err)
	}
}

// A run that was interrupted and resumed makes every visit of its plan once, and
// no other.
func TestResumeCoversThePlan(t *testing.T) {
	make := func() *simulation {
		s := simulate(t, "publish", hardware.Host)
		s.config.Grid.Batches = []int{1, 2, 3}
		s.latency = noisy(20, 0.01, 0.001) // wide enough for added launches
		return s
	}
	coverage := func(r *simulated) []string {
		var list []string
		for _, round := range r.Log.Rounds {
			if !round.Sentinel {
				list = append(list, round.ID+" "+string(rune('a'+round.Launch))+string(rune('a'+round.Round)))
			}
		}
		slices.Sort(list)
		return list
	}
	whole := make().run(t)
	ends := []float64{0.01, 0.3, 0.55, 0.97}
	if testing.Short() {
		ends = ends[1:2]
	}
	for _, at := range ends {
		s := make()
		s.interrupt = time.Duration(at * float64(whole.took))
		part := s.run(t)
		if !errors.Is(part.err, context.Canceled) || part.Log.End == nil || part.Log.End.ExitCode != 130 {
			t.Fatalf("interrupted at %s: %v, end %+v", s.interrupt, part.err, part.Log.End)
		}
		// As if it had been killed while it wrote.
		path := filepath.Join(part.dir, JournalName)
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(`{"type":"round","poi`); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s = make()
		rest := s.resume(t, part.dir)
		if rest.err != nil {
			t.Fatalf("resumed at %g: %v", at, rest.err)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if kept := before[:len(before)-len(`{"type":"round","poi`)]; !strings.HasPrefix(string(after), string(kept)) {
			t.Error("resuming changed what was written")
		}
		got := coverage(rest)
		if unique := slices.Compact(slices.Clone(got)); len(unique) != len(got) {
			t.Errorf("resumed at %g: a visit was made twice", at)
		}
		for _, v := range planned(whole, s.config.Protocol) {
			if !slices.Contains(got, v) {
				t.Errorf("resumed at %g: visit %q is missing", at, v)
			}
		}
		// Launches that differ by a per cent may pass for drift.
		doubts := slices.DeleteFunc(codes(rest.Warnings), func(c Code) bool { return c == Drifted })
		if !rest.Log.Finished() || rest.ExitCode() != 0 || len(rest.Log.Resumes) != 1 || len(doubts) != 0 {
			t.Errorf("resumed at %g: exit code %d, %d resumes, warnings %v", at, rest.ExitCode(), len(rest.Log.Resumes), rest.Warnings)
		}
		var last int64
		for _, round := range rest.Log.Rounds {
			if round.Start < last {
				t.Errorf("resumed at %g: time goes back from %d to %d", at, last, round.Start)
			}
			last = round.Start
		}
		if used := rest.Log.End.UsedSeconds; used < part.Log.End.UsedSeconds+rest.took.Seconds()-1e-6 {
			t.Errorf("resumed at %g: %g s used, want both parts", at, used)
		}
	}
}

// planned lists the visits that every run of the plan makes, without added
// launches.
func planned(r *simulated, p Protocol) []string {
	var list []string
	for _, m := range r.Measurements {
		for l := 1; l <= p.Launches; l++ {
			for round := 1; round <= p.Rounds; round++ {
				list = append(list, m.Point.String()+" "+string(rune('a'+l))+string(rune('a'+round)))
			}
		}
	}
	return list
}

func TestGapsAreAnAxis(t *testing.T) {
	s := simulate(t, "quick", hardware.Host)
	s.config.Grid.Gaps = []time.Duration{0, 50 * time.Millisecond}
	var last time.Duration
	idle := map[bool]int{}
	s.latency = func(i inference) time.Duration {
		idle[i.at-last >= 50*time.Millisecond]++
		took := 10 * time.Millisecond
		if i.at-last >= 50*time.Millisecond {
			took = 15 * time.Millisecond // what is called seldom is slow
		}
		last = i.at + took
		return took
	}
	r := s.run(t)
	if len(r.Measurements) != 2 {
		t.Fatalf("%d points", len(r.Measurements))
	}
	for i, want := range []float64{10e6, 15e6} {
		if m := r.Measurements[i]; m.State != Measured || math.Abs(m.Latency.Value/want-1) > 1e-9 {
			t.Errorf("%s: %s %g, want %g", m.Point, m.State, m.Latency.Value, want)
		}
	}
	// What is spaced runs at the pace it was given, which is no throughput.
	if m := r.Measurements[0]; m.Throughput == nil || math.Abs(m.Throughput.Value-100) > 1e-6 {
		t.Errorf("%s: throughput %+v, want 100/s", m.Point, m.Throughput)
	}
	if m := r.Measurements[1]; m.Throughput != nil || m.NoThroughput != m.Point.NoThroughput() {
		t.Errorf("%s: throughput %+v, reason %q", m.Point, m.Throughput, m.NoThroughput)
	}
	for rule, want := range map[string]string{"W5": "1 points idle", "M3": "none for 1 points", "E2": "1 of 1 rates"} {
		if got := ruleNamed(t, r.Result, rule); got.State != RuleMet || !strings.Contains(got.Why, want) {
			t.Errorf("rule %s: %s %q, want %q", rule, got.State, got.Why, want)
		}
	}
}

// What an earlier run has computed is taken over, for the models of the plan alone,
// and the journal tells what of the time went before the first visit.
func TestKnownModels(t *testing.T) {
	prepares := func(r *simulated) bool {
		return slices.ContainsFunc(r.events, func(e Event) bool { return e.Kind == Preparing })
	}
	s := simulate(t, "quick", hardware.Host)
	s.config.Grid.Batches = []int{1, 2}
	s.known = []ModelRecord{} // not what other tests have computed
	first := s.run(t)
	settle := s.config.Protocol.Settle.Seconds()
	if got := first.Log.End.PreparingSeconds; !prepares(first) || got < settle-0.01 || got > settle+0.1 {
		t.Errorf("the first run prepared for %.3f s, want %.1f and the expected outputs", got, settle)
	}
	s.known = first.Log.Models
	s.config.Protocol.Settle = 0
	s.config.Points = []string{first.Measurements[1].Point.String()}
	second := s.run(t)
	if prepares(second) || second.Log.End.PreparingSeconds > 0 {
		t.Errorf("the second run prepared for %.3f s", second.Log.End.PreparingSeconds)
	}
	if len(second.Measurements) != 1 || second.Measurements[0].State != Measured || len(second.Log.Models) != 1 {
		t.Fatalf("the second run has %d points and %d models, want the one that was named", len(second.Measurements), len(second.Log.Models))
	}
	if was, is := first.Measurements[1].Model, second.Measurements[0].Model; is.ONNXSHA256 == "" || text(was) != text(is) {
		t.Errorf("model %s, in the first run %s", text(is), text(was))
	}
	// What tells no output is described anew, and so is another network.
	for name, change := range map[string]func(*ModelRecord){
		"no output":       func(m *ModelRecord) { m.Expected = nil },
		"another network": func(m *ModelRecord) { m.Resolution++ },
	} {
		s.known = slices.Clone(first.Log.Models)
		for i := range s.known {
			change(&s.known[i])
		}
		if r := s.run(t); !prepares(r) || r.Measurements[0].State != Measured || len(r.Log.Models) != 1 {
			t.Errorf("%s: %s with %d models", name, r.Measurements[0].State, len(r.Log.Models))
		}
	}
	s.config.Points = []string{"nonet@1/sim/fp32/b1"}
	opened := map[string]engines.Engine{}
	for _, d := range s.drivers() {
		opened[d.Name] = simulatedEngine{d.Name}
	}
	var unknown *UnknownPointError
	if _, err := NewPlan(s.config, s.drivers(), opened, nil); !errors.As(err, &unknown) || unknown.ID != s.config.Points[0] || len(unknown.Known) != 2 {
		t.Errorf("a point that is not in the grid: %v", err)
	}
}

// Engines that crash, hang or defer cost their own points.
func TestFaultsOfEngines(t *testing.T) {
	s := simulate(t, "quick", hardware.Host)
	s.config.Grid.Engines = []string{"sound", "crashing", "hanging", "deferring"}
	s.latency = func(i inference) time.Duration {
		if i.engine == "deferring" {
			return time.Microsecond
		}
		return time.Millisecond
	}
	s.deferred = func(engine string) time.Duration {
		if engine == "deferring" {
			return 64 * time.Millisecond
		}
		return time.Millisecond // copying
	}
	s.fault = func(i inference) string {
		switch {
		case i.engine == "crashing" && i.launch == 2:
			return "signal: segmentation fault"
		case i.engine == "hanging" && i.launch == 3:
			return "hang"
		}
		return ""
	}
	r := s.run(t)
	if r.err != nil || r.ExitCode() != 5 {
		t.Errorf("%v, exit code %d; want 5", r.err, r.ExitCode())
	}
	if m := r.point(t, "sound"); m.State != Measured || m.Launches != 4 {
		t.Errorf("sound: %s, %d launches", m.State, m.Launches)
	}
	if m := r.point(t, "crashing"); m.State != Failed || !strings.Contains(m.Reason, "segmentation fault") {
		t.Errorf("crashing: %s %q", m.State, m.Reason)
	}
	if m := r.point(t, "deferring"); m.State != Failed || !strings.Contains(m.Reason, "the engine defers its work") {
		t.Errorf("deferring: %s %q", m.State, m.Reason)
	}
	if m := r.point(t, "hanging"); m.State != Failed || !strings.Contains(m.Reason, "hung: no word for 1m") {
		t.Errorf("hanging: %s %q", m.State, m.Reason)
	}
}

// Work that an engine defers into the gaps between inferences is found all the same.
func TestDeferringIntoGaps(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.Host))
	s.config.Grid.Gaps = []time.Duration{100 * time.Millisecond}
	s.deferred = func(string) time.Duration { return 64 * time.Millisecond }
	if m := s.run(t).point(t, "sim"); m.State != Failed || !strings.Contains(m.Reason, "the engine defers its work") {
		t.Errorf("%s %q", m.State, m.Reason)
	}
}

// A library that takes its process along while it is opened costs the points of its
// engine: not the one visited before, nor the run.
func TestDeathOfOpening(t *testing.T) {
	for _, c := range []struct {
		launch int // whose worker dies
		layers bool
		state  State
	}{{launch: 1, state: Failed}, {launch: 3, state: Failed}, {launch: 6, layers: true, state: Measured}} {
		s := simulate(t, "quick", hardware.Host)
		s.config.Protocol.Settle, s.config.Layers = 0, c.layers
		s.config.Grid.Engines = []string{"sound", "dying", "sound-2"}
		s.layers = func(inferences int) ([]engines.Layer, error) {
			return []engines.Layer{{Name: "all", DeviceNS: slices.Repeat([]int64{1e6}, inferences)}}, nil
		}
		s.opening = func(engine string, launch int) string {
			if engine == "dying" && launch == c.launch {
				return "signal: killed"
			}
			return ""
		}
		r := s.run(t)
		if r.err != nil {
			t.Fatalf("launch %d: %v", c.launch, r.err)
		}
		for _, engine := range []string{"sound", "sound-2"} {
			if m := r.point(t, engine); m.State != Measured || m.Launches != 4 || (m.Layers != nil) != c.layers {
				t.Errorf("launch %d: %s: %s %s, %d launches", c.launch, engine, m.State, m.Reason, m.Launches)
			}
		}
		m := r.point(t, "dying")
		if m.State != c.state || c.state == Failed && !strings.Contains(m.Reason, `the worker died (signal: killed) while at "open engine"`) || m.Layers != nil {
			t.Errorf("launch %d: dying: %s %s", c.launch, m.State, m.Reason)
		}
	}
}

// What opening an engine takes is no part of its build (M7).
func TestBuildTimeIsTheBuild(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.Host))
	s.opening = func(string, int) string {
		time.Sleep(3 * time.Second)
		return ""
	}
	s.builds = func(string, int) { time.Sleep(100 * time.Millisecond) }
	if m := s.run(t).point(t, "sim"); m.Build != 100*time.Millisecond {
		t.Errorf("a build takes %s, want 100 ms", m.Build)
	}
}

// A fault of a kernel takes the device's context along, and every later call of the
// process fails for it: only the point that broke it is given up, whatever its worker was
// about.
func TestBrokenContext(t *testing.T) {
	for name, when := range map[string]func(inference) bool{
		"a visit":    func(i inference) bool { return i.launch == 2 && i.engine == "breaking" },
		"settling":   func(i inference) bool { return i.launch == 1 && i.engine == "breaking" && i.at < 5*time.Second },
		"its energy": func(i inference) bool { return i.launch == 5 && i.engine == "breaking" },
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, "quick", hardware.CUDA)
			s.config.Energy = true
			s.config.Grid.Engines = []string{"breaking", "sound", "sound-2"}
			s.latency = func(inference) time.Duration { return 20 * time.Millisecond }
			s.fault = func(i inference) string {
				if when(i) {
					return "break"
				}
				return ""
			}
			r := s.run(t)
			if r.err != nil {
				t.Fatal(r.err)
			}
			for _, m := range r.Measurements {
				if m.Point.Engine != "breaking" && (m.State != Measured || m.Launches != 4 || m.Energy == nil) {
					t.Errorf("%s: %s %s, %d launches, energy %q", m.Point, m.State, m.Reason, m.Launches, m.NoEnergy)
				}
			}
			told := 0
			for _, p := range r.Log.Points {
				if p.Failed != "" {
					told++
				}
			}
			m := r.point(t, "breaking")
			if name == "its energy" {
				if m.State != Measured || !strings.Contains(m.NoEnergy, errBroken.Error()) || told > 0 || len(r.Log.Energies) != 3 {
					t.Errorf("%s, energy %q, %d records of it", m.State, m.NoEnergy, len(r.Log.Energies))
				}
			} else if m.State != Failed || !strings.Contains(m.Reason, errBroken.Error()) || told != 1 {
				t.Errorf("%s %q, told %d times", m.State, m.Reason, told)
			}
		})
	}
}

// A build may be silent for longer than the watchdog waits, on a GPU.
func TestSlowBuilds(t *testing.T) {
	for kind, want := range map[hardware.DeviceKind]State{hardware.CUDA: Measured, hardware.Host: Failed} {
		s := brief(simulate(t, "quick", kind))
		s.builds = func(string, int) { time.Sleep(80 * time.Second) }
		if m := s.run(t).point(t, "sim"); m.State != want {
			t.Errorf("%s: %s %s", kind, m.State, m.Reason)
		}
	}
}

// The sentinel is of one build in all launches, though they measure others.
func TestSentinelIsOfOneBuild(t *testing.T) {
	s := simulate(t, "publish", hardware.CUDA)
	s.config.Protocol.MaxLaunches, s.config.Protocol.SentinelEvery = 0, time.Second
	number := 0
	s.builds = func(_ string, n int) { number = n }
	// Builds differ by more than what ends a run for drift.
	s.latency = func(inference) time.Duration { return time.Duration(20e6 * (1 + 0.1*float64(number))) }
	r := s.run(t)
	if r.err != nil {
		t.Error(r.err)
	}
	numbers := map[bool]map[int64]bool{true: {}, false: {}}
	for _, round := range r.Log.Rounds {
		numbers[round.Sentinel][median(round.DeviceNS)] = true
	}
	if len(numbers[true]) != 1 || len(numbers[false]) != 3 {
		t.Errorf("the sentinel took %v, the point %v; want one build's time, and three", numbers[true], numbers[false])
	}
}

// Launches are added for the interval that is published: over builds, where they differ.
func TestWidthIsOverBuilds(t *testing.T) {
	for differ, want := range map[bool]int{true: 12, false: 5} {
		s := simulate(t, "publish", hardware.Host)
		s.config.Protocol.SentinelEvery = 0
		number := 0
		s.builds = func(_ string, n int) { number = n }
		s.plans = func(n int) string {
			if !differ {
				n = 1
			}
			return fmt.Sprint(n)
		}
		// Over five launches that is ±0.3 % of 0.5 allowed, over three builds ±0.7.
		s.latency = func(inference) time.Duration { return time.Duration(20e6 * (1 + 0.003*float64(number))) }
		r := s.run(t)
		if m := r.point(t, "sim"); m.Launches != want || (m.Builds == 3) != differ {
			t.Errorf("builds differ %t: %d launches of %d builds, want %d", differ, m.Launches, m.Builds, want)
		}
	}
}

// Every interval of a point is over its builds where those differ, not the latency's alone.
func TestIntervalsAreOverBuilds(t *testing.T) {
	s := simulate(t, "publish", hardware.CUDA)
	s.config.Protocol.MaxLaunches, s.config.Protocol.SentinelEvery, s.config.Protocol.Settle, s.config.Protocol.SettleAgain = 0, 0, 0, 0
	s.plans = func(n int) string { return fmt.Sprint(n) }
	m := s.run(t).point(t, "sim")
	if m.Builds != 3 || m.Copies == nil || m.Cycles == nil || m.Enqueue == nil {
		t.Fatalf("%s %s: %d builds, copies %q, cycles %q", m.State, m.Reason, m.Builds, m.NoCopies, m.NoCycles)
	}
	for name, e := range map[string]Estimate{"latency": m.Latency, "cycles": *m.Cycles, "enqueue": *m.Enqueue, "copy in": m.Copies.In, "copy out": m.Copies.Out, "around": m.Copies.Around} {
		if e.Launches != 3 {
			t.Errorf("%s: an interval over %d, want the 3 builds", name, e.Launches)
		}
	}
}

// A point that answers wrongly is given up at once, and everywhere.
func TestWrongAnswers(t *testing.T) {
	s := brief(simulate(t, "ci", hardware.CUDA))
	s.config.Grid.Engines, s.config.Grid.Batches = []string{"wrong", "right"}, []int{1}
	s.config.Energy, s.config.Layers, s.config.Protocol.SentinelEvery = true, true, time.Hour
	s.wrong = func(engine string) bool { return engine == "wrong" }
	var built []int // launches
	launch := 0
	s.latency = func(i inference) time.Duration { launch = i.launch; return time.Millisecond }
	s.builds = func(engine string, _ int) {
		if engine == "wrong" {
			built = append(built, launch)
		}
	}
	check := func(r *simulated, builds int) {
		t.Helper()
		if m := r.point(t, "wrong"); m.State != Invalid || !strings.Contains(m.Reason, wrongOutput) || len(built) != builds {
			t.Errorf("wrong: %s %q, built %d times, want %d", m.State, m.Reason, len(built), builds)
		}
		if m := r.point(t, "right"); r.err != nil || r.ExitCode() != 4 || m.State != Measured || m.Launches != 2 || m.Energy == nil {
			t.Errorf("%v, exit code %d; right: %s, %d launches, %q", r.err, r.ExitCode(), m.State, m.Launches, m.NoEnergy)
		}
		if n := len(r.Log.Energies) + len(r.Log.Layers); n != 2 {
			t.Errorf("%d records of energy and layers, want 2", n)
		}
	}
	whole := s.run(t)
	check(whole, 2) // to settle, and as the first sentinel
	if end := whole.events[len(whole.events)-1]; end.Done != end.Total {
		t.Errorf("%d of %d visits at the end", end.Done, end.Total)
	}
	s.interrupt = whole.took - time.Second
	part := s.run(t)
	built, s.interrupt = nil, 0
	check(s.resume(t, part.dir), 0)
}

// What is silent by plan is not taken for hung.
func TestPlannedSilence(t *testing.T) {
	for name, set := range map[string]func(*simulation){
		"the wait before a retry": func(s *simulation) {
			s.config.Protocol.RetryWait = 2 * time.Minute
			s.counters = func(at time.Duration, r *hardware.Reading) error {
				if at < time.Minute {
					r.GPU.ForeignProcesses = []int{4711}
				}
				return nil
			}
		},
		"the warm-up": func(s *simulation) { s.config.Protocol.WarmupTime = 2 * time.Minute },
	} {
		s := brief(simulate(t, "quick", hardware.CUDA))
		s.config.Protocol.Settle = 0
		set(s)
		if m := s.run(t).point(t, "sim"); m.State != Measured {
			t.Errorf("%s: %s %s", name, m.State, m.Reason)
		}
	}
}

func TestJournalSurvivesReopening(t *testing.T) {
	s := newScript(t, PlannedPoint{Point: pointOf("m")}).begin().add(cleanRound(pointOf("m"), 1, 10))
	// A line without its end is cut off even if what it holds could be read.
	s.text(`{"type":"reading","device":"host","t_ns":5}`)
	j, log, err := ReopenJournal(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(log.Rounds) != 1 || len(log.Readings) != 0 || log.TornLine != 0 {
		t.Errorf("%d rounds, %d readings, torn line %d", len(log.Rounds), len(log.Readings), log.TornLine)
	}
	if err := errors.Join(j.Append(EndRecord{Type: "end"}), j.Close()); err != nil {
		t.Fatal(err)
	}
	if r := s.load(); r.Log.End == nil || len(r.Log.Rounds) != 1 {
		t.Errorf("%+v", r.Log)
	}

	damaged := newScript(t, PlannedPoint{Point: pointOf("m")}).begin().text("rubbish\n").add(EndRecord{Type: "end"})
	var damage *JournalError
	if _, _, err := ReopenJournal(damaged.dir); !errors.As(err, &damage) || damage.Line != 2 {
		t.Errorf("%v, want a refusal that names line 2", err)
	}
	if _, _, err := ReopenJournal(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is it a result directory") {
		t.Errorf("%v", err)
	}
}

// The time that a run used is that of its parts, however long it lay between them.
func TestUsedTimeOfParts(t *testing.T) {
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	log := &Log{Run: RunRecord{Started: start}}
	if got := log.usedSeconds(); got != 0 {
		t.Errorf("an empty run used %g s", got)
	}
	log.Resumes = []ResumeRecord{{Started: start.Add(time.Hour)}, {Started: start.Add(3 * time.Hour)}}
	for _, at := range []time.Duration{5 * time.Second, 20 * time.Second, time.Hour + 10*time.Second, 3*time.Hour + 7*time.Second} {
		log.Readings = append(log.Readings, ReadingRecord{Reading: hardware.Reading{Time: int64(at)}})
	}
	log.Rounds = []RoundRecord{{Start: int64(time.Hour), DeviceNS: []int64{int64(30 * time.Second)}}}
	if got := log.usedSeconds(); got != 20+30+7 {
		t.Errorf("%g s used, want 57", got)
	}
}

// What makes two runs incomparable is named, one line each.
func TestDifferences(t *testing.T) {
	text := func(s string) *string { return &s }
	make := func() RunRecord {
		r := RunRecord{Protocol: ProtocolID, GenbenchSHA256: "aa", Plan: []PlannedPoint{{ID: "p"}, {ID: "q", Skip: "no"}}}
		r.Host.HostnameHash, r.Host.CPUModel = text("h"), text("cpu")
		r.Devices = []hardware.Info{{ID: "GPU-1"}}
		r.GPUs = []hardware.GPU{{UUID: "GPU-0", Driver: text("500")}, {UUID: "GPU-1", Driver: text("550")}}
		r.Engines = []EngineRecord{{Available: true}}
		r.Engines[0].Name, r.Engines[0].Version = "onnxruntime", "1.0"
		return r
	}
	if got := make().Differences(make()); len(got) != 0 {
		t.Errorf("a run differs from itself: %q", got)
	}
	for want, change := range map[string]func(*RunRecord){
		`host: "h" then, "other" now`:                 func(r *RunRecord) { r.Host.HostnameHash = text("other") },
		`processor: "cpu" then, null now`:             func(r *RunRecord) { r.Host.CPUModel = nil },
		`genbench binary (sha256): "aa" then`:         func(r *RunRecord) { r.GenbenchSHA256 = "bb" },
		`engine onnxruntime: {"name":"onnxruntime","`: func(r *RunRecord) { r.Engines[0].Version = "2.0" },
		`"not available" now`:                         func(r *RunRecord) { r.Engines[0].Available = false },
		`point p: "measurable" then, "skipped, gone"`: func(r *RunRecord) { r.Plan[0].Skip = "gone" },
		`point q: not in this plan`:                   func(r *RunRecord) { r.Plan = r.Plan[:1] },
		`devices: `:                                   func(r *RunRecord) { r.Devices[0].Cores = 3 },
		`driver: "550" then, "560" now`:               func(r *RunRecord) { r.GPUs[1].Driver = text("560") },
	} {
		other := make()
		other.Plan = slices.Clone(other.Plan)
		change(&other)
		if got := make().Differences(other); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%q, want one with %q", got, want)
		}
	}
}

// A file that was written anew between the parts of a run is another model.
func TestChangedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.onnx")
	write := func(resolution int) string {
		n, err := models.New(simulatedModel, resolution)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := models.ONNX(n, models.ExportOptions{Batch: 1, Precision: models.FP32})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(raw)
		return hex.EncodeToString(sum[:])
	}
	sum := write(32)
	log := &Log{Models: []ModelRecord{{Model: simulatedModel, Batch: 1}, {Model: path, Batch: 1, WeightsSHA256: sum, ONNXSHA256: sum}}}
	if changed, err := log.ChangedFiles(); err != nil || len(changed) > 0 {
		t.Errorf("%v, changed %q", err, changed)
	}
	write(64)
	if changed, err := log.ChangedFiles(); err != nil || len(changed) != 1 || !strings.Contains(changed[0], "net.onnx") {
		t.Errorf("%v, changed %q; want the file", err, changed)
	}
}

// Int8 and fp8 are calibrated once, before the first launch; a resumed run keeps the ranges.
// A precision that is emulated is skipped, or said to be.
func TestPrecisions(t *testing.T) {
	make := func(emulate bool) *simulation {
		s := simulate(t, "quick", hardware.Host)
		s.config.Grid.Precisions = []string{"fp32", "fp16", "int8", "fp8"}
		s.config.Calibration = Calibration{Method: models.MinMax, Images: 3}
		s.config.AllowEmulated = emulate
		return s
	}
	r := make(true).run(t)
	for _, m := range r.Measurements {
		if m.State != Measured {
			t.Errorf("%s: %s %s", m.Point, m.State, m.Reason)
		}
		if emulated := slices.Contains(codes(m.Warnings), Emulated); emulated != (m.Point.Precision == "fp16") {
			t.Errorf("%s: warnings %v", m.Point, m.Warnings)
		}
		if ranges := m.Model.Ranges; (ranges != nil) != models.Precision(m.Point.Precision).Calibrated() {
			t.Errorf("%s: ranges %v", m.Point, ranges)
		} else if ranges != nil && (ranges.Method != "min-max" || ranges.Images != 3 || len(ranges.Limit) < 10) {
			t.Errorf("%s: ranges %+v", m.Point, ranges)
		}
	}
	s := make(false)
	s.interrupt = 6 * time.Second
	part := s.run(t)
	r = make(false).resume(t, part.dir)
	if len(r.Log.Models) != len(part.Log.Models) {
		t.Errorf("%d models before the interruption, %d after", len(part.Log.Models), len(r.Log.Models))
	}
	for _, m := range r.Measurements {
		switch m.Point.Precision {
		case "fp16":
			if m.State != Skipped || m.Reason != "sim only emulates fp16" {
				t.Errorf("%s: %s %q", m.Point, m.State, m.Reason)
			}
		default:
			if m.State != Measured || m.Launches != 4 {
				t.Errorf("%s: %s %s, %d launches", m.Point, m.State, m.Reason, m.Launches)
			}
		}
	}
}

// A round is the samples of the windows that agreed, without the ramp and the windows
// before them; the last ones where they are too many, with more where too few (W3, W4,
// S1).
func TestRoundIsWhatWasProven(t *testing.T) {
	visit := func(set func(*Protocol)) RoundRecord {
		s := simulate(t, "quick", hardware.Host)
		set(&s.config.Protocol)
		n := 0
		s.latency = func(i inference) time.Duration {
			if i.launch != 2 {
				return 10 * time.Millisecond
			}
			switch n++; { // the first inference and 30 of warm-up
			case n == 32:
				return 50 * time.Millisecond // the ramp
			case n > 32 && n <= 32+20+19:
				return 11 * time.Millisecond // two windows of 0.2 s, sized by the latency before them
			}
			return 10 * time.Millisecond
		}
		for _, r := range s.run(t).Log.Rounds {
			if r.Launch == 2 {
				return r
			}
		}
		t.Fatal("no round of launch 2")
		return RoundRecord{}
	}
	whole := visit(func(*Protocol) {})
	if !whole.Steady.Met || whole.Steady.Windows != 3 || len(whole.Steady.WindowMedians) != 5 {
		t.Errorf("proof %+v, want met by the last three of five windows", whole.Steady)
	}
	if want := slices.Repeat([]int64{10e6}, 19+20+20); !slices.Equal(whole.DeviceNS, want) {
		t.Errorf("%d samples %v, want the 59 of 10 ms", len(whole.DeviceNS), whole.DeviceNS)
	}
	cut := visit(func(p *Protocol) { p.RoundMost = 50 })
	if later := time.Duration(cut.Start - whole.Start); len(cut.DeviceNS) != 50 || later != 90*time.Millisecond {
		t.Errorf("with room for 50: %d samples that begin %s later, want 50 and 90 ms", len(cut.DeviceNS), later)
	}
	slowStarts := simulate(t, "quick", hardware.Host)
	slowStarts.latency = func(i inference) time.Duration {
		if i.index == 0 {
			return 15 * time.Millisecond // after whatever the processors did since the last block
		}
		return 10 * time.Millisecond
	}
	for _, r := range slowStarts.run(t).Log.Rounds {
		if slow := slices.IndexFunc(r.DeviceNS, func(ns int64) bool { return ns != 10e6 }); slow >= 0 {
			t.Errorf("sample %d of a round is of the ramp of a window: %d ns", slow, r.DeviceNS[slow])
		}
	}
	filled := visit(func(p *Protocol) { p.WindowTime = 0 })
	if len(filled.DeviceNS) != 46 {
		t.Errorf("windows of three: %d samples, want 46 of 11 ms for half a second", len(filled.DeviceNS))
	}
}
