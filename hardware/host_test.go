package hardware

import (
	"encoding/json"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"genbench/hardware/native"
)

func TestDescribeMetal(t *testing.T) {
	got := describeHost(fakeTree(t, "metal"))
	got.Architecture = "" // of the machine that runs the test
	want := HostDescription{
		HostnameHash: pointer("a39a0f56f9e5"), CPUModel: pointer("Imaginary CPU @ 3.00GHz"),
		Sockets: pointer(1), Cores: pointer(2), CPUs: pointer(4), SMT: pointer(true),
		Governor: pointer("performance"), Turbo: pointer(false), Kernel: pointer("6.1.0-test"),
		Distro: pointer("Debian GNU/Linux 12 (bookworm)"), Clocksource: pointer("tsc"),
		Virtualised: pointer(false), Hypervisor: pointer("none"), MemTotal: pointer(int64(65843204 * 1024)),
		KernelParameters: []string{"isolcpus=2,3", "nohz_full=2,3", "mitigations=off"},
		CgroupLimits:     &CgroupLimits{}, PinnedCPUs: []int{0, 1}, Container: pointer("none"),
		Reasons: Reasons{"container_image_digest": "not in a container, as far as one can see"},
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestDescribeGuest(t *testing.T) {
	got := describeHost(fakeTree(t, "guest"))
	want := HostDescription{
		Architecture: got.Architecture, HostnameHash: got.HostnameHash, CPUModel: pointer("AMD EPYC"),
		Sockets: pointer(1), Cores: pointer(1), CPUs: pointer(2), SMT: pointer(true),
		Kernel: pointer("6.1.0-guest"), Clocksource: pointer("kvm-clock"), Virtualised: pointer(true),
		MemTotal: pointer(int64(4000000 * 1024)), KernelParameters: []string{},
		CgroupLimits: &CgroupLimits{CPUs: pointer(1.5), MemoryBytes: pointer(int64(2 << 30))}, PinnedCPUs: []int{},
		Container: pointer("docker"),
		Reasons: Reasons{
			"container_image_digest": "this kind of container does not tell its image",
			"governor":               "read /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor: file does not exist",
			"turbo":                  "neither intel_pstate/no_turbo nor cpufreq/boost in /sys/devices/system/cpu",
			"distro":                 "read /etc/os-release: file does not exist",
			"hypervisor":             "a guest by its CPU flags, without a firmware identity in /sys/class/dmi/id",
		},
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// Every null of a journal has its reason beside it, and both survive the way
// through JSON. A machine without any file is the worst case.
func TestDescribeNothing(t *testing.T) {
	got := DescribeHost(t.TempDir())
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	for key, value := range fields {
		if strings.HasSuffix(key, reasonSuffix) || key == "architecture" || key == "cgroup_limits" {
			continue
		}
		if why, _ := fields[key+reasonSuffix].(string); value != nil || why == "" {
			t.Errorf("%s is %v because %q, want null with a reason", key, value, why)
		}
	}
	var back HostDescription
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(got, back); d != "" {
		t.Errorf("through JSON: -want +got:\n%s", d)
	}
}

func TestDescribeOddities(t *testing.T) {
	const cpuinfo = "proc/cpuinfo"
	for _, c := range []struct {
		name    string
		changes []string
		key     string // of the result in JSON
		want    any    // nil expects a reason that contains why
		why     string
	}{
		{"arm names no model", []string{cpuinfo, "CPU implementer : 0x41\nCPU part : 0xd0c\n"}, "cpu_model", "amd64 implementer 0x41 part 0xd0c", ""},
		{"arm guest of QEMU", []string{cpuinfo, "CPU part : 1\n", "sys/class/dmi/id/sys_vendor", "QEMU"}, "hypervisor", "QEMU Box", ""},
		{"arm without a word", []string{cpuinfo, "CPU part : 1\n"}, "virtualised", nil, "only x86"},
		{"xen", []string{"sys/hypervisor/type", "xen"}, "hypervisor", "xen", ""},
		{"AMD boost", []string{cpuDir + "intel_pstate/no_turbo", "absent", cpuDir + "cpufreq/boost", "1"}, "turbo", true, ""},
		{"torn turbo", []string{cpuDir + "intel_pstate/no_turbo", "", cpuDir + "cpufreq/boost", "maybe"}, "turbo", nil, `"maybe" is neither 0 nor 1`},
		{"two governors", []string{cpuDir + "cpu0/cpufreq/scaling_governor", "schedutil"}, "governor", "performance,schedutil", ""},
		{"torn memory", []string{"proc/meminfo", "MemTotal: 12x kB"}, "mem_total_bytes", nil, `MemTotal is "12x kB"`},
		{"no memory", []string{"proc/meminfo", "MemFree: 12 kB"}, "mem_total_bytes", nil, "no MemTotal"},
		{"huge memory", []string{"proc/meminfo", "MemTotal: 9000000000000000000 kB"}, "mem_total_bytes", nil, "MemTotal is"},
		{"torn list of CPUs", []string{cpuDir + "online", "0-"}, "cpus", nil, `read /sys/devices/system/cpu/online: list of CPUs "0-": "0-" is neither a number nor a range`},
		{"absurd list of CPUs", []string{cpuDir + "online", "0-9999999999"}, "cpus", nil, "is neither a number nor a range"},
		{"backward list of CPUs", []string{cpuDir + "online", "3-0"}, "cpus", nil, "runs backwards"},
		{"empty list of CPUs", []string{cpuDir + "online", "\n"}, "pinned_cpus", nil, "the CPUs online are not known"},
		{"torn siblings", []string{cpuDir + "cpu3/topology/thread_siblings_list", "1,"}, "cores", nil, "thread_siblings_list"},
		{"siblings torn, CPUs known", []string{cpuDir + "cpu3/topology/thread_siblings_list", "1,"}, "cpus", 4.0, ""},
		{"two sockets", []string{cpuDir + "cpu1/topology/physical_package_id", "1", cpuDir + "cpu3/topology/physical_package_id", "1"}, "sockets", 2.0, ""},
		{"no pretty name", []string{"etc/os-release", "ID=x"}, "distro", nil, "no PRETTY_NAME"},
		{"torn quota", []string{"sys/fs/cgroup/user.slice/bench.scope/cpu.max", "100"}, "cgroup_limits", nil, `"100" is not a quota and a period`},
		{"torn memory limit", []string{"sys/fs/cgroup/memory.max", "12k"}, "cgroup_limits", nil, `"12k" is not a whole number`},
		{"limits on the way", []string{
			"sys/fs/cgroup/user.slice/bench.scope/cpu.max", "400000 100000", "sys/fs/cgroup/user.slice/cpu.max", "50000 100000",
			"sys/fs/cgroup/user.slice/bench.scope/memory.max", "1024",
		}, "cgroup_limits", map[string]any{"cpus": 0.5, "memory_bytes": 1024.0}, ""},
		{"group named by another namespace", []string{"proc/self/cgroup", "0::/../../other", "sys/fs/cgroup/cpu.max", "30000 20000"},
			"cgroup_limits", map[string]any{"cpus": 1.5}, ""},
		{"group beside the mount's root, by its first letters only", []string{
			"proc/self/cgroup", "0::/docker2/job", "proc/self/mountinfo", "30 25 0:26 /docker /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
			"sys/fs/cgroup/2/job/cpu.max", "10000 100000", "sys/fs/cgroup/cpu.max", "70000 100000",
		}, "cgroup_limits", map[string]any{"cpus": 0.7}, ""},
		{"mount point with a space and a backslash", []string{
			"proc/self/cgroup", "0::/", "proc/self/mountinfo", `30 25 0:26 / /mnt/my\040own\134x rw - cgroup2 cgroup2 rw`,
			`mnt/my own\x/cpu.max`, "60000 100000",
		}, "cgroup_limits", map[string]any{"cpus": 0.6}, ""},
		{"no control groups", []string{"proc/self/cgroup", "absent"}, "cgroup_limits", map[string]any{}, ""},
		{"no mounts", []string{"proc/self/mountinfo", "absent"}, "cgroup_limits", nil, "read /proc/self/mountinfo"},
		{"podman", []string{"run/.containerenv", "engine=\"podman-4.3.1\"\nimageid=\"9f2e\"\nrootless=1"}, "container_image_digest", "sha256:9f2e", ""},
		{"podman without privileges", []string{"run/.containerenv", ""}, "container_image_digest", nil, "privileged"},
		{"kubernetes", []string{"run/secrets/kubernetes.io/serviceaccount/token", "x", ".dockerenv", ""}, "container", "kubernetes", ""},
		{"nspawn", []string{"run/systemd/container", "systemd-nspawn"}, "container", "systemd-nspawn", ""},
		{"no status", []string{"proc/self/status", "absent"}, "governor", nil, "read /proc/self/status"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := describeHost(fakeTree(t, "metal", c.changes...))
			b, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			var fields map[string]any
			if err := json.Unmarshal(b, &fields); err != nil {
				t.Fatal(err)
			}
			got, why := fields[c.key], d.Reasons[c.key]
			if s, ok := got.(string); ok {
				got = strings.Replace(s, d.Architecture, "amd64", 1)
			}
			if diff := gocmp.Diff(c.want, got); diff != "" || !strings.Contains(why, c.why) || (c.want == nil) != (why != "") {
				t.Errorf("%s is %v because %q, want %v because %q", c.key, got, why, c.want, c.why)
			}
		})
	}
}

func TestCgroupV1(t *testing.T) {
	const memory = "sys/fs/cgroup/memory/box/memory.limit_in_bytes"
	got, err := cgroupLimits(fakeTree(t, "guest", memory, "absent"))
	if err != nil || got.MemoryBytes != nil {
		t.Errorf("limits are %+v, %v; the largest number is no limit of memory", got, err)
	}
	// The mount shows another part of the hierarchy than the one that is named.
	got, err = cgroupLimits(fakeTree(t, "guest", "proc/self/cgroup", "2:cpu,cpuacct:/elsewhere/job\n"))
	if err != nil || got.CPUs == nil || *got.CPUs != 1.5 {
		t.Errorf("limits are %+v, %v; want the quota of what is mounted", got, err)
	}
}

func TestHostInfo(t *testing.T) {
	for _, c := range []struct {
		machine string
		changes []string
		cores   int
		err     string
	}{
		{"metal", nil, 2, ""},
		{"guest", nil, 1, ""}, // a quota of 1.5 feeds one thread
		{"guest", []string{"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "20000"}, 1, ""},
		{"guest", []string{"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "absent"}, 2, ""},
		{"metal", []string{"proc/meminfo", "absent"}, 0, "identify host: read /proc/meminfo: file does not exist"},
		{"metal", []string{"proc/self/status", "Name: x"}, 0, "identify host: read /proc/self/status: no Cpus_allowed_list"},
		{"metal", []string{"proc/cpuinfo", "bogomips : 3\n"}, 0, "identify host: read /proc/cpuinfo: no model name"},
		{"guest", []string{"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "0"}, 2, ""}, // a limit that can't be read is none
		{"metal", []string{"sys/fs/cgroup/memory.max", "12k"}, 2, ""},
		{"metal", []string{"proc/self/mountinfo", "absent"}, 2, ""},
	} {
		info, err := hostInfoOf(fakeTree(t, c.machine, c.changes...))
		switch {
		case c.err != "":
			if err == nil || err.Error() != c.err {
				t.Errorf("%v: error is %v, want %s", c.changes, err, c.err)
			}
		case err != nil:
			t.Error(err)
		case info.ID != "host" || info.Kind != Host || info.Name == "" || info.Memory <= 0 || info.Fake || info.Cores != c.cores:
			t.Errorf("%s %v: %+v, want %d cores", c.machine, c.changes, info, c.cores)
		}
	}
}

func TestHostDevice(t *testing.T) {
	device, err := NewHost()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := device.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	spin := native.NewSpin(1000)
	defer spin.Free()
	samples := make([]Sample, 5)
	if err := stream.Time(spin.Call(), samples); err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		if s.Host < 1000 || s.Device != s.Host || s.Enqueue != s.Host {
			t.Errorf("sample is %+v, want 1000 ns or more, three times the same", s)
		}
	}
	if stream.Handle() != 0 || stream.Synchronize(t.Context()) != nil || stream.Close() != nil || device.Close() != nil {
		t.Error("the host's stream has a handle, or does not close")
	}
}

func TestUnescape(t *testing.T) {
	for field, want := range map[string]string{
		`/a`: "/a", `/a\040b`: "/a b", `\011\012\134`: "\t\n\\", `\04`: `\04`, `\9zz1`: `\9zz1`, `\777`: `\777`, `a\`: `a\`, ``: ``,
	} {
		if got := unescape(field); got != want {
			t.Errorf("%q is decoded to %q, want %q", field, got, want)
		}
	}
}
