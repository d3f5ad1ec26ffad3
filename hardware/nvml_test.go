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
	Withheld    string
	Reading     *GPUReading
	SampleError string
	Lost        bool
	Events      EventReasons
	EventsError string
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
	n.tree, n.kernelLog = openTree(os.Getenv("ROOT")), filepath.Join(os.Getenv("ROOT"), "kmsg")
	gpus, err := n.GPUs()
	report.GPUs, report.GPUsError, report.Withheld = gpus, text(err), text(n.Withheld())
	uuid := cmp.Or(os.Getenv("SAMPLED_UUID"), "GPU-fake-0")
	if s, err := NewNVMLSampler(n, uuid, func(pid int) bool { return pid == 1000 }); err != nil {
		report.SampleError = text(err)
	} else {
		events, err := s.EventReasons()
		report.Events, report.EventsError = events, text(err)
		reading, err := s.Sample()
		report.Reading, report.SampleError, report.Lost = reading.GPU, text(err), errors.Is(err, ErrGPULost)
		if err == nil && reading.Time <= 0 {
			t.Error("the reading has no time")
		}
		// A reading may be under way when the sampler is closed.
		read := make(chan error)
		go func() {
			for range 100 {
				if _, err := s.Sample(); err != nil && reading.GPU != nil {
					read <- err
					return
				}
			}
			read <- nil
		}()
		err = s.Close()
		if err := errors.Join(err, <-read); err != nil {
			t.Error(err)
		}
		if late, err := s.Sample(); err == nil && (late.GPU.Xids != nil || late.GPU.Reasons["xids"] == "") {
			t.Errorf("a reading after the end says of faults %v, %q; want that they are not known", late.GPU.Xids, late.GPU.Reasons["xids"])
		}
	}
	findings, err := PreflightGPU(n, GPUPreflight{
		GPU: uuid, Ours: func(pid int) bool { return pid == 1000 }, Leases: []string{filepath.Join(os.Getenv("ROOT"), "leases")},
	})
	report.Findings, report.CheckError = findings, text(err)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func runNVML(t *testing.T, path string, env ...string) nvmlReport {
	t.Helper()
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "ROOT=") }) {
		env = append(env, "ROOT="+boardRoot(t))
	}
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

// boardRoot is a quiet machine of one NUMA node with the fake's first board, whose
// clocks this process holds until the test ends. Changes are pairs of a path and its
// text; the text "absent" removes the path.
func boardRoot(t *testing.T, changes ...string) string {
	t.Helper()
	root := t.TempDir()
	write := func(files ...string) {
		for i := 0; i < len(files); i += 2 {
			path := filepath.Join(root, files[i])
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if err == nil && files[i+1] == "absent" {
				err = os.Remove(path)
			} else if err == nil {
				err = os.WriteFile(path, []byte(files[i+1]), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	write("sys/bus/pci/devices/0000:65:00.0/numa_node", "0",
		"sys/bus/pci/devices/0000:66:00.0/numa_node", "-1",
		"sys/devices/system/node/node0/cpulist", "0-3",
		"proc/self/status", "Cpus_allowed_list:\t0-3\nCapEff:\t0000000000200000\n",
		"kmsg", "6,1,1,-;NVRM: loading\n")
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	lease, err := createLease(filepath.Join(root, "leases"), LeaseRecord{Request: ClockRequest{GPU: "GPU-fake-0", SMMHz: 1410}, PID: 4711, Boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lease.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	write(changes...)
	return root
}

func pointer[T any](v T) *T { return &v }

func TestNVMLReadsAll(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t), "FAKE_NVML_DEVICES=2", "FAKE_NVML_COMPUTE_PID=77", "FAKE_NVML_GRAPHICS_PID=1000", "FAKE_NVML_XID=79",
		"FAKE_NVML_HW_THERMAL=700", "FAKE_NVML_HW_POWER_BRAKE=70")
	gpu := func(i int) GPU {
		g := GPU{
			UUID: fmt.Sprintf("GPU-fake-%d", i), Name: pointer("Fake GPU"), SerialHash: pointer("84d89877f0d4"),
			Driver: pointer("999.42"), CUDADriver: pointer("13.2"),
			PCIBusID: pointer(fmt.Sprintf("0000:%02x:00.0", 0x65+i)), VBIOS: pointer("01.02.03"), Inforom: pointer("G500.0200.00.05"),
			MemoryBytes: pointer(int64(80 << 30)), ComputeCapability: pointer("9.1"), ComputeMode: pointer("exclusive_process"),
			MaxSMClockMHz: pointer(1980), MaxMemoryClockMHz: pointer(3201), BaseSMClockMHz: pointer(1095),
			SMClocksMHz: []int{345, 1410, 1980}, MemoryClocksMHz: []int{1593, 2619},
			PowerLimitW: pointer(700.0), PowerLimitDefaultW: pointer(650.0), PowerLimitMinW: pointer(200.0), PowerLimitMaxW: pointer(700.0),
			SlowdownC: pointer(89), ShutdownC: pointer(92), MaxOperatingC: pointer(87),
			Persistence: pointer(true), MIG: pointer(false), MIGInstances: []MIGInstance{}, ECC: pointer(false), ConfidentialComputing: pointer(false),
			PCIe: &PCIe{Generation: 5, MaxGeneration: 5, Width: 16, MaxWidth: 16}, NUMANode: pointer(0),
		}
		if i == 1 {
			g.NUMANode, g.Reasons = nil, Reasons{"numa_node": "the kernel knows no NUMA node of the board"}
		}
		return g
	}
	want := nvmlReport{
		GPUs: []GPU{gpu(0), gpu(1)},
		Reading: &GPUReading{
			SMClockMHz: pointer(1410), MemoryClockMHz: pointer(2619), PState: pointer(0), PowerW: pointer(250.5),
			TemperatureC: pointer(41), EventReasons: pointer(SWPowerCap | HWThermalSlowdown), EnergyJ: pointer(123.456),
			PowerViolationNS: pointer(int64(5000000000)), ThermalViolationNS: pointer(int64(6000)), HWSlowdownNS: pointer(int64(770)), ECCErrors: pointer(int64(0)), PCIeReplays: pointer(int64(6)),
			Xids: []int{79}, ForeignProcesses: []int{77},
		},
		Events: SWPowerCap | HWThermalSlowdown,
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
	got := runNVML(t, hardwaretest.FakeNVML(t, "OLD"), "FAKE_NVML_CELSIUS=55", "FAKE_NVML_REASONS=0x8", "FAKE_NVML_FIELD_RETURN=3")
	if got.Events != HWSlowdown || got.EventsError != "" {
		t.Errorf("events are %v, %q; want a hardware slowdown by the old function", got.Events.Names(), got.EventsError)
	}
	if r := got.Reading; r == nil || r.TemperatureC == nil || *r.TemperatureC != 55 || r.EventReasons == nil || *r.EventReasons != HWSlowdown {
		t.Errorf("reading is %+v, want 55 °C and a hardware slowdown by the old functions", r)
	} else if r.PowerViolationNS == nil || *r.PowerViolationNS != 4000 {
		t.Errorf("power violation is %v, want 4000 ns by the old function", r.PowerViolationNS)
	}
}

// TestNVMLFieldsOfOtherDrivers asks a driver for the counters of clock event reasons only
// where their numbers mean that.
func TestNVMLFieldsOfOtherDrivers(t *testing.T) {
	fake := hardwaretest.FakeNVML(t)
	for _, c := range []struct {
		driver string
		heat   int64
		reason string // why the slowdown by hardware is not known; empty where it is
	}{
		{"570.124.06", 5000, "driver 570.124.06 is older than 580.82.07"},
		{"575.57.08", 5000, "driver 575.57.08 is older than 580.82.07"},
		{"580.65.06", 5000, "driver 580.65.06 is older than 580.82.07"},
		{"580.82.07", 6000, ""},
		{"580.126.09", 6000, ""},
		{"590.44", 6000, ""},
		{"580.82a", 5000, `whose version "580.82a" can't be read`},
	} {
		r := runNVML(t, fake, "FAKE_NVML_DRIVER="+c.driver, "FAKE_NVML_HW_THERMAL=700").Reading
		if r == nil || r.ThermalViolationNS == nil || *r.ThermalViolationNS != c.heat {
			t.Errorf("%s: reading is %+v, want %d ns of heat", c.driver, r, c.heat)
			continue
		}
		if r.PowerViolationNS == nil || *r.PowerViolationNS != 5000000000 {
			t.Errorf("%s: power violation is %v, want that of the field, whose number is old", c.driver, r.PowerViolationNS)
		}
		if why := r.Reasons["hw_slowdown_ns"]; (r.HWSlowdownNS == nil) != (c.reason != "") || !strings.Contains(why, c.reason) {
			t.Errorf("%s: hardware slowdown is %v because %q, want because %q", c.driver, r.HWSlowdownNS, why, c.reason)
		}
	}
}

// Without the look-ups the first of these calls would end the child.
func TestNVMLWithoutOptionalFunctions(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t, "BARE"))
	if got.SampleError != "" || got.GPUsError != "" || got.CheckError != "" || len(got.Findings) != 0 {
		t.Fatalf("got %+v, want no error and no finding", got)
	}
	checkAllUnknown(t, got, "no such function")
	if !strings.Contains(got.EventsError, "no such function") {
		t.Errorf("events %v, %q; want none, with the reason", got.Events.Names(), got.EventsError)
	}
}

func TestNVMLNotSupported(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t), "FAKE_NVML_RETURN=3", "FAKE_NVML_MIG=1", "FAKE_NVML_ECC_ERRORS=1", "FAKE_NVML_COMPUTE_PID=77")
	if got.SampleError != "" || got.GPUsError != "" || got.CheckError != "" || len(got.Findings) != 0 {
		t.Fatalf("got %+v, want no error and no finding", got)
	}
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
			// What belongs to the system was answered where the board refuses.
			system := why == "Not Supported" && slices.Contains([]string{"driver", "cuda_driver", "confidential_compute"}, key)
			if key == "uuid" || system || strings.HasSuffix(key, reasonSuffix) {
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
	if !strings.Contains(got.SampleError, "GPU-fake-0") || !strings.Contains(got.SampleError, "gone until it is reset") {
		t.Errorf("error is %q, want the GPU and what happened to it", got.SampleError)
	}
	if f := got.Findings; got.CheckError != "" || len(f) != 1 || f[0].Code != "gpu_lost" || f[0].Severity != Fail || f[0].Device != "GPU-fake-0" {
		t.Errorf("findings are %+v, %s; want that it is gone", f, got.CheckError)
	}
}

func TestNVMLUnavailable(t *testing.T) {
	dir := t.TempDir()
	noLibrary := filepath.Join(dir, "libnvidia-ml.so.1")
	empty := hardwaretest.Compile(t, filepath.Join(dir, "empty.so.1"), map[string][]byte{"empty.c": []byte("int nothing;\n")})
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

// A container sees the boards of others counted, but may not open them.
func TestNVMLWithheld(t *testing.T) {
	fake := hardwaretest.FakeNVML(t)
	for index, want := range []string{"GPU-fake-1", "GPU-fake-0"} {
		got := runNVML(t, fake, "FAKE_NVML_DEVICES=2", fmt.Sprintf("FAKE_NVML_WITHHELD=%d", index))
		if got.GPUsError != "" || len(got.GPUs) != 1 || got.GPUs[0].UUID != want {
			t.Errorf("GPUs are %+v, %s; want %s", got.GPUs, got.GPUsError, want)
		}
		if why := fmt.Sprintf("GPU %d: nvmlDeviceGetHandleByIndex_v2: Insufficient Permissions", index); got.Withheld != why {
			t.Errorf("the other is withheld for %q, want %q", got.Withheld, why)
		}
	}
	if got := runNVML(t, fake, "FAKE_NVML_HANDLE=9"); !strings.Contains(got.GPUsError, "list GPUs: GPU 0: ") {
		t.Errorf("error is %q, want that the GPU can't be opened", got.GPUsError)
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
	var covered, all []string
	const cpus = "proc/self/status"
	lease := "leases/clocks-GPU-fake-0.json"
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	// A lease that nobody holds replaces the one that this process does.
	leftOver := func(boot string) string {
		return fmt.Sprintf(`{"request": {"gpu": "GPU-fake-0", "sm_mhz": 1410}, "pid": 4711, "boot_id": %q}`, boot)
	}
	for _, c := range []struct {
		codes       []string // raised; all but the first follow from the change
		raises, not []string // of the fake's environment, or else of the machine's files
		text        string
	}{
		{codes: []string{"gpu_foreign_processes"}, raises: []string{"COMPUTE_PID=77"}, not: []string{"COMPUTE_PID=1000"}, text: "77"},
		{codes: []string{"gpu_ecc_errors"}, raises: []string{"ECC_ERRORS=2"}, not: []string{"ECC_ERRORS=0"}, text: "2 uncorrectable"},
		{codes: []string{"gpu_xid"}, raises: []string{"kmsg", "4,9,9,-;NVRM: Xid (PCI:0000:65:00): 79, pid=7, GPU has fallen off the bus.\n4,9,9,-;NVRM: Xid (PCI:0000:65:00): 48, DBE\n"},
			not: []string{"kmsg", "4,9,9,-;NVRM: Xid (PCI:0000:65:00): 31, pid=7, MMU Fault\n4,9,9,-;NVRM: Xid (PCI:0000:17:00): 79, pid=7\n"}, text: "Xid 48,79"},
		{codes: []string{"gpu_leftover_lease"}, raises: []string{lease, "absent", lease, leftOver(boot)}, not: []string{}, text: "process 4711"},
		{codes: []string{"gpu_pcie_width"}, raises: []string{"WIDTH=8"}, not: []string{"WIDTH=16"}, text: "8 of 16"},
		{codes: []string{"gpu_pcie_generation"}, raises: []string{"PCIE=3"}, not: []string{"PCIE=5"}, text: "3 of 5"},
		{codes: []string{"gpu_floating_clocks"}, raises: []string{lease, "absent", lease, leftOver("of an earlier boot")}, not: []string{}, text: "float"},
		{codes: []string{"gpu_no_clock_rights", "gpu_floating_clocks"}, raises: []string{lease, "absent", cpus, "Cpus_allowed_list: 0-3\nCapEff: 00000000a80425fb"},
			not: []string{cpus, "Cpus_allowed_list: 0-3\nCapEff: 00000000a80425fb"}, text: "--cap-add SYS_ADMIN"},
		{codes: []string{"gpu_numa_node"}, raises: []string{"sys/devices/system/node/node0/cpulist", "0-1", "sys/devices/system/node/node1/cpulist", "2-3"},
			not: []string{"sys/devices/system/node/node0/cpulist", "0-1", "sys/devices/system/node/node1/cpulist", "2-3", cpus, "Cpus_allowed_list: 0-1"}, text: "--cpus 0-1"},
		{codes: []string{"gpu_persistence_off"}, raises: []string{"PERSISTENCE=0"}, not: []string{"PERSISTENCE=1"}, text: "nvidia-smi -pm 1"},
		{codes: []string{"gpu_mig_on"}, raises: []string{"MIG=1"}, not: []string{"MIG=0"}, text: "MIG"},
		{codes: []string{"gpu_temperature"}, raises: []string{"CELSIUS=61"}, not: []string{"CELSIUS=60"}, text: "61 °C"},
	} {
		covered = append(covered, c.codes[0])
		run := func(changes []string) []Finding {
			if len(changes) > 0 && strings.Contains(changes[0], "=") {
				return runNVML(t, fake, "FAKE_NVML_"+changes[0]).Findings
			}
			return runNVML(t, fake, "ROOT="+boardRoot(t, changes...)).Findings
		}
		got := run(c.raises)
		if d := gocmp.Diff(slices.Sorted(slices.Values(c.codes)), slices.Sorted(slices.Values(codes(got)))); d != "" {
			t.Errorf("%v: -want +got:\n%s", c.raises, d)
		}
		for _, f := range got {
			if f.Device != "GPU-fake-0" || f.Code == c.codes[0] && !strings.Contains(f.Text+f.Advice, c.text) || f.Advice == "" {
				t.Errorf("finding is %+v, want %q in it", f, c.text)
			}
		}
		if got := codes(run(c.not)); len(got) != 0 {
			t.Errorf("%v: findings are %v, want none", c.not, got)
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

func TestPreflightOfDamagedLease(t *testing.T) {
	const lease = "leases/clocks-GPU-fake-0.json"
	root := boardRoot(t, lease, "absent", lease, "{")
	got := runNVML(t, hardwaretest.FakeNVML(t), "ROOT="+root)
	if len(got.Findings) != 1 || got.Findings[0].Code != "gpu_leftover_lease" || !strings.Contains(got.Findings[0].Advice, filepath.Join(root, lease)) {
		t.Errorf("findings are %+v, want the file", got.Findings)
	}
}

func TestNVMLOfMIG(t *testing.T) {
	got := runNVML(t, hardwaretest.FakeNVML(t), "FAKE_NVML_MIG=1", "FAKE_NVML_CONFIDENTIAL=1")
	want := []MIGInstance{{"MIG-fake-0", "1g.10gb"}, {"MIG-fake-2", "1g.10gb"}}
	if d := gocmp.Diff(want, got.GPUs[0].MIGInstances); d != "" || !*got.GPUs[0].ConfidentialComputing {
		t.Errorf("GPU is %+v, -want +got:\n%s", got.GPUs[0], d)
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
