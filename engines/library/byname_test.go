package library

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"genbench/hardware/hardwaretest"
	"genbench/hardware/native"
)

// What TensorRT's builder opens by its bare name has a SONAME that is not this name, and
// lies where the loader does not look.
func TestPreloadTensorRTBuilder(t *testing.T) {
	dir := t.TempDir()
	names := []string{
		"libnvinfer_builder_resource.so.0.0.1", "libnvinfer_builder_resource_ptx.so.0.0.1",
		"libnvinfer_builder_resource_sm75.so.0.0.1", "libnvinfer_builder_resource_sm86.so.0.0.1", "libnvinfer_builder_resource_sm120.so.0.0.1",
	}
	for _, name := range names {
		soname, _, _ := strings.Cut(strings.TrimPrefix(name, "lib"), ".")
		hardwaretest.Compile(t, filepath.Join(dir, name), map[string][]byte{"none.c": []byte("int none;\n")}, "-Wl,-soname,do_not_link_against_"+soname)
	}
	infer := filepath.Join(dir, "libnvinfer.so.0")
	if err := os.WriteFile(filepath.Join(dir, "libnvinfer_builder_resource_torn.so.0.0.1"), []byte("torn"), 0o755); err != nil {
		t.Fatal(err)
	}
	wanted := func(want map[string]bool) {
		t.Helper()
		for _, name := range names {
			lib, err := native.Open(name)
			if (err == nil) != want[name] {
				t.Errorf("%s: %v, want it found: %v", name, err, want[name])
			}
			if err == nil && lib.Path() != filepath.Join(dir, name) {
				t.Errorf("%s is %s", name, lib.Path())
			}
		}
	}
	wanted(nil)
	PreloadTensorRTBuilder(infer, 8)
	found := map[string]bool{names[0]: true, names[1]: true, names[3]: true}
	wanted(found)
	PreloadTensorRTBuilder(infer, 12)
	found[names[4]] = true
	wanted(found)
}
