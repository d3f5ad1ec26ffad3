package reference

import (
	"testing"

	"genbench/models"
)

// TestMemoryIsReused keeps a chain of equal steps from holding a buffer for each.
func TestMemoryIsReused(t *testing.T) {
	n := &models.Network{Name: "chain", Channels: 4, Resolution: 16, Weights: models.Synthetic()}
	input := models.Image
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		n.Nodes = append(n.Nodes, models.Node{Name: name, Op: models.Activation{Func: models.ReLU}, Inputs: []int{input}})
		input = len(n.Nodes) - 1
	}
	shapes, err := n.Shapes(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, bytes := layOut(n, shapes); bytes != 2*4*4*16*16 {
		t.Errorf("six steps hold %d bytes, want two buffers of %d", bytes, 4*4*16*16)
	}
}
