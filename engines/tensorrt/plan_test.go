package tensorrt

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestCacheKeepsWholeFiles(t *testing.T) {
	c := cache{dir: filepath.Join(t.TempDir(), "made", "on", "demand")}
	path := c.planPath("key")
	if data, err := c.read(path); data != nil || err != nil {
		t.Fatalf("a file that is not there reads as %v, %v", data, err)
	}
	for _, want := range [][]byte{[]byte("first"), []byte("second, longer")} {
		if err := c.write(path, want); err != nil {
			t.Fatal(err)
		}
		if got, err := c.read(path); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the cache holds %v, %v; want one file", entries, err)
	}
}

func TestPlanKeys(t *testing.T) {
	base := planKey([]byte("model"), "fp16", "library", "gpu")
	for name, other := range map[string]string{
		"model":     planKey([]byte("another"), "fp16", "library", "gpu"),
		"precision": planKey([]byte("model"), "tf32", "library", "gpu"),
		"library":   planKey([]byte("model"), "fp16", "newer", "gpu"),
		"gpu":       planKey([]byte("model"), "fp16", "library", "another"),
		"the seam":  planKey([]byte("modelf"), "p16", "library", "gpu"),
	} {
		if other == base {
			t.Errorf("a change of %s does not change the key", name)
		}
	}
	if base != planKey([]byte("model"), "fp16", "library", "gpu") {
		t.Error("the key is not a function of its parts")
	}
}
