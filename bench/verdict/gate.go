package verdict

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"genbench/bench"
)

// The pairs of a gate's two looks (S5).
const (
	FirstLook  = 12
	SecondLook = 20
)

// Confirmation is the batch that confirms a number of flagged points (R6), tested as
// a family of their own: six pairs more than the fewest that can decide, which makes
// 12 for one point at 5 %.
func Confirmation(flagged int, alpha float64) Look {
	return Look{Pairs: PairsFor(flagged, alpha) + 6, Alpha: alpha}
}

// Stand carries what an earlier look claimed over to this one: a look spends its
// own part of alpha, and what it found stays found. Nor does a row without new pairs
// change: those it has were tested once.
func (c *Comparison) Stand(earlier *Comparison) {
	for i := range c.Families {
		c.Families[i].stand(&earlier.Families[i])
	}
}

func (f *Family) stand(earlier *Family) {
	before := map[bench.Point]Row{}
	for _, r := range earlier.Rows {
		before[r.Point] = r
	}
	for i := range f.Rows {
		r := &f.Rows[i]
		was := before[r.Point]
		found := was.Verdict == Regressed || was.Verdict == Improved
		same := len(r.Pairs) == len(was.Pairs)
		if same {
			r.P, r.Adjusted, r.Detectable = was.P, was.Adjusted, was.Detectable
		}
		switch {
		case found && (same || r.Verdict == Undecided):
			r.Verdict, r.Watch, r.Refused, r.Cycles = was.Verdict, false, false, was.Cycles
			r.P, r.Adjusted = was.P, was.Adjusted
			r.Reason = fmt.Sprintf("decided at the first look, by %d pairs", len(was.Pairs))
		case was.GivenUp && same:
			r.Verdict, r.GivenUp, r.Reason = Undecided, true, was.Reason
		}
	}
}

// Flagged lists the points that regressed, as the new arm has them.
func (c *Comparison) Flagged() []bench.Point {
	return c.points(func(r Row) bool { return r.Verdict == Regressed })
}

// points lists those of some rows, each once.
func (c *Comparison) points(of func(Row) bool) []bench.Point {
	var list []bench.Point
	for _, f := range c.Families {
		for _, r := range f.Rows {
			if of(r) && !slices.Contains(list, r.Point) {
				list = append(list, r.Point)
			}
		}
	}
	return list
}

// Confirm settles, by a second batch of pairs, what was flagged: a point that is not
// flagged again is undecided, because two batches contradict each other.
func (c *Comparison) Confirm(again *Comparison) {
	for i := range c.Families {
		c.Families[i].confirm(&again.Families[i])
	}
}

func (f *Family) confirm(again *Family) {
	second := map[bench.Point]Row{}
	for _, r := range again.Rows {
		second[r.Point] = r
	}
	for i := range f.Rows {
		r := &f.Rows[i]
		if r.Verdict != Regressed {
			continue
		}
		was := second[r.Point]
		if len(was.Pairs) == 0 { // what cannot be measured again is not acquitted
			r.Verdict, r.Reason = Invalid, "flagged, but could not be measured again: "+cmp.Or(was.Reason, "neither version ran it")
			if was.Verdict == Missing {
				r.Verdict = Missing
			}
			continue
		}
		confirmed := was.Verdict == Regressed
		r.Confirmed = &confirmed
		if !confirmed {
			r.Verdict = Undecided
			r.Reason = fmt.Sprintf("flagged once; %d new pairs gave %s at a ratio of %.4f", len(was.Pairs), was.Verdict, was.Ratio.Value)
		}
	}
}

// Detectable is the least relative slow-down that a look finds at one of a number of
// points with 80 % power, and a batch then confirms where one has to, if a pair's
// standard deviation is sd: what the plan promises before anything is measured (R4).
// Infinite where the pairs are too few for the family.
func Detectable(look Look, points int, confirm Look, margin, sd float64) float64 {
	look.Alpha /= float64(points)
	return math.Expm1(math.Log1p(margin) + sd*promised(look, confirm))
}

// promised is the same without a margin, in standard deviations of a pair. What a look
// and its confirmation each find with the root of the power, they find together with
// that power, as their pairs have nothing in common.
func promised(look, confirm Look) float64 {
	const power = 0.8
	if confirm.Pairs == 0 {
		return detectable(look.Pairs, look.Alpha, power)
	}
	return max(detectable(look.Pairs, look.Alpha, math.Sqrt(power)), detectable(confirm.Pairs, confirm.Alpha, math.Sqrt(power)))
}
