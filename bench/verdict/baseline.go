package verdict

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"genbench/bench"
)

// A Shelf keeps named baselines: copies of journals, so the directory that a run was
// written to may go. Keep two names, the previous good run and a fixed release: a
// baseline that only rolls hides slow creep, one that never moves misleads (R8).
type Shelf struct{ Dir string }

// NewShelf is the shelf of a state directory.
func NewShelf(state string) Shelf { return Shelf{filepath.Join(state, "baselines")} }

// A Baseline is one entry of a shelf.
type Baseline struct {
	Name string
	Log  *bench.Log
	Err  error // why it cannot be read
}

// An UnfitError says why a run cannot become a baseline. Invalid and Missing say
// of which kind the reason is.
type UnfitError struct {
	Reason           string
	Invalid, Missing bool
}

func (e *UnfitError) Error() string { return "save baseline: " + e.Reason }

// Path is the directory of a baseline.
func (s Shelf) Path(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	dir := filepath.Join(s.Dir, name)
	if _, err := os.Stat(filepath.Join(dir, bench.JournalName)); err != nil {
		return "", fmt.Errorf("no baseline %q; `genbench baseline list` shows which there are", name)
	}
	return dir, nil
}

// baselineName is what is safe as the name of a directory, and shown by `ls`.
var baselineName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

func checkName(name string) error {
	if !baselineName.MatchString(name) {
		return fmt.Errorf("baseline %q: a name is made of letters, digits, dots, - and _", name)
	}
	return nil
}

// Fit says whether a run may become a baseline: it came to its planned end, and
// every point that could be measured has numbers that may be used.
func Fit(log *bench.Log) error {
	if cut(log) || log.TornLine > 0 {
		return &UnfitError{Reason: "the run did not reach its end", Missing: true}
	}
	measured := 0
	for _, o := range bench.Outcomes(log) {
		switch o.State {
		case bench.Invalid:
			return &UnfitError{Reason: fmt.Sprintf("point %s is invalid: %s", o.Point, o.Reason), Invalid: true}
		case bench.Failed, bench.Pending:
			return &UnfitError{Reason: fmt.Sprintf("point %s has no numbers: %s", o.Point, o.Reason), Missing: true}
		case bench.Measured:
			measured++
		}
	}
	if measured == 0 {
		return &UnfitError{Reason: "no point was measured", Missing: true}
	}
	return nil
}

// Save copies a run's journal under a name. A name that is taken is replaced only
// where replace says so.
func (s Shelf) Save(name, journal string, replace bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	if info, err := os.Stat(journal); err == nil && info.IsDir() {
		journal = filepath.Join(journal, bench.JournalName)
	}
	dir := filepath.Join(s.Dir, name)
	target := filepath.Join(dir, bench.JournalName)
	if _, err := os.Stat(target); err == nil && !replace {
		return fmt.Errorf("baseline %q is taken; choose another name or give --replace", name)
	}
	from, err := os.Open(journal)
	if err != nil {
		return fmt.Errorf("save baseline: %w", err)
	}
	defer from.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("save baseline: %w", err)
	}
	to, err := os.Create(target + ".part")
	if err != nil {
		return fmt.Errorf("save baseline: %w", err)
	}
	_, err = io.Copy(to, from)
	if closeErr := to.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(to.Name(), target)
	}
	if err != nil {
		return fmt.Errorf("save baseline: %w", errors.Join(err, os.Remove(to.Name())))
	}
	return nil
}

// List gives all baselines by name. One that cannot be read is listed with why.
func (s Shelf) List() ([]Baseline, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list baselines: %w", err)
	}
	var list []Baseline
	for _, e := range entries {
		if e.IsDir() && checkName(e.Name()) == nil {
			log, err := bench.ReadLog(filepath.Join(s.Dir, e.Name()))
			list = append(list, Baseline{e.Name(), log, err})
		}
	}
	slices.SortFunc(list, func(a, b Baseline) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Remove takes a baseline off the shelf.
func (s Shelf) Remove(name string) error {
	dir, err := s.Path(name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove baseline: %w", err)
	}
	return nil
}
