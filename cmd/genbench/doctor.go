package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"genbench/hardware"
)

// A diagnosis is what `genbench doctor` finds.
type diagnosis struct {
	Devices  []hardware.Info          `json:"devices"`
	GPUs     []hardware.GPU           `json:"gpus"`
	NoGPUs   string                   `json:"gpus_reason,omitempty"`
	Host     hardware.HostDescription `json:"host"`
	Engines  []engineStatus           `json:"engines"`
	Findings []hardware.Finding       `json:"findings"`
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	var threads int
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is here, what is missing, and what would disturb a measurement",
		Args:  exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			device, err := hardware.NewHost()
			if err != nil {
				return err
			}
			defer device.Close()
			if threads == 0 {
				threads = device.Info().Cores
			}
			m, err := openMachine(cmd.Context(), threads)
			if err != nil {
				return err
			}
			defer m.close()
			d := diagnosis{
				Devices: []hardware.Info{device.Info()}, Host: hardware.DescribeHost(""),
				GPUs: m.gpus, NoGPUs: m.gpusReason, Findings: m.findings,
			}
			if d.Engines, err = a.engineStatuses(cmd.Context()); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.stdout, d)
			}
			return a.writeDiagnosis(d)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVar(&threads, "threads", 0, "host threads an inference will use (default: all usable processors)")
	return cmd
}

func (a *app) writeDiagnosis(d diagnosis) error {
	fmt.Fprintln(a.stdout, "devices")
	for _, dev := range d.Devices {
		fmt.Fprintf(a.stdout, "  %s: %s, %d usable processors, %.1f GiB\n", dev.ID, dev.Name, dev.Cores, float64(dev.Memory)/(1<<30))
	}
	for _, gpu := range d.GPUs {
		fmt.Fprintf(a.stdout, "  gpu: %s\n", describeGPU(gpu))
	}
	if d.NoGPUs != "" {
		fmt.Fprintf(a.stdout, "  no GPU: %s\n", d.NoGPUs)
	}
	fmt.Fprintln(a.stdout, "\nengines")
	for _, e := range d.Engines {
		if e.Available {
			fmt.Fprintf(a.stdout, "  ok       %s %s\n", e.Name, *e.Version)
		} else {
			fmt.Fprintf(a.stdout, "  missing  %s\n", strings.ReplaceAll(*e.Reason, "\n", "\n           "))
		}
	}
	fmt.Fprintln(a.stdout, "\nwhat would disturb a measurement")
	if len(d.Findings) == 0 {
		fmt.Fprintln(a.stdout, "  nothing found")
	}
	for _, f := range d.Findings {
		fmt.Fprintf(a.stdout, "  %-4s  %s\n        %s\n", f.Severity, f.Text, f.Advice)
	}
	return nil
}
