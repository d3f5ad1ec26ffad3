package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"genbench/hardware"
	"genbench/hardware/hardwaretest"
)

// A board is a fake GPU that notes what is done to its clocks, and a directory for
// leases.
type board struct {
	library, record, leases string
}

func newBoard(t *testing.T) *board {
	t.Helper()
	dir := t.TempDir()
	return &board{hardwaretest.FakeNVML(t), filepath.Join(dir, "record"), filepath.Join(dir, "leases")}
}

// command is this program with arguments, in a process group of its own.
func (b *board) command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &exec.Cmd{
		Path: self, Args: append([]string{"genbench"}, args...),
		Env:         append(append(os.Environ(), "GENBENCH_NVML="+b.library, "GENBENCH_LEASES="+b.leases, "FAKE_NVML_RECORD="+b.record), env...),
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
}

// run runs to the end.
func (b *board) run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := b.command(t, env, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// hold starts `genbench clocks lock` and returns once it holds.
func (b *board) hold(t *testing.T, env []string, args ...string) (holder *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	holder = b.command(t, env, append([]string{"clocks", "lock"}, args...)...)
	stderr = &bytes.Buffer{}
	holder.Stderr = stderr
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if holder.ProcessState == nil {
			_ = holder.Process.Kill() // a test that failed half-way
			_ = holder.Wait()
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "until this command ends") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return holder, stderr
		}
	}
	_ = holder.Wait()
	t.Fatalf("it does not hold: %s", stderr)
	return nil, nil
}

// calls lists what was done to the clocks.
func (b *board) calls(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(b.record)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// givenBack waits until the last call is a reset and no lease is left.
func (b *board) givenBack(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		calls := b.calls(t)
		left, err := os.ReadDir(b.leases)
		if err != nil {
			t.Fatal(err)
		}
		if calls[len(calls)-1] == "reset-sm 0 0 0 0" && len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("calls are %q, leases %v; want a reset and no lease", calls, left)
		}
	}
}

// guardian finds the guardian of a holder.
func guardian(t *testing.T, holder *exec.Cmd) int {
	t.Helper()
	p := &process{Cmd: holder}
	pids := p.children(t)
	if len(pids) != 1 {
		t.Fatalf("%d children, want the guardian", len(pids))
	}
	return pids[0]
}

func (b *board) lease(t *testing.T) hardware.LeaseRecord {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.leases, "clocks-GPU-fake-0.json"))
	if err != nil {
		t.Fatal(err)
	}
	var record hardware.LeaseRecord
	if err := json.Unmarshal(text, &record); err != nil {
		t.Fatal(err)
	}
	return record
}

// Clocks must be given back however their holder ends.
func TestClocksGivenBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		group bool
		sig   syscall.Signal
		code  int
	}{
		{"interrupted", false, syscall.SIGINT, 0},
		{"terminated", false, syscall.SIGTERM, 0},
		{"terminal closed", true, syscall.SIGHUP, -1},
		{"killed", false, syscall.SIGKILL, -1},
		{"killed with its group", true, syscall.SIGKILL, -1},
		{"stack dumped", false, syscall.SIGQUIT, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBoard(t)
			holder, stderr := b.hold(t, nil, "1410")
			if got := b.calls(t); len(got) != 1 || got[0] != "lock-sm 0 1410 1410 0" {
				t.Fatalf("calls are %q, want one lock", got)
			}
			record := b.lease(t)
			if record.PID != holder.Process.Pid || record.Request.SMMHz != 1410 || *record.Before.SMMHz != 1410 || record.Boot == "" {
				t.Errorf("the lease is %+v", record)
			}
			pid := holder.Process.Pid
			if c.group {
				pid = -pid
			}
			if err := syscall.Kill(pid, c.sig); err != nil {
				t.Fatal(err)
			}
			_ = holder.Wait()
			if code := holder.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d; stderr %s", code, c.code, stderr)
			}
			b.givenBack(t)
		})
	}
}

func TestClocksGuardianKilled(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			b := newBoard(t)
			holder, stderr := b.hold(t, nil, "1410")
			if err := syscall.Kill(guardian(t, holder), sig); err != nil {
				t.Fatal(err)
			}
			_ = holder.Wait()
			if code := holder.ProcessState.ExitCode(); code != exitInternal || !strings.Contains(stderr.String(), "the guardian has ended") {
				t.Errorf("exit code %d, stderr %q; want %d and what happened", code, stderr, exitInternal)
			}
			b.givenBack(t)
		})
	}
}

// When holder and guardian die at once the clocks stay locked, and the lease is the
// witness.
func TestClocksLeftOver(t *testing.T) {
	b := newBoard(t)
	holder, _ := b.hold(t, nil, "base", "--memory", "2619")
	keeper := guardian(t, holder)
	// Stopped, the guardian can't notice its holder's end before its own.
	for _, kill := range []struct {
		pid int
		sig syscall.Signal
	}{{keeper, syscall.SIGSTOP}, {holder.Process.Pid, syscall.SIGKILL}, {keeper, syscall.SIGKILL}} {
		if err := syscall.Kill(kill.pid, kill.sig); err != nil {
			t.Fatal(err)
		}
	}
	_ = holder.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left, err := hardware.Leases(b.leases)
		if err != nil || len(left) != 1 || time.Now().After(deadline) {
			t.Fatalf("leases are %+v, %v; want one that nobody holds", left, err)
		}
		if !left[0].Held {
			break
		}
	}
	if code, stdout, stderr := b.run(t, nil, "clocks", "show"); code != 0 || !strings.Contains(stdout, "left over by process "+strconv.Itoa(holder.Process.Pid)) {
		t.Errorf("show: exit code %d, %q, %q; want the leftover lease", code, stdout, stderr)
	}
	if code, _, stderr := b.run(t, nil, "clocks", "lock", "1410"); code != exitUnavailable || !strings.Contains(stderr, "`genbench clocks reset` gives them back") {
		t.Errorf("lock: exit code %d, %q; want %d and the cure", code, stderr, exitUnavailable)
	}
	if code, stdout, stderr := b.run(t, nil, "clocks", "reset"); code != 0 || !strings.Contains(stdout, "gave back the clocks of Fake GPU (GPU-fake-0)") {
		t.Errorf("reset: exit code %d, %q, %q; want them given back", code, stdout, stderr)
	}
	want := []string{"lock-sm 0 4294967041 4294967041 0", "lock-memory 0 2619 2619 0", "reset-sm 0 0 0 0", "reset-memory 0 0 0 0"}
	if got := b.calls(t); strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("calls are %q, want %q", got, want)
	}
	if left, err := os.ReadDir(b.leases); err != nil || len(left) != 0 {
		t.Errorf("leases are %v, %v; want none", left, err)
	}
	if code, stdout, _ := b.run(t, nil, "clocks", "reset"); code != 0 || !strings.Contains(stdout, "no lease is left over") {
		t.Errorf("second reset: exit code %d, %q", code, stdout)
	}
	if code, _, _ := b.run(t, nil, "clocks", "reset", "--gpus", "GPU-fake-0"); code != 0 || len(b.calls(t)) != len(want)+2 {
		t.Errorf("reset of a named GPU: exit code %d, calls %q; want both clocks given back once more", code, b.calls(t))
	}
}

func TestClocksHeld(t *testing.T) {
	b := newBoard(t)
	holder, _ := b.hold(t, nil, "1410")
	pid := strconv.Itoa(holder.Process.Pid)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"clocks", "lock", "1410"}, exitUnavailable, "process " + pid + " has held them since"},
		{[]string{"clocks", "reset"}, exitUnavailable, "process " + pid + " has held them since"},
		{[]string{"clocks", "show"}, 0, "process " + pid + ": SM clock 1410 MHz"},
	} {
		code, stdout, stderr := b.run(t, nil, c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%v: exit code %d, %q; want %d and %q", c.args, code, stdout+stderr, c.code, c.want)
		}
	}
	if got := b.calls(t); len(got) != 1 {
		t.Errorf("calls are %q, want none but the holder's", got)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	b.givenBack(t) // until then the guardian writes into the test's folder
}

// What can't be locked leaves nothing behind.
func TestClocksRefused(t *testing.T) {
	b := newBoard(t)
	for _, c := range []struct {
		env  string
		args []string
		code int
		want string
	}{
		{"FAKE_NVML_SET_RETURN=4", []string{"1410"}, exitUnavailable, "--cap-add SYS_ADMIN"},
		{"FAKE_NVML_SET_RETURN=15", []string{"1410"}, exitInternal, "gone until it is reset"},
		{"", []string{"1400"}, exitUsage, "1400 MHz is no SM clock of this board: the nearest are 345 and 1410"},
		{"", []string{"9999"}, exitUsage, "the highest is 1980"},
		{"", []string{"1410", "--memory", "2000"}, exitUsage, "2000 MHz is no memory clock of this board: it has 1593,2619"},
		{"FAKE_NVML_ARCHITECTURE=6", []string{"1410", "--memory", "2619"}, exitUsage, "Ampere and newer"},
		{"", []string{"fast"}, exitUsage, `"fast" is not a clock`},
		{"", []string{"-5"}, exitUsage, "unknown shorthand flag"},
		{"", []string{}, exitUsage, "one clock in MHz, or base"},
		{"", []string{"1410", "--gpus", "GPU-other"}, exitUsage, "--gpus GPU-other: the driver shows GPU-fake-0"},
		{"GENBENCH_NVML=/nowhere/libnvidia-ml.so.1", []string{"1410"}, exitUnavailable, "open NVML: looked for /nowhere"},
	} {
		code, _, stderr := b.run(t, []string{c.env}, append([]string{"clocks", "lock"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s %v: exit code %d, %q; want %d and %q", c.env, c.args, code, stderr, c.code, c.want)
		}
		if left, err := os.ReadDir(b.leases); err == nil && len(left) != 0 {
			t.Errorf("%s %v: leases are %v, want none", c.env, c.args, left)
		}
	}
	// A memory clock that is refused takes the SM clock back with it.
	if code, _, _ := b.run(t, []string{"FAKE_NVML_SET_MEMORY_RETURN=3"}, "clocks", "lock", "1410", "--memory", "2619"); code != exitInternal {
		t.Errorf("a refused memory clock: exit code %d, want %d", code, exitInternal)
	}
	b.givenBack(t)
}

// A driver that does not take clocks back leaves the witness, with its words.
func TestClocksNotTakenBack(t *testing.T) {
	b := newBoard(t)
	holder, stderr := b.hold(t, []string{"FAKE_NVML_RESET_RETURN=15"}, "1410")
	if err := holder.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	if code := holder.ProcessState.ExitCode(); code != exitInternal || !strings.Contains(stderr.String(), "give back clocks of GPU GPU-fake-0: nvmlDeviceResetGpuLockedClocks: GPU is lost") {
		t.Errorf("exit code %d, stderr %q; want %d and the driver's words", code, stderr, exitInternal)
	}
	if record := b.lease(t); !strings.Contains(record.Failure, "GPU is lost") {
		t.Errorf("the lease is %+v, want the failure in it", record)
	}
}
