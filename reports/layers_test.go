package reports

import (
	"encoding/json"
	"strings"
	"testing"

	"genbench/bench"
	"genbench/engines"
)

// layered is a run of whose first point twelve layers were timed, and of whose others
// the engine could not tell any.
func layered(t *testing.T) *bench.Result {
	t.Helper()
	r := load(t, "cpu")
	r.Log.Run.Config.Layers = true
	for i := range r.Measurements {
		r.Measurements[i].NoLayers = "engine x: its layers cannot be timed"
	}
	m := &r.Measurements[0]
	m.NoLayers = ""
	times := &bench.LayerTimes{Inferences: 7, Unattributed: 1234567}
	for i := range 12 {
		l := bench.LayerTime{TimedLayer: bench.TimedLayer{Layer: engines.Layer{Name: "layer|" + string(rune('a'+i)), Kind: "Conv"}}, Median: float64(i) * 1e6}
		times.Sum += l.Median
		times.Layers = append(times.Layers, l)
	}
	macs := int64(11e9)
	times.Layers[11].MACs, times.Layers[11].Nodes, times.Layers[11].Precision = &macs, []string{"conv", "relu"}, "fp32"
	for i := range times.Layers {
		times.Layers[i].Share = times.Layers[i].Median / times.Sum
	}
	m.Layers = times
	return r
}

func TestLayersOnATerminal(t *testing.T) {
	r := layered(t)
	text := written(t, Text(0), r)
	_, section, found := strings.Cut(text, "\nlayers\n")
	if !found {
		t.Fatal("there is no section of layers")
	}
	for _, want := range []string{
		"sum is therefore not the", "12 layers, medians of 7 inferences: 66.000 ms in all", "of the latency of", "1 234 567 MACs are in layers",
		"11.000     16.7  1000.0       fp32  layer|l\n", "2 more layers, 1.5 % in all", "no layers, engine x",
	} {
		if !strings.Contains(strings.Join(strings.Fields(section), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is not in:\n%s", want, section)
		}
	}
	if strings.Index(section, "layer|l") > strings.Index(section, "layer|k") {
		t.Error("the heaviest layer is not the first")
	}
	if strings.Contains(section, "layer|a") {
		t.Error("more than ten layers are shown")
	}
}

// Layers that were timed once are shown once, under the first point that has them.
func TestLayersShownOnce(t *testing.T) {
	r := layered(t)
	first, second := &r.Measurements[0], &r.Measurements[1]
	first.Layers.Of = first.Point
	second.Layers, second.NoLayers = first.Layers, ""
	for name, report := range map[string]Report{"text": Text(0), "markdown": Markdown} {
		text := written(t, report, r)
		_, section, _ := strings.Cut(text, "ayers\n")
		if n := strings.Count(strings.ReplaceAll(section, `\|`, "|"), "layer|l"); n != 1 {
			t.Errorf("%s: the heaviest layer is shown %d times", name, n)
		}
		section = strings.Join(strings.Fields(strings.ReplaceAll(section, "`", "")), " ")
		if want := second.Point.String() + ": the layers of " + first.Point.String() + ", 12 layers"; !strings.Contains(section, want) {
			t.Errorf("%s: %q is not in:\n%s", name, want, section)
		}
	}
}

func TestLayersOnAPage(t *testing.T) {
	text := written(t, Markdown, layered(t))
	for _, want := range []string{"## Layers", `layer\|a`, `layer\|l`, "conv relu", "11 000 000 000", "no layers, engine x"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if text := written(t, Markdown, load(t, "cpu")); strings.Contains(text, "Layers") {
		t.Error("a run that was not asked for layers speaks of them")
	}
}

func TestLayersForPrograms(t *testing.T) {
	var points []struct {
		Layers []struct {
			Name  string
			MACs  *int64
			MS    float64
			Share float64
			Nodes []string
		}
		Sum    float64 `json:"layers_sum_ms"`
		Reason string  `json:"layers_reason"`
	}
	if err := json.Unmarshal([]byte(written(t, JSON, layered(t))), &points); err != nil {
		t.Fatal(err)
	}
	first := points[0]
	if len(first.Layers) != 12 || first.Sum != 66 || first.Layers[11].MS != 11 || *first.Layers[11].MACs != 11e9 || first.Layers[0].MACs != nil || first.Layers[11].Nodes[1] != "relu" {
		t.Errorf("got %+v", first)
	}
	if points[1].Layers != nil || points[1].Reason == "" {
		t.Errorf("a point without layers gives %+v", points[1])
	}
}
