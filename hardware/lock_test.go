package hardware

import (
	"errors"
	"os"
	"testing"
)

func TestLockDevice(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	first, err := LockDevice("host", "results/a")
	if err != nil {
		t.Fatal(err)
	}
	var held *DeviceHeldError
	if _, err := LockDevice("host", "results/b"); !errors.As(err, &held) || held.PID != os.Getpid() || held.Directory != "results/a" || held.Since.IsZero() {
		t.Fatalf("%v, want who holds it", err)
	}
	other, err := LockDevice("GPU-1", "results/b")
	if err != nil {
		t.Errorf("another device: %v", err)
	} else if err := other.Close(); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := LockDevice("host", "results/b")
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
