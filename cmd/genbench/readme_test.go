package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/hardware"
)

// The README promises commands, flags and files; they must exist.
func TestREADME(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)").FindAllStringSubmatch(readme, -1) {
		if !strings.Contains(string(makefile), "\n"+m[1]+":") {
			t.Errorf("`make %s` is not in the Makefile", m[1])
		}
	}
	commands := (&app{drivers: testDrivers()}).command()
	for _, m := range regexp.MustCompile("`(?:time )?genbench ([a-z]+)").FindAllStringSubmatch(readme, -1) {
		if m[1] == "completion" {
			continue // cobra adds it when it runs
		}
		if c, _, err := commands.Find([]string{m[1]}); err != nil || c == commands {
			t.Errorf("`genbench %s` is no command", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`--([a-z-]+)`").FindAllStringSubmatch(readme, -1) {
		has := func(c *cobra.Command) bool { return c.Flags().Lookup(m[1]) != nil }
		if m[1] != "help" && !slices.ContainsFunc(commands.Commands(), has) {
			t.Errorf("--%s is no flag of any command", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("link %s: %v", m[1], err)
		}
	}
}

// The README's suite file is one.
func TestREADMESuite(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```yaml\n")
	suite, _, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatal("the README shows no suite file")
	}
	path := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(path, []byte(suite), 0o644); err != nil {
		t.Fatal(err)
	}
	// As it stands it runs on the host, whose clocks no suite may hold.
	config, err := (&app{drivers: testDrivers()}).config(runFlags{suite: path, given: func(string) bool { return false }}, hardware.Info{Kind: hardware.Host})
	if err != nil {
		t.Fatal(err)
	}
	if config.Suite != "mine" || config.Protocol.Launches != 6 || config.Threads != 2 || config.Seed != 9 {
		t.Errorf("the README's suite came to %+v", config)
	}
	// Its line for GPUs is one when it is uncommented.
	onGPU := strings.Replace(suite, "# clocks:", "clocks:", 1)
	parsed, err := bench.ParseSuite([]byte(onGPU), "README.md")
	if err != nil || parsed.Clocks != bench.AutoClocks {
		t.Errorf("clocks %q, %v", parsed.Clocks, err)
	}
}
