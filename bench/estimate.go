package bench

import (
	"math"
	"slices"

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
		t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n - 1)}.Quantile(1 - (1-level)/2)
		half := t * stat.StdDev(means, nil) / math.Sqrt(float64(n))
		low, high := math.Exp(mean-half), math.Exp(mean+half)
		e.Low, e.High = &low, &high
	}
	return e
}

// A Tail is a high quantile of the pooled samples, published only where there are
// enough of them to say so.
type Tail struct {
	Value float64 `json:"value"`
	// Upper is the order statistic that exceeds the quantile with 99 % confidence.
	Upper float64 `json:"upper_bound"`
}

// tailSamples is the smallest number of independent samples from which a quantile
// is published: the smallest n with P(at most one sample beyond it) ≤ 1 % (S6).
func tailSamples(q float64) int {
	for n := 2; ; n++ {
		if math.Pow(q, float64(n))+float64(n)*(1-q)*math.Pow(q, float64(n-1)) <= 0.01 {
			return n
		}
	}
}

// tail gives a quantile of sorted samples, of which effective are worth counting
// as independent, or nil where they are too few.
func tail(sorted []float64, q, effective float64) *Tail {
	if effective < float64(tailSamples(q)) {
		return nil
	}
	n := len(sorted)
	// The smallest k with P(at most k-1 of n samples lie below the quantile) ≥ 99 %:
	// the k-th smallest sample then exceeds it with that confidence.
	below := distuv.Binomial{N: float64(n), P: q}
	k := int(math.Ceil(float64(n) * q))
	for k < n && below.CDF(float64(k-1)) < 0.99 {
		k++
	}
	return &Tail{Value: quantile(sorted, q), Upper: sorted[k-1]}
}

// effectiveSamples is the number of independent samples that a series is worth
// after its lag-1 autocorrelation: n(1-r)/(1+r), never more than n.
func effectiveSamples(series []float64) float64 {
	n := float64(len(series))
	if len(series) < 3 {
		return n
	}
	r := stat.Correlation(series[:len(series)-1], series[1:], nil)
	if math.IsNaN(r) || r <= 0 {
		return n
	}
	return max(1, n*(1-r)/(1+r))
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
	// Outliers counts samples beyond Tukey's fences; they are kept.
	Outliers int `json:"outliers"`
}

// spreadOf takes sorted pooled samples, the samples of each round, and one value
// per launch.
func spreadOf(sorted []float64, rounds [][]float64, launches []float64) Spread {
	mid := quantile(sorted, 0.5)
	deviations := make([]float64, len(sorted))
	for i, v := range sorted {
		deviations[i] = math.Abs(v - mid)
	}
	slices.Sort(deviations)
	q1, q3 := quantile(sorted, 0.25), quantile(sorted, 0.75)
	s := Spread{MAD: quantile(deviations, 0.5), IQR: q3 - q1}
	for _, v := range sorted {
		if v < q1-1.5*s.IQR || v > q3+1.5*s.IQR {
			s.Outliers++
		}
	}
	var within []float64
	for _, r := range rounds {
		if len(r) > 1 {
			mean, sd := stat.MeanStdDev(r, nil)
			within = append(within, sd/mean)
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
