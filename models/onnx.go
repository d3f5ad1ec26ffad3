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

// IR 8 and opset 17 are the oldest pair that has HardSwish (opset 14) and that
// ONNX Runtime since 1.12 and TensorRT since 8.5 read.
const (
	onnxIR    = 8
	onnxOpset = 17
)

// ONNX writes the network as it is deployed, batch norms folded: input "input",
// output "logits", weights inside as float32. The same network and options give
// the same bytes on every machine.
//
// Memory: the file once, and for each CPU the largest tensor once.
func ONNX(n *Network, o ExportOptions) ([]byte, error) {
	if o.Precision != FP32 {
		return nil, &PrecisionError{n.Name, o.Precision, []Precision{FP32}}
	}
	if o.Batch < 1 {
		return nil, fmt.Errorf("export %s to ONNX: batch %d, want at least 1", n.Name, o.Batch)
	}
	if len(n.Nodes) == 0 || n.Weights == nil {
		return nil, fmt.Errorf("export %s to ONNX: the network has %d nodes and weights %v", n.Name, len(n.Nodes), n.Weights)
	}
	folded, err := Fold(n)
	if err != nil {
		return nil, fmt.Errorf("export %s to ONNX: %w", n.Name, err)
	}
	shapes, err := folded.Shapes(o.Batch)
	if err != nil {
		return nil, fmt.Errorf("export %s to ONNX: %w", n.Name, err)
	}
	g := onnxGraph{network: folded, batch: o.Batch, shapes: shapes, values: make([]string, len(folded.Nodes))}
	if err := g.addNodes(); err != nil {
		return nil, fmt.Errorf("export %s to ONNX: %w", n.Name, err)
	}
	model, places, err := g.layOut()
	if err != nil {
		return nil, fmt.Errorf("export %s to ONNX: %w", n.Name, err)
	}
	if err := writeWeights(folded.Weights, places); err != nil {
		return nil, fmt.Errorf("export %s to ONNX: %w", n.Name, err)
	}
	return model, nil
}

// Field numbers and enum values from onnx/onnx.proto, IR version 8 (ONNX 1.12).
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

	tensorTypeFloat = 1
	tensorTypeInt64 = 7

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
	network *Network
	batch   int
	shapes  []Shape
	values  []string // by node, the name of its output

	nodes     []byte // encoded fields of the GraphProto
	constants []byte // encoded initializers that are not weights
	named     map[string]bool
	params    []Param
}

// attribute is a named int, float32 or []int.
type attribute struct {
	name  string
	value any
}

func (g *onnxGraph) addNodes() error {
	n := g.network
	taken := map[string]bool{InputName: true, OutputName: true}
	for i, node := range n.Nodes {
		if node.Name == "" || taken[node.Name] {
			return fmt.Errorf("node %d: name %q is empty or taken", i, node.Name)
		}
		taken[node.Name] = true
		g.values[i] = node.Name
	}
	g.values[len(n.Nodes)-1] = OutputName
	for i, node := range n.Nodes {
		if err := g.addNode(i, node); err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
		g.params = append(g.params, node.Params()...)
	}
	return nil
}

// addNode writes one node of the network. Helper nodes and constants have a
// slash in their name, which no state-dict key has.
func (g *onnxGraph) addNode(i int, node Node) error {
	in := make([]string, len(node.Inputs), len(node.Inputs)+4)
	inShapes := make([]Shape, len(node.Inputs))
	for k, j := range node.Inputs {
		if j == Image {
			in[k], inShapes[k] = InputName, g.network.InputShape(g.batch)
		} else {
			in[k], inShapes[k] = g.values[j], g.shapes[j]
		}
	}
	for _, p := range node.Params() {
		in = append(in, p.Key)
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
		emit("Gemm", attribute{"transB", 1})
	case Activation:
		switch op.Func {
		case ReLU:
			emit("Relu")
		case ReLU6:
			in = append(in, g.floatConstant("relu6/min", 0), g.floatConstant("relu6/max", 6))
			emit("Clip")
		case SiLU:
			gate := node.Name + "/sigmoid"
			g.node(gate, "Sigmoid", in, gate)
			in = append(in, gate)
			emit("Mul")
		case HardSwish:
			emit("HardSwish")
		case HardSigmoid:
			emit("HardSigmoid", attribute{"alpha", float32(1. / 6)}, attribute{"beta", float32(0.5)})
		case Sigmoid:
			emit("Sigmoid")
		default:
			return fmt.Errorf("no ONNX form of activation %q", op.Func)
		}
	case Add:
		emit("Add")
	case Mul:
		emit("Mul")
	case Concat:
		emit("Concat", attribute{"axis", 1})
	case Slice:
		in = append(in,
			g.intConstant(node.Name+"/starts", op.From),
			g.intConstant(node.Name+"/ends", op.To),
			g.intConstant("slice/axes", 1))
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
		split, swapped := node.Name+"/split", node.Name+"/swap"
		g.node(split, "Reshape", []string{in[0], g.intsConstant(node.Name+"/split_shape", s[0], op.Groups, s[1]/op.Groups, s[2], s[3])}, split)
		g.node(swapped, "Transpose", []string{split}, swapped, attribute{"perm", []int{0, 2, 1, 3, 4}})
		in = []string{swapped, g.intsConstant(node.Name+"/shape", s...)}
		emit("Reshape")
	case RadixSoftmax:
		s := inShapes[0]
		split, soft := node.Name+"/split", node.Name+"/softmax"
		g.node(split, "Reshape", []string{in[0], g.intsConstant(node.Name+"/split_shape", s[0], op.Radix, s[1]/op.Radix)}, split)
		g.node(soft, "Softmax", []string{split}, soft, attribute{"axis", 1})
		in = []string{soft, g.intsConstant(node.Name+"/shape", s...)}
		emit("Reshape")
	default:
		return fmt.Errorf("no ONNX form of operator %s", node.Op.Kind())
	}
	return nil
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

// constant adds an initializer once and gives its name.
func (g *onnxGraph) constant(name string, dims []int, dataType int, raw []byte) string {
	if g.named == nil {
		g.named = make(map[string]bool)
	}
	if !g.named[name] {
		g.named[name] = true
		b := tensorHeader(name, dims, dataType)
		b = protowire.AppendTag(b, tensorRawData, protowire.BytesType)
		b = protowire.AppendBytes(b, raw)
		g.constants = appendMessage(g.constants, graphInitializer, b)
	}
	return name
}

func (g *onnxGraph) floatConstant(name string, v float32) string {
	return g.constant(name, nil, tensorTypeFloat, binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
}

func (g *onnxGraph) intConstant(name string, v int) string { return g.intsConstant(name, v) }

func (g *onnxGraph) intsConstant(name string, values ...int) string {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return g.constant(name, []int{len(values)}, tensorTypeInt64, raw)
}

func tensorHeader(name string, dims []int, dataType int) []byte {
	var b []byte
	for _, d := range dims {
		b = appendInt(b, tensorDims, d)
	}
	b = appendInt(b, tensorDataType, dataType)
	return appendString(b, tensorName, name)
}

// weightPlace is where the values of a parameter go.
type weightPlace struct {
	param Param
	raw   []byte
}

// layOut writes everything but the weights' values, into memory allocated once.
func (g *onnxGraph) layOut() ([]byte, []weightPlace, error) {
	headers := make([][]byte, len(g.params))
	graphSize := len(g.nodes) + len(g.constants)
	for i, p := range g.params {
		headers[i] = tensorHeader(p.Key, p.Shape, tensorTypeFloat)
		graphSize += fieldSize(graphInitializer, tensorSize(headers[i], p))
	}
	name := appendString(nil, graphName, g.network.Name)
	input := valueInfo(InputName, g.network.InputShape(g.batch))
	output := valueInfo(OutputName, g.shapes[len(g.shapes)-1])
	graphSize += len(name) + fieldSize(graphInput, len(input)) + fieldSize(graphOutput, len(output))

	head := appendInt(nil, modelIRVersion, onnxIR)
	head = appendString(head, modelProducer, "genbench")
	tail := appendMessage(nil, modelOpsetImport, appendInt(nil, opsetVersion, onnxOpset))
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
		b = protowire.AppendTag(b, graphInitializer, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(tensorSize(headers[i], p)))
		b = append(b, headers[i]...)
		b = protowire.AppendTag(b, tensorRawData, protowire.BytesType)
		raw := 4 * p.Shape.Elements()
		b = protowire.AppendVarint(b, uint64(raw))
		places[i] = weightPlace{p, b[len(b) : len(b)+raw]}
		b = b[:len(b)+raw]
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
	slices.SortStableFunc(order, func(a, b weightPlace) int { return len(b.raw) - len(a.raw) })
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
				if scratch == nil { // none of the later ones is larger
					scratch = make([]float32, len(p.raw)/4)
				}
				values := scratch[:len(p.raw)/4]
				if err := source.Load(p.param, values); err != nil {
					errs[w] = err
					return
				}
				for k, v := range values {
					binary.LittleEndian.PutUint32(p.raw[4*k:], math.Float32bits(v))
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func valueInfo(name string, shape Shape) []byte {
	var dims []byte
	for _, d := range shape {
		dims = appendMessage(dims, shapeDim, appendInt(nil, dimValue, d))
	}
	tensor := appendInt(nil, tensorTypeElem, tensorTypeFloat)
	tensor = appendMessage(tensor, tensorTypeShape, dims)
	b := appendString(nil, valueName, name)
	return appendMessage(b, valueType, appendMessage(nil, typeTensor, tensor))
}

func tensorSize(header []byte, p Param) int {
	return len(header) + fieldSize(tensorRawData, 4*p.Shape.Elements())
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
