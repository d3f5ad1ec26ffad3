package onnxruntime

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/hardware"
	"genbench/models"
)

// opening opens a file of a test with its inputs' contents.
func opening(t *testing.T, path string, batch int) (*models.File, []models.Value) {
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
func fileOutput(t *testing.T, e *engine, stream hardware.Stream, path string, batch int) models.Tensor {
	t.Helper()
	f, values := opening(t, path, batch)
	s, err := e.BuildFile(t.Context(), f, values, stream, engines.BuildOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
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
	if err := s.SetInput(models.SyntheticInput(models.Shape{1, 3, 8, 8})); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file's input is set: %v", err)
	}
	if ran := s.Executed(); len(ran.Precisions) == 0 {
		t.Errorf("executed %+v", ran)
	}
	return out
}

// onBoth runs a test on the CPU provider and on the double of the CUDA provider.
func onBoth(t *testing.T, test func(*testing.T, *engine, hardware.Stream)) {
	t.Run("host", func(t *testing.T) {
		stream, err := host(t).NewStream()
		if err != nil {
			t.Fatal(err)
		}
		test(t, opened(t), stream)
	})
	t.Run("fake GPU", func(t *testing.T) {
		fakeGPU(t)
		e, stream := openFake(t)
		test(t, e, stream)
	})
}

// TestFileIsTheNetwork runs a network's file beside the network.
func TestFileIsTheNetwork(t *testing.T) {
	onBoth(t, func(t *testing.T, e *engine, stream hardware.Stream) {
		n := enginetest.Miniatures()[0].Network
		model, err := models.ONNX(n, models.ExportOptions{Batch: 2, Precision: models.FP32})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "model.onnx")
		if err := os.WriteFile(path, model, 0o644); err != nil {
			t.Fatal(err)
		}
		got := fileOutput(t, e, stream, path, 2)
		s, err := e.Build(t.Context(), n, stream, engines.BuildOptions{Precision: models.FP32, Batch: 2, Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.SetInput(models.SyntheticInput(n.InputShape(2))); err != nil {
			t.Fatal(err)
		}
		if err := stream.Time(s.Call(), make([]hardware.Sample, 1)); err != nil {
			t.Fatal(err)
		}
		want, err := s.Output()
		if err != nil {
			t.Fatal(err)
		}
		if !got.Shape.Equal(want.Shape) {
			t.Fatalf("shape %v, want %v", got.Shape, want.Shape)
		}
		for i := range want.Data {
			if got.Data[i] != want.Data[i] {
				t.Fatalf("value %d is %v, want %v", i, got.Data[i], want.Data[i])
			}
		}
	})
}

// TestFileOfOtherTypes has two inputs, integers and floats, and two outputs of which
// the first is none of floats and the second of half ones and of a shape that the file
// leaves open: twice = ids + ids; scaled = float16(float(twice) * x).
func TestFileOfOtherTypes(t *testing.T) {
	onBoth(t, func(t *testing.T, e *engine, stream hardware.Stream) {
		path := filepath.Join("testdata", "two-inputs.onnx")
		got := fileOutput(t, e, stream, path, 3)
		if !got.Shape.Equal(models.Shape{3, 4}) {
			t.Fatalf("the output has shape %v", got.Shape)
		}
		_, values := opening(t, path, 3)
		for i, v := range got.Data {
			id := float32(binary.LittleEndian.Uint64(values[0].Data[8*i:]))
			x := math.Float32frombits(binary.LittleEndian.Uint32(values[1].Data[4*i:]))
			if want := 2 * id * x; math.Abs(float64(v-want)) > math.Abs(float64(want))/1024 {
				t.Errorf("element %d is %v, want %v", i, v, want)
			}
		}
	})
}

func TestFileThatCannotBeBuilt(t *testing.T) {
	e := opened(t)
	f, values := opening(t, filepath.Join("testdata", "two-inputs.onnx"), 1)
	for word, change := range map[string]func(*[]models.Value, *engines.BuildOptions){
		"0 threads":         func(_ *[]models.Value, o *engines.BuildOptions) { o.Threads = 0 },
		"1 inputs":          func(v *[]models.Value, _ *engines.BuildOptions) { *v = (*v)[:1] },
		"input x: 12 bytes": func(v *[]models.Value, _ *engines.BuildOptions) { (*v)[1].Data = (*v)[1].Data[:12] },
		"Invalid": func(v *[]models.Value, _ *engines.BuildOptions) {
			(*v)[1].Shape, (*v)[1].Data = models.Shape{3}, make([]byte, 12)
		},
	} {
		given := append([]models.Value(nil), values...)
		o := engines.BuildOptions{Threads: 1}
		change(&given, &o)
		s, err := e.BuildFile(t.Context(), f, given, nil, o)
		if err == nil {
			t.Error(errors.Join(errors.New(word+": it builds"), s.Close()))
		} else if !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), f.Path) {
			t.Errorf("%q and the path are not in %v", word, err)
		}
	}
}
