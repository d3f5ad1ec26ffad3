package cudnn

// #include "program.h"
import "C"

import (
	"fmt"
	"math"
	"unsafe"

	"genbench/models"
)

// Names of the kernels in kernels.cu.
const (
	pointwiseKernel = "gb_pointwise"
	multiplyKernel  = "gb_multiply"
	channelsKernel  = "gb_channels"
	planesKernel    = "gb_planes"
	poolKernel      = "gb_pool"
)

// add appends what computes a planned step.
func (s *session) add(p *planned) error {
	node := s.network.Nodes[p.node]
	switch op := node.Op.(type) {
	case models.Conv, models.Linear:
		return s.convolution(p, convolutionOf(op))
	case models.BatchNorm:
		params, err := s.load(p.node)
		if err != nil {
			return err
		}
		scale, shift := make([]float32, op.Channels), make([]float32, op.Channels)
		for i := range scale {
			f := float64(params[0][i]) / math.Sqrt(float64(params[3][i])+op.Epsilon)
			scale[i], shift[i] = float32(f), float32(float64(params[1][i])-float64(params[2][i])*f)
		}
		step, err := s.pointwise(p, p.inputs[0])
		if err != nil {
			return err
		}
		s.keepFloats(&step.kernel.scale, scale)
		s.keepFloats(&step.kernel.shift, shift)
		return nil
	case models.Activation, models.Add:
		_, err := s.pointwise(p, p.inputs[0])
		return err
	case models.Mul:
		return s.multiply(p)
	case models.Concat:
		to := 0
		for _, input := range p.inputs {
			channels := s.plan.at(input).extent()[1]
			s.channels(p, input, channels, 0, to, 1)
			to += channels
		}
		return nil
	case models.Slice:
		s.channels(p, p.inputs[0], op.To-op.From, op.From, 0, 1)
		return nil
	case models.Shuffle:
		s.channels(p, p.inputs[0], s.plan.at(p.inputs[0]).extent()[1], 0, 0, op.Groups)
		return nil
	case models.Flatten: // one that is not free
		step := s.launch(planesKernel, p.node, s.plan.at(p.inputs[0]).extent())
		s.readX(step, p.inputs[0])
		s.writeY(step, p.out)
		return nil
	case models.MaxPool:
		return s.pool(p, op.Kernel, op.Stride, op.Pad, C.gb_cudnn_max)
	case models.AvgPool:
		mode := C.uint(C.gb_cudnn_mean_of_input)
		if op.CountPad {
			mode = C.gb_cudnn_mean_with_padding
		}
		return s.pool(p, op.Kernel, op.Stride, op.Pad, mode)
	case models.GlobalAvgPool:
		x := s.plan.at(p.inputs[0]).extent()
		return s.cudnnPool(p, x[2], x[3], 0, 1, C.gb_cudnn_mean_of_input)
	case models.RadixSoftmax:
		return s.softmax(p, op)
	}
	return fmt.Errorf("cudnn has no operator %s", node.Op.Kind())
}

// convolutionOf gives a layer as a convolution; a linear one is that over a single pixel.
func convolutionOf(op models.Op) models.Conv {
	if l, ok := op.(models.Linear); ok {
		return models.Conv{In: l.In, Out: l.Out, KernelH: 1, KernelW: 1, Stride: 1, Dilation: 1, Groups: 1, Bias: l.Bias}
	}
	return op.(models.Conv)
}

// load gives a node's parameters in the order of models.Node.Params.
func (s *session) load(node int) ([][]float32, error) {
	specs := s.network.Nodes[node].Params()
	params := make([][]float32, len(specs))
	for i, p := range specs {
		params[i] = make([]float32, p.Shape.Elements())
		if err := s.network.Weights.Load(p, params[i]); err != nil {
			return nil, err
		}
	}
	return params, nil
}

func extentOf(e [4]int) C.gb_extent {
	return C.gb_extent{n: C.int(e[0]), c: C.int(e[1]), h: C.int(e[2]), w: C.int(e[3])}
}

// describe gives a descriptor of a tensor in the session's layout and type.
func (s *session) describe(t *C.cudnnTensorDescriptor_t, e [4]int, node int) error {
	element, _, _ := s.types()
	return s.describeAs(t, element, e, node)
}

func (s *session) describeAs(t *C.cudnnTensorDescriptor_t, element C.uint, e [4]int, node int) error {
	if status := C.gb_describe_tensor(s.engine.api, t, C.uint(s.layout), element, extentOf(e)); status != 0 {
		return s.refuse(s.name(node), "cudnnSetTensor4dDescriptor", status)
	}
	return nil
}

// convolution appends one fused call, where the activation is one that cuDNN fuses,
// or a convolution and a kernel for the rest. The fused step holds that kernel's
// arguments too, for split.
func (s *session) convolution(p *planned, op models.Conv) error {
	if s.rounded != nil {
		return s.roundedConvolution(p, op)
	}
	api := s.engine.api
	params, err := s.load(p.node)
	if err != nil {
		return err
	}
	var bias []float32
	if op.Bias {
		bias = params[1]
	}
	fusable := p.act == "" || p.act == models.ReLU
	plain := bias == nil && p.add == none && p.act == ""
	kind := C.uint(C.gb_convolution)
	if fusable && !plain {
		kind = C.gb_fused_convolution
		if bias == nil {
			bias = make([]float32, op.Out) // the fused call insists on one
		}
	}
	step := s.next(kind, p.node)
	name := s.name(p.node)
	x, y := s.plan.at(p.inputs[0]).extent(), s.plan.at(p.out).extent()
	filter := [4]int{op.Out, op.In / op.Groups, op.KernelH, op.KernelW}
	if err := s.describe(&step.x, x, p.node); err != nil {
		return err
	}
	if err := s.describe(&step.y, y, p.node); err != nil {
		return err
	}
	element, _, multiply := s.types()
	if status := C.gb_describe_filter(api, &step.w, C.uint(s.layout), element, extentOf(filter)); status != 0 {
		return s.refuse(name, "cudnnSetFilter4dDescriptor", status)
	}
	if status := C.gb_describe_convolution(api, &step.convolution, C.int(op.PadH), C.int(op.PadW), C.int(op.Stride),
		C.int(op.Dilation), C.int(op.Groups), C.gb_cudnn_float, multiply); status != 0 {
		return s.refuse(name, "cudnnSetConvolution2dDescriptor", status)
	}
	step.x_data, step.y_data = s.address(p.inputs[0]), s.address(p.out)
	s.keep(&step.w_data, s.encode(params[0], filter))

	if bias != nil { // read by a fused call and by a graph
		s.keep(&step.bias_data, s.encode(bias, [4]int{1, op.Out, 1, 1}))
	}
	rest := step
	if kind == C.gb_convolution && !plain {
		rest = s.next(C.gb_launch, p.node)
	}
	if !plain {
		s.describePointwise(rest, p)
		rest.kernel.x = step.y_data // in place
		if bias != nil {
			s.keepFloats(&rest.kernel.shift, bias)
		}
	}
	if kind != C.gb_fused_convolution {
		return nil
	}
	if err := s.describe(&step.z, y, p.node); err != nil {
		return err
	}
	step.z_data = step.y_data // a valid address, which the factor 0 keeps from being read
	if p.add != none {
		step.z_data, step.z_factor = s.address(p.add), 1
	}
	if err := s.describe(&step.bias, [4]int{1, op.Out, 1, 1}, p.node); err != nil {
		return err
	}
	mode := C.uint(C.gb_cudnn_identity)
	if p.act == models.ReLU {
		mode = C.gb_cudnn_relu
	}
	if status := C.gb_describe_activation(api, &step.activation, mode); status != 0 {
		return s.refuse(name, "cudnnSetActivationDescriptor", status)
	}
	// Without an activation cuDNN fuses in one algorithm only (cudnnConvolutionBias-
	// ActivationForward in NVIDIA's API reference); choose heeds it.
	return nil
}

// split makes a convolution and a kernel out of a fused step.
func (s *session) split(i int) error {
	all := unsafe.Slice(s.program.steps, s.room)
	count := int(s.program.count)
	if count == s.room {
		return fmt.Errorf("node %s: no room to split a fused convolution", s.name(int(all[i].node)))
	}
	copy(all[i+2:count+1], all[i+1:count])
	s.program.count++
	fused := &all[i]
	all[i+1] = C.gb_step{kind: C.gb_launch, node: fused.node, function: fused.function, blocks: fused.blocks, threads: fused.threads, kernel: fused.kernel}
	fused.kind = C.gb_convolution
	s.note("%s: not fused: cuDNN has no such call for it", s.name(int(fused.node)))
	return nil
}

// function is the number of an activation in the kernels.
func function(f models.ActivationFunc) C.int {
	switch f {
	case models.ReLU:
		return C.gb_relu
	case models.ReLU6:
		return C.gb_relu6
	case models.SiLU:
		return C.gb_silu
	case models.HardSwish:
		return C.gb_hardswish
	case models.HardSigmoid:
		return C.gb_hardsigmoid
	case models.Sigmoid:
		return C.gb_sigmoid
	}
	return C.gb_none
}

// launch appends a kernel over the elements of a tensor.
func (s *session) launch(kernel string, node int, e [4]int) *C.gb_step {
	step := s.next(C.gb_launch, node)
	s.describeLaunch(step, kernel, e)
	return step
}

func (s *session) describeLaunch(step *C.gb_step, kernel string, e [4]int) {
	const threads, perMultiprocessor = 256, 8 // 2048 threads are all that one holds
	_, element, _ := s.types()
	elements := e[0] * e[1] * e[2] * e[3]
	step.function = C.CUfunction(s.engine.kernels[kernel])
	step.threads = threads
	step.blocks = C.uint(min((elements+threads-1)/threads, perMultiprocessor*s.engine.device.Details().Multiprocessors))
	step.kernel.elements = C.uint(elements)
	step.kernel.x_type, step.kernel.z_type, step.kernel.y_type = C.int(element), C.int(element), C.int(element)
	step.kernel.c, step.kernel.h, step.kernel.w = C.int(e[1]), C.int(e[2]), C.int(e[3])
	if s.layout == nhwc {
		step.kernel.nhwc = 1
	}
}

// describePointwise sets all of a pointwise kernel but its x, scale and shift.
func (s *session) describePointwise(step *C.gb_step, p *planned) {
	s.describeLaunch(step, pointwiseKernel, s.plan.at(p.out).extent())
	s.writeY(step, p.out)
	step.kernel.function = function(p.act)
	if p.add != none {
		s.readZ(step, p.add)
	}
}

// readX has a kernel read a value as its x; readZ and writeY do the same for the other
// operands.
func (s *session) readX(step *C.gb_step, node int) {
	k := &step.kernel
	k.x, k.x_type, k.x_step = s.operand(node)
}

func (s *session) readZ(step *C.gb_step, node int) {
	k := &step.kernel
	k.z, k.z_type, k.z_step = s.operand(node)
}

func (s *session) writeY(step *C.gb_step, node int) {
	k := &step.kernel
	k.y, k.y_type, k.y_step = s.operand(node)
}

// operand is where and as what a kernel finds a value.
func (s *session) operand(node int) (at unsafe.Pointer, element C.int, step C.float) {
	if step := s.plan.at(node).step; step != 0 {
		if s.precision == models.FP8 {
			return s.address(node), C.gb_fp8, C.float(step)
		}
		return s.address(node), C.gb_int8, C.float(step)
	}
	_, kernel, _ := s.types()
	return s.address(node), C.int(kernel), 0
}

func (s *session) pointwise(p *planned, x int) (*C.gb_step, error) {
	step := s.next(C.gb_launch, p.node)
	s.describePointwise(step, p)
	s.readX(step, x)
	return step, nil
}

func (s *session) multiply(p *planned) error {
	y := s.plan.at(p.out).extent()
	step := s.launch(multiplyKernel, p.node, y)
	s.readX(step, p.inputs[0])
	s.readZ(step, p.inputs[1])
	s.writeY(step, p.out)
	gate := func(input int) C.int {
		if s.plan.at(input).extent() != y {
			return 1
		}
		return 0
	}
	step.kernel.x_gate, step.kernel.z_gate = gate(p.inputs[0]), gate(p.inputs[1])
	return nil
}

// channels appends a copy of channels from one tensor into another.
func (s *session) channels(p *planned, input, count, from, to, groups int) {
	x, y := s.plan.at(input).extent(), s.plan.at(p.out).extent()
	step := s.launch(channelsKernel, p.node, [4]int{y[0], count, y[2], y[3]})
	s.readX(step, input)
	s.writeY(step, p.out)
	step.kernel.x_channels, step.kernel.y_channels = C.int(x[1]), C.int(y[1])
	step.kernel.from, step.kernel.to, step.kernel.groups = C.int(from), C.int(to), C.int(groups)
}

// pool uses cuDNN where all windows lie within input and padding, as its rule for
// the output's extent wants, and a kernel where the last one reaches beyond, or where
// the input would have to be converted back from 8 bits.
func (s *session) pool(p *planned, kernel, stride, pad int, mode C.uint) error {
	x, y := s.plan.at(p.inputs[0]).extent(), s.plan.at(p.out).extent()
	within := y[2] == (x[2]+2*pad-kernel)/stride+1 && y[3] == (x[3]+2*pad-kernel)/stride+1
	if within && s.plan.at(p.inputs[0]).step == 0 {
		return s.cudnnPool(p, kernel, kernel, pad, stride, mode)
	}
	step := s.launch(poolKernel, p.node, y)
	s.readX(step, p.inputs[0])
	s.writeY(step, p.out)
	step.kernel.x_h, step.kernel.x_w = C.int(x[2]), C.int(x[3])
	step.kernel.window, step.kernel.stride, step.kernel.pad = C.int(kernel), C.int(stride), C.int(pad)
	if mode == C.gb_cudnn_max {
		step.kernel.maximum = 1
	}
	if mode == C.gb_cudnn_mean_with_padding {
		step.kernel.count_pad = 1
	}
	return nil
}

func (s *session) cudnnPool(p *planned, kernelH, kernelW, pad, stride int, mode C.uint) error {
	s.widen(p.node, p.inputs[0])
	step := s.next(C.gb_pooling, p.node)
	if err := s.describe(&step.x, s.plan.at(p.inputs[0]).extent(), p.node); err != nil {
		return err
	}
	if err := s.describe(&step.y, s.plan.at(p.out).extent(), p.node); err != nil {
		return err
	}
	if status := C.gb_describe_pooling(s.engine.api, &step.pooling, mode, C.int(kernelH), C.int(kernelW), C.int(pad), C.int(stride)); status != 0 {
		return s.refuse(s.name(p.node), "cudnnSetPooling2dDescriptor", status)
	}
	s.floats(step, p)
	return nil
}

// softmax reads N×(Radix·C)×1×1 as N×Radix×C×1, of which cuDNN normalises the second
// dimension. That is NCHW whatever the layout, in which single pixels are the same.
func (s *session) softmax(p *planned, op models.RadixSoftmax) error {
	x := s.plan.at(p.inputs[0]).extent()
	view := extentOf([4]int{x[0], op.Radix, x[1] / op.Radix, 1})
	s.widen(p.node, p.inputs[0])
	step := s.next(C.gb_softmax, p.node)
	element, _, _ := s.types()
	for _, t := range []*C.cudnnTensorDescriptor_t{&step.x, &step.y} {
		if status := C.gb_describe_tensor(s.engine.api, t, C.gb_cudnn_nchw, element, view); status != 0 {
			return s.refuse(s.name(p.node), "cudnnSetTensor4dDescriptor", status)
		}
	}
	s.floats(step, p)
	return nil
}
