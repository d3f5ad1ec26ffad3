package onnxruntime

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"genbench/engines"
	"genbench/models"
)

// A profile is the file into which the library writes what ran. It names the file
// itself and opens it while the session is built; the file is then opened here too
// and loses its name, so that nothing is left behind, however the process ends.
type profile struct {
	dir  string   // until take
	file *os.File // from take on
}

func newProfile() (*profile, error) {
	dir, err := os.MkdirTemp("", "genbench-profile-")
	if err != nil {
		return nil, fmt.Errorf("make a place for the profile: %w", err)
	}
	return &profile{dir: dir}, nil
}

// prefix is what the library begins the file's name with.
func (p *profile) prefix() string { return filepath.Join(p.dir, "first") }

func (p *profile) take() error {
	names, err := filepath.Glob(p.prefix() + "*")
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return fmt.Errorf("the library made %d profiles in %s, want 1; is the disk full?", len(names), p.dir)
	}
	if p.file, err = os.Open(names[0]); err != nil {
		return err
	}
	err = os.RemoveAll(p.dir)
	p.dir = ""
	return err
}

// close gives up what is held; there is nothing in it to lose.
func (p *profile) close() {
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
	if p.file != nil {
		_ = p.file.Close()
	}
	*p = profile{}
}

// A ranNode is a node as the library executed it.
type ranNode struct {
	Name     string
	Op       string
	Provider string
	Input    string // element type of the first input, such as "float16"
	index    string // in its graph
	run      int    // the inference, counted on
	micros   int64  // of the host: for a node on a GPU, what submitting it took
	// kernels and copies that the node gave the GPU, and what they took there together;
	// 0 where the library was not built to watch them.
	kernels      int
	kernelMicros int64
}

// read gives the nodes of a profile that was ended. Its lines are objects in an
// array; those of category "Node" named "NODE_kernel_time" are executed nodes, in
// whole microseconds, and "model_run" comes before the nodes of an inference or, in
// older releases, after them (onnxruntime/core/common/profiler.cc,
// core/framework/sequential_executor.cc, core/session/inference_session.cc). After a
// node of the CUDA provider come the GPU's own times of what it launched, of category
// "Kernel" with the node's name as "parent_name", where the library was built with
// CUPTI (core/common/gpu_profiler_common.h, MergeEvents;
// core/providers/cuda/cupti_manager.cc).
func (p *profile) read() ([]ranNode, error) {
	if p.file == nil {
		return nil, errors.New("there is no profile")
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return readProfile(p.file)
}

func readProfile(from io.Reader) ([]ranNode, error) {
	var events []struct {
		Cat, Name string
		Dur       int64
		Args      struct {
			Op       string           `json:"op_name"`
			Index    string           `json:"node_index"`
			Provider string           `json:"provider"`
			Parent   string           `json:"parent_name"`
			Inputs   []map[string]any `json:"input_type_shape"` // each one type and its shape
		}
	}
	if err := json.NewDecoder(bufio.NewReader(from)).Decode(&events); err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	var nodes []ranNode
	run := 0
	for _, e := range events {
		if e.Cat == "Session" && e.Name == "model_run" {
			run++
		}
		// What was launched outside of nodes, such as copies of weights, belongs to no
		// node.
		if last := len(nodes) - 1; e.Cat == "Kernel" && last >= 0 && e.Args.Parent == nodes[last].Name+"_kernel_time" {
			nodes[last].kernels++
			nodes[last].kernelMicros += e.Dur
		}
		name, isNode := strings.CutSuffix(e.Name, "_kernel_time")
		if e.Cat != "Node" || !isNode {
			continue
		}
		n := ranNode{Name: name, Op: e.Args.Op, Provider: e.Args.Provider, index: e.Args.Index, run: run, micros: e.Dur}
		if len(e.Args.Inputs) > 0 {
			for element := range e.Args.Inputs[0] {
				n.Input = element
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// carriers are operators that move or convert values and compute nothing: their
// precision says nothing about a model's.
func carriers() []string {
	return []string{
		"Cast", "Concat", "Constant", "DequantizeLinear", "Expand", "Flatten", "Gather", "Identity", "MemcpyFromHost", "MemcpyToHost",
		"Pad", "QuantizeLinear", "ReorderInput", "ReorderOutput", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
	}
}

// multipliers are operators that a GPU's tf32 units compute.
func multipliers() []string {
	return append(convolvers(), "FusedGemm", "FusedMatMul", "Gemm", "MatMul")
}

// convolvers are those of them that cuDNN computes.
func convolvers() []string { return []string{"Conv", "ConvTranspose", "FusedConv", "NhwcConv"} }

// fp32OrTF32 is what float products may have been computed in, without the library
// saying so: whyUnproven.
const (
	fp32OrTF32  = string(models.FP32) + " or " + string(models.TF32)
	whyUnproven = "ONNX Runtime may have computed float products in tf32: where cuDNN has no plan for a convolution without tensor cores it takes one with them and does not say so; " +
		tf32Env + "=0 in the environment forbids that, for the whole process"
)

// precisionOf is what a node computed in, by the type of what it read: empty for one
// that computes nothing, or of which nothing is known. A type without a precision of
// ours stands for itself. tf32 says that the GPU can round float products to it.
func (p *provider) precisionOf(n ranNode, built models.Precision, tf32 bool) string {
	if slices.Contains(carriers(), n.Op) || slices.Contains(p.opaque, n.Provider) {
		return ""
	}
	switch n.Input {
	case "float":
		switch {
		case !slices.Contains(multipliers(), n.Op):
			return string(models.FP32)
		case built == models.TF32:
			return string(models.TF32)
		case tf32 && n.Provider == cudaProvider && (usesTF32(built) || slices.Contains(convolvers(), n.Op)):
			return fp32OrTF32
		}
		return string(models.FP32)
	case "float16":
		return string(models.FP16)
	case "bfloat16":
		return string(models.BF16)
	case "int8", "uint8":
		return string(models.INT8)
	}
	return n.Input
}

// execution counts compute nodes by their precision, and names those that another
// provider had to run.
func (p *provider) execution(nodes []ranNode, built models.Precision, tf32 bool) engines.Execution {
	ran := engines.Execution{Precisions: map[string]int{}}
	for _, n := range nodes {
		if !slices.Contains(p.ours, n.Provider) {
			ran.Fallback = append(ran.Fallback, n.Name)
		}
		if slices.Contains(carriers(), n.Op) || slices.Contains(p.opaque, n.Provider) {
			continue
		}
		ran.Precisions[p.precisionOf(n, built, tf32)]++
	}
	if ran.Precisions[fp32OrTF32] > 0 {
		ran.Choices = []string{whyUnproven}
	}
	if len(ran.Precisions) == 0 {
		ran.Precisions = nil // nothing is known
	}
	return ran
}
