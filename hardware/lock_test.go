package hardware

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLockDevice(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	first, err := lockDevice("host", "results/a")
	if err != nil {
		t.Fatal(err)
	}
	var held *DeviceHeldError
	if _, err := lockDevice("host", "results/b"); !errors.As(err, &held) || held.PID != os.Getpid() || held.Directory != "results/a" || held.Since.IsZero() {
		t.Fatalf("%v, want who holds it", err)
	}
	other, err := lockDevice("GPU-1", "results/b")
	if err != nil {
		t.Errorf("another device: %v", err)
	} else if err := other.Close(); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockDevice("host", "results/b")
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// Runs of one user find one place, from whatever session they come, and it is theirs.
func TestUserDirectory(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	dir, err := makeUserDirectory()
	if err != nil {
		t.Fatal(err)
	}
	made, err := os.Stat(dir)
	if err != nil || filepath.Dir(dir) != temporary || made.Mode() != fs.ModeDir|0o700 {
		t.Fatalf("%s is %v, %v; want a directory of this user alone in %s", dir, made.Mode(), err, temporary)
	}
	if again, err := makeUserDirectory(); err != nil || again != dir {
		t.Errorf("the second time it is %s, %v; want %s", again, err, dir)
	}
	refused := func(what string) {
		t.Helper()
		if _, err := lockDevice("host", "results/a"); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "TMPDIR") {
			t.Errorf("%s: error is %v, want the place and the cure", what, err)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		refused("another user's")
	}
	if err := errors.Join(os.Remove(dir), os.Symlink(t.TempDir(), dir)); err != nil {
		t.Fatal(err)
	}
	refused("a link")
	if err := errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	refused("a file")
}

func TestAwaitDevice(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	first, err := lockDevice("host", "results/a")
	if err != nil {
		t.Fatal(err)
	}
	var told []DeviceHolder
	tell := func(h DeviceHolder) { told = append(told, h) }
	// Patience ends.
	var held *DeviceHeldError
	start := time.Now()
	if _, err := AwaitDevice(t.Context(), "host", "results/b", 20*time.Millisecond, tell); !errors.As(err, &held) || time.Since(start) < 20*time.Millisecond {
		t.Fatalf("%v after %s, want that it is held after 20 ms", err, time.Since(start))
	}
	if len(told) != 1 || told[0].PID != os.Getpid() || told[0].Directory != "results/a" {
		t.Errorf("told of %+v, want the holder, once", told)
	}
	// So does the caller's.
	ended, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := AwaitDevice(ended, "host", "results/b", time.Hour, tell); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want that of the context", err)
	}
	// The device comes free.
	closed := make(chan error, 1)
	time.AfterFunc(10*time.Millisecond, func() { closed <- first.Close() })
	second, err := AwaitDevice(t.Context(), "host", "results/b", time.Minute, tell)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-closed, second.Close()); err != nil {
		t.Error(err)
	}
	if none := (DeviceHolder{}).String(); none != "another process is about to measure on it" {
		t.Errorf("a holder that is not known yet is %q", none)
	}
}
