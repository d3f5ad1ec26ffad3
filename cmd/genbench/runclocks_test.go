package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"genbench/bench"
	"genbench/engines"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/hardware/hardwaretest"
	"genbench/hardware/native"
	"genbench/models"
)

// onGPU is the name by which the test binary is a genbench with the engine
// fake-delay.
const onGPU = "genbench-on-gpu"

// delayDriver is an engine whose inference is a kernel of 1 ms on a GPU, and whose
// outputs are the reference's.
func delayDriver() engines.Driver {
	return engines.Driver{Name: "fake-delay", Doc: "works: 1 ms an inference", Device: hardware.CUDA, Open: func(ctx context.Context, _ hardware.Device) (engines.Engine, error) {
		host, err := hardware.NewHost()
		if err != nil {
			return nil, err
		}
		inner, err := reference.Driver().Open(ctx, host)
		return delayEngine{inner, host}, err
	}}
}

type delayEngine struct {
	engines.Engine // the reference
	host           hardware.Device
}

func (delayEngine) Info() engines.Info { return engines.Info{Name: "fake-delay", Version: "fake"} }

func (e delayEngine) Build(ctx context.Context, n *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	host, err := e.host.NewStream()
	if err != nil {
		return nil, err
	}
	inner, err := e.Engine.Build(ctx, n, host, o)
	if err != nil {
		return nil, err
	}
	delay, err := stream.(*hardware.CUDAStream).NewDelay(time.Millisecond)
	if err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return delaySession{inner, host, delay}, nil
}

type delaySession struct {
	engines.Session // the reference's
	host            hardware.Stream
	delay           *hardware.Delay
}

// SetInput computes the output at once.
func (s delaySession) SetInput(t models.Tensor) error {
	if err := s.Session.SetInput(t); err != nil {
		return err
	}
	return s.host.Time(s.Session.Call(), make([]hardware.Sample, 1))
}

func (s delaySession) Call() native.Call { return s.delay.Call() }

func (s delaySession) Close() error {
	s.delay.Free()
	return errors.Join(s.Session.Close(), s.host.Close())
}

const clocksSuite = `
name: clocks
grid: {models: [mobilenetv3-small], engines: [fake-delay], precisions: [fp32], batches: [1], resolution: 32, graph: [eager], cache: [hot]}
seed: 3
protocol: {launches: 2, rounds: 1, round_samples: 20, round_time: 10ms, warmup_time: 20ms, window_samples: 5, window_time: 5ms, steady_cap: 0s, settle: 0s, settle_again: 0s, clock_probe: 60ms, drop_steal: 1, drop_foreign_cores: 99}
`

// gpuRun is `genbench run` on a double of a GPU whose NVML is the board's, at 1410 MHz
// and without a limit unless env says otherwise.
func (b *board) gpuRun(t *testing.T, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	suite := filepath.Join(t.TempDir(), "clocks.yaml")
	if err := os.WriteFile(suite, []byte(clocksSuite), 0o644); err != nil {
		t.Fatal(err)
	}
	env = append([]string{
		hardware.CUDAEnv + "=" + hardwaretest.FakeCUDA(t), "FAKE_NVML_UUID=GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00", "FAKE_NVML_REASONS=0",
		"TMPDIR=" + t.TempDir(),
		// Only a worker may have a context, which it needs alone.
		"FAKE_CUDA_EXCLUSIVE=" + filepath.Join(t.TempDir(), "board"),
	}, env...)
	c := b.command(t, env, append([]string{"run", "--device", "0", "--suite", suite, "--out", dir}, args...)...)
	c.Args[0] = onGPU
	return c
}

// `genbench run` finds a clock, holds it while it measures, and gives it back.
func TestRunHoldsClocks(t *testing.T) {
	for i, c := range []struct {
		name    string
		env     []string
		args    []string
		calls   []string
		setting string
		words   []string // of the table
	}{
		{
			// The double runs at 1410 MHz whatever it is told, so of its clocks, 345,
			// 1410 and 1980 MHz, that is the one it holds.
			name: "auto", calls: []string{"lock-sm 0 1980 1980 0", "reset-sm 0 0 0 0", "lock-sm 0 1410 1410 0", "reset-sm 0 0 0 0"},
			setting: "locked at 1410 MHz", words: []string{"clocks: asked for auto; locked at 1410 MHz", "held within 1 % in 2 of 2 rounds"},
		},
		{
			name: "no rights", env: []string{"FAKE_NVML_SET_RETURN=4"}, calls: []string{"lock-sm 0 1980 1980 4"},
			setting: "floating", words: []string{"floating_clocks", "setting clocks needs root"},
		},
		{
			name: "not held", env: []string{"FAKE_CUDA_MHZ=1300"}, args: []string{"--clocks", "lock:1410"}, calls: []string{"lock-sm 0 1410 1410 0", "reset-sm 0 0 0 0"},
			setting: "locked at 1410 MHz", words: []string{"clock_not_held", "clocks: asked for lock:1410; locked at 1410 MHz (it was asked for); held within 1 % in 0 of 2 rounds, by the GPU's cycle counters against its timer under load (1300 to 1300 MHz)"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && i > 0 {
				t.Skip("the rest is simulated in package bench")
			}
			t.Parallel() // most of a run this short is watching the machine at rest
			b := newBoard(t)
			dir := filepath.Join(t.TempDir(), "run")
			out, err := b.gpuRun(t, dir, c.env, c.args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := b.calls(t); !slices.Equal(got, c.calls) {
				t.Errorf("calls are %q, want %q", got, c.calls)
			}
			if left, err := os.ReadDir(b.leases); err == nil && len(left) != 0 {
				t.Errorf("leases are %v, want none", left)
			}
			flat := strings.Join(strings.Fields(string(out)), " ")
			for _, word := range c.words {
				if !strings.Contains(flat, word) {
					t.Errorf("no %q in\n%s", word, out)
				}
			}
			r, err := bench.LoadResult(dir)
			if err != nil || r.Log.ClockSetting() != c.setting {
				t.Fatalf("%v, clocks %q, want %q", err, r.Log.ClockSetting(), c.setting)
			}
			for _, round := range r.Log.Rounds {
				if round.ClockMHz == nil {
					t.Errorf("a round without its clock: %s", round.ClockReason)
				}
			}
		})
	}
}

// A run that is killed leaves no clock locked (C4).
func TestRunKilledGivesClocksBack(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	c := b.gpuRun(t, filepath.Join(t.TempDir(), "run"), nil, "--clocks", "lock:1410", "--launches", "50")
	pipe, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	for lines := bufio.NewScanner(pipe); lines.Scan() && !strings.Contains(lines.Text(), "[ 1/50"); {
		fmt.Fprintln(&said, lines.Text())
	}
	if got := b.calls(t); len(got) != 1 || got[0] != "lock-sm 0 1410 1410 0" {
		t.Errorf("calls are %q, want one lock\n%s", got, &said)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if status := c.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("it ended by itself: %v", c.ProcessState)
	}
	b.givenBack(t)
}

// A gate measures all of its launches under the clock that its warm-up found.
func TestGateFixesClocks(t *testing.T) {
	log := func(settings ...int) *bench.Log {
		l := &bench.Log{}
		for _, mhz := range settings {
			l.Clocks = append(l.Clocks, bench.ClocksRecord{LockMHz: mhz})
		}
		return l
	}
	for _, c := range []struct {
		name   string
		common []string
		pilots [2]*bench.Log
		want   []string
		again  bool // whether the pilots are run again
	}{
		{"a host", nil, [2]*bench.Log{log(), log()}, nil, false},
		{"the lower one", nil, [2]*bench.Log{log(1425, 1410), log(1425)}, []string{"--clocks", "lock:1410"}, true},
		{"the same", nil, [2]*bench.Log{log(1425, 1410), log(1410)}, []string{"--clocks", "lock:1410"}, false},
		{"one floats", nil, [2]*bench.Log{log(1410), log(1410, 0)}, []string{"--clocks", "float"}, true},
		{"a version without the flag", nil, [2]*bench.Log{log(), log(1410)}, nil, false},
		{"asked for", []string{"--clocks=lock:1395"}, [2]*bench.Log{log(1395), log(1395)}, []string{"--clocks=lock:1395"}, false},
	} {
		d := &duel{common: c.common, pilots: [2]pilot{{log: c.pilots[0]}, {log: c.pilots[1]}}}
		if again := d.fixClocks(); !slices.Equal(d.common, c.want) || again != c.again {
			t.Errorf("%s: %q, again %v; want %q, %v", c.name, d.common, again, c.want, c.again)
		}
	}
}

// A clock that cannot be had is refused before anything is written.
func TestRunRefusesClocks(t *testing.T) {
	b := newBoard(t)
	holder, _ := b.hold(t, []string{"FAKE_NVML_UUID=GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00"}, "345")
	locked := filepath.Join(t.TempDir(), "locked.yaml")
	if err := os.WriteFile(locked, []byte(clocksSuite+"clocks: lock:1410\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env  []string
		args []string
		code int
		want string
	}{
		{nil, []string{"--clocks", "fast"}, exitUsage, `--clocks: "fast" is not a clock policy`},
		{nil, []string{"--clocks", "lock:1400"}, exitUsage, "1400 MHz is no SM clock of this board: the nearest are 345 and 1410"},
		{nil, []string{"--clocks", "lock:1410"}, exitUnavailable, fmt.Sprintf("process %d has held them", holder.Process.Pid)},
		{nil, []string{"--clocks", "auto", "--device", "host", "--engines", "fake-spin"}, exitUsage, "--clocks: the device is a host"},
		{nil, []string{"--suite", locked}, exitUnavailable, fmt.Sprintf("process %d has held them", holder.Process.Pid)},
		{nil, []string{"--suite", locked, "--device", "host"}, exitUsage, "suite clocks: clocks: the device is a host"},
		{nil, []string{"--suite", locked, "--clocks", "lock:1400"}, exitUsage, "1400 MHz is no SM clock of this board"},
		{[]string{"FAKE_NVML_UUID=GPU-other"}, []string{"--clocks", "lock:base"}, exitUnavailable, "shows no GPU GPU-a0a1"},
		{[]string{nvmlVariable + "=/nowhere/libnvidia-ml.so.1"}, []string{"--clocks", "lock:1410"}, exitUnavailable, "looked for /nowhere"},
	} {
		dir := filepath.Join(t.TempDir(), "run")
		run := b.gpuRun(t, dir, c.env, c.args...)
		out, _ := run.CombinedOutput()
		if code := run.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%v %v: exit code %d, %q; want %d and %q", c.env, c.args, code, out, c.code, c.want)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%v: a directory was made", c.args)
		}
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	b.givenBack(t)
}
