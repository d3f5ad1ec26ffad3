package verdict

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat"
)

// The distribution that Above and Below use is that of all sign flips.
func TestFlipAgainstEnumeration(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := 1; n <= 10; n++ {
		pairs := make(Pairs, n)
		for i := range pairs {
			pairs[i] = r.NormFloat64() + 0.4
		}
		theta := 0.1
		shifted := make([]float64, n)
		for i, d := range pairs {
			shifted[i] = d - theta
		}
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int {
			if math.Abs(shifted[a]) < math.Abs(shifted[b]) {
				return -1
			}
			return 1
		})
		statistic := func(positive func(i int) bool) (sum int) {
			for rank, i := range order {
				if positive(i) {
					sum += rank + 1
				}
			}
			return sum
		}
		observed := statistic(func(i int) bool { return shifted[i] > 0 })
		above, below := 0, 0
		for signs := range 1 << n {
			s := statistic(func(i int) bool { return signs>>i&1 == 1 })
			if s >= observed {
				above++
			}
			if s <= observed {
				below++
			}
		}
		f := newFlip(pairs)
		all := math.Exp2(float64(n))
		if got, want := f.Above(theta), float64(above)/all; math.Abs(got-want) > 1e-12 {
			t.Errorf("n=%d: Above = %v, flipping all signs gives %v", n, got, want)
		}
		if got, want := f.Below(theta), float64(below)/all; math.Abs(got-want) > 1e-12 {
			t.Errorf("n=%d: Below = %v, flipping all signs gives %v", n, got, want)
		}
		// Bounds are where the test turns.
		low, high := f.Bounds(0.1)
		if math.IsInf(low, 0) {
			if math.Exp2(float64(-n)) <= 0.1 {
				t.Errorf("n=%d: no bounds at 10 %%, which so many pairs reach", n)
			}
			continue
		}
		if p := f.Above(low - 1e-9); p > 0.1 {
			t.Errorf("n=%d: below the lower bound p = %v", n, p)
		}
		if p := f.Above(low); p <= 0.1 {
			t.Errorf("n=%d: at the lower bound p = %v", n, p)
		}
		if p := f.Below(high + 1e-9); p > 0.1 {
			t.Errorf("n=%d: above the upper bound p = %v", n, p)
		}
		if p := f.Below(high); p <= 0.1 {
			t.Errorf("n=%d: at the upper bound p = %v", n, p)
		}
	}
}

// A classic: Hollander and Wolfe, Nonparametric Statistical Methods, example 3.1
// (depression factors of nine patients), as R's wilcox.test documents it: V = 40,
// one-sided p = 0.01953.
func TestFlipAgainstR(t *testing.T) {
	before := []float64{1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30}
	after := []float64{0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29}
	pairs := make(Pairs, len(before))
	for i := range before {
		pairs[i] = before[i] - after[i]
	}
	if p := newFlip(pairs).Above(0); math.Abs(p-0.01953125) > 1e-9 {
		t.Errorf("p = %v, want 0.01953125", p)
	}
}

func TestEqualPairsSayNothing(t *testing.T) {
	f := newFlip(make(Pairs, 12))
	if f.Above(0) != 1 || f.Below(0) != 1 {
		t.Errorf("pairs without a difference: above %v, below %v, want 1", f.Above(0), f.Below(0))
	}
	if low, high := f.Bounds(0.025); low != 0 || high != 0 {
		t.Errorf("interval %v to %v, want 0 to 0", low, high)
	}
	if c := f.Center(); c != 0 {
		t.Errorf("center %v", c)
	}
}

// Rule R1's figures.
func TestPairsFor(t *testing.T) {
	for points, want := range map[int]int{1: 6, 20: 10, 100: 12, 1000: 16} {
		if got := PairsFor(points, 0.05); got != want {
			t.Errorf("%d points need %d pairs, want %d", points, got, want)
		}
		if SmallestP(want)*float64(points) > 0.05 || SmallestP(want-1)*float64(points) <= 0.05 {
			t.Errorf("%d points: %d pairs do not match the smallest probability", points, want)
		}
	}
}

// Worked by hand.
func TestFamilies(t *testing.T) {
	p := []float64{0.04, 0.01, 0.03, 0.005}
	for name, c := range map[string]struct{ got, want []float64 }{
		"Holm":              {holm(p), []float64{0.06, 0.03, 0.06, 0.02}},
		"BenjaminiHochberg": {benjaminiHochberg(p), []float64{0.04, 0.02, 0.04, 0.02}},
	} {
		for i := range c.want {
			if math.Abs(c.got[i]-c.want[i]) > 1e-12 {
				t.Errorf("%s: %v, want %v", name, c.got, c.want)
				break
			}
		}
	}
	if len(holm(nil)) != 0 || len(benjaminiHochberg(nil)) != 0 {
		t.Error("an empty family is not empty")
	}
}

func TestLooks(t *testing.T) {
	l := Looks(12, 20, 0.05)
	// z = 1.95996/√0.6 = 2.5303; 2(1-Φ(2.5303)) = 0.01140.
	if math.Abs(l[0].Alpha-0.0114) > 5e-5 || math.Abs(l[0].Alpha+l[1].Alpha-0.05) > 1e-12 {
		t.Errorf("looks %v", l)
	}
}

// The choice of statistic: power of ranks and of the mean, both with signs flipped,
// for one point and 12 pairs. Ranks lose little on normal noise and nothing where
// one launch in ten is disturbed.
func TestRanksAgainstMean(t *testing.T) {
	const n, effect, level, draws = 12, 1.0, 0.05, 2000
	byMean := func(pairs Pairs) float64 {
		total := 0.0
		for _, d := range pairs {
			total += d
		}
		more := 0
		for signs := range 1 << n {
			sum := 0.0
			for i, d := range pairs {
				if signs>>i&1 == 1 {
					sum += d
				} else {
					sum -= d
				}
			}
			if sum >= total-1e-12 {
				more++
			}
		}
		return float64(more) / (1 << n)
	}
	for _, c := range []struct {
		name    string
		tail    float64 // standard deviation of one pair in ten
		atLeast float64 // of the mean's power
	}{{"normal", 1, 0.93}, {"one launch in ten disturbed", 8, 1}} {
		r := rand.New(rand.NewPCG(5, 6))
		ranks, mean := 0, 0
		for range draws {
			pairs := make(Pairs, n)
			for i := range pairs {
				sd := 1.0
				if r.IntN(10) == 0 {
					sd = c.tail
				}
				pairs[i] = effect + sd*r.NormFloat64()
			}
			if 2*newFlip(pairs).Above(0) <= level {
				ranks++
			}
			if 2*byMean(pairs) <= level {
				mean++
			}
		}
		t.Logf("%s: ranks find %.0f %%, the mean %.0f %%", c.name, 100*float64(ranks)/float64(draws), 100*float64(mean)/float64(draws))
		if float64(ranks) < c.atLeast*float64(mean) {
			t.Errorf("%s: ranks find %d of %d, the mean %d", c.name, ranks, draws, mean)
		}
	}
}

// What detectable promises is found four times in five.
func TestDetectable(t *testing.T) {
	for _, c := range []struct {
		n     int
		level float64
	}{{12, 0.05}, {12, 0.05 / 20}, {20, 0.05 / 100}} {
		r := rand.New(rand.NewPCG(7, uint64(c.n)))
		effect := detectable(c.n, c.level, 0.8)
		const draws = 4000
		found := 0
		for range draws {
			pairs := make(Pairs, c.n)
			for i := range pairs {
				pairs[i] = effect + r.NormFloat64()
			}
			if 2*newFlip(pairs).Above(0) <= c.level {
				found++
			}
		}
		power := float64(found) / draws
		t.Logf("%d pairs at %.5f: %.3f standard deviations, found %.1f %%", c.n, c.level, effect, 100*power)
		if math.Abs(power-0.8) > 0.03 {
			t.Errorf("%d pairs at %v: power %v, want 0.8", c.n, c.level, power)
		}
	}
	if d := detectable(12, 0.05/1000, 0.8); !math.IsInf(d, 1) {
		t.Errorf("12 pairs cannot reach a thousandth of 5 %%, yet detect %v", d)
	}
	// Where the formula takes over it joins what was drawn.
	if drawn, formula := detectable(40, 0.05, 0.8), detectable(41, 0.05, 0.8); math.Abs(drawn/formula-1) > 0.06 {
		t.Errorf("40 pairs detect %v, 41 detect %v", drawn, formula)
	}
}

func TestSpread(t *testing.T) {
	if got, want := (Pairs{1, 2, 4}).spread(), stat.StdDev([]float64{1, 2, 4}, nil); got != want {
		t.Errorf("spread %v, want %v", got, want)
	}
	if !math.IsNaN((Pairs{1}).spread()) {
		t.Error("one pair has a spread")
	}
}
