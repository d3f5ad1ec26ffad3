package tensorrt

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"genbench/engines/library"
	"genbench/hardware/native"
)

// includeEnv names the environment variable that lists folders of real TensorRT
// headers, separated by colons: one of each major version checks the shim whole.
const includeEnv = "GENBENCH_TENSORRT_INCLUDE"

func TestCompileShim(t *testing.T) {
	dirs := filepath.SplitList(os.Getenv(includeEnv))
	if len(dirs) == 0 {
		t.Skipf("no TensorRT headers here; list their folders in %s", includeEnv)
	}
	t.Setenv(library.CacheEnv, t.TempDir())
	for _, dir := range dirs {
		var log bytes.Buffer
		path, err := CompileShim(context.Background(), dir, &log)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		version, err := headerVersion(dir)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), version) {
			t.Errorf("the log does not tell version %s: %q", version, log.String())
		}
		shim, err := native.Open(path)
		if err != nil {
			t.Errorf("%s does not load without TensorRT: %v", path, err)
			continue
		}
		table, err := askShim(shim)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got := versionText(int(table.headers)); table.abi != shimABI || got != version {
			t.Errorf("%s: interface %d, headers %s; want %d and %s", path, table.abi, got, shimABI, version)
		}
	}
}

func TestCompileShimWithoutHeaders(t *testing.T) {
	t.Setenv(library.CacheEnv, t.TempDir())
	empty := t.TempDir()
	_, err := CompileShim(context.Background(), empty, io.Discard)
	if err == nil {
		t.Fatal("an empty folder passed for headers")
	}
	for _, word := range []string{empty, "NvInfer.h", "--include"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in %v", word, err)
		}
	}
}

func TestHeaderVersion(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"8.6":     {"#define NV_TENSORRT_MAJOR 8 //!< major\n#define NV_TENSORRT_MINOR 6\n#define NV_TENSORRT_PATCH 1\n", "8.6.1"},
		"10.16":   {"#define TRT_MAJOR_ENTERPRISE 10\n#define TRT_MINOR_ENTERPRISE 16\n#define TRT_PATCH_ENTERPRISE 0\n#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n", "10.16.0"},
		"nothing": {"#define SOMETHING 1\n", ""},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"NvInfer.h": "", "NvOnnxParser.h": "", "NvInferVersion.h": c.text} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := headerVersion(dir)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		version, major int
		text           string
	}{{8601, 8, "8.6.1"}, {100001, 10, "10.0.1"}, {101601, 10, "10.16.1"}, {110106, 11, "11.1.6"}} {
		if majorOf(c.version) != c.major || versionText(c.version) != c.text {
			t.Errorf("%d: got %d and %s, want %d and %s", c.version, majorOf(c.version), versionText(c.version), c.major, c.text)
		}
	}
}
