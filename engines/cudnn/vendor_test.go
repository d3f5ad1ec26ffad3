package cudnn

import (
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"genbench/hardware/hardwaretest"
)

// TestPrototypes compiles our declarations against the vendor's, of 8.9 and of 9 for
// CUDA 12 and 13.
func TestPrototypes(t *testing.T) {
	headers := hardwaretest.VendorFiles(t, "cuda-*/cudnn-*/nvidia/cudnn/include/cudnn.h")
	if len(headers) < 3 {
		t.Errorf("only %v, want cuDNN 8.9 and 9 for CUDA 12 and 9 for CUDA 13", headers)
	}
	for _, header := range headers {
		toolkit := filepath.Dir(strings.Split(header, "/nvidia/")[0]) // cuda-12 of cuda-12/cudnn-9/nvidia/...
		runtime, err := filepath.Glob(filepath.Join(toolkit, "runtime/nvidia/*/include"))
		if err != nil || len(runtime) != 1 {
			t.Fatalf("%s has no runtime headers: %v", toolkit, err)
		}
		hardwaretest.CheckDeclarations(t, header, "testdata/abi.c", "-Wno-deprecated-declarations",
			"-I", "testdata/stub", "-I", ".", "-iquote", "../../hardware/native", "-isystem", runtime[0])
	}
}

// TestSymbols looks every function up in the vendor's libraries.
func TestSymbols(t *testing.T) {
	for _, library := range hardwaretest.VendorFiles(t, "cuda-*/cudnn-*/nvidia/cudnn/lib/libcudnn.so.*") {
		file, err := elf.Open(library)
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := file.DynamicSymbols()
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		for _, name := range functionNames() {
			if !slices.ContainsFunc(symbols, func(s elf.Symbol) bool {
				return s.Name == name && s.Section != elf.SHN_UNDEF && elf.ST_TYPE(s.Info) == elf.STT_FUNC
			}) {
				t.Errorf("%s has no %s", library, name)
			}
		}
	}
}
