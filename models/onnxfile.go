package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// A File is an open ONNX file that anyone's exporter wrote: what it takes and
// gives, its nodes, what it costs. The file is mapped, not read; weights are
// looked at when they are loaded. Methods may be called from several goroutines.
type File struct {
	Path     string
	IR       int64 // version of the file format
	Producer string
	Opsets   []Opset
	// Inputs are those that must be given, without the ones that have a default.
	Inputs, Outputs []ValueInfo
	// External names files with tensors that are not in this one. Such tensors have
	// a shape and no values here.
	External []string

	file    *mapped
	nodes   []fileNode
	tensors map[string]*fileTensor // initializers
	values  map[string]ValueInfo   // what the file says of values inside
}

// Opset is a set of operators that a file uses.
type Opset struct {
	Domain  string // empty for ONNX's own
	Version int64
}

// ValueInfo is what a file says of a value.
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

// ElemType is the type of a tensor's elements, with the numbers of onnx.proto's
// TensorProto.DataType.
type ElemType int

const (
	ElemFloat32  ElemType = 1
	ElemUint8    ElemType = 2
	ElemInt8     ElemType = 3
	ElemUint16   ElemType = 4
	ElemInt16    ElemType = 5
	ElemInt32    ElemType = 6
	ElemInt64    ElemType = 7
	ElemString   ElemType = 8
	ElemBool     ElemType = 9
	ElemFloat16  ElemType = 10
	ElemFloat64  ElemType = 11
	ElemUint32   ElemType = 12
	ElemUint64   ElemType = 13
	ElemBFloat16 ElemType = 16
)

func (e ElemType) String() string {
	switch e {
	case ElemFloat32:
		return "float32"
	case ElemUint8:
		return "uint8"
	case ElemInt8:
		return "int8"
	case ElemUint16:
		return "uint16"
	case ElemInt16:
		return "int16"
	case ElemInt32:
		return "int32"
	case ElemInt64:
		return "int64"
	case ElemString:
		return "string"
	case ElemBool:
		return "bool"
	case ElemFloat16:
		return "float16"
	case ElemFloat64:
		return "float64"
	case ElemUint32:
		return "uint32"
	case ElemUint64:
		return "uint64"
	case ElemBFloat16:
		return "bfloat16"
	}
	return fmt.Sprintf("type %d", int(e))
}

// Size in bytes; 0 for strings and for types that are not whole bytes or that
// nothing here computes with.
func (e ElemType) Size() int {
	switch e {
	case ElemUint8, ElemInt8, ElemBool:
		return 1
	case ElemUint16, ElemInt16, ElemFloat16, ElemBFloat16:
		return 2
	case ElemFloat32, ElemInt32, ElemUint32:
		return 4
	case ElemFloat64, ElemInt64, ElemUint64:
		return 8
	}
	return 0
}

func (e ElemType) float() bool {
	return e == ElemFloat32 || e == ElemFloat16 || e == ElemBFloat16 || e == ElemFloat64
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

// A fileTensor is a tensor that stays in the file. Its values are in raw, or in
// chunks of protobuf's own encoding, or in another file.
type fileTensor struct {
	name     string
	elem     ElemType
	shape    Shape
	raw      []byte // nil: not used
	chunks   [][]byte
	wire     protowire.Number // the field that the chunks come from
	external string
	at       int
}

// More field numbers from onnx/onnx.proto.
const (
	opsetDomain = 1

	graphSparse = 15
	graphValue  = 13

	nodeDomain = 7

	attributeString    = 4
	attributeTensor    = 5
	attributeGraph     = 6
	attributeFloats    = 7
	attributeGraphs    = 11
	attributeReference = 21

	tensorFloats   = 4
	tensorInt32s   = 5
	tensorStrings  = 6
	tensorInt64s   = 7
	tensorDoubles  = 10
	tensorUint64s  = 11
	tensorExternal = 13
	tensorLocation = 14

	entryKey   = 1
	entryValue = 2

	dimParam = 2
)

// Limits on what a file may hold, far above any network: they keep a small file
// of empty parts from taking memory hundreds of times its size.
const (
	maxParts  = 1 << 22 // fields and packed numbers: names, nodes, tensors, attributes
	maxRank   = 32
	maxExtent = 1 << 31 // of a dimension: two of them multiply without overflow
	maxFolded = 1 << 14 // numbers in a tensor that takes part in shape arithmetic

	maxFoldedTotal = 1 << 22 // numbers in all of them
)

// OpenONNX opens a file and reads its graph. A file that is damaged gives a
// *DamagedError. What genbench cannot run or count is no error here: Cost and
// Network tell. The caller closes the file.
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

// An onnxReader reads a model, counting its parts.
type onnxReader struct {
	path      string
	file      *File
	parts     int
	externals map[string]bool // what File.External lists
}

func (r *onnxReader) damaged(at int, part, format string, a ...any) error {
	return &DamagedError{Path: r.path, Byte: int64(at), Part: part, Err: fmt.Errorf(format, a...)}
}

// A wireField is a field of a message: bytes or a number.
type wireField struct {
	number protowire.Number
	kind   protowire.Type
	at     int    // offset of the content in the file
	bytes  []byte // of a length-delimited field
	value  uint64 // of the others
}

// fields calls see for each field of a message that begins at an offset of the
// file. Groups, which ONNX does not have, are damage.
func (r *onnxReader) fields(message []byte, at int, part string, see func(wireField) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return r.damaged(at, part, "no protobuf field: %w", protowire.ParseError(n))
		}
		f := wireField{number: number, kind: kind}
		size := -1
		switch kind {
		case protowire.VarintType:
			f.value, size = protowire.ConsumeVarint(message[n:])
		case protowire.Fixed32Type:
			var v uint32
			v, size = protowire.ConsumeFixed32(message[n:])
			f.value = uint64(v)
		case protowire.Fixed64Type:
			f.value, size = protowire.ConsumeFixed64(message[n:])
		case protowire.BytesType:
			f.bytes, size = protowire.ConsumeBytes(message[n:])
		default:
			return r.damaged(at, part, "field %d has wire type %d, which ONNX does not use; is this an ONNX file?", number, kind)
		}
		if size < 0 {
			return r.damaged(at, part, "field %d: %w; the file is cut off or is no ONNX file", number, protowire.ParseError(size))
		}
		f.at = at + n + size - len(f.bytes)
		if kind != protowire.BytesType {
			f.at = at + n
		}
		if err := r.take(1, at, part); err != nil {
			return err
		}
		if err := see(f); err != nil {
			return err
		}
		message, at = message[n+size:], at+n+size
	}
	return nil
}

// take counts parts.
func (r *onnxReader) take(n, at int, part string) error {
	if r.parts += n; r.parts > maxParts {
		return r.damaged(at, part, "more than %d parts", maxParts)
	}
	return nil
}

// want checks a field's wire type.
func (r *onnxReader) want(f wireField, kind protowire.Type, part string) error {
	if f.kind != kind {
		return r.damaged(f.at, part, "field %d has wire type %d, want %d", f.number, f.kind, kind)
	}
	return nil
}

func (r *onnxReader) text(f wireField, part string) (string, error) {
	if err := r.want(f, protowire.BytesType, part); err != nil {
		return "", err
	}
	if !utf8.Valid(f.bytes) {
		return "", r.damaged(f.at, part, "field %d is not UTF-8 text", f.number)
	}
	return string(f.bytes), nil
}

func (r *onnxReader) number(f wireField, part string) (int64, error) {
	return int64(f.value), r.want(f, protowire.VarintType, part)
}

func (r *onnxReader) model(data []byte) error {
	graph := false
	err := r.fields(data, 0, "", func(f wireField) (err error) {
		switch f.number {
		case modelIRVersion:
			r.file.IR, err = r.number(f, "ir_version")
		case modelProducer:
			r.file.Producer, err = r.text(f, "producer")
		case modelOpsetImport:
			err = r.opset(f)
		case modelGraph:
			if graph {
				return r.damaged(f.at, "", "a second graph")
			}
			graph = true
			if err = r.want(f, protowire.BytesType, "graph"); err == nil {
				err = r.graph(f)
			}
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case !graph:
		return r.damaged(len(data), "", "the model has no graph; is this an ONNX file?")
	case r.file.IR < 1:
		return r.damaged(len(data), "", "the model has no IR version; is this an ONNX file?")
	case r.file.IR >= 3 && r.file.Opset() < 1: // older files had no opset imports
		return r.damaged(len(data), "", "the model imports no set of ONNX's operators")
	}
	inputs := r.file.Inputs[:0]
	for _, in := range r.file.Inputs {
		if r.file.tensors[in.Name] == nil { // else it has a default
			inputs = append(inputs, in)
		}
	}
	r.file.Inputs = inputs
	return r.order()
}

// order checks that every node comes behind those that it reads from.
func (r *onnxReader) order() error {
	written := make(map[string]bool, len(r.file.nodes))
	for name := range r.file.tensors {
		written[name] = true
	}
	for _, in := range r.file.Inputs {
		if written[in.Name] {
			return r.damaged(0, "input "+shorten(in.Name), "the name appears twice")
		}
		written[in.Name] = true
	}
	for i := range r.file.nodes {
		node := &r.file.nodes[i]
		for _, in := range node.in {
			if in != "" && !written[in] {
				return r.damaged(node.at, "node "+node.title(), "it reads %q, which nothing before it writes", shorten(in))
			}
		}
		for _, out := range node.out {
			if out == "" {
				continue
			}
			if written[out] {
				return r.damaged(node.at, "node "+node.title(), "it writes %q, which is there already", shorten(out))
			}
			written[out] = true
		}
	}
	for _, out := range r.file.Outputs {
		if !written[out.Name] {
			return r.damaged(0, "output "+shorten(out.Name), "nothing writes it")
		}
	}
	if len(r.file.Outputs) == 0 {
		return r.damaged(0, "", "the graph has no outputs")
	}
	return nil
}

func (r *onnxReader) opset(f wireField) error {
	var o Opset
	err := r.message(f, "opset_import", func(f wireField) (err error) {
		switch f.number {
		case opsetDomain:
			o.Domain, err = r.text(f, "opset_import")
		case opsetVersion:
			o.Version, err = r.number(f, "opset_import")
		}
		return err
	})
	o.Domain = plainDomain(o.Domain)
	r.file.Opsets = append(r.file.Opsets, o)
	return err
}

// plainDomain: ONNX's own operators have two names for one domain.
func plainDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

func (r *onnxReader) message(f wireField, part string, see func(wireField) error) error {
	if err := r.want(f, protowire.BytesType, part); err != nil {
		return err
	}
	return r.fields(f.bytes, f.at, part, see)
}

func (r *onnxReader) graph(graph wireField) error {
	return r.fields(graph.bytes, graph.at, "graph", func(f wireField) error {
		switch f.number {
		case graphNode:
			n, err := r.node(f)
			if err != nil {
				return err
			}
			r.file.nodes = append(r.file.nodes, n)
		case graphInitializer:
			t, err := r.tensor(f)
			if err != nil {
				return err
			}
			if t.name == "" || r.file.tensors[t.name] != nil {
				return r.damaged(f.at, "tensor "+shorten(t.name), "the name is empty or appears twice")
			}
			r.file.tensors[t.name] = t
		case graphSparse:
			return r.damaged(f.at, "graph", "sparse initializers are not read")
		case graphInput, graphOutput, graphValue:
			v, err := r.value(f)
			if err != nil {
				return err
			}
			switch f.number {
			case graphInput:
				r.file.Inputs = append(r.file.Inputs, v)
			case graphOutput:
				r.file.Outputs = append(r.file.Outputs, v)
			}
			r.file.values[v.Name] = v
		}
		return nil
	})
}

func (r *onnxReader) node(f wireField) (fileNode, error) {
	n := fileNode{at: f.at}
	var attributes []wireField // read last, when the node's name is known
	err := r.message(f, "node", func(f wireField) error {
		var err error
		s := ""
		switch f.number {
		case nodeInput, nodeOutput, nodeName, nodeOpType, nodeDomain:
			if s, err = r.text(f, "node "+n.title()); err != nil {
				return err
			}
		}
		switch f.number {
		case nodeInput:
			n.in = append(n.in, s)
		case nodeOutput:
			n.out = append(n.out, s)
		case nodeName:
			n.name = s
		case nodeOpType:
			n.op = s
		case nodeDomain:
			n.domain = plainDomain(s)
		case nodeAttribute:
			attributes = append(attributes, f)
		}
		return nil
	})
	if err != nil {
		return n, err
	}
	if n.op == "" {
		return n, r.damaged(f.at, "node "+n.title(), "it has no operator")
	}
	for _, a := range attributes {
		if err := r.attribute(&n, a); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (r *onnxReader) attribute(n *fileNode, f wireField) error {
	part := "node " + n.title()
	var a fileAttribute
	name := ""
	err := r.message(f, part, func(f wireField) (err error) {
		switch f.number {
		case attributeName:
			name, err = r.text(f, part)
		case attributeInt:
			a.i, err = r.number(f, part)
		case attributeFloat:
			a.f, err = math.Float32frombits(uint32(f.value)), r.want(f, protowire.Fixed32Type, part)
		case attributeString:
			if err = r.want(f, protowire.BytesType, part); err == nil {
				a.s = string(f.bytes) // bytes in the format, not text
			}
		case attributeTensor:
			a.tensor, err = r.tensor(f)
		case attributeInts:
			a.ints, err = r.ints(a.ints, f, part)
		case attributeFloats:
			a.floats, err = r.floats(a.floats, f, part)
		case attributeGraph, attributeGraphs, attributeReference:
			a.graph = true
		}
		return err
	})
	if err != nil {
		return err
	}
	if name == "" {
		return r.damaged(f.at, part, "an attribute without a name")
	}
	if n.attributes == nil {
		n.attributes = map[string]fileAttribute{}
	}
	if _, twice := n.attributes[name]; twice {
		return r.damaged(f.at, part, "the attribute %s appears twice", shorten(name))
	}
	n.attributes[name] = a
	return nil
}

// value reads what the file says of a value. A type that is no tensor has the
// element type 0.
func (r *onnxReader) value(f wireField) (ValueInfo, error) {
	var v ValueInfo
	part := func() string { return "value " + shorten(v.Name) }
	dimension := func(f wireField) error {
		var d Dim
		err := r.message(f, part(), func(f wireField) (err error) {
			switch f.number {
			case dimValue:
				var n int64
				if n, err = r.number(f, part()); err != nil {
					return err
				}
				// Exporters write 0 or -1 for an extent that they do not know.
				if n > 0 && n <= maxExtent {
					d.Value = int(n)
				} else if n > maxExtent {
					return r.damaged(f.at, part(), "an extent of %d", n)
				}
			case dimParam:
				d.Symbol, err = r.text(f, part())
				if d.Symbol == "?" { // what PaddlePaddle's exporter calls all of them
					d.Symbol = ""
				}
			}
			return err
		})
		if len(v.Shape) == maxRank {
			return r.damaged(f.at, part(), "more than %d dimensions", maxRank)
		}
		v.Shape = append(v.Shape, d)
		return err
	}
	tensor := func(f wireField) error {
		return r.message(f, part(), func(f wireField) (err error) {
			switch f.number {
			case tensorTypeElem:
				var e int64
				e, err = r.number(f, part())
				v.Elem = ElemType(e)
			case tensorTypeShape:
				v.Shape = []Dim{}
				err = r.message(f, part(), func(f wireField) error {
					if f.number == shapeDim {
						return dimension(f)
					}
					return nil
				})
			}
			return err
		})
	}
	err := r.message(f, "value", func(f wireField) (err error) {
		switch f.number {
		case valueName:
			v.Name, err = r.text(f, "value")
		case valueType:
			err = r.message(f, part(), func(f wireField) error {
				if f.number == typeTensor {
					return tensor(f)
				}
				return nil
			})
		}
		return err
	})
	if err == nil && v.Name == "" {
		err = r.damaged(f.at, "", "a value without a name")
	}
	return v, err
}

// ints appends the integers of a field, packed or not.
func (r *onnxReader) ints(list []int64, f wireField, part string) ([]int64, error) {
	if f.kind == protowire.VarintType {
		return append(list, int64(f.value)), nil
	}
	if err := r.want(f, protowire.BytesType, part); err != nil {
		return nil, err
	}
	for b := f.bytes; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, r.damaged(f.at+len(f.bytes)-len(b), part, "field %d: %w", f.number, protowire.ParseError(n))
		}
		if err := r.take(1, f.at, part); err != nil {
			return nil, err
		}
		list, b = append(list, int64(v)), b[n:]
	}
	return list, nil
}

func (r *onnxReader) floats(list []float32, f wireField, part string) ([]float32, error) {
	if f.kind == protowire.Fixed32Type {
		return append(list, math.Float32frombits(uint32(f.value))), nil
	}
	if err := r.want(f, protowire.BytesType, part); err != nil {
		return nil, err
	}
	if len(f.bytes)%4 != 0 {
		return nil, r.damaged(f.at, part, "field %d: %d bytes of packed floats, want a multiple of 4", f.number, len(f.bytes))
	}
	if err := r.take(len(f.bytes)/4, f.at, part); err != nil {
		return nil, err
	}
	for b := f.bytes; len(b) > 0; b = b[4:] {
		list = append(list, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return list, nil
}

func (r *onnxReader) tensor(f wireField) (*fileTensor, error) {
	t := &fileTensor{at: f.at}
	part := func() string { return "tensor " + shorten(t.name) }
	var dims []int64
	location, external := int64(0), false
	err := r.message(f, "tensor", func(f wireField) (err error) {
		switch f.number {
		case tensorDims:
			if dims, err = r.ints(dims, f, part()); err == nil && len(dims) > maxRank {
				err = r.damaged(f.at, part(), "more than %d dimensions", maxRank)
			}
		case tensorDataType:
			var e int64
			e, err = r.number(f, part())
			if e < 0 || e > math.MaxInt32 {
				return r.damaged(f.at, part(), "element type %d", e)
			}
			t.elem = ElemType(e)
		case tensorName:
			t.name, err = r.text(f, "tensor")
		case tensorRawData:
			if err = r.want(f, protowire.BytesType, part()); err == nil {
				t.raw = f.bytes
				if t.raw == nil {
					t.raw = []byte{}
				}
			}
		case tensorFloats, tensorInt32s, tensorInt64s, tensorDoubles, tensorUint64s, tensorStrings:
			if t.wire != 0 && t.wire != f.number {
				return r.damaged(f.at, part(), "values in field %d and in field %d", t.wire, f.number)
			}
			t.wire = f.number
			chunk := f.bytes
			if f.kind != protowire.BytesType {
				chunk = unpacked(f)
			}
			t.chunks = append(t.chunks, chunk)
		case tensorExternal:
			external = true
			err = r.external(t, f, part())
		case tensorLocation:
			location, err = r.number(f, part())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	t.shape = make(Shape, len(dims))
	for i, d := range dims {
		if d < 0 || d > maxExtent {
			return nil, r.damaged(t.at, part(), "dimension %d is %d", i, d)
		}
		t.shape[i] = int(d)
	}
	elements, ok := product(t.shape)
	if !ok {
		return nil, r.damaged(t.at, part(), "no file can hold shape %v", t.shape)
	}
	if location == 1 || external { // TensorProto.EXTERNAL
		if t.external == "" {
			return nil, r.damaged(t.at, part(), "its data is in another file, which is not named")
		}
		r.addExternal(t.external)
		return t, nil
	}
	if err := t.check(elements); err != nil {
		return nil, r.damaged(t.at, part(), "%w", err)
	}
	return t, nil
}

// external reads an entry that says where a tensor's values are.
func (r *onnxReader) external(t *fileTensor, f wireField, part string) error {
	key, value := "", ""
	err := r.message(f, part, func(f wireField) (err error) {
		switch f.number {
		case entryKey:
			key, err = r.text(f, part)
		case entryValue:
			value, err = r.text(f, part)
		}
		return err
	})
	if key == "location" {
		t.external = value
	}
	return err
}

// unpacked gives the bytes of a single number as a packed list would hold them.
func unpacked(f wireField) []byte {
	switch f.kind {
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(nil, uint32(f.value))
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(nil, f.value)
	}
	return protowire.AppendVarint(nil, f.value)
}

func (r *onnxReader) addExternal(name string) {
	if !r.externals[name] {
		r.externals[name] = true
		r.file.External = append(r.file.External, name)
	}
}

// check compares the stored values with the shape.
func (t *fileTensor) check(elements int) error {
	size := t.elem.Size()
	if t.raw != nil {
		if len(t.chunks) > 0 {
			return fmt.Errorf("values in raw_data and in field %d", t.wire)
		}
		want, ok := multiply(elements, size)
		if size > 0 && (!ok || want != len(t.raw)) {
			return fmt.Errorf("shape %v of %s takes %d × %d bytes, raw_data has %d", t.shape, t.elem, elements, size, len(t.raw))
		}
		return nil
	}
	if size == 0 {
		return nil // strings, and types that are not decoded
	}
	stored := 0
	for _, c := range t.chunks {
		switch t.wire {
		case tensorFloats:
			stored += len(c) / 4
		case tensorDoubles:
			stored += len(c) / 8
		default:
			for _, b := range c { // the last byte of a varint has no continuation bit
				if b < 0x80 {
					stored++
				}
			}
		}
	}
	if stored != elements {
		return fmt.Errorf("shape %v has %d elements, %d are stored", t.shape, elements, stored)
	}
	return nil
}

// floats converts the values to float32.
func (t *fileTensor) floats(dst []float32) error {
	switch {
	case t.external != "":
		return fmt.Errorf("its values are in another file, %s, which is not read", shorten(t.external))
	case len(dst) != t.shape.Elements():
		return fmt.Errorf("room for %d elements, shape %v has %d", len(dst), t.shape, t.shape.Elements())
	case t.raw != nil:
		switch t.elem {
		case ElemFloat32:
			decodeFloat32(dst, t.raw)
		case ElemFloat64:
			decodeFloat64(dst, t.raw)
		case ElemFloat16:
			decodeHalves(dst, t.raw, DecodeFP16)
		case ElemBFloat16:
			decodeHalves(dst, t.raw, DecodeBF16)
		default:
			return fmt.Errorf("its type is %s, want a float", t.elem)
		}
		return nil
	case t.elem == ElemFloat32 && t.wire == tensorFloats:
		return t.eachChunk(4, &dst, decodeFloat32)
	case t.elem == ElemFloat64 && t.wire == tensorDoubles:
		return t.eachChunk(8, &dst, decodeFloat64)
	case len(dst) == 0:
		return nil
	}
	if (t.elem == ElemFloat16 || t.elem == ElemBFloat16) && t.wire == tensorInt32s {
		values, err := t.ints(len(dst))
		if err != nil {
			return err
		}
		for i, v := range values {
			half := []uint16{uint16(v)}
			if t.elem == ElemFloat16 {
				DecodeFP16(dst[i:i+1], half)
			} else {
				DecodeBF16(dst[i:i+1], half)
			}
		}
		return nil
	}
	return fmt.Errorf("%s values in field %d", t.elem, t.wire)
}

func (t *fileTensor) eachChunk(size int, dst *[]float32, decode func([]float32, []byte)) error {
	for _, c := range t.chunks {
		n := len(c) / size
		if n > len(*dst) || len(c)%size != 0 {
			return fmt.Errorf("%d bytes in field %d", len(c), t.wire)
		}
		decode((*dst)[:n], c)
		*dst = (*dst)[n:]
	}
	return nil
}

// ints gives the values of an integer tensor, at most so many.
func (t *fileTensor) ints(most int) ([]int64, error) {
	n := t.shape.Elements()
	switch {
	case t.external != "":
		return nil, fmt.Errorf("its values are in another file, %s, which is not read", shorten(t.external))
	case n > most:
		return nil, fmt.Errorf("%d values, at most %d are folded", n, most)
	}
	values := make([]int64, 0, n)
	if t.raw != nil {
		size := t.elem.Size()
		for b := t.raw; size > 0 && len(b) >= size; b = b[size:] {
			switch t.elem {
			case ElemInt64, ElemUint64:
				values = append(values, int64(binary.LittleEndian.Uint64(b)))
			case ElemInt32:
				values = append(values, int64(int32(binary.LittleEndian.Uint32(b))))
			default:
				return nil, fmt.Errorf("its type is %s, want int32 or int64", t.elem)
			}
		}
	} else {
		for _, c := range t.chunks {
			if t.wire != tensorInt64s && t.wire != tensorInt32s {
				return nil, fmt.Errorf("integers in field %d", t.wire)
			}
			for len(c) > 0 {
				v, size := protowire.ConsumeVarint(c)
				if size < 0 {
					return nil, fmt.Errorf("field %d: %w", t.wire, protowire.ParseError(size))
				}
				values, c = append(values, int64(v)), c[size:]
			}
		}
	}
	if len(values) != n {
		return nil, fmt.Errorf("shape %v has %d elements, %d are stored", t.shape, n, len(values))
	}
	return values, nil
}

// IsFile tells the path of an ONNX file from the name of a network.
func IsFile(model string) bool { return strings.HasSuffix(strings.ToLower(model), ".onnx") }

// Precision is what the file computes in: int8 where it quantises, else the type of
// most of its floating-point weights.
func (f *File) Precision() Precision {
	for i := range f.nodes {
		switch f.nodes[i].op {
		case "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger":
			return INT8
		}
	}
	values := map[ElemType]int{}
	for _, t := range f.tensors {
		values[t.elem] += t.shape.Elements()
	}
	switch {
	case values[ElemFloat16] > max(values[ElemFloat32], values[ElemBFloat16]):
		return FP16
	case values[ElemBFloat16] > values[ElemFloat32]:
		return BF16
	}
	return FP32
}
