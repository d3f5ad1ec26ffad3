package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/bench/verdict"
)

// gateFlags are the flags of `genbench gate`.
type gateFlags struct {
	judgeFlags
	base, fresh  string
	build, built string
	profile      string
	allow        []string
	pairs        int
	seed         uint64
	out          string
	resume       string // of calibrate
}

func (a *app) gateCommand() *cobra.Command {
	var f gateFlags
	cmd := &cobra.Command{
		Use:   "gate --base REF --new REF [-- RUN FLAGS]",
		Short: "Measure two versions in turn on this machine and fail on a regression",
		Long: "Both versions are launched in turn, point by point and in random order, so what the machine\n" +
			"does affects both alike. After 12 such pairs each point is judged; what they leave undecided gets 8\n" +
			"more, where those may decide it. What regressed is measured again with 12 new pairs, or more for several\n" +
			"points, before the gate fails. A point that looks the same but whose launches were not steady stays\n" +
			"undecided.\n\n" +
			"REF is one of\n" + refForms() +
			"\nWhat follows -- is given to `genbench run` of both versions.\n\n" +
			"Exit codes: 0 no regression, 1 internal error, 2 usage, 3 an engine is unavailable, the device is in use\n" +
			"or the threshold lies below this machine's noise floor, 4 points are invalid, 5 points are missing, 6 a\n" +
			"version cannot be built or did not reach its end, 10 regression confirmed, 11 undecided or clock_shift\n" +
			"under --strict, 12 not comparable, 130 interrupted.",
		Example: "  genbench gate --base bin/genbench-main --new bin/genbench -- --models genet-large\n" +
			"  genbench gate --base \"--threads 2\" --new \"--threads 1\"\n" +
			"  genbench gate --base onnxruntime@1.30.0 --new onnxruntime@1.32.0 --format md -o verdict.md\n" +
			"  genbench gate --base git:main --new git:HEAD --build \"make build\" --built bin/genbench",
		RunE: func(cmd *cobra.Command, args []string) error { return a.gate(cmd.Context(), &f, args) },
	}
	f.judgeFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.base, "base", "", "version to compare with")
	flags.StringVar(&f.fresh, "new", "", "version to judge")
	flags.StringVar(&f.build, "build", "go build -o genbench-built ./cmd/genbench", "shell command that builds a git REF, run in its checkout")
	flags.StringVar(&f.built, "built", "genbench-built", "the binary that --build makes, relative to the checkout")
	flags.StringVar(&f.profile, "profile", "ci", "profile of the launches, see genbench list profiles")
	flags.StringSliceVar(&f.allow, "allow-diff", nil, "differences that do not spoil the comparison; here "+strings.Join(gateAllows[:], ", ")+" never do, nor the model of two files, nor which "+strings.Join(verdict.AxisNames(), ", ")+" the flags of a REF name")
	flags.IntVar(&f.pairs, "pairs", 0, "a fixed number of pairs and one look, instead of 12 and up to 20; the confirmation takes at least as many")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the order of launches (default: drawn, and printed)")
	flags.StringVar(&f.out, "out", "", "directory for the results of all launches (default: genbench-gate-DATE-TIME)")
	return cmd
}

// gateAllows are the differences that a gate compares on purpose.
var gateAllows = [...]string{"threads", "engine", "library"}

// allows adds the differences that the REFs ask for: two files are two models, and flags
// may name another model, engine or whatever else verdict.AxisNames lists. Two binaries
// that measure different networks under one name are never compared unnoticed, whatever
// flags one of them is given.
func (d *duel) allows(f *gateFlags) []string {
	allow := append(slices.Clone(f.allow), gateAllows[:]...)
	oneBinary := d.arms[0].binary == d.arms[1].binary
	if oneBinary && isONNX(f.base) && isONNX(f.fresh) {
		allow = append(allow, "model")
	}
	if strings.HasPrefix(f.base, "-") || strings.HasPrefix(f.fresh, "-") {
		for _, axis := range verdict.AxisNames() {
			if axis != "model" || oneBinary {
				allow = append(allow, axis)
			}
		}
	}
	return allow
}

// gate carries out `genbench gate`.
func (a *app) gate(ctx context.Context, f *gateFlags, runFlags []string) error {
	o, outputs, err := f.options()
	if f.base == "" || f.fresh == "" {
		err = errors.Join(err, errors.New("gate needs --base REF and --new REF; see `genbench gate --help`"))
	}
	if err = errors.Join(err, checkDifferences(f.allow)); err == nil {
		err = checkPairs(f.looks(o.Alpha), 1, o.Alpha)
	}
	if err == nil {
		err = empty(outputs)
	}
	if err != nil {
		return usage(err)
	}
	o.Live = true
	if slices.ContainsFunc(o.Metrics, func(m verdict.Metric) bool { return m.Name == "energy" }) && !hasFlag(runFlags, "--energy") {
		runFlags = append(slices.Clone(runFlags), "--energy")
	}
	d, err := a.newDuel(f, runFlags)
	if err != nil {
		return err
	}
	defer d.close()
	defer os.Remove(d.dir) // which fails, as it should, where something lies in it
	// The verdict may be meant for the directory of the launches.
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("create gate directory: %w", err)
	}
	if err := checkFiles(outputs); err != nil {
		return usage(err)
	}
	c, err := d.carryOut(ctx, f, o)
	if err == nil {
		c.Strict = f.strict
		return a.conclude(c, outputs)
	}
	stopped := d.interrupted(err)
	code := exitCodeOf(stopped)
	// What was measured is shown and decides nothing.
	advisory := "the gate did not reach its end; these are the pairs it had"
	if c == nil {
		if code == exitUsage || code == exitInterrupted {
			return stopped // whoever ran it knows, and there is nothing to show
		}
		c, advisory = d.nothing(o), "the gate did not reach its end, and has nothing to show"
	}
	c.Strict, c.Advisory, c.Stopped, c.StoppedCode = f.strict, advisory, "interrupted", code
	if code != exitInterrupted {
		c.Stopped = err.Error()
	}
	if err := a.publish(c, outputs); err != nil {
		fmt.Fprintf(d.stderr, "genbench: %v\n", err)
	}
	return stopped
}

// carryOut measures and judges. With an error it returns the comparison of the pairs
// there are, nil where there are none.
func (d *duel) carryOut(ctx context.Context, f *gateFlags, o verdict.Options) (*verdict.Comparison, error) {
	if err := d.resolve(ctx, f); err != nil {
		return nil, err
	}
	o.Allow = d.allows(f)
	if err := d.warmUp(ctx); err != nil {
		return nil, err
	}
	if err := checkPairs(f.looks(o.Alpha), d.measured(), o.Alpha); err != nil {
		return nil, usage(err)
	}
	var err error
	if o.Calibration, err = d.calibration(o); err != nil {
		return nil, err
	}
	c, err := d.decide(ctx, f, o)
	if c != nil && d.pointless() {
		c.Doubts = append(c.Doubts, verdict.Doubt{Text: "base and new are the same binary, libraries, networks and settings, as far as their journals say: this gate compared a thing with itself"})
	}
	return c, err
}

// nothing is what a gate that ended before its first pair has to show.
func (d *duel) nothing(o verdict.Options) *verdict.Comparison {
	c := &verdict.Comparison{Alpha: o.Alpha}
	for i, run := range []*bench.RunRecord{&c.Base, &c.New} {
		if log := d.pilots[i].log; log != nil {
			*run = log.Run
		}
	}
	for _, m := range o.Metrics {
		c.Families = append(c.Families, verdict.Family{Metric: m, Threshold: cmp.Or(o.Threshold, m.Threshold)})
	}
	return c
}

// looks are the moments at which a gate judges.
func (f *gateFlags) looks(alpha float64) []verdict.Look {
	if f.pairs != 0 {
		return []verdict.Look{{Pairs: f.pairs, Alpha: alpha}}
	}
	looks := verdict.Looks(verdict.FirstLook, verdict.SecondLook, alpha)
	return looks[:]
}

// checkPairs refuses more pairs than may be judged, and a gate that could not fail: with
// too few pairs to find a regression among its points, whatever they show.
func checkPairs(plan []verdict.Look, points int, alpha float64) error {
	last := plan[len(plan)-1]
	if last.Pairs > verdict.MostPairs {
		return fmt.Errorf("--pairs %d: want at most %d", last.Pairs, verdict.MostPairs)
	}
	if last.Pairs >= verdict.PairsFor(points, last.Alpha) {
		return nil
	}
	return fmt.Errorf("%d pairs cannot find a regression among %s with --alpha %g, however clear; take at least --pairs %d",
		last.Pairs, plural(points, "point", "points"), alpha, verdict.PairsFor(points, alpha))
}

// measured counts the points that both versions set out to measure.
func (d *duel) measured() int {
	n := 0
	for _, c := range d.couples {
		if c.Measured {
			n++
		}
	}
	return n
}

// pointless tells whether nothing in the pilots' journals sets the versions apart.
func (d *duel) pointless() bool {
	base, fresh := d.pilots[0].log, d.pilots[1].log
	return slices.Equal(pointsOf(base.Run.Plan), pointsOf(fresh.Run.Plan)) && len(verdict.Arm{Logs: []*bench.Log{base, fresh}}.Changed()) == 0
}

// decide takes the looks of a gate and its confirmation. With an error it gives the
// comparison of the pairs there are, nil where there are none.
func (d *duel) decide(ctx context.Context, f *gateFlags, o verdict.Options) (*verdict.Comparison, error) {
	plan := f.looks(o.Alpha)
	confirmation := func(flagged int) verdict.Look {
		look := verdict.Confirmation(flagged, o.Alpha)
		if f.pairs > 0 {
			look.Pairs = max(f.pairs, verdict.PairsFor(flagged, o.Alpha))
		}
		return look
	}
	first := d.batch("pairs", d.couples)
	d.announce(first, plan, confirmation(len(d.couples)).Pairs)
	var c *verdict.Comparison
	for i, look := range plan {
		spent := o
		spent.Spend, spent.Confirm = look.Alpha, confirmation(1)
		if err := d.fight(ctx, first, look.Pairs); err != nil {
			if len(first.base.Logs) == 0 {
				return nil, err
			}
			partial, compareErr := verdict.Compare(first.base, first.fresh, spent)
			if compareErr != nil {
				return c, err
			}
			return partial, err
		}
		next, err := verdict.Compare(first.base, first.fresh, spent)
		if err != nil {
			return c, comparisonError(err)
		}
		if i > 0 {
			next.Stand(c)
		}
		c = next
		if i+1 == len(plan) {
			break
		}
		c.GiveUp(plan[i+1])
		open := c.Open()
		if len(open) == 0 {
			break
		}
		first.account(d.stderr)
		d.narrow(first, d.named(open))
		more := plan[i+1].Pairs - look.Pairs
		fmt.Fprintf(d.stderr, "%d of %s may be decided by more pairs: %d more %s\n",
			len(open), plural(len(d.couples), "point", "points"), more, seconds(first.planned(more).Seconds()))
	}
	first.account(d.stderr)
	flagged := c.Flagged()
	if len(flagged) == 0 {
		return c, nil
	}
	second := d.batch("confirm", d.named(flagged))
	confirming := confirmation(len(flagged)).Pairs
	fmt.Fprintf(d.stderr, "%d flagged: measuring them again, %d pairs %s\n", len(flagged), confirming, seconds(second.planned(confirming).Seconds()))
	if err := d.fight(ctx, second, confirming); err != nil {
		return c, err
	}
	second.account(d.stderr)
	// The batch that confirms has to be of the very versions that were flagged.
	err := verdict.Unchanged(d.whole(0, first.base, second.base), d.whole(1, first.fresh, second.fresh))
	if err != nil {
		return c, comparisonError(err)
	}
	o.Only = flagged
	again, err := verdict.Compare(second.base, second.fresh, o)
	if err != nil {
		return c, comparisonError(err)
	}
	c.Confirm(again)
	return c, nil
}

// whole is all that was launched of a version: its pilot and two batches.
func (d *duel) whole(arm int, first, second verdict.Arm) verdict.Arm {
	return verdict.Arm{Logs: slices.Concat([]*bench.Log{d.pilots[arm].log}, first.Logs, second.Logs)}
}

// named are the couples of some points, named as the new version has them.
func (d *duel) named(points []bench.Point) []verdict.Couple {
	return slices.DeleteFunc(slices.Clone(d.couples), func(c verdict.Couple) bool {
		return c.New == nil || !slices.Contains(points, *c.New)
	})
}

// A duel runs two versions in turn.
type duel struct {
	*app
	arms   [2]contestant // base, new
	dir    string
	common []string // flags of `genbench run` for both
	order  *rand.Rand
	seed   uint64
	pilots [2]pilot
	// couples are the points of the pilots, each beside its counterpart.
	couples []verdict.Couple
	// clocks is how the launches set those of a GPU, nil where the pilots recorded none
	// or the flags set them.
	clocks *bench.ClocksRecord
	// sitting counts how often the duel was begun or continued.
	sitting int
}

// setByGate are the flags of `genbench run` that a gate gives itself.
func setByGate() []string {
	return []string{"--out", "--launches", "--seed", "--dry-run", "--profile", "--resume", "--follow", "--no-report", "--sentinel-every"}
}

func (a *app) newDuel(f *gateFlags, runFlags []string) (*duel, error) {
	d := &duel{app: a, dir: f.out, common: runFlags, seed: f.seed}
	for _, flag := range setByGate() {
		if hasFlag(runFlags, flag) {
			return nil, usage(fmt.Errorf("%s is set by the gate itself; give the rest after --", flag))
		}
	}
	d.common = append([]string{"--profile", f.profile}, d.common...)
	if d.dir == "" {
		d.dir = "genbench-gate-" + time.Now().UTC().Format("20060102-150405")
	}
	if f.resume != "" {
		d.dir = f.resume
		for d.sitting = 2; ; d.sitting++ {
			if _, err := os.Stat(filepath.Join(d.dir, warmUpName(d.sitting))); err != nil {
				break
			}
		}
	} else if entries, err := os.ReadDir(d.dir); err == nil && len(entries) > 0 {
		return nil, usage(fmt.Errorf("%s is not empty; choose another --out", d.dir))
	}
	if d.seed == 0 {
		d.seed = uint64(rand.Uint32()) + 1
	}
	d.order = rand.New(rand.NewPCG(d.seed, 6))
	return d, nil
}

// resolve turns both REFs into what can be run.
func (d *duel) resolve(ctx context.Context, f *gateFlags) error {
	for i, ref := range []string{f.base, f.fresh} {
		c, err := d.contestant(ctx, ref, f)
		if err != nil {
			return err
		}
		c.name = []string{"base", "new"}[i]
		d.arms[i] = c
		fmt.Fprintf(d.stderr, "%s: %s\n", c.name, c.says)
	}
	return nil
}

func (d *duel) close() {
	for _, c := range d.arms {
		if c.cleanup != nil {
			c.cleanup()
		}
	}
}

// A pilot is a version's first launch.
type pilot struct {
	log *bench.Log
	dir string
	// visits is how long each point takes in a launch, by id, and start how long a
	// later launch takes beside them.
	visits map[string]time.Duration
	start  time.Duration
}

// warmUp runs each version once: it shows that both work, brings the machine to
// its working state, computes the outputs that every later launch expects, and shows
// how long a pair takes. Its numbers are not used.
//
// Where the two came to other clocks of a GPU than the gate's launches have, they are run
// once more under those: a launch comes back to the state in which its pilot left the
// device, which has to be one that its clock allows, and the same for both.
func (d *duel) warmUp(ctx context.Context) error {
	fmt.Fprintf(d.stderr, "one launch of each, to warm up and to plan by; seed %d → %s\n", d.seed, d.dir)
	if err := d.pilot(ctx, ""); err != nil {
		return err
	}
	if d.fixClocks() {
		fmt.Fprintf(d.stderr, "one more of each, with clocks %s for both\n", d.clocks)
		if err := d.pilot(ctx, "-again"); err != nil {
			return err
		}
	}
	var err error
	d.couples, err = verdict.Couples(verdict.Arm{Logs: []*bench.Log{d.pilots[0].log}}, verdict.Arm{Logs: []*bench.Log{d.pilots[1].log}})
	if err != nil {
		return comparisonError(err)
	}
	return nil
}

// pilot launches both versions for all points, the new one after the base.
func (d *duel) pilot(ctx context.Context, suffix string) error {
	after := d.pilots[0].dir
	for i := range d.arms {
		start := time.Now()
		p := pilot{dir: filepath.Join(d.dir, warmUpName(d.sitting), d.arms[i].name+suffix)}
		var err error
		if p.log, err = d.launch(ctx, &d.arms[i], p.dir, after, d.seed, nil); err != nil {
			return err
		}
		p.visits, p.start = visitTimes(p.log), time.Since(start)
		for _, took := range p.visits {
			p.start -= took
		}
		// Without what only a first launch does, but with settling as in every later one.
		p.start -= time.Duration(p.log.Run.PreflightSeconds * float64(time.Second))
		if end := p.log.End; end != nil {
			p.start -= time.Duration(end.PreparingSeconds * float64(time.Second))
		}
		p.start = max(0, p.start) + p.log.Run.Config.Protocol.SettleAgain
		d.pilots[i], after = p, p.dir
	}
	return nil
}

// warmUpName is where the pilots of a sitting are kept.
func warmUpName(sitting int) string {
	if sitting < 2 {
		return "warm-up"
	}
	return fmt.Sprintf("warm-up-%d", sitting)
}

// of is how long a launch that visits only some points takes. Its time beside the
// visits stays the same.
func (p pilot) of(points []bench.Point) time.Duration {
	took := p.start
	for _, point := range points {
		took += p.visits[point.String()]
	}
	return took
}

// visitTimes is how long each point of a run's only launch took, by id: from the end
// of the visit before to that of its own, and the energy pass.
func visitTimes(log *bench.Log) map[string]time.Duration {
	times := map[string]time.Duration{}
	var last int64
	if log.End != nil {
		last = int64(log.End.PreparingSeconds * 1e9)
	}
	for i := range log.Rounds {
		r := &log.Rounds[i]
		end := r.Start
		for _, ns := range r.DeviceNS {
			end += ns
		}
		if p, err := bench.ParsePoint(r.ID); err == nil {
			end += int64(len(r.DeviceNS)) * p.Gap.Nanoseconds()
		}
		times[r.ID] += time.Duration(end - last)
		last = end
	}
	for _, e := range log.Energies {
		for _, w := range e.Windows {
			times[e.ID] += time.Duration(w.Busy.EndNS - w.Idle.StartNS)
		}
	}
	return times
}

// calibration finds that of this machine, and refuses a threshold below its floor.
func (d *duel) calibration(o verdict.Options) (*verdict.Calibration, error) {
	state, err := verdict.StateDir()
	if err != nil {
		return nil, err
	}
	log := d.pilots[1].log
	setting := verdict.SettingOf(verdict.Arm{Logs: []*bench.Log{log}})
	if d.clocks != nil {
		setting.Clocks = d.clocks.String()
	}
	c, why, err := verdict.LoadCalibration(state, setting, time.Now())
	if err != nil || !slices.ContainsFunc(o.Metrics, verdict.Metric.Clocked) {
		return c, err
	}
	if c == nil {
		fmt.Fprintf(d.stderr, "no noise floor is known here: %s\n", why)
		return nil, nil
	}
	v := c.Coverage(log)
	if v.Known < v.Points {
		fmt.Fprintf(d.stderr, "a noise floor is known at %d of %s; `genbench calibrate` finds the others\n", v.Known, plural(v.Points, "point", "points"))
	}
	if o.Threshold != 0 && o.Threshold < v.Largest {
		works := fmt.Sprintf("the smallest threshold that works is --threshold %.1f%%", 100*roundUp(v.Largest))
		if roundUp(v.Largest) >= 1 {
			works = "no threshold works there; leave the point out, or quieten the machine and calibrate again"
		}
		return nil, &exitError{exitUnavailable, fmt.Errorf("this machine cannot judge to %.3g %%: its noise floor at %s is %.3g %%; %s",
			100*o.Threshold, v.At, 100*v.Largest, works)}
	}
	return c, nil
}

func pointsOf(plan []bench.PlannedPoint) []bench.Point {
	points := make([]bench.Point, len(plan))
	for i := range plan {
		points[i] = plan[i].Point
	}
	return points
}

// roundUp rounds a share up to a tenth of a per cent.
func roundUp(share float64) float64 {
	v, err := strconv.ParseFloat(fmt.Sprintf("%.3f", share+0.0005), 64)
	if err != nil {
		panic(err) // it was just printed
	}
	return v
}

// announce prints the time plan (S7).
func (d *duel) announce(b *batch, plan []verdict.Look, confirming int) {
	text := fmt.Sprintf("%d pairs %s", plan[0].Pairs, seconds(b.planned(plan[0].Pairs).Seconds()))
	if len(plan) > 1 {
		text += fmt.Sprintf(", at most %s more for what they leave undecided", seconds(b.planned(plan[1].Pairs-plan[0].Pairs).Seconds()))
	}
	fmt.Fprintf(d.stderr, "plan: %s; what is flagged is measured again, at most %s\n", text, seconds(b.planned(confirming).Seconds()))
}

// launch runs one version once and reads its journal; after is the run that it
// follows, empty for the first, and only names the points, nil for all of them. A run that
// ends with invalid or failed points is a result too; any other failure is passed on.
//
// The sentinel that watches a run for drift (D1) is left out: drift meets both
// launches of a pair alike, and its two visits would cost as much as two points.
func (d *duel) launch(ctx context.Context, c *contestant, dir, after string, seed uint64, only []bench.Point) (*bench.Log, error) {
	args := append([]string{"run"}, d.common...)
	args = append(args, c.flags...)
	if only != nil {
		args = withoutFlag(args, "--points")
		for _, p := range only {
			args = append(args, "--points", listItem(p.String()))
		}
	}
	if after != "" {
		args = append(args, "--follow", after)
	}
	args = append(args, "--launches", "1", "--seed", strconv.FormatUint(seed, 10), "--sentinel-every", "0s", "--out", dir, "--no-report")
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("create gate directory: %w", err)
	}
	words, err := os.Create(dir + ".log")
	if err != nil {
		return nil, fmt.Errorf("create gate log: %w", err)
	}
	defer words.Close()
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Args[0] = c.argv0
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = words, words
	// A group of its own, so Ctrl-C reaches the version once, through us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		switch code := exit.ExitCode(); code {
		case exitInvalid, exitIncomplete:
		case exitUsage, exitUnavailable:
			return nil, &exitError{code, fmt.Errorf("run %s: %s", c.name, lastWords(words.Name()))}
		default:
			return nil, &exitError{exitVersion, fmt.Errorf("run %s: %w: %s", c.name, err, lastWords(words.Name()))}
		}
	case err != nil:
		return nil, &exitError{exitVersion, fmt.Errorf("run %s: %w", c.name, err)}
	}
	log, err := bench.ReadLog(dir)
	var damage *bench.JournalError
	if errors.As(err, &damage) {
		return nil, &exitError{exitIncomparable, err}
	}
	return log, err
}

// listItem writes a value as an item of a list flag, which is read as CSV.
func listItem(value string) string {
	if strings.ContainsAny(value, "\",\n") {
		return `"` + strings.ReplaceAll(value, `"`, `""`) + `"`
	}
	return value
}

func hasFlag(args []string, flag string) bool {
	return slices.ContainsFunc(args, func(arg string) bool { return arg == flag || strings.HasPrefix(arg, flag+"=") })
}

// withoutFlag takes a flag and its value out: a list flag given twice adds up.
func withoutFlag(args []string, flag string) []string {
	var rest []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == flag:
			i++ // its value
		case strings.HasPrefix(args[i], flag+"="):
		default:
			rest = append(rest, args[i])
		}
	}
	return rest
}

// lastWords is the end of a version's log.
func lastWords(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "\n  ")
}

// interrupted turns a cancelled gate into its exit code.
func (d *duel) interrupted(err error) error {
	if !errors.Is(err, context.Canceled) {
		return err
	}
	measured := "nothing was measured yet"
	if entries, err := os.ReadDir(d.dir); err == nil && len(entries) > 0 {
		measured = "what was measured is in " + d.dir
	}
	fmt.Fprintf(d.stderr, "genbench: interrupted; %s\n", measured)
	return &exitError{code: exitInterrupted}
}
