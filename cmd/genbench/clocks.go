package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"genbench/hardware"
)

// leasesVariable names another directory for the leases of clocks.
const leasesVariable = "GENBENCH_LEASES"

// guardName is the hidden command that every lease of clocks starts.
const guardName = "guard"

func (a *app) clocksCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clocks",
		Short: "Show, hold or give back the clocks of GPUs",
		Args:  exactArgs(0, "show, lock or reset"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.clocksShowCommand(), a.clocksLockCommand(), a.clocksResetCommand(), &cobra.Command{
		Use:    guardName,
		Short:  "Give clocks back when their holder ends; a lease starts this itself",
		Hidden: true,
		Args:   exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return hardware.GuardClocks(cmd.Context(), a.stdin, a.stdout)
		},
	})
	return cmd
}

func (a *app) clocksShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print each GPU's clocks and who holds them",
		Args:  exactArgs(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			return withNVML(func(n *hardware.NVML, gpus []hardware.GPU) error { return a.showClocks(n, gpus) })
		},
	}
}

func (a *app) clocksLockCommand() *cobra.Command {
	var uuids []string
	var memory int
	cmd := &cobra.Command{
		Use:   "lock MHZ|base",
		Short: "Hold the SM clocks of GPUs until this command ends, however it ends",
		Long: "Hold the SM clocks of GPUs until this command ends. It needs root, and in a container CAP_SYS_ADMIN.\n\n" +
			"A guardian process gives the clocks back when this one ends, even if it is killed. While it runs, a\n" +
			"`genbench run` of any user finds the clocks held. \"base\" is the highest clock that the board holds at its\n" +
			"power limit.\n\n" +
			"What is held is written down in /run/genbench, or in the directory that GENBENCH_LEASES names, for\n" +
			"`genbench clocks reset`. Mount that directory from the host into containers: killing a whole container also kills\n" +
			"the guardian.",
		Example: "  genbench clocks lock base\n  genbench clocks lock 1410 --gpus GPU-5c89b0aa-…",
		Args:    exactArgs(1, "one clock in MHz, or base"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := hardware.ClockRequest{Base: args[0] == "base", MemoryMHz: memory}
			if !request.Base {
				mhz, err := strconv.Atoi(args[0])
				if err != nil || mhz <= 0 {
					return usage(fmt.Errorf("lock clocks: %q is not a clock; want a number of MHz, or base", args[0]))
				}
				request.SMMHz = mhz
			}
			return withNVML(func(n *hardware.NVML, gpus []hardware.GPU) error {
				chosen, err := chooseGPUs(gpus, uuids)
				if err != nil {
					return err
				}
				return a.holdClocks(cmd.Context(), n, chosen, request)
			})
		},
	}
	cmd.Flags().StringSliceVar(&uuids, "gpus", nil, "UUIDs of the GPUs (default: all)")
	cmd.Flags().IntVar(&memory, "memory", 0, "also lock the memory clock, at this many MHz (Ampere and newer)")
	return cmd
}

func (a *app) clocksResetCommand() *cobra.Command {
	var uuids []string
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Give back clocks that a dead process left locked",
		Long: "Give back clocks that a dead process left locked, as its lease says. With --gpus, give back those of the GPUs\n" +
			"named, whoever locked them. A lease whose holder lives is left alone.",
		Args: exactArgs(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			return withNVML(func(n *hardware.NVML, gpus []hardware.GPU) error { return a.resetClocks(n, gpus, uuids) })
		},
	}
	cmd.Flags().StringSliceVar(&uuids, "gpus", nil, "UUIDs of the GPUs (default: those with a lease left over)")
	return cmd
}

// withNVML opens the driver's library for one command.
func withNVML(do func(*hardware.NVML, []hardware.GPU) error) error {
	n, err := hardware.OpenNVML(os.Getenv(nvmlVariable))
	var absent *hardware.NVMLUnavailableError
	if errors.As(err, &absent) {
		return &exitError{exitUnavailable, err}
	}
	if err != nil {
		return err
	}
	gpus, err := n.GPUs()
	if err == nil {
		err = do(n, gpus)
	}
	if closeErr := n.Close(); err == nil {
		err = closeErr
	}
	return err
}

// chooseGPUs picks the GPUs named, or all.
func chooseGPUs(gpus []hardware.GPU, uuids []string) ([]hardware.GPU, error) {
	if uuids == nil {
		return gpus, nil
	}
	var chosen []hardware.GPU
	for _, uuid := range uuids {
		i := slices.IndexFunc(gpus, func(g hardware.GPU) bool { return g.UUID == uuid })
		if i < 0 {
			var known []string
			for _, g := range gpus {
				known = append(known, g.UUID)
			}
			return nil, usage(fmt.Errorf("--gpus %s: the driver shows %s", uuid, strings.Join(known, ", ")))
		}
		chosen = append(chosen, gpus[i])
	}
	return chosen, nil
}

// leaseDirectories are where leases are looked for; own is where new ones go.
func leaseDirectories() (own string, all []string) {
	if dir := os.Getenv(leasesVariable); dir != "" {
		return dir, []string{dir}
	}
	return hardware.LeaseDirectory(), hardware.LeaseDirectories()
}

// leaseClocks holds the clocks of one GPU until the lease is closed or this process
// ends.
func leaseClocks(ctx context.Context, n *hardware.NVML, request hardware.ClockRequest) (*hardware.ClockLease, error) {
	own, _ := leaseDirectories()
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("lock clocks: find this program for the guardian: %w", err)
	}
	guardian := &exec.Cmd{Path: self, Args: []string{"genbench", "clocks", guardName}}
	lease, err := hardware.LeaseClocks(ctx, n, request, own, guardian)
	var held *hardware.LeaseHeldError
	var left *hardware.LeaseLeftoverError
	var impossible *hardware.ClockRequestError
	switch {
	case errors.As(err, &impossible):
		return nil, usage(err)
	case errors.As(err, &held), errors.As(err, &left), errors.Is(err, hardware.ErrClockRights):
		return nil, &exitError{exitUnavailable, err}
	}
	return lease, err
}

// leaseCheck is how often a holder checks that its guardian still lives.
const leaseCheck = 200 * time.Millisecond

// holdClocks locks until the context ends.
func (a *app) holdClocks(ctx context.Context, n *hardware.NVML, gpus []hardware.GPU, request hardware.ClockRequest) (err error) {
	var leases []*hardware.ClockLease
	defer func() {
		for _, l := range leases {
			err = errors.Join(err, l.Close())
		}
		if err == nil {
			fmt.Fprintln(a.stdout, "given back")
		}
	}()
	for _, gpu := range gpus {
		request.GPU = gpu.UUID
		lease, err := leaseClocks(ctx, n, request)
		if err != nil {
			return err
		}
		leases = append(leases, lease)
		fmt.Fprintf(a.stdout, "holding %s: %s\n", describeGPU(gpu), request)
	}
	fmt.Fprintln(a.stdout, "until this command ends; Ctrl-C ends it")
	for tick := time.NewTicker(leaseCheck); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
		for _, l := range leases {
			if !l.Held() {
				tick.Stop()
				return fmt.Errorf("hold clocks of GPU %s: the guardian has ended; the clocks are given back", l.Record.Request.GPU)
			}
		}
	}
}

func (a *app) resetClocks(n *hardware.NVML, gpus []hardware.GPU, uuids []string) error {
	_, directories := leaseDirectories()
	if uuids == nil {
		leases, err := hardware.Leases(directories...)
		if err != nil {
			return err
		}
		for _, l := range leases {
			uuids = append(uuids, l.Request.GPU)
		}
		if len(uuids) == 0 {
			fmt.Fprintln(a.stdout, "no lease is left over; --gpus UUID gives back clocks that something else locked")
			return nil
		}
	}
	chosen, err := chooseGPUs(gpus, uuids)
	if err != nil {
		return err
	}
	var errs []error
	for _, gpu := range chosen {
		err := hardware.ResetClocks(n, gpu.UUID, directories...)
		var held *hardware.LeaseHeldError
		switch {
		case errors.As(err, &held), errors.Is(err, hardware.ErrClockRights):
			errs = append(errs, &exitError{exitUnavailable, err})
		case err != nil:
			errs = append(errs, err)
		default:
			fmt.Fprintf(a.stdout, "gave back the clocks of %s\n", describeGPU(gpu))
		}
	}
	return errors.Join(errs...)
}

func (a *app) showClocks(n *hardware.NVML, gpus []hardware.GPU) error {
	_, directories := leaseDirectories()
	leases, err := hardware.Leases(directories...)
	if err != nil {
		return err
	}
	mhz := func(v *int) string {
		if v == nil {
			return "unknown"
		}
		return strconv.Itoa(*v)
	}
	var rows [][]string
	for _, gpu := range gpus {
		sampler, err := hardware.NewNVMLSampler(n, gpu.UUID, nil)
		if err != nil {
			return err
		}
		reading, err := sampler.Sample()
		if err = errors.Join(err, sampler.Close()); err != nil {
			return err
		}
		held := "nobody"
		for _, l := range leases {
			switch {
			case l.Request.GPU != gpu.UUID:
			case l.Held:
				held = fmt.Sprintf("process %d: %s", l.PID, l.Request)
			default:
				held = fmt.Sprintf("left over by process %d: %s", l.PID, l.Request)
			}
		}
		rows = append(rows, []string{
			describeGPU(gpu), held, mhz(reading.GPU.SMClockMHz), mhz(gpu.BaseSMClockMHz), mhz(gpu.MaxSMClockMHz),
			mhz(reading.GPU.MemoryClockMHz), mhz(gpu.MaxMemoryClockMHz),
		})
	}
	return table(a.stdout, []string{"GPU", "held by", "SM MHz", "base", "max", "memory MHz", "max"}, rows, nil, 2)
}
