package models

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

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
		return decodeFloats(dst, t.raw, t.elem)
	case t.elem == ElemFloat32 && t.wire == tensorFloats:
		return t.eachChunk(4, &dst, decodeFloat32)
	case t.elem == ElemFloat64 && t.wire == tensorDoubles:
		all := dst
		if err := t.eachChunk(8, &dst, decodeFloat64); err != nil {
			return err
		}
		return narrowed(all)
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

// ints gives the values of an integer tensor, if there are at most that many.
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
			case ElemBool:
				values = append(values, int64(b[0]))
			default:
				return nil, fmt.Errorf("its type is %s, want int32, int64 or bool", t.elem)
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

// floatTensor and intTensor store numbers as a file would.
func floatTensor(shape Shape, values ...float32) *fileTensor {
	t := &fileTensor{elem: ElemFloat32, shape: shape, raw: make([]byte, 0, 4*len(values))}
	for _, v := range values {
		t.raw = binary.LittleEndian.AppendUint32(t.raw, math.Float32bits(v))
	}
	return t
}

func intTensor(shape Shape, values ...int64) *fileTensor {
	t := &fileTensor{elem: ElemInt64, shape: shape, raw: make([]byte, 0, 8*len(values))}
	for _, v := range values {
		t.raw = binary.LittleEndian.AppendUint64(t.raw, uint64(v))
	}
	return t
}

// decodeFloats converts stored floats to float32.
func decodeFloats(dst []float32, src []byte, elem ElemType) error {
	switch elem {
	case ElemFloat32:
		decodeFloat32(dst, src)
	case ElemFloat64:
		decodeFloat64(dst, src)
		return narrowed(dst)
	case ElemFloat16:
		decodeHalves(dst, src, DecodeFP16)
	case ElemBFloat16:
		decodeHalves(dst, src, DecodeBF16)
	default:
		return fmt.Errorf("its type is %s, want a float", elem)
	}
	return nil
}

// narrowed checks that float64 numbers are in the range of float32.
func narrowed(values []float32) error {
	for i, v := range values {
		if math.IsInf(float64(v), 0) {
			return fmt.Errorf("element %d is beyond the largest float32", i)
		}
	}
	return nil
}

func decodeFloat32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decodeFloat64(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
	}
}

// decodeHalves widens through a small buffer, as src need not be aligned.
func decodeHalves(dst []float32, src []byte, decode func([]float32, []uint16)) {
	var halves [1024]uint16
	for len(dst) > 0 {
		n := min(len(dst), len(halves))
		for i := range n {
			halves[i] = binary.LittleEndian.Uint16(src[2*i:])
		}
		decode(dst[:n], halves[:n])
		dst, src = dst[n:], src[2*n:]
	}
}
