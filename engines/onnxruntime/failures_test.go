package onnxruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/engines/library"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

func host(t *testing.T) hardware.Device {
	t.Helper()
	device, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	return device
}

// opened skips where the library is not installed, as the conformance test does.
func opened(t *testing.T) *engine {
	t.Helper()
	e, err := Driver().Open(context.Background(), host(t))
	var missing *engines.UnavailableError
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e.(*engine)
}

func TestUnavailable(t *testing.T) {
	wrong := filepath.Join(t.TempDir(), "libonnxruntime.so")
	t.Setenv(library.ONNXRuntimeEnv, wrong)
	_, err := Driver().Open(context.Background(), host(t))
	var missing *engines.UnavailableError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v", err)
	}
	for _, word := range []string{wrong, library.ONNXRuntimeEnv, "onnxruntime"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in %v", word, err)
		}
	}
}

// TestForeignLibrary opens a library that is none of ONNX Runtime's.
func TestForeignLibrary(t *testing.T) {
	libc, err := native.Open("libc.so.6")
	if err != nil {
		t.Skip(err)
	}
	t.Setenv(library.ONNXRuntimeEnv, libc.Path())
	_, err = Driver().Open(context.Background(), host(t))
	if err == nil || !strings.Contains(err.Error(), "OrtGetApiBase") {
		t.Errorf("got %v", err)
	}
}

func TestVersions(t *testing.T) {
	for version, ok := range map[string]bool{
		"1.17.0": true, "1.32.0": true, "1.100.0-dev": true,
		"1.16.3": false, "1.9.0": false, "2.20.0": false, "": false, "1": false, "latest": false,
	} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		} else if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q", version)) {
			t.Errorf("%q is not named in %v", version, err)
		}
	}
}

// compileFP32 compiles a model as if it were the network's at batch 1.
func compileFP32(t *testing.T, e *engine, n *models.Network, model []byte) (*session, error) {
	t.Helper()
	shapes, err := n.Shapes(1)
	if err != nil {
		t.Fatal(err)
	}
	return e.compile(t.Context(), order{
		model: model, options: engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1},
		inputs:  []port{{name: models.InputName, shape: n.InputShape(1), element: models.ElemFloat32}},
		outputs: []port{{name: models.OutputName, shape: shapes[len(shapes)-1], element: models.ElemFloat32}},
	})
}

// TestRejectedModel has the library find the fault: the file says logits have
// another shape than its nodes compute.
func TestRejectedModel(t *testing.T) {
	e := opened(t)
	c := enginetest.Miniatures()[0]
	model, err := models.ONNX(c.Network, models.ExportOptions{Batch: 1, Precision: models.FP32})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compileFP32(t, e, c.Network, model[:len(model)/2]); err == nil {
		t.Error("half a model builds")
	} else if !strings.Contains(err.Error(), "protobuf") {
		t.Errorf("the library's reason is lost: %v", err)
	}
	damaged := []byte(strings.Replace(string(model), "MaxPool", "MinPool", 1))
	if _, err := compileFP32(t, e, c.Network, damaged); err == nil {
		t.Error("an operator that does not exist builds")
	} else if !strings.Contains(err.Error(), "MinPool") {
		t.Errorf("the error does not name the operator: %v", err)
	}
}

// TestFailingInference runs a model of another batch than its session's input.
func TestFailingInference(t *testing.T) {
	e := opened(t)
	c := enginetest.Miniatures()[0]
	model, err := models.ONNX(c.Network, models.ExportOptions{Batch: 2, Precision: models.FP32})
	if err != nil {
		t.Fatal(err)
	}
	s, err := compileFP32(t, e, c.Network, model)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 { // the message of each but the last is released
		err := native.TimeHost(s.Call(), make([]native.Sample, 2))
		var failed *native.CallError
		if !errors.As(err, &failed) || failed.Index != 0 {
			t.Fatalf("got %v", err)
		}
		text := s.Explain(failed).Error()
		if !strings.Contains(text, "invalid dimensions") || !strings.Contains(text, models.InputName) {
			t.Errorf("the library's reason is lost: %s", text)
		}
	}
}

func TestClosedEngineRefuses(t *testing.T) {
	e := opened(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := e.Build(context.Background(), enginetest.Miniatures()[0].Network, nil, engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1})
	if err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v", err)
	}
}

// headerEnv names the environment variable that holds the path of a real
// onnxruntime_c_api.h.
const headerEnv = "GENBENCH_ONNXRUNTIME_HEADER"

// TestPrototypes has a compiler compare api.h with the library's own header.
func TestPrototypes(t *testing.T) {
	var header string
	for _, path := range []string{
		os.Getenv(headerEnv),
		"/usr/local/include/onnxruntime/onnxruntime_c_api.h",
		"/usr/local/include/onnxruntime_c_api.h",
		"/usr/include/onnxruntime/onnxruntime_c_api.h",
	} {
		if _, err := os.Stat(path); err == nil {
			header = path
			break
		}
	}
	if header == "" {
		t.Skipf("no onnxruntime_c_api.h here; set %s to its path", headerEnv)
	}
	ours, err := filepath.Abs("api.h")
	if err != nil {
		t.Fatal(err)
	}
	var program strings.Builder
	fmt.Fprintf(&program, "#include %q\n#include %q\n", header, ours)
	for _, name := range []string{
		"GetErrorCode", "GetErrorMessage", "CreateEnv", "CreateSession", "CreateSessionFromArray", "Run", "CreateSessionOptions",
		"SetSessionExecutionMode", "EnableProfiling", "SessionEndProfiling", "AllocatorFree", "GetAllocatorWithDefaultOptions",
		"SessionOptionsSetLoadCancellationFlag", "AddSessionConfigEntry", "CreateStatus", "IsTensor", "GetTensorElementType", "GetDimensionsCount", "GetDimensions",
		"GetTensorTypeAndShape", "ReleaseTensorTypeAndShapeInfo", "CreateRunOptions", "ReleaseRunOptions", "CreateMemoryInfo", "AddRunConfigEntry",
		"RunWithBinding", "CreateIoBinding", "ReleaseIoBinding", "BindInput", "BindOutput",
		"CreateCUDAProviderOptions", "UpdateCUDAProviderOptions", "ReleaseCUDAProviderOptions", "SessionOptionsAppendExecutionProvider_CUDA_V2",
		"CreateTensorRTProviderOptions", "UpdateTensorRTProviderOptions", "ReleaseTensorRTProviderOptions", "SessionOptionsAppendExecutionProvider_TensorRT_V2", "SetSessionLogSeverityLevel", "SetSessionGraphOptimizationLevel",
		"SetIntraOpNumThreads", "SetInterOpNumThreads", "CreateTensorWithDataAsOrtValue", "CreateCpuMemoryInfo",
		"ReleaseEnv", "ReleaseStatus", "ReleaseMemoryInfo", "ReleaseSession", "ReleaseValue", "ReleaseSessionOptions",
	} {
		fmt.Fprintf(&program, "_Static_assert(offsetof(OrtApi, %s) == offsetof(gb_ort_api, %s), %q);\n", name, name, "slot of "+name)
		fmt.Fprintf(&program, "void check_%s(OrtApi *theirs, gb_ort_api *ours) { ours->%s = theirs->%s; }\n", name, name, name)
	}
	for _, name := range []string{"GetApi", "GetVersionString"} {
		fmt.Fprintf(&program, "_Static_assert(offsetof(OrtApiBase, %s) == offsetof(gb_ort_base, %s), %q);\n", name, name, "slot of "+name)
	}
	for ours, theirs := range map[string]string{
		"gb_ort_log_error": "ORT_LOGGING_LEVEL_ERROR", "gb_ort_log_fatal": "ORT_LOGGING_LEVEL_FATAL", "gb_ort_sequential": "ORT_SEQUENTIAL", "gb_ort_optimise_all": "ORT_ENABLE_ALL", "gb_ort_optimise_basic": "ORT_ENABLE_BASIC",
		"gb_ort_device_allocator": "OrtDeviceAllocator", "gb_ort_mem_default": "OrtMemTypeDefault",
	} {
		fmt.Fprintf(&program, "_Static_assert((int)%s == (int)%s, %q);\n", ours, theirs, ours)
	}
	for element, theirs := range map[models.ElemType]string{
		models.ElemFloat32: "FLOAT", models.ElemUint8: "UINT8", models.ElemInt8: "INT8", models.ElemUint16: "UINT16", models.ElemInt16: "INT16",
		models.ElemInt32: "INT32", models.ElemInt64: "INT64", models.ElemBool: "BOOL", models.ElemFloat16: "FLOAT16", models.ElemFloat64: "DOUBLE",
		models.ElemUint32: "UINT32", models.ElemUint64: "UINT64", models.ElemBFloat16: "BFLOAT16", models.ElemString: "STRING",
	} {
		fmt.Fprintf(&program, "_Static_assert(%d == ONNX_TENSOR_ELEMENT_DATA_TYPE_%s, %q);\n", element, theirs, theirs)
	}
	source := filepath.Join(t.TempDir(), "check.c")
	if err := os.WriteFile(source, []byte(program.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	out, err := exec.Command(compiler, "-std=gnu11", "-fsyntax-only", "-Werror", source).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip(err)
	}
	if err != nil {
		t.Errorf("api.h and %s differ: %v\n%s", header, err, out)
	}
}
