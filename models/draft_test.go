package models

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// A draft is an ONNX file in the making, written as other exporters write theirs.
type draft struct {
	name      string
	ir, opset int
	graph     []byte
	operators string // kinds of the network that it becomes
}

func newDraft(name string, opset int, operators string) *draft {
	return &draft{name: name, ir: 8, opset: opset, operators: operators, graph: appendString(nil, graphName, name)}
}

func (d *draft) encode() []byte {
	b := appendInt(nil, modelIRVersion, d.ir)
	b = appendString(b, modelProducer, "draft")
	b = appendMessage(b, modelGraph, d.graph)
	if d.opset > 0 {
		b = appendMessage(b, modelOpsetImport, appendInt(appendString(nil, opsetDomain, ""), opsetVersion, d.opset))
	}
	return b
}

// value writes a value's type; extents are numbers or names, as in "N,3,8,8".
func (d *draft) value(field protowire.Number, name string, elem ElemType, extents string) {
	var dims []byte
	for _, e := range strings.FieldsFunc(extents, func(r rune) bool { return r == ',' }) {
		if n, err := strconv.Atoi(e); err == nil {
			dims = appendMessage(dims, shapeDim, appendInt(nil, dimValue, n))
		} else {
			dims = appendMessage(dims, shapeDim, appendString(nil, dimParam, e))
		}
	}
	tensor := appendMessage(appendInt(nil, tensorTypeElem, int(elem)), tensorTypeShape, dims)
	d.graph = appendMessage(d.graph, field, appendMessage(appendString(nil, valueName, name), valueType, appendMessage(nil, typeTensor, tensor)))
}

func (d *draft) input(name, extents string)  { d.value(graphInput, name, ElemFloat32, extents) }
func (d *draft) output(name, extents string) { d.value(graphOutput, name, ElemFloat32, extents) }

// weights adds an initializer with the published values of its name; a suffix
// tells its role.
func (d *draft) weights(name string, extents ...int) {
	role := Kernel
	switch {
	case strings.HasSuffix(name, "var"), strings.HasSuffix(name, "gamma"):
		role = Variance
	case len(extents) < 2:
		role = Bias
	}
	values := make([]float32, Shape(extents).Elements())
	if err := Synthetic().Load(Param{name, extents, role}, values); err != nil {
		panic(err)
	}
	d.tensor(floatsIn(name, extents, values))
}

func (d *draft) tensor(t []byte) { d.graph = appendMessage(d.graph, graphInitializer, t) }

func floatsIn(name string, extents []int, values []float32) []byte {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return rawIn(name, extents, ElemFloat32, raw)
}

func rawIn(name string, extents []int, elem ElemType, raw []byte) []byte {
	b := headerIn(name, extents, elem)
	b = protowire.AppendTag(b, tensorRawData, protowire.BytesType)
	return protowire.AppendBytes(b, raw)
}

func headerIn(name string, extents []int, elem ElemType) []byte {
	var b []byte
	for _, d := range extents {
		b = appendInt(b, tensorDims, d)
	}
	return appendString(appendInt(b, tensorDataType, int(elem)), tensorName, name)
}

// intsIn stores numbers in int64_data, packed, as older exporters do.
func intsIn(name string, extents []int, values ...int) []byte {
	var packed []byte
	for _, v := range values {
		packed = protowire.AppendVarint(packed, uint64(v))
	}
	return appendMessage(headerIn(name, extents, ElemInt64), tensorInt64s, packed)
}

// elsewhereIn says that another file holds the tensor.
func elsewhereIn(name, location string, extents ...int) []byte {
	entry := appendString(appendString(nil, entryKey, "location"), entryValue, location)
	return appendMessage(appendInt(headerIn(name, extents, ElemFloat32), tensorLocation, 1), tensorExternal, entry)
}

type with map[string]any

// node adds a node; inputs and outputs are words, "-" for one that is left out.
func (d *draft) node(op, in, out string, attributes with) {
	words := func(s string) []string {
		list := strings.Fields(s)
		for i := range list {
			if list[i] == "-" {
				list[i] = ""
			}
		}
		return list
	}
	var b []byte
	for _, s := range words(in) {
		b = appendString(b, nodeInput, s)
	}
	for _, s := range words(out) {
		b = appendString(b, nodeOutput, s)
	}
	b = appendString(b, nodeName, "/"+strings.ReplaceAll(strings.Fields(out + " none")[0], "_", "/")+"/"+op)
	if domain, name, ok := strings.Cut(op, ":"); ok {
		op = name
		b = appendString(b, nodeDomain, domain)
	}
	b = appendString(b, nodeOpType, op)
	names := make([]string, 0, len(attributes))
	for name := range attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b = appendMessage(b, nodeAttribute, attributeIn(name, attributes[name]))
	}
	d.graph = appendMessage(d.graph, graphNode, b)
}

func attributeIn(name string, value any) []byte {
	b := appendString(nil, attributeName, name)
	switch v := value.(type) {
	case int:
		return appendInt(appendInt(b, attributeInt, v), attributeType, 2)
	case float64:
		b = protowire.AppendTag(b, attributeFloat, protowire.Fixed32Type)
		return appendInt(protowire.AppendFixed32(b, math.Float32bits(float32(v))), attributeType, 1)
	case string:
		return appendInt(appendString(b, attributeString, v), attributeType, 3)
	case []int:
		for _, i := range v {
			b = appendInt(b, attributeInts, i)
		}
		return appendInt(b, attributeType, 7)
	case []byte: // a tensor
		return appendInt(appendMessage(b, attributeTensor, v), attributeType, 4)
	}
	panic(fmt.Sprintf("attribute %s of type %T", name, value))
}

func scalar(v float32) with  { return with{"value": floatsIn("", nil, []float32{v})} }
func integers(v ...int) with { return with{"value": intsIn("", []int{len(v)}, v...)} }

// drafts lists files as exporters write them, with the operators that each should
// become. testdata/files holds them with outputs that another implementation gave.
func drafts() []*draft {
	var list []*draft
	draw := func(name string, opset int, operators string, body func(d *draft)) {
		d := newDraft(name, opset, operators)
		body(d)
		list = append(list, d)
	}

	// torch.onnx.export in training-agnostic form: norms unfolded, constants as
	// nodes, ReLU6 as Clip, the mean over both extents, x.flatten(1).
	draw("unfolded", 17, "conv batchnorm relu6 conv batchnorm add relu globalavgpool flatten linear", func(d *draft) {
		d.input("image", "N,3,10,10")
		d.weights("conv1.weight", 8, 3, 3, 3)
		d.weights("conv2.weight", 8, 1, 3, 3)
		for _, bn := range []string{"bn1", "bn2"} {
			for _, part := range []string{"gamma", "beta", "mean", "var"} {
				d.weights(bn+"."+part, 8)
			}
		}
		d.weights("fc.weight", 5, 8)
		d.weights("fc.bias", 5)
		d.node("Conv", "image conv1.weight", "c1", with{"kernel_shape": []int{3, 3}, "pads": []int{1, 1, 1, 1}, "strides": []int{2, 2}, "dilations": []int{1, 1}, "group": 1})
		d.node("BatchNormalization", "c1 bn1.gamma bn1.beta bn1.mean bn1.var", "b1", with{"epsilon": 1e-3, "momentum": 0.9, "training_mode": 0})
		d.node("Constant", "", "low", scalar(0))
		d.node("Constant", "", "high", scalar(6))
		d.node("Clip", "b1 low high", "a1", nil)
		d.node("Identity", "conv2.weight", "w2", nil)
		d.node("Conv", "a1 w2", "c2", with{"pads": []int{1, 1, 1, 1}, "group": 8})
		d.node("BatchNormalization", "c2 bn2.gamma bn2.beta bn2.mean bn2.var", "b2", nil)
		d.node("Add", "b2 a1", "sum", nil)
		d.node("Relu", "sum", "a2", nil)
		d.node("ReduceMean", "a2", "mean", with{"axes": []int{-1, -2}, "keepdims": 0})
		d.node("Dropout", "mean", "drop mask", nil)
		d.node("Gemm", "drop fc.weight fc.bias", "probs", with{"alpha": 1.0, "beta": 1.0, "transB": 1})
		d.output("probs", "N,5")
	})

	// Hard swish and hard sigmoid in all their spellings, and SiLU.
	draw("gates", 14, "conv hardswish conv hardsigmoid mul hardswish silu conv hardswish globalavgpool", func(d *draft) {
		d.input("x", "1,4,6,6")
		for _, c := range []string{"one", "two", "three"} {
			d.weights(c+".weight", 4, 4, 1, 1)
			d.weights(c+".bias", 4)
		}
		d.tensor(floatsIn("three_", nil, []float32{3}))
		d.tensor(floatsIn("six", nil, []float32{6}))
		d.tensor(floatsIn("zero", nil, []float32{0}))
		d.tensor(floatsIn("sixth", []int{1}, []float32{1. / 6}))
		d.node("Conv", "x one.weight one.bias", "a", nil)
		d.node("Add", "a three_", "a3", nil)
		d.node("Clip", "a3 zero six", "a36", nil)
		d.node("Mul", "a a36", "aa", nil)
		d.node("Div", "aa six", "b", nil)
		d.node("Conv", "b two.weight two.bias", "c", nil)
		d.node("Add", "three_ c", "c3", nil)
		d.node("Clip", "c3 zero six", "c36", nil)
		d.node("Mul", "c36 sixth", "gate", nil)
		d.node("Mul", "b gate", "d", nil)
		d.node("HardSigmoid", "d", "dh", with{"alpha": 0.1666666667})
		d.node("Mul", "dh d", "e", nil)
		d.node("Sigmoid", "e", "es", nil)
		d.node("Mul", "e es", "f", nil)
		d.node("Conv", "f three.weight three.bias", "g", nil)
		d.node("HardSwish", "g", "h", nil)
		d.node("GlobalAveragePool", "h", "y", nil)
		d.output("y", "1,4,1,1")
	})

	// Padding as nodes of its own, by auto_pad, and pools that round up.
	draw("padding", 18, "conv conv avgpool maxpool maxpool avgpool conv flatten", func(d *draft) {
		d.input("x", "2,3,14,14")
		d.weights("a.weight", 4, 3, 3, 3)
		d.weights("b.weight", 4, 4, 3, 3)
		d.weights("c.weight", 2, 4, 1, 3)
		d.tensor(intsIn("around", []int{8}, 0, 0, 1, 1, 0, 0, 1, 1))
		d.tensor(intsIn("beside", []int{4}, 0, 1, 0, 1))
		d.tensor(intsIn("axes", []int{2}, 2, 3))
		d.node("Pad", "x around", "xp", with{"mode": "constant"})
		d.node("Conv", "xp a.weight", "a", with{"strides": []int{1, 1}})
		d.node("Conv", "a b.weight", "b", with{"auto_pad": "SAME_UPPER"})
		d.node("Pad", "b around", "bp", nil)
		d.node("AveragePool", "bp", "c", with{"kernel_shape": []int{3, 3}, "strides": []int{1, 1}})
		d.node("MaxPool", "c", "d", with{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "ceil_mode": 1})
		d.node("MaxPool", "d", "e", with{"kernel_shape": []int{2, 2}, "strides": []int{2, 2}, "pads": []int{0, 0, 1, 1}})
		d.node("AveragePool", "e", "f", with{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}, "count_include_pad": 1})
		d.node("Pad", "f beside - axes", "fp", nil)
		d.node("Conv", "fp c.weight", "g", nil)
		d.node("Flatten", "g", "y", nil)
		d.output("y", "2,8")
	})

	// x.view(x.size(0), -1) with the batch computed at run time, a matrix that is
	// not transposed, the bias added apart.
	draw("dynamic", 11, "conv relu flatten linear relu linear", func(d *draft) {
		d.input("x", "batch,3,4,4")
		d.weights("conv.weight", 6, 3, 2, 2)
		d.weights("conv.bias", 6)
		d.weights("dense.kernel", 24, 7)
		d.weights("dense.bias", 7)
		d.weights("last.kernel", 7, 3)
		d.weights("last.bias", 3)
		d.node("Conv", "x conv.weight", "c", with{"strides": []int{2, 2}})
		d.tensor(floatsIn("shift", []int{6, 1, 1}, []float32{.1, .2, .3, .4, .5, .6}))
		d.node("Add", "c shift", "cs", nil)
		d.node("Relu", "cs", "r", nil)
		d.node("Shape", "r", "s", nil)
		d.node("Constant", "", "first", with{"value": intsIn("", nil, 0)})
		d.node("Gather", "s first", "n", with{"axis": 0})
		d.node("Unsqueeze", "n", "n1", with{"axes": []int{0}})
		d.node("Constant", "", "rest", integers(-1))
		d.node("Concat", "n1 rest", "to", with{"axis": 0})
		d.node("Reshape", "r to", "flat", nil)
		d.node("MatMul", "flat dense.kernel", "m", nil)
		d.node("Add", "m dense.bias", "mb", nil)
		d.node("Relu", "mb", "h", nil)
		d.node("Gemm", "h last.kernel last.bias", "y", nil)
		d.output("y", "batch,3")
	})

	// ShuffleNet's split and shuffle, its extents computed from the shape.
	draw("shuffle", 15, "conv slice slice relu concat shuffle slice batchnorm", func(d *draft) {
		d.input("x", "1,3,5,5")
		d.weights("conv.weight", 8, 3, 3, 3)
		for _, part := range []string{"gamma", "beta", "mean", "var"} {
			d.weights("bn."+part, 6)
		}
		d.tensor(intsIn("halves", []int{2}, 4, 4))
		d.tensor(intsIn("perm_shape", []int{5}, 1, 2, 4, 5, -1))
		d.tensor(intsIn("from", []int{1}, -6))
		d.tensor(intsIn("to", []int{1}, math.MaxInt64))
		d.tensor(intsIn("channels", []int{1}, 1))
		d.node("Conv", "x conv.weight", "c", with{"pads": []int{1, 1, 1, 1}})
		d.node("Split", "c halves", "left right", with{"axis": 1})
		d.node("Relu", "right", "r", nil)
		d.node("Concat", "left r", "both", with{"axis": -3})
		d.node("Reshape", "both perm_shape", "apart", nil)
		d.node("Transpose", "apart", "swapped", with{"perm": []int{0, 2, 1, 3, 4}})
		d.node("Shape", "both", "shape", nil)
		d.node("Reshape", "swapped shape", "shuffled", nil)
		d.node("Slice", "shuffled from to channels", "last", nil)
		d.node("BatchNormalization", "last bn.gamma bn.beta bn.mean bn.var", "y", nil)
		d.output("y", "1,6,5,5")
	})

	// An old file: weights among the inputs, bounds and axes as attributes, floats in
	// float_data and half floats in int32_data.
	draw("old", 9, "conv relu6 globalavgpool flatten linear", func(d *draft) {
		d.ir = 3
		d.input("x", "1,2,4,4")
		d.input("w", "3,2,1,1")
		d.input("fc", "3,2")
		d.input("fc.bias", "2")
		packed := []byte{}
		for _, v := range []float32{.5, -1, 2, .25, -3, 8} {
			packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(v))
		}
		d.tensor(appendMessage(headerIn("w", []int{3, 2, 1, 1}, ElemFloat32), tensorFloats, packed))
		d.weights("fc", 3, 2)
		d.weights("fc.bias", 2)
		d.node("Conv", "x w", "c", nil)
		d.node("Clip", "c", "r", with{"min": 0.0, "max": 6.0})
		d.node("GlobalAveragePool", "r", "p", nil)
		d.node("Squeeze", "p", "q", with{"axes": []int{2, 3}})
		d.node("Gemm", "q fc fc.bias", "y", nil)
		d.output("y", "1,2")
	})
	return list
}
