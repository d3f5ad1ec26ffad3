package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"genbench/bench"
	"genbench/hardware/native"
)

// resume continues an interrupted run: the same plan, in the same order, on the same
// machine, with the same binary and libraries, into the same journal.
func (a *app) resume(ctx context.Context, dir string, until time.Time) (err error) {
	// Only read, not estimated: another run may be measuring, and estimating keeps the
	// processors busy.
	before, err := bench.ReadLog(dir)
	if err != nil {
		return usage(err)
	}
	// Before the journal is touched: the run may not be over.
	lock, err := a.lockDevice(ctx, deviceID(before.Run.Config.Device), dir, until)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	journal, log, err := bench.ReopenJournal(dir)
	if err != nil {
		return usage(err)
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	if log.Finished() {
		fmt.Fprintf(a.stderr, "genbench: the run in %s is finished; there is nothing left to do\n", dir)
		result := bench.NewResult(log)
		return errors.Join(a.show(result, dir), exitOf(result.ExitCode()))
	}
	plan, device, err := a.planOn(ctx, log.Run.Config, false)
	if err != nil {
		return err
	}
	m, err := a.openQuietMachine(ctx, plan.Config, until)
	if err != nil {
		return err
	}
	defer m.close()
	started := time.Now()
	now, err := describeRun(plan, device, m, started)
	if err != nil {
		return err
	}
	changed, err := log.ChangedFiles()
	if err != nil {
		return fmt.Errorf("resume %s: %w", dir, err)
	}
	if differences := append(log.Run.Differences(now), changed...); len(differences) > 0 {
		return &exitError{exitIncomparable, fmt.Errorf("resume %s: what it measured and what would be added to it do not belong together:\n  %s\nstart a new run, or resume it where it was begun", dir, strings.Join(differences, "\n  "))}
	}
	base := log.ContinueBase(native.Now(), started)
	err = journal.Append(bench.ResumeRecord{
		Type: "resume", Started: started.UTC(), MonotonicBase: base,
		GenbenchVersion: now.GenbenchVersion, Argv: publicArgs(os.Args), Findings: m.findings,
	})
	if err != nil {
		return err
	}
	return a.execute(ctx, &bench.Runner{Plan: plan, Journal: journal, Base: base, Past: log}, m, dir, false)
}
