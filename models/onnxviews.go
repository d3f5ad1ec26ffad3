package models

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

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
		out.real = out.real || k.real
		out.folded = out.folded && k.folded && len(out.ints)+len(k.ints) <= maxFolded && s.affords(len(k.ints))
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
	k, _ := s.input(0)
	out := knowledge{real: k.real}
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

// sliceRange gives where a slice begins and how many elements it has; indices beyond
// the ends are clamped to them.
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
	data, _ := s.input(0)
	at, _ := s.input(1)
	out := knowledge{shape: slices.Concat(x[:axis], indices, x[axis+1:]), real: data.real}
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

// padding gives what Pad adds before and after each axis.
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
