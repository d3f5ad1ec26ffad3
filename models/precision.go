package models

// Precision is the element type in which a model computes. It is a property of
// the exported model, so that every engine measures the same one.
type Precision string

const (
	FP32 Precision = "fp32"
	TF32 Precision = "tf32"
	FP16 Precision = "fp16"
	BF16 Precision = "bf16"
	INT8 Precision = "int8"
)

// Precisions lists all precisions, widest first, each with its meaning.
func Precisions() []PrecisionInfo {
	return []PrecisionInfo{
		{FP32, "32-bit IEEE float"},
		{TF32, "float32 storage, matrix products with a 10-bit mantissa (NVIDIA Ampere and newer)"},
		{FP16, "16-bit IEEE float"},
		{BF16, "16-bit brain float: 8-bit exponent, 7-bit mantissa"},
		{INT8, "8-bit integers with scales"},
	}
}

// PrecisionInfo describes a precision for people.
type PrecisionInfo struct {
	Name Precision `json:"name"`
	Doc  string    `json:"doc"`
}
