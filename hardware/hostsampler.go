package hardware

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"genbench/hardware/native"
)

// userHZ is the number of ticks per second in /proc/stat: 100 on every
// architecture of Linux that Go runs on (USER_HZ in the kernel's
// include/uapi/asm-generic/param.h).
const userHZ = 100

// maxClocks is how many CPU clocks a reading looks at. Kernels before 5.18 may
// wait 10 ms for each (APERFMPERF_REFRESH_DELAY_MS in arch/x86/kernel/cpu/aperfmperf.c).
const maxClocks = 8

// A hostSampler reads the counters of the kernel. It looks once for the files that
// there are; where one goes away later, such as that of a CPU taken offline, its part
// is left out.
type hostSampler struct {
	tree      tree
	now       func() int64
	allowed   []int    // CPUs that this process may use
	clocks    []string // scaling_cur_freq, one per cpufreq policy
	sensors   []string // temperatures of the processor, in thousandths of a degree
	throttles []string // events counted since boot
}

// NewHostSampler reads the host's counters from the /proc and /sys below root; the
// empty root is "/". It fails where there is no /proc/stat.
func NewHostSampler(root string) (Sampler, error) { return newHostSampler(openTree(root)) }

func newHostSampler(t tree) (*hostSampler, error) {
	if _, err := t.text("proc/stat"); err != nil {
		return nil, fmt.Errorf("sample host: %w; is /proc mounted?", err)
	}
	allowed, err := allowedCPUs(t)
	if err != nil {
		return nil, fmt.Errorf("sample host: %w", err)
	}
	return &hostSampler{
		tree:      t,
		now:       native.Now,
		allowed:   allowed,
		clocks:    clockFiles(t, allowed),
		sensors:   sensorFiles(t),
		throttles: throttleFiles(t),
	}, nil
}

// Sample fails only if /proc/stat can't be read; what else is missing is nil with
// its reason.
func (s *hostSampler) Sample() (Reading, error) {
	stat, err := s.tree.text("proc/stat")
	now := s.now()
	if err != nil {
		return Reading{}, fmt.Errorf("sample host: %w", err)
	}
	h := &HostReading{}
	h.readStat(stat)
	r := &h.Reasons
	h.Load1 = try(load1(s.tree)).or(r, "load_1m")
	h.FrequencyMHz = try(s.frequency()).or(r, "frequency_mhz")
	h.TemperatureC = try(s.temperature()).or(r, "temperature_c")
	h.ThermalThrottles = try(s.thermalThrottles()).or(r, "thermal_throttles")
	return Reading{Time: now, Host: h}, nil
}

func (s *hostSampler) Close() error { return nil }

// readStat reads the text of /proc/stat, whose columns are in proc_stat(5).
func (h *HostReading) readStat(stat string) {
	r := &h.Reasons
	var cpus int
	var ticks []float64
	complete := false
	for line := range strings.Lines(stat) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "cpu":
			ticks = parseTicks(fields[1:])
		case strings.HasPrefix(fields[0], "cpu"):
			cpus++
		case fields[0] == "procs_running" && len(fields) == 2:
			if n, err := strconv.Atoi(fields[1]); err == nil && n >= 0 {
				h.Running = &n
			}
		default:
			// The lines of the CPUs come first, so any other means that all were seen.
			complete = true
		}
	}
	if complete && cpus > 0 {
		h.CPUs = &cpus
	} else {
		r.add("cpus", "read /proc/stat: the list of CPUs is cut short")
	}
	if h.Running == nil {
		r.add("running", "read /proc/stat: no procs_running")
	}
	// user nice system idle iowait irq softirq steal
	if len(ticks) < 8 {
		r.add("busy_s", "read /proc/stat: the cpu line has %d of 8 numbers", len(ticks))
		r.add("steal_s", "%s", (*r)["busy_s"])
		return
	}
	busy := (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / userHZ
	steal := ticks[7] / userHZ
	h.BusySeconds, h.StealSeconds = &busy, &steal
}

// parseTicks reads numbers up to the first word that is not one.
func parseTicks(fields []string) []float64 {
	var ticks []float64
	for _, f := range fields {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			break
		}
		ticks = append(ticks, float64(n))
	}
	return ticks
}

func load1(t tree) (float64, error) {
	s, err := t.text("proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(s, " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil || !(load >= 0) {
		return 0, fmt.Errorf("read /proc/loadavg: %q has no load", s)
	}
	return load, nil
}

// clockFiles picks up to maxClocks clocks, spread evenly over the CPUs given. CPUs
// of one cpufreq policy share a clock.
func clockFiles(t tree, cpus []int) []string {
	var files []string
	seen := map[string]bool{}
	for _, cpu := range cpus {
		dir := fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpufreq/", cpu)
		policy, err := t.text(dir + "affected_cpus")
		if err != nil || seen[policy] {
			continue
		}
		seen[policy] = true
		files = append(files, dir+"scaling_cur_freq")
	}
	if len(files) <= maxClocks {
		return files
	}
	spread := make([]string, maxClocks)
	for i := range spread {
		spread[i] = files[i*len(files)/maxClocks]
	}
	return spread
}

// frequency is the mean of the clocks found, or, where there is no cpufreq, of what
// /proc/cpuinfo prints for the CPUs that this process may use. That is a clock only
// where the kernel has the counters APERF and MPERF to observe one with. Without them,
// as in most guests, it prints the frequency that it counts time by, which never
// changes (cpu_khz, to which arch_freq_get_on_cpu in arch/x86/kernel/cpu/aperfmperf.c
// falls back; before Linux 5.18 show_cpuinfo in proc.c next to it).
func (s *hostSampler) frequency() (float64, error) {
	var sum float64
	var n int
	for _, file := range s.clocks {
		if kHz, err := s.tree.integer(file); err == nil && kHz > 0 {
			sum += float64(kHz) / 1000
			n++
		}
	}
	if n > 0 {
		return sum / float64(n), nil
	}
	text, err := s.tree.text("proc/cpuinfo")
	if err != nil {
		return 0, err
	}
	cpu := -1
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			if cpu, err = strconv.Atoi(value); err != nil {
				cpu = -1
			}
		case "cpu MHz":
			if mhz, err := strconv.ParseFloat(value, 64); err == nil && mhz > 0 && slices.Contains(s.allowed, cpu) {
				sum += mhz
				n++
			}
		}
	}
	flags, _ := colonValue(text, "flags")
	switch {
	case n == 0:
		return 0, errors.New("neither cpufreq nor /proc/cpuinfo has a clock")
	case !slices.Contains(strings.Fields(flags), "aperfmperf"):
		return 0, errors.New("there is no cpufreq, and /proc/cpuinfo has only the nominal clock: without the CPU flag aperfmperf the kernel cannot observe the real one")
	}
	return sum / float64(n), nil
}

// sensorFiles finds the processor's thermometers: the drivers' own first, otherwise the
// thermal zones that stand for a processor.
func sensorFiles(t tree) []string {
	drivers := []string{"coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal"}
	var files []string
	for _, name := range t.glob("sys/class/hwmon/hwmon*/name") {
		if driver, err := t.text(name); err == nil && slices.Contains(drivers, driver) {
			files = append(files, t.glob(path.Dir(name)+"/temp*_input")...)
		}
	}
	if len(files) > 0 {
		return files
	}
	zones := []string{"x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc_thermal", "soc-thermal"}
	for _, kind := range t.glob("sys/class/thermal/thermal_zone*/type") {
		if zone, err := t.text(kind); err == nil && slices.Contains(zones, zone) {
			files = append(files, path.Dir(kind)+"/temp")
		}
	}
	return files
}

// temperature is that of the hottest sensor with a plausible reading for a processor.
func (s *hostSampler) temperature() (float64, error) {
	hottest, found := 0.0, false
	for _, file := range s.sensors {
		m, err := s.tree.integer(file)
		if c := float64(m) / 1000; err == nil && c > 0 && c < 150 && c > hottest {
			hottest, found = c, true
		}
	}
	if !found {
		return 0, errors.New("no thermometer of the processor in /sys/class/hwmon or /sys/class/thermal")
	}
	return hottest, nil
}

// throttleFiles finds one counter per core and one per package: the CPUs that share
// either count the same events.
func throttleFiles(t tree) []string {
	topology, err := readTopology(t)
	if err != nil || topology.incomplete != nil {
		return t.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count")
	}
	var files []string
	for _, core := range topology.cores {
		files = append(files, fmt.Sprintf("sys/devices/system/cpu/cpu%d/thermal_throttle/core_throttle_count", core[0]))
	}
	for _, cpu := range topology.sockets {
		files = append(files, fmt.Sprintf("sys/devices/system/cpu/cpu%d/thermal_throttle/package_throttle_count", cpu))
	}
	return files
}

func (s *hostSampler) thermalThrottles() (int64, error) {
	var sum int64
	found := false
	for _, file := range s.throttles {
		if n, err := s.tree.integer(file); err == nil {
			sum += n
			found = true
		}
	}
	if !found {
		return 0, errors.New("no thermal_throttle counters in /sys/devices/system/cpu")
	}
	return sum, nil
}
