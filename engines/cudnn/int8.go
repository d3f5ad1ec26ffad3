package cudnn

// #include "program.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// rounded is an int8 or fp8 network as this engine computes it. Activations lie in memory
// as the 8-bit numbers that the model rounds them to. In int8 cuDNN multiplies the
// integers of a convolution and gives their sums as floats; one kernel of ours then
// applies the scale of each output channel, which no parameter of cuDNN's calls can
// (alpha1 of cudnnConvolutionBiasActivationForward is one number), with bias, residual and
// activation, and rounds. So the arithmetic is that of the exported model. All other
// operators compute in float and read and write the same integers. In fp8 convolutions
// are plans of the graph API (fp8.go), and what is not rounded is fp16.
type rounded struct {
	models.Rounding
	// inFloat says, by node, why cuDNN does not compute a convolution or linear layer
	// in 8 bits.
	inFloat map[int]string
}

func (r *rounded) scales() *models.Rounding {
	if r == nil {
		return nil
	}
	return &r.Rounding
}

// needsFloat says why a convolution cannot run in integers; "" where it can. cuDNN has
// 8-bit convolutions with float results (INT8_EXT_CONFIG of cudnnConvolutionForward,
// for which NVIDIA's reference asks compute capability 6.1) in NHWC. The limits are
// narrow, as none of this has been tried on a GPU yet: no dilation, features in
// multiples of four on either side, to which XLA pads them for the same call, and no
// groups, which have been seen to give wrong numbers there (openxla/xla issue 49123).
func needsFloat(op models.Conv) string {
	switch {
	case op.Groups == op.In && op.Groups > 1:
		return "cuDNN has no reliable 8-bit depthwise convolution"
	case op.Groups > 1:
		return fmt.Sprintf("cuDNN has no reliable grouped 8-bit convolution, and this one has %d groups", op.Groups)
	case op.Dilation > 1:
		return "cuDNN has no dilated 8-bit convolution"
	case op.In%4 != 0 || op.Out%4 != 0:
		return fmt.Sprintf("cuDNN's 8-bit convolutions want channels in multiples of 4, and this one has %d and %d", op.In, op.Out)
	}
	return ""
}

// isConvolution reports whether a node is computed by a convolution.
func isConvolution(op models.Op) bool {
	switch op.(type) {
	case models.Conv, models.Linear:
		return true
	}
	return false
}

// compileRounded builds an int8 or fp8 session. Convolutions that cuDNN refuses in 8 bits
// after all are rebuilt in float, and the session says so.
func (e *engine) compileRounded(ctx context.Context, n *models.Network, stream *hardware.CUDAStream, o engines.BuildOptions) (*session, error) {
	if o.Ranges == nil {
		return nil, fmt.Errorf("%s needs the ranges of the activations", o.Precision)
	}
	scales, err := models.NewRounding(n, o.Ranges, o.Precision)
	if err != nil {
		return nil, err
	}
	needsFloat := needsFloat
	if o.Precision == models.FP8 {
		needsFloat = needsHalf
	}
	r := &rounded{Rounding: scales, inFloat: map[int]string{}}
	for i, node := range n.Nodes {
		if !isConvolution(node.Op) {
			continue
		}
		if why := needsFloat(convolutionOf(node.Op)); why != "" {
			r.inFloat[i] = why
		}
	}
	for {
		s, err := e.compile(ctx, n, stream, o, nhwc, r)
		var floats *notEightBits
		if errors.As(err, &floats) && ctx.Err() == nil {
			for node, refused := range floats.nodes {
				r.inFloat[node] = "cuDNN refuses its 8-bit convolution: " + refused.Error()
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.counts()[string(o.Precision)] == 0 && !o.AllowEmulated {
			return nil, errors.Join(fmt.Errorf("no layer of it runs in %s on cuDNN (%s); --allow-emulated runs it in %s",
				eightBits(o.Precision), s.whyFloat(), s.float()), s.Close())
		}
		s.noteFloats()
		return s, nil
	}
}

// eightBits is a precision's numbers in words.
func eightBits(p models.Precision) string {
	if p == models.FP8 {
		return "fp8"
	}
	return "8-bit integers"
}

// float is what an int8 or fp8 session computes in where it does not compute in 8 bits.
func (s *session) float() models.Precision {
	if s.precision == models.FP8 {
		return models.FP16
	}
	return models.FP32
}

// notEightBits is the refusal of convolutions in 8 bits; in float they may work.
type notEightBits struct{ nodes map[int]*refusal }

func (n *notEightBits) add(node int, r *refusal) {
	if n.nodes == nil {
		n.nodes = map[int]*refusal{}
	}
	n.nodes[node] = r
}

func (n *notEightBits) Error() string {
	return fmt.Sprintf("cuDNN refuses %d convolutions in 8 bits", len(n.nodes))
}

// inEightBits reports whether a node is a convolution of 8-bit numbers.
func (s *session) inEightBits(node int) bool {
	return s.rounded != nil && isConvolution(s.network.Nodes[node].Op) && s.rounded.inFloat[node] == ""
}

// runsIn is the precision that a node computes in.
func (s *session) runsIn(node int) models.Precision {
	if s.rounded != nil && !s.inEightBits(node) {
		return s.float()
	}
	return s.precision
}

// counts is how many steps run in which precision.
func (s *session) counts() map[string]int {
	counts := map[string]int{}
	for _, p := range s.plan.steps {
		counts[string(s.runsIn(p.node))]++
	}
	return counts
}

// whyFloat gives the reason of the first convolution that is not in 8 bits.
func (s *session) whyFloat() string {
	for i, n := range s.network.Nodes {
		if why := s.rounded.inFloat[i]; why != "" {
			return n.Name + ": " + why
		}
	}
	return "it has no convolution"
}

// noteFloats names what does not run in 8 bits: convolutions with their reasons, and
// the rest, for which cuDNN has no calls.
func (s *session) noteFloats() {
	var others []string
	for _, p := range s.plan.steps {
		switch why := s.rounded.inFloat[p.node]; {
		case why != "":
			s.note("%s: in %s between 8-bit values: %s", s.name(p.node), s.float(), why)
		case !s.inEightBits(p.node):
			others = append(others, s.name(p.node))
		}
	}
	if len(others) > 0 {
		s.note("in %s on 8-bit values, by kernels of genbench and cuDNN's pooling: %s", s.float(), strings.Join(others, ", "))
	}
}

// roundImage has the program round its input first: the model takes floats.
func (s *session) roundImage() error {
	image := s.plan.at(models.Image)
	if image.step == 0 {
		return nil
	}
	bytes := int64(s.elementBytes()) * int64(image.shape.Elements())
	var err error
	if s.input, err = s.alloc(bytes); err != nil {
		return fmt.Errorf("memory for the input: %w", err)
	}
	if err := s.stream.Fill(s.input, 0, bytes); err != nil {
		return err
	}
	step := s.launch(pointwiseKernel, models.Image, image.extent())
	step.kernel.x = devicePointer(s.input)
	s.writeY(step, models.Image)
	return nil
}

// A loan is memory for floats that one step needs between its kernels. All steps share
// it, as they run one after another.
type loan struct {
	elements int64
	places   []*unsafe.Pointer // in C memory, to point to it
}

// want asks for a pointer to be set to memory for that many floats.
func (l *loan) want(place *unsafe.Pointer, extent [4]int) {
	l.places = append(l.places, place)
	l.elements = max(l.elements, int64(extent[0])*int64(extent[1])*int64(extent[2])*int64(extent[3]))
}

// lend gives the steps the memory that they wanted.
func (s *session) lend() error {
	for _, l := range []*loan{&s.operands, &s.sums} {
		if l.elements == 0 {
			continue
		}
		memory, err := s.alloc(int64(s.elementBytes()) * l.elements)
		if err != nil {
			return fmt.Errorf("memory for floats between 8-bit values: %w", err)
		}
		for _, place := range l.places {
			*place = devicePointer(memory)
		}
		l.places = nil
	}
	return nil
}

// widen turns a rounded value back into floats, for a call of cuDNN's that takes
// nothing else.
func (s *session) widen(node, value int) {
	if s.plan.at(value).step == 0 {
		return
	}
	extent := s.plan.at(value).extent()
	step := s.launch(pointwiseKernel, node, extent)
	s.readX(step, value)
	s.operands.want(&step.kernel.y, extent)
}

// floats has a call of cuDNN's read floats and write them, and rounds what it wrote.
// widen came before.
func (s *session) floats(step *C.gb_step, p *planned) {
	s.readFloats(step, p.inputs[0])
	y := s.plan.at(p.out)
	if y.step == 0 {
		step.y_data = s.address(p.out)
		return
	}
	s.sums.want(&step.y_data, y.extent())
	round := s.launch(pointwiseKernel, p.node, y.extent())
	s.sums.want(&round.kernel.x, y.extent())
	s.writeY(round, p.out)
}

// readFloats has a call of cuDNN's read a value, or what widen made of it.
func (s *session) readFloats(step *C.gb_step, value int) {
	x := s.plan.at(value)
	if x.step == 0 {
		step.x_data = s.address(value)
		return
	}
	s.operands.want(&step.x_data, x.extent())
}

// roundedConvolution appends a convolution of an int8 or fp8 network and the kernel
// after it.
func (s *session) roundedConvolution(p *planned, op models.Conv) error {
	api := s.engine.api
	params, err := s.load(p.node)
	if err != nil {
		return err
	}
	filter := [4]int{op.Out, op.In / op.Groups, op.KernelH, op.KernelW}
	rounded, scales := make([]byte, len(params[0])), make([]float32, s.precision.WeightScales(filter[:]))
	if err := models.QuantizeWeight(s.precision, rounded, scales, params[0]); err != nil {
		return err
	}
	x, y := s.plan.at(p.inputs[0]), s.plan.at(p.out)
	element, compute, multiply := C.uint(C.gb_cudnn_int8), C.uint(C.gb_cudnn_int32), C.uint(C.gb_cudnn_tensor_op_math)
	weights := make([]byte, len(rounded))
	s.each(filter, func(planar, here int) { weights[here] = rounded[planar] })
	if s.precision == models.FP8 && s.inEightBits(p.node) {
		var bias []float32
		if op.Bias {
			bias = params[1]
		}
		s.fp8Convolution(p, weights, scales[0], bias)
		return nil
	}
	if !s.inEightBits(p.node) {
		s.widen(p.node, p.inputs[0])
		element, _, multiply = s.types()
		compute = C.gb_cudnn_float
		weights = s.encode(widened(s.precision, rounded, scales), filter)
	}

	step := s.next(C.gb_convolution, p.node)
	if err := s.describeAs(&step.x, element, x.extent(), p.node); err != nil {
		return err
	}
	if err := s.describe(&step.y, y.extent(), p.node); err != nil {
		return err
	}
	if status := C.gb_describe_filter(api, &step.w, C.uint(s.layout), element, extentOf(filter)); status != 0 {
		return s.refuse(s.name(p.node), "cudnnSetFilter4dDescriptor", status)
	}
	if status := C.gb_describe_convolution(api, &step.convolution, C.int(op.PadH), C.int(op.PadW), C.int(op.Stride),
		C.int(op.Dilation), C.int(op.Groups), compute, multiply); status != 0 {
		return s.refuse(s.name(p.node), "cudnnSetConvolution2dDescriptor", status)
	}
	s.keep(&step.w_data, weights)
	s.sums.want(&step.y_data, y.extent())

	rest := s.next(C.gb_launch, p.node)
	s.describePointwise(rest, p)
	s.sums.want(&rest.kernel.x, y.extent())
	if op.Bias {
		s.keepFloats(&rest.kernel.shift, params[1])
	}
	if !s.inEightBits(p.node) {
		s.readFloats(step, p.inputs[0])
		return nil
	}
	step.x_data = s.address(p.inputs[0])
	factors := slices.Clone(scales)
	for i := range factors {
		factors[i] *= x.step
	}
	s.keepFloats(&rest.kernel.scale, factors)
	return nil
}

// widened gives the floats that 8-bit weights stand for.
func widened(p models.Precision, rounded []byte, scales []float32) []float32 {
	values := make([]float32, len(rounded))
	if p == models.FP8 {
		models.DecodeFP8(values, rounded)
	} else {
		for i, b := range rounded {
			values[i] = float32(int8(b))
		}
	}
	fan := len(values) / len(scales)
	for i := range values {
		values[i] *= scales[i/fan]
	}
	return values
}
