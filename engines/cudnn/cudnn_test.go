package cudnn_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"genbench/engines/cudnn"
	"genbench/engines/cudnn/cudnntest"
	"genbench/engines/enginetest"
	"genbench/hardware"
	"genbench/hardware/hardwaretest"
)

// The suite runs on a GPU where GENBENCH_REQUIRE names cudnn, and on doubles of the
// driver and of cuDNN elsewhere.
func TestConformance(t *testing.T) {
	if !slices.Contains(strings.Split(os.Getenv(enginetest.RequireEnv), ","), "cudnn") {
		t.Setenv(hardware.CUDAEnv, hardwaretest.FakeCUDA(t))
		t.Setenv("FAKE_CUDA_CAPABILITY", "90") // which has all precisions
		t.Setenv(cudnn.Env, cudnntest.Fake(t))
	}
	enginetest.Run(t, cudnn.Driver())
}
