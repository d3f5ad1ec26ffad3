package hardware

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Finding is one circumstance that disturbs measurements, found before any is
// taken.
type Finding struct {
	Code     string   `json:"code"`     // stable, such as "foreign_load"
	Severity Severity `json:"severity"` //
	// Device is the UUID of the GPU that it is about; empty is the host.
	Device string `json:"device,omitempty"`
	Text   string `json:"text"`   // what was found, with the figure
	Advice string `json:"advice"` // what to do about it
}

// Passes reports whether the finding is about what others are doing just now, so that
// waiting may help.
func (f Finding) Passes() bool {
	return f.Code == "foreign_load" || f.Code == "gpu_foreign_processes"
}

// Severity says whether a finding spoils numbers or only widens their spread.
type Severity string

const (
	Warn Severity = "warn"
	Fail Severity = "fail"
)

// The limits of the findings. In a round such a load costs the round, and that much
// steal tags it (protocol section 14).
const (
	maxForeignCPUs = 0.5  // cores
	maxSteal       = 0.01 // of the machine's time
	maxLoad1       = 1.0  // threads, as of a core kept busy all of the last minute
	maxIdleCelsius = 60.0
)

// A hostState is what the checks of a host look at.
type hostState struct {
	description HostDescription
	topology    topology
	allowed     []int // CPUs the process may use; nil if not known
	used        []int // those that inferences will run on: what they will be bound to, or all that are allowed
	threads     int   // that an inference will use
	idle        Interval
	load1       *float64
}

// A hostCheck is one rule of the preflight. An empty text is no finding: all is well,
// or the machine does not say, and then the host record has the reason.
type hostCheck struct {
	code     string
	severity Severity
	find     func(hostState) (text, advice string)
}

// hostChecks are the preflight rules of a CPU device, in the order of the report.
func hostChecks() []hostCheck {
	return []hostCheck{
		{"foreign_load", Fail, func(s hostState) (string, string) {
			if f := s.idle.ForeignCPUs; f != nil && *f > maxForeignCPUs {
				return fmt.Sprintf("other processes kept %.2f CPUs busy while genbench waited (limit %.1f)", *f, maxForeignCPUs),
					"stop them, `top` lists them; or let `genbench run --wait 30m` wait for them"
			}
			return "", ""
		}},
		{"steal_time", Warn, func(s hostState) (string, string) {
			if f := s.idle.StealFraction; f != nil && *f > maxSteal {
				return fmt.Sprintf("the hypervisor took %.1f %% of the machine's time (limit %.0f %%)", 100**f, 100*maxSteal),
					"measure on a dedicated host, or when its other guests are quiet"
			}
			return "", ""
		}},
		{"load_average", Warn, func(s hostState) (string, string) {
			if s.load1 != nil && *s.load1 > maxLoad1 {
				return fmt.Sprintf("the load average of the last minute is %.2f (limit %.1f)", *s.load1, maxLoad1),
					"wait until it has fallen: what ran may come back, and has warmed the processor"
			}
			return "", ""
		}},
		{"threads_exceed_cores", Warn, func(s hostState) (string, string) {
			if s.used == nil || s.description.CgroupLimits == nil {
				return "", ""
			}
			if usable := UsableCores(len(s.used), s.description.CgroupLimits.CPUs); s.threads > usable {
				return fmt.Sprintf("%s for %s", count(s.threads, "thread"), count(usable, "usable CPU")),
					fmt.Sprintf("use --threads %d at most: more only wait for each other", usable)
			}
			return "", ""
		}},
		{"cgroup_quota", Warn, func(s hostState) (string, string) {
			limits := s.description.CgroupLimits
			if s.used == nil || limits == nil || limits.CPUs == nil || *limits.CPUs >= float64(len(s.used)) {
				return "", ""
			}
			return fmt.Sprintf("a control group grants %.2f CPUs of %d", *limits.CPUs, len(s.used)),
				"lift the quota and bind to a set of CPUs instead: a quota stops all threads until its period ends"
		}},
		{"no_pinning", Warn, func(s hostState) (string, string) {
			// With a thread for every CPU there is nothing to choose.
			if p := s.description.PinnedCPUs; p == nil || len(p) > 0 || len(s.allowed) <= s.threads {
				return "", ""
			}
			return fmt.Sprintf("threads may move among all %s", count(len(s.allowed), "CPU")),
				"bind them: " + bind(s)
		}},
		{"smt_siblings", Warn, func(s hostState) (string, string) {
			shared := s.topology.shared(s.used)
			if len(shared) == 0 {
				return "", ""
			}
			return fmt.Sprintf("%s shared by CPUs that may all be used, such as %s", count(len(shared), "core"), commas(shared[0])),
				"use one CPU per core: " + bind(s)
		}},
		{"governor", Warn, func(s hostState) (string, string) {
			if g := s.description.Governor; g != nil && *g != "performance" {
				return fmt.Sprintf("the frequency governor is %s", *g), "`cpupower frequency-set -g performance`"
			}
			return "", ""
		}},
		{"turbo", Warn, func(s hostState) (string, string) {
			if t := s.description.Turbo; t != nil && *t {
				return "turbo is on: clocks depend on temperature and on how many cores are busy",
					"`echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo`, or `echo 0 > /sys/devices/system/cpu/cpufreq/boost`"
			}
			return "", ""
		}},
		{"virtual_machine", Warn, func(s hostState) (string, string) {
			if v := s.description.Virtualised; v == nil || !*v {
				return "", ""
			}
			by := "an unknown hypervisor"
			if s.description.Hypervisor != nil {
				by = *s.description.Hypervisor
			}
			return "this is a guest of " + by, "compare only within this machine: other guests share its caches and memory unseen"
		}},
		{"temperature", Warn, func(s hostState) (string, string) {
			if c := s.idle.TemperatureC; c != nil && *c > maxIdleCelsius {
				return fmt.Sprintf("the processor is at %.0f °C when idle (limit %.0f)", *c, maxIdleCelsius),
					"let it cool, and look at its fans"
			}
			return "", ""
		}},
	}
}

// Preflight looks for what would disturb measurements on the host below root (the
// empty root is "/"), with inferences of that many threads, in processes that will be
// bound to cpus; an empty list leaves them on those of this process. It watches the
// machine for the time idle, during which the caller does nothing: half a second or
// more, because the kernel counts in ticks of 10 ms. An error says that the machine
// could not be watched, or that the context ended.
func Preflight(ctx context.Context, root string, idle time.Duration, threads int, cpus []int) ([]Finding, error) {
	t := openTree(root)
	sampler, err := newHostSampler(t)
	if err != nil {
		return nil, fmt.Errorf("check host: %w", err)
	}
	return preflight(ctx, t, sampler, func() error { return sleep(ctx, idle) }, threads, cpus)
}

func preflight(ctx context.Context, t tree, sampler *hostSampler, wait func() error, threads int, cpus []int) ([]Finding, error) {
	state := hostState{description: describeHost(t), threads: threads}
	// What can't be read leaves its checks out; the description has the reasons.
	state.topology, _ = readTopology(t)
	state.allowed, _ = allowedCPUs(t)
	if state.used = cpus; len(cpus) == 0 {
		state.used = state.allowed
	}

	var reading [2]Reading
	var used [2]ProcessUsage
	for i := range reading {
		if i == 1 {
			if err := wait(); err != nil {
				return nil, fmt.Errorf("check host: %w", err)
			}
		}
		var err error
		if reading[i], err = sampler.Sample(); err != nil {
			return nil, fmt.Errorf("check host: %w", err)
		}
		if used[i], err = Usage(); err != nil {
			return nil, fmt.Errorf("check host: %w", err)
		}
	}
	state.idle = Between(reading[0], reading[1], used[1].CPUSeconds-used[0].CPUSeconds)
	state.load1 = reading[1].Host.Load1

	findings := []Finding{}
	for _, check := range hostChecks() {
		if text, advice := check.find(state); text != "" {
			findings = append(findings, Finding{Code: check.code, Severity: check.severity, Text: text, Advice: advice})
		}
	}
	return findings, ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// bind is the flag that binds to as many cores as there are threads.
func bind(s hostState) string {
	cpus := s.topology.coresFirst(s.allowed)
	return fmt.Sprintf("`genbench run --cpus %s`", FormatCPUs(cpus[:max(1, min(s.threads, len(cpus)))]))
}

func commas(numbers []int) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
