package cudnn

import (
	"slices"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/models"
)

// Every step of a session is timed, and none but those of its layers: their sum is what
// an inference takes on the fake's clock, which nothing disturbs.
func TestTimeLayers(t *testing.T) {
	b := newBench(t)
	n := enginetest.Miniatures()[0].Network
	s, err := b.engine.Build(t.Context(), n, b.stream, engines.BuildOptions{Precision: models.FP16, Batch: 1, Layers: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	layers, err := s.(engines.LayerTimer).TimeLayers(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	folded, err := models.Fold(n)
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) == 0 || len(layers) >= len(folded.Nodes) {
		t.Errorf("%d layers of %d nodes, of which some are fused", len(layers), len(folded.Nodes))
	}
	first := layers[0]
	if first.Name != folded.Nodes[0].Name || first.Kind != "conv" || first.Precision != "fp16" || !slices.Contains(first.Origins, folded.Nodes[1].Name) {
		t.Errorf("the first layer is %+v, want the convolution with %s fused", first, folded.Nodes[1].Name)
	}
	var sum int64
	for _, l := range layers {
		sum += l.DeviceNS[2]
	}
	if took := s.(*session).latency.Nanoseconds(); sum < took-int64(len(layers)) || sum > took+int64(len(layers)) {
		t.Errorf("the layers take %d ns together, an inference %d", sum, took)
	}
}
