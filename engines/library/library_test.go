package library

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/hardware/native"
)

// isolate gives the test a box on which nothing is installed, and its root.
func isolate(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	t.Setenv("HOME", filepath.Join(root, "home"))
	t.Setenv("PATH", filepath.Join(root, "bin"))
	for _, name := range []string{"XDG_CACHE_HOME", "VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_ROOT", CacheEnv, testEnv} {
		t.Setenv(name, "")
	}
	return root
}

const testEnv = "GENBENCH_TEST_LIBRARY"

func testSpec() Spec {
	return Spec{
		Engine:  "probe",
		Env:     testEnv,
		Files:   "libgbprobe.so*",
		Sonames: []string{"libgbprobe-is-nowhere.so.1"},
		Python:  "probe/capi/libgbprobe.so.*",
		Hint:    "run `genbench setup probe`",
	}
}

// compileLibrary makes shared libraries that export a version, one at each path.
func compileLibrary(t *testing.T, paths ...string) {
	t.Helper()
	gcc := os.Getenv("CC")
	if gcc == "" {
		gcc = "gcc"
	}
	// The test has emptied PATH, which gcc needs for its assembler.
	const path = "/usr/local/bin:/usr/bin:/bin"
	for _, p := range paths {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		source := filepath.Join(t.TempDir(), "probe.c")
		text := fmt.Sprintf("const char *gb_probe(void) { return %q; }\n", p)
		if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/usr/bin/env", "PATH="+path, gcc, "-shared", "-fPIC", "-o", p, source)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("compile: %v\n%s", err, out)
		}
	}
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, s Spec) *Library {
	t.Helper()
	lib, err := NewFinder(s).Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lib.Close(); err != nil {
			t.Error(err)
		}
	})
	return lib
}

func unavailable(t *testing.T, s Spec) *engines.UnavailableError {
	t.Helper()
	lib, err := NewFinder(s).Open()
	var missing *engines.UnavailableError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, %v; want an UnavailableError", lib, err)
	}
	return missing
}

func TestOpenTakesTheFirstPlaceThatHasIt(t *testing.T) {
	root := isolate(t)
	cache := filepath.Join(root, "cache")
	t.Setenv(CacheEnv, cache)
	named := filepath.Join(root, "elsewhere", "mine.so")
	cached9 := filepath.Join(cache, "probe", "1.9.0", "libgbprobe.so.1.9.0")
	cached10 := filepath.Join(cache, "probe", "1.10.0", "libgbprobe.so.1.10.0")
	venv := filepath.Join(root, "venv", "lib", "python3.11", "site-packages", "probe", "capi", "libgbprobe.so.1.2.0")
	user9 := filepath.Join(root, "home", ".local", "lib", "python3.9", "site-packages", "probe", "capi", "libgbprobe.so.1.2.0")
	user12 := filepath.Join(root, "home", ".local", "lib", "python3.12", "site-packages", "probe", "capi", "libgbprobe.so.1.1.0")
	linked := filepath.Join(root, "opt", "lib", "python3.13", "site-packages", "probe", "capi", "libgbprobe.so.1.1.0")
	pyenv := filepath.Join(root, "home", ".pyenv", "versions", "3.11.7", "lib", "python3.11", "site-packages", "probe", "capi", "libgbprobe.so.1")
	all := []string{named, cached10, cached9, venv, linked, user12, user9, pyenv}
	compileLibrary(t, all...)
	t.Setenv(testEnv, named)
	t.Setenv("VIRTUAL_ENV", filepath.Join(root, "venv"))
	writeFile(t, filepath.Join(root, "opt", "bin", "python3.13"), "", 0o755)
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "opt", "bin", "python3.13"), filepath.Join(root, "bin", "python3")); err != nil {
		t.Fatal(err)
	}

	// Each place is tried in turn by taking away the one that was found.
	for i, want := range all {
		lib := open(t, testSpec())
		if lib.Path != want {
			t.Fatalf("step %d: opened %s, want %s", i, lib.Path, want)
		}
		data, err := os.ReadFile(want)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); lib.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: sha256 is %s", want, lib.SHA256)
		}
		if _, err := lib.Symbol("gb_probe"); err != nil {
			t.Error(err)
		}
		if want == named {
			t.Setenv(testEnv, "")
		} else if err := os.Remove(want); err != nil {
			t.Fatal(err)
		}
	}
	unavailable(t, testSpec())
}

func TestOpenThroughTheLoader(t *testing.T) {
	isolate(t)
	s := testSpec()
	s.Sonames = append(s.Sonames, "libm.so.6")
	lib := open(t, s)
	if !filepath.IsAbs(lib.Path) || len(lib.SHA256) != 64 {
		t.Errorf("the loader's library has path %q and sha256 %q", lib.Path, lib.SHA256)
	}
}

func TestOpenRelativeName(t *testing.T) {
	root := isolate(t)
	compileLibrary(t, filepath.Join(root, "mine.so"))
	t.Chdir(root)
	t.Setenv(testEnv, "mine.so")
	if lib := open(t, testSpec()); lib.Path != filepath.Join(root, "mine.so") {
		t.Errorf("opened %s", lib.Path)
	}
}

func TestWrongVariableIsNotSkipped(t *testing.T) {
	root := isolate(t)
	compileLibrary(t, filepath.Join(root, "home", ".cache", "genbench", "probe", "1.0", "libgbprobe.so.1"))
	open(t, testSpec()) // the cache has one that works
	text := filepath.Join(root, "notes.txt")
	writeFile(t, text, "not a library", 0o644)
	for _, file := range []string{"/nonsense/libgbprobe.so", text} {
		t.Setenv(testEnv, file)
		missing := unavailable(t, testSpec())
		if len(missing.Looked) != 1 || !strings.HasPrefix(missing.Looked[0], testEnv+"="+file+": ") {
			t.Errorf("looked in %q", missing.Looked)
		}
		if !strings.Contains(missing.Hint, testEnv) {
			t.Errorf("hint %q does not name the variable", missing.Hint)
		}
	}
}

func TestUnavailableNamesEveryPlace(t *testing.T) {
	root := isolate(t)
	packages := filepath.Join(root, "home", ".local", "lib", "python3.11", "site-packages")
	if err := os.MkdirAll(packages, 0o755); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(root, "home", ".cache", "genbench", "probe", "1.0", "libgbprobe.so.1")
	writeFile(t, damaged, "torn", 0o755)
	text := unavailable(t, testSpec()).Error()
	for _, want := range []string{
		"engine probe unavailable: libgbprobe-is-nowhere.so.1 not found",
		damaged + ": ", // refused, with the loader's words
		"the loader: libgbprobe-is-nowhere.so.1: ",                               // glibc's message
		filepath.Join(packages, "probe/capi/libgbprobe.so.*") + ": no such file", //
		"run `genbench setup probe`",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the error does not hold %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, damaged); n != 1 {
		t.Errorf("the damaged file is named %d times:\n%s", n, text)
	}
}

func TestNoCacheDirectory(t *testing.T) {
	isolate(t)
	t.Setenv("HOME", "")
	if text := unavailable(t, testSpec()).Error(); !strings.Contains(text, "set "+CacheEnv) {
		t.Errorf("the error does not say how to name a cache directory: %s", text)
	}
}

func TestAcceptRefuses(t *testing.T) {
	root := isolate(t)
	old := filepath.Join(root, "home", ".cache", "genbench", "probe", "2.0", "libgbprobe.so.2")
	good := filepath.Join(root, "home", ".cache", "genbench", "probe", "1.0", "libgbprobe.so.1")
	compileLibrary(t, old, good)
	s := testSpec()
	s.Accept = func(lib *native.Library) error {
		if strings.HasSuffix(lib.Path(), ".so.2") {
			return errors.New("version 2 is not one we know")
		}
		return nil
	}
	if lib := open(t, s); lib.Path != good {
		t.Errorf("opened %s, want %s", lib.Path, good)
	}
	if err := os.Remove(good); err != nil {
		t.Fatal(err)
	}
	if text := unavailable(t, s).Error(); !strings.Contains(text, old+": version 2 is not one we know") {
		t.Errorf("the error does not say why: %s", text)
	}
	t.Setenv(testEnv, old)
	if text := unavailable(t, s).Error(); !strings.Contains(text, "version 2 is not one we know") {
		t.Errorf("the error does not say why: %s", text)
	}
}

func TestCompareVersions(t *testing.T) {
	ascending := []string{"", "1.2", "1.9.0", "1.10.0", "1.10.0a", "2", "lib.so.1", "lib.so.1.30.0", "lib.so.1.032.0", "lib.so.10", "python3.9", "python3.12"}
	for i, a := range ascending {
		for j, b := range ascending {
			got := compareVersions(a, b)
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compareVersions(%q, %q) = %d", a, b, got)
			}
		}
	}
}
