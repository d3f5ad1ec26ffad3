package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"genbench/bench"
)

// What a run holds most of is its journal, read back at its end: for 10,000 rounds of
// 100 samples it stays under 200 MB, from the file to the table.
func TestMemoryOfALongRun(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "run")
	journal, err := bench.CreateJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	note := func(record any) {
		if err := journal.Note(record); err != nil {
			t.Fatal(err)
		}
	}
	p := bench.Point{Model: "genet-small", Engine: "engine", Precision: "fp32", Batch: 1, Resolution: 192}
	protocol, err := bench.NewProtocol("publish")
	if err != nil {
		t.Fatal(err)
	}
	const launches, rounds = 100, 100
	protocol.Launches, protocol.Rounds = launches, rounds
	note(bench.RunRecord{Type: "run", Schema: bench.Schema, Protocol: bench.ProtocolID, Config: bench.Config{Protocol: protocol, Threads: 1}, Plan: []bench.PlannedPoint{{ID: p.String(), Point: p}}})
	round := bench.RoundRecord{Type: "round", ID: p.String(), Try: 1, Order: 1, Status: bench.OK, DeviceNS: make([]int64, 100), Steady: bench.SteadyProof{Met: true}}
	for i := range launches * rounds {
		round.Launch, round.Round = 1+i/rounds, 1+i%rounds
		for k := range round.DeviceNS {
			round.DeviceNS[k] = int64(10_000_000 + (i*7919+k*104729)%100_000)
		}
		note(round)
	}
	note(bench.EndRecord{Type: "end"})
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	// On a busy machine the collector lags behind, and what it has not collected yet is
	// not what a run holds.
	var peaks []int64
	for len(peaks) < 3 {
		peaks = append(peaks, peakOfReport(t, dir))
		if peaks[len(peaks)-1] <= 200 {
			return
		}
	}
	t.Errorf("%d MB for %d rounds, want at most 200", peaks, launches*rounds)
}

// peakOfReport is the most memory that a report of a run takes, in MB.
func peakOfReport(t *testing.T, dir string) int64 {
	t.Helper()
	scale := filepath.Join(t.TempDir(), "scale")
	report := begin(t, []string{scaleEnv + "=" + scale}, "report", dir, "--format", "text")
	if code, rest := report.end(t); code != 0 {
		t.Fatalf("exit code %d, %s", code, rest)
	}
	status, err := os.ReadFile(scale)
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscanf(peak, "%d kB", &kib); err != nil {
		t.Fatalf("no peak in %s: %v", status, err)
	}
	return kib >> 10
}

// scaleEnv names the file into which a genbench writes, at its end, what the system told
// of its memory. The system tells a parent of the peak of its child, too, but there it
// counts the parent's own from before the child became another program (Linux,
// exec_mmap): a test binary that was once large would weigh itself.
const scaleEnv = "GENBENCH_TEST_SCALE"

// weigh writes what scaleEnv asks for.
func weigh(code int) int {
	scale := os.Getenv(scaleEnv)
	if scale == "" {
		return code
	}
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		err = os.WriteFile(scale, status, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
