package bench

import (
	"maps"
	"math"
	"slices"
	"sort"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// An Estimate is a value with its interval.
type Estimate struct {
	Value float64 `json:"value"`
	// Low and High bound the interval; both null where there are too few launches
	// for one.
	Low   *float64 `json:"ci_low"`
	High  *float64 `json:"ci_high"`
	Level float64  `json:"level"`
	// Launches is the number of replicates the interval is built over.
	Launches int `json:"launches"`
}

// HalfWidth is half the interval's width relative to the value; NaN without one.
func (e Estimate) HalfWidth() float64 {
	if e.Low == nil || e.High == nil {
		return math.NaN()
	}
	return (*e.High - *e.Low) / 2 / e.Value
}

// Scaled is the estimate in another unit.
func (e Estimate) Scaled(by float64) Estimate {
	e.Value *= by
	if e.Low != nil && e.High != nil {
		low, high := *e.Low*by, *e.High*by
		e.Low, e.High = &low, &high
	}
	return e
}

// level of all intervals.
const level = 0.95

// overLaunches estimates a positive quantity from one value per round, grouped by
// launch: logarithms are averaged over the rounds of a launch, then a t interval
// is built over the launch means and both are transformed back (E1). The launch
// is the highest level that is replicated; treating its rounds or samples as
// independent covers 24 to 76 % where 95 % is claimed (S4).
func overLaunches(launches [][]float64) Estimate {
	means := make([]float64, len(launches))
	for i, rounds := range launches {
		for _, v := range rounds {
			means[i] += math.Log(v) / float64(len(rounds))
		}
	}
	mean := stat.Mean(means, nil)
	e := Estimate{Value: math.Exp(mean), Level: level, Launches: len(means)}
	if n := len(means); n >= 2 {
		half := studentT(float64(n-1), 1-(1-level)/2) * stat.StdDev(means, nil) / math.Sqrt(float64(n))
		low, high := math.Exp(mean-half), math.Exp(mean+half)
		e.Low, e.High = &low, &high
	}
	return e
}

// A Tail is a high quantile of the samples, published only where there are enough of
// them to support it (S6).
type Tail struct {
	// Estimate is the quantile of a launch's samples, averaged over launches on the
	// logarithm, with a bootstrap interval (E2). Where launches are too short to hold
	// a quantile of their own it is that of the pooled samples, without an interval.
	Estimate
	// Upper is the larger of two bounds: the order statistic of the pooled samples that
	// exceeds their quantile with 99 % confidence, and the upper end of the interval,
	// which allows for launches that were not taken. It is never less than the value or
	// the bound of a lower quantile.
	Upper float64 `json:"upper_bound"`
}

// tellsTail says whether so many independent samples are enough to publish a
// quantile: with fewer, the chance that at most one of them lies beyond it is above
// 1 % (S6, MLPerf LoadGen's rule). It takes 64 for p90, 130 for p95, 662 for p99
// and 6636 for p99.9.
func tellsTail(q, samples float64) bool {
	n := math.Floor(samples)
	return n >= 2 && math.Pow(q, n)+n*(1-q)*math.Pow(q, n-1) <= 0.01
}

// upperBound is the order statistic of sorted samples that exceeds their
// population's quantile with 99 % confidence, where effective of them count as
// independent; the largest sample where none does.
func upperBound(sorted []float64, q, effective float64) float64 {
	// The smallest k with P(at most k-1 of n samples lie below the quantile) ≥ 99 %:
	// the k-th smallest sample then exceeds it with that confidence. Among correlated
	// samples the one of the same rank is taken.
	n := math.Floor(effective)
	below := distuv.Binomial{N: n, P: q}
	k := math.Ceil(n * q)
	for k < n && below.CDF(k-1) < 0.99 {
		k++
	}
	rank := int(math.Ceil(k / n * float64(len(sorted))))
	return sorted[min(rank, len(sorted))-1]
}

// A tailRank finds a quantile of samples that may be few. It interpolates between
// the two order statistics whose expected values enclose the quantile if the upper
// tail is exponential, as the tail of latencies roughly is: the k-th smallest of n
// then has the expectation H(n)-H(n-k), H being the harmonic numbers (Rényi 1953).
// The common rules, which interpolate by rank, are off by up to half a standard
// error in the mean over launches where a launch holds a hundred samples and the
// 99th percentile is sought; TestTailRank measures both.
type tailRank struct {
	harmonic []float64 // H(0), H(1), …
	depth    float64   // -log(1-q)
}

// harmonicNumbers gives H(0) to H(n).
func harmonicNumbers(n int) []float64 {
	h := make([]float64, n+1)
	for i := 1; i <= n; i++ {
		h[i] = h[i-1] + 1/float64(i)
	}
	return h
}

// of n samples, sorted, gives the index of the lower order statistic, and the
// weight of the one after it. ok is false where n samples do not reach so far: for
// the 90th, 95th, 99th and 99.9th percentile it takes 6, 11, 56 and 561.
func (t tailRank) of(n int) (lower int, weight float64, ok bool) {
	if n == 0 || t.harmonic[n] < t.depth {
		return 0, 0, false
	}
	// The largest m with H(n)-H(m) ≥ depth: the order statistic above has n-m for
	// its rank.
	m := sort.Search(n, func(m int) bool { return t.harmonic[n]-t.harmonic[m] < t.depth }) - 1
	if m == n-1 {
		return 0, 0, true // lower than any expectation; no tail
	}
	over := t.harmonic[n] - t.harmonic[m+1] // of rank n-m-1
	return n - m - 2, (t.depth - over) * float64(m+1), true
}

// effectiveSamples is the number of independent samples that a series is worth
// after its lag-1 autocorrelation: n(1-r)/(1+r), never more than n.
func effectiveSamples(series []float64) float64 {
	n := float64(len(series))
	r := autocorrelation(series)
	return max(1, n*(1-r)/(1+r))
}

// autocorrelation of a series with itself one step later, 0 where it is negative
// or the series too short or too even to have one.
func autocorrelation(series []float64) float64 {
	if len(series) < 3 {
		return 0
	}
	r := stat.Correlation(series[:len(series)-1], series[1:], nil)
	if math.IsNaN(r) {
		return 0
	}
	return max(0, r)
}

// quantile of sorted values, linear between order statistics.
func quantile(sorted []float64, q float64) float64 {
	h := q * float64(len(sorted)-1)
	i := int(h)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (h-float64(i))*(sorted[i+1]-sorted[i])
}

// Spread describes the samples of a point and where their variance lies.
type Spread struct {
	MAD float64 `json:"mad"` // median absolute deviation
	IQR float64 `json:"iqr"`
	// CVWithin is the median over rounds of standard deviation over mean,
	// CVBetween the same of the launch medians.
	CVWithin  float64 `json:"cv_within"`
	CVBetween float64 `json:"cv_between"`
	Shares    Shares  `json:"variance_shares"`
	// Outliers counts samples beyond Tukey's fences; they are kept.
	Outliers int `json:"outliers"`
}

// spreadOf takes sorted pooled samples, the samples of each round by launch, the
// builds of the launches as sharesOf does, and one value per launch.
func spreadOf(sorted []float64, rounds [][][]float64, builds []int, launches []float64) Spread {
	mid := quantile(sorted, 0.5)
	deviations := make([]float64, len(sorted))
	for i, v := range sorted {
		deviations[i] = math.Abs(v - mid)
	}
	slices.Sort(deviations)
	q1, q3 := quantile(sorted, 0.25), quantile(sorted, 0.75)
	s := Spread{MAD: quantile(deviations, 0.5), IQR: q3 - q1, Shares: sharesOf(rounds, builds)}
	for _, v := range sorted {
		if v < q1-1.5*s.IQR || v > q3+1.5*s.IQR {
			s.Outliers++
		}
	}
	var within []float64
	for _, launch := range rounds {
		for _, r := range launch {
			if len(r) > 1 {
				mean, sd := stat.MeanStdDev(r, nil)
				within = append(within, sd/mean)
			}
		}
	}
	if len(within) > 0 {
		slices.Sort(within)
		s.CVWithin = quantile(within, 0.5)
	}
	if len(launches) > 1 {
		mean, sd := stat.MeanStdDev(launches, nil)
		s.CVBetween = sd / mean
	}
	return s
}

// Shares say at which level the variance of a single sample's logarithm arises:
// between builds, between launches, between the rounds of a launch, between the samples
// of a round. They add up to 1; a level that was not replicated is null, and its
// variance is part of the next one that was.
type Shares struct {
	Build  *float64 `json:"build"` // between builds of one network by an engine that searches
	Launch *float64 `json:"launch"`
	Round  *float64 `json:"round"`
	Sample *float64 `json:"sample"`
}

// sharesOf takes the samples of each round by launch, and the number of each launch's
// build where builds were replicated, nil where they were not. It estimates the
// variance components of a nested design by the method of moments: what the levels
// below explain is taken from the variance of the means of each level, n/n_eff samples
// of a round counting as one (Searle, Casella & McCulloch, Variance Components, 1992,
// section 3.3; a component below zero is zero).
func sharesOf(launches [][][]float64, builds []int) Shares {
	var (
		sample, samples   float64 // sum of squares within rounds, degrees of freedom
		round, rounds     float64 // the same of round means within launches
		noise, visits     float64 // sum over rounds of 1/n_eff, number of rounds
		launchMeans       []float64
		perRound, perMean float64 // sums over launches of 1/rounds, and of the mean 1/n_eff over rounds
	)
	for _, launch := range launches {
		var means []float64
		inner := 0.0
		for _, r := range launch {
			logs := make([]float64, len(r))
			for i, v := range r {
				logs[i] = math.Log(v)
			}
			mean := stat.Mean(logs, nil)
			for _, v := range logs {
				sample += (v - mean) * (v - mean)
			}
			samples += float64(len(r) - 1)
			inner += 1 / effectiveSamples(r)
			means = append(means, mean)
		}
		k := float64(len(means))
		mean := stat.Mean(means, nil)
		for _, m := range means {
			round += (m - mean) * (m - mean)
		}
		rounds += k - 1
		noise, visits = noise+inner, visits+k
		perRound, perMean = perRound+1/k, perMean+inner/(k*k)
		launchMeans = append(launchMeans, mean)
	}
	if samples == 0 {
		return Shares{}
	}
	var s Shares
	n := float64(len(launches))
	ofSample := sample / samples
	ofRound, ofLaunch := 0.0, 0.0
	if rounds > 0 {
		ofRound = max(0, round/rounds-ofSample*noise/visits)
	}
	below := ofRound*perRound/n + ofSample*perMean/n // the scatter to expect of launches that are alike
	ofBuild, replicated := 0.0, n > 1
	switch {
	case builds != nil:
		ofLaunch, ofBuild, replicated = betweenBuilds(launchMeans, builds, below)
	case n > 1:
		ofLaunch = max(0, stat.Variance(launchMeans, nil)-below)
	}
	total := ofSample + ofRound + ofLaunch + ofBuild
	if total == 0 {
		return Shares{}
	}
	share := func(v float64) *float64 { v /= total; return &v }
	s.Sample = share(ofSample)
	if rounds > 0 {
		s.Round = share(ofRound)
	}
	if replicated {
		s.Launch = share(ofLaunch)
	}
	if builds != nil {
		s.Build = share(ofBuild)
	}
	return s
}

// betweenBuilds splits the variance of launch means into that between the launches of
// a build and that between builds. Where no build has two launches the first is part
// of the second, and replicated is false.
func betweenBuilds(means []float64, builds []int, below float64) (ofLaunch, ofBuild float64, replicated bool) {
	groups := map[int][]float64{}
	for i, build := range builds {
		groups[build] = append(groups[build], means[i])
	}
	var buildMeans []float64
	var squares, free, perBuild float64
	for _, build := range slices.Sorted(maps.Keys(groups)) {
		group := groups[build]
		mean := stat.Mean(group, nil)
		for _, m := range group {
			squares += (m - mean) * (m - mean)
		}
		free += float64(len(group) - 1)
		perBuild += 1 / float64(len(group)) / float64(len(groups))
		buildMeans = append(buildMeans, mean)
	}
	replicated = free > 0
	if replicated {
		ofLaunch = max(0, squares/free-below)
	}
	return ofLaunch, max(0, stat.Variance(buildMeans, nil)-perBuild*(ofLaunch+below)), replicated
}

// power of the comparison that MDE is about.
const power = 0.80

// MDE is the minimum detectable effect: the smallest true change of the value, as a
// share of it, that a second run of the same design with the same scatter would tell
// apart from this one at 5 % in 80 % of cases (two-sided t test on the logarithms of
// the launches; R4). NaN without an interval. It reads the scatter from the interval,
// which must be a t interval over launches, and approximates the noncentral t
// distribution by a shifted central one, as the protocol's table does.
func (e Estimate) MDE() float64 {
	if e.Low == nil || e.High == nil || e.Launches < 2 {
		return math.NaN()
	}
	n := float64(e.Launches)
	se := math.Log(*e.High / *e.Low) / 2 / studentT(n-1, 1-(1-e.Level)/2)
	both := 2 * (n - 1)
	return math.Exp((studentT(both, 1-(1-level)/2)+studentT(both, power))*se*math.Sqrt2) - 1
}

// studentT is a quantile of Student's distribution.
func studentT(dof, q float64) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: dof}.Quantile(q)
}
