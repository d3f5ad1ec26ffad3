package hardware

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// fakeTree gives a machine of testdata with some files replaced: pairs of a path
// and its text. The text "absent" removes the path.
func fakeTree(t *testing.T, machine string, changes ...string) tree {
	t.Helper()
	archive, err := os.ReadFile("testdata/" + machine + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for part := range strings.SplitSeq(string(archive), "\n-- ") {
		if path, text, ok := strings.Cut(part, " --\n"); ok {
			files[path] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	change(t, tree{files}, changes...)
	return tree{files}
}

// change replaces files of a fake tree.
func change(t *testing.T, in tree, changes ...string) {
	t.Helper()
	files := in.FS.(fstest.MapFS)
	for i := 0; i < len(changes); i += 2 {
		if path, text := changes[i], changes[i+1]; text == "absent" {
			if files[path] == nil {
				t.Fatalf("%s is absent already", path)
			}
			delete(files, path)
		} else {
			files[path] = &fstest.MapFile{Data: []byte(text)}
		}
	}
}
