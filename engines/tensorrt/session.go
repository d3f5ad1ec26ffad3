package tensorrt

// #include <stdlib.h>
// #include "bridge.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A session is a plan on a stream, with its input and output in device memory.
type session struct {
	e             *engine
	c             *C.gb_trt_engine // nil once closed
	stream        *hardware.CUDAStream
	input, output tensor
	plan          engines.Plan
	rotation      rotation
}

type tensor struct {
	shape models.Shape
	kind  elementType
	data  uint64 // on the device; 0 for none
}

// An elementType is what a tensor holds on the device.
type elementType int

const (
	float32s  elementType = C.gb_trt_float32
	float16s  elementType = C.gb_trt_float16
	bfloat16s elementType = C.gb_trt_bfloat16
)

func (k elementType) size() int {
	if k == float32s {
		return 4
	}
	return 2
}

func (e *engine) build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	if e.table == nil {
		return nil, errors.New("the engine is closed")
	}
	if err := e.Supports(o); err != nil {
		return nil, err
	}
	gpu, ok := stream.(*hardware.CUDAStream)
	if !ok {
		return nil, errors.New("the stream is not one of a GPU")
	}
	model, err := models.ONNX(n, models.ExportOptions{Batch: o.Batch, Precision: o.Precision, Ranges: o.Ranges})
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bytes, plan, err := e.plan(model, o.Precision)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := e.open(bytes, gpu)
	if err != nil {
		return nil, err
	}
	s.plan = plan
	return s, nil
}

// plan gives a model's plan, cached or built. Nothing but the first build of a model
// makes one: a plan that is there is taken as it is.
func (e *engine) plan(model []byte, precision models.Precision) ([]byte, engines.Plan, error) {
	gpu := e.device.Info().Name
	path := e.cache.planPath(planKey(model, string(precision), e.info.SHA256, gpu))
	timingPath := e.cache.timingPath(e.info.SHA256, gpu)
	timing, err := e.cache.read(timingPath)
	if err != nil {
		return nil, engines.Plan{}, fmt.Errorf("read timing cache: %w", err)
	}
	bytes, err := e.cache.read(path)
	if err != nil {
		return nil, engines.Plan{}, fmt.Errorf("read plan: %w", err)
	}
	plan := engines.Plan{Cached: bytes != nil}
	if bytes == nil {
		if bytes, timing, err = e.compile(model, timing, precision); err != nil {
			return nil, engines.Plan{}, err
		}
		if err := e.cache.write(path, bytes); err != nil {
			return nil, engines.Plan{}, fmt.Errorf("keep plan: %w", err)
		}
		if err := e.cache.write(timingPath, timing); err != nil {
			return nil, engines.Plan{}, fmt.Errorf("keep timing cache: %w", err)
		}
	}
	plan.SHA256, plan.TimingSHA256 = sum(bytes), sum(timing)
	return bytes, plan, nil
}

// compile has the library build a plan, starting from what earlier builds timed.
func (e *engine) compile(model, timing []byte, precision models.Precision) (plan, times []byte, err error) {
	number, known := code(precision)
	if !known {
		return nil, nil, fmt.Errorf("precision %q is none of TensorRT's", precision)
	}
	// C memory, because a struct that is passed to C must not hold Go pointers.
	what := C.gb_trt_build{
		model: C.CBytes(model), model_size: C.size_t(len(model)),
		precision: C.int(number), level: -1,
	}
	defer C.free(unsafe.Pointer(what.model))
	if len(timing) > 0 {
		what.timing, what.timing_size = C.CBytes(timing), C.size_t(len(timing))
		defer C.free(unsafe.Pointer(what.timing))
	}
	var built, timed C.gb_trt_blob
	leave := e.enter()
	defer leave()
	if err := takeMessage(C.gb_trt_build_plan(e.table, &what, &built, &timed)); err != nil {
		return nil, nil, err
	}
	return e.take(&built), e.take(&timed), nil
}

// take copies a blob of the shim and gives it back.
func (e *engine) take(b *C.gb_trt_blob) []byte {
	if b.data == nil {
		return nil
	}
	bytes := slices.Clone(unsafe.Slice((*byte)(b.data), int(b.size)))
	C.gb_trt_free_blob(e.table, b)
	return bytes
}

func sum(data []byte) string {
	if data == nil {
		return ""
	}
	return digest(data)
}

// open puts a plan on the device.
func (e *engine) open(plan []byte, stream *hardware.CUDAStream) (*session, error) {
	leave := e.enter()
	defer leave()
	s := &session{e: e, stream: stream}
	if err := takeMessage(C.gb_trt_open(e.table, unsafe.Pointer(&plan[0]), C.size_t(len(plan)), &s.c)); err != nil {
		return nil, err
	}
	for _, end := range []struct {
		tensor *tensor
		name   string
		input  bool
	}{{&s.input, models.InputName, true}, {&s.output, models.OutputName, false}} {
		if err := s.bind(end.tensor, end.name, end.input); err != nil {
			return nil, errors.Join(fmt.Errorf("tensor %s: %w", end.name, err), s.Close())
		}
	}
	C.gb_trt_use(e.table, s.c, C.uint64_t(stream.Handle()))
	return s, nil
}

// bind finds a tensor among the plan's, allocates it on the device and hands its
// address over.
func (s *session) bind(t *tensor, name string, input bool) error {
	for i := range int(C.gb_trt_tensors(s.e.table, s.c)) {
		var d C.gb_trt_tensor
		C.gb_trt_describe(s.e.table, s.c, C.int(i), &d)
		if C.GoString(d.name) != name {
			continue
		}
		if (d.input != 0) != input {
			return errors.New("the plan has it at the other end")
		}
		t.kind = elementType(d._type)
		if t.kind != float32s && t.kind != float16s && t.kind != bfloat16s {
			return errors.New("the plan gives it an element type that is no float")
		}
		if d.rank > C.GB_TRT_MAX_DIMS {
			return fmt.Errorf("the plan gives it %d dimensions", d.rank)
		}
		for _, extent := range d.dims[:d.rank] {
			if extent < 1 {
				return fmt.Errorf("the plan gives it an extent of %d", extent)
			}
			t.shape = append(t.shape, int(extent))
		}
		var err error
		if t.data, err = s.e.device.Alloc(int64(t.shape.Elements() * t.kind.size())); err != nil {
			return err
		}
		return takeMessage(C.gb_trt_bind(s.e.table, s.c, d.name, C.uint64_t(t.data)))
	}
	return errors.New("the plan has none of that name")
}

func (s *session) SetInput(t models.Tensor) error {
	if s.c == nil {
		return errors.New("set input: the session is closed")
	}
	if !t.Shape.Equal(s.input.shape) || len(t.Data) != s.input.shape.Elements() {
		return fmt.Errorf("set input: got shape %v with %d elements, the session takes %v", t.Shape, len(t.Data), s.input.shape)
	}
	if err := s.stream.CopyIn(s.input.data, encode(t.Data, s.input.kind)); err != nil {
		return fmt.Errorf("set input: %w", err)
	}
	return nil
}

func (s *session) Call() native.Call {
	if s.c == nil {
		return native.Call{}
	}
	return native.Call{Func: unsafe.Pointer(s.e.table.run), Arg: unsafe.Pointer(s.c)}
}

func (s *session) Output() (models.Tensor, error) {
	if s.c == nil {
		return models.Tensor{}, errors.New("read output: the session is closed")
	}
	raw := make([]byte, s.output.shape.Elements()*s.output.kind.size())
	if err := s.stream.CopyOut(raw, s.output.data); err != nil {
		return models.Tensor{}, fmt.Errorf("read output: %w", err)
	}
	return models.Tensor{Shape: slices.Clone(s.output.shape), Data: decode(raw, s.output.kind)}, nil
}

func (s *session) Explain(e *native.CallError) error {
	if s.c != nil {
		if words := C.GoString(C.gb_trt_failure(s.e.table, s.c)); words != "" {
			return fmt.Errorf("run on tensorrt: %w: %s", e, words)
		}
	}
	return fmt.Errorf("run on tensorrt: %w", e)
}

// Executed counts the plan's layers by what they write, as TensorRT's inspector
// tells it. A plan that cannot be inspected counts none.
func (s *session) Executed() engines.Execution {
	if s.c == nil {
		return engines.Execution{}
	}
	x := engines.Execution{DeviceBytes: int64(C.gb_trt_memory(s.e.table, s.c)), Plan: &s.plan}
	leave := s.e.enter()
	defer leave()
	var json C.gb_trt_blob
	if err := takeMessage(C.gb_trt_inspect(s.e.table, s.c, &json)); err != nil {
		return x
	}
	x.Precisions, x.Plan.TacticsDigest = readLayers(s.e.take(&json))
	return x
}

// Close waits for the stream: work that was submitted still uses the session.
func (s *session) Close() error {
	if s.c == nil {
		return nil
	}
	errs := []error{s.stream.Synchronize(context.Background())}
	leave := s.e.enter()
	defer leave()
	C.gb_trt_close(s.e.table, s.c)
	s.c = nil
	errs = append(errs, s.rotation.free(s.e.device))
	for _, t := range []*tensor{&s.input, &s.output} {
		if t.data != 0 {
			errs = append(errs, s.e.device.Free(t.data))
		}
	}
	return errors.Join(errs...)
}

// encode writes values as a device tensor holds them.
func encode(values []float32, kind elementType) []byte {
	raw := make([]byte, len(values)*kind.size())
	if kind == float32s {
		copy(unsafe.Slice((*float32)(unsafe.Pointer(&raw[0])), len(values)), values)
		return raw
	}
	half := unsafe.Slice((*uint16)(unsafe.Pointer(&raw[0])), len(values))
	if kind == float16s {
		models.EncodeFP16(half, values)
	} else {
		models.EncodeBF16(half, values)
	}
	return raw
}

func decode(raw []byte, kind elementType) []float32 {
	values := make([]float32, len(raw)/kind.size())
	if kind == float32s {
		copy(values, unsafe.Slice((*float32)(unsafe.Pointer(&raw[0])), len(values)))
		return values
	}
	half := unsafe.Slice((*uint16)(unsafe.Pointer(&raw[0])), len(values))
	if kind == float16s {
		models.DecodeFP16(values, half)
	} else {
		models.DecodeBF16(values, half)
	}
	return values
}
