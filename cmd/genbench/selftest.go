package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/hardware"
)

func (a *app) selftestCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Let the instrument measure itself: its clock, its loop, calls of known length",
		Args:  exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			device, err := hardware.NewHost()
			if err != nil {
				return err
			}
			defer device.Close()
			stream, err := device.NewStream()
			if err != nil {
				return err
			}
			defer stream.Close()
			samplers, closeSamplers, err := openSamplers()
			if err != nil {
				return err
			}
			test, err := hardware.RunSelfTest(cmd.Context(), stream, samplers...)
			err = errors.Join(err, closeSamplers())
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(a.stdout, test)
			} else {
				err = a.writeSelfTest(test)
			}
			if err == nil && !test.Passed {
				return &exitError{exitInvalid, fmt.Errorf("the instrument is off by more than its limits on this machine; `genbench doctor` says what disturbs it")}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) writeSelfTest(t hardware.SelfTest) error {
	var rows [][]string
	for _, c := range t.Checks {
		verdict := "ok"
		switch {
		case c.Undecided:
			verdict = "undecided"
		case !c.Passed:
			verdict = "FAIL"
		}
		rows = append(rows, []string{verdict, c.Name, fmt.Sprintf("%.4g", c.Value), fmt.Sprintf("%.4g", c.Limit), c.Unit})
	}
	if err := table(a.stdout, []string{"", "check", "value", "limit", "unit"}, rows, nil, 2); err != nil {
		return err
	}
	if tel := t.Telemetry; tel != nil {
		fmt.Fprintf(a.stdout, "\nreadings, ten a second beside calls of %v: one takes %v; they move the median by %s, the p99 by %s (99 %% intervals)\n",
			time.Duration(tel.WorkNS), time.Duration(tel.ReadingNS).Round(time.Microsecond), describeShift(tel.Median), describeShift(tel.P99))
	}
	fmt.Fprintf(a.stdout, "\nwhy the loop is in C: what reading Go's clock around the same call adds\n\n")
	rows = nil
	for _, g := range t.GoTiming {
		rows = append(rows, []string{
			time.Duration(g.SpinNS).String(), time.Duration(g.Added.MedianNS).String(), time.Duration(g.Added.P99NS).String(), fmt.Sprint(g.Added.Samples),
		})
	}
	return table(a.stdout, []string{"call", "median", "p99", "samples"}, rows, nil, 0)
}

func describeShift(s hardware.Shift) string {
	return fmt.Sprintf("%.3f [%.3f, %.3f] %%", 100*s.Value, 100*s.Low, 100*s.High)
}

// openSamplers opens all counters that a run reads.
func openSamplers() (samplers []hardware.Sampler, closeAll func() error, err error) {
	m := &machine{}
	host, err := hardware.NewHostSampler("")
	if err != nil {
		return nil, nil, err
	}
	m.telemetry = append(m.telemetry, bench.Telemetry{Device: "host", Sampler: host})
	if err := m.openGPUs(); err != nil {
		return nil, nil, errors.Join(err, m.close())
	}
	for _, t := range m.telemetry {
		samplers = append(samplers, t.Sampler)
	}
	return samplers, m.close, nil
}
