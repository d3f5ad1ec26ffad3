package models

import (
	"errors"
	"fmt"
	"slices"
)

// foldedInts makes a value that is known: a list, or a number where rank is 0.
func foldedInts(ints []int64, rank int) []knowledge {
	shape := Shape{}
	if rank > 0 {
		shape = Shape{len(ints)}
	}
	return []knowledge{{shape: shape, ints: ints, folded: true}}
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
		if !s.affords(len(k.ints)) {
			k.ints, k.folded = nil, false
		}
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

// affords reports whether that many more numbers may be computed ahead of time, and
// counts them, whatever comes of it: shape arithmetic is short, and a file that
// pretends otherwise must not take minutes.
func (s *step) affords(n int) bool {
	if n > maxFolded || n > maxFoldedTotal-s.in.ints {
		return false
	}
	s.in.ints += n
	return true
}

// fold computes integers, element by element; false where the operator is not one
// of shape arithmetic.
func (s *step) fold(y Shape, real bool) ([]int64, bool) {
	n, ok := product(y)
	operands := 2
	if s.node.op == "Where" {
		operands = 3
	}
	if !ok || len(y) > 1 || len(s.node.in) != operands || !s.affords(n) {
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
			if out[i] = operand(2, i); a != 0 {
				out[i] = b
			}
		default:
			return nil, false
		}
	}
	return out, true
}

func (s *step) constant() ([]knowledge, error) {
	for name, a := range s.node.attributes {
		var t *fileTensor
		switch name {
		case "value":
			t = a.tensor
		case "value_int":
			t = intTensor(Shape{}, a.i)
		case "value_ints":
			t = intTensor(Shape{len(a.ints)}, a.ints...)
		case "value_float":
			t = floatTensor(Shape{}, a.f)
		case "value_floats":
			t = floatTensor(Shape{len(a.floats)}, a.floats...)
		}
		if t != nil {
			return []knowledge{stored(t)}, nil
		}
	}
	return nil, errors.New("a constant without a value that is understood")
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
	if n, ok := product(y); ok && len(y) <= 1 {
		if t := s.node.attributes["value"].tensor; t != nil { // else a float, 0
			if ints, err := t.ints(1); err == nil && len(ints) == 1 && s.affords(n) {
				out.ints, out.folded = slices.Repeat(ints, n), true
			}
		}
	}
	return []knowledge{out}, nil
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
	if length := int(max(0, end-start)); !s.affords(length) {
		return one(Shape{length}, nil)
	}
	ints := make([]int64, 0, n)
	for i := start; i < end; i++ {
		ints = append(ints, int64(x[i]))
	}
	return foldedInts(ints, 1), nil
}

func (s *step) rangeOf() ([]knowledge, error) {
	var v [3]int64
	real := false
	for i := range v {
		k, ok := s.input(i)
		real = real || k.real
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
	out := foldedInts(ints, 1)
	out[0].real = real
	return out, nil
}
