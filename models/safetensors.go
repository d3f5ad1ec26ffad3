package models

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Safetensors is an open .safetensors file, a source of weights. The file is
// mapped, not read: opening costs its header, loading a tensor costs that tensor.
//
// The format (github.com/huggingface/safetensors, README.md, "Format"): eight bytes
// with the length of a JSON header, the header, and the tensors without gap or overlap.
type Safetensors struct {
	file    *mapped
	tensors map[string]storedTensor
}

// A storedTensor is an entry of the header.
type storedTensor struct {
	dtype      string
	shape      Shape
	begin, end int // in the file
	place      int // where its entry is in the file
}

// maxSafetensorsHeader is the reference implementation's limit in
// safetensors/src/tensor.rs, MAX_HEADER_SIZE.
const maxSafetensorsHeader = 100_000_000

// OpenSafetensors opens a file and checks its whole header. A file that breaks
// the format gives a *DamagedError. The caller closes the file once nothing loads from
// it any more.
func OpenSafetensors(path string) (*Safetensors, error) {
	file, err := openMapped(path)
	if err != nil {
		return nil, err
	}
	s, err := readSafetensors(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

func readSafetensors(file *mapped) (*Safetensors, error) {
	s := &Safetensors{file: file}
	err := file.look(func(data []byte) (err error) {
		h := safetensorsHeader{path: file.path, data: data}
		s.tensors, err = h.parse()
		return err
	})
	return s, err
}

// Origin is the file's name, without its directory.
func (s *Safetensors) Origin() string { return s.file.base() }

// SHA256 reads the whole file.
func (s *Safetensors) SHA256() (string, error) { return s.file.sha256() }

// Close unmaps the file. Loading fails from then on.
func (s *Safetensors) Close() error { return s.file.Close() }

// Keys lists the tensors of a floating-point type, in alphabetical order, each
// with its shape. Tensors of other types (num_batches_tracked of batch norms is
// int64) are not weights.
func (s *Safetensors) Keys() []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.tensors)) {
		if floatType(s.tensors[key].dtype) != 0 {
			keys = append(keys, key)
		}
	}
	return keys
}

// Shape is that of a tensor; false where the file has none of that name.
func (s *Safetensors) Shape(key string) (Shape, bool) {
	t, ok := s.tensors[key]
	return t.shape, ok
}

// Load converts to float32: F16 and BF16 exactly, F64 rounded.
func (s *Safetensors) Load(p Param, dst []float32) error {
	t, ok := s.tensors[p.Key]
	switch {
	case !ok:
		return fmt.Errorf("load %s from %s: the file has no such tensor", p.Key, s.file.path)
	case !t.shape.Equal(p.Shape) || len(dst) != t.shape.Elements():
		return fmt.Errorf("load %s from %s: the tensor has shape %v, want %v in %d elements", p.Key, s.file.path, t.shape, p.Shape, len(dst))
	}
	return s.file.look(func(data []byte) error {
		elem := floatType(t.dtype)
		if elem == 0 {
			return fmt.Errorf("load %s from %s: its type is %s, want F32, F16, BF16 or F64", p.Key, s.file.path, t.dtype)
		}
		if err := decodeFloats(dst, data[t.begin:t.end], elem); err != nil {
			return fmt.Errorf("load %s from %s: %w", p.Key, s.file.path, err)
		}
		return nil
	})
}

// floatType is a type that can be loaded; 0 for any other.
func floatType(dtype string) ElemType {
	switch dtype {
	case "F64":
		return ElemFloat64
	case "F32":
		return ElemFloat32
	case "F16":
		return ElemFloat16
	case "BF16":
		return ElemBFloat16
	}
	return 0
}

// dtypeBits gives the size of an element; 0 for a type that the format does not
// have (safetensors/src/tensor.rs, enum Dtype).
func dtypeBits(dtype string) int {
	switch dtype {
	case "F4":
		return 4
	case "F6_E2M3", "F6_E3M2":
		return 6
	case "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ":
		return 8
	case "I16", "U16", "F16", "BF16":
		return 16
	case "I32", "U32", "F32":
		return 32
	case "I64", "U64", "F64", "C64":
		return 64
	}
	return 0
}

// safetensorsHeader walks over the JSON of a header, token by token: it must know
// where in the file it is, and see keys that appear twice.
type safetensorsHeader struct {
	path    string
	data    []byte // the file
	decoder *json.Decoder
}

const headerStart = 8

func (h *safetensorsHeader) damaged(at int, part, format string, a ...any) error {
	return &DamagedError{Path: h.path, Byte: int64(at), Part: part, Err: fmt.Errorf(format, a...)}
}

// at is the offset in the file after the last token.
func (h *safetensorsHeader) at() int { return headerStart + int(h.decoder.InputOffset()) }

func (h *safetensorsHeader) parse() (map[string]storedTensor, error) {
	if len(h.data) < headerStart {
		return nil, h.damaged(0, "", "the file has %d bytes, want 8 for the length of the header", len(h.data))
	}
	length := binary.LittleEndian.Uint64(h.data)
	if length > maxSafetensorsHeader {
		return nil, h.damaged(0, "", "a header of %d bytes, at most %d are allowed; is this a safetensors file?", length, maxSafetensorsHeader)
	}
	if length > uint64(len(h.data)-headerStart) {
		return nil, h.damaged(0, "", "a header of %d bytes, %d follow in the file", length, len(h.data)-headerStart)
	}
	header := h.data[headerStart : headerStart+int(length)]
	if len(header) == 0 || header[0] != '{' {
		return nil, h.damaged(headerStart, "", "the header does not begin with {")
	}
	if !utf8.Valid(header) {
		at := 0
		for at < len(header) {
			r, size := utf8.DecodeRune(header[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		return nil, h.damaged(headerStart+at, "", "the header is not UTF-8")
	}
	h.decoder = json.NewDecoder(bytes.NewReader(header))
	h.decoder.UseNumber()
	tensors, err := h.entries()
	if err != nil {
		return nil, err
	}
	if rest := bytes.TrimLeft(header[h.at()-headerStart:], " \t\r\n"); len(rest) > 0 {
		return nil, h.damaged(headerStart+len(header)-len(rest), "", "%q after the end of the header", rest[:min(len(rest), 16)])
	}
	return tensors, h.place(tensors, headerStart+len(header))
}

// entries reads the header's object.
func (h *safetensorsHeader) entries() (map[string]storedTensor, error) {
	if err := h.delim('{', "header"); err != nil {
		return nil, err
	}
	tensors := make(map[string]storedTensor)
	metadata := false
	for h.decoder.More() {
		name, err := h.text("tensor name")
		if err != nil {
			return nil, err
		}
		place := h.at()
		if name == "__metadata__" {
			if metadata {
				return nil, h.damaged(place, "", "__metadata__ appears twice")
			}
			metadata = true
			if err := h.metadata(); err != nil {
				return nil, err
			}
			continue
		}
		if _, twice := tensors[name]; twice {
			return nil, h.damaged(place, "tensor "+shorten(name), "the name appears twice")
		}
		t, err := h.tensor("tensor " + shorten(name))
		if err != nil {
			return nil, err
		}
		t.place = place
		tensors[name] = t
	}
	return tensors, h.delim('}', "header")
}

// metadata skips a map of strings.
func (h *safetensorsHeader) metadata() error {
	if err := h.delim('{', "__metadata__"); err != nil {
		return err
	}
	for h.decoder.More() {
		for range 2 {
			if _, err := h.text("__metadata__"); err != nil {
				return err
			}
		}
	}
	return h.delim('}', "__metadata__")
}

// tensor reads one entry; begin and end are relative to the data.
func (h *safetensorsHeader) tensor(part string) (storedTensor, error) {
	var t storedTensor
	if err := h.delim('{', part); err != nil {
		return t, err
	}
	seen := map[string]bool{}
	for h.decoder.More() {
		field, err := h.text(part)
		if err != nil {
			return t, err
		}
		if seen[field] {
			return t, h.damaged(h.at(), part, "%s appears twice", field)
		}
		seen[field] = true
		switch field {
		case "dtype":
			if t.dtype, err = h.text(part + ": dtype"); err != nil {
				return t, err
			}
			if dtypeBits(t.dtype) == 0 {
				return t, h.damaged(h.at(), part, "unknown dtype %s", strconv.Quote(shorten(t.dtype)))
			}
		case "shape":
			dims, err := h.numbers(part+": shape", 32)
			if err != nil {
				return t, err
			}
			t.shape = dims
		case "data_offsets":
			offsets, err := h.numbers(part+": data_offsets", 2)
			if err != nil {
				return t, err
			}
			if len(offsets) != 2 || offsets[0] > offsets[1] {
				return t, h.damaged(h.at(), part, "data_offsets %v, want begin and end", []int(offsets))
			}
			t.begin, t.end = offsets[0], offsets[1]
		default:
			return t, h.damaged(h.at(), part, "unknown field %s, want dtype, shape and data_offsets", strconv.Quote(shorten(field)))
		}
	}
	for _, field := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[field] {
			return t, h.damaged(h.at(), part, "no %s", field)
		}
	}
	elements, ok := product(t.shape)
	bits, fits := multiply(elements, dtypeBits(t.dtype))
	if !ok || !fits || bits%8 != 0 {
		return t, h.damaged(h.at(), part, "no file can hold shape %v of %s", t.shape, t.dtype)
	}
	if t.end-t.begin != bits/8 {
		return t, h.damaged(h.at(), part, "shape %v of %s takes %d bytes, data_offsets %d to %d hold %d", t.shape, t.dtype, bits/8, t.begin, t.end, t.end-t.begin)
	}
	return t, h.delim('}', part)
}

// place checks that the tensors fill the data without gap or overlap, and makes
// their offsets those in the file.
func (h *safetensorsHeader) place(tensors map[string]storedTensor, start int) error {
	names := slices.SortedFunc(maps.Keys(tensors), func(a, b string) int {
		s, t := tensors[a], tensors[b]
		if s.begin != t.begin {
			return s.begin - t.begin
		}
		return s.end - t.end
	})
	size := len(h.data) - start
	expected, before := 0, "the header"
	for _, name := range names {
		t := tensors[name]
		part := "tensor " + shorten(name)
		switch {
		case t.end > size:
			return h.damaged(t.place, part, "its data ends at %d, the file has %d bytes of data: it is cut off or the header is wrong", t.end, size)
		case t.begin < expected:
			return h.damaged(t.place, part, "its data begins at %d, inside that of %s, which ends at %d", t.begin, before, expected)
		case t.begin > expected:
			return h.damaged(t.place, part, "its data begins at %d, %d bytes after the end of %s", t.begin, t.begin-expected, before)
		}
		expected, before = t.end, part
		t.begin, t.end = t.begin+start, t.end+start
		tensors[name] = t
	}
	if expected != size {
		return h.damaged(start+expected, "", "%d bytes after the last tensor", size-expected)
	}
	return nil
}

func (h *safetensorsHeader) token(part string) (json.Token, error) {
	t, err := h.decoder.Token()
	if err != nil {
		return nil, h.damaged(h.at(), part, "the header is not JSON: %w", err)
	}
	return t, nil
}

func (h *safetensorsHeader) delim(want json.Delim, part string) error {
	t, err := h.token(part)
	if err != nil {
		return err
	}
	if t != want {
		return h.damaged(h.at(), part, "got %v, want %v", describeToken(t), want)
	}
	return nil
}

func (h *safetensorsHeader) text(part string) (string, error) {
	t, err := h.token(part)
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", h.damaged(h.at(), part, "got %v, want a string", describeToken(t))
	}
	return s, nil
}

// numbers reads a list of at most that many integers from 0 up.
func (h *safetensorsHeader) numbers(part string, most int) ([]int, error) {
	if err := h.delim('[', part); err != nil {
		return nil, err
	}
	list := []int{}
	for h.decoder.More() {
		t, err := h.token(part)
		if err != nil {
			return nil, err
		}
		n, ok := t.(json.Number)
		v, err := strconv.ParseInt(string(n), 10, 0)
		if !ok || err != nil || v < 0 {
			return nil, h.damaged(h.at(), part, "got %v, want an integer from 0 up", describeToken(t))
		}
		if len(list) == most {
			return nil, h.damaged(h.at(), part, "more than %d numbers", most)
		}
		list = append(list, int(v))
	}
	return list, h.delim(']', part)
}

func describeToken(t json.Token) string { return shorten(fmt.Sprint(t)) }
