// Package library finds and opens the vendor libraries that engines are made of,
// and fetches those that may be fetched. genbench links none of them, so one binary
// starts on every box; what is missing is reported with every place that was searched
// and the command that mends it.
package library

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"genbench/engines"
	"genbench/hardware/native"
)

// CacheEnv names the environment variable that moves genbench's cache directory.
const CacheEnv = "GENBENCH_CACHE"

// A Spec says which library an engine wants and where it may be.
type Spec struct {
	// Engine is the name as in --engines, and the library's folder in the cache.
	Engine string
	// Env names the environment variable that holds the library's path. Where it
	// is set, nothing else is tried: a wrong path is an error, not a reason to
	// measure some other library.
	Env string
	// Files is the pattern of the file's name, as in path.Match: "libfoo.so*".
	Files string
	// Sonames are the names to ask the loader for, preferred first.
	Sonames []string
	// Python is where pip puts the library below site-packages, as a pattern;
	// empty for a library no wheel holds.
	Python string
	// Hint is the cure for a library that is nowhere.
	Hint string
	// Accept refuses an opened library that this engine cannot use, such as one
	// that is too old; nil takes any. It must not start threads in the library.
	Accept func(*native.Library) error
}

// A Library is an opened vendor library with what a result says about it.
type Library struct {
	*native.Library
	Path   string // of the file, links resolved
	SHA256 string // of that file, hexadecimal
}

// A Finder finds the library of one Spec. It may be used from several goroutines.
type Finder struct{ spec Spec }

// NewFinder makes a finder; nothing is looked for until Open.
func NewFinder(s Spec) *Finder {
	return &Finder{spec: s}
}

// Open opens the library from the first place that has a usable one: the file
// named by the environment variable, genbench's cache (newest version first), the
// loader's own search, and the site-packages of the Pythons on this box, which are
// found without running Python. Where none has one, the error is an
// *engines.UnavailableError.
func (f *Finder) Open() (*Library, error) {
	s := f.spec
	missing := &engines.UnavailableError{Engine: s.Engine, Missing: s.Sonames[0], Hint: s.Hint}
	if file := os.Getenv(s.Env); file != "" {
		lib, err := f.openFile(file)
		if err != nil {
			missing.Looked = []string{fmt.Sprintf("%s=%s: %v", s.Env, file, err)}
			missing.Hint = fmt.Sprintf("correct %s or unset it", s.Env)
			return nil, missing
		}
		return lib, nil
	}

	cache, err := CacheDir()
	if err != nil {
		missing.Looked = append(missing.Looked, err.Error())
	} else if lib := f.openNewest(cache, s.Engine+"/*/"+s.Files, missing); lib != nil {
		return lib, nil
	}
	for _, soname := range s.Sonames {
		lib, err := f.open(soname)
		if err == nil {
			return lib, nil
		}
		// The loader's words name the file.
		missing.Looked = append(missing.Looked, fmt.Sprintf("the loader: %v", err))
	}
	if s.Python != "" {
		for _, dir := range sitePackages() {
			if lib := f.openNewest(dir, s.Python, missing); lib != nil {
				return lib, nil
			}
		}
	}
	return nil, missing
}

// openNewest opens the first usable file below dir that matches, highest version
// first. It notes what it refused, or that nothing matched.
func (f *Finder) openNewest(dir, pattern string, missing *engines.UnavailableError) *Library {
	files := glob(dir, pattern)
	if len(files) == 0 {
		missing.Looked = append(missing.Looked, filepath.Join(dir, pattern)+": no such file")
	}
	for _, file := range files {
		lib, err := f.open(file)
		if err == nil {
			return lib
		}
		// A loader's message starts with the path already.
		missing.Looked = append(missing.Looked, file+": "+strings.TrimPrefix(err.Error(), file+": "))
	}
	return nil
}

// glob lists what matches below dir, highest version first. A folder that cannot
// be read holds nothing for us.
func glob(dir, pattern string) []string {
	names, err := fs.Glob(os.DirFS(dir), pattern)
	if err != nil {
		return nil
	}
	slices.SortFunc(names, func(a, b string) int { return compareVersions(b, a) })
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	return names
}

// openFile opens a file that a person named, which may be relative and without a
// slash; the loader would search its own path for such a name.
func (f *Finder) openFile(file string) (*Library, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	return f.open(path)
}

func (f *Finder) open(name string) (*Library, error) {
	lib, err := native.Open(name)
	if err != nil {
		return nil, err
	}
	if f.spec.Accept != nil {
		if err := f.spec.Accept(lib); err != nil {
			return nil, closeAfter(lib, err)
		}
	}
	path, err := filepath.EvalSymlinks(lib.Path())
	if err != nil {
		return nil, closeAfter(lib, fmt.Errorf("resolve path: %w", err))
	}
	sum, err := hashFile(path)
	if err != nil {
		return nil, closeAfter(lib, err)
	}
	return &Library{Library: lib, Path: path, SHA256: sum}, nil
}

func closeAfter(lib *native.Library, err error) error {
	if closing := lib.Close(); closing != nil {
		return fmt.Errorf("%w (and %v)", err, closing)
	}
	return err
}

// CacheDir is where genbench keeps fetched libraries: $GENBENCH_CACHE, or
// "genbench" in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w; set %s", err, CacheEnv)
	}
	return filepath.Join(dir, "genbench"), nil
}

// sitePackages lists the folders where pip may have put packages, those of an
// active environment first.
func sitePackages() []string {
	prefixes := []string{os.Getenv("VIRTUAL_ENV"), os.Getenv("CONDA_PREFIX")}
	if python, err := exec.LookPath("python3"); err == nil {
		prefixes = append(prefixes, filepath.Dir(filepath.Dir(python)))
		// A virtual environment's python is a link to the one it was made with.
		if target, err := filepath.EvalSymlinks(python); err == nil {
			prefixes = append(prefixes, filepath.Dir(filepath.Dir(target)))
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		prefixes = append(prefixes, filepath.Join(home, ".local"))
		// pyenv puts scripts, not links, on the path.
		prefixes = append(prefixes, glob(cmp.Or(os.Getenv("PYENV_ROOT"), filepath.Join(home, ".pyenv")), "versions/*")...)
	}
	prefixes = append(prefixes, "/usr/local", "/usr")

	var dirs []string
	for _, prefix := range prefixes {
		if prefix == "" {
			continue
		}
		for _, dir := range glob(prefix, "lib*/python3*/*-packages") {
			if !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// compareVersions orders names with numbers in them as people do: 1.9 before 1.10.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		numA, restA := leadingNumber(a)
		numB, restB := leadingNumber(b)
		if numA == "" || numB == "" {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		// Without leading zeros the longer number is the greater.
		numA, numB = strings.TrimLeft(numA, "0"), strings.TrimLeft(numB, "0")
		if c := cmp.Or(cmp.Compare(len(numA), len(numB)), cmp.Compare(numA, numB)); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return cmp.Compare(len(a), len(b))
}

func leadingNumber(s string) (number, rest string) {
	i := 0
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
