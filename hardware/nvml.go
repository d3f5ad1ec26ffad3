package hardware

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"genbench/hardware/native"
)

// NVML is the management library of the NVIDIA driver: it names the GPUs and reads
// their counters, and is never called inside a timed block. It may be used from
// one goroutine at a time; its owner closes it after its samplers.
//
// A call into a function that the driver's library lacks ends the process (go-nvml
// leaves its symbols to the dynamic linker), so every call goes through ask, which
// looks first.
type NVML struct {
	library nvml.Interface
	file    *native.Library // keeps the loaded file, and the results of looking it up, in place
	path    string
	system  system
	tree    tree // what the kernel knows of the boards
	// idsErr is why process ids of the driver can't be compared with ours, or nil.
	idsErr error
	// withheld is why GPUs left out some, or nil.
	withheld error
	// kernelLog is the file in which the kernel writes the boards' faults.
	kernelLog string
}

// nvmlName is the file that the driver's packages install for programs.
const nvmlName = "libnvidia-ml.so.1"

// An NVMLUnavailableError says why there is no NVML here: most machines without a GPU
// have none, and that is no fault.
type NVMLUnavailableError struct {
	Looked string // the file that was looked for
	Cause  error  // the loader's or the driver's words
}

func (e *NVMLUnavailableError) Error() string {
	return fmt.Sprintf("open NVML: looked for %s: %v; on a machine with an NVIDIA GPU, install its driver", e.Looked, e.Cause)
}

func (e *NVMLUnavailableError) Unwrap() error { return e.Cause }

// ErrGPULost is wrapped by the errors of a GPU that no longer answers, or that
// refuses to until it is reset. It takes a reset or a reboot to get it back.
var ErrGPULost = errors.New("the GPU is gone until it is reset; see the kernel's log for its Xid, and reset it or reboot")

// An nvmlError is a call that NVML answered with anything but success.
type nvmlError struct {
	symbol string
	code   nvml.Return
	words  string // the driver's for the code
}

func (e *nvmlError) Error() string {
	if lost := e.Unwrap(); lost != nil {
		return fmt.Sprintf("%s: %s: %v", e.symbol, e.words, lost)
	}
	return fmt.Sprintf("%s: %s", e.symbol, e.words)
}

func (e *nvmlError) Unwrap() error {
	switch e.code {
	case nvml.ERROR_GPU_IS_LOST, nvml.ERROR_RESET_REQUIRED:
		return ErrGPULost
	}
	return nil
}

// errNoFunction is wrapped where the driver's library is older than what is asked of it.
var errNoFunction = errors.New("this driver's NVML has no such function")

// unsupported reports whether an error says that the board, or its driver, has no such
// thing.
func unsupported(err error) bool {
	var refused *nvmlError
	return errors.Is(err, errNoFunction) ||
		errors.As(err, &refused) && (refused.code == nvml.ERROR_NOT_SUPPORTED || refused.code == nvml.ERROR_FUNCTION_NOT_FOUND)
}

// OpenNVML loads the library at path, or the one that the loader finds if path is
// empty, and starts it. On a machine without one, or without a driver, the error is an
// *NVMLUnavailableError.
func OpenNVML(path string) (*NVML, error) {
	looked := path
	if looked == "" {
		looked = nvmlName
	}
	file, err := native.Open(looked)
	if err != nil {
		return nil, &NVMLUnavailableError{looked, err}
	}
	// What go-nvml calls on opening, without looking.
	for _, symbol := range []string{"nvmlInit_v2", "nvmlShutdown", "nvmlErrorString"} {
		if _, err := file.Symbol(symbol); err != nil {
			return nil, &NVMLUnavailableError{looked, errors.Join(err, file.Close())}
		}
	}
	n := &NVML{library: nvml.New(nvml.WithLibraryPath(file.Path())), file: file, path: file.Path()}
	if code := n.library.Init(); code != nvml.SUCCESS {
		// go-nvml's own reference stays: it releases a file only after a shutdown that
		// succeeded.
		cause := &nvmlError{"nvmlInit_v2", code, n.library.ErrorString(code)}
		return nil, &NVMLUnavailableError{n.path, errors.Join(cause, file.Close())}
	}
	n.system = n.readSystem()
	n.tree, n.kernelLog = openTree(""), "/dev/kmsg"
	n.idsErr = comparableProcessIDs()
	return n, nil
}

// comparableProcessIDs says why the process ids that the driver reports mean
// nothing here: they are those of the first PID namespace, and a container has another.
// The kernel gives the first one a fixed number (PROC_PID_INIT_INO in
// include/linux/proc_ns.h).
func comparableProcessIDs() error {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return fmt.Errorf("find the PID namespace: %w", err)
	}
	if namespace != "pid:[4026531836]" {
		return errors.New("in a container with process ids of its own those of the driver can't be told from ours; use the host's (`--pid=host`)")
	}
	return nil
}

// ask makes one call, if the library has one of the functions that it may be
// bound to.
func ask[T any](n *NVML, call func() (T, nvml.Return), symbols ...string) (T, error) {
	var none T
	has := func(symbol string) bool { return n.library.Extensions().LookupSymbol(symbol) == nil }
	if !slices.ContainsFunc(symbols, has) {
		return none, fmt.Errorf("%s: %w", strings.Join(symbols, ", "), errNoFunction)
	}
	value, code := call()
	if code != nvml.SUCCESS {
		return none, &nvmlError{symbols[0], code, n.library.ErrorString(code)}
	}
	return value, nil
}

// convert changes the unit of an answer.
func convert[From, To any](value From, err error, to func(From) To) (To, error) {
	if err != nil {
		var none To
		return none, err
	}
	return to(value), nil
}

// Close stops the library.
func (n *NVML) Close() error {
	var err error
	if code := n.library.Shutdown(); code != nvml.SUCCESS {
		// Shutdown may have unloaded what would put it in words.
		err = fmt.Errorf("close NVML: nvmlShutdown returned %d", int32(code))
	}
	return errors.Join(err, n.file.Close())
}

// Path is the file of the library.
func (n *NVML) Path() string { return n.path }

// A gpuSampler reads the counters of one GPU.
type gpuSampler struct {
	nvml   *NVML
	device nvml.Device
	uuid   string
	ours   func(pid int) bool
	faults *faultWatch // nil where nobody asks for what came between two readings
}

// NewNVMLSampler reads the counters of the GPU with the UUID. ours says which processes
// are those that measure; nil means only this one. The sampler fails with ErrGPULost
// when the GPU is gone; anything else that is missing is nil with its reason. The
// library remains its owner's.
func NewNVMLSampler(n *NVML, uuid string, ours func(pid int) bool) (EventSampler, error) {
	s, err := newGPUSampler(n, uuid, ours)
	if err != nil {
		return nil, err
	}
	s.faults = n.watchFaults(s.device)
	return s, nil
}

func newGPUSampler(n *NVML, uuid string, ours func(pid int) bool) (*gpuSampler, error) {
	device, err := n.find(uuid)
	if err != nil {
		return nil, fmt.Errorf("sample GPU %s: %w", uuid, err)
	}
	if ours == nil {
		ours = func(pid int) bool { return pid == os.Getpid() }
	}
	return &gpuSampler{nvml: n, device: device, uuid: uuid, ours: ours}, nil
}

func (s *gpuSampler) Sample() (Reading, error) {
	n, d := s.nvml, s.device
	g := &GPUReading{}
	r := &g.Reasons
	now := native.Now()
	var lost error
	// Every call to a GPU that is gone says so.
	seen := func(err error) error {
		if errors.Is(err, ErrGPULost) {
			lost = err
		}
		return err
	}
	sm, err := n.clock(d.GetClockInfo, nvml.CLOCK_SM, "nvmlDeviceGetClockInfo")
	g.SMClockMHz = try(sm, seen(err)).or(r, "sm_clock_mhz")
	memory, err := n.clock(d.GetClockInfo, nvml.CLOCK_MEM, "nvmlDeviceGetClockInfo")
	g.MemoryClockMHz = try(memory, seen(err)).or(r, "memory_clock_mhz")
	state, err := ask(n, d.GetPerformanceState, "nvmlDeviceGetPerformanceState")
	g.PState = try(convert(state, seen(known(state, err)), func(p nvml.Pstates) int { return int(p) })).or(r, "p_state")
	power, err := ask(n, d.GetPowerUsage, "nvmlDeviceGetPowerUsage")
	g.PowerW = try(convert(power, seen(err), fromMilli)).or(r, "power_w")
	temperature, err := n.temperature(d)
	g.TemperatureC = try(temperature, seen(err)).or(r, "temperature_c")
	reasons, err := n.eventReasons(d)
	g.EventReasons = try(reasons, seen(err)).or(r, "event_reasons")
	energy, err := ask(n, d.GetTotalEnergyConsumption, "nvmlDeviceGetTotalEnergyConsumption")
	g.EnergyJ = try(convert(energy, seen(err), fromMilli)).or(r, "energy_j")
	held, err := n.powerViolation(d)
	g.PowerViolationNS = try(held, seen(err)).or(r, "power_violation_ns")
	heat, err := n.thermalViolation(d)
	g.ThermalViolationNS = try(heat, seen(err)).or(r, "thermal_violation_ns")
	slowed, err := n.hardwareSlowdown(d)
	g.HWSlowdownNS = try(slowed, seen(err)).or(r, "hw_slowdown_ns")
	ecc, err := n.uncorrectable(d)
	g.ECCErrors = try(int64(ecc), seen(err)).or(r, "ecc_uncorrectable")
	replays, err := ask(n, d.GetPcieReplayCounter, "nvmlDeviceGetPcieReplayCounter")
	g.PCIeReplays = try(int64(replays), seen(err)).or(r, "pcie_replays")
	if s.faults != nil {
		faults, err := s.faults.since()
		if seen(err) != nil {
			r.add("xids", "%v", err)
		} else {
			g.Xids = faults
		}
	}
	foreign, err := n.foreign(d, s.ours)
	if seen(err) != nil {
		r.add("foreign_processes", "%v", err)
	} else {
		g.ForeignProcesses = foreign
	}
	if lost != nil {
		return Reading{}, fmt.Errorf("sample GPU %s: %w", s.uuid, lost)
	}
	return Reading{Time: now, GPU: g}, nil
}

// EventReasons implements EventSampler.
func (s *gpuSampler) EventReasons() (EventReasons, error) {
	reasons, err := s.nvml.eventReasons(s.device)
	if err != nil {
		return 0, fmt.Errorf("sample GPU %s: %w", s.uuid, err)
	}
	return reasons, nil
}

func (s *gpuSampler) Close() error {
	if s.faults == nil {
		return nil
	}
	if err := s.faults.close(); err != nil {
		return fmt.Errorf("end sampling GPU %s: %w", s.uuid, err)
	}
	return nil
}

// known refuses NVML's way of saying that it does not know a P-state.
func known(state nvml.Pstates, err error) error {
	if err == nil && state == nvml.PSTATE_UNKNOWN {
		return errors.New("nvmlDeviceGetPerformanceState: the state is unknown")
	}
	return err
}

// reasonCounters is the first driver whose NVML is known to have the counters of clock
// event reasons under the numbers that go-nvml asks by: 269 to 271, as in nvml.h 13.0.87,
// the header of CUDA 13.0 Update 1, whose release notes go with this driver. In nvml.h
// 12.9.40 to 13.0.39 these counters were 251 to 253, and 269 to 271 were settings of
// power smoothing, in watts and percent; in 12.8.90 there are no such counters.
var reasonCounters = []int{580, 82, 7}

// hasReasonCounters says why the counters may not be asked for by their numbers, or nil.
func (n *NVML) hasReasonCounters() error {
	driver, err := n.system.driver.value, n.system.driver.err
	if err != nil {
		return fmt.Errorf("what the numbers of its fields mean depends on the driver, whose version is not known: %w", err)
	}
	var version []int
	for part := range strings.SplitSeq(driver, ".") {
		number, err := strconv.Atoi(part)
		if err != nil {
			return fmt.Errorf("what the numbers of its fields mean depends on the driver, whose version %q can't be read", driver)
		}
		version = append(version, number)
	}
	if slices.Compare(version, reasonCounters) < 0 {
		return fmt.Errorf("driver %s is older than 580.82.07, before which the numbers of these counters meant other things", driver)
	}
	return nil
}

// powerViolation reads for how many nanoseconds the power cap has held clocks down,
// from the field that API 13 names for it, or otherwise from the function that it
// deprecates. The field has the number of an old one and is asked for in every driver.
func (n *NVML) powerViolation(d nvml.Device) (int64, error) {
	ns, err := n.field(d, nvml.FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP)
	if err == nil {
		return int64(ns), nil
	}
	return n.violation(d, nvml.PERF_POLICY_POWER, err)
}

// thermalViolation is powerViolation for a limit of heat.
func (n *NVML) thermalViolation(d nvml.Device) (int64, error) {
	err := n.hasReasonCounters()
	if err == nil {
		var ns uint64
		if ns, err = n.field(d, nvml.FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN); err == nil {
			return int64(ns), nil
		}
	}
	return n.violation(d, nvml.PERF_POLICY_THERMAL, err)
}

// violation asks the deprecated function, because the field failed.
func (n *NVML) violation(d nvml.Device, policy nvml.PerfPolicyType, because error) (int64, error) {
	old, err := ask(n, func() (nvml.ViolationTime, nvml.Return) { return d.GetViolationStatus(policy) }, "nvmlDeviceGetViolationStatus")
	if err != nil {
		return 0, fmt.Errorf("%w; %w", because, err)
	}
	return int64(old.ViolationTime), nil
}

// hardwareSlowdown reads for how many nanoseconds the board itself has held clocks
// down, for heat or by the power brake. If one of the two were left out while missing,
// the sum would jump when it is reported again.
func (n *NVML) hardwareSlowdown(d nvml.Device) (int64, error) {
	if err := n.hasReasonCounters(); err != nil {
		return 0, err
	}
	var sum int64
	for _, id := range []uint32{nvml.FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN, nvml.FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN} {
		ns, err := n.field(d, id)
		if err != nil {
			return 0, err
		}
		sum += int64(ns)
	}
	return sum, nil
}

// field reads one of the values that NVML gives by number, without a function of their
// own; all that are asked for here are whole numbers.
func (n *NVML) field(d nvml.Device, id uint32) (uint64, error) {
	asked := []nvml.FieldValue{{FieldId: id}}
	got, err := ask(n, func() (nvml.FieldValue, nvml.Return) {
		code := d.GetFieldValues(asked)
		if code == nvml.SUCCESS {
			code = nvml.Return(asked[0].NvmlReturn)
		}
		return asked[0], code
	}, "nvmlDeviceGetFieldValues")
	if err != nil {
		return 0, err
	}
	// nvmlValue_t is a union in this machine's byte order.
	switch nvml.ValueType(got.ValueType) {
	case nvml.VALUE_TYPE_UNSIGNED_INT:
		return uint64(binary.NativeEndian.Uint32(got.Value[:])), nil
	case nvml.VALUE_TYPE_UNSIGNED_LONG, nvml.VALUE_TYPE_UNSIGNED_LONG_LONG:
		return binary.NativeEndian.Uint64(got.Value[:]), nil
	}
	return 0, fmt.Errorf("nvmlDeviceGetFieldValues: field %d has the type %d, which is not a whole number", id, got.ValueType)
}

// temperature reads the core's sensor in degrees Celsius, by the function that API 13
// introduced, or otherwise by the one it deprecates.
func (n *NVML) temperature(d nvml.Device) (int, error) {
	now, err := ask(n, d.GetTemperatureV().V1, "nvmlDeviceGetTemperatureV")
	if err == nil {
		return int(now.Temperature), nil
	}
	old, oldErr := ask(n, func() (uint32, nvml.Return) { return d.GetTemperature(nvml.TEMPERATURE_GPU) }, "nvmlDeviceGetTemperature")
	if oldErr != nil {
		return 0, fmt.Errorf("%w; %w", err, oldErr)
	}
	return int(old), nil
}

// eventReasons reads the mask by the name that API 12 gave it, or otherwise by the old one.
func (n *NVML) eventReasons(d nvml.Device) (EventReasons, error) {
	now, err := ask(n, d.GetCurrentClocksEventReasons, "nvmlDeviceGetCurrentClocksEventReasons")
	if err == nil {
		return EventReasons(now), nil
	}
	old, oldErr := ask(n, d.GetCurrentClocksThrottleReasons, "nvmlDeviceGetCurrentClocksThrottleReasons")
	if oldErr != nil {
		return 0, fmt.Errorf("%w; %w", err, oldErr)
	}
	return EventReasons(old), nil
}

// foreign lists the processes on the GPU that are not ours, each once, sorted.
func (n *NVML) foreign(d nvml.Device, ours func(pid int) bool) ([]int, error) {
	if n.idsErr != nil {
		return nil, n.idsErr
	}
	compute, err := ask(n, d.GetComputeRunningProcesses, "nvmlDeviceGetComputeRunningProcesses_v3",
		"nvmlDeviceGetComputeRunningProcesses_v2", "nvmlDeviceGetComputeRunningProcesses")
	if err != nil {
		return nil, err
	}
	graphics, err := ask(n, d.GetGraphicsRunningProcesses, "nvmlDeviceGetGraphicsRunningProcesses_v3",
		"nvmlDeviceGetGraphicsRunningProcesses_v2", "nvmlDeviceGetGraphicsRunningProcesses")
	if err != nil {
		return nil, err
	}
	foreign := []int{}
	for _, p := range slices.Concat(compute, graphics) {
		if pid := int(p.Pid); !ours(pid) {
			foreign = append(foreign, pid)
		}
	}
	slices.Sort(foreign)
	return slices.Compact(foreign), nil
}
