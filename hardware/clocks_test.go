package hardware

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"genbench/hardware/hardwaretest"
)

const (
	leaseChildKey    = "GENBENCH_TEST_LEASE"
	guardianChildKey = "GENBENCH_TEST_GUARDIAN"
)

// TestGuardianChild is the guardian of the leases below.
func TestGuardianChild(t *testing.T) {
	if os.Getenv(guardianChildKey) == "" {
		t.Skip("runs as the guardian of the tests below")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := GuardClocks(ctx, os.Stdin, os.Stdout); err != nil {
		os.Exit(1)
	}
	os.Exit(0) // before the test says on its output that it passed
}

// TestClockLease runs the test below in a process that opens the fake.
func TestClockLease(t *testing.T) {
	child := exec.Command(os.Args[0], "-test.run=^TestClockLeaseChild$", "-test.v")
	child.Env = append(os.Environ(), leaseChildKey+"="+hardwaretest.FakeNVML(t), "GORACE=atexit_sleep_ms=0")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestClockLeaseChild(t *testing.T) {
	library, isChild := os.LookupEnv(leaseChildKey)
	if !isChild {
		t.Skip("runs as the child of TestClockLease")
	}
	n, err := OpenNVML(library)
	if err != nil {
		t.Fatal(err)
	}
	request := ClockRequest{GPU: "GPU-fake-0", SMMHz: 1410}
	withMemory := request
	withMemory.MemoryMHz = 2619
	// shell is a guardian that locks nothing.
	shell := func(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }
	guardian := func() *exec.Cmd {
		g := exec.Command(os.Args[0], "-test.run=^TestGuardianChild$")
		g.Env = append(os.Environ(), guardianChildKey+"=1")
		return g
	}
	take := func(t *testing.T, dir string, guardian *exec.Cmd) *ClockLease {
		t.Helper()
		l, err := LeaseClocks(t.Context(), n, request, dir, guardian)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	// board gives a directory for leases, and what was done to the clocks.
	board := func(t *testing.T) (dir string, calls func() string) {
		record := filepath.Join(t.TempDir(), "record")
		t.Setenv("FAKE_NVML_RECORD", record)
		return filepath.Join(t.TempDir(), "leases"), func() string {
			text, err := os.ReadFile(record)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "; ")
		}
	}
	const locked, unlocked, memoryUnlocked = "lock-sm 0 1410 1410 0", "reset-sm 0 0 0 0", "reset-memory 0 0 0 0"
	expect := func(t *testing.T, got string, want ...string) {
		t.Helper()
		if want := strings.Join(want, "; "); got != want {
			t.Errorf("calls are %q, want %q", got, want)
		}
	}
	one := func(t *testing.T, dir string, held bool) Lease {
		t.Helper()
		leases, err := Leases(dir)
		if err != nil || len(leases) != 1 || leases[0].Held != held {
			t.Fatalf("leases are %+v, %v; want one, held %t", leases, err, held)
		}
		return leases[0]
	}
	none := func(t *testing.T, dir string) {
		t.Helper()
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("the directory holds %v, %v; want nothing", left, err)
		}
	}

	t.Run("another holds them since the guardian was ended", func(t *testing.T) {
		dir, calls := board(t)
		first := take(t, dir, guardian())
		if err := first.guardian.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-first.ended
		second := take(t, dir, guardian())
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		expect(t, calls(), locked, unlocked, locked)
		one(t, dir, true)
		if err := second.Close(); err != nil {
			t.Error(err)
		}
		none(t, dir)
	})
	t.Run("the guardian closes its pipes and ends later", func(t *testing.T) {
		dir, calls := board(t)
		l := take(t, dir, shell("read order; echo {}; read release; exec >&-; sleep 0.2"))
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		expect(t, calls(), unlocked)
		none(t, dir)
	})
	t.Run("the guardian was killed", func(t *testing.T) {
		dir, calls := board(t)
		l := take(t, dir, guardian())
		if err := l.guardian.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		expect(t, calls(), locked, unlocked)
		none(t, dir)
	})
	t.Run("the memory clock is refused", func(t *testing.T) {
		dir, calls := board(t)
		t.Setenv("FAKE_NVML_SET_MEMORY_RETURN", "3")
		if _, err := LeaseClocks(t.Context(), n, withMemory, dir, guardian()); err == nil || !strings.Contains(err.Error(), "nvmlDeviceSetMemoryLockedClocks: Not Supported") {
			t.Errorf("error is %v, want the driver's words", err)
		}
		expect(t, calls(), locked, "lock-memory 0 2619 2619 3", unlocked)
		none(t, dir)
	})
	t.Run("the memory clock is refused and the SM clock not taken back", func(t *testing.T) {
		dir, calls := board(t)
		t.Setenv("FAKE_NVML_SET_MEMORY_RETURN", "3")
		t.Setenv("FAKE_NVML_RESET_RETURN", "15")
		_, err := LeaseClocks(t.Context(), n, withMemory, dir, guardian())
		for _, words := range []string{"nvmlDeviceSetMemoryLockedClocks: Not Supported", "nvmlDeviceResetGpuLockedClocks: GPU is lost"} {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("error is %v, want %q", err, words)
			}
		}
		if left := one(t, dir, false); left.Request != request || !strings.Contains(left.Failure, "GPU is lost") {
			t.Errorf("the lease is %+v, want the SM clock and why it is locked", left)
		}
		t.Setenv("FAKE_NVML_RESET_RETURN", "0")
		if err := ResetClocks(n, request.GPU, dir); err != nil {
			t.Error(err)
		}
		expect(t, calls(), locked, "lock-memory 0 2619 2619 3", "reset-sm 0 0 0 15", unlocked, memoryUnlocked)
		none(t, dir)
	})
	t.Run("reset of a memory clock", func(t *testing.T) {
		for _, c := range []struct {
			answer string
			named  bool
			want   string // the error; empty is none
		}{
			{"0", false, ""},
			{"3", false, ""},
			{"13", false, ""},
			{"15", false, "nvmlDeviceResetMemoryLockedClocks: GPU is lost"},
			{"3", true, "nvmlDeviceResetMemoryLockedClocks: Not Supported"},
		} {
			dir, calls := board(t)
			t.Setenv("FAKE_NVML_RESET_MEMORY_RETURN", c.answer)
			if c.named {
				record := recordOf(t, request.GPU)
				record.Request = withMemory
				file, err := createLease(dir, record)
				if err := errors.Join(err, file.close()); err != nil {
					t.Fatal(err)
				}
			}
			err := ResetClocks(n, request.GPU, dir)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v: error is %v", c, err)
			}
			expect(t, calls(), unlocked, "reset-memory 0 0 0 "+c.answer)
		}
	})
	t.Run("reset of a lease that is held and damaged", func(t *testing.T) {
		dir, calls := board(t)
		file, err := createLease(dir, recordOf(t, request.GPU))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file.path, []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
		var held *LeaseHeldError
		if err := ResetClocks(n, request.GPU, dir); !errors.As(err, &held) || !strings.Contains(err.Error(), file.path) {
			t.Errorf("error is %v, want that the lease is held, and its file", err)
		}
		expect(t, calls(), "")
		if err := file.close(); err != nil {
			t.Fatal(err)
		}
		if err := ResetClocks(n, request.GPU, dir); err != nil {
			t.Error(err)
		}
		none(t, dir)
	})
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
