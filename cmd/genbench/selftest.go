package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

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
	a.writeTelemetryTest(t.Telemetry)
	fmt.Fprintf(a.stdout, "\nwhy the loop is in C: what reading Go's clock around the same call adds\n\n")
	rows = nil
	for _, g := range t.GoTiming {
		rows = append(rows, []string{
			time.Duration(g.SpinNS).String(), time.Duration(g.Added.MedianNS).String(), time.Duration(g.Added.P99NS).String(), fmt.Sprint(g.Added.Samples),
		})
	}
	return table(a.stdout, []string{"call", "median", "p99", "samples"}, rows, nil, 0)
}

func (a *app) writeTelemetryTest(t *hardware.TelemetryTest) {
	if t == nil {
		return
	}
	percent := func(s hardware.Shift) string {
		return fmt.Sprintf("%.3f [%.3f, %.3f] %%", 100*s.Value, 100*s.Low, 100*s.High)
	}
	fmt.Fprintf(a.stdout, "\nreadings, ten a second beside calls of %v: one takes %v; they move the median by %s, the p99 by %s (99 %% intervals)\n",
		time.Duration(t.WorkNS), time.Duration(t.ReadingNS).Round(time.Microsecond), percent(t.Median), percent(t.P99))
}
