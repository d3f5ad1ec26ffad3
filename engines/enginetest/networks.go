package enginetest

import "genbench/models"

// A Case is a small network with the input it is run on.
type Case struct {
	Name    string
	Network *models.Network
	// Spread multiplies the synthetic input, to reach the bends of activations.
	Spread float32
}

// Input is the case's input at a batch size.
func (c Case) Input(batch int) models.Tensor {
	t := models.SyntheticInput(c.Network.InputShape(batch))
	for i := range t.Data {
		t.Data[i] *= c.Spread
	}
	return t
}

// A sketch is a network in the making. Nodes are named by the caller; weights are
// synthetic under that name.
type sketch struct{ network *models.Network }

func draw(name string, channels, resolution int) sketch {
	return sketch{&models.Network{Name: name, Channels: channels, Resolution: resolution, Weights: models.Synthetic()}}
}

// add appends a node and gives its index.
func (s sketch) add(name string, op models.Op, inputs ...int) int {
	s.network.Nodes = append(s.network.Nodes, models.Node{Name: name, Op: op, Inputs: inputs, Weights: name})
	return len(s.network.Nodes) - 1
}

// conv is a square convolution that keeps the extent at stride 1.
func conv(in, out, kernel, stride, groups int) models.Conv {
	return models.Conv{
		In: in, Out: out, KernelH: kernel, KernelW: kernel, Stride: stride,
		PadH: kernel / 2, PadW: kernel / 2, Dilation: 1, Groups: groups,
	}
}

func biased(c models.Conv) models.Conv {
	c.Bias = true
	return c
}

// normed appends convolution and batch norm.
func (s sketch) normed(name string, c models.Conv, input int) int {
	return s.add(name+".bn", models.BatchNorm{Channels: c.Out, Epsilon: 1e-5}, s.add(name+".conv", c, input))
}

func (s sketch) act(name string, f models.ActivationFunc, input int) int {
	return s.add(name, models.Activation{Func: f}, input)
}

// gate appends squeeze-and-excitation on c channels.
func (s sketch) gate(name string, c int, inner, outer models.ActivationFunc, x int) int {
	y := s.add(name+".squeeze", models.GlobalAvgPool{}, x)
	y = s.act(name+".inner", inner, s.add(name+".reduce", biased(conv(c, c/4, 1, 1, 1)), y))
	y = s.act(name+".outer", outer, s.add(name+".expand", biased(conv(c/4, c, 1, 1, 1)), y))
	return s.add(name+".scale", models.Mul{}, x, y)
}

// head appends pooling and a classifier.
func (s sketch) head(c, classes, x int) int {
	x = s.add("head.flatten", models.Flatten{}, s.add("head.pool", models.GlobalAvgPool{}, x))
	return s.add("head.fc", models.Linear{In: c, Out: classes, Bias: true}, x)
}

// Operators lists cases of one operator each, with the corners that engines get
// wrong: padding, strides that do not divide, groups, broadcasting.
func Operators() []Case {
	const image = models.Image
	var cases []Case
	sketchCase := func(name string, channels, resolution int, body func(s sketch)) {
		s := draw(name, channels, resolution)
		body(s)
		cases = append(cases, Case{Name: name, Network: s.network, Spread: 1})
	}
	one := func(name string, channels, resolution int, op models.Op) {
		sketchCase(name, channels, resolution, func(s sketch) { s.add("op", op, image) })
	}

	one("conv 1x1", 5, 7, conv(5, 9, 1, 1, 1))
	one("conv 1x1 bias", 5, 7, biased(conv(5, 9, 1, 1, 1)))
	one("conv 1x1 stride 2", 5, 7, conv(5, 9, 1, 2, 1))
	one("conv 3x3", 5, 7, conv(5, 9, 3, 1, 1))
	one("conv 3x3 stride 2", 5, 8, conv(5, 9, 3, 2, 1))
	one("conv 7x7 stride 2", 3, 21, biased(conv(3, 6, 7, 2, 1)))
	one("conv 2x2 stride 3 without padding", 3, 10, models.Conv{In: 3, Out: 4, KernelH: 2, KernelW: 2, Stride: 3, Dilation: 1, Groups: 1})
	one("conv 3x3 dilated", 3, 11, models.Conv{In: 3, Out: 4, KernelH: 3, KernelW: 3, Stride: 1, PadH: 2, PadW: 2, Dilation: 2, Groups: 1})
	one("conv 1x7", 3, 9, models.Conv{In: 3, Out: 4, KernelH: 1, KernelW: 7, Stride: 1, PadW: 3, Dilation: 1, Groups: 1})
	one("conv 7x1", 3, 9, models.Conv{In: 3, Out: 4, KernelH: 7, KernelW: 1, Stride: 1, PadH: 3, Dilation: 1, Groups: 1})
	one("conv padded beyond its kernel", 3, 5, models.Conv{In: 3, Out: 4, KernelH: 3, KernelW: 3, Stride: 2, PadH: 3, PadW: 3, Dilation: 1, Groups: 1, Bias: true})
	one("conv in groups", 8, 9, biased(conv(8, 12, 3, 1, 4)))
	one("conv 1x1 in groups", 8, 9, conv(8, 12, 1, 1, 2))
	one("conv deep and wide", 150, 15, biased(conv(150, 70, 3, 1, 1)))
	one("conv 1x1 of many pixels", 7, 30, conv(7, 130, 1, 1, 1))
	one("depthwise 3x3", 6, 9, conv(6, 6, 3, 1, 6))
	one("depthwise 5x5 stride 2 bias", 6, 10, biased(conv(6, 6, 5, 2, 6)))
	one("depthwise 7x7 on a small image", 6, 3, conv(6, 6, 7, 2, 6))
	one("depthwise dilated", 6, 11, models.Conv{In: 6, Out: 6, KernelH: 3, KernelW: 3, Stride: 2, PadH: 2, PadW: 2, Dilation: 2, Groups: 6})
	one("depthwise with two outputs each", 6, 9, biased(conv(6, 12, 3, 2, 6)))
	one("batchnorm", 6, 5, models.BatchNorm{Channels: 6, Epsilon: 1e-3})
	sketchCase("conv batchnorm", 6, 5, func(s sketch) { s.normed("a", conv(6, 8, 3, 1, 1), image) })
	sketchCase("conv batchnorm with two readers", 6, 5, func(s sketch) {
		c := s.add("a", conv(6, 8, 3, 1, 1), image)
		s.add("sum", models.Add{}, s.add("bn", models.BatchNorm{Channels: 8, Epsilon: 1e-5}, c), c)
	})
	sketchCase("linear", 6, 5, func(s sketch) {
		s.add("op", models.Linear{In: 150, Out: 300, Bias: true}, s.add("flat", models.Flatten{}, image))
	})
	sketchCase("linear without bias", 6, 5, func(s sketch) {
		s.add("op", models.Linear{In: 150, Out: 7}, s.add("flat", models.Flatten{}, image))
	})
	sketchCase("linear batchnorm", 6, 5, func(s sketch) {
		x := s.add("fc", models.Linear{In: 150, Out: 7, Bias: true}, s.add("flat", models.Flatten{}, image))
		s.act("relu", models.ReLU, s.add("bn", models.BatchNorm{Channels: 7, Epsilon: 1e-5}, x))
	})
	for _, f := range []models.ActivationFunc{models.ReLU, models.ReLU6, models.SiLU, models.HardSwish, models.HardSigmoid, models.Sigmoid} {
		one(string(f), 3, 13, models.Activation{Func: f})
		cases[len(cases)-1].Spread = 9
	}
	sketchCase("activation of features", 3, 5, func(s sketch) {
		s.act("act", models.HardSwish, s.add("flat", models.Flatten{}, image))
	})
	one("maxpool 3 stride 2", 4, 12, models.MaxPool{Kernel: 3, Stride: 2, Pad: 1})
	one("maxpool 2", 4, 9, models.MaxPool{Kernel: 2, Stride: 2})
	one("maxpool ceil", 4, 10, models.MaxPool{Kernel: 3, Stride: 2, Ceil: true})
	one("maxpool ceil with a window in the padding", 4, 5, models.MaxPool{Kernel: 2, Stride: 2, Pad: 1, Ceil: true})
	one("avgpool 2", 4, 9, models.AvgPool{Kernel: 2, Stride: 2})
	one("avgpool 3 counting the input", 4, 9, models.AvgPool{Kernel: 3, Stride: 2, Pad: 1})
	one("avgpool 3 counting padding", 4, 9, models.AvgPool{Kernel: 3, Stride: 2, Pad: 1, CountPad: true})
	one("avgpool ceil", 4, 9, models.AvgPool{Kernel: 2, Stride: 2, Ceil: true})
	one("global avgpool", 5, 9, models.GlobalAvgPool{})
	one("flatten", 5, 3, models.Flatten{})
	one("slice", 7, 5, models.Slice{From: 2, To: 5})
	one("slice of the front", 7, 5, models.Slice{From: 0, To: 1})
	one("shuffle", 12, 5, models.Shuffle{Groups: 3})
	sketchCase("radix softmax", 12, 5, func(s sketch) {
		s.add("op", models.RadixSoftmax{Radix: 3}, s.add("pool", models.GlobalAvgPool{}, image))
	})
	cases[len(cases)-1].Spread = 30
	one("radix softmax of large numbers", 4, 1, models.RadixSoftmax{Radix: 2})
	cases[len(cases)-1].Spread = 300
	sketchCase("slice of features", 7, 1, func(s sketch) {
		s.add("part", models.Slice{From: 2, To: 5}, s.add("flat", models.Flatten{}, image))
	})
	sketchCase("add", 5, 5, func(s sketch) {
		s.add("sum", models.Add{}, s.add("a", conv(5, 5, 3, 1, 1), image), image)
	})
	sketchCase("add twice the image", 5, 5, func(s sketch) { s.add("sum", models.Add{}, image, image) })
	sketchCase("mul", 5, 5, func(s sketch) {
		s.add("product", models.Mul{}, image, s.add("a", conv(5, 5, 3, 1, 1), image))
	})
	sketchCase("mul by a gate", 5, 5, func(s sketch) {
		s.add("product", models.Mul{}, image, s.add("pool", models.GlobalAvgPool{}, image))
	})
	sketchCase("mul of a gate", 5, 5, func(s sketch) {
		s.add("product", models.Mul{}, s.add("pool", models.GlobalAvgPool{}, image), image)
	})
	sketchCase("mul of two gates", 5, 5, func(s sketch) {
		p := s.add("pool", models.GlobalAvgPool{}, image)
		s.add("product", models.Mul{}, p, p)
	})
	sketchCase("concat", 5, 5, func(s sketch) {
		s.add("all", models.Concat{}, s.add("a", conv(5, 3, 3, 1, 1), image), image, s.add("b", conv(5, 2, 1, 1, 1), image))
	})
	sketchCase("concat of features", 5, 5, func(s sketch) {
		f := s.add("flat", models.Flatten{}, s.add("pool", models.GlobalAvgPool{}, image))
		s.add("all", models.Concat{}, f, s.add("fc", models.Linear{In: 5, Out: 3}, f))
	})
	return cases
}

// Blocks lists the patterns that engines fuse.
func Blocks() []Case {
	const image = models.Image
	build := func(name string, channels, resolution int, body func(s sketch)) Case {
		s := draw(name, channels, resolution)
		body(s)
		return Case{Name: name, Network: s.network, Spread: 1}
	}
	return []Case{
		build("basic", 16, 12, func(s sketch) {
			x := s.act("relu1", models.ReLU, s.normed("a", conv(16, 24, 3, 2, 1), image))
			x = s.normed("b", conv(24, 24, 3, 1, 1), x)
			skip := s.normed("skip", conv(16, 24, 1, 2, 1), image)
			s.act("relu2", models.ReLU, s.add("sum", models.Add{}, x, skip))
		}),
		build("bottleneck in groups", 16, 12, func(s sketch) {
			x := s.act("relu1", models.ReLU, s.normed("a", conv(16, 8, 1, 1, 1), image))
			x = s.act("relu2", models.ReLU, s.normed("b", conv(8, 8, 3, 1, 4), x))
			x = s.normed("c", conv(8, 16, 1, 1, 1), x)
			s.act("relu3", models.ReLU, s.add("sum", models.Add{}, image, x))
		}),
		build("inverted with gate", 8, 12, func(s sketch) {
			x := s.act("act1", models.SiLU, s.normed("a", conv(8, 48, 1, 1, 1), image))
			x = s.act("act2", models.SiLU, s.normed("b", conv(48, 48, 5, 1, 48), x))
			x = s.gate("se", 48, models.SiLU, models.Sigmoid, x)
			s.add("sum", models.Add{}, s.normed("c", conv(48, 8, 1, 1, 1), x), image)
		}),
		build("inverted with hard gate", 8, 12, func(s sketch) {
			x := s.act("act1", models.HardSwish, s.normed("a", conv(8, 24, 1, 1, 1), image))
			x = s.act("act2", models.HardSwish, s.normed("b", conv(24, 24, 3, 2, 24), x))
			s.normed("c", conv(24, 12, 1, 1, 1), s.gate("se", 24, models.ReLU, models.HardSigmoid, x))
		}),
		build("split attention", 8, 12, func(s sketch) {
			x := s.act("relu1", models.ReLU, s.normed("a", conv(8, 16, 3, 1, 2), image))
			left := s.add("left", models.Slice{From: 0, To: 8}, x)
			right := s.add("right", models.Slice{From: 8, To: 16}, x)
			w := s.add("pool", models.GlobalAvgPool{}, s.add("both", models.Add{}, left, right))
			w = s.act("relu2", models.ReLU, s.normed("b", biased(conv(8, 6, 1, 1, 1)), w))
			w = s.add("softmax", models.RadixSoftmax{Radix: 2}, s.add("c", biased(conv(6, 16, 1, 1, 1)), w))
			left = s.add("left.scale", models.Mul{}, left, s.add("left.weight", models.Slice{From: 0, To: 8}, w))
			right = s.add("right.scale", models.Mul{}, right, s.add("right.weight", models.Slice{From: 8, To: 16}, w))
			s.add("sum", models.Add{}, left, right)
		}),
		build("dense", 8, 9, func(s sketch) {
			x := image
			for i, name := range []string{"first", "second"} {
				c := 8 + 4*i
				y := s.act(name+".relu", models.ReLU, s.add(name+".norm", models.BatchNorm{Channels: c, Epsilon: 1e-5}, x))
				x = s.add(name+".concat", models.Concat{}, x, s.add(name+".conv", conv(c, 4, 3, 1, 1), y))
			}
			s.add("pool", models.AvgPool{Kernel: 2, Stride: 2}, x)
		}),
		build("shuffle unit", 8, 9, func(s sketch) {
			left := s.add("left", models.Slice{From: 0, To: 4}, image)
			right := s.add("right", models.Slice{From: 4, To: 8}, image)
			right = s.act("relu1", models.ReLU, s.normed("a", conv(4, 4, 1, 1, 1), right))
			right = s.normed("b", conv(4, 4, 3, 1, 4), right)
			s.add("shuffle", models.Shuffle{Groups: 2}, s.add("join", models.Concat{}, left, right))
		}),
		build("value read much later", 8, 9, func(s sketch) {
			first := s.act("first", models.ReLU, s.add("a", conv(8, 8, 3, 1, 1), image))
			x := first
			for _, name := range []string{"b", "c", "d", "e"} {
				x = s.act(name+".relu", models.ReLU, s.add(name, conv(8, 8, 3, 1, 1), x))
			}
			s.add("sum", models.Add{}, first, x)
		}),
	}
}

// Miniatures lists whole networks of the families' shapes, from image to logits.
func Miniatures() []Case {
	residual := draw("mini-resnet", 3, 32)
	x := residual.act("stem.relu", models.ReLU, residual.normed("stem", conv(3, 8, 7, 2, 1), models.Image))
	x = residual.add("stem.pool", models.MaxPool{Kernel: 3, Stride: 2, Pad: 1}, x)
	for i, name := range []string{"stage1", "stage2"} {
		in, out := 8<<i, 8<<(i+1)
		y := residual.act(name+".relu1", models.ReLU, residual.normed(name+".a", conv(in, out, 3, 2, 1), x))
		y = residual.normed(name+".b", conv(out, out, 3, 1, 1), y)
		skip := residual.normed(name+".skip", conv(in, out, 1, 2, 1), x)
		x = residual.act(name+".relu2", models.ReLU, residual.add(name+".sum", models.Add{}, y, skip))
	}
	residual.head(32, 10, x)

	mobile := draw("mini-mobilenet", 3, 32)
	x = mobile.act("stem.act", models.ReLU6, mobile.normed("stem", conv(3, 8, 3, 2, 1), models.Image))
	for i, name := range []string{"block1", "block2", "block3"} {
		in, out := 8+4*i, 12+4*i
		x = mobile.act(name+".act1", models.ReLU6, mobile.normed(name+".a", conv(in, 6*in, 1, 1, 1), x))
		x = mobile.act(name+".act2", models.ReLU6, mobile.normed(name+".b", conv(6*in, 6*in, 3, 1+i%2, 6*in), x))
		x = mobile.normed(name+".c", conv(6*in, out, 1, 1, 1), x)
	}
	mobile.head(20, 10, mobile.act("last.act", models.SiLU, mobile.normed("last", conv(20, 20, 1, 1, 1), x)))

	return []Case{
		{Name: "mini-resnet", Network: residual.network, Spread: 1},
		{Name: "mini-mobilenet", Network: mobile.network, Spread: 1},
	}
}
