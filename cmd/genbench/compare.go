package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"genbench/bench"
	"genbench/bench/verdict"
	"genbench/reports"
)

// judgeFlags are what `compare`, `gate` and `calibrate` judge by.
type judgeFlags struct {
	metrics   []string
	threshold string
	alpha     float64
	strict    bool
	format    string
	output    string
	also      []string
}

func (f *judgeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	metrics := verdict.Metrics()
	names := namesOf(metrics, func(m verdict.Metric) string { return m.Name })
	thresholds := namesOf(metrics, func(m verdict.Metric) string { return fmt.Sprintf("%g%% %s", 100*m.Threshold, m.Name) })
	flags.StringSliceVar(&f.metrics, "metric", names[:1], fmt.Sprintf("what is compared: %s; each is a family of its own", strings.Join(names, ", ")))
	flags.StringVar(&f.threshold, "threshold", "", fmt.Sprintf("relative change to overlook, such as 1%% or 0.01 (default: %s)", strings.Join(thresholds, ", ")))
	flags.Float64Var(&f.alpha, "alpha", 0.05, "chance of a false alarm among all points of a metric")
	flags.BoolVar(&f.strict, "strict", false, "exit 11 where a point is undecided or clock_shift, or the verdict is only advice")
	formats := namesOf(reports.CompareFormats(), func(f reports.CompareFormat) string { return f.Name })
	flags.StringVar(&f.format, "format", formats[0], orList(formats))
	flags.StringVarP(&f.output, "output", "o", "", "file to write (default: print)")
	flags.StringArrayVar(&f.also, "also", nil, "the same in another format: FORMAT=FILE; may be repeated")
}

// An output is a format of a verdict, and the file that it goes to; empty is standard
// output.
type output struct {
	report reports.CompareReport
	file   string
}

// options finds everything that is wrong with the flags at once.
func (f *judgeFlags) options() (verdict.Options, []output, error) {
	o := verdict.Options{Alpha: f.alpha}
	var problems []error
	for _, name := range f.metrics {
		m, err := verdict.MetricNamed(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if !slices.ContainsFunc(o.Metrics, func(x verdict.Metric) bool { return x.Name == m.Name }) {
			o.Metrics = append(o.Metrics, m)
		}
	}
	if len(f.metrics) == 0 {
		problems = append(problems, errors.New("--metric names nothing"))
	}
	if f.threshold != "" {
		var err error
		if o.Threshold, err = parseShare(f.threshold); err != nil {
			problems = append(problems, fmt.Errorf("--threshold %w", err))
		}
	}
	if !(f.alpha > 0 && f.alpha < 0.5) {
		problems = append(problems, fmt.Errorf("--alpha %g: want a probability between 0 and 0.5", f.alpha))
	}
	var outputs []output
	add := func(format, file string) {
		report, err := reports.LookupCompare(format)
		problems, outputs = append(problems, err), append(outputs, output{report, file})
	}
	add(f.format, f.output)
	for _, also := range f.also {
		if format, file, ok := strings.Cut(also, "="); ok && file != "" {
			add(format, file)
		} else {
			problems = append(problems, fmt.Errorf("--also %q: want FORMAT=FILE", also))
		}
	}
	return o, outputs, errors.Join(problems...)
}

// parseShare reads 1% or 0.01.
func parseShare(s string) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v > 0 && v < 1) {
		return 0, fmt.Errorf("%q: want a share above 0 and below 1, such as 1%% or 0.01", s)
	}
	return v, nil
}

func (a *app) compareCommand() *cobra.Command {
	var f judgeFlags
	var allow []string
	cmd := &cobra.Command{
		Use:   "compare BASE NEW",
		Short: "Say which points regressed between two results",
		Long: "BASE and NEW are directories of runs, or baseline:NAME. Verdicts are regressed, improved, same,\n" +
			"undecided and clock_shift; what one result lacks is listed too. Results from different times are\n" +
			"compared only as advice, unless a fresh `genbench calibrate` says how far this machine strays.\n" +
			"Take both runs with --profile ci: from the 4 launches of quick every point stays undecided.\n\n" +
			"Exit codes: 0 no regression, or only advice, 2 usage, 4 points are invalid, 5 points are missing, 10\n" +
			"regressed, 11 undecided, clock_shift or only advice under --strict, 12 not comparable, or a journal is\n" +
			"damaged.",
		Example: "  genbench compare before after\n  genbench compare baseline:release after --allow-diff engine --format md",
		Args:    exactArgs(2, "two results"),
		RunE: func(_ *cobra.Command, args []string) error {
			o, outputs, err := f.options()
			if err = errors.Join(err, checkDifferences(allow)); err != nil {
				return usage(err)
			}
			if err := errors.Join(checkFiles(outputs), empty(outputs)); err != nil {
				return usage(err)
			}
			o.Allow = allow
			base, fresh, err := a.loadArms(args[0], args[1])
			if err != nil {
				return err
			}
			state, err := verdict.StateDir()
			if err != nil {
				return err
			}
			var why string
			setting := verdict.SettingOf(fresh)
			if !setting.Equal(verdict.SettingOf(base)) {
				why = "the two were taken on different machines, or in different settings of the same one"
			} else if o.Calibration, why, err = verdict.LoadCalibration(state, setting, time.Now()); err != nil {
				return err
			}
			comparison, err := verdict.Compare(base, fresh, o)
			if err != nil {
				return comparisonError(err)
			}
			if comparison.Advisory != "" && why != "" {
				comparison.Advisory += " (" + why + ")"
			}
			comparison.Strict = f.strict
			return a.conclude(comparison, outputs)
		},
	}
	f.add(cmd)
	cmd.Flags().StringSliceVar(&allow, "allow-diff", nil, "differences that do not spoil the comparison: "+strings.Join(verdict.DifferenceNames(), ", "))
	return cmd
}

// empty empties the files of outputs that exist: an earlier verdict must not pass for
// that of a comparison which ends without one.
func empty(outputs []output) error {
	var problems []error
	for _, o := range outputs {
		if info, err := os.Stat(o.file); err == nil && info.Mode().IsRegular() {
			problems = append(problems, os.Truncate(o.file, 0))
		}
	}
	return errors.Join(problems...)
}

// checkFiles refuses files that a verdict could not be written to.
func checkFiles(outputs []output) error {
	var problems []error
	for _, o := range outputs {
		if o.file != "" {
			problems = append(problems, checkWritable(o.file))
		}
	}
	return errors.Join(problems...)
}

// conclude prints a comparison and turns it into an exit code, which a file that cannot
// be written does not hide.
func (a *app) conclude(c *verdict.Comparison, outputs []output) error {
	err := a.publish(c, outputs)
	if code := c.ExitCode(); code != 0 {
		return &exitError{code, err}
	}
	return err
}

// publish writes a comparison in all formats that were asked for.
func (a *app) publish(c *verdict.Comparison, outputs []output) error {
	var problems []error
	for _, o := range outputs {
		problems = append(problems, a.writeTo(o.file, func(w io.Writer) error { return o.report(w, c) }))
	}
	return errors.Join(problems...)
}

// checkDifferences refuses what --allow-diff does not know.
func checkDifferences(allow []string) error {
	var problems []error
	for _, name := range allow {
		if !slices.Contains(verdict.DifferenceNames(), name) {
			problems = append(problems, unknown("difference", name, verdict.DifferenceNames(), "genbench compare --help"))
		}
	}
	return errors.Join(problems...)
}

// checkWritable refuses a file that cannot be made: a verdict that takes an hour must
// not be lost to it.
func checkWritable(file string) error {
	what, mode := file, uint32(unix.W_OK)
	if info, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		what, mode = filepath.Dir(file), unix.W_OK|unix.X_OK
	} else if err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory; name a file in it", file)
	}
	if err := unix.Access(what, mode); err != nil {
		return fmt.Errorf("%s cannot be written: %s: %w", file, what, err)
	}
	return nil
}

// loadArms reads both sides at once: reading is most of what a comparison of many
// points takes.
func (a *app) loadArms(base, fresh string) (x, y verdict.Arm, err error) {
	done := make(chan error, 1)
	go func() {
		var err error
		x, err = a.loadArm(base)
		done <- err
	}()
	y, err = a.loadArm(fresh)
	if baseErr := <-done; baseErr != nil {
		err = baseErr
	}
	return x, y, err
}

// loadArm reads one side. One that is not there is a usage error; one that cannot be
// read whole is not comparable: half a result must never pass.
func (a *app) loadArm(name string) (verdict.Arm, error) {
	dir := name
	if baseline, ok := strings.CutPrefix(name, baselinePrefix); ok {
		shelf, err := openShelf()
		if err != nil {
			return verdict.Arm{}, err
		}
		if dir, err = shelf.Path(baseline); err != nil {
			return verdict.Arm{}, usage(err)
		}
	}
	log, err := bench.ReadLog(dir)
	var damage *bench.JournalError
	switch {
	case errors.As(err, &damage):
		return verdict.Arm{}, &exitError{exitIncomparable, err}
	case err != nil:
		return verdict.Arm{}, usage(err)
	}
	return verdict.Arm{Logs: []*bench.Log{log}}, nil
}

// baselinePrefix tells a baseline's name from a directory's.
const baselinePrefix = "baseline:"

func comparisonError(err error) error {
	var not *verdict.NotComparableError
	if errors.As(err, &not) {
		return &exitError{exitIncomparable, err}
	}
	return err
}
