package enginetest

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// OpenFile opens an ONNX file with the contents of its inputs, until the test ends.
func OpenFile(t *testing.T, path string, batch int) (*models.File, []models.Value) {
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
	shapes, err := f.Resolve(batch, nil)
	if err != nil {
		t.Fatal(err)
	}
	values, err := f.Values(shapes, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f, values
}

// fileOutput builds a file, runs it twice and gives its output.
func fileOutput(t *testing.T, e engines.FileEngine, stream hardware.Stream, path string, batch int) models.Tensor {
	t.Helper()
	f, values := OpenFile(t, path, batch)
	s, err := e.BuildFile(t.Context(), f, values, stream, engines.BuildOptions{Precision: models.FP32, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := outputOf(t, s, stream)
	if err := s.SetInput(models.SyntheticInput(models.Shape{1, 3, 8, 8})); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file's input is set: %v", err)
	}
	if ran := s.Executed(); len(ran.Precisions) == 0 {
		t.Errorf("executed %+v", ran)
	}
	return out
}

// outputOf runs a session twice and gives its output.
func outputOf(t *testing.T, s engines.Session, stream hardware.Stream) models.Tensor {
	t.Helper()
	if err := stream.Time(s.Call(), make([]hardware.Sample, 2)); err != nil {
		t.Fatal(err)
	}
	if err := stream.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := s.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FileIsNetwork runs a network's file beside the network: the outputs are the same.
func FileIsNetwork(t *testing.T, e engines.Engine, stream hardware.Stream) {
	t.Helper()
	n := Miniatures()[0].Network
	model, err := models.ONNX(n, models.ExportOptions{Batch: 2, Precision: models.FP32})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, model, 0o644); err != nil {
		t.Fatal(err)
	}
	got := fileOutput(t, e.(engines.FileEngine), stream, path, 2)
	s, err := e.Build(t.Context(), n, stream, engines.BuildOptions{Precision: models.FP32, Batch: 2, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetInput(models.SyntheticInput(n.InputShape(2))); err != nil {
		t.Fatal(err)
	}
	if want := outputOf(t, s, stream); !got.Shape.Equal(want.Shape) || !slices.Equal(got.Data, want.Data) {
		t.Errorf("got %v %v, want %v %v", got.Shape, got.Data, want.Shape, want.Data)
	}
}

// FileOfOtherTypes runs a file with two inputs, integers and floats, whose batch is
// open, and two outputs of which the first is none of floats and the second of half
// ones and of a shape that the file leaves open: twice = ids + ids;
// scaled = float16(float(twice) * x).
func FileOfOtherTypes(t *testing.T, e engines.Engine, stream hardware.Stream, path string, batch int) {
	t.Helper()
	got := fileOutput(t, e.(engines.FileEngine), stream, path, batch)
	if !got.Shape.Equal(models.Shape{batch, 4}) {
		t.Fatalf("the output has shape %v", got.Shape)
	}
	_, values := OpenFile(t, path, batch)
	for i, v := range got.Data {
		id := float32(binary.LittleEndian.Uint64(values[0].Data[8*i:]))
		x := math.Float32frombits(binary.LittleEndian.Uint32(values[1].Data[4*i:]))
		if want := 2 * id * x; math.Abs(float64(v-want)) > math.Abs(float64(want))/1024 {
			t.Errorf("element %d is %v, want %v", i, v, want)
		}
	}
}
