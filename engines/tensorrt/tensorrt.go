// Package tensorrt runs networks on NVIDIA TensorRT 8.6, 10 or 11. TensorRT is C++
// and its classes' layout changes with every major version, so a small shim library
// stands in between: compiled where TensorRT's headers are (CompileShim, `genbench
// setup tensorrt`), opened at run time, and spoken to through one table of C functions
// (shim/abi.h). genbench itself needs neither the headers nor the library to be built.
//
// Precision is written into the ONNX model and the network is strongly typed, so
// that every major version, and every other engine, measures the same model.
package tensorrt

// #cgo CFLAGS: -O2 -Wall -Wextra -Werror
// #include <stdlib.h>
// #include "bridge.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"unsafe"

	"genbench/engines"
	"genbench/engines/library"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// Environment variables that name files instead of letting them be found.
const (
	LibraryEnv = "GENBENCH_TENSORRT"      // libnvinfer.so of some version
	ShimEnv    = "GENBENCH_TENSORRT_SHIM" // libgenbench_trt*.so for that version
)

// majors are the versions a shim can be compiled for, newest first.
var majors = [...]int{11, 10, 8}

// Driver is the entry for engines/all.
func Driver() engines.Driver {
	return engines.Driver{
		Name:    "tensorrt",
		Doc:     "NVIDIA TensorRT through a shim compiled against its headers",
		Device:  hardware.CUDA,
		Library: engines.Library{Env: LibraryEnv, Folder: "tensorrt", Files: "libnvinfer.so*"},
		Open:    open,
	}
}

type engine struct {
	info   engines.Info
	table  *C.gb_trt_table // nil once closed
	device *hardware.CUDADevice
	major  int
	cache  cache
}

// A pair is a shim and the libraries of the version that it was compiled for.
type pair struct {
	table         *C.gb_trt_table
	infer, parser *native.Library
}

func open(ctx context.Context, device hardware.Device) (engines.Engine, error) {
	gpu, ok := device.(*hardware.CUDADevice)
	if !ok {
		return nil, fmt.Errorf("open tensorrt: it runs on a GPU, not on a %s device", device.Info().Kind)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Libraries stay open: their threads' code must not go away under them.
	found, lib, err := find()
	if err != nil {
		return nil, err
	}
	if err := takeMessage(C.gb_trt_load(found.table, found.infer.Handle(), found.parser.Handle())); err != nil {
		return nil, fmt.Errorf("open tensorrt: load %s: %w", lib.Path, err)
	}
	version := int(C.gb_trt_version(found.table))
	e := &engine{
		info:   engines.Info{Name: "tensorrt", Version: versionText(version), Library: lib.Path, SHA256: lib.SHA256},
		table:  found.table,
		device: gpu,
		major:  majorOf(version),
	}
	dir, err := library.CacheDir()
	if err != nil {
		return nil, fmt.Errorf("open tensorrt: %w", err)
	}
	e.cache = cache{dir: filepath.Join(dir, "tensorrt-plans")}
	return e, nil
}

// find opens the first shim whose TensorRT is here.
func find() (pair, *library.Library, error) {
	var (
		found    pair
		infer    *library.Library
		shimSpec = library.Spec{
			Engine: "tensorrt-shim", Env: ShimEnv, Files: "libgenbench_trt*.so",
			Hint: "run `genbench setup tensorrt --include DIR` where TensorRT's headers are",
		}
	)
	for _, major := range majors {
		shimSpec.Sonames = append(shimSpec.Sonames, fmt.Sprintf("libgenbench_trt%d.so", major))
	}
	shimSpec.Accept = func(shim *native.Library) error {
		table, err := askShim(shim)
		if err != nil {
			return err
		}
		if abi := int(table.abi); abi != shimABI {
			return fmt.Errorf("it speaks version %d of the shim's interface, this genbench version %d; run `genbench setup tensorrt` again", abi, shimABI)
		}
		if infer, err = findLibrary(int(table.headers)); err != nil {
			return err
		}
		found = pair{table: table, infer: infer.Library}
		return nil
	}
	if _, err := library.NewFinder(shimSpec).Open(); err != nil {
		var missing *engines.UnavailableError
		if errors.As(err, &missing) {
			missing.Engine = "tensorrt"
		}
		return pair{}, nil, err
	}
	parser, err := openParser(infer.Path, majorOf(int(found.table.headers)))
	if err != nil {
		return pair{}, nil, err
	}
	found.parser = parser
	return found, infer, nil
}

// shimABI is the version of shim/abi.h that is spoken here.
const shimABI = C.GB_TRT_ABI

// askShim gives a shim's table; nothing else of one with another abi may be read.
func askShim(shim *native.Library) (*C.gb_trt_table, error) {
	symbol, err := shim.Symbol("gb_trt")
	if err != nil {
		return nil, err
	}
	return C.gb_trt_ask(symbol), nil
}

// findLibrary opens the libnvinfer for a shim's headers: of their major version, and no
// older than they are, as its classes would lack functions that the shim calls.
func findLibrary(headers int) (*library.Library, error) {
	major := majorOf(headers)
	soname := fmt.Sprintf("libnvinfer.so.%d", major)
	return library.NewFinder(library.Spec{
		Engine: "tensorrt", Env: LibraryEnv, Files: soname + "*", Sonames: []string{soname},
		Python: "tensorrt_libs/" + soname + "*",
		Hint:   fmt.Sprintf("install TensorRT %d, or name its libnvinfer.so in %s", major, LibraryEnv),
		Accept: func(lib *native.Library) error {
			symbol, err := lib.Symbol("getInferLibVersion")
			if err != nil {
				return err
			}
			switch got := int(C.gb_trt_infer_version(symbol)); {
			case majorOf(got) != major:
				return fmt.Errorf("it is TensorRT %s, the shim wants %d", versionText(got), major)
			case got < headers:
				return fmt.Errorf("it is TensorRT %s, older than the headers of the shim, %s; run `genbench setup tensorrt --include DIR` with its own headers",
					versionText(got), versionText(headers))
			}
			return nil
		},
	}).Open()
}

// openParser opens the ONNX parser that lies beside libnvinfer, or that the loader
// finds.
func openParser(infer string, major int) (*native.Library, error) {
	name := fmt.Sprintf("libnvonnxparser.so.%d", major)
	beside := filepath.Join(filepath.Dir(infer), name)
	lib, first := native.Open(beside)
	if first == nil {
		return lib, nil
	}
	lib, second := native.Open(name)
	if second == nil {
		return lib, nil
	}
	return nil, &engines.UnavailableError{
		Engine: "tensorrt", Missing: name, Looked: []string{first.Error(), "the loader: " + second.Error()},
		Hint: "install TensorRT's ONNX parser of the same version beside libnvinfer",
	}
}

// majorOf and versionText read TensorRT's own numbering: 8601 is 8.6.1 and 101601
// is 10.16.1 (NV_TENSORRT_VERSION in NvInferRuntimeBase.h of either).
func majorOf(version int) int {
	if version >= 100000 {
		return version / 10000
	}
	return version / 1000
}

func versionText(version int) string {
	if version >= 100000 {
		return fmt.Sprintf("%d.%d.%d", version/10000, version/100%100, version%100)
	}
	return fmt.Sprintf("%d.%d.%d", version/1000, version/100%10, version%100)
}

func (e *engine) Info() engines.Info { return e.info }

func (e *engine) Supports(o engines.BuildOptions) error {
	if err := e.computes(o.Precision); err != nil {
		return err
	}
	if o.Batch < 1 {
		return fmt.Errorf("batch %d, want at least 1", o.Batch)
	}
	return nil
}

// computes says why the library does not compute in a precision here; nil where it
// does.
func (e *engine) computes(p models.Precision) error {
	gpu := e.device.Details()
	_, known := code(p)
	switch {
	case !known:
		return fmt.Errorf("TensorRT has no precision %q", p)
	case p == models.BF16 && e.major < 10:
		return fmt.Errorf("TensorRT %s has no bf16; it came with version 9", e.info.Version)
	case (p == models.BF16 || p == models.TF32) && gpu.CapabilityMajor < 8:
		return fmt.Errorf("%s needs compute capability 8.0, this GPU has %d.%d", p, gpu.CapabilityMajor, gpu.CapabilityMinor)
	case p == models.FP8 && e.major < 10:
		return fmt.Errorf("TensorRT %s takes no fp8 model: its types are not those of the network; version 10 and newer do", e.info.Version)
	case p == models.FP8 && gpu.Capability() < 89:
		return fmt.Errorf("fp8 needs sm_89 or newer (compute capability 8.9), this GPU has %d.%d", gpu.CapabilityMajor, gpu.CapabilityMinor)
	}
	return nil
}

// code is a precision in the shim's numbering.
func code(p models.Precision) (number int, known bool) {
	switch p {
	case models.FP32:
		return C.gb_trt_fp32, true
	case models.TF32:
		return C.gb_trt_tf32, true
	case models.FP16:
		return C.gb_trt_fp16, true
	case models.BF16:
		return C.gb_trt_bf16, true
	case models.INT8:
		return C.gb_trt_int8, true
	case models.FP8:
		return C.gb_trt_fp8, true
	}
	return 0, false
}

// Build takes the plan of an earlier build of the same model, options, library and
// GPU from the cache, or builds and keeps one. TensorRT times candidates while it
// builds, so two builds of one model may differ; a cached plan pins the choice,
// and its digest is in Execution. A build cannot be ended from outside, so ctx is
// checked before and after it.
func (e *engine) Build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	s, err := e.build(ctx, n, stream, o)
	if err != nil {
		return nil, fmt.Errorf("build %s on tensorrt: %w", n.Name, err)
	}
	return s, nil
}

// enter makes the GPU's context current for the shim, whose library expects it on
// the calling thread, until leave is called, which is never nil.
func (e *engine) enter() (leave func(), err error) {
	runtime.LockOSThread()
	if status := C.gb_trt_enter((*C.gb_cuda_device)(e.device.C())); status != 0 {
		err = e.device.Driver().Error(C.gb_call_cuCtxSetCurrent, int(status))
	}
	return runtime.UnlockOSThread, err
}

func (e *engine) Close() error {
	e.table = nil
	return nil
}

// takeMessage turns a message of the shim into an error and frees it.
func takeMessage(message *C.char) error {
	if message == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(message))
	return errors.New(C.GoString(message))
}
