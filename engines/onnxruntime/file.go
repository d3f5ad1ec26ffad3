package onnxruntime

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

var _ engines.FileEngine = (*engine)(nil)

// BuildFile implements engines.FileEngine. The library opens the file itself, with
// whatever lies beside it. Types and shapes of outputs come from an inference during
// the build, as a file need not state them.
func (e *engine) BuildFile(ctx context.Context, f *models.File, inputs []models.Value, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	fail := func(err error) (engines.Session, error) {
		return nil, fmt.Errorf("build %s on %s: %w", f.Path, e.info.Name, err)
	}
	switch {
	case e.env == nil:
		return fail(errors.New("the engine is closed"))
	case o.Threads < 1:
		return fail(fmt.Errorf("%d threads, want at least 1", o.Threads))
	case len(inputs) != len(f.Inputs):
		return fail(fmt.Errorf("%d inputs are given, the file has %d", len(inputs), len(f.Inputs)))
	case len(f.Outputs) == 0:
		return fail(errors.New("the file has no output"))
	}
	want := order{path: f.Path, contents: inputs, options: o, stream: stream, unfused: f.Precision() == models.FP8,
		exact: f.Precision() == models.INT8 && f.Producer == models.Producer}
	for _, v := range inputs {
		p := port{name: v.Name, shape: v.Shape, element: v.Elem}
		if len(v.Data) != p.bytes() || p.element.Size() == 0 {
			return fail(fmt.Errorf("input %s: %d bytes for shape %v of %s", v.Name, len(v.Data), v.Shape, v.Elem))
		}
		want.inputs = append(want.inputs, p)
	}
	for _, v := range f.Outputs {
		want.outputs = append(want.outputs, port{name: v.Name})
	}
	s, err := e.compile(ctx, want)
	if err != nil {
		return fail(err)
	}
	return s, nil
}

// learn runs an inference and adopts what the outputs turn out to be.
func (s *session) learn() error {
	contents := make([]unsafe.Pointer, len(s.order.contents))
	for i, v := range s.order.contents {
		contents[i] = C.CBytes(v.Data)
		defer C.free(contents[i])
	}
	// The array itself is C's as well, since it holds pointers.
	list := (*unsafe.Pointer)(C.calloc(C.size_t(max(len(contents), 1)), C.size_t(unsafe.Sizeof(uintptr(0)))))
	defer C.free(unsafe.Pointer(list))
	copy(unsafe.Slice(list, len(contents)), contents)
	// The shapes that were guessed for outputs give way to those that are found.
	forgetShapes(&s.c.outputs)
	if err := takeMessage(C.gb_ort_learn(s.c, list)); err != nil {
		return err
	}
	for i, t := range unsafe.Slice(s.c.outputs.tensors, s.c.outputs.count) {
		out := &s.order.outputs[i]
		if out.element = models.ElemType(t.element); out.element.Size() == 0 {
			return fmt.Errorf("output %s is not a tensor of numbers", out.name)
		}
		out.shape = make(models.Shape, t.rank)
		for k, d := range unsafe.Slice(t.shape, t.rank) {
			out.shape[k] = int(d)
		}
	}
	return nil
}
