package models

import "math"

// A config is a network written as data: a stem, stages of blocks, a head. A
// family's file lists its configs with the source of their numbers; what they
// have in common (names, activation, stem, head) is their style.
type config struct {
	name       string
	source     string
	resolution int // the network's own input height and width
	top1       accuracy
	style      style
	others     []namedStyle // other namings of the weights
	stem       int          // channels after the stem
	stages     []stage
	features   int // channels of the 1×1 convolution before the pooling; 0: none
	embedding  int // channels of the layer after the pooling; 0: none
}

// A namedStyle is a style and the name of the implementation whose keys it has.
type namedStyle struct {
	name  string
	style style
}

// accuracy is a published ImageNet-1k top-1 accuracy; the zero value: none known
// for this network at its resolution.
type accuracy struct {
	percent float64
	source  string
}

// A stage is a run of blocks of one width. Only its first block has the stride.
type stage struct {
	block  block
	depth  int // blocks; 0 means 1
	out    int // channels after each block
	stride int // 0 means 1
	// Channels inside a block: a ratio of its output (of its input for inverted
	// blocks), or a number where the source gives one.
	ratio  float64
	inner  int
	kernel int            // 0 means 3
	groups int            // of the k×k convolution; 0 means 1
	act    ActivationFunc // empty: the style's
	se     bool           // squeeze and excite
	// project puts a convolution in the first block's shortcut even where the shapes
	// fit without one.
	project bool
	// choices replaces depth, kernel and ratio in networks found by a search that
	// chose block by block.
	choices []choice
	// join continues the numbering of the stage above, for sources that count
	// unequal blocks as one stage.
	join bool
}

// A choice is what a search picked for one block. The zero choice is "no block
// here": the key numbering of such networks counts it.
type choice struct {
	kernel int
	ratio  float64
}

// A block adds its nodes after x and gives its output.
type block func(b *builder, x int, s spec) int

// A spec is what one block is told.
type spec struct {
	style   *style
	name    string // key prefix
	out     int
	stride  int
	ratio   float64
	inner   int
	kernel  int
	groups  int
	act     ActivationFunc
	se      bool
	project bool
	expands bool // set by inverted blocks with a convolution ahead of the depthwise one
}

// width is the number of channels inside the block.
func (s spec) width(base int) int {
	if s.inner > 0 {
		return s.inner
	}
	return int(math.Round(s.ratio * float64(base)))
}

// A part is a convolution's place in its block.
type part int

const (
	first part = iota // of a residual block
	second
	third
	shortcut
	expansion // of an inverted block
	depthwise
	projection
	squeeze // of squeeze and excite
	excite
)

// A style is what the networks of one implementation have in common.
type style struct {
	epsilon float64        // of batch norms
	act     ActivationFunc // inside blocks
	endAct  ActivationFunc // of stem and head; empty: act
	// prefix names a block by its stage, its place there and its place in the
	// network, all from 0.
	prefix func(stage, index, flat int) string
	// keys gives the state-dict keys of a convolution and its batch norm.
	keys func(s spec, p part) (conv, norm string)
	se   squeezeStyle
	// shortcutBias: the shortcut's convolution has a bias, although a batch norm
	// follows.
	shortcutBias bool
	stem         func(b *builder, c config) int
	head         func(b *builder, c config, x int)
}

// squeezeStyle is how a style squeezes and excites.
type squeezeStyle struct {
	// width is the number of channels in between, given the block's input and the
	// channels that are weighed.
	width     func(in, weighed int) int
	act, gate ActivationFunc
	last      bool // in a bottleneck, after the last convolution, not the k×k one
}

func (c config) ends() ActivationFunc {
	if c.style.endAct != "" {
		return c.style.endAct
	}
	return c.style.act
}

// blocks is the number of blocks, as keys count them.
func (c config) blocks() int {
	n := 0
	for _, s := range c.stages {
		n += len(s.picks())
	}
	return n
}

// numberedStages is the number of stages, as keys count them.
func (c config) numberedStages() int {
	n := 0
	for _, s := range c.stages {
		if !s.join {
			n++
		}
	}
	return n
}

// picks gives kernel and ratio of every block.
func (s stage) picks() []choice {
	if s.choices != nil {
		return s.choices
	}
	kernel := s.kernel
	if kernel == 0 {
		kernel = 3
	}
	picks := make([]choice, max(s.depth, 1))
	for i := range picks {
		picks[i] = choice{kernel, s.ratio}
	}
	return picks
}

// build adds the whole network.
func (c config) build(b *builder) {
	b.epsilon = c.style.epsilon
	x := c.style.stem(b, c)
	number, index, flat := -1, 0, 0
	for _, st := range c.stages {
		if !st.join {
			number, index = number+1, 0
		}
		act := st.act
		if act == "" {
			act = c.style.act
		}
		for i, pick := range st.picks() {
			if pick != (choice{}) {
				s := spec{
					style: &c.style, name: c.style.prefix(number, index, flat),
					out: st.out, stride: 1, ratio: pick.ratio, inner: st.inner,
					kernel: pick.kernel, groups: st.groups, act: act, se: st.se,
				}
				if i == 0 {
					s.stride, s.project = max(st.stride, 1), st.project
				}
				x = st.block(b, x, s)
			}
			index++
			flat++
		}
	}
	c.style.head(b, c, x)
}

// define lists configs as networks of a family.
func define(family string, configs []config) []definition {
	all := make([]definition, len(configs))
	for i, c := range configs {
		all[i] = definition{
			name: c.name, family: family, source: c.source,
			resolution: c.resolution, top1: c.top1, build: c.build,
		}
		for _, other := range c.others {
			renamed := c
			renamed.style = other.style
			all[i].others = append(all[i].others, otherKeys{other.name, other.style.epsilon, renamed.build})
		}
	}
	return all
}

// divisible rounds channels to a multiple of a divisor without losing more than
// a tenth, the rule of the MobileNet family (arXiv:1801.04381, reference code).
func divisible(v float64, divisor int) int {
	d := float64(divisor)
	n := max(d, math.Floor((v+d/2)/d)*d)
	if n < 0.9*v {
		n += d
	}
	return int(n)
}
