package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/bench/verdict"
	"genbench/reports"
)

func openShelf() (verdict.Shelf, error) {
	state, err := verdict.StateDir()
	if err != nil {
		return verdict.Shelf{}, err
	}
	return verdict.NewShelf(state), nil
}

func (a *app) baselineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "baseline",
		Short: "Keep results under a name to compare with: save, list, show, rm",
		Long: "Keep two: the last good run, which you keep replacing, and a release, which you do not; a baseline\n" +
			"that is always replaced hides slow creep. `genbench compare baseline:NAME DIR` compares with one.",
		Args: func(cmd *cobra.Command, args []string) error {
			return usage(errors.New("baseline needs a command: save NAME DIR, list, show NAME or rm NAME"))
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	var replace bool
	var allow []string
	save := &cobra.Command{
		Use:   "save NAME DIR",
		Short: "Keep a run; one with invalid, failed or missing points is refused",
		Long: "With --replace the run takes the place of the baseline of that name, if a comparison of the two\n" +
			"leaves nothing undecided and nothing regressed. To replace a baseline despite the verdict, rm it first.",
		Example: "  genbench baseline save release genbench-20260301-090000",
		Args:    exactArgs(2, "a name and the directory of a run"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.saveBaseline(args[0], args[1], replace, allow) },
	}
	save.Flags().BoolVar(&replace, "replace", false, "take the place of the baseline of that name")
	save.Flags().StringSliceVar(&allow, "allow-diff", nil, "with --replace, differences that do not spoil the comparison, see genbench compare --help")
	list := &cobra.Command{
		Use: "list", Short: "Show all baselines", Args: exactArgs(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error { return a.listBaselines() },
	}
	show := &cobra.Command{
		Use: "show NAME", Short: "Show the numbers of a baseline", Args: exactArgs(1, "a name"),
		RunE: func(_ *cobra.Command, args []string) error {
			arm, err := a.loadArm(baselinePrefix + args[0])
			if err != nil {
				return err
			}
			return reports.Text(a.width())(a.stdout, bench.NewResult(arm.Logs[0]))
		},
	}
	rm := &cobra.Command{
		Use: "rm NAME", Short: "Forget a baseline", Args: exactArgs(1, "a name"),
		RunE: func(_ *cobra.Command, args []string) error {
			shelf, err := openShelf()
			if err != nil {
				return err
			}
			return shelfError(shelf.Remove(args[0]))
		},
	}
	cmd.AddCommand(save, list, show, rm)
	return cmd
}

func (a *app) saveBaseline(name, dir string, replace bool, allow []string) error {
	if err := checkDifferences(allow); err != nil {
		return usage(err)
	}
	shelf, err := openShelf()
	if err != nil {
		return err
	}
	arm, err := a.loadArm(dir)
	if err != nil {
		return err
	}
	if err := verdict.Fit(arm.Logs[0]); err != nil {
		return unfit(err)
	}
	if old, pathErr := shelf.Path(name); replace && pathErr == nil {
		base, err := a.loadArm(old)
		if err != nil {
			return err
		}
		// The two are of different times, which makes a comparison advice only; replacing
		// is for just that.
		c, err := verdict.Compare(base, arm, verdict.Options{Metrics: verdict.Metrics()[:1], Alpha: 0.05, Live: true, Allow: allow})
		if err != nil {
			return comparisonError(err)
		}
		c.Strict = true
		if code := c.ExitCode(); code != 0 {
			return &exitError{code, fmt.Errorf("save baseline: against the present %s: %s See `genbench compare %s%s %s`",
				name, reports.Headline(c), baselinePrefix, name, dir)}
		}
	}
	if err := shelf.Save(name, dir, replace); err != nil {
		return shelfError(err)
	}
	fmt.Fprintf(a.stdout, "%s: run %s\n", name, arm.Run().ID)
	return nil
}

// shelfError tells a wrong name from a failing disk.
func shelfError(err error) error {
	var disk *fs.PathError
	if err == nil || errors.As(err, &disk) {
		return err
	}
	return usage(err)
}

// unfit gives the exit code of a run that cannot become a baseline.
func unfit(err error) error {
	var u *verdict.UnfitError
	if !errors.As(err, &u) {
		return err
	}
	if u.Invalid {
		return &exitError{exitInvalid, err}
	}
	return &exitError{exitIncomplete, err}
}

func (a *app) listBaselines() error {
	shelf, err := openShelf()
	if err != nil {
		return err
	}
	all, err := shelf.List()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Fprintln(a.stdout, "no baselines; `genbench baseline save NAME DIR` keeps one")
		return nil
	}
	var rows [][]string
	for _, b := range all {
		if b.Err != nil {
			rows = append(rows, []string{b.Name, "damaged", "", "", b.Err.Error()})
			continue
		}
		run := b.Log.Run
		measured := 0
		for _, o := range bench.Outcomes(b.Log) {
			if o.State == bench.Measured {
				measured++
			}
		}
		rows = append(rows, []string{b.Name, run.ID, run.Started.UTC().Format(time.DateOnly), fmt.Sprint(measured), ""})
	}
	return table(a.stdout, []string{"name", "run", "taken", "points", ""}, rows, nil, 3)
}
