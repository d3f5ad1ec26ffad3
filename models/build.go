package models

import "fmt"

// A builder adds nodes to a network and keeps their shapes, so that a block knows what
// it is given and a mistake is reported where it is made. After its first error it does
// nothing more, so blocks need no error handling.
//
// Values are node indices. Everything is named after the state dict: a node with
// weights has their key, an activation appends its own name to that of the node it
// follows.
type builder struct {
	net     *Network
	epsilon float64 // of batch norms
	shapes  []Shape // by node, at batch 1
	names   map[string]bool
	err     error
}

func newBuilder(name string, resolution int) *builder {
	const nodes = 256 // most networks here have between 50 and 500
	return &builder{
		net:     &Network{Name: name, Resolution: resolution, Channels: 3, Nodes: make([]Node, 0, nodes)},
		epsilon: 1e-5,
		shapes:  make([]Shape, 0, nodes),
		names:   make(map[string]bool, nodes),
	}
}

// add appends a node and gives its index.
func (b *builder) add(name string, op Op, weights string, inputs ...int) int {
	if b.err != nil {
		return Image
	}
	if b.names[name] || name == InputName || name == OutputName {
		b.err = fmt.Errorf("node %s: the name is taken", name)
		return Image
	}
	b.names[name] = true
	shapes := make([]Shape, len(inputs))
	for i, x := range inputs {
		shapes[i] = b.shape(x)
	}
	node := Node{Name: name, Op: op, Inputs: inputs, Weights: weights}
	out, err := inferNode(node, shapes)
	if err == nil {
		err = checkStride(node, shapes[0])
	}
	if err != nil {
		b.err = err
		return Image
	}
	b.net.Nodes = append(b.net.Nodes, node)
	b.shapes = append(b.shapes, out)
	return len(b.net.Nodes) - 1
}

// checkStride refuses images so small that a layer strides over a single pixel:
// from there on the network would compute padding, and measuring that says nothing
// about it.
func checkStride(node Node, in Shape) error {
	stride := 1
	switch op := node.Op.(type) {
	case Conv:
		stride = op.Stride
	case MaxPool:
		stride = op.Stride
	case AvgPool:
		stride = op.Stride
	}
	if stride > 1 && in[2] < 2 {
		return fmt.Errorf("node %s: the stride of the %s has a single pixel to go over", node.Name, node.Op.Kind())
	}
	return nil
}

func (b *builder) shape(x int) Shape {
	if x == Image {
		return b.net.InputShape(1)
	}
	return b.shapes[x]
}

func (b *builder) channels(x int) int { return b.shape(x)[1] }

// A layer is a convolution with what usually follows it. The padding keeps the
// extent at stride 1.
type layer struct {
	conv   string // key of the convolution
	norm   string // key of the batch norm; empty: none
	out    int
	kernel int
	stride int // 0 means 1
	groups int // 0 means 1
	bias   bool
	act    ActivationFunc // empty: none
}

func (b *builder) layer(x int, l layer) int {
	pad := (l.kernel - 1) / 2
	y := b.add(l.conv, Conv{
		In: b.channels(x), Out: l.out, KernelH: l.kernel, KernelW: l.kernel,
		Stride: max(l.stride, 1), PadH: pad, PadW: pad, Dilation: 1, Groups: max(l.groups, 1), Bias: l.bias,
	}, l.conv, x)
	if l.norm != "" {
		y = b.norm(y, l.norm)
	}
	return b.act(y, l.act)
}

func (b *builder) norm(x int, key string) int {
	return b.add(key, BatchNorm{Channels: b.channels(x), Epsilon: b.epsilon}, key, x)
}

// act adds an activation; the empty function adds none.
func (b *builder) act(x int, f ActivationFunc) int {
	if f == "" || b.err != nil {
		return x
	}
	return b.add(b.net.Nodes[x].Name+"."+string(f), Activation{f}, "", x)
}

// classifier is how nearly every network ends: global average, one linear layer.
func (b *builder) classifier(x int, key string) int {
	x = b.add("pool", GlobalAvgPool{}, "", x)
	return b.linear(b.add("flatten", Flatten{}, "", x), key, classes)
}

// classes of ImageNet-1k.
const classes = 1000

func (b *builder) linear(x int, key string, out int) int {
	return b.add(key, Linear{In: b.channels(x), Out: out, Bias: true}, key, x)
}
