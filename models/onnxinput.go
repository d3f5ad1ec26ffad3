package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ParseShapes reads shapes of inputs as they are given on a command line:
// "input:1x3x224x224", each name once.
func ParseShapes(texts []string) (map[string]Shape, error) {
	shapes := make(map[string]Shape, len(texts))
	for _, text := range texts {
		// A name may have colons of its own ("input:0"), an extent has none.
		colon := strings.LastIndexByte(text, ':')
		if colon < 1 || colon == len(text)-1 {
			return nil, fmt.Errorf("read shape %q: want a name and extents, such as input:1x3x224x224", text)
		}
		name := text[:colon]
		if _, twice := shapes[name]; twice {
			return nil, fmt.Errorf("read shape %q: %s already has a shape", text, name)
		}
		var shape Shape
		for _, part := range strings.Split(text[colon+1:], "x") {
			d, err := strconv.Atoi(part)
			if err != nil || d < 1 || d > maxExtent {
				return nil, fmt.Errorf("read shape %q: extent %q, want a number from 1 to %d", text, part, maxExtent)
			}
			shape = append(shape, d)
		}
		if _, ok := product(shape); !ok || len(shape) > maxRank {
			return nil, fmt.Errorf("read shape %q: no machine holds a tensor of %d dimensions and that size", text, len(shape))
		}
		shapes[name] = shape
	}
	return shapes, nil
}

// A ShapeError says which shapes a file's inputs can take.
type ShapeError struct {
	Path  string
	Input string // empty where it is about all of them
	Err   error
}

func (e *ShapeError) Error() string {
	if e.Input == "" {
		return fmt.Sprintf("choose input shapes of %s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("choose input shapes of %s: input %s: %v", e.Path, shorten(e.Input), e.Err)
}

func (e *ShapeError) Unwrap() error { return e.Err }

// Resolve gives every input a shape: what the file fixes, then what shapes says
// (see ParseShapes), then the batch for the leading extent. Extents with the same name
// are the same. Batch 0 is the file's own, or 1.
//
// A shape that contradicts the file, or an extent that nothing fixes, gives a
// *ShapeError.
func (f *File) Resolve(batch int, shapes map[string]Shape) (map[string]Shape, error) {
	r := binding{
		file: f, batch: batch, bound: map[string]int{}, by: map[string]string{},
		shapes: make(map[string]Shape, len(f.Inputs)),
	}
	if batch < 0 {
		return nil, r.fail("", "batch %d", batch)
	}
	if err := r.take(shapes); err != nil {
		return nil, err
	}
	if err := r.bindBatch(); err != nil {
		return nil, err
	}
	for _, in := range f.Inputs {
		if r.shapes[in.Name] != nil {
			continue
		}
		shape, err := r.fill(in)
		if err != nil {
			return nil, err
		}
		r.shapes[in.Name] = shape
	}
	return r.shapes, nil
}

// A binding is on its way from what a file leaves open to shapes.
type binding struct {
	file   *File
	batch  int
	shapes map[string]Shape  // by input, of those that are known
	bound  map[string]int    // extents by name
	by     map[string]string // what said so
}

func (r *binding) fail(input, format string, a ...any) error {
	return &ShapeError{r.file.Path, input, fmt.Errorf(format, a...)}
}

// take takes the shapes that were given.
func (r *binding) take(given map[string]Shape) error {
	var names []string
	for _, in := range r.file.Inputs {
		names = append(names, in.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(names, name) {
			list := make([]string, min(len(names), shownMisfits))
			for i := range list {
				list[i] = shorten(names[i])
			}
			return r.fail(name, "the file has no such input, it has %s", strings.Join(list, ", "))
		}
	}
	for _, in := range r.file.Inputs {
		s, ok := given[in.Name]
		if !ok {
			continue
		}
		if err := in.accepts(s); err != nil {
			return r.fail(in.Name, "%w", err)
		}
		for i, d := range in.Shape {
			if d.Value != 0 || d.Symbol == "" {
				continue
			}
			if other, ok := r.bound[d.Symbol]; ok && other != s[i] {
				return r.fail(in.Name, "its %s is %d, that of %s is %d", shorten(d.Symbol), s[i], r.by[d.Symbol], other)
			}
			r.bound[d.Symbol], r.by[d.Symbol] = s[i], "input "+shorten(in.Name)
		}
		r.shapes[in.Name] = append(Shape{}, s...) // not nil, also for a number
	}
	return nil
}

// bindBatch gives the batch to the leading extent of the first input with a
// dimension.
func (r *binding) bindBatch() error {
	i := slices.IndexFunc(r.file.Inputs, func(in ValueInfo) bool { return len(in.Shape) > 0 })
	if i < 0 {
		return nil
	}
	in := r.file.Inputs[i]
	d := in.Shape[0]
	own := d.Value
	if s := r.shapes[in.Name]; s != nil {
		own = s[0]
	}
	if bound, ok := r.bound[d.Symbol]; ok && own == 0 {
		own = bound // by the shape of another input
	}
	switch {
	case own > 0 && r.batch > 0 && own != r.batch:
		return r.fail(in.Name, "its batch is fixed to %d, %d is asked for", own, r.batch)
	case own > 0:
		r.batch = own // of the inputs after this one, too
	case d.Symbol != "":
		r.bound[d.Symbol], r.by[d.Symbol] = max(r.batch, 1), "the batch"
	}
	return nil
}

// fill gives the shape of an input from what the file fixes and what is bound.
func (r *binding) fill(in ValueInfo) (Shape, error) {
	if in.Shape == nil {
		return nil, r.fail(in.Name, "the file does not say its shape; give --shape %s:…", shorten(in.Name))
	}
	s, open := make(Shape, len(in.Shape)), false
	text := make([]string, len(in.Shape))
	for i, d := range in.Shape {
		n, ok := r.bound[d.Symbol]
		switch {
		case d.Value > 0:
			s[i] = d.Value
		case d.Symbol != "" && ok:
			s[i] = n
		case i == 0:
			s[i] = max(r.batch, 1)
		default:
			open = true
		}
		if text[i] = d.String(); s[i] > 0 {
			text[i] = strconv.Itoa(s[i])
		}
	}
	if open {
		return nil, r.fail(in.Name, "the file leaves extents open; give --shape %s:%s with numbers for all of them", shorten(in.Name), strings.Join(text, "x"))
	}
	if _, ok := product(s); !ok {
		return nil, r.fail(in.Name, "no machine holds a tensor of shape %v", s)
	}
	return s, nil
}

// accepts checks a shape against what the file fixes.
func (v ValueInfo) accepts(s Shape) error {
	if _, ok := product(s); !ok {
		return fmt.Errorf("no machine holds a tensor of shape %v", s)
	}
	if v.Shape == nil {
		return nil
	}
	if len(s) != len(v.Shape) {
		return fmt.Errorf("%v has %d dimensions, the file wants %d", s, len(s), len(v.Shape))
	}
	for i, d := range v.Shape {
		if s[i] < 1 || s[i] > maxExtent || (d.Value > 0 && d.Value != s[i]) {
			return fmt.Errorf("%v has %d in dimension %d, the file wants %s", s, s[i], i, d)
		}
	}
	return nil
}

// A Value is the content of an input.
type Value struct {
	Name  string
	Elem  ElemType
	Shape Shape
	Data  []byte // row-major, little-endian
}

// maxValues is the size of all inputs together, in bytes, beyond which something is
// wrong: a batch of a thousand images takes half a gigabyte.
const maxValues = 1 << 34

// Values makes contents for all inputs at shapes that Resolve gave, the same for
// the same seed. Floats are uniform in [-1,1) and rounded to their type; 8-bit
// integers, which hold images, take all values; wider integers, which are mostly
// indices, lie in 0..7, so that they are valid for small tables; booleans are either.
//
// With seed 0, a file's only input has the values of SyntheticInput.
func (f *File) Values(shapes map[string]Shape, seed uint64) ([]Value, error) {
	values, err := f.layValues(shapes)
	if err != nil {
		return nil, err
	}
	for i := range values {
		v := &values[i]
		key := v.Name
		if len(values) == 1 {
			key = InputName
		}
		v.Data = make([]byte, v.Elem.Size()*v.Shape.Elements())
		// Multiplied by an odd number, so that two seeds do not give one sequence
		// shifted; seed 0 changes nothing.
		v.fill(fnv1a(key) ^ seed*0xBF58476D1CE4E5B9)
	}
	return values, nil
}

// layValues gives the inputs without their contents, if there is room for all of them
// together.
func (f *File) layValues(shapes map[string]Shape) ([]Value, error) {
	values, total := make([]Value, len(f.Inputs)), 0
	for i, in := range f.Inputs {
		shape, ok := shapes[in.Name]
		if !ok {
			return nil, &ShapeError{f.Path, in.Name, errors.New("no shape is given")}
		}
		if err := in.accepts(shape); err != nil {
			return nil, &ShapeError{f.Path, in.Name, err}
		}
		size := in.Elem.Size()
		if size == 0 {
			return nil, &UnsupportedError{Path: f.Path, Node: in.Name, Op: "input", Reason: fmt.Sprintf("its type is %s, for which there is no seeded data", in.Elem)}
		}
		n, ok := multiply(shape.Elements(), size)
		if !ok || n > maxValues-total {
			return nil, &ShapeError{f.Path, in.Name, fmt.Errorf("with shape %v of %s the inputs take more than %d bytes", shape, in.Elem, maxValues)}
		}
		total += n
		values[i] = Value{Name: in.Name, Elem: in.Elem, Shape: slices.Clone(shape)}
	}
	return values, nil
}

// fill writes the sequence of a seed.
func (v *Value) fill(seed uint64) {
	const piece = 1024
	var floats [piece]float32
	var halves [piece]uint16
	n := v.Shape.Elements()
	for from := 0; from < n; from += piece {
		part := floats[:min(piece, n-from)]
		fillFrom(seed+uint64(from)*golden, 0, 1, part)
		switch v.Elem {
		case ElemFloat16:
			EncodeFP16(halves[:len(part)], part)
		case ElemBFloat16:
			EncodeBF16(halves[:len(part)], part)
		}
		for i, f := range part {
			v.put(from+i, f, halves[i])
		}
	}
}

// put writes element i, made from a number in [-1,1), which rounding may have turned
// into 1.
func (v *Value) put(i int, f float32, half uint16) {
	unit := (float64(f) + 1) / 2
	upTo := func(n int) uint64 { return uint64(min(int(unit*float64(n)), n-1)) }
	const indices = 8
	switch v.Elem {
	case ElemFloat32:
		binary.LittleEndian.PutUint32(v.Data[4*i:], math.Float32bits(f))
	case ElemFloat64:
		binary.LittleEndian.PutUint64(v.Data[8*i:], math.Float64bits(float64(f)))
	case ElemFloat16, ElemBFloat16:
		binary.LittleEndian.PutUint16(v.Data[2*i:], half)
	case ElemUint8, ElemInt8:
		v.Data[i] = byte(upTo(256))
	case ElemFloat8:
		v.Data[i] = fp8(f)
	case ElemBool:
		v.Data[i] = byte(upTo(2))
	case ElemUint16, ElemInt16:
		binary.LittleEndian.PutUint16(v.Data[2*i:], uint16(upTo(indices)))
	case ElemUint32, ElemInt32:
		binary.LittleEndian.PutUint32(v.Data[4*i:], uint32(upTo(indices)))
	case ElemUint64, ElemInt64:
		binary.LittleEndian.PutUint64(v.Data[8*i:], upTo(indices))
	}
}

// An UnsupportedError names the part of a file that genbench cannot run itself.
type UnsupportedError struct {
	Path   string
	Node   string // its name, or that of the value it writes; of the input where Op is "input"
	Op     string // operator, with its domain where that is not ONNX's own
	Reason string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("read %s: %s %s: %s", e.Path, e.Op, shorten(e.Node), e.Reason)
}
