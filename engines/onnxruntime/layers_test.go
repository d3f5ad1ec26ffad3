package onnxruntime

import (
	"bytes"
	"errors"
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

// profiled times the layers of two inferences, after a first, on a session whose
// library writes a profile like this.
func profiled(t *testing.T, e *engine, stream hardware.Stream, profile []byte) ([]engines.Layer, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(file, profile, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAKE_ORT_PROFILE", file)
	s, err := e.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, engines.BuildOptions{Precision: models.TF32, Batch: 1, Threads: 1, Layers: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := stream.Time(s.Call(), make([]hardware.Sample, 1)); err != nil {
		t.Fatal(err)
	}
	return s.(*session).TimeLayers(t.Context(), 2)
}

func testProfile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// On a GPU a layer is what its kernels took there, never what its host took to submit
// them.
func TestGPULayers(t *testing.T) {
	fakeGPU(t)
	e, stream := openFake(t)
	kernels := testProfile(t, "profile-kernels.json")
	want := []engines.Layer{
		{Name: "stem.conv", Kind: "FusedConv", Precision: "tf32", DeviceNS: []int64{34_000, 38_000}},
		{Name: "odd", Kind: "NonZero on CPUExecutionProvider", Precision: "fp32", DeviceNS: []int64{0, 0}},
		{Name: "flatten", Kind: "Flatten", DeviceNS: []int64{0, 0}},
		{Name: "fc", Kind: "Gemm", Precision: "tf32", DeviceNS: []int64{7_000, 9_000}},
	}
	for name, profile := range map[string][]byte{"of today's releases": kernels, "of older releases": runsLast(kernels)} {
		layers, err := profiled(t, e, stream, profile)
		if err != nil {
			t.Fatalf("a profile %s: %v", name, err)
		}
		for i := range layers {
			layers[i].Origins = nil
		}
		if !slices.EqualFunc(layers, want, func(a, b engines.Layer) bool {
			return a.Name == b.Name && a.Kind == b.Kind && a.Precision == b.Precision && slices.Equal(a.DeviceNS, b.DeviceNS)
		}) {
			t.Errorf("a profile %s:\ngot  %+v\nwant %+v", name, layers, want)
		}
	}
}

// runsLast puts the runs of a profile behind their nodes, where releases that write
// events as they end have them.
func runsLast(profile []byte) []byte {
	var lines, run [][]byte
	for line := range bytes.Lines(profile) {
		if bytes.Contains(line, []byte(`"model_run"`)) || bytes.HasPrefix(line, []byte("]")) {
			lines = append(lines, run...)
			run = nil
		}
		if bytes.Contains(line, []byte(`"model_run"`)) {
			run = [][]byte{line}
			continue
		}
		lines = append(lines, line)
	}
	// What was the last object no longer is.
	text := string(bytes.Join(lines, nil))
	text = strings.ReplaceAll(strings.ReplaceAll(text, "}\n", "},\n"), "},\n]", "}\n]")
	return []byte(text)
}

func TestGPULayersRefused(t *testing.T) {
	fakeGPU(t)
	e, stream := openFake(t)
	kernels := testProfile(t, "profile-kernels.json")
	lost := func(times int) []byte {
		return bytes.Replace(kernels, []byte(`"parent_name" : "fc_kernel_time"`), []byte(`"parent_name" : "flatten_kernel_time"`), times)
	}
	for name, c := range map[string]struct {
		profile []byte
		want    string // empty where the layers are timed
	}{
		"a release, which tells submissions": {testProfile(t, "profile-enqueues.json"), "--enable_cuda_profiling"},
		"kernels lost most of the time":      {lost(2), "node fc, in 2 of 3 times"},
		"kernels lost once":                  {lost(1), ""},
	} {
		layers, err := profiled(t, e, stream, c.profile)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, engines.ErrNoLayers) || !strings.Contains(err.Error(), c.want) || layers != nil) {
			t.Errorf("%s: %v, %v; want %q", name, layers, err, c.want)
		}
	}
	if _, err := profiled(t, e, stream, []byte("[\n]\n")); err == nil || !strings.Contains(err.Error(), "no node") {
		t.Errorf("an empty profile: %v", err)
	}
	// To the library what TensorRT runs is one node.
	e.provider.opaque = []string{tensorrtProvider}
	if _, err := profiled(t, e, stream, kernels); !errors.Is(err, engines.ErrNoLayers) || !strings.Contains(err.Error(), "one node") {
		t.Errorf("the TensorRT provider: %v", err)
	}
}
