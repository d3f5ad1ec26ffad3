package cudnn

// #include <stdlib.h>
// #include "program.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"

	"genbench/hardware/native"
	"genbench/models"
)

// fuse replaces every convolution, with the addition, bias and activation after it, by
// a plan of the graph API where that was measured to be faster than the steps in its
// place. Whatever the graph API refuses stays as it is.
//
// Left to the other steps are a convolution with nothing after it, all of whose
// algorithms choose has measured; an activation that the graph API has no operation
// for; the gate of squeeze and excitation, which comes before a convolution; int8,
// whose factors would be operations of their own; and fp8, for which planFP8 has made
// plans.
func (s *session) fuse(ctx context.Context) error {
	if s.rounded != nil {
		return nil
	}
	if C.gb_has_graphs(s.engine.api) == 0 {
		s.note("no graph plans: this cuDNN has no graph API")
		return nil
	}
	known := map[string]verdict{}               // blocks repeat
	for i := 0; i < int(s.program.count); i++ { // a plan takes the place of two steps
		if err := ctx.Err(); err != nil {
			return err
		}
		first := &s.steps()[i]
		if !convolves(*first) {
			continue
		}
		count := 1 // with the kernel for what is not fused, which has the same node
		if i+1 < int(s.program.count) && s.steps()[i+1].node == first.node {
			count = 2
		}
		f, ok := s.fusionOf(int(first.node))
		if !ok {
			continue
		}
		v, ok := known[f.signature(s)]
		if !ok {
			var err error
			if v, err = s.judge(f, first, count); err != nil {
				return err
			}
			known[f.signature(s)] = v
		}
		s.note("%s: %s", s.name(f.node), v.words)
		if v.plan != nil {
			s.replace(i, count, f.step(s, first, v.plan))
		}
	}
	return nil
}

// A fusion is a planned convolution whose followers the graph API has operations for.
type fusion struct {
	*planned
	conv models.Conv
	fp8  bool // x and the filter are E4M3
	// rounds says that the result of an fp8 one is E4M3 again.
	rounds bool
}

func (s *session) fusionOf(node int) (fusion, bool) {
	p := &s.plan.steps[slices.IndexFunc(s.plan.steps, func(p planned) bool { return p.node == node })]
	f := fusion{planned: p, conv: convolutionOf(s.network.Nodes[node].Op)}
	_, _, known := operation(p.act)
	return f, known && (f.conv.Bias || p.add != none || p.act != "")
}

// signature is all that a plan depends on.
func (f fusion) signature(s *session) string {
	return fmt.Sprintf("%+v %v %t %s %t", f.conv, s.plan.at(f.inputs[0]).shape, f.add != none, f.act, f.rounds)
}

// step runs a plan where a convolution's step ran.
func (f fusion) step(s *session, from *C.gb_step, p *graphPlan) C.gb_step {
	step := C.gb_step{
		kind: C.gb_graph, node: from.node, plan: p.plan, workspace: p.workspace,
		x_data: from.x_data, w_data: from.w_data, y_data: from.y_data,
	}
	if f.conv.Bias {
		step.bias_data = from.bias_data
	}
	if f.add != none {
		step.z_data = s.address(f.add)
	}
	if f.fp8 {
		step.descale_data = from.descale_data
	}
	if f.rounds {
		step.scale_data = from.scale_data
	}
	return step
}

// replace puts one step in the place of count.
func (s *session) replace(i, count int, step C.gb_step) {
	steps := s.steps()
	for j := range count {
		C.gb_forget_step(s.engine.api, &steps[i+j])
	}
	steps[i] = step
	copy(steps[i+1:], steps[i+count:])
	s.program.count -= C.int(count - 1)
}

// A verdict is how a fusion is computed: by a plan, or as before where that is nil.
type verdict struct {
	plan  *graphPlan
	words string
}

// judge times what computes a fusion now, steps from first on, against plans of the
// graph API. A winning plan is the session's to close.
func (s *session) judge(f fusion, first *C.gb_step, count int) (v verdict, err error) {
	before, err := s.latencyOf(first, count)
	if err != nil {
		return v, err
	}
	graph := &builder{session: s, node: f.node}
	best, err := s.fastestPlan(graph, f, first)
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		v.words = fmt.Sprintf("no graph plan: %s: %s (%d)", refused.call, refused.text, refused.status)
		return v, graph.close()
	case err != nil:
		return v, errors.Join(err, graph.close())
	case best.latency >= before:
		v.words = fmt.Sprintf("no graph plan: %s takes %v, the legacy API %v", best.name, best.latency, before)
		return v, errors.Join(best.close(), graph.close())
	}
	s.graphs = append(s.graphs, graph, best.builder)
	return verdict{best, fmt.Sprintf("graph plan %s, %v where the legacy API takes %v, workspace %d bytes",
		best.name, best.latency, before, int64(best.workspace))}, nil
}

// A graphPlan is an engine of cuDNN's, set and compiled for one operation graph.
type graphPlan struct {
	*builder  // of the plan, not of the graph
	plan      descriptor
	workspace C.size_t
	name      string // as cuDNN's own tools write it: eng38_k2=7_k13=1
	latency   time.Duration
}

// mostPlans is how many plans are made of one graph: cuDNN lists first the engines that
// it expects to be fast, and making a plan may mean compiling it.
const mostPlans = 4

// fastestPlan makes plans of a graph and gives the fastest. Where there is none the
// error is a refusal.
func (s *session) fastestPlan(graph *builder, f fusion, from *C.gb_step) (best *graphPlan, err error) {
	configs := graph.configs(graph.operations(f))
	if graph.err != nil {
		return nil, graph.err
	}
	err = &refusal{
		node: s.name(f.node), call: "cudnnBackendGetAttribute",
		text: fmt.Sprintf("no engine that keeps to the arithmetic of %s in %s", s.precision, s.layout),
	}
	for _, c := range configs[:min(len(configs), mostPlans)] {
		p := &graphPlan{builder: &builder{session: s, node: f.node}}
		p.finish(c)
		p.time(f, from)
		if p.err == nil && (best == nil || p.latency < best.latency) {
			best, p = p, best
		}
		if p == nil {
			continue
		}
		var refused *refusal
		if p.err != nil && !errors.As(p.err, &refused) {
			return nil, errors.Join(p.err, p.close(), best.close())
		}
		if p.err != nil {
			err = p.err
		}
		if failed := p.close(); failed != nil {
			return nil, errors.Join(failed, best.close())
		}
	}
	if best != nil {
		return best, nil
	}
	return nil, err
}

// finish makes the plan.
func (p *graphPlan) finish(c config) {
	p.plan = p.make(C.gb_CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
		values(C.gb_CUDNN_ATTR_EXECUTION_PLAN_HANDLE, C.gb_CUDNN_TYPE_HANDLE, p.session.program.handle),
		values(C.gb_CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, c.config))
	for _, bytes := range get(p.builder, p.plan, C.gb_CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, C.gb_CUDNN_TYPE_INT64, make([]int64, 1)) {
		p.workspace = C.size_t(bytes)
	}
	p.name = p.describe(c)
	if room := p.session.program.workspace_bytes; p.err == nil && p.workspace > room {
		p.err = &refusal{
			node: p.session.name(p.node), call: "cudnnBackendGetAttribute",
			text: fmt.Sprintf("%s wants a workspace of %d bytes, there are %d", p.name, int64(p.workspace), int64(room)),
		}
	}
}

// describe names an engine and its settings.
func (b *builder) describe(c config) string {
	const room = 64 // no release has so many kinds of knobs
	var name strings.Builder
	for _, id := range get(b, c.engine, C.gb_CUDNN_ATTR_ENGINE_GLOBAL_INDEX, C.gb_CUDNN_TYPE_INT64, make([]int64, 1)) {
		fmt.Fprintf(&name, "eng%d", id)
	}
	knobs := make([]descriptor, room)
	for i := range knobs {
		knobs[i] = b.create(C.gb_CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR)
	}
	for _, knob := range get(b, c.config, C.gb_CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, knobs) {
		kind := get(b, knob, C.gb_CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, C.gb_CUDNN_TYPE_KNOB_TYPE, make([]C.uint, 1))
		choice := get(b, knob, C.gb_CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, C.gb_CUDNN_TYPE_INT64, make([]int64, 1))
		if len(kind) == 1 && len(choice) == 1 {
			fmt.Fprintf(&name, "_k%d=%d", kind[0], choice[0])
		}
	}
	return name.String()
}

// time runs the plan where a convolution's step runs.
func (p *graphPlan) time(f fusion, from *C.gb_step) {
	if p.err != nil {
		return
	}
	s := p.session
	step := (*C.gb_step)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_step{}))))
	defer C.free(unsafe.Pointer(step))
	*step = f.step(s, from, p)
	if step.pack, p.err = s.pack(step); p.err != nil {
		return
	}
	p.latency, p.err = s.latencyOf(step, 1)
	C.gb_forget_step(s.engine.api, step)
}

// latencyOf times steps by themselves.
func (s *session) latencyOf(first *C.gb_step, count int) (time.Duration, error) {
	part := (*C.gb_program)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_program{}))))
	defer C.free(unsafe.Pointer(part))
	*part = *s.program
	part.steps, part.count = first, C.int(count)
	// In groups, because a layer may take no longer than events resolve.
	latency, err := s.clock(native.Call{Func: unsafe.Pointer(C.gb_program_run), Arg: unsafe.Pointer(part)}, 8, 5)
	var failed *native.CallError
	if errors.As(err, &failed) {
		return 0, s.failureOf(part)
	}
	return latency, err
}

// Numbers of the tensors of a graph, by which a pack gives their addresses. Results
// between two operations, from inside on, have none.
const (
	inputID = iota + 1
	filterID
	addendID
	biasID
	descaleID
	scaleID
	outputID
	inside
)

// pack gives where the tensors and the workspace of a graph's step lie.
func (s *session) pack(step *C.gb_step) (descriptor, error) {
	ids := []int64{inputID, filterID, outputID}
	places := []unsafe.Pointer{step.x_data, step.w_data, step.y_data}
	if step.z_data != nil {
		ids, places = append(ids, addendID), append(places, step.z_data)
	}
	if step.bias_data != nil {
		ids, places = append(ids, biasID), append(places, step.bias_data)
	}
	if step.descale_data != nil {
		ids, places = append(ids, descaleID), append(places, step.descale_data)
	}
	if step.scale_data != nil {
		ids, places = append(ids, scaleID), append(places, step.scale_data)
	}
	// As numbers: Go's memory may hold no pointer that is not the host's.
	addresses := make([]uintptr, len(places))
	for i, p := range places {
		addresses[i] = uintptr(p)
	}
	b := &builder{session: s, node: int(step.node)}
	pack := b.make(C.gb_CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR,
		values(C.gb_CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, C.gb_CUDNN_TYPE_INT64, ids...),
		values(C.gb_CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, C.gb_CUDNN_TYPE_VOID_PTR, addresses...),
		values(C.gb_CUDNN_ATTR_VARIANT_PACK_WORKSPACE, C.gb_CUDNN_TYPE_VOID_PTR, uintptr(s.program.workspace)))
	if b.err != nil {
		return nil, errors.Join(b.err, b.close())
	}
	return pack, nil
}

// operations gives the graph of a fusion: the convolution, the addition, the bias and
// the activation, in the order in which NVIDIA's samples have them. Intermediate
// results are float, as the sums are. In fp8 the factor of x and the filter comes first
// and that of the result last (cudnn-frontend, samples/cpp/convolution/fp8_fprop.cpp),
// and the bias is float.
func (b *builder) operations(f fusion) descriptor {
	s := b.session
	element, _, _ := s.types()
	extent := s.plan.at(f.out).extent()
	type follower struct {
		mode     C.uint
		operand  descriptor // NULL for an activation
		settings []attribute
	}
	var followers []follower
	bias, given := element, element
	multiplyBy := func(factor int64) {
		followers = append(followers, follower{C.gb_CUDNN_POINTWISE_MUL, b.tensor(factor, C.gb_cudnn_float, [4]int{1, 1, 1, 1}), nil})
	}
	if f.fp8 {
		bias = C.gb_cudnn_float
		multiplyBy(descaleID)
	}
	if f.add != none {
		followers = append(followers, follower{C.gb_CUDNN_POINTWISE_ADD, b.tensor(addendID, element, extent), nil})
	}
	if f.conv.Bias {
		operand := b.tensor(biasID, bias, [4]int{1, f.conv.Out, 1, 1})
		followers = append(followers, follower{C.gb_CUDNN_POINTWISE_ADD, operand, nil})
	}
	if f.act != "" {
		mode, settings, _ := operation(f.act)
		followers = append(followers, follower{mode, nil, settings})
	}
	if f.rounds {
		given = C.gb_cudnn_fp8
		multiplyBy(scaleID)
	}
	result := func(i int) descriptor {
		if i == len(followers) {
			return b.tensor(outputID, given, extent)
		}
		return b.tensor(inside+int64(i), C.gb_cudnn_float, extent)
	}
	y := result(0)
	operations := []descriptor{b.convolve(f, y)}
	for i, next := range followers {
		x := y
		y = result(i + 1)
		operations = append(operations, b.pointwise(next.mode, x, next.operand, y, next.settings))
	}
	return b.make(C.gb_CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR,
		values(C.gb_CUDNN_ATTR_OPERATIONGRAPH_HANDLE, C.gb_CUDNN_TYPE_HANDLE, s.program.handle),
		values(C.gb_CUDNN_ATTR_OPERATIONGRAPH_OPS, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, operations...))
}

// operation is an activation in the graph API; ok is false for one that takes several
// operations there.
func operation(act models.ActivationFunc) (mode C.uint, settings []attribute, ok bool) {
	switch act {
	case "": // none
		return 0, nil, true
	case models.ReLU:
		return C.gb_CUDNN_POINTWISE_RELU_FWD, nil, true
	case models.ReLU6:
		return C.gb_CUDNN_POINTWISE_RELU_FWD, []attribute{
			values(C.gb_CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, C.gb_CUDNN_TYPE_DOUBLE, 6.0)}, true
	case models.SiLU:
		return C.gb_CUDNN_POINTWISE_SWISH_FWD, []attribute{
			values(C.gb_CUDNN_ATTR_POINTWISE_SWISH_BETA, C.gb_CUDNN_TYPE_DOUBLE, 1.0)}, true
	case models.Sigmoid:
		return C.gb_CUDNN_POINTWISE_SIGMOID_FWD, nil, true
	}
	return 0, nil, false
}

func (b *builder) convolve(f fusion, y descriptor) descriptor {
	s, c := b.session, f.conv
	element, _, _ := s.types()
	if f.fp8 {
		element = C.gb_cudnn_fp8
	}
	x := b.tensor(inputID, element, s.plan.at(f.inputs[0]).extent())
	// How many groups there are follows from the channels of x and of the filter.
	w := b.tensor(filterID, element, [4]int{c.Out, c.In / c.Groups, c.KernelH, c.KernelW})
	pads := []int64{int64(c.PadH), int64(c.PadW)}
	both := func(v int) []int64 { return []int64{int64(v), int64(v)} }
	how := b.make(C.gb_CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR,
		values[C.uint](C.gb_CUDNN_ATTR_CONVOLUTION_COMP_TYPE, C.gb_CUDNN_TYPE_DATA_TYPE, C.gb_cudnn_float),
		values[C.uint](C.gb_CUDNN_ATTR_CONVOLUTION_CONV_MODE, C.gb_CUDNN_TYPE_CONVOLUTION_MODE, C.gb_cudnn_cross_correlation),
		values[int64](C.gb_CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, C.gb_CUDNN_TYPE_INT64, 2),
		values(C.gb_CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, C.gb_CUDNN_TYPE_INT64, pads...),
		values(C.gb_CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, C.gb_CUDNN_TYPE_INT64, pads...),
		values(C.gb_CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, C.gb_CUDNN_TYPE_INT64, both(c.Stride)...),
		values(C.gb_CUDNN_ATTR_CONVOLUTION_DILATIONS, C.gb_CUDNN_TYPE_INT64, both(c.Dilation)...))
	return b.make(C.gb_CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
		values(C.gb_CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, how),
		values(C.gb_CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, x),
		values(C.gb_CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, w),
		values(C.gb_CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, y),
		values[float32](C.gb_CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, C.gb_CUDNN_TYPE_FLOAT, 1),
		values[float32](C.gb_CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, C.gb_CUDNN_TYPE_FLOAT, 0))
}

// pointwise computes y from x, and from an operand where the mode takes two.
func (b *builder) pointwise(mode C.uint, x, operand, y descriptor, settings []attribute) descriptor {
	how := b.make(C.gb_CUDNN_BACKEND_POINTWISE_DESCRIPTOR, append([]attribute{
		values(C.gb_CUDNN_ATTR_POINTWISE_MODE, C.gb_CUDNN_TYPE_POINTWISE_MODE, mode),
		values[C.uint](C.gb_CUDNN_ATTR_POINTWISE_MATH_PREC, C.gb_CUDNN_TYPE_DATA_TYPE, C.gb_cudnn_float),
	}, settings...)...)
	attributes := []attribute{
		values(C.gb_CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, how),
		values(C.gb_CUDNN_ATTR_OPERATION_POINTWISE_XDESC, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, x),
		values(C.gb_CUDNN_ATTR_OPERATION_POINTWISE_YDESC, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, y),
	}
	if operand != nil {
		attributes = append(attributes, values(C.gb_CUDNN_ATTR_OPERATION_POINTWISE_BDESC, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, operand))
	}
	return b.make(C.gb_CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, attributes...)
}

// tensor describes one in the session's layout. Those of inside are virtual: only the
// engine has to know where they lie.
func (b *builder) tensor(id int64, element C.uint, extent [4]int) descriptor {
	n, c, h, w := int64(extent[0]), int64(extent[1]), int64(extent[2]), int64(extent[3])
	strides := []int64{c * h * w, h * w, w, 1}
	if b.session.layout == nhwc {
		strides = []int64{h * w * c, 1, w * c, c}
	}
	return b.make(C.gb_CUDNN_BACKEND_TENSOR_DESCRIPTOR,
		values(C.gb_CUDNN_ATTR_TENSOR_UNIQUE_ID, C.gb_CUDNN_TYPE_INT64, id),
		values(C.gb_CUDNN_ATTR_TENSOR_DATA_TYPE, C.gb_CUDNN_TYPE_DATA_TYPE, element),
		values(C.gb_CUDNN_ATTR_TENSOR_DIMENSIONS, C.gb_CUDNN_TYPE_INT64, n, c, h, w),
		values(C.gb_CUDNN_ATTR_TENSOR_STRIDES, C.gb_CUDNN_TYPE_INT64, strides...),
		values[int64](C.gb_CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, C.gb_CUDNN_TYPE_INT64, 16), // what engines ask for; ours is more
		values(C.gb_CUDNN_ATTR_TENSOR_IS_VIRTUAL, C.gb_CUDNN_TYPE_BOOLEAN, id >= inside))
}

// A config is an engine and how it is set.
type config struct{ config, engine descriptor }

// configs lists the engines for a graph that keep to the session's arithmetic, the
// one that cuDNN expects to be fastest first.
func (b *builder) configs(graph descriptor) []config {
	const room = 64
	heuristics := b.make(C.gb_CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR,
		values(C.gb_CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, graph),
		values[C.uint](C.gb_CUDNN_ATTR_ENGINEHEUR_MODE, C.gb_CUDNN_TYPE_HEUR_MODE, C.gb_CUDNN_HEUR_MODE_A))
	found := make([]descriptor, room)
	for i := range found {
		found[i] = b.create(C.gb_CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
	}
	var fit []config
	for _, c := range get(b, heuristics, C.gb_CUDNN_ATTR_ENGINEHEUR_RESULTS, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, found) {
		engine := b.create(C.gb_CUDNN_BACKEND_ENGINE_DESCRIPTOR)
		get(b, c, C.gb_CUDNN_ATTR_ENGINECFG_ENGINE, C.gb_CUDNN_TYPE_BACKEND_DESCRIPTOR, []descriptor{engine})
		notes := get(b, engine, C.gb_CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, C.gb_CUDNN_TYPE_NUMERICAL_NOTE, make([]C.uint, room))
		if !slices.ContainsFunc(notes, b.session.forbids) {
			fit = append(fit, config{c, engine})
		}
	}
	return fit
}

// forbids reports whether an engine's arithmetic is not that of the session's
// precision, as choose does for algorithms: it gives different bits in every run, sums
// in less than float, rounds float elements to half, or in fp32 to tf32 for the matrix
// units.
func (s *session) forbids(note C.uint) bool {
	switch note {
	case C.gb_CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, C.gb_CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
		return true
	case C.gb_CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
		return s.elementBytes() == 4
	case C.gb_CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
		return s.precision == models.FP32
	}
	return false
}

// A descriptor is an object of the graph API.
type descriptor = C.cudnnBackendDescriptor_t

// A builder makes descriptors and owns them. After a failure it makes no more, so its
// err need be looked at only once.
type builder struct {
	session *session
	node    int // for messages
	made    []descriptor
	err     error
}

func (b *builder) check(call string, status C.uint) {
	if status != 0 {
		b.err = b.session.refuse(b.session.name(b.node), call, status)
	}
}

// create makes a descriptor for cuDNN to fill.
func (b *builder) create(kind C.uint) (d descriptor) {
	if b.err != nil {
		return nil
	}
	b.check("cudnnBackendCreateDescriptor", C.gb_backend_create(b.session.program, kind, &d))
	if b.err == nil {
		b.made = append(b.made, d)
	}
	return d
}

// make gives a descriptor with its attributes.
func (b *builder) make(kind C.uint, attributes ...attribute) descriptor {
	d := b.create(kind)
	for _, a := range attributes {
		if b.err == nil {
			b.check("cudnnBackendSetAttribute", C.gb_backend_set(b.session.program, d, a.name, a.kind, C.int64_t(a.count), a.elements))
		}
	}
	if b.err == nil {
		b.check("cudnnBackendFinalize", C.gb_backend_finalize(b.session.program, d))
	}
	return d
}

// close destroys what was made, last things first. It may be called on nil.
func (p *graphPlan) close() error {
	if p == nil {
		return nil
	}
	return p.builder.close()
}

func (b *builder) close() error {
	var errs []error
	for _, d := range slices.Backward(b.made) {
		if status := C.gb_backend_destroy(b.session.program, d); status != 0 {
			errs = append(errs, b.session.refuse(b.session.name(b.node), "cudnnBackendDestroyDescriptor", status))
		}
	}
	b.made = nil
	return errors.Join(errs...)
}

// An attribute is one of a descriptor, with one or several elements of a type.
type attribute struct {
	name, kind C.uint
	count      int
	elements   unsafe.Pointer
}

func values[T any](name, kind C.uint, elements ...T) attribute {
	return attribute{name, kind, len(elements), unsafe.Pointer(unsafe.SliceData(elements))}
}

// get reads an attribute into room and gives the part of it that was filled. Elements
// that are descriptors must have been created.
func get[T any](b *builder, d descriptor, name, kind C.uint, room []T) []T {
	if b.err != nil {
		return nil
	}
	var count C.int64_t
	b.check("cudnnBackendGetAttribute", C.gb_backend_get(b.session.program, d, name, kind, C.int64_t(len(room)), &count, unsafe.Pointer(unsafe.SliceData(room))))
	if b.err != nil {
		return nil
	}
	return room[:min(int(count), len(room))]
}
