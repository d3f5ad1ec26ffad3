// Package hardwaretest makes doubles of vendor libraries, so that the code which
// calls them runs end to end on machines that have none.
package hardwaretest

import (
	_ "embed"
	"path/filepath"
	"testing"
)

//go:embed fake/nvml.c
var nvmlSource []byte

// FakeNVML compiles a double of NVIDIA's management library and gives its path,
// which lasts as long as the test. Its answers are set by the environment, as the
// head of its source says. Defines are "BARE" and "OLD". One process opens one
// double only: go-nvml binds its functions once.
func FakeNVML(t testing.TB, defines ...string) string {
	t.Helper()
	flags := make([]string, len(defines))
	for i, define := range defines {
		flags[i] = "-D" + define
	}
	return Compile(t, filepath.Join(t.TempDir(), "libnvidia-ml.so.1"), map[string][]byte{"nvml.c": nvmlSource}, flags...)
}
