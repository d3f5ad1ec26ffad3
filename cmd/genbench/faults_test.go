package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"genbench/bench"
)

// A process is a `genbench run` that a test does something to.
type process struct {
	*exec.Cmd
	dir    string
	stderr *bufio.Reader
	stdout bytes.Buffer
}

// start begins a run of two fake points that takes about ten seconds, and returns
// when its first round has ended.
func start(t *testing.T, dir string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{dir: dir, Cmd: exec.Command(self)}
	p.Args = []string{"genbench", "run", "--engines", "fake-spin", "--models", "genet-small", "--resolution", "64", "--batches", "1,2", "--max-steal", "1", "--max-foreign", "99", "--out", dir}
	p.Stdout = &p.stdout
	pipe, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stderr = bufio.NewReader(pipe)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill() // a test that failed half-way
			_ = p.Wait()
		}
	})
	p.until(t, "[1/8")
	return p
}

// until reads the progress up to a line that holds text.
func (p *process) until(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := p.stderr.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("progress ended without %q: %v", text, err)
		}
	}
}

// end waits for the process and gives its exit code and the rest of its progress.
func (p *process) end(t *testing.T) (code int, rest string) {
	t.Helper()
	var b strings.Builder
	if _, err := p.stderr.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	err := p.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode(), b.String()
}

// children lists the processes that p started.
func (p *process) children(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(p.Process.Pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func load(t *testing.T, dir string) *bench.Result {
	t.Helper()
	r, err := bench.LoadResult(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func skipShort(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
}

func TestInterrupt(t *testing.T) {
	skipShort(t)
	p := start(t, filepath.Join(t.TempDir(), "run"))
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	code, rest := p.end(t)
	if code != 130 || !strings.Contains(rest, "every finished round is in") {
		t.Errorf("exit code %d, stderr %q; want 130 and where the rounds are", code, rest)
	}
	r := load(t, p.dir)
	if len(r.Log.Rounds) == 0 || r.Log.End == nil || r.Log.End.ExitCode != 130 {
		t.Errorf("%d rounds, end %+v; want the finished rounds and an end with 130", len(r.Log.Rounds), r.Log.End)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "report.md")); err != nil {
		t.Errorf("an interrupted run has no report: %v", err)
	}
}

func TestWorkerKilled(t *testing.T) {
	skipShort(t)
	p := start(t, filepath.Join(t.TempDir(), "run"))
	workers := p.children(t)
	if len(workers) != 1 {
		t.Fatalf("%d workers, want 1", len(workers))
	}
	if err := syscall.Kill(workers[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	code, _ := p.end(t)
	r := load(t, p.dir)
	states := map[bench.State]int{}
	for _, m := range r.Measurements {
		states[m.State]++
		if m.State == bench.Failed && !strings.Contains(m.Reason, "signal: killed") {
			t.Errorf("reason %q, want the signal", m.Reason)
		}
	}
	if code != 5 || states[bench.Failed] != 1 || states[bench.Measured] != 1 {
		t.Errorf("exit code %d, states %v; want 5, one point failed and one measured", code, states)
	}
}

func TestParentKilled(t *testing.T) {
	skipShort(t)
	p := start(t, filepath.Join(t.TempDir(), "run"))
	workers := p.children(t)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.end(t)
	r := load(t, p.dir)
	if len(r.Log.Rounds) == 0 || r.Log.End != nil {
		t.Errorf("%d rounds, end %+v; want the finished rounds and no end", len(r.Log.Rounds), r.Log.End)
	}
	for _, pid := range workers {
		deadline := time.Now().Add(10 * time.Second)
		for syscall.Kill(pid, 0) == nil && !zombie(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("worker %d outlives its parent", pid)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// zombie tells whether a process has ended and waits to be collected, by whom is
// not our affair.
func zombie(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestDiskFull(t *testing.T) {
	skipShort(t)
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("mounting a small disk needs rights: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	p := start(t, filepath.Join(disk, "run"))
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 512)
	for err == nil {
		_, err = filler.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	code, rest := p.end(t)
	if code != 1 || !strings.Contains(rest, "no space left on device; everything before this line is kept") {
		t.Errorf("exit code %d, stderr %q; want 1 and what is kept", code, rest)
	}
	if err := errors.Join(filler.Close(), os.Remove(filler.Name())); err != nil {
		t.Fatal(err)
	}
	if r := load(t, p.dir); len(r.Log.Rounds) == 0 {
		t.Error("no round survived the full disk")
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	var stdout, stderr bytes.Buffer
	code := run([]string{"run", "--engines", "fake-spin", "--models", "genet-small", "--out", filepath.Join(dir, "run")}, strings.NewReader(""), &stdout, &stderr, testDrivers())
	if code != exitUsage || !strings.Contains(stderr.String(), "create result directory") {
		t.Errorf("exit code %d, stderr %q; want %d and the directory", code, stderr.String(), exitUsage)
	}
}
