package models

import (
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
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
			return r.damaged(at, part, "field %d: %w; the file is cut off or not an ONNX file", number, protowire.ParseError(size))
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
		if r.file.tensors[in.Name] == nil { // otherwise it has a default
			inputs = append(inputs, in)
		}
	}
	r.file.Inputs = inputs
	return r.order()
}

// order checks that every node comes after those that it reads from.
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

// value reads what the file says about a value. A type that is not a tensor has element
// type 0.
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
		// Whoever reads the file reads that one too: it must not choose any on the machine.
		if !filepath.IsLocal(t.external) {
			return nil, r.damaged(t.at, part(), "its data is in %q, want a relative path below the model's directory", shorten(t.external))
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
