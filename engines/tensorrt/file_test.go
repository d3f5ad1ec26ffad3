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
	"syscall"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/models"
)

func TestFileIsTheNetwork(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	enginetest.FileIsNetwork(t, engine, stream)
}

// foreign is the file of enginetest.FileOfOtherTypes.
var foreign = filepath.Join("..", "onnxruntime", "testdata", "two-inputs.onnx")

func TestFileOfOtherTypes(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	for _, batch := range []int{3, 1} { // a plan belongs to its shapes
		enginetest.FileOfOtherTypes(t, engine, stream, foreign, batch)
	}
}

func TestFileThatCannotBeBuilt(t *testing.T) {
	fake(t)
	opened, stream := openFake(t)
	engine := opened.(*engine)
	f, values := enginetest.OpenFile(t, foreign, 1)
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
	// A file must have an end.
	below := filepath.Join(dir, "below")
	for _, err := range []error{
		os.Mkdir(below, 0o755),
		os.Symlink(filepath.Join(dir, "weights"), filepath.Join(below, "link")),
		syscall.Mkfifo(filepath.Join(below, "pipe"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".", "pipe"} {
		if sum, err := digestFiles(below, []string{name}); err == nil {
			t.Errorf("%s gives %s", name, sum)
		}
	}
	if _, err := digestFiles(below, []string{"link"}); err != nil {
		t.Errorf("a link that the user made: %v", err)
	}
}
