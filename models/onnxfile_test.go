package models

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// Every network comes back from its own ONNX file as what was written: the same
// nodes, cost and weights, and the file is counted alike.
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
// long lists would take a small file minutes.
func TestFileBoundsArithmetic(t *testing.T) {
	d := newDraft("sums", 17, "")
	d.input("x", "1")
	d.tensor(intsIn("long", []int{maxFolded}, make([]int, maxFolded)...))
	const sums = 2 * maxFoldedTotal / maxFolded
	for i := range sums {
		d.node("Add", "long long", fmt.Sprintf("sum%d", i), nil)
	}
	d.node("Relu", "x", "y", nil)
	d.output("y", "")
	f := fileFrom(t, d.encode())
	in, err := f.infer(map[string]Shape{"x": {1}})
	if err != nil {
		t.Fatal(err)
	}
	if first, last := in.values["sum0"], in.values[fmt.Sprintf("sum%d", sums-1)]; !first.folded || last.folded || last.shape == nil {
		t.Errorf("the first sum is known: %v, the last: %v, with shape %v", first.folded, last.folded, last.shape)
	}
	s := step{in: in, node: &f.nodes[0]}
	if ints, ok := s.fold(Shape{maxFolded}, false); ok || ints != nil {
		t.Errorf("beyond %d numbers %d more were computed", maxFoldedTotal, len(ints))
	}
}
