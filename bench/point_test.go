package bench

import (
	"strings"
	"testing"
	"time"
)

func TestPointRoundTrip(t *testing.T) {
	for _, p := range []Point{
		{Model: "genet-large", Engine: "onnxruntime", Precision: "fp32", Batch: 8, Resolution: 256},
		{Model: "dir/my@model.onnx", Engine: "cudnn", Precision: "int8", Batch: 1, Resolution: 32, Graph: "eager", Cache: "rotate"},
		{Model: "dir/two@3.onnx", Engine: "onnxruntime", Precision: "fp32", Batch: 8},
		{Model: "m", Engine: "e", Precision: "p", Batch: 1, Resolution: 1, Cache: "hot"},
	} {
		got, err := ParsePoint(p.String())
		if err != nil || got != p {
			t.Errorf("ParsePoint(%q) = %+v, %v; want %+v", p, got, err, p)
		}
	}
}

func TestPointWithoutResolution(t *testing.T) {
	p := Point{Model: "two.onnx", Engine: "ort", Precision: "fp32", Batch: 8, Gap: time.Second}
	if got, want := p.String(), "two.onnx/ort/fp32/b8/gap=1s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParsePointRefuses(t *testing.T) {
	for _, s := range []string{
		"", "genet-large", "genet-large@256", "genet-large@256/ort/fp32", "genet-large@256/ort/fp32/8",
		"genet-large@256/ort/fp32/b0", "genet-large@256/ort/fp32/b-1", "genet-large@256/ort/fp32/b01",
		"genet-large/ort/fp32/b1", "@256/ort/fp32/b1", "m@x/ort/fp32/b1", "m@256//fp32/b1", "m@256/ort//b1",
		"m@256/ort/fp32/b1/cache=hot/graph=eager", "m@256/ort/fp32/b1/", "m.onnx@0/ort/fp32/b1",
	} {
		if p, err := ParsePoint(s); err == nil {
			t.Errorf("ParsePoint(%q) = %+v, want an error", s, p)
		} else if !strings.Contains(err.Error(), "want MODEL@RESOLUTION") {
			t.Errorf("ParsePoint(%q): error %q does not say what is wanted", s, err)
		}
	}
}

func FuzzParsePoint(f *testing.F) {
	f.Add("genet-large@256/onnxruntime/fp32/b8/graph=eager/cache=rotate")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePoint(s)
		if err == nil && p.String() != s {
			t.Errorf("ParsePoint(%q).String() = %q", s, p)
		}
	})
}
