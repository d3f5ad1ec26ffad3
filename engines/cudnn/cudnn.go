// Package cudnn runs networks directly on NVIDIA's cuDNN, without a framework in
// between: one library call for a convolution with its bias, residual and activation,
// and a few kernels of our own for what cuDNN has no call for. The call is one of the
// legacy API or a plan of the graph API, whichever was measured to be faster for a
// layer. cuDNN is found and opened at run time.
package cudnn

// #cgo CFLAGS: -O2 -Wall -Wextra -Werror -I${SRCDIR}/../../hardware/native
// #include <stdlib.h>
// #include "program.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"genbench/engines"
	"genbench/engines/cudnn/kernels"
	"genbench/engines/library"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// Env names the environment variable that holds the path of libcudnn.so.
const Env = library.CUDNNEnv

// minVersion is the oldest release that genbench is checked against, in
// cudnnGetVersion's numbering up to 8; from 9 on, a major version counts 10000.
const minVersion = 8900

// Driver is the entry for engines/all.
func Driver() engines.Driver {
	return engines.Driver{
		Name:    "cudnn",
		Doc:     "NVIDIA cuDNN 8.9 and 9, called directly; fp32, tf32, fp16, bf16, int8, fp8",
		Device:  hardware.CUDA,
		Library: engines.Library{Env: Env, Folder: "cudnn", Files: "libcudnn.so*"},
		Open:    open,
	}
}

type engine struct {
	info    engines.Info
	device  *hardware.CUDADevice
	library *library.Library
	api     *C.gb_cudnn // nil once closed
	module  *native.CUDAModule
	kernels map[string]unsafe.Pointer // CUfunction
	absent  []library.Absent          // of what cuDNN may ask for
	// layouts are tried in turn, and the faster one is kept.
	layouts []layout
}

func open(ctx context.Context, device hardware.Device) (engines.Engine, error) {
	gpu, ok := device.(*hardware.CUDADevice)
	if !ok {
		return nil, fmt.Errorf("open cudnn: it runs on NVIDIA GPUs, not on a %s device", device.Info().Kind)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e := &engine{device: gpu, layouts: []layout{nhwc, nchw}}
	finder := library.NewFinder(library.Spec{
		Engine:  "cudnn",
		Env:     Env,
		Files:   "libcudnn.so*",
		Sonames: []string{"libcudnn.so.9", "libcudnn.so.8"},
		Python:  "nvidia/cudnn/lib/libcudnn.so.*",
		Hint:    hint(gpu.Details()),
		Accept:  func(lib *native.Library) error { return accept(lib, gpu.Details()) },
	})
	// The library stays open: its threads' code must not go away under them.
	lib, err := finder.Open()
	if err != nil {
		return nil, err
	}
	e.library = lib
	if e.api, err = load(lib.Library); err != nil {
		return nil, fmt.Errorf("open cudnn: %w", err)
	}
	e.absent = library.PreloadNamed(lib.Path, library.CUDNNCompanions(int(C.gb_cudnn_cudart(e.api))/1000))
	// libcudnn.so.9 only finds the libraries that compute: it is the same file in the
	// packages for several CUDAs, so its digest does not tell them apart.
	e.info = engines.Info{
		Name: "cudnn", Version: fmt.Sprintf("%s+cuda%d", versionString(int(C.gb_cudnn_version(e.api))), int(C.gb_cudnn_cudart(e.api))/1000),
		Library: lib.Path, SHA256: lib.SHA256,
	}
	if err := e.loadKernels(); err != nil {
		return nil, errors.Join(fmt.Errorf("open cudnn: %w", err), e.Close())
	}
	return e, nil
}

// functionNames lists the functions of cuDNN that genbench calls, in the order of the
// table.
func functionNames() []string {
	names := make([]string, C.gb_cudnn_functions)
	for i := range names {
		names[i] = C.GoString(C.gb_cudnn_name(C.int(i)))
	}
	return names
}

// load fills the table of functions.
func load(lib *native.Library) (*C.gb_cudnn, error) {
	api := (*C.gb_cudnn)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_cudnn{}))))
	var missing error
	for i, name := range functionNames() {
		symbol, err := lib.Symbol(name)
		if i < C.gb_cudnn_required {
			missing = errors.Join(missing, err)
		}
		C.gb_cudnn_set(api, C.int(i), symbol)
	}
	if missing != nil {
		C.free(unsafe.Pointer(api))
		return nil, missing
	}
	return api, nil
}

// accept refuses a library that is not cuDNN, too old, or made for a newer CUDA than
// the driver's. It runs before the library has started anything.
func accept(lib *native.Library, gpu native.CUDADeviceInfo) error {
	if _, err := lib.Symbol("cudnnGetVersion"); err != nil {
		return err
	}
	api, err := load(lib)
	if err != nil {
		return err
	}
	defer C.free(unsafe.Pointer(api))
	version, cudart := int(C.gb_cudnn_version(api)), int(C.gb_cudnn_cudart(api))
	switch {
	case version < minVersion:
		return fmt.Errorf("it is cuDNN %s, want %s or newer", versionString(version), versionString(minVersion))
	case cudart/1000 > gpu.DriverVersionNumber/1000:
		return fmt.Errorf("it is made for CUDA %d, the driver supports CUDA %s; take the package for CUDA %d",
			cudart/1000, gpu.DriverVersion, gpu.DriverVersionNumber/1000)
	case (version >= firstWithoutVolta || cudart/1000 >= 13) && gpu.Capability() < 75:
		return fmt.Errorf("it is cuDNN %s for CUDA %d, which has no code for compute capability %d.%d (%s)",
			versionString(version), cudart/1000, gpu.CapabilityMajor, gpu.CapabilityMinor, gpu.Name)
	}
	return nil
}

func versionString(v int) string {
	major := 1000
	if v >= 90000 {
		major = 10000
	}
	return fmt.Sprintf("%d.%d.%d", v/major, v%major/100, v%100)
}

// lacks names the libraries that cuDNN may ask for in vain.
func (e *engine) lacks() string {
	if len(e.absent) == 0 {
		return ""
	}
	names := make([]string, len(e.absent))
	for i, a := range e.absent {
		names[i] = a.Soname
	}
	return ", without " + strings.Join(names, ", ")
}

func (e *engine) loadKernels() (err error) {
	if e.module, err = e.device.LoadModule(kernels.PTX); err != nil {
		return fmt.Errorf("compile kernels: %w", err)
	}
	e.kernels = map[string]unsafe.Pointer{}
	for _, name := range []string{pointwiseKernel, multiplyKernel, channelsKernel, planesKernel, poolKernel} {
		if e.kernels[name], err = e.module.Function(name); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) Info() engines.Info { return e.info }

func (e *engine) Supports(o engines.BuildOptions) error {
	gpu := e.device.Details()
	ampere := gpu.CapabilityMajor >= 8
	switch o.Precision {
	case models.FP32, models.FP16, models.INT8:
	case models.TF32, models.BF16:
		if !ampere {
			return fmt.Errorf("%s needs a GPU of compute capability 8.0 or newer (Ampere); %s has %d.%d", o.Precision, gpu.Name, gpu.CapabilityMajor, gpu.CapabilityMinor)
		}
	case models.FP8:
		if err := e.refusesFP8(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("cudnn has no precision %q", o.Precision)
	}
	if o.Batch < 1 {
		return fmt.Errorf("batch %d, want at least 1", o.Batch)
	}
	return nil
}

// Build lays the network out in memory, has cuDNN measure the algorithms of every
// convolution, in NHWC and in NCHW, and keeps the layout whose inference is shorter.
// int8 and fp8 have NHWC only.
func (e *engine) Build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	s, err := e.build(ctx, n, stream, o)
	if err != nil {
		return nil, fmt.Errorf("build %s on cudnn: %w", n.Name, err)
	}
	return s, nil
}

func (e *engine) build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (*session, error) {
	if e.api == nil {
		return nil, errors.New("the engine is closed")
	}
	if err := e.Supports(o); err != nil {
		return nil, err
	}
	s, ok := stream.(*hardware.CUDAStream)
	if !ok || s.Device() != e.device {
		return nil, errors.New("the stream is not the engine's device's")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(n.Nodes) == 0 || n.Weights == nil {
		return nil, fmt.Errorf("the network has %d nodes and weights %v", len(n.Nodes), n.Weights)
	}
	folded, err := models.Fold(n)
	if err != nil {
		return nil, err
	}
	if o.Precision.Calibrated() {
		return e.compileRounded(ctx, folded, s, o)
	}
	var best *session
	var failed []error
	for _, l := range e.layouts {
		candidate, err := e.compile(ctx, folded, s, o, l, nil)
		if err != nil {
			// Weights and shapes are the same in every layout, a lost device is lost. But
			// one layout may be all that there is room for.
			var refused *refusal
			if !errors.As(err, &refused) && (best == nil || !outOfMemory(err)) {
				return nil, errors.Join(err, best.discard())
			}
			failed = append(failed, fmt.Errorf("in %s: %w", l, err))
			continue
		}
		if best == nil {
			best = candidate
			continue
		}
		slower := candidate
		if candidate.latency < best.latency {
			best, slower = candidate, best
		}
		best.note("%s: %v for an inference, %s: %v", best.layout, best.latency, slower.layout, slower.latency)
		if err := slower.Close(); err != nil {
			return nil, errors.Join(err, best.Close())
		}
	}
	if best == nil {
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		best.note("not %v", err)
	}
	return best, nil
}

func outOfMemory(err error) bool {
	var failed *native.CUDAError
	return errors.As(err, &failed) && failed.Name == "CUDA_ERROR_OUT_OF_MEMORY"
}

// Close unloads the kernels; cuDNN itself stays.
func (e *engine) Close() error {
	if e.api == nil {
		return nil
	}
	var err error
	if e.module != nil {
		err = e.module.Unload()
	}
	C.free(unsafe.Pointer(e.api))
	e.api = nil
	return err
}

// A refusal is cuDNN's: another layout or algorithm may do.
type refusal struct {
	node, call string
	status     int
	text       string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("node %s: %s: %s (%d)", r.node, r.call, r.text, r.status)
}
