package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/hardware"
)

// quietPoll is the time between two looks at a busy machine.
const quietPoll = 5 * time.Second

// addWait adds --wait to the flags of a command that measures.
func addWait(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", 0, "how long to wait for another run on the device, and for other work on the machine, to end (default: not at all)")
}

// patience is how long a run that was given --wait waits for others.
func patience(wait time.Duration) (until time.Time, err error) {
	if wait < 0 {
		return until, usage(fmt.Errorf("--wait %s: want a time from 0s", wait))
	}
	return time.Now().Add(wait), nil
}

// lockDevice keeps a second run off the device. It waits until then for one that is
// there, and says which.
func (a *app) lockDevice(ctx context.Context, id, dir string, until time.Time) (*hardware.DeviceLock, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	lock, err := hardware.AwaitDevice(ctx, id, absolute, time.Until(until), func(holder hardware.DeviceHolder) {
		fmt.Fprintf(a.stderr, "waiting until %s for device %s: %s\n", until.Format(time.TimeOnly), id, holder)
	})
	var held *hardware.DeviceHeldError
	switch {
	case errors.As(err, &held):
		return nil, &exitError{exitUnavailable, err}
	case ctx.Err() != nil:
		return nil, interruptedWaiting()
	}
	return lock, err
}

// openQuietMachine is openMachine once others leave the machine alone. At the end
// of the wait it is opened as it is, and its findings name them.
func (a *app) openQuietMachine(ctx context.Context, c bench.Config, until time.Time) (*machine, error) {
	for told := false; ; told = true {
		m, err := openMachine(ctx, c)
		if ctx.Err() != nil {
			return nil, interruptedWaiting()
		}
		if err != nil {
			return nil, err
		}
		busy := slices.IndexFunc(m.findings, hardware.Finding.Passes)
		left := time.Until(until)
		if busy < 0 || left <= 0 {
			return m, nil
		}
		if !told {
			fmt.Fprintf(a.stderr, "waiting until %s for a quiet machine: %s\n", until.Format(time.TimeOnly), m.findings[busy].Text)
		}
		if err := m.close(); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, interruptedWaiting()
		case <-time.After(min(quietPoll, left)):
		}
	}
}

func interruptedWaiting() error {
	return &exitError{exitInterrupted, errors.New("interrupted before anything was measured")}
}
