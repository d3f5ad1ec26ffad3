package tensorrt

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"genbench/models"
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
	base := func() order {
		return order{model: []byte("model"), precision: models.FP16, inputs: []models.Value{{Name: "x", Shape: models.Shape{1, 2}}}}
	}
	key := func(change func(*order)) string {
		o := base()
		change(&o)
		return planKey(o, "library", "gpu")
	}
	same := key(func(*order) {})
	for name, other := range map[string]string{
		"model":            key(func(o *order) { o.model = []byte("another") }),
		"precision":        key(func(o *order) { o.precision = models.TF32 }),
		"library":          planKey(base(), "newer", "gpu"),
		"gpu":              planKey(base(), "library", "another"),
		"the seam":         key(func(o *order) { o.model, o.precision = []byte("modelf"), "p16" }),
		"build":            key(func(o *order) { o.build = 2 }),
		"an input's name":  key(func(o *order) { o.inputs[0].Name = "y" }),
		"an input's shape": key(func(o *order) { o.inputs[0].Shape = models.Shape{2, 2} }),
		"a file beside it": key(func(o *order) { o.depends = "weights" }),
	} {
		if other == same {
			t.Errorf("a change of %s does not change the key", name)
		}
	}
	if same != key(func(o *order) { o.build = 1 }) {
		t.Error("the key is not a function of its parts, or the first build has two")
	}
	c := cache{dir: "dir"}
	if c.timingPath("library", "gpu", 1) == c.timingPath("library", "gpu", 2) {
		t.Error("builds that are to be independent share what they timed")
	}
}
