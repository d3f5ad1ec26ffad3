package models

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A network small enough to count by hand.
func TestCostOf(t *testing.T) {
	b := newBuilder("tiny", 8)
	x := b.layer(Image, layer{conv: "conv", norm: "bn", out: 4, kernel: 3, stride: 2, bias: true, act: ReLU})
	x = b.add("twice", Add{}, "", x, x)
	x = b.add("pool", GlobalAvgPool{}, "", x)
	x = b.add("flatten", Flatten{}, "", x)
	b.linear(x, "fc", 10)
	if b.err != nil {
		t.Fatal(b.err)
	}
	got, err := CostOf(b.net)
	if err != nil {
		t.Fatal(err)
	}
	image, wide, pooled, flat := Shape{1, 3, 8, 8}, Shape{1, 4, 4, 4}, Shape{1, 4, 1, 1}, Shape{1, 4}
	want := Cost{
		Model: "tiny", Resolution: 8,
		Params: 108 + 4 + 8 + 40 + 10, MACs: 4*4*4*3*3*3 + 40,
		WeightBytes:     4 * (108 + 4 + 16 + 40 + 10),
		ActivationBytes: 4 * ((192 + 64) + 2*64 + 2*64 + 3*64 + (64 + 4) + (4 + 10)),
		Layers: []LayerCost{
			{Name: "conv", Op: "conv", Inputs: []Shape{image}, Output: wide, Params: 112, MACs: 1728, WeightBytes: 448, ActivationBytes: 1024},
			{Name: "bn", Op: "batchnorm", Inputs: []Shape{wide}, Output: wide, Params: 8, WeightBytes: 64, ActivationBytes: 512},
			{Name: "bn.relu", Op: "relu", Inputs: []Shape{wide}, Output: wide, ActivationBytes: 512},
			{Name: "twice", Op: "add", Inputs: []Shape{wide, wide}, Output: wide, ActivationBytes: 768},
			{Name: "pool", Op: "globalavgpool", Inputs: []Shape{wide}, Output: pooled, ActivationBytes: 272},
			{Name: "flatten", Op: "flatten", Inputs: []Shape{pooled}, Output: flat}, // moves nothing
			{Name: "fc", Op: "linear", Inputs: []Shape{flat}, Output: Shape{1, 10}, Params: 50, MACs: 40, WeightBytes: 200, ActivationBytes: 56},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want against got:\n%s", diff)
	}
	data, err := json.Marshal(got.Layers[5])
	if err != nil {
		t.Fatal(err)
	}
	const row = `{"name":"flatten","op":"flatten","inputs":[[1,4,1,1]],"output":[1,4],"params":0,"macs":0,"weight_bytes":0,"activation_bytes":0}`
	if string(data) != row {
		t.Errorf("JSON %s, want %s", data, row)
	}
}
