package models

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A shelf is a store in memory: every tensor has the published values of the key
// that it is filed under in own.
type shelf struct {
	shapes map[string]Shape
	own    map[string]Param // by the key on the shelf
}

func newShelf() *shelf { return &shelf{map[string]Shape{}, map[string]Param{}} }

func (s *shelf) file(key string, p Param) { s.shapes[key], s.own[key] = p.Shape, p }

func (s *shelf) Keys() []string {
	keys := make([]string, 0, len(s.shapes))
	for k := range s.shapes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (s *shelf) Shape(key string) (Shape, bool) { shape, ok := s.shapes[key]; return shape, ok }
func (s *shelf) Origin() string                 { return "shelf" }

func (s *shelf) Load(p Param, dst []float32) error {
	own, ok := s.own[p.Key]
	if !ok {
		return fmt.Errorf("no %s", p.Key)
	}
	return Synthetic().Load(own, dst)
}

// Weights filed under every naming in use give the network that they were filed
// from. testdata/names has the keys of other releases, as their own files list
// them.
func TestNamings(t *testing.T) {
	genets := []string{"genet-small", "genet-normal", "genet-large"}
	if testing.Short() {
		genets = genets[:1]
	}
	for _, name := range genets {
		n, err := New(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		original := map[string]string{}
		for _, line := range readLines(t, filepath.Join("testdata", "names", name+".txt")) {
			own, other, _ := strings.Cut(line, " ")
			original[own] = other
		}
		store := newShelf()
		for _, p := range n.Params() {
			dot := strings.LastIndexByte(p.Key, '.')
			other, ok := original[p.Key[:dot]]
			if !ok {
				t.Fatalf("%s: testdata has no original key for %s", name, p.Key)
			}
			store.file(other+p.Key[dot:], p)
		}
		sameWeights(t, n, store)
	}
	for _, name := range []string{"mobilenetv2-1.0", "efficientnet-b0"} {
		n, err := New(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		params := n.Params()
		lines := readLines(t, filepath.Join("testdata", "names", name+".txt"))
		if len(lines) != len(params) {
			t.Fatalf("%s has %d tensors, timm's %d", name, len(params), len(lines))
		}
		store := newShelf()
		for i, line := range lines { // both list them in execution order
			key, shape, _ := strings.Cut(line, " ")
			if shape != params[i].Shape.String() {
				t.Fatalf("%s: tensor %d is %s %v here, timm's is %s", name, i, params[i].Key, params[i].Shape, line)
			}
			store.file(key, params[i])
		}
		sameWeights(t, n, store)
	}
	for _, name := range []string{"resnet-50", "repvgg-a0", "mobilenetv2-0.5"} {
		n, err := New(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		store := newShelf()
		stored := n.Params()
		if name == "repvgg-a0" {
			stored = n.namings()[0].stored
			if len(stored) == len(n.Params()) {
				t.Fatal("the training form of RepVGG has no tensors of its own")
			}
		}
		for _, p := range stored {
			store.file(p.Key, p)
		}
		sameWeights(t, n, store)
	}
}

// sameWeights compares every tensor of a network with those of a store.
func sameWeights(t *testing.T, n *Network, store WeightStore) {
	t.Helper()
	fitted, err := WithWeights(n, store)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range n.Params() {
		want, got := loadFrom(t, n.Weights, p), loadFrom(t, fitted.Weights, p)
		if !slices.Equal(want, got) {
			t.Fatalf("%s: %s differs", n.Name, p.Key)
		}
	}
	if fitted.Weights.Origin() != "shelf" || n.Weights.Origin() != "synthetic" {
		t.Errorf("%s: weights come from %s, the network given has %s", n.Name, fitted.Weights.Origin(), n.Weights.Origin())
	}
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// Weights bring the epsilon along that they were trained with: timm's EfficientNets have
// another one than torchvision's from B5 on.
func TestNamingEpsilon(t *testing.T) {
	n, err := New("efficientnet-b5", 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{1e-3, 1e-5} { // torchvision, timm
		store := newShelf()
		for _, p := range n.namings()[i].stored {
			store.file(p.Key, p)
		}
		fitted, err := WithWeights(n, store)
		if err != nil {
			t.Fatal(err)
		}
		for k, node := range fitted.Nodes {
			if norm, ok := node.Op.(BatchNorm); ok && norm.Epsilon != want {
				t.Fatalf("naming %d: %s has epsilon %g, want %g", i, node.Name, norm.Epsilon, want)
			}
			if norm, ok := n.Nodes[k].Op.(BatchNorm); ok && norm.Epsilon != 1e-3 {
				t.Fatalf("naming %d changed the network that was given", i)
			}
		}
	}
}

// Deployed weights of RepVGG need no training form.
func TestNamingDeployed(t *testing.T) {
	n, err := New("repvgg-a0", 0)
	if err != nil {
		t.Fatal(err)
	}
	store := newShelf()
	for _, p := range n.Params() {
		store.file(p.Key, p)
	}
	fitted, err := WithWeights(n, store)
	if err != nil {
		t.Fatal(err)
	}
	p := n.Params()[0]
	if got, want := loadFrom(t, fitted.Weights, p), loadFrom(t, Synthetic(), p); !slices.Equal(got, want) {
		t.Error("deployed weights were changed")
	}
}

// Every tensor that does not fit is named, with the nearest key.
func TestMisfits(t *testing.T) {
	n, err := New("resnet-18", 0)
	if err != nil {
		t.Fatal(err)
	}
	store := newShelf()
	for _, p := range n.Params() {
		switch p.Key {
		case "layer1.0.conv1.weight":
			store.file("layer1.0.conv1.wieght", p)
		case "fc.weight":
			p.Shape = Shape{10, 512}
			store.file(p.Key, p)
		case "fc.bias":
		default:
			store.file(p.Key, p)
		}
	}
	_, err = WithWeights(n, store)
	var misfit *FitError
	if !errors.As(err, &misfit) {
		t.Fatalf("got %v, want a FitError", err)
	}
	if !slices.Equal(misfit.Missing, []string{"layer1.0.conv1.weight", "fc.bias"}) || !slices.Equal(misfit.Extra, []string{"layer1.0.conv1.wieght"}) ||
		len(misfit.Misshaped) != 1 || misfit.Misshaped[0].Key != "fc.weight" {
		t.Errorf("missing %v, extra %v, misshaped %v", misfit.Missing, misfit.Extra, misfit.Misshaped)
	}
	for _, want := range []string{
		"fit shelf to resnet-18: 2 tensors missing, 1 of another shape, 1 unknown",
		"missing layer1.0.conv1.weight (nearest that the file has: layer1.0.conv1.wieght)",
		"misshaped fc.weight: 10x512, want 1000x512",
		"unknown layer1.0.conv1.wieght (nearest that the network has: layer1.0.conv1.weight)",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
	// A file for another network: the list is bounded, the lists are not.
	other, err := New("vgg-16", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = WithWeights(other, store)
	if !errors.As(err, &misfit) || len(misfit.Missing) != len(other.Params()) || !strings.Contains(err.Error(), "… and 24 more missing") {
		t.Errorf("got %v", err)
	}
}
