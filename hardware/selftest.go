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

// A SelfTest is how well this machine can be measured with: what the instrument
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

// A TelemetryTest times calls of fixed work with and without readings beside them, in
// turn.
type TelemetryTest struct {
	Pairs  int   `json:"pairs"`   // of a round with readings and one without
	WorkNS int64 `json:"work_ns"` // how long a call takes, about
	// ReadingNS is how long it takes to read all samplers once, in the median.
	ReadingNS int64 `json:"reading_ns"`
	Median    Shift `json:"median"` // of a round
	P99       Shift `json:"p99"`
}

// A Shift is by which share readings lengthen a time, with its 99 % interval over the
// pairs.
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
// one by one (0.2 ms, protocol M4); its tail may hold an interrupt, and five
// times the limit still is a quarter of a percent. 1 % is protocol M9.
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

// The telemetry test: rounds long enough to hold a reading at the protocol's ten a
// second, and calls as short as any that is timed one by one.
const (
	telemetryPairs  = 12
	telemetryPeriod = 100 * time.Millisecond
	telemetryWork   = 200 * time.Microsecond
)

// RunSelfTest measures the instrument on a stream of the host, in about a second, and
// in 2.5 more what reading the samplers does to it. It fails only if the context ends or a call can't be timed; what it finds wrong
// is in the checks. The machine should be idle.
func RunSelfTest(ctx context.Context, s Stream, samplers ...Sampler) (SelfTest, error) {
	// As in a round: the collector stays out, and the thread is the goroutine's.
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

// telemetry times rounds with readings and without, in turn; which comes first
// alternates, so that a drift of the machine favours neither.
func (t *SelfTest) telemetry(ctx context.Context, s Stream, samplers []Sampler) error {
	work, length, err := workOf(ctx, s, telemetryWork)
	if err != nil {
		return err
	}
	defer work.Free()
	samples := make([]Sample, max(1, int(telemetryPeriod.Nanoseconds()/length)))
	var medians, tails []float64
	var readings []int64
	for pair := range telemetryPairs {
		var read [2]Spread // without and with readings
		for turn := range 2 {
			with := (pair+turn)%2 == 1
			took, stop := readBeside(samplers, with)
			err := timeFor(ctx, s, work.Call(), samples)
			readErr := stop()
			if err := errors.Join(err, readErr); err != nil {
				return err
			}
			arm := 0
			if with {
				arm = 1
				readings = append(readings, *took...)
			}
			read[arm] = spread(hostTimes(samples))
		}
		medians = append(medians, math.Log(float64(read[1].MedianNS)/float64(read[0].MedianNS)))
		tails = append(tails, math.Log(float64(read[1].P99NS)/float64(read[0].P99NS)))
	}
	t.Telemetry = &TelemetryTest{
		Pairs: telemetryPairs, WorkNS: length, ReadingNS: spread(readings).MedianNS, Median: shiftOf(medians), P99: shiftOf(tails),
	}
	return nil
}

// workOf makes a call that takes about so long here.
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

// readBeside reads the samplers in the middle of every period until it is stopped, if
// it is to read at all. took is how long each reading of all of them lasted.
func readBeside(samplers []Sampler, with bool) (took *[]int64, stop func() error) {
	took = &[]int64{}
	if !with {
		return took, func() error { return nil }
	}
	ended, done := make(chan struct{}), make(chan error, 1)
	go func() {
		next := time.NewTimer(telemetryPeriod / 2)
		defer next.Stop()
		for {
			select {
			case <-ended:
				done <- nil
				return
			case <-next.C:
			}
			start := native.Now()
			for _, s := range samplers {
				if _, err := s.Sample(); err != nil {
					done <- err
					return
				}
			}
			*took = append(*took, native.Now()-start)
			next.Reset(telemetryPeriod)
		}
	}()
	return took, func() error {
		close(ended)
		return <-done
	}
}

// shiftOf is the mean of logarithms of ratios, as a share, with the interval of
// Student's t.
func shiftOf(logs []float64) Shift {
	mean, sd := stat.MeanStdDev(logs, nil)
	n := float64(len(logs))
	half := distuv.StudentsT{Sigma: 1, Nu: n - 1}.Quantile(0.995) * sd / math.Sqrt(n)
	return Shift{math.Expm1(mean), math.Expm1(mean - half), math.Expm1(mean + half)}
}

// check holds a shift against its limit: the whole interval decides.
func (s Shift) check(name string, limit float64) SelfCheck {
	c := SelfCheck{Name: name, Value: 100 * s.Value, Limit: 100 * limit, Unit: "%"}
	c.Passed = s.Low >= -limit && s.High <= limit
	c.Undecided = !c.Passed && s.Low <= limit && s.High >= -limit
	return c
}

func (t *SelfTest) judge() {
	check := func(name string, value, limit float64, unit string) {
		// A value that is no number passes nothing.
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
	if tel := t.Telemetry; tel != nil {
		t.Checks = append(t.Checks,
			tel.Median.check("readings move the median", maxMedianShift), tel.P99.check("readings move the p99", maxP99Shift))
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

// spread sorts the times. Its quantiles are times that were read: the smallest
// that so large a share of all do not exceed.
func spread(times []int64) Spread {
	slices.Sort(times)
	at := func(q float64) int64 { return times[int(math.Ceil(q*float64(len(times))))-1] }
	return Spread{Samples: len(times), MedianNS: at(0.5), P99NS: at(0.99)}
}
