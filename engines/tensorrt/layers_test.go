package tensorrt

import (
	"maps"
	"testing"
)

func TestReadLayers(t *testing.T) {
	detailed := `{"Layers": [
		{"Name": "stem", "LayerType": "CaskConvolution", "TacticName": "first", "Outputs": [{"Name": "a", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
		{"Name": "body", "LayerType": "kgen", "TacticName": "second", "Outputs": [{"Name": "b", "Format/Datatype": "Half"}]},
		{"Name": "quantised", "LayerType": "CaskConvolution", "TacticName": "third", "Outputs": [{"Name": "c", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]},
		{"Name": "brain", "LayerType": "x", "Outputs": [{"Name": "d", "Format/Datatype": "Row major linear BFloat16 format"}]},
		{"Name": "head", "LayerType": "Reformat", "Outputs": [{"Name": "e", "Format/Datatype": "Row major linear FP32"}]},
		{"Name": "rounded", "LayerType": "CaskConvolution", "TacticName": "sm80_fprop_tf32f32_nhwc", "Outputs": [{"Name": "f", "Format/Datatype": "Row major linear FP32"}]},
		{"Name": "silent", "LayerType": "NoOp", "Outputs": []}
	], "Bindings": ["input", "logits"]}`
	got, tactics := readLayers([]byte(detailed))
	if want := map[string]int{"fp16": 2, "int8": 1, "bf16": 1, "fp32": 1, "tf32": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, again := readLayers([]byte(detailed))
	_, other := readLayers([]byte(`{"Layers": [{"Name": "stem", "TacticName": "another"}]}`))
	if tactics == "" || tactics != again || tactics == other {
		t.Errorf("digests of tactics: %q, again %q, of others %q", tactics, again, other)
	}
	if names, tactics := readLayers([]byte(`{"Layers": ["stem", "head"], "Bindings": []}`)); len(names) != 0 || tactics == "" {
		t.Errorf("bare names give %v and digest %q", names, tactics)
	}
	if names, tactics := readLayers([]byte(`{"Layers": [`)); names != nil || tactics != "" {
		t.Errorf("damaged JSON gives %v and digest %q", names, tactics)
	}
}
