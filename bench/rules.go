package bench

import (
	"fmt"
	"slices"
	"time"
)

// A Rule says whether a result met one rule of the protocol. It is judged only from
// the journal; what the program does in every run says so.
type Rule struct {
	ID    string    `json:"rule"`
	State RuleState `json:"state"`
	Why   string    `json:"why"`
}

// RuleState is what became of a rule.
type RuleState string

const (
	RuleMet           RuleState = "met"
	RuleNotMet        RuleState = "not met"
	RuleNotApplicable RuleState = "not applicable"
)

// rulesOf judges every rule of the protocol but those of a comparison (R).
func rulesOf(r *Result) []Rule {
	j := newRuleJudge(r)
	var rules []Rule
	for _, section := range [][]Rule{j.timing(), j.machine(), j.warmUp(), j.sampling(), j.contamination(), j.drift(), j.estimates()} {
		rules = append(rules, section...)
	}
	return rules
}

// A ruleJudge holds what the rules look at.
type ruleJudge struct {
	r        *Result
	measured []*Measurement
	kept     []*RoundRecord // of measured points
	gpu      bool
}

func newRuleJudge(r *Result) *ruleJudge {
	j := &ruleJudge{r: r}
	for i := range r.Measurements {
		m := &r.Measurements[i]
		if m.State != Measured {
			continue
		}
		j.measured = append(j.measured, m)
		for _, round := range m.Rounds {
			if round.Status == OK {
				j.kept = append(j.kept, round)
				j.gpu = j.gpu || round.EnqueueNS != nil
			}
		}
	}
	return j
}

func met(id, why string, args ...any) Rule { return Rule{id, RuleMet, fmt.Sprintf(why, args...)} }

func notMet(id, why string, args ...any) Rule {
	return Rule{id, RuleNotMet, fmt.Sprintf(why, args...)}
}

func notApplicable(id, why string, args ...any) Rule {
	return Rule{id, RuleNotApplicable, fmt.Sprintf(why, args...)}
}

// all is met where every one of total is good; where is of what.
func all(id string, good, total int, of string) Rule {
	switch {
	case total == 0:
		return notApplicable(id, "no point was measured")
	case good < total:
		return notMet(id, "%d of %d %s", good, total, of)
	}
	return met(id, "%d of %d %s", good, total, of)
}

// holding counts what a condition holds for.
func holding[T any](list []T, condition func(T) bool) int {
	n := 0
	for _, v := range list {
		if condition(v) {
			n++
		}
	}
	return n
}

func (j *ruleJudge) timing() []Rule {
	rules := []Rule{met("M1", "the clock is read in C around the engine's own call, which returns when the work is done")}
	if j.gpu {
		rules[0] = met("M1", "device time between events on the engine's own stream")
		rules = append(rules, all("M2", holding(j.measured, func(m *Measurement) bool { return m.Copies != nil }), len(j.measured), "points have separate enqueue, copy and host-to-host times"))
	} else {
		rules = append(rules, notApplicable("M2", "device, host and enqueue time are the same on a host device"))
	}
	if n := len(j.measured) - j.rated(); n > 0 {
		rules = append(rules, met("M3", "work over the time of the block; none for %d points, where something comes before every inference", n))
	} else {
		rules = append(rules, met("M3", "work over the time of the block"))
	}
	rules = append(rules, j.amortised(), j.graphs(), j.caches())
	rules = append(rules, all("M7", holding(j.measured, func(m *Measurement) bool { return m.Build > 0 && m.First > 0 }), len(j.measured), "points have separate build and first-inference times"))
	rules = append(rules, met("M8", "one C call per block, on a locked thread, garbage collection off"))
	rules = append(rules, notMet("M9", "the journal holds no truth test; `genbench selftest` runs one"))
	return append(rules, all("M10", holding(j.measured, func(m *Measurement) bool { return m.Check != nil && m.Check.Pass }), len(j.measured), "points met the reference's output"))
}

// paced counts the points with gaps before their inferences.
func (j *ruleJudge) paced() int {
	return holding(j.measured, func(m *Measurement) bool { return m.Point.Gap > 0 })
}

// rated counts the points that can have a throughput.
func (j *ruleJudge) rated() int {
	return holding(j.measured, func(m *Measurement) bool { return m.Point.NoThroughput() == "" })
}

func (j *ruleJudge) amortised() Rule {
	if !j.gpu {
		return notApplicable("M4", "a host device's clock resolves nanoseconds and has no events")
	}
	short := func(m *Measurement) bool { return m.Latency.Value < float64(shortInference) }
	total := holding(j.measured, short)
	blocks := holding(j.measured, func(m *Measurement) bool { return short(m) && m.AmortisedOver > 0 })
	switch {
	case total == 0:
		return notApplicable("M4", "no point takes less than 0.2 ms")
	case blocks < total:
		return notMet("M4", "%d of %d points under 0.2 ms are amortised over blocks; where something comes before every inference (%s, %s, a gap) there are no blocks", blocks, total, Blocked, Cold)
	}
	return met("M4", "%d points under 0.2 ms are amortised over blocks of 1 ms, without tails", total)
}

// graphs looks at what was asked for: an engine that cannot be captured is skipped with
// its reason and meets the rule.
func (j *ruleJudge) graphs() Rule {
	if !j.gpu {
		return notApplicable("M5", "a host device has no graph modes")
	}
	asked, taken := map[string]bool{}, map[string]int{}
	for i := range j.r.Measurements {
		m := &j.r.Measurements[i]
		asked[m.Point.Graph] = true
		if m.State == Measured {
			taken[m.Point.Graph]++
		}
	}
	if asked[Eager] && asked[Graphed] {
		return met("M5", "%d points eager, %d as graphs, %d blocked", taken[Eager], taken[Graphed], taken[Blocked])
	}
	return notMet("M5", "one of eager and graph was not asked for")
}

func (j *ruleJudge) caches() Rule {
	rotated := holding(j.measured, func(m *Measurement) bool { return m.Point.Cache == Rotate })
	cold := holding(j.measured, func(m *Measurement) bool { return m.Point.Cache == Cold })
	if rotated+cold == 0 {
		return notMet("M6", "one input is used again and again, which the cache may hold")
	}
	if few := holding(j.measured, func(m *Measurement) bool { return m.InputsAsked > 0 }); few > 0 {
		return notMet("M6", "at %d of %d points fewer inputs rotate than fill twice the cache", few, rotated)
	}
	return met("M6", "%d points with rotated inputs, %d with an empty cache, %d with what was left there", rotated, cold, len(j.measured)-rotated-cold)
}

func (j *ruleJudge) machine() []Rule {
	rules := []Rule{met("P", "%d findings before the run", len(j.r.Log.Run.Findings))}
	fixed := holding(j.measured, func(m *Measurement) bool { return m.floating(j.r.Log.Run) == "" })
	if j.gpu {
		return append(rules, j.clocks()...)
	}
	rules = append(rules, notApplicable("C1", "a host device's clocks are not genbench's to lock"))
	rules = append(rules, all("C2", fixed, len(j.measured), "points ran bound to processors with a steady clock"))
	if fixed < len(j.measured) {
		return append(rules, met("C5", "floating clocks rule out class Q1 in every table"))
	}
	return append(rules, notApplicable("C5", "no clock floats"))
}

func (j *ruleJudge) warmUp() []Rule {
	p := j.r.Log.Run.Config.Protocol
	rules := []Rule{all("W1", holding(j.kept, func(r *RoundRecord) bool { return r.WarmupSamples >= p.WarmupSamples && !r.WarmupFar }), len(j.kept), "rounds had their warm-up")}
	if settles := j.r.Log.Settles; j.gpu && len(settles) > 0 {
		rules = append(rules, all("W2", holding(settles, func(s SettleRecord) bool { return s.Met }), len(settles), "launches began with a steady clock and temperature"))
	} else if len(settles) > 0 {
		rules = append(rules, notMet("W2", "the heaviest point did not run first: %s", settles[0].Reason))
	} else if p.Settle > 0 && !j.gpu {
		rules = append(rules, met("W2", "the heaviest point ran for %g s first", p.Settle.Seconds()))
	} else {
		rules = append(rules, notMet("W2", "the machine was not warmed up before the first launch"))
	}
	gaps := notApplicable("W5", "no scenario with gaps was asked for")
	if n := j.paced(); n > 0 {
		gaps = met("W5", "%d points idle before every inference", n)
	}
	return append(rules,
		ramp(p),
		j.steady(),
		gaps)
}

// steady looks at what was proven of rounds; on a GPU that includes their clocks.
func (j *ruleJudge) steady() Rule {
	steady := holding(j.kept, func(r *RoundRecord) bool { return r.Steady.Met })
	if !j.gpu || steady < len(j.kept) {
		return all("W4", steady, len(j.kept), "rounds were taken in a steady state")
	}
	clocks := holding(j.kept, func(r *RoundRecord) bool { return r.Steady.ClockLimit > 0 && r.Steady.WindowClocks != nil })
	return all("W4", clocks, len(j.kept), "rounds were taken in a steady state, of latency and clock")
}

// ramp says what a round leaves out at its start.
func ramp(p Protocol) Rule {
	switch {
	case p.RampTime > 0:
		return met("W3", "the first %s of every round are left out of it, and the first %d inferences of every window", p.RampTime, p.RampSamples)
	case p.RampSamples > 0:
		return met("W3", "inferences left out at the start of every window of a round: %d", p.RampSamples)
	}
	return notMet("W3", "rounds count their first inference")
}

// roundSlack is how far a round may miss its planned length: it was sized from the
// median of the windows before it.
const roundSlack = 0.2

func (j *ruleJudge) sampling() []Rule {
	run := j.r.Log.Run
	p := run.Config.Protocol
	full := holding(j.kept, func(r *RoundRecord) bool {
		n, total := len(r.DeviceNS), time.Duration(0)
		for _, ns := range r.DeviceNS {
			total += time.Duration(ns) * time.Duration(max(1, r.AmortisedOver))
		}
		if point, err := ParsePoint(r.ID); err == nil {
			total += time.Duration(n) * point.Gap
		}
		enough := func(limit time.Duration) bool { return float64(total) >= (1-roundSlack)*float64(limit) }
		return n >= p.RoundSamples && enough(p.RoundTime) || n >= p.RoundMin && enough(p.RoundCap) || p.RoundMost > 0 && n >= p.RoundMost
	})
	rules := []Rule{all("S1", full, len(j.kept), "rounds are full")}
	whole := holding(j.measured, func(m *Measurement) bool { return len(m.Rounds)-m.Dropped() >= visitsOf(p, m.Rounds) })
	rules = append(rules, all("S2", whole, len(j.measured), fmt.Sprintf("points have all their visits, %d × %d", p.Launches, p.Rounds)))
	rules = append(rules, j.order())
	rules = append(rules, all("S4", holding(j.measured, func(m *Measurement) bool { return m.Launches > 1 }), len(j.measured), "intervals are over launches"))
	rules = append(rules, all("S5", holding(j.measured, func(m *Measurement) bool { return m.Latency.HalfWidth() <= p.RelWidth }), len(j.measured), fmt.Sprintf("intervals are within ±%g %%", 100*p.RelWidth)))
	tails := func(of func(*Measurement) *Tail) int {
		return holding(j.measured, func(m *Measurement) bool { return of(m) != nil })
	}
	rules = append(rules, met("S6", "of %d points %d publish p90, %d p95, %d p99, %d p99.9", len(j.measured),
		tails(func(m *Measurement) *Tail { return m.P90 }), tails(func(m *Measurement) *Tail { return m.P95 }),
		tails(func(m *Measurement) *Tail { return m.P99 }), tails(func(m *Measurement) *Tail { return m.P999 })))
	if end := j.r.Log.End; end != nil {
		return append(rules, met("S7", "%.0f s planned, %.0f s used", end.PlannedSeconds, end.UsedSeconds))
	}
	return append(rules, notMet("S7", "%.0f s planned; the run was cut off", run.PlannedSeconds))
}

// order checks whether launches visited the points in different orders.
func (j *ruleJudge) order() Rule {
	byLaunch := map[int][]*RoundRecord{}
	for _, r := range j.kept {
		if r.Round == 1 {
			byLaunch[r.Launch] = append(byLaunch[r.Launch], r)
		}
	}
	if len(j.measured) < 3 || len(byLaunch) < 2 {
		return notApplicable("S3", "too few points or launches for orders to differ")
	}
	orders := map[string]bool{}
	for _, rounds := range byLaunch {
		slices.SortFunc(rounds, func(a, b *RoundRecord) int { return a.Order - b.Order })
		order := ""
		for _, r := range rounds {
			order += r.ID + " "
		}
		orders[order] = true
	}
	if len(orders) == 1 {
		return notMet("S3", "all %d launches have the same order", len(byLaunch))
	}
	return met("S3", "%d orders in %d launches, from seed %d", len(orders), len(byLaunch), j.r.Log.Run.Seed)
}

func (j *ruleJudge) contamination() []Rule {
	evidence := holding(j.kept, func(r *RoundRecord) bool {
		if r.EnqueueNS != nil { // timed on a GPU
			return r.Interval.GPU != nil && r.Interval.GPU.ForeignProcesses != nil
		}
		return r.Interval.ForeignCPUs != nil
	})
	x := all("X", evidence, len(j.kept), "rounds show who else used the device")
	if watched := holding(j.kept, func(r *RoundRecord) bool {
		return r.Interval.GPU != nil && r.Interval.GPU.Watch != nil && r.Interval.GPU.Watch.Looks > 0
	}); j.gpu && x.State == RuleMet {
		x = all("X", watched, len(j.kept), "rounds show who else used the device, and its clock events during the round")
	}
	rules := []Rule{x}
	invalid := holding(j.r.Measurements, func(m Measurement) bool { return m.State == Invalid && len(m.Rounds) > 0 })
	switch {
	case invalid > 0:
		rules = append(rules, met("X1", "%d points are invalid and keep their rows", invalid))
	case !j.r.Log.Finished():
		rules = append(rules, notMet("X1", "the run did not reach its end, so lost rounds were not counted"))
	default:
		rules = append(rules, met("X1", "no point lost a quarter of its rounds"))
	}
	dropped := 0
	for i := range j.r.Measurements {
		dropped += j.r.Measurements[i].Dropped()
	}
	return append(rules, met("X2", "%d dropped rounds are in the journal with their reasons", dropped))
}

// energy looks at the energy pass, which is taken where it was asked for.
func (j *ruleJudge) energy() Rule {
	if !j.r.Log.Run.Config.Energy {
		return notMet("J", "no energy pass was asked for (--energy)")
	}
	known := holding(j.measured, func(m *Measurement) bool { return m.Energy != nil })
	if known == 0 && len(j.measured) > 0 {
		return notMet("J", "%s", j.measured[0].NoEnergy)
	}
	return all("J", known, len(j.measured), "points have the energy of an inference, in a pass of its own")
}

func (j *ruleJudge) drift() []Rule {
	d := j.r.Drift
	var rules []Rule
	switch {
	case d.Sentinel == nil:
		rules = append(rules, notMet("D1", "no point was visited again to watch the machine"))
	case d.Sentinel.Beyond(driftLimit):
		rules = append(rules, notMet("D1", "%s", d.Sentinel))
	default:
		rules = append(rules, met("D1", "%s", d.Sentinel))
	}
	if d.Trend == nil {
		rules = append(rules, notMet("D2", "too few rounds for a trend"))
	} else {
		rules = append(rules, met("D2", "%s", d.Trend))
	}
	switch o := d.OddEven; {
	case o.Points == 0:
		return append(rules, notMet("D3", "too few launches to split them"))
	case o.Suspicious():
		return append(rules, notMet("D3", "%d of %d points differ between odd and even rounds", o.Rejected, o.Points))
	default:
		return append(rules, met("D3", "%d of %d points differ between odd and even rounds, tested at 5 %%", o.Rejected, o.Points))
	}
}

func (j *ruleJudge) estimates() []Rule {
	intervals := holding(j.measured, func(m *Measurement) bool { return m.Throughput != nil && m.Throughput.Low != nil })
	rules := []Rule{
		all("E1", holding(j.measured, func(m *Measurement) bool { return m.Latency.Low != nil }), len(j.measured), "medians have a t interval over launches"),
		all("E2", intervals, j.rated(), "rates have a bootstrap interval"),
		met("E3", "n, n_eff, spread, shares of variance and outliers are in the report"),
		all("E4", holding(j.measured, func(m *Measurement) bool { return m.Cycles != nil }), len(j.measured), "points have their latency in cycles"),
	}
	return append(rules, j.energy())
}
