package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"genbench/bench"
	"genbench/hardware/hardwaretest"
)

// A process is a `genbench run` that a test does something to.
type process struct {
	*exec.Cmd
	dir    string
	stderr *bufio.Reader
	stdout bytes.Buffer
}

// faultSuite is two fake points, two launches of two rounds: some four seconds.
const faultSuite = `
name: faults
grid: {models: [genet-small], engines: [fake-spin], precisions: [fp32], batches: [1, 2], resolution: 64}
seed: 3
protocol: {launches: 2, rounds: 2, round_time: 200ms, warmup_time: 20ms, window_time: 5ms, steady_cap: 0s, settle: 0s, drop_steal: 1, drop_foreign_cores: 99}
`

// faultVisits is how many rounds it owes.
const faultVisits = 8

// start begins a run of faultSuite with a place for locks of its own, and returns
// when its first round has ended.
func start(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	return startOn(t, "fake-spin", dir, env...)
}

// startOn is start with another engine.
func startOn(t *testing.T, engine, dir string, env ...string) *process {
	t.Helper()
	runtime := t.TempDir()
	suite := filepath.Join(runtime, "faults.yaml")
	if err := os.WriteFile(suite, []byte(strings.ReplaceAll(faultSuite, "fake-spin", engine)), 0o644); err != nil {
		t.Fatal(err)
	}
	p := begin(t, append(env, "TMPDIR="+runtime), "run", "--suite", suite, "--out", dir)
	p.dir = dir
	p.until(t, "[1/8")
	return p
}

// begin starts genbench with arguments and additions to the environment.
func begin(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self)}
	p.Args = append([]string{"genbench"}, args...)
	p.Env = append(os.Environ(), env...)
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
	return p
}

// runtimeDir is the entry of the environment that tells where a process locks.
func (p *process) runtimeDir() string {
	for _, e := range slices.Backward(p.Env) { // of two the last counts
		if strings.HasPrefix(e, "TMPDIR=") {
			return e
		}
	}
	return ""
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
		t.Skip("takes seconds")
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

	// What was killed goes on where it was, and every visit is made once.
	kept, err := os.ReadFile(filepath.Join(p.dir, bench.JournalName))
	if err != nil {
		t.Fatal(err)
	}
	kept = kept[:bytes.LastIndexByte(kept, '\n')+1]
	again := begin(t, []string{p.runtimeDir()}, "run", "--resume", p.dir)
	if code, rest := again.end(t); code != 0 {
		t.Fatalf("resumed: exit code %d, %s", code, rest)
	}
	whole, err := os.ReadFile(filepath.Join(p.dir, bench.JournalName))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(whole, kept) {
		t.Error("resuming changed what was written")
	}
	visits := map[string]int{}
	r = load(t, p.dir)
	for _, round := range r.Log.Rounds {
		visits[fmt.Sprint(round.ID, round.Launch, round.Round)]++
	}
	if len(visits) != faultVisits || len(r.Log.Rounds) != faultVisits || !r.Log.Finished() {
		t.Errorf("%d rounds of %d visits, end %+v; want %d of each", len(r.Log.Rounds), len(visits), r.Log.End, faultVisits)
	}
}

// Two runs on one device would measure each other. The lock goes with its holder.
func TestTwoRunsOnOneDevice(t *testing.T) {
	skipShort(t)
	p := start(t, filepath.Join(t.TempDir(), "run"))
	other := filepath.Join(t.TempDir(), "other")
	second := begin(t, []string{p.runtimeDir()}, "run", "--engines", "fake-spin", "--models", "genet-small", "--resolution", "64", "--batches", "1", "--out", other)
	code, rest := second.end(t)
	if code != exitUnavailable || !strings.Contains(rest, fmt.Sprintf("process %d has been measuring on it since ", p.Process.Pid)) || !strings.Contains(rest, p.dir) {
		t.Errorf("exit code %d, %q; want 3, and who holds the device", code, rest)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("a run that was refused left a directory")
	}
	// A third is patient, and says whom it waits for.
	third := begin(t, []string{p.runtimeDir()}, "run", "--wait", "1m", "--engines", "fake-spin", "--models", "genet-small", "--resolution", "64", "--batches", "1", "--out", other)
	third.until(t, fmt.Sprintf("for device host: process %d has been measuring on it since ", p.Process.Pid))
	// So is a run that is made again: here from a copy of what stands in the journal.
	kept, err := os.ReadFile(filepath.Join(p.dir, bench.JournalName))
	if err != nil {
		t.Fatal(err)
	}
	begun := t.TempDir()
	if err := os.WriteFile(filepath.Join(begun, bench.JournalName), kept[:bytes.LastIndexByte(kept, '\n')+1], 0o644); err != nil {
		t.Fatal(err)
	}
	replay := begin(t, []string{p.runtimeDir()}, "replay", begun, "--wait", "1m", "--out", filepath.Join(t.TempDir(), "again"))
	replay.until(t, fmt.Sprintf("for device host: process %d has been measuring on it since ", p.Process.Pid))
	if err := replay.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code, rest := replay.end(t); code != exitInterrupted || !strings.Contains(rest, "before anything was measured") {
		t.Errorf("replay: exit code %d, %q; want 130", code, rest)
	}
	// Nor may it be resumed while it runs.
	if code, rest := begin(t, []string{p.runtimeDir()}, "run", "--resume", p.dir).end(t); code != exitUnavailable {
		t.Errorf("resumed while it runs: exit code %d, %q", code, rest)
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.end(t)
	// It makes its journal when the device is its own.
	deadline := time.Now().Add(10 * time.Second)
	for _, err := os.Stat(filepath.Join(other, bench.JournalName)); err != nil; _, err = os.Stat(filepath.Join(other, bench.JournalName)) {
		if time.Now().After(deadline) {
			t.Fatal("the run that waited did not get the device")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := third.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code, rest := third.end(t); code != exitInterrupted {
		t.Errorf("exit code %d, %s", code, rest)
	}
}

// A run that waits for others to leave the machine alone can be told to stop waiting,
// and leaves nothing behind.
func TestWaitForQuiet(t *testing.T) {
	skipShort(t)
	busy := exec.Command("sh", "-c", "while :; do :; done")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = busy.Process.Kill()
		_ = busy.Wait() // it was killed
	})
	dir := filepath.Join(t.TempDir(), "run")
	p := begin(t, []string{"TMPDIR=" + t.TempDir()}, "run", "--wait", "1m", "--engines", "fake-spin", "--models", "genet-small", "--resolution", "64", "--out", dir)
	p.until(t, "for a quiet machine: other processes kept ")
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code, rest := p.end(t); code != exitInterrupted || !strings.Contains(rest, "before anything was measured") {
		t.Errorf("exit code %d, %q; want 130", code, rest)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a run that did not come about left a directory")
	}
}

// The clock goes backwards while a round is timed: the round is dropped with that for
// its reason and taken again, and the run goes on. The clock is the C library's, which
// the timed loop reads; of the engines here only the reference does not read it too.
func TestClockRunsBackwards(t *testing.T) {
	skipShort(t)
	clock := filepath.Join(t.TempDir(), "clock.so")
	compiler := cmp.Or(os.Getenv("CC"), "cc")
	if out, err := exec.Command(compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", clock, filepath.Join("testdata", "clock.c")).CombinedOutput(); err != nil {
		t.Fatalf("compile the clock: %v\n%s", err, out)
	}
	back := filepath.Join(t.TempDir(), "back")
	p := startOn(t, "reference", filepath.Join(t.TempDir(), "run"), "LD_PRELOAD="+clock, "FAKE_CLOCK_BACK="+back)
	if err := os.WriteFile(back, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.until(t, "the clock went backwards")
	if err := os.Remove(back); err != nil {
		t.Fatal(err)
	}
	if code, rest := p.end(t); code != 0 {
		t.Fatalf("exit code %d, %s", code, rest)
	}
	dropped := 0
	for _, m := range load(t, p.dir).Measurements {
		if kept := len(m.Rounds) - m.Dropped(); m.State != bench.Measured || kept != faultVisits/2 {
			t.Errorf("%s: %s %q with %d rounds, want all of its visits", m.Point, m.State, m.Reason, kept)
		}
		for _, r := range m.Rounds {
			if r.Status == bench.Dropped {
				dropped++
				if !slices.Contains(r.Disturbances, bench.BadClock) || !strings.Contains(r.DropReason, "the clock went backwards: sample ") {
					t.Errorf("dropped for %q, %v", r.DropReason, r.Disturbances)
				}
			}
		}
	}
	if dropped == 0 {
		t.Error("no dropped round is in the journal")
	}
}

// The driver's counters vanish or hang while the host is measured: what is missing
// is said, and the run ends as it should.
func TestCountersVanish(t *testing.T) {
	skipShort(t)
	for _, c := range []struct{ how, want string }{
		{"15", "GPU is lost"},
		{"hang", "did not answer within"},
	} {
		t.Run(c.how, func(t *testing.T) {
			later := filepath.Join(t.TempDir(), "later")
			p := start(t, filepath.Join(t.TempDir(), "run"), nvmlVariable+"="+hardwaretest.FakeNVML(t), "FAKE_NVML_LATER="+later)
			if err := os.WriteFile(later, []byte(c.how), 0o644); err != nil {
				t.Fatal(err)
			}
			code, rest := p.end(t)
			if code != 0 {
				t.Fatalf("exit code %d, %s", code, rest)
			}
			r := load(t, p.dir)
			if len(r.Log.Rounds) != faultVisits {
				t.Errorf("%d rounds, want %d", len(r.Log.Rounds), faultVisits)
			}
			missing := 0
			for _, reading := range r.Log.Readings {
				if reading.Device == "GPU-fake-0" && strings.Contains(reading.Missing, c.want) {
					missing++
				}
			}
			if missing != 1 {
				t.Errorf("%d readings say %q, want 1 for the whole time", missing, c.want)
			}
		})
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
	if r := load(t, p.dir); len(r.Log.Rounds) == 0 || r.Log.Finished() {
		t.Errorf("%d rounds survived the full disk, the end is %+v", len(r.Log.Rounds), r.Log.End)
	}
	if code, rest := begin(t, []string{p.runtimeDir()}, "run", "--resume", p.dir).end(t); code != 0 {
		t.Fatalf("resumed with room on the disk: exit code %d, %s", code, rest)
	}
	if r := load(t, p.dir); len(r.Log.Rounds) != faultVisits || !r.Log.Finished() {
		t.Errorf("resumed, %d rounds of %d, the end is %+v", len(r.Log.Rounds), faultVisits, r.Log.End)
	}
}

// A run that cannot even write down what it is leaves nothing behind: the next try finds
// its directory free.
func TestUnwrittenRunLeavesNothing(t *testing.T) {
	skipShort(t)
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4k"); err != nil {
		t.Skipf("mounting a small disk needs rights: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(disk, "filler"), make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(disk, "run")
	p := begin(t, []string{"TMPDIR=" + t.TempDir()}, "run", "--engines", "fake-spin", "--models", "genet-small", "--resolution", "64", "--out", dir)
	if code, rest := p.end(t); code != exitInternal || !strings.Contains(rest, "no space left on device") {
		t.Errorf("exit code %d, %q; want the full disk", code, rest)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("what it had made is left: %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
			t.Skipf("mounting a read-only disk needs rights: %v", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		runBelow(t, dir)
	})
	t.Run("no directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		runBelow(t, file)
	})
}

// runBelow has a run fail to make its directory.
func runBelow(t *testing.T, dir string) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var stdout, stderr bytes.Buffer
	code := run([]string{"run", "--engines", "fake-spin", "--models", "genet-small", "--out", filepath.Join(dir, "run")}, strings.NewReader(""), &stdout, &stderr, testDrivers())
	if code != exitUsage || !strings.Contains(stderr.String(), "create result directory") {
		t.Errorf("exit code %d, stderr %q; want %d and the directory", code, stderr.String(), exitUsage)
	}
}
