package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"genbench/bench"
	"genbench/hardware"
)

// preflightIdle is how long the machine is watched at rest before a run.
const preflightIdle = time.Second

// nvmlVariable names a file to load instead of the NVML that the loader finds.
const nvmlVariable = "GENBENCH_NVML"

// A machine is what surrounds a measurement: counters to read beside it, and what was
// found to disturb it beforehand.
type machine struct {
	nvml       *hardware.NVML // nil where there is none
	gpus       []hardware.GPU
	gpusReason string // why there are none
	telemetry  []bench.Telemetry
	findings   []hardware.Finding
	turn       turn // to use nvml
}

// A turn is held by the one goroutine that calls NVML.
type turn chan struct{}

// turnSampler reads one of several GPUs of one library, when it is its turn.
type turnSampler struct {
	hardware.Sampler
	turn turn
}

func (s turnSampler) Sample() (hardware.Reading, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	return s.Sampler.Sample()
}

// openMachine watches the machine for a moment and opens its counters. A machine
// without NVML is an ordinary one.
func openMachine(ctx context.Context, c bench.Config) (*machine, error) {
	found, err := hardware.Preflight(ctx, "", preflightIdle, c.Threads, c.CPUs)
	if err != nil {
		return nil, err
	}
	if len(c.CPUs) > 0 {
		// The workers will be bound; this process, which only listens, is not.
		found = slices.DeleteFunc(found, func(f hardware.Finding) bool { return f.Code == "no_pinning" })
	}
	m, err := openCounters(c.Device)
	if err != nil {
		return nil, err
	}
	m.findings = append(found, m.findings...)
	if c.Clocks != "" {
		// The run itself finds out and says what becomes of them.
		m.findings = slices.DeleteFunc(m.findings, func(f hardware.Finding) bool {
			return f.Device == c.Device && (f.Code == "gpu_floating_clocks" || f.Code == "gpu_no_clock_rights")
		})
	}
	return m, nil
}

// openCounters opens all counters that a run reads, and looks at the GPUs. The one that
// is measured has no place among them: its worker reads it between its rounds, and
// nobody may while something is timed (X).
func openCounters(measured string) (*machine, error) {
	m := &machine{turn: make(turn, 1)}
	host, err := hardware.NewHostSampler("")
	if err != nil {
		return nil, err
	}
	m.telemetry = append(m.telemetry, bench.Telemetry{Device: "host", Sampler: host})
	if err := m.openGPUs(measured); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// openSamplers opens all counters that a run reads. They are closed together.
func openSamplers() (samplers []hardware.Sampler, closeAll func() error, err error) {
	m, err := openCounters("")
	if err != nil {
		return nil, nil, err
	}
	for _, t := range m.telemetry {
		samplers = append(samplers, t.Sampler)
	}
	return samplers, m.close, nil
}

func (m *machine) openGPUs(measured string) error {
	var err error
	m.nvml, err = hardware.OpenNVML(os.Getenv(nvmlVariable))
	var absent *hardware.NVMLUnavailableError
	if errors.As(err, &absent) {
		m.gpusReason = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	m.gpus, err = m.nvml.GPUs()
	if errors.Is(err, hardware.ErrGPULost) {
		// The host can be measured without it.
		m.gpus, m.gpusReason = nil, err.Error()
		m.findings = append(m.findings, hardware.LostGPU("", err))
		return nil
	}
	if err != nil {
		return err
	}
	if withheld := m.nvml.Withheld(); len(m.gpus) == 0 && withheld != nil {
		m.gpus, m.gpusReason = nil, withheld.Error()
	}
	_, leases := leaseDirectories()
	for _, gpu := range m.gpus {
		if !holds(gpu, measured) {
			sampler, err := hardware.NewNVMLSampler(m.nvml, gpu.UUID, nil)
			if err != nil {
				return err
			}
			m.telemetry = append(m.telemetry, bench.Telemetry{Device: gpu.UUID, Sampler: turnSampler{sampler, m.turn}})
		}
		findings, err := hardware.PreflightGPU(m.nvml, hardware.GPUPreflight{GPU: gpu.UUID, Leases: leases})
		if err != nil {
			return err
		}
		m.findings = append(m.findings, findings...)
	}
	return nil
}

// holds tells whether a device is a board or an instance on it.
func holds(gpu hardware.GPU, device string) bool {
	return strings.EqualFold(gpu.UUID, device) ||
		slices.ContainsFunc(gpu.MIGInstances, func(i hardware.MIGInstance) bool { return strings.EqualFold(i.UUID, device) })
}

// close ends the reading. A library that does not come back from a reading stays loaded:
// unloading it would take this process with it.
func (m *machine) close() error {
	select {
	case m.turn <- struct{}{}: // which nobody gets any more
	case <-time.After(bench.HostProtocol().TelemetryPatience):
		return nil
	}
	var errs []error
	for _, t := range m.telemetry {
		errs = append(errs, t.Close())
	}
	if m.nvml != nil {
		errs = append(errs, m.nvml.Close())
	}
	return errors.Join(errs...)
}

func describeGPU(g hardware.GPU) string {
	name := "unnamed"
	if g.Name != nil {
		name = *g.Name
	}
	return fmt.Sprintf("%s (%s)", name, g.UUID)
}
