package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/all"
	"genbench/engines/library"
)

// A version is found where `genbench setup` puts it, whose folders name the system, too.
func TestCachedLibrary(t *testing.T) {
	cache := t.TempDir()
	t.Setenv(library.CacheEnv, cache)
	for _, file := range []string{
		"onnxruntime/1.32.0-linux-amd64/libonnxruntime.so.1", "onnxruntime/1.32.0-linux-amd64/libonnxruntime.so.1.32.0",
		"onnxruntime/1.30.0-linux-amd64/libonnxruntime.so.1", "onnxruntime/own-1.30.0/libonnxruntime.so.1",
		"onnxruntime/9.9.9-linux-amd64/README",
	} {
		path := filepath.Join(cache, filepath.FromSlash(file))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := knownEngine(all.Drivers(), "onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		version, want, err string
		code               int
	}{
		{"1.32.0", "1.32.0-linux-amd64/libonnxruntime.so.1.32.0", "", 0},
		{"1.30.0-linux-amd64", "1.30.0-linux-amd64/libonnxruntime.so.1", "", 0},
		{"own-1.30.0", "own-1.30.0/libonnxruntime.so.1", "", 0},
		{"1.30.0", "", "is one of 1.30.0-linux-amd64, own-1.30.0: give the name in full", exitUsage},
		{"1.3", "", "no such version", exitUnavailable},
		{"9.9.9", "", "no such version", exitUnavailable}, // nothing of it is there
	} {
		got, err := cachedLibrary(d, c.version)
		if c.err == "" {
			if err != nil || got != filepath.Join(cache, "onnxruntime", filepath.FromSlash(c.want)) {
				t.Errorf("%s: %s, %v; want %s", c.version, got, err, c.want)
			}
			continue
		}
		var exit *exitError
		if !errors.As(err, &exit) || exit.code != c.code || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v; want exit %d, %q", c.version, err, c.code, c.err)
		}
	}
	if _, err := cachedLibrary(engines.Driver{Name: "reference"}, "1"); err == nil || !strings.Contains(err.Error(), "has no library") {
		t.Errorf("an engine without a library: %v", err)
	}
}

// A library is handed to every engine whose library goes by that name, through the
// variable that the engine reads.
func TestLibraryContestant(t *testing.T) {
	a := &app{drivers: all.Drivers()}
	for name, want := range map[string][]string{
		"libonnxruntime.so.1.32.0": {"GENBENCH_ONNXRUNTIME", "GENBENCH_ONNXRUNTIME_GPU"},
		"libcudnn.so.9":            {"GENBENCH_CUDNN"},
		"libnvinfer.so.10":         {"GENBENCH_TENSORRT"},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := a.contestant(t.Context(), path, &gateFlags{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, env := range c.env {
			variable, value, _ := strings.Cut(env, "=")
			if got = append(got, variable); value != path {
				t.Errorf("%s: %s", name, env)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s goes by %q, want %q", name, got, want)
		}
	}
}

// A file is handed on as it was given, so that its points are named as in a run or a
// calibration of it, and one with a comma in its name stays one.
func TestFileContestant(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, want := range map[string]string{"pr.onnx": "pr.onnx", "a,b.onnx": `"a,b.onnx"`} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := (&app{}).contestant(t.Context(), name, &gateFlags{})
		if err != nil || !slices.Equal(c.flags, []string{"--models", want}) {
			t.Errorf("%s: flags %q, %v; want --models %s", name, c.flags, err, want)
		}
	}
}
