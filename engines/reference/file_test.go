package reference_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/models"
)

// infer gives a network's output through the reference engine.
func infer(t *testing.T, n *models.Network, input models.Tensor) models.Tensor {
	t.Helper()
	host, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	stream, err := host.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	engine, err := reference.Driver().Open(context.Background(), host)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	s, err := engine.Build(context.Background(), n, stream, engines.BuildOptions{Precision: models.FP32, Batch: input.Shape[0], Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetInput(input); err != nil {
		t.Fatal(err)
	}
	if err := stream.Time(s.Call(), make([]hardware.Sample, 1)); err != nil {
		t.Fatal(err)
	}
	out, err := s.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func openFile(t *testing.T, path string) (*models.File, map[string]models.Shape, *models.Network) {
	t.Helper()
	f, err := models.OpenONNX(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	// The batch that the golden outputs of files with an open one are for.
	batch := 2
	if fixed := f.Inputs[0].Shape[0].Value; fixed > 0 {
		batch = fixed
	}
	shapes, err := f.Resolve(batch, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Network(shapes)
	if err != nil {
		t.Fatal(err)
	}
	return f, shapes, n
}

// Files as other exporters write them give what ONNX's own implementation gives:
// golden.json holds what onnx 1.23.2's ReferenceEvaluator computed for the
// synthetic input, batch 2 where it is open.
func TestForeignFiles(t *testing.T) {
	dir := filepath.Join("..", "..", "models", "testdata", "files")
	data, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var goldens map[string]struct {
		Shape  models.Shape
		Output []float64 // the first elements
	}
	if err := json.Unmarshal(data, &goldens); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(files) != len(goldens) {
		t.Fatalf("%d files and %d goldens, %v", len(files), len(goldens), err)
	}
	for name, golden := range goldens {
		t.Run(name, func(t *testing.T) {
			f, shapes, n := openFile(t, filepath.Join(dir, name+".onnx"))
			out := infer(t, n, models.SyntheticInput(shapes[f.Inputs[0].Name]))
			if !out.Shape.Equal(golden.Shape) || len(golden.Output) == 0 {
				t.Fatalf("output has shape %v, want %v", out.Shape, golden.Shape)
			}
			for i, want := range golden.Output {
				if got := float64(out.Data[i]); math.Abs(got-want) > 1e-5*max(1, math.Abs(want)) {
					t.Errorf("output %d is %g, want %g", i, got, want)
				}
			}
		})
	}
}

// A network written as ONNX and read back computes the same, to the bit.
func TestReadBack(t *testing.T) {
	for _, c := range slices.Concat(enginetest.Operators(), enginetest.Blocks(), enginetest.Miniatures()) {
		t.Run(c.Name, func(t *testing.T) {
			const batch = 2
			data, err := models.ONNX(c.Network, models.ExportOptions{Batch: batch, Precision: models.FP32})
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "network.onnx")
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, _, back := openFile(t, path)
			want, got := infer(t, c.Network, c.Input(batch)), infer(t, back, c.Input(batch))
			if !got.Shape.Equal(want.Shape) || !slices.Equal(got.Data, want.Data) {
				t.Error("the outputs differ")
			}
		})
	}
}
