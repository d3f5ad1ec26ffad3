package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/engines"
	"genbench/hardware"
)

// truthName is the hidden command that tests one engine in a process of its own:
// a vendor's library may crash, hang, or print.
const truthName = "truth"

// truthPipe is the file descriptor on which that command answers.
const truthPipe = 3

// truthLimit is how long an engine may take: an honest one on a host takes two seconds,
// one that searches its kernels on a GPU minutes, as long as a build may.
func truthLimit(kind hardware.DeviceKind) time.Duration {
	if kind == hardware.Host {
		return 30 * time.Second
	}
	return 10 * time.Minute
}

// truthGrace is how long a test that was killed may take to end.
const truthGrace = 5 * time.Second

// A selfTest is what the command finds.
type selfTest struct {
	hardware.SelfTest
	Engines []engineTest `json:"engines"`
}

// An engineTest is the truth of one engine, or why there is none.
type engineTest struct {
	Engine      string             `json:"engine"`
	Truth       *bench.EngineTruth `json:"truth,omitempty"`
	Unavailable string             `json:"unavailable,omitempty"`
	Failed      string             `json:"failed,omitempty"`
}

// lacking is the error for engines that were asked for and are not here.
func (t selfTest) lacking() error {
	var problems []error
	for _, e := range t.Engines {
		if e.Unavailable != "" {
			problems = append(problems, errors.New(e.Unavailable))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return &exitError{exitUnavailable, errors.Join(problems...)}
}

// passed is false only for an engine that is here and not as it should be.
func (t engineTest) passed() bool {
	return t.Unavailable != "" || t.Truth != nil && t.Truth.Passed
}

func (a *app) selftestCommand() *cobra.Command {
	var asJSON bool
	var names []string
	var telemetry bool
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Let the instrument measure itself: its clock, its loop, and calls of known length through every engine",
		Args:  exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			named := len(names) > 0
			if !named {
				for _, d := range a.drivers {
					names = append(names, d.Name)
				}
			}
			for _, name := range names {
				if _, err := knownEngine(a.drivers, name); err != nil {
					return usage(err)
				}
			}
			test, err := a.selfTest(ctx, names, telemetry)
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(a.stdout, test)
			} else {
				err = a.writeSelfTest(test)
			}
			if err == nil && !test.Passed {
				return &exitError{exitInvalid, fmt.Errorf("the instrument is off by more than its limits on this machine; `genbench doctor` says what disturbs it")}
			}
			if err == nil && named {
				err = test.lacking()
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&telemetry, "telemetry", true, "measure what reading counters does to what is timed meanwhile, in 3 to 20 s")
	cmd.Flags().StringSliceVar(&names, "engines", nil, "engines to test (default: all that are available)")
	return cmd
}

func (a *app) selfTest(ctx context.Context, names []string, telemetry bool) (selfTest, error) {
	device, err := hardware.NewHost()
	if err != nil {
		return selfTest{}, err
	}
	defer device.Close()
	stream, err := device.NewStream()
	if err != nil {
		return selfTest{}, err
	}
	defer stream.Close()
	var test selfTest
	var samplers []hardware.Sampler
	closeSamplers := func() error { return nil }
	if telemetry {
		if samplers, closeSamplers, err = openSamplers(); err != nil {
			return selfTest{}, err
		}
	}
	test.SelfTest, err = hardware.RunSelfTest(ctx, stream, samplers...)
	if err := errors.Join(err, closeSamplers()); err != nil {
		return selfTest{}, err
	}
	start := time.Now()
	for _, name := range names {
		driver, err := knownEngine(a.drivers, name)
		if err != nil {
			return selfTest{}, err
		}
		t, err := testEngine(ctx, name, truthLimit(driver.Device))
		if err != nil {
			return selfTest{}, err
		}
		test.Engines = append(test.Engines, t)
		test.Passed = test.Passed && t.passed()
	}
	test.Seconds += time.Since(start).Seconds()
	return test, nil
}

// testEngine starts this program again to test one engine. The error is for what is not
// the engine's fault. A process that cannot be killed, because it waits inside a device's
// driver, is left behind.
func testEngine(ctx context.Context, name string, limit time.Duration) (engineTest, error) {
	self, err := os.Executable()
	if err != nil {
		return engineTest{}, fmt.Errorf("find own binary to test %s: %w", name, err)
	}
	answer, theirs, err := os.Pipe()
	if err != nil {
		return engineTest{}, fmt.Errorf("test %s: %w", name, err)
	}
	defer answer.Close()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	deadline, _ := limited.Deadline()
	// What was killed and does not end keeps its end of the pipe open.
	giveUp := context.AfterFunc(limited, func() { _ = answer.SetReadDeadline(time.Now().Add(truthGrace)) })
	defer giveUp()
	cmd := exec.CommandContext(limited, self, truthName, name)
	cmd.Args[0] = os.Args[0] // the name that this one was called by
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.ExtraFiles = []*os.File{theirs} // becomes truthPipe
	cmd.WaitDelay = time.Second
	// A group of its own, so that a kill reaches what an engine may have started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return engineTest{}, fmt.Errorf("test %s: %w", name, err)
	}
	text, readErr := io.ReadAll(answer)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var waitErr error
	select {
	case waitErr = <-ended: // which may take as long as its libraries take to unload
	case <-time.After(time.Until(deadline) + truthGrace):
		// Its log is still being written to.
		return engineTest{Engine: name, Failed: fmt.Sprintf("hung: no answer for %v, and it cannot be killed: it waits inside the system", limit)}, ctx.Err()
	}
	if ctx.Err() != nil {
		return engineTest{}, ctx.Err()
	}
	var t engineTest
	switch {
	case limited.Err() != nil:
		t = engineTest{Engine: name, Failed: fmt.Sprintf("hung: no answer for %v", limit)}
	case readErr != nil:
		return engineTest{}, fmt.Errorf("test %s: %w", name, readErr)
	case json.Unmarshal(text, &t) != nil:
		t = engineTest{Engine: name, Failed: fmt.Sprintf("its process died (%v): %s", waitErr, firstLine(log.String()))}
	}
	return t, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

func (a *app) truthCommand() *cobra.Command {
	return &cobra.Command{
		Use:    truthName + " ENGINE",
		Short:  "Test one engine for `genbench selftest`, which starts this itself",
		Hidden: true,
		Args:   exactArgs(1, "an engine"),
		RunE: func(cmd *cobra.Command, args []string) error {
			driver, err := knownEngine(a.drivers, args[0])
			if err != nil {
				return usage(err)
			}
			// What an engine starts must not hold the pipe open when this has ended.
			syscall.CloseOnExec(truthPipe)
			t, err := truthOf(cmd.Context(), driver)
			if err != nil {
				t.Failed = err.Error()
			}
			pipe := os.NewFile(truthPipe, "pipe for the answer")
			defer pipe.Close()
			return json.NewEncoder(pipe).Encode(t)
		},
	}
}

// truthOf tests an engine on the first device of its kind.
func truthOf(ctx context.Context, driver engines.Driver) (engineTest, error) {
	t := engineTest{Engine: driver.Name}
	device, err := firstDevice(driver.Device)
	if err != nil {
		t.Unavailable = err.Error()
		return t, nil
	}
	defer device.Close()
	engine, err := driver.Open(ctx, device)
	if err != nil {
		var missing *engines.UnavailableError
		if errors.As(err, &missing) {
			t.Unavailable = err.Error()
			return t, nil
		}
		return t, err
	}
	defer engine.Close()
	stream, err := device.NewStream()
	if err != nil {
		return t, err
	}
	defer stream.Close()
	truth, err := bench.TestTruth(ctx, engine, device, stream)
	if err != nil {
		return t, err
	}
	t.Truth = &truth
	return t, nil
}

func (a *app) writeSelfTest(t selfTest) error {
	var rows [][]string
	row := func(name string, c hardware.SelfCheck) {
		rows = append(rows, []string{outcome(c), name, fmt.Sprintf("%.4g", c.Value), fmt.Sprintf("%.4g", c.Limit), c.Unit})
	}
	for _, c := range t.Checks {
		row(c.Name, c)
	}
	checks := sheet{header: []string{"", "check", "value", "limit", "unit"}, rows: rows, numbers: 2}
	if err := checks.print(a.stdout, a.width(), "check"); err != nil {
		return err
	}

	a.writeTelemetryTest(t.Telemetry)
	fmt.Fprintf(a.stdout, "\nengines: does time go where the loop reads it?\n\n")
	rows = nil
	var notes []string
	for _, e := range t.Engines {
		if e.Unavailable != "" {
			continue // `genbench list engines` has the reason
		}
		if e.Failed != "" {
			rows = append(rows, []string{word(false), e.Engine, "–", "–", "–", "–"})
			notes = append(notes, fmt.Sprintf("%s: %s", e.Engine, e.Failed))
			continue
		}
		rows = append(rows, []string{
			word(e.Truth.Passed), e.Engine, e.Truth.Version, fmt.Sprint(e.Truth.Inferences),
			time.Duration(e.Truth.ShortNS).Round(time.Microsecond).String(), fmt.Sprintf("%.3f", e.Truth.Ratio),
		})
		for _, c := range e.Truth.Checks {
			if !c.Passed {
				notes = append(notes, fmt.Sprintf("%s: %s: %.4g %s, limit %.4g", e.Engine, c.Name, c.Value, c.Unit, c.Limit))
			}
		}
	}
	truths := sheet{header: []string{"", "engine", "version", "inferences", "fastest", "twice the work takes"}, rows: rows, numbers: 3}
	if err := truths.print(a.stdout, a.width(), "", "version"); err != nil {
		return err
	}
	for _, note := range notes {
		fmt.Fprintln(a.stdout, note)
	}

	fmt.Fprintf(a.stdout, "\nwhy the loop is in C: what reading Go's clock around the same call adds\n\n")
	rows = nil
	for _, g := range t.GoTiming {
		rows = append(rows, []string{
			time.Duration(g.SpinNS).String(), time.Duration(g.Added.MedianNS).String(), time.Duration(g.Added.P99NS).String(), fmt.Sprint(g.Added.Samples),
		})
	}
	return table(a.stdout, []string{"call", "median", "p99", "samples"}, rows, nil, 0)
}

// outcome of a check in a word.
func outcome(c hardware.SelfCheck) string {
	if c.Undecided {
		return "undecided"
	}
	return word(c.Passed)
}

// writeTelemetryTest says what readings do to what is timed beside them.
func (a *app) writeTelemetryTest(t *hardware.TelemetryTest) {
	if t == nil {
		return
	}
	percent := func(s hardware.Shift) string {
		return fmt.Sprintf("%.3f [%.3f, %.3f] %%", 100*s.Value, 100*s.Low, 100*s.High)
	}
	fmt.Fprintf(a.stdout, "\nreadings beside calls of %v: one takes %v; ten a second move the median by %s, the p99 by %s (99 %% intervals, %d pairs)\n",
		time.Duration(t.WorkNS), time.Duration(t.ReadingNS).Round(time.Microsecond), percent(t.Median), percent(t.P99), t.Pairs)
}

func word(passed bool) string {
	if passed {
		return "ok"
	}
	return "FAIL"
}
