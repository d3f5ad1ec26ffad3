package cudnn

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vendorFiles lists what `make check-abi` fetched, by a pattern below its folder.
func vendorFiles(t *testing.T, pattern string) []string {
	t.Helper()
	folder := os.Getenv("GENBENCH_VENDOR")
	if folder == "" {
		t.Skip("GENBENCH_VENDOR names no folder with NVIDIA's headers; `make check-abi` makes one")
	}
	files, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no %s: %v", folder, pattern, err)
	}
	return files
}

// TestPrototypes compiles our declarations against the vendor's, of 8.9 and of 9 for
// CUDA 12 and 13.
func TestPrototypes(t *testing.T) {
	headers := vendorFiles(t, "cuda-*/cudnn-*/nvidia/cudnn/include/cudnn.h")
	if len(headers) < 3 {
		t.Errorf("only %v, want cuDNN 8.9 and 9 for CUDA 12 and 9 for CUDA 13", headers)
	}
	for _, header := range headers {
		toolkit := filepath.Dir(strings.Split(header, "/nvidia/")[0]) // cuda-12 of cuda-12/cudnn-9/nvidia/...
		runtime, err := filepath.Glob(filepath.Join(toolkit, "runtime/nvidia/*/include"))
		if err != nil || len(runtime) != 1 {
			t.Fatalf("%s has no runtime headers: %v", toolkit, err)
		}
		cc := exec.Command("cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations", "-fsyntax-only",
			"-I", "testdata/stub", "-I", filepath.Dir(header), "-I", ".", "-iquote", "../../hardware/native", "-isystem", runtime[0], "testdata/abi.c")
		if out, err := cc.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", header, err, out)
		}
	}
}

// TestSymbols looks every function up in the vendor's libraries.
func TestSymbols(t *testing.T) {
	for _, library := range vendorFiles(t, "cuda-*/cudnn-*/nvidia/cudnn/lib/libcudnn.so.*") {
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
