package hardware

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	gocmp "github.com/google/go-cmp/cmp"

	"genbench/hardware/hardwaretest"
)

// What the child of a test prints.
type nvmlReport struct {
	OpenError   string
	Unavailable bool
	GPUs        []GPU
	GPUsError   string
	Reading     *GPUReading
	SampleError string
	Lost        bool
	Findings    []Finding
	CheckError  string
}

const nvmlChildKey = "GENBENCH_TEST_NVML"

// TestNVMLChild is the process in which one fake is opened. It answers only when
// runNVML starts it.
func TestNVMLChild(t *testing.T) {
	path, isChild := os.LookupEnv(nvmlChildKey)
	if !isChild {
		t.Skip("runs as the child of the tests below")
	}
	var report nvmlReport
	defer func() {
		out, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("REPORT %s\n", out)
	}()
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	n, err := OpenNVML(path)
	if err != nil {
		var unavailable *NVMLUnavailableError
		report.OpenError, report.Unavailable = text(err), errors.As(err, &unavailable)
		return
	}
	if n.Path() != path {
		t.Errorf("opened %s, want %s", n.Path(), path)
	}
	// Where the test runs, in a container or not, is not its subject.
	n.idsErr = nil
	if os.Getenv("CONTAINER") != "" {
		n.idsErr = errors.New("in a container")
	}
	gpus, err := n.GPUs()
	report.GPUs, report.GPUsError = gpus, text(err)
	uuid := cmp.Or(os.Getenv("SAMPLED_UUID"), "GPU-fake-0")
	if s, err := NewNVMLSampler(n, uuid, func(pid int) bool { return pid == 1000 }); err != nil {
		report.SampleError = text(err)
	} else {
		reading, err := s.Sample()
		report.Reading, report.SampleError, report.Lost = reading.GPU, text(err), errors.Is(err, ErrGPULost)
		if err == nil && reading.Time <= 0 {
			t.Error("the reading has no time")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	findings, err := PreflightGPU(n, uuid, func(pid int) bool { return pid == 1000 })
	report.Findings, report.CheckError = findings, text(err)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func runNVML(t *testing.T, path string, env ...string) nvmlReport {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestNVMLChild$")
	// The race detector would wait a second at each exit.
	child.Env = append(append(os.Environ(), nvmlChildKey+"="+path, "GORACE=atexit_sleep_ms=0"), env...)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutPrefix(line, "REPORT "); ok {
			var report nvmlReport
			if err := json.Unmarshal([]byte(text), &report); err != nil {
				t.Fatal(err)
			}
			return report
		}
	}
	t.Fatalf("the child made no report:\n%s", out)
	return nvmlReport{}
}

func pointer[T any](v T) *T { return &v }

func TestNVMLReadsAll(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t), "FAKE_NVML_DEVICES=2", "FAKE_NVML_COMPUTE_PID=77", "FAKE_NVML_GRAPHICS_PID=1000")
	gpu := func(i int) GPU {
		return GPU{
			UUID: fmt.Sprintf("GPU-fake-%d", i), Name: pointer("Fake GPU"), Driver: pointer("999.42"),
			PCIBusID: pointer(fmt.Sprintf("0000:%02x:00.0", 0x65+i)), VBIOS: pointer("01.02.03"),
			MemoryBytes: pointer(int64(80 << 30)), ComputeCapability: pointer("9.1"),
			MaxSMClockMHz: pointer(1980), MaxMemoryClockMHz: pointer(3201), PowerLimitW: pointer(700.0),
			Persistence: pointer(true), MIG: pointer(false), ECC: pointer(false),
			PCIe: &PCIe{Generation: 5, MaxGeneration: 5, Width: 16, MaxWidth: 16},
		}
	}
	want := nvmlReport{
		GPUs: []GPU{gpu(0), gpu(1)},
		Reading: &GPUReading{
			SMClockMHz: pointer(1410), MemoryClockMHz: pointer(2619), PState: pointer(0), PowerW: pointer(250.5),
			TemperatureC: pointer(41), EventReasons: pointer(SWPowerCap | HWThermalSlowdown), EnergyJ: pointer(123.456),
			ForeignProcesses: []int{77},
		},
	}
	findings := got.Findings
	got.Findings = nil
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if len(findings) != 1 || findings[0].Code != "gpu_foreign_processes" || findings[0].Severity != Fail {
		t.Errorf("findings are %v, want the foreign process only", findings)
	}
}

func TestNVMLOfOldDriver(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t, "OLD"), "FAKE_NVML_CELSIUS=55", "FAKE_NVML_REASONS=0x8")
	if r := got.Reading; r == nil || r.TemperatureC == nil || *r.TemperatureC != 55 || r.EventReasons == nil || *r.EventReasons != HWSlowdown {
		t.Errorf("reading is %+v, want 55 °C and a hardware slowdown by the old functions", r)
	}
}

// Without the look-ups the first of these calls would end the child.
func TestNVMLWithoutOptionalFunctions(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t, "BARE"))
	if got.SampleError != "" || got.GPUsError != "" || got.CheckError != "" || len(got.Findings) != 0 {
		t.Fatalf("got %+v, want no error and no finding", got)
	}
	checkAllUnknown(t, got, "no such function")
}

func TestNVMLNotSupported(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t), "FAKE_NVML_RETURN=3", "FAKE_NVML_MIG=1", "FAKE_NVML_ECC_ERRORS=1", "FAKE_NVML_COMPUTE_PID=77")
	if got.SampleError != "" || got.GPUsError != "" || got.CheckError != "" || len(got.Findings) != 0 {
		t.Fatalf("got %+v, want no error and no finding", got)
	}
	got.GPUs[0].Driver = nil // not a property of the board, so it was answered
	checkAllUnknown(t, got, "Not Supported")
}

// checkAllUnknown expects each field of the board and of the reading to be null in
// JSON, with a reason.
func checkAllUnknown(t *testing.T, got nvmlReport, why string) {
	t.Helper()
	for name, record := range map[string]any{"gpu": got.GPUs[0], "reading": got.Reading} {
		b, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(b, &fields); err != nil {
			t.Fatal(err)
		}
		for key, value := range fields {
			if key == "uuid" || key == "driver" || strings.HasSuffix(key, reasonSuffix) {
				continue
			}
			if reason, _ := fields[key+reasonSuffix].(string); value != nil || !strings.Contains(reason, why) {
				t.Errorf("%s: %s is %v because %q, want null because %q", name, key, value, reason, why)
			}
		}
	}
}

func TestNVMLGPULost(t *testing.T) {
	fake := hardwaretest.FakeNVML(t)
	t.Run("lost", func(t *testing.T) { testGPULost(t, fake, "FAKE_NVML_RETURN=15") })
	t.Run("reset required", func(t *testing.T) { testGPULost(t, fake, "FAKE_NVML_RETURN=16") })
}

func testGPULost(t *testing.T, fake, answer string) {
	got := runNVML(t, fake, answer)
	if got.Reading != nil || !got.Lost {
		t.Errorf("got %+v, want ErrGPULost", got)
	}
	for _, text := range []string{got.SampleError, got.CheckError} {
		if !strings.Contains(text, "GPU-fake-0") || !strings.Contains(text, "gone until it is reset") {
			t.Errorf("error is %q, want the GPU and what happened to it", text)
		}
	}
}

func TestNVMLUnavailable(t *testing.T) {
	dir := t.TempDir()
	noLibrary := filepath.Join(dir, "libnvidia-ml.so.1")
	empty := filepath.Join(dir, "empty.so.1")
	source := filepath.Join(dir, "empty.c")
	if err := os.WriteFile(source, []byte("int nothing;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", empty, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		name, path string
		env        []string
		want       []string
	}{
		{"no file", noLibrary, nil, []string{noLibrary, "No such file", "install its driver"}},
		{"another library", empty, nil, []string{empty, "nvmlInit_v2"}},
		{"no driver", hardwaretest.FakeNVML(t), []string{"FAKE_NVML_INIT=9"}, []string{"libnvidia-ml.so.1", "nvmlInit_v2: Driver Not Loaded"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := runNVML(t, c.path, c.env...)
			if !got.Unavailable {
				t.Errorf("got %+v, want an *NVMLUnavailableError", got)
			}
			for _, part := range c.want {
				if !strings.Contains(got.OpenError, part) {
					t.Errorf("error %q lacks %q", got.OpenError, part)
				}
			}
		})
	}
}

func TestNVMLUnknownUUID(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t), "SAMPLED_UUID=GPU-other")
	want := "sample GPU GPU-other: nvmlDeviceGetHandleByUUID: Not Found"
	if got.Reading != nil || got.SampleError != want || got.Lost {
		t.Errorf("got %+v, want the error %q", got, want)
	}
}

func TestNVMLInContainer(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t), "CONTAINER=1", "FAKE_NVML_COMPUTE_PID=77")
	if r := got.Reading; r == nil || r.ForeignProcesses != nil || r.Reasons["foreign_processes"] != "in a container" {
		t.Errorf("reading is %+v, want unknown processes", r)
	}
	if len(got.Findings) != 0 {
		t.Errorf("findings are %v, want none", got.Findings)
	}
}

func TestPreflightGPU(t *testing.T) {
	fake := hardwaretest.FakeNVML(t)
	cases := []struct{ code, raises, not string }{
		{"gpu_foreign_processes", "COMPUTE_PID=77", "COMPUTE_PID=1000"},
		{"gpu_ecc_errors", "ECC_ERRORS=2", "ECC_ERRORS=0"},
		{"gpu_pcie_width", "WIDTH=8", "WIDTH=16"},
		{"gpu_pcie_generation", "PCIE=3", "PCIE=5"},
		{"gpu_persistence_off", "PERSISTENCE=0", "PERSISTENCE=1"},
		{"gpu_mig_on", "MIG=1", "MIG=0"},
		{"gpu_temperature", "CELSIUS=61", "CELSIUS=60"},
	}
	var covered, all []string
	for _, c := range cases {
		covered = append(covered, c.code)
		if got := codes(runNVML(t, fake, "FAKE_NVML_"+c.raises).Findings); !slices.Equal(got, []string{c.code}) {
			t.Errorf("%s: findings are %v, want %s", c.raises, got, c.code)
		}
		if got := codes(runNVML(t, fake, "FAKE_NVML_"+c.not).Findings); len(got) != 0 {
			t.Errorf("%s: findings are %v, want none", c.not, got)
		}
	}
	for _, check := range gpuChecks() {
		all = append(all, check.code)
	}
	if d := gocmp.Diff(all, covered); d != "" {
		t.Errorf("cases are not the checks: %s", d)
	}
	if got := codes(runNVML(t, fake, "FAKE_NVML_PCIE=1", "FAKE_NVML_P_STATE=8").Findings); len(got) != 0 {
		t.Errorf("a link that saves power at idle: findings are %v, want none", got)
	}
}

func codes(findings []Finding) []string {
	var list []string
	for _, f := range findings {
		list = append(list, f.Code)
	}
	return list
}

func TestEventReasonsNames(t *testing.T) {
	for mask, want := range map[EventReasons][]string{
		0:                              {},
		GPUIdle | HWPowerBrakeSlowdown: {"gpu_idle", "hw_power_brake_slowdown"},
		0x7ff: {"gpu_idle", "applications_clocks_setting", "sw_power_cap", "hw_slowdown", "sync_boost", "sw_thermal_slowdown",
			"hw_thermal_slowdown", "hw_power_brake_slowdown", "display_clock_setting", "board_limit", "reliability"},
		1<<63 | 0x4 | 0x800: {"sw_power_cap", "0x800", "0x8000000000000000"},
	} {
		if d := gocmp.Diff(want, mask.Names()); d != "" {
			t.Errorf("%#x: -want +got:\n%s", uint64(mask), d)
		}
	}
}

func TestEventReasonsAreTheHeaders(t *testing.T) {
	for _, c := range []struct {
		ours   EventReasons
		header uint64
	}{
		{GPUIdle, nvml.ClocksEventReasonGpuIdle},
		{ApplicationsClocksSetting, nvml.ClocksEventReasonApplicationsClocksSetting},
		{SWPowerCap, nvml.ClocksEventReasonSwPowerCap},
		{HWSlowdown, nvml.ClocksThrottleReasonHwSlowdown},
		{SyncBoost, nvml.ClocksEventReasonSyncBoost},
		{SWThermalSlowdown, nvml.ClocksEventReasonSwThermalSlowdown},
		{HWThermalSlowdown, nvml.ClocksThrottleReasonHwThermalSlowdown},
		{HWPowerBrakeSlowdown, nvml.ClocksThrottleReasonHwPowerBrakeSlowdown},
		{DisplayClockSetting, nvml.ClocksEventReasonDisplayClockSetting},
		{BoardLimit, nvml.ClocksEventReasonBoardLimit},
		{Reliability, nvml.ClocksEventReasonReliability},
	} {
		if uint64(c.ours) != c.header {
			t.Errorf("%s is %#x, nvml.h has %#x", c.ours.Names(), uint64(c.ours), c.header)
		}
	}
}
