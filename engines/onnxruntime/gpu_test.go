package onnxruntime

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/engines/library"
	"genbench/hardware"
	"genbench/hardware/hardwaretest"
	"genbench/hardware/native"
	"genbench/models"
)

// fakeGPU puts a GPU and a library with a CUDA provider, both doubles, into the
// environment of a test, and gives the folder of the library. The real library of the
// CPU computes.
func fakeGPU(t *testing.T) string {
	t.Helper()
	t.Setenv("FAKE_ORT_COMPUTES", opened(t).info.Library)
	t.Setenv(hardware.CUDAEnv, hardwaretest.FakeCUDA(t))
	dir := t.TempDir()
	sources := hardwaretest.Sources(t, "testdata/fakegpu.c", "api.h")
	t.Setenv(library.ONNXRuntimeGPUEnv, hardwaretest.Compile(t, filepath.Join(dir, "libonnxruntime.so.1"), sources))
	hardwaretest.Compile(t, filepath.Join(dir, cudaLibrary), map[string][]byte{"none.c": []byte("int none;\n")})
	telltale(t, dir, cudnnSoname)
	return dir
}

// telltale compiles a library that makes the file opened/<its name> beside itself when
// it is loaded. It has no SONAME, so that the loader does not take it for another test's.
func telltale(t *testing.T, dir, name string) string {
	t.Helper()
	const source = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
static __attribute__((constructor)) void tell(void) {
	Dl_info info;
	char path[4096];
	if (!dladdr(tell, &info)) return;
	const char *name = strrchr(info.dli_fname, '/') + 1;
	snprintf(path, sizeof path, "%.*sopened/%s", (int)(name - info.dli_fname), info.dli_fname, name);
	FILE *file = fopen(path, "w");
	if (file) fclose(file);
}
`
	if err := os.MkdirAll(filepath.Join(dir, "opened"), 0o755); err != nil {
		t.Fatal(err)
	}
	return hardwaretest.Compile(t, filepath.Join(dir, name), map[string][]byte{"telltale.c": []byte(source)})
}

// TestPreloadsForProviders looks at what is opened before the library is asked for a
// provider: what both providers' libraries are linked with, cuDNN, which a release may
// open by its bare name only, and what that opens itself.
func TestPreloadsForProviders(t *testing.T) {
	dir := fakeGPU(t)
	wants := []string{cudnnSoname, "libcublasLt.so.99", "libcublas.so.99", "libnvrtc.so.99", "libgbcudaneeds.so.1", "libgbtrtneeds.so.1"}
	for _, name := range wants {
		telltale(t, dir, name)
	}
	link := func(library string, names ...string) {
		flags := []string{"-Wl,--no-as-needed"}
		for _, name := range names {
			flags = append(flags, filepath.Join(dir, "needed", name))
		}
		hardwaretest.Compile(t, filepath.Join(dir, library), map[string][]byte{"none.c": []byte("int none;\n")}, flags...)
	}
	// What they are linked with has SONAMEs there, and is opened here without.
	if err := os.Mkdir(filepath.Join(dir, "needed"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"libcudart.so.99", "libgbcudaneeds.so.1", "libgbtrtneeds.so.1"} {
		hardwaretest.Compile(t, filepath.Join(dir, "needed", name), map[string][]byte{"none.c": []byte("int none;\n")}, "-Wl,-soname,"+name)
	}
	telltale(t, dir, "libcudart.so.99")
	link(cudaLibrary, "libcudart.so.99", "libgbcudaneeds.so.1")
	link("libonnxruntime_providers_tensorrt.so", "libgbtrtneeds.so.1")
	enginetest.Open(t, TensorRTDriver())
	for _, name := range wants {
		if _, err := os.Stat(filepath.Join(dir, "opened", name)); err != nil {
			t.Errorf("%s was not opened", name)
		}
	}
}

// openFake opens the CUDA engine on the doubles.
func openFake(t *testing.T) (*engine, hardware.Stream) {
	t.Helper()
	e, stream := enginetest.Open(t, CUDADriver())
	return e.(*engine), stream
}

// TestCUDAConformance runs on doubles, or on the real ones where they are required.
func TestCUDAConformance(t *testing.T) {
	if !slices.Contains(strings.Split(os.Getenv(enginetest.RequireEnv), ","), CUDADriver().Name) {
		fakeGPU(t)
	}
	enginetest.Run(t, CUDADriver())
}

func TestProvidersOptions(t *testing.T) {
	text := func(options []option) string {
		var all []string
		for _, o := range options {
			all = append(all, o.key+"="+o.value)
		}
		return strings.Join(all, " ")
	}
	const stream = "device_id=1 has_user_compute_stream=1 user_compute_stream=18446744073709551615"
	const search = " cudnn_conv_algo_search=EXHAUSTIVE cudnn_conv_use_max_workspace=1 do_copy_in_default_stream=1"
	for _, c := range []struct {
		got  []option
		want string
	}{
		{cudaOptions(1, ^uintptr(0), models.FP32), stream + " use_tf32=0" + search},
		{cudaOptions(1, ^uintptr(0), models.TF32), stream + " use_tf32=1" + search},
		// 0 takes the matrix units from halves, too.
		{cudaOptions(1, ^uintptr(0), models.FP16), stream + " use_tf32=1" + search},
		{cudaOptions(1, ^uintptr(0), models.BF16), stream + " use_tf32=1" + search},
		// Between conversions these compute in float.
		{cudaOptions(1, ^uintptr(0), models.INT8), stream + " use_tf32=0" + search},
		{cudaOptions(1, ^uintptr(0), models.FP8), stream + " use_tf32=0" + search},
		{tensorrtOptions(1, ^uintptr(0), models.TF32), stream},
		{tensorrtOptions(1, ^uintptr(0), models.FP16), stream + " trt_fp16_enable=1"},
		{tensorrtOptions(1, ^uintptr(0), models.BF16), stream + " trt_bf16_enable=1"},
		{tensorrtOptions(1, ^uintptr(0), models.INT8), stream + " trt_int8_enable=1"},
	} {
		if got := text(c.got); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestCUDAOptionsArrive has the library see what was meant for it.
func TestCUDAOptionsArrive(t *testing.T) {
	fakeGPU(t)
	log := filepath.Join(t.TempDir(), "options")
	t.Setenv("FAKE_ORT_OPTIONS", log)
	e, stream := openFake(t)
	s, err := e.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, engines.BuildOptions{Precision: models.TF32, Batch: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"device_id=0\n", "has_user_compute_stream=1\n", "use_tf32=1\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("%q is not in %q", line, text)
		}
	}
}

func TestNodesThatFellBack(t *testing.T) {
	fakeGPU(t)
	e, stream := openFake(t)
	t.Setenv("FAKE_ORT_FAULT", "fallback")
	s, err := e.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := stream.Time(s.Call(), make([]hardware.Sample, 1)); err != nil {
		t.Fatal(err)
	}
	if ran := s.Executed(); len(ran.Fallback) != 1 || ran.Fallback[0] == "" || ran.Precisions["fp32"] == 0 {
		t.Errorf("got %+v", ran)
	}
}

func TestCUDAProviderFails(t *testing.T) {
	fakeGPU(t)
	e, stream := openFake(t)
	o := engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1}
	n := enginetest.Miniatures()[0].Network
	s, err := e.Build(t.Context(), n, stream, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Setenv("FAKE_ORT_FAULT", "run")
	err = stream.Time(s.Call(), make([]hardware.Sample, 1))
	var failed *native.CallError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	if text := s.Explain(failed).Error(); !strings.Contains(text, "onnxruntime-cuda") || !strings.Contains(text, "illegal memory access") {
		t.Errorf("explained as %q", text)
	}
	t.Setenv("FAKE_ORT_FAULT", "append")
	if s, err := e.Build(t.Context(), n, stream, o); err == nil {
		t.Error(errors.Join(errors.New("it builds without its provider"), s.Close()))
	} else if !strings.Contains(err.Error(), "libonnxruntime_providers_cuda.so") {
		t.Errorf("the library's reason is lost: %v", err)
	}
	host, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := host.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Build(t.Context(), n, wrong, o); err == nil || !strings.Contains(err.Error(), "stream") {
		t.Errorf("a stream of the host: %v", err)
	}
}

// TestTensorRTPrecisions is what the provider is known to do on a GPU with and
// without tf32 units.
func TestTensorRTPrecisions(t *testing.T) {
	fakeGPU(t)
	e, _ := openFake(t)
	if !e.gpu.ampere() {
		t.Fatal("the fake GPU has grown old")
	}
	for precision, reason := range map[models.Precision]string{
		models.FP32: "in tf32 on this GPU", models.TF32: "", models.FP16: "", models.BF16: "", models.INT8: "", models.FP8: "untried through ONNX Runtime; the engine tensorrt takes it",
	} {
		err := judgeOnTensorRT(e, precision).refused
		if (err == nil) != (reason == "") || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", precision, err)
		}
	}
}

// TestFP32Unproven says of convolutions in float what they may have been computed in,
// where the GPU has tf32 units and the environment does not forbid them.
func TestFP32Unproven(t *testing.T) {
	for _, c := range []struct {
		capability, override string
		built                models.Precision
		want                 string // of the convolutions
		tf32                 string // the reason to refuse it
	}{
		{"80", "", models.FP32, "fp32 or tf32", ""},
		{"80", "1", models.FP32, "fp32 or tf32", ""},
		{"80", "0", models.FP32, "", "NVIDIA_TF32_OVERRIDE=0 in the environment forbids tf32"},
		{"75", "", models.FP32, "", "needs a GPU of compute capability 8.0"},
		{"80", "", models.TF32, "tf32", ""},
	} {
		t.Run(c.capability+" "+c.override+" "+string(c.built), func(t *testing.T) {
			fakeGPU(t)
			t.Setenv("FAKE_CUDA_CAPABILITY", c.capability)
			t.Setenv("NVIDIA_TF32_OVERRIDE", c.override)
			e, stream := openFake(t)
			s, err := e.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, engines.BuildOptions{Precision: c.built, Batch: 1, Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := stream.Time(s.Call(), make([]hardware.Sample, 1)); err != nil {
				t.Fatal(err)
			}
			ran := s.Executed()
			said := strings.Join(ran.Choices, "; ")
			if n := len(ran.Precisions); ran.Precisions["fp32"] == 0 || c.want == "" && n != 1 || c.want != "" && (n != 2 || ran.Precisions[c.want] == 0) {
				t.Errorf("ran %v, want fp32 and %q", ran.Precisions, c.want)
			}
			if (c.want == fp32OrTF32) != strings.Contains(said, "NVIDIA_TF32_OVERRIDE=0") {
				t.Errorf("it says %q", said)
			}
			for _, judge := range []func(*engine, models.Precision) ability{judgeOnCUDA, judgeOnTensorRT} {
				if err := judge(e, models.TF32).refused; (err == nil) != (c.tf32 == "") || err != nil && !strings.Contains(err.Error(), c.tf32) {
					t.Errorf("tf32: %v, want %q", err, c.tf32)
				}
			}
			if err := judgeOnTensorRT(e, models.FP32).refused; (err == nil) != (c.tf32 != "") {
				t.Errorf("fp32 on TensorRT: %v", err)
			}
		})
	}
}

// TestOldReleases refuses before a build what an older library has no option for.
func TestOldReleases(t *testing.T) {
	fakeGPU(t)
	e, _ := openFake(t)
	for _, c := range []struct {
		judge     func(*engine, models.Precision) ability
		version   string
		precision models.Precision
		want      string // of the refusal; empty is none
	}{
		{judgeOnCUDA, "1.17.3", models.FP16, "1.17.3 has no option use_tf32, which came with ONNX Runtime 1.18; run `genbench setup"},
		{judgeOnCUDA, "1.18.0", models.FP32, ""},
		{judgeOnTensorRT, "1.17.3", models.FP16, "has no option use_tf32, which came with ONNX Runtime 1.18"},
		{judgeOnTensorRT, "1.18.0", models.FP16, ""},
		{judgeOnTensorRT, "1.22.2", models.BF16, "has no option trt_bf16_enable, which came with ONNX Runtime 1.23"},
		{judgeOnTensorRT, "1.22.2", models.FP16, ""},
		{judgeOnTensorRT, "1.23.0", models.BF16, ""},
	} {
		e.info.Version = c.version
		err := c.judge(e, c.precision).refused
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.version, c.precision, err, c.want)
		}
	}
}

// TestGPULibraryUnavailable has the library of the CPU refused with its reason, and
// the libraries that a provider needs told by name.
func TestGPULibraryUnavailable(t *testing.T) {
	dir := fakeGPU(t)
	gpu, err := hardware.Open("0")
	if err != nil {
		t.Fatal(err)
	}
	defer gpu.Close()
	unavailable := func(d engines.Driver, words ...string) {
		t.Helper()
		_, err := d.Open(t.Context(), gpu)
		var missing *engines.UnavailableError
		if !errors.As(err, &missing) || missing.Engine != d.Name {
			t.Fatalf("got %v", err)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q is not in %v", word, err)
			}
		}
	}
	unavailable(TensorRTDriver(), "libonnxruntime_providers_tensorrt.so", library.ONNXRuntimeGPUEnv)

	// A library that is linked with one which then goes away.
	gone := filepath.Join(dir, "libcublas.so.12")
	hardwaretest.Compile(t, gone, map[string][]byte{"none.c": []byte("int blas;\n")}, "-Wl,-soname,libcublas.so.12")
	hardwaretest.Compile(t, filepath.Join(dir, cudaLibrary),
		map[string][]byte{"needs.c": []byte("extern int blas;\nint *needs(void) { return &blas; }\n")}, gone)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	unavailable(CUDADriver(), "libcublas.so.12", "nvidia-cublas-cu12")

	if _, err := native.Open(cudnnSoname); err != nil { // else it is not missing here
		if err := os.Remove(filepath.Join(dir, cudnnSoname)); err != nil {
			t.Fatal(err)
		}
		t.Setenv(library.CacheEnv, t.TempDir())
		t.Setenv("HOME", t.TempDir())
		unavailable(CUDADriver(), "cuDNN (libcudnn.so.9)", "run `genbench setup cudnn` and install from pip nvidia-cublas-cu12")
	}

	t.Setenv(library.ONNXRuntimeGPUEnv, "")
	t.Setenv(library.CacheEnv, t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("PATH", "")
	unavailable(CUDADriver(), "genbench setup onnxruntime-gpu")
}
