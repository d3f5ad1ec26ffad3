// Package onnxruntime runs networks on ONNX Runtime: one engine for each of its
// providers for the CPU, CUDA and TensorRT. The library is found and opened at run
// time and called through its C function table.
package onnxruntime

// #cgo CFLAGS: -O2 -Wall -Wextra -Werror
// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// apiVersion is the table that is asked for. All that is called here is older, but
// genbench is tested only with releases from 1.17 on.
const apiVersion = 17

// accept refuses a library that is not ONNX Runtime or too old.
func accept(lib *native.Library) error {
	base, err := lib.Symbol("OrtGetApiBase")
	if err != nil {
		return err
	}
	return checkVersion(C.GoString(C.gb_ort_version(base)))
}

// checkVersion comes before asking for the table: a library answers a request for one
// it does not have with a line on stderr.
func checkVersion(version string) error {
	if minorVersion(version) < apiVersion {
		return fmt.Errorf("it is ONNX Runtime %q, want 1.%d or a later 1.x", version, apiVersion)
	}
	return nil
}

// minorVersion is the N of "1.N.x", which is the newest table such a library has;
// -1 of anything else.
func minorVersion(version string) int {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	if major != "1" || err != nil {
		return -1
	}
	return n
}

type engine struct {
	info        engines.Info
	provider    *provider
	gpu         *gpu // nil on the host
	api         *C.gb_ort_api
	env         *C.OrtEnv // nil once closed
	cancellable bool      // the library can end a build
	abilities   map[models.Precision]ability
}

func open(ctx context.Context, p *provider, finder *library.Finder, device hardware.Device) (engines.Engine, error) {
	if kind := device.Info().Kind; kind != p.device {
		return nil, fmt.Errorf("open %s: it runs on a %s device, not on a %s device", p.engine, p.device, kind)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fail := func(err error) (engines.Engine, error) { return nil, fmt.Errorf("open %s: %w", p.engine, err) }
	// The library stays open: its threads' code must not go away under them.
	lib, err := finder.Open()
	if err != nil {
		return nil, p.rename(err)
	}
	e := &engine{
		info:      engines.Info{Name: p.engine, Library: lib.Path, SHA256: lib.SHA256},
		provider:  p,
		abilities: map[models.Precision]ability{},
	}
	if p.device == hardware.CUDA {
		if e.gpu, err = newGPU(device); err != nil {
			return fail(err)
		}
		if err := p.preload(lib.Path); err != nil {
			return nil, err
		}
	}
	base, err := lib.Symbol("OrtGetApiBase")
	if err != nil {
		return fail(err)
	}
	e.info.Version = C.GoString(C.gb_ort_version(base))
	table := apiVersion
	if e.cancellable = minorVersion(e.info.Version) >= C.gb_ort_cancellable; e.cancellable {
		table = C.gb_ort_cancellable
	}
	if e.api = C.gb_ort_table(base, C.uint32_t(table)); e.api == nil {
		return fail(fmt.Errorf("%s, version %s, does not give API version %d", lib.Path, e.info.Version, table))
	}
	if err := takeMessage(C.gb_ort_open(e.api, &e.env)); err != nil {
		return fail(fmt.Errorf("create environment: %w", err))
	}
	return e, nil
}

func (e *engine) Info() engines.Info { return e.info }

// Supports asks the library itself what it does with a precision, by running a
// small network in it once. Ranges matter only to Build: a plan is made before a
// calibration.
func (e *engine) Supports(o engines.BuildOptions) error {
	switch {
	case !slices.ContainsFunc(models.Precisions(), func(p models.PrecisionInfo) bool { return p.Name == o.Precision }):
		return fmt.Errorf("precision %q is not one of genbench's", o.Precision)
	case o.Batch < 1:
		return fmt.Errorf("batch %d, want at least 1", o.Batch)
	case o.Threads < 1:
		return fmt.Errorf("%d threads, want at least 1", o.Threads)
	}
	can, ok := e.abilities[o.Precision]
	if !ok {
		can = e.provider.judge(e, o.Precision)
		e.abilities[o.Precision] = can
	}
	if can.refused == nil || can.emulated && o.AllowEmulated {
		return nil
	}
	return can.refused
}

// An ability is what the library does with a precision here.
type ability struct {
	refused  error // nil where it is native
	emulated bool  // it runs, but not in that precision
}

// try runs a convolution, an activation, a pool and a classifier in a precision and
// looks at what the library made of them.
//
// On x86, as of release 1.32, a float16 convolution has no kernel: the library puts
// Casts at both ends and runs all in between in float32 (core/optimizer/
// insert_cast_transformer.cc). ARM64 has kernels where the processor adds and
// multiplies halves (core/providers/cpu/cpu_execution_provider.cc,
// RegisterFp16Kernels). bfloat16 has neither kernels nor such Casts: the library finds
// no implementation. All of this changes with releases, hence the question.
func (e *engine) try(p models.Precision) ability {
	n := &models.Network{Name: "probe", Channels: 8, Resolution: 8, Weights: models.Synthetic(), Nodes: []models.Node{
		{Name: "conv", Weights: "conv", Inputs: []int{models.Image}, Op: models.Conv{
			In: 8, Out: 16, KernelH: 3, KernelW: 3, PadH: 1, PadW: 1, Stride: 1, Dilation: 1, Groups: 1, Bias: true,
		}},
		{Name: "relu", Inputs: []int{0}, Op: models.Activation{Func: models.ReLU}},
		{Name: "pool", Inputs: []int{1}, Op: models.GlobalAvgPool{}},
		{Name: "flatten", Inputs: []int{2}, Op: models.Flatten{}},
		{Name: "fc", Weights: "fc", Inputs: []int{3}, Op: models.Linear{In: 16, Out: 10, Bias: true}},
	}}
	o := engines.BuildOptions{Precision: p, Batch: 1, Threads: 1}
	if p.Calibrated() {
		o.Ranges = &models.Ranges{Limit: map[string]float32{models.InputName: 1}}
		for _, node := range n.Nodes {
			o.Ranges.Limit[node.Name] = 4
		}
	}
	ran, err := e.runOnce(n, o)
	if err != nil {
		return ability{refused: fmt.Errorf("%s %s cannot run %s here: %w", e.info.Name, e.info.Version, p, err)}
	}
	if ran[string(p)] > 0 {
		return ability{}
	}
	return ability{emulated: true, refused: fmt.Errorf("%s %s only emulates %s here: it converts and computes in %s", e.info.Name, e.info.Version, p,
		strings.Join(slices.Sorted(maps.Keys(ran)), ", "))}
}

// runOnce runs one inference and says what ran.
func (e *engine) runOnce(n *models.Network, o engines.BuildOptions) (map[string]int, error) {
	stream, err := e.newStream()
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	s, err := e.export(context.Background(), n, stream, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := stream.Time(s.Call(), make([]hardware.Sample, 1)); err != nil {
		var failed *native.CallError
		if errors.As(err, &failed) {
			err = s.Explain(failed)
		}
		return nil, err
	}
	return s.Executed().Precisions, nil
}

// newStream makes a stream on the engine's device.
func (e *engine) newStream() (hardware.Stream, error) {
	if e.gpu != nil {
		return e.gpu.NewStream()
	}
	host, err := hardware.NewHost()
	if err != nil {
		return nil, err
	}
	return host.NewStream()
}

// Build exports the network and has the library compile it, which a context can end
// from release 1.22 on.
func (e *engine) Build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	s, err := e.build(ctx, n, stream, o)
	if err != nil {
		return nil, fmt.Errorf("build %s on %s: %w", n.Name, e.info.Name, err)
	}
	return s, nil
}

func (e *engine) Close() error {
	if e.env != nil {
		C.gb_ort_shut(e.api, e.env)
		e.env = nil
	}
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
