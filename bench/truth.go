package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// An EngineTruth tells whether an engine's inferences take as long as the timed
// loop reads (protocol M9). What disturbs a machine passes, but an engine that works
// outside of its call does so in each of several tries. So a check takes the smallest
// of elapsed times, which others lengthen, and the median of CPU times, which others
// take away.
type EngineTruth struct {
	Engine  string `json:"engine"`
	Version string `json:"version"`
	// ShortNS and LongNS are the fastest inference of a chain of convolutions and of
	// one with twice as many, Ratio the second by the first.
	ShortNS    int64                `json:"short_ns"`
	LongNS     int64                `json:"long_ns"`
	Ratio      float64              `json:"ratio"`
	Inferences int                  `json:"inferences"` // timed, of both
	Checks     []hardware.SelfCheck `json:"checks"`
	Passed     bool                 `json:"passed"` // all checks
}

// The limits, in percent. 1 % is protocol M9; the others lie far from what an
// honest engine shows on a busy machine, and farther from what a dishonest one does.
const (
	maxOutsideSamples = 1  // of a block's time
	maxLengthError    = 10 // honest engines show 1; time that does not follow the work at all, 50
	maxForeignCPU     = 5  // of the samples' sum
	maxLeftBehind     = 5  // of the time after a block
	maxHiddenInOutput = 10 // of an inference
)

const (
	truthLinks = 8                     // convolutions of the short chain
	truthTries = 9                     // of a short block and a long one
	truthBlock = 40 * time.Millisecond // aimed at
	truthAfter = 50 * time.Millisecond // watched after a block
)

// TestTruth asks an engine, through its own path of sessions and calls, whether
// time goes where the loop reads it: the samples fill the time that passed around
// the block, twice the work takes twice the time, and no work is left to other
// threads, to the time after a call, or to the reading of the output. It takes one
// to three seconds. Sessions have one thread, because the idle threads of a pool
// spin for a while, which looks like work.
//
// It fails where the engine cannot be run or the context ends; what it finds wrong
// is in the checks.
func TestTruth(ctx context.Context, engine engines.Engine, device hardware.Device, stream hardware.Stream) (EngineTruth, error) {
	t := EngineTruth{Engine: engine.Info().Name, Version: engine.Info().Version}
	fail := func(err error) (EngineTruth, error) {
		return EngineTruth{}, fmt.Errorf("test the truth of %s: %w", t.Engine, err)
	}
	// As in a round: the collector stays out, and the thread is the goroutine's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	link := hostLink
	if device.Info().Kind != hardware.Host {
		link = gpuLink
	}
	short, err := newTruthPath(ctx, engine, stream, truthChain(truthLinks, link))
	if err != nil {
		return fail(err)
	}
	defer short.session.Close()
	long, err := newTruthPath(ctx, engine, stream, truthChain(2*truthLinks, link))
	if err != nil {
		return fail(err)
	}
	defer long.session.Close()
	runtime.GC()

	var found [truthTries]truthFinding
	for i := range found {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		if _, err := short.block(ctx); err != nil {
			return fail(err)
		}
		if found[i], err = long.measure(ctx); err != nil {
			return fail(err)
		}
	}
	sorted := func(value func(truthFinding) float64) []float64 {
		var values []float64
		for _, f := range found {
			values = append(values, value(f))
		}
		slices.Sort(values)
		return values
	}
	smallest := func(value func(truthFinding) float64) float64 { return sorted(value)[0] }
	middle := func(value func(truthFinding) float64) float64 { return sorted(value)[truthTries/2] }
	t.ShortNS, t.LongNS, t.Inferences = short.fastest, long.fastest, short.timed+long.timed
	t.Ratio = float64(t.LongNS) / float64(t.ShortNS)

	check := func(name string, value, limit float64) {
		// A value that is not a number passes no check.
		t.Checks = append(t.Checks, hardware.SelfCheck{Name: name, Value: value, Limit: limit, Unit: "%", Passed: value <= limit})
	}
	check("time of a block outside of its samples", smallest(func(f truthFinding) float64 { return f.outside }), maxOutsideSamples)
	check("twice the work, off twice the time by", 100*math.Abs(t.Ratio/2-1), maxLengthError)
	if device.Info().Kind == hardware.Host {
		// On a GPU the driver's threads rightly run beside a call.
		check("CPU time of a block beyond its samples", middle(func(f truthFinding) float64 { return f.foreign }), maxForeignCPU)
	}
	check("CPU time after a block", middle(func(f truthFinding) float64 { return f.left }), maxLeftBehind)
	check("inference hidden in reading the output", smallest(func(f truthFinding) float64 { return f.hidden }), maxHiddenInOutput)
	t.Passed = !slices.ContainsFunc(t.Checks, func(c hardware.SelfCheck) bool { return !c.Passed })
	return t, nil
}

// A truthPath is an engine's way from a chain of convolutions to samples.
type truthPath struct {
	session engines.Session
	stream  hardware.Stream
	samples []hardware.Sample
	fastest int64
	timed   int
}

func newTruthPath(ctx context.Context, engine engines.Engine, stream hardware.Stream, network *models.Network) (*truthPath, error) {
	o := engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1}
	session, err := engine.Build(ctx, network, stream, o)
	if err != nil {
		return nil, err
	}
	p := &truthPath{session: session, stream: stream, samples: make([]hardware.Sample, 2), fastest: math.MaxInt64}
	err = session.SetInput(models.SyntheticInput(network.InputShape(o.Batch)))
	if err == nil {
		_, err = p.block(ctx) // the first inference pays for what later ones find ready
	}
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	n := truthBlock.Nanoseconds() / max(p.samples[1].Host, 1)
	p.samples = make([]hardware.Sample, min(max(n, 5), 200))
	return p, nil
}

// A truthLink is the size of a convolution: channels in and out, and height and width.
type truthLink struct{ channels, extent int }

// On a host a link is small enough for the slowest engine. On a GPU it has 460 million
// MACs, some ten microseconds even on a large one: what lies between an event and the
// work beside it is some microseconds of a block's sample, and must be less than the
// limits tell apart.
var (
	hostLink = truthLink{32, 28}
	gpuLink  = truthLink{64, 112}
)

// truthChain is a network whose work is known to be the same in every link, which keeps
// the scale of its input.
func truthChain(links int, size truthLink) *models.Network {
	channels, extent := size.channels, size.extent
	n := &models.Network{Name: fmt.Sprintf("chain-%d", links), Channels: channels, Resolution: extent, Weights: models.Synthetic()}
	input := models.Image
	for i := range links {
		name := fmt.Sprintf("link%d", i+1)
		n.Nodes = append(n.Nodes, models.Node{Name: name, Weights: name, Inputs: []int{input}, Op: models.Conv{
			In: channels, Out: channels, KernelH: 3, KernelW: 3, PadH: 1, PadW: 1, Stride: 1, Dilation: 1, Groups: 1,
		}})
		input = i
	}
	return n
}

// A truthFinding is what one try found, in percent.
type truthFinding struct{ outside, foreign, left, hidden float64 }

// A truthTime is a block by the loop's clock and by others.
type truthTime struct {
	samples time.Duration // their sum
	fastest int64         // of them, in ns
	wall    time.Duration
	cpu     time.Duration // of the process
}

// measure times two blocks: after the first the output is read at once, after the
// second the process must come to rest.
func (p *truthPath) measure(ctx context.Context) (truthFinding, error) {
	fail := func(err error) (truthFinding, error) { return truthFinding{}, err }
	took, err := p.block(ctx)
	if err != nil {
		return fail(err)
	}
	first, err := p.read()
	if err != nil {
		return fail(err)
	}
	second, err := p.read()
	if err != nil {
		return fail(err)
	}

	if _, err := p.block(ctx); err != nil {
		return fail(err)
	}
	before, err := processCPU()
	if err != nil {
		return fail(err)
	}
	time.Sleep(truthAfter)
	after, err := processCPU()
	if err != nil {
		return fail(err)
	}
	// An engine that still works on this block must not spoil the next.
	if _, err = p.session.Output(); err != nil {
		return fail(err)
	}
	return truthFinding{
		outside: percent(took.wall-took.samples, took.wall),
		foreign: percent(took.cpu-took.samples, took.samples),
		hidden:  percent(first-second, time.Duration(took.fastest)),
		left:    percent(after-before, truthAfter),
	}, nil
}

// block times len(p.samples) inferences with the loop and, from outside of it,
// with Go's clock and the kernel's account of CPU time.
func (p *truthPath) block(ctx context.Context) (truthTime, error) {
	cpu, err := processCPU()
	if err != nil {
		return truthTime{}, err
	}
	start := time.Now()
	err = p.stream.Time(p.session.Call(), p.samples)
	if err == nil {
		err = p.stream.Synchronize(ctx)
	}
	took := truthTime{wall: time.Since(start)}
	if err != nil {
		var failed *native.CallError
		if errors.As(err, &failed) {
			err = p.session.Explain(failed)
		}
		return truthTime{}, err
	}
	spent, err := processCPU()
	if err != nil {
		return truthTime{}, err
	}
	took.cpu = spent - cpu
	took.fastest = math.MaxInt64
	for _, s := range p.samples {
		took.samples += time.Duration(s.Host)
		took.fastest = min(took.fastest, s.Device)
	}
	p.fastest = min(p.fastest, took.fastest)
	p.timed += len(p.samples)
	return took, nil
}

func (p *truthPath) read() (time.Duration, error) {
	start := time.Now()
	_, err := p.session.Output()
	return time.Since(start), err
}

// processCPU is the CPU time that all threads of this process have had, as the
// kernel's scheduler counts it.
func processCPU() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("read the process's CPU time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// percent of a whole, not below zero.
func percent(part, whole time.Duration) float64 {
	return max(0, 100*float64(part)/float64(whole))
}
