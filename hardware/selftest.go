package hardware

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"genbench/hardware/native"
)

// A SelfTest says how well one can measure with this machine: what the instrument
// itself adds to a time. Times are in nanoseconds.
type SelfTest struct {
	Clock ClockTest `json:"clock"`
	Loop  Spread    `json:"loop"` // what the C loop reads for a call that does nothing
	// GoTiming is why the loop is in C; no check rests on it.
	GoTiming    []GoTimingTest `json:"go_timing"`
	Truth       []TruthTest    `json:"truth"`
	Allocations int64          `json:"allocations"` // of one Stream.Time
	// Telemetry is what reading the counters beside a timed block does to it; nil
	// where no sampler was given.
	Telemetry *TelemetryTest `json:"telemetry,omitempty"`
	Checks    []SelfCheck    `json:"checks"`
	Passed    bool           `json:"passed"`  // no check failed
	Seconds   float64        `json:"seconds"` // that the test took
}

// ClockTest is the monotonic clock.
type ClockTest struct {
	StepNS float64 `json:"step_ns"` // smallest difference between two readings
	ReadNS float64 `json:"read_ns"` // what one reading costs
}

// A Spread is the middle and the tail of n times.
type Spread struct {
	Samples  int   `json:"samples"`
	MedianNS int64 `json:"median_ns"`
	P99NS    int64 `json:"p99_ns"`
}

// A GoTimingTest compares two clocks around the same call: Go's, read before and
// after Stream.Time, and that of the loop inside it.
type GoTimingTest struct {
	SpinNS int64  `json:"spin_ns"` // how long the call takes
	Added  Spread `json:"added"`   // Go's time minus the loop's
}

// A TruthTest times a call of known length.
type TruthTest struct {
	SpinNS int64   `json:"spin_ns"`
	Read   Spread  `json:"read"`
	Error  float64 `json:"error"` // of the median, relative; positive reads too long
}

// A TelemetryTest times calls of fixed work in short slices, every other one with a
// reading of the counters beside it.
type TelemetryTest struct {
	Pairs  int   `json:"pairs"`   // of a slice with a reading and one without
	WorkNS int64 `json:"work_ns"` // roughly how long a call takes
	// ReadingNS is how long it takes to read all samplers once, in the median.
	ReadingNS int64 `json:"reading_ns"`
	// Median and P99 are what readings do to the median and to the 99th percentile, as
	// often as beside a measurement: of ten slices one holds one.
	Median Shift `json:"median"`
	P99    Shift `json:"p99"`
}

// A Shift is the share by which readings lengthen a time, with an interval over batches
// of pairs that holds the truth in 99 % of tests.
type Shift struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// A SelfCheck is one figure and the limit that it must not exceed.
type SelfCheck struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Limit  float64 `json:"limit"`
	Unit   string  `json:"unit"`
	Passed bool    `json:"passed"`
	// Undecided says that the figure's interval holds the limit, as on a machine that
	// is too busy to tell. It is no failure.
	Undecided bool `json:"undecided,omitempty"`
}

// The limits. A loop of 100 ns is 0.05 % of the shortest inference that is timed
// one by one (0.2 ms, protocol M4); its tail may hold an interrupt, and five times the
// limit is still a quarter of a percent. 1 % is protocol M9.
const (
	maxClockStepNS   = 100
	maxClockReadNS   = 100
	maxLoopMedianNS  = 100
	maxLoopP99NS     = 500
	maxTruthError    = 0.01
	maxAllocsPerTime = 0
	maxMedianShift   = 0.001 // protocol X
	maxP99Shift      = 0.01
)

// The telemetry test. What disturbs a shared machine lasts longer than a slice of
// 10 ms and so affects both kinds of slices alike, whereas a reading ends well within
// its own. Calls are as short as any that are timed one by one.
const (
	telemetryPeriod = 100 * time.Millisecond // between readings beside a measurement
	telemetrySlice  = 10 * time.Millisecond
	telemetryWork   = 200 * time.Microsecond
	telemetryBatch  = 12 // pairs that give one ratio: 600 calls of each kind
)

// telemetryLooks are after how many batches the test ends if it is decided by then:
// 2.4 to 19 s. Each look may err in a quarter of the cases allowed to all of them.
func telemetryLooks() []int { return []int{10, 20, 40, 80} }

// RunSelfTest measures the instrument on a stream of the host, in about a second, and
// where samplers are given what reading them does to it, in 3 to 20 more. It fails only
// if the context ends, a call can't be timed or a sampler can't be read; what it finds
// wrong is in the checks. The machine should be idle.
func RunSelfTest(ctx context.Context, s Stream, samplers ...Sampler) (SelfTest, error) {
	// As in a round: no garbage collection, and the goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	var t SelfTest
	started := native.Now()
	clock := native.ProbeClock()
	t.Clock = ClockTest{StepNS: clock.StepNS, ReadNS: clock.ReadNS}
	for _, measure := range []func(context.Context, Stream) error{t.loop, t.goTiming, t.truth, t.allocations} {
		if err := measure(ctx, s); err != nil {
			return SelfTest{}, fmt.Errorf("test the instrument: %w", err)
		}
	}
	if len(samplers) > 0 {
		if err := t.telemetry(ctx, s, samplers); err != nil {
			return SelfTest{}, fmt.Errorf("test the instrument: %w", err)
		}
	}
	t.Seconds = float64(native.Now()-started) / 1e9
	t.judge()
	return t, nil
}

func (t *SelfTest) loop(ctx context.Context, s Stream) error {
	samples := make([]Sample, 20000)
	// The first block pays for the caches and the pages of the samples.
	for range 2 {
		if err := timeFor(ctx, s, native.Nothing(), samples); err != nil {
			return err
		}
	}
	t.Loop = spread(hostTimes(samples))
	return nil
}

func (t *SelfTest) goTiming(ctx context.Context, s Stream) error {
	for _, c := range []struct {
		spin  time.Duration
		calls int
	}{
		{2 * time.Microsecond, 1000},
		{50 * time.Microsecond, 500},
		{500 * time.Microsecond, 200},
		{5 * time.Millisecond, 50},
	} {
		spin := native.NewSpin(c.spin.Nanoseconds())
		call := spin.Call()
		added := make([]int64, c.calls)
		var one [1]Sample
		for i := range added {
			if err := ctx.Err(); err != nil {
				spin.Free()
				return err
			}
			before := time.Now()
			err := s.Time(call, one[:])
			took := time.Since(before)
			if err != nil {
				spin.Free()
				return err
			}
			added[i] = took.Nanoseconds() - one[0].Host
		}
		spin.Free()
		t.GoTiming = append(t.GoTiming, GoTimingTest{SpinNS: c.spin.Nanoseconds(), Added: spread(added)})
	}
	return nil
}

func (t *SelfTest) truth(ctx context.Context, s Stream) error {
	for _, c := range []struct {
		spin  time.Duration
		calls int
	}{
		{200 * time.Microsecond, 501},
		{5 * time.Millisecond, 41},
	} {
		spin := native.NewSpin(c.spin.Nanoseconds())
		samples := make([]Sample, c.calls)
		err := timeFor(ctx, s, spin.Call(), samples)
		spin.Free()
		if err != nil {
			return err
		}
		// The device's time is the headline of a result, so it is what must be true.
		read := spread(deviceTimes(samples))
		t.Truth = append(t.Truth, TruthTest{
			SpinNS: c.spin.Nanoseconds(),
			Read:   read,
			Error:  float64(read.MedianNS)/float64(c.spin.Nanoseconds()) - 1,
		})
	}
	return nil
}

// allocations counts what Stream.Time takes from the heap. Other goroutines may
// allocate meanwhile, but hardly in the quietest of several tries.
func (t *SelfTest) allocations(ctx context.Context, s Stream) error {
	const tries, calls = 5, 100
	samples := make([]Sample, 16)
	call := native.Nothing()
	fewest := uint64(math.MaxUint64)
	var before, after runtime.MemStats
	for range tries {
		runtime.ReadMemStats(&before)
		for range calls {
			if err := timeFor(ctx, s, call, samples); err != nil {
				return err
			}
		}
		runtime.ReadMemStats(&after)
		fewest = min(fewest, after.Mallocs-before.Mallocs)
	}
	t.Allocations = int64((fewest + calls - 1) / calls) // rounded up: a part of one is one too many
	return nil
}

// telemetry times slices with a reading and without, in turn; which comes first
// alternates, so that machine drift favours neither.
func (t *SelfTest) telemetry(ctx context.Context, s Stream, samplers []Sampler) error {
	work, length, err := workOf(ctx, s, telemetryWork)
	if err != nil {
		return err
	}
	defer work.Free()
	reader := readBeside(samplers)
	defer reader.stop()
	slice := make([]Sample, max(1, int(telemetrySlice.Nanoseconds()/length)))
	t.Telemetry = &TelemetryTest{WorkNS: length}
	var medians, tails []float64
	var readings []int64
	for _, look := range telemetryLooks() {
		for len(medians) < look {
			var times [2][]int64 // of slices without and with a reading
			for turn := range 2 * telemetryBatch {
				// Without, with, with, without: pair by pair the order changes.
				with := (turn+1)/2%2 == 1
				if with {
					reader.ask <- struct{}{}
				}
				err := timeFor(ctx, s, work.Call(), slice)
				arm := 0
				if with {
					arm = 1
					answer := <-reader.answers
					err = errors.Join(err, answer.err)
					readings = append(readings, answer.took)
				}
				if err != nil {
					return err
				}
				times[arm] = append(times[arm], hostTimes(slice)...)
			}
			median, tail := telemetryShifts(times[0], times[1])
			medians, tails = append(medians, median), append(tails, tail)
		}
		t.Telemetry.Pairs = len(medians) * telemetryBatch
		t.Telemetry.Median, t.Telemetry.P99 = shiftOf(medians), shiftOf(tails)
		if !slices.ContainsFunc(t.Telemetry.checks(), func(c SelfCheck) bool { return c.Undecided }) {
			break
		}
	}
	t.Telemetry.ReadingNS = spread(readings).MedianNS
	return nil
}

// telemetryShifts compares one batch: the logarithms of the ratios of the median and of
// the 99th percentile, as they would be with one reading in every period, to those
// without.
func telemetryShifts(without, with []int64) (median, tail float64) {
	base := spread(without)
	slices.Sort(with)
	const share = float64(telemetrySlice) / float64(telemetryPeriod)
	moved := func(q float64, ns int64) float64 {
		return math.Log(float64(mixedQuantile(without, with, share, q)) / float64(ns))
	}
	return moved(0.5, base.MedianNS), moved(0.99, base.P99NS)
}

// mixedQuantile is the smallest of all times that a share q of a mixture does not
// exceed, of which the times in b make up the given share. Both are sorted.
func mixedQuantile(a, b []int64, share, q float64) int64 {
	left := q
	for i, j := 0, 0; ; {
		fromA := j == len(b) || i < len(a) && a[i] <= b[j]
		var at int64
		if fromA {
			at = a[i]
			i++
			left -= (1 - share) / float64(len(a))
		} else {
			at = b[j]
			j++
			left -= share / float64(len(b))
		}
		if left <= 1e-12 || i == len(a) && j == len(b) {
			return at
		}
	}
}

// workOf makes a call that takes about that long here.
func workOf(ctx context.Context, s Stream, length time.Duration) (*native.Work, int64, error) {
	const trial = 100000
	steps := int64(trial)
	// The second round is timed after the processor has woken up.
	for range 2 {
		work := native.NewWork(steps)
		samples := make([]Sample, 20)
		err := timeFor(ctx, s, work.Call(), samples)
		work.Free()
		if err != nil {
			return nil, 0, err
		}
		steps = max(1, steps*length.Nanoseconds()/max(1, spread(hostTimes(samples)).MedianNS))
	}
	return native.NewWork(steps), length.Nanoseconds(), nil
}

// A reader reads samplers when it is asked, on a thread of its own.
type reader struct {
	ask     chan struct{}
	answers chan reading
}

type reading struct {
	took int64 // nanoseconds for all samplers
	err  error
}

// readBeside starts a reader. It reads a quarter of a slice after it was asked, so that
// the slice has begun and any effect of the reading ends within it.
func readBeside(samplers []Sampler) reader {
	r := reader{make(chan struct{}), make(chan reading)}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for range r.ask {
			native.Sleep(telemetrySlice / 4)
			start := native.Now()
			var err error
			for _, s := range samplers {
				if _, readErr := s.Sample(); readErr != nil {
					err = errors.Join(err, readErr)
				}
			}
			r.answers <- reading{native.Now() - start, err}
		}
	}()
	return r
}

func (r reader) stop() { close(r.ask) }

// trimmed is the share of the smallest and of the largest ratios that shiftOf leaves
// out: a machine that others use spoils some batches by far more than what is sought.
const trimmed = 0.2

// shiftOf is the trimmed mean of logarithms of ratios, as a share, with the interval
// of Student's t over the winsorised values (Tukey & McLaughlin, Sankhya A 25, 1963).
// Its level is such that the intervals of all looks hold the truth in 99 % of tests.
func shiftOf(logs []float64) Shift {
	sorted := slices.Sorted(slices.Values(logs))
	n := len(sorted)
	cut := int(trimmed * float64(n))
	mean := stat.Mean(sorted[cut:n-cut], nil)
	for i := range cut {
		sorted[i], sorted[n-1-i] = sorted[cut], sorted[n-1-cut]
	}
	kept := float64(n - 2*cut)
	deviation := stat.StdDev(sorted, nil) * math.Sqrt(float64(n)) / kept // standard error of the mean
	tails := 0.01 / float64(len(telemetryLooks()))
	half := distuv.StudentsT{Sigma: 1, Nu: kept - 1}.Quantile(1-tails/2) * deviation
	return Shift{math.Expm1(mean), math.Expm1(mean - half), math.Expm1(mean + half)}
}

// checks hold the shifts against their limits.
func (t *TelemetryTest) checks() []SelfCheck {
	return []SelfCheck{t.Median.check("readings move the median", maxMedianShift), t.P99.check("readings move the p99", maxP99Shift)}
}

// check holds a shift against its limit: its whole interval decides.
func (s Shift) check(name string, limit float64) SelfCheck {
	c := SelfCheck{Name: name, Value: 100 * s.Value, Limit: 100 * limit, Unit: "%"}
	c.Passed = s.Low >= -limit && s.High <= limit
	c.Undecided = !c.Passed && s.Low <= limit && s.High >= -limit
	return c
}

func (t *SelfTest) judge() {
	check := func(name string, value, limit float64, unit string) {
		// A value that is not a number passes nothing.
		t.Checks = append(t.Checks, SelfCheck{Name: name, Value: value, Limit: limit, Unit: unit, Passed: value <= limit})
	}
	check("clock resolution", t.Clock.StepNS, maxClockStepNS, "ns")
	check("clock reading", t.Clock.ReadNS, maxClockReadNS, "ns")
	check("timed loop, median", float64(t.Loop.MedianNS), maxLoopMedianNS, "ns")
	check("timed loop, p99", float64(t.Loop.P99NS), maxLoopP99NS, "ns")
	for _, truth := range t.Truth {
		name := fmt.Sprintf("truth of %v", time.Duration(truth.SpinNS))
		check(name, 100*math.Abs(truth.Error), 100*maxTruthError, "%")
	}
	check("allocations of a timed block", float64(t.Allocations), maxAllocsPerTime, "")
	if t.Telemetry != nil {
		t.Checks = append(t.Checks, t.Telemetry.checks()...)
	}
	t.Passed = !slices.ContainsFunc(t.Checks, func(c SelfCheck) bool { return !c.Passed && !c.Undecided })
}

// timeFor times one block, unless the context has ended.
func timeFor(ctx context.Context, s Stream, call native.Call, samples []Sample) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Time(call, samples)
}

func hostTimes(samples []Sample) []int64 {
	times := make([]int64, len(samples))
	for i, s := range samples {
		times[i] = s.Host
	}
	return times
}

func deviceTimes(samples []Sample) []int64 {
	times := make([]int64, len(samples))
	for i, s := range samples {
		times[i] = s.Device
	}
	return times
}

// spread sorts the times. Its quantiles are times that were read: the smallest that the
// given share of all do not exceed.
func spread(times []int64) Spread {
	slices.Sort(times)
	at := func(q float64) int64 { return times[int(math.Ceil(q*float64(len(times))))-1] }
	return Spread{Samples: len(times), MedianNS: at(0.5), P99NS: at(0.99)}
}
