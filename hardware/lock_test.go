package hardware

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

func TestLockDevice(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
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

func TestAwaitDevice(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
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
