package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"genbench/bench"
	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/hardwaretest"
)

// A heldDevice is one that another run measures on, with a genbench whose engine counts
// how often it is opened.
type heldDevice struct {
	drivers []engines.Driver
	opened  int
	begun   string // a run that can be resumed and replayed
}

// holdDevice locks the device by its id, as flag names it, for the length of the test.
func holdDevice(t *testing.T, id, flag, engine string) *heldDevice {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	lock, err := hardware.AwaitDevice(t.Context(), id, "elsewhere", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	d := &heldDevice{begun: filepath.Join(t.TempDir(), "begun")}
	for _, driver := range append(testDrivers(), delayDriver()) {
		if open := driver.Open; driver.Name == engine {
			driver.Open = func(ctx context.Context, device hardware.Device) (engines.Engine, error) {
				d.opened++
				return open(ctx, device)
			}
			d.drivers = append(d.drivers, driver)
		}
	}
	info, err := hardware.Find(flag)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{drivers: d.drivers}
	config, err := a.config(runFlags{suite: "default", weights: synthetic, profile: "quick", device: flag, given: func(string) bool { return false }}, info)
	if err != nil {
		t.Fatal(err)
	}
	journal, err := bench.CreateJournal(d.begun)
	if err != nil {
		t.Fatal(err)
	}
	record := bench.RunRecord{Type: "run", Schema: bench.Schema, Protocol: bench.ProtocolID, ID: "begun", Config: config, Devices: []hardware.Info{info}}
	if err := errors.Join(journal.Append(record), journal.Close()); err != nil {
		t.Fatal(err)
	}
	return d
}

// genbench runs with arguments, and tells what it said on the standard error.
func (d *heldDevice) genbench(args ...string) (code int, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &errs, d.drivers)
	return code, errs.String()
}

// A run that waits for a device, or is refused it, leaves the one that measures there
// alone: it opens no engine. A dry run waits for nobody.
func TestHeldHostIsLeftAlone(t *testing.T) {
	d := holdDevice(t, "host", "host", "fake-spin")
	out := filepath.Join(t.TempDir(), "out")
	for _, args := range [][]string{
		{"run", "--out", out}, {"run", "--engines", "fake-spin", "--wait", "10ms", "--out", out}, {"replay", d.begun, "--out", out}, {"run", "--resume", d.begun},
	} {
		if code, stderr := d.genbench(args...); code != exitUnavailable || !strings.Contains(stderr, "lock device host: process ") || d.opened != 0 {
			t.Errorf("%v: exit code %d, engines opened %d times, %s", args, code, d.opened, stderr)
		}
	}
	if code, stderr := d.genbench("run", "--dry-run"); code != 0 || d.opened != 1 {
		t.Errorf("a dry run: exit code %d, engines opened %d times, %s", code, d.opened, stderr)
	}
}

// On a GPU it makes no context either, which here another process has alone.
func TestHeldGPUIsLeftAlone(t *testing.T) {
	board := filepath.Join(t.TempDir(), "board")
	t.Setenv(hardware.CUDAEnv, hardwaretest.FakeCUDA(t))
	t.Setenv("FAKE_CUDA_EXCLUSIVE", board)
	holder, err := os.Create(board)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := syscall.Flock(int(holder.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	const id = "GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00"
	d := holdDevice(t, id, "0", "fake-delay")
	out := filepath.Join(t.TempDir(), "out")
	for _, args := range [][]string{{"run", "--device", "0", "--out", out}, {"run", "--device", id, "--out", out}, {"replay", d.begun, "--out", out}} {
		if code, stderr := d.genbench(args...); code != exitUnavailable || !strings.Contains(stderr, "lock device "+id+": process ") || d.opened != 0 {
			t.Errorf("%v: exit code %d, engines opened %d times, %s", args, code, d.opened, stderr)
		}
	}
}

// What is wrong with a call is told at once, and not when the device is free.
func TestMistakesAreNotWaitedWith(t *testing.T) {
	d := holdDevice(t, "host", "host", "fake-spin")
	for want, args := range map[string][]string{
		"genet-larg":            {"--models", "genet-larg"},
		"unknown engine":        {"--engines", "fake-spni"},
		"point of this grid":    {"--points", "genet-small@192/fake-spin/fp32/b3"},
		"--follow":              {"--follow", "nowhere"},
		"find device GPU-none:": {"--device", "GPU-none"},
	} {
		begun := time.Now()
		code, stderr := d.genbench(append([]string{"run", "--wait", "3s"}, args...)...)
		if code != exitUsage && args[0] != "--device" || !strings.Contains(stderr, want) || time.Since(begun) > 2*time.Second {
			t.Errorf("%v: exit code %d after %s, %s", args, code, time.Since(begun), stderr)
		}
	}
}
