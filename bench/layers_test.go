package bench

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"genbench/engines"
	"genbench/hardware"
)

// TimeLayers implements engines.LayerTimer as the simulation's script says.
func (s *simulatedSession) TimeLayers(_ context.Context, inferences int) ([]engines.Layer, error) {
	if s.device.layers == nil {
		return nil, engines.ErrNoLayers
	}
	if !s.profiled {
		return nil, errors.New("the session was not built for it")
	}
	return s.device.layers(inferences)
}

// twoLayers take 1 and 3 ms, and 1 s in one inference, as when something disturbs it.
func twoLayers(inferences int) ([]engines.Layer, error) {
	repeat := func(ns int64) []int64 {
		all := slices.Repeat([]int64{ns}, inferences)
		all[0] = int64(time.Second)
		return all
	}
	return []engines.Layer{
		{Name: "first", Kind: "Conv", Precision: "fp32", Origins: []string{"features.0.0"}, DeviceNS: repeat(1e6)},
		{Name: "rest", DeviceNS: repeat(3e6)},
	}, nil
}

// The pass comes after everything that is timed, and tells each layer's share.
func TestLayerPass(t *testing.T) {
	s := simulate(t, "quick", hardware.Host)
	s.config.Layers, s.config.Energy, s.layers = true, true, twoLayers
	r := s.run(t)
	if r.err != nil {
		t.Fatal(r.err)
	}
	m := r.point(t, "sim")
	if m.Layers == nil {
		t.Fatalf("no layers: %s", m.NoLayers)
	}
	if len(m.Layers.Layers) != 2 || m.Layers.Sum != 4e6 || m.Layers.Layers[0].Share != 0.25 || m.Layers.Layers[1].Median != 3e6 {
		t.Errorf("layers %+v", m.Layers)
	}
	first := m.Layers.Layers[0]
	if !slices.Contains(first.Nodes, "features.0.0") || first.MACs == nil || *first.MACs == 0 {
		t.Fatalf("the first layer's part of the network is %v, MACs %v", first.Nodes, first.MACs)
	}
	planned := r.Log.Run.Plan[0].MACs
	if m.Layers.Unattributed != planned-*first.MACs {
		t.Errorf("%d of %d MACs are nobody's, and the first layer has %d", m.Layers.Unattributed, planned, *first.MACs)
	}
	if math.Abs(m.Latency.Value/1e6-1) > 1e-6 {
		t.Errorf("the latency is %v ns", m.Latency.Value)
	}
	last := r.Log.Rounds[len(r.Log.Rounds)-1]
	if l := r.Log.Layers[0]; l.Launch <= last.Launch || l.Launch <= r.Log.Energies[0].Launch {
		t.Errorf("the pass is launch %d, the last round's is %d, that of energy %d", l.Launch, last.Launch, r.Log.Energies[0].Launch)
	}
	if n := len(r.Log.Layers[0].Layers[0].DeviceNS); n < s.config.Protocol.RoundSamples || n > layerInferences {
		t.Errorf("%d inferences", n)
	}
}

// Layers are timed once of points that are built alike, and told of each; energy, which
// is another for each, is measured of each.
func TestLayersOfPointsBuiltAlike(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.config.Protocol.Launches = 1
	s.config.Layers, s.config.Energy = true, true
	s.config.Grid.Batches = []int{1, 2}
	s.config.Grid.Graph, s.config.Grid.Cache = []string{Eager, Graphed}, []string{Rotate, Hot}
	s.refuses = func(_, what string) bool { return what == "rotate" }
	timed := 0
	s.layers = func(inferences int) ([]engines.Layer, error) {
		timed++
		return twoLayers(inferences)
	}
	r := s.run(t)
	if r.err != nil || timed != 2 || len(r.Log.Layers) != 2 {
		t.Fatalf("%v; the layers of 2 batches were timed %d times and written down %d times", r.err, timed, len(r.Log.Layers))
	}
	measured := 0
	for _, m := range r.Measurements {
		if m.Point.Cache == Rotate {
			continue // refused, so that nothing of it was timed
		}
		measured++
		if of := m.Point; m.Layers == nil || m.Layers.Of.Batch != of.Batch || m.Layers.Of.Graph != Eager || m.Layers.Sum != 4e6 {
			t.Errorf("%s: %+v, %s", m.Point, m.Layers, m.NoLayers)
		}
		if m.Energy == nil {
			t.Errorf("%s: no energy, %s", m.Point, m.NoEnergy)
		}
	}
	if measured != 4 || len(r.Log.Energies) != 4 {
		t.Errorf("%d points, the energy of %d", measured, len(r.Log.Energies))
	}
	// A journal that has them of each point gives each its own.
	again := r.Log.Layers[0]
	again.ID, again.Layers = strings.Replace(again.ID, "graph=eager", "graph=graph", 1), again.Layers[:1]
	r.Log.Layers = append([]LayerRecord{again}, r.Log.Layers...)
	for _, m := range NewResult(r.Log).Measurements {
		if m.Layers != nil && m.Point.Batch == 1 && (m.Layers.Of != m.Point || len(m.Layers.Layers) != map[string]int{Eager: 2, Graphed: 1}[m.Point.Graph]) {
			t.Errorf("%s has %d layers of %s", m.Point, len(m.Layers.Layers), m.Layers.Of)
		}
	}
}

// Where layers cannot be timed the result says why, and its latencies stand.
func TestNoLayers(t *testing.T) {
	for name, c := range map[string]struct {
		asked  bool
		layers func(int) ([]engines.Layer, error)
		dies   bool
		want   string
	}{
		"not asked for": {false, twoLayers, false, NoLayerPass},
		"no profiler":   {true, nil, false, engines.ErrNoLayers.Error()},
		"it fails":      {true, func(int) ([]engines.Layer, error) { return nil, errors.New("no memory for events") }, false, "no memory for events"},
		"it crashes":    {true, twoLayers, true, "SIGSEGV"},
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, "quick", hardware.Host)
			s.config.Layers, s.layers = c.asked, c.layers
			s.fault = func(i inference) string {
				if c.dies && i.launch > s.config.Protocol.Launches {
					return "SIGSEGV"
				}
				return ""
			}
			r := s.run(t)
			m := r.point(t, "sim")
			if r.err != nil || m.State != Measured || m.Layers != nil || !strings.Contains(m.NoLayers, c.want) {
				t.Errorf("%v; %s, layers %v, %q; want %q", r.err, m.State, m.Layers, m.NoLayers, c.want)
			}
		})
	}
}

// A pass that was interrupted goes on with the points that have no layers yet.
func TestLayersAreResumed(t *testing.T) {
	s := simulate(t, "quick", hardware.Host)
	s.config.Layers = true
	s.config.Grid.Batches = []int{1, 2}
	s.layers = twoLayers
	whole := s.run(t)
	if whole.err != nil || len(whole.Log.Layers) != 2 {
		t.Fatalf("%v, layers of %d points", whole.err, len(whole.Log.Layers))
	}
	s.interrupt = whole.took - 100*time.Millisecond // within the last point's warm-up
	cut := s.run(t)
	if len(cut.Log.Layers) != 1 {
		t.Fatalf("the interrupted run has the layers of %d points", len(cut.Log.Layers))
	}
	s.interrupt = 0
	resumed := s.resume(t, cut.dir)
	if resumed.err != nil || len(resumed.Log.Layers) != 2 || resumed.Log.Layers[0].ID == resumed.Log.Layers[1].ID {
		t.Errorf("%v; layers of %d points", resumed.err, len(resumed.Log.Layers))
	}
}

// A layer has the nodes that it names, and those that were fused into it.
func TestOwners(t *testing.T) {
	//  0 conv1 -> 1 relu1 -> 2 conv2 ┐
	//                     └> 3 skip  ┴> 4 sum -> 5 relu2 -> 6 fc
	parts := []part{
		{"conv1", 10, nil}, {"relu1", 0, []int{0}}, {"conv2", 20, []int{1}}, {"skip", 30, []int{1}},
		{"sum", 0, []int{2, 3}}, {"relu2", 0, []int{4}}, {"fc", 40, []int{5}},
	}
	for name, c := range map[string]struct {
		layers []string
		want   []int
	}{
		"each its own":                    {[]string{"conv1", "relu1", "conv2", "skip", "sum", "relu2", "fc"}, []int{0, 1, 2, 3, 4, 5, 6}},
		"named after the convolution":     {[]string{"conv1", "skip", "conv2", "fc"}, []int{0, 0, 2, 1, 2, 2, 3}},
		"named after what comes last":     {[]string{"relu1", "skip", "relu2", "fc"}, []int{0, 0, 2, 1, 2, 2, 3}},
		"named after all, in words":       {[]string{"conv1 + relu1", "skip", "conv2 + sum, relu2", "fc"}, []int{0, 0, 2, 1, 2, 2, 3}},
		"with what the engine made of it": {[]string{"conv1_nchwc", "skip_nchwc_token_1", "conv2_nchwc", "fc"}, []int{0, 0, 2, 1, 2, 2, 3}},
		"named twice":                     {[]string{"conv1", "conv1_copy", "skip", "conv2", "fc"}, []int{0, 0, 3, 2, 3, 3, 4}},
		"names that tell nothing":         {[]string{"kernel 1", "kernel 2"}, []int{nobody, nobody, nobody, nobody, nobody, nobody, nobody}},
	} {
		var layers []engines.Layer
		for _, l := range c.layers {
			layers = append(layers, engines.Layer{Name: l, Origins: engines.Words(l)})
		}
		if got := owners(layers, parts); !slices.Equal(got, c.want) {
			t.Errorf("%s: owners %v, want %v", name, got, c.want)
		}
		var macs int64
		for _, l := range attribute(layers, parts) {
			if l.MACs != nil {
				macs += *l.MACs
			}
		}
		if want := int64(100); c.want[0] != nobody && macs != want {
			t.Errorf("%s: layers have %d MACs, want %d", name, macs, want)
		}
	}
}
