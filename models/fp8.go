package models

import "math"

// EncodeFP8 rounds to E4M3 of the OCP 8-bit Floating Point Specification (OFP8, revision
// 1.0), to nearest with ties to even: four bits of exponent with bias 7, three of
// mantissa, no infinity. What lies beyond 448, the largest number, saturates there,
// infinities too, as with ONNX's Cast and QuantizeLinear to FLOAT8E4M3FN unless they
// are told otherwise; NaN stays NaN. dst is as long as src.
func EncodeFP8(dst []byte, src []float32) {
	_ = dst[:len(src)]
	for i, v := range src {
		dst[i] = fp8(v)
	}
}

// DecodeFP8 widens E4M3 exactly. dst is as long as src.
func DecodeFP8(dst []float32, src []byte) {
	_ = dst[:len(src)]
	for i, code := range src {
		dst[i] = fromFP8(code)
	}
}

const (
	fp8Max     = 448 // 1.75·2^8
	fp8MaxCode = 0x7E
	fp8NaN     = 0x7F
)

func fp8(v float32) byte {
	const (
		infinite = 0x7F800000
		normal   = (127 - 6) << 23 // 2^-6
		rebias   = (127 - 7) << 23
		dropped  = 23 - 3 // bits of the mantissa
		halfway  = 1<<(dropped-1) - 1
		// The last bit of a float32 from here to twice as much is worth 2^-9, as much as that
		// of a subnormal E4M3.
		coarse = 1 << 14
	)
	b := math.Float32bits(v)
	sign := byte(b >> 24 & 0x80)
	b &= 0x7FFFFFFF
	switch {
	case b > infinite:
		return sign | fp8NaN
	case b < normal:
		return sign | byte(math.Float32bits(math.Float32frombits(b)+coarse)-math.Float32bits(coarse))
	case math.Float32frombits(b) >= fp8Max:
		return sign | fp8MaxCode
	}
	return sign | byte((b-rebias+halfway+b>>dropped&1)>>dropped)
}

func fromFP8(code byte) float32 {
	sign, exponent, mantissa := uint32(code&0x80)<<24, uint32(code>>3&0xF), uint32(code&7)
	switch {
	case code&0x7F == fp8NaN:
		return math.Float32frombits(sign | 0x7FC00000)
	case exponent == 0: // exact: the product has three bits
		return math.Float32frombits(sign | math.Float32bits(float32(mantissa)*(1.0/(1<<9))))
	}
	return math.Float32frombits(sign | (exponent+127-7)<<23 | mantissa<<20)
}
