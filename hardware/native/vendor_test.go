package native

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"genbench/hardware/hardwaretest"
)

// TestCUDAPrototypes compiles our declarations against the vendor's.
func TestCUDAPrototypes(t *testing.T) {
	ours, err := filepath.Abs("driver.h")
	if err != nil {
		t.Fatal(err)
	}
	headers := hardwaretest.VendorFiles(t, "cuda-*/runtime/nvidia/*/include/cuda.h")
	if len(headers) < 2 {
		t.Errorf("only %v, want CUDA 12's and 13's", headers)
	}
	for _, header := range headers {
		hardwaretest.CheckDeclarations(t, header, "testdata/abi.c", `-DGENBENCH_HEADER="`+ours+`"`)
	}
}

// TestPTX compiles the kernels with the vendor's assembler for every architecture
// that genbench speaks of, and compiles them anew from their source.
func TestPTX(t *testing.T) {
	assembler := hardwaretest.VendorFiles(t, "cuda-12/nvcc/nvidia/*/bin/ptxas")[0]
	if err := os.Chmod(assembler, 0o755); err != nil { // which a wheel does not keep
		t.Fatal(err)
	}
	compiler := hardwaretest.VendorFiles(t, "nvrtc-11.8/nvidia/*/lib/libnvrtc.so.11.2")[0]
	for _, kernels := range []string{"clock", "../../engines/cudnn/kernels/kernels"} {
		for _, architecture := range []string{"sm_70", "sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100"} {
			out, err := exec.Command(assembler, "-arch="+architecture, kernels+".ptx", "-o", filepath.Join(t.TempDir(), "cubin")).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", architecture, err, out)
			}
		}
		again := exec.Command("python3", "ptx.py", compiler, kernels+".cu")
		again.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Dir(compiler))
		var stderr strings.Builder
		again.Stderr = &stderr
		out, err := again.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr.String())
		}
		want, err := os.ReadFile(kernels + ".ptx")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, want) {
			t.Errorf("%s.ptx is not what %s.cu compiles to; run `make ptx`", kernels, kernels)
		}
	}
}

// TestRealDriver opens drivers of the vendor's: they have every symbol, and start as
// far as they can where there is no GPU.
func TestRealDriver(t *testing.T) {
	for _, library := range hardwaretest.VendorFiles(t, "driver-*/usr/lib/*/nvidia/current/libcuda.so.*.*") {
		cuda, err := OpenCUDA(library)
		var failed *CUDAError
		switch {
		case err == nil:
			t.Logf("%s starts, CUDA %s", library, cuda.Version())
			cuda.Free()
		case errors.As(err, &failed) && failed.Call == "cuInit":
			t.Logf("%s: %v", library, err)
		default:
			t.Errorf("%s: %v", library, err)
		}
		// Without these it opens and captures nothing.
		file, err := Open(library)
		if err != nil {
			t.Fatal(err)
		}
		for _, symbol := range []string{"cuGraphNodeGetType", "cuGraphMemcpyNodeGetParams", "cuGraphChildGraphNodeGetGraph", "cuPointerGetAttribute"} {
			if _, err := file.Symbol(symbol); err != nil {
				t.Error(err)
			}
		}
	}
}
