package cudnn

import (
	"slices"
	"strings"
	"testing"

	"genbench/engines/cudnn/cudnntest"
	"genbench/engines/enginetest"
	"genbench/models"
)

// Which plans run, what a session says of them, and that the rest stays with the
// legacy API. The output is right in every case.
func TestGraphPlans(t *testing.T) {
	mobile := enginetest.Miniatures()[1] // has groups, ReLU6 and others
	const refused = "no graph plan: cudnnBackendFinalize: CUDNN_STATUS_NOT_SUPPORTED (3000)"
	for name, c := range map[string]struct {
		graph     string // FAKE_CUDNN_GRAPH
		flags     []string
		precision models.Precision
		plans     bool
		words     []string
	}{
		// Faster engines are there, which are not deterministic, or sum or multiply in
		// less than they were asked for.
		"fp32 to the bit":   {"0", nil, models.FP32, true, []string{"graph plan eng12, ", "where the legacy API takes", refused}},
		"tf32":              {"0", nil, models.TF32, true, []string{"graph plan eng40_k2=7_k13=1, ", "workspace 8192 bytes"}},
		"fp16":              {"0", nil, models.FP16, true, []string{"graph plan eng40_k2=7_k13=1, ", refused}},
		"bf16":              {"0", nil, models.BF16, true, []string{"graph plan eng40_k2=7_k13=1, "}},
		"no engine":         {"1", nil, models.FP16, false, []string{refused}},
		"no plan":           {"2", nil, models.FP16, false, []string{refused}},
		"none that runs":    {"3", nil, models.FP16, false, []string{"no graph plan: cudnnBackendExecute: CUDNN_STATUS_EXECUTION_FAILED (5000)"}},
		"none that is fast": {"4", nil, models.FP16, false, []string{"no graph plan: eng40_k2=7_k13=1 takes"}},
		"no graph API": {"0", []string{"-DcudnnBackendExecute=gone", "-O0"}, models.FP16, false,
			[]string{"no graph plans: this cuDNN has no graph API"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "FAKE_CUDNN_GRAPH", c.graph, Env, cudnntest.Fake(t, c.flags...))
			b.engine.layouts = []layout{nhwc}
			s := b.build(t, mobile.Network, c.precision, 2)
			said := strings.Join(s.Executed().Choices, "\n")
			for _, words := range c.words {
				if !strings.Contains(said, words) {
					t.Errorf("%q is not in:\n%s", words, said)
				}
			}
			plans := 0
			for _, step := range s.steps() {
				if step.plan != nil {
					plans++
				}
			}
			if (plans > 0) != c.plans || plans != strings.Count(said, ": graph plan ") {
				t.Errorf("%d steps run plans:\n%s", plans, said)
			}
			limit := map[models.Precision]float64{models.FP32: 1e-4, models.TF32: 1e-2, models.FP16: 2e-2, models.BF16: 1e-1}[c.precision]
			near(t, b.infer(t, s, s.Call(), mobile.Input(2)), expected(t, mobile.Network, mobile.Input(2)), limit)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Convolutions of one shape with each thing that may stand behind them: a plan is
// never that of another.
func TestEveryFusion(t *testing.T) {
	n := &models.Network{Name: "fusions", Channels: 8, Resolution: 6, Weights: models.Synthetic()}
	add := func(name string, op models.Op, inputs ...int) int {
		n.Nodes = append(n.Nodes, models.Node{Name: name, Op: op, Inputs: inputs, Weights: name})
		return len(n.Nodes) - 1
	}
	fused := map[string]bool{}
	x := models.Image
	layer := func(name string, bias bool, sum bool, act models.ActivationFunc, plan bool) {
		fused[name] = plan
		input := x
		x = add(name, models.Conv{In: 8, Out: 8, KernelH: 3, KernelW: 3, Stride: 1, PadH: 1, PadW: 1, Dilation: 1, Groups: 1, Bias: bias}, x)
		if sum {
			x = add(name+".sum", models.Add{}, x, input)
		}
		if act != "" {
			x = add(name+".act", models.Activation{Func: act}, x)
		}
	}
	layer("plain", false, false, "", false)
	layer("bias", true, false, "", true)
	for _, act := range []models.ActivationFunc{models.Sigmoid, models.ReLU6, models.ReLU, models.SiLU} {
		layer(string(act), true, false, act, true)
		layer(string(act)+"-alone", false, false, act, true)
		layer(string(act)+"-sum", true, true, act, true)
	}
	layer("hardswish", true, false, models.HardSwish, false)
	layer("hardsigmoid", true, true, models.HardSigmoid, false)
	layer("sum", true, true, "", true)
	layer("sum-alone", false, true, "", true)

	b := newBench(t)
	b.engine.layouts = []layout{nhwc}
	s := b.build(t, n, models.FP32, 1)
	for name, plan := range fused {
		said := slices.ContainsFunc(s.Executed().Choices, func(c string) bool { return strings.HasPrefix(c, name+": graph plan eng12, ") })
		if said != plan {
			t.Errorf("%s: a plan %t, want %t", name, said, plan)
		}
	}
	c := enginetest.Case{Network: n, Spread: 1}
	near(t, b.infer(t, s, s.Call(), c.Input(1)), expected(t, n, c.Input(1)), 1e-4)
}
