package hardware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckClock(t *testing.T) {
	for _, c := range []struct {
		effective float64
		locked    bool
	}{{1410, true}, {1396, true}, {1395, false}, {1424, true}, {1425, false}, {0, false}, {math.NaN(), false}} {
		got := CheckClock(1410, c.effective)
		if got.Locked != c.locked || got.RequestedMHz != 1410 {
			t.Errorf("%g MHz of 1410 is %+v, want locked %t", c.effective, got, c.locked)
		}
	}
	if got := CheckClock(1000, 950); math.Abs(got.Deviation+0.05) > 1e-12 {
		t.Errorf("950 MHz of 1000 deviate by %g, want -0.05", got.Deviation)
	}
}

func recordOf(t *testing.T, gpu string) LeaseRecord {
	t.Helper()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	return LeaseRecord{Request: ClockRequest{GPU: gpu, SMMHz: 1410}, PID: 4711, Boot: boot}
}

func TestLeaseFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on", "demand")
	record := recordOf(t, "GPU-a")
	if leases, err := Leases(dir); err != nil || len(leases) != 0 {
		t.Fatalf("an absent directory has %v, %v", leases, err)
	}
	lease, err := createLease(dir, record)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Leases(dir, dir+"x")
	if err != nil || len(found) != 1 || !found[0].Held || found[0].Request != record.Request || found[0].PID != 4711 {
		t.Errorf("leases are %+v, %v; want the one held", found, err)
	}
	var held *LeaseHeldError
	if _, err := createLease(dir, record); !errors.As(err, &held) || held.PID != 4711 {
		t.Errorf("error is %v, want who holds it", err)
	}
	other, err := createLease(dir, recordOf(t, "GPU-b"))
	if err != nil {
		t.Fatalf("the lease of another GPU: %v", err)
	}
	if err := other.remove(); err != nil {
		t.Fatal(err)
	}

	// Without its holder it is left over, until the next boot.
	if err := lease.close(); err != nil {
		t.Fatal(err)
	}
	if found, err := Leases(dir); err != nil || len(found) != 1 || found[0].Held {
		t.Errorf("leases are %+v, %v; want one left over", found, err)
	}
	var left *LeaseLeftoverError
	if _, err := createLease(dir, record); !errors.As(err, &left) || left.PID != 4711 || !strings.Contains(err.Error(), "genbench clocks reset") {
		t.Errorf("error is %v, want who left it and the cure", err)
	}
	next := record
	next.Boot = "of the next boot"
	lease, err = createLease(dir, next)
	if err != nil {
		t.Fatalf("a lease of an earlier boot is in the way: %v", err)
	}
	if found, err := Leases(dir); err != nil || len(found) != 0 {
		t.Errorf("leases are %+v, %v; want none of this boot", found, err)
	}
	if err := lease.remove(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
}

func TestLeaseFilesDamaged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "clocks-GPU-a.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"request": {"gp`)
	if _, err := Leases(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--gpus UUID") {
		t.Errorf("error is %v, want the file and the cure", err)
	}
	var left *LeaseLeftoverError
	if _, err := createLease(dir, recordOf(t, "GPU-a")); !errors.As(err, &left) {
		t.Errorf("error is %v, want that something was left over", err)
	}
	// A damaged one may be held all the same.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	live, err := createLease(dir, recordOf(t, "GPU-a"))
	if err != nil {
		t.Fatal(err)
	}
	write("{")
	var held *LeaseHeldError
	if _, err := createLease(dir, recordOf(t, "GPU-a")); !errors.As(err, &held) || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v, want that the lease is held, and its file", err)
	}
	if _, err := Leases(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "a process holds it") {
		t.Errorf("error is %v, want the file and that it is held", err)
	}
	if err := live.close(); err != nil {
		t.Fatal(err)
	}
	// Made by one that died before it wrote, and so before it locked.
	write("")
	if leases, err := Leases(dir); err != nil || len(leases) != 0 {
		t.Errorf("leases are %v, %v; want none", leases, err)
	}
	lease, err := createLease(dir, recordOf(t, "GPU-a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.close(); err != nil {
		t.Fatal(err)
	}
	// A link is not followed: the directory of another user must not make root write elsewhere.
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := errors.Join(os.Remove(path), os.Symlink(elsewhere, path)); err != nil {
		t.Fatal(err)
	}
	if _, err := createLease(dir, recordOf(t, "GPU-a")); err == nil {
		t.Error("a link was followed")
	}
	if _, err := os.Stat(elsewhere); err == nil {
		t.Error("a file was made where a link leads")
	}
}

// A lease whose disk is full must not become one that says that no clock is locked.
func TestLeaseOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	record := recordOf(t, "GPU-a")
	lease, err := createLease(dir, record)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.close()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	full := before
	full.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &full); err != nil {
		t.Fatal(err)
	}
	record.Failure = "why"
	writeErr := lease.write(record)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if writeErr == nil {
		t.Error("a file that may not be written was")
	}
	if found, err := Leases(dir); err == nil && len(found) != 1 {
		t.Errorf("leases are %+v, want the one that is held, or that it is damaged", found)
	}
	// A shorter text leaves nothing of a longer one.
	record.Failure = strings.Repeat("long ", 100)
	err = lease.write(record)
	record.Failure = ""
	if err := errors.Join(err, lease.write(record)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(lease.path); err != nil || !json.Valid(text) {
		t.Errorf("the lease is %q, %v", text, err)
	}
}

func TestLeaseDirectory(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	own, all := LeaseDirectory(), LeaseDirectories()
	if entries, err := os.ReadDir(temporary); len(entries) > 0 || err != nil {
		t.Errorf("to name a place made %v, %v", entries, err)
	}
	want := filepath.Join(temporary, fmt.Sprintf("genbench-%d", os.Geteuid()))
	wantAll := "/run/genbench," + want
	if os.Geteuid() == 0 {
		want, wantAll = "/run/genbench", "/run/genbench"
	}
	if own != want || strings.Join(all, ",") != wantAll {
		t.Errorf("directories are %s and %v, want %s and %s", own, all, want, wantAll)
	}
}

func TestGuardClocksNeedsAnOrder(t *testing.T) {
	err := GuardClocks(context.Background(), strings.NewReader("lock it"), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "`genbench clocks lock` starts this itself") {
		t.Errorf("error is %v, want who starts a guardian", err)
	}
}

func TestNearest(t *testing.T) {
	for wanted, want := range map[int]string{100: "the lowest is 345", 400: "the nearest are 345 and 1410", 2000: "the highest is 1980"} {
		if got := nearest(wanted, []int{1980, 345, 1410}); got != want {
			t.Errorf("%d: %q, want %q", wanted, got, want)
		}
	}
	if got := nearest(1, nil); got != "it lists none" {
		t.Errorf("of none: %q", got)
	}
}
