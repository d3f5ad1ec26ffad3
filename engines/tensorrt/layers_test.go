package tensorrt

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/models"
)

// The fake's layer i is one node of the model and takes i+1 microseconds.
func TestTimeLayers(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	o := small
	o.Precision, o.Layers = models.FP16, true
	n := enginetest.Miniatures()[0].Network
	s, err := engine.Build(t.Context(), n, stream, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	layers, err := s.(engines.LayerTimer).TimeLayers(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	folded, err := models.Fold(n)
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) < len(folded.Nodes) {
		t.Fatalf("%d layers of %d nodes", len(layers), len(folded.Nodes))
	}
	for i, l := range layers {
		if want := []int64{int64(1000 * (i + 1)), int64(1000 * (i + 1))}; !slices.Equal(l.DeviceNS, want) || l.Kind == "" || l.Precision != "fp16" {
			t.Errorf("layer %d is %+v, want times %v of a kind in fp16", i, l, want)
		}
	}
	if first := folded.Nodes[0].Name; !slices.Contains(layers[0].Origins, first) {
		t.Errorf("the first layer comes from %q, want %s", layers[0].Origins, first)
	}
	t.Setenv("FAKE_TRT_FAULT", "report")
	if _, err := s.(engines.LayerTimer).TimeLayers(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "no profile") {
		t.Errorf("the library's reason is lost: %v", err)
	}
	t.Setenv("FAKE_TRT_FAULT", "run")
	if _, err := s.(engines.LayerTimer).TimeLayers(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "illegal memory access") {
		t.Errorf("the library's reason is lost: %v", err)
	}
}

func TestParseTimes(t *testing.T) {
	got, err := parseTimes([]byte("0.0125 stem.conv + stem.relu\x000 {ForeignNode[a b]}\x00"))
	if want := []layerTime{{"stem.conv + stem.relu", 12500}, {"{ForeignNode[a b]}", 0}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, damaged := range []string{"", "0.1 cut off", "0.1\x00", "long name\x00", "-1 a\x00", "nan a\x00"} {
		if got, err := parseTimes([]byte(damaged)); err == nil {
			t.Errorf("%q reads as %v", damaged, got)
		}
	}
}

// Builds that a run replicates are searched for on their own, and each stays what it is.
func TestBuildsAreIndependent(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	plans := map[int][]engines.Plan{}
	for _, search := range []string{"one", "two", "three"} {
		t.Setenv("FAKE_TRT_SEARCH", search)
		for build := 0; build <= 2; build++ {
			o := small
			o.Build = build
			s, err := engine.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, o)
			if err != nil {
				t.Fatal(err)
			}
			plans[build] = append(plans[build], *s.Executed().Plan)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if build == 1 {
				t.Setenv("FAKE_TRT_SEARCH", search+" again")
			}
		}
	}
	if plans[0][0] == plans[1][0] || plans[0][0].SHA256 != plans[1][0].SHA256 || plans[0][0].Build != 1 {
		t.Errorf("build 0 is not the first, found again: %+v and %+v", plans[0][0], plans[1][0])
	}
	first, second := plans[1][0], plans[2][0]
	if second.Build != 2 || second.Cached || first.SHA256 == second.SHA256 || first.TacticsDigest == second.TacticsDigest || first.TimingSHA256 == second.TimingSHA256 {
		t.Errorf("the second build is the first: %+v and %+v", first, second)
	}
	for build, all := range plans {
		for _, again := range all[1:] {
			if !again.Cached || again.SHA256 != all[0].SHA256 {
				t.Errorf("build %d changes: %+v, then %+v", build, all[0], again)
			}
		}
	}
}

func TestSummary(t *testing.T) {
	detailed := `{"Layers": [
		{"Name": "stem", "LayerType": "CaskConvolution", "TacticName": "first", "Outputs": [{"Name": "a", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
		{"Name": "body", "LayerType": "kgen", "TacticName": "second", "Outputs": [{"Name": "b", "Format/Datatype": "Half"}]},
		{"Name": "quantised", "LayerType": "CaskConvolution", "TacticName": "third", "Outputs": [{"Name": "c", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]},
		{"Name": "brain", "LayerType": "x", "Outputs": [{"Name": "d", "Format/Datatype": "Row major linear BFloat16 format"}]},
		{"Name": "brief", "LayerType": "x", "Outputs": [{"Name": "g", "Format/Datatype": "Channel major BF16 format where channel % 8 == 0"}]},
		{"Name": "head", "LayerType": "Reformat", "Outputs": [{"Name": "e", "Format/Datatype": "Row major linear FP32"}]},
		{"Name": "rounded", "LayerType": "CaskConvolution", "TacticName": "sm80_fprop_tf32f32_nhwc", "Outputs": [{"Name": "f", "Format/Datatype": "Row major linear FP32"}]},
		{"Name": "silent", "LayerType": "NoOp", "Outputs": []}
	], "Bindings": ["input", "logits"]}`
	got, tactics := summary(parseLayers([]byte(detailed)))
	if want := map[string]int{"fp16": 2, "int8": 1, "bf16": 2, "fp32": 1, "tf32": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, again := summary(parseLayers([]byte(detailed)))
	_, other := summary(parseLayers([]byte(`{"Layers": [{"Name": "stem", "TacticName": "another"}]}`)))
	if tactics == "" || tactics != again || tactics == other {
		t.Errorf("digests of tactics: %q, again %q, of others %q", tactics, again, other)
	}
	if names, tactics := summary(parseLayers([]byte(`{"Layers": ["stem", "head"], "Bindings": []}`))); len(names) != 0 || tactics == "" {
		t.Errorf("bare names give %v and digest %q", names, tactics)
	}
	if names, tactics := summary(parseLayers([]byte(`{"Layers": [`))); names != nil || tactics != "" {
		t.Errorf("damaged JSON gives %v and digest %q", names, tactics)
	}
}
