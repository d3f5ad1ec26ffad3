package hardware

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// A tree reads the kernel's text files below one root directory: "/" on a real
// machine, a directory with a fake /proc and /sys in tests. Paths have no
// leading slash, as io/fs wants them.
type tree struct{ fs.FS }

// openTree gives the tree under root; the empty root is "/".
func openTree(root string) tree {
	if root == "" {
		root = "/"
	}
	return tree{os.DirFS(root)}
}

// text reads a file without surrounding white space.
func (t tree) text(path string) (string, error) {
	b, err := fs.ReadFile(t.FS, path)
	if err != nil {
		// The path in a PathError lacks the leading slash.
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return "", fmt.Errorf("read /%s: %w", path, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// integer reads a file that holds one whole number.
func (t tree) integer(path string) (int64, error) {
	s, err := t.text(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read /%s: %q is not a whole number", path, s)
	}
	return n, nil
}

// flag reads a file that holds 0 or 1.
func (t tree) flag(path string) (bool, error) {
	s, err := t.text(path)
	if err != nil {
		return false, err
	}
	if s != "0" && s != "1" {
		return false, fmt.Errorf("read /%s: %q is neither 0 nor 1", path, s)
	}
	return s == "1", nil
}

// value reads the rest of the first line that starts with key and a colon, as
// /proc/meminfo and /proc/self/status have them.
func (t tree) value(path, key string) (string, error) {
	text, err := t.text(path)
	if err != nil {
		return "", err
	}
	if v, ok := colonValue(text, key); ok {
		return v, nil
	}
	return "", fmt.Errorf("read /%s: no %s", path, key)
}

func colonValue(text, key string) (string, bool) {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// glob lists the paths that match; a pattern of this package is never malformed.
func (t tree) glob(pattern string) []string {
	paths, err := fs.Glob(t.FS, pattern)
	if err != nil {
		panic(err)
	}
	return paths
}

// cpuList reads a file in the kernel's list format.
func (t tree) cpuList(path string) ([]int, error) {
	s, err := t.text(path)
	if err != nil {
		return nil, err
	}
	cpus, err := listedCPUs(s)
	if err != nil {
		return nil, fmt.Errorf("read /%s: list of CPUs %q: %w", path, s, err)
	}
	return cpus, nil
}

// maxCPUs is above any kernel's CONFIG_NR_CPUS (8192 on x86-64), so that a damaged
// list such as "0-9999999999" costs no memory.
const maxCPUs = 1 << 16
