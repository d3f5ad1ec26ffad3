package onnxruntime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/hardware/native"
	"genbench/models"
)

// TestSupports pins what release 1.32 does on x86; a change of it must be noticed.
func TestSupports(t *testing.T) {
	e := opened(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("the table is that of amd64")
	}
	for precision, want := range map[models.Precision]struct {
		native, emulated bool
		reason           string
	}{
		models.FP32: {native: true, emulated: true},
		models.INT8: {native: true, emulated: true},
		models.FP8:  {emulated: true, reason: "only emulates fp8 here: it converts and computes in fp32"},
		models.FP16: {emulated: true, reason: "only emulates fp16 here: it converts and computes in fp32"},
		models.BF16: {reason: "cannot run bf16 here: "},
		models.TF32: {reason: "matrix units"},
	} {
		o := engines.BuildOptions{Precision: precision, Batch: 1, Threads: 1}
		err := e.Supports(o)
		if (err == nil) != want.native || err != nil && !strings.Contains(err.Error(), want.reason) {
			t.Errorf("%s: %v", precision, err)
		}
		o.AllowEmulated = true
		if err := e.Supports(o); (err == nil) != want.emulated {
			t.Errorf("%s, emulated: %v", precision, err)
		}
	}
}

// TestExecuted looks at what the library's optimiser makes of a network.
func TestExecuted(t *testing.T) {
	e := opened(t)
	c := enginetest.Miniatures()[0]
	s, err := e.Build(t.Context(), c.Network, nil, engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if ran := s.Executed(); ran.Precisions != nil {
		t.Errorf("before any inference it tells %v", ran.Precisions)
	}
	if err := native.TimeHost(s.Call(), make([]native.Sample, 1)); err != nil {
		t.Fatal(err)
	}
	ran := s.Executed()
	// Activations go into convolutions and sums, what moves values does not count.
	if n := ran.Precisions["fp32"]; n == 0 || n >= len(c.Network.Nodes) || len(ran.Precisions) != 1 {
		t.Errorf("of %d nodes it executed %v", len(c.Network.Nodes), ran.Precisions)
	}
	if again := s.Executed(); !maps.Equal(again.Precisions, ran.Precisions) {
		t.Errorf("first %v, then %v", ran, again)
	}
}

// TestProfileEnds has a second inference end a profile that nobody asked for.
func TestProfileEnds(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	e := opened(t)
	c := enginetest.Miniatures()[0]
	s, err := e.Build(t.Context(), c.Network, nil, engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("a build leaves %q behind, %v", left, err)
	}
	if err := native.TimeHost(s.Call(), make([]native.Sample, 3)); err != nil {
		t.Fatal(err)
	}
	own := s.(*session)
	if own.c.profile != 0 {
		t.Errorf("after three inferences the profile is at stage %d", own.c.profile)
	}
	nodes, err := own.profile.read()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	if len(names) == 0 || len(slices.Compact(names)) != len(nodes) {
		t.Errorf("the profile holds more than one inference: %q", names)
	}
	if ran := s.Executed(); ran.Precisions["fp32"] == 0 {
		t.Errorf("executed %v", ran.Precisions)
	}
}

func TestNoPlaceForTheProfile(t *testing.T) {
	e := opened(t)
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "nowhere"))
	_, err := e.Build(t.Context(), enginetest.Miniatures()[0].Network, nil, engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "profile") {
		t.Errorf("got %v", err)
	}
}

func TestExecutionCounts(t *testing.T) {
	nodes, err := readProfile(strings.NewReader(`[
{"cat" : "Session","name" :"model_run","args" : {}},
{"cat" : "Node","name" :"a_fence_before","args" : {"op_name" : "Conv"}},
{"cat" : "Node","name" :"a_kernel_time","args" : {"op_name" : "QLinearConv","provider" : "CPUExecutionProvider","input_type_shape" : [{"uint8":[1,3,8,8]},{"float":[]}]}},
{"cat" : "Node","name" :"q_kernel_time","args" : {"op_name" : "QuantizeLinear","provider" : "CPUExecutionProvider","input_type_shape" : [{"float":[1,3,8,8]}]}},
{"cat" : "Node","name" :"b_kernel_time","args" : {"op_name" : "Mul","provider" : "CPUExecutionProvider","input_type_shape" : [{"float16":[1,3,8,8]}]}},
{"cat" : "Node","name" :"c_kernel_time","args" : {"op_name" : "Add","provider" : "CPUExecutionProvider","input_type_shape" : [{"int64":[]}]}}
]`))
	if err != nil {
		t.Fatal(err)
	}
	cpu := &provider{ours: []string{cpuProvider}}
	ran := cpu.execution(nodes, models.INT8, false)
	if want := map[string]int{"int8": 1, "fp16": 1, "int64": 1}; !maps.Equal(ran.Precisions, want) || ran.Fallback != nil {
		t.Errorf("got %+v, want %v", ran, want)
	}
	if _, err := readProfile(strings.NewReader("[\n{\"cat\" : ")); err == nil {
		t.Error("half a profile is read")
	}
}

// TestBuildIsCancelled ends a build that takes a while. That it was ended, and did not
// go on to its end, is known from the library's words: how long either takes is the
// machine's affair.
func TestBuildIsCancelled(t *testing.T) {
	e := opened(t)
	if !e.cancellable {
		t.Skipf("release %s cannot end a build", e.info.Version)
	}
	n, err := models.New("efficientnet-b3", 0)
	if err != nil {
		t.Fatal(err)
	}
	model, err := models.ONNX(n, models.ExportOptions{Batch: 1, Precision: models.FP32})
	if err != nil {
		t.Fatal(err)
	}
	compile := func(ctx context.Context) error {
		s, err := e.compile(ctx, order{
			model: model, options: engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1},
			inputs:  []port{{name: models.InputName, shape: n.InputShape(1), element: models.ElemFloat32}},
			outputs: []port{{name: models.OutputName, shape: models.Shape{1, 1000}, element: models.ElemFloat32}},
		})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	start := time.Now()
	if err := compile(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(start)
	// A busy machine may wake the cancelling thread when the build is done, and the
	// first build is long because it finds the library's pages on the disk.
	const tries = 6
	var said []string
	limit := whole / 4
	for range tries {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		err := compile(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "canceled due to user request") {
			return
		}
		said = append(said, fmt.Sprintf("told to end after %v: %v", limit, err))
		limit /= 2
	}
	t.Errorf("no build of %v was ended:\n%s", whole, strings.Join(said, "\n"))
}
