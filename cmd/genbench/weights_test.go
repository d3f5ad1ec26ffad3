package main

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"genbench/models"
)

// writeSafetensors is the script command `safetensors MODEL FILE [OLD=NEW]`: it
// writes the synthetic weights of a network, one tensor under another key, beside
// a counter as PyTorch keeps for each batch norm.
func writeSafetensors(ts *testscript.TestScript, _ bool, args []string) {
	n, err := models.New(args[0], 0)
	ts.Check(err)
	old, renamed := "", ""
	if len(args) > 2 {
		old, renamed, _ = strings.Cut(args[2], "=")
	}
	header := map[string]any{"bn1.num_batches_tracked": map[string]any{"dtype": "I64", "shape": []int{}, "data_offsets": []int{0, 8}}}
	data := make([]byte, 8)
	for _, p := range n.Params() {
		values := make([]float32, p.Shape.Elements())
		ts.Check(n.Weights.Load(p, values))
		begin := len(data)
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		if p.Key == old {
			p.Key = renamed
		}
		header[p.Key] = map[string]any{"dtype": "F32", "shape": p.Shape, "data_offsets": []int{begin, len(data)}}
	}
	text, err := json.Marshal(header)
	ts.Check(err)
	file := slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, data)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), file, 0o644))
}
