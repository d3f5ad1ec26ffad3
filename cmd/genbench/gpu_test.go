package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"genbench/engines/cudnn"
	"genbench/engines/cudnn/cudnntest"
	"genbench/hardware"
	"genbench/hardware/hardwaretest"
)

// The program told on a GPU that is a double: testdata/gpu.
func TestGPUScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("doubles compute every inference of a block")
	}
	driver, library := hardwaretest.FakeCUDA(t), cudnntest.Fake(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/gpu",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(hardware.CUDAEnv, driver)
			env.Setenv(cudnn.Env, library)
			env.Setenv("GENBENCH_NVML", filepath.Join(env.WorkDir, "none"))
			env.Setenv("TMPDIR", env.WorkDir)
			env.Setenv("GENBENCH_STATE", filepath.Join(env.WorkDir, "state"))
			return nil
		},
	})
}
