package library

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// linked compiles a library and one that is linked with it.
func linked(t *testing.T, dir, soname string) (needed, needing string) {
	t.Helper()
	needed, needing = filepath.Join(dir, soname), filepath.Join(dir, "libneeding.so")
	for _, command := range [][]string{
		{"-o", needed, "-Wl,-soname," + soname, "-DNEEDED"},
		{"-o", needing, needed},
	} {
		source := filepath.Join(dir, "source.c")
		text := "#ifdef NEEDED\nint gb_needed;\n#else\nextern int gb_needed;\nint *gb_needing(void) { return &gb_needed; }\n#endif\n"
		if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/usr/bin/env", append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "cc", "-shared", "-fPIC", source}, command...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("compile: %v\n%s", err, out)
		}
	}
	return needed, needing
}

// preloadNeeded opens what the library at path is linked with.
func preloadNeeded(path string) ([]Absent, error) {
	sonames, err := Needed(path)
	return PreloadNamed(path, sonames), err
}

func TestPreload(t *testing.T) {
	root := isolate(t)
	needed, needing := linked(t, root, "libgbneeded.so.7")
	packages := filepath.Join(root, "home", ".local", "lib", "python3.11", "site-packages", "nvidia", "needed", "lib")
	if err := os.MkdirAll(packages, 0o755); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(packages, filepath.Base(needed))
	if err := os.Rename(needed, there); err != nil {
		t.Fatal(err)
	}

	hidden := there + ".hidden"
	if err := os.Rename(there, hidden); err != nil {
		t.Fatal(err)
	}
	missing, err := preloadNeeded(needing)
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) != 1 || missing[0].Soname != "libgbneeded.so.7" || len(missing[0].Looked) != 1 || !strings.Contains(missing[0].Looked[0], "Python's packages") {
		t.Errorf("got %+v", missing)
	}

	if err := os.WriteFile(there, []byte("torn"), 0o755); err != nil {
		t.Fatal(err)
	}
	if missing, err = preloadNeeded(needing); err != nil || len(missing) != 1 || !strings.Contains(missing[0].Looked[0], there) {
		t.Errorf("of a damaged file it says %+v, %v", missing, err)
	}

	if err := os.Rename(hidden, there); err != nil {
		t.Fatal(err)
	}
	if missing, err = preloadNeeded(needing); err != nil || len(missing) > 0 {
		t.Fatalf("got %+v, %v", missing, err)
	}
	// What was preloaded lets the loader open what needs it.
	s := testSpec()
	t.Setenv(testEnv, needing)
	open(t, s)

	// What lies beside the library comes before what lies elsewhere, in its own folder
	// and in that of another package.
	own, other := filepath.Join(root, "nvidia", "needing", "lib"), filepath.Join(root, "nvidia", "fellow", "lib")
	for dir, name := range map[string]string{own: "libgbbeside.so.1", other: "libgbfellow.so.1"} {
		compileLibrary(t, filepath.Join(dir, name))
	}
	if missing := PreloadNamed(filepath.Join(own, "libneeding.so"), []string{"libgbbeside.so.1", "libgbfellow.so.1", "libgbnone.so.1"}); len(missing) != 1 || missing[0].Soname != "libgbnone.so.1" {
		t.Errorf("got %+v", missing)
	}

	if _, err := preloadNeeded(filepath.Join(root, "nowhere.so")); err == nil || !strings.Contains(err.Error(), "nowhere.so") {
		t.Errorf("got %v", err)
	}
}
