package hardwaretest

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

//go:embed fake/cuda.c
var cudaSource []byte

//go:embed fake/cuda.h
var cudaHeader []byte

// FakeCUDA compiles a double of the CUDA driver and gives its path, which lasts as
// long as the test. Its answers are set by the environment, as the head of its
// source says; its devices say in their names that they are fake. Flags go to the
// compiler: "-DcuGraphLaunch=gone" takes a symbol away. Every call gives a driver
// with a state of its own.
func FakeCUDA(t testing.TB, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	return Compile(t, filepath.Join(dir, "libcuda.so.1"), map[string][]byte{"cuda.c": cudaSource, "cuda.h": cudaHeader}, flags...)
}

// CUDAHeader is what doubles of libraries that run on the fake driver include as
// "cuda.h".
func CUDAHeader() []byte { return cudaHeader }

// Sources reads the C of a double that runs on the fake driver, by the files' names,
// and adds what such doubles include as "cuda.h".
func Sources(t testing.TB, paths ...string) map[string][]byte {
	t.Helper()
	sources := map[string][]byte{"cuda.h": cudaHeader}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sources[filepath.Base(path)] = text
	}
	return sources
}

// Compile makes a shared library from C sources by name; headers lie beside them.
// It compiles the same sources with the same flags once a machine and then copies:
// a test wants a library of its own for the state in it, not for its code.
func Compile(t testing.TB, library string, sources map[string][]byte, flags ...string) string {
	t.Helper()
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		fmt.Fprintf(h, "%s %d\n%s", name, len(sources[name]), sources[name])
	}
	fmt.Fprintf(h, "%q", flags)
	made := filepath.Join(os.TempDir(), fmt.Sprintf("genbench-fake-%x.so", h.Sum(nil)[:12]))
	binary, err := os.ReadFile(made)
	if err != nil {
		compile(t, made, sources, flags)
		if binary, err = os.ReadFile(made); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(library, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	return library
}

func compile(t testing.TB, library string, sources map[string][]byte, flags []string) {
	t.Helper()
	dir := t.TempDir()
	made := filepath.Join(dir, "made.so")
	args := []string{"-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", made}
	for name, text := range sources {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".c" {
			args = append(args, file)
		}
	}
	if out, err := exec.Command("cc", append(args, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", filepath.Base(library), err, out)
	}
	// Another process may be at the same: the last to rename wins, and both made the
	// same file. It may lie on another disk than the test's folder.
	binary, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	partial, err := os.CreateTemp(filepath.Dir(library), filepath.Base(library))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := partial.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(partial.Close(), os.Rename(partial.Name(), library)); err != nil {
		t.Fatal(err)
	}
}
