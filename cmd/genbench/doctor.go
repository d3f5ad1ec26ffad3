package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/hardware"
)

// A diagnosis is what `genbench doctor` finds.
type diagnosis struct {
	Devices  []hardware.Info          `json:"devices"`
	GPUs     []hardware.GPU           `json:"gpus"`
	NoGPUs   string                   `json:"gpus_reason,omitempty"`
	Energy   []energyStatus           `json:"energy"`
	Host     hardware.HostDescription `json:"host"`
	Engines  []engineStatus           `json:"engines"`
	Findings []hardware.Finding       `json:"findings"`
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	var threads int
	var cpus string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is here, what is missing, and what would disturb a measurement",
		Long: "Findings do not change the exit code: `genbench run --max-steal`, `--max-foreign` and `--wait` say what\n" +
			"a measurement should put up with, and the result says what was found.",
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cpus != "" {
				list, err := hardware.ParseCPUs(cpus)
				if err == nil {
					err = hardware.Pin(list)
				}
				if err != nil {
					return usage(fmt.Errorf("--cpus: %w", err))
				}
			}
			device, err := hardware.NewHost()
			if err != nil {
				return err
			}
			defer device.Close()
			if threads == 0 {
				threads = device.Info().Cores
			}
			m, err := openMachine(cmd.Context(), bench.Config{Threads: threads})
			if err != nil {
				return err
			}
			defer m.close()
			d := diagnosis{
				Devices: []hardware.Info{device.Info()}, Host: hardware.DescribeHost(""),
				GPUs: m.gpus, NoGPUs: m.gpusReason, Findings: m.findings,
			}
			// What spoils numbers comes before what only widens them.
			slices.SortStableFunc(d.Findings, func(x, y hardware.Finding) int {
				return cmp.Compare(severityRank(x.Severity), severityRank(y.Severity))
			})
			d.Energy = energyStatuses(m.nvml, m.gpus)
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
	cmd.Flags().StringVar(&cpus, "cpus", "", "look at the machine as if bound to these processors, such as 0,2-5")
	cmd.Flags().IntVar(&threads, "threads", 0, "host threads an inference will use (default: all usable processors)")
	return cmd
}

func severityRank(s hardware.Severity) int {
	if s == hardware.Fail {
		return 0
	}
	return 1
}

// An energyStatus says whether a device's energy can be measured here.
type energyStatus struct {
	Device string `json:"device"`
	Reason string `json:"reason,omitempty"` // why not
}

func energyStatuses(n *hardware.NVML, gpus []hardware.GPU) []energyStatus {
	status := func(device string, err error) energyStatus {
		s := energyStatus{Device: device}
		var unavailable *hardware.EnergyUnavailableError
		if errors.As(err, &unavailable) {
			s.Reason = unavailable.Why
		} else if err != nil {
			s.Reason = err.Error()
		}
		return s
	}
	_, err := hardware.NewHostEnergyMeter("")
	all := []energyStatus{status("host", err)}
	for _, gpu := range gpus {
		_, err := hardware.NewGPUEnergyMeter(n, gpu.UUID)
		all = append(all, status(gpu.UUID, err))
	}
	return all
}

// A writer of paragraphs breaks lines between words at the terminal's width; 0 is
// endless, so through a pipe each thing stays on one line.
type paragraphs struct {
	out   io.Writer
	width int
}

// write prints a text after first; lines that follow begin under its first word.
func (p paragraphs) write(first, text string) {
	indent := utf8.RuneCountInString(first)
	line, column := first, indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case p.width > 0 && column+1+n > p.width:
			fmt.Fprintln(p.out, line)
			line, column = strings.Repeat(" ", indent), indent
		default:
			line, column = line+" ", column+1
		}
		line, column = line+word, column+n
	}
	fmt.Fprintln(p.out, strings.TrimRight(line, " "))
}

func (a *app) writeDiagnosis(d diagnosis) error {
	p := paragraphs{a.stdout, a.width()}
	energy := map[string]string{}
	for _, e := range d.Energy {
		energy[e.Device] = "can be measured"
		if e.Reason != "" {
			energy[e.Device] = "can't be measured: " + e.Reason
		}
	}
	const under = "            "
	p.write("devices", "")
	for _, dev := range d.Devices {
		p.write("  host      ", fmt.Sprintf("%s, usable processors %d, %.1f GiB", dev.Name, dev.Cores, float64(dev.Memory)/(1<<30)))
		p.write(under, hostState(d.Host))
		p.write(under, "energy "+energy[dev.ID])
	}
	for _, gpu := range d.GPUs {
		p.write("  gpu       ", describeGPU(gpu))
		p.write(under, gpuState(gpu))
		p.write(under, "energy "+energy[gpu.UUID])
	}
	if d.NoGPUs != "" {
		p.write("  no GPU    ", d.NoGPUs)
	}
	p.write("\nengines", "")
	for _, e := range d.Engines {
		if e.Available {
			p.write("  ok        ", e.Name+" "+*e.Version)
		}
	}
	for _, missing := range missingEngines(d.Engines) {
		first := "  missing   "
		for line := range strings.Lines(missing) {
			p.write(first, line)
			first = under
		}
	}
	p.write("\nwhat would disturb a measurement", "")
	if len(d.Findings) == 0 {
		p.write("  nothing found", "")
	}
	for _, f := range d.Findings {
		text := f.Text
		if f.Device != "" {
			text = f.Device + ": " + text
		}
		p.write(fmt.Sprintf("  %-8s  ", f.Severity), text)
		p.write(under, "→ "+f.Advice)
	}
	return nil
}

// told names a value, or says that it is not known.
func told[T any](name string, v *T, format string) string {
	if v == nil {
		return name + " unknown"
	}
	return name + " " + fmt.Sprintf(format, *v)
}

func onOff(v *bool) *string {
	if v == nil {
		return nil
	}
	word := "off"
	if *v {
		word = "on"
	}
	return &word
}

// hostState says in one line what about the host changes numbers.
func hostState(h hardware.HostDescription) string {
	pinned := "not bound to processors"
	if len(h.PinnedCPUs) > 0 {
		pinned = "bound to processors " + hardware.FormatCPUs(h.PinnedCPUs)
	}
	words := []string{
		told("physical cores", h.Cores, "%d"), told("SMT", onOff(h.SMT), "%s"), told("governor", h.Governor, "%s"),
		told("turbo", onOff(h.Turbo), "%s"), pinned,
	}
	if h.Virtualised != nil && *h.Virtualised {
		words = append(words, "a virtual machine")
	}
	if h.Container != nil && *h.Container != "none" {
		words = append(words, "in a container ("+*h.Container+")")
	}
	return strings.Join(words, ", ")
}

// gpuState says in one line what about a GPU changes numbers.
func gpuState(g hardware.GPU) string {
	words := []string{
		told("driver", g.Driver, "%s"), told("CUDA", g.CUDADriver, "%s"), told("power limit", g.PowerLimitW, "%g W"),
		told("base SM clock", g.BaseSMClockMHz, "%d MHz"), told("highest", g.MaxSMClockMHz, "%d MHz"),
		told("persistence", onOff(g.Persistence), "%s"), told("ECC", onOff(g.ECC), "%s"), told("MIG", onOff(g.MIG), "%s"),
		told("NUMA node", g.NUMANode, "%d"),
	}
	if g.PCIe != nil {
		words = append(words, fmt.Sprintf("PCIe generation %d of %d with %d of %d lanes", g.PCIe.Generation, g.PCIe.MaxGeneration, g.PCIe.Width, g.PCIe.MaxWidth))
	}
	return strings.Join(words, ", ")
}
