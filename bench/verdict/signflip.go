package verdict

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// Pairs are what a point's launch pairs say: one difference of logarithms each, new
// minus base, so that 0.01 is one per cent more. Which arm of a pair ran first is
// drawn by lot; so where the arms do not differ, each difference could as well have
// had the other sign, and the distribution of any statistic follows from flipping
// signs. No shape of the noise is assumed.
//
// The statistic is Wilcoxon's sum of signed ranks. The exact distribution of its
// sign flips is the same for all data and quickly computed for any number of
// pairs, where that of the mean needs 2^n sums or drawing by lot beyond some 20
// pairs; and one wild launch, which a shared machine is sure to give, moves it and
// the estimate by one rank and not by its size. It costs little: where the mean
// finds 90 % of the slow-downs of one standard deviation in 12 pairs, ranks find
// 87 %; with one launch in ten disturbed 65 % to the mean's 61 %
// (TestRanksAgainstMean).
type Pairs []float64

// A flip is the test of one point's pairs, ready for questions.
type flip struct {
	walsh []float64 // the n(n+1)/2 means of two differences or of one with itself, sorted
	below []float64 // below[k] is P(statistic <= k) under flipped signs
}

// newFlip prepares the test.
func newFlip(pairs Pairs) flip { return flipWith(pairs, signedRank(len(pairs))) }

// flipWith is newFlip for a caller that has the distribution, which all points with
// the same number of pairs share.
func flipWith(pairs Pairs, below []float64) flip {
	n := len(pairs)
	f := flip{below: below, walsh: make([]float64, 0, n*(n+1)/2)}
	for i, a := range pairs {
		for _, b := range pairs[i:] {
			f.walsh = append(f.walsh, (a+b)/2)
		}
	}
	slices.Sort(f.walsh)
	return f
}

// signedRank is the distribution function of the sum of those ranks 1…n whose
// coins show heads.
func signedRank(n int) []float64 {
	most := n * (n + 1) / 2
	p := make([]float64, most+1)
	p[0] = 1
	for rank := 1; rank <= n; rank++ {
		for sum := rank * (rank + 1) / 2; sum >= 0; sum-- {
			p[sum] /= 2
			if sum >= rank {
				p[sum] += p[sum-rank] / 2
			}
		}
	}
	for k := 1; k <= most; k++ {
		p[k] = min(1, p[k]+p[k-1])
	}
	return p
}

// Center estimates the common difference: the median of the Walsh averages, after
// Hodges and Lehmann (Annals of Mathematical Statistics 34, 1963).
func (f flip) Center() float64 { return sortedMedian(f.walsh) }

// Above is the probability of pairs that lie as far above theta as these, or
// farther, if the true difference were theta: small values speak for more.
func (f flip) Above(theta float64) float64 {
	// The Walsh averages at or below theta count how far the statistic falls short
	// of its largest value; an average equal to theta speaks against us.
	at, _ := slices.BinarySearchFunc(f.walsh, theta, func(w, t float64) int {
		if w <= t {
			return -1
		}
		return 1
	})
	return f.below[at]
}

// Below is the mirror of Above: small values speak for less than theta.
func (f flip) Below(theta float64) float64 {
	at, _ := slices.BinarySearch(f.walsh, theta)
	return f.below[len(f.walsh)-at]
}

// Bounds inverts the test: outside of low and high, Above and Below reject at this
// one-sided level. Where there are too few pairs for the level they are infinite.
func (f flip) Bounds(level float64) (low, high float64) {
	// The k-th smallest average bounds from below if P(statistic <= k-1) <= level.
	k, _ := slices.BinarySearchFunc(f.below, level, func(p, level float64) int {
		if p <= level {
			return -1
		}
		return 1
	})
	if k == 0 {
		return math.Inf(-1), math.Inf(1)
	}
	return f.walsh[k-1], f.walsh[len(f.walsh)-k]
}

// SmallestP is the smallest two-sided probability that n pairs can give.
func SmallestP(n int) float64 { return math.Exp2(float64(1 - n)) }

// PairsFor is how many pairs it takes until the smallest probability clears Holm's
// first step over a family of that many points: 1 + log2(m/alpha), rounded up (R1).
func PairsFor(points int, alpha float64) int {
	return int(math.Ceil(1 + math.Log2(float64(max(points, 1))/alpha) - 1e-9))
}

// designDraws is how often detectable draws noise; the 80th percentile of these is
// known to about 1.5 %, the 90th to about 2 %.
const designDraws = 4000

// detectable is the difference, in standard deviations of a pair, that the test of n
// pairs finds with a given power at a two-sided level, without a margin: that
// percentile of how far the lower bound of pure noise falls below zero. It is drawn
// from normal noise with a fixed seed, once for each number of pairs, level and
// power. Where the level is out of reach of so few pairs it is infinite.
func detectable(n int, level, power float64) float64 {
	if SmallestP(n) > level {
		return math.Inf(1)
	}
	type design struct {
		pairs        int
		level, power float64
	}
	if known, ok := designs.Load(design{n, level, power}); ok {
		return known.(float64)
	}
	found := drawDetectable(n, level, power)
	designs.Store(design{n, level, power}, found)
	return found
}

// designs are what detectable has drawn.
var designs sync.Map

func drawDetectable(n int, level, power float64) float64 {
	if n > 40 { // past where drawing is quick the ranks behave as t does
		t := distuv.StudentsT{Sigma: 1, Nu: float64(n - 1)}
		return (t.Quantile(1-level/2) + t.Quantile(power)) / math.Sqrt(float64(n)*3/math.Pi)
	}
	noise := rand.New(rand.NewPCG(1, uint64(n)))
	short := make([]float64, designDraws)
	pairs, below := make(Pairs, n), signedRank(n)
	for i := range short {
		for j := range pairs {
			pairs[j] = noise.NormFloat64()
		}
		low, _ := flipWith(pairs, below).Bounds(level / 2)
		short[i] = -low
	}
	slices.Sort(short)
	return short[int(math.Ceil(power*designDraws))-1]
}

// spread is the standard deviation of a pair.
func (p Pairs) spread() float64 {
	if len(p) < 2 {
		return math.NaN()
	}
	return stat.StdDev(p, nil)
}

func sortedMedian(v []float64) float64 {
	n := len(v)
	if n == 0 {
		return math.NaN()
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}
