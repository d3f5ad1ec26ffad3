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
}

// read gives the nodes of a profile that was ended. Its lines are objects in an
// array; those of category "Node" named "NODE_kernel_time" are executed nodes
// (onnxruntime/core/common/profiler.cc, core/framework/sequential_executor.cc).
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
		Args      struct {
			Op       string           `json:"op_name"`
			Provider string           `json:"provider"`
			Inputs   []map[string]any `json:"input_type_shape"` // each one type and its shape
		}
	}
	if err := json.NewDecoder(bufio.NewReader(from)).Decode(&events); err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	var nodes []ranNode
	for _, e := range events {
		name, isNode := strings.CutSuffix(e.Name, "_kernel_time")
		if e.Cat != "Node" || !isNode {
			continue
		}
		n := ranNode{Name: name, Op: e.Args.Op, Provider: e.Args.Provider}
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
	return []string{"Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul", "NhwcConv"}
}

// execution counts compute nodes by the type of what they read, and names those
// that another provider had to run.
func (p *provider) execution(nodes []ranNode, built models.Precision) engines.Execution {
	precisions := map[string]models.Precision{
		"float": models.FP32, "float16": models.FP16, "bfloat16": models.BF16, "int8": models.INT8, "uint8": models.INT8,
	}
	moving, multiplying := carriers(), multipliers()
	ran := engines.Execution{Precisions: map[string]int{}}
	for _, n := range nodes {
		if !slices.Contains(p.ours, n.Provider) {
			ran.Fallback = append(ran.Fallback, n.Name)
		}
		if slices.Contains(moving, n.Op) || slices.Contains(p.opaque, n.Provider) {
			continue
		}
		name := n.Input // a type without a precision of ours stands for itself
		if is, ok := precisions[n.Input]; ok {
			name = string(is)
		}
		if built == models.TF32 && name == string(models.FP32) && slices.Contains(multiplying, n.Op) {
			name = string(models.TF32)
		}
		ran.Precisions[name]++
	}
	if len(ran.Precisions) == 0 {
		ran.Precisions = nil // nothing was told
	}
	return ran
}
