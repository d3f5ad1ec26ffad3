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
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A session's memory is C's: the timed loop must not hold Go pointers.
type session struct {
	c        *C.gb_ort_session // nil once closed
	engine   *engine
	order    order
	stream   *hardware.CUDAStream // nil on the host
	profile  *profile
	executed engines.Execution
	rotation rotation
}

// An order is what a session is compiled from and for.
type order struct {
	model           []byte         // ONNX, or nil where
	path            string         // names a file
	contents        []models.Value // of a file's inputs, which it keeps
	options         engines.BuildOptions
	stream          hardware.Stream
	inputs, outputs []port
	// unfused keeps fusions off a model in fp8. Release 1.32 takes the zero point of E4M3
	// for that of an unsigned integer: after a ReLU it drops the ReLU, after a ReLU6 it
	// fails (core/optimizer/qdq_transformer, relu_quantizelinear.cc and
	// clip_quantizelinear.cc; tried).
	unfused bool
	// exact has the library's own processor kernels add up 8-bit products without overflow.
	// On x86 without VNNI their fast kernels of unsigned by signed bytes saturate at 16 bits
	// and give wrong outputs, and this makes the weights unsigned; elsewhere it changes
	// nothing (session.x64quantprecision in onnxruntime_session_options_config_keys.h,
	// Avx2WeightS8ToU8Transformer). A file from elsewhere is measured with what its user gets
	// by default.
	exact bool
}

// A port is an input or output of a model. On a GPU data is where values lie on
// their way to address.
type port struct {
	name    string
	shape   models.Shape
	element models.ElemType // the library numbers types as ONNX does
	data    []byte
	address uint64 // 0 on the host
}

func (p port) bytes() int { return p.element.Size() * p.shape.Elements() }

// elementOf is the type of input and output in a model that genbench wrote.
func elementOf(p models.Precision) models.ElemType {
	switch p {
	case models.FP16:
		return models.ElemFloat16
	case models.BF16:
		return models.ElemBFloat16
	}
	return models.ElemFloat32
}

// store writes values in their element type, a float of some size.
func (p port) store(values []float32) {
	switch p.element {
	case models.ElemFloat16:
		models.EncodeFP16(view[uint16](p.data), values)
	case models.ElemBFloat16:
		models.EncodeBF16(view[uint16](p.data), values)
	default:
		copy(view[float32](p.data), values)
	}
}

// load gives the values of a float of some size.
func (p port) load() []float32 {
	values := make([]float32, p.shape.Elements())
	switch p.element {
	case models.ElemFloat16:
		models.DecodeFP16(values, view[uint16](p.data))
	case models.ElemBFloat16:
		models.DecodeBF16(values, view[uint16](p.data))
	case models.ElemFloat64:
		for i, v := range view[float64](p.data) {
			values[i] = float32(v)
		}
	default:
		copy(values, view[float32](p.data))
	}
	return values
}

func isFloat(e models.ElemType) bool {
	return slices.Contains([]models.ElemType{models.ElemFloat32, models.ElemFloat16, models.ElemBFloat16, models.ElemFloat64}, e)
}

func view[T any](data []byte) []T {
	var one T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/int(unsafe.Sizeof(one)))
}

func (e *engine) build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (*session, error) {
	if e.env == nil {
		return nil, errors.New("the engine is closed")
	}
	if err := e.Supports(o); err != nil {
		return nil, err
	}
	return e.export(ctx, n, stream, o)
}

// export builds what Supports need not be asked about.
func (e *engine) export(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	model, err := models.ONNX(n, models.ExportOptions{Batch: o.Batch, Precision: o.Precision, Ranges: o.Ranges, Kernels: e.provider.kernels})
	if err != nil {
		return nil, err
	}
	folded, err := models.Fold(n)
	if err != nil {
		return nil, err
	}
	shapes, err := folded.Shapes(o.Batch)
	if err != nil {
		return nil, err
	}
	kind := elementOf(o.Precision)
	return e.compile(ctx, order{
		model: model, options: o, stream: stream, unfused: o.Precision == models.FP8,
		exact:   o.Precision == models.INT8,
		inputs:  []port{{name: models.InputName, shape: folded.InputShape(o.Batch), element: kind}},
		outputs: []port{{name: models.OutputName, shape: shapes[len(shapes)-1], element: kind}},
	})
}

// compile has the library build a model. Where the library can, the end of ctx ends the
// build; otherwise ctx is checked before and after.
func (e *engine) compile(ctx context.Context, o order) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &session{c: (*C.gb_ort_session)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_ort_session{})))), engine: e, order: o}
	s.c.api = e.api
	s.c.gpu = -1
	if o.options.Layers {
		s.c.profile_all = 1
	}
	fail := func(err error) (*session, error) {
		if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
			err = fmt.Errorf("%w (%w)", ended, err)
		}
		return nil, errors.Join(err, s.Close())
	}
	if o.unfused {
		s.c.unfused = 1
	}
	if o.exact {
		s.c.exact = 1
	}
	if e.gpu != nil {
		stream, ok := o.stream.(*hardware.CUDAStream)
		if !ok {
			return fail(fmt.Errorf("the stream is a %T, want one of a GPU", o.stream))
		}
		s.stream, s.c.gpu = stream, C.int(e.gpu.ordinal)
	}
	if err := s.configure(); err != nil {
		return fail(err)
	}
	if err := s.load(ctx); err != nil {
		return fail(err)
	}
	s.order.model = nil // the library has its own
	if err := s.profile.take(); err != nil {
		return fail(err)
	}
	describe(&s.c.inputs, o.inputs)
	describe(&s.c.outputs, o.outputs)
	if o.path != "" {
		if err := s.learn(); err != nil {
			return fail(err)
		}
	}
	if err := s.bind(); err != nil {
		return fail(err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	return s, nil
}

// load has the library compile the model, and tells it when the context ends.
func (s *session) load(ctx context.Context) error {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		if s.engine.cancellable {
			C.gb_ort_cancel(s.c)
		}
	})
	var err error
	if s.order.path != "" {
		path := C.CString(s.order.path)
		err = takeMessage(C.gb_ort_load_file(s.c, s.engine.env, path))
		C.free(unsafe.Pointer(path))
	} else {
		err = takeMessage(C.gb_ort_load(s.c, s.engine.env, unsafe.Pointer(&s.order.model[0]), C.size_t(len(s.order.model))))
	}
	if !stop() {
		<-done
	}
	C.gb_ort_configured(s.c)
	if err != nil {
		return err
	}
	return ctx.Err()
}

// bind gives inputs and outputs their memory and binds them.
func (s *session) bind() error {
	if s.stream != nil {
		if err := s.allocate(); err != nil {
			return err
		}
	}
	for _, side := range []struct {
		ports []port
		c     *C.gb_ort_ports
	}{{s.order.inputs, &s.c.inputs}, {s.order.outputs, &s.c.outputs}} {
		for i, t := range unsafe.Slice(side.c.tensors, side.c.count) {
			if p := side.ports[i]; p.address != 0 {
				t.data = *(*unsafe.Pointer)(unsafe.Pointer(&p.address)) // the GPU's, to Go a number
			}
			t.bytes = C.size_t(side.ports[i].bytes())
			unsafe.Slice(side.c.tensors, side.c.count)[i] = t
		}
	}
	if err := takeMessage(C.gb_ort_bind(s.c)); err != nil {
		return err
	}
	if s.stream == nil {
		attach(s.order.inputs, s.c.inputs)
		attach(s.order.outputs, s.c.outputs)
	}
	for i, v := range s.order.contents {
		copy(s.order.inputs[i].data, v.Data)
		if s.stream != nil {
			if err := s.stream.CopyIn(s.order.inputs[i].address, v.Data); err != nil {
				return fmt.Errorf("set input %s: %w", v.Name, err)
			}
		}
	}
	s.order.contents = nil // they lie in the inputs
	return nil
}

// allocate gives the ports of a session on a GPU their memory.
func (s *session) allocate() error {
	for _, ports := range [][]port{s.order.inputs, s.order.outputs} {
		for i := range ports {
			bytes := max(ports[i].bytes(), 1) // an output may be empty
			address, err := s.stream.Device().Alloc(int64(bytes))
			if err != nil {
				return fmt.Errorf("allocate %s: %w", ports[i].name, err)
			}
			ports[i].address, ports[i].data = address, make([]byte, ports[i].bytes())
			if err := s.stream.Fill(address, 0, int64(bytes)); err != nil {
				return fmt.Errorf("clear %s: %w", ports[i].name, err)
			}
		}
	}
	return nil
}

// configure makes the options of a session and starts its profile.
func (s *session) configure() error {
	var err error
	if s.profile, err = newProfile(); err != nil {
		return err
	}
	prefix := C.CString(s.profile.prefix())
	err = takeMessage(C.gb_ort_configure(s.c, C.int(s.order.options.Threads), prefix))
	C.free(unsafe.Pointer(prefix))
	if err != nil {
		return err
	}
	return s.engine.provider.use(s)
}

// describe fills in what the shim must know of inputs or outputs; forget frees it.
func describe(c *C.gb_ort_ports, ports []port) {
	n := C.size_t(len(ports))
	c.count = n
	c.tensors = (*C.gb_ort_tensor)(C.calloc(n, C.size_t(unsafe.Sizeof(C.gb_ort_tensor{}))))
	c.names = (**C.char)(C.calloc(n, C.size_t(unsafe.Sizeof(uintptr(0)))))
	c.values = (**C.OrtValue)(C.calloc(n, C.size_t(unsafe.Sizeof(uintptr(0)))))
	for i, p := range ports {
		unsafe.Slice(c.names, n)[i] = C.CString(p.name)
		t := &unsafe.Slice(c.tensors, n)[i]
		t.shape = (*C.int64_t)(C.malloc(C.size_t(unsafe.Sizeof(C.int64_t(0))) * C.size_t(max(len(p.shape), 1))))
		t.rank = C.size_t(len(p.shape))
		t.element = C.unsigned(p.element)
		t.bytes = C.size_t(p.bytes())
		for k, d := range p.shape {
			unsafe.Slice(t.shape, len(p.shape))[k] = C.int64_t(d)
		}
	}
}

// attach shows ports the memory on the host that was made for them.
func attach(ports []port, c C.gb_ort_ports) {
	for i, t := range unsafe.Slice(c.tensors, c.count) {
		ports[i].data = unsafe.Slice((*byte)(t.data), int(t.bytes))
	}
}

func forgetShapes(c *C.gb_ort_ports) {
	tensors := unsafe.Slice(c.tensors, c.count)
	for i := range tensors {
		C.free(unsafe.Pointer(tensors[i].shape))
		tensors[i].shape = nil
	}
}

func forget(c *C.gb_ort_ports) {
	forgetShapes(c)
	for _, name := range unsafe.Slice(c.names, c.count) {
		C.free(unsafe.Pointer(name))
	}
	C.free(unsafe.Pointer(c.tensors))
	C.free(unsafe.Pointer(c.names))
	C.free(unsafe.Pointer(c.values))
}

func (s *session) SetInput(t models.Tensor) error {
	if s.c == nil {
		return errors.New("set input: the session is closed")
	}
	if s.order.path != "" {
		return fmt.Errorf("set input: the session of %s has the inputs that it was built with", s.order.path)
	}
	in := s.order.inputs[0]
	if !t.Shape.Equal(in.shape) || len(t.Data) != in.shape.Elements() {
		return fmt.Errorf("set input: got shape %v with %d elements, the session takes %v", t.Shape, len(t.Data), in.shape)
	}
	in.store(t.Data)
	if s.stream != nil {
		if err := s.stream.CopyIn(in.address, in.data); err != nil {
			return fmt.Errorf("set input: %w", err)
		}
	}
	return nil
}

// Resident implements engines.Resident for a session on a GPU; one on the host has
// nothing there.
func (s *session) Resident() (inputs, outputs []hardware.Memory) {
	if s.c == nil || s.stream == nil {
		return nil, nil
	}
	places := func(ports []port) (all []hardware.Memory) {
		for _, p := range ports {
			all = append(all, hardware.Memory{Address: p.address, Bytes: int64(p.bytes())})
		}
		return all
	}
	return places(s.order.inputs), places(s.order.outputs)
}

func (s *session) Call() native.Call {
	switch {
	case s.c == nil:
		return native.Call{}
	case s.stream != nil:
		return native.Call{Func: unsafe.Pointer(C.gb_ort_submit), Arg: unsafe.Pointer(s.c)}
	}
	return native.Call{Func: unsafe.Pointer(C.gb_ort_run), Arg: unsafe.Pointer(s.c)}
}

func (s *session) Output() (models.Tensor, error) {
	if s.c == nil {
		return models.Tensor{}, errors.New("read output: the session is closed")
	}
	at := slices.IndexFunc(s.order.outputs, func(p port) bool { return isFloat(p.element) })
	if at < 0 {
		return models.Tensor{}, fmt.Errorf("read output: no output of %s holds floats", s.order.path)
	}
	out := s.order.outputs[at]
	if s.stream != nil {
		if err := s.stream.CopyOut(out.data, out.address); err != nil {
			return models.Tensor{}, fmt.Errorf("read output: %w", err)
		}
	}
	return models.Tensor{Shape: slices.Clone(out.shape), Data: out.load()}, nil
}

func (s *session) Explain(e *native.CallError) error {
	if s.c != nil {
		if message := C.gb_ort_failure(s.c); message != nil {
			return fmt.Errorf("run on %s: %w: %s", s.engine.info.Name, e, C.GoString(message))
		}
		return fmt.Errorf("run on %s: %w", s.engine.info.Name, e)
	}
	return fmt.Errorf("run on a closed session: %w", e)
}

// Executed comes from the library's own profile of the session's first inference,
// as its optimiser rewrites the model: before an inference there is nothing to report.
// Asking ends the profile; otherwise the second inference does.
func (s *session) Executed() engines.Execution {
	if s.c == nil || s.profile == nil || s.c.profile == C.gb_ort_profiling {
		return s.executed
	}
	// Without a profile it is not known what ran, which no Precisions says.
	if takeMessage(C.gb_ort_end_profile(s.c)) == nil {
		if nodes, err := s.profile.read(); err == nil {
			first := slices.DeleteFunc(slices.Clone(nodes), func(n ranNode) bool { return n.run != nodes[0].run })
			s.executed = s.engine.provider.execution(first, s.order.options.Precision, s.engine.mayTF32())
		}
	}
	s.profile.close()
	s.profile = nil
	return s.executed
}

// Close waits for the stream: work that was submitted still uses the session.
func (s *session) Close() error {
	if s.c == nil {
		return nil
	}
	var errs []error
	if s.stream != nil {
		errs = append(errs, s.stream.Synchronize(context.Background()))
	}
	errs = append(errs, s.rotation.free(s))
	C.gb_ort_free(s.c)
	forget(&s.c.inputs)
	forget(&s.c.outputs)
	C.free(unsafe.Pointer(s.c))
	if s.profile != nil {
		s.profile.close()
	}
	for _, p := range slices.Concat(s.order.inputs, s.order.outputs) {
		if p.address != 0 {
			errs = append(errs, s.stream.Device().Free(p.address))
		}
	}
	*s = session{}
	return errors.Join(errs...)
}
