// Package kernels holds the few GPU kernels that the cudnn engine needs besides cuDNN:
// their source, for tests, and the PTX that the driver compiles.
package kernels

import _ "embed"

// PTX is kernels.cu as NVRTC 11.8 compiles it for compute capability 7.0.
//
//go:embed kernels.ptx
var PTX string

// Source and its headers compile as C too, which the fake of cuDNN does.
var (
	//go:embed kernels.cu
	Source []byte
	//go:embed kernels.h
	Header []byte
	//go:embed host.h
	HostHeader []byte
)
