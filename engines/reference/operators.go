package reference

import (
	"fmt"
	"math"

	"genbench/models"
)

// compile gives the step that computes out = op(in). Shapes were checked by
// models.Network.Shapes; params are in the order of models.Node.Params.
func compile(c *crew, op models.Op, in []models.Tensor, params [][]float32, out models.Tensor) (func(), error) {
	switch op := op.(type) {
	case models.Conv:
		var bias []float32
		if op.Bias {
			bias = params[1]
		}
		if op.Groups == op.In {
			return depthwise(c, op, in[0], params[0], bias, out), nil
		}
		return convolution(c, op, in[0], params[0], bias, out), nil
	case models.Linear:
		var bias []float32
		if op.Bias {
			bias = params[1]
		}
		return linear(c, op, in[0], params[0], bias, out), nil
	case models.BatchNorm:
		return batchNorm(c, op, in[0], params, out), nil
	case models.Activation:
		f, err := activation(op.Func)
		if err != nil {
			return nil, err
		}
		return func() {
			c.spans(len(out.Data), func(from, to int) { f(out.Data[from:to], in[0].Data[from:to]) })
		}, nil
	case models.Add:
		return func() {
			c.spans(len(out.Data), func(from, to int) {
				a, b, y := in[0].Data[from:to], in[1].Data[from:to], out.Data[from:to]
				for i := range y {
					y[i] = a[i] + b[i]
				}
			})
		}, nil
	case models.Mul:
		return mul(c, in[0], in[1], out), nil
	case models.Concat:
		return concat(c, in, out), nil
	case models.Slice:
		return slice(c, op, in[0], out), nil
	case models.MaxPool:
		return maxPool(c, op, in[0], out), nil
	case models.AvgPool:
		return avgPool(c, op, in[0], out), nil
	case models.GlobalAvgPool:
		return globalAvgPool(c, in[0], out), nil
	case models.Flatten:
		return func() { copy(out.Data, in[0].Data) }, nil
	case models.Shuffle:
		return shuffle(c, op, in[0], out), nil
	case models.RadixSoftmax:
		return radixSoftmax(op, in[0], out), nil
	}
	return nil, fmt.Errorf("reference has no operator %s", op.Kind())
}

// planeOf is the number of elements of one channel of one image.
func planeOf(s models.Shape) int { return s[2:].Elements() }

// activation gives the function over equally long slices.
func activation(f models.ActivationFunc) (func(y, x []float32), error) {
	each := func(f func(float32) float32) func(y, x []float32) {
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = f(v)
			}
		}
	}
	// Exponentials are taken in float64 and rounded once.
	sigmoid := func(v float32) float64 { return 1 / (1 + math.Exp(-float64(v))) }
	switch f {
	case models.ReLU:
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = max(v, 0)
			}
		}, nil
	case models.ReLU6:
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = min(max(v, 0), 6)
			}
		}, nil
	case models.Sigmoid:
		return each(func(v float32) float32 { return float32(sigmoid(v)) }), nil
	case models.SiLU:
		return each(func(v float32) float32 { return float32(float64(v) * sigmoid(v)) }), nil
	case models.HardSigmoid:
		return each(func(v float32) float32 { return min(max(v+3, 0), 6) / 6 }), nil
	case models.HardSwish:
		return each(func(v float32) float32 { return v * min(max(v+3, 0), 6) / 6 }), nil
	}
	return nil, fmt.Errorf("reference has no activation %q", f)
}

// batchNorm turns the statistics into one multiplication and one addition, whose
// factors are computed in float64.
func batchNorm(c *crew, op models.BatchNorm, in models.Tensor, params [][]float32, out models.Tensor) func() {
	gamma, beta, mean, variance := params[0], params[1], params[2], params[3]
	scale := make([]float32, op.Channels)
	shift := make([]float32, op.Channels)
	for i := range scale {
		s := float64(gamma[i]) / math.Sqrt(float64(variance[i])+op.Epsilon)
		scale[i] = float32(s)
		shift[i] = float32(float64(beta[i]) - float64(float64(mean[i])*s))
	}
	plane := planeOf(in.Shape)
	return func() {
		c.each(in.Shape[0]*op.Channels, func(task int, _ []float32) {
			x, y := in.Data[task*plane:(task+1)*plane], out.Data[task*plane:(task+1)*plane]
			m, b := scale[task%op.Channels], shift[task%op.Channels]
			for i, v := range x {
				y[i] = float32(v*m) + b
			}
		})
	}
}

func mul(c *crew, a, b, out models.Tensor) func() {
	plane := planeOf(out.Shape)
	if planeOf(a.Shape) < plane {
		a, b = b, a
	}
	if planeOf(b.Shape) == plane {
		return func() {
			c.spans(len(out.Data), func(from, to int) {
				x, z, y := a.Data[from:to], b.Data[from:to], out.Data[from:to]
				for i := range y {
					y[i] = x[i] * z[i]
				}
			})
		}
	}
	return func() { // b has one value per channel
		c.each(len(b.Data), func(task int, _ []float32) {
			x, y := a.Data[task*plane:(task+1)*plane], out.Data[task*plane:(task+1)*plane]
			gate := b.Data[task]
			for i, v := range x {
				y[i] = v * gate
			}
		})
	}
}

func concat(c *crew, in []models.Tensor, out models.Tensor) func() {
	whole := out.Shape[1:].Elements()
	return func() {
		c.each(out.Shape[0], func(image int, _ []float32) {
			y := out.Data[image*whole : (image+1)*whole]
			for _, t := range in {
				part := t.Shape[1:].Elements()
				y = y[copy(y, t.Data[image*part:(image+1)*part]):]
			}
		})
	}
}

func slice(c *crew, op models.Slice, in, out models.Tensor) func() {
	whole, part, plane := in.Shape[1:].Elements(), out.Shape[1:].Elements(), planeOf(in.Shape)
	return func() {
		c.each(out.Shape[0], func(image int, _ []float32) {
			copy(out.Data[image*part:(image+1)*part], in.Data[image*whole+op.From*plane:])
		})
	}
}

// shuffle reads the channels as groups × rest and writes them as rest × groups.
func shuffle(c *crew, op models.Shuffle, in, out models.Tensor) func() {
	channels, plane := in.Shape[1], planeOf(in.Shape)
	rest := channels / op.Groups
	return func() {
		c.each(in.Shape[0]*channels, func(task int, _ []float32) {
			image, to := task/channels, task%channels
			from := to%op.Groups*rest + to/op.Groups
			copy(out.Data[task*plane:(task+1)*plane], in.Data[(image*channels+from)*plane:])
		})
	}
}

func maxPool(c *crew, op models.MaxPool, in, out models.Tensor) func() {
	h, w, oh, ow := in.Shape[2], in.Shape[3], out.Shape[2], out.Shape[3]
	return func() {
		c.each(in.Shape[0]*in.Shape[1], func(task int, _ []float32) {
			x, y := in.Data[task*h*w:(task+1)*h*w], out.Data[task*oh*ow:(task+1)*oh*ow]
			for i := range oh {
				top := i*op.Stride - op.Pad
				for j := range ow {
					left := j*op.Stride - op.Pad
					best := float32(math.Inf(-1))
					for r := max(top, 0); r < min(top+op.Kernel, h); r++ {
						for q := max(left, 0); q < min(left+op.Kernel, w); q++ {
							best = max(best, x[r*w+q])
						}
					}
					y[i*ow+j] = best
				}
			}
		})
	}
}

// avgPool divides as PyTorch does: with CountPad by the window's cells that lie
// within input and padding, without it by those within the input.
func avgPool(c *crew, op models.AvgPool, in, out models.Tensor) func() {
	h, w, oh, ow := in.Shape[2], in.Shape[3], out.Shape[2], out.Shape[3]
	return func() {
		c.each(in.Shape[0]*in.Shape[1], func(task int, _ []float32) {
			x, y := in.Data[task*h*w:(task+1)*h*w], out.Data[task*oh*ow:(task+1)*oh*ow]
			for i := range oh {
				top := i*op.Stride - op.Pad
				r0, r1 := max(top, 0), min(top+op.Kernel, h)
				for j := range ow {
					left := j*op.Stride - op.Pad
					q0, q1 := max(left, 0), min(left+op.Kernel, w)
					cells := (r1 - r0) * (q1 - q0)
					if op.CountPad {
						cells = (min(top+op.Kernel, h+op.Pad) - top) * (min(left+op.Kernel, w+op.Pad) - left)
					}
					var sum float32
					for r := r0; r < r1; r++ {
						for q := q0; q < q1; q++ {
							sum += x[r*w+q]
						}
					}
					y[i*ow+j] = sum / float32(cells)
				}
			}
		})
	}
}

func globalAvgPool(c *crew, in, out models.Tensor) func() {
	plane := planeOf(in.Shape)
	return func() {
		c.each(len(out.Data), func(task int, _ []float32) {
			var sum float64 // thousands of values of one sign lose digits in float32
			for _, v := range in.Data[task*plane : (task+1)*plane] {
				sum += float64(v)
			}
			out.Data[task] = float32(sum / float64(plane))
		})
	}
}

// radixSoftmax has a few hundred elements, which no second thread would help with.
func radixSoftmax(op models.RadixSoftmax, in, out models.Tensor) func() {
	channels := in.Shape[1] / op.Radix
	return func() {
		for image := range in.Shape[0] {
			x := in.Data[image*op.Radix*channels:][:op.Radix*channels]
			y := out.Data[image*op.Radix*channels:][:op.Radix*channels]
			for c := range channels {
				largest := x[c] // subtracted, so that no exponential overflows
				for i := c; i < len(x); i += channels {
					largest = max(largest, x[i])
				}
				var sum float64
				for i := c; i < len(x); i += channels {
					sum += math.Exp(float64(x[i] - largest))
				}
				for i := c; i < len(x); i += channels {
					y[i] = float32(math.Exp(float64(x[i]-largest)) / sum)
				}
			}
		}
	}
}
