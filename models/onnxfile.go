package models

import (
	"errors"
	"fmt"
	"strings"
)

// A File is an open ONNX file that anyone's exporter wrote: what it takes and
// gives, its nodes, what it costs. The file is mapped, not read; weights are read when
// they are loaded. Methods may be called from several goroutines.
type File struct {
	Path     string
	IR       int64 // version of the file format
	Producer string
	Opsets   []Opset
	// Inputs are those that must be given; ones with a default are left out.
	Inputs, Outputs []ValueInfo
	// External names files with tensors that are not in this one. Such tensors have
	// a shape and no values here.
	External []string

	file    *mapped
	nodes   []fileNode
	tensors map[string]*fileTensor // initializers
	values  map[string]ValueInfo   // what the file says about its inner values
}

// Opset is a set of operators that a file uses.
type Opset struct {
	Domain  string // empty for ONNX's own
	Version int64
}

// ValueInfo is what a file says about a value.
type ValueInfo struct {
	Name string
	Elem ElemType
	// Shape has the extents as far as the file fixes them; nil if it says nothing.
	Shape []Dim
}

// A Dim is an extent: a number, a name for one that is only known at run time, or
// neither.
type Dim struct {
	Value  int // 0 where the file does not fix it
	Symbol string
}

func (d Dim) String() string {
	switch {
	case d.Value > 0:
		return fmt.Sprint(d.Value)
	case d.Symbol != "":
		return shorten(d.Symbol)
	}
	return "?"
}

// A fileNode is a node as the file has it.
type fileNode struct {
	name, op, domain string
	in, out          []string
	attributes       map[string]fileAttribute
	at               int // offset in the file
}

// title names a node in messages; nodes need no name of their own.
func (n *fileNode) title() string {
	switch {
	case n.name != "":
		return shorten(n.name)
	case len(n.out) > 0:
		return "writing " + shorten(n.out[0])
	}
	return fmt.Sprintf("at byte %d", n.at)
}

// operator is the node's operator with the domain where it is not ONNX's own.
func (n *fileNode) operator() string {
	if n.domain == "" {
		return shorten(n.op)
	}
	return shorten(n.domain + "." + n.op)
}

// fileAttribute is an attribute's value; the fields that its type does not use
// are empty.
type fileAttribute struct {
	i      int64
	f      float32
	s      string
	ints   []int64
	floats []float32
	tensor *fileTensor
	graph  bool // a graph inside a node (If, Loop, Scan)
}

// OpenONNX opens a file and reads its graph. A file that is damaged gives a
// *DamagedError. What genbench cannot run or count is no error here: Cost and Network
// report it. The caller closes the file.
func OpenONNX(path string) (*File, error) {
	file, err := openMapped(path)
	if err != nil {
		return nil, err
	}
	f, err := readONNX(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

func readONNX(file *mapped) (*File, error) {
	f := &File{Path: file.path, file: file, tensors: map[string]*fileTensor{}, values: map[string]ValueInfo{}}
	err := file.look(func(data []byte) error {
		r := onnxReader{path: file.path, file: f, externals: map[string]bool{}}
		return r.model(data)
	})
	return f, err
}

// SHA256 reads the whole file.
func (f *File) SHA256() (string, error) { return f.file.sha256() }

// Origin is the file's name, without its directory.
func (f *File) Origin() string { return f.file.base() }

// Close unmaps the file; a network made from it can load no weights after that.
func (f *File) Close() error { return f.file.Close() }

// Opset is the version of ONNX's own operators that the file uses.
func (f *File) Opset() int64 {
	for _, o := range f.Opsets {
		if o.Domain == "" {
			return o.Version
		}
	}
	return 0
}

// Nodes is the number of nodes in the file's graph.
func (f *File) Nodes() int { return len(f.nodes) }

// IsFile distinguishes the path of an ONNX file from the name of a network.
func IsFile(model string) bool { return strings.HasSuffix(strings.ToLower(model), ".onnx") }

// Precision is what the file computes in: where it quantises, fp8 if it holds tensors
// of E4M3 and int8 if not; otherwise the type of most of its floating-point weights.
func (f *File) Precision() Precision {
	values := map[ElemType]int64{}
	for _, t := range f.tensors {
		values[t.elem] = saturated(values[t.elem], int64(t.shape.Elements()))
	}
	for i := range f.nodes {
		switch f.nodes[i].op {
		case "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger":
			if values[ElemFloat8] > 0 {
				return FP8
			}
			return INT8
		}
	}
	switch {
	case values[ElemFloat16] > max(values[ElemFloat32], values[ElemBFloat16]):
		return FP16
	case values[ElemBFloat16] > values[ElemFloat32]:
		return BF16
	}
	return FP32
}
