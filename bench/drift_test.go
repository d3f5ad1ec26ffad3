package bench

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"genbench/hardware"
)

// A drifting machine is slower at time t (0 to 1 over the run) by change times t,
// on top of the scatter of its launches and rounds, of which wander is the
// correlation of neighbouring rounds.
type driftingMachine struct {
	points, launches, rounds          int
	launchSD, roundSD, change, wander float64

	reset float64 // slower by so much at the end of every launch than at its beginning
	pause float64 // seconds in the middle of the run, as of one that was resumed
}

// measured are the rounds of each point on such a machine: every launch visits all points.
func (d driftingMachine) measured(random *rand.Rand) [][]*RoundRecord {
	points := make([][]*RoundRecord, d.points)
	total := d.launches * d.rounds * d.points
	at := 0
	e := random.NormFloat64()
	for l := range d.launches {
		launch := d.launchSD * random.NormFloat64()
		began := at
		for round := range d.rounds {
			for order, i := range random.Perm(d.points) {
				e = d.wander*e + math.Sqrt(1-d.wander*d.wander)*random.NormFloat64()
				deviation := launch + d.roundSD*e + d.change*float64(at)/float64(total) + d.reset*float64((at-began)*d.launches)/float64(total)
				ns := int64(float64(1+i) * 1e7 * math.Exp(deviation))
				start := int64(at) * int64(time.Second)
				if 2*l >= d.launches {
					start += int64(d.pause * 1e9)
				}
				points[i] = append(points[i], &RoundRecord{
					Launch: l + 1, Round: round + 1, Order: order + 1, Status: OK, Start: start, DeviceNS: []int64{ns},
				})
				at++
			}
		}
	}
	return points
}

// allMedians are the rounds of points as drift is judged by them.
func allMedians(points [][]*RoundRecord) []roundMedians {
	var list []roundMedians
	for _, rounds := range points {
		list = append(list, mediansOf(rounds))
	}
	return list
}

// drifted is how many of 100 runs the trend calls drifted.
func (d driftingMachine) drifted(random *rand.Rand, repeats int) (share, suspicious float64) {
	for range repeats {
		drift := driftOf(&Log{}, allMedians(d.measured(random)))
		if drift.Drifted() != "" {
			share += 100 / float64(repeats)
		}
		if drift.OddEven.Suspicious() {
			suspicious += 100 / float64(repeats)
		}
	}
	return share, suspicious
}

// A machine that drifts is called so, one that only scatters is not.
func TestTrendPower(t *testing.T) {
	random := rand.New(rand.NewPCG(31, 32))
	repeats := 400
	if testing.Short() {
		repeats = 100
	}
	for _, c := range []struct {
		machine     driftingMachine
		least, most float64
	}{
		{driftingMachine{points: 14, launches: 4, rounds: 1, launchSD: 0.003, roundSD: 0.003}, 0, 1},
		{driftingMachine{points: 14, launches: 4, rounds: 1, launchSD: 0.02, roundSD: 0.02}, 0, 3},
		{driftingMachine{points: 14, launches: 4, rounds: 1, roundSD: 0.02, wander: 0.5}, 0, 5},
		{driftingMachine{points: 14, launches: 5, rounds: 4, roundSD: 0.02, wander: 0.8}, 0, 5},
		{driftingMachine{points: 14, launches: 5, rounds: 4, launchSD: 0.01, roundSD: 0.01}, 0, 2},
		{driftingMachine{points: 1, launches: 12, rounds: 1, launchSD: 0.01, roundSD: 0.01}, 0, 3},
		{driftingMachine{points: 14, launches: 4, rounds: 1, launchSD: 0.003, roundSD: 0.003, change: 0.03}, 88, 100},
		{driftingMachine{points: 14, launches: 4, rounds: 1, launchSD: 0.01, roundSD: 0.003, change: -0.03}, 70, 100},
		{driftingMachine{points: 14, launches: 12, rounds: 1, launchSD: 0.003, roundSD: 0.01, change: 0.05}, 97, 100},
		{driftingMachine{points: 14, launches: 12, rounds: 1, launchSD: 0.003, roundSD: 0.01, change: 0.03}, 95, 100},
		{driftingMachine{points: 14, launches: 12, rounds: 1, launchSD: 0.003, roundSD: 0.003, reset: 0.003}, 0, 5},
		{driftingMachine{points: 14, launches: 12, rounds: 1, launchSD: 0.003, roundSD: 0.005, reset: 0.005}, 0, 5},
		{driftingMachine{points: 14, launches: 5, rounds: 4, launchSD: 0.001, roundSD: 0.003, change: 0.005, pause: 1e6}, 0, 3},
		{driftingMachine{points: 14, launches: 5, rounds: 4, launchSD: 0.003, roundSD: 0.005, change: 0.03}, 95, 100},
		{driftingMachine{points: 1, launches: 12, rounds: 1, launchSD: 0.003, roundSD: 0.003, change: 0.03}, 90, 100},
		// Four rounds of one point can show no trend: that is what sentinels are for.
		{driftingMachine{points: 1, launches: 4, rounds: 1, launchSD: 0.003, roundSD: 0.003, change: 0.03}, 0, 0},
	} {
		share, suspicious := c.machine.drifted(random, repeats)
		if c.machine.change == 0 && suspicious > 5 {
			t.Errorf("%+v: odd and even rounds are suspected in %.1f %% of healthy runs", c.machine, suspicious)
		}
		if share < c.least || share > c.most {
			t.Errorf("%+v: %.1f %% of runs are called drifted, want %g to %g", c.machine, share, c.least, c.most)
		}
	}
}

func TestKendall(t *testing.T) {
	list := func(values ...float64) []residual {
		var l []residual
		for i, v := range values {
			l = append(l, residual{at: float64(i), value: v})
		}
		return l
	}
	// By hand: of 6 pairs 5 rise and 1 falls; n(n-1)(2n+5)/18 = 4·3·13/18.
	if s, v := kendall(list(1, 3, 2, 4)); s != 4 || math.Abs(v-4*3*13./18) > 1e-12 {
		t.Errorf("S = %g with variance %g, want 4 and %g", s, v, 4*3*13./18)
	}
	// Two values that are equal: one pair says nothing, and 2·1·9/18 is taken off.
	if s, v := kendall(list(1, 2, 2, 4)); s != 5 || math.Abs(v-(4*3*13./18-1)) > 1e-12 {
		t.Errorf("S = %g with variance %g of a tie", s, v)
	}
	if trendOf(list(1, 2, 3)) != nil {
		t.Error("three rounds show a trend")
	}
	// An autoregressive series of r = 1/2 varies as a third of its length would.
	if f := inflation(0.5, 10000); math.Abs(f-3) > 0.01 {
		t.Errorf("inflation %g, want 3", f)
	}
}

// sentinelVisit is a visit of 20 samples about ms milliseconds.
func sentinelVisit(random *rand.Rand, ms, cv float64) RoundRecord {
	r := cleanRound(pointOf("sentinel"), 1, ms)
	r.Sentinel, r.DeviceNS = true, nil
	for range 20 {
		r.DeviceNS = append(r.DeviceNS, int64(ms*1e6*math.Exp(cv*random.NormFloat64())))
	}
	return r
}

func TestSentinel(t *testing.T) {
	random := rand.New(rand.NewPCG(41, 42))
	for _, c := range []struct {
		name           string
		levels         []float64
		cv             float64
		drifted, stops bool
	}{
		{"steady", []float64{10, 10, 10, 10}, 0.002, false, false},
		{"two visits 2 % apart", []float64{10, 10.2}, 0.002, true, false},
		{"two visits 5 % apart", []float64{10, 10.5}, 0.002, true, true},
		{"two noisy visits 2 % apart", []float64{10, 10.2}, 0.05, false, false},
		{"slow drift", []float64{10, 10.1, 10.2, 10.3, 10.4, 10.5}, 0.002, true, true},
		{"there and back", []float64{10, 10, 10, 10.5, 10.5, 10, 10, 10}, 0.002, true, true},
		{"scatter between visits", []float64{10, 10.2, 9.9, 10.15, 9.95, 10.1}, 0.002, false, false},
	} {
		var visits []RoundRecord
		for _, ms := range c.levels {
			visits = append(visits, sentinelVisit(random, ms, c.cv))
		}
		s := judgeSentinel(visits)
		if drifted, stops := s.Beyond(driftLimit), s.Beyond(0.03); drifted != c.drifted || stops != c.stops {
			t.Errorf("%s: %s: beyond 1 %% %v, beyond 3 %% %v; want %v, %v", c.name, s, drifted, stops, c.drifted, c.stops)
		}
	}
	one := sentinelVisit(random, 10, 0.01)
	lost, other, plain := one, one, one
	lost.Status, other.ID, plain.Sentinel = Dropped, "another@1/e/fp32/b1", false
	if s := judgeSentinel([]RoundRecord{one, lost, other, plain}); s != nil {
		t.Errorf("one visit that counts is judged: %s", s)
	}
}

// Sentinels that drift condemn the run and all its points; they are no part of the
// estimates.
func TestSentinelsInAJournal(t *testing.T) {
	random := rand.New(rand.NewPCG(43, 44))
	p := pointOf("sentinel")
	s := newScript(t, PlannedPoint{Point: p}).begin()
	s.add(sentinelVisit(random, 10, 0.002))
	for l := range 4 {
		s.add(cleanRound(p, l+1, 20))
	}
	r := s.add(sentinelVisit(random, 10.3, 0.002), EndRecord{Type: "end"}).load()
	m := r.Measurements[0]
	if math.Abs(m.Latency.Value/20e6-1) > 1e-5 || m.Samples != 40 {
		t.Errorf("latency %g of %d samples; sentinel visits were counted in", m.Latency.Value, m.Samples)
	}
	if m.Quality != Q3 || len(m.Lowered) != 1 || !strings.HasPrefix(m.Lowered[0], "drifted: ") || len(r.Warnings) != 1 || r.Warnings[0].Code != Drifted {
		t.Errorf("quality %s for %q, warnings %v; want Q3 for the drift", m.Quality, m.Lowered, r.Warnings)
	}
}

// A sentinel that fails gives way to another point, whose visits count as well as its own.
func TestSentinelThatGaveWay(t *testing.T) {
	random := rand.New(rand.NewPCG(45, 46))
	visit := func(point string, ms float64) RoundRecord {
		v := sentinelVisit(random, ms, 0.002)
		v.ID = pointOf(point).String()
		return v
	}
	steady := []RoundRecord{visit("first", 10), visit("second", 20), visit("second", 20)}
	if s := judgeSentinel(steady); s == nil || s.Visits != 2 || s.Beyond(driftLimit) {
		t.Errorf("a point that failed and a steady one: %v", s)
	}
	drifting := append(steady, visit("second", 21))
	if s := judgeSentinel(drifting); s == nil || !s.Beyond(driftLimit) || s.Point != pointOf("second").String() {
		t.Errorf("the second point drifts by 5 %%: %v", s)
	}
	before := []RoundRecord{visit("first", 10), visit("first", 10.5), visit("second", 20), visit("second", 20)}
	if s := judgeSentinel(before); s == nil || !s.Beyond(driftLimit) || s.Point != pointOf("first").String() {
		t.Errorf("the first point drifted by 5 %% before it failed: %v", s)
	}
}

func TestOddEven(t *testing.T) {
	random := rand.New(rand.NewPCG(51, 52))
	for _, c := range []struct {
		name string
		driftingMachine
	}{
		{"odd and even launches", driftingMachine{points: 1, launches: 12, rounds: 1, launchSD: 0.01, roundSD: 0.01}},
		{"few launches", driftingMachine{points: 1, launches: 4, rounds: 1, roundSD: 0.01}},
		{"rounds within launches", driftingMachine{points: 1, launches: 5, rounds: 4, launchSD: 0.05, roundSD: 0.01}},
	} {
		repeats := 3000
		if testing.Short() {
			repeats = 1000
		}
		rejected := 0
		for range repeats {
			o := oddEven(allMedians(c.measured(random)))
			if o.Points != 1 {
				t.Fatalf("%s: %d points tested, want 1", c.name, o.Points)
			}
			rejected += o.Rejected
		}
		if share := float64(rejected) / float64(repeats); share < 0.035 || share > 0.065 {
			t.Errorf("%s: %.1f %% of equal halves are told apart, want 5", c.name, 100*share)
		}
	}
	// Rounds are paired within launches, so that launches may differ as they like.
	regular := driftingMachine{points: 1, launches: 5, rounds: 4, launchSD: 0.05, roundSD: 0.001}.measured(random)[0]
	for i, r := range regular {
		r.DeviceNS[0] += int64(i%2) * r.DeviceNS[0] / 50
	}
	if p, ok := mediansOf(regular).oddEven(); !ok || p > 0.001 {
		t.Errorf("every second round is 2 %% slower, but p = %g", p)
	}
	// A round that was dropped does not make odd ones of those after it.
	for l := range 5 {
		regular[4*l+l%3].Status = Dropped
	}
	if p, ok := mediansOf(regular).oddEven(); !ok || p > 0.001 {
		t.Errorf("every second round is 2 %% slower and some are missing, but p = %g", p)
	}
	if !(OddEven{Points: 20, Rejected: 6}).Suspicious() || (OddEven{Points: 14, Rejected: 2}).Suspicious() || (OddEven{}).Suspicious() {
		t.Error("6 of 20 are beyond chance, 2 of 14 are not")
	}
}

func TestCorrelation(t *testing.T) {
	var list []residual
	for i := range 40 {
		clock, warm := 2000+float64(i%5), 50.0
		list = append(list, residual{at: float64(i), value: -0.01 * float64(i%5), clock: &clock, temperature: &warm})
	}
	c := correlationOf(list, func(r residual) *float64 { return r.clock })
	if c == nil || math.Abs(c.R+1) > 1e-9 || c.P > 1e-6 || c.Rounds != 40 {
		t.Errorf("correlation with the clock %+v, want -1", c)
	}
	if c := correlationOf(list, func(r residual) *float64 { return r.temperature }); c != nil {
		t.Errorf("correlation with a temperature that stands still: %+v", c)
	}
}

// Cycles need the clock of every round that counts.
func TestCycles(t *testing.T) {
	p := pointOf("m")
	at := func(launch, round int, ms, mhz float64) RoundRecord {
		r := cleanRound(p, launch, ms)
		r.Round = round
		if mhz > 0 {
			r.Interval.MeanFrequencyMHz = &mhz
		}
		return r
	}
	// Twice the clock, half the time: the cycles stay.
	m := newScript(t, PlannedPoint{Point: p}).begin().add(at(1, 1, 10, 1000), at(1, 2, 5, 2000), at(2, 1, 5, 2000), at(2, 2, 10, 1000)).load().Measurements[0]
	if m.Cycles == nil || math.Abs(m.Cycles.Value/1e7-1) > 1e-5 || m.Cycles.HalfWidth() > 1e-5 || m.Clock.Low != 1000 || m.Clock.Mean != 1500 || m.Clock.High != 2000 {
		t.Errorf("cycles %+v at %+v, want 10 million", m.Cycles, m.Clock)
	}
	m = newScript(t, PlannedPoint{Point: p}).begin().add(at(1, 1, 10, 1000), at(1, 2, 5, 0)).load().Measurements[0]
	if m.Cycles != nil || !strings.Contains(m.NoCycles, "every round") {
		t.Errorf("cycles %+v (%s) with a clock unknown", m.Cycles, m.NoCycles)
	}
}

// The clock and temperature of a round come from its own counters, on a GPU from the
// device's; what was read beside it may be another board's.
func TestConditions(t *testing.T) {
	mhz, celsius := 2000.0, 60.0
	host := cleanRound(pointOf("m"), 1, 10)
	host.Interval = hardware.Interval{MeanFrequencyMHz: &mhz, TemperatureC: &celsius}
	counted, hot := 1710.0, 55
	gpu := cleanRound(pointOf("m"), 1, 10)
	gpu.EnqueueNS, gpu.ClockMHz, gpu.Interval.GPU = make([]int64, 10), &counted, &hardware.GPUInterval{TemperatureC: &hot}
	for _, c := range []struct {
		round              RoundRecord
		clock, temperature float64
	}{{host, 2000, 60}, {gpu, 1710, 55}} {
		clock, temperature := c.round.conditions()
		if clock == nil || *clock != c.clock || temperature == nil || *temperature != c.temperature {
			t.Errorf("clock %v, temperature %v; want %g, %g", clock, temperature, c.clock, c.temperature)
		}
	}
	gpu.ClockMHz, gpu.Interval.GPU = nil, nil
	if clock, temperature := gpu.conditions(); clock != nil || temperature != nil {
		t.Errorf("clock %v, temperature %v of a round that was not watched", clock, temperature)
	}
}
