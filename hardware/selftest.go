package hardware

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

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
	Checks      []SelfCheck    `json:"checks"`
	Passed      bool           `json:"passed"`  // all checks
	Seconds     float64        `json:"seconds"` // that the test took
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

// A SelfCheck is one figure and the limit that it must not exceed.
type SelfCheck struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Limit  float64 `json:"limit"`
	Unit   string  `json:"unit"`
	Passed bool    `json:"passed"`
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
)

// RunSelfTest measures the instrument on a stream of the host, in about a second.
// It fails only if the context ends or a call can't be timed; what it finds wrong
// is in the checks. The machine should be idle.
func RunSelfTest(ctx context.Context, s Stream) (SelfTest, error) {
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

func (t *SelfTest) judge() {
	check := func(name string, value, limit float64, unit string) {
		// A value that is no number passes nothing.
		t.Checks = append(t.Checks, SelfCheck{name, value, limit, unit, value <= limit})
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
	t.Passed = !slices.ContainsFunc(t.Checks, func(c SelfCheck) bool { return !c.Passed })
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
