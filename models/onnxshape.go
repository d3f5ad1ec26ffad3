package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// FileCost is what one inference of a file takes at given shapes of its inputs,
// counted, not measured.
type FileCost struct {
	// Params are the constants that a training would have learned: floating-point
	// tensors that nodes read, and integer ones where they stand for floats, without
	// the running statistics of batch norms, scales and zero points.
	Params int64 `json:"params"`
	// MACs are the multiply-accumulates of convolutions and matrix products for the
	// whole batch, products of two activations included; nil where a node is not
	// understood.
	MACs *int64 `json:"macs"`
	// Unknown says of each node that stopped the counting why; only the first few.
	Unknown []string    `json:"unknown,omitempty"`
	Layers  []FileLayer `json:"layers"`
}

// FileLayer is a node's share.
type FileLayer struct {
	Name   string  `json:"name"`
	Op     string  `json:"op"`
	Inputs []Shape `json:"inputs"` // of what is computed at run time
	Output Shape   `json:"output"` // of the first output, nil where not known
	Params int64   `json:"params"`
	MACs   *int64  `json:"macs"`
}

// Cost counts the file at shapes that Resolve gave. Nodes that compute nothing but
// shapes and constants are left out of the layers.
func (f *File) Cost(shapes map[string]Shape) (FileCost, error) {
	var cost FileCost
	err := f.file.look(func([]byte) error {
		in, err := f.infer(shapes)
		if err != nil {
			return err
		}
		cost = in.cost()
		return nil
	})
	return cost, err
}

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
	ints    int            // how many numbers are folded by now
}

// infer goes once over the nodes. A node that is not understood stops nothing but
// what depends on it.
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
		for len(out) < len(node.out) {
			out = append(out, knowledge{why: "only the first outputs of " + node.operator() + " are followed"})
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
		if in.ints += len(out[k].ints); in.ints > maxFoldedTotal {
			out[k].ints, out[k].folded = nil, false
		}
		if name != "" {
			in.values[name] = out[k]
		}
	}
}

// reason says why a node was not understood; behind the first few only that one
// was not, as a file may have a million of them.
func (in *inference) reason(node *fileNode, err error) string {
	var input *unknownInput
	switch {
	case errors.As(err, &input):
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

// declared is what the file itself says of a value inside.
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

func (in *inference) cost() FileCost {
	var cost FileCost
	cost.Unknown = in.stops
	counted := map[*fileTensor]bool{}
	total, known := int64(0), true
	for i := range in.file.nodes {
		node := &in.file.nodes[i]
		layer := FileLayer{Name: node.title(), Op: node.operator()}
		constant := !in.stopped[i]
		for _, out := range node.out {
			constant = constant && in.values[out].constant()
		}
		for k, name := range node.in {
			v := in.values[name]
			if t := v.tensor; t != nil && !counted[t] && isParameter(node, k, t) {
				counted[t] = true
				layer.Params += int64(t.shape.Elements())
			}
			if name != "" && !v.constant() {
				layer.Inputs = append(layer.Inputs, v.shape)
			}
		}
		cost.Params += layer.Params
		if in.stopped[i] {
			known = false
		} else {
			macs := in.macs[i]
			layer.MACs = &macs
			if total += macs; total < 0 {
				known = false
			}
		}
		if constant {
			continue
		}
		if len(node.out) > 0 {
			layer.Output = in.values[node.out[0]].shape
		}
		cost.Layers = append(cost.Layers, layer)
	}
	if known {
		cost.MACs = &total
	}
	return cost
}

// isParameter tells whether a stored tensor is something learned, in this place.
func isParameter(node *fileNode, place int, t *fileTensor) bool {
	switch node.op {
	case "DequantizeLinear": // integers that stand for floats
		return place == 0
	case "ConvInteger", "MatMulInteger":
		return place == 1
	case "QLinearMatMul":
		return place == 3
	case "QLinearConv":
		return place == 3 || place == 8
	case "BatchNormalization":
		return place < 3
	case "Identity": // whoever reads its output has the parameter
		return false
	case "QuantizeLinear", "Clip", "Resize", "Upsample", "Pad", "Dropout", "Constant", "Shape":
		return false
	case "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where":
		return t.elem.float() && t.shape.Elements() > 1 // one number is part of a formula
	}
	return t.elem.float()
}

// A step understands one node.
type step struct {
	in   *inference
	node *fileNode
	macs int64
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
// ones; false where they are left out.
func (s *step) operand(name string, input int) ([]int64, bool, error) {
	if a, ok := s.node.attributes[name]; ok && a.ints != nil {
		return a.ints, true, nil
	}
	k, ok := s.input(input)
	if !ok {
		return nil, false, nil
	}
	if !k.folded {
		return nil, false, fmt.Errorf("its %s is computed at run time", name)
	}
	return k.ints, true, nil
}

// axis brings an axis into 0..rank.
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

// folded makes a value that is known: a list, or a number where rank is 0.
func foldedInts(ints []int64, rank int) []knowledge {
	shape := Shape{}
	if rank > 0 {
		shape = Shape{len(ints)}
	}
	return []knowledge{{shape: shape, ints: ints, folded: true}}
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

// windows is how a convolution or pool goes over its extents.
type windows struct{ kernel, strides, dilations, before, after []int }

// windows reads the attributes for so many extents; kernel may be nil.
func (s *step) windows(x Shape, kernel []int) (windows, error) {
	n := len(x) - 2
	w := windows{kernel: kernel, before: make([]int, n), after: make([]int, n)}
	list := func(name string, length int, usual int) ([]int, error) {
		a, ok := s.node.attributes[name]
		if !ok {
			return slices.Repeat([]int{usual}, length), nil
		}
		if len(a.ints) != length {
			return nil, fmt.Errorf("%s has %d numbers, want %d", name, len(a.ints), length)
		}
		values := make([]int, length)
		for i, v := range a.ints {
			if v < 0 || v > math.MaxInt32 || (v == 0 && usual == 1) {
				return nil, fmt.Errorf("%s %d", name, v)
			}
			values[i] = int(v)
		}
		return values, nil
	}
	var err error
	if given, ok := s.node.attributes["kernel_shape"]; ok || kernel == nil {
		if !ok {
			return w, errors.New("no kernel_shape")
		}
		if w.kernel, err = list("kernel_shape", n, 1); err != nil {
			return w, err
		}
		if kernel != nil && !slices.Equal(kernel, w.kernel) {
			return w, fmt.Errorf("kernel_shape %v, the weights have %v", given.ints, kernel)
		}
	}
	if w.strides, err = list("strides", n, 1); err != nil {
		return w, err
	}
	if w.dilations, err = list("dilations", n, 1); err != nil {
		return w, err
	}
	pads, err := list("pads", 2*n, 0)
	if err != nil {
		return w, err
	}
	switch auto := s.node.attributes["auto_pad"].s; auto {
	case "", "NOTSET":
		copy(w.before, pads[:n])
		copy(w.after, pads[n:])
	case "VALID":
	case "SAME_UPPER", "SAME_LOWER":
		for i := range n {
			out := (x[i+2] + w.strides[i] - 1) / w.strides[i]
			total := max(0, (out-1)*w.strides[i]+w.span(i)-x[i+2])
			w.before[i], w.after[i] = total/2, total-total/2
			if auto == "SAME_LOWER" {
				w.before[i], w.after[i] = w.after[i], w.before[i]
			}
		}
	default:
		return w, fmt.Errorf("auto_pad %s", shorten(auto))
	}
	return w, nil
}

// span is how far a window reaches, dilation included.
func (w windows) span(i int) int { return w.dilations[i]*(w.kernel[i]-1) + 1 }

// out gives an extent behind the windows; with ceil a last window that would
// start behind the input and its leading padding is left out.
func (w windows) out(i, extent int, ceil bool) (int, error) {
	room := extent + w.before[i] + w.after[i] - w.span(i)
	if room < 0 {
		return 0, fmt.Errorf("a window of %d does not fit %d with padding %d and %d", w.span(i), extent, w.before[i], w.after[i])
	}
	if !ceil {
		return room/w.strides[i] + 1, nil
	}
	n := (room+w.strides[i]-1)/w.strides[i] + 1
	if (n-1)*w.strides[i] >= extent+w.before[i] {
		n--
	}
	return n, nil
}

// weights gives the shape of a convolution's kernel and its extents.
func (s *step) weights(x Shape, place int) (Shape, []int, error) {
	w, err := s.shape(place)
	if err != nil {
		return nil, nil, err
	}
	if len(w) != len(x) {
		return nil, nil, fmt.Errorf("a kernel %v for an input %v", w, x)
	}
	for _, d := range w {
		if d == 0 {
			return nil, nil, fmt.Errorf("a kernel %v", w)
		}
	}
	return w, w[2:], nil
}

func (s *step) conv(input, kernel int) (Shape, error) {
	x, err := s.image(input)
	if err != nil {
		return nil, err
	}
	w, extents, err := s.weights(x, kernel)
	if err != nil {
		return nil, err
	}
	groups := s.attributeInt("group", 1)
	if groups < 1 || groups > int64(w[0]) || int64(w[0])%groups != 0 || int64(x[1]) != groups*int64(w[1]) {
		return nil, fmt.Errorf("a kernel %v in %d groups for an input %v", w, groups, x)
	}
	win, err := s.windows(x, extents)
	if err != nil {
		return nil, err
	}
	y := Shape{x[0], w[0]}
	for i := range extents {
		n, err := win.out(i, x[i+2], false)
		if err != nil {
			return nil, err
		}
		y = append(y, n)
	}
	return y, s.count(y, w[1:])
}

// count multiplies extents to MACs.
func (s *step) count(shapes ...Shape) error {
	total := 1
	for _, shape := range shapes {
		n, ok := product(shape)
		if ok {
			total, ok = multiply(total, n)
		}
		if !ok {
			return fmt.Errorf("%v are more multiply-accumulates than can be counted", shapes)
		}
	}
	s.macs = int64(total)
	return nil
}

func (s *step) convTranspose() (Shape, error) {
	x, err := s.image(0)
	if err != nil {
		return nil, err
	}
	w, extents, err := s.weights(x, 1)
	if err != nil {
		return nil, err
	}
	groups := s.attributeInt("group", 1)
	if groups < 1 || groups > math.MaxInt32 || x[1] != w[0] || int64(w[0])%groups != 0 {
		return nil, fmt.Errorf("a kernel %v in %d groups for an input %v", w, groups, x)
	}
	for _, name := range []string{"output_shape", "auto_pad"} {
		if a, ok := s.node.attributes[name]; ok && a.s != "NOTSET" {
			return nil, fmt.Errorf("ConvTranspose with %s is not understood", name)
		}
	}
	win, err := s.windows(x, extents)
	if err != nil {
		return nil, err
	}
	extra := s.node.attributes["output_padding"].ints
	if extra == nil {
		extra = make([]int64, len(extents))
	}
	if len(extra) != len(extents) {
		return nil, fmt.Errorf("output_padding %v", extra)
	}
	y := Shape{x[0], w[1] * int(groups)}
	for i := range extents {
		if extra[i] < 0 || extra[i] > math.MaxInt32 {
			return nil, fmt.Errorf("output_padding %v", extra)
		}
		y = append(y, win.strides[i]*(x[i+2]-1)+int(extra[i])+win.span(i)-win.before[i]-win.after[i])
	}
	// Every element of the input meets the whole kernel of its group.
	return y, s.count(x, w[1:])
}

func (s *step) gemm() (Shape, error) {
	a, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	b, err := s.shape(1)
	if err != nil {
		return nil, err
	}
	if len(a) != 2 || len(b) != 2 {
		return nil, fmt.Errorf("Gemm of %v and %v", a, b)
	}
	if s.attributeInt("transA", 0) != 0 {
		a = Shape{a[1], a[0]}
	}
	if s.attributeInt("transB", 0) != 0 {
		b = Shape{b[1], b[0]}
	}
	if a[1] != b[0] {
		return nil, fmt.Errorf("Gemm of %v and %v", a, b)
	}
	return Shape{a[0], b[1]}, s.count(a, Shape{b[1]})
}

func (s *step) matMul(left, right int) (Shape, error) {
	a, err := s.shape(left)
	if err != nil {
		return nil, err
	}
	b, err := s.shape(right)
	if err != nil {
		return nil, err
	}
	if len(a) == 0 || len(b) == 0 {
		return nil, fmt.Errorf("MatMul of %v and %v", a, b)
	}
	rows, columns := len(a) > 1, len(b) > 1 // else a vector, whose other extent is left out
	if !rows {
		a = Shape{1, a[0]}
	}
	if !columns {
		b = Shape{b[0], 1}
	}
	m, k, n := a[len(a)-2], a[len(a)-1], b[len(b)-1]
	stack, err := broadcast(a[:len(a)-2], b[:len(b)-2])
	if err != nil || b[len(b)-2] != k {
		return nil, fmt.Errorf("MatMul of %v and %v", a, b)
	}
	y := slices.Clone(stack)
	if rows {
		y = append(y, m)
	}
	if columns {
		y = append(y, n)
	}
	return y, s.count(stack, Shape{m, k, n})
}

// broadcast is the shape that both spread to, as in numpy.
func broadcast(a, b Shape) (Shape, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	y := slices.Clone(a)
	for i := range b {
		k := len(a) - len(b) + i
		switch {
		case a[k] == b[i] || b[i] == 1:
		case a[k] == 1:
			y[k] = b[i]
		default:
			return nil, fmt.Errorf("shapes %v and %v do not go together", a, b)
		}
	}
	return y, nil
}

// same passes the first input on, with its value.
func (s *step) same() ([]knowledge, error) {
	if _, err := s.shape(0); err != nil {
		return nil, err
	}
	k, _ := s.input(0)
	switch s.node.op {
	case "Cast":
		to := ElemType(s.attributeInt("to", 0))
		k.tensor, k.real = nil, to.float()
		if !k.real && to != ElemInt64 && to != ElemInt32 {
			k.ints, k.folded = nil, false
		}
	case "Floor", "Ceil", "Round":
		k.tensor = nil
	case "CastLike":
		k = knowledge{shape: k.shape}
	case "Neg":
		k.tensor = nil
		k.ints = slices.Clone(k.ints)
		for i := range k.ints {
			k.ints[i] = -k.ints[i]
		}
	}
	if s.node.op == "Dropout" && len(s.node.out) > 1 {
		return []knowledge{k, {shape: k.shape}}, nil
	}
	return []knowledge{k}, nil
}

func (s *step) elementwise() ([]knowledge, error) {
	y, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	first, _ := s.input(0)
	folded, real := first.folded, first.real
	for i := 1; i < len(s.node.in); i++ {
		x, err := s.shape(i)
		if err != nil {
			return nil, err
		}
		k, _ := s.input(i)
		folded = folded && k.folded
		real = real || k.real
		if y, err = broadcast(y, x); err != nil {
			return nil, err
		}
	}
	out := knowledge{shape: y, real: real}
	if folded {
		out.ints, out.folded = s.fold(y, real)
	}
	return []knowledge{out}, nil
}

// affords tells whether so many more numbers may be computed ahead of time: shape
// arithmetic is short, and a file that pretends otherwise must not take minutes.
func (s *step) affords(n int) bool { return n <= maxFolded && s.in.ints+n <= maxFoldedTotal }

// fold computes integers, element by element; false where the operator is not one
// of shape arithmetic.
func (s *step) fold(y Shape, real bool) ([]int64, bool) {
	n, ok := product(y)
	if !ok || !s.affords(n) || len(y) > 1 || len(s.node.in) < 2 {
		return nil, false
	}
	lists := make([][]int64, len(s.node.in))
	for k := range lists {
		known, _ := s.input(k)
		lists[k] = known.ints
	}
	operand := func(input, i int) int64 {
		if list := lists[input]; len(list) != 1 {
			return list[i]
		}
		return lists[input][0]
	}
	out := make([]int64, n)
	for i := range out {
		a, b := operand(0, i), operand(1, i)
		switch s.node.op {
		case "Add":
			out[i] = a + b
		case "Sub":
			out[i] = a - b
		case "Mul":
			out[i] = a * b
		case "Div":
			if b == 0 || real && a%b != 0 {
				return nil, false
			}
			out[i] = a / b // both round towards zero
		case "Mod":
			if b == 0 || a < 0 || b < 0 {
				return nil, false
			}
			out[i] = a % b
		case "Min":
			out[i] = min(a, b)
		case "Max":
			out[i] = max(a, b)
		case "Equal":
			if a == b {
				out[i] = 1
			}
		case "Where":
			if len(s.node.in) < 3 {
				return nil, false
			}
			if out[i] = operand(2, i); a != 0 {
				out[i] = b
			}
		default:
			return nil, false
		}
	}
	return out, len(s.node.in) == 2 || s.node.op == "Where"
}

func (s *step) pool(x Shape) (Shape, error) {
	win, err := s.windows(x, nil)
	if err != nil {
		return nil, err
	}
	y := Shape{x[0], x[1]}
	for i := range win.kernel {
		n, err := win.out(i, x[i+2], s.attributeInt("ceil_mode", 0) != 0)
		if err != nil {
			return nil, err
		}
		y = append(y, n)
	}
	return y, nil
}

func (s *step) constant() ([]knowledge, error) {
	for name, a := range s.node.attributes {
		switch name {
		case "value":
			if a.tensor != nil {
				return []knowledge{stored(a.tensor)}, nil
			}
		case "value_int":
			return foldedInts([]int64{a.i}, 0), nil
		case "value_ints":
			return foldedInts(a.ints, 1), nil
		case "value_float":
			return []knowledge{{shape: Shape{}, tensor: floatTensor(Shape{}, a.f)}}, nil
		case "value_floats":
			shape := Shape{len(a.floats)}
			return []knowledge{{shape: shape, tensor: floatTensor(shape, a.floats...)}}, nil
		}
	}
	return nil, errors.New("a constant without a value that is understood")
}

// floatTensor stores floats as a file would.
func floatTensor(shape Shape, values ...float32) *fileTensor {
	t := &fileTensor{elem: ElemFloat32, shape: shape, raw: make([]byte, 0, 4*len(values))}
	for _, v := range values {
		t.raw = binary.LittleEndian.AppendUint32(t.raw, math.Float32bits(v))
	}
	return t
}

func (s *step) constantOfShape() ([]knowledge, error) {
	dims, ok, err := s.operand("shape", 0)
	if err != nil || !ok {
		return nil, errors.New("its shape is computed at run time")
	}
	y, err := shapeFrom(dims)
	if err != nil {
		return nil, err
	}
	out := knowledge{shape: y}
	if n, ok := product(y); ok && s.affords(n) && len(y) <= 1 {
		if t := s.node.attributes["value"].tensor; t != nil { // else a float, 0
			if ints, err := t.ints(1); err == nil && len(ints) == 1 {
				out.ints, out.folded = slices.Repeat(ints, n), true
			}
		}
	}
	return []knowledge{out}, nil
}

func shapeFrom(dims []int64) (Shape, error) {
	if len(dims) > maxRank {
		return nil, fmt.Errorf("a shape of rank %d", len(dims))
	}
	y := make(Shape, len(dims))
	for i, d := range dims {
		if d < 0 || d > maxExtent {
			return nil, fmt.Errorf("the shape %v", dims)
		}
		y[i] = int(d)
	}
	return y, nil
}

func (s *step) shapeOf() ([]knowledge, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	n := int64(len(x))
	clamp := func(v int64) int64 {
		if v < 0 {
			v += n
		}
		return min(max(v, 0), n)
	}
	start, end := clamp(s.attributeInt("start", 0)), clamp(s.attributeInt("end", n))
	ints := make([]int64, 0, n)
	for i := start; i < end; i++ {
		ints = append(ints, int64(x[i]))
	}
	return foldedInts(ints, 1), nil
}

func (s *step) reshape() ([]knowledge, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	dims, ok, err := s.operand("shape", 1)
	if err != nil || !ok {
		return nil, errors.New("the new shape is computed at run time")
	}
	if len(dims) > maxRank {
		return nil, fmt.Errorf("a new shape of rank %d", len(dims))
	}
	y, open, rest := make(Shape, len(dims)), -1, 1
	for i, d := range dims {
		switch {
		case d == 0 && s.attributeInt("allowzero", 0) == 0:
			if i >= len(x) {
				return nil, fmt.Errorf("new shape %v of %v", dims, x)
			}
			y[i] = x[i]
		case d == -1 && open < 0:
			open = i
			continue
		case d < 0 || d > maxExtent:
			return nil, fmt.Errorf("new shape %v of %v", dims, x)
		default:
			y[i] = int(d)
		}
		if rest, ok = multiply(rest, y[i]); !ok {
			return nil, fmt.Errorf("new shape %v of %v", dims, x)
		}
	}
	if open >= 0 {
		if rest == 0 || x.Elements()%rest != 0 {
			return nil, fmt.Errorf("new shape %v of %v", dims, x)
		}
		y[open] = x.Elements() / rest
		rest = x.Elements()
	}
	if rest != x.Elements() {
		return nil, fmt.Errorf("new shape %v of %v", dims, x)
	}
	return s.view(y), nil
}

// view gives the first input another shape and keeps integers that are known.
func (s *step) view(y Shape) []knowledge {
	k, _ := s.input(0)
	return []knowledge{{shape: y, ints: k.ints, folded: k.folded && len(y) <= 1, real: k.real}}
}

func (s *step) flatten() (Shape, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	axis := s.attributeInt("axis", 1)
	if axis < 0 {
		axis += int64(len(x))
	}
	if axis < 0 || axis > int64(len(x)) {
		return nil, fmt.Errorf("Flatten of %v at axis %d", x, axis)
	}
	return Shape{x[:axis].Elements(), x[axis:].Elements()}, nil
}

func (s *step) transpose() (Shape, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	perm := s.node.attributes["perm"].ints
	if perm == nil {
		for i := range x {
			perm = append(perm, int64(len(x)-1-i))
		}
	}
	y, seen := make(Shape, len(x)), make([]bool, len(x))
	if len(perm) != len(x) {
		return nil, fmt.Errorf("Transpose of %v by %v", x, perm)
	}
	for i, p := range perm {
		if p < 0 || p >= int64(len(x)) || seen[p] {
			return nil, fmt.Errorf("Transpose of %v by %v", x, perm)
		}
		seen[p] = true
		y[i] = x[p]
	}
	return y, nil
}

func (s *step) concat() ([]knowledge, error) {
	first, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	axis, err := axisOf(s.attributeInt("axis", 1), len(first))
	if err != nil {
		return nil, err
	}
	out := knowledge{shape: slices.Clone(first), folded: len(first) == 1}
	out.shape[axis] = 0
	for i := range s.node.in {
		x, err := s.shape(i)
		if err != nil {
			return nil, err
		}
		if len(x) != len(first) || !x[:axis].Equal(first[:axis]) || !x[axis+1:].Equal(first[axis+1:]) {
			return nil, fmt.Errorf("Concat of %v and %v along axis %d", first, x, axis)
		}
		out.shape[axis] += x[axis]
		k, _ := s.input(i)
		out.folded = out.folded && k.folded && s.affords(len(out.ints)+len(k.ints))
		if out.folded {
			out.ints = append(out.ints, k.ints...)
		}
	}
	return []knowledge{out}, nil
}

func (s *step) slice() ([]knowledge, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	starts, ok, err := s.operand("starts", 1)
	if err != nil || !ok {
		return nil, errors.New("its starts are computed at run time")
	}
	ends, ok, err := s.operand("ends", 2)
	if err != nil || !ok || len(ends) != len(starts) {
		return nil, errors.New("its ends are computed at run time or do not fit its starts")
	}
	axes, ok, err := s.operand("axes", 3)
	if err != nil {
		return nil, err
	}
	if !ok {
		for i := range starts {
			axes = append(axes, int64(i))
		}
	}
	steps, ok, err := s.operand("steps", 4)
	if err != nil {
		return nil, err
	}
	if !ok {
		steps = slices.Repeat([]int64{1}, len(starts))
	}
	if len(axes) != len(starts) || len(steps) != len(starts) {
		return nil, errors.New("its starts, axes and steps differ in number")
	}
	y := slices.Clone(x)
	out := knowledge{}
	k, _ := s.input(0)
	for i := range starts {
		axis, err := axisOf(axes[i], len(x))
		if err != nil {
			return nil, err
		}
		start, n, err := sliceRange(int64(x[axis]), starts[i], ends[i], steps[i])
		if err != nil {
			return nil, err
		}
		y[axis] = int(n)
		if k.folded && len(x) == 1 && len(starts) == 1 && s.affords(int(n)) {
			out.ints, out.folded = []int64{}, true
			for j := range n {
				out.ints = append(out.ints, k.ints[start+j*steps[i]])
			}
		}
	}
	out.shape = y
	return []knowledge{out}, nil
}

// sliceRange gives where a slice begins and how many elements it has; indices
// behind the ends are taken back to them.
func sliceRange(extent, start, end, step int64) (first, n int64, err error) {
	if step == 0 || step == math.MinInt64 {
		return 0, 0, fmt.Errorf("a slice with step %d", step)
	}
	wrap := func(v, low, high int64) int64 {
		if v < 0 {
			v = max(v, -extent-1) + extent
		}
		return min(max(v, low), high)
	}
	if step > 0 {
		first, end = wrap(start, 0, extent), wrap(end, 0, extent)
		if end <= first {
			return 0, 0, nil
		}
		return first, (end-first-1)/step + 1, nil
	}
	first, end = wrap(start, 0, extent-1), wrap(end, -1, extent-1)
	if end >= first || extent == 0 {
		return 0, 0, nil
	}
	return first, (first-end-1)/-step + 1, nil
}

func (s *step) split() ([]knowledge, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	axis, err := axisOf(s.attributeInt("axis", 0), len(x))
	if err != nil {
		return nil, err
	}
	parts, ok, err := s.operand("split", 1)
	if err != nil {
		return nil, err
	}
	n := len(s.node.out)
	if !ok {
		if n == 0 {
			return nil, errors.New("Split without outputs")
		}
		size := (x[axis] + n - 1) / n
		for rest := x[axis]; len(parts) < n; rest -= size {
			parts = append(parts, int64(min(size, rest)))
		}
	}
	if len(parts) != n {
		return nil, fmt.Errorf("Split in %d parts with %d outputs", len(parts), n)
	}
	out, total := make([]knowledge, n), int64(0)
	for i, p := range parts {
		if p < 0 || p > int64(x[axis]) {
			return nil, fmt.Errorf("Split of %v in %v", x, parts)
		}
		y := slices.Clone(x)
		y[axis] = int(p)
		out[i].shape = y
		total += p
	}
	if total != int64(x[axis]) {
		return nil, fmt.Errorf("Split of %v along axis %d in %v", x, axis, parts)
	}
	return out, nil
}

func (s *step) squeeze() ([]knowledge, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	axes, ok, err := s.operand("axes", 1)
	if err != nil {
		return nil, err
	}
	drop := make([]bool, len(x))
	for i := range x {
		drop[i] = !ok && x[i] == 1
	}
	for _, a := range axes {
		axis, err := axisOf(a, len(x))
		if err != nil {
			return nil, err
		}
		if x[axis] != 1 {
			return nil, fmt.Errorf("Squeeze of %v at axis %d", x, axis)
		}
		drop[axis] = true
	}
	y := Shape{}
	for i, d := range x {
		if !drop[i] {
			y = append(y, d)
		}
	}
	return s.view(y), nil
}

func (s *step) unsqueeze() ([]knowledge, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	axes, ok, err := s.operand("axes", 1)
	if err != nil || !ok {
		return nil, errors.New("its axes are computed at run time")
	}
	rank := len(x) + len(axes)
	if rank > maxRank {
		return nil, fmt.Errorf("Unsqueeze to rank %d", rank)
	}
	added := make([]bool, rank)
	for _, a := range axes {
		axis, err := axisOf(a, rank)
		if err != nil {
			return nil, err
		}
		if added[axis] {
			return nil, fmt.Errorf("Unsqueeze at axes %v", axes)
		}
		added[axis] = true
	}
	y, next := make(Shape, rank), 0
	for i := range y {
		if y[i] = 1; !added[i] {
			y[i] = x[next]
			next++
		}
	}
	return s.view(y), nil
}

func (s *step) gather() ([]knowledge, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	indices, err := s.shape(1)
	if err != nil {
		return nil, err
	}
	axis, err := axisOf(s.attributeInt("axis", 0), len(x))
	if err != nil {
		return nil, err
	}
	out := knowledge{shape: slices.Concat(x[:axis], indices, x[axis+1:])}
	data, _ := s.input(0)
	at, _ := s.input(1)
	if data.folded && at.folded && len(x) == 1 && len(indices) <= 1 && s.affords(len(at.ints)) {
		out.folded = true
		for _, i := range at.ints {
			if i < 0 {
				i += int64(len(data.ints))
			}
			if i < 0 || i >= int64(len(data.ints)) {
				return nil, fmt.Errorf("Gather of element %d of %d", i, len(data.ints))
			}
			out.ints = append(out.ints, data.ints[i])
		}
	}
	return []knowledge{out}, nil
}

func (s *step) expand() (Shape, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	dims, ok, err := s.operand("shape", 1)
	if err != nil || !ok {
		return nil, errors.New("its shape is computed at run time")
	}
	to, err := shapeFrom(dims)
	if err != nil {
		return nil, err
	}
	return broadcast(x, to)
}

func (s *step) tile() (Shape, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	repeats, ok, err := s.operand("repeats", 1)
	if err != nil || !ok || len(repeats) != len(x) {
		return nil, errors.New("its repeats are computed at run time or do not fit")
	}
	y := slices.Clone(x)
	for i, r := range repeats {
		if r < 0 || r > maxExtent {
			return nil, fmt.Errorf("Tile by %v", repeats)
		}
		y[i] *= int(r)
	}
	return y, nil
}

func (s *step) rangeOf() ([]knowledge, error) {
	var v [3]int64
	for i := range v {
		k, ok := s.input(i)
		if !ok || !k.folded || len(k.ints) != 1 {
			return nil, errors.New("its ends are computed at run time")
		}
		v[i] = k.ints[0]
	}
	start, limit, delta := v[0], v[1], v[2]
	for _, x := range v {
		if x < -maxExtent || x > maxExtent {
			return nil, fmt.Errorf("Range %v", v)
		}
	}
	if delta == 0 {
		return nil, fmt.Errorf("Range %v", v)
	}
	n := max(0, (limit-start)/delta)
	if n > 0 && start+n*delta != limit || n == 0 && (limit-start)*delta > 0 {
		n++
	}
	if !s.affords(int(n)) {
		return one(Shape{int(n)}, nil)
	}
	ints := make([]int64, n)
	for i := range ints {
		ints[i] = start + int64(i)*delta
	}
	return foldedInts(ints, 1), nil
}

// padding gives what Pad adds before and behind each axis.
func (s *step) padding(x Shape) (before, after []int64, err error) {
	pads, ok, err := s.operand("pads", 1)
	if err != nil {
		return nil, nil, err
	}
	before, after = make([]int64, len(x)), make([]int64, len(x))
	axes, some, err := s.operand("axes", 3)
	if err != nil {
		return nil, nil, err
	}
	if !some {
		for i := range x {
			axes = append(axes, int64(i))
		}
	}
	if !ok || len(pads) != 2*len(axes) {
		return nil, nil, fmt.Errorf("Pad of %v by %v", x, pads)
	}
	for i, a := range axes {
		axis, err := axisOf(a, len(x))
		if err != nil {
			return nil, nil, err
		}
		before[axis], after[axis] = pads[i], pads[len(axes)+i]
		for _, p := range []int64{before[axis], after[axis]} {
			if p < -maxExtent || p > maxExtent {
				return nil, nil, fmt.Errorf("Pad of %v by %v", x, pads)
			}
		}
	}
	return before, after, nil
}

func (s *step) pad() (Shape, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	before, after, err := s.padding(x)
	if err != nil {
		return nil, err
	}
	y := slices.Clone(x)
	for i := range y {
		y[i] += int(before[i] + after[i])
	}
	return y, nil
}

func (s *step) reduce() (Shape, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	var axes []int64
	given := true
	switch s.node.op {
	case "ArgMax", "ArgMin":
		axes = []int64{s.attributeInt("axis", 0)}
	default:
		if axes, given, err = s.operand("axes", 1); err != nil {
			return nil, err
		}
		if len(axes) == 0 && s.attributeInt("noop_with_empty_axes", 0) != 0 {
			return x, nil
		}
	}
	reduced := make([]bool, len(x))
	for i := range x {
		reduced[i] = !given || len(axes) == 0
	}
	for _, a := range axes {
		axis, err := axisOf(a, len(x))
		if err != nil {
			return nil, err
		}
		reduced[axis] = true
	}
	y := Shape{}
	for i, d := range x {
		switch {
		case !reduced[i]:
			y = append(y, d)
		case s.attributeInt("keepdims", 1) != 0:
			y = append(y, 1)
		}
	}
	return y, nil
}

func (s *step) resize() (Shape, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	if _, ok := s.node.attributes["axes"]; ok || !slices.Contains([]string{"", "stretch"}, s.node.attributes["keep_aspect_ratio_policy"].s) {
		return nil, errors.New("Resize along chosen axes is not understood")
	}
	if sizes, ok := s.input(3); ok {
		if !sizes.folded || len(sizes.ints) != len(x) {
			return nil, errors.New("its sizes are computed at run time")
		}
		return shapeFrom(sizes.ints)
	}
	place := 2
	if k, ok := s.input(2); s.node.op == "Upsample" || !ok || k.tensor == nil {
		place = 1
	}
	scales := s.node.attributes["scales"].floats
	if k, ok := s.input(place); ok && k.tensor != nil && len(k.shape) == 1 && k.shape[0] == len(x) {
		scales = make([]float32, len(x))
		if err := k.tensor.floats(scales); err != nil {
			return nil, err
		}
	}
	if len(scales) != len(x) {
		return nil, errors.New("its scales are computed at run time")
	}
	y := make(Shape, len(x))
	for i, f := range scales {
		n := math.Floor(float64(x[i]) * float64(f))
		if !(n >= 0 && n <= maxExtent) {
			return nil, fmt.Errorf("Resize of %v by %v", x, scales)
		}
		y[i] = int(n)
	}
	return y, nil
}

// blocks is DepthToSpace and its inverse.
func (s *step) blocks() (Shape, error) {
	x, err := s.shape(0)
	if err != nil {
		return nil, err
	}
	size := s.attributeInt("blocksize", 0)
	if len(x) != 4 || size < 1 || size > 1<<15 {
		return nil, fmt.Errorf("%s of %v with blocks of %d", s.node.op, x, size)
	}
	b := int(size)
	if s.node.op == "DepthToSpace" {
		if x[1]%(b*b) != 0 {
			return nil, fmt.Errorf("DepthToSpace of %v with blocks of %d", x, b)
		}
		return Shape{x[0], x[1] / (b * b), x[2] * b, x[3] * b}, nil
	}
	if x[2]%b != 0 || x[3]%b != 0 {
		return nil, fmt.Errorf("SpaceToDepth of %v with blocks of %d", x, b)
	}
	return Shape{x[0], x[1] * b * b, x[2] / b, x[3] / b}, nil
}
