package models

import "math"

// EncodeFP16 rounds to IEEE 754 binary16, to nearest with ties to even, as
// memory that an engine reads holds it. Values from 65520 become infinite; NaN
// stays NaN. dst is as long as src.
func EncodeFP16(dst []uint16, src []float32) {
	_ = dst[:len(src)]
	for i, v := range src {
		dst[i] = fp16(v)
	}
}

// DecodeFP16 widens IEEE 754 binary16 exactly. dst is as long as src.
func DecodeFP16(dst []float32, src []uint16) {
	_ = dst[:len(src)]
	for i, h := range src {
		dst[i] = fromFP16(h)
	}
}

// EncodeBF16 rounds to bfloat16, the upper half of a float32, to nearest with ties
// to even. NaN stays NaN. dst is as long as src.
func EncodeBF16(dst []uint16, src []float32) {
	_ = dst[:len(src)]
	for i, v := range src {
		dst[i] = bf16(v)
	}
}

// DecodeBF16 widens bfloat16 exactly. dst is as long as src.
func DecodeBF16(dst []float32, src []uint16) {
	_ = dst[:len(src)]
	for i, h := range src {
		dst[i] = math.Float32frombits(uint32(h) << 16)
	}
}

func fp16(v float32) uint16 {
	const (
		infinite  = 0x7F800000
		overflow  = 0x477FF000 // 65520, halfway between the largest half and 65536
		normal    = 0x38800000 // 2^-14
		rebias    = (127 - 15) << 23
		dropped   = 23 - 10 // bits of the mantissa
		halfway   = 1<<(dropped-1) - 1
		fp16Inf   = 0x7C00
		fp16Quiet = 0x7E00
	)
	b := math.Float32bits(v)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7FFFFFFF
	switch {
	case b > infinite:
		return sign | fp16Quiet | uint16(b>>dropped&0x3FF)
	case b >= overflow:
		return sign | fp16Inf
	case b < normal:
		// The last bit of a float32 between 1/2 and 1 is worth 2^-24, as much as that
		// of a subnormal half: the addition rounds in the right place.
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-math.Float32bits(0.5))
	}
	return sign | uint16((b-rebias+halfway+b>>dropped&1)>>dropped)
}

func fromFP16(h uint16) float32 {
	sign, exponent, mantissa := uint32(h&0x8000)<<16, uint32(h>>10&0x1F), uint32(h&0x3FF)
	switch exponent {
	case 0: // exact: the product has ten bits
		return math.Float32frombits(sign | math.Float32bits(float32(mantissa)*(1.0/(1<<24))))
	case 0x1F:
		return math.Float32frombits(sign | 0x7F800000 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | mantissa<<13)
}

func bf16(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40 // quiet, so that cutting off the payload leaves a NaN
	}
	return uint16((b + 0x7FFF + b>>16&1) >> 16)
}
