package verdict

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"genbench/bench"
)

// A launchKey names a launch of an arm: which of its results, and which launch there.
type launchKey struct{ result, launch int }

func (k launchKey) compare(o launchKey) int {
	return cmp.Or(cmp.Compare(k.result, o.result), cmp.Compare(k.launch, o.launch))
}

// A launch is what one launch says about a point, or, where it has no rounds, what
// the energy pass of one result says.
type launch struct {
	key      launchKey
	rounds   []*bench.RoundRecord // that were kept
	clocks   []float64            // MHz during each; 0 where it was not read
	floating bool                 // the clocks cannot be called fixed
	energy   *bench.Energy
	noEnergy string // why there is none
}

// quality is the class of the launch's own number. Its precision is for the test of
// the pairs to judge, and drift from launch to launch meets both arms alike; what is
// left of the classes is whether a steady state was timed, under a fixed clock.
func (l *launch) quality() bench.Quality {
	for _, r := range l.rounds {
		if !r.Steady.Met {
			return bench.Q3
		}
	}
	if l.floating {
		return bench.Q2
	}
	return bench.Q1
}

// A side is what one arm has of one point.
type side struct {
	point    bench.Point
	state    bench.State
	reason   string
	launches []launch // by key
	passes   []launch // the energy passes, one per result
	warnings []bench.Warning
	wrong    bool   // an output of it was wrong
	planned  int    // launches that should have it
	journals int    // that they are in
	network  string // sha256 of what was measured; empty where that is not known
}

// doubt adds a warning, each code once.
func (s *side) doubt(w bench.Warning) {
	if !slices.ContainsFunc(s.warnings, func(x bench.Warning) bool { return x.Code == w.Code }) {
		s.warnings = append(s.warnings, w)
	}
}

// take adds what a result says about the point.
func (s *side) take(result int, o *bench.Outcome) {
	for i, round := range o.Rounds {
		key := launchKey{result, round.Launch}
		n, there := slices.BinarySearchFunc(s.launches, key, func(l launch, k launchKey) int { return l.key.compare(k) })
		if !there {
			s.launches = slices.Insert(s.launches, n, launch{key: key, floating: o.Floating != ""})
		}
		l := &s.launches[n]
		l.rounds, l.clocks = append(l.rounds, round), append(l.clocks, o.Clocks[i])
	}
	s.passes = append(s.passes, launch{key: launchKey{result: result}, energy: o.Energy, noEnergy: o.NoEnergy})
	for _, w := range o.Warnings {
		s.doubt(w)
	}
}

// sides gathers an arm's points, in the plan's order.
func (a Arm) sides(only []bench.Point) ([]*side, error) {
	var list []*side
	byPoint := map[bench.Point]*side{}
	measured := map[bench.Point]int{} // journals
	setting := clocks(a)
	for i, log := range a.Logs {
		own := log.ClockSetting()
		seen := map[bench.Point]bool{}
		for _, o := range bench.Outcomes(log) {
			if only != nil && !slices.Contains(only, o.Point) {
				continue
			}
			if seen[o.Point] {
				return nil, &NotComparableError{Reason: fmt.Sprintf("run %s plans point %s twice", log.Run.ID, o.Point)}
			}
			seen[o.Point] = true
			if launches := log.Run.Config.Protocol.Launches; o.State == bench.Measured && cut(log) && o.Launches < launches {
				// Half a point is not the point that was planned: it must not pass for it.
				o.State, o.Reason = bench.Pending, fmt.Sprintf("the run was cut off after %d of %d launches", o.Launches, launches)
			}
			if o.State == bench.Measured && own != setting {
				o.State, o.Reason = bench.Invalid, fmt.Sprintf("its clocks were %s, those of other launches %s; give --clocks a lower lock that the device holds", cmp.Or(own, "not set"), cmp.Or(setting, "not set"))
			}
			s := byPoint[o.Point]
			if s == nil {
				s = &side{point: o.Point, state: o.State, reason: o.Reason}
				byPoint[o.Point] = s
				list = append(list, s)
			}
			s.journals, s.planned = s.journals+1, s.planned+log.Run.Config.Protocol.Launches
			if o.State != bench.Measured {
				// The first state that is not `measured` is reported, but a wrong output before
				// all else.
				if s.state == bench.Measured || o.Wrong && !s.wrong {
					s.state, s.reason, s.wrong = o.State, o.Reason, o.Wrong
				}
				continue
			}
			measured[o.Point]++
			s.network = cmp.Or(s.network, networkOf(o))
			if len(s.launches)+o.Launches > MostPairs {
				return nil, &NotComparableError{Reason: fmt.Sprintf("point %s has more than %d launches up to run %s", o.Point, MostPairs, log.Run.ID)}
			}
			s.take(i, &o)
		}
	}
	for _, s := range list {
		// A point is there if no more than a quarter of the journals that were to have it
		// lost it (X1). A wrong answer is not a matter of shares: it has no speed.
		n, of := measured[s.point], s.journals
		if s.wrong || tooFew(n, of) {
			continue
		}
		if n < of {
			s.doubt(bench.Warning{Code: bench.LostLaunches, Detail: fmt.Sprintf("%d of %d; one %s: %s", of-n, of, s.state, s.reason)})
		}
		s.state, s.reason = bench.Measured, ""
	}
	return list, nil
}

// MostPairs is how many pairs a point may have, so that no journal keeps a comparison busy
// for hours: it takes time by their cube.
const MostPairs = 1000

// tooFew tells whether more than a quarter of what there should be is lost (X1), or all.
func tooFew(have, of int) bool { return have == 0 || float64(have) < 0.75*float64(of) }

// cut says whether a run did not reach its planned end.
func cut(log *bench.Log) bool { return log.End == nil || log.End.Reason != "" }

// runDoubts is what must be known of a run as a whole.
func runDoubts(log *bench.Log) []Doubt {
	var list []Doubt
	if log.TornLine > 0 {
		list = append(list, Doubt{bench.TornJournal, fmt.Sprintf("line %d of the journal was cut short and is ignored", log.TornLine)})
	}
	if cut(log) {
		list = append(list, Doubt{bench.Interrupted, "the run did not reach its end"})
	}
	for _, f := range log.Run.Findings {
		list = append(list, Doubt{bench.Disturbed, f.Text})
	}
	for _, resumed := range log.Resumes {
		for _, f := range resumed.Findings {
			list = append(list, Doubt{bench.Disturbed, "when the run was resumed: " + f.Text})
		}
	}
	return list
}

// driftDoubts is what a whole run shows of its machine changing meanwhile (D1 to D3).
func driftDoubts(log *bench.Log) []Doubt {
	var list []Doubt
	for _, w := range bench.DriftOf(log, bench.Outcomes(log)).Warnings() {
		switch w.Code {
		case bench.Drifted:
			list = append(list, Doubt{w.Code, "the machine drifted while it was measured: " + w.Detail})
		case bench.OddEvenDiffer:
			list = append(list, Doubt{w.Code, fmt.Sprintf("odd and even rounds differ at %s, more often than by chance", w.Detail)})
		}
	}
	return list
}

// A matched is a point of both arms, or of one.
type matched struct{ base, fresh *side }

// A Couple is a point as either arm names it; nil where an arm does not have it.
type Couple struct {
	Base, New *bench.Point
	// Measured says that both arms set out to measure it: neither lacks it, and
	// neither's engine refused it.
	Measured bool
}

// Couples are the points of two arms that Compare would set side by side, in the
// plan's order. It fails with a *NotComparableError where they share no point.
func Couples(base, fresh Arm) ([]Couple, error) {
	matches, _, err := match(base, fresh, nil)
	if err != nil {
		return nil, err
	}
	list := make([]Couple, len(matches))
	for i, m := range matches {
		c := Couple{Measured: m.base != nil && m.fresh != nil}
		if m.base != nil {
			c.Base, c.Measured = &m.base.point, c.Measured && m.base.state != bench.Skipped
		}
		if m.fresh != nil {
			c.New, c.Measured = &m.fresh.point, c.Measured && m.fresh.state != bench.Skipped
		}
		list[i] = c
	}
	return list, nil
}

// match brings the arms' points together. Where every point of both arms has one
// value on an axis, and another in each arm, that axis is what is being compared: it
// does not keep points apart, but is a difference between the arms.
func match(base, fresh Arm, only []bench.Point) ([]matched, []Difference, error) {
	before, err := base.sides(nil)
	if err != nil {
		return nil, nil, err
	}
	after, err := fresh.sides(only)
	if err != nil {
		return nil, nil, err
	}
	key, axes := compared(before, after)
	byKey := map[bench.Point]*side{}
	for _, s := range before {
		byKey[key(s.point)] = s
	}
	var list []matched
	common := 0
	used := map[bench.Point]bool{}
	for _, s := range after {
		b := byKey[key(s.point)]
		used[key(s.point)] = true
		if b != nil && b.state == bench.Skipped && s.state == bench.Skipped {
			continue
		}
		if b != nil && (b.state == bench.Measured || b.state == bench.Invalid) {
			common++
		}
		list = append(list, matched{b, s})
	}
	for _, s := range before {
		if !used[key(s.point)] && s.state != bench.Skipped && (only == nil || slices.Contains(only, s.point)) {
			list = append(list, matched{s, nil})
		}
	}
	// A point that was flagged and that neither version can measure again is for Confirm.
	if common == 0 && only == nil {
		return nil, nil, &NotComparableError{Reason: fmt.Sprintf("no point of run %s was measured in run %s to compare with", fresh.Run().ID, base.Run().ID)}
	}
	return list, axes, nil
}

// An axis of points that two arms may differ in as a whole.
type axis struct {
	name string // of the difference
	get  func(bench.Point) string
	drop func(*bench.Point)
}

func axes() []axis {
	return []axis{
		{"model", func(p bench.Point) string { return p.Model }, func(p *bench.Point) { p.Model = "" }},
		{"engine", func(p bench.Point) string { return p.Engine }, func(p *bench.Point) { p.Engine = "" }},
		{"precision", func(p bench.Point) string { return p.Precision }, func(p *bench.Point) { p.Precision = "" }},
		{"resolution", func(p bench.Point) string { return fmt.Sprint(p.Resolution) }, func(p *bench.Point) { p.Resolution = 0 }},
		{"graph", func(p bench.Point) string { return p.Graph }, func(p *bench.Point) { p.Graph = "" }},
		{"cache", func(p bench.Point) string { return p.Cache }, func(p *bench.Point) { p.Cache = "" }},
	}
}

// AxisNames lists the differences that points themselves may have.
func AxisNames() []string {
	var names []string
	for _, a := range axes() {
		names = append(names, a.name)
	}
	return names
}

// compared finds the axes that are being compared, and takes them out of points.
func compared(before, after []*side) (key func(bench.Point) bench.Point, differences []Difference) {
	only := func(list []*side, get func(bench.Point) string) (string, bool) {
		if len(list) == 0 {
			return "", false
		}
		first := get(list[0].point)
		for _, s := range list {
			if get(s.point) != first {
				return "", false
			}
		}
		return first, true
	}
	var drops []func(*bench.Point)
	for _, a := range axes() {
		x, one := only(before, a.get)
		y, other := only(after, a.get)
		if one && other && x != y {
			drops = append(drops, a.drop)
			differences = append(differences, Difference{Name: a.name, Base: cmp.Or(x, "none"), New: cmp.Or(y, "none"), Spoils: true})
		}
	}
	return func(p bench.Point) bench.Point {
		for _, drop := range drops {
			drop(&p)
		}
		return p
	}, differences
}

// row begins a row; its verdict is empty where there are pairs to be tested.
func (m matched) row(metric Metric) Row {
	if m.fresh == nil {
		return Row{Point: m.base.point, Verdict: Missing, Reason: "the new result does not have this point"}
	}
	r := Row{Point: m.fresh.point, Network: m.fresh.network, Doubts: slices.Clone(m.fresh.warnings)}
	if m.base != nil {
		for _, w := range m.base.warnings {
			if !slices.ContainsFunc(r.Doubts, func(x bench.Warning) bool { return x.Code == w.Code }) {
				r.Doubts = append(r.Doubts, w)
			}
		}
	}
	switch {
	case m.base != nil && m.base.state == bench.Invalid:
		r.Verdict, r.Reason = Invalid, "base: "+m.base.reason
		return r
	case m.fresh.state == bench.Invalid:
		r.Verdict, r.Reason = Invalid, "new: "+m.fresh.reason
		return r
	case m.fresh.state == bench.Failed && m.base != nil && m.base.state == bench.Failed:
		r.Verdict, r.Reason = Undecided, "both failed; new: "+m.fresh.reason
		return r
	case m.fresh.state == bench.Failed, m.fresh.state == bench.Pending:
		r.Verdict, r.Reason = Missing, fmt.Sprintf("new: %s: %s", m.fresh.state, m.fresh.reason)
		return r
	case m.base == nil:
		r.Verdict, r.Reason = Extra, "the base does not have this point"
		return r
	case m.base.state == bench.Skipped:
		r.Verdict, r.Reason = Extra, "base: skipped: "+m.base.reason
		return r
	case m.base.state == bench.Pending:
		r.Verdict, r.Reason = Invalid, "base: "+m.base.reason
		return r
	case m.base.state == bench.Failed: // to work where the base did not is no regression
		r.Verdict, r.Reason = Undecided, "base: failed: "+m.base.reason
		return r
	case m.fresh.state != bench.Measured:
		r.Verdict, r.Reason = Missing, fmt.Sprintf("new: %s: %s", m.fresh.state, m.fresh.reason)
		return r
	}
	if r.Reason = m.unlike(metric); r.Reason != "" {
		r.Verdict = Invalid
		return r
	}
	pairs, of := m.pairs(metric)
	if tooFew(len(pairs), of) {
		r.Verdict, r.Reason = Invalid, fmt.Sprintf("only %d of %d launch pairs have numbers on both sides", len(pairs), of)
		return r
	}
	var sumBase, sumNew float64
	without := func(v Verdict, reason string) Row { // one launch without a value spoils the row
		r.Verdict, r.Reason, r.Pairs, r.Unfit = v, reason, nil, 0
		return r
	}
	for _, both := range pairs {
		b, why := metric.of(both.base)
		if why != "" {
			return without(Undecided, "base: "+why)
		}
		n, why := metric.of(both.fresh)
		if why != "" {
			return without(Undecided, "new: "+why)
		}
		d := math.Log(n) - math.Log(b)
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return without(Invalid, fmt.Sprintf("launch %d gives the %s %v against %v", both.base.key.launch, metric.Name, n, b))
		}
		if metric.HigherIsBetter {
			d = -d
		}
		r.Pairs = append(r.Pairs, d)
		if x, y := both.base.quality(), both.fresh.quality(); x != y || x == bench.Q3 {
			r.Unfit++
		}
		sumBase, sumNew = sumBase+math.Log(b), sumNew+math.Log(n)
	}
	n := float64(len(r.Pairs))
	r.Base, r.New = math.Exp(sumBase/n), math.Exp(sumNew/n)
	return r
}

// unlike says why the times of the arms are not of one kind, so a change between them
// means nothing: a mean over a block leaves out what comes between single inferences
// (M4). It is empty where they can be compared.
func (m matched) unlike(metric Metric) string {
	if !metric.Clocked() {
		return "" // energy is measured in a pass of its own, never as a mean over blocks
	}
	const mixed = "in some launches the one and in others the other"
	kind := func(s *side) string {
		blocks, single := false, false
		for _, l := range s.launches {
			for _, r := range l.rounds {
				blocks, single = blocks || r.AmortisedOver > 0, single || r.AmortisedOver == 0
			}
		}
		switch {
		case blocks && single:
			return mixed
		case blocks:
			return "means of blocks (amortised)"
		}
		return "single inferences"
	}
	base, fresh := kind(m.base), kind(m.fresh)
	if base == fresh && base != mixed {
		return ""
	}
	return fmt.Sprintf("samples that are means of blocks cannot be compared with single inferences: the base's are %s, the new ones %s; measure both with --graph %s or --cache %s, which never amortise",
		base, fresh, bench.Blocked, bench.Cold)
}

// A pair is a launch of both arms.
type pair struct{ base, fresh *launch }

// pairs are the launches that both arms have, in order, and how many there should be.
func (m matched) pairs(metric Metric) (list []pair, planned int) {
	base, before := metric.launches(m.base)
	fresh, after := metric.launches(m.fresh)
	for i, j := 0, 0; i < len(base) && j < len(fresh); {
		switch c := base[i].key.compare(fresh[j].key); {
		case c < 0:
			i++
		case c > 0:
			j++
		default:
			list = append(list, pair{&base[i], &fresh[j]})
			i, j = i+1, j+1
		}
	}
	return list, min(before, after)
}

// cycles gives the pairs in clock cycles, nil where a clock is not known.
func (m matched) cycles(metric Metric) Pairs {
	if m.base == nil || m.fresh == nil || !metric.Clocked() {
		return nil
	}
	var pairs Pairs
	list, _ := m.pairs(metric)
	for _, both := range list {
		b, known := metric.cyclesOf(both.base)
		n, also := metric.cyclesOf(both.fresh)
		if !known || !also {
			return nil
		}
		pairs = append(pairs, math.Log(n)-math.Log(b))
	}
	return pairs
}
