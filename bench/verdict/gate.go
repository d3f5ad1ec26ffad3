package verdict

import (
	"fmt"
	"math"
	"slices"

	"genbench/bench"
)

// The pairs of a gate's two looks, and of the batch that confirms (S5, R6).
const (
	FirstLook  = 12
	SecondLook = 20
	Confirming = 12
)

// Stand carries what an earlier look claimed over to this one: a look spends its
// own part of alpha, and what it found is found. Nor does a row change that got no new
// pairs: those it has were tested once.
func (c *Comparison) Stand(earlier *Comparison) {
	c.Alpha += earlier.Alpha
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
		switch same := len(r.Pairs) == len(was.Pairs); {
		case found && (same || r.Verdict == Undecided):
			r.Verdict, r.Watch, r.Refused, r.Cycles = was.Verdict, false, false, was.Cycles
			r.Reason = fmt.Sprintf("decided at the first look, by %d pairs", len(was.Pairs))
		case was.GivenUp && same:
			r.Verdict, r.GivenUp, r.Reason, r.Detectable = Undecided, true, was.Reason, was.Detectable
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

// Confirm settles what was flagged by a second batch of pairs: a point that is not
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
		if was.Verdict == Invalid || was.Verdict == Missing {
			r.Verdict, r.Reason = was.Verdict, "flagged, and could not be measured again: "+was.Reason
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

// Detectable is the least relative slow-down that a gate of so many pairs calls with
// 80 % power at one of so many points, where a pair's standard deviation is sd:
// what the plan promises before anything was measured (R4). Infinite where the
// pairs are too few for the family.
func Detectable(pairs, points int, alpha, margin, sd float64) float64 {
	return math.Expm1(math.Log1p(margin) + sd*detectable(pairs, alpha/float64(points)))
}
