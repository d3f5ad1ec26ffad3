package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// Help fits a terminal of 80 columns, but for examples, which are there to be copied.
// A flag's line is its name, a word for its value, and what it is for.
func TestHelpFits(t *testing.T) {
	t.Setenv("COLUMNS", "80")
	begins := regexp.MustCompile(`^ {2,6}-`)
	flag := regexp.MustCompile(`^ +(-\w, )?--[a-z0-9-]+( \S+)?(   |$)`)
	commands := 0
	var check func(*cobra.Command)
	check = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		commands++
		var stdout, stderr bytes.Buffer
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		if code := run(args, strings.NewReader(""), &stdout, &stderr, testDrivers()); code != 0 || stderr.Len() != 0 {
			t.Errorf("%q: exit code %d, %s", args, code, &stderr)
		}
		text := stdout.String()
		if c.Example != "" {
			if !strings.Contains(text, c.Example) {
				t.Errorf("%q: the examples are not as written", args)
			}
			text = strings.Replace(text, c.Example, "", 1)
		}
		_, flags, _ := strings.Cut(text, "\nFlags:\n")
		for line := range strings.Lines(flags) {
			if begins.MatchString(line) && !flag.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Errorf("%q: a flag reads %q", args, line)
			}
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%q: %d columns: %s", args, n, line)
			}
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check((&app{}).command())
	if commands < 20 {
		t.Errorf("%d commands were looked at", commands)
	}
}

// Lines are broken anew, but for those that stand apart.
func TestReflow(t *testing.T) {
	var got bytes.Buffer
	paragraphs{&got, 20}.reflow("One sentence that\nwas broken early.\n\nREF is one of\n  a path that is rather long\n\tcode\nand ends.\n")
	want := "One sentence that\nwas broken early.\n\nREF is one of\n  a path that is\n  rather long\n    code\nand ends.\n"
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}
