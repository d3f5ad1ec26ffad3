package verdict

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// holm adjusts the probabilities of a family so that comparing each with alpha
// keeps the chance of any false claim at alpha (Holm, Scandinavian Journal of
// Statistics 6, 1979). The order is kept.
func holm(p []float64) []float64 {
	adjusted := make([]float64, len(p))
	largest := 0.0
	for rank, i := range ranked(p) {
		largest = max(largest, min(1, p[i]*float64(len(p)-rank)))
		adjusted[i] = largest
	}
	return adjusted
}

// benjaminiHochberg adjusts the probabilities of a family so that among those at
// or below alpha the expected share of false claims is alpha (Benjamini and
// Hochberg, Journal of the Royal Statistical Society B 57, 1995).
func benjaminiHochberg(p []float64) []float64 {
	adjusted := make([]float64, len(p))
	smallest := 1.0
	order := ranked(p)
	for rank := len(order) - 1; rank >= 0; rank-- {
		i := order[rank]
		smallest = min(smallest, p[i]*float64(len(p))/float64(rank+1))
		adjusted[i] = smallest
	}
	return adjusted
}

// ranked gives the indices of p, smallest first.
func ranked(p []float64) []int {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	return order
}

// A Look is a moment at which a gate may decide, and the part of alpha it may
// spend there.
type Look struct {
	Pairs int
	Alpha float64
}

// Looks splits alpha over the two looks of a gate (S5). The first spends what
// O'Brien and Fleming's bound does at that share of the pairs, in the form of Lan
// and DeMets (Biometrika 70, 1983): 2-2Φ(z/√share). The second gets all the rest, so
// the sum is alpha however the two looks depend on each other; the joint normal law
// that would allow a little more does not hold far out, where Holm needs it.
func Looks(first, second int, alpha float64) [2]Look {
	share := float64(first) / float64(second)
	spent := 2 * distuv.UnitNormal.Survival(distuv.UnitNormal.Quantile(1-alpha/2)/math.Sqrt(share))
	return [2]Look{{first, spent}, {second, alpha - spent}}
}
