package reports

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat/distuv"

	"genbench/bench"
)

// A comparison sets a GENet against the baseline that it has to beat: the fastest
// one published at equal or better top-1, measured at the same batch with the same
// engine in the same precision. Where none reaches the GENet's top-1, the most
// accurate one stands in and matched is false.
type comparison struct {
	genet, rival row
	matched      bool
	// ratio is the rival's latency over the GENet's: how many times as fast the
	// GENet is.
	ratio bench.Estimate
}

// isGENet says whether a network is of the family whose paper this program tests.
func isGENet(r row) bool { return strings.EqualFold(r.Model.Family, "genet") }

// alike are the coordinates that two points must share to be compared.
func alike(a, b bench.Point) bool {
	a.Model, a.Resolution = b.Model, b.Resolution
	return a == b
}

// comparisons lists every GENet at every batch with its rival, in the plan's order
// within a batch. Top-1 is published for a network at its own resolution, so it is
// the networks that are compared, each at that resolution.
func comparisons(r *bench.Result) []comparison {
	rows := byBatch(rowsOf([]*bench.Result{r}))
	var list []comparison
	for _, g := range rows {
		if !isGENet(g) || !g.usable() || g.Model.Top1 == nil {
			continue
		}
		var rival row
		matched := false
		for _, b := range rows {
			if isGENet(b) || !b.usable() || b.Model.Top1 == nil || !alike(b.Point, g.Point) {
				continue
			}
			reaches := *b.Model.Top1 >= *g.Model.Top1
			switch {
			case rival.Measurement == nil, reaches && !matched:
				rival, matched = b, reaches
			case reaches && b.Latency.Value < rival.Latency.Value:
				rival = b
			case !reaches && !matched && *b.Model.Top1 > *rival.Model.Top1:
				rival = b
			}
		}
		if rival.Measurement != nil {
			list = append(list, comparison{g, rival, matched, ratioOf(rival.Latency, g.Latency)})
		}
	}
	return list
}

// ratioOf divides two latencies. Its interval is Welch's, on logarithms, from the
// two intervals over launches: each gives back the standard error that it was
// made of. It has no interval where one of the two has none.
func ratioOf(a, b bench.Estimate) bench.Estimate {
	ratio := bench.Estimate{Value: a.Value / b.Value, Level: a.Level, Launches: min(a.Launches, b.Launches)}
	varianceA, dofA, okA := logVariance(a)
	varianceB, dofB, okB := logVariance(b)
	variance := varianceA + varianceB
	if !okA || !okB || a.Level != b.Level || variance == 0 {
		return ratio
	}
	dof := variance * variance / (varianceA*varianceA/dofA + varianceB*varianceB/dofB)
	half := studentT(dof, a.Level) * math.Sqrt(variance)
	low, high := ratio.Value*math.Exp(-half), ratio.Value*math.Exp(half)
	ratio.Low, ratio.High = &low, &high
	return ratio
}

// logVariance is the squared standard error of an estimate's logarithm, and its
// degrees of freedom.
func logVariance(e bench.Estimate) (variance, dof float64, ok bool) {
	if e.Low == nil || e.High == nil || e.Launches < 2 || !(*e.Low > 0) {
		return 0, 0, false
	}
	dof = float64(e.Launches - 1)
	half := math.Log(*e.High / *e.Low) / 2
	return math.Pow(half/studentT(dof, e.Level), 2), dof, true
}

// studentT is the quantile that bounds a two-sided interval of a level.
func studentT(dof, level float64) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: dof}.Quantile(1 - (1-level)/2)
}

// lead is by how many percent points the GENet is the more accurate of the two.
func (c comparison) lead() float64 { return *c.genet.Model.Top1 - *c.rival.Model.Top1 }

// headline picks the comparison that opens a report: of the largest batch, as in
// the paper, that of the most accurate GENet with a rival of equal or better top-1,
// else that with the smallest difference in top-1. The rule knows nothing of who won.
func headline(list []comparison) (comparison, bool) {
	if len(list) == 0 {
		return comparison{}, false
	}
	return slices.MaxFunc(list, func(a, b comparison) int {
		switch {
		case a.genet.Point.Batch != b.genet.Point.Batch:
			return cmp.Compare(a.genet.Point.Batch, b.genet.Point.Batch)
		case a.matched && !b.matched:
			return 1
		case b.matched && !a.matched:
			return -1
		}
		if !a.matched {
			return cmp.Compare(b.lead(), a.lead())
		}
		return cmp.Compare(*a.genet.Model.Top1, *b.genet.Model.Top1)
	}), true
}

// verdict says in words which of the two is faster, as far as the interval allows.
func (c comparison) verdict() string {
	rival := c.rival.Point.Model
	switch {
	case c.ratio.Low == nil:
		return fmt.Sprintf("has %s times the speed of %s, which without an interval is no finding", digits(c.ratio, c.ratio.Value), rival)
	case *c.ratio.Low > 1:
		return fmt.Sprintf("is %s times as fast as %s (95 %% interval %s to %s)", digits(c.ratio, c.ratio.Value), rival, digits(c.ratio, *c.ratio.Low), digits(c.ratio, *c.ratio.High))
	case *c.ratio.High < 1:
		longer := inverse(c.ratio)
		return fmt.Sprintf("takes %s times as long as %s (95 %% interval %s to %s)", digits(longer, longer.Value), rival, digits(longer, *longer.Low), digits(longer, *longer.High))
	}
	return fmt.Sprintf("cannot be told apart from %s by speed (ratio %s, 95 %% interval %s to %s)",
		rival, digits(c.ratio, c.ratio.Value), digits(c.ratio, *c.ratio.Low), digits(c.ratio, *c.ratio.High))
}

// digits shows a value with the decimals that an estimate supports, at least two
// figures of it.
func digits(e bench.Estimate, v float64) string {
	return roundTo(v, max(decimals(e), 1-int(math.Floor(math.Log10(e.Value)))))
}

func inverse(e bench.Estimate) bench.Estimate {
	low, high := 1 / *e.High, 1 / *e.Low
	e.Value, e.Low, e.High = 1/e.Value, &low, &high
	return e
}

// finding is what a run has found, in one sentence, beginning with what kind of
// run it is.
func finding(r *bench.Result) string {
	run := r.Log.Run
	return fmt.Sprintf("%s on %s: %s.", kind(run), deviceText(run), found(r))
}

func found(r *bench.Result) string {
	rows := rowsOf([]*bench.Result{r})
	naming := namingOf(usableRows(r))
	if c, ok := headline(comparisons(r)); ok {
		p := c.genet.Point
		role := "the fastest measured baseline published at equal or better top-1"
		if !c.matched {
			role = "the most accurate measured baseline, although its published top-1 is lower"
		}
		return fmt.Sprintf("at batch %d in %s, %s (published top-1 %.1f %%) %s, %s (%.1f %%); median device time of one inference of %s%s: %s against %s%s",
			p.Batch, naming.how(p), p.Model, *c.genet.Model.Top1, c.verdict(), role, *c.rival.Model.Top1,
			count(p.Batch, "image"), intervalNote(", in brackets its 95 % interval", c.genet, c.rival), c.genet.latencyText(), c.rival.latencyText(), caution(c.genet, c.rival))
	}
	var best row
	usable := 0
	for _, row := range rows {
		if !row.usable() {
			continue
		}
		usable++
		if best.Measurement == nil || row.Latency.Value/float64(row.Point.Batch) < best.Latency.Value/float64(best.Point.Batch) {
			best = row
		}
	}
	switch usable {
	case 0:
		return "no point gave a usable number: " + census(rows)
	case 1:
		return fmt.Sprintf("the one point with a usable number, %s in %s, takes %s, median device time of one inference of %s%s%s",
			best.Point.Model, naming.how(best.Point), best.latencyText(), count(best.Point.Batch, "image"), intervalNote(" and its 95 % interval", best), caution(best))
	}
	return fmt.Sprintf("of %d points, %s in %s takes the least time per image: %s, median device time of one inference of %s%s%s",
		usable, best.Point.Model, naming.how(best.Point), best.latencyText(), count(best.Point.Batch, "image"), intervalNote(" and its 95 % interval", best), caution(best))
}

// intervalNote is what is said of intervals where a row has one.
func intervalNote(words string, rows ...row) string {
	if slices.ContainsFunc(rows, func(r row) bool { return r.Latency.Low != nil }) {
		return words
	}
	return ""
}

// how says in what precision, on which engine and in what circumstances a point was
// measured. How work is submitted and what is done between inferences is said where
// that differs between points or is not the plain way.
func (n naming) how(p bench.Point) string {
	plain := [len(coordinates)]bool{true, true, p.Graph == bench.Eager, p.Cache == bench.Rotate, p.Gap == 0}
	var parts []string
	for i, of := range coordinates {
		if i >= 2 && (n.differ[i] || !plain[i]) && of(p) != "" {
			parts = append(parts, clean(of(p)))
		}
	}
	s := p.Precision + " on " + p.Engine
	if parts != nil {
		s += " (" + strings.Join(parts, ", ") + ")"
	}
	return s
}

// caution warns of numbers of the lowest class.
func caution(rows ...row) string {
	for _, r := range rows {
		if r.Quality == bench.Q3 {
			return "; quality Q3, not to be relied on"
		}
	}
	return ""
}

// latencyText is a latency with its interval.
func (r row) latencyText() string {
	s := r.milliseconds(r.Latency.Value).people() + " ms"
	if r.AmortisedOver > 0 {
		s = fmt.Sprintf("amortised over %d inferences %s", r.AmortisedOver, s)
	}
	if r.Latency.Low != nil && r.Latency.High != nil {
		return fmt.Sprintf("%s (%s)", s, r.ends())
	}
	return s + " (no interval)"
}

// census counts points by what became of them.
func census(rows []row) string {
	var parts []string
	for _, state := range []bench.State{bench.Measured, bench.Invalid, bench.Failed, bench.Skipped, bench.Pending} {
		n := 0
		for _, r := range rows {
			if r.State == state {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(parts) == 0 {
		return "the plan has no points"
	}
	return strings.Join(parts, ", ")
}

// replication says how often everything was done.
func replication(run bench.RunRecord) string {
	p := run.Config.Protocol
	return fmt.Sprintf("%s × %s", countOf(p.Launches, "launch", "launches"), count(p.Rounds, "round"))
}

// countOf puts a number before a noun with a plural of its own.
func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
