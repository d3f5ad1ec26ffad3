package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"genbench/hardware"
)

// Without noise the judgement is the protocol's: three windows within 1 % that
// drift by less than 0.25 %.
func TestSteadyProof(t *testing.T) {
	p := HostProtocol()
	for _, c := range []struct {
		name    string
		windows []int64
		last    bool
		want    bool
	}{
		{"too few windows", []int64{1000, 1000}, true, false},
		{"steady", []int64{5000, 1000, 1002, 1001}, false, true},
		{"one window off", []int64{1000, 1020, 1001}, false, false},
		{"drifts slowly", []int64{1000, 1002, 1004}, false, false},
		{"drifts slowly to the end", []int64{1000, 1002, 1004}, true, false},
		{"drifts downwards", []int64{1004, 1002, 1000}, true, false},
		{"settled at last", []int64{1300, 1100, 1000, 1000, 1001}, false, true},
		{"wanders", []int64{1000, 1030, 980, 1010, 1025, 985, 1005}, false, false},
		{"wanders to the end", []int64{1000, 1030, 980, 1010, 1025, 985, 1005}, true, true},
		{"wanders once warm", []int64{1300, 1250, 1200, 1000, 1012, 998, 1013, 999, 1011}, true, true},
		{"still coming down", []int64{1300, 1240, 1180, 1130, 1080, 1040, 1010}, true, false},
	} {
		proof := SteadyProof{WindowMedians: c.windows, WindowErrors: make([]float64, len(c.windows))}
		proof.judge(p, c.last)
		if proof.Met != c.want {
			t.Errorf("%s: met = %v (ratio %.4f, drift %.4f ± %.4f over %d), want %v", c.name, proof.Met, proof.Ratio, proof.Drift, proof.DriftError, proof.Windows, c.want)
		}
	}
}

// The clock has to stand still in the windows that make the proof, within what the
// protocol allows, and where it never does the proof says so.
func TestSteadyClock(t *testing.T) {
	p := gpuProtocol()
	const mhz = 1400
	for _, c := range []struct {
		name    string
		clocks  []float64
		limit   float64
		last    bool
		want    bool
		windows int
		moved   bool
	}{
		{name: "still", clocks: []float64{mhz, mhz + 6, mhz + 3}, limit: p.SteadyClock, want: true, windows: 3},
		{name: "moves", clocks: []float64{mhz, mhz + 8, mhz}, limit: p.SteadyClock, windows: 3, moved: true},
		{name: "moves to the end", clocks: []float64{mhz, mhz + 8, mhz, mhz + 8, mhz}, limit: p.SteadyClock, last: true, windows: 3, moved: true},
		{name: "creeps down", clocks: []float64{mhz + 9, mhz + 6, mhz + 3, mhz}, limit: p.SteadyClock, want: true, windows: 3},
		{name: "under a power cap", clocks: []float64{mhz, mhz + 8, mhz}, limit: p.SteadyClockCapped, want: true, windows: 3},
		{name: "too far for a power cap", clocks: []float64{mhz, mhz + 15, mhz}, limit: p.SteadyClockCapped, windows: 3, moved: true},
		{name: "boosted at first", clocks: []float64{1980, mhz, mhz, mhz}, limit: p.SteadyClock, want: true, windows: 3},
		{name: "not known", limit: p.SteadyClock, want: true, windows: 3},
		{name: "not asked for", clocks: []float64{mhz, 1980, mhz}, want: true, windows: 3},
	} {
		var proof SteadyProof
		proof.ClockLimit = c.limit
		for range max(len(c.clocks), 3) {
			proof.add([]int64{1000, 1000})
		}
		for _, clock := range c.clocks {
			proof.addClock(&clock, "")
		}
		proof.judge(p, c.last)
		if proof.Met != c.want || proof.Windows != c.windows || proof.ClockMoved() != c.moved {
			t.Errorf("%s: met %v over %d windows, clock spread %.4f of %g; want met %v over %d", c.name, proof.Met, proof.Windows, proof.ClockSpread, proof.ClockLimit, c.want, c.windows)
		}
	}
	// Latency that wanders about one level to the end is judged over the longest stretch
	// whose clock stood still, not over one that holds a boost.
	var proof SteadyProof
	proof.ClockLimit = p.SteadyClock
	for i, level := range []int64{1000, 1000, 1000, 1030, 985, 1010, 990, 1020, 1000} {
		proof.add([]int64{level, level})
		clock := map[bool]float64{true: 1980, false: mhz}[i < 4]
		proof.addClock(&clock, "")
	}
	if proof.judge(p, true); !proof.Met || proof.Windows != 5 || proof.ClockMoved() {
		t.Errorf("met %v over %d windows with a clock spread of %.4f, want it over 5", proof.Met, proof.Windows, proof.ClockSpread)
	}
	// One window without a clock leaves none: a proof has all or says why not.
	proof = SteadyProof{}
	one, zero := 1400.0, 0.0
	for _, step := range []struct {
		mhz  *float64
		why  string
		want string
	}{{&one, "", ""}, {nil, "lost", "lost"}, {&one, "", "lost"}, {nil, "later", "lost"}} {
		if proof.addClock(step.mhz, step.why); proof.ClockReason != step.want || (proof.WindowClocks == nil) != (step.want != "") {
			t.Errorf("clocks %v, %q; want %q", proof.WindowClocks, proof.ClockReason, step.want)
		}
	}
	proof = SteadyProof{}
	if proof.addClock(&zero, ""); proof.ClockReason == "" {
		t.Errorf("a clock of 0 MHz was taken: %v", proof.WindowClocks)
	}
}

// Rounds whose clock keeps moving are taken and marked; under a power cap floating
// clocks may move further; and a round's record holds the clocks of its windows.
func TestRoundsWhoseClockMoves(t *testing.T) {
	// hunt goes to and fro by a share of the clock, every 150 ms.
	hunt := func(share float64) func(time.Duration) float64 {
		return func(at time.Duration) float64 {
			return 1500 * (1 + share*float64(int64(at/(150*time.Millisecond))%2))
		}
	}
	for _, c := range []struct {
		name   string
		clock  func(time.Duration) float64
		bits   hardware.EventReasons
		limit  float64
		steady bool
		known  bool
	}{
		{"still", hunt(0), 0, 0.005, true, true},
		{"a little", hunt(0.004), 0, 0.005, true, true},
		{"too much", hunt(0.008), 0, 0.005, false, true},
		{"as much, under a power cap", hunt(0.008), hardware.SWPowerCap, 0.01, true, true},
		{"too much for that, too", hunt(0.02), hardware.SWPowerCap, 0.01, false, true},
		{"not known", func(time.Duration) float64 { return math.NaN() }, 0, 0.005, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := simulate(t, "quick", hardware.CUDA)
			p := &s.config.Protocol
			p.Settle, p.SettleAgain, p.Launches = 0, 0, 2
			p.RoundSamples, p.RoundTime, p.WindowSamples, p.WindowTime, p.SteadyCap = 10, 0, 5, 130*time.Millisecond, 4*time.Second
			s.latency = func(inference) time.Duration { return 10 * time.Millisecond }
			s.clock = c.clock
			s.counters = func(_ time.Duration, r *hardware.Reading) error { *r.GPU.EventReasons = c.bits; return nil }
			m := s.run(t).point(t, "sim")
			if m.State != Measured || m.Dropped() != 0 {
				t.Fatalf("%s %s, %d dropped", m.State, m.Reason, m.Dropped())
			}
			for _, r := range m.Rounds {
				proof := r.Steady
				if proof.Met != c.steady || proof.ClockLimit != c.limit || proof.ClockMoved() == c.steady {
					t.Errorf("met %t, spread %.4f of %g", proof.Met, proof.ClockSpread, proof.ClockLimit)
				}
				if known := len(proof.WindowClocks) == len(proof.WindowMedians); known != c.known || known != (proof.ClockReason == "") {
					t.Errorf("%d clocks of %d windows, %q", len(proof.WindowClocks), len(proof.WindowMedians), proof.ClockReason)
				}
			}
			doubts := slices.DeleteFunc(slices.Clone(m.Warnings), func(w Warning) bool { return w.Code != Unsteady })
			if (len(doubts) == 0) != c.steady || !c.steady && !strings.Contains(doubts[0].Detail, "2 of 2 rounds; in 2 of them the clock moved, by up to ") {
				t.Errorf("doubts %v", doubts)
			}
		})
	}
}

// prove plays windows of n samples each whose level is given at every window from
// 0 on, until the proof is met or most windows are run.
func proveSimulated(random *rand.Rand, n, most int, cv, correlation float64, level func(window float64) float64) SteadyProof {
	var proof SteadyProof
	e := random.NormFloat64()
	for w := range most {
		ns := make([]int64, n)
		for i := range ns {
			e = correlation*e + math.Sqrt(1-correlation*correlation)*random.NormFloat64()
			ns[i] = int64(1e7 * level(float64(w)+float64(i)/float64(n)) * math.Exp(cv*e))
		}
		proof.add(ns)
		if proof.judge(HostProtocol(), w == most-1); proof.Met {
			break
		}
	}
	return proof
}

// quickWindows is how many windows the profile quick has patience for.
const quickWindows = 7

// unsteadyShare is how many of 100 simulated rounds are called unsteady.
func unsteadyShare(random *rand.Rand, windows, n int, cv, correlation float64, level func(float64) float64) float64 {
	const repeats = 250
	unsteady := 0
	for range repeats {
		if !proveSimulated(random, n, windows, cv, correlation, level).Met {
			unsteady++
		}
	}
	return 100 * float64(unsteady) / repeats
}

// Noise alone is not unsteady: the interval tells of it.
func TestSteadyNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	flat := func(float64) float64 { return 1 }
	for _, n := range []int{3, 10, 25} {
		for _, cv := range []float64{0.005, 0.01, 0.02, 0.05} {
			if share := unsteadyShare(random, quickWindows, n, cv, 0, flat); share > 6 {
				t.Errorf("windows of %d samples with %g %% of noise: %.1f %% of rounds are called unsteady, want at most 6", n, 100*cv, share)
			}
			if share := unsteadyShare(random, quickWindows, n, cv, 0.5, flat); share > 18 {
				t.Errorf("windows of %d samples with %g %% of correlated noise: %.1f %% of rounds are called unsteady, want at most 18", n, 100*cv, share)
			}
		}
	}
}

// Noise is waited out no longer than it takes to see a drift through it.
func TestSteadyIsQuick(t *testing.T) {
	random := rand.New(rand.NewPCG(15, 16))
	for _, c := range []struct {
		n    int
		cv   float64
		most float64
	}{{25, 0.005, 3.2}, {25, 0.01, 4.5}, {10, 0.01, 21}, {25, 0.02, 38}} {
		windows := 0
		const repeats = 100
		for range repeats {
			windows += len(proveSimulated(random, c.n, 50, c.cv, 0, func(float64) float64 { return 1 }).WindowMedians)
		}
		if mean := float64(windows) / repeats; mean > c.most {
			t.Errorf("noise of %g %% in windows of %d samples takes %.1f windows on the mean, want at most %g", 100*c.cv, c.n, mean, c.most)
		}
	}
}

// A ramp or a step beyond the noise is unsteady.
func TestSteadyTrends(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 14))
	ramp := func(window float64) float64 { return 1 + 0.01*window } // 2 % from the first of three windows to the last
	cooling := func(window float64) float64 { return 1.1 - 0.01*window }
	step := func(window float64) float64 {
		if window >= 10 {
			return 1.05
		}
		return 1
	}
	for _, c := range []struct {
		name    string
		level   func(float64) float64
		windows int
		n       int
		cv      float64
		least   float64
	}{
		{"ramp", ramp, quickWindows, 3, 0.005, 95},
		{"ramp", ramp, quickWindows, 10, 0.01, 95},
		{"ramp", ramp, quickWindows, 25, 0.01, 95},
		{"ramp", ramp, quickWindows, 25, 0.02, 95},
		{"ramp", ramp, quickWindows, 25, 0.05, 45},
		{"ramp down", cooling, quickWindows, 25, 0.02, 95},
		{"step", step, 15, 25, 0.02, 95},
	} {
		if share := unsteadyShare(random, c.windows, c.n, c.cv, 0, c.level); share < c.least {
			t.Errorf("%s, windows of %d samples with %g %% of noise: %.1f %% of rounds are called unsteady, want at least %g", c.name, c.n, 100*c.cv, share, c.least)
		}
	}
	// A warm-up that ends is forgotten.
	settled := func(window float64) float64 { return 1 + 0.3*math.Exp(-2*window) }
	if share := unsteadyShare(random, quickWindows, 25, 0.01, 0, settled); share > 5 {
		t.Errorf("latency that settled: %.1f %% of rounds are called unsteady, want at most 5", share)
	}
	slowly := func(window float64) float64 { return 1 + 0.3*math.Exp(-window/1.2) }
	if share := unsteadyShare(random, 15, 25, 0.05, 0, slowly); share > 8 {
		t.Errorf("noisy latency that settled slowly: %.1f %% of rounds are called unsteady, want at most 8", share)
	}
}
