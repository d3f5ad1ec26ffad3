package hardware

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

const cpuDir = "sys/devices/system/cpu/"

// statOf is a /proc/stat of four CPUs with the ticks of user time and steal.
func statOf(user, steal int) string {
	return fmt.Sprintf("cpu  %d 20 300 90000 50 0 10 %d 0 0\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 1\nprocs_running 1\n", user, steal)
}

// runPreflight checks a machine whose /proc/stat is replaced while it waits, for
// one second by the sampler's clock.
func runPreflight(t *testing.T, in tree, threads int, stat string, cpus ...int) []Finding {
	t.Helper()
	sampler, err := newHostSampler(in)
	if err != nil {
		t.Fatal(err)
	}
	var now int64 = 1e9
	sampler.now = func() int64 { return now }
	findings, err := preflight(t.Context(), in, sampler, func() error {
		now += 1e9
		if stat != "" {
			change(t, in, "proc/stat", stat)
		}
		return nil
	}, threads, cpus)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

func TestPreflightHost(t *testing.T) {
	cpuinfo := func(flags string) string { return "model name : X\nflags : " + flags + "\n" }
	// Each pair differs from the quiet machine in one thing, which is beyond the
	// limit in raises and just within it in not.
	cases := []struct {
		code        string
		severity    Severity
		text        string // of the finding, or of its advice
		raises, not []string
		stat        [2]string
		threads     [2]int
	}{
		{code: "foreign_load", severity: Fail, text: "0.60 CPUs", stat: [2]string{statOf(1060, 0), statOf(1040, 0)}},
		{code: "steal_time", severity: Warn, text: "1.2 %", stat: [2]string{statOf(1000, 5), statOf(1000, 4)}},
		{code: "load_average", severity: Warn, text: "1.01",
			raises: []string{"proc/loadavg", "1.01 0 0"}, not: []string{"proc/loadavg", "1.00 9 9"}},
		{code: "threads_exceed_cores", severity: Warn, text: "--threads 2", threads: [2]int{3, 2}},
		{code: "cgroup_quota", severity: Warn, text: "1.90 CPUs of 2",
			raises: []string{"sys/fs/cgroup/user.slice/cpu.max", "190000 100000"}, not: []string{"sys/fs/cgroup/user.slice/cpu.max", "200000 100000"}, threads: [2]int{1, 1}},
		{code: "no_pinning", severity: Warn, text: "`genbench run --cpus 0-1`",
			raises: []string{
				"proc/self/status", "Cpus_allowed_list: 0-3",
				// Without SMT, or there is a second finding.
				cpuDir + "cpu0/topology/thread_siblings_list", "0", cpuDir + "cpu1/topology/thread_siblings_list", "1",
				cpuDir + "cpu2/topology/thread_siblings_list", "2", cpuDir + "cpu3/topology/thread_siblings_list", "3",
			},
			not: []string{"proc/self/status", "Cpus_allowed_list: 0,3"}},
		{code: "smt_siblings", severity: Warn, text: "`genbench run --cpus 0-1`",
			raises: []string{"proc/self/status", "Cpus_allowed_list: 0-2"}, not: []string{"proc/self/status", "Cpus_allowed_list: 1-2"}},
		{code: "governor", severity: Warn, text: "performance,powersave",
			raises: []string{cpuDir + "cpu1/cpufreq/scaling_governor", "powersave"}, not: []string{cpuDir + "cpu2/cpufreq/scaling_governor", "powersave"}},
		{code: "turbo", severity: Warn, text: "turbo is on",
			raises: []string{cpuDir + "intel_pstate/no_turbo", "0"},
			not:    []string{cpuDir + "intel_pstate/no_turbo", "absent", cpuDir + "cpufreq/boost", "0"}},
		{code: "virtual_machine", severity: Warn, text: "guest of Imaginary Inc. Box",
			raises: []string{"proc/cpuinfo", cpuinfo("fpu hypervisor")}, not: []string{"proc/cpuinfo", cpuinfo("fpu")}},
		{code: "temperature", severity: Warn, text: "61 °C",
			raises: []string{"sys/class/hwmon/hwmon1/temp2_input", "61000"}, not: []string{"sys/class/hwmon/hwmon1/temp2_input", "60000"}},
	}
	var covered, all []string
	for _, c := range cases {
		covered = append(covered, c.code)
		t.Run(c.code, func(t *testing.T) {
			if c.threads == [2]int{} {
				c.threads = [2]int{2, 2}
			}
			got := runPreflight(t, fakeTree(t, "metal", c.raises...), c.threads[0], c.stat[0])
			if len(got) != 1 || got[0].Code != c.code || got[0].Severity != c.severity {
				t.Fatalf("findings are %+v, want one %s (%s)", got, c.code, c.severity)
			}
			if !strings.Contains(got[0].Text+got[0].Advice, c.text) || got[0].Text == "" || got[0].Advice == "" {
				t.Errorf("finding is %+v, want %q in it", got[0], c.text)
			}
			if got := runPreflight(t, fakeTree(t, "metal", c.not...), c.threads[1], c.stat[1]); len(got) != 0 {
				t.Errorf("within the limit: findings are %+v, want none", got)
			}
		})
	}
	for _, check := range hostChecks() {
		all = append(all, check.code)
	}
	if d := gocmp.Diff(all, covered); d != "" {
		t.Errorf("cases are not the checks: %s", d)
	}
}

// A guest tells little: what it hides is no finding.
func TestPreflightGuest(t *testing.T) {
	got := codes(runPreflight(t, fakeTree(t, "guest"), 2, ""))
	want := []string{"load_average", "threads_exceed_cores", "cgroup_quota", "smt_siblings", "virtual_machine"}
	if !slices.Equal(got, want) {
		t.Errorf("findings are %v, want %v", got, want)
	}
}

// What the workers will be bound to counts, and not what this process may use.
func TestPreflightBound(t *testing.T) {
	quota := []string{"sys/fs/cgroup/user.slice/cpu.max", "150000 100000"}
	for _, c := range []struct {
		name    string
		threads int
		cpus    []int
		changes []string
		want    []string
	}{
		{"more threads than CPUs", 2, []int{1}, nil, []string{"threads_exceed_cores"}},
		{"as many", 3, []int{0, 1, 3}, nil, []string{"smt_siblings"}}, // CPUs 1 and 3 are a core
		{"a quota of more than is used", 1, []int{1}, quota, nil},
		{"a quota of less", 1, []int{0, 1}, quota, []string{"cgroup_quota"}},
	} {
		if got := codes(runPreflight(t, fakeTree(t, "metal", c.changes...), c.threads, "", c.cpus...)); !slices.Equal(got, c.want) {
			t.Errorf("%s: findings are %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPreflightFails(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Preflight(ended, "", time.Hour, 1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that of the context", err)
	}
	if _, err := Preflight(t.Context(), t.TempDir(), 0, 1, nil); err == nil || !strings.Contains(err.Error(), "read /proc/stat") {
		t.Errorf("error is %v, want the file that is missing", err)
	}
}

// The machine at hand is busy or not, but a finding is whole, and one of the checks'.
func TestPreflightReal(t *testing.T) {
	findings, err := Preflight(t.Context(), "", 100*time.Millisecond, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		i := slices.IndexFunc(hostChecks(), func(c hostCheck) bool { return c.code == f.Code })
		if i < 0 || f.Severity != hostChecks()[i].severity || f.Device != "" || f.Text == "" || f.Advice == "" {
			t.Errorf("finding is %+v", f)
		}
	}
	// No machine has as many CPUs as that.
	findings, err = Preflight(t.Context(), "", time.Millisecond, maxCPUs+1, nil)
	if err != nil || !slices.Contains(codes(findings), "threads_exceed_cores") {
		t.Errorf("findings are %v, %v; want that the threads are too many", codes(findings), err)
	}
}
