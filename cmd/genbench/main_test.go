package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"genbench/engines"
	"genbench/engines/all"
	"genbench/engines/enginetest/faulty"
	"genbench/models"
)

var update = flag.Bool("update", false, "rewrite what scripts compare with")

// testDrivers are the real engines and the ones that go wrong on purpose.
func testDrivers() []engines.Driver { return append(faulty.Drivers(), all.Drivers()...) }

// The test binary is genbench too, for scripts and for the workers it starts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"genbench": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, testDrivers())) },
	})
}

// The program told as stories: testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			// Scripts must not depend on what this machine has installed.
			env.Setenv("GENBENCH_ONNXRUNTIME", "")
			files, err := filepath.Abs(filepath.Join("..", "..", "models", "testdata", "files"))
			env.Setenv("FILES", files)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"safetensors": writeSafetensors},
	})
}

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
