package models

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fileFrom reads a file that is in memory.
func fileFrom(t testing.TB, data []byte) *File {
	t.Helper()
	f, err := readONNX(&mapped{path: "model.onnx", data: data})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Every network comes back from its own ONNX file as what was written: the same nodes
// and cost, and the file is counted alike.
func TestFileReadsBackTheZoo(t *testing.T) {
	const small = 3e6 // parameters
	for _, info := range List() {
		if testing.Short() && info.Params > small {
			continue
		}
		t.Run(info.Name, func(t *testing.T) {
			n, err := New(info.Name, 0)
			if err != nil {
				t.Fatal(err)
			}
			n.Weights = blank{}
			const batch = 2
			data, err := ONNX(n, ExportOptions{Batch: batch, Precision: FP32})
			if err != nil {
				t.Fatal(err)
			}
			f := fileFrom(t, data)
			shapes, err := f.Resolve(0, nil)
			if err != nil {
				t.Fatal(err)
			}
			back, err := f.Network(shapes)
			if err != nil {
				t.Fatal(err)
			}
			folded, err := Fold(n)
			if err != nil {
				t.Fatal(err)
			}
			want, err := CostOf(folded)
			if err != nil {
				t.Fatal(err)
			}
			got, err := CostOf(back)
			if err != nil {
				t.Fatal(err)
			}
			want.Model = got.Model
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("cost, written against read:\n%s", diff)
			}
			if diff := cmp.Diff(folded.Nodes, back.Nodes, roundedDown()); diff != "" {
				t.Errorf("nodes, written against read:\n%s", diff)
			}
			cost, err := f.Cost(shapes)
			if err != nil {
				t.Fatal(err)
			}
			if cost.MACs == nil || *cost.MACs != batch*want.MACs || cost.Params != want.Params {
				t.Errorf("the file has %v MACs and %d parameters, want %d and %d; %q", cost.MACs, cost.Params, batch*want.MACs, want.Params, cost.Unknown)
			}
		})
	}
}

// roundedDown compares pools without Ceil, which a file does not have where it changes
// nothing; where it does, their extents tell.
func roundedDown() cmp.Option {
	return cmp.Options{
		cmp.Transformer("MaxPool", func(p MaxPool) [3]int { return [3]int{p.Kernel, p.Stride, p.Pad} }),
		cmp.Transformer("AvgPool", func(p AvgPool) [4]int { return [4]int{p.Kernel, p.Stride, p.Pad, btoi(p.CountPad)} }),
	}
}

// blank weights are zero, for tests that look at shapes alone.
type blank struct{}

func (blank) Load(_ Param, dst []float32) error { clear(dst); return nil }
func (blank) Origin() string                    { return "blank" }

// A network that was read writes the file that it was read from.
func TestFileWritesWhatItRead(t *testing.T) {
	for _, name := range []string{"mobilenetv3-small", "shufflenetv2-1.0", "regnety-200mf", "resnest-50d", "densenet-121"} {
		if testing.Short() && name != "mobilenetv3-small" {
			continue
		}
		n, err := New(name, 64)
		if err != nil {
			t.Fatal(err)
		}
		written, err := ONNX(n, ExportOptions{Batch: 1, Precision: FP32})
		if err != nil {
			t.Fatal(err)
		}
		f := fileFrom(t, written)
		shapes, err := f.Resolve(1, nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := f.Network(shapes)
		if err != nil {
			t.Fatal(err)
		}
		back.Name = name
		again, err := ONNX(back, ExportOptions{Batch: 1, Precision: FP32})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(written, again) {
			t.Errorf("%s: %d bytes written, %d after reading back, and they differ", name, len(written), len(again))
		}
	}
}

// Files as other exporters write them become networks of the operators that were
// meant, and the file's own count agrees with the network's.
func TestFileOfOtherExporters(t *testing.T) {
	for _, d := range drafts() {
		t.Run(d.name, func(t *testing.T) {
			f := fileFrom(t, d.encode())
			shapes, err := f.Resolve(0, nil)
			if err != nil {
				t.Fatal(err)
			}
			cost, err := f.Cost(shapes)
			if err != nil {
				t.Fatal(err)
			}
			n, err := f.Network(shapes)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, node := range n.Nodes {
				kinds = append(kinds, node.Op.Kind())
			}
			if got := strings.Join(kinds, " "); got != d.operators {
				t.Errorf("it became %s\nwant      %s", got, d.operators)
			}
			counted, err := CostOf(n)
			if err != nil {
				t.Fatal(err)
			}
			batch := int64(shapes[f.Inputs[0].Name][0])
			if cost.MACs == nil || *cost.MACs != batch*counted.MACs || cost.Params != counted.Params {
				t.Errorf("the file has %v MACs for %d and %d parameters, the network %d and %d: %q", cost.MACs, batch, cost.Params, counted.MACs, counted.Params, cost.Unknown)
			}
			checkLifted(t, f, n, shapes, cost)
			path := filepath.Join("testdata", "files", d.name+".onnx")
			if *update {
				if err := os.WriteFile(path, d.encode(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			stored, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(stored, d.encode()) {
				t.Errorf("%s is another file; -update writes it, golden.json must follow", path)
			}
		})
	}
}

// A mean over height and width becomes two nodes; what the file calls as the first
// of them is called stays what it is.
func TestFileWithTheNameOfAPool(t *testing.T) {
	d := newDraft("pools", 17, "")
	d.input("x", "1,2,4,4")
	d.node("Relu", "x", "m/pool", nil)
	d.node("ReduceMean", "x", "m", with{"axes": []int{2, 3}, "keepdims": 0})
	d.node("GlobalAveragePool", "m/pool", "g", nil)
	d.node("Flatten", "g", "gf", nil)
	d.node("Add", "m gf", "y", nil)
	d.output("y", "")
	f := fileFrom(t, d.encode())
	shapes, err := f.Resolve(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Network(shapes)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, node := range n.Nodes {
		got = append(got, fmt.Sprint(node.Op.Kind(), node.Inputs))
	}
	want := "relu[-1] globalavgpool[-1] flatten[1] globalavgpool[0] flatten[3] add[2 4]"
	if strings.Join(got, " ") != want {
		t.Errorf("it became %s\nwant      %s", strings.Join(got, " "), want)
	}
}

// What does nothing but in training disappears, however a file says that it does not
// train.
func TestFileAtInference(t *testing.T) {
	for _, c := range []struct {
		opset int
		body  func(d *draft)
		want  string
	}{
		{13, func(d *draft) {
			d.tensor(rawIn("off", nil, ElemBool, []byte{0}))
			d.node("Dropout", "x - off", "r mask", nil)
		}, "relu"},
		{6, func(d *draft) { d.node("Dropout", "x", "r", with{"is_test": 1}) }, "relu"},
		{6, func(d *draft) {
			for _, part := range []string{"gamma", "beta", "mean", "var"} {
				d.weights(part, 2)
			}
			d.node("BatchNormalization", "x gamma beta mean var", "r - -", with{"is_test": 1})
		}, "batchnorm relu"},
	} {
		d := newDraft("inference", c.opset, "")
		d.input("x", "1,2,4,4")
		c.body(d)
		d.node("Relu", "r", "y", nil)
		d.output("y", "")
		f := fileFrom(t, d.encode())
		n, err := f.Network(map[string]Shape{"x": {1, 2, 4, 4}})
		if err != nil {
			t.Error(err)
			continue
		}
		var kinds []string
		for _, node := range n.Nodes {
			kinds = append(kinds, node.Op.Kind())
		}
		if got := strings.Join(kinds, " "); got != c.want {
			t.Errorf("opset %d: it became %s, want %s", c.opset, got, c.want)
		}
	}
}

// Packed numbers take eight bytes in memory where the file has one: they count
// among its parts.
func TestFileBoundsNumbers(t *testing.T) {
	list := appendMessage(appendString(nil, attributeName, "value_ints"), attributeInts, make([]byte, 1<<20))
	data := draftOf(func(d *draft) {
		for range 4 {
			d.graph = appendMessage(d.graph, graphNode, appendMessage(appendString(nil, nodeOpType, "Constant"), nodeAttribute, list))
		}
	})
	_, err := readONNX(&mapped{path: "m.onnx", data: data})
	var damaged *DamagedError
	if !errors.As(err, &damaged) || !strings.Contains(err.Error(), "more than 4194304 parts") {
		t.Errorf("four million numbers: %v", err)
	}
}

// Arithmetic on shapes ends where it is no arithmetic on shapes: a thousand sums of
// long lists would take a small file minutes, and so would quotients that come to
// nothing at the last of their numbers.
func TestFileBoundsArithmetic(t *testing.T) {
	ones := slices.Repeat([]int{1}, maxFolded)
	last := slices.Clone(ones)
	last[maxFolded-1] = 0
	for _, c := range []struct {
		op, in string
		folded bool // the first of them
	}{
		{"Add", "ones last", true},
		{"Neg", "ones", true},
		{"Gather", "ones last", true},
		{"Concat", "ones", true},
		{"Div", "ones last", false},
	} {
		d := newDraft(c.op, 17, "")
		d.input("x", "1")
		d.tensor(intsIn("ones", []int{maxFolded}, ones...))
		d.tensor(intsIn("last", []int{maxFolded}, last...))
		const many = 2 * maxFoldedTotal / maxFolded
		for i := range many {
			d.node(c.op, c.in, fmt.Sprintf("v%d", i), with{"axis": 0})
		}
		d.node("Relu", "x", "y", nil)
		d.output("y", "")
		in := inferred(t, d)
		if first, last := in.values["v0"], in.values[fmt.Sprintf("v%d", many-1)]; first.folded != c.folded || last.folded || last.shape == nil {
			t.Errorf("%s: the first is known: %v, the last: %v, with shape %v", c.op, first.folded, last.folded, last.shape)
		}
		s := step{in: in, node: &in.file.nodes[0]}
		k, err := s.infer()
		if err != nil {
			t.Fatal(err)
		}
		if k[0].folded || s.affords(1) {
			t.Errorf("%s: beyond %d numbers more are computed", c.op, in.ints)
		}
	}
}

// inferred goes over a draft whose input x is a single number.
func inferred(t *testing.T, d *draft) *inference {
	t.Helper()
	in, err := fileFrom(t, d.encode()).infer(map[string]Shape{"x": {1}})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// A name of megabytes is not read again for each field of its node: what is shown of it
// is short.
func TestFileWithALongName(t *testing.T) {
	const fields = 1 << 11
	b := appendString(appendString(nil, nodeOpType, "Sum"), nodeName, strings.Repeat("x", 1<<23))
	for range fields {
		b = appendString(b, nodeInput, "x")
	}
	d := newDraft("long", 17, "")
	d.input("x", "1")
	d.graph = appendMessage(d.graph, graphNode, appendString(b, nodeOutput, "y"))
	d.output("y", "")
	start := time.Now()
	f := fileFrom(t, d.encode())
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("a node with %d inputs takes %v", fields, took)
	}
	if title := f.nodes[0].title(); title != strings.Repeat("x", 120)+"…" {
		t.Errorf("the node is called %q", title)
	}
}

// What is known of a value is known alike whichever way it is written, and a float stays
// one: half of three is not one.
func TestFileKnows(t *testing.T) {
	d := newDraft("known", 18, "")
	d.input("x", "1")
	d.tensor(floatsIn("three", []int{1}, []float32{3}))
	d.tensor(floatsIn("two", []int{1}, []float32{2}))
	for name, v := range map[string]float32{"from": 3, "to": 4, "by": 1} {
		d.tensor(floatsIn(name, nil, []float32{v}))
	}
	for name, v := range map[string]int{"zero": 0, "one": 1} {
		d.tensor(intsIn(name, []int{1}, v))
	}
	long := make([]int, maxFolded+1)
	d.tensor(intsIn("axes", []int{maxRank + 1}, long[:maxRank+1]...))
	d.node("Constant", "", "float", with{"value_float": 4.0})
	d.node("Constant", "", "list", with{"value_ints": []int{4, 5}})
	d.node("Constant", "", "long", with{"value_ints": long})
	d.node("Concat", "three two", "joined", with{"axis": 0})
	d.node("Slice", "joined zero one", "cut", nil)
	d.node("Gather", "joined zero", "taken", nil)
	d.node("Range", "from to by", "counted", nil)
	d.tensor(intsIn("ten", []int{10}, long[:10]...))
	d.tensor(floatsIn("scale", []int{1}, []float32{0.7}))
	d.node("Resize", "ten - scale", "resized", nil)
	d.node("Squeeze", "x axes", "squeezed", nil)
	d.node("ReduceSum", "x axes", "reduced", nil)
	for _, name := range []string{"joined", "cut", "taken", "counted"} {
		d.node("Div", name+" two", "half_"+name, nil)
	}
	d.node("Relu", "x", "y", nil)
	d.output("y", "")
	in := inferred(t, d)
	for name, want := range map[string]string{
		"float": "4 real true", "list": "4 5 real false", "long": "unknown",
		"joined": "3 2 real true", "cut": "3 real true", "taken": "3 real true", "counted": "3 real true",
		"half_joined": "unknown", "half_cut": "unknown", "half_taken": "unknown", "half_counted": "unknown",
	} {
		k := in.values[name]
		got := "unknown"
		if k.folded {
			got = fmt.Sprintf("%s real %t", strings.Trim(fmt.Sprint(k.ints), "[]"), k.real)
		}
		if got != want || k.shape == nil {
			t.Errorf("%s of shape %v is %s, want %s", name, k.shape, got, want)
		}
	}
	if got := in.values["resized"].shape; !got.Equal(Shape{7}) { // 7 in float32, 6.9999999 otherwise
		t.Errorf("10 by 0.7 are %v", got)
	}
	if stops := strings.Join(in.stops, "\n"); strings.Count(stops, "its axes has 33 numbers, at most 32 are possible") != 2 {
		t.Errorf("33 axes: %s", stops)
	}
}

// Shapes of tensors that other files hold are claims: their numbers are added up to the
// largest there is, no further.
func TestFileCountsClaims(t *testing.T) {
	d := newDraft("claims", 17, "")
	d.input("x", "1")
	names := ""
	for i := range 3 {
		name := fmt.Sprintf(" w%d", i)
		d.tensor(elsewhereIn(name[1:], "weights", maxExtent, maxExtent))
		names += name
	}
	d.tensor(rawIn("half", []int{1}, ElemFloat16, make([]byte, 2)))
	d.node("Sum", "x half"+names, "y", nil)
	d.output("y", "")
	f := fileFrom(t, d.encode())
	cost, err := f.Cost(map[string]Shape{"x": {1}})
	if err != nil {
		t.Fatal(err)
	}
	if cost.Params != math.MaxInt64 || f.Precision() != FP32 {
		t.Errorf("%d parameters in %s, want %d in fp32", cost.Params, f.Precision(), math.MaxInt64)
	}
}
