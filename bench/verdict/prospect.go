package verdict

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"genbench/bench"
)

// leastProspect is the chance of a verdict below which a point is not measured
// further. It loses less than one in fifty of the slow-downs that two full looks find
// four times in five (TestGivingUpCostsLittlePower).
const leastProspect = 0.05

// GiveUp marks the points that a further look would hardly decide, so that no time
// is spent on them. It only ever takes away a chance of a verdict, so it raises no
// chance of a false one.
func (c *Comparison) GiveUp(next Look) {
	for i := range c.Families {
		c.Families[i].giveUp(next)
	}
}

func (f *Family) giveUp(next Look) {
	found, most := 0, 0
	for _, r := range f.Rows {
		most = max(most, len(r.Pairs)) // of points that lost no launch
		if r.Verdict == Regressed || r.Verdict == Improved {
			found++
		}
	}
	for i := range f.Rows {
		r := &f.Rows[i]
		if r.open() && r.prospect(next, f.Tested-found, f.Threshold) < leastProspect {
			r.GivenUp = true
			r.detects(promised(Look{next.Pairs, next.Alpha / float64(f.Tested)}, f.second)) // what would have been seen with the pairs that were left out
			if r.Reason != "" {
				r.Reason += "; "
			}
			r.Reason += fmt.Sprintf("%d more pairs would hardly decide it (a chance below %.0f %%) and were not taken", next.Pairs-most, 100*leastProspect)
		}
	}
}

// Open lists the points, as the new arm has them, that more pairs may decide.
func (c *Comparison) Open() []bench.Point {
	return c.points(Row.open)
}

// open rows are those that more pairs may decide.
func (r Row) open() bool {
	return r.Verdict == Undecided && !r.Refused && !r.GivenUp && len(r.Pairs) > 0
}

// prospect is the chance that a further look decides a row while rows of them are in
// question: the predictive probability under a flat prior. Given what the pairs show,
// the center at that look is normal around the present one; the bounds around it that
// are judged then are closer by the root of the ratio of the pairs.
func (r Row) prospect(next Look, rows int, threshold float64) float64 {
	have, want := float64(len(r.Pairs)), float64(next.Pairs)
	flip := newFlip(r.Pairs)
	const tail = 0.025
	low, high := flip.Bounds(tail)
	// By the ranks, which a wild pair hardly moves.
	spread := (high - low) / 2 / distuv.StudentsT{Sigma: 1, Nu: have - 1}.Quantile(1-tail)
	if want <= have || math.IsInf(spread, 0) || !(spread > 0) {
		return 1 // nothing is known of the spread
	}
	then := spread * math.Sqrt(have/want) // standard error of the center at the next look
	center := distuv.Normal{Mu: math.Abs(flip.Center()), Sigma: spread * math.Sqrt(1-have/want)}
	t := distuv.StudentsT{Sigma: 1, Nu: want - 1}
	chance := 0.0
	if level := next.Alpha / float64(rows); SmallestP(next.Pairs) <= level {
		beyond := math.Log1p(r.Margin) + t.Quantile(1-level/2)*then
		chance += center.Survival(beyond) + center.CDF(-beyond)
	}
	if inside := math.Log1p(threshold) - t.Quantile(1-next.Alpha)*then; inside > 0 && float64(r.Unfit) <= unfitShare*want {
		chance += center.CDF(inside) - center.CDF(-inside)
	}
	return chance
}
