package reference_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/models"
)

func observer(t *testing.T) engines.Observer {
	t.Helper()
	device, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := reference.Driver().Open(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	return engine.(engines.Observer)
}

// TestObserve compares what is shown of a node with the network that ends there.
func TestObserve(t *testing.T) {
	o := observer(t)
	for _, c := range enginetest.Miniatures() {
		folded, err := models.Fold(c.Network)
		if err != nil {
			t.Fatal(err)
		}
		input := c.Input(2)
		wanted := []string{models.InputName}
		for _, node := range folded.Nodes {
			wanted = append(wanted, node.Name)
		}
		var seen []string
		err = o.Observe(t.Context(), c.Network, input, func(node string, got []float32) error {
			seen = append(seen, node)
			want := values{data: make([]float64, len(input.Data))}
			for i, v := range input.Data {
				want.data[i] = float64(v)
			}
			if end := len(seen) - 1; end > 0 {
				upTo := *folded
				upTo.Nodes = folded.Nodes[:end]
				want = byDefinition(t, &upTo, input)
			}
			if len(got) != len(want.data) {
				t.Fatalf("%s: node %s shows %d values, want %d", c.Name, node, len(got), len(want.data))
			}
			for i, w := range want.data {
				if d := math.Abs(float64(got[i]) - w); !(d <= 1e-4*max(1, math.Abs(w))) {
					t.Fatalf("%s: value %d of node %s is %v, want %v", c.Name, i, node, got[i], w)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(seen, wanted) {
			t.Errorf("%s: saw %q, want %q", c.Name, seen, wanted)
		}
	}
}

func TestObserveStops(t *testing.T) {
	o := observer(t)
	c := enginetest.Miniatures()[0]
	folded, err := models.Fold(c.Network)
	if err != nil {
		t.Fatal(err)
	}
	node := folded.Nodes[1].Name
	enough := errors.New("enough")
	err = o.Observe(t.Context(), c.Network, c.Input(1), func(at string, _ []float32) error {
		if at == node {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !strings.Contains(err.Error(), node) {
		t.Errorf("a viewer that fails: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	last := ""
	err = o.Observe(ctx, c.Network, c.Input(1), func(at string, _ []float32) error {
		if last = at; at == node {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || last != node {
		t.Errorf("cancelled at %s, went on to %s: %v", node, last, err)
	}

	for _, shape := range []models.Shape{{}, {1, 3, 8, 8}} {
		if err := o.Observe(t.Context(), c.Network, models.SyntheticInput(shape), nil); err == nil || !strings.Contains(err.Error(), shape.String()) {
			t.Errorf("an input of shape %v: %v", shape, err)
		}
	}
}
