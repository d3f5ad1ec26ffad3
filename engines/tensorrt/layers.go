package tensorrt

import (
	"encoding/json"
	"strings"

	"genbench/models"
)

// A layer is what is read of TensorRT's inspector, whose JSON is
// {"Layers": [...], "Bindings": [...]}. In a plan that was built without details a
// layer is a bare string.
type layer struct {
	Name    string
	Type    string `json:"LayerType"`
	Tactic  string `json:"TacticName"`
	Outputs []struct {
		Format string `json:"Format/Datatype"`
	}
}

func (l *layer) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &l.Name)
	}
	type plain layer
	return json.Unmarshal(data, (*plain)(l))
}

// readLayers counts the layers by the precision of their first output and gives a
// digest of all tactics. Layers of which the library tells no format are left out.
func readLayers(text []byte) (precisions map[string]int, tactics string) {
	var plan struct{ Layers []layer }
	if err := json.Unmarshal(text, &plan); err != nil {
		return nil, ""
	}
	precisions = map[string]int{}
	var names []string
	for _, l := range plan.Layers {
		names = append(names, l.Name+"="+l.Tactic)
		if len(l.Outputs) == 0 {
			continue
		}
		p := precisionOf(l.Outputs[0].Format)
		// TF32 is how a kernel multiplies; what it writes is fp32.
		if p == string(models.FP32) && strings.Contains(strings.ToLower(l.Tactic), "tf32") {
			p = string(models.TF32)
		}
		if p != "" {
			precisions[p]++
		}
	}
	return precisions, digest([]byte(strings.Join(names, "\n")))
}

// precisionOf reads the words of TensorRT's inspector: a sentence such as "Channel
// major FP16 format where channel % 8 == 0", or a bare type such as "Half".
func precisionOf(format string) string {
	for _, p := range []struct{ word, precision string }{
		{"bfloat16", "bf16"}, {"int8", "int8"}, {"fp16", "fp16"}, {"half", "fp16"}, {"fp8", "fp8"}, {"fp32", "fp32"}, {"float", "fp32"},
	} {
		if strings.Contains(strings.ToLower(format), p.word) {
			return p.precision
		}
	}
	return ""
}
