package onnxruntime

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/hardware"
	"genbench/models"
)

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

func TestFileIsTheNetwork(t *testing.T) {
	onBoth(t, func(t *testing.T, e *engine, stream hardware.Stream) {
		enginetest.FileIsNetwork(t, e, stream)
	})
}

func TestFileOfOtherTypes(t *testing.T) {
	onBoth(t, func(t *testing.T, e *engine, stream hardware.Stream) {
		enginetest.FileOfOtherTypes(t, e, stream, filepath.Join("testdata", "two-inputs.onnx"), 3)
	})
}

func TestFileThatCannotBeBuilt(t *testing.T) {
	e := opened(t)
	f, values := enginetest.OpenFile(t, filepath.Join("testdata", "two-inputs.onnx"), 1)
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
