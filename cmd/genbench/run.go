package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	"genbench/reports"
)

// runFlags are the flags of `genbench run` as given.
type runFlags struct {
	suite      string
	models     []string
	shapes     []string
	weights    string
	device     string
	cpus       string
	clocks     string
	engines    []string
	batches    []int
	precisions []string
	resolution int
	profile    string
	graph      []string
	cache      []string
	gaps       []time.Duration
	seed       uint64
	threads    int
	launches   int
	most       int
	relWidth   float64
	timeout    time.Duration
	maxSteal   float64
	maxForeign float64
	out        string
	resume     string
	sentinel   time.Duration
	points     []string
	follow     string
	noReport   bool
	emulated   bool
	energy     bool
	layers     bool
	calibrated bench.Calibration
	dryRun     bool
	wait       time.Duration

	given func(flag string) bool
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Measure networks, print a table and write a report with pictures",
		Long: "Measures every point of a grid, networks × engines × precisions × batches, in fresh processes and random\n" +
			"order; without flags the suite default (genbench list suites) on the host, in about three minutes.\n" +
			"The result's directory gets the journal run.jsonl, to which every finished round is added at\n" +
			"once, and from it report.md, report.html, summary.json and pictures. An interrupted run continues\n" +
			"with --resume.\n\n" +
			"Exit codes: 0 done, 1 internal error such as a full disk, 2 usage, 3 nothing could be measured, or an\n" +
			"engine or device is unavailable or in use, 4 points are invalid or the machine drifted too far, 5\n" +
			"some points failed or were not reached, 12 cannot be resumed here, 130 interrupted.",
		Example: "  genbench run\n" +
			"  genbench run --models genet-large,resnet-50 --batches 1,8 --threads 2\n" +
			"  genbench run --suite mine.yaml --profile publish\n" +
			"  genbench run --points resnet-50@224/onnxruntime/fp32/b1\n" +
			"  genbench run --resume genbench-20260301-090000\n" +
			"  genbench run --dry-run",
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.given = cmd.Flags().Changed
			until, err := patience(f.wait)
			if err != nil {
				return err
			}
			if f.resume == "" {
				return a.measure(cmd.Context(), f, until)
			}
			others := cmd.Flags().NFlag() - 1
			if f.given("wait") {
				others--
			}
			if others > 0 {
				return usage(errors.New("--resume continues with what the run was asked for and takes no other flag but --wait"))
			}
			return a.resume(cmd.Context(), f.resume, until)
		},
	}
	f.add(cmd)
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
		return namesOf(a.drivers, func(d engines.Driver) string { return d.Name })
	})
	return cmd
}

// add adds the flags to the command.
func (f *runFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	usual := bench.HostProtocol()
	onGPU := bench.Grid{}.On(hardware.CUDA)
	flags.SortFlags = false // the help groups them by what they are about
	// What is measured.
	flags.StringVar(&f.suite, "suite", "default", "grid to start from: a name of genbench list suites, or a YAML file")
	flags.StringSliceVar(&f.models, "models", nil, "networks, or paths of ONNX files, instead of the suite's")
	flags.StringArrayVar(&f.shapes, "shape", nil, "shape of an ONNX file's input, such as input:1x3x224x224; may be repeated")
	flags.StringVar(&f.weights, "weights", synthetic, weightsUsage)
	flags.StringSliceVar(&f.engines, "engines", nil, "engines (default: all that are available but the reference)")
	flags.StringSliceVar(&f.precisions, "precisions", nil, "element types of compute instead of the suite's")
	addCalibration(cmd, &f.calibrated)
	flags.BoolVar(&f.emulated, "allow-emulated", false, "measure precisions that an engine only converts to and from; the result says so")
	flags.IntSliceVar(&f.batches, "batches", nil, "images per inference instead of the suite's")
	flags.IntVar(&f.resolution, "resolution", 0, "input height and width (default: each network's own)")
	flags.StringSliceVar(&f.points, "points", nil, "`ids` of the only points of the grid to measure, as genbench run --dry-run prints them; may be repeated")
	// How it is submitted, and where.
	flags.StringSliceVar(&f.graph, "graph", nil, fmt.Sprintf("how inferences are submitted to a GPU: %s (default there: %s)", strings.Join(bench.GraphModes(), ", "), strings.Join(onGPU.Graph, ",")))
	flags.StringSliceVar(&f.cache, "cache", nil, fmt.Sprintf("what an inference finds in a GPU's cache: %s (default there: %s)", strings.Join(bench.CacheModes(), ", "), strings.Join(onGPU.Cache, ",")))
	flags.DurationSliceVar(&f.gaps, "gaps", nil, "idle `times` before every inference, such as 0s,1ms,10ms,50ms,200ms (default: none, inferences back to back)")
	flags.Lookup("gaps").DefValue = ""
	flags.StringVar(&f.device, "device", string(hardware.Host), "what to measure on: host, the index of a GPU, or its UUID")
	flags.StringVar(&f.clocks, "clocks", "", clocksUsage)
	flags.IntVar(&f.threads, "threads", 0, "host threads an inference may use (default: the suite's, else all usable processors)")
	flags.StringVar(&f.cpus, "cpus", "", "processors to bind the measuring process to, such as 0,2-5")
	// How often, and how sure.
	flags.StringVar(&f.profile, "profile", "quick", "how often everything is replicated, see genbench list profiles (default: the suite's, else quick)")
	flags.Lookup("profile").DefValue = "" // it is said in words
	flags.IntVar(&f.launches, "launches", 0, "number of fresh processes, each of which visits every point; none are added unless --max-launches is given (default: the profile's)")
	flags.Float64Var(&f.relWidth, "rel-width", 0, "half-width of the interval to aim for, relative to the median (default: the profile's)")
	flags.IntVar(&f.most, "max-launches", 0, fmt.Sprintf("the most launches in all, added while an interval is wider than --rel-width (default: the profile's; %d with --rel-width, except for ci)", widthLaunches))
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the random order (default: the suite's, else drawn, and recorded)")
	flags.DurationVar(&f.sentinel, "sentinel-every", 0, "how often one point is visited to see whether the machine drifts; 0s means never (default: the profile's)")
	flags.DurationVar(&f.timeout, "timeout", usual.Watchdog, "how long a worker may be silent before it counts as hung")
	flags.Float64Var(&f.maxSteal, "max-steal", usual.DropSteal, "drop a round when a hypervisor took more than this fraction of the machine")
	flags.Float64Var(&f.maxForeign, "max-foreign", usual.DropForeign, "drop a round when other processes used more than this many cores")
	// What else is measured, and what comes of it.
	flags.BoolVar(&f.energy, "energy", false, "also measure the energy of an inference, in a pass after the others, where the device counts it")
	flags.BoolVar(&f.layers, "layers", false, "also time every layer, in a pass after the others, with the engine's own profiler or events")
	flags.StringVar(&f.out, "out", "", "directory for the result (default: genbench-DATE-TIME)")
	flags.BoolVar(&f.noReport, "no-report", false, "write only the journal; genbench report DIR makes the rest")
	flags.StringVar(&f.resume, "resume", "", "directory of an interrupted run to continue, on the same machine with the same plan")
	flags.StringVar(&f.follow, "follow", "", followUsage)
	addWait(cmd, &f.wait)
	flags.BoolVar(&f.dryRun, "dry-run", false, "only print points, skips with reasons, and planned seconds")
}

// measure carries out `genbench run`, and waits for others no longer than until.
func (a *app) measure(ctx context.Context, f runFlags, until time.Time) (err error) {
	started := time.Now()
	device, err := findDevice(f.device)
	if err != nil {
		return err
	}
	how, err := f.manner(until)
	if err != nil {
		return usage(err)
	}
	config, err := a.config(f, device)
	if err != nil {
		return usage(err)
	}
	if err := a.checkPoints(config); err != nil {
		return err
	}
	if how.warm(device) {
		config.Protocol.Settle = config.Protocol.SettleAgain
	}
	if f.dryRun {
		plan, _, err := a.planOn(ctx, config, f.given("engines"))
		if err != nil {
			return err
		}
		return a.printPlan(plan)
	}
	dir := cmp.Or(f.out, defaultDir(started))
	lock, err := a.lockDevice(ctx, device.ID, dir, until)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	plan, device, err := a.planOn(ctx, config, f.given("engines"))
	if err != nil {
		return err
	}
	if plan.Measurable() == 0 {
		if err := a.printPlan(plan); err != nil {
			return err
		}
		return &exitError{exitUnavailable, errors.New("nothing to measure: every point is skipped; `genbench doctor` says what is missing")}
	}
	return a.carryOut(ctx, plan, device, dir, how)
}

// defaultDir names a result after the time it was begun.
func defaultDir(started time.Time) string {
	return "genbench-" + started.UTC().Format("20060102-150405")
}

// findDevice says what is measured on without opening it: until its lock is taken,
// another run may be measuring there. One that is not there is treated as an engine that
// is not.
func findDevice(id string) (hardware.Info, error) {
	info, err := hardware.Find(deviceID(id))
	if err != nil {
		return info, &exitError{exitUnavailable, err}
	}
	return info, nil
}

// deviceID fills in what older results did not say.
func deviceID(id string) string { return cmp.Or(id, string(hardware.Host)) }

// planOn plans a run on its device, which it opens for that and no longer: a GPU's
// context in this process would pass for another's work on the board, and where only
// one process may have a context the workers would get none. For the same reason the
// caller holds the device's lock, but for a dry run, which waits for nobody.
func (a *app) planOn(ctx context.Context, config bench.Config, named bool) (plan *bench.Plan, info hardware.Info, err error) {
	device, err := hardware.Open(deviceID(config.Device))
	if err != nil {
		return nil, info, &exitError{exitUnavailable, err}
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	plan, err = a.plan(ctx, config, device, named)
	return plan, device.Info(), err
}

// checkPoints refuses a point that is not in the grid, before the device is waited for:
// the grid can be known without an engine.
func (a *app) checkPoints(c bench.Config) error {
	if len(c.Points) == 0 {
		return nil
	}
	closed := map[string]error{}
	for _, name := range c.Grid.Engines {
		closed[name] = errors.New("not opened")
	}
	_, err := bench.NewPlan(c, a.drivers, nil, closed)
	return absentPoint(err)
}

// absentPoint makes a point that is not in the grid the caller's mistake.
func absentPoint(err error) error {
	var absent *bench.UnknownPointError
	if errors.As(err, &absent) {
		return usage(unknown("point of this grid", absent.ID, absent.Known, "genbench run --dry-run"))
	}
	return err
}

// plan opens the grid's engines to ask what they can do, and closes them again:
// only workers measure. An engine that was asked for by name and is not there is
// an error; otherwise its points are skipped with the reason.
func (a *app) plan(ctx context.Context, c bench.Config, device hardware.Device, named bool) (*bench.Plan, error) {
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
	err = absentPoint(err)
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
	fmt.Fprintf(a.stdout, "%s, profile %s: %s, %d of %s, about %s (a guess until something is measured), %s, seed %d\n\n",
		c.Protocol.ID, c.Protocol.Profile, design(c.Protocol), plan.Measurable(), plural(len(plan.Points), "point", "points"),
		plannedTime(plan), plural(c.Threads, "thread", "threads"), c.Seed)
	points := sheet{header: []string{"point", "MACs", "planned s", ""}, numbers: 1, all: "a wider one has all"}
	skips := map[string]int{}
	var reasons []string
	for _, p := range plan.Points {
		row := []string{p.ID, count(p.MACs), fmt.Sprintf("%.1f", p.PlannedSeconds), ""}
		if p.Skip != "" {
			if skips[p.Skip] == 0 {
				reasons = append(reasons, p.Skip)
				skips[p.Skip] = len(reasons)
			}
			row[2], row[3] = "", fmt.Sprintf("skipped [%d]", skips[p.Skip])
		}
		points.rows = append(points.rows, row)
	}
	if err := points.print(a.stdout, a.width(), "", "MACs"); err != nil {
		return err
	}
	for i, reason := range reasons {
		fmt.Fprintf(a.stdout, "\n[%d] %s\n", i+1, reason)
	}
	return nil
}

// carryOut runs a plan, whose device the caller has locked, into a new directory and
// shows what came of it. It waits for a quiet machine as long as it may.
func (a *app) carryOut(ctx context.Context, plan *bench.Plan, device hardware.Info, dir string, how manner) (err error) {
	if err := checkClocks(plan.Config); err != nil {
		return err
	}
	journal, err := bench.CreateJournal(dir)
	if err != nil {
		return usage(err)
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	looked := time.Now()
	m, err := a.openFor(ctx, plan.Config, how)
	if err != nil {
		return errors.Join(err, journal.Discard())
	}
	defer m.close()
	preflight := time.Since(looked)
	record, err := describeRun(plan, device, m, time.Now())
	if err == nil {
		record.PreflightSeconds = preflight.Seconds()
		err = journal.Append(record)
	}
	if err != nil {
		return errors.Join(err, journal.Discard())
	}
	runner := &bench.Runner{Plan: plan, Journal: journal, Base: record.MonotonicBase, Known: how.known(record), Groups: how.groups(plan.Points), Settled: how.settled(device, plan.Config.Clocks)}
	return a.execute(ctx, runner, m, dir, how.noReport)
}

// describeRun says all that is known of a run before anything is measured.
func describeRun(plan *bench.Plan, device hardware.Info, m *machine, started time.Time) (bench.RunRecord, error) {
	sum, err := ownSHA256()
	if err != nil {
		return bench.RunRecord{}, err
	}
	host := hardware.DescribeHost("")
	if cpus := plan.Config.CPUs; len(cpus) > 0 {
		// The workers are bound; this process, which only listens, is not.
		host.PinnedCPUs = cpus
		delete(host.Reasons, "pinned_cpus")
	}
	return bench.RunRecord{
		Type: "run", Schema: bench.Schema, Protocol: bench.ProtocolID, ID: runID(started), Started: started.UTC(),
		MonotonicBase: native.Now(), GenbenchVersion: version(), GenbenchSHA256: sum, Argv: publicArgs(os.Args),
		Config: plan.Config, Seed: plan.Config.Seed, PlannedSeconds: plan.PlannedSeconds(),
		Host: host, Devices: []hardware.Info{device}, Engines: plan.Engines, Plan: plan.Points,
		GPUs: m.gpus, GPUsReason: m.gpusReason, Findings: m.findings,
	}, nil
}

// ownSHA256 tells this binary from every other; its version does not while it is
// being worked on.
func ownSHA256() (string, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("read own binary: %w", err)
	}
	defer self.Close()
	h := sha256.New()
	if _, err := io.Copy(h, self); err != nil {
		return "", fmt.Errorf("read own binary: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// execute lets a runner do what its plan still owes and shows what came of it.
func (a *app) execute(ctx context.Context, runner *bench.Runner, m *machine, dir string, noReport bool) error {
	logs := filepath.Join(dir, "env")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return fmt.Errorf("create log directory: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own binary to start workers: %w", err)
	}
	progress := &progress{out: a.stderr, width: pointWidth(runner.Plan)}
	progress.begin(runner.Plan, m.findings, dir)
	runner.Telemetry, runner.Events = m.telemetry, progress.event
	runner.Launcher = bench.Processes{LogDir: logs, Command: func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, self, workerName)
		cmd.Args[0] = os.Args[0] // the name that this one was called by
		return cmd
	}}
	release := func() error { return nil }
	if policy := runner.Plan.Config.Clocks; policy != "" {
		clocks, err := openClocks(runner.Plan.Config.Device)
		if err != nil {
			return err
		}
		runner.Clocks, release = clocks, clocks.close
	}
	runErr, releaseErr := runner.Run(ctx), release()
	log, err := bench.ReadLog(dir)
	if err != nil {
		return errors.Join(runErr, releaseErr, err)
	}
	// What was measured is shown however the run ended.
	if noReport {
		fmt.Fprintf(a.stdout, "journal: %s\n", filepath.Join(dir, bench.JournalName))
	} else if err := a.show(bench.NewResult(log), dir); err != nil {
		return errors.Join(runErr, releaseErr, err)
	}
	var drifted *bench.DriftError
	switch {
	case errors.Is(runErr, context.Canceled):
		fmt.Fprintf(a.stderr, "genbench: interrupted; every finished round is in %s, and `genbench run --resume %s` continues\n", filepath.Join(dir, bench.JournalName), dir)
		return &exitError{exitInterrupted, releaseErr}
	case errors.As(runErr, &drifted):
		return &exitError{exitInvalid, errors.Join(runErr, releaseErr)}
	case runErr != nil || releaseErr != nil:
		return errors.Join(runErr, releaseErr)
	}
	return exitOf(bench.ExitCode(log))
}

// show prints a result's table and writes its report.
func (a *app) show(result *bench.Result, dir string) error {
	if err := reports.Text(a.width())(a.stdout, result); err != nil {
		return err
	}
	if err := reports.WriteDir(dir, result); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\nreport: %s\n", reportPath(dir))
	return nil
}

// exitOf is the error that a finished run ends with.
func exitOf(code int) error {
	if code != 0 {
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

// publicPath writes a path below the user's home directory with a tilde: results are
// published, and whose home it was is nobody's business.
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
