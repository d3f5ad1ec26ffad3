package verdict

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"genbench/bench"
)

// A Verdict is what may be said about a point.
type Verdict string

const (
	Regressed  Verdict = "regressed"   // worse by more than the margin
	Improved   Verdict = "improved"    // better by more than the margin
	Same       Verdict = "same"        // within the threshold, shown by two one-sided tests
	Undecided  Verdict = "undecided"   // the pairs do not tell
	ClockShift Verdict = "clock_shift" // slower in time, the same in clock cycles (R7)
	Missing    Verdict = "missing"     // the new result has no numbers for it
	Extra      Verdict = "extra"       // the new result has it, the base does not
	Invalid    Verdict = "invalid"     // one side's numbers must not be used
)

// Meaning explains a verdict to readers of a report.
func (v Verdict) Meaning() string {
	switch v {
	case Regressed:
		return "worse than the base by more than the margin, with the family's chance of a false alarm kept (Holm)"
	case Improved:
		return "better than the base by more than the margin, by the same test"
	case Same:
		return "shown to lie within the margin by two one-sided tests, however high this machine's noise floor"
	case Undecided:
		return "the pairs do not tell, or what they measured was not steady; a true change below `detectable` is often not seen: take more pairs or quieten the machine"
	case ClockShift:
		return "slower in time but the same in clock cycles: the processor ran at another clock"
	case Missing:
		return "the new result should have numbers for this point and has none"
	case Extra:
		return "the base has no numbers for this point; nothing to compare"
	case Invalid:
		return "the numbers of one side must not be used, or not beside those of the other"
	}
	return string(v)
}

// An Arm is one side of a comparison: one journal, or a gate's journals of one
// launch each. A gate launches both versions for a few points at a time: the journals
// of either arm then hold some of the points, and those at the same place belong
// together.
type Arm struct{ Logs []*bench.Log }

// Run is what the arm's first journal says about itself.
func (a Arm) Run() bench.RunRecord { return a.Logs[0].Run }

// A Comparison is two arms side by side.
type Comparison struct {
	Base, New   bench.RunRecord
	Differences []Difference
	// Advisory is why no verdict here may fail a build; empty where one may (R10).
	Advisory string
	Doubts   []Doubt // about the comparison as a whole
	Alpha    float64
	// Strict makes what is undecided fail.
	Strict bool
	// Stopped is why a gate ended before it had all that it needs to decide, and
	// StoppedCode its exit code; empty where it reached its end.
	Stopped     string
	StoppedCode int
	Families    []Family
}

// A Doubt is a reason to trust a comparison less.
type Doubt struct {
	Code bench.Code // empty where the text says all
	Text string
}

// A Family is all points of one metric, tested together (R3).
type Family struct {
	Metric    Metric
	Threshold float64
	Rows      []Row
	// Advisory is why this metric's verdicts may not fail a build, where others' may.
	Advisory string
	// Tested counts the rows that a test was made for.
	Tested int
	second Look // Options.Confirm
}

// A Row is one point.
type Row struct {
	Point   bench.Point // as the new arm has it, or the base where that has none
	Network string      // sha256 of the new arm's network, empty where that is not known
	// Base and New are the arms' centers, in the metric's unit (ns, inferences a
	// second, or J); 0 without pairs.
	Base, New float64
	// Ratio is new over base, with its interval at 1-alpha, not adjusted for the
	// family. Its bounds are null where there are too few pairs for one.
	Ratio bench.Estimate
	Pairs Pairs // in the order of the launches; positive is worse
	// Margin is what a regression or improvement has to exceed: the family's threshold, or
	// the machine's noise floor where that is higher. A row that is the same lies within
	// the threshold.
	Margin float64
	Raised bool     // the margin is the floor
	Floor  *float64 // null without a calibration of this point
	P      float64  // two-sided, of no change beyond the margin
	// Adjusted is P after Holm, for comparing with Alpha: where a look may spend only a
	// part of Alpha, it is scaled up to match.
	Adjusted float64
	// Detectable is the least true slow-down that fails a build with 80 % power (R4), a
	// batch that has to confirm it included; infinite where the pairs are too few for the
	// family.
	Detectable float64
	// Unfit counts the pairs whose launches are not both of class Q1, or both of Q2.
	Unfit   int
	Verdict Verdict
	Reason  string // of a verdict without a test, or of a doubt
	// Refused says that the row would be the same but for unfit pairs or a run that
	// drifted.
	Refused bool
	// GivenUp says that a further look would hardly have decided the row.
	GivenUp bool
	// Watch marks an undecided row that Benjamini and Hochberg at 10 % would have
	// looked at. It fails nothing.
	Watch bool
	// Cycles is the ratio in clock cycles where both clocks are known.
	Cycles *float64
	Doubts []bench.Warning // of either arm
	// Confirmed is set on a flagged row that was measured again: whether it was
	// flagged again (R6).
	Confirmed *bool
}

// Options are what a comparison is asked to do.
type Options struct {
	Metrics   []Metric
	Threshold float64 // instead of every metric's own; 0 keeps those
	Alpha     float64 // the chance of a false alarm over a family
	// Spend is the part of Alpha that this look of a gate may spend; 0 is all.
	Spend float64
	// Confirm is the batch by which a regression is confirmed before it fails a build,
	// zero where none is taken.
	Confirm Look
	Allow   []string // differences that do not spoil the comparison
	// Live says that the arms were interleaved on one machine; otherwise the
	// comparison is advisory unless a calibration covers it.
	Live        bool
	Calibration *Calibration
	// Only narrows the comparison to some points; nil is all.
	Only []bench.Point
}

// A NotComparableError says why two results cannot be compared at all.
type NotComparableError struct {
	Reason      string
	Differences []Difference // those that spoil it
}

func (e *NotComparableError) Error() string {
	s := "compare results: " + e.Reason
	for _, d := range e.Differences {
		s += fmt.Sprintf("\n  %s: %s, now %s", d.Name, d.Base, d.New)
	}
	return s
}

// Unchanged fails with a *NotComparableError where an arm changed while it was measured.
func Unchanged(base, fresh Arm) error {
	for _, a := range arms(base, fresh) {
		if changes := a.arm.Changed(); len(changes) > 0 {
			return &NotComparableError{a.name + " changed while it was measured", changes}
		}
	}
	return nil
}

// Compare judges the points of two arms. It fails with a *NotComparableError where
// what surrounds them differs in a way that was not allowed, or they share no point.
func Compare(base, fresh Arm, o Options) (*Comparison, error) {
	c := &Comparison{Base: base.Run(), New: fresh.Run(), Alpha: o.Alpha}
	if err := Unchanged(base, fresh); err != nil {
		return nil, err
	}
	matches, axes, matchErr := match(base, fresh, o.Only)
	c.Differences = append(Differences(base, fresh), axes...)
	var spoiling []Difference
	for i, d := range c.Differences {
		c.Differences[i].Allowed = slices.Contains(o.Allow, d.Name)
		if d.Spoils && !c.Differences[i].Allowed {
			spoiling = append(spoiling, d)
		}
	}
	if len(spoiling) > 0 {
		return nil, &NotComparableError{fmt.Sprintf("what surrounds the measurements differs; name what may differ with --allow-diff %s", names(spoiling)), spoiling}
	}
	if matchErr != nil {
		return nil, matchErr
	}
	if base.Run().ID == fresh.Run().ID {
		c.Doubts = append(c.Doubts, Doubt{Text: fmt.Sprintf("both sides are run %s: it is compared with itself", base.Run().ID)})
	}
	drifted := "" // why no point may be called the same
	for _, a := range arms(base, fresh) {
		for _, log := range a.arm.Logs {
			doubts := runDoubts(log)
			if !o.Live { // a gate's versions take turns, so drift meets both alike
				doubts = append(doubts, driftDoubts(log)...)
			}
			for _, doubt := range doubts {
				if doubt.Code == bench.Drifted {
					drifted = fmt.Sprintf("looks the same, but the machine drifted while the %s run was measured", a.name)
				}
				if doubt.Text = a.name + ": " + doubt.Text; !slices.Contains(c.Doubts, doubt) {
					c.Doubts = append(c.Doubts, doubt)
				}
			}
		}
	}
	spend := cmp.Or(o.Spend, o.Alpha)
	uncovered := 0 // families
	for _, metric := range o.Metrics {
		covered := true
		family := Family{Metric: metric, Threshold: metric.Threshold, second: o.Confirm}
		if o.Threshold > 0 {
			family.Threshold = o.Threshold
		}
		for _, m := range matches {
			row := m.row(metric)
			row.Margin = family.Threshold
			if o.Calibration != nil && metric.Clocked() {
				if floor, ok := o.Calibration.Floor(row.Point, row.Network); ok {
					row.Floor, row.Raised = &floor.Floor, floor.Floor > row.Margin
					row.Margin = max(row.Margin, floor.Floor)
				}
			}
			if row.Verdict == "" && (row.Floor == nil || !metric.Calibrated()) {
				covered = false
			}
			family.Rows = append(family.Rows, row)
		}
		if !o.Live && !covered {
			family.Advisory = "the two results were taken at different times, and the calibration of this machine lacks some of these points, or says nothing about this metric"
			uncovered++
		}
		family.judge(o.Alpha, spend, matches)
		for i := range family.Rows {
			if r := &family.Rows[i]; r.Verdict == Same && drifted != "" {
				r.Verdict, r.Refused, r.Reason = Undecided, true, drifted
			}
		}
		family.detect(spend)
		c.Families = append(c.Families, family)
	}
	switch {
	case o.Live:
	case o.Calibration == nil:
		c.Advisory = "the two results were taken at different times, and no fresh `genbench calibrate` of this machine says how much time alone changes; use `genbench gate` for a verdict that may fail a build"
	case uncovered == len(c.Families):
		c.Advisory = c.Families[0].Advisory
	case apart(base, fresh) > time.Hour:
		// R10 lets such a verdict stand; its reader should know what it rests on.
		c.Doubts = append(c.Doubts, Doubt{Text: fmt.Sprintf("the two results were taken %.0f hours apart; the calibration says how far launches that are seconds apart differ, and not what changed on the machine since", apart(base, fresh).Hours())})
	}
	return c, nil
}

// Advices lists why a comparison is only advice: for all of it, or by metric.
func (c *Comparison) Advices() []string {
	if c.Advisory != "" {
		return []string{c.Advisory}
	}
	var list []string
	for _, f := range c.Families {
		if f.Advisory != "" {
			list = append(list, f.Metric.Name+": "+f.Advisory)
		}
	}
	return list
}

// Advice is why a family's verdicts may not fail a build; empty where they may.
func (c *Comparison) Advice(f Family) string { return cmp.Or(c.Advisory, f.Advisory) }

// apart is the time between the beginnings of two arms.
func apart(base, fresh Arm) time.Duration { return fresh.Run().Started.Sub(base.Run().Started).Abs() }

// A namedArm is an arm as people know it.
type namedArm struct {
	name string
	arm  Arm
}

func arms(base, fresh Arm) [2]namedArm { return [2]namedArm{{"base", base}, {"new", fresh}} }

// judge tests a family's rows, one for each of the matches, and spends alpha, or a
// part of it, on that.
func (f *Family) judge(alpha, spend float64, matches []matched) {
	var at []int
	var flips []flip
	var p, slower []float64
	below := map[int][]float64{} // by the number of pairs; its computation takes time by their cube
	for i := range f.Rows {
		r := &f.Rows[i]
		if r.Verdict != "" {
			continue
		}
		n := len(r.Pairs)
		if below[n] == nil {
			below[n] = signedRank(n)
		}
		flip := flipWith(r.Pairs, below[n])
		margin := math.Log1p(r.Margin)
		r.P = min(1, 2*min(flip.Above(margin), flip.Below(-margin)))
		at, flips, p = append(at, i), append(flips, flip), append(p, r.P)
		slower = append(slower, min(1, 2*flip.Above(0)))
	}
	f.Tested = len(at)
	adjusted, watch := holm(p), benjaminiHochberg(slower)
	for k, i := range at {
		r, flip := &f.Rows[i], flips[k]
		// A floor says what this machine cannot see, and so acquits nothing: to be the same,
		// a row must lie within the threshold itself.
		threshold := math.Log1p(f.Threshold)
		r.Adjusted = min(1, adjusted[k]*alpha/spend)
		low, high := flip.Bounds(alpha / 2)
		r.Ratio.Level, r.Ratio.Launches = 1-alpha, len(r.Pairs)
		r.setRatio(f.Metric, flip.Center(), low, high)
		switch {
		case r.Adjusted <= alpha && flip.Center() > 0:
			r.Verdict = Regressed
			if pairs := matches[i].cycles(f.Metric); pairs != nil {
				inCycles := newFlip(pairs)
				ratio := math.Exp(inCycles.Center())
				r.Cycles = &ratio
				if within(inCycles, threshold, spend) {
					r.Verdict = ClockShift
				}
			}
		case r.Adjusted <= alpha:
			r.Verdict = Improved
		case within(flip, threshold, spend):
			r.Verdict = Same
			if float64(r.Unfit) > unfitShare*float64(len(r.Pairs)) {
				r.Verdict, r.Refused = Undecided, true
				r.Reason = fmt.Sprintf("looks the same, but in %d of %d pairs a launch found no steady state (Q3) or only one had fixed clocks", r.Unfit, len(r.Pairs))
			}
		default:
			r.Verdict = Undecided
			r.Watch = watch[k] <= watchLevel
			if r.Raised && within(flip, math.Log1p(r.Margin), spend) {
				r.Reason = fmt.Sprintf("lies within this machine's noise floor of %.3g %%, not shown to be within %.3g %%", 100*r.Margin, 100*f.Threshold)
			}
			if need := PairsFor(len(at), spend); len(r.Pairs) < need {
				r.Reason = fmt.Sprintf("%d launch pairs cannot decide among %d points, %d can", len(r.Pairs), len(at), need)
			}
		}
	}
}

// unfitShare is how many of a point's pairs may be unfit before it can no longer be
// called the same. A gate accepts Q1 or Q2 and one class on both sides (protocol,
// section 11), and a point is lost with more than a quarter of its rounds (X1); so
// many wild pairs, and no more, leave the median of the Walsh averages where it is:
// its breakdown point is 29 % (Hodges, Proceedings of the Fifth Berkeley Symposium 1,
// 1967).
//
// It only takes back an acquittal. Which arm runs first is drawn by lot, so a
// difference that the test finds between the arms comes from the versions, whether or
// not they were timed in a steady state; to let it pass because one of them does not
// settle would let through just what a gate is for. That no difference was found
// while neither had settled does not mean that there is none once both have.
const unfitShare = 0.25

// detect fills in what each tested row would have found at a look with that much of
// alpha to spend.
func (f *Family) detect(spend float64) {
	for i := range f.Rows {
		if r := &f.Rows[i]; len(r.Pairs) > 0 {
			r.detects(promised(Look{len(r.Pairs), spend / float64(f.Tested)}, f.second))
		}
	}
}

// detects fills in what a row would have found, by what its test finds in standard
// deviations of a pair.
func (r *Row) detects(unit float64) {
	r.Detectable = math.Inf(1)
	if !math.IsInf(unit, 1) {
		r.Detectable = math.Expm1(math.Log1p(r.Margin) + unit*r.Pairs.spread())
	}
}

// watchLevel is the share of false entries that the watch list may hold (R3).
const watchLevel = 0.10

// within says whether two one-sided tests at a level put the difference inside the
// margin.
func within(f flip, margin, level float64) bool {
	return f.Below(margin) <= level && f.Above(-margin) <= level
}

// setRatio turns a difference, positive for worse, into new over base.
func (r *Row) setRatio(m Metric, center, low, high float64) {
	if m.HigherIsBetter {
		center, low, high = -center, -high, -low
	}
	r.Ratio.Value = math.Exp(center)
	if !math.IsInf(low, 0) {
		l, h := math.Exp(low), math.Exp(high)
		r.Ratio.Low, r.Ratio.High = &l, &h
	}
}

// ExitCode is the code that a comparison ends with: that of what stopped it; 10 for a
// regression that may fail a build, 5 for a point that vanished, 4 for one whose
// numbers must not be used, 11 where Strict asks that everything be decided and
// something is not; else 0. An improvement never fails.
func (c *Comparison) ExitCode() int {
	undecided := len(c.Advices()) > 0
	for _, f := range c.Families {
		undecided = undecided || slices.ContainsFunc(f.Rows, func(r Row) bool { return c.Unacceptable(f, r.Verdict) })
	}
	switch {
	case c.Stopped != "":
		return c.StoppedCode
	case c.Failing() > 0:
		return 10
	case c.Count(Missing) > 0:
		return 5
	case c.Count(Invalid) > 0:
		return 4
	case c.Strict && undecided:
		return 11
	}
	return 0
}

// Failing counts the regressions that may fail a build.
func (c *Comparison) Failing() int {
	n := 0
	for _, f := range c.Families {
		if c.Advice(f) == "" {
			n += f.count(Regressed)
		}
	}
	return n
}

// Unacceptable tells whether a family's verdict fails a build only under Strict.
func (c *Comparison) Unacceptable(f Family, v Verdict) bool {
	return c.Strict && (v == Undecided || v == ClockShift || v == Regressed && c.Advice(f) != "")
}

// Count counts rows with a verdict over all families.
func (c *Comparison) Count(v Verdict) int {
	n := 0
	for _, f := range c.Families {
		n += f.count(v)
	}
	return n
}

func (f Family) count(v Verdict) int {
	n := 0
	for _, r := range f.Rows {
		if r.Verdict == v {
			n++
		}
	}
	return n
}
