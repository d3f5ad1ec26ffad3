package hardwaretest

import (
	"os"
	"path/filepath"
	"testing"
)

// A double is kept in the user's cache, but for one that is linked with a test's own
// file: nobody would ask for that again.
func TestCompileKeeps(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	dir := t.TempDir()
	sources := map[string][]byte{"double.c": []byte("int nothing;\n")}
	kept := func() int {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(cache, "genbench", "fakes", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	first := Compile(t, filepath.Join(dir, "first.so"), sources)
	Compile(t, filepath.Join(dir, "second.so"), sources, first)
	if n := kept(); n != 1 {
		t.Errorf("%d doubles are kept, want the first", n)
	}
	// The second time it is copied: there is nothing to compile it with.
	t.Setenv("PATH", dir)
	third := Compile(t, filepath.Join(dir, "third.so"), sources)
	if a, err := os.ReadFile(first); err != nil || len(a) == 0 {
		t.Fatal(err)
	} else if b, err := os.ReadFile(third); err != nil || string(a) != string(b) {
		t.Errorf("the copy is another file: %v", err)
	}
}

// The compiler that cgo is told of compiles doubles, too.
func TestCompileByCC(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	script := filepath.Join(dir, "mycc")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\necho made >\"$2\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CC", script+" -m64")
	if text, err := os.ReadFile(FakeNVML(t)); err != nil || string(text) != "made\n" {
		t.Errorf("got %.20q, %v; want what CC made", text, err)
	}
}
