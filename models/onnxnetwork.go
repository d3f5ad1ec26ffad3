package models

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Network makes the file a network, at shapes that Resolve gave, where the operators of
// this package can express all that its nodes do: a plain convolutional network on
// square float32 images. Anything else gives an *UnsupportedError that names the first
// node in the way.
//
// Batch norms stay nodes; activations, channel shuffles and biases that the file
// spells out in several nodes become one. The weights are loaded from the file,
// which must stay open as long as the network is used.
func (f *File) Network(shapes map[string]Shape) (*Network, error) {
	var n *Network
	err := f.file.look(func([]byte) error {
		in, err := f.infer(shapes)
		if err != nil {
			return err
		}
		l := &lift{file: f, in: in, values: map[string]lifted{}, names: map[string]int{InputName: 1, OutputName: 1}, weights: fileWeights{f, map[string]fileParam{}}}
		n, err = l.network()
		return err
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// A lift turns the nodes of a file into those of a network.
type lift struct {
	file    *File
	in      *inference
	net     *Network
	batch   int
	shapes  []Shape        // by node of the network
	names   map[string]int // how often a name was wanted
	values  map[string]lifted
	readers map[string]int // of the file's values
	// reads counts what reads each node of the network, as far as its names are known:
	// the readers of all of them, except nodes that only give it another name.
	reads   []int
	weights fileWeights
}

// A lifted value is a node of the network, or a step on the way to one.
type lifted struct {
	node int
	form form
	by   *fileNode // that made the form
	pads [2]int    // padded: height and width
	n    int       // grouped, swapped, halved, weighed: the number of groups
}

// A form is what a file's nodes that only together are an operator have made of a value
// so far.
type form int

const (
	asNode  form = iota
	raised       // x + 3
	bounded      // relu6(x + 3)
	gated        // x·relu6(x + 3)
	padded       // zeros around
	grouped      // N×C×H×W as N×G×C/G×H×W
	swapped      // the same, both extents of the channels swapped
	halved       // N×C×1×1 as N×R×C/R
	weighed      // the same after a softmax over R
)

func (l *lift) unsupported(node *fileNode, format string, a ...any) error {
	return &UnsupportedError{Path: l.file.Path, Node: node.title(), Op: node.operator(), Reason: shortenTo(fmt.Sprintf(format, a...), 300)}
}

func (l *lift) network() (*Network, error) {
	f := l.file
	refuse := func(name, format string, a ...any) (*Network, error) {
		return nil, &UnsupportedError{Path: f.Path, Node: name, Op: "input", Reason: fmt.Sprintf(format, a...)}
	}
	if len(f.Inputs) != 1 {
		return refuse("", "the file has %d inputs, a network has one", len(f.Inputs))
	}
	if len(f.Outputs) != 1 {
		return refuse("", "the file has %d outputs, a network has one", len(f.Outputs))
	}
	input := f.Inputs[0]
	image := l.in.values[input.Name].shape
	if input.Elem != ElemFloat32 {
		return refuse(input.Name, "it is %s, want float32", input.Elem)
	}
	if len(image) != 4 || image[2] != image[3] {
		return refuse(input.Name, "its shape is %v, want N×C×H×W with square images", image)
	}
	l.batch = image[0]
	l.net = &Network{Name: strings.TrimSuffix(f.Origin(), ".onnx"), Channels: image[1], Resolution: image[2], Weights: l.weights}
	l.values[input.Name] = lifted{node: Image}
	l.readers = map[string]int{f.Outputs[0].Name: 1}
	for i := range f.nodes {
		for _, name := range f.nodes[i].in {
			l.readers[name]++
		}
	}
	for i := range f.nodes {
		if err := l.lift(i); err != nil {
			return nil, err
		}
	}
	out := f.Outputs[0].Name
	last, ok := l.values[out]
	switch {
	case !ok && l.in.values[out].constant():
		return refuse(out, "the output is a constant")
	case !ok:
		return refuse(out, "the output is a further one of a node, which is not followed")
	}
	if last.form != asNode {
		return nil, l.unfinished(last)
	}
	if last.node == Image {
		return refuse(out, "the output is the input")
	}
	return l.prune(last.node), nil
}

// unfinished says that a node is not part of any operator.
func (l *lift) unfinished(v lifted) error {
	return l.unsupported(v.by, "on its own it is not an operator of a network")
}

// prune keeps what the output depends on.
func (l *lift) prune(last int) *Network {
	used := make([]bool, last+1)
	used[last] = true
	for i := last; i >= 0; i-- {
		for _, j := range l.net.Nodes[i].Inputs {
			if used[i] && j != Image {
				used[j] = true
			}
		}
	}
	var nodes []Node
	place := make([]int, last+1)
	for i, node := range l.net.Nodes[:last+1] {
		if !used[i] {
			continue
		}
		for k, j := range node.Inputs {
			if j != Image {
				node.Inputs[k] = place[j]
			}
		}
		place[i] = len(nodes)
		nodes = append(nodes, node)
	}
	l.net.Nodes = nodes
	return l.net
}

// known is what the inference says about a node's input.
func (l *lift) known(node *fileNode, i int) (knowledge, bool) {
	s := step{in: l.in, node: node}
	return s.input(i)
}

// any gives a node's input in whatever form.
func (l *lift) any(node *fileNode, i int) (lifted, error) {
	if i >= len(node.in) {
		return lifted{}, l.unsupported(node, "it has %d inputs", len(node.in))
	}
	name := node.in[i]
	v, ok := l.values[name]
	switch k, _ := l.known(node, i); {
	case name == "":
		return v, l.unsupported(node, "it is without input %d", i)
	case !ok && k.constant():
		return v, l.unsupported(node, "its input %s is a constant, want one that is computed", shorten(name))
	case !ok:
		return v, l.unsupported(node, "its input %s is a further output of a node, which is not followed", shorten(name))
	}
	return v, nil
}

// plain gives a node's input, which must be a node of the network.
func (l *lift) plain(node *fileNode, i int) (int, error) {
	v, err := l.any(node, i)
	if err == nil && v.form != asNode {
		err = l.unfinished(v)
	}
	return v.node, err
}

// stored gives a node's input that must be floats in the file.
func (l *lift) stored(node *fileNode, i int) (*fileTensor, error) {
	k, ok := l.known(node, i)
	switch {
	case !ok || k.tensor == nil:
		return nil, l.unsupported(node, "its input %d is not stored in the file", i)
	case k.tensor.external != "":
		return nil, l.unsupported(node, "the values of %s are in another file, %s, which is not read", shorten(node.in[i]), shorten(k.tensor.external))
	case !k.tensor.elem.float():
		return nil, l.unsupported(node, "%s is %s, want a float", shorten(node.in[i]), k.tensor.elem)
	}
	return k.tensor, nil
}

// number gives an input that is a single number in the file.
func (l *lift) number(node *fileNode, i int) (float32, bool) {
	k, ok := l.known(node, i)
	if !ok || k.tensor == nil || k.shape.Elements() != 1 {
		return 0, false
	}
	var v [1]float32
	if err := k.tensor.floats(v[:]); err != nil {
		return 0, false
	}
	return v[0], true
}

func (l *lift) shape(x int) Shape {
	if x == Image {
		return l.net.InputShape(l.batch)
	}
	return l.shapes[x]
}

// add appends a node to the network and makes it a value of the file. The two
// must agree about its shape: an operator that was misread would be noticed here.
func (l *lift) add(node *fileNode, out int, op Op, inputs ...int) error {
	shapes := make([]Shape, len(inputs))
	for i, x := range inputs {
		shapes[i] = l.shape(x)
	}
	added := Node{Name: l.unique(l.name(node, out)), Op: op, Inputs: inputs}
	if len(op.params()) > 0 {
		added.Weights = added.Name
	}
	got, err := inferNode(added, shapes)
	if err != nil {
		return l.unsupported(node, "%s", strings.TrimPrefix(err.Error(), "node "+added.Name+": "))
	}
	if want := l.in.values[node.out[out]].shape; !got.Equal(want) {
		return l.unsupported(node, "a network's %s gives %v here, the file's %v", op.Kind(), got, want)
	}
	l.append(added, got)
	l.reads[len(l.reads)-1] = l.readers[node.out[out]]
	l.values[node.out[out]] = lifted{node: len(l.net.Nodes) - 1}
	return nil
}

// append appends a node to the network that is no value of the file.
func (l *lift) append(node Node, shape Shape) {
	l.net.Nodes = append(l.net.Nodes, node)
	l.shapes = append(l.shapes, shape)
	l.reads = append(l.reads, 0)
}

// name is the file's for a node or one of its outputs, without the slashes that
// exporters write between modules.
func (l *lift) name(node *fileNode, out int) string {
	name := node.name
	if name == "" || len(node.out) > 1 {
		name = node.out[out]
	}
	name = strings.TrimSuffix(strings.Trim(name, "/"), "/"+node.op)
	name = strings.ReplaceAll(name, "/", ".")
	if name == "" {
		name = strings.ToLower(node.op)
	}
	return name
}

// unique gives a name that no node of the network has, and keeps it.
func (l *lift) unique(name string) string {
	unique := name
	for l.names[unique] > 0 {
		l.names[name]++
		unique = fmt.Sprintf("%s_%d", name, l.names[name])
	}
	l.names[unique] = 1
	return unique
}

// pass gives a value of the file another name.
func (l *lift) pass(node *fileNode, v lifted) {
	l.values[node.out[0]] = v
	if v.form != asNode || v.node == Image {
		return
	}
	l.reads[v.node] += l.readers[node.out[0]]
	if from, ok := l.values[node.in[0]]; ok && from.form == asNode && from.node == v.node {
		l.reads[v.node]-- // this node itself, which disappears
	}
}

func (l *lift) lift(i int) error {
	node := &l.file.nodes[i]
	if !slices.ContainsFunc(node.out, func(name string) bool { return name != "" }) {
		return l.unsupported(node, "it has no output")
	}
	s := step{in: l.in, node: node}
	if l.in.stopped[i] {
		_, err := s.infer()
		if err == nil {
			err = errors.New("it gives an impossible shape")
		}
		return l.unsupported(node, "%v", err)
	}
	constant := true
	for _, out := range node.out {
		constant = constant && l.in.values[out].constant()
	}
	if constant {
		return nil
	}
	switch node.op {
	case "Conv":
		return l.conv(&s)
	case "Gemm", "MatMul":
		return l.linear(&s)
	case "BatchNormalization":
		return l.norm(&s)
	case "Relu":
		return l.activation(node, ReLU)
	case "Sigmoid":
		return l.activation(node, Sigmoid)
	case "HardSwish":
		return l.activation(node, HardSwish)
	case "HardSigmoid":
		if a, b := s.attributeFloat("alpha", 0.2), s.attributeFloat("beta", 0.5); !near(a, 1./6) || b != 0.5 {
			return l.unsupported(node, "alpha %g and beta %g, want 1/6 and 0.5", a, b)
		}
		return l.activation(node, HardSigmoid)
	case "Clip":
		return l.clip(&s)
	case "Add":
		return l.sum(node)
	case "Mul":
		return l.product(node)
	case "Div":
		if six, ok := l.number(node, 1); ok && six == 6 {
			return l.sixth(node, 0)
		}
	case "Concat":
		return l.concat(&s)
	case "Slice":
		return l.slice(node)
	case "Split":
		return l.split(&s)
	case "MaxPool", "AveragePool":
		return l.pool(&s)
	case "GlobalAveragePool":
		x, err := l.plain(node, 0)
		if err != nil {
			return err
		}
		return l.add(node, 0, GlobalAvgPool{}, x)
	case "ReduceMean":
		return l.mean(&s)
	case "Pad":
		return l.pad(&s)
	case "Flatten", "Reshape", "Squeeze", "Unsqueeze":
		return l.view(node)
	case "Transpose":
		return l.transpose(node)
	case "Softmax":
		return l.softmax(&s)
	case "Dropout":
		return l.dropout(&s)
	case "Identity":
		x, err := l.any(node, 0)
		if err != nil {
			return err
		}
		l.pass(node, x)
		return nil
	}
	return l.unsupported(node, "it is not an operator of a network")
}

// fileWeights are the tensors of a file under the keys of a network.
type fileWeights struct {
	file   *File
	params map[string]fileParam
}

type fileParam struct {
	tensor     *fileTensor
	transposed bool // from input×output to output×input
}

func (w fileWeights) Origin() string { return w.file.Origin() }

func (w fileWeights) Load(p Param, dst []float32) error {
	source, ok := w.params[p.Key]
	if !ok || len(dst) != p.Shape.Elements() {
		return fmt.Errorf("load %s from %s: no such tensor of shape %v", p.Key, w.file.Path, p.Shape)
	}
	err := w.file.file.look(func([]byte) error {
		if !source.transposed {
			return source.tensor.floats(dst)
		}
		values := make([]float32, len(dst))
		if err := source.tensor.floats(values); err != nil {
			return err
		}
		rows, columns := source.tensor.shape[0], source.tensor.shape[1]
		for r := range rows {
			for c := range columns {
				dst[c*rows+r] = values[r*columns+c]
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load %s from %s: tensor %s: %w", p.Key, w.file.Path, shorten(source.tensor.name), err)
	}
	return nil
}
