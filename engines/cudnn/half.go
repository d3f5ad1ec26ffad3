package cudnn

import "math"

// halfBits rounds to IEEE half precision, to the nearest and ties to even.
func halfBits(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	exponent := int(bits>>23&0xff) - 127
	mantissa := bits & 0x7fffff
	switch {
	case exponent == 128 && mantissa != 0:
		return sign | 0x7e00 // NaN
	case exponent > 15:
		return sign | 0x7c00 // infinity
	case exponent >= -14:
		// A carry out of the mantissa makes the exponent one more, up to infinity.
		h := uint32(exponent+15)<<10 | mantissa>>13
		return sign | uint16(h+roundUp(mantissa, 13, h))
	case exponent >= -25:
		mantissa |= 1 << 23
		shift := uint(-exponent - 1) // 2^-24 is the smallest subnormal
		h := mantissa >> shift
		return sign | uint16(h+roundUp(mantissa, shift, h))
	}
	return sign
}

// roundUp is 1 where the bits that are shifted out are more than half, or half of an
// odd number.
func roundUp(mantissa uint32, shift uint, kept uint32) uint32 {
	rest, half := mantissa&(1<<shift-1), uint32(1)<<(shift-1)
	if rest > half || rest == half && kept&1 == 1 {
		return 1
	}
	return 0
}

func halfFloat(h uint16) float32 {
	sign, exponent, mantissa := uint32(h&0x8000)<<16, int(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0:
		v := float32(mantissa) / (1 << 24)
		if sign != 0 {
			v = -v
		}
		return v
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | mantissa<<13)
	}
	return math.Float32frombits(sign | uint32(exponent+112)<<23 | mantissa<<13)
}

// bfloatBits rounds to bfloat16, to the nearest and ties to even.
func bfloatBits(f float32) uint16 {
	bits := math.Float32bits(f)
	if f != f {
		return uint16(bits>>16) | 0x40 // stays a NaN
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
