package onnxruntime

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"genbench/engines"
	"genbench/hardware/native"
	"genbench/models"
)

// A session's memory is C's: the timed loop must not hold Go pointers.
type session struct {
	c             *C.gb_ort_session // nil once closed
	input, output tensor
	nodes         int
}

// A tensor is a view of a gb_ort_tensor.
type tensor struct {
	shape models.Shape
	data  []float32 // in C memory
}

func (e *engine) build(ctx context.Context, n *models.Network, o engines.BuildOptions) (*session, error) {
	if e.env == nil {
		return nil, errors.New("the engine is closed")
	}
	if err := e.Supports(o); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	model, err := models.ONNX(n, models.ExportOptions{Batch: o.Batch, Precision: o.Precision})
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := e.compile(n, model, o)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (e *engine) compile(n *models.Network, model []byte, o engines.BuildOptions) (*session, error) {
	folded, err := models.Fold(n)
	if err != nil {
		return nil, err
	}
	shapes, err := folded.Shapes(o.Batch)
	if err != nil {
		return nil, err
	}
	s := &session{
		c:      (*C.gb_ort_session)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_ort_session{})))),
		input:  tensor{shape: folded.InputShape(o.Batch)},
		output: tensor{shape: shapes[len(shapes)-1]},
		nodes:  len(folded.Nodes),
	}
	s.c.api = e.api
	describe(&s.c.input, models.InputName, s.input.shape)
	describe(&s.c.output, models.OutputName, s.output.shape)
	err = takeMessage(C.gb_ort_build(s.c, e.env, unsafe.Pointer(&model[0]), C.size_t(len(model)), C.int(o.Threads)))
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.input.data = view(&s.c.input)
	s.output.data = view(&s.c.output)
	return s, nil
}

// describe fills in what the shim must know of a tensor; undescribe frees it.
func describe(t *C.gb_ort_tensor, name string, shape models.Shape) {
	const extent = unsafe.Sizeof(C.int64_t(0))
	t.name = C.CString(name)
	t.shape = (*C.int64_t)(C.malloc(C.size_t(extent) * C.size_t(len(shape))))
	t.rank = C.size_t(len(shape))
	t.bytes = C.size_t(4 * shape.Elements())
	for i, d := range shape {
		unsafe.Slice(t.shape, len(shape))[i] = C.int64_t(d)
	}
}

func undescribe(t *C.gb_ort_tensor) {
	C.free(unsafe.Pointer(t.name))
	C.free(unsafe.Pointer(t.shape))
}

func view(t *C.gb_ort_tensor) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(t.data)), int(t.bytes)/4)
}

func (s *session) SetInput(t models.Tensor) error {
	if s.c == nil {
		return errors.New("set input: the session is closed")
	}
	if !t.Shape.Equal(s.input.shape) || len(t.Data) != len(s.input.data) {
		return fmt.Errorf("set input: got shape %v with %d elements, the session takes %v", t.Shape, len(t.Data), s.input.shape)
	}
	copy(s.input.data, t.Data)
	return nil
}

func (s *session) Call() native.Call {
	if s.c == nil {
		return native.Call{}
	}
	return native.Call{Func: unsafe.Pointer(C.gb_ort_run), Arg: unsafe.Pointer(s.c)}
}

func (s *session) Output() (models.Tensor, error) {
	if s.c == nil {
		return models.Tensor{}, errors.New("read output: the session is closed")
	}
	return models.Tensor{Shape: slices.Clone(s.output.shape), Data: slices.Clone(s.output.data)}, nil
}

func (s *session) Explain(e *native.CallError) error {
	if s.c != nil {
		if message := C.gb_ort_failure(s.c); message != nil {
			return fmt.Errorf("run on onnxruntime: %w: %s", e, C.GoString(message))
		}
	}
	return fmt.Errorf("run on onnxruntime: %w", e)
}

// Executed follows from the model, in which everything is fp32: the library counts
// only while it profiles. What it holds in memory it does not tell.
func (s *session) Executed() engines.Execution {
	return engines.Execution{Precisions: map[string]int{string(models.FP32): s.nodes}}
}

func (s *session) Close() error {
	if s.c == nil {
		return nil
	}
	undescribe(&s.c.input)
	undescribe(&s.c.output)
	C.gb_ort_free(s.c)
	C.free(unsafe.Pointer(s.c))
	*s = session{}
	return nil
}
