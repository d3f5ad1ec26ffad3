package models

import "strings"

// basic is the two-convolution residual block of ResNet-18 (arXiv:1512.03385) and
// GENet's XX-block.
func basic(b *builder, x int, s spec) int {
	inner := s.width(s.out)
	y := b.part(x, s, first, layer{out: inner, kernel: s.kernel, stride: s.stride, act: s.act})
	y = b.part(y, s, second, layer{out: s.out, kernel: s.kernel})
	return b.residual(x, y, s)
}

// bottleneck is the 1×1, k×k, 1×1 residual block of ResNet-50 with the stride on
// the k×k convolution; with groups it is ResNeXt's (arXiv:1611.05431) and RegNet's
// (arXiv:2003.13678), without it GENet's BL-block.
func bottleneck(b *builder, x int, s spec) int {
	inner := s.width(s.out)
	y := b.part(x, s, first, layer{out: inner, kernel: 1, act: s.act})
	y = b.part(y, s, second, layer{out: inner, kernel: s.kernel, stride: s.stride, groups: s.groups, act: s.act})
	if s.se && !s.style.se.last {
		y = b.squeezeExcite(x, y, s)
	}
	y = b.part(y, s, third, layer{out: s.out, kernel: 1})
	if s.se && s.style.se.last {
		y = b.squeezeExcite(x, y, s)
	}
	return b.residual(x, y, s)
}

// depthwiseBottleneck is GENet's DW-block: a bottleneck that widens, with a
// depthwise k×k convolution.
func depthwiseBottleneck(b *builder, x int, s spec) int {
	s.groups = s.width(s.out)
	return bottleneck(b, x, s)
}

// splitBottleneck is ResNeSt's (arXiv:2004.08955) with two splits in one group: the
// k×k convolution makes two halves, which a softmax over their pooled sum
// weighs. Strides are average pools, after the convolution and in the shortcut.
func splitBottleneck(b *builder, x int, s spec) int {
	const radix = 2
	inner := s.width(s.out)
	conv2 := s.name + ".conv2"
	y := b.part(x, s, first, layer{out: inner, kernel: 1, act: s.act})
	y = b.layer(y, layer{conv: conv2 + ".conv", norm: conv2 + ".bn0", out: radix * inner, kernel: s.kernel, groups: radix, act: s.act})

	halves := [radix]int{
		b.add(conv2+".half0", Slice{0, inner}, "", y),
		b.add(conv2+".half1", Slice{inner, 2 * inner}, "", y),
	}
	w := b.add(conv2+".sum", Add{}, "", halves[0], halves[1])
	w = b.add(conv2+".pool", GlobalAvgPool{}, "", w)
	w = b.layer(w, layer{conv: conv2 + ".fc1", norm: conv2 + ".bn1", out: max(radix*inner/4, 32), kernel: 1, bias: true, act: s.act})
	w = b.layer(w, layer{conv: conv2 + ".fc2", out: radix * inner, kernel: 1, bias: true})
	w = b.add(conv2+".rsoftmax", RadixSoftmax{radix}, "", w)
	y = b.add(conv2+".weigh", Mul{}, "", y, w)
	y = b.add(conv2+".out", Add{}, "",
		b.add(conv2+".weighed0", Slice{0, inner}, "", y),
		b.add(conv2+".weighed1", Slice{inner, 2 * inner}, "", y))

	if s.stride > 1 {
		y = b.add(s.name+".avd_last", AvgPool{Kernel: 3, Stride: s.stride, Pad: 1, CountPad: true}, "", y)
	}
	y = b.part(y, s, third, layer{out: s.out, kernel: 1})
	short := x
	if s.stride > 1 {
		short = b.add(s.name+".downsample.0", AvgPool{Kernel: 2, Stride: s.stride, Ceil: true}, "", short)
		s.stride = 1
	}
	return b.residual(short, y, s)
}

// inverted is MobileNetV2's block (arXiv:1801.04381): widen, depthwise k×k, narrow
// without activation. Whether there is a shortcut depends on the shapes.
func inverted(b *builder, x int, s spec) int {
	s.expands = true
	y := b.part(x, s, expansion, layer{out: s.width(b.channels(x)), kernel: 1, act: s.act})
	return b.separate(x, y, s)
}

// separable is an inverted block without widening: depthwise, then pointwise.
func separable(b *builder, x int, s spec) int { return b.separate(x, x, s) }

func (b *builder) separate(x, y int, s spec) int {
	width := b.channels(y)
	y = b.part(y, s, depthwise, layer{out: width, kernel: s.kernel, stride: s.stride, groups: width, act: s.act})
	if s.se {
		y = b.squeezeExcite(x, y, s)
	}
	y = b.part(y, s, projection, layer{out: s.out, kernel: 1})
	return b.skip(x, y, s)
}

// fused is EfficientNetV2's block (arXiv:2104.00298): one k×k convolution widens,
// a pointwise one narrows; with ratio 1 there is only the k×k convolution.
func fused(b *builder, x int, s spec) int {
	if s.ratio == 1 {
		y := b.part(x, s, expansion, layer{out: s.out, kernel: s.kernel, stride: s.stride, act: s.act})
		return b.skip(x, y, s)
	}
	y := b.part(x, s, expansion, layer{out: s.width(b.channels(x)), kernel: s.kernel, stride: s.stride, act: s.act})
	y = b.part(y, s, projection, layer{out: s.out, kernel: 1})
	return b.skip(x, y, s)
}

// ghost is GhostNet's bottleneck (arXiv:1911.11907): ghost modules in place of
// pointwise convolutions, a depthwise one between them only for a stride.
func ghost(b *builder, x int, s spec) int {
	in := b.channels(x)
	y := b.ghostModule(x, s.name+".ghost1", s.inner, s.act)
	if s.stride > 1 {
		y = b.layer(y, layer{conv: s.name + ".conv_dw", norm: s.name + ".bn_dw", out: s.inner, kernel: s.kernel, stride: s.stride, groups: s.inner})
	}
	if s.se {
		y = b.squeezeExcite(x, y, s)
	}
	y = b.ghostModule(y, s.name+".ghost2", s.out, "")
	if s.stride > 1 || in != s.out {
		short := s.name + ".shortcut"
		x = b.layer(x, layer{conv: short + ".0", norm: short + ".1", out: in, kernel: s.kernel, stride: s.stride, groups: in})
		x = b.layer(x, layer{conv: short + ".2", norm: short + ".3", out: s.out, kernel: 1})
	}
	return b.add(s.name+".add", Add{}, "", y, x)
}

// ghostModule makes half of its channels with a pointwise convolution and the other
// half from those with a cheap depthwise one.
func (b *builder) ghostModule(x int, name string, out int, act ActivationFunc) int {
	half := out / 2
	primary := b.layer(x, layer{conv: name + ".primary_conv.0", norm: name + ".primary_conv.1", out: half, kernel: 1, act: act})
	cheap := b.layer(primary, layer{conv: name + ".cheap_operation.0", norm: name + ".cheap_operation.1", out: half, kernel: 3, groups: half, act: act})
	return b.add(name+".concat", Concat{}, "", primary, cheap)
}

// part adds the convolution at this place in the block.
func (b *builder) part(x int, s spec, p part, l layer) int {
	l.conv, l.norm = s.style.keys(s, p)
	return b.layer(x, l)
}

// residual adds the shortcut from x to y, projected where shapes differ, and the
// activation after the sum.
func (b *builder) residual(x, y int, s spec) int {
	if s.project || s.stride > 1 || b.channels(x) != s.out {
		x = b.part(x, s, shortcut, layer{out: s.out, kernel: 1, stride: s.stride, bias: s.style.shortcutBias})
	}
	return b.act(b.add(s.name+".add", Add{}, "", y, x), s.act)
}

// skip adds x to y where shapes allow it, without activation.
func (b *builder) skip(x, y int, s spec) int {
	if s.stride > 1 || b.channels(x) != s.out {
		return y
	}
	return b.add(s.name+".add", Add{}, "", y, x)
}

// squeezeExcite weighs the channels of y (arXiv:1709.01507); x is the block's
// input.
func (b *builder) squeezeExcite(x, y int, s spec) int {
	se := s.style.se
	reduce, _ := s.style.keys(s, squeeze)
	expand, _ := s.style.keys(s, excite)
	name := reduce[:strings.LastIndexByte(reduce, '.')]
	w := b.add(name+".pool", GlobalAvgPool{}, "", y)
	w = b.layer(w, layer{conv: reduce, out: se.width(b.channels(x), b.channels(y)), kernel: 1, bias: true, act: se.act})
	w = b.layer(w, layer{conv: expand, out: b.channels(y), kernel: 1, bias: true, act: se.gate})
	return b.add(name+".scale", Mul{}, "", y, w)
}

// threeByThree is the stem of most networks: one 3×3 convolution with stride 2.
func threeByThree(conv, norm string) func(*builder, config) int {
	return func(b *builder, c config) int {
		return b.layer(Image, layer{conv: conv, norm: norm, out: c.stem, kernel: 3, stride: 2, act: c.ends()})
	}
}

// pooled is the head of most networks: a 1×1 convolution where there are
// features, global average, one linear layer.
func pooled(conv, norm, linear string) func(*builder, config, int) {
	return func(b *builder, c config, x int) {
		if c.features > 0 {
			x = b.layer(x, layer{conv: conv, norm: norm, out: c.features, kernel: 1, act: c.ends()})
		}
		b.classifier(x, linear)
	}
}

// quarter and the functions below are rules for the width of squeeze and excite.

// quarter of the block's input (EfficientNet, RegNetY, MnasNet-A1).
func quarter(in, _ int) int { return in / 4 }

// quarterWeighed is a quarter of the weighed channels in steps of 8
// (MobileNetV3, OFA).
func quarterWeighed(_, weighed int) int { return divisible(float64(weighed)/4, 8) }
