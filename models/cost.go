package models

import "fmt"

// A Cost is what one inference of one image takes, counted, not measured.
//
// MACs are the multiply-accumulates of convolutions and linear layers (what
// papers call FLOPs); biases, norms, activations, pools and sums are not counted.
// Params are the learnable ones, with the affine pair of batch norms and without
// their running statistics, as papers, torchvision and timm count them. Bytes are at 4
// bytes per element.
type Cost struct {
	Model      string `json:"model"`
	Resolution int    `json:"resolution"`
	Params     int64  `json:"params"`
	MACs       int64  `json:"macs"`
	// WeightBytes covers everything that is stored, running statistics included.
	WeightBytes int64 `json:"weight_bytes"`
	// ActivationBytes is what the layers read and write if each runs on its own.
	ActivationBytes int64       `json:"activation_bytes"`
	Layers          []LayerCost `json:"layers"`
}

// LayerCost is one node's share of a Cost.
type LayerCost struct {
	Name            string  `json:"name"`
	Op              string  `json:"op"`
	Inputs          []Shape `json:"inputs"`
	Output          Shape   `json:"output"`
	Params          int64   `json:"params"`
	MACs            int64   `json:"macs"`
	WeightBytes     int64   `json:"weight_bytes"`
	ActivationBytes int64   `json:"activation_bytes"`
}

// CostOf counts a network at batch 1, as it is given: fold it first to count what
// is deployed.
func CostOf(n *Network) (Cost, error) {
	shapes, err := n.Shapes(1)
	if err != nil {
		return Cost{}, fmt.Errorf("count cost: %w", err)
	}
	return countCost(n, shapes), nil
}

const elementBytes = 4 // of a float32

func countCost(n *Network, shapes []Shape) Cost {
	c := Cost{Model: n.Name, Resolution: n.Resolution, Layers: make([]LayerCost, len(n.Nodes))}
	for i, node := range n.Nodes {
		l := LayerCost{Name: node.Name, Op: node.Op.Kind(), Output: shapes[i]}
		l.Inputs = make([]Shape, len(node.Inputs))
		for k, j := range node.Inputs {
			if j == Image {
				l.Inputs[k] = n.InputShape(1)
			} else {
				l.Inputs[k] = shapes[j]
			}
		}
		for _, p := range node.Op.params() {
			l.WeightBytes += elementBytes * int64(p.shape.Elements())
			if p.role != Mean && p.role != Variance {
				l.Params += int64(p.shape.Elements())
			}
		}
		switch op := node.Op.(type) {
		case Conv:
			l.MACs = int64(shapes[i].Elements()) * int64(op.In/op.Groups*op.KernelH*op.KernelW)
		case Linear:
			l.MACs = int64(shapes[i].Elements()) * int64(op.In)
		}
		if _, view := node.Op.(Flatten); !view { // the same bytes under another shape
			elements := shapes[i].Elements()
			for _, s := range l.Inputs {
				elements += s.Elements()
			}
			l.ActivationBytes = elementBytes * int64(elements)
		}
		c.Params += l.Params
		c.MACs += l.MACs
		c.WeightBytes += l.WeightBytes
		c.ActivationBytes += l.ActivationBytes
		c.Layers[i] = l
	}
	return c
}
