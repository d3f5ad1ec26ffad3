package models

import (
	"math"
	"runtime"
	"slices"
	"testing"
)

// The rule's published reference values.
func TestSyntheticReference(t *testing.T) {
	for key, want := range map[string]uint64{"input": 0x1ebbae8f5810b65b, "stem.conv.weight": 0xe244e2a6a97cf0ba} {
		if got := fnv1a(key); got != want {
			t.Errorf("seed of %q is %#x, want %#x", key, got, want)
		}
	}
	input := SyntheticInput(Shape{1, 3, 192, 192})
	if want := []float32{-0.8043633103370667, 0.30472084879875183, -0.5927514433860779}; !slices.Equal(input.Data[:3], want) {
		t.Errorf("input begins %v, want %v", input.Data[:3], want)
	}
	kernel := load(t, Param{"stem.conv.weight", Shape{32, 3, 3, 3}, Kernel})
	if want := []float32{-0.2598928213119507, -0.10169340670108795, 0.14524495601654053}; !slices.Equal(kernel[:3], want) {
		t.Errorf("stem.conv.weight begins %v, want %v", kernel[:3], want)
	}
}

// The factors of the other roles, from the same sequence.
func TestSyntheticRoles(t *testing.T) {
	shape := Shape{7}
	unit := make([]float32, 7)
	fill("k", 0, 1, unit)
	for _, c := range []struct {
		role          Role
		offset, scale float64
	}{{Bias, 0, 0.1}, {Beta, 0, 0.1}, {Mean, 0, 0.1}, {Gamma, 1, 0.25}, {Variance, 1, 0.25}} {
		for i, got := range load(t, Param{"k", shape, c.role}) {
			if want := c.offset + c.scale*float64(unit[i]); math.Abs(float64(got)-want) > 1e-7 {
				t.Errorf("role %d, element %d: %v, want %v", c.role, i, got, want)
			}
		}
	}
	if err := Synthetic().Load(Param{"k", shape, Bias}, make([]float32, 6)); err == nil {
		t.Error("room for 6 of 7 elements was accepted")
	}
	if err := Synthetic().Load(Param{"k", shape, Role(99)}, make([]float32, 7)); err == nil {
		t.Error("role 99 was accepted")
	}
}

// A tensor filled by several goroutines equals one filled by one.
func TestSyntheticOnManyCPUs(t *testing.T) {
	p := Param{"wide.weight", Shape{5, 2*grain + 1}, Kernel}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := load(t, p)
	runtime.GOMAXPROCS(4)
	if !slices.Equal(one, load(t, p)) {
		t.Error("values depend on the number of CPUs")
	}
}

// The first image of a batch is the one that golden outputs are given for.
func TestSyntheticInputOfABatch(t *testing.T) {
	one, three := SyntheticInput(Shape{1, 3, 5, 5}), SyntheticInput(Shape{3, 3, 5, 5})
	if !slices.Equal(one.Data, three.Data[:len(one.Data)]) {
		t.Error("image 0 depends on the batch")
	}
	if slices.Equal(one.Data, three.Data[len(one.Data):2*len(one.Data)]) {
		t.Error("image 1 repeats image 0")
	}
}

func load(t *testing.T, p Param) []float32 {
	t.Helper()
	dst := make([]float32, p.Shape.Elements())
	if err := Synthetic().Load(p, dst); err != nil {
		t.Fatal(err)
	}
	return dst
}
