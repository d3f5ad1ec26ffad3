package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// A table that is too wide folds its column of words, then lacks columns and says so;
// where there is no terminal it has everything on one line a row.
func TestSheetFits(t *testing.T) {
	print := func(width int, words string) string {
		var b bytes.Buffer
		s := sheet{header: []string{"name", "path", "what it is", "n"}, rows: [][]string{
			{"first", "a/long/path/of/many/parts", "words that say at some length what the first is", "1"},
			{"second", "–", "one word", "22"},
		}, numbers: 3, footer: []string{"total", "", "", "23"}}
		if err := s.print(&b, width, words, "path"); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > 0 && n > width {
				t.Errorf("%d columns in %d: %s", n, width, line)
			}
		}
		return b.String()
	}
	for _, c := range []struct {
		width       int
		words       string
		path, whole bool // the column of paths, the words on one line
	}{
		{0, "what it is", true, true},
		{90, "what it is", true, true},
		{70, "what it is", true, false},
		{50, "what it is", false, false},
		{64, "", false, true},
	} {
		got := print(c.width, c.words)
		if strings.Contains(got, "a/long/path") != c.path || strings.Contains(got, "length what the first is") != c.whole {
			t.Errorf("in %d columns, words %q:\n%s", c.width, c.words, got)
		}
		if strings.Contains(got, "without path") == c.path {
			t.Errorf("in %d columns what is left out is not told:\n%s", c.width, got)
		}
		if !strings.Contains(got, " 22 ") || !strings.Contains(got, " 23 ") {
			t.Errorf("in %d columns a number is missing:\n%s", c.width, got)
		}
	}
}
