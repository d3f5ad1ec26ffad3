package hardware

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestHostSamplerReadsMetal(t *testing.T) {
	s, err := newHostSampler(fakeTree(t, "metal", cpuDir+"cpu2/thermal_throttle/core_throttle_count", "50"))
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() int64 { return 42 }
	got, err := s.Sample()
	if err != nil {
		t.Fatal(err)
	}
	want := Reading{Time: 42, Host: &HostReading{
		CPUs: pointer(4), BusySeconds: pointer(13.3), StealSeconds: pointer(0.0), Running: pointer(1), Load1: pointer(0.12),
		FrequencyMHz: pointer(3000.5), // CPUs 0 and 1, which are those allowed
		TemperatureC: pointer(47.5),   // the processor's hottest; not the disk's, not the broken sensor's
		// 1 and 2 of the cores, each counted once though two CPUs show it, and 7 of the package.
		ThermalThrottles: pointer(int64(10)),
	}}
	if d := gocmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestHostSamplerReadsGuest(t *testing.T) {
	s, err := newHostSampler(fakeTree(t, "guest"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Sample()
	if err != nil {
		t.Fatal(err)
	}
	want := &HostReading{
		CPUs: pointer(2), BusySeconds: pointer(13.3), StealSeconds: pointer(0.4), Running: pointer(2), Load1: pointer(2.5),
		Reasons: Reasons{
			"frequency_mhz":     "there is no cpufreq, and /proc/cpuinfo has only the nominal clock: without the CPU flag aperfmperf the kernel cannot observe the real one",
			"temperature_c":     "no thermometer of the processor in /sys/class/hwmon or /sys/class/thermal",
			"thermal_throttles": "no thermal_throttle counters in /sys/devices/system/cpu",
		},
	}
	if d := gocmp.Diff(want, got.Host, cmpopts.EquateApprox(0, 1e-9)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestHostSamplerOddities(t *testing.T) {
	const stat = "proc/stat"
	for _, c := range []struct {
		name    string
		changes []string
		key     string
		want    any // nil expects a reason that contains why
		why     string
	}{
		{"torn cpu line", []string{stat, "cpu  1 2 3"}, "busy_s", nil, "3 of 8 numbers"},
		{"steal of a torn cpu line", []string{stat, "cpu  1 2 3 4 5 6 7"}, "steal_s", nil, "7 of 8 numbers"},
		{"garbage in the cpu line", []string{stat, "cpu 1 2 x 4 5 6 7 8"}, "busy_s", nil, "2 of 8 numbers"},
		{"negative ticks", []string{stat, "cpu 1 2 3 4 5 6 -7 8"}, "busy_s", nil, "6 of 8 numbers"},
		{"list of CPUs torn off", []string{stat, "cpu 1 2 3 4 5 6 7 8\ncpu0 1 2\ncpu1 1"}, "cpus", nil, "cut short"},
		{"no processes running", []string{stat, "cpu 1 2 3 4 5 6 7 8\nintr 1"}, "running", nil, "no procs_running"},
		{"torn processes running", []string{stat, "procs_running 1x"}, "running", nil, "no procs_running"},
		{"negative processes running", []string{stat, "procs_running -1"}, "running", nil, "no procs_running"},
		{"empty load", []string{"proc/loadavg", ""}, "load_1m", nil, `"" has no load`},
		{"load that is no number", []string{"proc/loadavg", "NaN 1 1"}, "load_1m", nil, "has no load"},
		{"negative load", []string{"proc/loadavg", "-1 1 1"}, "load_1m", nil, "has no load"},
		{"load missing", []string{"proc/loadavg", "absent"}, "load_1m", nil, "read /proc/loadavg: file does not exist"},
		{"one torn clock", []string{cpuDir + "cpu0/cpufreq/scaling_cur_freq", "30x"}, "frequency_mhz", 3001.0, ""},
		{"one policy", []string{cpuDir + "cpu0/cpufreq/affected_cpus", "0 1", cpuDir + "cpu1/cpufreq/affected_cpus", "0 1"}, "frequency_mhz", 3000.0, ""},
		{"no clock anywhere", []string{cpuDir + "cpu0/cpufreq/scaling_cur_freq", "absent", cpuDir + "cpu1/cpufreq/scaling_cur_freq", "absent", "proc/cpuinfo", "x"},
			"frequency_mhz", nil, "neither cpufreq nor /proc/cpuinfo"},
		{"thermal zone", []string{"sys/class/hwmon/hwmon1/name", "acpitz",
			"sys/class/thermal/thermal_zone3/type", "x86_pkg_temp", "sys/class/thermal/thermal_zone3/temp", "52000",
			"sys/class/thermal/thermal_zone1/type", "wifi", "sys/class/thermal/thermal_zone1/temp", "99000"}, "temperature_c", 52.0, ""},
		{"absurd sensor", []string{"sys/class/hwmon/hwmon1/temp1_input", "999000"}, "temperature_c", 47.5, ""},
		{"throttles without topology", []string{cpuDir + "cpu0/topology/physical_package_id", "absent"}, "thermal_throttles", 34.0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := newHostSampler(fakeTree(t, "metal", c.changes...))
			if err != nil {
				t.Fatal(err)
			}
			reading, err := s.Sample()
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(reading.Host)
			if err != nil {
				t.Fatal(err)
			}
			var fields map[string]any
			if err := json.Unmarshal(b, &fields); err != nil {
				t.Fatal(err)
			}
			why := reading.Host.Reasons[c.key]
			if got := fields[c.key]; got != c.want || !strings.Contains(why, c.why) || (c.want == nil) != (why != "") {
				t.Errorf("%s is %v because %q, want %v because %q", c.key, got, why, c.want, c.why)
			}
		})
	}
}

func TestHostSamplerFails(t *testing.T) {
	if _, err := NewHostSampler(t.TempDir()); err == nil || err.Error() != "sample host: read /proc/stat: no such file or directory; is /proc mounted?" {
		t.Errorf("error is %v, want the file and the cure", err)
	}
	machine := fakeTree(t, "metal")
	s, err := newHostSampler(machine)
	if err != nil {
		t.Fatal(err)
	}
	change(t, machine, "proc/stat", "absent")
	if _, err := s.Sample(); err == nil || !strings.Contains(err.Error(), "sample host: read /proc/stat") {
		t.Errorf("error is %v, want that of /proc/stat", err)
	}
}

func TestClocksAreSpread(t *testing.T) {
	changes := []string{}
	cpus := []int{}
	for cpu := range 16 {
		cpus = append(cpus, cpu)
		changes = append(changes, cpuDir+"cpu"+commas([]int{cpu})+"/cpufreq/affected_cpus", commas([]int{cpu}))
	}
	files := clockFiles(fakeTree(t, "metal", changes...), cpus)
	if len(files) != maxClocks || !strings.Contains(files[1], "/cpu2/") || !strings.Contains(files[7], "/cpu14/") {
		t.Errorf("clocks are %v, want every other of 16", files)
	}
}

// Where the kernel observes clocks, /proc/cpuinfo tells them without cpufreq; those of
// CPUs that this process may not use are others' clocks.
func TestClockOfCPUInfo(t *testing.T) {
	const cpuinfo = "processor : 0\ncpu MHz : 2400.000\nflags : fpu aperfmperf hypervisor\n\nprocessor : 1\ncpu MHz : 2500.000\nflags : fpu aperfmperf hypervisor\n"
	for _, c := range []struct {
		cpus, cpuinfo string
		want          float64 // 0 for none
	}{
		{"0-1", cpuinfo, 2450},
		{"1", cpuinfo, 2500},
		{"1", strings.ReplaceAll(cpuinfo, "processor : 1", "processor : x"), 0},
		{"0-1", strings.ReplaceAll(cpuinfo, "aperfmperf", "aperf"), 0},
		{"0-1", strings.ReplaceAll(cpuinfo, "00.000", "x"), 0},
	} {
		s, err := newHostSampler(fakeTree(t, "guest", "proc/self/status", "Cpus_allowed_list: "+c.cpus, "proc/cpuinfo", c.cpuinfo))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.frequency(); got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("CPUs %s of %q: %g MHz, %v; want %g", c.cpus, c.cpuinfo, got, err, c.want)
		}
	}
}

// atTime is a reading of a host of four CPUs.
func atTime(seconds float64, edit func(*HostReading)) Reading {
	h := &HostReading{
		CPUs: pointer(4), BusySeconds: pointer(100.0), StealSeconds: pointer(10.0), FrequencyMHz: pointer(3000.0),
		TemperatureC: pointer(50.0), ThermalThrottles: pointer(int64(3)),
	}
	if edit != nil {
		edit(h)
	}
	return Reading{Time: int64(seconds * 1e9), Host: h}
}

func TestBetween(t *testing.T) {
	start := atTime(1, nil)
	end := atTime(3, func(h *HostReading) {
		*h.BusySeconds, *h.StealSeconds, *h.FrequencyMHz, *h.TemperatureC, *h.ThermalThrottles = 105, 10.4, 2800, 55, 5
	})
	got := Between(start, end, 3.5)
	want := Interval{
		Seconds: pointer(2.0), StealFraction: pointer(0.05), ForeignCPUs: pointer(0.75), MeanFrequencyMHz: pointer(2900.0),
		TemperatureC: pointer(55.0), ThermalThrottles: pointer(int64(2)),
	}
	if d := gocmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestBetweenOddities(t *testing.T) {
	set := func(field func(*HostReading) **float64, v float64) func(*HostReading) {
		return func(h *HostReading) { *field(h) = &v }
	}
	busy := func(h *HostReading) **float64 { return &h.BusySeconds }
	steal := func(h *HostReading) **float64 { return &h.StealSeconds }
	for _, c := range []struct {
		name string
		end  float64 // seconds; the start is 1
		edit func(*HostReading)
		own  float64
		key  string
		want any
		why  string
	}{
		{"clock backwards", 0.5, nil, 0, "seconds", nil, "the clock went from 1000000000 to 500000000 ns"},
		{"no time between", 1, nil, 0, "foreign_cpus", nil, "the clock went"},
		{"busy backwards", 2, set(busy, 99), 0, "foreign_cpus", nil, "busy_s went backwards from 100 to 99"},
		{"busy backwards leaves steal", 2, set(busy, 99), 0, "steal_fraction", 0.0, ""},
		{"steal backwards", 2, set(steal, 9), 0, "steal_fraction", nil, "steal_s went backwards from 10 to 9"},
		{"throttles backwards", 2, func(h *HostReading) { *h.ThermalThrottles = 0 }, 0, "thermal_throttles", nil, "went backwards from 3 to 0"},
		{"a CPU went offline", 2, func(h *HostReading) { *h.CPUs = 3 }, 0, "foreign_cpus", nil, "CPUs online went from 4 to 3"},
		{"CPUs not read", 2, func(h *HostReading) { h.CPUs = nil; h.Reasons.add("cpus", "cut short") }, 0, "steal_fraction", nil, "cut short"},
		{"busy not read", 2, func(h *HostReading) { h.BusySeconds = nil; h.Reasons.add("busy_s", "torn") }, 0, "foreign_cpus", nil, "torn"},
		{"unread without a reason", 2, func(h *HostReading) { h.FrequencyMHz = nil }, 0, "mean_frequency_mhz", nil, "frequency_mhz was not reported"},
		{"temperature not read", 2, func(h *HostReading) { h.TemperatureC = nil; h.Reasons.add("temperature_c", "none") }, 0, "temperature_c", nil, "none"},
		{"steal of more than all", 2, set(steal, 20), 0, "steal_fraction", 1.0, ""},
		{"own time within the ticks", 2, set(busy, 100.5), 0.55, "foreign_cpus", 0.0, ""},
		{"own time beyond all", 2, set(busy, 100.5), 0.6, "foreign_cpus", nil, "exceeds the 0.5 s"},
		{"own time backwards", 2, set(busy, 101), -1, "foreign_cpus", nil, "own CPU time went backwards by 1 s"},
		{"all foreign", 2, set(busy, 101), 0, "foreign_cpus", 1.0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Between(atTime(1, nil), atTime(c.end, c.edit), c.own)
			b, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			var fields map[string]any
			if err := json.Unmarshal(b, &fields); err != nil {
				t.Fatal(err)
			}
			why := got.Reasons[c.key]
			if v := fields[c.key]; v != c.want || !strings.Contains(why, c.why) || (c.want == nil) != (why != "") {
				t.Errorf("%s is %v because %q, want %v because %q", c.key, v, why, c.want, c.why)
			}
			var back Interval
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(got, back); d != "" {
				t.Errorf("through JSON: -want +got:\n%s", d)
			}
		})
	}
}

func TestBetweenGPU(t *testing.T) {
	start := Reading{Time: 1e9, GPU: &GPUReading{
		EventReasons: pointer(SWPowerCap), EnergyJ: pointer(10.0), TemperatureC: pointer(40), ForeignProcesses: []int{9, 7},
		PowerViolationNS: pointer(int64(1)), ThermalViolationNS: pointer(int64(10)), HWSlowdownNS: pointer(int64(100)), ECCErrors: pointer(int64(2)), PCIeReplays: pointer(int64(3)),
	}}
	end := Reading{Time: 2e9, GPU: &GPUReading{
		EventReasons: pointer(HWSlowdown), EnergyJ: pointer(260.0), TemperatureC: pointer(45), ForeignProcesses: []int{7},
		PowerViolationNS: pointer(int64(5)), ThermalViolationNS: pointer(int64(10)), HWSlowdownNS: pointer(int64(130)), ECCErrors: pointer(int64(4)), PCIeReplays: pointer(int64(6)),
		Xids: []int{79},
	}}
	got := Between(start, end, 0)
	want := &GPUInterval{EventReasons: pointer(SWPowerCap | HWSlowdown), EnergyJ: pointer(250.0), TemperatureC: pointer(45), ForeignProcesses: []int{7, 9},
		PowerViolationNS: pointer(int64(4)), ThermalViolationNS: pointer(int64(0)), HWSlowdownNS: pointer(int64(30)), ECCErrors: pointer(int64(2)), PCIeReplays: pointer(int64(3)), Xids: []int{79},
		Reasons: Reasons{"event_watch": "nobody looked between the ends"}}
	if d := gocmp.Diff(want, got.GPU); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got.Reasons["foreign_cpus"] != "no host reading" {
		t.Errorf("reasons are %v, want that of the host's part", got.Reasons)
	}

	*start.GPU.EnergyJ = 300
	start.GPU.ForeignProcesses, end.GPU.ForeignProcesses = []int{}, []int{}
	end.GPU.EventReasons, end.GPU.TemperatureC, end.GPU.PCIeReplays, end.GPU.Xids, end.GPU.HWSlowdownNS = nil, nil, nil, nil, nil
	end.GPU.Reasons = Reasons{"event_reasons": "Not Supported", "xids": "no such function", "hw_slowdown_ns": "Not Found"}
	*end.GPU.ThermalViolationNS = 9
	got = Between(start, end, 0)
	want = &GPUInterval{ForeignProcesses: []int{}, PowerViolationNS: pointer(int64(4)), ECCErrors: pointer(int64(2)), Reasons: Reasons{
		"event_watch": "nobody looked between the ends", "xids": "no such function", "hw_slowdown_ns": "Not Found", "pcie_replays": "pcie_replays was not reported", "thermal_violation_ns": "thermal_violation_ns went backwards from 10 to 9",
		"event_reasons": "Not Supported", "energy_j": "energy_j went backwards from 300 to 260", "temperature_c": "temperature_c was not reported",
	}}
	if d := gocmp.Diff(want, got.GPU); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}

	end.GPU.ForeignProcesses = nil
	if got := Between(start, end, 0).GPU; got.ForeignProcesses != nil || got.Reasons["foreign_processes"] == "" {
		t.Errorf("unknown processes became %v", got.ForeignProcesses)
	}
}

// What was seen between the ends is joined to what they show.
func TestWatched(t *testing.T) {
	var watch EventWatch
	for _, look := range []EventReasons{0, SWPowerCap, SWPowerCap | 0x800} {
		watch.Add(look)
	}
	if d := gocmp.Diff(EventWatch{Looks: 3, Seen: map[string]int{"sw_power_cap": 2, "0x800": 1}, Joined: SWPowerCap | 0x800}, watch); d != "" {
		t.Fatalf("-want +got:\n%s", d)
	}
	for _, c := range []struct {
		name    string
		ends    *EventReasons
		watch   *EventWatch
		want    *EventReasons
		reasons Reasons
	}{
		{"joined", pointer(GPUIdle), &watch, pointer(GPUIdle | SWPowerCap | 0x800), nil},
		{"ends not known", nil, &watch, pointer(SWPowerCap | 0x800), nil},
		{"no look in so short a time", nil, &EventWatch{}, nil, Reasons{"event_reasons": "no end"}},
		{"nobody looked", pointer(GPUIdle), nil, pointer(GPUIdle), Reasons{"event_watch": "why"}},
	} {
		g := GPUInterval{EventReasons: c.ends, Reasons: Reasons{"event_watch": "before"}}
		if c.ends == nil {
			g.Reasons.add("event_reasons", "no end")
		}
		g.Watched(c.watch, "why")
		if d := gocmp.Diff(GPUInterval{EventReasons: c.want, Watch: c.watch, Reasons: c.reasons}, g, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, d)
		}
	}
}

func TestUsage(t *testing.T) {
	before, err := Usage()
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for i := 0; after.CPUSeconds-before.CPUSeconds < 0.02 && i < 1e9; i++ {
		if after, err = Usage(); err != nil {
			t.Fatal(err)
		}
	}
	if used := after.CPUSeconds - before.CPUSeconds; !(used >= 0.02) || math.IsInf(used, 0) {
		t.Errorf("a busy loop used %g s", used)
	}
}

func FuzzReadStat(f *testing.F) {
	f.Add("cpu  1 2 3 4 5 6 7 8\ncpu0 1\nintr 2\nprocs_running 3\n")
	f.Add("cpu")
	f.Add("cpu 18446744073709551615 18446744073709551615 1 1 1 1 1 1\n")
	f.Fuzz(func(t *testing.T, stat string) {
		var h HostReading
		h.readStat(stat)
		for key, isNil := range map[string]bool{
			"cpus": h.CPUs == nil, "busy_s": h.BusySeconds == nil, "steal_s": h.StealSeconds == nil, "running": h.Running == nil,
		} {
			if isNil != (h.Reasons[key] != "") {
				t.Errorf("%s: missing is %t, the reason is %q", key, isNil, h.Reasons[key])
			}
		}
		if _, err := json.Marshal(h); err != nil {
			t.Error(err)
		}
	})
}
