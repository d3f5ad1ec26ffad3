//go:build gorgonia

// Genbench-witness times the same work twice, with genbench's own stream and with
// the events of gorgonia.org/cu, a binding of the CUDA driver that genbench did not
// write, and tells how far the two differ. It is a program of its own because
// gorgonia.org/cu ends a process that has no GPU, links libcuda, and compiles
// against the headers of CUDA 11.8 to 12.x only:
//
//	CGO_CFLAGS=-I/usr/local/cuda/include go build -tags gorgonia ./cmd/genbench-witness
package main

// #include <cuda.h>
// #include <stdlib.h>
//
// typedef struct { CUdeviceptr to, from; size_t bytes; CUstream stream; } copy_arguments;
//
// // copy_call is a call of genbench's timed loop.
// static int copy_call(void *argument) {
// 	copy_arguments *a = argument;
// 	return (int)cuMemcpyDtoDAsync(a->to, a->from, a->bytes, a->stream);
// }
//
// static void *copy_function(void) { return copy_call; }
import "C"

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
	"gorgonia.org/cu"

	"genbench/hardware"
	"genbench/hardware/native"
)

const (
	pairs  = 20
	block  = 50
	limit  = 0.01
	copied = 256 << 20 // bytes: some hundred microseconds on the boards of today
)

// A Verdict is how two clocks read the same work.
type Verdict struct {
	Work      string  `json:"work"`
	GenbenchN int64   `json:"genbench_ns"` // medians
	GorgoniaN int64   `json:"gorgonia_ns"`
	Ratio     float64 `json:"ratio"` // genbench / gorgonia, geometric mean over pairs of blocks
	Low       float64 `json:"ci_low"`
	High      float64 `json:"ci_high"`
	Agrees    bool    `json:"agrees"` // the 95 % interval lies within 1 %
}

func main() {
	device := flag.Int("device", 0, "index of the GPU")
	flag.Parse()
	// Contexts are current on a thread.
	runtime.LockOSThread()
	verdicts, err := witness(*device)
	if err != nil {
		fmt.Fprintf(os.Stderr, "genbench-witness: %v\n", err)
		os.Exit(1)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(verdicts); err != nil {
		fmt.Fprintf(os.Stderr, "genbench-witness: %v\n", err)
		os.Exit(1)
	}
	if slices.ContainsFunc(verdicts, func(v Verdict) bool { return !v.Agrees }) {
		os.Exit(4)
	}
}

// A side is the same work as one of the two sees it.
type side func(samples []int64) error

func witness(index int) (verdicts []Verdict, err error) {
	opened, err := hardware.Open(fmt.Sprint(index))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	device := opened.(*hardware.CUDADevice)
	made, err := device.NewStream()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	stream := made.(*hardware.CUDAStream)

	theirs, err := newTheirs(index)
	if err != nil {
		return nil, err
	}
	for _, length := range []time.Duration{200 * time.Microsecond, 5 * time.Millisecond} {
		delay, err := stream.NewDelay(length)
		if err != nil {
			return nil, err
		}
		v, err := compare(fmt.Sprintf("a kernel of %v", length), ours(stream, delay.Call()), theirs.delay(length))
		delay.Free()
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, v)
	}
	from, err := device.Alloc(copied)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, device.Free(from)) }()
	to, err := device.Alloc(copied)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, device.Free(to)) }()
	arguments := (*C.copy_arguments)(C.calloc(1, C.sizeof_copy_arguments))
	defer C.free(unsafe.Pointer(arguments))
	*arguments = C.copy_arguments{
		to: C.CUdeviceptr(to), from: C.CUdeviceptr(from), bytes: copied,
		stream: C.CUstream(unsafe.Pointer(stream.Handle())),
	}
	call := native.Call{Func: C.copy_function(), Arg: unsafe.Pointer(arguments)}
	v, err := compare(fmt.Sprintf("a copy of %d MiB on the device", copied>>20), ours(stream, call), theirs.copy(cu.DevicePtr(to), cu.DevicePtr(from)))
	if err != nil {
		return nil, err
	}
	return append(verdicts, v), nil
}

// compare takes blocks of both in turn, the first changing from pair to pair.
func compare(work string, ours, theirs side) (Verdict, error) {
	mine, other := make([]int64, block), make([]int64, block)
	var ratios []float64
	var allMine, allOther []int64
	for pair := range pairs {
		order := []func() error{func() error { return ours(mine) }, func() error { return theirs(other) }}
		if pair%2 == 1 {
			slices.Reverse(order)
		}
		for _, take := range order {
			if err := take(); err != nil {
				return Verdict{}, fmt.Errorf("%s: %w", work, err)
			}
		}
		if pair == 0 {
			continue // warm-up
		}
		ratios = append(ratios, math.Log(float64(median(mine))/float64(median(other))))
		allMine, allOther = append(allMine, mine...), append(allOther, other...)
	}
	mean, sd := stat.MeanStdDev(ratios, nil)
	n := float64(len(ratios))
	half := distuv.StudentsT{Sigma: 1, Nu: n - 1}.Quantile(0.975) * sd / math.Sqrt(n)
	v := Verdict{
		Work: work, GenbenchN: median(allMine), GorgoniaN: median(allOther),
		Ratio: math.Exp(mean), Low: math.Exp(mean - half), High: math.Exp(mean + half),
	}
	v.Agrees = v.Low >= 1-limit && v.High <= 1+limit
	return v, nil
}

func median(samples []int64) int64 {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[len(sorted)/2]
}

func ours(stream *hardware.CUDAStream, call native.Call) side {
	samples := make([]hardware.Sample, block)
	return func(out []int64) error {
		if err := stream.Time(call, samples); err != nil {
			return err
		}
		for i, s := range samples {
			out[i] = s.Device
		}
		return nil
	}
}

// A gorgonia is the other side: the same context, another stream, other events.
type gorgonia struct {
	context  cu.CUContext
	stream   cu.Stream
	from, to cu.Event
	kernel   cu.Function
}

func newTheirs(index int) (*gorgonia, error) {
	device, err := cu.GetDevice(index)
	if err != nil {
		return nil, err
	}
	// The primary context, so that both sides see the same memory.
	context, err := device.RetainPrimaryCtx()
	if err != nil {
		return nil, err
	}
	g := &gorgonia{context: context}
	if err := cu.SetCurrentContext(context); err != nil {
		return nil, err
	}
	if g.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return nil, err
	}
	if g.from, err = cu.MakeEvent(cu.DefaultEvent); err != nil {
		return nil, err
	}
	if g.to, err = cu.MakeEvent(cu.DefaultEvent); err != nil {
		return nil, err
	}
	module, err := cu.LoadData(native.ClockPTX)
	if err != nil {
		return nil, err
	}
	g.kernel, err = module.Function("gb_delay")
	return g, err
}

func (g *gorgonia) delay(length time.Duration) side {
	ns := uint64(length.Nanoseconds())
	return g.time(func() error {
		return g.kernel.Launch(1, 1, 1, 1, 1, 1, 0, g.stream, []unsafe.Pointer{unsafe.Pointer(&ns)})
	})
}

func (g *gorgonia) copy(to, from cu.DevicePtr) side {
	return g.time(func() error { return cu.MemcpyDtoDAsync(to, from, copied, g.stream) })
}

// time puts events around every submission, as genbench's loop does.
func (g *gorgonia) time(submit func() error) side {
	return func(out []int64) error {
		if err := cu.SetCurrentContext(g.context); err != nil {
			return err
		}
		for i := range out {
			if err := g.from.Record(g.stream); err != nil {
				return err
			}
			if err := submit(); err != nil {
				return err
			}
			if err := g.to.Record(g.stream); err != nil {
				return err
			}
			if err := g.to.Synchronize(); err != nil {
				return err
			}
			milliseconds, err := g.from.Elapsed(g.to)
			if err != nil {
				return err
			}
			out[i] = int64(milliseconds * 1e6)
		}
		return nil
	}
}
