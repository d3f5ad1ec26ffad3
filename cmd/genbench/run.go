package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
	"genbench/reports"
)

// runFlags are the flags of `genbench run` as given.
type runFlags struct {
	suite      string
	models     []string
	engines    []string
	batches    []int
	precisions []string
	resolution int
	profile    string
	seed       uint64
	threads    int
	launches   int
	timeout    time.Duration
	maxSteal   float64
	maxForeign float64
	out        string
	dryRun     bool
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	usual := bench.HostProtocol()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Measure networks, print a table and write a report with pictures",
		Example: "  genbench run\n" +
			"  genbench run --models genet-large,resnet-50 --batches 1,8 --threads 2\n" +
			"  genbench run --dry-run",
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			seeded := cmd.Flags().Changed("seed")
			return a.measure(cmd.Context(), f, seeded)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.suite, "suite", "default", "grid to start from, see genbench list suites")
	flags.StringSliceVar(&f.models, "models", nil, "networks instead of the suite's")
	flags.StringSliceVar(&f.engines, "engines", nil, "engines (default: every one available but the reference)")
	flags.IntSliceVar(&f.batches, "batches", nil, "images per inference instead of the suite's")
	flags.StringSliceVar(&f.precisions, "precisions", nil, "element types of compute instead of the suite's")
	flags.IntVar(&f.resolution, "resolution", 0, "input height and width (default: each network's own)")
	flags.StringVar(&f.profile, "profile", "quick", "how often everything is replicated, see genbench list profiles")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the random order (default: drawn, and recorded)")
	flags.IntVar(&f.threads, "threads", 0, "host threads an inference may use (default: all usable processors)")
	flags.IntVar(&f.launches, "launches", 0, "fresh processes that each visit every point (default: the profile's)")
	flags.DurationVar(&f.timeout, "timeout", usual.Watchdog, "silence after which a worker is taken for hung")
	flags.Float64Var(&f.maxSteal, "max-steal", usual.DropSteal, "drop a round when a hypervisor took more than this fraction of the machine")
	flags.Float64Var(&f.maxForeign, "max-foreign", usual.DropForeign, "drop a round when other processes used more than this many cores")
	flags.StringVar(&f.out, "out", "", "directory for the result (default: genbench-DATE-TIME)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print points, skips with reasons, and planned seconds")
	complete := func(flag string, names func() []string) {
		err := cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return names(), cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil {
			panic(err) // the flag is one of those above
		}
	}
	complete("models", func() []string { names, _ := completeModels(nil, nil, ""); return names })
	complete("engines", func() []string {
		var names []string
		for _, d := range a.drivers {
			names = append(names, d.Name)
		}
		return names
	})
	return cmd
}

// measure carries out `genbench run`.
func (a *app) measure(ctx context.Context, f runFlags, seeded bool) error {
	started := time.Now()
	device, err := hardware.NewHost()
	if err != nil {
		return err
	}
	defer device.Close()
	config, err := a.config(f, seeded, device.Info())
	if err != nil {
		return usage(err)
	}
	plan, err := a.plan(ctx, config, device, len(f.engines) > 0)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.printPlan(plan)
	}
	if plan.Measurable() == 0 {
		if err := a.printPlan(plan); err != nil {
			return err
		}
		return &exitError{exitUnavailable, errors.New("nothing to measure: every point is skipped; `genbench doctor` says what is missing")}
	}
	dir := f.out
	if dir == "" {
		dir = "genbench-" + started.UTC().Format("20060102-150405")
	}
	return a.carryOut(ctx, plan, device, dir, started)
}

// config resolves flags into what is asked for: the suite's grid with every axis
// that a flag names replaced.
func (a *app) config(f runFlags, seeded bool, device hardware.Info) (bench.Config, error) {
	var c bench.Config
	suite, err := bench.SuiteNamed(f.suite)
	if err != nil {
		return c, unknown("suite", f.suite, suiteNames(), "genbench list suites")
	}
	protocol, err := bench.NewProtocol(f.profile)
	if err != nil {
		return c, unknown("profile", f.profile, profileNames(), "genbench list profiles")
	}
	c = bench.Config{Suite: suite.Name, Grid: suite.Grid, Protocol: protocol, Seed: f.seed, Threads: f.threads}
	if f.models != nil {
		c.Grid.Models = f.models
	}
	if f.precisions != nil {
		c.Grid.Precisions = f.precisions
	}
	if f.batches != nil {
		c.Grid.Batches = f.batches
	}
	c.Grid.Resolution = f.resolution
	c.Grid.Engines = f.engines
	if f.launches != 0 {
		c.Protocol.Launches = f.launches
	}
	c.Protocol.Watchdog, c.Protocol.DropSteal, c.Protocol.DropForeign = f.timeout, f.maxSteal, f.maxForeign
	if c.Threads == 0 {
		c.Threads = device.Cores
	}
	if !seeded {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return c, err
		}
		c.Seed = uint64(binary.LittleEndian.Uint32(b[:])) // short enough to retype
	}
	return c, a.checkConfig(&c)
}

// checkConfig finds everything that is wrong with a config at once.
func (a *app) checkConfig(c *bench.Config) error {
	var problems []error
	once := func(axis string, values []string) []string {
		seen := map[string]bool{}
		var unique []string
		for _, v := range values {
			if v = strings.TrimSpace(v); v != "" && !seen[v] {
				seen[v] = true
				unique = append(unique, v)
			}
		}
		if len(unique) == 0 && axis != "engines" {
			problems = append(problems, fmt.Errorf("--%s names nothing", axis))
		}
		return unique
	}
	c.Grid.Models = once("models", c.Grid.Models)
	c.Grid.Precisions = once("precisions", c.Grid.Precisions)
	c.Grid.Engines = once("engines", c.Grid.Engines)
	for i, name := range c.Grid.Models {
		n, err := models.New(name, c.Grid.Resolution)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		c.Grid.Models[i] = n.Name // an alias becomes the name it stands for
	}
	c.Grid.Models = once("models", c.Grid.Models)
	for _, name := range c.Grid.Precisions {
		if err := knownPrecision(name); err != nil {
			problems = append(problems, err)
		}
	}
	for _, name := range c.Grid.Engines {
		if _, err := knownEngine(a.drivers, name); err != nil {
			problems = append(problems, err)
		}
	}
	if len(c.Grid.Batches) == 0 {
		problems = append(problems, errors.New("--batches names nothing"))
	}
	seen := map[int]bool{}
	var batches []int
	for _, b := range c.Grid.Batches {
		if b < 1 {
			problems = append(problems, fmt.Errorf("--batches %d: a batch has at least 1 image", b))
		}
		if !seen[b] {
			batches = append(batches, b)
		}
		seen[b] = true
	}
	c.Grid.Batches = batches
	if c.Threads < 1 {
		problems = append(problems, fmt.Errorf("--threads %d: want at least 1", c.Threads))
	}
	if c.Grid.Resolution < 0 {
		problems = append(problems, fmt.Errorf("--resolution %d: want a positive number", c.Grid.Resolution))
	}
	if c.Protocol.Launches < 1 {
		problems = append(problems, fmt.Errorf("--launches %d: want at least 1", c.Protocol.Launches))
	}
	if c.Protocol.Watchdog <= 0 {
		problems = append(problems, fmt.Errorf("--timeout %s: want a positive time", c.Protocol.Watchdog))
	}
	if c.Protocol.DropSteal < 0 {
		problems = append(problems, fmt.Errorf("--max-steal %g: want a fraction of the machine, such as 0.1", c.Protocol.DropSteal))
	}
	if c.Protocol.DropForeign < 0 {
		problems = append(problems, fmt.Errorf("--max-foreign %g: want a number of cores, such as 0.5", c.Protocol.DropForeign))
	}
	return errors.Join(problems...)
}

// plan opens the grid's engines to ask what they can do, and closes them again:
// only workers measure. An engine that was asked for by name and is not there is
// an error; otherwise its points are skipped with the reason.
func (a *app) plan(ctx context.Context, c bench.Config, device hardware.Device, named bool) (*bench.Plan, error) {
	if len(c.Grid.Engines) == 0 {
		for _, d := range a.drivers {
			if !d.Reference && d.Device == device.Info().Kind {
				c.Grid.Engines = append(c.Grid.Engines, d.Name)
			}
		}
	}
	opened, failures := map[string]engines.Engine{}, map[string]error{}
	for _, name := range c.Grid.Engines {
		driver, err := knownEngine(a.drivers, name)
		if err != nil {
			return nil, usage(err)
		}
		engine, err := driver.Open(ctx, device)
		switch {
		case err == nil:
			opened[name] = engine
		case named:
			return nil, &exitError{exitUnavailable, err}
		default:
			failures[name] = err
		}
	}
	plan, err := bench.NewPlan(c, a.drivers, opened, failures)
	if plan != nil {
		for i := range plan.Engines {
			plan.Engines[i].Library = publicPath(plan.Engines[i].Library)
		}
	}
	for name, engine := range opened {
		if closeErr := engine.Close(); closeErr != nil && err == nil {
			err = fmt.Errorf("close engine %s: %w", name, closeErr)
		}
	}
	return plan, err
}

func (a *app) printPlan(plan *bench.Plan) error {
	c := plan.Config
	fmt.Fprintf(a.stdout, "%s, profile %s: %d launches × %d round, %d of %d points, about %s (a guess until something was measured), %d threads, seed %d\n\n",
		c.Protocol.ID, c.Protocol.Profile, c.Protocol.Launches, c.Protocol.Rounds, plan.Measurable(), len(plan.Points),
		seconds(plan.PlannedSeconds()), c.Threads, c.Seed)
	var rows [][]string
	skips := map[string]int{}
	var reasons []string
	for _, p := range plan.Points {
		row := []string{p.Point.Model, fmt.Sprint(p.Point.Resolution), p.Point.Engine, p.Point.Precision, fmt.Sprint(p.Point.Batch), count(p.MACs), "", ""}
		if p.Skip == "" {
			row[6] = fmt.Sprintf("%.1f", p.PlannedSeconds)
		} else {
			if skips[p.Skip] == 0 {
				reasons = append(reasons, p.Skip)
				skips[p.Skip] = len(reasons)
			}
			row[7] = fmt.Sprintf("skipped [%d]", skips[p.Skip])
		}
		rows = append(rows, row)
	}
	if err := table(a.stdout, []string{"model", "resolution", "engine", "precision", "batch", "MACs", "planned s", ""}, rows, nil, 4); err != nil {
		return err
	}
	for i, reason := range reasons {
		fmt.Fprintf(a.stdout, "\n[%d] %s\n", i+1, reason)
	}
	return nil
}

// carryOut runs a plan into a directory and shows what came of it.
func (a *app) carryOut(ctx context.Context, plan *bench.Plan, device hardware.Device, dir string, started time.Time) (err error) {
	journal, err := bench.CreateJournal(dir)
	if err != nil {
		return usage(err)
	}
	defer func() {
		if closeErr := journal.Close(); err == nil && closeErr != nil {
			err = closeErr
		}
	}()
	logs := filepath.Join(dir, "env")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return fmt.Errorf("create log directory: %w", err)
	}
	m, err := openMachine(ctx, plan.Config.Threads)
	if err != nil {
		return err
	}
	defer m.close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own binary to start workers: %w", err)
	}
	base := native.Now()
	err = journal.Append(bench.RunRecord{
		Type: "run", Schema: bench.Schema, Protocol: bench.ProtocolID, ID: runID(started), Started: started.UTC(),
		MonotonicBase: base, GenbenchVersion: version(), Argv: publicArgs(os.Args),
		Config: plan.Config, Seed: plan.Config.Seed, PlannedSeconds: plan.PlannedSeconds(),
		Host: hardware.DescribeHost(""), Devices: []hardware.Info{device.Info()}, Engines: plan.Engines, Plan: plan.Points,
		GPUs: m.gpus, GPUsReason: m.gpusReason, Findings: m.findings,
	})
	if err != nil {
		return err
	}
	progress := &progress{out: a.stderr, width: pointWidth(plan)}
	progress.begin(plan, m.findings, dir)
	runner := &bench.Runner{
		Plan: plan, Journal: journal, Base: base, Telemetry: m.telemetry, LogDir: logs, Events: progress.event,
		Worker: func(ctx context.Context) *exec.Cmd {
			cmd := exec.CommandContext(ctx, self, workerName)
			cmd.Args[0] = os.Args[0] // a binary that goes by several names stays the one it is
			return cmd
		},
	}
	runErr := runner.Run(ctx)
	result, err := bench.LoadResult(dir)
	if result == nil {
		return errors.Join(runErr, err)
	}
	// What was measured is shown however the run ended.
	if textErr := reports.Text(a.width())(a.stdout, result); textErr != nil {
		return errors.Join(runErr, textErr)
	}
	writeErr := reports.WriteDir(dir, result)
	if writeErr == nil {
		fmt.Fprintf(a.stdout, "\nreport: %s\n", reportPath(dir))
	}
	switch {
	case errors.Is(runErr, context.Canceled):
		fmt.Fprintf(a.stderr, "genbench: interrupted; every finished round is in %s\n", filepath.Join(dir, bench.JournalName))
		return &exitError{code: exitInterrupted}
	case runErr != nil:
		return runErr
	case writeErr != nil:
		return writeErr
	}
	if code := result.ExitCode(); code != 0 {
		return &exitError{code: code}
	}
	return nil
}

func reportPath(dir string) string { return filepath.Join(dir, "report.md") }

// runID names a run: its start, and a random part against collisions.
func runID(started time.Time) string {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand does not fail
	}
	return started.UTC().Format("20060102-150405") + "-" + hex.EncodeToString(b[:])
}

// publicArgs is the command line without the path of the binary, which belongs to
// one machine.
func publicArgs(args []string) []string {
	out := append([]string(nil), args...)
	if len(out) > 0 {
		out[0] = "genbench"
	}
	return out
}

// publicPath writes a path below the user's home directory with a tilde: results
// are published, and whose home it was does not belong in them.
func publicPath(path string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	if rest, ok := strings.CutPrefix(path, home+string(filepath.Separator)); ok {
		return "~/" + rest
	}
	return path
}

func suiteNames() []string {
	var names []string
	for _, s := range bench.Suites() {
		names = append(names, s.Name)
	}
	return names
}

func profileNames() []string {
	var names []string
	for _, p := range bench.Profiles() {
		names = append(names, p.Name)
	}
	return names
}
