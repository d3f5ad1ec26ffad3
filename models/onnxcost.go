package models

import "math"

// FileCost is what one inference of a file takes at given shapes of its inputs,
// counted, not measured.
type FileCost struct {
	// Params are the constants that training would have learned: floating-point tensors
	// that nodes read, and integer ones where they stand for floats, without the
	// running statistics of batch norms, scales and zero points.
	Params int64 `json:"params"`
	// MACs are the multiply-accumulates of convolutions and matrix products for the
	// whole batch, products of two activations included; nil where a node is not
	// understood.
	MACs *int64 `json:"macs"`
	// Unknown says why a node stopped the counting, for the first few.
	Unknown []string    `json:"unknown,omitempty"`
	Layers  []FileLayer `json:"layers"`
}

// FileLayer is a node's share.
type FileLayer struct {
	Name   string  `json:"name"`
	Op     string  `json:"op"`
	Inputs []Shape `json:"inputs"` // of what is computed at run time
	Output Shape   `json:"output"` // of the first output, nil where not known
	Params int64   `json:"params"`
	MACs   *int64  `json:"macs"`
}

// Cost counts the file at shapes that Resolve gave. Nodes that compute only shapes and
// constants are left out of the layers.
func (f *File) Cost(shapes map[string]Shape) (FileCost, error) {
	var cost FileCost
	err := f.file.look(func([]byte) error {
		in, err := f.infer(shapes)
		if err != nil {
			return err
		}
		cost = in.cost()
		return nil
	})
	return cost, err
}

func (in *inference) cost() FileCost {
	var cost FileCost
	cost.Unknown = in.stops
	counted := map[*fileTensor]bool{}
	total, known := int64(0), true
	for i := range in.file.nodes {
		node := &in.file.nodes[i]
		layer := FileLayer{Name: node.title(), Op: node.operator()}
		constant := !in.stopped[i]
		for _, out := range node.out {
			constant = constant && in.values[out].constant()
		}
		for k, name := range node.in {
			v := in.values[name]
			if t := v.tensor; t != nil && !counted[t] && isParameter(node, k, t) {
				counted[t] = true
				layer.Params = saturated(layer.Params, int64(t.shape.Elements()))
			}
			if name != "" && !v.constant() {
				layer.Inputs = append(layer.Inputs, v.shape)
			}
		}
		cost.Params = saturated(cost.Params, layer.Params)
		if in.stopped[i] {
			known = false
		} else {
			macs := in.macs[i]
			layer.MACs = &macs
			if total += macs; total < 0 {
				known = false
			}
		}
		if constant {
			continue
		}
		if len(node.out) > 0 {
			layer.Output = in.values[node.out[0]].shape
		}
		cost.Layers = append(cost.Layers, layer)
	}
	if known {
		cost.MACs = &total
	}
	return cost
}

// saturated adds counts from 0 up. A tensor whose values are in another file has the
// shape that this one claims: several together may have more elements than an int64.
func saturated(a, b int64) int64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

// isParameter reports whether a stored tensor is something learned, as this input of
// the node.
func isParameter(node *fileNode, place int, t *fileTensor) bool {
	switch node.op {
	case "DequantizeLinear": // integers that stand for floats
		return place == 0
	case "ConvInteger", "MatMulInteger":
		return place == 1
	case "QLinearMatMul":
		return place == 3
	case "QLinearConv":
		return place == 3 || place == 8
	case "BatchNormalization":
		return place < 3
	case "Identity": // whoever reads its output has the parameter
		return false
	case "QuantizeLinear", "Clip", "Resize", "Upsample", "Pad", "Dropout", "Constant", "Shape":
		return false
	case "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where":
		return t.elem.float() && t.shape.Elements() > 1 // one number is part of a formula
	}
	return t.elem.float()
}
