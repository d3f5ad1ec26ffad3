package cudnn

import (
	"math"
	"slices"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/cudnn/cudnntest"
	"genbench/engines/enginetest"
	"genbench/models"
)

// fp8Network has what fp8 convolutions can have behind them, in channels that suit: all
// activations, a residual, nothing; and one whose result is not rounded.
func fp8Network() *models.Network {
	n := &models.Network{Name: "fp8", Channels: 16, Resolution: 6, Weights: models.Synthetic()}
	add := func(name string, op models.Op, inputs ...int) int {
		n.Nodes = append(n.Nodes, models.Node{Name: name, Op: op, Inputs: inputs, Weights: name})
		return len(n.Nodes) - 1
	}
	x := models.Image
	conv := func(name string, bias bool, act models.ActivationFunc) int {
		y := add(name, models.Conv{In: 16, Out: 16, KernelH: 3, KernelW: 3, Stride: 1, PadH: 1, PadW: 1, Dilation: 1, Groups: 1, Bias: bias}, x)
		if act != "" {
			y = add(name+".act", models.Activation{Func: act}, y)
		}
		return y
	}
	for _, act := range []models.ActivationFunc{models.ReLU, models.ReLU6, models.SiLU, models.HardSwish} {
		x = conv(string(act), true, act)
	}
	x = conv("alone", false, "")
	x = add("sum", models.Add{}, conv("summand", true, ""), x)
	conv("last", true, "")
	return n
}

func fp8Case() enginetest.Case {
	return enginetest.Case{Name: "fp8", Network: fp8Network(), Spread: 1}
}

// A session says which convolutions a plan computes, whole or in part, counts what runs
// in fp8, and names what does not with the reason.
func TestFP8Executed(t *testing.T) {
	const some, none = "gives sums for a kernel", "cuDNN refuses its 8-bit convolution: node relu: cudnnBackendFinalize: CUDNN_STATUS_NOT_SUPPORTED"
	mini := enginetest.Miniatures()
	for name, c := range map[string]struct {
		refuse       string // FAKE_CUDNN_NO_FP8
		network      enginetest.Case
		fp8, fp16    int
		whole, parts int
		words        []string
	}{
		// A hard-swish is no operation of the graph API; a residual stays with the kernel.
		"all": {"0", fp8Case(), 7, 0, 5, 2, []string{
			"relu: fp8 graph plan eng40_k2=7_k13=1 computes all, ", "hardswish: fp8 graph plan eng40_k2=7_k13=1 " + some, "summand: fp8 graph plan eng40_k2=7_k13=1 " + some,
		}},
		// The last convolution rounds to nothing, so its plan is whole all the same.
		"no rounding": {"1", fp8Case(), 7, 0, 1, 6, []string{"last: fp8 graph plan eng40_k2=7_k13=1 computes all, ", "relu: fp8 graph plan eng40_k2=7_k13=1 " + some}},
		"refused":     {"2", fp8Case(), 0, 7, 0, 0, []string{"relu: in fp16 between 8-bit values: " + none}},
		"residual": {"0", mini[0], 4, 6, 2, 2, []string{
			"stem.conv: in fp16 between 8-bit values: cuDNN's fp8 convolutions want channels in multiples of 16, and this one has 3 and 8",
			"in fp16 on 8-bit values, by kernels of genbench and cuDNN's pooling: stem.pool, head.pool",
		}},
		"depthwise": {"0", mini[1], 1, 12, 1, 0, []string{"block2.b.conv: in fp16 between 8-bit values: cuDNN has no fp8 depthwise convolution"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "FAKE_CUDA_CAPABILITY", "90", "FAKE_CUDNN_NO_FP8", c.refuse)
			s, err := b.buildRounded(t, c.network, models.FP8, 2, true)
			if err != nil {
				t.Fatal(err)
			}
			ran := s.Executed()
			if ran.Precisions["fp8"] != c.fp8 || ran.Precisions["fp16"] != c.fp16 || ran.Precisions["fp32"] != 0 {
				t.Errorf("ran %v, want %d in fp8 and %d in fp16", ran.Precisions, c.fp8, c.fp16)
			}
			said := strings.Join(ran.Choices, "\n")
			if whole, parts := strings.Count(said, " computes all, "), strings.Count(said, some); whole != c.whole || parts != c.parts {
				t.Errorf("%d whole plans and %d of sums, want %d and %d:\n%s", whole, parts, c.whole, c.parts, said)
			}
			for _, words := range c.words {
				if !strings.Contains(said, words) {
					t.Errorf("%q is not in:\n%s", words, said)
				}
			}
			layers, err := s.TimeLayers(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			counts := map[string]int{}
			for _, l := range layers {
				counts[l.Precision]++
			}
			if counts["fp8"] != c.fp8 || counts["fp16"] != c.fp16 || counts[""] != 1 { // the input's rounding
				t.Errorf("layers in %v, want %d in fp8 and %d in fp16", counts, c.fp8, c.fp16)
			}
			near(t, b.infer(t, s, s.Call(), c.network.Input(2)), expected(t, c.network.Network, c.network.Input(2)), 0.5)
			if err := s.Close(); err != nil { // the double counts descriptors
				t.Error(err)
			}
		})
	}
}

// However much of a convolution a plan computes, it is one model: the exported one, as
// ONNX Runtime computes it. Sums in another order, and fp16 on the way, round some
// numbers to the neighbouring code, which is less than what rounding itself costs.
func TestFP8IsTheExportedModel(t *testing.T) {
	runtime, stream := openRuntime(t)
	cases := slices.Concat(enginetest.Blocks(), enginetest.Miniatures())
	whole := fp8Network().Nodes
	for i := 1; i < 8; i += 2 { // an activation between two convolutions
		n := fp8Network()
		n.Nodes = []models.Node{whole[0], whole[i], whole[8]}
		n.Nodes[1].Inputs, n.Nodes[2].Inputs = []int{0}, []int{1}
		cases = append(cases, enginetest.Case{Name: whole[i].Name, Network: n, Spread: 1})
	}
	var wants, exact [][]float32
	for _, c := range cases {
		wants = append(wants, runExported(t, runtime, stream, c, models.FP8))
		exact = append(exact, expected(t, c.Network, c.Input(2)))
	}
	for _, refuse := range []string{"0", "1", "2"} {
		b := newBench(t, "FAKE_CUDA_CAPABILITY", "90", "FAKE_CUDNN_NO_FP8", refuse)
		for i, c := range cases {
			if refuse != "0" && i < len(enginetest.Blocks()) {
				continue // their channels do not suit fp8: nothing changes
			}
			s, err := b.buildRounded(t, c, models.FP8, 2, true)
			if err != nil {
				t.Fatal(err)
			}
			got, off, cost := b.infer(t, s, s.Call(), c.Input(2)), 0.0, 0.0
			for k, want := range wants[i] {
				off, cost = off+math.Pow(float64(got[k]-want), 2), cost+math.Pow(float64(exact[i][k]-want), 2)
			}
			if off, cost = math.Sqrt(off), math.Sqrt(cost); !(off <= cost/2) {
				t.Errorf("%s, refusing %s: off by %.3f of what fp8 is off from fp32", c.Name, refuse, off/cost)
			}
		}
	}
}

// The kernels round as models.EncodeFP8 does, and bring every code back.
func TestFP8RoundingOfKernels(t *testing.T) {
	b := newBench(t, "FAKE_CUDA_CAPABILITY", "90")
	const values = 1024
	n := &models.Network{Name: "identity", Channels: values / 4, Resolution: 2, Weights: models.Synthetic(), Nodes: []models.Node{
		{Name: "cut", Op: models.Slice{From: 0, To: values / 4}, Inputs: []int{models.Image}},
		{Name: "sum", Op: models.Add{}, Inputs: []int{0, 0}},
	}}
	// A limit of 448 makes a step of 1.
	ranges := &models.Ranges{Limit: map[string]float32{models.InputName: 448, "cut": 448, "sum": 896}}
	s, err := b.engine.Build(t.Context(), n, b.stream, engines.BuildOptions{Precision: models.FP8, Batch: 1, Ranges: ranges, AllowEmulated: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	codes := make([]byte, 254) // all numbers, of either sign
	for i := range codes {
		codes[i] = byte(i%127 | i/127<<7)
	}
	input := make([]float32, values)
	models.DecodeFP8(input, codes)
	for i := range 127 - 1 { // what is halfway, and a quarter of a step beside it, which fp16 holds
		low, high := input[i], input[i+1]
		input[254+i], input[400+i], input[550+i] = (low+high)/2, low+(high-low)/4, high-(high-low)/4
	}
	copy(input[700:], []float32{449, -460, 500, 65504, -65504, 0x1p-10, 0x1p-11, 0x1.8p-10})
	want := make([]float32, values)
	rounded := make([]byte, values)
	models.EncodeFP8(rounded, input)
	models.DecodeFP8(want, rounded)
	got := b.infer(t, s.(*session), s.Call(), models.Tensor{Shape: models.Shape{1, values / 4, 2, 2}, Data: input})
	for i := range want {
		if got[i] != 2*want[i] {
			t.Errorf("%v is rounded to %v, want %v", input[i], got[i]/2, want[i])
		}
	}
}

func TestFP8Refused(t *testing.T) {
	for name, c := range map[string]struct {
		settings []string
		words    string
	}{
		"sm_80":        {[]string{"FAKE_CUDA_CAPABILITY", "80"}, "fp8 on cuDNN needs sm_90 or newer (compute capability 9.0, Hopper); "},
		"sm_89":        {[]string{"FAKE_CUDA_CAPABILITY", "89"}, "has 8.9"},
		"CUDA 11":      {[]string{"FAKE_CUDA_CAPABILITY", "90", "FAKE_CUDNN_CUDART", "11080"}, "fp8 needs a cuDNN for CUDA 12 or newer, this one is for CUDA 11"},
		"no graph API": {[]string{"FAKE_CUDA_CAPABILITY", "90", Env, cudnntest.Fake(t, "-DcudnnBackendExecute=gone", "-O0")}, "fp8 needs cuDNN's graph API, which this library lacks"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c.settings...)
			if err := b.engine.Supports(engines.BuildOptions{Precision: models.FP8, Batch: 1}); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %q", err, c.words)
			}
		})
	}
	b := newBench(t, "FAKE_CUDA_CAPABILITY", "90", "FAKE_CUDNN_NO_FP8", "2")
	_, err := b.buildRounded(t, fp8Case(), models.FP8, 1, false)
	if err == nil || !strings.Contains(err.Error(), "no layer of it runs in fp8 on cuDNN (relu: cuDNN refuses its 8-bit convolution: ") ||
		!strings.Contains(err.Error(), "--allow-emulated runs it in fp16") {
		t.Errorf("got %v", err)
	}
	if _, err := b.engine.Build(t.Context(), fp8Network(), b.stream, engines.BuildOptions{Precision: models.FP8, Batch: 1}); err == nil || !strings.Contains(err.Error(), "fp8 needs the ranges") {
		t.Errorf("got %v", err)
	}
}
