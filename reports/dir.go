package reports

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"genbench/bench"
)

// WriteDir makes every view of a run again next to its journal: report.md and
// report.html, summary.json, and each picture as PNG and SVG. What it writes
// follows from the journal alone, byte for byte. A picture that cannot be drawn is
// left out with its reason in the report, and one of an earlier time is removed.
func WriteDir(dir string, r *bench.Result) error {
	all, err := pictures(r)
	if err != nil {
		return fmt.Errorf("write reports of %s: %w", dir, err)
	}
	page := compose(r, all)
	var markdown, summary bytes.Buffer
	if err := page.markdown(&markdown); err != nil {
		return fmt.Errorf("write reports of %s: %w", dir, err)
	}
	if err := JSON(&summary, r); err != nil {
		return fmt.Errorf("write reports of %s: %w", dir, err)
	}
	type file struct {
		name    string
		content []byte
	}
	files := []file{{"report.md", markdown.Bytes()}, {"report.html", page.html(title(r))}, {"summary.json", summary.Bytes()}}
	for _, p := range all {
		files = append(files, file{p.name + ".png", p.png}, file{p.name + ".svg", p.svg})
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if f.content == nil {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove outdated picture: %w", err)
			}
			continue
		}
		if err := os.WriteFile(path, f.content, 0o644); err != nil {
			return fmt.Errorf("write reports: %w", err)
		}
	}
	return nil
}
