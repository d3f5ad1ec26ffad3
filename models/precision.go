package models

// Precision is the element type that a model computes in. It is a property of the
// exported model, so that every engine measures the same one.
type Precision string

const (
	FP32 Precision = "fp32"
	TF32 Precision = "tf32"
	FP16 Precision = "fp16"
	BF16 Precision = "bf16"
	INT8 Precision = "int8"
	FP8  Precision = "fp8"
)

// Precisions lists all precisions, widest first, each with its meaning.
func Precisions() []PrecisionInfo {
	return []PrecisionInfo{
		{FP32, "32-bit IEEE float", Tolerance{0.99999, 1e-3}},
		{TF32, "float32 storage, matrix products with a 10-bit mantissa (NVIDIA Ampere and newer)", Tolerance{0.9999, 0.02}},
		{FP16, "16-bit IEEE float", Tolerance{0.9999, 0.02}},
		{BF16, "16-bit brain float: 8-bit exponent, 7-bit mantissa", Tolerance{0.999, 0.1}},
		{INT8, "8-bit integers with scales", Tolerance{0.99, 0.5}},
		{FP8, "8-bit float with scales: 4-bit exponent, 3-bit mantissa (E4M3, NVIDIA Ada and newer)", Tolerance{0.98, 0.5}},
	}
}

// PrecisionInfo describes a precision for people.
type PrecisionInfo struct {
	Name Precision `json:"name"`
	Doc  string    `json:"doc"`
	// Tolerance of its outputs against fp32.
	Tolerance Tolerance `json:"tolerance"`
}

// A Tolerance is how far the logits of an image may lie from those of the same network
// in fp32 for an engine to have computed the same network. It is several times what
// rounding costs and far below what a wrong layer does.
//
// It does not include the same top-1 class: with synthetic weights the two largest
// logits can lie closer than any rounding (EfficientNet-B0's within 0.013 standard
// deviations), and where they lie further apart than twice MaxRelErr the class follows
// from it.
//
// Measured with ONNX Runtime 1.32, synthetic weights and seeded images, the worst image
// of all: fp16, each result rounded to it, on ResNet-50, MobileNetV2, EfficientNet-B0
// and DenseNet-121 cosine 0.9999998 and error 0.003; bf16 the same way 0.999988 and
// 0.022; int8 in both forms on these, GENet-large and seven others with Percentile or
// MinMax 0.998 and 0.21, on GhostNet 0.9966 and 0.36. Entropy cuts depthwise channels
// that differ much and the sums of ResNeSt too far: MobileNetV2 0.995 and 0.41,
// ResNeSt-50 0.984 and 0.71, which fails, and should. fp8 with Percentile on eleven
// networks, GhostNet the worst of them: 0.9944 and 0.34, where the other ten had 0.9962
// and 0.31. tf32 rounds products as fp16 does and nothing else.
// In fp32 engines differ in the order of their sums and in transforms such as
// Winograd's: golden outputs are met within 1e-4.
type Tolerance struct {
	MinCosine float64 `json:"min_cosine"`
	// MaxRelErr bounds the largest |difference| of a logit over the root mean square
	// of the logits in fp32.
	MaxRelErr float64 `json:"max_rel_err"`
}

// Calibrated reports whether a model in the precision has scales, which follow from the
// Ranges of its activations.
func (p Precision) Calibrated() bool { return p.steps() != 0 }

// steps is the largest magnitude of an 8-bit number, which the range of a tensor is
// divided by for its scale; 0 in a precision without scales. With 127, not 128, a tensor
// and its negative have one scale. Exported models round activations beyond their range
// to -128, and cuDNN's kernels to -127.
func (p Precision) steps() float32 {
	switch p {
	case INT8:
		return 127
	case FP8:
		return fp8Max
	}
	return 0
}

// Tolerance gives that of the precision; for an unknown one, a tolerance that no output
// meets.
func (p Precision) Tolerance() Tolerance {
	for _, info := range Precisions() {
		if info.Name == p {
			return info.Tolerance
		}
	}
	return Tolerance{MinCosine: 2}
}
