package models

import (
	"math"
	"slices"
	"strconv"
)

func (l *lift) conv(s *step) error {
	node := s.node
	v, err := l.any(node, 0)
	if err != nil {
		return err
	}
	if v.form != asNode && v.form != padded {
		return l.unfinished(v)
	}
	kernel, err := l.stored(node, 1)
	if err != nil {
		return err
	}
	x := l.shape(v.node)
	if len(kernel.shape) != 4 || len(x) != 4 {
		return l.unsupported(node, "a kernel of shape %v on %v, want two-dimensional ones", kernel.shape, x)
	}
	win, err := s.windows(l.in.values[node.in[0]].shape, kernel.shape[2:])
	if err != nil {
		return l.unsupported(node, "%v", err)
	}
	if !slices.Equal(win.before, win.after) || win.strides[0] != win.strides[1] || win.dilations[0] != win.dilations[1] {
		return l.unsupported(node, "padding %v and %v, strides %v, dilations %v; want the same on both sides and in both directions", win.before, win.after, win.strides, win.dilations)
	}
	op := Conv{
		In: x[1], Out: kernel.shape[0], KernelH: win.kernel[0], KernelW: win.kernel[1], Stride: win.strides[0],
		PadH: win.before[0] + v.pads[0], PadW: win.before[1] + v.pads[1], Dilation: win.dilations[0], Groups: int(s.attributeInt("group", 1)),
	}
	params := []fileParam{{tensor: kernel}}
	if op.Bias, err = l.ownBias(node, &params); err != nil {
		return err
	}
	return l.weighted(node, op, v.node, params)
}

// ownBias takes a node's third input, if it has one, as its bias.
func (l *lift) ownBias(node *fileNode, params *[]fileParam) (has bool, err error) {
	if _, has = l.known(node, 2); !has {
		return false, nil
	}
	bias, err := l.stored(node, 2)
	*params = append(*params, fileParam{tensor: bias})
	return true, err
}

// weighted adds a node whose tensors are those of the file, in the order of the
// operator's parameters.
func (l *lift) weighted(node *fileNode, op Op, x int, params []fileParam) error {
	for i, spec := range op.params() {
		shape := params[i].tensor.shape
		if params[i].transposed {
			shape = Shape{shape[1], shape[0]}
		}
		// A vector may be stored with leading extents of 1. If it runs along the batch,
		// it has that many numbers only by chance.
		vector := spec.role != Kernel && shape.Elements() == spec.shape.Elements() && (len(shape) == 0 || shape[len(shape)-1] == spec.shape[0])
		if !shape.Equal(spec.shape) && !vector {
			return l.unsupported(node, "its %s has shape %v, want %v", spec.suffix, shape, spec.shape)
		}
	}
	if err := l.add(node, 0, op, x); err != nil {
		return err
	}
	added := l.net.Nodes[len(l.net.Nodes)-1]
	for i, p := range added.Params() {
		l.weights.params[p.Key] = params[i]
	}
	return nil
}

func (l *lift) linear(s *step) error {
	node := s.node
	x, err := l.plain(node, 0)
	if err != nil {
		return err
	}
	kernel, err := l.stored(node, 1)
	if err != nil {
		return err
	}
	if len(kernel.shape) != 2 || len(l.shape(x)) != 2 {
		return l.unsupported(node, "a product of %v and %v, want two matrices", l.shape(x), kernel.shape)
	}
	transposed := s.attributeInt("transB", 0) == 0
	out, in := kernel.shape[0], kernel.shape[1]
	if transposed {
		out, in = in, out
	}
	op := Linear{In: in, Out: out}
	params := []fileParam{{tensor: kernel, transposed: transposed}}
	if node.op == "Gemm" {
		a, b := s.attributeFloat("alpha", 1), s.attributeFloat("beta", 1)
		if a != 1 || b != 1 || s.attributeInt("transA", 0) != 0 {
			return l.unsupported(node, "alpha %g, beta %g, transA %d; want 1, 1, 0", a, b, s.attributeInt("transA", 0))
		}
		if op.Bias, err = l.ownBias(node, &params); err != nil {
			return err
		}
	}
	return l.weighted(node, op, x, params)
}

func (l *lift) norm(s *step) error {
	node := s.node
	x, err := l.plain(node, 0)
	if err != nil {
		return err
	}
	// Before opset 14 a node trains if it also gives the statistics, and before opset 7
	// if it does not say is_test.
	training := s.attributeInt("training_mode", 0) != 0 || l.file.Opset() < 7 && s.attributeInt("is_test", 0) == 0 ||
		slices.ContainsFunc(node.out[1:], func(name string) bool { return name != "" })
	if training || s.attributeInt("spatial", 1) != 1 || len(l.shape(x)) < 2 {
		return l.unsupported(node, "it is in training mode, not per channel, or on %v", l.shape(x))
	}
	var params []fileParam
	for i := 1; i <= 4; i++ {
		t, err := l.stored(node, i)
		if err != nil {
			return err
		}
		params = append(params, fileParam{tensor: t})
	}
	// The attribute is a float32 that stands for a short decimal, 1e-5: printed with
	// its own digits it is that number, which Fold would have used.
	epsilon, err := strconv.ParseFloat(strconv.FormatFloat(float64(s.attributeFloat("epsilon", 1e-5)), 'g', -1, 32), 64)
	if err != nil || !(epsilon >= 0) {
		return l.unsupported(node, "epsilon %g", epsilon)
	}
	return l.weighted(node, BatchNorm{Channels: l.shape(x)[1], Epsilon: epsilon}, x, params)
}

// dropout passes its input on, as it does outside training.
func (l *lift) dropout(s *step) error {
	node := s.node
	training := l.file.Opset() < 7 && s.attributeInt("is_test", 0) == 0
	if k, ok := l.known(node, 2); ok { // since opset 12
		on := []int64{1}
		if k.tensor != nil {
			if mode, err := k.tensor.ints(1); err == nil {
				on = mode
			}
		}
		training = training || len(on) != 1 || on[0] != 0
	}
	if training {
		return l.unsupported(node, "it is in training mode, or may be")
	}
	x, err := l.any(node, 0)
	if err != nil {
		return err
	}
	l.pass(node, x)
	return nil
}

func (l *lift) activation(node *fileNode, f ActivationFunc) error {
	x, err := l.plain(node, 0)
	if err != nil {
		return err
	}
	return l.add(node, 0, Activation{f}, x)
}

func (l *lift) clip(s *step) error {
	node := s.node
	low, high := s.attributeFloat("min", -math.MaxFloat32), s.attributeFloat("max", math.MaxFloat32)
	for i, bound := range []*float32{&low, &high} {
		if _, ok := l.known(node, i+1); ok {
			v, ok := l.number(node, i+1)
			if !ok {
				return l.unsupported(node, "its bound %s is not a number stored in the file", shorten(node.in[i+1]))
			}
			*bound = v
		}
	}
	v, err := l.any(node, 0)
	switch {
	case err != nil:
		return err
	case low == 0 && high == 6 && v.form == raised:
		l.pass(node, lifted{node: v.node, form: bounded, by: node})
		return nil
	case low == 0 && high == 6:
		return l.activation(node, ReLU6)
	case low == 0 && high >= math.MaxFloat32:
		return l.activation(node, ReLU)
	}
	return l.unsupported(node, "bounds %g and %g, want 0 and 6 or 0 and none", low, high)
}

func (l *lift) sum(node *fileNode) error {
	for i := range 2 {
		k, ok := l.known(node, 1-i)
		if !ok || k.tensor == nil {
			continue
		}
		x, err := l.plain(node, i)
		if err != nil {
			return err
		}
		if three, ok := l.number(node, 1-i); ok && three == 3 && len(k.shape) == 0 {
			l.pass(node, lifted{node: x, form: raised, by: node})
			return nil
		}
		return l.bias(node, 1-i, x)
	}
	a, err := l.plain(node, 0)
	if err != nil {
		return err
	}
	b, err := l.plain(node, 1)
	if err != nil {
		return err
	}
	return l.add(node, 0, Add{}, a, b)
}

// bias takes the constant in the sum of a layer and a constant as the layer's bias.
func (l *lift) bias(node *fileNode, constant, x int) error {
	t, err := l.stored(node, constant)
	if err != nil {
		return err
	}
	channels := 0
	if x != Image && l.reads[x] == 1 {
		switch op := l.net.Nodes[x].Op.(type) {
		case Linear:
			if !op.Bias {
				channels, op.Bias = op.Out, true
				l.net.Nodes[x].Op = op
			}
		case Conv:
			if !op.Bias {
				channels, op.Bias = op.Out, true
				l.net.Nodes[x].Op = op
			}
		}
	}
	// The constant must run only along the channels.
	along := slices.Repeat(Shape{1}, len(l.shape(x)))
	along[1] = channels
	shape := slices.Concat(slices.Repeat(Shape{1}, max(0, len(along)-len(t.shape))), t.shape)
	if channels == 0 || !shape.Equal(along) {
		return l.unsupported(node, "the constant %s of shape %v is not the bias of a layer", shorten(node.in[constant]), t.shape)
	}
	params := l.net.Nodes[x].Params()
	l.weights.params[params[len(params)-1].Key] = fileParam{tensor: t}
	l.values[node.out[0]] = lifted{node: x}
	l.reads[x] = l.readers[node.out[0]]
	return nil
}

func (l *lift) product(node *fileNode) error {
	for i := range 2 {
		if sixth, ok := l.number(node, 1-i); ok {
			if near(sixth, 1./6) {
				return l.sixth(node, i)
			}
			return l.unsupported(node, "by the constant %g", sixth)
		}
	}
	a, err := l.any(node, 0)
	if err != nil {
		return err
	}
	b, err := l.any(node, 1)
	if err != nil {
		return err
	}
	for range 2 {
		if b.form == bounded && a.form == asNode && a.node == b.node {
			l.pass(node, lifted{node: a.node, form: gated, by: node})
			return nil
		}
		if a.form == asNode && b.form == asNode && b.node != Image {
			gate := l.net.Nodes[b.node]
			if act, ok := gate.Op.(Activation); ok && gate.Inputs[0] == a.node {
				switch act.Func {
				case Sigmoid:
					return l.add(node, 0, Activation{SiLU}, a.node)
				case HardSigmoid:
					return l.add(node, 0, Activation{HardSwish}, a.node)
				}
			}
		}
		a, b = b, a
	}
	for _, v := range []lifted{a, b} {
		if v.form != asNode {
			return l.unfinished(v)
		}
	}
	return l.add(node, 0, Mul{}, a.node, b.node)
}

// sixth is where hard sigmoid and hard swish end when they are spelt out.
func (l *lift) sixth(node *fileNode, i int) error {
	v, err := l.any(node, i)
	if err != nil {
		return err
	}
	switch v.form {
	case bounded:
		return l.add(node, 0, Activation{HardSigmoid}, v.node)
	case gated:
		return l.add(node, 0, Activation{HardSwish}, v.node)
	}
	return l.unsupported(node, "a sixth of a value that is not part of a hard sigmoid")
}

func near(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-6 }

func (l *lift) concat(s *step) error {
	if axis := s.attributeInt("axis", 1); axis != 1 && axis != 1-int64(len(l.in.values[s.node.out[0]].shape)) {
		return l.unsupported(s.node, "along axis %d, want the channels", axis)
	}
	inputs := make([]int, len(s.node.in))
	for i := range inputs {
		x, err := l.plain(s.node, i)
		if err != nil {
			return err
		}
		inputs[i] = x
	}
	return l.add(s.node, 0, Concat{}, inputs...)
}

func (l *lift) slice(node *fileNode) error {
	x, err := l.plain(node, 0)
	if err != nil {
		return err
	}
	s := step{in: l.in, node: node}
	ranges := [4][]int64{}
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		var err error
		if ranges[i], _, err = s.operand(name, i+1); err != nil {
			return l.unsupported(node, "%v", err)
		}
	}
	starts, ends, axes, steps := ranges[0], ranges[1], ranges[2], ranges[3]
	shape := l.shape(x)
	if len(starts) != 1 || (steps != nil && steps[0] != 1) || axes == nil || (axes[0] != 1 && axes[0] != 1-int64(len(shape))) {
		return l.unsupported(node, "starts %v, ends %v, axes %v, steps %v; want one range of the channels", starts, ends, axes, steps)
	}
	from, n, err := sliceRange(int64(shape[1]), starts[0], ends[0], 1)
	if err != nil {
		return l.unsupported(node, "%v", err)
	}
	return l.add(node, 0, Slice{int(from), int(from + n)}, x)
}

func (l *lift) split(s *step) error {
	x, err := l.plain(s.node, 0)
	if err != nil {
		return err
	}
	if axis := s.attributeInt("axis", 0); axis != 1 && axis != 1-int64(len(l.shape(x))) {
		return l.unsupported(s.node, "along axis %d, want the channels", axis)
	}
	parts, err := s.infer()
	if err != nil {
		return l.unsupported(s.node, "%v", err)
	}
	from := 0
	for i, name := range s.node.out {
		to := from + parts[i].shape[1]
		if name != "" {
			if err := l.add(s.node, i, Slice{from, to}, x); err != nil {
				return err
			}
		}
		from = to
	}
	return nil
}

func (l *lift) pool(s *step) error {
	node := s.node
	v, err := l.any(node, 0)
	if err != nil {
		return err
	}
	if len(node.out) > 1 {
		return l.unsupported(node, "it gives indices too")
	}
	x := l.in.values[node.in[0]].shape
	if len(x) != 4 {
		return l.unsupported(node, "on %v, want images", x)
	}
	win, err := s.windows(x, nil)
	if err != nil {
		return l.unsupported(node, "%v", err)
	}
	countPad := s.attributeInt("count_include_pad", 0) != 0
	switch {
	case v.form == asNode:
	case v.form == padded && node.op == "AveragePool" && v.pads[0] == v.pads[1] && slices.Max(win.before) == 0 && slices.Max(win.after) == 0:
		// Zeros that were put around the image count, as counted padding does.
		countPad = true
		for _, side := range [][]int{win.before, win.after} {
			side[0], side[1] = v.pads[0], v.pads[1]
		}
		x = l.shape(v.node)
	default:
		return l.unfinished(v)
	}
	kernel, stride, pad := win.kernel[0], win.strides[0], win.before[0]
	if win.kernel[1] != kernel || win.strides[1] != stride || win.before[1] != pad || slices.Max(win.dilations) > 1 {
		return l.unsupported(node, "kernel %v, strides %v, dilations %v, padding %v; want square windows", win.kernel, win.strides, win.dilations, win.before)
	}
	y := l.in.values[node.out[0]].shape
	if len(y) != 4 {
		return l.unsupported(node, "it gives %v, want images", y)
	}
	// More padding at the end than at the start is how rounding up is written without
	// ceil_mode.
	ceil := s.attributeInt("ceil_mode", 0) != 0 || slices.Max(win.after) > pad
	want := Shape{poolExtent(x[2], kernel, stride, pad, ceil), poolExtent(x[3], kernel, stride, pad, ceil)}
	extended := (y[2]-1)*stride+kernel > x[2]+2*pad || (y[3]-1)*stride+kernel > x[3]+2*pad
	if slices.Min(win.after) < pad || !want.Equal(y[2:]) || (ceil && countPad && extended) {
		return l.unsupported(node, "a network has no padding such as %v before and %v after", win.before, win.after)
	}
	if node.op == "MaxPool" {
		return l.add(node, 0, MaxPool{Kernel: kernel, Stride: stride, Pad: pad, Ceil: ceil}, v.node)
	}
	return l.add(node, 0, AvgPool{Kernel: kernel, Stride: stride, Pad: pad, Ceil: ceil, CountPad: countPad}, v.node)
}

// mean takes the mean over height and width as a global average pool.
func (l *lift) mean(s *step) error {
	node := s.node
	x, err := l.plain(node, 0)
	if err != nil {
		return err
	}
	axes, _, err := s.operand("axes", 1)
	if err != nil {
		return l.unsupported(node, "%v", err)
	}
	shape := l.shape(x)
	over := map[int]bool{}
	for _, a := range axes {
		axis, err := axisOf(a, len(shape))
		if err != nil {
			return l.unsupported(node, "%v", err)
		}
		over[axis] = true
	}
	if len(shape) != 4 || len(over) != 2 || !over[2] || !over[3] {
		return l.unsupported(node, "over the axes %v of %v, want height and width", axes, shape)
	}
	if s.attributeInt("keepdims", 1) != 0 {
		return l.add(node, 0, GlobalAvgPool{}, x)
	}
	// Two nodes, of which the second is the file's value.
	pool := Node{Name: l.unique(l.name(node, 0) + ".pool"), Op: GlobalAvgPool{}, Inputs: []int{x}}
	l.append(pool, Shape{shape[0], shape[1], 1, 1})
	return l.add(node, 0, Flatten{}, len(l.net.Nodes)-1)
}

// pad keeps zeros around an image for the layer that follows.
func (l *lift) pad(s *step) error {
	node := s.node
	x, err := l.plain(node, 0)
	if err != nil {
		return err
	}
	shape := l.shape(x)
	before, after, err := s.padding(shape)
	if err != nil {
		return l.unsupported(node, "%v", err)
	}
	value := s.attributeFloat("value", 0)
	if _, ok := l.known(node, 2); ok {
		if value, ok = l.number(node, 2); !ok {
			return l.unsupported(node, "its value is not a number stored in the file")
		}
	}
	mode := s.node.attributes["mode"].s
	if len(shape) != 4 || value != 0 || (mode != "" && mode != "constant") || !slices.Equal(before, after) ||
		slices.Min(before) < 0 || before[0] != 0 || before[1] != 0 {
		return l.unsupported(node, "mode %q, value %g, %v before and %v after; want the same number of zeros on both sides of height and width", mode, value, before, after)
	}
	l.pass(node, lifted{node: x, form: padded, by: node, pads: [2]int{int(before[2]), int(before[3])}})
	return nil
}

// view is a node that only gives a value another shape.
func (l *lift) view(node *fileNode) error {
	v, err := l.any(node, 0)
	if err != nil {
		return err
	}
	x, y := l.shape(v.node), l.in.values[node.out[0]].shape
	if len(x) == 4 && len(y) > 1 && y[0] == x[0] {
		switch v.form {
		case swapped:
			if y.Equal(x) {
				return l.add(node, 0, Shuffle{v.n}, v.node)
			}
		case weighed:
			if y.Equal(x) {
				return l.add(node, 0, RadixSoftmax{v.n}, v.node)
			}
		case asNode:
			switch {
			case y.Equal(x):
				l.pass(node, v)
				return nil
			case len(y) == 2:
				return l.add(node, 0, Flatten{}, v.node)
			case len(y) == 5 && y[3:].Equal(x[2:]):
				l.pass(node, lifted{node: v.node, form: grouped, by: node, n: y[1]})
				return nil
			case len(y) == 3 && x[2] == 1 && x[3] == 1:
				l.pass(node, lifted{node: v.node, form: halved, by: node, n: y[1]})
				return nil
			}
		}
	}
	if len(x) == 2 && v.form == asNode {
		if y.Equal(x) {
			l.pass(node, v)
			return nil
		}
		if v.node != Image {
			// Back to what it was before it was flattened.
			if _, flat := l.net.Nodes[v.node].Op.(Flatten); flat && y.Equal(l.shape(l.net.Nodes[v.node].Inputs[0])) {
				l.pass(node, lifted{node: l.net.Nodes[v.node].Inputs[0]})
				return nil
			}
		}
	}
	if v.form != asNode {
		return l.unfinished(v)
	}
	return l.unsupported(node, "from %v to %v", x, y)
}

func (l *lift) transpose(node *fileNode) error {
	v, err := l.any(node, 0)
	if err != nil {
		return err
	}
	perm := node.attributes["perm"].ints
	if v.form == grouped && slices.Equal(perm, []int64{0, 2, 1, 3, 4}) {
		l.pass(node, lifted{node: v.node, form: swapped, by: node, n: v.n})
		return nil
	}
	if v.form != asNode {
		return l.unfinished(v)
	}
	return l.unsupported(node, "of %v by %v; only the one of a channel shuffle is an operator here", l.shape(v.node), perm)
}

func (l *lift) softmax(s *step) error {
	v, err := l.any(s.node, 0)
	if err != nil {
		return err
	}
	axis := s.attributeInt("axis", -1)
	// Before opset 13 Softmax went over all axes from this one on.
	if v.form == halved && (axis == 1 || axis == -2) && l.file.Opset() >= 13 {
		l.pass(s.node, lifted{node: v.node, form: weighed, by: s.node, n: v.n})
		return nil
	}
	return l.unsupported(s.node, "only the one of split attention is an operator here")
}
