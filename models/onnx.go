package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// ExportOptions is what an exported model is fixed to.
type ExportOptions struct {
	Batch     int // images per inference; shapes in the file are static
	Precision Precision
	// Ranges of the activations; needed only by int8 and fp8.
	Ranges *Ranges
	// Kernels that an int8 model is written for; an fp8 model is written for FusedKernels.
	Kernels Kernels
}

// A PrecisionError says that a network cannot be exported in a precision.
type PrecisionError struct {
	Network   string
	Precision Precision
	Supported []Precision
}

func (e *PrecisionError) Error() string {
	names := make([]string, len(e.Supported))
	for i, p := range e.Supported {
		names[i] = string(p)
	}
	return fmt.Sprintf("export %s to ONNX: precision %q is not supported, choose one of %s", e.Network, string(e.Precision), strings.Join(names, ", "))
}

// onnxVersion is the version of the file format and of its operators.
type onnxVersion struct{ ir, opset int }

// version gives the oldest pair that has every operator in the element type. IR 8
// and opset 17 have HardSwish (opset 14) and QuantizeLinear per channel (opset 13) and are
// read by ONNX Runtime since 1.12 and TensorRT since 8.5. Convolutions, pools,
// HardSwish and HardSigmoid take bfloat16 from opset 22 on, which came with IR 10 in
// ONNX 1.17; QuantizeLinear gives float8 from opset 19 on, which came with IR 9 in ONNX
// 1.14 (onnx/docs/Operators.md, onnx/docs/Versioning.md).
func (p Precision) version() onnxVersion {
	switch p {
	case BF16:
		return onnxVersion{10, 22}
	case FP8:
		return onnxVersion{9, 19}
	}
	return onnxVersion{8, 17}
}

// element is the type of the weights that are not quantised, of constants, of the
// input and of the output.
func (p Precision) element() ElemType {
	switch p {
	case FP16:
		return ElemFloat16
	case BF16:
		return ElemBFloat16
	}
	return ElemFloat32
}

// ONNX writes the network as it is deployed, batch norms folded: input "input",
// output "logits", weights inside. The precision is that of the file: in fp16 and
// bf16 every tensor has that type, the input and the output too; tf32 is fp32, as
// it is a way to multiply; int8 takes and gives float32, keeps the weights as 8-bit
// integers, one scale per output channel, and marks with pairs of QuantizeLinear and
// DequantizeLinear where Quantization rounds. Biases stay float32: ONNX Runtime
// quantises them itself and TensorRT takes them no other way. fp8 does the same with
// E4M3 in place of the integers, and one scale per kernel.
//
// The same network and options give the same bytes on every machine. A weight that is
// not a number or that the precision cannot hold, or an activation without a range for
// int8 or fp8, is an error that names it.
//
// Memory: the file once, and for each CPU the largest tensor once, as float32.
func ONNX(n *Network, o ExportOptions) ([]byte, error) {
	if !slices.ContainsFunc(Precisions(), func(p PrecisionInfo) bool { return p.Name == o.Precision }) {
		err := &PrecisionError{Network: n.Name, Precision: o.Precision}
		for _, p := range Precisions() {
			err.Supported = append(err.Supported, p.Name)
		}
		return nil, err
	}
	if o.Batch < 1 {
		return nil, fmt.Errorf("export %s to ONNX: batch %d, want at least 1", n.Name, o.Batch)
	}
	if len(n.Nodes) == 0 || n.Weights == nil {
		return nil, fmt.Errorf("export %s to ONNX: the network has %d nodes and weights %v", n.Name, len(n.Nodes), n.Weights)
	}
	model, err := export(n, o)
	if err != nil {
		return nil, fmt.Errorf("export %s to ONNX in %s: %w", n.Name, o.Precision, err)
	}
	return model, nil
}

func export(n *Network, o ExportOptions) ([]byte, error) {
	folded, err := Fold(n)
	if err != nil {
		return nil, err
	}
	shapes, err := folded.Shapes(o.Batch)
	if err != nil {
		return nil, err
	}
	g := onnxGraph{
		network: folded, batch: o.Batch, shapes: shapes,
		precision: o.Precision, element: o.Precision.element(), values: make([]string, len(folded.Nodes)),
	}
	if o.Precision.Calibrated() {
		if o.Ranges == nil {
			return nil, fmt.Errorf("%s needs the ranges of the activations; calibrate the network first", o.Precision)
		}
		kernels := o.Kernels
		if o.Precision == FP8 {
			kernels = FusedKernels
		}
		g.rounding = quantize(folded, kernels)
		if err := g.rounding.setLimits(o.Ranges); err != nil {
			return nil, err
		}
	}
	if err := g.addNodes(); err != nil {
		return nil, err
	}
	model, places, err := g.layOut()
	if err != nil {
		return nil, err
	}
	if err := writeWeights(folded.Weights, places); err != nil {
		return nil, err
	}
	return model, nil
}

// onnxGraph collects a graph before its size is known.
type onnxGraph struct {
	network   *Network
	batch     int
	shapes    []Shape
	precision Precision
	element   ElemType
	rounding  *quantization // of int8 and fp8; nil in every other precision
	image     string        // name of the input, as nodes read it
	values    []string      // by node, the name of its output, as nodes read it

	nodes     []byte            // encoded fields of the GraphProto
	constants []byte            // encoded initializers that are not weights
	taken     map[string]bool   // names of nodes and values
	shared    map[string]string // names of the constants that all nodes share, by what was wanted
	params    []exportedParam
}

// An exportedParam is a parameter with its names in the file.
type exportedParam struct {
	Param
	name string // as nodes read it
	// rounded and scales are what an 8-bit kernel is stored as; empty for others.
	rounded, scales string
}

// attribute is a named int, float32 or []int.
type attribute struct {
	name  string
	value any
}

func (g *onnxGraph) addNodes() error {
	n := g.network
	g.taken = map[string]bool{InputName: true, OutputName: true}
	for i, node := range n.Nodes {
		if node.Name == "" || g.taken[node.Name] {
			return fmt.Errorf("node %d: name %q is empty or taken", i, node.Name)
		}
		g.taken[node.Name] = true
		g.values[i] = node.Name
	}
	g.image = InputName
	if g.rounding != nil && g.rounding.image {
		g.image = g.round(InputName, g.rounding.imageLimit)
	}
	for i, node := range n.Nodes {
		if i == len(n.Nodes)-1 {
			g.values[i] = OutputName
		}
		if err := g.addNode(i, node); err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
		if g.rounding != nil && g.rounding.rounded[i] {
			g.values[i] = g.round(node.Name, g.rounding.nodes[i].Limit)
		}
	}
	return nil
}

// own names something that the exporter adds to the network's nodes: as wanted, or with
// underscores appended where the network has the name. A file from elsewhere may well
// call a node as another one's weight is called here.
func (g *onnxGraph) own(wanted string) string {
	for g.taken[wanted] {
		wanted += "_"
	}
	g.taken[wanted] = true
	return wanted
}

// round adds a quantize/dequantize pair after a tensor and names its end.
func (g *onnxGraph) round(tensor string, limit float32) string {
	scale := g.constant(tensor+scaleSuffix, nil, ElemFloat32, floatBytes(limit/g.precision.steps()))
	var zero string
	switch {
	case g.precision == FP8: // the same bits as the integer; its type says what to round to
		zero = g.once("zero/fp8", nil, ElemFloat8, []byte{0})
	case g.rounding.kernels == OperatorKernels:
		zero = g.once("zero/uint8", nil, ElemUint8, []byte{128})
	default:
		zero = g.once("zero/int8", nil, ElemInt8, []byte{0})
	}
	quantized, end := g.own(tensor+"/quantized"), g.own(tensor+"/rounded")
	g.node(g.own(tensor+"/quantize"), "QuantizeLinear", []string{tensor, scale, zero}, quantized)
	g.node(g.own(tensor+"/dequantize"), "DequantizeLinear", []string{quantized, scale, zero}, end)
	return end
}

// weight names a parameter as a node reads it. The kernels of an 8-bit model are
// rounded numbers that a node converts back to float.
func (g *onnxGraph) weight(p Param) string {
	e := exportedParam{Param: p, name: g.own(p.Key)}
	if g.rounding != nil && p.Role == Kernel {
		e.rounded, e.scales = g.own(e.name+"/"+string(g.precision)), g.own(e.name+scaleSuffix)
		if g.precision == FP8 {
			zero := g.once("zero/fp8", nil, ElemFloat8, []byte{0})
			g.node(g.own(e.name+"/dequantize"), "DequantizeLinear", []string{e.rounded, e.scales, zero}, e.name)
		} else {
			// Every weight has zero points of its own: where ONNX Runtime makes weights
			// unsigned it gives each new ones, named after the old, and fails on shared
			// ones (QDQ::Int8TensorProto2Uint8).
			channels := p.Shape[0]
			zeros := g.constant(e.name+"/zeros", []int{channels}, ElemInt8, make([]byte, channels))
			g.node(g.own(e.name+"/dequantize"), "DequantizeLinear", []string{e.rounded, e.scales, zeros}, e.name, attribute{"axis", 0})
		}
	}
	g.params = append(g.params, e)
	return e.name
}

// scaleSuffix ends the name of a tensor's scale, for 8-bit weights and activations.
const scaleSuffix = "/scale"

// inputs are what a node reads, its weights after its activations; shapes are those of
// the activations.
func (g *onnxGraph) inputs(node Node) (names []string, shapes []Shape) {
	for _, j := range node.Inputs {
		if j == Image {
			names, shapes = append(names, g.image), append(shapes, g.network.InputShape(g.batch))
		} else {
			names, shapes = append(names, g.values[j]), append(shapes, g.shapes[j])
		}
	}
	for _, p := range node.Params() {
		names = append(names, g.weight(p))
	}
	return names, shapes
}

// addNode writes one node of the network and the helpers that it takes in ONNX, whose
// names have a slash, which no state-dict key has.
func (g *onnxGraph) addNode(i int, node Node) error {
	in, inShapes := g.inputs(node)
	out := g.values[i]
	emit := func(op string, attributes ...attribute) {
		g.node(node.Name, op, in, out, attributes...)
	}

	switch op := node.Op.(type) {
	case Conv:
		emit("Conv",
			attribute{"dilations", []int{op.Dilation, op.Dilation}},
			attribute{"group", op.Groups},
			attribute{"kernel_shape", []int{op.KernelH, op.KernelW}},
			attribute{"pads", []int{op.PadH, op.PadW, op.PadH, op.PadW}},
			attribute{"strides", []int{op.Stride, op.Stride}})
	case BatchNorm:
		emit("BatchNormalization", attribute{"epsilon", float32(op.Epsilon)})
	case Linear:
		if g.rounding != nil && op.Bias {
			// ONNX Runtime has an 8-bit Gemm with a float result only for an int32 bias,
			// which TensorRT does not take.
			product := g.own(node.Name + "/product")
			g.node(product, "Gemm", in[:2], product, attribute{"transB", 1})
			in = []string{product, in[2]}
			emit("Add")
			break
		}
		emit("Gemm", attribute{"transB", 1})
	case Activation:
		return g.addActivation(node.Name, op, in, out)
	case Add:
		emit("Add")
	case Mul:
		emit("Mul")
	case Concat:
		emit("Concat", attribute{"axis", 1})
	case Slice:
		in = append(in,
			g.intsConstant(node.Name+"/starts", op.From),
			g.intsConstant(node.Name+"/ends", op.To),
			g.once("slice/axes", []int{1}, ElemInt64, intBytes(1)))
		emit("Slice")
	case MaxPool:
		window, _ := poolWindow(inShapes[0], g.shapes[i], op.Kernel, op.Stride, op.Pad)
		emit("MaxPool", window...)
	case AvgPool:
		window, extended := poolWindow(inShapes[0], g.shapes[i], op.Kernel, op.Stride, op.Pad)
		countPad := 0
		if op.CountPad {
			if extended {
				return errors.New("avgpool that counts padding and rounds up has no exact ONNX form")
			}
			countPad = 1
		}
		emit("AveragePool", append([]attribute{{"count_include_pad", countPad}}, window...)...)
	case GlobalAvgPool:
		emit("GlobalAveragePool")
	case Flatten:
		emit("Flatten", attribute{"axis", 1})
	case Shuffle:
		s := inShapes[0]
		split, swapped := g.reshape(node.Name+"/split", in[0], s[0], op.Groups, s[1]/op.Groups, s[2], s[3]), g.own(node.Name+"/swap")
		g.node(swapped, "Transpose", []string{split}, swapped, attribute{"perm", []int{0, 2, 1, 3, 4}})
		in = []string{swapped, g.intsConstant(node.Name+"/shape", s...)}
		emit("Reshape")
	case RadixSoftmax:
		s := inShapes[0]
		split, soft := g.reshape(node.Name+"/split", in[0], s[0], op.Radix, s[1]/op.Radix), g.own(node.Name+"/softmax")
		g.node(soft, "Softmax", []string{split}, soft, attribute{"axis", 1})
		in = []string{soft, g.intsConstant(node.Name+"/shape", s...)}
		emit("Reshape")
	default:
		return fmt.Errorf("no ONNX form of operator %s", node.Op.Kind())
	}
	return nil
}

// addActivation writes an activation; some are several operators in ONNX.
func (g *onnxGraph) addActivation(name string, op Activation, in []string, out string) error {
	switch op.Func {
	case ReLU:
		g.node(name, "Relu", in, out)
	case ReLU6:
		g.node(name, "Clip", append(in, g.floatConstant("relu6/min", 0), g.floatConstant("relu6/max", 6)), out)
	case SiLU:
		gate := g.own(name + "/sigmoid")
		g.node(gate, "Sigmoid", in, gate)
		if g.rounding != nil && g.rounding.takesIntegers(op) {
			gate = g.round(gate, 1) // a sigmoid ends at 1
		}
		g.node(name, "Mul", append(in, gate), out)
	case HardSwish:
		g.node(name, "HardSwish", in, out)
	case HardSigmoid:
		g.node(name, "HardSigmoid", in, out, attribute{"alpha", float32(1. / 6)}, attribute{"beta", float32(0.5)})
	case Sigmoid:
		g.node(name, "Sigmoid", in, out)
	default:
		return fmt.Errorf("no ONNX form of activation %q", op.Func)
	}
	return nil
}

// reshape adds a helper node that gives a tensor another shape, and names its result.
func (g *onnxGraph) reshape(wanted, tensor string, shape ...int) string {
	name := g.own(wanted)
	g.node(name, "Reshape", []string{tensor, g.intsConstant(wanted+"_shape", shape...)}, name)
	return name
}

// poolWindow gives the attributes of a pool's window, with the padding that makes
// ONNX's downward rounding produce the output extent, and whether that is more than the
// pool's own. ceil_mode is not used because exporters and runtimes disagree about a
// window that starts in the padding.
func poolWindow(in, out Shape, kernel, stride, pad int) (window []attribute, extended bool) {
	end := func(n, m int) int {
		e := (m-1)*stride + kernel - n - pad
		if e > pad {
			extended = true
			return e
		}
		return pad
	}
	return []attribute{
		{"kernel_shape", []int{kernel, kernel}},
		{"pads", []int{pad, pad, end(in[2], out[2]), end(in[3], out[3])}},
		{"strides", []int{stride, stride}},
	}, extended
}

func (g *onnxGraph) node(name, op string, in []string, out string, attributes ...attribute) {
	var b []byte
	for _, s := range in {
		b = appendString(b, nodeInput, s)
	}
	b = appendString(b, nodeOutput, out)
	b = appendString(b, nodeName, name)
	b = appendString(b, nodeOpType, op)
	for _, a := range attributes {
		ab := appendString(nil, attributeName, a.name)
		switch v := a.value.(type) {
		case int:
			ab = appendInt(ab, attributeInt, v)
			ab = appendInt(ab, attributeType, attributeTypeInt)
		case float32:
			ab = protowire.AppendTag(ab, attributeFloat, protowire.Fixed32Type)
			ab = protowire.AppendFixed32(ab, math.Float32bits(v))
			ab = appendInt(ab, attributeType, attributeTypeFloat)
		case []int:
			for _, i := range v {
				ab = appendInt(ab, attributeInts, i)
			}
			ab = appendInt(ab, attributeType, attributeTypeInts)
		}
		b = appendMessage(b, nodeAttribute, ab)
	}
	g.nodes = appendMessage(g.nodes, graphNode, b)
}

// constant adds an initializer of one node and gives its name.
func (g *onnxGraph) constant(wanted string, dims []int, element ElemType, raw []byte) string {
	name := g.own(wanted)
	b := tensorHeader(name, dims, element)
	b = protowire.AppendTag(b, tensorRawData, protowire.BytesType)
	b = protowire.AppendBytes(b, raw)
	g.constants = appendMessage(g.constants, graphInitializer, b)
	return name
}

// once adds an initializer that all nodes share, and gives its name.
func (g *onnxGraph) once(wanted string, dims []int, element ElemType, raw []byte) string {
	name, ok := g.shared[wanted]
	if !ok {
		if g.shared == nil {
			g.shared = make(map[string]string)
		}
		name = g.constant(wanted, dims, element, raw)
		g.shared[wanted] = name
	}
	return name
}

// floatConstant adds a scalar of the model's element type that all nodes share.
func (g *onnxGraph) floatConstant(name string, v float32) string {
	raw := floatBytes(v)
	switch g.element {
	case ElemFloat16:
		raw = binary.LittleEndian.AppendUint16(nil, fp16(v))
	case ElemBFloat16:
		raw = binary.LittleEndian.AppendUint16(nil, bf16(v))
	}
	return g.once(name, nil, g.element, raw)
}

func floatBytes(v float32) []byte {
	return binary.LittleEndian.AppendUint32(nil, math.Float32bits(v))
}

func (g *onnxGraph) intsConstant(name string, values ...int) string {
	return g.constant(name, []int{len(values)}, ElemInt64, intBytes(values...))
}

func intBytes(values ...int) []byte {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return raw
}
