package cudnn

// #include <stdlib.h>
// #include "program.h"
import "C"

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unsafe"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A layout is the order of a tensor's dimensions in memory, a cudnnTensorFormat_t.
type layout C.uint

const (
	nchw layout = C.gb_cudnn_nchw
	nhwc layout = C.gb_cudnn_nhwc
)

func (l layout) String() string {
	if l == nhwc {
		return "NHWC"
	}
	return "NCHW"
}

// A session is a program in C memory over three pieces of device memory: values,
// weights and a workspace that all convolutions share.
type session struct {
	engine     *engine
	stream     *hardware.CUDAStream
	network    *models.Network // folded
	plan       *plan
	layout     layout
	precision  models.Precision
	program    *C.gb_program // nil once closed
	room       int           // steps that the program has memory for
	memory     []uint64      // to be freed
	bytes      int64         // of that
	values     uint64
	input      uint64        // where SetInput writes
	rounded    *rounded      // of int8 and fp8; nil in other precisions
	operands   loan          // of these
	sums       loan          // of these
	weights    []byte        // as they go to the device
	parameters []parameter   // that await them
	graphs     []*builder    // what plans of the graph API hang on
	latency    time.Duration // of an inference, as the build measured it
	choices    []string
	rotation   rotation
}

// compile builds the network in one layout. The caller owns the session.
func (e *engine) compile(ctx context.Context, n *models.Network, stream *hardware.CUDAStream, o engines.BuildOptions, l layout, r *rounded) (s *session, err error) {
	s = &session{engine: e, stream: stream, network: n, layout: l, precision: o.Precision, rounded: r}
	if s.plan, err = newPlan(n, o.Batch, l == nhwc, s.elementBytes(), r.scales()); err != nil {
		return nil, err
	}
	s.program = (*C.gb_program)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_program{}))))
	defer func() {
		if err != nil {
			err, s = errors.Join(err, s.Close()), nil
		}
	}()
	if status := C.gb_program_open(s.program, e.api, (*C.gb_cuda_stream)(stream.C())); status != 0 {
		if s.program.driver_call != 0 {
			return s, e.device.Driver().Error(int(s.program.driver_call), int(status))
		}
		return s, fmt.Errorf("cudnnCreate: %s (%d)%s; %s", C.GoString(C.gb_cudnn_words(e.api, status)), int(status), e.lacks(), hint(e.device.Details()))
	}
	if s.values, err = s.alloc(s.plan.bytes); err != nil {
		return s, fmt.Errorf("memory for activations: %w", err)
	}
	// What no one wrote must not be a NaN that an algorithm trips over.
	if err = stream.Fill(s.values, 0, max(s.plan.bytes, 1)); err != nil {
		return s, err
	}
	for _, p := range s.plan.steps {
		// A convolution and what could not be fused, or a copy for each input; in 8
		// bits also the conversion to float before it.
		s.room += max(3, len(p.inputs))
	}
	s.room++ // for the image's rounding
	s.program.steps = (*C.gb_step)(C.calloc(C.size_t(s.room), C.size_t(unsafe.Sizeof(C.gb_step{}))))
	s.input = s.values + uint64(s.plan.at(models.Image).offset)
	if err = s.roundImage(); err != nil {
		return s, err
	}
	for i := range s.plan.steps {
		if err = ctx.Err(); err != nil {
			return s, err
		}
		if err = s.add(&s.plan.steps[i]); err != nil {
			return s, fmt.Errorf("node %s: %w", s.name(s.plan.steps[i].node), err)
		}
	}
	if err = s.upload(); err != nil {
		return s, err
	}
	if err = s.lend(); err != nil {
		return s, err
	}
	if err = s.search(ctx); err != nil {
		return s, err
	}
	return s, s.measure(ctx)
}

func (s *session) name(node int) string {
	if node == models.Image {
		return models.InputName
	}
	return s.network.Nodes[node].Name
}

func (s *session) elementBytes() int {
	if s.precision == models.FP16 || s.precision == models.BF16 || s.precision == models.FP8 {
		return 2
	}
	return 4
}

// types gives cuDNN's and our kernels' name of the element type, in int8 and fp8 that of
// what is not rounded to 8 bits, and cuDNN's way of multiplying: FMA keeps fp32 from
// being rounded to tf32, the default allows it.
func (s *session) types() (element, kernel, math C.uint) {
	switch s.precision {
	case models.FP16, models.FP8:
		return C.gb_cudnn_half, C.gb_half, C.gb_cudnn_tensor_op_math
	case models.BF16:
		return C.gb_cudnn_bfloat16, C.gb_bfloat, C.gb_cudnn_tensor_op_math
	case models.TF32:
		return C.gb_cudnn_float, C.gb_float, C.gb_cudnn_default_math
	}
	return C.gb_cudnn_float, C.gb_float, C.gb_cudnn_fma_math
}

// alloc gives device memory that the session frees.
func (s *session) alloc(bytes int64) (uint64, error) {
	memory, err := s.engine.device.Alloc(max(bytes, 1))
	if err != nil {
		return 0, err
	}
	s.memory = append(s.memory, memory)
	s.bytes += bytes
	return memory, nil
}

// address is where a node's value lies.
func (s *session) address(node int) unsafe.Pointer {
	return devicePointer(s.values + uint64(s.plan.at(node).offset))
}

// devicePointer is an address of the device, which Go never follows.
func devicePointer(p uint64) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// A parameter is data among the weights that a step's pointer awaits.
type parameter struct {
	place  *unsafe.Pointer // in C memory
	offset uint64
}

// keep has place point to data once all weights are on the device.
func (s *session) keep(place *unsafe.Pointer, data []byte) {
	s.parameters = append(s.parameters, parameter{place, uint64(len(s.weights))})
	s.weights = append(s.weights, data...)
	for len(s.weights)%alignment != 0 {
		s.weights = append(s.weights, 0)
	}
}

// keepFloats is keep for what kernels read, which is float in every precision.
func (s *session) keepFloats(place **C.float, data []float32) {
	raw := make([]byte, 0, 4*len(data))
	for _, v := range data {
		raw = binary.NativeEndian.AppendUint32(raw, math.Float32bits(v))
	}
	s.keep((*unsafe.Pointer)(unsafe.Pointer(place)), raw)
}

// upload puts the weights on the device and sets the pointers to them.
func (s *session) upload() error {
	base, err := s.alloc(int64(len(s.weights)))
	if err != nil {
		return fmt.Errorf("memory for weights: %w", err)
	}
	if err := s.stream.CopyIn(base, s.weights); err != nil {
		return fmt.Errorf("copy weights: %w", err)
	}
	for _, p := range s.parameters {
		*p.place = devicePointer(base + p.offset)
	}
	s.weights, s.parameters = nil, nil
	return nil
}

func (s *session) steps() []C.gb_step { return unsafe.Slice(s.program.steps, int(s.program.count)) }

// next gives an empty step for a node.
func (s *session) next(kind C.uint, node int) *C.gb_step {
	if int(s.program.count) == s.room {
		panic("cudnn: a planned step became more steps than there is room for")
	}
	s.program.count++
	step := &s.steps()[s.program.count-1]
	step.kind, step.node = kind, C.int(node)
	return step
}

// search settles by measurement how every convolution is computed, and gives all of
// them one workspace.
func (s *session) search(ctx context.Context) error {
	if !slices.ContainsFunc(s.steps(), func(step C.gb_step) bool { return convolves(step) || step.kind == C.gb_graph }) {
		return s.settle(ctx)
	}
	scratch, bytes, err := s.scratch()
	if err != nil {
		return err
	}
	s.program.workspace, s.program.workspace_bytes = devicePointer(scratch), C.size_t(bytes)
	for _, stage := range []func(context.Context) error{s.planFP8, s.choose, s.settle, s.fuse} {
		if err == nil {
			err = stage(ctx)
		}
	}
	s.program.workspace, s.program.workspace_bytes = nil, 0
	if err := errors.Join(err, s.engine.device.Free(scratch)); err != nil {
		return err
	}
	for _, step := range s.steps() {
		s.program.workspace_bytes = max(s.program.workspace_bytes, step.workspace)
	}
	if need := int64(s.program.workspace_bytes); need > 0 {
		workspace, err := s.alloc(need)
		if err != nil {
			return fmt.Errorf("memory for cuDNN's workspace: %w", err)
		}
		s.program.workspace = devicePointer(workspace)
	}
	for i := range s.steps() {
		if step := &s.steps()[i]; step.kind == C.gb_graph {
			if step.pack, err = s.pack(step); err != nil {
				return err
			}
		}
	}
	return nil
}

// choose takes the fastest algorithm of every convolution by cuDNN's own measurement
// in the workspace. A result holds for the way of multiplying that it names, which may
// not be the one asked for: run in the way asked for, the algorithm is another kernel
// with another workspace, or refused (pytorch/pytorch, pull request 15881).
func (s *session) choose(ctx context.Context) (err error) {
	known := map[string]C.gb_cudnn_algorithm{} // blocks repeat
	floats := &notEightBits{}
	for i := 0; i < int(s.program.count); i++ { // a split adds a step
		if err := ctx.Err(); err != nil {
			return err
		}
		step := &s.steps()[i]
		if !convolves(*step) {
			continue
		}
		shape := s.signature(step)
		algorithm, ok := known[shape]
		if !ok {
			algorithm, err = s.fastest(step)
			var refused *refusal
			if errors.As(err, &refused) && step.kind == C.gb_fused_convolution {
				if err = s.split(i); err == nil {
					shape = s.signature(step)
					algorithm, err = s.fastest(step)
				}
			}
			if refused != nil && s.inEightBits(int(step.node)) {
				floats.add(int(step.node), refused)
				continue
			}
			if err != nil {
				return err
			}
			known[shape] = algorithm
		}
		if status := C.gb_choose_algorithm(s.engine.api, step, &algorithm); status != 0 {
			return s.refusal(s.name(int(step.node)), "cudnnSetConvolutionMathType", status)
		}
		s.note("%s: %s, %.4f ms without what is fused, workspace %d bytes", s.name(int(step.node)), algorithmName(step.algorithm),
			float64(algorithm.milliseconds), int64(algorithm.workspace))
	}
	if len(floats.nodes) > 0 {
		return floats
	}
	return nil
}

func convolves(step C.gb_step) bool {
	return step.kind == C.gb_convolution || step.kind == C.gb_fused_convolution
}

// scratch is memory for algorithms to be measured in: 512 MiB, or what there is.
func (s *session) scratch() (memory uint64, bytes int64, err error) {
	const most, least = 512 << 20, 1 << 20
	for bytes = most; bytes >= least; bytes /= 2 {
		if memory, err = s.engine.device.Alloc(bytes); err == nil {
			return memory, bytes, nil
		}
		if !outOfMemory(err) {
			break
		}
	}
	return 0, 0, fmt.Errorf("memory to measure algorithms in: %w", err)
}

// signature is all that the choice of a convolution's algorithm depends on.
func (s *session) signature(step *C.gb_step) string {
	n := s.network.Nodes[step.node]
	return fmt.Sprintf("%+v %v %d %d %t", n.Op, s.plan.at(n.Inputs[0]).shape, step.kind, step.kernel.function, s.inEightBits(int(step.node)))
}

// fastest has cuDNN measure a convolution's algorithms. One that gives different bits
// in every run is left out, and so are all but one for a fused call without an
// activation (cudnnConvolutionBiasActivationForward in NVIDIA's API reference).
func (s *session) fastest(step *C.gb_step) (C.gb_cudnn_algorithm, error) {
	// Every algorithm comes once for each way of multiplying.
	var found [2 * C.gb_cudnn_algorithms]C.gb_cudnn_algorithm
	count := C.int(len(found))
	const call = "cudnnFindConvolutionForwardAlgorithmEx"
	if status := C.gb_find_algorithms(s.program, step, &found[0], &count); status != 0 {
		return found[0], s.refuse(s.name(int(step.node)), call, status)
	}
	_, _, asked := s.types()
	// Before Ampere the default of fp32 is FMA by another name (cudnnMathType_t in NVIDIA's
	// reference, which microsoft/onnxruntime, pull request 19426, quotes).
	exact := asked == C.gb_cudnn_fma_math && !s.inEightBits(int(step.node)) && s.engine.device.Details().Capability() >= 80
	onlyPrecomputed := step.kind == C.gb_fused_convolution && step.kernel.function == C.gb_none
	for _, a := range found[:count] {
		usable := a.status == 0 && a.determinism == C.gb_cudnn_deterministic
		// Besides the arithmetic asked for, cuDNN measures its default, which for fp32
		// may be tf32: that is not the time of what will run.
		if exact && a.math != C.gb_cudnn_fma_math {
			usable = false
		}
		if usable && (!onlyPrecomputed || a.algorithm == C.gb_cudnn_precomputed_gemm) {
			return a, nil
		}
	}
	return found[0], &refusal{
		node: s.name(int(step.node)), call: call, status: int(found[0].status),
		text: fmt.Sprintf("no algorithm for a convolution of %s in %s", s.runsIn(int(step.node)), s.layout),
	}
}

// algorithmName is as in cudnnConvolutionFwdAlgo_t.
func algorithmName(algorithm C.uint) string {
	names := [C.gb_cudnn_algorithms]string{
		"implicit_gemm", "implicit_precomp_gemm", "gemm", "direct", "fft", "fft_tiling", "winograd", "winograd_nonfused",
	}
	if int(algorithm) < len(names) {
		return names[algorithm]
	}
	return fmt.Sprintf("algorithm %d", algorithm)
}

func (s *session) note(format string, args ...any) {
	s.choices = append(s.choices, fmt.Sprintf(format, args...))
}

// settle runs the program once, step by step, replacing fused calls that cuDNN turns
// out not to have for a shape.
func (s *session) settle(ctx context.Context) error {
	for i := 0; i < int(s.program.count); i++ {
		if s.steps()[i].kind == C.gb_graph {
			if err := s.settleGraph(i); err != nil {
				return err
			}
			continue
		}
		code := C.gb_program_submit(s.program, C.int(i))
		if code != 0 && s.program.driver_call == 0 && s.steps()[i].kind == C.gb_fused_convolution {
			if err := s.split(i); err != nil {
				return err
			}
			code = C.gb_program_submit(s.program, C.int(i))
		}
		if code != 0 {
			err := s.failure()
			var refused *refusal
			if node := int(s.steps()[i].node); errors.As(err, &refused) && convolves(s.steps()[i]) && s.inEightBits(node) {
				floats := &notEightBits{}
				floats.add(node, refused)
				// The steps before it are still at work on memory that will be freed.
				return errors.Join(floats, s.stream.Synchronize(ctx))
			}
			return err
		}
	}
	return s.stream.Synchronize(ctx)
}

// settleGraph runs a plan with provisional addresses: those of the workspace that plans
// are measured in, which is freed once all is settled.
func (s *session) settleGraph(i int) (err error) {
	step := &s.steps()[i]
	if step.pack, err = s.pack(step); err != nil {
		return err
	}
	code := C.gb_program_submit(s.program, C.int(i))
	if code != 0 {
		err = s.failure()
	}
	if status := C.gb_backend_destroy(s.program, step.pack); status != 0 {
		err = errors.Join(err, s.refuse(s.name(int(step.node)), "cudnnBackendDestroyDescriptor", status))
	}
	step.pack = nil
	return err
}

// measure times whole inferences.
func (s *session) measure(ctx context.Context) (err error) {
	s.latency, err = s.clock(s.Call(), 1, 7)
	var failed *native.CallError
	if errors.As(err, &failed) {
		return s.failure()
	}
	return errors.Join(err, ctx.Err())
}

// clock gives the median of samples, each of a group of calls.
func (s *session) clock(call native.Call, group, samples int) (time.Duration, error) {
	// A fake's clock does not waver, and its host computes every inference.
	if s.engine.device.Info().Fake {
		group, samples = 1, 1
	}
	out := make([]hardware.Sample, samples)
	if err := s.stream.TimeGroups(call, group, out); err != nil {
		return 0, err
	}
	slices.SortFunc(out, func(a, b hardware.Sample) int { return int(a.Device - b.Device) })
	return time.Duration(out[len(out)/2].Device), nil
}

// failure describes the last run of the program that failed.
func (s *session) failure() error { return s.failureOf(s.program) }

// failureOf is failure for a program made of the session's steps.
func (s *session) failureOf(p *C.gb_program) error {
	step := &unsafe.Slice(p.steps, int(p.count))[p.failed]
	name := s.name(int(step.node))
	if p.driver_call != 0 {
		return fmt.Errorf("node %s: %w", name, s.engine.device.Driver().Error(int(p.driver_call), int(p.status)))
	}
	call := map[C.uint]string{
		C.gb_convolution: "cudnnConvolutionForward", C.gb_fused_convolution: "cudnnConvolutionBiasActivationForward",
		C.gb_pooling: "cudnnPoolingForward", C.gb_softmax: "cudnnSoftmaxForward", C.gb_graph: "cudnnBackendExecute",
	}[step.kind]
	return s.refusal(name, call, p.status)
}

// refuse is a status of cuDNN's as an error, or the driver's where it came from there.
func (s *session) refuse(node, call string, status C.uint) error {
	if s.program.driver_call != 0 {
		return fmt.Errorf("node %s: %w", node, s.engine.device.Driver().Error(int(s.program.driver_call), int(status)))
	}
	return s.refusal(node, call, status)
}

func (s *session) refusal(node, call string, status C.uint) *refusal {
	return &refusal{node: node, call: call, status: int(status), text: C.GoString(C.gb_cudnn_words(s.engine.api, status))}
}

func (s *session) SetInput(t models.Tensor) error {
	if s.program == nil {
		return errors.New("set input: the session is closed")
	}
	image := s.plan.at(models.Image)
	if !t.Shape.Equal(image.shape) || len(t.Data) != image.shape.Elements() {
		return fmt.Errorf("set input: got shape %v with %d elements, the session takes %v", t.Shape, len(t.Data), image.shape)
	}
	raw := s.encode(t.Data, image.extent())
	if err := s.stream.CopyIn(s.input, raw); err != nil {
		return fmt.Errorf("set input: %w", err)
	}
	return nil
}

// Resident implements engines.Resident.
func (s *session) Resident() (inputs, outputs []hardware.Memory) {
	if s.program == nil {
		return nil, nil
	}
	image, last := s.plan.at(models.Image), s.plan.at(len(s.network.Nodes)-1)
	place := func(address uint64, shape models.Shape) []hardware.Memory {
		return []hardware.Memory{{Address: address, Bytes: int64(shape.Elements() * s.elementBytes())}}
	}
	return place(s.input, image.shape), place(s.values+uint64(last.offset), last.shape)
}

func (s *session) Call() native.Call {
	if s.program == nil {
		return native.Call{}
	}
	return native.Call{Func: unsafe.Pointer(C.gb_program_run), Arg: unsafe.Pointer(s.program)}
}

func (s *session) Output() (models.Tensor, error) {
	if s.program == nil {
		return models.Tensor{}, errors.New("read output: the session is closed")
	}
	last := s.plan.at(len(s.network.Nodes) - 1)
	raw := make([]byte, last.shape.Elements()*s.elementBytes())
	if err := s.stream.CopyOut(raw, s.values+uint64(last.offset)); err != nil {
		return models.Tensor{}, fmt.Errorf("read output: %w", err)
	}
	return models.Tensor{Shape: slices.Clone(last.shape), Data: s.decode(raw, last.extent())}, nil
}

func (s *session) Explain(e *native.CallError) error {
	if s.program == nil || s.program.status == 0 { // a replay of a graph fails by itself
		return fmt.Errorf("run on cudnn: %w", e)
	}
	return fmt.Errorf("run on cudnn: %w: %w", e, s.failure())
}

func (s *session) Executed() engines.Execution {
	return engines.Execution{
		Precisions:  s.counts(),
		DeviceBytes: s.bytes,
		Choices:     s.choices,
	}
}

// discard closes a session that may be nil.
func (s *session) discard() error {
	if s == nil {
		return nil
	}
	return s.Close()
}

func (s *session) Close() error {
	if s.program == nil {
		return nil
	}
	// Work that was submitted still uses the plans.
	errs := []error{s.stream.Synchronize(context.Background()), s.rotation.free(s.program)}
	for i := range s.steps() {
		C.gb_forget_step(s.engine.api, &s.steps()[i])
	}
	for _, g := range slices.Backward(s.graphs) {
		errs = append(errs, g.close())
	}
	if status := C.gb_program_close(s.program); status != 0 {
		errs = append(errs, fmt.Errorf("cudnnDestroy: %s", C.GoString(C.gb_cudnn_words(s.engine.api, status))))
	}
	for _, memory := range s.memory {
		errs = append(errs, s.engine.device.Free(memory))
	}
	C.free(unsafe.Pointer(s.program.steps))
	C.free(unsafe.Pointer(s.program))
	s.program = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close session on cudnn: %w", err)
	}
	return nil
}

// each calls do with the place of every element in NCHW order and in the session's.
func (s *session) each(extent [4]int, do func(planar, here int)) {
	n, c, plane := extent[0], extent[1], extent[2]*extent[3]
	if s.layout == nchw || c == 1 || plane == 1 {
		for i := range n * c * plane {
			do(i, i)
		}
		return
	}
	for image := range n {
		for channel := range c {
			for pixel := range plane {
				do((image*c+channel)*plane+pixel, (image*plane+pixel)*c+channel)
			}
		}
	}
}

// encode turns NCHW floats into the session's elements and layout. Filters are
// images here: output channels outermost.
func (s *session) encode(data []float32, extent [4]int) []byte {
	ordered := make([]float32, len(data))
	s.each(extent, func(planar, here int) { ordered[here] = data[planar] })
	raw := make([]byte, s.elementBytes()*len(data))
	switch s.precision {
	case models.FP16, models.FP8:
		models.EncodeFP16(elementsOf[uint16](raw), ordered)
	case models.BF16:
		models.EncodeBF16(elementsOf[uint16](raw), ordered)
	default:
		copy(elementsOf[float32](raw), ordered)
	}
	return raw
}

func (s *session) decode(raw []byte, extent [4]int) []float32 {
	ordered := make([]float32, len(raw)/s.elementBytes())
	switch s.precision {
	case models.FP16, models.FP8:
		models.DecodeFP16(ordered, elementsOf[uint16](raw))
	case models.BF16:
		models.DecodeBF16(ordered, elementsOf[uint16](raw))
	default:
		copy(ordered, elementsOf[float32](raw))
	}
	data := make([]float32, len(ordered))
	s.each(extent, func(planar, here int) { data[planar] = ordered[here] })
	return data
}

// elementsOf gives memory as the elements that it holds.
func elementsOf[T uint16 | float32](raw []byte) []T {
	var one T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(raw))), len(raw)/int(unsafe.Sizeof(one)))
}
