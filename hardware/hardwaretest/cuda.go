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
	"runtime"
	"slices"
	"strings"
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
// It compiles the same sources with the same flags once a user and then copies: a test
// wants a library of its own for the state in it, not for its code.
func Compile(t testing.TB, library string, sources map[string][]byte, flags ...string) string {
	t.Helper()
	kept := cacheOf(sources, flags)
	binary, err := os.ReadFile(kept)
	if err != nil {
		binary = compile(t, sources, flags)
		if kept != "" {
			if err := keep(kept, binary); err != nil {
				t.Logf("%s is compiled anew every time: %v", filepath.Base(library), err)
			}
		}
	}
	if err := os.WriteFile(library, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	return library
}

// cacheOf is where the binary of sources is kept; empty where it is not, since a flag
// names a file, which may change or be a test's own, or this user has no cache.
func cacheOf(sources map[string][]byte, flags []string) string {
	cache, err := os.UserCacheDir()
	if err != nil || slices.ContainsFunc(flags, filepath.IsAbs) {
		return ""
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		fmt.Fprintf(h, "%s %d\n%s", name, len(sources[name]), sources[name])
	}
	fmt.Fprintf(h, "%s %q %q", runtime.GOARCH, compiler(), flags)
	return filepath.Join(cache, "genbench", "fakes", fmt.Sprintf("%x.so", h.Sum(nil)[:12]))
}

// keep writes a binary whole: another process may be at the same.
func keep(path string, binary []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	partial, err := os.CreateTemp(filepath.Dir(path), "partial-")
	if err != nil {
		return err
	}
	_, err = partial.Write(binary)
	if err = errors.Join(err, partial.Close()); err == nil {
		err = os.Rename(partial.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(partial.Name()))
	}
	return nil
}

// compiler is the C compiler with its flags, as cgo finds it.
func compiler() []string {
	if words := strings.Fields(os.Getenv("CC")); len(words) > 0 {
		return words
	}
	return []string{"cc"}
}

func compile(t testing.TB, sources map[string][]byte, flags []string) []byte {
	t.Helper()
	cc := compiler()
	dir := t.TempDir()
	made := filepath.Join(dir, "made.so")
	args := append(cc[1:], "-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", made)
	for name, text := range sources {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".c" {
			args = append(args, file)
		}
	}
	if out, err := exec.Command(cc[0], append(args, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("compile %v: %v\n%s", slices.Sorted(maps.Keys(sources)), err, out)
	}
	binary, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
