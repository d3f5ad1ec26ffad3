package models

import (
	"math"
	"testing"
)

// A folded layer gives, for any input, what the layer and its norm give.
func TestFold(t *testing.T) {
	b := newBuilder("foldable", 4)
	x := b.layer(Image, layer{conv: "plain", norm: "plain_bn", out: 4, kernel: 1})
	x = b.layer(x, layer{conv: "biased", norm: "biased_bn", out: 6, kernel: 1, groups: 2, bias: true, act: ReLU})
	shared := b.layer(x, layer{conv: "shared", out: 6, kernel: 1})
	x = b.add("sum", Add{}, "", b.norm(shared, "shared_bn"), shared)
	x = b.norm(x, "lonely_bn")
	x = b.add("flatten", Flatten{}, "", b.add("pool", GlobalAvgPool{}, "", x))
	b.norm(b.linear(x, "fc", 5), "fc_bn")
	if b.err != nil {
		t.Fatal(b.err)
	}
	b.net.Weights = Synthetic()
	folded, err := Fold(b.net)
	if err != nil {
		t.Fatal(err)
	}
	shapes, err := folded.Shapes(1)
	if err != nil {
		t.Fatal(err)
	}
	if out := shapes[len(shapes)-1]; !out.Equal(Shape{1, 5}) {
		t.Errorf("output has shape %v", out)
	}
	var names []string
	for _, n := range folded.Nodes {
		if _, ok := n.Op.(BatchNorm); ok {
			names = append(names, n.Name)
		}
	}
	// One follows a layer that has another reader, one a sum.
	if len(names) != 2 || names[0] != "shared_bn" || names[1] != "lonely_bn" {
		t.Errorf("norms left: %v", names)
	}
	for _, c := range []struct {
		layer, norm string
		bias        bool
		out, fan    int
	}{{"plain", "plain_bn", false, 4, 3}, {"biased", "biased_bn", true, 6, 2}, {"fc", "fc_bn", true, 5, 6}} {
		kernel := loadFrom(t, folded.Weights, Param{c.layer + ".weight", Shape{c.out, c.fan, 1, 1}, Kernel})
		bias := loadFrom(t, folded.Weights, Param{c.layer + ".bias", Shape{c.out}, Bias})
		own := load(t, Param{c.layer + ".weight", Shape{c.out, c.fan, 1, 1}, Kernel})
		ownBias := make([]float32, c.out)
		if c.bias {
			ownBias = load(t, Param{c.layer + ".bias", Shape{c.out}, Bias})
		}
		s := Shape{c.out}
		gamma, beta := load(t, Param{c.norm + ".weight", s, Gamma}), load(t, Param{c.norm + ".bias", s, Beta})
		mean, variance := load(t, Param{c.norm + ".running_mean", s, Mean}), load(t, Param{c.norm + ".running_var", s, Variance})
		for o := range c.out {
			apart, together := float64(ownBias[o]), float64(bias[o])
			for i := range c.fan {
				in := float64(i) - 0.7
				apart += in * float64(own[o*c.fan+i])
				together += in * float64(kernel[o*c.fan+i])
			}
			apart = (apart-float64(mean[o]))/math.Sqrt(float64(variance[o])+1e-5)*float64(gamma[o]) + float64(beta[o])
			if math.Abs(apart-together) > 1e-6 {
				t.Errorf("%s channel %d: folded %v, apart %v", c.layer, o, together, apart)
			}
		}
	}
	if again, err := Fold(folded); err != nil || len(again.Nodes) != len(folded.Nodes) {
		t.Errorf("folding again: %v, %d nodes of %d", err, len(again.Nodes), len(folded.Nodes))
	}
	if folded.Weights.Origin() != "synthetic" {
		t.Errorf("origin %q", folded.Weights.Origin())
	}
}

// The deployed form of RepVGG gives what the three branches of the training form
// give.
func TestReparameterised(t *testing.T) {
	for _, c := range []repvggConv{{"block", 3, 3, 1}, {"block", 3, 3, 2}, {"block", 3, 4, 1}} {
		r := newReparameterised(Synthetic(), []repvggConv{c})
		kernel := loadFrom(t, r, Param{c.key() + ".weight", Shape{c.out, c.in, 3, 3}, Kernel})
		bias := loadFrom(t, r, Param{c.key() + ".bias", Shape{c.out}, Bias})
		wide := load(t, Param{"block.conv_kxk.conv.weight", Shape{c.out, c.in, 3, 3}, Kernel})
		point := load(t, Param{"block.conv_1x1.conv.weight", Shape{c.out, c.in, 1, 1}, Kernel})
		input := SyntheticInput(Shape{1, c.in, 3, 3}).Data
		norm := func(key string, o int, v float64) float64 {
			s := Shape{c.out}
			gamma, beta := load(t, Param{key + ".weight", s, Gamma}), load(t, Param{key + ".bias", s, Beta})
			mean, variance := load(t, Param{key + ".running_mean", s, Mean}), load(t, Param{key + ".running_var", s, Variance})
			return (v-float64(mean[o]))/math.Sqrt(float64(variance[o])+1e-5)*float64(gamma[o]) + float64(beta[o])
		}
		for o := range c.out {
			deployed, branch3, branch1 := float64(bias[o]), 0.0, 0.0
			for i := range c.in {
				for tap := range 9 {
					v := float64(input[i*9+tap])
					deployed += v * float64(kernel[(o*c.in+i)*9+tap])
					branch3 += v * float64(wide[(o*c.in+i)*9+tap])
				}
				branch1 += float64(input[i*9+4]) * float64(point[o*c.in+i])
			}
			want := norm("block.conv_kxk.bn", o, branch3) + norm("block.conv_1x1.bn", o, branch1)
			if c.in == c.out && c.stride == 1 {
				want += norm("block.identity", o, float64(input[o*9+4]))
			}
			if math.Abs(deployed-want) > 1e-6 {
				t.Errorf("%+v channel %d: deployed %v, branches %v", c, o, deployed, want)
			}
		}
	}
}

func loadFrom(t *testing.T, source WeightSource, p Param) []float32 {
	t.Helper()
	dst := make([]float32, p.Shape.Elements())
	if err := source.Load(p, dst); err != nil {
		t.Fatal(err)
	}
	return dst
}
