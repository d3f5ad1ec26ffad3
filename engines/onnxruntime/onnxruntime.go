// Package onnxruntime runs networks on ONNX Runtime's CPU provider. The library is
// found and opened at run time and called through its C function table.
package onnxruntime

// #cgo CFLAGS: -O2 -Wall -Wextra -Werror
// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
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
// a release is only tested with genbench from 1.17 on.
const apiVersion = 17

// Driver is the entry for engines/all.
func Driver() engines.Driver {
	finder := library.NewFinder(library.Spec{
		Engine:  "onnxruntime",
		Env:     library.ONNXRuntimeEnv,
		Files:   "libonnxruntime.so*",
		Sonames: []string{"libonnxruntime.so.1", "libonnxruntime.so"},
		Python:  "onnxruntime/capi/libonnxruntime.so.*",
		Hint:    "run `genbench setup onnxruntime`",
		Accept:  accept,
	})
	return engines.Driver{
		Name:   "onnxruntime",
		Doc:    "ONNX Runtime, CPU provider",
		Device: hardware.Host,
		Open: func(ctx context.Context, device hardware.Device) (engines.Engine, error) {
			return open(ctx, finder, device)
		},
	}
}

// accept refuses a library that is not ONNX Runtime or too old.
func accept(lib *native.Library) error {
	base, err := lib.Symbol("OrtGetApiBase")
	if err != nil {
		return err
	}
	return checkVersion(C.GoString(C.gb_ort_version(base)))
}

// checkVersion is asked before the table: a library answers a request for a table
// it does not have with a line on stderr.
func checkVersion(version string) error {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	if major != "1" || err != nil || n < apiVersion {
		return fmt.Errorf("it is ONNX Runtime %q, want 1.%d or a later 1.x", version, apiVersion)
	}
	return nil
}

type engine struct {
	info engines.Info
	api  *C.gb_ort_api
	env  *C.OrtEnv // nil once closed
}

func open(ctx context.Context, finder *library.Finder, device hardware.Device) (engines.Engine, error) {
	if kind := device.Info().Kind; kind != hardware.Host {
		return nil, fmt.Errorf("open onnxruntime: its CPU provider runs on the host, not on a %s device", kind)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The library stays open: its threads' code must not go away under them.
	lib, err := finder.Open()
	if err != nil {
		return nil, err
	}
	base, err := lib.Symbol("OrtGetApiBase")
	if err != nil {
		return nil, fmt.Errorf("open onnxruntime: %w", err)
	}
	e := &engine{
		info: engines.Info{
			Name: "onnxruntime", Version: C.GoString(C.gb_ort_version(base)),
			Library: lib.Path, SHA256: lib.SHA256,
		},
		api: C.gb_ort_table(base, apiVersion),
	}
	if e.api == nil {
		return nil, fmt.Errorf("open onnxruntime: %s, version %s, does not give API version %d", lib.Path, e.info.Version, apiVersion)
	}
	if err := takeMessage(C.gb_ort_open(e.api, &e.env)); err != nil {
		return nil, fmt.Errorf("open onnxruntime: create environment: %w", err)
	}
	return e, nil
}

func (e *engine) Info() engines.Info { return e.info }

func (e *engine) Supports(o engines.BuildOptions) error {
	switch {
	case o.Precision == models.TF32:
		return errors.New("tf32 is a format of NVIDIA's matrix units; onnxruntime runs here on the CPU")
	case o.Precision != models.FP32:
		return fmt.Errorf("onnxruntime's CPU provider runs fp32 models here; no %s model can be exported", o.Precision)
	case o.Batch < 1:
		return fmt.Errorf("batch %d, want at least 1", o.Batch)
	case o.Threads < 1:
		return fmt.Errorf("%d threads, want at least 1", o.Threads)
	}
	return nil
}

// Build exports the network and has the library compile it. A compilation cannot
// be ended from outside before release 1.22, so ctx counts before and after it.
func (e *engine) Build(ctx context.Context, n *models.Network, _ hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	s, err := e.build(ctx, n, o)
	if err != nil {
		return nil, fmt.Errorf("build %s on onnxruntime: %w", n.Name, err)
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
