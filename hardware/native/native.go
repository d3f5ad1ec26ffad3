// Package native holds the C that touches hardware: the timed loop, the
// monotonic clock, and the opening of vendor libraries at run time.
//
// The loop is C because a clock read in Go around a C call longer than about
// 0.1 ms is late by some 8 µs at the median and 13 to 48 µs at p99, with or
// without a locked thread: the scheduler takes the processor away from the
// blocked thread and must win one back on return. The same loop in C adds well
// under 0.1 µs. `genbench selftest` measures both on the machine at hand.
package native

// #cgo CFLAGS: -O2 -Wall -Wextra -Werror
// #cgo LDFLAGS: -ldl
// #include <stdlib.h>
// #include "native.h"
//
// static gb_func spin_func(void) { return gb_spin; }
// static gb_func cycle_func(void) { return gb_run_cycle; }
// static gb_func chain_func(void) { return gb_run_chain; }
// static gb_func work_func(void) { return gb_work; }
// static gb_func nothing_func(void) { return gb_nothing; }
import "C"

import (
	"fmt"
	"time"
	"unsafe"
)

// A Call is the C function that submits one inference: int (*Func)(void *Arg),
// where non-zero is an error code of the engine. Both pointers must point to C
// memory or code and stay valid as long as the Call is used.
type Call struct{ Func, Arg unsafe.Pointer }

// A CallError says which inference of a timed block failed, and with which code.
// The engine that made the Call knows the code's meaning.
type CallError struct {
	Index int // of the failed inference within the block
	Code  int // what the C function returned
}

func (e *CallError) Error() string {
	return fmt.Sprintf("inference %d of the block failed with code %d", e.Index, e.Code)
}

// Now reads CLOCK_MONOTONIC in nanoseconds. Every process of a machine reads the
// same clock, so a worker's times can be compared with its parent's readings.
func Now() int64 { return int64(C.gb_now()) }

// A Sample is one inference, in nanoseconds: Device between the stream's events,
// Enqueue inside the submitting call, Host from start to synchronised. Its layout
// is that of gb_sample.
type Sample struct{ Device, Enqueue, Host int64 }

// TimeHost runs c once per element of out in one C loop. On the host a call has
// finished when it returns, so the three times of a sample are equal. It allocates
// nothing. The first failing inference ends the block with a *CallError.
func TimeHost(c Call, out []Sample) error {
	if len(out) == 0 {
		return nil
	}
	end := C.gb_time_host(C.gb_func(c.Func), c.Arg, (*C.gb_sample)(unsafe.Pointer(&out[0])), C.int64_t(len(out)))
	if end.code != 0 {
		return &CallError{Index: int(end.done), Code: int(end.code)}
	}
	return nil
}

// Sleep idles the calling thread. Go's own timers are too coarse for a pause of a
// millisecond: they wake up to one late.
func Sleep(d time.Duration) { C.gb_sleep(C.int64_t(d)) }

// A ClockProbe says how well CLOCK_MONOTONIC resolves time on this machine.
type ClockProbe struct {
	StepNS float64 // smallest difference seen between two readings that differ
	ReadNS float64 // mean cost of one reading, in the fastest of several runs
}

// ProbeClock reads the clock some ten thousand times in C, which takes about a
// millisecond where the clock is the processor's own counter.
func ProbeClock() ClockProbe {
	p := C.gb_probe_clock()
	return ClockProbe{StepNS: float64(p.step_ns), ReadNS: float64(p.read_ns)}
}

// Nothing is a Call that returns at once: timing it shows the cost of the loop.
func Nothing() Call { return Call{Func: unsafe.Pointer(C.nothing_func())} }

// A Spin is a call of known length, for truth tests.
type Spin struct{ ns *C.int64_t }

// NewSpin makes a call that burns ns nanoseconds of CPU. Free it when done.
func NewSpin(ns int64) *Spin { return &Spin{newInt64(ns)} }

// Call gives the call to hand to a timed loop.
func (s *Spin) Call() Call {
	return Call{Func: unsafe.Pointer(C.spin_func()), Arg: unsafe.Pointer(s.ns)}
}

// Free releases the C memory; the Call must not be used afterwards.
func (s *Spin) Free() { C.free(unsafe.Pointer(s.ns)) }

// A Work is a call of fixed work: unlike a Spin it takes longer when the processor
// is slower.
type Work struct{ steps *C.int64_t }

// NewWork makes a call of that many steps, of some nanoseconds each. Free it when done.
func NewWork(steps int64) *Work { return &Work{newInt64(steps)} }

// Call gives the call to hand to a timed loop.
func (w *Work) Call() Call {
	return Call{Func: unsafe.Pointer(C.work_func()), Arg: unsafe.Pointer(w.steps)}
}

// Free releases the C memory; the Call must not be used afterwards.
func (w *Work) Free() { C.free(unsafe.Pointer(w.steps)) }

// A Cycle is a series of calls as one call: each time, it makes the next of them.
type Cycle struct {
	calls *C.gb_call
	c     *C.gb_cycle
}

// NewCycle begins with the first of one or more calls. Free it when done.
func NewCycle(calls []Call) *Cycle {
	n := C.size_t(len(calls))
	c := &Cycle{
		calls: (*C.gb_call)(C.calloc(n, C.size_t(unsafe.Sizeof(C.gb_call{})))),
		c:     (*C.gb_cycle)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_cycle{})))),
	}
	for i, call := range calls {
		unsafe.Slice(c.calls, n)[i] = C.gb_call{C.gb_func(call.Func), call.Arg}
	}
	c.c.calls, c.c.count, c.c.last = c.calls, C.int64_t(n), C.int64_t(n)-1
	return c
}

// Call gives the call to hand to a timed loop.
func (c *Cycle) Call() Call {
	return Call{Func: unsafe.Pointer(C.cycle_func()), Arg: unsafe.Pointer(c.c)}
}

// Last is the index of the call that was made last; where one fails, of that one.
func (c *Cycle) Last() int { return int(c.c.last) }

// Free releases the C memory; the Call must not be used afterwards.
func (c *Cycle) Free() {
	C.free(unsafe.Pointer(c.calls))
	C.free(unsafe.Pointer(c.c))
}

// A Chain is a series of calls as one call: each time, it makes all of them in order,
// up to the first that fails.
type Chain struct {
	calls *C.gb_call
	c     *C.gb_chain
}

// NewChain makes a chain of one or more calls. Free it when done.
func NewChain(calls ...Call) *Chain {
	n := C.size_t(len(calls))
	c := &Chain{
		calls: (*C.gb_call)(C.calloc(n, C.size_t(unsafe.Sizeof(C.gb_call{})))),
		c:     (*C.gb_chain)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_chain{})))),
	}
	for i, call := range calls {
		unsafe.Slice(c.calls, n)[i] = C.gb_call{C.gb_func(call.Func), call.Arg}
	}
	c.c.calls, c.c.count = c.calls, C.int64_t(n)
	return c
}

// Call gives the call to hand to a timed loop.
func (c *Chain) Call() Call {
	return Call{Func: unsafe.Pointer(C.chain_func()), Arg: unsafe.Pointer(c.c)}
}

// Free releases the C memory; the Call must not be used afterwards.
func (c *Chain) Free() {
	C.free(unsafe.Pointer(c.calls))
	C.free(unsafe.Pointer(c.c))
}

func newInt64(v int64) *C.int64_t {
	p := (*C.int64_t)(C.malloc(C.size_t(unsafe.Sizeof(C.int64_t(0)))))
	*p = C.int64_t(v)
	return p
}
