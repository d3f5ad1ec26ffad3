package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"genbench/bench"
	"genbench/bench/verdict"
	"genbench/hardware"
)

// followUsage explains --follow.
const followUsage = "directory of a run that has just ended here: the device counts as warm and the machine as checked, and that " +
	"run's expected outputs are reused if binary and configuration are the same; a gate's launches do this"

// A manner is how a run is carried out, apart from what it measures.
type manner struct {
	// after is the journal of the run that this one follows; nil without one.
	after    *bench.Log
	noReport bool
	until    time.Time // how long to wait for the device and a quiet machine
}

// manner reads the run that is followed.
func (f runFlags) manner(until time.Time) (manner, error) {
	how := manner{noReport: f.noReport, until: until}
	if f.follow == "" {
		return how, nil
	}
	var err error
	if how.after, err = bench.ReadLog(f.follow); err != nil {
		return how, fmt.Errorf("--follow: %w", err)
	}
	return how, nil
}

// warm tells whether the run that is followed left the device warm: a launch then
// settles as a later one does (W2).
func (how manner) warm(device hardware.Info) bool {
	return how.after != nil && slices.ContainsFunc(how.after.Run.Devices, func(d hardware.Info) bool { return d.ID == device.ID })
}

// settled is where the followed run left the device after waiting for slopes; for a run
// that itself followed another, it is that one's state, so all that follow each other come
// back to one. Nil where the run does not say, or held another clock than this one.
func (how manner) settled(device hardware.Info, clocks bench.ClockPolicy) (state *bench.DeviceState) {
	if !how.warm(device) {
		return nil
	}
	if set := how.after.Clocks; len(set) > 0 {
		lock := set[len(set)-1].LockMHz
		if lock > 0 && clocks == bench.FloatClocks || clocks.MHz() > 0 && lock != clocks.MHz() {
			return nil
		}
	}
	first := false
	for _, s := range how.after.Settles {
		if s.Seconds > 0 && (s.First || !first) {
			state, first = &s.End, s.First
			if s.To != nil {
				state = s.To
			}
		}
	}
	return state
}

// openFor opens the machine's counters. What preflight found before the run that is
// followed still holds.
func (a *app) openFor(ctx context.Context, c bench.Config, how manner) (*machine, error) {
	if how.after == nil {
		return a.openQuietMachine(ctx, c, how.until)
	}
	m, err := openCounters(c.Device)
	if err != nil {
		return nil, err
	}
	m.findings = how.after.Run.Findings
	return m, nil
}

// known are the models that need not be described again: those of the run that is
// followed, if this very binary computed them from the same weights, shapes and
// images.
func (how manner) known(now bench.RunRecord) []bench.ModelRecord {
	if how.after == nil {
		return nil
	}
	then := how.after.Run
	if then.GenbenchSHA256 != now.GenbenchSHA256 || !then.Config.SameModels(now.Config) {
		return nil
	}
	return how.after.Models
}

// groups are how many inferences make a sample of the followed run (M4), by point as this
// run names it, whose plan may have another network or engine throughout. Two versions
// whose samples are not of one kind cannot be compared.
func (how manner) groups(plan []bench.PlannedPoint) map[string]int {
	if how.after == nil {
		return nil
	}
	groups := map[string]int{}
	for _, round := range how.after.Rounds {
		groups[round.ID] = max(round.AmortisedOver, 1)
	}
	now := &bench.Log{Run: bench.RunRecord{Plan: plan}}
	couples, err := verdict.Couples(verdict.Arm{Logs: []*bench.Log{how.after}}, verdict.Arm{Logs: []*bench.Log{now}})
	if err != nil {
		return groups // they have nothing in common, and each decides for itself
	}
	for _, c := range couples {
		if c.Base == nil || c.New == nil {
			continue
		}
		if n, ok := groups[c.Base.String()]; ok {
			groups[c.New.String()] = n
		}
	}
	return groups
}
