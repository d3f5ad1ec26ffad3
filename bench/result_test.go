package bench

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"genbench/hardware"
	"genbench/models"
)

func codes(warnings []Warning) []Code {
	var list []Code
	for _, w := range warnings {
		list = append(list, w.Code)
	}
	return list
}

// Every doubt has a journal that raises it; the clean one raises none.
func TestDoubts(t *testing.T) {
	p := pointOf("m")
	fraction := func(v float64) *float64 { return &v }
	for _, c := range []struct {
		name    string
		change  func(*RunRecord, []RoundRecord) []RoundRecord
		want    []Code
		quality Quality
	}{
		{"clean", nil, nil, Q2},
		{"unsteady", func(_ *RunRecord, r []RoundRecord) []RoundRecord { r[1].Steady.Met = false; return r }, []Code{Unsteady}, Q3},
		{"stolen", func(_ *RunRecord, r []RoundRecord) []RoundRecord {
			r[2].Interval.StealFraction = fraction(0.02)
			return r
		}, []Code{Stolen}, Q3},
		{"hardly stolen", func(_ *RunRecord, r []RoundRecord) []RoundRecord {
			r[2].Interval.StealFraction = fraction(0.009)
			return r
		}, nil, Q2},
		{"crowded", func(_ *RunRecord, r []RoundRecord) []RoundRecord {
			r[2].Interval.ForeignCPUs = fraction(0.6)
			return r
		}, []Code{ForeignLoad}, Q3},
		{"dropped and taken again", func(_ *RunRecord, r []RoundRecord) []RoundRecord {
			again := cleanRound(p, 1, 13)
			again.Status, again.DropReason = Dropped, "noise"
			return append(r, again)
		}, []Code{DroppedRounds}, Q2},
		{"one launch", func(_ *RunRecord, r []RoundRecord) []RoundRecord { return r[:1] }, []Code{FewLaunches}, Q3},
		{"imprecise", func(_ *RunRecord, r []RoundRecord) []RoundRecord { r[0] = cleanRound(p, 1, 12); return r }, []Code{Imprecise}, Q3},
		{"reference", func(run *RunRecord, r []RoundRecord) []RoundRecord { run.Engines[0].Reference = true; return r }, []Code{ReferenceEngine}, Q3},
		{"fake", func(run *RunRecord, r []RoundRecord) []RoundRecord { run.Engines[0].Version = "fake"; return r }, []Code{FakeEngine}, Q0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, PlannedPoint{Point: p})
			rounds := []RoundRecord{cleanRound(p, 1, 10), cleanRound(p, 2, 10.01), cleanRound(p, 3, 10), cleanRound(p, 4, 10.01)}
			if c.change != nil {
				rounds = c.change(&s.run, rounds)
			}
			s.begin()
			for _, r := range rounds {
				s.add(r)
			}
			// One launch alone is what an interrupted run leaves.
			if c.name != "one launch" {
				s.add(EndRecord{Type: "end"})
			}
			m := s.load().Measurements[0]
			if m.State != Measured || !slices.Equal(codes(m.Warnings), c.want) || m.Quality != c.quality {
				t.Errorf("%s, warnings %v, quality %s; want measured, %v, %s", m.State, m.Warnings, m.Quality, c.want, c.quality)
			}
		})
	}
}

// What a file answers can be checked only where the reference runs it.
func TestUncheckedFile(t *testing.T) {
	for name, want := range map[string][]Code{"theirs.onnx": {Unchecked}, "m": nil} {
		p := Point{Model: name, Engine: "engine", Precision: "fp32", Batch: 1, Resolution: 32}
		s := newScript(t, PlannedPoint{Point: p})
		s.begin()
		for launch := range 4 {
			s.add(cleanRound(p, launch+1, 10+0.01*float64(launch%2)))
		}
		s.add(EndRecord{Type: "end"})
		if m := s.load().Measurements[0]; m.State != Measured || !slices.Equal(codes(m.Warnings), want) {
			t.Errorf("%s: %s, warnings %v; want %v", name, m.State, m.Warnings, want)
		}
	}
}

func TestRunDoubts(t *testing.T) {
	s := newScript(t)
	s.run.Config.Threads = 3
	s.run.Findings = []hardware.Finding{{Code: "foreign_load", Text: "others work here"}}
	got := codes(s.begin().load().Warnings)
	if want := []Code{Interrupted, Disturbed, Oversubscribed}; !slices.Equal(got, want) {
		t.Errorf("warnings %v, want %v", got, want)
	}
	s = newScript(t)
	resumed := ResumeRecord{Type: "resume", Findings: []hardware.Finding{{Code: "foreign_load", Text: "others work here"}}}
	if got := s.begin().add(resumed, EndRecord{Type: "end"}).load().Warnings; len(got) != 1 || got[0] != (Warning{Disturbed, "when the run was resumed: others work here"}) {
		t.Errorf("a run that was quiet until it was resumed has warnings %v", got)
	}
	s = newScript(t)
	if got := s.begin().add(EndRecord{Type: "end"}).load().Warnings; len(got) != 0 {
		t.Errorf("a clean run has warnings %v", got)
	}
}

// Threads are too many for the processors that the workers are bound to, or for those
// that a quota feeds, whatever the machine has.
func TestOversubscribed(t *testing.T) {
	quota := 2.5
	for _, c := range []struct {
		threads int
		cpus    []int
		limits  *hardware.CgroupLimits
		want    string // empty for none
	}{
		{64, nil, nil, ""},
		{65, nil, nil, "65 threads on 64 processors"},
		{8, []int{0, 1}, nil, "8 threads on 2 processors"},
		{2, []int{0, 1}, &hardware.CgroupLimits{}, ""},
		{3, []int{0, 1, 2, 3}, &hardware.CgroupLimits{CPUs: &quota}, "3 threads on 2 processors"},
		{2, []int{0, 1, 2, 3}, &hardware.CgroupLimits{CPUs: &quota}, ""},
	} {
		s := newScript(t)
		s.run.Config.Threads, s.run.Config.CPUs, s.run.Devices[0].Cores, s.run.Host.CgroupLimits = c.threads, c.cpus, 64, c.limits
		got := ""
		for _, w := range s.begin().add(EndRecord{Type: "end"}).load().Warnings {
			got += w.Detail
		}
		if got != c.want {
			t.Errorf("%d threads on CPUs %v: %q, want %q", c.threads, c.cpus, got, c.want)
		}
	}
}

func TestEveryDoubtIsExplained(t *testing.T) {
	seen := map[Code]bool{}
	for _, c := range Codes() {
		if seen[c.Code] || c.Means == "" || c.Advice == "" {
			t.Errorf("code %q is listed twice or not explained", c.Code)
		}
		seen[c.Code] = true
	}
}

func TestStates(t *testing.T) {
	measured, skipped, failed, wrong, pending, dropped := pointOf("measured"), pointOf("skipped"), pointOf("failed"), pointOf("wrong"), pointOf("pending"), pointOf("dropped")
	s := newScript(t, PlannedPoint{Point: measured}, PlannedPoint{Point: skipped, Skip: "no fp16 here"}, PlannedPoint{Point: failed},
		PlannedPoint{Point: wrong}, PlannedPoint{Point: pending}, PlannedPoint{Point: dropped})
	lost := cleanRound(dropped, 1, 10)
	lost.Status, lost.DropReason = Dropped, "others worked"
	r := s.begin().add(
		cleanRound(measured, 1, 10), cleanRound(measured, 2, 10), cleanRound(measured, 3, 10), cleanRound(measured, 4, 10),
		cleanRound(failed, 1, 10),
		PointRecord{Type: "point", ID: failed.String(), Point: failed, Launch: 2, Failed: "crashed", Log: []string{"last words"}},
		PointRecord{Type: "point", ID: wrong.String(), Point: wrong, Launch: 1, Check: &Check{MaxRelErr: 0.5, Limit: 1e-3}},
		lost, EndRecord{Type: "end"},
	).load()
	for i, want := range []struct {
		state  State
		reason string
	}{
		{Measured, ""}, {Skipped, "no fp16 here"}, {Failed, "crashed"}, {Invalid, "the output differs"},
		{Pending, "ended before"}, {Invalid, "all 1 rounds were dropped: others worked"},
	} {
		m := r.Measurements[i]
		if m.State != want.state || !strings.Contains(m.Reason, want.reason) {
			t.Errorf("%s: %s %q, want %s %q", m.Point.Model, m.State, m.Reason, want.state, want.reason)
		}
		if m.State != Measured && m.Latency.Value != 0 {
			t.Errorf("%s: a point that is %s has a latency", m.Point.Model, m.State)
		}
	}
	if got := r.Measurements[2].Log; len(got) != 1 || got[0] != "last words" {
		t.Errorf("log tail %q", got)
	}
	if got := r.ExitCode(); got != 5 {
		t.Errorf("exit code %d, want 5 for a failed point", got)
	}
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		states []State
		want   int
	}{
		{nil, 0}, {[]State{Measured, Skipped}, 0}, {[]State{Invalid, Measured}, 4}, {[]State{Invalid, Failed}, 5}, {[]State{Pending}, 5},
	} {
		var r Result
		for _, s := range c.states {
			r.Measurements = append(r.Measurements, Measurement{State: s})
		}
		if got := r.ExitCode(); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.states, got, c.want)
		}
	}
}

// Dropped rounds leave the estimate alone but stay visible beside it.
func TestDroppedRoundsStay(t *testing.T) {
	p := pointOf("m")
	lost := cleanRound(p, 1, 99)
	lost.Status = Dropped
	m := newScript(t, PlannedPoint{Point: p}).begin().add(lost, cleanRound(p, 1, 10), cleanRound(p, 2, 10), cleanRound(p, 3, 10), cleanRound(p, 4, 10), EndRecord{Type: "end"}).load().Measurements[0]
	if math.Abs(m.Latency.Value/10e6-1) > 1e-5 || math.Abs(m.DroppedMedian/99e6-1) > 1e-5 || m.Dropped() != 1 || len(m.Rounds) != 5 {
		t.Errorf("latency %s, dropped median %s, %d of %d rounds dropped", time.Duration(m.Latency.Value), time.Duration(m.DroppedMedian), m.Dropped(), len(m.Rounds))
	}
	if rate := m.Throughput.Value; math.Abs(rate-100) > 0.01 {
		t.Errorf("throughput %g images/s, want 100", rate)
	}
}

func TestCheckOutput(t *testing.T) {
	want := []float32{1, -2, 3, 0.5}
	for _, c := range []struct {
		name string
		got  []float32
		pass bool
		err  string
	}{
		{"equal", []float32{1, -2, 3, 0.5}, true, ""},
		{"rounding", []float32{1.0001, -2, 3, 0.5}, true, ""},
		{"off", []float32{1.1, -2, 3, 0.5}, false, ""},
		{"another class", []float32{3.0005, -2, 3, 0.5}, false, ""},
		{"NaN", []float32{1, float32(math.NaN()), 3, 0.5}, false, "not numbers"},
		{"zero", []float32{0, 0, 0, 0}, false, "not numbers"},
		{"short", []float32{1}, false, "got 1 logits, the reference has 4"},
	} {
		check, err := checkOutput(c.got, want, models.FP32.Tolerance())
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, %v; want the error %q", c.name, check, err, c.err)
			}
		case err != nil || check.Pass != c.pass:
			t.Errorf("%s: %+v, %v; want pass %v", c.name, check, err, c.pass)
		}
	}
}

func TestOrder(t *testing.T) {
	plan := &Plan{Config: Config{Seed: 7}}
	for i := range 12 {
		p := PlannedPoint{}
		if i == 3 {
			p.Skip = "not here"
		}
		plan.Points = append(plan.Points, p)
	}
	first, again, next := plan.Order(1, 1), plan.Order(1, 1), plan.Order(2, 1)
	if !slices.Equal(first, again) {
		t.Error("the same launch has two orders")
	}
	if slices.Equal(first, next) {
		t.Error("two launches have one order")
	}
	sorted := slices.Sorted(slices.Values(first))
	if !slices.Equal(sorted, []int{0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11}) {
		t.Errorf("the order visits %v", sorted)
	}
	plan.Config.Seed = 8
	if slices.Equal(first, plan.Order(1, 1)) {
		t.Error("two seeds have one order")
	}
}
