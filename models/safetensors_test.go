package models

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// storeOf writes a file of tensors given as "TYPE extents"; their bytes count up.
func storeOf(tensors map[string]string) []byte {
	header, data := map[string]any{"__metadata__": map[string]string{"format": "pt"}}, []byte{}
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		dtype, extents, _ := strings.Cut(tensors[name], " ")
		shape, size := []int{}, dtypeBits(dtype)/8
		for _, e := range strings.FieldsFunc(extents, func(r rune) bool { return r == ',' }) {
			d, err := strconv.Atoi(e)
			if err != nil {
				panic(err)
			}
			shape, size = append(shape, d), size*d
		}
		begin := len(data)
		for range size {
			data = append(data, byte(len(data)))
		}
		header[name] = map[string]any{"dtype": dtype, "shape": shape, "data_offsets": []int{begin, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, data)
}

// storeWith puts a header in front of data.
func storeWith(header string, data int) []byte {
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), []byte(header), make([]byte, data))
}

type damagedFile struct {
	name string
	data []byte
	at   int64  // the byte that is named
	want string // in the message
}

func damagedStores() []damagedFile {
	entry := func(dtype, shape string, begin, end int) string {
		return fmt.Sprintf(`{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, dtype, shape, begin, end)
	}
	ok := entry("F32", "[2]", 0, 8)
	return []damagedFile{
		{"seven bytes", make([]byte, 7), 0, "want 8 for the length"},
		{"header beyond the file", binary.LittleEndian.AppendUint64(nil, 1000), 0, "a header of 1000 bytes, 0 follow"},
		{"header of exabytes", append(binary.LittleEndian.AppendUint64(nil, math.MaxUint64), '{', '}'), 0, "at most 100000000 are allowed"},
		{"no header", storeWith("", 0), 8, "does not begin with {"},
		{"space in front", storeWith(" {}", 0), 8, "does not begin with {"},
		{"a list", storeWith("[]", 0), 8, "does not begin with {"},
		{"half a header", storeWith(`{"a":`, 0), 13, "not JSON"},
		{"not UTF-8", storeWith("{\"\xff\":1}", 0), 10, "not UTF-8"},
		{"text behind", storeWith(`{} {}`, 0), 11, "after the end of the header"},
		{"bare number", storeWith(`{"a":1}`, 0), 14, "got 1, want {"},
		{"deep nesting", storeWith(`{"a":`+strings.Repeat("[", 10000)+`}`, 0), 14, "want {"},
		{"metadata of numbers", storeWith(`{"__metadata__":{"a":1}}`, 0), 30, "got 1, want a string"},
		{"metadata twice", storeWith(`{"__metadata__":{},"__metadata__":{}}`, 0), 41, "appears twice"},
		{"name twice", storeWith(`{"a":`+ok+`,"a":`+ok+`}`, 8), 65, "tensor a: the name appears twice"},
		{"shape twice", storeWith(`{"a":{"shape":[],"shape":[]}}`, 8), 32, "shape appears twice"},
		{"no dtype", storeWith(`{"a":{"shape":[2],"data_offsets":[0,8]}}`, 8), 46, "no dtype"},
		{"strange field", storeWith(`{"a":{"strides":[1]}}`, 8), 23, "unknown field \"strides\""},
		{"strange dtype", storeWith(`{"a":`+entry("F33", "[2]", 0, 8)+`}`, 8), 27, `unknown dtype "F33"`},
		{"negative extent", storeWith(`{"a":`+entry("F32", "[-2]", 0, 8)+`}`, 8), 39, "got -2, want an integer"},
		{"fraction", storeWith(`{"a":`+entry("F32", "[2.5]", 0, 8)+`}`, 8), 40, "got 2.5"},
		{"huge extent", storeWith(`{"a":`+entry("F32", "[9223372036854775807,3]", 0, 8)+`}`, 8), 80, "no file can hold"},
		{"extent beyond int64", storeWith(`{"a":`+entry("F32", "[9223372036854775808]", 0, 8)+`}`, 8), 56, "want an integer"},
		{"wrong size", storeWith(`{"a":`+entry("F32", "[3]", 0, 8)+`}`, 8), 60, "takes 12 bytes, data_offsets 0 to 8 hold 8"},
		{"offsets backwards", storeWith(`{"a":`+entry("F32", "[2]", 8, 0)+`}`, 8), 60, "want begin and end"},
		{"one offset", storeWith(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}`, 8), 58, "want begin and end"},
		{"cut off", storeWith(`{"a":`+ok+`}`, 7), 12, "ends at 8, the file has 7 bytes of data"},
		{"overlap", storeWith(`{"a":`+ok+`,"b":`+entry("F32", "[2]", 4, 12)+`}`, 12), 65, "tensor b: its data begins at 4, inside that of tensor a"},
		{"hole", storeWith(`{"a":`+ok+`,"b":`+entry("F32", "[2]", 12, 20)+`}`, 20), 65, "tensor b: its data begins at 12, 4 bytes after the end of tensor a"},
		{"hole in front", storeWith(`{"a":`+entry("F32", "[2]", 4, 12)+`}`, 12), 12, "4 bytes after the end of the header"},
		{"rest", storeWith(`{"a":`+ok+`}`, 10), 70, "2 bytes after the last tensor"},
		{"half bytes", storeWith(`{"a":`+entry("F4", "[3]", 0, 1)+`}`, 1), 59, "no file can hold"},
	}
}

// A damaged file is refused with the byte and what was expected there.
func TestSafetensorsDamaged(t *testing.T) {
	for _, c := range damagedStores() {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "weights.safetensors")
			if err := os.WriteFile(path, c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := OpenSafetensors(path)
			var damaged *DamagedError
			if !errors.As(err, &damaged) {
				t.Fatalf("got %v, want a DamagedError", err)
			}
			if damaged.Byte != c.at || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want byte %d and %q", err, c.at, c.want)
			}
		})
	}
}

// damage checks that an error points into the file.
func damage(t *testing.T, err error, size int) {
	t.Helper()
	var damaged *DamagedError
	if !errors.As(err, &damaged) || damaged.Byte < 0 || damaged.Byte > int64(size) {
		t.Fatalf("got %v of a file of %d bytes, want a DamagedError", err, size)
	}
	if len(err.Error()) > 2000 {
		t.Fatalf("a message of %d bytes", len(err.Error()))
	}
}

// Values come back as they were stored, whatever the type, from several goroutines
// at a time.
func TestSafetensorsLoad(t *testing.T) {
	header := `{"d":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},"f":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]},` +
		`"h":{"dtype":"F16","shape":[3],"data_offsets":[24,30]},"b":{"dtype":"BF16","shape":[],"data_offsets":[30,32]},` +
		`"n":{"dtype":"I64","shape":[],"data_offsets":[32,40]},"empty":{"dtype":"F32","shape":[0,4],"data_offsets":[40,40]},` +
		`"wide":{"dtype":"F64","shape":[2],"data_offsets":[40,56]}}  `
	data := storeWith(header, 0)
	for _, v := range []float64{math.Pi, -1e-3} {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
	}
	for _, v := range []float32{1.5, -2.25} {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	for _, h := range []uint16{0x3C00, 0xC000, 0x0001, 0x3FC0} { // 1, -2, 2^-24; bfloat16 1.5
		data = binary.LittleEndian.AppendUint16(data, h)
	}
	data = binary.LittleEndian.AppendUint64(data, 7)
	for _, v := range []float64{1, 1e300} {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
	}
	path := filepath.Join(t.TempDir(), "weights.safetensors")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Keys(); !slices.Equal(got, []string{"b", "d", "empty", "f", "h", "wide"}) {
		t.Errorf("keys %v: the counter n is no weight", got)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for key, want := range map[string][]float32{
				"d": {float32(math.Pi), -1e-3}, "f": {1.5, -2.25}, "h": {1, -2, 1. / (1 << 24)}, "b": {1.5}, "empty": {},
			} {
				shape, _ := s.Shape(key)
				got := make([]float32, shape.Elements())
				if err := s.Load(Param{Key: key, Shape: shape}, got); err != nil || !slices.Equal(got, want) {
					t.Errorf("%s is %v, %v; want %v", key, got, err, want)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range []struct {
		p    Param
		want string
	}{
		{Param{Key: "missing", Shape: Shape{1}}, "no such tensor"},
		{Param{Key: "f", Shape: Shape{2}}, "has shape 1x2, want 2"},
		{Param{Key: "n", Shape: Shape{}}, "its type is I64"},
		{Param{Key: "wide", Shape: Shape{2}}, "load wide from " + path + ": element 1 is beyond the largest float32"},
	} {
		if err := s.Load(c.p, make([]float32, c.p.Shape.Elements())); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("load %s: %v, want %q", c.p.Key, err, c.want)
		}
	}
	if sum, err := s.SHA256(); err != nil || len(sum) != 64 {
		t.Errorf("sha256 %q, %v", sum, err)
	}
	if s.Origin() != "weights.safetensors" {
		t.Errorf("origin %q", s.Origin())
	}
	// Another process cuts the file: an error, not the end of this process.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(Param{Key: "f", Shape: Shape{1, 2}}, make([]float32, 2)); err == nil || !strings.Contains(err.Error(), "became shorter") {
		t.Errorf("load from a file that was cut off: %v", err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Load(Param{Key: "f", Shape: Shape{1, 2}}, make([]float32, 2)); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("load from a closed file: %v", err)
	}
}

func TestSafetensorsNoFile(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{filepath.Join(dir, "none"): "no such file", dir: "not a regular file", empty: "is empty"} {
		if _, err := OpenSafetensors(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("open %s: %v, want %q", path, err, want)
		}
	}
}
