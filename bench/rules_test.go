package bench

import (
	"slices"
	"strings"
	"testing"

	"genbench/hardware"
)

// ruleNamed finds a rule of a result.
func ruleNamed(t *testing.T, r *Result, id string) Rule {
	t.Helper()
	for _, rule := range r.Rules {
		if rule.ID == id {
			return rule
		}
	}
	t.Fatalf("no rule %s", id)
	return Rule{}
}

// Every rule appears once, with its reason, whatever the run.
func TestRulesAreComplete(t *testing.T) {
	want := "M1 M2 M3 M4 M5 M6 M7 M8 M9 M10 P C1 C2 C5 W1 W2 W3 W4 W5 S1 S2 S3 S4 S5 S6 S7 X X1 X2 D1 D2 D3 E1 E2 E3 E4 J"
	p := pointOf("m")
	for name, r := range map[string]*Result{
		"empty":    newScript(t).begin().load(),
		"measured": newScript(t, PlannedPoint{Point: p}).begin().add(cleanRound(p, 1, 10), cleanRound(p, 2, 10), EndRecord{Type: "end"}).load(),
	} {
		var ids []string
		for _, rule := range r.Rules {
			ids = append(ids, rule.ID)
			if rule.Why == "" || strings.Contains(rule.Why, "%!") {
				t.Errorf("%s: rule %s says %q", name, rule.ID, rule.Why)
			}
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: rules %s\nwant %s", name, got, want)
		}
	}
}

// What a journal shows decides a rule.
func TestRules(t *testing.T) {
	p, q, o := pointOf("m"), pointOf("n"), pointOf("o")
	checked := func(p Point, pass bool) PointRecord {
		return PointRecord{Type: "point", ID: p.String(), Launch: 1, Round: 1, Point: p, BuildNS: 1, FirstNS: 1, Check: &Check{Pass: pass}}
	}
	round := func(p Point, launch, order int, ms float64) RoundRecord {
		r := cleanRound(p, launch, ms)
		r.Order, r.WarmupSamples = order, 3
		return r
	}
	onGPU := func(r RoundRecord) RoundRecord {
		r.EnqueueNS, r.HostNS = r.DeviceNS, r.DeviceNS
		return r
	}
	clocked := func(r RoundRecord, limit float64) RoundRecord {
		r.Steady.WindowClocks, r.Steady.ClockLimit = []float64{1500, 1500, 1500}, limit
		return r
	}
	watched := func(r RoundRecord, watch *hardware.EventWatch) RoundRecord {
		r.Interval.GPU = &hardware.GPUInterval{ForeignProcesses: []int{}, Watch: watch}
		return onGPU(r)
	}
	amortised := func(r RoundRecord) RoundRecord {
		r.AmortisedOver = 12
		return r
	}
	hosted := func(r RoundRecord) RoundRecord {
		none := 0.0
		r.Interval.ForeignCPUs = &none
		return r
	}
	for _, c := range []struct {
		name    string
		records []any
		rule    string
		want    RuleState
	}{
		{"checked", []any{checked(p, true), round(p, 1, 1, 100)}, "M10", RuleMet},
		{"not checked", []any{round(p, 1, 1, 100)}, "M10", RuleNotMet},
		{"tiny on a host", []any{round(p, 1, 1, 0.1)}, "M4", RuleNotApplicable},
		{"tiny on a GPU", []any{onGPU(round(p, 1, 1, 0.1))}, "M4", RuleNotMet},
		{"amortised on a GPU", []any{amortised(onGPU(round(p, 1, 1, 0.1)))}, "M4", RuleMet},
		{"not tiny on a GPU", []any{onGPU(round(p, 1, 1, 100))}, "M4", RuleNotApplicable},
		{"settled", []any{SettleRecord{Type: "settle", Met: true}, onGPU(round(p, 1, 1, 100))}, "W2", RuleMet},
		{"not settled", []any{SettleRecord{Type: "settle", Reason: "hot"}, onGPU(round(p, 1, 1, 100))}, "W2", RuleNotMet},
		{"warm", []any{round(p, 1, 1, 100)}, "W1", RuleMet},
		{"cold", []any{cleanRound(p, 1, 100)}, "W1", RuleNotMet},
		{"full rounds", []any{round(p, 1, 1, 100)}, "S1", RuleMet},
		{"short rounds", []any{round(p, 1, 1, 10)}, "S1", RuleNotMet},
		{"one visit of four", []any{round(p, 1, 1, 100)}, "S2", RuleNotMet},
		{"one order", []any{round(p, 1, 1, 9), round(q, 1, 2, 9), round(o, 1, 3, 9), round(p, 2, 1, 9), round(q, 2, 2, 9), round(o, 2, 3, 9)}, "S3", RuleNotMet},
		{"two orders", []any{round(p, 1, 1, 9), round(q, 1, 2, 9), round(o, 1, 3, 9), round(p, 2, 2, 9), round(q, 2, 1, 9), round(o, 2, 3, 9)}, "S3", RuleMet},
		{"one launch", []any{round(p, 1, 1, 100)}, "S4", RuleNotMet},
		{"two launches", []any{round(p, 1, 1, 100), round(p, 2, 1, 100)}, "S4", RuleMet},
		{"no sentinel", []any{round(p, 1, 1, 100)}, "D1", RuleNotMet},
		{"unsteady", []any{func() RoundRecord { r := round(p, 1, 1, 100); r.Steady.Met = false; return r }()}, "W4", RuleNotMet},
		{"steady on a host", []any{round(p, 1, 1, 100)}, "W4", RuleMet},
		{"steady latency on a GPU", []any{onGPU(round(p, 1, 1, 100))}, "W4", RuleNotMet},
		{"steady clocks on a GPU", []any{onGPU(clocked(round(p, 1, 1, 100), 0.005))}, "W4", RuleMet},
		{"clocks that were not judged", []any{onGPU(clocked(round(p, 1, 1, 100), 0))}, "W4", RuleNotMet},
		{"watched", []any{watched(round(p, 1, 1, 100), &hardware.EventWatch{Looks: 9})}, "X", RuleMet},
		{"not watched", []any{watched(round(p, 1, 1, 100), nil)}, "X", RuleNotMet},
		{"never looked at", []any{watched(round(p, 1, 1, 100), &hardware.EventWatch{})}, "X", RuleNotMet},
		{"others on the host alone are known", []any{hosted(onGPU(round(p, 1, 1, 100)))}, "X", RuleNotMet},
		{"others on the host are known", []any{hosted(round(p, 1, 1, 100))}, "X", RuleMet},
		{"cut off", []any{round(p, 1, 1, 100)}, "X1", RuleNotMet},
		{"finished", []any{round(p, 1, 1, 100), EndRecord{Type: "end"}}, "X1", RuleMet},
		{"far from warm", []any{func() RoundRecord { r := round(p, 1, 1, 100); r.WarmupFar = true; return r }()}, "W1", RuleNotMet},
		{"short samples of blocks", []any{amortised(onGPU(round(p, 1, 1, 10)))}, "S1", RuleMet},
		{"no clock", []any{round(p, 1, 1, 100)}, "E4", RuleNotMet},
	} {
		s := newScript(t, PlannedPoint{Point: p}, PlannedPoint{Point: q}, PlannedPoint{Point: o}).begin()
		if got := ruleNamed(t, s.add(c.records...).load(), c.rule); got.State != c.want {
			t.Errorf("%s: rule %s %s (%s), want %s", c.name, c.rule, got.State, got.Why, c.want)
		}
	}
}

// Q1 is for a worker bound to processors whose clock stood still; every other class
// says why.
func TestQualityReasons(t *testing.T) {
	p := pointOf("m")
	for _, c := range []struct {
		name   string
		pinned []int
		mhz    []float64 // by launch; 0 was not readable
		want   Quality
		why    string
	}{
		{"floating", nil, nil, Q2, "not bound to processors"},
		{"bound, clock unknown", []int{0}, nil, Q2, "clock is not readable: no round has it"},
		{"bound, clock never readable", []int{0}, []float64{0, 0, 0, 0}, Q2, "clock is not readable: only the nominal one"},
		{"bound, clock not always readable", []int{0}, []float64{2000, 2000, 0, 2000}, Q2, "the device's clock was not read in every round"},
		{"bound, clock moves", []int{0}, []float64{2000, 2000, 2000, 2100}, Q2, "2000 to 2100 MHz"},
		{"fixed", []int{0}, []float64{2000, 2001, 2000, 2002}, Q1, ""},
	} {
		s := newScript(t, PlannedPoint{Point: p})
		s.run.Host.PinnedCPUs = c.pinned
		s.begin()
		for l := range 4 {
			r := cleanRound(p, l+1, 10+0.001*float64(l%2))
			switch {
			case c.mhz == nil:
			case c.mhz[l] == 0:
				r.Interval = hardware.Interval{Reasons: hardware.Reasons{"mean_frequency_mhz": "only the nominal one"}}
			default:
				r.Interval = hardware.Interval{MeanFrequencyMHz: &c.mhz[l]}
			}
			s.add(r)
		}
		m := s.add(EndRecord{Type: "end"}).load().Measurements[0]
		if m.Quality != c.want || !strings.Contains(strings.Join(m.Lowered, "; "), c.why) || (c.why == "") != (len(m.Lowered) == 0) {
			t.Errorf("%s: %s for %q, want %s for %q", c.name, m.Quality, m.Lowered, c.want, c.why)
		}
		if (m.Cycles != nil) != (c.mhz != nil && !slices.Contains(c.mhz, 0)) {
			t.Errorf("%s: cycles %+v", c.name, m.Cycles)
		}
		if m.Cycles != nil && (m.Cycles.Value < 19.9e6 || m.Cycles.Value > 20.6e6) {
			t.Errorf("%s: %g cycles in 10 ms at 2 GHz", c.name, m.Cycles.Value)
		}
	}
}
