package enginetest

import (
	"fmt"
	"math"

	"genbench/models"
)

// fp32Limit is limit(models.FP32), the precision that every engine has.
const fp32Limit = 1e-4

// limit is how far an output may be from the reference's fp32 one, as a fraction
// of its root mean square. fp32 engines differ in the order of sums and in
// transforms such as Winograd's. The others round operands as well: they are
// allowed 16 units of their roundoff. That of int8 is half a step of 1/127, twice as
// many of them: its steps divide a range that reaches to several times the root mean
// square. That of fp8 is a sixteenth, so coarse that the sums of a layer even it out: half
// as many.
func limit(p models.Precision) (float64, error) {
	switch p {
	case models.FP32:
		return fp32Limit, nil
	case models.TF32, models.FP16:
		return 16.0 / (1 << 11), nil
	case models.BF16:
		return 16.0 / (1 << 8), nil
	case models.INT8:
		return 32.0 / 254, nil
	case models.FP8:
		return 8.0 / (1 << 4), nil
	}
	return 0, fmt.Errorf("no limit is set for precision %q", p)
}

// compare tells where an output is too far from the wanted one.
func compare(got, want models.Tensor, limit float64) error {
	if !got.Shape.Equal(want.Shape) || len(got.Data) != len(want.Data) {
		return fmt.Errorf("output has shape %v with %d elements, want %v", got.Shape, len(got.Data), want.Shape)
	}
	var squares float64
	for _, v := range want.Data {
		squares += float64(v) * float64(v)
	}
	allowed := limit * math.Sqrt(squares/float64(len(want.Data)))
	if math.IsNaN(allowed) || allowed == 0 {
		return fmt.Errorf("the reference's output is no yardstick: its square sum is %v", squares)
	}
	worst, at := 0.0, 0
	for i, v := range want.Data {
		// Written so that a NaN is the worst.
		if d := math.Abs(float64(got.Data[i]) - float64(v)); !(d <= worst) {
			worst, at = d, i
			if math.IsNaN(d) {
				break
			}
		}
	}
	if !(worst <= allowed) {
		return fmt.Errorf("element %d of %v is %v, want %v ± %.2g", at, got.Shape, got.Data[at], want.Data[at], allowed)
	}
	return nil
}

// identical tells where two outputs differ in a bit.
func identical(a, b models.Tensor) error {
	if !a.Shape.Equal(b.Shape) || len(a.Data) != len(b.Data) {
		return fmt.Errorf("shapes %v and %v", a.Shape, b.Shape)
	}
	for i := range a.Data {
		if math.Float32bits(a.Data[i]) != math.Float32bits(b.Data[i]) {
			return fmt.Errorf("element %d is %v and then %v", i, a.Data[i], b.Data[i])
		}
	}
	return nil
}
