package hardware

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// hostInfo identifies this machine's processors.
func hostInfo() (Info, error) { return hostInfoOf(openTree("/")) }

func hostInfoOf(t tree) (Info, error) {
	fail := func(err error) (Info, error) { return Info{}, fmt.Errorf("identify host: %w", err) }
	memory, err := memTotal(t)
	if err != nil {
		return fail(err)
	}
	allowed, err := allowedCPUs(t)
	if err != nil {
		return fail(err)
	}
	// Limits that can't be read are taken for none, as without control groups; the host
	// record says why (describeHost).
	limits, _ := cgroupLimits(t)
	model, err := cpuModel(t)
	if err != nil {
		return fail(err)
	}
	return Info{
		ID:     "host",
		Kind:   Host,
		Name:   model,
		Cores:  UsableCores(len(allowed), limits.CPUs),
		Memory: memory,
	}, nil
}

// UsableCores is how many of the CPUs allowed a process can keep busy at once under the
// quota of its control groups, in CPUs; nil is none. A quota is rounded down, because
// one thread more than it feeds has all of them stopped in every period.
func UsableCores(allowed int, quota *float64) int {
	if quota != nil && int(*quota) < allowed {
		return max(1, int(*quota))
	}
	return allowed
}

// HostDescription is the host record of the journal: what must be known of a
// machine to compare a number taken on it. A nil field is unknown and has its
// reason in Reasons.
type HostDescription struct {
	// HostnameHash tells machines apart without publishing their names: the first
	// 12 hexadecimal digits of the name's SHA-256.
	HostnameHash *string `json:"hostname_hash"`
	CPUModel     *string `json:"cpu_model"`
	Architecture string  `json:"architecture"` // GOARCH of this program
	Sockets      *int    `json:"sockets"`
	Cores        *int    `json:"cores"`       // physical, online
	CPUs         *int    `json:"cpus"`        // logical, online
	SMT          *bool   `json:"smt"`         // two CPUs share a core somewhere
	Governor     *string `json:"governor"`    // of the CPUs this process may use; comma-separated if several
	Turbo        *bool   `json:"turbo"`       // clocks above the nominal are allowed
	Kernel       *string `json:"kernel"`      // release
	Distro       *string `json:"distro"`      //
	Clocksource  *string `json:"clocksource"` // what CLOCK_MONOTONIC reads
	Virtualised  *bool   `json:"virtualised"` //
	Hypervisor   *string `json:"hypervisor"`  // by name; "none" on bare metal
	MemTotal     *int64  `json:"mem_total_bytes"`
	Container    *string `json:"container"` // which kind this process runs in; "none" outside of one
	// ContainerImage is the digest of the image, where the container states it.
	ContainerImage *string `json:"container_image_digest"`

	// KernelParameters are those of the boot command line that change timing; the rest
	// of the line may hold what does not belong in a public result.
	KernelParameters []string `json:"cmdline"`
	// CgroupLimits has a field for each limit that is set.
	CgroupLimits *CgroupLimits `json:"cgroup_limits"`
	// PinnedCPUs are those the process is bound to; empty if it may use all that
	// are online.
	PinnedCPUs []int `json:"pinned_cpus"`

	Reasons Reasons `json:"-"`
}

// MarshalJSON puts each reason beside its field.
func (d HostDescription) MarshalJSON() ([]byte, error) {
	type plain HostDescription
	return marshalWithReasons(plain(d), d.Reasons)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *HostDescription) UnmarshalJSON(b []byte) error {
	type plain HostDescription
	return unmarshalWithReasons(b, (*plain)(d), &d.Reasons)
}

// DescribeHost reads the host record from the /proc, /sys and /etc below root; the
// empty root is "/". It cannot fail: what is not readable is nil with its reason.
func DescribeHost(root string) HostDescription { return describeHost(openTree(root)) }

func describeHost(t tree) HostDescription {
	d := HostDescription{Architecture: runtime.GOARCH}
	r := &d.Reasons
	d.HostnameHash = try(hostnameHash(t)).or(r, "hostname_hash")
	d.CPUModel = try(cpuModel(t)).or(r, "cpu_model")
	d.Kernel = try(t.text("proc/sys/kernel/osrelease")).or(r, "kernel")
	d.Distro = try(distro(t)).or(r, "distro")
	d.Clocksource = try(t.text("sys/devices/system/clocksource/clocksource0/current_clocksource")).or(r, "clocksource")
	d.MemTotal = try(memTotal(t)).or(r, "mem_total_bytes")
	d.Turbo = try(turbo(t)).or(r, "turbo")
	d.CgroupLimits = try(cgroupLimits(t)).or(r, "cgroup_limits")

	d.Virtualised, d.Hypervisor = virtualisation(t, r)

	d.Container, d.ContainerImage = container(t, r)

	topology, err := readTopology(t)
	d.CPUs = try(len(topology.online), err).or(r, "cpus")
	if err == nil {
		err = topology.incomplete
	}
	d.Sockets = try(len(topology.sockets), err).or(r, "sockets")
	d.Cores = try(len(topology.cores), err).or(r, "cores")
	d.SMT = try(len(topology.cores) < len(topology.online), err).or(r, "smt")

	allowed, err := allowedCPUs(t)
	switch {
	case err != nil:
		r.add("pinned_cpus", "%v", err)
		r.add("governor", "%v", err)
	default:
		d.Governor = try(governor(t, allowed)).or(r, "governor")
		if topology.online == nil {
			r.add("pinned_cpus", "the CPUs online are not known")
		} else if d.PinnedCPUs = []int{}; len(allowed) < len(topology.online) {
			d.PinnedCPUs = allowed
		}
	}

	line, err := t.text("proc/cmdline")
	if err != nil {
		r.add("cmdline", "%v", err)
	} else {
		d.KernelParameters = timingParameters(line)
	}
	return d
}

func hostnameHash(t tree) (string, error) {
	name, err := t.text("proc/sys/kernel/hostname")
	if err != nil {
		return "", err
	}
	return shortHash(name), nil
}

// cpuModel is the processor's name, or its identity in numbers where the kernel
// prints no name (arm64).
func cpuModel(t tree) (string, error) {
	text, err := t.text("proc/cpuinfo")
	if err != nil {
		return "", err
	}
	for _, key := range []string{"model name", "Model Name", "cpu model", "cpu"} {
		if name, ok := colonValue(text, key); ok && name != "" {
			return name, nil
		}
	}
	implementer, ok1 := colonValue(text, "CPU implementer")
	part, ok2 := colonValue(text, "CPU part")
	if !ok1 || !ok2 {
		return "", errors.New("read /proc/cpuinfo: no model name")
	}
	return fmt.Sprintf("%s implementer %s part %s", runtime.GOARCH, implementer, part), nil
}

// memTotal is the machine's memory in bytes.
func memTotal(t tree) (int64, error) {
	s, err := t.value("proc/meminfo", "MemTotal")
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(s, "kB")), 10, 64)
	if err != nil || kib <= 0 || kib > 1<<50 {
		return 0, fmt.Errorf("read /proc/meminfo: MemTotal is %q", s)
	}
	return kib << 10, nil
}

func distro(t tree) (string, error) {
	text, err := t.text("etc/os-release")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(v), `"'`), nil
		}
	}
	return "", errors.New("read /etc/os-release: no PRETTY_NAME")
}

// allowedCPUs lists the CPUs that the scheduler may put this process on.
func allowedCPUs(t tree) ([]int, error) {
	s, err := t.value("proc/self/status", "Cpus_allowed_list")
	if err != nil {
		return nil, err
	}
	cpus, err := listedCPUs(s)
	if err != nil {
		return nil, fmt.Errorf("read /proc/self/status: Cpus_allowed_list %q: %w", s, err)
	}
	return cpus, nil
}

// turbo reports whether the processor may exceed its nominal clock.
func turbo(t tree) (bool, error) {
	if off, err := t.flag("sys/devices/system/cpu/intel_pstate/no_turbo"); err == nil {
		return !off, nil
	}
	on, err := t.flag("sys/devices/system/cpu/cpufreq/boost")
	if errors.Is(err, fs.ErrNotExist) {
		return false, errors.New("neither intel_pstate/no_turbo nor cpufreq/boost in /sys/devices/system/cpu")
	}
	return on, err
}

// governor names the frequency governors of the given CPUs, each once, sorted.
func governor(t tree, cpus []int) (string, error) {
	var names []string
	for _, cpu := range cpus {
		name, err := t.text(fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu))
		if err != nil {
			return "", err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ","), nil
}

// virtualisation says whether this machine is a guest, and of which hypervisor.
func virtualisation(t tree, r *Reasons) (*bool, *string) {
	guest, host := true, false
	none := "none"
	if name, err := t.text("sys/hypervisor/type"); err == nil {
		return &guest, &name // Xen
	}
	text, err := t.text("proc/cpuinfo")
	if err != nil {
		r.add("virtualised", "%v", err)
		r.add("hypervisor", "%v", err)
		return nil, nil
	}
	// Unreadable names are empty ones: many guests have no firmware tables.
	vendor, _ := t.text("sys/class/dmi/id/sys_vendor")
	product, _ := t.text("sys/class/dmi/id/product_name")
	maker := strings.TrimSpace(vendor + " " + product)

	if flags, x86 := colonValue(text, "flags"); x86 {
		if !slices.Contains(strings.Fields(flags), "hypervisor") {
			return &host, &none
		}
		if maker == "" {
			r.add("hypervisor", "a guest by its CPU flags, without a firmware identity in /sys/class/dmi/id")
			return &guest, nil
		}
		return &guest, &maker
	}
	// Other CPUs do not say. Firmware that names a hypervisor settles it, firmware
	// that names none does not.
	for _, name := range []string{"QEMU", "KVM", "VMware", "VirtualBox", "Xen", "Parallels", "OpenStack", "Google Compute Engine"} {
		if strings.Contains(maker, name) {
			return &guest, &maker
		}
	}
	r.add("virtualised", "only x86 CPUs say, and the firmware names no hypervisor")
	r.add("hypervisor", "%s", (*r)["virtualised"])
	return nil, nil
}

// container says what kind of container this process runs in, by the marks that their
// makers leave: Podman a file that may name the image (podman-run(1)), Docker an empty
// one, Kubernetes a service account, and systemd a name for whatever started the first
// process.
func container(t tree, r *Reasons) (kind, image *string) {
	is := func(name string) *string { return &name }
	exists := func(path string) bool {
		_, err := fs.Stat(t.FS, path)
		return err == nil
	}
	if text, err := t.text("run/.containerenv"); err == nil {
		for line := range strings.Lines(text) {
			if id, ok := strings.CutPrefix(strings.TrimSpace(line), "imageid="); ok && strings.Trim(id, `"`) != "" {
				return is("podman"), is("sha256:" + strings.Trim(id, `"`))
			}
		}
		r.add("container_image_digest", "/run/.containerenv names no image; Podman writes it for privileged containers")
		return is("podman"), nil
	}
	const untold = "this kind of container does not tell its image"
	switch name, err := t.text("run/systemd/container"); {
	case exists("run/secrets/kubernetes.io/serviceaccount"):
		kind = is("kubernetes")
	case exists(".dockerenv"):
		kind = is("docker")
	case err == nil && name != "":
		kind = is(name)
	case exists("proc/1"):
		r.add("container_image_digest", "not in a container, as far as one can see")
		return is("none"), nil
	default:
		r.add("container", "no /proc/1")
		r.add("container_image_digest", "no /proc/1")
		return nil, nil
	}
	r.add("container_image_digest", untold)
	return kind, nil
}

// timingParameters picks the boot parameters that change how long things take
// (kernel's Documentation/admin-guide/kernel-parameters.txt).
func timingParameters(line string) []string {
	known := []string{
		"amd_pstate", "clocksource", "cpufreq.default_governor", "hugepages", "idle", "intel_idle.max_cstate",
		"intel_pstate", "iommu", "irqaffinity", "isolcpus", "maxcpus", "mitigations", "nohz", "nohz_full",
		"nosmt", "nosoftlockup", "nowatchdog", "preempt", "processor.max_cstate", "rcu_nocbs", "skew_tick",
		"transparent_hugepage", "tsc",
	}
	picked := []string{}
	for word := range strings.FieldsSeq(line) {
		name, _, _ := strings.Cut(word, "=")
		if slices.Contains(known, name) {
			picked = append(picked, word)
		}
	}
	return picked
}
