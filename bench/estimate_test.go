package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The interval over launches must cover the truth 95 times in 100 when launches
// differ as much as rounds do; the interval that takes every round for
// independent, which is what most tools print, must be seen to fail on the same
// data. 2,000 repetitions have a standard error of half a percent.
func TestIntervalCoverage(t *testing.T) {
	const (
		repeats         = 2000
		launches        = 4
		rounds          = 3
		truth           = 1e7
		launchSD        = 0.003
		roundSD         = 0.003
		lowest, highest = 0.93, 0.97
	)
	random := rand.New(rand.NewPCG(1, 2))
	covered, coveredNaively := 0, 0
	covers := func(e Estimate) bool { return *e.Low <= truth && truth <= *e.High }
	for range repeats {
		var grouped, flat [][]float64
		for range launches {
			shift := random.NormFloat64() * launchSD
			var values []float64
			for range rounds {
				v := truth * math.Exp(shift+random.NormFloat64()*roundSD)
				values = append(values, v)
				flat = append(flat, []float64{v})
			}
			grouped = append(grouped, values)
		}
		if covers(overLaunches(grouped)) {
			covered++
		}
		if covers(overLaunches(flat)) {
			coveredNaively++
		}
	}
	if share := float64(covered) / repeats; share < lowest || share > highest {
		t.Errorf("the interval over launches covers %.1f %%, want %.0f to %.0f %%", 100*share, 100*lowest, 100*highest)
	}
	if share := float64(coveredNaively) / repeats; share > 0.90 {
		t.Errorf("the interval over all rounds covers %.1f %%; the simulation has lost its launch variance", 100*share)
	}
}

func TestOverLaunches(t *testing.T) {
	// By hand: logarithms 1, 2, 3 have mean 2, standard deviation 1; the 97.5 %
	// quantile of t with 2 degrees of freedom is 4.302653.
	e := overLaunches([][]float64{{math.E}, {math.Exp(1), math.Exp(3)}, {math.Exp(3)}})
	half := 4.302653 / math.Sqrt(3)
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"value", e.Value, math.Exp(2)},
		{"low", *e.Low, math.Exp(2 - half)},
		{"high", *e.High, math.Exp(2 + half)},
	} {
		if math.Abs(c.got/c.want-1) > 1e-6 {
			t.Errorf("%s = %g, want %g", c.name, c.got, c.want)
		}
	}
	if one := overLaunches([][]float64{{5, 5}}); one.Low != nil || one.High != nil || math.Abs(one.Value-5) > 1e-12 || !math.IsNaN(one.HalfWidth()) {
		t.Errorf("one launch gives %+v, want the value 5 without an interval", one)
	}
}

// The figures are MLPerf LoadGen's for 99 % confidence and at most one sample over
// the quantile.
func TestTailSamples(t *testing.T) {
	for q, want := range map[float64]int{0.90: 64, 0.95: 130, 0.99: 662, 0.999: 6636} {
		if got := tailSamples(q); got != want {
			t.Errorf("tailSamples(%g) = %d, want %d", q, got, want)
		}
	}
}

func TestTail(t *testing.T) {
	samples := make([]float64, 1000)
	for i := range samples {
		samples[i] = float64(i + 1)
	}
	got := tail(samples, 0.90, 1000)
	if got == nil || math.Abs(got.Value-900.1) > 1e-9 {
		t.Fatalf("p90 of 1..1000 = %+v, want 900.1", got)
	}
	if tail(samples, 0.90, 63) != nil {
		t.Error("p90 of 63 effective samples is published, want 64 or more")
	}
	// The upper bound must exceed the true quantile in 99 % of draws.
	random := rand.New(rand.NewPCG(3, 4))
	exceeded := 0
	const repeats = 2000
	for range repeats {
		draw := make([]float64, 200)
		for i := range draw {
			draw[i] = random.Float64()
		}
		slices.Sort(draw)
		if tail(draw, 0.90, 200).Upper >= 0.90 {
			exceeded++
		}
	}
	if share := float64(exceeded) / repeats; share < 0.985 || share == 1 {
		t.Errorf("the upper bound exceeds the quantile in %.2f %% of draws, want about 99 %%", 100*share)
	}
}

func TestEffectiveSamples(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	const n, r = 4000, 0.5
	independent, correlated := make([]float64, n), make([]float64, n)
	for i := range n {
		independent[i] = random.NormFloat64()
		correlated[i] = random.NormFloat64()
		if i > 0 {
			correlated[i] += r * correlated[i-1]
		}
	}
	if got := effectiveSamples(independent); got < 0.9*n {
		t.Errorf("independent samples count for %.0f of %d", got, n)
	}
	// An autoregressive series with r = 1/2 is worth a third.
	if got := effectiveSamples(correlated); got < 0.28*n || got > 0.39*n {
		t.Errorf("correlated samples count for %.0f of %d, want a third", got, n)
	}
	if got := effectiveSamples([]float64{7, 7, 7, 7}); got != 4 {
		t.Errorf("four equal samples count for %g", got)
	}
}

func TestSteadyProof(t *testing.T) {
	p := HostProtocol()
	for _, c := range []struct {
		name    string
		windows []int64
		want    bool
	}{
		{"too few windows", []int64{1000, 1000}, false},
		{"steady", []int64{5000, 1000, 1002, 1001}, true},
		{"one window off", []int64{1000, 1020, 1001}, false},
		{"drifts slowly", []int64{1000, 1002, 1004}, false},
		{"drifts downwards", []int64{1004, 1002, 1000}, false},
		{"settled at last", []int64{1300, 1100, 1000, 1000, 1001}, true},
	} {
		proof := SteadyProof{WindowMedians: c.windows}
		proof.judge(p)
		if proof.Met != c.want {
			t.Errorf("%s: met = %v (ratio %.4f, drift %.4f), want %v", c.name, proof.Met, proof.Ratio, proof.Drift, c.want)
		}
	}
}

func TestSamplesOfARound(t *testing.T) {
	p := HostProtocol() // at least 10 samples and 0.5 s, at most 2 s, never under 3
	for _, c := range []struct {
		ms   float64
		want int
	}{{1, 500}, {50, 10}, {100, 10}, {400, 5}, {1000, 3}, {30000, 3}} {
		if got := p.samples(msDuration(c.ms)); got != c.want {
			t.Errorf("a round of %g ms inferences takes %d samples, want %d", c.ms, got, c.want)
		}
	}
}
