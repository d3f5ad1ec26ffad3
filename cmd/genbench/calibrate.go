package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/bench/verdict"
)

// calibrationPairs is how many A/A pairs a calibration takes (R5).
const calibrationPairs = 40

func (a *app) calibrateCommand() *cobra.Command {
	var f gateFlags
	cmd := &cobra.Command{
		Use:   "calibrate [-- RUN FLAGS]",
		Short: "Measure this machine against itself: how far two identical runs lie apart",
		Long: "Takes pairs of launches of the same thing and keeps, for every point, the 95th percentile of how\n" +
			"far the two of a pair lie apart: this machine's noise floor there. A gate never judges times below it, and\n" +
			"`genbench compare` may fail a build only with one that is fresh (7 days) and from this very machine.",
		Example: "  genbench calibrate\n  genbench calibrate -- --models genet-large --batches 1\n" +
			"  genbench calibrate --resume genbench-gate-20260301-090000 -- --models genet-large --batches 1",
		RunE: func(cmd *cobra.Command, args []string) error { return a.calibrate(cmd.Context(), &f, args) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.pairs, "pairs", calibrationPairs, "pairs of launches")
	flags.StringVar(&f.profile, "profile", "ci", "profile of the launches, see genbench list profiles")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the order of launches (default: drawn, and printed)")
	flags.StringVar(&f.resume, "resume", "", "directory of an interrupted calibration to continue; give the flags that it had")
	flags.StringVar(&f.out, "out", "", "directory for the results of all launches (default: genbench-gate-DATE-TIME, which --resume takes)")
	return cmd
}

func (a *app) calibrate(ctx context.Context, f *gateFlags, runFlags []string) error {
	if f.pairs < verdict.LeastCalibrationPairs || f.pairs > verdict.MostPairs {
		return usage(fmt.Errorf("--pairs %d: a 95th percentile needs at least %d, and at most %d are judged", f.pairs, verdict.LeastCalibrationPairs, verdict.MostPairs))
	}
	if f.resume != "" && f.out != "" {
		return usage(errors.New("--resume continues in its own directory and takes no --out"))
	}
	d, err := a.newDuel(f, runFlags)
	if err != nil {
		return err
	}
	if err := d.twins(); err != nil {
		return err
	}
	var kept kept
	if f.resume != "" {
		if kept, err = d.kept("pairs"); err != nil {
			return err
		}
	}
	if err := d.warmUp(ctx); err != nil {
		return d.interrupted(err)
	}
	pairs := d.batch("pairs", d.couples)
	if f.resume != "" {
		if err := d.stillTheSame(kept); err != nil {
			return err
		}
		pairs.base, pairs.fresh = kept.base, kept.fresh
		pairs.pairs, pairs.before = kept.pairs, kept.pairs
	}
	fmt.Fprintf(a.stderr, "plan: %d pairs %s\n", f.pairs-pairs.before, seconds(pairs.planned(f.pairs-pairs.before).Seconds()))
	if err := d.fight(ctx, pairs, f.pairs); err != nil {
		return d.interrupted(err)
	}
	pairs.account(d.stderr)
	o := verdict.Options{Metrics: verdict.Metrics()[:1], Alpha: 0.05, Live: true}
	c, err := verdict.Compare(pairs.base, pairs.fresh, o)
	if err != nil {
		return comparisonError(err)
	}
	cal, err := verdict.NewCalibration(c, verdict.SettingOf(pairs.fresh))
	if err != nil {
		return &exitError{exitInvalid, err}
	}
	state, err := verdict.StateDir()
	if err != nil {
		return err
	}
	points := len(cal.Points)
	path, err := cal.Save(state, time.Now())
	if err != nil {
		return err
	}
	var rows [][]string
	worst := 0.0
	look, confirm := verdict.Looks(verdict.FirstLook, verdict.SecondLook, o.Alpha)[1], verdict.Confirmation(1, o.Alpha)
	for _, r := range c.Families[0].Rows {
		floor, ok := cal.Floor(r.Point, r.Network)
		if !ok {
			rows = append(rows, []string{r.Point.String(), "", "", r.Reason})
			continue
		}
		worst = max(worst, floor.Floor)
		rows = append(rows, []string{r.Point.String(), fmt.Sprintf("%.2f %%", 100*floor.Floor), fmt.Sprintf("%.2f %%", 100*floor.PairSD),
			fmt.Sprintf("%.2f %%", 100*verdict.Detectable(look, points, confirm, floor.Floor, floor.PairSD))})
	}
	if err := table(a.stdout, []string{"point", "noise floor", "pair sd", "detectable"}, rows, nil, 1); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\nThe smallest threshold that works for all of them is %.1f %%. Detectable: the least slow-down that a\ngate of %d pairs over these %d points finds and confirms with 80 %% power, with the floor as its\nmargin. Kept in %s, good for %d days.\n",
		100*roundUp(worst), verdict.SecondLook, points, publicPath(path), int(verdict.Fresh.Hours()/24))
	return nil
}

// A kept is what an earlier sitting finished.
type kept struct {
	pilot       *bench.Log // of the new arm
	base, fresh verdict.Arm
	pairs       int
}

// kept reads the pairs that an earlier sitting finished, and removes what it left of
// the next.
func (d *duel) kept(batch string) (kept, error) {
	var k kept
	pilots := [2]verdict.Arm{}
	for i, arm := range d.arms {
		log, err := bench.ReadLog(filepath.Join(d.dir, warmUpName(1), arm.name))
		if err != nil {
			return k, usage(fmt.Errorf("--resume %s: no calibration was begun there: %w", d.dir, err))
		}
		pilots[i], k.pilot = verdict.Arm{Logs: []*bench.Log{log}}, log
	}
	couples, err := verdict.Couples(pilots[0], pilots[1])
	if err != nil {
		return k, comparisonError(err)
	}
	for {
		dir := d.pairDir(batch, k.pairs+1)
		base, fresh := d.finishedLegs(batch, k.pairs+1)
		visited := 0
		for _, log := range fresh {
			visited += len(log.Run.Plan)
		}
		if visited == len(couples) {
			k.base.Logs, k.fresh.Logs = append(k.base.Logs, base...), append(k.fresh.Logs, fresh...)
			k.pairs++
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return k, fmt.Errorf("continue %s: %w", d.dir, err)
		}
		if k.pairs == 0 {
			return k, usage(fmt.Errorf("--resume %s: no pair of launches is finished there", d.dir))
		}
		return k, nil
	}
}

// finishedLegs reads the legs of a pair up to the first that is not finished.
func (d *duel) finishedLegs(batch string, pair int) (base, fresh []*bench.Log) {
	for leg := 1; ; leg++ {
		var logs [2]*bench.Log
		for i := range d.arms {
			log, err := bench.ReadLog(d.launchDir(batch, pair, leg, i))
			if err != nil || !log.Finished() {
				return base, fresh
			}
			logs[i] = log
		}
		base, fresh = append(base, logs[0]), append(fresh, logs[1])
	}
}

// stillTheSame refuses to add to launches that measured something else. It compares
// the second pilots of both sittings, and the clocks of the launches.
func (d *duel) stillTheSame(k kept) error {
	then, now := k.pilot, d.pilots[1].log
	changes := verdict.Arm{Logs: []*bench.Log{then, now}}.Changed()
	if before := verdict.SettingOf(k.fresh).Clocks; d.clocks != nil && before != d.clocks.String() {
		changes = append(changes, verdict.Difference{Name: "clocks", Base: before, New: d.clocks.String()})
	}
	if len(changes) == 0 && !slices.Equal(pointsOf(then.Run.Plan), pointsOf(now.Run.Plan)) {
		changes = []verdict.Difference{{Name: "points", Base: fmt.Sprintf("%d points", len(then.Run.Plan)), New: fmt.Sprintf("%d, or others", len(now.Run.Plan))}}
	}
	if len(changes) > 0 {
		return comparisonError(&verdict.NotComparableError{Reason: "what " + d.dir + " holds was measured differently", Differences: changes})
	}
	return nil
}

// twins makes both versions this binary.
func (d *duel) twins() error {
	c, err := d.self()
	if err != nil {
		return err
	}
	for i, name := range []string{"base", "new"} {
		d.arms[i] = c
		d.arms[i].name = name
	}
	return nil
}
