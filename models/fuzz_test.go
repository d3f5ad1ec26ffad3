package models

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// Whatever is in a file, reading it ends without a panic, and no tensor claims more
// elements than the file has room for; what was accepted can be loaded.
func FuzzSafetensors(f *testing.F) {
	f.Add(storeOf(map[string]string{"a": "F32 2,2", "b": "I64 ", "c": "BF16 3", "d": "F16 1", "e": "F64 2"}))
	f.Add(storeOf(nil))
	for _, c := range damagedStores() {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readSafetensors(&mapped{path: "w", data: data})
		if err != nil {
			damage(t, err, len(data))
			return
		}
		for _, key := range s.Keys() {
			shape, ok := s.Shape(key)
			if !ok {
				t.Fatalf("%q is listed and has no shape", key)
			}
			// Each element takes two bytes at least.
			if n := shape.Elements(); n > len(data)/2 {
				t.Fatalf("%q has %d elements in a file of %d bytes", key, n, len(data))
			}
			if err := s.Load(Param{Key: key, Shape: shape}, make([]float32, shape.Elements())); err != nil && !strings.Contains(err.Error(), beyond) {
				t.Fatal(err)
			}
		}
	})
}

// Whatever is in a file, reading, counting and lifting it end without a panic; a
// network that comes out is whole, and no dearer than the file it came from.
func FuzzONNX(f *testing.F) {
	for _, d := range drafts() {
		f.Add(d.encode())
	}
	for _, u := range unsupportedFiles() {
		f.Add(u.encode())
	}
	for _, c := range damagedFiles() {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := readONNX(&mapped{path: "m.onnx", data: data})
		if err != nil {
			damage(t, err, len(data))
			return
		}
		given := map[string]Shape{}
		for _, in := range file.Inputs { // a size for what is open
			shape := Shape{}
			for i, d := range in.Shape {
				switch {
				case d.Value > 0:
					shape = append(shape, d.Value)
				case i == 0:
					shape = append(shape, 2)
				default:
					shape = append(shape, 8)
				}
			}
			given[in.Name] = shape
		}
		shapes, err := file.Resolve(0, given)
		if err != nil {
			return
		}
		cost, err := file.Cost(shapes)
		if err != nil {
			t.Fatalf("shapes that were resolved cannot be counted: %v", err)
		}
		if (cost.MACs == nil) == (len(cost.Unknown) == 0) && len(cost.Layers) > 0 && cost.MACs == nil && !overflows(cost) {
			t.Fatal("the MACs are not known and nothing says why")
		}
		elements := 0
		for _, s := range shapes {
			elements = max(elements, s.Elements())
		}
		if elements < 1<<16 {
			if _, err := file.Values(shapes, 1); err != nil && !strings.Contains(err.Error(), "no seeded data") {
				t.Fatal(err)
			}
		}
		n, err := file.Network(shapes)
		if err != nil {
			return
		}
		checkLifted(t, file, n, shapes, cost)
	})
}

// beyond is what is said of a float64 number that is none of float32's.
const beyond = "is beyond the largest float32"

// overflows tells whether a sum of MACs left int64.
func overflows(c FileCost) bool {
	total := int64(0)
	for _, l := range c.Layers {
		if l.MACs == nil {
			return false
		}
		if total > math.MaxInt64-*l.MACs {
			return true
		}
		total += *l.MACs
	}
	return false
}

func checkLifted(t *testing.T, file *File, n *Network, shapes map[string]Shape, cost FileCost) {
	t.Helper()
	batch := shapes[file.Inputs[0].Name][0]
	if _, err := n.Shapes(batch); err != nil {
		t.Fatalf("the network that was made is none: %v", err)
	}
	counted, err := CostOf(n)
	if err != nil {
		t.Fatal(err)
	}
	if cost.MACs != nil && *cost.MACs < int64(batch)*counted.MACs {
		t.Errorf("the network has %d MACs an image, the file %d for %d", counted.MACs, *cost.MACs, batch)
	}
	var names []string
	for _, node := range n.Nodes {
		names = append(names, node.Name)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(n.Nodes) {
		t.Errorf("two nodes have one name: %v", names)
	}
	for _, p := range n.Params() {
		if elements := p.Shape.Elements(); elements < 1<<16 {
			if err := n.Weights.Load(p, make([]float32, elements)); err != nil && !strings.Contains(err.Error(), beyond) {
				t.Error(err)
			}
		}
	}
	if _, err := Fold(n); err != nil {
		t.Error(err)
	}
}
