package models

// Ranges holds what calibration saw of a network's activations: for each tensor
// the largest magnitude that its 8-bit form must represent. Scales are symmetric,
// per tensor: scale = Limit/127 in int8 and Limit/448 in fp8, zero point 0.
type Ranges struct {
	Method string `json:"method"` // "min-max", "percentile 99.99" or "entropy"
	Images int    `json:"images"` // calibrated on
	Source string `json:"source"` // "synthetic", or the directory of images
	SHA256 string `json:"sha256"` // of the float32 images, in order
	// Limit is by the name of the node whose output it is; InputName for the input.
	// Names are those of the folded network (Fold).
	Limit map[string]float32 `json:"limit"`
}
