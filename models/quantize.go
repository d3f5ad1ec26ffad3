package models

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Kernels says which 8-bit kernels a model places its roundings for: the
// quantize/dequantize pairs tell an engine what it may compute in integers, and engines
// read them differently. Weights and scales are the same in both.
type Kernels int

const (
	// FusedKernels round once after a convolution, the residual sum it goes into and
	// the activation that follows, in signed integers with zero point 0. It is the form
	// that TensorRT's guide asks for: a pair inside such a chain splits the kernel, a
	// zero point or an int32 bias is refused (TensorRT documentation, "Explicit
	// Quantization"; onnx-tensorrt, QuantDequantLinearHelper).
	FusedKernels Kernels = iota
	// OperatorKernels round after every operator and store activations as unsigned
	// integers with zero point 128, which are the same numbers. It is the form that
	// ONNX Runtime runs in int8 on x86: it keeps a convolution in float if the reader
	// of its result is an activation that the zero point does not make redundant, and
	// an int8 tensor with two readers has no fast kernel there (microsoft/onnxruntime,
	// qdq_selectors.cc and qdq_s8_to_u8.cc; tried with 1.32).
	OperatorKernels
)

// A QuantizedNode is what becomes of a node in an int8 model.
type QuantizedNode struct {
	Node string `json:"node"` // of the folded network
	Kind string `json:"kind"`
	Int8 bool   `json:"int8"` // computes on 8-bit integers
	// Reason says why a node stays in float, or which other one it shares a kernel with.
	Reason string `json:"reason,omitempty"`
	// Limit is the largest magnitude of the node's 8-bit result; 0 where the result
	// stays in float or the ranges are not known.
	Limit float32 `json:"limit,omitempty"`
}

// Quantization says node by node what an int8 export of the network computes in
// integers, what stays in float and why. It is the exporter's own decision, which does
// not depend on the ranges: without them the limits are left out.
func Quantization(n *Network, r *Ranges, k Kernels) ([]QuantizedNode, error) {
	folded, err := Fold(n)
	if err != nil {
		return nil, err
	}
	q := quantize(folded, k)
	if r != nil {
		if err := q.setLimits(r); err != nil {
			return nil, err
		}
	}
	return q.nodes, nil
}

// A Rounding holds the scales of the tensors of an 8-bit model, for an engine that
// computes the network itself instead of reading its file: the real number is the one
// in 8 bits, an integer of -127 to 127 or E4M3 of fp8, times the scale.
type Rounding struct {
	Image float32   // of the input; 0 where it stays in float
	Nodes []float32 // by node of the folded network; 0 where the result stays in float
}

// NewRounding gives the scales of the roundings that an export for FusedKernels in a
// calibrated precision places, as QuantizeWeight does those of the weights. The network
// must be folded. A range that is missing is an error that names its node.
func NewRounding(folded *Network, r *Ranges, p Precision) (Rounding, error) {
	q := quantize(folded, FusedKernels)
	if err := q.setLimits(r); err != nil {
		return Rounding{}, err
	}
	scales := Rounding{Image: q.imageLimit / p.steps(), Nodes: make([]float32, len(q.nodes))}
	for i, n := range q.nodes {
		scales.Nodes[i] = n.Limit / p.steps()
	}
	return scales, nil
}

// quantization is where a folded network is rounded to 8 bits.
type quantization struct {
	network *Network
	kernels Kernels
	readers [][]int // by node
	nodes   []QuantizedNode
	rounded []bool // by node, whether its result is
	image   bool   // whether the input is
	// imageLimit is the limit of the input; those of the nodes are in nodes.
	imageLimit float32
}

// quantize decides what of a folded network runs in integers and where a result is
// rounded. Everything that writes or shows an int8 model follows it.
//
// Convolutions and linear layers take their inputs rounded. So do sums, gates,
// pools and operators that move data, so that what lies between two layers stays
// in 8 bits and residual sums have both summands in integers.
func quantize(n *Network, k Kernels) *quantization {
	q := &quantization{
		network: n, kernels: k,
		readers: make([][]int, len(n.Nodes)),
		nodes:   make([]QuantizedNode, len(n.Nodes)),
		rounded: make([]bool, len(n.Nodes)),
	}
	wanted := make([]bool, len(n.Nodes)) // by a reader that takes integers
	for i, node := range n.Nodes {
		takes := q.takesIntegers(node.Op)
		for _, j := range node.Inputs {
			if j == Image {
				q.image = q.image || takes
				continue
			}
			q.readers[j] = append(q.readers[j], i)
			wanted[j] = wanted[j] || takes
		}
	}
	summand := q.fusedSummands()
	last := len(n.Nodes) - 1
	for i, node := range n.Nodes {
		takes := q.takesIntegers(node.Op)
		switch {
		case i == last: // the logits are float32
		case k == OperatorKernels:
			q.rounded[i] = wanted[i] || takes
		default:
			q.rounded[i] = wanted[i] && !summand[i]
		}
		state := QuantizedNode{Node: node.Name, Kind: node.Op.Kind(), Int8: takes}
		switch op := node.Op.(type) {
		case Activation:
			j := node.Inputs[0]
			switch {
			case takes:
			case k == FusedKernels && j != Image && !q.rounded[j] && q.nodes[j].Int8:
				state.Int8, state.Reason = true, "in the kernel of "+n.Nodes[j].Name
			case k == OperatorKernels && (op.Func == ReLU || op.Func == ReLU6):
				state.Reason = "float between two roundings to the same scale, which change nothing"
			default:
				state.Reason = "an activation computes in float"
			}
		case BatchNorm:
			state.Reason = "no 8-bit kernel for a batch norm that folds into no layer"
		case RadixSoftmax:
			state.Reason = "a softmax computes in float"
		default:
			switch {
			case summand[i]:
				state.Reason = "in one kernel with " + n.Nodes[q.readers[i][0]].Name
			case i == last:
				state.Reason = "its result stays in float"
			}
		}
		q.nodes[i] = state
	}
	return q
}

// takesIntegers reports whether an engine has an 8-bit kernel for the operator.
func (q *quantization) takesIntegers(op Op) bool {
	switch op := op.(type) {
	case Conv, Linear, Add, Mul, Concat, Slice, MaxPool, AvgPool, GlobalAvgPool, Flatten, Shuffle:
		return true
	case Activation:
		// By table, and a SiLU is a sigmoid and a product. Measured with ONNX Runtime 1.32,
		// EfficientNet-B0 is faster than in fp32 with them in integers and slower without.
		return q.kernels == OperatorKernels && (op.Func == Sigmoid || op.Func == SiLU)
	}
	return false
}

// fusedSummands finds the convolutions that share a kernel with the sum that they,
// and nothing else, go into: one for each sum.
func (q *quantization) fusedSummands() []bool {
	fused := make([]bool, len(q.network.Nodes))
	if q.kernels != FusedKernels {
		return fused
	}
	for _, node := range q.network.Nodes {
		if _, ok := node.Op.(Add); !ok {
			continue
		}
		for _, j := range node.Inputs {
			if j == Image || len(q.readers[j]) != 1 {
				continue
			}
			if _, ok := q.network.Nodes[j].Op.(Conv); ok {
				fused[j] = true
				break
			}
		}
	}
	return fused
}

// setLimits gives every rounded tensor the range of its values.
func (q *quantization) setLimits(r *Ranges) error {
	var err error
	own := func(name string) float32 {
		limit, ok := r.Limit[name]
		switch {
		case err != nil:
		case !ok:
			err = fmt.Errorf("the ranges hold none for %s; calibrate %s itself", name, q.network.Name)
		case !(limit >= 0) || limit > math.MaxFloat32:
			err = fmt.Errorf("the range of %s is %v, want a magnitude", name, limit)
		case limit < fp8Max*0x1p-126:
			// There were only zeros, or numbers so small that an engine could not
			// divide by their scale: any scale represents them.
			limit = 1
		}
		return limit
	}
	if q.image {
		q.imageLimit = own(InputName)
	}
	for i, node := range q.network.Nodes {
		if !q.rounded[i] {
			continue
		}
		inputs := make([]float32, len(node.Inputs))
		for k, j := range node.Inputs {
			inputs[k] = q.imageLimit
			if j != Image {
				inputs[k] = q.nodes[j].Limit
			}
		}
		switch node.Op.(type) {
		case MaxPool, Slice, Flatten, Shuffle, Concat:
			// They only pass numbers on. With the scale of the input nothing is rounded
			// twice; a concatenation takes the coarsest one.
			q.nodes[i].Limit = slices.Max(inputs)
		default:
			name := node.Name
			if f := q.cutOff(i); f != "" {
				name = f
			}
			q.nodes[i].Limit = own(name)
		}
	}
	return err
}

// cutOff names the ReLU or ReLU6 that is the only reader of a node's result. What it
// cuts off needs no range, and with one scale on both sides of it the function is that
// of one rounding after it.
func (q *quantization) cutOff(i int) string {
	if len(q.readers[i]) != 1 {
		return ""
	}
	node := q.network.Nodes[q.readers[i][0]]
	if op, ok := node.Op.(Activation); ok && (op.Func == ReLU || op.Func == ReLU6) {
		return node.Name
	}
	return ""
}

// quantize rounds a weight to the 8 bits of a calibrated precision. QuantizeLinear of ONNX,
// which rounds the activations of an exported model, differs in int8 where a number is
// beyond its range: it goes down to -128.
func (p Precision) quantize(v, scale float32) byte {
	if p == FP8 {
		return fp8(v / scale)
	}
	steps := math.RoundToEven(float64(v) / float64(scale))
	return byte(int8(min(max(steps, -127), 127)))
}

// WeightScales is how many scales a kernel of an 8-bit model has: one for each output
// channel in int8. In fp8 it is one for all, as floats keep their digits even where
// they differ much, and as that is what NVIDIA's sample of an fp8 convolution
// multiplies its result with (cudnn-frontend, samples/cpp/convolution/fp8_fprop.cpp).
func (p Precision) WeightScales(kernel Shape) int {
	if p == FP8 {
		return 1
	}
	return kernel[0]
}

// QuantizeWeight rounds a kernel to the 8 bits of a calibrated precision and gives the
// scales, each that of the largest among the weights that share it. raw takes one byte
// per value.
func QuantizeWeight(p Precision, raw []byte, scales, values []float32) error {
	fan := len(values) / len(scales)
	for o := range scales {
		row := values[o*fan : (o+1)*fan]
		var largest float32
		for _, v := range row {
			largest = max(largest, v, -v)
		}
		scale := largest / p.steps()
		if !(largest <= math.MaxFloat32) {
			if len(scales) == 1 {
				return errors.New("it holds values that are not numbers")
			}
			return fmt.Errorf("output channel %d holds values that are not numbers", o)
		}
		if scale == 0 {
			scale = 1 // a channel of zeros, or of numbers too small for a scale
		}
		scales[o] = scale
		for i, v := range row {
			raw[o*fan+i] = p.quantize(v, scale)
		}
	}
	return nil
}
