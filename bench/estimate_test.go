package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Work is divided by what passed on the host's clock (M3), which on a GPU is longer than
// the device's time; where something comes before every inference there is no rate.
func TestThroughputIsOverWallTime(t *testing.T) {
	for cache, want := range map[string]float64{Hot: 80, Cold: 0} {
		p := pointOf("m")
		p.Cache = cache
		r := cleanRound(p, 1, 10)
		for range r.DeviceNS {
			r.HostNS = append(r.HostNS, 12.5e6)
		}
		m := newScript(t, PlannedPoint{Point: p}).begin().add(r).load().Measurements[0]
		if got := m.Throughput; want == 0 && (got != nil || m.NoThroughput == "") || want > 0 && (got == nil || math.Abs(got.Value-want) > 1e-6) {
			t.Errorf("%s: %+v, %q; want %g", cache, got, m.NoThroughput, want)
		}
	}
}

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
func TestTellsTail(t *testing.T) {
	for q, least := range map[float64]float64{0.90: 64, 0.95: 130, 0.99: 662, 0.999: 6636} {
		if !tellsTail(q, least) || tellsTail(q, least-0.1) {
			t.Errorf("quantile %g: published from %g samples %v, from one less %v; want the first only", q, least, tellsTail(q, least), tellsTail(q, least-1))
		}
	}
	if tellsTail(0.9, 1) || tellsTail(0.9, 0) {
		t.Error("one sample tells a tail")
	}
}

// The upper bound must exceed the true quantile in 99 % of draws.
func TestUpperBound(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	exceeded := 0
	const repeats = 2000
	for range repeats {
		draw := make([]float64, 200)
		for i := range draw {
			draw[i] = random.Float64()
		}
		slices.Sort(draw)
		if upperBound(draw, 0.90, 200) >= 0.90 {
			exceeded++
		}
	}
	if share := float64(exceeded) / repeats; share < 0.985 || share == 1 {
		t.Errorf("the upper bound exceeds the quantile in %.2f %% of draws, want about 99 %%", 100*share)
	}
	if half, whole := upperBound([]float64{1, 2, 3, 4}, 0.5, 4), upperBound([]float64{1, 2, 3, 4}, 0.5, 2); half != 4 || whole != 4 {
		t.Errorf("bounds of four samples %g, %g; want the largest", half, whole)
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

// The rank rule must be right for an exponential tail, where the usual one is not,
// and near for a normal one.
func TestTailRank(t *testing.T) {
	for q, want := range map[float64]int{0.90: 6, 0.95: 11, 0.99: 56, 0.999: 561} {
		r := tailRank{harmonicNumbers(want), -math.Log1p(-q)}
		if _, _, ok := r.of(want); !ok {
			t.Errorf("%d samples hold no quantile %g", want, q)
		}
		if _, _, ok := r.of(want - 1); ok {
			t.Errorf("%d samples hold a quantile %g, want %d for it", want-1, q, want)
		}
	}
	random := rand.New(rand.NewPCG(7, 8))
	const repeats, n, q = 20000, 100, 0.99
	rank := tailRank{harmonicNumbers(n), -math.Log1p(-q)}
	lower, weight, _ := rank.of(n)
	var ours, usual, square, normalTail float64
	draw := make([]float64, n)
	for range repeats {
		for i := range draw {
			draw[i] = random.ExpFloat64()
		}
		slices.Sort(draw)
		v := draw[lower] + weight*(draw[lower+1]-draw[lower])
		ours, square = ours+v/repeats, square+v*v/repeats
		usual += quantile(draw, q) / repeats
		for i := range draw {
			draw[i] = random.NormFloat64()
		}
		slices.Sort(draw)
		normalTail += (draw[lower] + weight*(draw[lower+1]-draw[lower])) / repeats
	}
	truth := -math.Log1p(-q)
	err := math.Sqrt(square-ours*ours) / math.Sqrt(12) // of a mean over 12 launches
	if off := math.Abs(ours-truth) / err; off > 0.1 {
		t.Errorf("99th percentile of %d exponential samples %.3f, want %.3f: %.2f standard errors off", n, ours, truth, off)
	}
	if off := math.Abs(usual-truth) / err; off < 0.3 {
		t.Errorf("the usual rule is %.2f standard errors off; the comment of tailRank says more", off)
	}
	if math.Abs(normalTail-2.326) > 0.05 {
		t.Errorf("99th percentile of %d normal samples %.3f, want about 2.326", n, normalTail)
	}
}

// A tail is a launch's own where launches are long enough, else that of all
// samples, without an interval.
func TestTails(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	p := pointOf("m")
	tails := func(launches, samples int) Measurement {
		log := &Log{Run: RunRecord{Plan: []PlannedPoint{{ID: p.String(), Point: p}}}, End: &EndRecord{}}
		for l := range launches {
			r := cleanRound(p, l+1, 10)
			r.DeviceNS = nil
			for range samples {
				r.DeviceNS = append(r.DeviceNS, int64(1e7*math.Exp(0.01*random.ExpFloat64())))
			}
			log.Rounds = append(log.Rounds, r)
		}
		return NewResult(log).Measurements[0]
	}
	for _, c := range []struct {
		launches, samples int
		p90, p99          bool // published
		interval          bool // of the last that is published
	}{
		{4, 15, false, false, false},
		{4, 40, true, false, true},
		{4, 400, true, true, true},
		{40, 40, true, true, false},
		{1, 2000, true, true, false},
	} {
		m := tails(c.launches, c.samples)
		if (m.P90 != nil) != c.p90 || (m.P99 != nil) != c.p99 {
			t.Errorf("%d × %d samples: p90 %+v, p99 %+v", c.launches, c.samples, m.P90, m.P99)
			continue
		}
		last := m.P99
		if last == nil {
			last = m.P90
		}
		if last == nil {
			continue
		}
		if (last.Low != nil) != c.interval || last.Upper < last.Value || last.Value < m.Latency.Value {
			t.Errorf("%d × %d samples: %+v, want an interval: %v", c.launches, c.samples, last, c.interval)
		}
		if again := tails(c.launches, c.samples); again.P90.Value == m.P90.Value {
			t.Error("other samples give the same tail")
		}
	}
}

// Of launches that fall into groups, too, intervals and bounds are in the order of what
// they speak of, and end where a latency can lie.
func TestOrderedIntervals(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	p := pointOf("m")
	beyond := 0
	for range 20 {
		log := &Log{Run: RunRecord{Plan: []PlannedPoint{{ID: p.String(), Point: p}}}, End: &EndRecord{}}
		var samples [][][]float64
		for launch, level := range []float64{1, 1.02, 0.64, 0.98} {
			r := cleanRound(p, launch+1, 10)
			r.DeviceNS = nil
			for range 250 {
				r.DeviceNS = append(r.DeviceNS, int64(level*1e7*math.Exp(0.05*random.ExpFloat64())))
			}
			log.Rounds, samples = append(log.Rounds, r), append(samples, [][]float64{floats(r.DeviceNS)})
		}
		m := NewResult(log).Measurements[0]
		low, high, upper := *m.Latency.Low, 0.0, 0.0
		for _, q := range []*Tail{m.P90, m.P95, m.P99} {
			if *q.Low < low || *q.High < high || q.Upper < upper || *q.Low > q.Value || *q.High < q.Value || q.Upper < *q.High {
				t.Errorf("p90 %v, p95 %v, p99 %v: out of order, or below the latency's %g", *m.P90, *m.P95, *m.P99, *m.Latency.Low)
			}
			low, high, upper = *q.Low, *q.High, q.Upper
		}
		if fastest := 1e9 / m.Min; *m.Throughput.High > 1.05*fastest {
			t.Errorf("throughput up to %g images/s, but the fastest sample allows %g", *m.Throughput.High, fastest)
		}
		b := newBootstrap(samples, nil, 0, p.String())
		values := make([]drawn, len(samples))
		for i, l := range b.launches {
			values[i] = l.value(nil)
		}
		if *b.studentised(values, nil)[0].High > 2/m.Min {
			beyond++
		}
	}
	if beyond == 0 {
		t.Error("the bootstrap alone stays near the samples; order has nothing to mend")
	}
}

// The same journal gives the same interval; another seed another.
func TestBootstrapIsSeeded(t *testing.T) {
	run := nature{launches: 4, rounds: 2, samples: 20, launchSD: 0.003, roundSD: 0.002, scatter: 0.005}.draw(rand.New(rand.NewPCG(1, 1)))
	high := func(seed uint64, point string) float64 {
		_, tails := newBootstrap(run, nil, seed, point).intervals([]float64{0.90}, Estimate{})
		return *tails[0].High
	}
	if high(1, "a") != high(1, "a") {
		t.Error("one seed gives two intervals")
	}
	if high(1, "a") == high(2, "a") || high(1, "a") == high(1, "b") {
		t.Error("the seed or the point changes nothing")
	}
	even := [][][]float64{{{5, 5, 5}}, {{5, 5, 5}}}
	if rate, _ := newBootstrap(even, nil, 1, "even").intervals(nil, Estimate{}); rate.Low == nil || *rate.Low != *rate.High {
		t.Errorf("launches that agree give %+v, want an interval without width", rate)
	}
	if rate, _ := newBootstrap(even[:1], nil, 1, "even").intervals(nil, Estimate{}); rate.Low != nil {
		t.Errorf("one launch gives the interval %g", *rate.Low)
	}
}

// Known variances must come back at their level.
func TestShares(t *testing.T) {
	random := rand.New(rand.NewPCG(15, 16))
	for _, c := range []struct {
		name                  string
		nature                nature
		launch, round, sample float64 // variances
	}{
		{"all three", nature{launches: 60, rounds: 6, samples: 30, launchSD: 0.02, roundSD: 0.02, scatter: 0.02}, 1, 1, 1},
		{"launches", nature{launches: 60, rounds: 3, samples: 30, launchSD: 0.03, scatter: 0.01}, 9, 0, 1},
		{"samples", nature{launches: 60, rounds: 3, samples: 30, scatter: 0.01}, 0, 0, 1},
		{"samples of short rounds", nature{launches: 60, rounds: 6, samples: 2, scatter: 0.01}, 0, 0, 1},
		{"rounds", nature{launches: 60, rounds: 6, samples: 10, roundSD: 0.02, scatter: 0.02}, 0, 1, 1},
	} {
		s := sharesOf(c.nature.draw(random), nil)
		total := c.launch + c.round + c.sample
		for _, part := range []struct {
			level     string
			got       *float64
			wantShare float64
		}{{"launch", s.Launch, c.launch / total}, {"round", s.Round, c.round / total}, {"sample", s.Sample, c.sample / total}} {
			if part.got == nil || math.Abs(*part.got-part.wantShare) > 0.1 {
				t.Errorf("%s: share of the %s %v, want %.2f", c.name, part.level, part.got, part.wantShare)
			}
		}
	}
	short := sharesOf(nature{launches: 300, rounds: 1, samples: 2, scatter: 0.01}.draw(random), nil)
	if short.Launch == nil || *short.Launch > 0.15 || short.Round != nil {
		t.Errorf("two samples of each of many equal launches: shares %+v, want none of the launches and no rounds", short)
	}
	one := sharesOf([][][]float64{{{1, 2, 3}}}, nil)
	if one.Launch != nil || one.Round != nil || one.Sample == nil || *one.Sample != 1 {
		t.Errorf("one round has shares %+v, want its samples alone", one)
	}
	if none := sharesOf([][][]float64{{{7, 7}}, {{7, 7}}}, nil); none != (Shares{}) {
		t.Errorf("equal samples have shares %+v", none)
	}
}

// What MDE names must be found in 80 % of pairs of runs.
func TestMDE(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 18))
	const sd = 0.005
	repeats := 4000
	if testing.Short() {
		repeats = 800
	}
	for _, launches := range []int{4, 12} {
		run := func(shift float64) Estimate {
			var values [][]float64
			for range launches {
				values = append(values, []float64{math.Exp(shift + sd*random.NormFloat64())})
			}
			return overLaunches(values)
		}
		// The effect for the true scatter, as a run of known scatter would give it.
		e := overLaunches([][]float64{{1}, {1}})
		half := studentT(float64(launches-1), 0.975) * sd / math.Sqrt(float64(launches))
		low, high := math.Exp(-half), math.Exp(half)
		e.Low, e.High, e.Launches = &low, &high, launches
		effect := math.Log1p(e.MDE())
		found := 0
		for range repeats {
			a, b := run(0), run(effect)
			va := math.Pow(math.Log(*a.High / *a.Low)/2/studentT(float64(launches-1), 0.975), 2)
			vb := math.Pow(math.Log(*b.High / *b.Low)/2/studentT(float64(launches-1), 0.975), 2)
			if math.Abs(math.Log(b.Value/a.Value)) > studentT(2*float64(launches-1), 0.975)*math.Sqrt(va+vb) {
				found++
			}
		}
		if share := float64(found) / float64(repeats); share < 0.76 || share > 0.84 {
			t.Errorf("%d launches: an effect of %.2f %% is found in %.1f %% of runs, want 80", launches, 100*e.MDE(), 100*share)
		}
	}
	if e := overLaunches([][]float64{{5}}); !math.IsNaN(e.MDE()) {
		t.Errorf("one launch detects %g", e.MDE())
	}
}
