// Package cudnntest makes a double of cuDNN that runs on the fake CUDA driver of
// package hardwaretest, so that the real engine runs end to end without a GPU.
package cudnntest

import (
	_ "embed"
	"path/filepath"
	"testing"

	"genbench/engines/cudnn/kernels"
	"genbench/hardware/hardwaretest"
)

//go:embed fake/cudnn.c
var source []byte

//go:embed fake/graph.inc
var graphSource []byte

// Fake compiles a double of cuDNN and gives its path, which lasts as long as the
// test. When loaded, it looks for the double of the driver where $GENBENCH_CUDA says.
// The engine's kernels are in it, compiled from the source that their PTX comes from.
// Its answers are set by the environment, as the head of its source says. Flags go to
// the compiler: "-DcudnnSoftmaxForward=gone" removes a symbol.
func Fake(t testing.TB, flags ...string) string {
	t.Helper()
	return hardwaretest.Compile(t, filepath.Join(t.TempDir(), "libcudnn.so.9"), map[string][]byte{
		"cudnn.c": source, "graph.inc": graphSource, "cuda.h": hardwaretest.CUDAHeader(),
		"kernels.c": kernels.Source, "kernels.h": kernels.Header, "host.h": kernels.HostHeader,
	}, append(flags, "-ldl", "-lm")...)
}
