package models

import "fmt"

// An Op is one of a closed set of operators; engines switch on its concrete type.
// Every operator works on N×C×H×W or, after Flatten, on N×C.
type Op interface {
	// Kind is the operator's name in tables and messages.
	Kind() string
	infer(in []Shape) (Shape, error)
	params() []paramSpec
}

// Conv is a two-dimensional convolution with equal padding on all sides.
type Conv struct {
	In, Out  int
	KernelH  int
	KernelW  int
	Stride   int
	PadH     int
	PadW     int
	Dilation int
	Groups   int
	Bias     bool
}

// BatchNorm normalises each channel with running statistics and an affine map.
type BatchNorm struct {
	Channels int
	Epsilon  float64
}

// Activation is an element-wise function without parameters.
type Activation struct{ Func ActivationFunc }

// ActivationFunc names an activation.
type ActivationFunc string

const (
	ReLU        ActivationFunc = "relu"
	ReLU6       ActivationFunc = "relu6"
	SiLU        ActivationFunc = "silu"        // x·sigmoid(x)
	HardSwish   ActivationFunc = "hardswish"   // x·relu6(x+3)/6
	HardSigmoid ActivationFunc = "hardsigmoid" // relu6(x+3)/6
	Sigmoid     ActivationFunc = "sigmoid"
)

// Add sums two tensors of one shape.
type Add struct{}

// Mul multiplies two tensors; an N×C×1×1 operand spreads over height and width.
type Mul struct{}

// Concat joins tensors along the channels.
type Concat struct{}

// Slice keeps the channels From ≤ c < To.
type Slice struct{ From, To int }

// MaxPool takes the maximum of square windows.
type MaxPool struct {
	Kernel, Stride, Pad int
	// Ceil rounds the output extent up.
	Ceil bool
}

// AvgPool takes the mean of square windows.
type AvgPool struct {
	Kernel, Stride, Pad int
	Ceil                bool
	// CountPad counts padding in the divisor.
	CountPad bool
}

// GlobalAvgPool averages height and width to 1×1.
type GlobalAvgPool struct{}

// Flatten turns N×C×H×W into N×(C·H·W).
type Flatten struct{}

// Linear is a fully connected layer on N×In.
type Linear struct {
	In, Out int
	Bias    bool
}

// Shuffle interleaves channels: the groups become the fastest index
// (ShuffleNet's channel shuffle).
type Shuffle struct{ Groups int }

// RadixSoftmax normalises N×(Radix·C)×1×1 across its Radix equal groups of
// channels: channel c of all groups sums to 1 (ResNeSt's split attention).
type RadixSoftmax struct{ Radix int }

func (Conv) Kind() string          { return "conv" }
func (BatchNorm) Kind() string     { return "batchnorm" }
func (a Activation) Kind() string  { return string(a.Func) }
func (Add) Kind() string           { return "add" }
func (Mul) Kind() string           { return "mul" }
func (Concat) Kind() string        { return "concat" }
func (Slice) Kind() string         { return "slice" }
func (MaxPool) Kind() string       { return "maxpool" }
func (AvgPool) Kind() string       { return "avgpool" }
func (GlobalAvgPool) Kind() string { return "globalavgpool" }
func (Flatten) Kind() string       { return "flatten" }
func (Linear) Kind() string        { return "linear" }
func (Shuffle) Kind() string       { return "shuffle" }
func (RadixSoftmax) Kind() string  { return "radixsoftmax" }

func (c Conv) params() []paramSpec {
	specs := []paramSpec{{"weight", Shape{c.Out, c.In / c.Groups, c.KernelH, c.KernelW}, Kernel}}
	if c.Bias {
		specs = append(specs, paramSpec{"bias", Shape{c.Out}, Bias})
	}
	return specs
}

func (b BatchNorm) params() []paramSpec {
	s := Shape{b.Channels}
	return []paramSpec{{"weight", s, Gamma}, {"bias", s, Beta}, {"running_mean", s, Mean}, {"running_var", s, Variance}}
}

func (l Linear) params() []paramSpec {
	specs := []paramSpec{{"weight", Shape{l.Out, l.In}, Kernel}}
	if l.Bias {
		specs = append(specs, paramSpec{"bias", Shape{l.Out}, Bias})
	}
	return specs
}

func (Activation) params() []paramSpec    { return nil }
func (Add) params() []paramSpec           { return nil }
func (Mul) params() []paramSpec           { return nil }
func (Concat) params() []paramSpec        { return nil }
func (Slice) params() []paramSpec         { return nil }
func (MaxPool) params() []paramSpec       { return nil }
func (AvgPool) params() []paramSpec       { return nil }
func (GlobalAvgPool) params() []paramSpec { return nil }
func (Flatten) params() []paramSpec       { return nil }
func (Shuffle) params() []paramSpec       { return nil }
func (RadixSoftmax) params() []paramSpec  { return nil }

// arity checks the number of inputs and their rank.
func arity(op Op, in []Shape, want, rank int) error {
	if len(in) != want {
		return fmt.Errorf("%s takes %d inputs, got %d", op.Kind(), want, len(in))
	}
	for _, s := range in {
		if rank > 0 && len(s) != rank {
			return fmt.Errorf("%s takes a tensor of rank %d, got %v", op.Kind(), rank, s)
		}
	}
	return nil
}

func (c Conv) infer(in []Shape) (Shape, error) {
	if err := arity(c, in, 1, 4); err != nil {
		return nil, err
	}
	if c.Groups < 1 || c.Stride < 1 || c.Dilation < 1 || c.In%c.Groups != 0 || c.Out%c.Groups != 0 {
		return nil, fmt.Errorf("conv %d to %d channels with %d groups, stride %d, dilation %d is impossible", c.In, c.Out, c.Groups, c.Stride, c.Dilation)
	}
	x := in[0]
	if x[1] != c.In {
		return nil, fmt.Errorf("conv wants %d channels, got %v", c.In, x)
	}
	extent := func(n, kernel, pad int) int {
		span := n + 2*pad - c.Dilation*(kernel-1) - 1
		if span < 0 { // the kernel does not fit; division would round towards 1
			return 0
		}
		return span/c.Stride + 1
	}
	return Shape{x[0], c.Out, extent(x[2], c.KernelH, c.PadH), extent(x[3], c.KernelW, c.PadW)}, nil
}

func (b BatchNorm) infer(in []Shape) (Shape, error) {
	if err := arity(b, in, 1, 0); err != nil {
		return nil, err
	}
	if len(in[0]) < 2 || in[0][1] != b.Channels {
		return nil, fmt.Errorf("batchnorm wants %d channels, got %v", b.Channels, in[0])
	}
	return in[0], nil
}

func (a Activation) infer(in []Shape) (Shape, error) {
	if err := arity(a, in, 1, 0); err != nil {
		return nil, err
	}
	switch a.Func {
	case ReLU, ReLU6, SiLU, HardSwish, HardSigmoid, Sigmoid:
		return in[0], nil
	}
	return nil, fmt.Errorf("unknown activation %q", a.Func)
}

func (a Add) infer(in []Shape) (Shape, error) {
	if err := arity(a, in, 2, 0); err != nil {
		return nil, err
	}
	if !in[0].Equal(in[1]) {
		return nil, fmt.Errorf("add of %v and %v", in[0], in[1])
	}
	return in[0], nil
}

func (m Mul) infer(in []Shape) (Shape, error) {
	if err := arity(m, in, 2, 4); err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if a[0] != b[0] || a[1] != b[1] {
		return nil, fmt.Errorf("mul of %v and %v", a, b)
	}
	switch {
	case a.Equal(b), b[2] == 1 && b[3] == 1:
		return a, nil
	case a[2] == 1 && a[3] == 1:
		return b, nil
	}
	return nil, fmt.Errorf("mul of %v and %v", a, b)
}

func (c Concat) infer(in []Shape) (Shape, error) {
	if len(in) == 0 || len(in[0]) < 2 {
		return nil, fmt.Errorf("concat of %v", in)
	}
	out := append(Shape(nil), in[0]...)
	for _, s := range in[1:] {
		if len(s) != len(out) || s[0] != out[0] || !s[2:].Equal(out[2:]) {
			return nil, fmt.Errorf("concat of %v along the channels", in)
		}
		out[1] += s[1]
	}
	return out, nil
}

func (s Slice) infer(in []Shape) (Shape, error) {
	if err := arity(s, in, 1, 0); err != nil {
		return nil, err
	}
	if len(in[0]) < 2 || s.From < 0 || s.To > in[0][1] || s.From >= s.To {
		return nil, fmt.Errorf("slice %d:%d of %v", s.From, s.To, in[0])
	}
	out := append(Shape(nil), in[0]...)
	out[1] = s.To - s.From
	return out, nil
}

func poolExtent(n, kernel, stride, pad int, ceil bool) int {
	return windowCount(n+2*pad-kernel, stride, n+pad, ceil)
}

// windowCount is how many windows lie in an extent, in which the first has that much
// room to move. It is the rule of PyTorch and ONNX: with ceil, a window that would
// start beyond the end of the input, in the padding, is left out.
func windowCount(room, stride, end int, ceil bool) int {
	if ceil {
		room += stride - 1
	}
	if room < 0 { // the window does not fit
		return 0
	}
	n := room/stride + 1
	if ceil && (n-1)*stride >= end {
		n--
	}
	return n
}

func inferPool(op Op, in []Shape, kernel, stride, pad int, ceil bool) (Shape, error) {
	if err := arity(op, in, 1, 4); err != nil {
		return nil, err
	}
	if kernel < 1 || stride < 1 || 2*pad > kernel {
		return nil, fmt.Errorf("%s with kernel %d, stride %d, padding %d is impossible", op.Kind(), kernel, stride, pad)
	}
	x := in[0]
	return Shape{x[0], x[1], poolExtent(x[2], kernel, stride, pad, ceil), poolExtent(x[3], kernel, stride, pad, ceil)}, nil
}

func (p MaxPool) infer(in []Shape) (Shape, error) {
	return inferPool(p, in, p.Kernel, p.Stride, p.Pad, p.Ceil)
}

func (p AvgPool) infer(in []Shape) (Shape, error) {
	return inferPool(p, in, p.Kernel, p.Stride, p.Pad, p.Ceil)
}

func (g GlobalAvgPool) infer(in []Shape) (Shape, error) {
	if err := arity(g, in, 1, 4); err != nil {
		return nil, err
	}
	return Shape{in[0][0], in[0][1], 1, 1}, nil
}

func (f Flatten) infer(in []Shape) (Shape, error) {
	if err := arity(f, in, 1, 0); err != nil {
		return nil, err
	}
	return Shape{in[0][0], in[0][1:].Elements()}, nil
}

func (l Linear) infer(in []Shape) (Shape, error) {
	if err := arity(l, in, 1, 2); err != nil {
		return nil, err
	}
	if in[0][1] != l.In {
		return nil, fmt.Errorf("linear wants %d features, got %v", l.In, in[0])
	}
	return Shape{in[0][0], l.Out}, nil
}

func (s Shuffle) infer(in []Shape) (Shape, error) {
	if err := arity(s, in, 1, 4); err != nil {
		return nil, err
	}
	if s.Groups < 1 || in[0][1]%s.Groups != 0 {
		return nil, fmt.Errorf("shuffle of %v in %d groups", in[0], s.Groups)
	}
	return in[0], nil
}

func (r RadixSoftmax) infer(in []Shape) (Shape, error) {
	if err := arity(r, in, 1, 4); err != nil {
		return nil, err
	}
	x := in[0]
	if r.Radix < 1 || x[1]%r.Radix != 0 || x[2] != 1 || x[3] != 1 {
		return nil, fmt.Errorf("radixsoftmax of %v in %d groups", x, r.Radix)
	}
	return x, nil
}
