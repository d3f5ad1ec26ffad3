package models

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// windows is how a convolution or pool goes over its extents.
type windows struct{ kernel, strides, dilations, before, after []int }

// windows reads the attributes for the extents of x; kernel may be nil.
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

// out gives an extent after the windows.
func (w windows) out(i, extent int, ceil bool) (int, error) {
	room := extent + w.before[i] + w.after[i] - w.span(i)
	if room < 0 {
		return 0, fmt.Errorf("a window of %d does not fit %d with padding %d and %d", w.span(i), extent, w.before[i], w.after[i])
	}
	return windowCount(room, w.strides[i], extent+w.before[i], ceil), nil
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

// count multiplies extents into MACs.
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
	rows, columns := len(a) > 1, len(b) > 1 // otherwise a vector, whose other extent is left out
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
		// In float32, as onnx/defs/tensor/utils.cc has it: 10 by 0.7 are 7 there.
		n := math.Floor(float64(float32(x[i]) * f))
		if !(n >= 0 && n <= maxExtent) {
			return nil, fmt.Errorf("Resize of %v by %v", x, scales)
		}
		y[i] = int(n)
	}
	return y, nil
}
