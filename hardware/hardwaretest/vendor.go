package hardwaretest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// VendorEnv names the environment variable that holds the folder of NVIDIA's headers
// and libraries, which `make check-abi` fetches.
const VendorEnv = "GENBENCH_VENDOR"

// VendorFiles lists what of NVIDIA's is there by a pattern below the folder, at least
// one file. Without a folder the test is skipped.
func VendorFiles(t testing.TB, pattern string) []string {
	t.Helper()
	folder := os.Getenv(VendorEnv)
	if folder == "" {
		t.Skipf("%s names no folder with NVIDIA's headers; `make check-abi` makes one", VendorEnv)
	}
	files, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no %s: %v", folder, pattern, err)
	}
	return files
}

// CheckDeclarations compiles a C file that holds our declarations against a header of
// NVIDIA's, which it finds by name; nothing is linked or run. Flags go to the compiler.
func CheckDeclarations(t testing.TB, header, file string, flags ...string) {
	t.Helper()
	cc := compiler()
	args := append(cc[1:], "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only")
	args = append(append(args, flags...), "-I", filepath.Dir(header), file)
	if out, err := exec.Command(cc[0], args...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", header, err, out)
	}
}
