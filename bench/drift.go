package bench

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// Drift is what a run shows of its machine changing while it ran (D1 to D3).
type Drift struct {
	Sentinel *Sentinel // nil where no point was visited as a sentinel twice
	Trend    *Trend    // nil where the rounds are too few to show one
	// Temperature and Clock are how the rounds' residuals correlate with the conditions
	// of the device; nil where those are not readable or do not change.
	Temperature, Clock *Correlation
	OddEven            OddEven
}

// driftLimit is the change of a run above which it has drifted (D1).
const driftLimit = 0.01

// Drifted says why the run must be called drifted; empty where it need not.
func (d Drift) Drifted() string {
	switch {
	case d.Sentinel != nil && d.Sentinel.Beyond(driftLimit):
		return d.Sentinel.String()
	case d.Trend != nil && d.Trend.P < trendLevel && math.Abs(d.Trend.Change) > driftLimit:
		return d.Trend.String()
	}
	return ""
}

// Warnings are the doubts that a run's drift casts on all its numbers.
func (d Drift) Warnings() []Warning {
	var list []Warning
	if why := d.Drifted(); why != "" {
		list = append(list, Warning{Drifted, why})
	}
	if o := d.OddEven; o.Suspicious() {
		list = append(list, Warning{OddEvenDiffer, fmt.Sprintf("%d of %d points", o.Rejected, o.Points)})
	}
	return list
}

// A Sentinel is one point visited again and again to watch the machine (D1).
type Sentinel struct {
	Point  string
	Visits int
	// Shift is the largest departure of a visit's median from the first visit's,
	// relative to it. Error is how much of it chance explains in 95 % of runs that
	// do not drift: the scatter of samples within visits, and from four visits on
	// that of the visits about their common trend.
	Shift, Error float64
}

// judgeSentinel says what the sentinel visits of a run, in the order of time, show
// of drift; nil before a point has two that were not dropped. A point that failed gave
// way to another: then the clearer of their shifts counts. A runner judges more
// simply: it ends the run where the raw medians differ by more than they may
// (Runner.watched).
func judgeSentinel(visits []RoundRecord) *Sentinel {
	var clearest *Sentinel
	byPoint := map[string][]RoundRecord{}
	for _, v := range visits {
		if v.Sentinel && v.Status == OK {
			byPoint[v.ID] = append(byPoint[v.ID], v)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byPoint)) {
		s := shiftOf(byPoint[id])
		if s != nil && (clearest == nil || math.Abs(s.Shift)-s.Error > math.Abs(clearest.Shift)-clearest.Error) {
			clearest = s
		}
	}
	return clearest
}

// shiftOf is what the clean visits to one point show; nil before the second.
func shiftOf(visits []RoundRecord) *Sentinel {
	var medians, variances []float64 // logarithms, squared standard errors
	s := &Sentinel{}
	for _, v := range visits {
		ns := floats(v.DeviceNS)
		mid := float64(median(v.DeviceNS))
		r := autocorrelation(ns)
		// Correlated neighbours differ less than strangers, by 1-r in variance.
		variance := math.Pow(medianError(v.DeviceNS)/mid, 2) * float64(len(ns)) / effectiveSamples(ns) / (1 - min(r, 0.9))
		medians, variances = append(medians, math.Log(mid)), append(variances, variance)
		s.Point = v.ID
	}
	if s.Visits = len(medians); s.Visits < 2 {
		return nil
	}
	between := visitNoise(medians)
	z := normal(1 - 0.05/2/float64(s.Visits-1))
	clearest := math.Inf(-1)
	for i := 1; i < len(medians); i++ {
		shift := medians[i] - medians[0]
		err := z * math.Sqrt(max(variances[i]+variances[0], 2*between*between))
		if clear := math.Abs(shift) - err; clear > clearest {
			clearest, s.Shift, s.Error = clear, math.Expm1(shift), err
		}
	}
	return s
}

// visitNoise is how much visits scatter about their common trend: from the steps
// between neighbours, less the middle step. A single jump or a steady slope is not
// noise. 0 where there are too few.
func visitNoise(medians []float64) float64 {
	if len(medians) < 4 {
		return 0
	}
	steps := make([]float64, len(medians)-1)
	for i := range steps {
		steps[i] = medians[i+1] - medians[i]
	}
	slices.Sort(steps)
	mid := quantile(steps, 0.5)
	for i := range steps {
		steps[i] = math.Abs(steps[i] - mid)
	}
	slices.Sort(steps)
	return quantile(steps, 0.5) / (0.6745 * math.Sqrt2)
}

// Beyond says whether the shift is larger than a limit by more than chance explains.
func (s *Sentinel) Beyond(limit float64) bool { return math.Abs(s.Shift)-s.Error > limit }

func (s *Sentinel) String() string {
	return fmt.Sprintf("%s changed by %+.1f %% against the first of %d sentinel visits, where chance explains %.1f %%", s.Point, 100*s.Shift, s.Visits, 100*s.Error)
}

// A residual is how far a round's median lies from its point's latency, as a
// logarithm, at a time of the run.
type residual struct {
	launch             int
	at                 float64 // seconds
	value              float64
	clock, temperature *float64
}

// residuals lists all rounds of points with two or more of them.
func residuals(points []roundMedians) []residual {
	var list []residual
	for _, p := range points {
		if len(p) < 2 {
			continue
		}
		mean := 0.0
		for _, r := range p {
			mean += r.log / float64(len(p))
		}
		for _, r := range p {
			v := residual{launch: r.Launch, at: float64(r.Start) / 1e9, value: r.log - mean}
			v.clock, v.temperature = r.conditions()
			list = append(list, v)
		}
	}
	slices.SortStableFunc(list, func(a, b residual) int { return cmp.Compare(a.at, b.at) })
	return list
}

// A Trend is a monotone change of all points together over the run (D2).
type Trend struct {
	// Change is how much latency changed over the run, as a share of it: the Theil-Sen
	// slope of the means of launches times their number. What rises within every launch
	// and falls back before the next has changed nothing. In a run of one launch it is the
	// slope of its rounds times its length.
	Change float64
	// P is the probability of so clear a trend in that direction without any drift:
	// Mann-Kendall, corrected for autocorrelation, within launches or from launch to
	// launch, whichever is clearer, doubled where both were tested.
	P      float64
	Rounds int
}

// trendLevel is the P below which a trend is believed.
const trendLevel = 0.01

func (t *Trend) String() string {
	return fmt.Sprintf("latency of all points changed by %+.1f %% over the run (Mann-Kendall p = %.2g over %d rounds)", 100*t.Change, t.P, t.Rounds)
}

// mostInBlock bounds the pairs that are compared; a longer launch is averaged down
// to it.
const mostInBlock = 200

// leastForTrend is the least number of a launch's rounds that may show a trend, and
// leastLaunches that of launches whose means may: seven in order have p = 0.003, six 0.009,
// which doubled is past trendLevel.
const leastForTrend, leastLaunches = 4, 7

// trendOf tests residuals, in the order of time, for a trend. Launches scatter, so
// rounds of different launches may not be compared one by one: pairs are formed within
// each launch (Hirsch, Slack & Smith 1982 do the same with seasons), and, in a
// separate test, of the means of launches. It is nil where neither has enough values.
func trendOf(list []residual) *Trend {
	var launches [][]residual
	at := map[int]int{}
	for _, r := range list {
		i, ok := at[r.launch]
		if !ok {
			i = len(launches)
			at[r.launch] = i
			launches = append(launches, nil)
		}
		launches[i] = append(launches[i], r)
	}
	// Launches are counted, not timed: a run that was interrupted did not drift while it
	// did nothing.
	means := make([]residual, len(launches))
	longest := 0
	for i, b := range launches {
		means[i].at = float64(i)
		for _, r := range b {
			means[i].value += r.value / float64(len(b))
		}
		launches[i] = thinned(b)
		longest = max(longest, len(launches[i]))
	}
	if longest < leastForTrend && len(means) < leastLaunches {
		return nil
	}
	within := middleSlope(launches...)
	change := within * (list[len(list)-1].at - list[0].at)
	if len(means) > 1 {
		change = middleSlope(means) * float64(len(means))
	}
	t := &Trend{Change: math.Expm1(change), P: 1, Rounds: len(list)}
	tests := 0
	look := func(sum, variance float64) {
		tests++
		if variance > 0 && sum*change > 0 {
			t.P = min(t.P, 2*distuv.UnitNormal.Survival((math.Abs(sum)-1)/math.Sqrt(variance)))
		}
	}
	if longest >= leastForTrend {
		r := lagOne(launches, within)
		sum, variance := 0.0, 0.0
		for _, b := range launches {
			s, v := kendall(b)
			sum, variance = sum+s, variance+v*inflation(r, len(b))
		}
		look(sum, variance)
	}
	if len(means) >= leastLaunches {
		look(kendall(means))
	}
	t.P = min(1, t.P*float64(tests))
	return t
}

// middleSlope is the median slope between two values of a block (Theil-Sen); 0 without two
// at different times.
func middleSlope(blocks ...[]residual) float64 {
	var slopes []float64
	for _, b := range blocks {
		for i := range b {
			for j := i + 1; j < len(b); j++ {
				if dt := b[j].at - b[i].at; dt > 0 {
					slopes = append(slopes, (b[j].value-b[i].value)/dt)
				}
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	slices.Sort(slopes)
	return quantile(slopes, 0.5)
}

// thinned averages neighbours until few enough are left.
func thinned(b []residual) []residual {
	if len(b) <= mostInBlock {
		return b
	}
	var thin []residual
	for i := range mostInBlock {
		part := b[i*len(b)/mostInBlock : (i+1)*len(b)/mostInBlock]
		mean := residual{launch: b[0].launch}
		for _, r := range part {
			mean.at, mean.value = mean.at+r.at/float64(len(part)), mean.value+r.value/float64(len(part))
		}
		thin = append(thin, mean)
	}
	return thin
}

// kendall is Kendall's S of values in the order of time, and its variance without a
// trend, less for ties (Kendall, Rank Correlation Methods, 1975, chapter 4).
func kendall(b []residual) (s, variance float64) {
	n := float64(len(b))
	variance = n * (n - 1) * (2*n + 5) / 18
	ties := map[float64]float64{}
	for i := range b {
		ties[b[i].value]++
		for j := i + 1; j < len(b); j++ {
			s += float64(cmp.Compare(b[j].value, b[i].value))
		}
	}
	if len(ties) < len(b) {
		for _, t := range ties {
			variance -= t * (t - 1) * (2*t + 5) / 18
		}
	}
	return s, variance
}

// lagOne is the autocorrelation of neighbours within launches once the trend is
// taken out, 0 where it is within chance.
func lagOne(launches [][]residual, slope float64) float64 {
	var product, square, pairs, all float64
	for _, b := range launches {
		n := float64(len(b))
		mean := 0.0
		for _, r := range b {
			mean += (r.value - slope*r.at) / n
		}
		last := 0.0
		for i, r := range b {
			e := r.value - slope*r.at - mean
			if i > 0 {
				product, pairs = product+e*last, pairs+1
			}
			square, all, last = square+e*e, all+1, e
		}
	}
	if pairs == 0 || square == 0 {
		return 0
	}
	// Taking means out of short launches makes neighbours seem opposed, by 1/n.
	r := product/pairs/(square/all) + float64(len(launches))/all
	if r < 1.645/math.Sqrt(pairs) {
		return 0
	}
	return min(r, 0.95)
}

// inflation is the factor by which the autocorrelation of an autoregressive series of
// n values raises the variance of Kendall's S, as it does that of a mean (Yue & Wang
// 2004).
func inflation(r float64, n int) float64 {
	f, power := 1.0, 1.0
	for k := 1; k < n; k++ {
		power *= r
		f += 2 * (1 - float64(k)/float64(n)) * power
	}
	return f
}

// A Correlation is how closely residuals follow a counter.
type Correlation struct {
	R float64
	// P is the probability of one as strong by chance, if rounds are independent.
	P      float64
	Rounds int
}

// correlationOf takes the rounds in which the counter was read.
func correlationOf(list []residual, counter func(residual) *float64) *Correlation {
	var x, y []float64
	for _, r := range list {
		if v := counter(r); v != nil {
			x, y = append(x, *v), append(y, r.value)
		}
	}
	if len(x) < 4 {
		return nil
	}
	c := &Correlation{R: stat.Correlation(x, y, nil), Rounds: len(x)}
	if math.IsNaN(c.R) {
		return nil
	}
	if c.R = min(1, max(-1, c.R)); math.Abs(c.R) < 1 {
		dof := float64(len(x) - 2)
		c.P = 2 * distuv.StudentsT{Mu: 0, Sigma: 1, Nu: dof}.Survival(math.Abs(c.R)*math.Sqrt(dof/(1-c.R*c.R)))
	}
	return c
}

// OddEven is what comes of testing every point's odd rounds against its even ones
// at 5 %: nothing but chance should tell them apart (D3).
type OddEven struct {
	Points   int // with enough rounds
	Rejected int
}

// oddEvenLevel is the level of the test.
const oddEvenLevel = 0.05

// Suspicious says whether more points are rejected than 1.5 times the level, and
// more than chance rejects of so few points in 99 of 100 runs.
func (o OddEven) Suspicious() bool {
	if o.Points == 0 || float64(o.Rejected) <= 1.5*oddEvenLevel*float64(o.Points) {
		return false
	}
	return distuv.Binomial{N: float64(o.Points), P: oddEvenLevel}.Survival(float64(o.Rejected-1)) < 0.01
}

// oddEven runs the test on every measured point.
func oddEven(points []roundMedians) OddEven {
	var o OddEven
	for _, rounds := range points {
		if p, ok := rounds.oddEven(); ok {
			o.Points++
			if p < oddEvenLevel {
				o.Rejected++
			}
		}
	}
	return o
}

// oddEven is the probability of a difference as large between odd and even rounds:
// paired within launches where they have several rounds, else between odd and even
// launches. ok is false with fewer than three launches, or four to be split.
func (m roundMedians) oddEven() (p float64, ok bool) {
	byLaunch := map[int]roundMedians{}
	var launches []int
	for _, r := range m {
		if byLaunch[r.Launch] == nil {
			launches = append(launches, r.Launch)
		}
		byLaunch[r.Launch] = append(byLaunch[r.Launch], r)
	}
	slices.Sort(launches)
	var differences []float64
	var halves [2][]float64
	for i, l := range launches {
		var all, odd, even []float64
		for _, r := range byLaunch[l] {
			if all = append(all, r.log); r.Round%2 == 1 {
				odd = append(odd, r.log)
			} else {
				even = append(even, r.log)
			}
		}
		halves[i%2] = append(halves[i%2], stat.Mean(all, nil))
		if len(odd) > 0 && len(even) > 0 {
			differences = append(differences, stat.Mean(odd, nil)-stat.Mean(even, nil))
		}
	}
	if n := float64(len(differences)); n >= 3 {
		mean, sd := stat.MeanStdDev(differences, nil)
		return twoSided(mean, sd/math.Sqrt(n), n-1), true
	}
	if len(launches) < 4 {
		return 0, false
	}
	a, b := halves[0], halves[1]
	na, nb := float64(len(a)), float64(len(b))
	pooled := ((na-1)*stat.Variance(a, nil) + (nb-1)*stat.Variance(b, nil)) / (na + nb - 2)
	return twoSided(stat.Mean(a, nil)-stat.Mean(b, nil), math.Sqrt(pooled*(1/na+1/nb)), na+nb-2), true
}

// twoSided is the probability of a t value as large.
func twoSided(difference, err, dof float64) float64 {
	switch {
	case difference == 0:
		return 1
	case err == 0:
		return 0
	}
	return 2 * distuv.StudentsT{Mu: 0, Sigma: 1, Nu: dof}.Survival(math.Abs(difference)/err)
}

// roundMedians are the rounds of a measured point that count, with the logarithms of
// their medians.
type roundMedians []roundMedian

type roundMedian struct {
	*RoundRecord
	log float64
}

func mediansOf(rounds []*RoundRecord) roundMedians {
	var list roundMedians
	for _, r := range rounds {
		if r.Status == OK {
			list = append(list, roundMedian{r, math.Log(float64(median(r.DeviceNS)))})
		}
	}
	return list
}

// DriftOf judges a run by its outcomes, without the estimates of a Result: for a
// thousand points it takes a small part of the time.
func DriftOf(log *Log, outcomes []Outcome) Drift {
	var points []roundMedians
	for _, o := range outcomes {
		if o.State == Measured {
			points = append(points, mediansOf(o.Rounds))
		}
	}
	return driftOf(log, points)
}

// driftOf judges a run by its measured points.
func driftOf(log *Log, points []roundMedians) Drift {
	list := residuals(points)
	return Drift{
		Sentinel:    judgeSentinel(underLastLock(log.Rounds)),
		Trend:       trendOf(list),
		Temperature: correlationOf(list, func(r residual) *float64 { return r.temperature }),
		Clock:       correlationOf(list, func(r residual) *float64 { return r.clock }),
		OddEven:     oddEven(points),
	}
}
