// Package faulty holds engines that go wrong in one known way each, for tests of
// what drives engines. Their inference is a spin of known length, so what a
// measurement must give is known; their outputs come from the reference and pass
// every check unless being wrong is their fault. All of them say the version
// "fake".
package faulty

// #cgo CFLAGS: -O2 -Wall -Wextra -Werror
// #include <stdlib.h>
// #include "faults.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"genbench/engines"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// PerImage is how long an inference of a fake takes for each image of the batch.
const PerImage = 500 * time.Microsecond

// FailCode is what a call of fake-fail returns.
const FailCode = C.gb_fault_code

// ExitStatus is the one with which fake-exit ends its process.
const ExitStatus = C.gb_fault_status

// BuildNode is the node that fake-build cannot build.
const BuildNode = "stage2.a.conv"

// Drivers lists the fakes. None is a reference: give engines/reference along where
// outputs are to be checked.
func Drivers() []engines.Driver {
	drivers := []engines.Driver{
		fault{name: "fake-spin", doc: "works: 0.5 ms an image", call: C.gb_fault_spin}.driver(),
		fault{name: "fake-slow", doc: "works: 3 % slower than fake-spin at a batch of 1, as fast at others", call: C.gb_fault_spin, slower: 0.03}.driver(),
		fault{name: "fake-noise", doc: "works, and prints to stdout and stderr when built and first run", call: C.gb_fault_noise, noisy: true}.driver(),
		fault{name: "fake-crash", doc: "a segmentation fault in the first inference", call: C.gb_fault_crash}.driver(),
		fault{name: "fake-hang", doc: "the first inference never ends", call: C.gb_fault_hang}.driver(),
		fault{name: "fake-fail", doc: "every inference returns an error code", call: C.gb_fault_fail}.driver(),
		fault{name: "fake-exit", doc: "its library ends the process in the first inference", call: C.gb_fault_exit}.driver(),
		fault{name: "fake-oom", doc: "the first inference runs out of memory", call: C.gb_fault_oom}.driver(),
		fault{name: "fake-build", doc: "no network can be built", call: C.gb_fault_spin, unbuildable: true}.driver(),
		fault{name: "fake-defer", doc: "its call returns at once and leaves the work to a thread", call: C.gb_fault_defer, defers: true}.driver(),
		fault{name: "fake-wrong", doc: "works and gives other logits", call: C.gb_fault_spin, spoil: negate}.driver(),
	}
	return append(drivers, engines.Driver{
		Name:   "fake-missing",
		Doc:    "its library is not installed",
		Device: hardware.Host,
		Open: func(context.Context, hardware.Device) (engines.Engine, error) {
			return nil, &engines.UnavailableError{
				Engine:  "fake-missing",
				Missing: "libfake.so.1",
				Looked:  []string{"the loader: libfake.so.1: no such file"},
				Hint:    "nothing mends a fake",
			}
		},
	})
}

// negate moves the largest logit to the other end.
func negate(logits []float32) {
	for i := range logits {
		logits[i] = -logits[i]
	}
}

// A fault is one fake engine.
type fault struct {
	name, doc string
	call      unsafe.Pointer // a function of faults.h
	noisy     bool
	// unbuildable fails in Build, after the network was found to be sound.
	unbuildable bool
	// defers has a thread for the work; an output waits for it.
	defers bool
	slower float64 // at a batch of 1, relative to PerImage
	spoil  func(logits []float32)
}

func (f fault) driver() engines.Driver {
	return engines.Driver{Name: f.name, Doc: f.doc, Device: hardware.Host, Open: f.open}
}

func (f fault) open(ctx context.Context, device hardware.Device) (engines.Engine, error) {
	inner, err := reference.Driver().Open(ctx, device)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.name, err)
	}
	return &engine{Engine: inner, fault: f}, nil
}

type engine struct {
	engines.Engine // the reference
	fault          fault
}

func (e *engine) Info() engines.Info {
	return engines.Info{Name: e.fault.name, Version: "fake"}
}

func (e *engine) Build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	inner, err := e.Engine.Build(ctx, n, stream, o)
	if err != nil {
		return nil, fmt.Errorf("build %s on %s: %w", n.Name, e.fault.name, err)
	}
	if e.fault.unbuildable {
		return nil, errors.Join(fmt.Errorf("build %s on %s: node %s: it fails on purpose", n.Name, e.fault.name, BuildNode), inner.Close())
	}
	s := &session{Session: inner, fault: e.fault, stream: stream}
	s.c = (*C.gb_fault)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_fault{}))))
	spin := float64(o.Batch) * float64(PerImage.Nanoseconds())
	if o.Batch == 1 {
		spin *= 1 + e.fault.slower
	}
	s.c.spin_ns = C.int64_t(spin)
	if e.fault.defers {
		if failed := C.gb_fault_hire(s.c); failed != 0 {
			return nil, errors.Join(fmt.Errorf("build %s on %s: start a thread: %w", n.Name, e.fault.name, syscall.Errno(failed)), s.Close())
		}
	}
	if e.fault.noisy {
		when := C.CString("the build")
		C.gb_fault_chatter(when)
		C.free(unsafe.Pointer(when))
	}
	return s, nil
}

type session struct {
	engines.Session // the reference's
	fault           fault
	stream          hardware.Stream
	output          models.Tensor
	c               *C.gb_fault // nil once closed
}

// SetInput computes the output at once, so that a timed inference need not.
func (s *session) SetInput(t models.Tensor) error {
	if err := s.Session.SetInput(t); err != nil {
		return err
	}
	if err := s.stream.Time(s.Session.Call(), make([]hardware.Sample, 1)); err != nil {
		return fmt.Errorf("compute the output of %s: %w", s.fault.name, err)
	}
	var err error
	if s.output, err = s.Session.Output(); err != nil {
		return err
	}
	if s.fault.spoil != nil {
		s.fault.spoil(s.output.Data)
	}
	return nil
}

func (s *session) Call() native.Call {
	return native.Call{Func: s.fault.call, Arg: unsafe.Pointer(s.c)}
}

func (s *session) Output() (models.Tensor, error) {
	if s.c == nil {
		return models.Tensor{}, errors.New("read output: the session is closed")
	}
	if s.fault.defers {
		C.gb_fault_settle(s.c)
	}
	return models.Tensor{Shape: slices.Clone(s.output.Shape), Data: slices.Clone(s.output.Data)}, nil
}

func (s *session) Explain(e *native.CallError) error {
	return fmt.Errorf("run on %s: it fails on purpose: %w", s.fault.name, e)
}

func (s *session) Close() error {
	if s.c == nil {
		return nil
	}
	C.gb_fault_dismiss(s.c)
	C.free(unsafe.Pointer(s.c))
	s.c = nil
	return s.Session.Close()
}
