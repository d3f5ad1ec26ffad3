package hardware

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"genbench/hardware/native"
)

// A faultyStream is a host stream with an error built in.
type faultyStream struct {
	Stream
	scale float64 // of what is read; 0 is 1
	add   int64   // to what is read, ns
	// deviceOnly leaves the host's time as it is.
	deviceOnly bool
	heap       bool // allocates
	dead       bool // fails
	saw        []*[64]byte
}

func (f *faultyStream) Time(c native.Call, s []Sample) error {
	if f.dead {
		return &native.CallError{Index: 3, Code: 7}
	}
	if f.heap {
		f.saw = append(f.saw[:0], new([64]byte))
	}
	if err := f.Stream.Time(c, s); err != nil {
		return err
	}
	for i := range s {
		for _, t := range []*int64{&s[i].Host, &s[i].Device} {
			if f.deviceOnly && t == &s[i].Host {
				continue
			}
			if f.scale != 0 {
				*t = int64(f.scale * float64(*t))
			}
			*t += f.add
		}
	}
	return nil
}

// A machine that others use may spoil one run, but not each of five. An error of
// the instrument spoils all of them.
func TestSelfTestPasses(t *testing.T) {
	for range 5 {
		got, err := RunSelfTest(t.Context(), hostStream{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Checks) != 7 || len(got.GoTiming) != 4 || len(got.Truth) != 2 || got.Seconds <= 0 {
			t.Fatalf("the self-test is not complete: %+v", got)
		}
		if got.Loop.MedianNS <= 0 || got.Clock.StepNS <= 0 || got.Clock.ReadNS <= 0 {
			t.Fatalf("the clock does not move: %+v", got)
		}
		b, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s", b)
		if got.Passed {
			return
		}
	}
	// Where more threads want to run than there are CPUs, a median call of 5 ms loses
	// its own for a while.
	if load, err := load1(openTree("")); err == nil && load > 2*float64(runtime.NumCPU()) {
		t.Skipf("the load average is %.1f on %d CPUs: nothing of known length can be timed here", load, runtime.NumCPU())
	}
	t.Error("the self-test failed five times")
}

func TestSelfTestFindsErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream *faultyStream
		check  string // that must fail
	}{
		{"reads 2 % too long", &faultyStream{scale: 1.02}, "truth of 5ms"},
		{"reads 2 % too short", &faultyStream{scale: 0.98}, "truth of 200µs"},
		{"the stream's events read 2 % too short", &faultyStream{scale: 0.98, deviceOnly: true}, "truth of 5ms"},
		{"adds 3 µs", &faultyStream{add: 3000}, "truth of 200µs"},
		{"adds 150 ns", &faultyStream{add: 150}, "timed loop, median"},
		{"adds 600 ns", &faultyStream{add: 600}, "timed loop, p99"},
		{"allocates", &faultyStream{heap: true}, "allocations of a timed block"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.stream.Stream = hostStream{}
			got, err := RunSelfTest(t.Context(), c.stream)
			if err != nil {
				t.Fatal(err)
			}
			if got.Passed {
				t.Error("the self-test passed")
			}
			for _, check := range got.Checks {
				if check.Name == c.check {
					if check.Passed {
						t.Errorf("%s passed with %g %s (limit %g)", check.Name, check.Value, check.Unit, check.Limit)
					}
					return
				}
			}
			t.Errorf("no check %q in %v", c.check, got.Checks)
		})
	}
}

// A loudSampler makes the stream beside it slower for the block in which it reads.
type loudSampler struct {
	Sampler
	heard *atomic.Bool
	err   error
}

func (l loudSampler) Sample() (Reading, error) {
	l.heard.Store(true)
	return Reading{}, l.err
}

type hearingStream struct {
	Stream
	heard *atomic.Bool
	times float64 // what a block that heard is lengthened by
}

// Time takes the time that it takes and tells another, which no machine disturbs.

func (h hearingStream) Time(c native.Call, s []Sample) error {
	h.heard.Store(false)
	err := h.Stream.Time(c, s)
	heard := h.heard.Load()
	for i := range s {
		s[i].Host = int64(200000 + 100*i)
		if heard {
			s[i].Host = int64(h.times * float64(s[i].Host))
		}
	}
	return err
}

func TestSelfTestHearsTelemetry(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three seconds")
	}
	var heard atomic.Bool
	sampler := loudSampler{heard: &heard}
	got, err := RunSelfTest(t.Context(), hearingStream{hostStream{}, &heard, 3}, sampler)
	if err != nil {
		t.Fatal(err)
	}
	tel := got.Telemetry
	if tel.Pairs < telemetryLooks()[0]*telemetryBatch || tel.ReadingNS <= 0 || tel.Median.Value < 0.001 || tel.P99.Value < 0.5 {
		t.Errorf("telemetry that triples a time reads %+v", tel)
	}
	for _, c := range got.Checks[len(got.Checks)-2:] {
		if c.Passed || !strings.HasPrefix(c.Name, "readings move the ") {
			t.Errorf("passed: %+v", c)
		}
	}
	sampler.err = errors.New("lost")
	if _, err := RunSelfTest(t.Context(), hostStream{}, sampler); err == nil || err.Error() != "test the instrument: lost" {
		t.Errorf("error is %v, want the sampler's", err)
	}
}

func TestShift(t *testing.T) {
	// Student's t for 3 degrees of freedom at 99.75 % is 9.465; the logs' standard error
	// is 0.0005774. Of four nothing is trimmed.
	logs := []float64{0.009, 0.011, 0.009, 0.011}
	got := shiftOf(logs)
	half := distuv.StudentsT{Sigma: 1, Nu: 3}.Quantile(0.99875) * 0.0011547 / 2
	for _, c := range []struct{ got, want float64 }{{got.Value, math.Expm1(0.01)}, {got.Low, math.Expm1(0.01 - half)}, {got.High, math.Expm1(0.01 + half)}} {
		if math.Abs(c.got-c.want) > 1e-6 {
			t.Errorf("shift is %+v, want %g", got, c.want)
		}
	}
	// Of ten the two at either end count as their neighbours: 0.009 to 0.011 once more,
	// six of them in the middle.
	wild := []float64{-3, 0.009, 0.009, 0.009, 0.009, 0.011, 0.011, 0.011, 0.011, 2}
	got = shiftOf(wild)
	half = distuv.StudentsT{Sigma: 1, Nu: 5}.Quantile(0.99875) * 0.0010541 * math.Sqrt(10) / 6
	for _, c := range []struct{ got, want float64 }{{got.Value, math.Expm1(0.01)}, {got.Low, math.Expm1(0.01 - half)}, {got.High, math.Expm1(0.01 + half)}} {
		if math.Abs(c.got-c.want) > 1e-6 {
			t.Errorf("trimmed, the shift is %+v, want %g", got, c.want)
		}
	}
	for _, c := range []struct {
		shift             Shift
		passed, undecided bool
	}{
		{Shift{0.0005, 0.0001, 0.001}, true, false},
		{Shift{-0.0005, -0.001, 0}, true, false},
		{Shift{0.0005, 0.0001, 0.0011}, false, true},
		{Shift{0.01, 0.001, 0.02}, false, true},
		{Shift{0, -0.1, 0.1}, false, true},
		{Shift{0.01, 0.0011, 0.02}, false, false},
		{Shift{-0.01, -0.02, -0.0011}, false, false},
		{Shift{math.NaN(), math.NaN(), math.NaN()}, false, false},
	} {
		if got := c.shift.check("", 0.001); got.Passed != c.passed || got.Undecided != c.undecided {
			t.Errorf("%+v is %+v, want passed %t, undecided %t", c.shift, got, c.passed, c.undecided)
		}
	}
	undecided := SelfTest{Truth: []TruthTest{{}}, Telemetry: &TelemetryTest{Median: Shift{0.01, -0.1, 0.1}}}
	if undecided.judge(); !undecided.Passed {
		t.Error("a busy machine fails the self-test")
	}
	undecided.Telemetry.P99 = Shift{0.1, 0.05, 0.2}
	if undecided.judge(); undecided.Passed {
		t.Error("readings that lengthen the tail pass")
	}
}

// Readings that slow every call of their slices by a tenth are beside one slice in ten:
// they push the other calls' quantiles up.
func TestTelemetryShifts(t *testing.T) {
	without, with := make([]int64, 1000), make([]int64, 1000)
	for i := range without {
		without[i] = int64(1000000 + 100*i)
		with[i] = without[i] + without[i]/10
	}
	median, tail := telemetryShifts(without, with)
	// All slow calls are slower than the others, so that half of all are 5/9 of those.
	if want := math.Log(1.0555 / 1.0499); math.Abs(median-want) > 1e-6 {
		t.Errorf("the median moves by %g, want %g", median, want)
	}
	// Above 1.1 ms lies a tenth of the mixture, so a hundredth of it lies above what nine
	// tenths of the slow ones stay within.
	if want := math.Log(1.1 * 1.0899 / 1.0989); math.Abs(tail-want) > 1e-4 {
		t.Errorf("the p99 moves by %g, want %g", tail, want)
	}
	if median, tail := telemetryShifts(without, without); median != 0 || tail != 0 {
		t.Errorf("nothing moves the median by %g, the p99 by %g", median, tail)
	}
	if got := mixedQuantile([]int64{1}, []int64{2}, 0.1, 1); got != 2 {
		t.Errorf("all of a mixture is within %d", got)
	}
}

func TestSelfTestStops(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := RunSelfTest(ended, hostStream{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that of the context", err)
	}
	var call *native.CallError
	if _, err := RunSelfTest(t.Context(), &faultyStream{dead: true}); !errors.As(err, &call) || !strings.HasPrefix(err.Error(), "test the instrument: ") {
		t.Errorf("error is %v, want that of the call", err)
	}
}

func TestSelfTestJudges(t *testing.T) {
	good := SelfTest{Truth: []TruthTest{{SpinNS: 5e6, Error: -0.01}}, Clock: ClockTest{100, 100}, Loop: Spread{1, 100, 500}}
	if good.judge(); !good.Passed {
		t.Errorf("at its limits: %+v", good.Checks)
	}
	bad := SelfTest{
		Truth: []TruthTest{{SpinNS: 5e6, Error: 0.011}, {SpinNS: 2e5, Error: math.NaN()}}, Allocations: 1,
		Clock: ClockTest{101, 101}, Loop: Spread{1, 101, 501},
	}
	bad.judge()
	for _, c := range bad.Checks {
		if c.Passed {
			t.Errorf("beyond its limit passed: %+v", c)
		}
	}
	if bad.Passed {
		t.Error("all checks fail, but the self-test passed")
	}
}

func TestSpread(t *testing.T) {
	times := make([]int64, 100)
	for i := range times {
		times[i] = int64(100 - i)
	}
	if got := spread(times); got != (Spread{100, 50, 99}) {
		t.Errorf("spread of 1 to 100 is %+v", got)
	}
	if got := spread([]int64{3}); got != (Spread{1, 3, 3}) {
		t.Errorf("spread of 3 is %+v", got)
	}
}

// BenchmarkTimedLoop shows what one sample costs: two clock readings, a call
// through a pointer and three stores.
func BenchmarkTimedLoop(b *testing.B) {
	samples := make([]Sample, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	if err := (hostStream{}).Time(native.Nothing(), samples); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTimedBlock shows what one crossing from Go to the loop costs and
// allocates.
func BenchmarkTimedBlock(b *testing.B) {
	samples := make([]Sample, 1)
	call := native.Nothing()
	b.ReportAllocs()
	for b.Loop() {
		if err := (hostStream{}).Time(call, samples); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHostSample shows what one reading of the counters costs, between
// rounds.
func BenchmarkHostSample(b *testing.B) {
	s, err := NewHostSampler("")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Sample(); err != nil {
			b.Fatal(err)
		}
	}
}
