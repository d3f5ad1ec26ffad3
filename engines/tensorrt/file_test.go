package tensorrt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
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

// fileOutput builds a file, runs it and gives its output.
func fileOutput(t *testing.T, e engines.Engine, stream hardware.Stream, path string, batch int) models.Tensor {
	t.Helper()
	f, values := opening(t, path, batch)
	s, err := e.(engines.FileEngine).BuildFile(t.Context(), f, values, stream, engines.BuildOptions{Precision: models.FP32, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := stream.Time(s.Call(), make([]hardware.Sample, 2)); err != nil {
		t.Fatal(err)
	}
	out, err := s.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetInput(models.SyntheticInput(models.Shape{1, 3, 8, 8})); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file's input is set: %v", err)
	}
	return out
}

// TestFileIsTheNetwork runs a network's file beside the network.
func TestFileIsTheNetwork(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	n := enginetest.Miniatures()[0].Network
	model, err := models.ONNX(n, models.ExportOptions{Batch: 2, Precision: models.FP32})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, model, 0o644); err != nil {
		t.Fatal(err)
	}
	got := fileOutput(t, engine, stream, path, 2)
	s, err := engine.Build(t.Context(), n, stream, engines.BuildOptions{Precision: models.FP32, Batch: 2, Threads: 1})
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
	if !got.Shape.Equal(want.Shape) || !slices.Equal(got.Data, want.Data) {
		t.Errorf("got %v %v, want %v %v", got.Shape, got.Data, want.Shape, want.Data)
	}
}

// foreign is a file with two inputs, integers and floats, whose batch is open, and two
// outputs of which the first is none of floats and the second of half ones and of a
// shape that the file leaves open: twice = ids + ids; scaled = float16(float(twice) * x).
var foreign = filepath.Join("..", "onnxruntime", "testdata", "two-inputs.onnx")

func TestFileOfOtherTypes(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	for _, batch := range []int{3, 1} { // a plan belongs to its shapes
		got := fileOutput(t, engine, stream, foreign, batch)
		if !got.Shape.Equal(models.Shape{batch, 4}) {
			t.Fatalf("the output has shape %v", got.Shape)
		}
		_, values := opening(t, foreign, batch)
		for i, v := range got.Data {
			id := float32(binary.LittleEndian.Uint64(values[0].Data[8*i:]))
			x := math.Float32frombits(binary.LittleEndian.Uint32(values[1].Data[4*i:]))
			if want := 2 * id * x; math.Abs(float64(v-want)) > math.Abs(float64(want))/1024 {
				t.Errorf("element %d is %v, want %v", i, v, want)
			}
		}
	}
}

func TestFileThatCannotBeBuilt(t *testing.T) {
	fake(t)
	opened, stream := openFake(t)
	engine := opened.(*engine)
	f, values := opening(t, foreign, 1)
	for word, c := range map[string]struct {
		fault  string
		change func(*[]models.Value)
	}{
		"1 inputs":          {change: func(v *[]models.Value) { *v = (*v)[:1] }},
		"input x: 12 bytes": {change: func(v *[]models.Value) { (*v)[1].Data = (*v)[1].Data[:12] }},
		"9 dimensions": {change: func(v *[]models.Value) {
			(*v)[1].Shape = models.Shape{1, 1, 1, 1, 1, 1, 1, 1, 4}
		}},
		"no implementation": {fault: "build", change: func(*[]models.Value) {}},
		"magic tag":         {fault: "plan", change: func(*[]models.Value) {}},
		"host's memory":     {fault: "host", change: func(*[]models.Value) {}},
		"depends on values": {fault: "unknown shape", change: func(*[]models.Value) {}},
		"another type":      {fault: "other types", change: func(*[]models.Value) {}},
	} {
		given := slices.Clone(values)
		c.change(&given)
		t.Setenv("FAKE_TRT_FAULT", c.fault)
		engine.cache = cache{dir: t.TempDir()} // a plan that is kept is not built
		s, err := engine.BuildFile(t.Context(), f, given, stream, engines.BuildOptions{Precision: models.FP32, Threads: 1})
		if err == nil {
			t.Error(errors.Join(errors.New(word+": it builds"), s.Close()))
		} else if !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), f.Path) {
			t.Errorf("%q and the path are not in %v", word, err)
		}
	}
}

// TensorRT 8 makes 32-bit integers of 64-bit ones.
func TestNarrowedContent(t *testing.T) {
	wide := models.Value{Elem: models.ElemInt64}
	for _, v := range []int64{7, -1, math.MaxInt32} {
		wide.Data = binary.LittleEndian.AppendUint64(wide.Data, uint64(v))
	}
	want := []byte{7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}
	if got, err := contentFor(wide, int32s); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := contentFor(wide, int64s); err != nil || !bytes.Equal(got, wide.Data) {
		t.Errorf("got %v, %v; want it as it is", got, err)
	}
	wide.Data = binary.LittleEndian.AppendUint64(nil, 1<<31)
	if got, err := contentFor(wide, int32s); err == nil || !strings.Contains(err.Error(), "2147483648") {
		t.Errorf("2^31 becomes %v, %v", got, err)
	}
	if _, err := contentFor(models.Value{Elem: models.ElemFloat64}, float32s); err == nil {
		t.Error("float64 is taken for float32")
	}
}

// A plan depends on the files beside the model as well.
func TestDigestOfOtherFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		if err := os.WriteFile(filepath.Join(dir, "weights"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		sum, err := digestFiles(dir, []string{"weights"})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	if a, b := write("a"), write("b"); a == b || a == "" {
		t.Errorf("%q and %q", a, b)
	}
	if sum, err := digestFiles(dir, nil); sum != "" || err != nil {
		t.Errorf("no files give %q, %v", sum, err)
	}
	if _, err := digestFiles(dir, []string{"gone"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone gives %v", err)
	}
}
