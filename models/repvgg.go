package models

import (
	"fmt"
	"strings"
)

// repvggs are those of Ding et al., "RepVGG: Making VGG-style ConvNets Great
// Again" (arXiv:2101.03697), Table 2, as they are deployed: a chain of 3×3
// convolutions, whose weights are computed from those of the training form, three
// branches with a batch norm each. Keys and accuracies are timm's.
func repvggs() []definition {
	variants := []struct {
		name   string
		top1   accuracy
		widths [5]int // stem and stages
		depths [5]int
	}{
		{"repvgg-a0", accuracy{72.426, "timm results-imagenet.csv repvgg_a0.rvgg_in1k @224"}, [5]int{48, 48, 96, 192, 1280}, [5]int{1, 2, 4, 14, 1}},
		{"repvgg-b0", accuracy{75.158, "timm results-imagenet.csv repvgg_b0.rvgg_in1k @224"}, [5]int{64, 64, 128, 256, 1280}, [5]int{1, 4, 6, 16, 1}},
	}
	var list []definition
	for _, v := range variants {
		convs := repvggConvs(v.widths, v.depths)
		list = append(list, definition{
			name: v.name, family: "repvgg", source: "arXiv:2101.03697, deployed form", resolution: 224, top1: v.top1,
			build:    func(b *builder) { repvgg(b, convs) },
			derive:   func(training WeightSource) WeightSource { return newReparameterised(training, convs) },
			training: func() []Param { return repvggTraining(convs) },
		})
	}
	return list
}

// A repvggConv is one convolution of the chain.
type repvggConv struct {
	block           string // key prefix
	in, out, stride int
}

func (c repvggConv) key() string { return c.block + ".reparam_conv" }

// identity reports whether the training form has a third branch, which is only a batch
// norm.
func (c repvggConv) identity() bool { return c.stride == 1 && c.in == c.out }

func repvggConvs(widths, depths [5]int) []repvggConv {
	var convs []repvggConv
	in := 3
	for s, out := range widths {
		for i := range depths[s] {
			block, stride := "stem", 1
			if s > 0 {
				block = fmt.Sprintf("stages.%d.%d", s-1, i)
			}
			if i == 0 {
				stride = 2
			}
			convs = append(convs, repvggConv{block, in, out, stride})
			in = out
		}
	}
	return convs
}

func repvgg(b *builder, convs []repvggConv) {
	x := Image
	for _, c := range convs {
		x = b.layer(x, layer{conv: c.key(), out: c.out, kernel: 3, stride: c.stride, bias: true, act: ReLU})
	}
	b.classifier(x, "head.fc")
}

// repvggTraining lists the tensors of the training form.
func repvggTraining(convs []repvggConv) []Param {
	var stored []Param
	add := func(key string, op Op) { stored = append(stored, Node{Op: op, Weights: key}.Params()...) }
	for _, c := range convs {
		norm := BatchNorm{Channels: c.out}
		add(c.block+".conv_kxk.conv", Conv{In: c.in, Out: c.out, KernelH: 3, KernelW: 3, Groups: 1})
		add(c.block+".conv_kxk.bn", norm)
		add(c.block+".conv_1x1.conv", Conv{In: c.in, Out: c.out, KernelH: 1, KernelW: 1, Groups: 1})
		add(c.block+".conv_1x1.bn", norm)
		if c.identity() {
			add(c.block+".identity", norm)
		}
	}
	add("head.fc", Linear{In: convs[len(convs)-1].out, Out: classes, Bias: true})
	return stored
}

// reparameterised computes deployed weights from those of the training form:
// each branch is folded into a kernel and a bias, a 1×1 kernel and the identity
// count as 3×3 kernels that are zero around the centre, and the branches are
// added up.
type reparameterised struct {
	training WeightSource
	convs    map[string]repvggConv // by key
}

func newReparameterised(training WeightSource, convs []repvggConv) reparameterised {
	r := reparameterised{training, make(map[string]repvggConv, len(convs))}
	for _, c := range convs {
		r.convs[c.key()] = c
	}
	return r
}

func (r reparameterised) Origin() string { return r.training.Origin() }

func (r reparameterised) Load(p Param, dst []float32) error {
	c, ok := r.convs[p.Key[:max(0, strings.LastIndexByte(p.Key, '.'))]]
	if !ok {
		return r.training.Load(p, dst)
	}
	if len(dst) != p.Shape.Elements() || p.Shape[0] != c.out {
		return fmt.Errorf("load %s: room for %d elements of shape %v, the layer has %d channels", p.Key, len(dst), p.Shape, c.out)
	}
	norm := func(key string) ([]float64, []float64, error) {
		return normFold{norm: BatchNorm{Channels: c.out, Epsilon: 1e-5}, key: c.block + "." + key}.load(r.training)
	}
	wideScale, wideShift, err := norm("conv_kxk.bn")
	if err != nil {
		return err
	}
	pointScale, pointShift, err := norm("conv_1x1.bn")
	if err != nil {
		return err
	}
	idScale, idShift := make([]float64, c.out), make([]float64, c.out)
	if c.identity() {
		if idScale, idShift, err = norm("identity"); err != nil {
			return err
		}
	}
	if p.Role == Bias {
		for o := range dst {
			dst[o] = float32(wideShift[o] + pointShift[o] + idShift[o])
		}
		return nil
	}

	const taps, centre = 3 * 3, 4
	if err := r.training.Load(Param{c.block + ".conv_kxk.conv.weight", p.Shape, Kernel}, dst); err != nil {
		return err
	}
	point := make([]float32, c.out*c.in)
	if err := r.training.Load(Param{c.block + ".conv_1x1.conv.weight", Shape{c.out, c.in, 1, 1}, Kernel}, point); err != nil {
		return err
	}
	for o := range c.out {
		for i := range c.in {
			kernel := dst[(o*c.in+i)*taps:][:taps]
			for t := range kernel {
				v := float64(kernel[t]) * wideScale[o]
				if t == centre {
					v += float64(float64(point[o*c.in+i]) * pointScale[o])
					if i == o {
						v += idScale[o]
					}
				}
				kernel[t] = float32(v)
			}
		}
	}
	return nil
}
