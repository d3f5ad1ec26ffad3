package tensorrt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// A cache keeps plans and the timing cache from which they follow, in files that
// are named by what they depend on. Each begins with the digest of the rest: one that a
// crash of the machine or a full disk left damaged counts as missing, and is made again.
type cache struct{ dir string }

// cacheFormat is that of the files: versions of genbench that differ in it, such as those
// of a gate, do not take each other's for damaged.
const cacheFormat = "2"

func (c cache) planPath(key string) string { return filepath.Join(c.dir, key+".plan") }

// timingPath: candidates were timed on one GPU by one library, for one of the builds
// that are to be independent.
func (c cache) timingPath(library, gpu string, build int) string {
	return filepath.Join(c.dir, digest([]byte(cacheFormat), []byte(library), []byte(gpu), []byte(strconv.Itoa(build)))[:16]+".timing")
}

// planKey is what a plan depends on.
func planKey(o order, library, gpu string) string {
	parts := [][]byte{[]byte(cacheFormat), o.model, []byte(o.precision), []byte(library), []byte(gpu), []byte(strconv.Itoa(max(o.build, 1))), []byte(o.depends)}
	for _, v := range o.inputs {
		parts = append(parts, []byte(v.Name), []byte(v.Shape.String()))
	}
	return digest(parts...)[:32]
}

// digest is the SHA-256 of parts, each with its length, in hexadecimal.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// read gives a file's bytes; none where it is missing or damaged.
func (c cache) read(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if sum, rest, found := bytes.Cut(data, []byte{'\n'}); found && string(sum) == digest(rest) {
		return rest, nil
	}
	return nil, nil
}

func (c cache) write(path string, data []byte) error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already where all went well
	if _, err := f.Write(append([]byte(digest(data)+"\n"), data...)); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
