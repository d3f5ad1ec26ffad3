package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
)

// ExportOptions is what an exported model is fixed to.
type ExportOptions struct {
	Batch     int // images per inference; shapes in the file are static
	Precision Precision
	// Ranges of the activations; needed by int8 alone.
	Ranges *Ranges
	// Kernels that an int8 model is written for.
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
// ONNX 1.17 (onnx/docs/Operators.md).
func (p Precision) version() onnxVersion {
	if p == BF16 {
		return onnxVersion{10, 22}
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
// integers, one scale to an output channel, and marks with pairs of QuantizeLinear and
// DequantizeLinear where Quantization rounds. Biases stay float32: ONNX Runtime
// quantises them itself and TensorRT takes them no other way.
//
// The same network and options give the same bytes on every machine. A weight that
// fp16 cannot hold, and an activation without a range for int8, are errors that name
// it.
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
	if o.Precision == INT8 {
		if o.Ranges == nil {
			return nil, errors.New("int8 needs the ranges of the activations; calibrate the network first")
		}
		g.int8 = quantize(folded, o.Kernels)
		if err := g.int8.setLimits(o.Ranges); err != nil {
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

// Field numbers from onnx/onnx.proto, the same in IR versions 8 (ONNX 1.12) and 10.
const (
	modelIRVersion   = 1
	modelProducer    = 2
	modelGraph       = 7
	modelOpsetImport = 8

	opsetVersion = 2

	graphNode        = 1
	graphName        = 2
	graphInitializer = 5
	graphInput       = 11
	graphOutput      = 12

	nodeInput     = 1
	nodeOutput    = 2
	nodeName      = 3
	nodeOpType    = 4
	nodeAttribute = 5

	attributeName  = 1
	attributeFloat = 2
	attributeInt   = 3
	attributeInts  = 8
	attributeType  = 20

	attributeTypeFloat = 1
	attributeTypeInt   = 2
	attributeTypeInts  = 7

	tensorDims     = 1
	tensorDataType = 2
	tensorName     = 8
	tensorRawData  = 9

	valueName       = 1
	valueType       = 2
	typeTensor      = 1
	tensorTypeElem  = 1
	tensorTypeShape = 2
	shapeDim        = 1
	dimValue        = 1
)

// onnxGraph collects a graph before its size is known.
type onnxGraph struct {
	network   *Network
	batch     int
	shapes    []Shape
	precision Precision
	element   ElemType
	int8      *quantization // nil in every other precision
	image     string        // name of the input, as nodes read it
	values    []string      // by node, the name of its output, as nodes read it

	nodes     []byte            // encoded fields of the GraphProto
	constants []byte            // encoded initializers that are not weights
	taken     map[string]bool   // names of nodes and values
	shared    map[string]string // names of the constants that are there once for all nodes, by what was wanted
	params    []exportedParam
}

// An exportedParam is a parameter with its names in the file.
type exportedParam struct {
	Param
	name string // as nodes read it
	// integers and scales are what an 8-bit kernel is stored as; empty for others.
	integers, scales string
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
	if g.int8 != nil && g.int8.image {
		g.image = g.round(InputName, g.int8.imageLimit)
	}
	for i, node := range n.Nodes {
		if i == len(n.Nodes)-1 {
			g.values[i] = OutputName
		}
		if err := g.addNode(i, node); err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
		if g.int8 != nil && g.int8.rounded[i] {
			g.values[i] = g.round(node.Name, g.int8.nodes[i].Limit)
		}
	}
	return nil
}

// own names something that the exporter adds to the network's nodes: as wanted, or
// with underscores behind that where the network has the name. A file from elsewhere
// may well call a node as another one's weight is called here.
func (g *onnxGraph) own(wanted string) string {
	for g.taken[wanted] {
		wanted += "_"
	}
	g.taken[wanted] = true
	return wanted
}

// round adds a quantize/dequantize pair behind a tensor and names its end.
func (g *onnxGraph) round(tensor string, limit float32) string {
	scale := g.constant(tensor+scaleSuffix, nil, ElemFloat32, floatBytes(limit/int8Steps))
	var zero string
	switch g.int8.kernels {
	case OperatorKernels:
		zero = g.once("zero/uint8", nil, ElemUint8, []byte{128})
	default:
		zero = g.once("zero/int8", nil, ElemInt8, []byte{0})
	}
	quantized, end := g.own(tensor+"/quantized"), g.own(tensor+"/rounded")
	g.node(g.own(tensor+"/quantize"), "QuantizeLinear", []string{tensor, scale, zero}, quantized)
	g.node(g.own(tensor+"/dequantize"), "DequantizeLinear", []string{quantized, scale, zero}, end)
	return end
}

// weight names a parameter as a node reads it. The kernels of an int8 model are
// integers that a node brings back to float.
func (g *onnxGraph) weight(p Param) string {
	e := exportedParam{Param: p, name: g.own(p.Key)}
	if g.int8 != nil && p.Role == Kernel {
		e.integers, e.scales = g.own(e.name+"/int8"), g.own(e.name+scaleSuffix)
		channels := p.Shape[0]
		zeros := g.once(fmt.Sprintf("zeros/%d", channels), []int{channels}, ElemInt8, make([]byte, channels))
		g.node(g.own(e.name+"/dequantize"), "DequantizeLinear", []string{e.integers, e.scales, zeros}, e.name, attribute{"axis", 0})
	}
	g.params = append(g.params, e)
	return e.name
}

// scaleSuffix ends the name of a tensor's scale, for 8-bit weights and activations.
const scaleSuffix = "/scale"

// addNode writes one node of the network and the helpers that it takes in ONNX. The
// names of those have a slash, which no state-dict key has.
func (g *onnxGraph) addNode(i int, node Node) error {
	in := make([]string, len(node.Inputs), len(node.Inputs)+4)
	inShapes := make([]Shape, len(node.Inputs))
	for k, j := range node.Inputs {
		if j == Image {
			in[k], inShapes[k] = g.image, g.network.InputShape(g.batch)
		} else {
			in[k], inShapes[k] = g.values[j], g.shapes[j]
		}
	}
	for _, p := range node.Params() {
		in = append(in, g.weight(p))
	}
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
		if g.int8 != nil && op.Bias {
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
		pads, _ := poolPads(inShapes[0], g.shapes[i], op.Kernel, op.Stride, op.Pad)
		emit("MaxPool",
			attribute{"kernel_shape", []int{op.Kernel, op.Kernel}},
			attribute{"pads", pads},
			attribute{"strides", []int{op.Stride, op.Stride}})
	case AvgPool:
		pads, extended := poolPads(inShapes[0], g.shapes[i], op.Kernel, op.Stride, op.Pad)
		countPad := 0
		if op.CountPad {
			if extended {
				return errors.New("avgpool that counts padding and rounds up has no exact ONNX form")
			}
			countPad = 1
		}
		emit("AveragePool",
			attribute{"count_include_pad", countPad},
			attribute{"kernel_shape", []int{op.Kernel, op.Kernel}},
			attribute{"pads", pads},
			attribute{"strides", []int{op.Stride, op.Stride}})
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

// addActivation writes an activation, of which some are several operators in ONNX.
func (g *onnxGraph) addActivation(name string, op Activation, in []string, out string) error {
	switch op.Func {
	case ReLU:
		g.node(name, "Relu", in, out)
	case ReLU6:
		g.node(name, "Clip", append(in, g.floatConstant("relu6/min", 0), g.floatConstant("relu6/max", 6)), out)
	case SiLU:
		gate := g.own(name + "/sigmoid")
		g.node(gate, "Sigmoid", in, gate)
		if g.int8 != nil && g.int8.takesIntegers(op) {
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

// poolPads gives the padding that makes ONNX's downward rounding produce the
// output extent, and whether it is more than the pool's own. ceil_mode is not
// used because exporters and runtimes disagree about a window that starts in the
// padding.
func poolPads(in, out Shape, kernel, stride, pad int) (pads []int, extended bool) {
	end := func(n, m int) int {
		e := (m-1)*stride + kernel - n - pad
		if e > pad {
			extended = true
			return e
		}
		return pad
	}
	return []int{pad, pad, end(in[2], out[2]), end(in[3], out[3])}, extended
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

func tensorHeader(name string, dims []int, element ElemType) []byte {
	var b []byte
	for _, d := range dims {
		b = appendInt(b, tensorDims, d)
	}
	b = appendInt(b, tensorDataType, int(element))
	return appendString(b, tensorName, name)
}

// writtenTensor is an initializer whose values are written last.
type writtenTensor struct {
	header []byte
	bytes  int
}

func (t writtenTensor) size() int { return len(t.header) + fieldSize(tensorRawData, t.bytes) }

// appendTo writes all but the values and gives their place.
func (t writtenTensor) appendTo(b []byte) (all, raw []byte) {
	b = protowire.AppendTag(b, graphInitializer, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(t.size()))
	b = append(b, t.header...)
	b = protowire.AppendTag(b, tensorRawData, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(t.bytes))
	end := len(b) + t.bytes
	return b[:end], b[len(b):end]
}

// stored gives the initializers of a parameter: its values and, for an 8-bit kernel,
// their scales.
func (g *onnxGraph) stored(p exportedParam) []writtenTensor {
	if p.integers != "" {
		channels := p.Shape[0]
		return []writtenTensor{
			{tensorHeader(p.integers, p.Shape, ElemInt8), p.Shape.Elements()},
			{tensorHeader(p.scales, []int{channels}, ElemFloat32), ElemFloat32.Size() * channels},
		}
	}
	return []writtenTensor{{tensorHeader(p.name, p.Shape, g.element), g.element.Size() * p.Shape.Elements()}}
}

// weightPlace is where the values of a parameter go.
type weightPlace struct {
	param   Param
	element ElemType
	raw     []byte
	scales  []byte // of an 8-bit kernel
}

// layOut writes everything but the weights' values, into memory allocated once.
func (g *onnxGraph) layOut() ([]byte, []weightPlace, error) {
	stored := make([][]writtenTensor, len(g.params))
	graphSize := len(g.nodes) + len(g.constants)
	for i, p := range g.params {
		stored[i] = g.stored(p)
		for _, t := range stored[i] {
			graphSize += fieldSize(graphInitializer, t.size())
		}
	}
	name := appendString(nil, graphName, g.network.Name)
	input := valueInfo(InputName, g.network.InputShape(g.batch), g.element)
	output := valueInfo(OutputName, g.shapes[len(g.shapes)-1], g.element)
	graphSize += len(name) + fieldSize(graphInput, len(input)) + fieldSize(graphOutput, len(output))

	version := g.precision.version()
	head := appendInt(nil, modelIRVersion, version.ir)
	head = appendString(head, modelProducer, "genbench")
	tail := appendMessage(nil, modelOpsetImport, appendInt(nil, opsetVersion, version.opset))
	size := len(head) + fieldSize(modelGraph, graphSize) + len(tail)
	if size > math.MaxInt32 {
		return nil, nil, fmt.Errorf("the file would have %d bytes, protobuf ends at %d", size, math.MaxInt32)
	}

	b := make([]byte, 0, size)
	b = append(b, head...)
	b = protowire.AppendTag(b, modelGraph, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(graphSize))
	b = append(b, g.nodes...)
	b = append(b, name...)
	places := make([]weightPlace, len(g.params))
	for i, p := range g.params {
		place := weightPlace{param: p.Param, element: g.element}
		b, place.raw = stored[i][0].appendTo(b)
		if p.integers != "" {
			place.element = ElemInt8
			b, place.scales = stored[i][1].appendTo(b)
		}
		places[i] = place
	}
	b = append(b, g.constants...)
	b = appendMessage(b, graphInput, input)
	b = appendMessage(b, graphOutput, output)
	b = append(b, tail...)
	if len(b) != size {
		return nil, nil, fmt.Errorf("wrote %d bytes where %d were counted", len(b), size)
	}
	return b, places, nil
}

// writeWeights loads every parameter straight to its place, on all CPUs. The
// largest go first: they decide when the last worker is done.
func writeWeights(source WeightSource, places []weightPlace) error {
	order := slices.Clone(places)
	slices.SortStableFunc(order, func(a, b weightPlace) int { return b.param.Shape.Elements() - a.param.Shape.Elements() })
	var next atomic.Int64
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(order))
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			var scratch []float32
			for {
				i := int(next.Add(1)) - 1
				if i >= len(order) {
					return
				}
				p := order[i]
				elements := p.param.Shape.Elements()
				if scratch == nil { // none of the later ones is larger
					scratch = make([]float32, elements)
				}
				values := scratch[:elements]
				if err := source.Load(p.param, values); err != nil {
					errs[w] = err
					return
				}
				if err := p.write(values); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// write rounds values to the element type of their place.
func (p weightPlace) write(values []float32) error {
	switch p.element {
	case ElemFloat16:
		for k, v := range values {
			h := fp16(v)
			if h&0x7FFF == 0x7C00 {
				return fmt.Errorf("weight %s: element %d is %v, fp16 ends at 65504", p.param.Key, k, v)
			}
			binary.LittleEndian.PutUint16(p.raw[2*k:], h)
		}
	case ElemBFloat16:
		for k, v := range values {
			binary.LittleEndian.PutUint16(p.raw[2*k:], bf16(v))
		}
	case ElemInt8:
		scales := make([]float32, len(p.scales)/4)
		if err := quantizeWeight(p.raw, scales, values); err != nil {
			return fmt.Errorf("weight %s: %w", p.param.Key, err)
		}
		for k, v := range scales {
			binary.LittleEndian.PutUint32(p.scales[4*k:], math.Float32bits(v))
		}
	default:
		for k, v := range values {
			binary.LittleEndian.PutUint32(p.raw[4*k:], math.Float32bits(v))
		}
	}
	return nil
}

func valueInfo(name string, shape Shape, element ElemType) []byte {
	var dims []byte
	for _, d := range shape {
		dims = appendMessage(dims, shapeDim, appendInt(nil, dimValue, d))
	}
	tensor := appendInt(nil, tensorTypeElem, int(element))
	tensor = appendMessage(tensor, tensorTypeShape, dims)
	b := appendString(nil, valueName, name)
	return appendMessage(b, valueType, appendMessage(nil, typeTensor, tensor))
}

// fieldSize is the size of a length-delimited field.
func fieldSize(field protowire.Number, content int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(content)
}

func appendInt(b []byte, field protowire.Number, v int) []byte {
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendMessage(b []byte, field protowire.Number, content []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, content)
}
