package models

import (
	"math"
	"testing"
)

// valueOfFP8 is what a code stands for by Table 1 of the OFP8 specification: S.1111.111
// is NaN, S.0000.mmm is 2^-6·(0.mmm), all others are 2^(e-7)·(1.mmm).
func valueOfFP8(code byte) float64 {
	e, m := int(code>>3&15), float64(code&7)/8
	v := math.Ldexp(1+m, e-7)
	switch {
	case code&0x7F == 0x7F:
		return math.NaN()
	case e == 0:
		v = math.Ldexp(m, -6)
	}
	return math.Copysign(v, 1-2*float64(code>>7))
}

func TestFP8Codes(t *testing.T) {
	for i := range 256 {
		code := byte(i)
		value, again := make([]float32, 1), make([]byte, 1)
		DecodeFP8(value, []byte{code})
		EncodeFP8(again, value)
		want := valueOfFP8(code)
		if math.IsNaN(want) {
			if value[0] == value[0] || again[0] != code {
				t.Errorf("%#02x: decoded to %v and encoded to %#02x, want NaN", code, value[0], again[0])
			}
			continue
		}
		if float64(value[0]) != want || math.Signbit(float64(value[0])) != math.Signbit(want) || again[0] != code {
			t.Errorf("%#02x: decoded to %v and encoded to %#02x, want %v", code, value[0], again[0], want)
		}
	}
	// Table 2 of the specification: the largest, the least normal and the least subnormal.
	for code, want := range map[byte]float64{0x7E: 448, 0x08: 0x1p-6, 0x07: 0.875 * 0x1p-6, 0x01: 0x1p-9, 0x80: math.Copysign(0, -1)} {
		if got := float64(fromFP8(code)); got != want {
			t.Errorf("%#02x is %v, want %v", code, got, want)
		}
	}
}

// Between every two neighbours the value halfway goes to the even one, those beside it
// to the nearer one.
func TestFP8RoundsToNearestEven(t *testing.T) {
	check := func(v float32, want byte) {
		t.Helper()
		for _, sign := range []byte{0, 0x80} {
			got := make([]byte, 1)
			if EncodeFP8(got, []float32{v}); got[0] != want|sign {
				t.Errorf("%v is %#02x, want %#02x", v, got[0], want|sign)
			}
			v = -v
		}
	}
	for low := byte(0); low < 0x7E; low++ {
		middle := float32((valueOfFP8(low) + valueOfFP8(low+1)) / 2) // exact
		check(math.Nextafter32(middle, 0), low)
		check(middle, low+low&1)
		check(math.Nextafter32(middle, 1e9), low+1)
	}
	for _, v := range []float32{448, 449, 464, 480, 1e9, math.MaxFloat32, float32(math.Inf(1))} {
		check(v, 0x7E)
	}
	check(math.SmallestNonzeroFloat32, 0)
	check(float32(math.NaN()), 0x7F)
	check(math.Float32frombits(0x7F800001), 0x7F)
}
