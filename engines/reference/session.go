package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"genbench/engines"
	"genbench/hardware/native"
	"genbench/models"
)

// A session is a list of steps over buffers that were laid out when it was built;
// running it allocates no tensor.
type session struct {
	input  models.Tensor
	output models.Tensor
	nodes  []string        // of the folded network, in order
	kinds  []string        // of the nodes' operators
	values []models.Tensor // of each node, until a later one takes its memory
	steps  []func()        // one per node
	crew   *crew
	bytes  int64
	call   *callback // nil once closed
}

func newSession(ctx context.Context, n *models.Network, o engines.BuildOptions) (*session, error) {
	if len(n.Nodes) == 0 || n.Weights == nil {
		return nil, fmt.Errorf("the network has %d nodes and weights %v", len(n.Nodes), n.Weights)
	}
	folded, err := models.Fold(n)
	if err != nil {
		return nil, err
	}
	shapes, err := folded.Shapes(o.Batch)
	if err != nil {
		return nil, err
	}
	s := &session{input: newTensor(folded.InputShape(o.Batch)), crew: &crew{threads: o.Threads}}
	values, bytes := layOut(folded, shapes)
	s.values = values
	s.bytes = bytes + 4*int64(len(s.input.Data))

	for i, node := range folded.Nodes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		params, err := s.load(folded.Weights, node)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", node.Name, err)
		}
		in := make([]models.Tensor, len(node.Inputs))
		for k, j := range node.Inputs {
			if j == models.Image {
				in[k] = s.input
			} else {
				in[k] = values[j]
			}
		}
		step, err := compile(s.crew, node.Op, in, params, values[i])
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", node.Name, err)
		}
		s.steps = append(s.steps, step)
		s.nodes, s.kinds = append(s.nodes, node.Name), append(s.kinds, node.Op.Kind())
	}
	s.crew.allocate()
	for _, scratch := range s.crew.scratch {
		s.bytes += 4 * int64(len(scratch))
	}
	s.output = values[len(values)-1]
	s.call = newCallback(s.run)
	return s, nil
}

// load gives the node's parameters in the order of models.Node.Params.
func (s *session) load(source models.WeightSource, node models.Node) ([][]float32, error) {
	specs := node.Params()
	params := make([][]float32, len(specs))
	for i, p := range specs {
		params[i] = make([]float32, p.Shape.Elements())
		if err := source.Load(p, params[i]); err != nil {
			return nil, err
		}
		s.bytes += 4 * int64(len(params[i]))
	}
	return params, nil
}

// layOut gives every node a tensor. Memory goes back to a pool when a value's
// last reader has run; the smallest free piece that fits is reused.
func layOut(n *models.Network, shapes []models.Shape) (values []models.Tensor, bytes int64) {
	last := make([]int, len(n.Nodes)) // the node that reads a value last
	for i := range last {
		last[i] = i
	}
	for i, node := range n.Nodes {
		for _, j := range node.Inputs {
			if j != models.Image {
				last[j] = i
			}
		}
	}
	dies := make([][]int, len(n.Nodes))
	for i, reader := range last {
		dies[reader] = append(dies[reader], i)
	}

	var free [][]float32
	values = make([]models.Tensor, len(n.Nodes))
	for i, shape := range shapes {
		size := shape.Elements()
		best := -1
		for k, piece := range free {
			if len(piece) >= size && (best < 0 || len(piece) < len(free[best])) {
				best = k
			}
		}
		var piece []float32
		if best >= 0 {
			piece = free[best]
			free = slices.Delete(free, best, best+1)
		} else {
			piece = make([]float32, size)
			bytes += 4 * int64(size)
		}
		values[i] = models.Tensor{Shape: shape, Data: piece[:size]}
		// Only now, so that no step writes over what it reads.
		for _, j := range dies[i] {
			data := values[j].Data
			free = append(free, data[:cap(data)])
		}
	}
	return values, bytes
}

func newTensor(s models.Shape) models.Tensor {
	return models.Tensor{Shape: s, Data: make([]float32, s.Elements())}
}

func (s *session) run() {
	for _, step := range s.steps {
		step()
	}
}

// observe runs one inference and shows each value before a later step overwrites it.
func (s *session) observe(ctx context.Context, see func(node string, values []float32) error) error {
	if err := see(models.InputName, s.input.Data); err != nil {
		return fmt.Errorf("%s: %w", models.InputName, err)
	}
	for i, step := range s.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		step()
		if err := see(s.nodes[i], s.values[i].Data); err != nil {
			return fmt.Errorf("node %s: %w", s.nodes[i], err)
		}
	}
	return nil
}

func (s *session) SetInput(t models.Tensor) error {
	if err := s.open("set input"); err != nil {
		return err
	}
	if !t.Shape.Equal(s.input.Shape) || len(t.Data) != len(s.input.Data) {
		return fmt.Errorf("set input: got shape %v with %d elements, the session takes %v", t.Shape, len(t.Data), s.input.Shape)
	}
	copy(s.input.Data, t.Data)
	return nil
}

func (s *session) Call() native.Call {
	if s.call == nil {
		return native.Call{}
	}
	return s.call.native()
}

func (s *session) Output() (models.Tensor, error) {
	if err := s.open("read output"); err != nil {
		return models.Tensor{}, err
	}
	return models.Tensor{Shape: slices.Clone(s.output.Shape), Data: slices.Clone(s.output.Data)}, nil
}

// Explain has nothing to add: a step cannot fail once it is built.
func (s *session) Explain(e *native.CallError) error {
	return fmt.Errorf("run on reference: %w", e)
}

func (s *session) Executed() engines.Execution {
	return engines.Execution{Precisions: map[string]int{string(models.FP32): len(s.steps)}, DeviceBytes: s.bytes}
}

func (s *session) Close() error {
	if s.call == nil {
		return nil
	}
	s.call.free()
	*s = session{} // gives the memory back
	return nil
}

func (s *session) open(verb string) error {
	if s.call == nil {
		return errors.New(verb + ": the session is closed")
	}
	return nil
}
