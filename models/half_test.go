package models

import (
	"math"
	"testing"
)

// halves describes a 16-bit format by its definition.
type halves struct {
	name               string
	exponent, mantissa int // bits
	encode             func([]uint16, []float32)
	decode             func([]float32, []uint16)
}

func halfFormats() []halves {
	return []halves{
		{"fp16", 5, 10, EncodeFP16, DecodeFP16},
		{"bf16", 8, 7, EncodeBF16, DecodeBF16},
	}
}

// value is what a half stands for, by the definition of IEEE 754.
func (f halves) value(h uint16) float64 {
	bias := 1<<(f.exponent-1) - 1
	m := int(h) & (1<<f.mantissa - 1)
	e := int(h) >> f.mantissa & (1<<f.exponent - 1)
	v := 0.0
	switch {
	case e == 1<<f.exponent-1 && m != 0:
		return math.NaN()
	case e == 1<<f.exponent-1:
		v = math.Inf(1)
	case e == 0:
		v = math.Ldexp(float64(m), 1-bias-f.mantissa)
	default:
		v = math.Ldexp(float64(m+1<<f.mantissa), e-bias-f.mantissa)
	}
	return math.Copysign(v, 1-2*float64(h>>15))
}

func TestHalvesDecode(t *testing.T) {
	for _, f := range halfFormats() {
		all := make([]uint16, 1<<16)
		for i := range all {
			all[i] = uint16(i)
		}
		values, again := make([]float32, len(all)), make([]uint16, len(all))
		f.decode(values, all)
		f.encode(again, values)
		for i, v := range values {
			want := f.value(uint16(i))
			if math.IsNaN(want) {
				if got := f.value(again[i]); v == v || !math.IsNaN(got) {
					t.Errorf("%s %#04x: decoded to %v, encoded again to %v; want NaN", f.name, i, v, got)
				}
				continue
			}
			if float64(v) != want || math.Signbit(float64(v)) != math.Signbit(want) {
				t.Errorf("%s %#04x: decoded to %v, want %v", f.name, i, v, want)
			}
			if again[i] != uint16(i) {
				t.Errorf("%s %#04x: encoded again to %#04x", f.name, i, again[i])
			}
		}
	}
}

// Between every two neighbours: the value halfway goes to the even one, those
// beside it to the nearer one.
func TestHalvesRoundToNearestEven(t *testing.T) {
	for _, f := range halfFormats() {
		infinite := uint16((1<<f.exponent - 1) << f.mantissa)
		for low := range infinite {
			high := low + 1
			a, b := f.value(low), f.value(high)
			if high == infinite { // rounding goes as if the exponents went on
				b = 2*a - f.value(low-1)
			}
			// Subnormal bf16 lie so close that no float32 has their quarter, so the steps
			// are those of float32.
			middle := float32((a + b) / 2)
			even := low + low&1
			cases := map[float32]uint16{
				math.Nextafter32(middle, 0): low,
				middle:                      even,
				math.Nextafter32(middle, float32(math.Inf(1))): high,
			}
			for v, want := range cases {
				for _, sign := range []uint16{0, 0x8000} {
					if sign != 0 {
						v = -v
					}
					got := []uint16{0}
					f.encode(got, []float32{v})
					if got[0] != want|sign {
						t.Fatalf("%s of %v is %#04x, want %#04x", f.name, v, got[0], want|sign)
					}
				}
			}
		}
		got := make([]uint16, 3)
		f.encode(got, []float32{float32(math.NaN()), math.Float32frombits(0x7F800001), math.MaxFloat32})
		if !math.IsNaN(f.value(got[0])) || !math.IsNaN(f.value(got[1])) || got[2] != infinite {
			t.Errorf("%s of NaN, a NaN with a low payload and the largest float32: %#04x", f.name, got)
		}
	}
}
