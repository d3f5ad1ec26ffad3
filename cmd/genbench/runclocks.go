package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"genbench/bench"
	"genbench/hardware"
)

// clocksUsage explains `genbench run --clocks`.
const clocksUsage = "what to do about the clocks of a GPU: auto, float, lock:base or lock:MHZ (default on a GPU: auto)"

// clockPolicy resolves --clocks, or the suite's clocks, for a device. The default on a GPU is auto: protocol C5
// makes a run that may not lock continue with floating clocks, so asking costs nothing
// where it is refused, and only a lock makes class Q1.
func clockPolicy(f runFlags, suite bench.Suite, device hardware.Info) (bench.ClockPolicy, error) {
	asker, asked := "--clocks", f.clocks
	if !f.given("clocks") {
		asker, asked = fmt.Sprintf("suite %s: clocks", suite.Name), string(suite.Clocks)
	}
	switch {
	case asked == "" && !f.given("clocks") && device.Kind == hardware.Host:
		return "", nil
	case asked == "" && !f.given("clocks"):
		return bench.AutoClocks, nil
	case device.Kind == hardware.Host:
		return "", fmt.Errorf("%s: the device is a host, whose clocks are its governor's: `genbench doctor` reports it, and --cpus binds the measuring process", asker)
	}
	policy, err := bench.ParseClockPolicy(asked)
	if err != nil {
		return "", fmt.Errorf("%s: %w", asker, err)
	}
	return policy, nil
}

// A runClocks holds the clocks of the GPU that a run measures on, by one lease after
// the other.
type runClocks struct {
	nvml  *hardware.NVML
	gpu   hardware.GPU
	lease *hardware.ClockLease // nil while nothing is held
	// refused is why they cannot be held here at all.
	refused error
}

// openClocks finds the GPU of a run. A GPU that NVML does not show is not an error
// here: its clocks float, and the run says why.
func openClocks(device string) (*runClocks, error) {
	c := &runClocks{}
	var err error
	c.nvml, err = hardware.OpenNVML(os.Getenv(nvmlVariable))
	var absent *hardware.NVMLUnavailableError
	if errors.As(err, &absent) {
		c.refused = err
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	gpus, err := c.nvml.GPUs()
	if err != nil {
		c.refused = err
		return c, nil
	}
	for _, gpu := range gpus {
		if strings.EqualFold(gpu.UUID, device) {
			c.gpu = gpu
			return c, nil
		}
	}
	c.refused = fmt.Errorf("the driver's NVML shows no GPU %s; the clocks of a MIG instance are the whole board's", device)
	return c, nil
}

// Supported implements bench.Clocks.
func (c *runClocks) Supported() []int { return c.gpu.SMClocksMHz }

// Holder implements bench.Clocks.
func (c *runClocks) Holder() (*hardware.Lease, error) {
	_, directories := leaseDirectories()
	leases, err := hardware.Leases(directories...)
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if l.Held && c.refused == nil && l.Request.GPU == c.gpu.UUID {
			return &l, nil
		}
	}
	return nil, nil
}

// Lock implements bench.Clocks.
func (c *runClocks) Lock(ctx context.Context, mhz int) error {
	if c.refused != nil {
		return c.refused
	}
	request := c.request(mhz)
	if c.Standing() && c.lease.Record.Request == request {
		return nil
	}
	if err := c.Release(); err != nil {
		return err
	}
	lease, err := leaseClocks(ctx, c.nvml, request)
	c.lease = lease
	return err
}

// request is the lease for a clock, the base for 0. The memory's clock is left alone:
// boards before Ampere cannot lock it (C3), and one policy must mean one thing.
func (c *runClocks) request(mhz int) hardware.ClockRequest {
	return hardware.ClockRequest{GPU: c.gpu.UUID, SMMHz: mhz, Base: mhz == 0}
}

// Release implements bench.Clocks.
func (c *runClocks) Release() error {
	if c.lease == nil {
		return nil
	}
	lease := c.lease
	c.lease = nil
	return lease.Close()
}

// Standing implements bench.Clocks.
func (c *runClocks) Standing() bool { return c.lease != nil && c.lease.Held() }

// close gives the clocks back.
func (c *runClocks) close() error {
	err := c.Release()
	if c.nvml != nil {
		err = errors.Join(err, c.nvml.Close())
	}
	return err
}

// checkClocks refuses, before anything is written, a clock that was named and cannot
// be had for another reason than missing rights: without those the run continues with
// floating clocks (C5).
func checkClocks(config bench.Config) (err error) {
	if config.Clocks.MHz() == 0 && config.Clocks != bench.BaseClocks {
		return nil
	}
	c, err := openClocks(config.Device)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if c.refused != nil {
		return &exitError{exitUnavailable, fmt.Errorf("--clocks %s: %w; `--clocks float` leaves them to the driver", config.Clocks, c.refused)}
	}
	request := c.request(config.Clocks.MHz())
	if err := c.nvml.CheckClockRequest(request); err != nil {
		return usage(fmt.Errorf("--clocks %s: %w", config.Clocks, err))
	}
	held, err := c.Holder()
	if err != nil {
		return err
	}
	if held != nil && held.Request != request {
		return &exitError{exitUnavailable, fmt.Errorf("--clocks %s: %w", config.Clocks, &hardware.LeaseHeldError{Lease: *held})}
	}
	return nil
}

// fixClocks gives all launches of a duel the clocks that its warm-up settled on:
// found again by each, they would differ between launches, and between the versions. It
// tells whether a pilot ended with others. A version whose journal says nothing of
// clocks does not know the flag.
func (d *duel) fixClocks() (changed bool) {
	if hasFlag(d.common, "--clocks") || hasFlag(d.arms[0].flags, "--clocks") || hasFlag(d.arms[1].flags, "--clocks") {
		return false
	}
	for _, p := range d.pilots {
		log := p.log
		if len(log.Clocks) == 0 {
			d.clocks = nil
			return false
		}
		last := log.Clocks[len(log.Clocks)-1]
		if last.Holder != 0 { // every launch finds by itself who holds them
			d.clocks = nil
			return false
		}
		changed = changed || d.clocks != nil && last.LockMHz != d.clocks.LockMHz
		if d.clocks == nil || last.LockMHz < d.clocks.LockMHz { // 0 floats
			d.clocks = &last
		}
	}
	policy := bench.FloatClocks
	if d.clocks.LockMHz > 0 {
		policy = bench.LockedClocks(d.clocks.LockMHz)
	}
	d.common = append(d.common, "--clocks", string(policy))
	return changed
}
