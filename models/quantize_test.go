package models

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// blocksNetwork has every way in which networks join tensors: a residual sum with a
// projected shortcut, a sum without, a gate, a concatenation, a split and shuffle, a norm
// that folds into nothing.
func blocksNetwork(t *testing.T) *Network {
	t.Helper()
	b := newBuilder("blocks", 16)
	x := b.layer(Image, layer{conv: "stem", norm: "stem.bn", out: 8, kernel: 3, act: ReLU6})
	x = b.add("maxpool", MaxPool{Kernel: 3, Stride: 2, Pad: 1}, "", x)
	y := b.layer(x, layer{conv: "conv1", norm: "bn1", out: 8, kernel: 3, act: ReLU})
	y = b.layer(y, layer{conv: "conv2", norm: "bn2", out: 16, kernel: 3})
	x = b.act(b.add("add1", Add{}, "", y, b.layer(x, layer{conv: "short", norm: "short.bn", out: 16, kernel: 1})), ReLU)
	y = b.layer(x, layer{conv: "conv3", norm: "bn3", out: 16, kernel: 3, groups: 16, act: SiLU})
	gate := b.layer(b.add("se.pool", GlobalAvgPool{}, "", y), layer{conv: "se.fc", out: 16, kernel: 1, bias: true, act: Sigmoid})
	y = b.add("gated", Mul{}, "", y, gate)
	x = b.add("add2", Add{}, "", b.layer(y, layer{conv: "conv4", norm: "bn4", out: 16, kernel: 1}), x)
	left, right := b.add("left", Slice{0, 8}, "", x), b.add("right", Slice{8, 16}, "", x)
	x = b.add("shuffle", Shuffle{2}, "", b.add("concat", Concat{}, "", b.layer(left, layer{conv: "conv5", out: 8, kernel: 1, bias: true}), right))
	x = b.act(b.norm(x, "lonely"), ReLU)
	b.classifier(x, "fc")
	if b.err != nil {
		t.Fatal(b.err)
	}
	b.net.Weights = Synthetic()
	return b.net
}

// madeUpRanges gives every tensor a range of its own, from 1 to 2.
func madeUpRanges(t testing.TB, n *Network) *Ranges {
	t.Helper()
	folded, err := Fold(n)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(name string) float32 { return 1 + float32(fnv1a(name)%1000)/1000 }
	r := &Ranges{Method: "made up", Limit: map[string]float32{InputName: limit(InputName)}}
	for _, node := range folded.Nodes {
		r.Limit[node.Name] = limit(node.Name)
	}
	return r
}

func TestQuantization(t *testing.T) {
	n := blocksNetwork(t)
	r := &Ranges{Limit: map[string]float32{InputName: 1}}
	folded, err := Fold(n)
	if err != nil {
		t.Fatal(err)
	}
	for i, node := range folded.Nodes {
		r.Limit[node.Name] = float32(i + 1)
	}
	const (
		cut    = "float between two roundings to the same scale, which change nothing"
		float  = "an activation computes in float"
		lonely = "no 8-bit kernel for a batch norm that folds into no layer"
	)
	for kernels, want := range map[Kernels][]string{
		// A result that stays in float has the limit 0. One that is passed on has the
		// limit of what it is passed from.
		FusedKernels: {
			"stem int8 0 ", "stem.bn.relu6 int8 2 in the kernel of stem", "maxpool int8 2 ",
			"conv1 int8 0 ", "bn1.relu int8 5 in the kernel of conv1",
			"conv2 int8 0 in one kernel with add1", "short int8 7 ", "add1 int8 0 ", "add1.relu int8 9 in the kernel of add1",
			"conv3 int8 0 ", "bn3.silu int8 11 in the kernel of conv3",
			"se.pool int8 12 ", "se.fc int8 0 ", "se.fc.sigmoid int8 14 in the kernel of se.fc", "gated int8 15 ",
			"conv4 int8 0 in one kernel with add2", "add2 int8 17 ", "left int8 17 ", "right int8 17 ",
			"conv5 int8 20 ", "concat int8 20 ", "shuffle int8 0 ",
			"lonely float 0 " + lonely, "lonely.relu float 24 " + float,
			"pool int8 25 ", "flatten int8 25 ", "fc int8 0 its result stays in float",
		},
		OperatorKernels: {
			"stem int8 2 ", "stem.bn.relu6 float 2 " + cut, "maxpool int8 2 ",
			"conv1 int8 5 ", "bn1.relu float 5 " + cut,
			"conv2 int8 6 ", "short int8 7 ", "add1 int8 9 ", "add1.relu float 9 " + cut,
			"conv3 int8 10 ", "bn3.silu int8 11 ",
			"se.pool int8 12 ", "se.fc int8 13 ", "se.fc.sigmoid int8 14 ", "gated int8 15 ",
			"conv4 int8 16 ", "add2 int8 17 ", "left int8 17 ", "right int8 17 ",
			"conv5 int8 20 ", "concat int8 20 ", "shuffle int8 20 ",
			"lonely float 0 " + lonely, "lonely.relu float 24 " + cut,
			"pool int8 25 ", "flatten int8 25 ", "fc int8 0 its result stays in float",
		},
	} {
		nodes, err := Quantization(n, r, kernels)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, q := range nodes {
			in := "float"
			if q.Int8 {
				in = "int8"
			}
			got = append(got, fmt.Sprintf("%s %s %v %s", q.Node, in, q.Limit, q.Reason))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("kernels %d, want against got:\n%s", kernels, diff)
		}
		undecided, err := Quantization(n, nil, kernels)
		if err != nil {
			t.Fatal(err)
		}
		for i, q := range undecided {
			if q.Limit != 0 || q.Int8 != nodes[i].Int8 || q.Reason != nodes[i].Reason {
				t.Errorf("without ranges: %+v, with them %+v", q, nodes[i])
			}
		}
	}
}

// A convolution that another node reads too has a result of its own, wherever it
// stands in the sum.
func TestQuantizationOfSharedSummand(t *testing.T) {
	b := newBuilder("shared", 8)
	shared := b.layer(Image, layer{conv: "shared", out: 4, kernel: 1, bias: true})
	alone := b.layer(shared, layer{conv: "alone", out: 4, kernel: 3, bias: true})
	b.classifier(b.add("sum", Add{}, "", shared, alone), "fc")
	if b.err != nil {
		t.Fatal(b.err)
	}
	q := quantize(b.net, FusedKernels)
	if !q.rounded[shared] || q.rounded[alone] {
		t.Errorf("shared rounded: %v, alone rounded: %v; want the first only", q.rounded[shared], q.rounded[alone])
	}
}

// In every network, all products are of integers: what convolutions and linear layers
// read is rounded. A sum shares its kernel with one summand at most, the other is
// rounded. Whatever stays in float says why.
func TestQuantizationOfTheZoo(t *testing.T) {
	for _, info := range List() {
		n, err := New(info.Name, 0)
		if err != nil {
			t.Fatal(err)
		}
		folded, err := Fold(n)
		if err != nil {
			t.Fatal(err)
		}
		for _, kernels := range []Kernels{FusedKernels, OperatorKernels} {
			q := quantize(folded, kernels)
			if err := q.setLimits(madeUpRanges(t, n)); err != nil {
				t.Fatal(err)
			}
			for i, node := range folded.Nodes {
				state := q.nodes[i]
				if !state.Int8 && state.Reason == "" {
					t.Errorf("%s: %s stays in float without a reason", info.Name, node.Name)
				}
				if q.rounded[i] != (state.Limit > 0) {
					t.Errorf("%s: %s rounded %v, limit %v", info.Name, node.Name, q.rounded[i], state.Limit)
				}
				float := 0
				for _, j := range node.Inputs {
					if rounded := j == Image && q.image || j != Image && q.rounded[j]; !rounded {
						float++
					}
				}
				switch node.Op.(type) {
				case Conv, Linear:
					if !state.Int8 || float > 0 {
						t.Errorf("%s: %s computes in float", info.Name, node.Name)
					}
				case Add:
					if float > 1 || float > 0 && kernels == OperatorKernels {
						t.Errorf("%s: %s sums %d float tensors", info.Name, node.Name, float)
					}
				}
			}
		}
	}
}

func TestQuantizeWeight(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	values := make([]float32, 3*50)
	for i := range values[:100] {
		values[i] = random.Float32()*4 - 2
	}
	values[7], values[99] = -3, 2.5 // the largest of their channels; the third is zero
	raw, scales := make([]byte, len(values)), make([]float32, 3)
	if err := QuantizeWeight(INT8, raw, scales, values); err != nil {
		t.Fatal(err)
	}
	for o, want := range []float32{3. / 127, 2.5 / 127, 1} {
		if scales[o] != want {
			t.Errorf("channel %d has scale %v, want %v", o, scales[o], want)
		}
	}
	if int8(raw[7]) != -127 || int8(raw[99]) != 127 {
		t.Errorf("the largest weights became %d and %d", int8(raw[7]), int8(raw[99]))
	}
	for i, v := range values {
		back := float64(int8(raw[i])) * float64(scales[i/50])
		if d := math.Abs(back - float64(v)); d > float64(scales[i/50])/2*(1+1e-6) {
			t.Errorf("weight %d: %v came back as %v, off by more than half a step", i, v, back)
		}
	}
	// All of a kernel have one scale in fp8, and each its digits: half a unit in the last
	// place is a sixteenth of it, or half the least step.
	scales = scales[:1]
	if err := QuantizeWeight(FP8, raw, scales, values); err != nil {
		t.Fatal(err)
	}
	if scales[0] != 3./448 || raw[7] != 0xFE {
		t.Errorf("the largest weight became %#02x, with scale %v", raw[7], scales[0])
	}
	for i, v := range values {
		back := float64(fromFP8(raw[i])) * float64(scales[0])
		if d := math.Abs(back - float64(v)); d > max(math.Abs(float64(v))/16, 0x1p-10*3/448)*(1+1e-6) {
			t.Errorf("weight %d: %v came back as %v", i, v, back)
		}
	}
	scales = make([]float32, 3)
	values[3] = float32(math.NaN())
	if err := QuantizeWeight(INT8, raw, scales, values); err == nil || !strings.Contains(err.Error(), "output channel 0") {
		t.Errorf("a NaN: %v", err)
	}
}

// onnxFile is an exported model, read back by an independent walk over its fields.
type onnxFile struct {
	nodes    []onnxNode
	producer map[string]*onnxNode
	tensors  map[string]onnxTensor
	elements [2]uint64 // of input and output
}

type onnxNode struct {
	op, name, out string
	in            []string
}

type onnxTensor struct {
	element uint64
	raw     []byte
}

func readBack(t *testing.T, model []byte) onnxFile {
	t.Helper()
	f := onnxFile{producer: make(map[string]*onnxNode), tensors: make(map[string]onnxTensor)}
	graph := field(t, model, modelGraph)[0]
	for _, tensor := range field(t, graph, graphInitializer) {
		f.tensors[string(field(t, tensor, tensorName)[0])] = onnxTensor{varint(t, tensor, tensorDataType), field(t, tensor, tensorRawData)[0]}
	}
	for _, node := range field(t, graph, graphNode) {
		n := onnxNode{op: string(field(t, node, nodeOpType)[0]), name: string(field(t, node, nodeName)[0]), out: string(field(t, node, nodeOutput)[0])}
		for _, in := range field(t, node, nodeInput) {
			n.in = append(n.in, string(in))
		}
		f.nodes = append(f.nodes, n)
	}
	for i, end := range [][]byte{field(t, graph, graphInput)[0], field(t, graph, graphOutput)[0]} {
		f.elements[i] = varint(t, field(t, field(t, end, valueType)[0], typeTensor)[0], tensorTypeElem)
	}
	// Pointers into nodes are taken once it has stopped growing.
	for i, n := range f.nodes {
		f.producer[n.out] = &f.nodes[i]
	}
	return f
}

func TestONNXHalves(t *testing.T) {
	n := blocksNetwork(t)
	folded, err := Fold(n)
	if err != nil {
		t.Fatal(err)
	}
	for precision, element := range map[Precision]ElemType{FP16: ElemFloat16, BF16: ElemBFloat16} {
		model, err := ONNX(n, ExportOptions{Batch: 2, Precision: precision})
		if err != nil {
			t.Fatal(err)
		}
		f := readBack(t, model)
		if f.elements != [2]uint64{uint64(element), uint64(element)} {
			t.Errorf("%s: the ends have element types %v", precision, f.elements)
		}
		for name, tensor := range f.tensors {
			if e := ElemType(tensor.element); e != element && e != ElemInt64 {
				t.Errorf("%s: %s has element type %d", precision, name, e)
			}
		}
		for _, node := range f.nodes {
			if node.op == "Cast" {
				t.Errorf("%s: %s converts", precision, node.name)
			}
		}
		for _, p := range folded.Params() {
			values, want := make([]float32, p.Shape.Elements()), make([]uint16, p.Shape.Elements())
			if err := folded.Weights.Load(p, values); err != nil {
				t.Fatal(err)
			}
			if precision == FP16 {
				EncodeFP16(want, values)
			} else {
				EncodeBF16(want, values)
			}
			raw := f.tensors[p.Key].raw
			if len(raw) != 2*len(want) {
				t.Fatalf("%s: %s has %d bytes for %d elements", precision, p.Key, len(raw), len(want))
			}
			for i, h := range want {
				if got := binary.LittleEndian.Uint16(raw[2*i:]); got != h {
					t.Fatalf("%s: %s element %d is %#04x, want %#04x", precision, p.Key, i, got, h)
				}
			}
		}
		six := map[Precision]uint16{FP16: 0x4600, BF16: 0x40C0}[precision]
		if raw := f.tensors["relu6/max"].raw; len(raw) != 2 || binary.LittleEndian.Uint16(raw) != six {
			t.Errorf("%s: the constant 6 is % x", precision, raw)
		}
	}
}

func TestONNXVersions(t *testing.T) {
	n := blocksNetwork(t)
	r := madeUpRanges(t, n)
	for precision, want := range map[Precision]onnxVersion{FP32: {8, 17}, TF32: {8, 17}, FP16: {8, 17}, BF16: {10, 22}, INT8: {8, 17}, FP8: {9, 19}} {
		model, err := ONNX(n, ExportOptions{Batch: 1, Precision: precision, Ranges: r})
		if err != nil {
			t.Fatal(err)
		}
		ir, opset := varint(t, model, modelIRVersion), varint(t, field(t, model, modelOpsetImport)[0], opsetVersion)
		if ir != uint64(want.ir) || opset != uint64(want.opset) {
			t.Errorf("%s has IR %d and opset %d, want %+v", precision, ir, opset, want)
		}
	}
}

func TestTF32IsFP32(t *testing.T) {
	n := blocksNetwork(t)
	a, err := ONNX(n, ExportOptions{Batch: 1, Precision: FP32})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ONNX(n, ExportOptions{Batch: 1, Precision: TF32})
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Error("the files differ")
	}
}

// An int8 or fp8 file says what Quantization says: a pair with one scale and the right
// zero point behind every tensor that is rounded and behind no other, kernels in 8 bits
// with one scale to a channel or to all, float biases, float ends.
func TestONNXCalibrated(t *testing.T) {
	n := blocksNetwork(t)
	r := madeUpRanges(t, n)
	folded, err := Fold(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		precision Precision
		kernels   Kernels
		zero      onnxTensor
		weights   ElemType
		steps     float32
	}{
		{INT8, FusedKernels, onnxTensor{uint64(ElemInt8), []byte{0}}, ElemInt8, 127},
		{INT8, OperatorKernels, onnxTensor{uint64(ElemUint8), []byte{128}}, ElemInt8, 127},
		{FP8, FusedKernels, onnxTensor{uint64(ElemFloat8), []byte{0}}, ElemFloat8, 448},
	} {
		kernels := c.kernels
		model, err := ONNX(n, ExportOptions{Batch: 1, Precision: c.precision, Ranges: r, Kernels: kernels})
		if err != nil {
			t.Fatal(err)
		}
		f := readBack(t, model)
		if f.elements != [2]uint64{uint64(ElemFloat32), uint64(ElemFloat32)} {
			t.Errorf("the ends have element types %v", f.elements)
		}
		states, err := Quantization(n, r, kernels)
		if err != nil {
			t.Fatal(err)
		}
		limits := map[string]float32{InputName: r.Limit[InputName]}
		if kernels == OperatorKernels {
			limits["bn3.silu/sigmoid"] = 1
		}
		for _, q := range states {
			if q.Limit > 0 {
				limits[q.Node] = q.Limit
			}
		}
		for _, node := range f.nodes {
			if node.op != "DequantizeLinear" || f.producer[node.in[0]] == nil {
				continue
			}
			q := f.producer[node.in[0]]
			if q.op != "QuantizeLinear" || q.in[1] != node.in[1] || q.in[2] != node.in[2] {
				t.Fatalf("%s behind %s %s: %v and %v", node.name, q.op, q.name, node.in, q.in)
			}
			scale := math.Float32frombits(binary.LittleEndian.Uint32(f.tensors[q.in[1]].raw))
			if limit, ok := limits[q.in[0]]; !ok || scale != limit/c.steps {
				t.Errorf("%s has scale %v, its limit is %v", q.in[0], scale, limit)
			}
			if diff := cmp.Diff(c.zero, f.tensors[q.in[2]], cmp.AllowUnexported(onnxTensor{})); diff != "" {
				t.Errorf("zero point of %s:\n%s", q.in[0], diff)
			}
			delete(limits, q.in[0])
			for _, other := range f.nodes {
				for _, in := range other.in {
					if in == q.in[0] && other.name != q.name {
						t.Errorf("%s reads %s, which is rounded, as it was", other.name, in)
					}
				}
			}
		}
		for name := range limits {
			t.Errorf("kernels %d: no pair behind %s", kernels, name)
		}
		isRounded := func(tensor string) bool {
			p := f.producer[tensor]
			return p != nil && p.op == "DequantizeLinear"
		}
		for _, node := range f.nodes {
			switch node.op {
			case "Conv", "Gemm":
				if !isRounded(node.in[0]) || !isRounded(node.in[1]) {
					t.Errorf("%s reads %v, want both from integers", node.name, node.in)
				}
			case "Cast":
				t.Errorf("%s converts", node.name)
			}
		}
		for name := range f.tensors {
			if !slices.ContainsFunc(f.nodes, func(n onnxNode) bool { return slices.Contains(n.in, name) }) {
				t.Errorf("nothing reads %s", name)
			}
		}
		for _, p := range folded.Params() {
			if p.Role != Kernel {
				if f.tensors[p.Key].element != uint64(ElemFloat32) {
					t.Errorf("%s has element type %d, want float32", p.Key, f.tensors[p.Key].element)
				}
				continue
			}
			values := make([]float32, p.Shape.Elements())
			if err := folded.Weights.Load(p, values); err != nil {
				t.Fatal(err)
			}
			raw, scales := make([]byte, len(values)), make([]float32, map[Precision]int{INT8: p.Shape[0], FP8: 1}[c.precision])
			if err := QuantizeWeight(c.precision, raw, scales, values); err != nil {
				t.Fatal(err)
			}
			stored := f.tensors[p.Key+"/"+string(c.precision)]
			if stored.element != uint64(c.weights) || string(stored.raw) != string(raw) {
				t.Errorf("%s is not stored as its 8 bits", p.Key)
			}
			var want []byte
			for _, s := range scales {
				want = binary.LittleEndian.AppendUint32(want, math.Float32bits(s))
			}
			if string(f.tensors[p.Key+"/scale"].raw) != string(want) {
				t.Errorf("%s has other scales", p.Key)
			}
		}
	}
}

func TestONNXRefusesPrecisions(t *testing.T) {
	n := blocksNetwork(t)
	expect := func(what string, err error, words ...string) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", what)
			return
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not say %q", what, err, word)
			}
		}
	}
	for _, p := range []Precision{INT8, FP8} {
		_, err := ONNX(n, ExportOptions{Batch: 1, Precision: p})
		expect("no ranges", err, "export blocks", string(p)+" needs", "ranges", "calibrate")
	}
	for name, limit := range map[string]float32{"add2": -1, "conv5": float32(math.NaN()), "gated": float32(math.Inf(1))} {
		r := madeUpRanges(t, n)
		r.Limit[name] = limit
		_, err := ONNX(n, ExportOptions{Batch: 1, Precision: INT8, Ranges: r})
		expect("a bad range", err, name, "range")
		delete(r.Limit, name)
		_, err = ONNX(n, ExportOptions{Batch: 1, Precision: INT8, Ranges: r})
		expect("a missing range", err, name, "calibrate blocks")
	}
	large := *n
	large.Weights = oneWeight{n.Weights, "fc.weight", 65520}
	_, err := ONNX(&large, ExportOptions{Batch: 1, Precision: FP16})
	expect("a weight beyond fp16", err, "fc.weight", "element 3", "65520", "fp16")
	if _, err := ONNX(&large, ExportOptions{Batch: 1, Precision: BF16}); err != nil {
		t.Errorf("the same weight in bf16: %v", err)
	}
	large.Weights = oneWeight{n.Weights, "fc.weight", 65519}
	if _, err := ONNX(&large, ExportOptions{Batch: 1, Precision: FP16}); err != nil {
		t.Errorf("the largest weight that rounds into fp16: %v", err)
	}
	for _, p := range Precisions() {
		for _, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			large.Weights = oneWeight{n.Weights, "fc.weight", v}
			_, err := ONNX(&large, ExportOptions{Batch: 1, Precision: p.Name, Ranges: madeUpRanges(t, n)})
			expect("no number in "+string(p.Name), err, "fc.weight", "element 3", fmt.Sprint(v))
		}
	}
	large.Weights = oneWeight{n.Weights, "fc.weight", math.MaxFloat32}
	_, err = ONNX(&large, ExportOptions{Batch: 1, Precision: BF16})
	expect("a weight beyond bf16", err, "fc.weight", "element 3", "bf16")
	large.Weights = oneWeight{n.Weights, "bn1.running_var", -1}
	_, err = ONNX(&large, ExportOptions{Batch: 1, Precision: FP32})
	expect("a negative variance", err, "bn1.running_var", "element 3", "-1")
	var refused *PrecisionError
	if _, err := ONNX(n, ExportOptions{Batch: 1, Precision: "int4"}); !errors.As(err, &refused) || len(refused.Supported) != 6 {
		t.Errorf("precision int4: %v", err)
	}
}

// A range so small that its scale would be 0, or one of float32's subnormal numbers,
// gets one that can be divided by.
func TestTinyRange(t *testing.T) {
	n := blocksNetwork(t)
	folded, err := Fold(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, tiny := range []float32{0, math.SmallestNonzeroFloat32, 0x1p-126} {
		r := madeUpRanges(t, n)
		r.Limit[InputName], r.Limit["add2"] = tiny, tiny
		for _, p := range []Precision{INT8, FP8} {
			scales, err := NewRounding(folded, r, p)
			if err != nil {
				t.Fatal(err)
			}
			for i, scale := range append(scales.Nodes, scales.Image) {
				if scale != 0 && scale < 0x1p-126 || scale == 0 && i == len(scales.Nodes) {
					t.Errorf("%s: the range %v gives a scale of %v", p, tiny, scale)
				}
			}
		}
	}
}

// oneWeight changes element 3 of one tensor.
type oneWeight struct {
	WeightSource
	key   string
	value float32
}

func (w oneWeight) Load(p Param, dst []float32) error {
	if err := w.WeightSource.Load(p, dst); err != nil {
		return err
	}
	if p.Key == w.key {
		dst[3] = w.value
	}
	return nil
}

// TestPrecisionsGolden pins the files of five networks from different families in
// every precision but fp32, which TestNetworksGolden has of all, at a low resolution.
func TestPrecisionsGolden(t *testing.T) {
	const file = "testdata/precisions.txt"
	var got strings.Builder
	got.WriteString("# name, resolution, precision, SHA-256 of the ONNX file at batch 1 with made-up ranges\n")
	for _, name := range []string{"resnet-18", "mobilenetv3-small", "efficientnet-b0", "densenet-121", "shufflenetv2-1.0"} {
		n, err := New(name, 64)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []struct {
			label   string
			options ExportOptions
		}{
			{"fp16", ExportOptions{Precision: FP16}},
			{"bf16", ExportOptions{Precision: BF16}},
			{"int8-fused", ExportOptions{Precision: INT8, Kernels: FusedKernels}},
			{"int8-operator", ExportOptions{Precision: INT8, Kernels: OperatorKernels}},
			{"fp8", ExportOptions{Precision: FP8, Kernels: OperatorKernels}}, // the kernels are int8's alone
		} {
			o.options.Batch, o.options.Ranges = 1, madeUpRanges(t, n)
			model, err := ONNX(n, o.options)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "%s 64 %s %x\n", name, o.label, sha256.Sum256(model))
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s, file against exports (-update rewrites it):\n%s", file, diff)
	}
}
