package models

import (
	"errors"
	"fmt"
	"slices"
)

// A knowledge is what is known of a value before anything has run.
type knowledge struct {
	shape Shape  // nil: not known
	why   string // the shape is not known
	// ints are the value itself, where it follows from shapes and constants alone.
	ints   []int64
	folded bool        // ints is the value
	real   bool        // and its type is a float
	tensor *fileTensor // the value itself, where it is stored
}

func (k knowledge) constant() bool { return k.folded || k.tensor != nil }

// An inference knows the shapes of all values at given inputs.
type inference struct {
	file    *File
	values  map[string]knowledge
	symbols map[string]int // what the inputs say of named extents
	macs    []int64        // by node
	stopped []bool         // by node: it was not understood
	stops   []string       // why, of the first few
	ints    int            // how many numbers have been computed so far
}

// infer goes once over the nodes. A node that is not understood stops only what depends
// on it.
func (f *File) infer(shapes map[string]Shape) (*inference, error) {
	in := &inference{
		file: f, values: make(map[string]knowledge, len(f.nodes)+len(f.tensors)),
		symbols: map[string]int{}, macs: make([]int64, len(f.nodes)), stopped: make([]bool, len(f.nodes)),
	}
	for _, input := range f.Inputs {
		s, ok := shapes[input.Name]
		if !ok {
			return nil, fmt.Errorf("read %s: no shape given for input %s", f.Path, shorten(input.Name))
		}
		if err := input.accepts(s); err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Path, err)
		}
		for i, d := range input.Shape {
			if d.Symbol != "" && d.Value == 0 {
				in.symbols[d.Symbol] = s[i]
			}
		}
		in.values[input.Name] = knowledge{shape: s}
	}
	for name, t := range f.tensors {
		in.values[name] = stored(t)
	}
	for i := range f.nodes {
		in.node(i)
	}
	return in, nil
}

// stored is what is known of a tensor in the file.
func stored(t *fileTensor) knowledge {
	k := knowledge{shape: t.shape, tensor: t}
	switch {
	case t.elem == ElemInt64 || t.elem == ElemInt32:
		if ints, err := t.ints(maxFolded); err == nil {
			k.ints, k.folded = ints, true
		}
	case t.elem.float() && t.shape.Elements() == 1:
		// Exporters compute extents in floats too (Resize, Range).
		var v [1]float32
		if err := t.floats(v[:]); err == nil && v[0] == float32(int32(v[0])) {
			k.ints, k.folded, k.real = []int64{int64(v[0])}, true, true
		}
	}
	return k
}

func (in *inference) node(i int) {
	node := &in.file.nodes[i]
	s := step{in: in, node: node}
	out, err := s.infer()
	if err == nil {
		for k := range out {
			if out[k].shape == nil {
				out[k].shape = Shape{} // of a number; nil would say that it is not known
			}
			if err = s.checkShape(out[k].shape); err != nil {
				break
			}
		}
	}
	if err == nil && len(out) < len(node.out) {
		// Further outputs (masks, statistics) that nothing reads at inference.
		why := fmt.Sprintf("node %s: only the first outputs of %s are followed", node.title(), node.operator())
		for len(out) < len(node.out) {
			out = append(out, knowledge{why: why})
		}
	}
	in.macs[i] = s.macs
	if err != nil {
		in.stopped[i] = true
		why := in.reason(node, err)
		out = make([]knowledge, len(node.out))
		for k, name := range node.out {
			if out[k] = in.declared(name); out[k].shape == nil {
				out[k].why = why
			}
		}
	}
	for k, name := range node.out {
		if name != "" {
			in.values[name] = out[k]
		}
	}
}

// reason says why a node was not understood; after the first few only that it was not,
// as a file may have a million of them.
func (in *inference) reason(node *fileNode, err error) string {
	var input *unknownInput
	switch {
	case errors.As(err, &input):
		// An output that is not followed is reported when a node reads it.
		if len(in.stops) < shownMisfits && !slices.Contains(in.stops, input.why) {
			in.stops = append(in.stops, input.why)
		}
		return input.why
	case len(in.stops) == shownMisfits:
		return "too many nodes are not understood to name them all"
	}
	why := shortenTo(fmt.Sprintf("node %s: %v", node.title(), err), 300)
	in.stops = append(in.stops, why)
	return why
}

// unknownInput says that a node was not understood because of another one.
type unknownInput struct{ why string }

func (e *unknownInput) Error() string { return "the shape of its input is not known: " + e.why }

// declared is what the file itself says about an inner value.
func (in *inference) declared(name string) knowledge {
	v, ok := in.file.values[name]
	if !ok || v.Shape == nil {
		return knowledge{}
	}
	shape := make(Shape, len(v.Shape))
	for i, d := range v.Shape {
		switch n, bound := in.symbols[d.Symbol]; {
		case d.Value > 0:
			shape[i] = d.Value
		case d.Symbol != "" && bound:
			shape[i] = n
		default:
			return knowledge{}
		}
	}
	if _, ok := product(shape); !ok {
		return knowledge{}
	}
	return knowledge{shape: shape}
}

// A step understands one node.
type step struct {
	in   *inference
	node *fileNode
	macs int64
}

// infer gives what is known of the outputs, or why nothing is.
func (s *step) infer() ([]knowledge, error) {
	if s.node.domain != "" {
		return nil, fmt.Errorf("operator %s is not ONNX's own", s.node.operator())
	}
	for name, a := range s.node.attributes {
		if a.graph {
			return nil, fmt.Errorf("operator %s holds a graph of its own in %s", s.node.operator(), shorten(name))
		}
	}
	switch s.node.op {
	case "Conv":
		return one(s.conv(0, 1))
	case "ConvInteger":
		return one(s.conv(0, 1))
	case "QLinearConv":
		return one(s.conv(0, 3))
	case "ConvTranspose":
		return one(s.convTranspose())
	case "Gemm":
		return one(s.gemm())
	case "MatMul", "MatMulInteger":
		return one(s.matMul(0, 1))
	case "QLinearMatMul":
		return one(s.matMul(0, 3))

	case "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Tanh", "Softplus",
		"Softsign", "ThresholdedRelu", "Gelu", "Mish", "Erf", "Exp", "Log", "Sqrt", "Abs", "Sign", "Reciprocal", "Sin",
		"Cos", "Not", "Clip", "Softmax", "LogSoftmax", "Hardmax", "BatchNormalization", "InstanceNormalization",
		"LayerNormalization", "GroupNormalization", "RMSNormalization", "LRN", "LpNormalization",
		"MeanVarianceNormalization", "QuantizeLinear", "DequantizeLinear", "IsNaN", "IsInf", "CumSum":
		return one(s.shape(0))
	case "Identity", "Dropout", "Cast", "CastLike", "Neg", "Floor", "Ceil", "Round":
		return s.same()
	case "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "And", "Or", "Xor", "Equal", "Less",
		"LessOrEqual", "Greater", "GreaterOrEqual", "Where", "PRelu":
		return s.elementwise()

	case "MaxPool", "AveragePool", "LpPool":
		x, err := s.image(0)
		if err != nil {
			return nil, err
		}
		y, err := s.pool(x)
		return []knowledge{{shape: y}, {shape: y}}[:min(2, max(1, len(s.node.out)))], err
	case "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool":
		x, err := s.image(0)
		if err != nil {
			return nil, err
		}
		y := slices.Clone(x)
		for i := 2; i < len(y); i++ {
			y[i] = 1
		}
		return one(y, nil)

	case "Constant":
		return s.constant()
	case "ConstantOfShape":
		return s.constantOfShape()
	case "Shape":
		return s.shapeOf()
	case "Size":
		x, err := s.shape(0)
		if err != nil {
			return nil, err
		}
		return foldedInts([]int64{int64(x.Elements())}, 0), nil
	case "Reshape":
		return s.reshape()
	case "Flatten":
		return one(s.flatten())
	case "Transpose":
		return one(s.transpose())
	case "Concat":
		return s.concat()
	case "Slice":
		return s.slice()
	case "Split":
		return s.split()
	case "Squeeze":
		return s.squeeze()
	case "Unsqueeze":
		return s.unsqueeze()
	case "Gather":
		return s.gather()
	case "Expand":
		return one(s.expand())
	case "Tile":
		return one(s.tile())
	case "Range":
		return s.rangeOf()
	case "Pad":
		return one(s.pad())
	case "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
		"ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin":
		return one(s.reduce())
	case "Resize", "Upsample":
		return one(s.resize())
	case "DepthToSpace", "SpaceToDepth":
		return one(s.blocks())
	}
	return nil, fmt.Errorf("operator %s is not understood", s.node.operator())
}

func (s *step) input(i int) (knowledge, bool) {
	if i >= len(s.node.in) || s.node.in[i] == "" {
		return knowledge{}, false
	}
	k, ok := s.in.values[s.node.in[i]]
	return k, ok
}

// shape gives the shape of an input that the operator must have.
func (s *step) shape(i int) (Shape, error) {
	k, ok := s.input(i)
	if !ok {
		return nil, fmt.Errorf("%s without input %d", s.node.operator(), i)
	}
	if k.shape == nil {
		return nil, &unknownInput{k.why}
	}
	return k.shape, nil
}

// image gives the shape of an input of at least batch, channels and one extent.
func (s *step) image(i int) (Shape, error) {
	x, err := s.shape(i)
	if err == nil && len(x) < 3 {
		err = fmt.Errorf("%s of shape %v", s.node.operator(), x)
	}
	return x, err
}

func (s *step) attributeInt(name string, usual int64) int64 {
	if a, ok := s.node.attributes[name]; ok {
		return a.i
	}
	return usual
}

func (s *step) attributeFloat(name string, usual float32) float32 {
	if a, ok := s.node.attributes[name]; ok {
		return a.f
	}
	return usual
}

// operand gives integers that are an attribute in old opsets and an input in new
// ones; false where they are left out. They are no more than a tensor has dimensions,
// or twice as many pads, or as many parts as the node has outputs.
func (s *step) operand(name string, input int) ([]int64, bool, error) {
	ints := s.node.attributes[name].ints
	if ints == nil {
		k, ok := s.input(input)
		if !ok {
			return nil, false, nil
		}
		if !k.folded {
			return nil, false, fmt.Errorf("its %s is computed at run time", name)
		}
		ints = k.ints
	}
	most := maxRank
	switch name {
	case "pads":
		most = 2 * maxRank
	case "split":
		most = len(s.node.out)
	}
	if len(ints) > most {
		return nil, false, fmt.Errorf("its %s has %d numbers, at most %d are possible", name, len(ints), most)
	}
	return ints, true, nil
}

// axis maps an axis into 0..rank.
func axisOf(axis int64, rank int) (int, error) {
	if axis < 0 {
		axis += int64(rank)
	}
	if axis < 0 || axis >= int64(rank) {
		return 0, fmt.Errorf("axis %d of a tensor of rank %d", axis, rank)
	}
	return int(axis), nil
}

// checkShape refuses what no machine could hold.
func (s *step) checkShape(shape Shape) error {
	if len(shape) > maxRank {
		return fmt.Errorf("%s gives a tensor of rank %d", s.node.operator(), len(shape))
	}
	for _, d := range shape {
		if d < 0 || d > maxExtent {
			return fmt.Errorf("%s gives the impossible shape %v", s.node.operator(), shape)
		}
	}
	if _, ok := product(shape); !ok {
		return fmt.Errorf("%s gives the impossible shape %v", s.node.operator(), shape)
	}
	return nil
}

func one(shape Shape, err error) ([]knowledge, error) {
	if err != nil {
		return nil, err
	}
	return []knowledge{{shape: shape}}, nil
}
