package cudnn

import (
	"fmt"
	"slices"
	"testing"

	"genbench/models"
)

// TestMemoryPlan holds the plan of every network of the zoo to its promise: no step
// writes over a value that is still to be read. It walks the steps with the memory as
// a list of who wrote where last.
func TestMemoryPlan(t *testing.T) {
	for _, info := range models.List() {
		n, err := models.New(info.Name, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n, err = models.Fold(n); err != nil {
			t.Fatal(err)
		}
		for _, nhwc := range []bool{false, true} {
			p, err := newPlan(n, 2, nhwc, 2, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.check(); err != nil {
				t.Errorf("%s, nhwc %t: %v", info.Name, nhwc, err)
			}
		}
		r := roundingOf(t, n)
		p, err := newPlan(n, 2, true, 4, &r)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.check(); err != nil {
			t.Errorf("%s, int8: %v", info.Name, err)
		}
		if err := p.checkRounding(); err != nil {
			t.Errorf("%s, int8: %v", info.Name, err)
		}
	}
}

// roundingOf is that of a folded network whose values all end at 1.
func roundingOf(t *testing.T, n *models.Network) models.Rounding {
	t.Helper()
	ranges := &models.Ranges{Limit: map[string]float32{models.InputName: 1}}
	for _, node := range n.Nodes {
		ranges.Limit[node.Name] = 1
	}
	r, err := models.NewRounding(n, ranges, models.INT8)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkRounding wants every value that the model rounds, and no other, to end a step
// or to be another name of one that does.
func (p *plan) checkRounding() error {
	ends := map[int]bool{}
	for _, s := range p.steps {
		ends[p.at(s.out).buffer] = true
	}
	for i, n := range p.network.Nodes {
		if p.at(i).step != 0 && !ends[p.at(i).buffer] {
			return fmt.Errorf("node %s is rounded and fused with its reader", n.Name)
		}
	}
	for _, s := range p.steps {
		// A summand that is not rounded must be in one step with the sum.
		if _, ok := p.network.Nodes[s.node].Op.(models.Conv); ok && s.add != none && p.at(s.add).step == 0 {
			return fmt.Errorf("node %s adds %d, which is not rounded", p.network.Nodes[s.node].Name, s.add)
		}
		if _, ok := p.network.Nodes[s.node].Op.(models.Add); ok {
			for _, j := range s.reads() {
				if p.at(j).step == 0 {
					return fmt.Errorf("node %s reads %d, which is not rounded", p.network.Nodes[s.node].Name, j)
				}
			}
		}
	}
	return nil
}

// check plays the plan through twice, as two inferences of one input do.
func (p *plan) check() error {
	type owner struct{ from, to, buffer int64 }
	var owners []owner
	bytes := func(node int) int64 { return p.size(p.at(node)) }
	write := func(node int) {
		v := p.at(node)
		kept := owners[:0]
		for _, o := range owners {
			if o.to <= v.offset || v.offset+bytes(node) <= o.from {
				kept = append(kept, o)
			}
		}
		owners = append(kept, owner{v.offset, v.offset + bytes(node), int64(v.buffer)})
	}
	holds := func(node int) bool {
		for _, o := range owners {
			if o.buffer == int64(p.at(node).buffer) && o.from == p.at(node).offset {
				return true
			}
		}
		return false
	}
	write(models.Image)
	for round := range 2 {
		for _, s := range p.steps {
			for _, node := range s.reads() {
				if !holds(node) {
					return fmt.Errorf("round %d: step of node %d reads value %d, which is no longer there", round, s.node, node)
				}
			}
			if v := p.at(s.out); v.offset < 0 || v.offset%alignment != 0 || v.offset+bytes(s.out) > p.bytes {
				return fmt.Errorf("value %d lies at %d of %d bytes", s.out, v.offset, p.bytes)
			}
			write(s.out)
			for _, node := range s.reads() {
				if !holds(node) {
					return fmt.Errorf("round %d: step of node %d writes over what it reads", round, s.node)
				}
			}
		}
		if !holds(len(p.network.Nodes) - 1) {
			return fmt.Errorf("round %d: the output is not there", round)
		}
	}
	// No plan can do with less than what lives at one time, and none should take much
	// more.
	last := map[int]int{p.at(models.Image).buffer: len(p.steps)}
	size := map[int]int64{p.at(models.Image).buffer: bytes(models.Image)}
	for i, s := range p.steps {
		for _, node := range slices.Concat(s.reads(), []int{s.out}) {
			last[p.at(node).buffer], size[p.at(node).buffer] = max(i, last[p.at(node).buffer]), bytes(node)
		}
	}
	alive := map[int]bool{p.at(models.Image).buffer: true}
	var most int64
	for i, s := range p.steps {
		alive[p.at(s.out).buffer] = true
		var now int64
		for buffer := range alive {
			now += size[buffer]
		}
		most = max(most, now)
		for buffer := range alive {
			if last[buffer] <= i {
				delete(alive, buffer)
			}
		}
	}
	if float64(p.bytes) > 1.25*float64(most)+10*alignment {
		return fmt.Errorf("%d bytes, %d live at one time", p.bytes, most)
	}
	return nil
}

func TestFusions(t *testing.T) {
	for name, want := range map[string]int{
		// Convolutions, the classifier, one maximum and one mean: ReLUs and additions
		// are gone.
		"resnet-18":       20 + 1 + 2,
		"mobilenetv2-1.0": 52 + 1 + 1,
	} {
		n, err := models.New(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n, err = models.Fold(n); err != nil {
			t.Fatal(err)
		}
		p, err := newPlan(n, 1, true, 4, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.steps) != want {
			t.Errorf("%s: %d steps, want %d", name, len(p.steps), want)
		}
	}
}

func TestTooLargeForIndices(t *testing.T) {
	n, err := models.New("vgg-16", 0)
	if err != nil {
		t.Skip(err)
	}
	if _, err := newPlan(n, 1000, false, 4, nil); err == nil {
		t.Error("a tensor of 3.2e9 elements is planned")
	}
}
