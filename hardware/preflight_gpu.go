package hardware

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A gpuState is what the checks of a GPU look at.
type gpuState struct {
	gpu     GPU
	reading GPUReading
	// uncorrectable memory errors since the driver was loaded; nil if not known.
	uncorrectable *uint64
	xids          []int  // faults of the board in the kernel's log, as far as it is readable
	lease         *Lease // of its clocks; nil if there is none
	leaseErr      error  // why that is not known
	// mayLock is whether the kernel lets this process set clocks; nil if not known.
	mayLock *bool
	// near are the CPUs of the board's NUMA node, far those of another that this
	// process may run on.
	near, far []int
}

type gpuCheck struct {
	code     string
	severity Severity
	find     func(gpuState) (text, advice string)
}

// gpuChecks are the preflight rules of a GPU, in the order of the report.
func gpuChecks() []gpuCheck {
	return []gpuCheck{
		{"gpu_foreign_processes", Fail, func(s gpuState) (string, string) {
			if ids := s.reading.ForeignProcesses; len(ids) > 0 {
				return "other processes use the GPU: " + commas(ids),
					"stop them, take another GPU, or let `genbench run --wait 30m` wait for them"
			}
			return "", ""
		}},
		{"gpu_ecc_errors", Fail, func(s gpuState) (string, string) {
			if n := s.uncorrectable; n != nil && *n > 0 {
				return fmt.Sprintf("%d uncorrectable memory errors since the driver was loaded", *n),
					"reset the GPU; if they come back it needs replacement"
			}
			return "", ""
		}},
		{"gpu_xid", Fail, func(s gpuState) (string, string) {
			if len(s.xids) > 0 {
				return "the driver reported faults of the board: Xid " + commas(s.xids),
					"look them up in NVIDIA's Xid catalog, and reset the GPU or reboot"
			}
			return "", ""
		}},
		{"gpu_leftover_lease", Fail, func(s gpuState) (string, string) {
			if s.leaseErr != nil {
				return "whether clocks were left locked is not known", s.leaseErr.Error()
			}
			if l := s.lease; l != nil && !l.Held {
				return fmt.Sprintf("process %d left the clocks locked (%s)", l.PID, l.Request),
					"`genbench clocks reset` gives them back"
			}
			return "", ""
		}},
		{"gpu_pcie_width", Fail, func(s gpuState) (string, string) {
			if p := s.gpu.PCIe; p != nil && p.Width < p.MaxWidth {
				return fmt.Sprintf("the PCIe link has %d of %d lanes", p.Width, p.MaxWidth),
					"reseat the board, or look at how the slots share lanes"
			}
			return "", ""
		}},
		// At idle a link saves power by a lower generation. A board at P0 is not idle.
		{"gpu_pcie_generation", Warn, func(s gpuState) (string, string) {
			p, state := s.gpu.PCIe, s.reading.PState
			if p != nil && state != nil && *state == 0 && p.Generation < p.MaxGeneration {
				return fmt.Sprintf("the PCIe link runs as generation %d of %d", p.Generation, p.MaxGeneration),
					"see whether it rises under load; if not, look at the firmware's setting of the slot"
			}
			return "", ""
		}},
		{"gpu_floating_clocks", Warn, func(s gpuState) (string, string) {
			if s.lease == nil && s.leaseErr == nil {
				return "the GPU's clocks float: they follow heat, power and the load before",
					"`genbench run` locks them where it may (--clocks), and `genbench clocks lock base`, as root, while it runs; floating is quality Q2 at best"
			}
			return "", ""
		}},
		{"gpu_no_clock_rights", Warn, func(s gpuState) (string, string) {
			if s.lease == nil && s.leaseErr == nil && s.mayLock != nil && !*s.mayLock {
				return "this process may not set the GPU's clocks",
					"run as root, in a container with `--cap-add SYS_ADMIN`, or let root hold them with `genbench clocks lock`"
			}
			return "", ""
		}},
		{"gpu_numa_node", Warn, func(s gpuState) (string, string) {
			if len(s.far) > 0 {
				return fmt.Sprintf("threads may run on CPUs %s, which are not on the GPU's NUMA node %d", FormatCPUs(s.far), *s.gpu.NUMANode),
					fmt.Sprintf("bind them near it: `genbench run --cpus %s`", FormatCPUs(s.near))
			}
			return "", ""
		}},
		{"gpu_persistence_off", Warn, func(s gpuState) (string, string) {
			if on := s.gpu.Persistence; on != nil && !*on {
				return "persistence mode is off: the driver forgets its clocks when the last process leaves",
					"`nvidia-smi -pm 1`"
			}
			return "", ""
		}},
		{"gpu_mig_on", Warn, func(s gpuState) (string, string) {
			if on := s.gpu.MIG; on != nil && *on {
				return "the GPU is split into instances (MIG), which share its power and memory, and energy is counted for the whole board only",
					"`nvidia-smi -mig 0`, or say so beside the numbers"
			}
			return "", ""
		}},
		{"gpu_temperature", Warn, func(s gpuState) (string, string) {
			if c := s.reading.TemperatureC; c != nil && float64(*c) > maxIdleCelsius {
				return fmt.Sprintf("the GPU is at %d °C when idle (limit %.0f)", *c, maxIdleCelsius),
					"let it cool, and look at its fans"
			}
			return "", ""
		}},
	}
}

// A GPUPreflight says which GPU to look at, and for whom.
type GPUPreflight struct {
	GPU string // UUID
	// Ours says which processes are those that measure; nil means only this one.
	Ours func(pid int) bool
	// Leases are the directories in which leases of clocks may lie, see
	// LeaseDirectories.
	Leases []string
}

// LostGPU is the finding that a GPU no longer answers, or all of them if device is
// empty; err wraps ErrGPULost.
func LostGPU(device string, err error) Finding {
	return Finding{
		Code: "gpu_lost", Severity: Fail, Device: device, Text: err.Error(),
		Advice: "`nvidia-smi --gpu-reset` or a reboot brings it back; if it goes again, look at its power and its slot",
	}
}

// PreflightGPU looks for what would disturb measurements on a GPU. A GPU that is gone
// is a finding in itself. What the machine does not say is none.
func PreflightGPU(n *NVML, p GPUPreflight) ([]Finding, error) {
	fail := func(err error) ([]Finding, error) { return nil, fmt.Errorf("check GPU: %w", err) }
	sampler, err := newGPUSampler(n, p.GPU, p.Ours)
	if err != nil {
		return fail(err)
	}
	reading, err := sampler.Sample()
	if errors.Is(err, ErrGPULost) {
		return []Finding{LostGPU(p.GPU, err)}, nil
	}
	if err != nil {
		return fail(err)
	}
	state := gpuState{reading: *reading.GPU}
	if state.gpu, err = n.describe(sampler.device); err != nil {
		return fail(err)
	}
	if count, err := n.uncorrectable(sampler.device); err == nil {
		state.uncorrectable = &count
	}
	state.lease, state.leaseErr = leaseOf(p.GPU, p.Leases)
	if may, err := mayAdminister(n.tree); err == nil {
		state.mayLock = &may
	}
	if log, err := readKernelLog(n.kernelLog); err == nil && state.gpu.PCIBusID != nil {
		state.xids = xids(log, *state.gpu.PCIBusID)
	}
	if state.gpu.NUMANode != nil {
		state.near, state.far = around(n.tree, *state.gpu.NUMANode)
	}
	findings := []Finding{}
	for _, check := range gpuChecks() {
		if text, advice := check.find(state); text != "" {
			findings = append(findings, Finding{Code: check.code, Severity: check.severity, Device: p.GPU, Text: text, Advice: advice})
		}
	}
	return findings, nil
}

// leaseOf finds the lease of a GPU; one left over comes before one held.
func leaseOf(uuid string, directories []string) (*Lease, error) {
	leases, err := Leases(directories...)
	if err != nil {
		return nil, err
	}
	var found *Lease
	for _, l := range leases {
		if l.Request.GPU == uuid && (found == nil || !l.Held) {
			found = &l
		}
	}
	return found, nil
}

// capSysAdmin is the bit of CAP_SYS_ADMIN (kernel's include/uapi/linux/capability.h).
const capSysAdmin = 21

// mayAdminister reports whether this process has the capability that the driver asks
// for to set clocks. Root in a container usually does not.
func mayAdminister(t tree) (bool, error) {
	word, err := t.value("proc/self/status", "CapEff")
	if err != nil {
		return false, err
	}
	mask, err := strconv.ParseUint(word, 16, 64)
	if err != nil {
		return false, fmt.Errorf("read /proc/self/status: CapEff is %q", word)
	}
	return mask>>capSysAdmin&1 == 1, nil
}

// around splits the CPUs that this process may use into those of a NUMA node and
// those of other nodes. If none of the node's is allowed, near is all of the node's.
// On a machine that does not say, both are empty.
func around(t tree, node int) (near, far []int) {
	allowed, err := allowedCPUs(t)
	if err != nil {
		return nil, nil
	}
	for _, file := range t.glob("sys/devices/system/node/node*/cpulist") {
		cpus, err := t.cpuList(file)
		if err != nil {
			continue // a node with only memory has an empty list
		}
		of, err := strconv.Atoi(strings.TrimPrefix(path.Base(path.Dir(file)), "node"))
		switch {
		case err != nil:
		case of != node:
			far = append(far, intersect(cpus, allowed)...)
		default:
			if near = intersect(cpus, allowed); len(near) == 0 {
				near = cpus
			}
		}
	}
	if near == nil {
		return nil, nil
	}
	slices.Sort(far)
	return near, far
}
