package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	proofAA      = flag.Int("aa", 0, "A/A gates that `make gate-proof` runs")
	proofPlanted = flag.Int("planted", 0, "gates with a planted slow-down that `make gate-proof` runs")
	proofFlags   = flag.String("aa-flags", "", "flags of genbench run for the A/A gates, instead of the default suite")
	proofPairs   = flag.Int("pairs", 0, "pairs of every gate, instead of 12 and 20")
)

// A proofGate is what a real gate came to.
type proofGate struct {
	code   int
	points []struct {
		Point   string   `json:"point"`
		Verdict string   `json:"verdict"`
		Ratio   *float64 `json:"ratio"`
	}
	took time.Duration
}

// realGate runs the gate of the test binary, with its fakes, as a process.
func realGate(t *testing.T, base, fresh string, runFlags ...string) proofGate {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = []string{"genbench", "gate", "--base", base, "--new", fresh, "--format", "json", "--out", filepath.Join(t.TempDir(), "gate")}
	if *proofPairs > 0 {
		cmd.Args = append(cmd.Args, "--pairs", fmt.Sprint(*proofPairs))
	}
	cmd.Args = append(append(cmd.Args, "--"), runFlags...)
	cmd.Env = append(os.Environ(), "GENBENCH_STATE="+t.TempDir())
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	start := time.Now()
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	g := proofGate{code: cmd.ProcessState.ExitCode(), took: time.Since(start)}
	var result struct {
		Points json.RawMessage `json:"points"`
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatalf("the gate ended with %d and said no JSON: %v\n%s", g.code, err, words.String())
	}
	if err := json.Unmarshal(result.Points, &g.points); err != nil {
		t.Fatal(err)
	}
	t.Logf("exit %d after %s: %s", g.code, g.took.Round(time.Second), g.summary())
	return g
}

func (g proofGate) summary() string {
	var parts []string
	for _, p := range g.points {
		text := p.Point + " " + p.Verdict
		if p.Ratio != nil {
			text += fmt.Sprintf(" %.4f", *p.Ratio)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func (g proofGate) regressed() []string {
	var list []string
	for _, p := range g.points {
		if p.Verdict == "regressed" {
			list = append(list, p.Point)
		}
	}
	return list
}

// `make gate-proof`: real measurements, no simulation. Gates of the same thing
// against itself never fail; a slow-down of 3 % at one of two points, spun in C, is
// caught and named at least 8 times of 10.
func TestGateProof(t *testing.T) {
	if *proofAA == 0 && *proofPlanted == 0 {
		t.Skip("measures for hours; run `make gate-proof`")
	}
	alarms := 0
	for range *proofAA {
		// The default, said twice: both versions are this binary as it is.
		if g := realGate(t, "--timeout 60s", "--timeout 60s", strings.Fields(*proofFlags)...); len(g.regressed()) > 0 {
			alarms++
		}
	}
	caught := 0
	for range *proofPlanted {
		g := realGate(t, "--engines fake-spin", "--engines fake-slow", "--models", "genet-small", "--resolution", "64", "--batches", "1,2", "--max-steal", "1", "--max-foreign", "99")
		if found := g.regressed(); g.code == 10 && len(found) == 1 && strings.HasSuffix(found[0], "/b1") {
			caught++
		}
	}
	t.Logf("%d of %d A/A gates failed; %d of %d planted slow-downs were caught at the right point", alarms, *proofAA, caught, *proofPlanted)
	if alarms > 0 {
		t.Errorf("%d false alarms", alarms)
	}
	if caught*10 < *proofPlanted*8 {
		t.Errorf("caught %d of %d, want 8 of 10", caught, *proofPlanted)
	}
}
