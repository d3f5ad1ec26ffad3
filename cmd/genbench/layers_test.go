package main

import (
	"os/exec"
	"strings"
	"testing"
)

// What a package must not import, and why. The picture is in the README.
var layers = []struct {
	pkg, mustNot, why string
}{
	{"genbench/models", "genbench/", "networks know nothing of engines or hardware"},
	{"genbench/hardware", "genbench/models", "devices know nothing of networks"},
	{"genbench/hardware", "genbench/engines", "devices know nothing of engines"},
	{"genbench/hardware", "genbench/bench", "devices know nothing of protocols"},
	{"genbench/hardware/native", "genbench/", "C is the bottom"},
	{"genbench/engines", "genbench/bench", "an engine is measured and does not measure"},
	{"genbench/engines", "genbench/reports", "an engine is measured and does not report"},
	{"genbench/engines/reference", "genbench/bench", "an engine is measured and does not measure"},
	{"genbench/engines/onnxruntime", "genbench/bench", "an engine is measured and does not measure"},
	{"genbench/engines/onnxruntime", "genbench/engines/reference", "engines do not know each other"},
	{"genbench/engines/cudnn", "genbench/bench", "an engine is measured and does not measure"},
	{"genbench/engines/cudnn", "genbench/engines/reference", "engines do not know each other"},
	{"genbench/engines/cudnn", "genbench/engines/onnxruntime", "engines do not know each other"},
	{"genbench/bench", "genbench/engines/", "the protocol knows the contract alone, so that no engine is special"},
	{"genbench/bench", "genbench/reports", "what is measured does not depend on how it is shown"},
	{"genbench/bench", "genbench/bench/", "measuring does not depend on what is made of results"},
	{"genbench/bench/verdict", "genbench/engines/", "a verdict is a function of journals"},
	{"genbench/bench/verdict", "genbench/bench/history", "a verdict needs no database"},
	{"genbench/bench/history", "genbench/engines/", "a history is a function of journals"},
	{"genbench/reports", "genbench/engines/", "a report is a function of journals"},
	{"genbench/cmd/genbench", "gorgonia.org/cu", "its init exits on a machine without a GPU"},
}

func TestLayers(t *testing.T) {
	deps := map[string][]string{}
	for _, l := range layers {
		if deps[l.pkg] == nil {
			out, err := exec.Command("go", "list", "-deps", l.pkg).Output()
			if err != nil {
				t.Fatalf("go list -deps %s: %v", l.pkg, err)
			}
			deps[l.pkg] = strings.Fields(string(out))
		}
		for _, dep := range deps[l.pkg] {
			if dep == l.pkg {
				continue
			}
			if dep == l.mustNot || strings.HasPrefix(dep, strings.TrimSuffix(l.mustNot, "/")+"/") {
				t.Errorf("%s imports %s: %s", l.pkg, dep, l.why)
			}
		}
	}
}
