package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"genbench/bench"
	"genbench/hardware"
)

// followUsage explains --follow.
const followUsage = "directory of a run that has just ended here: the device counts as warm and the machine as looked at, and that " +
	"run's expected outputs are taken over if binary and configuration are the same; what a gate's launches do"

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

// warm tells whether the run that is followed has left the device so: a launch then
// settles as one that is not the first (W2).
func (how manner) warm(device hardware.Info) bool {
	return how.after != nil && slices.ContainsFunc(how.after.Run.Devices, func(d hardware.Info) bool { return d.ID == device.ID })
}

// settled is where the followed run left the device, once slopes were waited for; a run
// that followed another itself came back to where that was. Nil where it does not tell,
// or held a clock where this one lets it float.
func (how manner) settled(device hardware.Info, clocks bench.ClockPolicy) (state *bench.DeviceState) {
	if !how.warm(device) {
		return nil
	}
	if set := how.after.Clocks; len(set) > 0 && set[len(set)-1].LockMHz > 0 && clocks == bench.FloatClocks {
		return nil
	}
	first := false
	for _, s := range how.after.Settles {
		if s.Seconds > 0 && (s.First || !first) {
			end := s.End
			state, first = &end, s.First
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

// known are the models that need not be described anew: those of the run that is
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

// groups are how many inferences a sample of the followed run is of, by point (M4).
func (how manner) groups() map[string]int {
	if how.after == nil {
		return nil
	}
	groups := map[string]int{}
	for _, round := range how.after.Rounds {
		groups[round.ID] = max(round.AmortisedOver, 1)
	}
	return groups
}
