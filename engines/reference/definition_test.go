package reference_test

import (
	"context"
	"math"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/models"
)

// The functions below compute a network from the operators' definitions, element
// by element in float64, unfolded and without a thought for speed. Nothing is
// shared with the engine: they are what the reference itself is checked against.

type values struct {
	shape models.Shape
	data  []float64
}

// at reads an element, and 0 outside of the image.
func (v values) at(n, c, y, x int) float64 {
	if y < 0 || x < 0 || y >= v.shape[2] || x >= v.shape[3] {
		return 0
	}
	return v.data[((n*v.shape[1]+c)*v.shape[2]+y)*v.shape[3]+x]
}

// define fills an output of up to four dimensions from a function of its indices.
func define(shape models.Shape, f func(n, c, y, x int) float64) values {
	full := append(append(models.Shape{}, shape...), 1, 1)[:4]
	out := values{shape: shape}
	for n := range full[0] {
		for c := range full[1] {
			for y := range full[2] {
				for x := range full[3] {
					out.data = append(out.data, f(n, c, y, x))
				}
			}
		}
	}
	return out
}

// image gives a view with four dimensions.
func (v values) image() values {
	v.shape = append(append(models.Shape{}, v.shape...), 1, 1)[:4]
	return v
}

func byDefinition(t *testing.T, n *models.Network, input models.Tensor) values {
	t.Helper()
	shapes, err := n.Shapes(input.Shape[0])
	if err != nil {
		t.Fatal(err)
	}
	image := values{shape: input.Shape}
	for _, v := range input.Data {
		image.data = append(image.data, float64(v))
	}
	results := make([]values, len(n.Nodes))
	for i, node := range n.Nodes {
		var in []values
		for _, j := range node.Inputs {
			if j == models.Image {
				in = append(in, image.image())
			} else {
				in = append(in, results[j].image())
			}
		}
		var params [][]float64
		for _, p := range node.Params() {
			raw := make([]float32, p.Shape.Elements())
			if err := n.Weights.Load(p, raw); err != nil {
				t.Fatal(err)
			}
			wide := make([]float64, len(raw))
			for k, v := range raw {
				wide[k] = float64(v)
			}
			params = append(params, wide)
		}
		results[i] = apply(t, node.Op, in, params, shapes[i])
	}
	return results[len(results)-1]
}

func apply(t *testing.T, op models.Op, in []values, params [][]float64, shape models.Shape) values {
	switch op := op.(type) {
	case models.Conv:
		return define(shape, func(n, o, y, x int) float64 {
			inGroup, outGroup := op.In/op.Groups, op.Out/op.Groups
			var sum float64
			if op.Bias {
				sum = params[1][o]
			}
			for i := range inGroup {
				for kh := range op.KernelH {
					for kw := range op.KernelW {
						w := params[0][((o*inGroup+i)*op.KernelH+kh)*op.KernelW+kw]
						sum += w * in[0].at(n, o/outGroup*inGroup+i, y*op.Stride-op.PadH+kh*op.Dilation, x*op.Stride-op.PadW+kw*op.Dilation)
					}
				}
			}
			return sum
		})
	case models.Linear:
		return define(shape, func(n, o, _, _ int) float64 {
			var sum float64
			if op.Bias {
				sum = params[1][o]
			}
			for i := range op.In {
				sum += params[0][o*op.In+i] * in[0].data[n*op.In+i]
			}
			return sum
		})
	case models.BatchNorm:
		return define(shape, func(n, c, y, x int) float64 {
			return (in[0].at(n, c, y, x)-params[2][c])/math.Sqrt(params[3][c]+op.Epsilon)*params[0][c] + params[1][c]
		})
	case models.Activation:
		hard := func(v float64) float64 { return math.Min(math.Max(v+3, 0), 6) / 6 }
		f := map[models.ActivationFunc]func(float64) float64{
			models.ReLU:        func(v float64) float64 { return math.Max(v, 0) },
			models.ReLU6:       func(v float64) float64 { return math.Min(math.Max(v, 0), 6) },
			models.SiLU:        func(v float64) float64 { return v / (1 + math.Exp(-v)) },
			models.Sigmoid:     func(v float64) float64 { return 1 / (1 + math.Exp(-v)) },
			models.HardSigmoid: hard,
			models.HardSwish:   func(v float64) float64 { return v * hard(v) },
		}[op.Func]
		return define(shape, func(n, c, y, x int) float64 { return f(in[0].at(n, c, y, x)) })
	case models.Add:
		return define(shape, func(n, c, y, x int) float64 { return in[0].at(n, c, y, x) + in[1].at(n, c, y, x) })
	case models.Mul:
		pick := func(v values, n, c, y, x int) float64 { return v.at(n, c, y%v.shape[2], x%v.shape[3]) }
		return define(shape, func(n, c, y, x int) float64 { return pick(in[0], n, c, y, x) * pick(in[1], n, c, y, x) })
	case models.Concat:
		return define(shape, func(n, c, y, x int) float64 {
			for _, v := range in {
				if c < v.shape[1] {
					return v.at(n, c, y, x)
				}
				c -= v.shape[1]
			}
			return math.NaN()
		})
	case models.Slice:
		return define(shape, func(n, c, y, x int) float64 { return in[0].at(n, op.From+c, y, x) })
	case models.MaxPool:
		return define(shape, func(n, c, y, x int) float64 {
			best := math.Inf(-1)
			for i := range op.Kernel {
				for j := range op.Kernel {
					row, column := y*op.Stride-op.Pad+i, x*op.Stride-op.Pad+j
					if row >= 0 && column >= 0 && row < in[0].shape[2] && column < in[0].shape[3] {
						best = math.Max(best, in[0].at(n, c, row, column))
					}
				}
			}
			return best
		})
	case models.AvgPool:
		return define(shape, func(n, c, y, x int) float64 {
			var sum, inside, padded float64
			h, w := in[0].shape[2], in[0].shape[3]
			for i := range op.Kernel {
				for j := range op.Kernel {
					row, column := y*op.Stride-op.Pad+i, x*op.Stride-op.Pad+j
					sum += in[0].at(n, c, row, column)
					if row >= 0 && column >= 0 && row < h && column < w {
						inside++
					}
					if row < h+op.Pad && column < w+op.Pad {
						padded++
					}
				}
			}
			if op.CountPad {
				return sum / padded
			}
			return sum / inside
		})
	case models.GlobalAvgPool:
		return define(shape, func(n, c, _, _ int) float64 {
			var sum float64
			for y := range in[0].shape[2] {
				for x := range in[0].shape[3] {
					sum += in[0].at(n, c, y, x)
				}
			}
			return sum / float64(in[0].shape[2]*in[0].shape[3])
		})
	case models.Flatten:
		return values{shape: shape, data: in[0].data}
	case models.Shuffle:
		// As ShuffleNet says it: reshape to groups × rest, transpose, flatten.
		rest := in[0].shape[1] / op.Groups
		return define(shape, func(n, c, y, x int) float64 {
			group, place := c%op.Groups, c/op.Groups
			return in[0].at(n, group*rest+place, y, x)
		})
	case models.RadixSoftmax:
		rest := in[0].shape[1] / op.Radix
		return define(shape, func(n, c, _, _ int) float64 {
			var sum float64
			for r := range op.Radix {
				sum += math.Exp(in[0].at(n, r*rest+c%rest, 0, 0))
			}
			return math.Exp(in[0].at(n, c, 0, 0)) / sum
		})
	}
	t.Fatalf("no definition of operator %s", op.Kind())
	return values{}
}

func run(t *testing.T, n *models.Network, input models.Tensor, threads int) models.Tensor {
	t.Helper()
	host, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := host.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := reference.Driver().Open(context.Background(), host)
	if err != nil {
		t.Fatal(err)
	}
	s, err := engine.Build(context.Background(), n, stream, engines.BuildOptions{Precision: models.FP32, Batch: input.Shape[0], Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetInput(input); err != nil {
		t.Fatal(err)
	}
	if err := stream.Time(s.Call(), make([]hardware.Sample, 2)); err != nil {
		t.Fatal(err)
	}
	out, err := s.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unexportable is a case that has no ONNX form and that other engines need not have.
func unexportable() enginetest.Case {
	return enginetest.Case{Name: "avgpool ceil counting padding", Spread: 1, Network: &models.Network{
		Name: "unexportable", Channels: 3, Resolution: 6, Weights: models.Synthetic(),
		Nodes: []models.Node{{
			Name: "op", Inputs: []int{models.Image},
			Op: models.AvgPool{Kernel: 3, Stride: 2, Pad: 1, Ceil: true, CountPad: true},
		}},
	}}
}

func TestDefinitions(t *testing.T) {
	for _, cases := range [][]enginetest.Case{enginetest.Operators(), enginetest.Blocks(), enginetest.Miniatures(), {unexportable()}} {
		for _, c := range cases {
			t.Run(c.Name, func(t *testing.T) {
				const batch = 2
				got := run(t, c.Network, c.Input(batch), 2)
				want := byDefinition(t, c.Network, c.Input(batch))
				if !got.Shape.Equal(want.shape) || len(got.Data) != len(want.data) {
					t.Fatalf("shape %v, want %v", got.Shape, want.shape)
				}
				var squares, worst float64
				for i, v := range want.data {
					squares += v * v
					worst = max(worst, math.Abs(v-float64(got.Data[i]))) // max keeps a NaN
				}
				if rms := math.Sqrt(squares / float64(len(want.data))); !(worst <= 5e-6*rms) {
					t.Errorf("off by %g, the root mean square is %g", worst, rms)
				}
			})
		}
	}
}

// TestThreadsChangeNoBit also covers more threads than there is work for.
func TestThreadsChangeNoBit(t *testing.T) {
	for _, cases := range [][]enginetest.Case{enginetest.Operators(), enginetest.Miniatures()} {
		for _, c := range cases {
			one := run(t, c.Network, c.Input(2), 1)
			for _, threads := range []int{2, 3, 7} {
				for i, v := range run(t, c.Network, c.Input(2), threads).Data {
					if math.Float32bits(v) != math.Float32bits(one.Data[i]) {
						t.Fatalf("%s: element %d is %v with 1 thread and %v with %d", c.Name, i, one.Data[i], v, threads)
					}
				}
			}
		}
	}
}
