package cudnn

import (
	"cmp"
	"fmt"
	"slices"

	"genbench/models"
)

// A plan is a folded network as the steps that compute it and the memory their
// values lie in. It knows nothing of cuDNN.
type plan struct {
	network      *models.Network
	steps        []planned
	values       []value // by node; values[len(nodes)] is the image
	elementBytes int     // of what is not rounded to 8 bits
	bytes        int64   // of the memory that all values share
}

// A planned step computes one node together with those that were fused into it.
type planned struct {
	node   int // whose operator it is
	out    int // whose value it gives: the last fused node
	inputs []int
	add    int                   // node whose value is added, or none
	act    models.ActivationFunc // "" for none
}

const none = -2 // as a node; -1 is models.Image

// A value is a tensor in the shared memory.
type value struct {
	shape  models.Shape // as the network has it
	step   float32      // what one of its 8-bit integers stands for; 0 where it is not rounded to them
	offset int64
	buffer int // values with one buffer are one piece of memory
}

// extent is the tensor's in four dimensions.
func (v value) extent() [4]int {
	full := append(slices.Clone(v.shape), 1, 1)
	return [4]int{full[0], full[1], full[2], full[3]}
}

// size is how many bytes a value takes.
func (p *plan) size(v *value) int64 {
	if v.step != 0 {
		return int64(v.shape.Elements())
	}
	return int64(v.shape.Elements()) * int64(p.elementBytes)
}

// at finds a value; the image's comes after the nodes'.
func (p *plan) at(node int) *value {
	if node == models.Image {
		return &p.values[len(p.values)-1]
	}
	return &p.values[node]
}

// newPlan fuses what one call of cuDNN or one kernel can do: a convolution, linear
// layer or batch norm followed by an addition and then an activation, and an addition
// with an activation. What an int8 model rounds is not fused with what reads it; r is
// nil in every other precision.
func newPlan(n *models.Network, batch int, nhwc bool, elementBytes int, r *models.Rounding) (*plan, error) {
	shapes, err := n.Shapes(batch)
	if err != nil {
		return nil, err
	}
	p := &plan{network: n, elementBytes: elementBytes, values: make([]value, len(n.Nodes)+1)}
	for i, shape := range append(shapes, n.InputShape(batch)) {
		if shape.Elements() >= 1<<31 {
			return nil, fmt.Errorf("batch %d: a tensor of shape %v has more elements than 32 bits count; use a smaller batch", batch, shape)
		}
		p.values[i] = value{shape: shape, buffer: i}
	}
	if r != nil {
		p.at(models.Image).step = r.Image
		for i, step := range r.Nodes {
			p.values[i].step = step
		}
	}
	readers := make([][]int, len(n.Nodes))
	for i, node := range n.Nodes {
		for _, j := range node.Inputs {
			if j != models.Image {
				readers[j] = append(readers[j], i)
			}
		}
	}
	fused := make([]bool, len(n.Nodes))
	for i, node := range n.Nodes {
		if fused[i] {
			continue
		}
		s := planned{node: i, out: i, inputs: node.Inputs, add: none}
		// follower gives the only reader of the step's value, where it may read what was
		// not rounded.
		follower := func() int {
			if r := readers[s.out]; len(r) == 1 && p.values[s.out].step == 0 {
				return r[0]
			}
			return none
		}
		switch node.Op.(type) {
		case models.Conv, models.Linear, models.BatchNorm:
			if next := follower(); next != none {
				if _, ok := n.Nodes[next].Op.(models.Add); ok {
					other := n.Nodes[next].Inputs[0]
					if other == s.out {
						other = n.Nodes[next].Inputs[1]
					}
					// What is added must have been computed before. An int8 model says itself which
					// summand is not rounded; if it comes first, its step waits for the other.
					if other < i || r != nil {
						s.add, s.out, fused[next] = other, next, true
					}
				}
			}
		case models.Add:
			s.inputs, s.add = node.Inputs[:1], node.Inputs[1]
		case models.Activation:
			s.act = node.Op.(models.Activation).Func
		case models.Flatten:
			// In NCHW, and for single pixels, the elements lie as they are wanted.
			from := p.at(node.Inputs[0])
			if e := from.extent(); (!nhwc || e[2]*e[3] == 1) && from.step == p.values[i].step {
				p.values[i].buffer = from.buffer
				continue
			}
		}
		switch node.Op.(type) {
		case models.Conv, models.Linear, models.BatchNorm, models.Add:
			if next := follower(); next != none {
				if a, ok := n.Nodes[next].Op.(models.Activation); ok {
					s.act, s.out, fused[next] = a.Func, next, true
				}
			}
		}
		p.steps = append(p.steps, s)
	}
	if r != nil {
		// Nodes come after what they read, so steps can run in the order of what they give.
		slices.SortFunc(p.steps, func(a, b planned) int { return cmp.Compare(a.out, b.out) })
	}
	p.layOut()
	return p, nil
}

// reads lists the values that a step reads.
func (s planned) reads() []int {
	if s.add == none {
		return s.inputs
	}
	return append(slices.Clone(s.inputs), s.add)
}

// alignment of values: cuDNN's vector loads want 16 bytes, a cache line is 128.
const alignment = 256

// layOut gives every value its place. Two values may share memory if no step lies
// between the first use of one and the last of the other; large values choose first,
// and each takes the lowest place that is free while it lives. The image is never
// overwritten, because one input serves many inferences.
func (p *plan) layOut() {
	type piece struct {
		buffer      int
		bytes       int64
		first, last int // steps
		offset      int64
	}
	pieces := make(map[int]*piece)
	touch := func(node, step int) {
		v := p.at(node)
		q := pieces[v.buffer]
		if q == nil {
			bytes := p.size(v)
			q = &piece{buffer: v.buffer, bytes: (bytes + alignment - 1) / alignment * alignment, first: step, last: step}
			pieces[v.buffer] = q
		}
		q.first, q.last = min(q.first, step), max(q.last, step)
	}
	touch(models.Image, -1)
	touch(models.Image, len(p.steps))
	for i, s := range p.steps {
		for _, node := range s.reads() {
			touch(node, i)
		}
		touch(s.out, i)
	}
	touch(len(p.network.Nodes)-1, len(p.steps))

	order := make([]*piece, 0, len(pieces))
	for _, q := range pieces {
		order = append(order, q)
	}
	slices.SortFunc(order, func(a, b *piece) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.buffer, b.buffer))
	})
	for i, q := range order {
		placed := slices.Clone(order[:i])
		slices.SortFunc(placed, func(a, b *piece) int { return cmp.Compare(a.offset, b.offset) })
		for _, other := range placed {
			together := q.first <= other.last && other.first <= q.last
			if together && q.offset < other.offset+other.bytes && other.offset < q.offset+q.bytes {
				q.offset = other.offset + other.bytes
			}
		}
		p.bytes = max(p.bytes, q.offset+q.bytes)
	}
	for i := range p.values {
		if q := pieces[p.values[i].buffer]; q != nil {
			p.values[i].offset = q.offset
		}
	}
}
