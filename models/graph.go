// Package models holds the networks genbench measures: their graphs, shapes and
// cost, deterministic or loaded weights, and the ONNX files written from them.
// It knows nothing of engines or hardware.
//
// New makes a network of the zoo by its name and List describes all of them; the
// families' files, such as genet.go, hold them as data. ONNX writes a network as it is
// deployed, in any Precision; for int8 and fp8 a Calibration first finds the Ranges of
// its activations. OpenSafetensors and WithWeights give it trained weights.
//
// OpenONNX reads a file that anyone's exporter wrote. File.Resolve settles the
// shapes of its inputs, File.Cost counts what an inference takes, and File.Network
// turns it into a Network where this package has its operators. Files are taken to be
// hostile: a damaged one gives a *DamagedError with the byte.
package models

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Shape is the extent of a tensor, outermost dimension first: N×C×H×W for
// images, N×C for features.
type Shape []int

func (s Shape) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = strconv.Itoa(d)
	}
	return strings.Join(parts, "x")
}

// Elements is the number of elements of a tensor of this shape.
func (s Shape) Elements() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Equal reports whether two shapes have the same rank and extents.
func (s Shape) Equal(t Shape) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

// product is the number of elements of a shape; false if an extent is negative or
// the number too large to count.
func product(s Shape) (int, bool) {
	n := 1
	for _, d := range s {
		if d == 0 {
			n = 0
		}
	}
	for _, d := range s {
		if d < 0 {
			return 0, false
		}
		var ok bool
		if n, ok = multiply(n, d); !ok {
			return 0, false
		}
	}
	return n, true
}

// multiply is a·b for numbers from 0 up; false if it overflows.
func multiply(a, b int) (int, bool) {
	if a != 0 && b > math.MaxInt/a {
		return 0, false
	}
	return a * b, true
}

// A Tensor is float32 data in row-major order.
type Tensor struct {
	Shape Shape
	Data  []float32
}

// Names of a network's ends in exported models.
const (
	InputName  = "input"
	OutputName = "logits"
)

// A Network is an inference graph for square images, independent of batch and
// precision. It is read-only once built and may be shared between goroutines.
type Network struct {
	Name       string
	Resolution int // input height and width
	Channels   int // of the input; 3 for images
	// Nodes are in topological order. The last node is the output.
	Nodes   []Node
	Weights WeightSource
	// namings lists the ways in which files keep its weights; nil: only under the keys
	// of Params.
	namings func() []naming
}

// Image is the index that stands for the network's input among a Node's Inputs.
const Image = -1

// A Node applies an operator to earlier nodes.
type Node struct {
	Name string // unique within the network, as in the source implementation where it has one
	Op   Op
	// Inputs index into Network.Nodes; Image is the network's input.
	Inputs []int
	// Weights is the prefix of the node's tensors in the source's state dict
	// ("stem.conv" for "stem.conv.weight"), empty for operators without any.
	Weights string
}

// InputShape is the shape of the input at a batch size.
func (n *Network) InputShape(batch int) Shape {
	return Shape{batch, n.Channels, n.Resolution, n.Resolution}
}

// Shapes infers the output shape of every node at a batch size. An error names
// the node and what it was given.
func (n *Network) Shapes(batch int) ([]Shape, error) {
	shapes := make([]Shape, len(n.Nodes))
	for i, node := range n.Nodes {
		in := make([]Shape, len(node.Inputs))
		for k, j := range node.Inputs {
			switch {
			case j == Image:
				in[k] = n.InputShape(batch)
			case j < 0 || j >= i:
				return nil, fmt.Errorf("network %s: node %s: input %d is not an earlier node", n.Name, node.Name, j)
			default:
				in[k] = shapes[j]
			}
		}
		out, err := inferNode(node, in)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", n.Name, err)
		}
		shapes[i] = out
	}
	return shapes, nil
}

// inferNode gives a node's output shape.
func inferNode(node Node, in []Shape) (Shape, error) {
	out, err := node.Op.infer(in)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", node.Name, err)
	}
	for _, d := range out {
		if d < 1 {
			return nil, fmt.Errorf("node %s: %s of %v gives the empty shape %v", node.Name, node.Op.Kind(), in, out)
		}
	}
	return out, nil
}

// Params lists the tensors of every node, in execution order.
func (n *Network) Params() []Param {
	var all []Param
	for _, node := range n.Nodes {
		all = append(all, node.Params()...)
	}
	return all
}

// Params lists the node's tensors under their state-dict keys.
func (n Node) Params() []Param {
	specs := n.Op.params()
	params := make([]Param, len(specs))
	for i, s := range specs {
		params[i] = Param{Key: n.Weights + "." + s.suffix, Shape: s.shape, Role: s.role}
	}
	return params
}

// A Role says what a tensor is for; the published rule for deterministic weights
// depends on it.
type Role int

const (
	Kernel   Role = iota // convolution (O×I/g×Kh×Kw) or linear (O×I) weight
	Bias                 // of a convolution or linear layer
	Gamma                // batch norm weight
	Beta                 // batch norm bias
	Mean                 // batch norm running mean
	Variance             // batch norm running variance
)

// A Param is a tensor that a network needs.
type Param struct {
	Key   string // state-dict key
	Shape Shape
	Role  Role
}

// A WeightSource gives the values of parameters. Implementations are safe for
// concurrent use.
type WeightSource interface {
	// Load fills dst, whose length is p.Shape.Elements().
	Load(p Param, dst []float32) error
	// Origin says in a word or a path where the weights come from.
	Origin() string
}

type paramSpec struct {
	suffix string
	shape  Shape
	role   Role
}
