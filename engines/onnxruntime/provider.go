package onnxruntime

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"genbench/engines"
	"genbench/engines/library"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A provider is one of the library's ways to run nodes, which genbench shows as an
// engine of its own.
type provider struct {
	engine, doc string
	device      hardware.DeviceKind
	// libraries are those of the providers that it adds, its own first, beside the main
	// one; none where it is inside.
	libraries []string
	// ours are the providers, by their names in a profile, that run on the device.
	ours []string
	// opaque are those whose precision a profile does not say.
	opaque  []string
	kernels models.Kernels
	// use adds the provider to a session's options.
	use func(*session) error
	// judge says what becomes of a precision.
	judge func(*engine, models.Precision) ability
}

// Names of providers, as profiles have them (onnxruntime/core/graph/constants.h).
const (
	cpuProvider      = "CPUExecutionProvider"
	cudaProvider     = "CUDAExecutionProvider"
	tensorrtProvider = "TensorrtExecutionProvider"
)

const cudaLibrary = "libonnxruntime_providers_cuda.so"

// Driver is the entry of the CPU provider for engines/all.
func Driver() engines.Driver {
	return driver(provider{
		engine: "onnxruntime", doc: "ONNX Runtime, CPU provider", device: hardware.Host,
		ours: []string{cpuProvider}, kernels: models.OperatorKernels,
		use:   func(*session) error { return nil },
		judge: judgeOnCPU,
	}, library.Spec{Engine: "onnxruntime", Env: library.ONNXRuntimeEnv, Hint: "run `genbench setup onnxruntime`", Accept: accept})
}

// CUDADriver is the entry of the CUDA provider for engines/all. It has not run on a
// GPU yet; its tests run it on doubles.
func CUDADriver() engines.Driver {
	return gpuDriver(provider{
		engine: "onnxruntime-cuda", doc: "ONNX Runtime, CUDA provider",
		libraries: []string{cudaLibrary},
		ours:      []string{cudaProvider}, kernels: models.FusedKernels,
		use:   useCUDA,
		judge: judgeOnCUDA,
	})
}

// TensorRTDriver is the entry of the TensorRT provider for engines/all; what TensorRT
// does not take, the CUDA provider runs. It has not run on a GPU yet.
func TensorRTDriver() engines.Driver {
	return gpuDriver(provider{
		engine: "onnxruntime-tensorrt", doc: "ONNX Runtime, TensorRT provider: a second opinion on TensorRT",
		libraries: []string{"libonnxruntime_providers_tensorrt.so", cudaLibrary},
		ours:      []string{tensorrtProvider, cudaProvider}, opaque: []string{tensorrtProvider}, kernels: models.FusedKernels,
		use:   useTensorRT,
		judge: judgeOnTensorRT,
	})
}

func driver(p provider, spec library.Spec) engines.Driver {
	spec.Files = "libonnxruntime.so*"
	spec.Sonames = []string{"libonnxruntime.so.1", "libonnxruntime.so"}
	spec.Python = "onnxruntime/capi/libonnxruntime.so.*"
	finder := library.NewFinder(spec)
	return engines.Driver{
		Name: p.engine, Doc: p.doc, Device: p.device,
		Library: engines.Library{Env: spec.Env, Folder: spec.Engine, Files: spec.Files},
		Open: func(ctx context.Context, device hardware.Device) (engines.Engine, error) {
			return open(ctx, &p, finder, device)
		},
	}
}

// gpuHint is the cure where the library with GPU providers is nowhere.
const gpuHint = "run `genbench setup onnxruntime-gpu`"

func gpuDriver(p provider) engines.Driver {
	p.device = hardware.CUDA
	return driver(p, library.Spec{
		Engine: "onnxruntime-gpu", Env: library.ONNXRuntimeGPUEnv, Hint: gpuHint,
		// The library of the CPU goes by the same name and is more common.
		Accept: func(lib *native.Library) error {
			if err := accept(lib); err != nil {
				return err
			}
			for _, file := range p.beside(lib.Path()) {
				if _, err := os.Stat(file); err != nil {
					return fmt.Errorf("it is built for the CPU, or without this provider: %w", err)
				}
			}
			return nil
		},
	})
}

// beside is where the providers' libraries must be.
func (p *provider) beside(main string) []string {
	if resolved, err := filepath.EvalSymlinks(main); err == nil {
		main = resolved
	}
	var files []string
	for _, name := range p.libraries {
		files = append(files, filepath.Join(filepath.Dir(main), name))
	}
	return files
}

// rename makes the error of a missing library name the engine: two engines share the
// one with GPU providers.
func (p *provider) rename(err error) error {
	var missing *engines.UnavailableError
	if errors.As(err, &missing) {
		missing.Engine = p.engine
	}
	return err
}

// cudnnSoname is what the CUDA provider opens by its bare name where it is not linked
// with it: cuDNN became optional with PR 29252 of github.com/microsoft/onnxruntime, and
// release 1.31.1 is such a build. Without cuDNN it would run kernels of its own, or none.
const cudnnSoname = "libcudnn.so.9"

// preload loads what the providers' libraries are linked with, which the main library
// would look for only where the loader does, and cuDNN with what that opens by name.
func (p *provider) preload(main string) error {
	files := p.beside(main)
	var sonames []string
	for _, file := range files {
		needed, err := library.Needed(file)
		if err != nil {
			return fmt.Errorf("open %s: %w", p.engine, err)
		}
		for _, soname := range needed {
			if !slices.Contains(sonames, soname) {
				sonames = append(sonames, soname)
			}
		}
	}
	begins := func(stem string) func(string) bool {
		return func(soname string) bool { return strings.HasPrefix(soname, stem+".so.") }
	}
	if !slices.ContainsFunc(sonames, begins("libcudnn")) {
		sonames = append(sonames, cudnnSoname)
	}
	if at := slices.IndexFunc(sonames, begins("libcudart")); at >= 0 {
		_, version, _ := strings.Cut(sonames[at], ".so.")
		major, _, _ := strings.Cut(version, ".")
		if cuda, err := strconv.Atoi(major); err == nil {
			// First, as they come in the order in which they need each other. As in the engine
			// cudnn, one that is missing is no failure yet.
			library.PreloadNamed(files[0], library.CUDNNCompanions(cuda))
		}
	}
	// The providers' libraries share a folder.
	if missing := library.PreloadNamed(files[0], sonames); len(missing) > 0 {
		return p.unavailable(missing)
	}
	return nil
}

// unavailable says what is missing, and the commands that get it.
func (p *provider) unavailable(missing []library.Absent) error {
	u := &engines.UnavailableError{Engine: p.engine}
	var names, hints []string
	isCUDNN := func(m library.Absent) bool { return strings.HasPrefix(m.Soname, "libcudnn.") }
	for _, m := range missing {
		name := m.Soname
		if isCUDNN(m) {
			name = "cuDNN (" + name + ")"
			hints = []string{"run `genbench setup cudnn`"}
		}
		names = append(names, name)
		u.Looked = append(u.Looked, m.Looked...)
	}
	if others := packages(slices.DeleteFunc(missing, isCUDNN)); len(others) > 0 {
		hints = append(hints, "install from pip "+strings.Join(others, ", "))
	}
	u.Missing, u.Hint = strings.Join(names, ", "), strings.Join(hints, " and ")
	return u
}

// preloadBuilder opens what the builder of the TensorRT that the provider's library is
// linked with looks for only where the loader does. preload came before.
func (p *provider) preloadBuilder(main string, capabilityMajor int) error {
	needed, err := library.Needed(p.beside(main)[0])
	if err != nil {
		return err
	}
	for _, soname := range needed {
		if !strings.HasPrefix(soname, "libnvinfer.so.") {
			continue
		}
		infer, err := native.Open(soname)
		if err != nil {
			return err
		}
		library.PreloadTensorRTBuilder(infer.Path(), capabilityMajor)
	}
	return nil
}

// packages are the Python packages that hold libraries of NVIDIA's. From CUDA 13 on
// most names have lost the version (requirements of onnxruntime-gpu 1.24.4 and 1.31.1;
// those of TensorRT: tensorrt-cu12-libs and -cu13-libs on PyPI; a build that watches
// kernels needs libcupti, of nvidia-cuda-cupti).
func packages(missing []library.Absent) []string {
	var found []string
	for _, m := range missing {
		stem, version, _ := strings.Cut(m.Soname, ".so.")
		name := map[string]string{
			"libcublas": "nvidia-cublas", "libcublasLt": "nvidia-cublas", "libcudart": "nvidia-cuda-runtime",
			"libcurand": "nvidia-curand", "libcufft": "nvidia-cufft", "libcupti": "nvidia-cuda-cupti",
		}[stem]
		switch {
		case name != "" && slices.Contains([]string{"libcublas.12", "libcublasLt.12", "libcudart.12", "libcufft.11", "libcupti.12"}, stem+"."+version):
			name += "-cu12"
		case stem == "libnvinfer" || stem == "libnvonnxparser":
			name = "tensorrt-cu12-libs or -cu13-libs of version " + version
		case stem == "libcuda":
			continue // the driver's, without which no GPU was opened
		case name == "":
			name = m.Soname + " (package not known)"
		}
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

// A gpu is the device of an engine with what providers ask of it.
type gpu struct {
	*hardware.CUDADevice
	ordinal int // among those that CUDA shows the process
}

func newGPU(device hardware.Device) (*gpu, error) {
	g, ok := device.(*hardware.CUDADevice)
	if !ok {
		return nil, fmt.Errorf("the device is a %T, want one of hardware.Open", device)
	}
	all, err := hardware.CUDADevices()
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(i hardware.Info) bool { return i.ID == g.Info().ID })
	if at < 0 {
		return nil, fmt.Errorf("device %s is not among those of CUDA", g.Info().ID)
	}
	return &gpu{g, at}, nil
}

// ampere reports whether the GPU has tf32 and bf16 units.
func (g *gpu) ampere() bool { return g.Details().CapabilityMajor >= 8 }

// tf32Env is the environment variable that keeps NVIDIA's libraries from tf32 where it is
// 0, whatever a program asks for (cuDNN's documentation of cudnnMathType_t). They read
// it once in a process, which may measure several precisions, so it is the user's to set.
const tf32Env = "NVIDIA_TF32_OVERRIDE"

func tf32Forbidden() bool { return os.Getenv(tf32Env) == "0" }

// mayTF32 reports whether NVIDIA's libraries can round float products to tf32 here.
func (e *engine) mayTF32() bool { return e.gpu != nil && e.gpu.ampere() && !tf32Forbidden() }

func judgeOnCPU(e *engine, p models.Precision) ability {
	if p == models.TF32 {
		return ability{refused: errors.New("tf32 is a format of NVIDIA's matrix units; onnxruntime runs here on the CPU")}
	}
	return e.try(p)
}

// The releases, 1.N, that brought options without which a provider can't be told what
// to compute in: use_tf32 (github.com/microsoft/onnxruntime/pull/19357 and 19426) and
// trt_bf16_enable (24743). A release that lacks one fails to build.
const tf32Release, bf16Release = 18, 23

// lacks refuses a library that is older than an option.
func (e *engine) lacks(option string, release int) error {
	if minorVersion(e.info.Version) >= release {
		return nil
	}
	return fmt.Errorf("%s %s has no option %s, which came with ONNX Runtime 1.%d; %s", e.info.Name, e.info.Version, option, release, gpuHint)
}

func judgeOnCUDA(e *engine, p models.Precision) ability {
	if err := e.lacks("use_tf32", tf32Release); err != nil {
		return ability{refused: err}
	}
	if p == models.TF32 && !e.mayTF32() {
		return noUnits(e, p)
	}
	return e.try(p)
}

// judgeOnTensorRT goes by what is known of TensorRT instead of trying, because a plan
// takes seconds to minutes and does not say what a layer runs in.
func judgeOnTensorRT(e *engine, p models.Precision) ability {
	// What TensorRT does not take, the CUDA provider runs.
	err := e.lacks("use_tf32", tf32Release)
	if err == nil && p == models.BF16 {
		err = e.lacks("trt_bf16_enable", bf16Release)
	}
	switch {
	case err != nil:
		return ability{refused: err}
	case p == models.TF32 && !e.mayTF32() || p == models.BF16 && !e.gpu.ampere():
		return noUnits(e, p)
	case p == models.FP32 && e.mayTF32():
		// kTF32 is on unless a builder clears it, which the provider has no option for.
		return ability{refused: fmt.Errorf("%s computes fp32 models in tf32 on this GPU unless %s=0 is in the environment; ask for tf32", e.info.Name, tf32Env)}
	case p == models.FP8:
		// It may well run: where no option names a precision the provider is said to have
		// TensorRT take the types of the model (as pull request 18707 proposed). But nobody
		// has seen it, and nothing tells what ran.
		return ability{refused: fmt.Errorf("genbench does not ask %s for fp8, which is untried through ONNX Runtime; the engine tensorrt takes it and says what ran", e.info.Name)}
	}
	return ability{}
}

func noUnits(e *engine, p models.Precision) ability {
	d := e.gpu.Details()
	if p == models.TF32 && tf32Forbidden() {
		return ability{refused: fmt.Errorf("%s=0 in the environment forbids tf32", tf32Env)}
	}
	return ability{refused: fmt.Errorf("%s needs a GPU of compute capability 8.0, %s has %d.%d", p, d.Name, d.CapabilityMajor, d.CapabilityMinor)}
}

// An option is a provider's setting by its name in the library's documentation.
type option struct{ key, value string }

// onStream are the options that put a provider on a GPU and the harness's stream.
func onStream(ordinal int, stream uintptr) []option {
	return []option{
		{"device_id", strconv.Itoa(ordinal)},
		{"has_user_compute_stream", "1"},
		{"user_compute_stream", strconv.FormatUint(uint64(stream), 10)},
	}
}

// cudaOptions beyond those are the library's defaults, made explicit: they decide how
// fast it is.
//
// EXHAUSTIVE makes a library built for cuDNN 9 ask cuDNN's heuristics in mode B (conv.cc,
// UpdateState); nothing is timed. With cuDNN 8 it timed the algorithms.
//
// A convolution for which cuDNN has no plan under use_tf32=0 gets one with tf32 all the
// same, without a word (conv.cc, CreateCudnnFeExecutionPlan, "Try fallback"; see
// precisionOf).
func cudaOptions(ordinal int, stream uintptr, p models.Precision) []option {
	tf32 := "0"
	if usesTF32(p) {
		tf32 = "1" // the library's own default
	}
	return append(onStream(ordinal, stream),
		option{"use_tf32", tf32},
		option{"cudnn_conv_algo_search", "EXHAUSTIVE"},
		option{"cudnn_conv_use_max_workspace", "1"},
		option{"do_copy_in_default_stream", "1"},
	)
}

// usesTF32 says which use_tf32 a precision is built with. 0 denies a convolution all
// engines that use the matrix units, whatever its type (core/providers/cuda/nn/
// conv.cc, CreateCudnnFeExecutionPlan: deselect_numeric_notes), so fp16 and bf16 must
// not have it. int8 and fp8 must: up to release 1.31 the provider has no convolution in
// them and runs what lies between the conversions in float, which is to be fp32.
func usesTF32(p models.Precision) bool { return p != models.FP32 && !p.Calibrated() }

func tensorrtOptions(ordinal int, stream uintptr, p models.Precision) []option {
	options := onStream(ordinal, stream)
	switch p {
	case models.FP16:
		options = append(options, option{"trt_fp16_enable", "1"})
	case models.BF16:
		options = append(options, option{"trt_bf16_enable", "1"})
	case models.INT8:
		options = append(options, option{"trt_int8_enable", "1"})
	}
	return options
}

func useCUDA(s *session) error {
	return withOptions(cudaOptions(s.engine.gpu.ordinal, s.stream.Handle(), s.order.options.Precision), func(keys, values **C.char, n C.size_t) *C.char {
		return C.gb_ort_use_cuda(s.c, keys, values, n)
	})
}

func useTensorRT(s *session) error {
	if err := s.engine.provider.preloadBuilder(s.engine.info.Library, s.engine.gpu.Details().CapabilityMajor); err != nil {
		return err
	}
	err := withOptions(tensorrtOptions(s.engine.gpu.ordinal, s.stream.Handle(), s.order.options.Precision), func(keys, values **C.char, n C.size_t) *C.char {
		return C.gb_ort_use_tensorrt(s.c, keys, values, n)
	})
	if err != nil {
		return err
	}
	return useCUDA(s)
}

// withOptions hands options to a function of the shim.
func withOptions(options []option, use func(keys, values **C.char, n C.size_t) *C.char) error {
	n := C.size_t(len(options))
	room := func() []*C.char {
		return unsafe.Slice((**C.char)(C.calloc(n, C.size_t(unsafe.Sizeof(uintptr(0))))), n)
	}
	keys, values := room(), room()
	for i, o := range options {
		keys[i], values[i] = C.CString(o.key), C.CString(o.value)
	}
	err := takeMessage(use(unsafe.SliceData(keys), unsafe.SliceData(values), n))
	for _, list := range [][]*C.char{keys, values} {
		for _, text := range list {
			C.free(unsafe.Pointer(text))
		}
		C.free(unsafe.Pointer(unsafe.SliceData(list)))
	}
	return err
}
