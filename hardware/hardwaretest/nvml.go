// Package hardwaretest makes doubles of vendor libraries, so that the code which
// calls them runs end to end on machines that have none.
package hardwaretest

import (
	"cmp"
	_ "embed"
	"os"
	"os/exec"
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
	dir := t.TempDir()
	source, library := filepath.Join(dir, "nvml.c"), filepath.Join(dir, "libnvidia-ml.so.1")
	if err := os.WriteFile(source, nvmlSource, 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-D_DEFAULT_SOURCE", "-o", library}
	for _, define := range defines {
		args = append(args, "-D"+define)
	}
	compiler := cmp.Or(os.Getenv("CC"), "cc")
	if _, err := exec.LookPath(compiler); err != nil {
		t.Skipf("the fake NVML needs a C compiler: %v", err)
	}
	if out, err := exec.Command(compiler, append(args, source)...).CombinedOutput(); err != nil {
		t.Fatalf("compile the fake NVML: %v\n%s", err, out)
	}
	return library
}
