package models

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestParseShapes(t *testing.T) {
	got, err := ParseShapes([]string{"input:1x3x224x224", "tf:0:7"})
	if want := map[string]Shape{"input": {1, 3, 224, 224}, "tf:0": {7}}; err != nil || !maps.EqualFunc(got, want, Shape.Equal) {
		t.Errorf("got %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"":                             "want a name and extents, such as input:1x3x224x224",
		"1x3":                          "want a name and extents",
		":1x3":                         "want a name and extents",
		"x:":                           "want a name and extents",
		"x:1x0":                        `extent "0", want a number from 1`,
		"x:1x-3":                       `extent "-3"`,
		"x:1,3":                        `extent "1,3"`,
		"x:1xNx2":                      `extent "N"`,
		"x:1xx2":                       `extent ""`,
		"x:99999999x99999999x99999999": "no machine holds",
	} {
		if _, err := ParseShapes([]string{text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := ParseShapes([]string{"x:1", "x:2"}); err == nil || !strings.Contains(err.Error(), "x already has a shape") {
		t.Errorf("one name twice: %v", err)
	}
}

func TestResolve(t *testing.T) {
	inputs := func(specs ...string) *File {
		d := newDraft("inputs", 17, "")
		first := ""
		for _, s := range specs {
			name, extents, _ := strings.Cut(s, ":")
			d.input(name, extents)
			if first == "" {
				first = name
			}
		}
		d.node("Relu", first, "y", nil)
		d.output("y", "")
		return fileFrom(t, d.encode())
	}
	for _, c := range []struct {
		name    string
		file    *File
		batch   int
		shapes  string // as on the command line
		want    string // shapes by input
		refused string // or the error
	}{
		{"fixed", inputs("x:4,3,8,8"), 0, "", "x:4x3x8x8", ""},
		{"fixed, same batch", inputs("x:4,3,8,8"), 4, "", "x:4x3x8x8", ""},
		{"fixed, another batch", inputs("x:4,3,8,8"), 2, "", "", "input x: its batch is fixed to 4, 2 is asked for"},
		{"dynamic", inputs("x:N,3,8,8"), 0, "", "x:1x3x8x8", ""},
		{"dynamic batch", inputs("x:N,3,8,8"), 7, "", "x:7x3x8x8", ""},
		{"shared name", inputs("x:N,3,8,8", "z:N,2"), 7, "", "x:7x3x8x8 z:7x2", ""},
		{"fixed, and an open one", inputs("x:4,3,8,8", "z:?,2"), 0, "", "x:4x3x8x8 z:4x2", ""},
		{"given, and an open one", inputs("x:N,3,H,W", "z:?,2"), 0, "x:5x3x6x7", "x:5x3x6x7 z:5x2", ""},
		{"given by another input", inputs("x:N,3", "w:?,3", "z:N,2"), 0, "z:5x2", "w:5x3 x:5x3 z:5x2", ""},
		{"given by another input, another batch", inputs("x:N,3", "z:N,2"), 2, "z:5x2", "", "input x: its batch is fixed to 5, 2 is asked for"},
		{"open extents", inputs("x:N,3,H,W"), 2, "", "", "leaves extents open; give --shape x:2x3xHxW"},
		{"given", inputs("x:N,3,H,W"), 0, "x:5x3x6x7", "x:5x3x6x7", ""},
		{"given and batch", inputs("x:N,3,H,W"), 2, "x:5x3x6x7", "", "its batch is fixed to 5, 2 is asked for"},
		{"one extent by name", inputs("x:N,3,H,H"), 1, "x:1x3x6x7", "", "its H is 7, that of input x is 6"},
		{"extents of another input", inputs("x:N,3,H,H", "z:N,H"), 0, "x:2x3x6x6", "x:2x3x6x6 z:2x6", ""},
		{"against the file", inputs("x:1,3,8,8"), 0, "x:1x4x8x8", "", "1x4x8x8 has 4 in dimension 1, the file wants 3"},
		{"wrong rank", inputs("x:1,3,8,8"), 0, "x:1x3", "", "1x3 has 2 dimensions, the file wants 4"},
		{"unknown input", inputs("x:1,3,8,8"), 0, "y:1", "", "input y: the file has no such input, it has x"},
		{"number", inputs("x:"), 3, "", "x:", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			given, err := ParseShapes(strings.Fields(c.shapes))
			if err != nil {
				t.Fatal(err)
			}
			shapes, err := c.file.Resolve(c.batch, given)
			if c.refused != "" {
				var shape *ShapeError
				if !errors.As(err, &shape) || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, name := range slices.Sorted(maps.Keys(shapes)) {
				got = append(got, name+":"+shapes[name].String())
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// What a file calls its inputs must not reach a terminal as it is.
func TestResolveNamesInputsHarmlessly(t *testing.T) {
	f := &File{Path: "m.onnx", Inputs: []ValueInfo{{Name: "\x1b[2Jx", Elem: ElemFloat32}}}
	if _, err := f.Resolve(1, nil); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %q", err)
	}
}

// Every type gets values of its own kind, the same for a seed and others for
// another.
func TestValues(t *testing.T) {
	d := newDraft("types", 17, "")
	types := []ElemType{ElemFloat32, ElemUint8, ElemInt8, ElemUint16, ElemInt16, ElemInt32, ElemInt64, ElemBool, ElemFloat16, ElemFloat64, ElemUint32, ElemUint64, ElemBFloat16, ElemFloat8}
	for _, e := range types {
		d.value(graphInput, e.String(), e, "N,3000")
	}
	d.node("Relu", "float32", "y", nil)
	d.output("y", "")
	f := fileFrom(t, d.encode())
	shapes, err := f.Resolve(2, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := f.Values(shapes, 1)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.Values(shapes, 1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := f.Values(shapes, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range first {
		if v.Elem != types[i] || v.Name != types[i].String() || len(v.Data) != 6000*v.Elem.Size() {
			t.Errorf("%s: %d bytes of %s", v.Name, len(v.Data), v.Elem)
		}
		if !bytes.Equal(v.Data, again[i].Data) || bytes.Equal(v.Data, other[i].Data) {
			t.Errorf("%s does not follow the seed", v.Name)
		}
		low, high := math.Inf(1), math.Inf(-1)
		for k := range 6000 {
			x := v.at(k)
			low, high = min(low, x), max(high, x)
		}
		want := map[ElemType][2]float64{ElemUint8: {0, 255}, ElemInt8: {-128, 127}, ElemBool: {0, 1}}[v.Elem]
		switch {
		case v.Elem.float() || v.Elem == ElemFloat8:
			if low < -1 || low > -0.99 || high > 1 || high < 0.99 {
				t.Errorf("%s from %g to %g, want -1 to 1", v.Name, low, high)
			}
			continue
		case want == [2]float64{}:
			want = [2]float64{0, 7}
		}
		if low != want[0] || high != want[1] {
			t.Errorf("%s from %g to %g, want %v", v.Name, low, high, want)
		}
	}
}

// at reads an element.
func (v Value) at(i int) float64 {
	size := v.Elem.Size()
	b := v.Data[size*i:][:size]
	var half [1]float32
	switch v.Elem {
	case ElemFloat32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case ElemFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	case ElemFloat16:
		DecodeFP16(half[:], []uint16{binary.LittleEndian.Uint16(b)})
		return float64(half[0])
	case ElemBFloat16:
		DecodeBF16(half[:], []uint16{binary.LittleEndian.Uint16(b)})
		return float64(half[0])
	case ElemFloat8:
		return float64(fromFP8(b[0]))
	case ElemInt8:
		return float64(int8(b[0]))
	}
	n := uint64(0)
	for i, x := range b {
		n |= uint64(x) << (8 * i)
	}
	return float64(n)
}

// The only input of a file, with seed 0, is the one that golden outputs are for.
func TestValuesOfTheOnlyInput(t *testing.T) {
	d := newDraft("one", 17, "")
	d.input("image", "1,3,5,5")
	d.node("Relu", "image", "y", nil)
	d.output("y", "")
	f := fileFrom(t, d.encode())
	values, err := f.Values(map[string]Shape{"image": {1, 3, 5, 5}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range SyntheticInput(Shape{1, 3, 5, 5}).Data {
		if got := values[0].at(i); got != float64(want) {
			t.Fatalf("element %d is %g, want %g", i, got, want)
		}
	}
	if _, err := f.Values(nil, 0); err == nil || !strings.Contains(err.Error(), "no shape is given") {
		t.Errorf("no shapes: %v", err)
	}
}

// Inputs that each are large and together too large are refused before the first is
// made.
func TestValuesBoundsMemory(t *testing.T) {
	f := &File{Path: "m.onnx", Inputs: []ValueInfo{{Name: "a", Elem: ElemUint8}, {Name: "b", Elem: ElemFloat32}}}
	_, err := f.layValues(map[string]Shape{"a": {maxValues - 3}, "b": {1}})
	var shape *ShapeError
	if !errors.As(err, &shape) || shape.Input != "b" || !strings.Contains(err.Error(), "more than 17179869184 bytes") {
		t.Errorf("a byte too many: %v", err)
	}
	if _, err := f.layValues(map[string]Shape{"a": {maxValues - 4}, "b": {1}}); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
}

// Text has no seeded data.
func TestValuesUnsupported(t *testing.T) {
	d := newDraft("text", 17, "")
	d.value(graphInput, "words", ElemString, "1")
	d.node("Identity", "words", "y", nil)
	d.output("y", "")
	f := fileFrom(t, d.encode())
	_, err := f.Values(map[string]Shape{"words": {1}}, 0)
	var unsupported *UnsupportedError
	if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), "its type is string") {
		t.Errorf("got %v", err)
	}
}
