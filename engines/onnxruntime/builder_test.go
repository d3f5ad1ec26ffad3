package onnxruntime

import (
	"path/filepath"
	"testing"

	"genbench/hardware/hardwaretest"
	"genbench/hardware/native"
)

// TensorRT's builder finds by its bare name what lies beside the libnvinfer that the
// provider is linked with.
func TestTensorRTBuilder(t *testing.T) {
	dir := t.TempDir()
	none := map[string][]byte{"none.c": []byte("int none;\n")}
	const resource = "libnvinfer_builder_resource.so.0.0.2"
	hardwaretest.Compile(t, filepath.Join(dir, resource), none, "-Wl,-soname,do_not_link_against_nvinfer_builder_resource")
	infer := hardwaretest.Compile(t, filepath.Join(dir, "libnvinfer.so.0"), none, "-Wl,-soname,libnvinfer.so.0")
	hardwaretest.Compile(t, filepath.Join(dir, cudnnSoname), none)
	p := provider{engine: "onnxruntime-tensorrt", libraries: []string{"libonnxruntime_providers_tensorrt.so"}}
	hardwaretest.Compile(t, filepath.Join(dir, p.libraries[0]), map[string][]byte{"uses.c": []byte("extern int none;\nint *uses(void) { return &none; }\n")}, infer)

	main := filepath.Join(dir, "libonnxruntime.so.1")
	if err := p.preload(main); err != nil {
		t.Fatal(err)
	}
	if err := p.preloadBuilder(main, 8); err != nil {
		t.Fatal(err)
	}
	if _, err := native.Open(resource); err != nil {
		t.Error(err)
	}
}
