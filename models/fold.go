package models

import (
	"fmt"
	"math"
)

// Fold gives the network as it is deployed: a batch norm that directly follows a
// convolution or linear layer, and is its only reader, is merged into that layer's
// weights. A batch norm anywhere else stays (DenseNet's normalise a concatenation).
//
// The layer keeps its name and its key and gains a bias. Values are computed when
// they are loaded, in float64, and rounded once to float32.
func Fold(n *Network) (*Network, error) {
	readers := make([]int, len(n.Nodes))
	for i, node := range n.Nodes {
		for _, j := range node.Inputs {
			if j == Image {
				continue
			}
			if j < 0 || j >= i {
				return nil, fmt.Errorf("fold %s: node %s: input %d is not an earlier node", n.Name, node.Name, j)
			}
			readers[j]++
		}
	}

	norms := make(map[int]normFold) // by the index of the layer that takes the norm in
	for _, node := range n.Nodes {
		bn, ok := node.Op.(BatchNorm)
		if !ok || len(node.Inputs) != 1 || node.Inputs[0] == Image {
			continue
		}
		layer := node.Inputs[0]
		if readers[layer] != 1 {
			continue
		}
		switch op := n.Nodes[layer].Op.(type) {
		case Conv:
			norms[layer] = normFold{norm: bn, key: node.Weights, layerBias: op.Bias}
		case Linear:
			norms[layer] = normFold{norm: bn, key: node.Weights, layerBias: op.Bias}
		}
	}
	if len(norms) == 0 {
		return n, nil
	}

	out := *n
	out.Nodes = make([]Node, 0, len(n.Nodes)-len(norms))
	source := foldedWeights{source: n.Weights, norms: make(map[string]normFold, len(norms))}
	place := make([]int, len(n.Nodes)) // where a node of n went
	for i, node := range n.Nodes {
		if _, ok := node.Op.(BatchNorm); ok && node.Inputs[0] != Image {
			if _, ok := norms[node.Inputs[0]]; ok {
				place[i] = place[node.Inputs[0]]
				continue
			}
		}
		if f, ok := norms[i]; ok {
			source.norms[node.Weights] = f
			switch op := node.Op.(type) {
			case Conv:
				op.Bias = true
				node.Op = op
			case Linear:
				op.Bias = true
				node.Op = op
			}
		}
		node.Inputs = append([]int(nil), node.Inputs...)
		for k, j := range node.Inputs {
			if j != Image {
				node.Inputs[k] = place[j]
			}
		}
		place[i] = len(out.Nodes)
		out.Nodes = append(out.Nodes, node)
	}
	out.Weights, out.namings = source, nil
	return &out, nil
}

// normFold is a batch norm on its way into a layer.
type normFold struct {
	norm      BatchNorm
	key       string // of the norm
	layerBias bool   // whether the layer had a bias of its own
}

// load gives the factor and the summand of the norm's affine map, per channel.
func (f normFold) load(source WeightSource) (scale, shift []float64, err error) {
	var values [4][]float32 // gamma, beta, mean, variance
	for i, p := range (Node{Op: f.norm, Weights: f.key}).Params() {
		values[i] = make([]float32, f.norm.Channels)
		if err := source.Load(p, values[i]); err != nil {
			return nil, nil, err
		}
	}
	scale = make([]float64, f.norm.Channels)
	shift = make([]float64, f.norm.Channels)
	for c := range scale {
		if v := float64(values[3][c]); !(v+f.norm.Epsilon > 0) || math.IsInf(v, 1) {
			return nil, nil, fmt.Errorf("fold %s.running_var: element %d is %v, want a variance", f.key, c, v)
		}
		scale[c] = float64(values[0][c]) / math.Sqrt(float64(values[3][c])+f.norm.Epsilon)
		// Here and below, the conversion of a product keeps machines that fuse
		// multiply and add from rounding differently.
		shift[c] = float64(values[1][c]) - float64(float64(values[2][c])*scale[c])
	}
	return scale, shift, nil
}

// foldedWeights computes folded tensors from those of another source.
type foldedWeights struct {
	source WeightSource
	norms  map[string]normFold // by the layer's key
}

func (w foldedWeights) Origin() string { return w.source.Origin() }

func (w foldedWeights) Load(p Param, dst []float32) error {
	suffix := ".weight"
	if p.Role == Bias {
		suffix = ".bias"
	}
	f, ok := normFold{}, false
	if (p.Role == Kernel || p.Role == Bias) && len(p.Key) > len(suffix) {
		f, ok = w.norms[p.Key[:len(p.Key)-len(suffix)]]
	}
	if !ok {
		return w.source.Load(p, dst)
	}
	if len(dst) != p.Shape.Elements() || p.Shape[0] != f.norm.Channels {
		return fmt.Errorf("load %s: room for %d elements of shape %v, folded norm %s has %d channels", p.Key, len(dst), p.Shape, f.key, f.norm.Channels)
	}
	scale, shift, err := f.load(w.source)
	if err != nil {
		return err
	}
	if p.Role == Kernel {
		if err := w.source.Load(p, dst); err != nil {
			return err
		}
		fan := len(dst) / f.norm.Channels
		for o, s := range scale {
			row := dst[o*fan : (o+1)*fan]
			for i, v := range row {
				row[i] = float32(float64(v) * s)
			}
		}
		return nil
	}
	if f.layerBias {
		if err := w.source.Load(p, dst); err != nil {
			return err
		}
	} else {
		clear(dst)
	}
	for o := range dst {
		dst[o] = float32(float64(float64(dst[o])*scale[o]) + shift[o])
	}
	return nil
}
