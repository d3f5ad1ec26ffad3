// Package all is the one list of the engines that are built into genbench. Nothing
// registers itself: an engine that is not here does not exist.
package all

import (
	"genbench/engines"
	"genbench/engines/cudnn"
	"genbench/engines/onnxruntime"
	"genbench/engines/reference"
)

// Drivers lists the engines in the order of tables.
func Drivers() []engines.Driver {
	return []engines.Driver{
		cudnn.Driver(),
		onnxruntime.Driver(),
		onnxruntime.CUDADriver(),
		onnxruntime.TensorRTDriver(),
		reference.Driver(),
	}
}
