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
	"genbench/engines/library"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A session is a plan on a stream, with its inputs and outputs in device memory.
type session struct {
	e               *engine
	c               *C.gb_trt_engine // nil once closed
	stream          *hardware.CUDAStream
	inputs, outputs []port
	file            string // that it was built from; empty for a network
	plan            engines.Plan
	planBytes       int64 // of the plan, which is mostly weights
	watched         bool  // its runs record what layers take
	rotation        rotation
}

// A port is an input or output of a plan.
type port struct {
	name  string
	shape models.Shape
	kind  elementType
	data  uint64 // on the device; 0 for none
}

func (p port) bytes() int { return p.shape.Elements() * p.kind.size() }

// An elementType is what a tensor holds on the device.
type elementType int

const (
	float32s  elementType = C.gb_trt_float32
	float16s  elementType = C.gb_trt_float16
	bfloat16s elementType = C.gb_trt_bfloat16
	int8s     elementType = C.gb_trt_signed8
	uint8s    elementType = C.gb_trt_unsigned8
	int32s    elementType = C.gb_trt_signed32
	int64s    elementType = C.gb_trt_signed64
	booleans  elementType = C.gb_trt_boolean
)

// size in bytes; 0 of a type that is not known here.
func (k elementType) size() int {
	switch k {
	case int64s:
		return 8
	case float32s, int32s:
		return 4
	case float16s, bfloat16s:
		return 2
	case int8s, uint8s, booleans:
		return 1
	}
	return 0
}

func (k elementType) float() bool { return k == float32s || k == float16s || k == bfloat16s }

// An order is what a plan is made from and for.
type order struct {
	model     []byte // ONNX
	precision models.Precision
	path      string         // of the file that the model is from; empty for a network
	inputs    []models.Value // of a file, whose shapes they fix
	depends   string         // a digest of what the plan depends on besides all this
	build     int
}

func (e *engine) build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	if e.table == nil {
		return nil, errors.New("the engine is closed")
	}
	if err := e.Supports(o); err != nil {
		return nil, err
	}
	model, err := models.ONNX(n, models.ExportOptions{Batch: o.Batch, Precision: o.Precision, Ranges: o.Ranges})
	if err != nil {
		return nil, err
	}
	s, err := e.compile(ctx, order{model: model, precision: o.Precision, build: o.Build}, stream)
	if err != nil {
		return nil, err
	}
	// Checked here, where a plan from the cache is like any other.
	if len(s.inputs) != 1 || s.inputs[0].name != models.InputName || len(s.outputs) != 1 || s.outputs[0].name != models.OutputName ||
		!s.inputs[0].kind.float() || !s.outputs[0].kind.float() {
		return nil, errors.Join(fmt.Errorf("the plan is not one from %s to %s, both of floats", models.InputName, models.OutputName), s.Close())
	}
	return s, nil
}

// compile makes a session of a plan from the cache, or of a new one.
func (e *engine) compile(ctx context.Context, o order, stream hardware.Stream) (*session, error) {
	gpu, ok := stream.(*hardware.CUDAStream)
	if !ok {
		return nil, errors.New("the stream is not one of a GPU")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bytes, plan, err := e.plan(o)
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
	s.plan, s.planBytes, s.file = plan, int64(len(bytes)), o.path
	return s, nil
}

// plan gives a model's plan, cached or built. Only the first build of a model makes
// one: a plan that is there is taken as it is. Builds with different numbers do not
// share timing either, or the second would choose what the first did.
func (e *engine) plan(o order) ([]byte, engines.Plan, error) {
	gpu := e.device.Info().Name
	number := max(o.build, 1)
	path := e.cache.planPath(planKey(o, e.info.SHA256, gpu))
	timingPath := e.cache.timingPath(e.info.SHA256, gpu, number)
	timing, err := e.cache.read(timingPath)
	if err != nil {
		return nil, engines.Plan{}, fmt.Errorf("read timing cache: %w", err)
	}
	bytes, err := e.cache.read(path)
	if err != nil {
		return nil, engines.Plan{}, fmt.Errorf("read plan: %w", err)
	}
	plan := engines.Plan{Build: number, Cached: bytes != nil}
	if !plan.Cached {
		if bytes, timing, err = e.search(o, timing); err != nil {
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

// search has the library build a plan, starting from what earlier builds timed.
func (e *engine) search(o order, timing []byte) (plan, times []byte, err error) {
	number, known := code(o.precision)
	if !known {
		return nil, nil, fmt.Errorf("TensorRT has no precision %q", o.precision)
	}
	// C memory, because a struct that is passed to C must not hold Go pointers.
	what := C.gb_trt_build{
		model: C.CBytes(o.model), model_size: C.size_t(len(o.model)),
		precision: C.int(number),
	}
	defer C.free(unsafe.Pointer(what.model))
	if o.path != "" {
		what.path = C.CString(o.path)
		defer C.free(unsafe.Pointer(what.path))
	}
	if len(o.inputs) > 0 {
		shapes := unsafe.Slice((*C.gb_trt_shape)(C.calloc(C.size_t(len(o.inputs)), C.size_t(unsafe.Sizeof(C.gb_trt_shape{})))), len(o.inputs))
		defer C.free(unsafe.Pointer(&shapes[0]))
		for i, v := range o.inputs {
			if len(v.Shape) > C.GB_TRT_MAX_DIMS {
				return nil, nil, fmt.Errorf("input %s has %d dimensions, TensorRT takes %d", v.Name, len(v.Shape), int(C.GB_TRT_MAX_DIMS))
			}
			shapes[i].name, shapes[i].rank = C.CString(v.Name), C.int(len(v.Shape))
			defer C.free(unsafe.Pointer(shapes[i].name))
			for k, extent := range v.Shape {
				shapes[i].dims[k] = C.int64_t(extent)
			}
		}
		what.inputs, what.input_count = &shapes[0], C.int(len(shapes))
	}
	if len(timing) > 0 {
		what.timing, what.timing_size = C.CBytes(timing), C.size_t(len(timing))
		defer C.free(unsafe.Pointer(what.timing))
	}
	var built, timed C.gb_trt_blob
	library.PreloadTensorRTBuilder(e.info.Library, e.device.Details().CapabilityMajor)
	leave, err := e.enter()
	defer leave()
	if err != nil {
		return nil, nil, err
	}
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

// open puts a plan on the device, with memory for its inputs and outputs.
func (e *engine) open(plan []byte, stream *hardware.CUDAStream) (*session, error) {
	leave, err := e.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	s := &session{e: e, stream: stream}
	if err := takeMessage(C.gb_trt_open(e.table, unsafe.Pointer(unsafe.SliceData(plan)), C.size_t(len(plan)), &s.c)); err != nil {
		return nil, err
	}
	for i := range int(C.gb_trt_tensors(e.table, s.c)) {
		if err := s.bind(i); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	C.gb_trt_use(e.table, s.c, C.uint64_t(stream.Handle()))
	return s, nil
}

// bind gives one of the plan's tensors its memory on the device.
func (s *session) bind(index int) error {
	var d C.gb_trt_tensor
	C.gb_trt_describe(s.e.table, s.c, C.int(index), &d)
	p := port{name: C.GoString(d.name), kind: elementType(d._type)}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("tensor %s: %w", p.name, fmt.Errorf(format, args...))
	}
	switch {
	case d.host != 0:
		return fail("the model computes shapes from its values, so TensorRT wants it in the host's memory, where genbench does not put it")
	case p.kind.size() == 0:
		return fail("the plan gives it an element type that genbench does not know")
	case d.rank > C.GB_TRT_MAX_DIMS:
		return fail("the plan gives it %d dimensions", d.rank)
	}
	for _, extent := range d.dims[:d.rank] {
		if extent < 0 {
			return fail("its shape depends on values and is not known before an inference")
		}
		p.shape = append(p.shape, int(extent))
	}
	var err error
	if p.data, err = s.e.device.Alloc(int64(max(p.bytes(), 1))); err != nil { // it may be empty
		return fail("%w", err)
	}
	if d.input != 0 {
		s.inputs = append(s.inputs, p)
	} else {
		s.outputs = append(s.outputs, p)
	}
	return takeMessage(C.gb_trt_bind(s.e.table, s.c, d.name, C.uint64_t(p.data)))
}

func (s *session) SetInput(t models.Tensor) error {
	if s.c == nil {
		return errors.New("set input: the session is closed")
	}
	if s.file != "" {
		return fmt.Errorf("set input: the session of %s has the inputs that it was built with", s.file)
	}
	in := s.inputs[0]
	if !t.Shape.Equal(in.shape) || len(t.Data) != in.shape.Elements() {
		return fmt.Errorf("set input: got shape %v with %d elements, the session takes %v", t.Shape, len(t.Data), in.shape)
	}
	if err := s.stream.CopyIn(in.data, encode(t.Data, in.kind)); err != nil {
		return fmt.Errorf("set input: %w", err)
	}
	return nil
}

// Resident implements engines.Resident.
func (s *session) Resident() (inputs, outputs []hardware.Memory) {
	if s.c == nil {
		return nil, nil
	}
	places := func(ports []port) (all []hardware.Memory) {
		for _, p := range ports {
			all = append(all, hardware.Memory{Address: p.data, Bytes: int64(p.bytes())})
		}
		return all
	}
	return places(s.inputs), places(s.outputs)
}

func (s *session) Call() native.Call {
	if s.c == nil {
		return native.Call{}
	}
	return native.Call{Func: unsafe.Pointer(s.e.table.run), Arg: unsafe.Pointer(s.c)}
}

// Output gives the first output that holds floats.
func (s *session) Output() (models.Tensor, error) {
	if s.c == nil {
		return models.Tensor{}, errors.New("read output: the session is closed")
	}
	at := slices.IndexFunc(s.outputs, func(p port) bool { return p.kind.float() })
	if at < 0 {
		return models.Tensor{}, fmt.Errorf("read output: no output of %s holds floats", s.file)
	}
	out := s.outputs[at]
	raw := make([]byte, out.bytes())
	if err := s.stream.CopyOut(raw, out.data); err != nil {
		return models.Tensor{}, fmt.Errorf("read output: %w", err)
	}
	return models.Tensor{Shape: slices.Clone(out.shape), Data: decode(raw, out.kind)}, nil
}

func (s *session) Explain(e *native.CallError) error {
	if s.c != nil {
		if words := C.GoString(C.gb_trt_failure(s.e.table, s.c)); words != "" {
			return fmt.Errorf("run on tensorrt: %w: %s", e, words)
		}
	}
	return fmt.Errorf("run on tensorrt: %w", e)
}

// Executed counts the plan's layers by what they write, as TensorRT's inspector reports
// it. A plan that cannot be inspected counts none. TensorRT does not say what its
// weights take on the device; the size of the plan, which is mostly weights, stands for
// them.
func (s *session) Executed() engines.Execution {
	if s.c == nil {
		return engines.Execution{}
	}
	x := engines.Execution{DeviceBytes: int64(C.gb_trt_memory(s.e.table, s.c)) + s.planBytes + s.rotation.bytes, Plan: &s.plan}
	for _, p := range slices.Concat(s.inputs, s.outputs) {
		x.DeviceBytes += int64(p.bytes())
	}
	x.Precisions, x.Plan.TacticsDigest = summary(s.inspect())
	return x
}

// inspect gives the plan's layers; none where it cannot be inspected.
func (s *session) inspect() []layer {
	leave, err := s.e.enter()
	defer leave()
	if err != nil {
		return nil
	}
	var json C.gb_trt_blob
	if err := takeMessage(C.gb_trt_inspect(s.e.table, s.c, &json)); err != nil {
		return nil
	}
	return parseLayers(s.e.take(&json))
}

// Close waits for the stream: work that was submitted still uses the session.
func (s *session) Close() error {
	if s.c == nil {
		return nil
	}
	waited := s.stream.Synchronize(context.Background())
	leave, err := s.e.enter()
	defer leave()
	errs := []error{waited, err}
	C.gb_trt_close(s.e.table, s.c)
	s.c = nil
	errs = append(errs, s.rotation.free(s.e.device))
	for _, p := range slices.Concat(s.inputs, s.outputs) {
		errs = append(errs, s.e.device.Free(p.data))
	}
	return errors.Join(errs...)
}

// encode writes values as a device tensor holds them.
func encode(values []float32, kind elementType) []byte {
	raw := make([]byte, len(values)*kind.size())
	if kind == float32s {
		copy(unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(raw))), len(values)), values)
		return raw
	}
	half := unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(raw))), len(values))
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
		copy(values, unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(raw))), len(values)))
		return values
	}
	half := unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(raw))), len(values))
	if kind == float16s {
		models.DecodeFP16(values, half)
	} else {
		models.DecodeBF16(values, half)
	}
	return values
}
