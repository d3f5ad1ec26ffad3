// Package all is the one list of the engines that are built into genbench. Nothing
// registers itself: an engine that is not here does not exist.
package all

import (
	"context"
	"io"

	"genbench/engines"
	"genbench/engines/cudnn"
	"genbench/engines/onnxruntime"
	"genbench/engines/reference"
	"genbench/engines/tensorrt"
)

// Drivers lists the engines in the order of tables.
func Drivers() []engines.Driver {
	return []engines.Driver{
		cudnn.Driver(),
		tensorrt.Driver(),
		onnxruntime.Driver(),
		onnxruntime.CUDADriver(),
		onnxruntime.TensorRTDriver(),
		reference.Driver(),
	}
}

// SetupTensorRT compiles the shim of engine tensorrt; see tensorrt.CompileShim.
func SetupTensorRT(ctx context.Context, include string, log io.Writer) (string, error) {
	return tensorrt.CompileShim(ctx, include, log)
}
