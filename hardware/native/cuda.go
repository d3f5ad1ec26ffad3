package native

// #include <stdlib.h>
// #include "driver.h"
import "C"

import (
	_ "embed"
	"errors"
	"fmt"
	"unsafe"
)

// ClockPTX holds the kernels gb_delay, gb_hold and gb_ticks of clock.cu, for the driver to
// compile.
//
//go:embed clock.ptx
var ClockPTX string

// CUDA is an opened CUDA driver. The library stays loaded: its threads outlive any
// use of it.
type CUDA struct {
	api     *C.gb_cuda
	path    string
	version int
}

// minCUDA is the oldest driver that genbench works with, in cuDriverGetVersion's
// numbering: 1000 times the major version of the CUDA it supports and 10 times the
// minor.
const minCUDA = 11080

// A CUDAError is a driver call that failed. Its text is the call, CUDA's name of
// the error, the driver's words and what to do about it.
type CUDAError struct {
	Call string // "cuMemAlloc_v2"
	Code int    // a CUresult
	Name string // "CUDA_ERROR_OUT_OF_MEMORY"
	Text string // "out of memory"
}

func (e *CUDAError) Error() string {
	text := fmt.Sprintf("%s: %s (%d): %s", e.Call, e.Name, e.Code, e.Text)
	if cure := e.cure(); cure != "" {
		text += "; " + cure
	}
	return text
}

// cure is what a person can do, where there is something.
func (e *CUDAError) cure() string {
	switch e.Name {
	case "CUDA_ERROR_OUT_OF_MEMORY":
		return "use a smaller batch, or end what else uses the GPU's memory (`nvidia-smi` lists it)"
	case "CUDA_ERROR_NO_DEVICE":
		return "check `nvidia-smi`, CUDA_VISIBLE_DEVICES, and that the container was given a GPU"
	case "CUDA_ERROR_STUB_LIBRARY":
		return "a toolkit's stub was loaded instead of the driver: take its folder out of LD_LIBRARY_PATH"
	case "CUDA_ERROR_DEVICE_UNAVAILABLE":
		return "another process holds the GPU in exclusive mode; wait for it or choose another GPU"
	case "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "CUDA_ERROR_JIT_COMPILER_NOT_FOUND", "CUDA_ERROR_NO_BINARY_FOR_GPU":
		return "genbench's kernels need a driver of CUDA 11.8 or newer, with its compiler libnvidia-ptxjitcompiler.so.1, and a GPU of compute capability 7.0 or newer"
	case "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH":
		return "libcuda and the kernel's driver are of different releases: reboot, or update the container"
	case "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_LAUNCH_FAILED", "CUDA_ERROR_MISALIGNED_ADDRESS", "CUDA_ERROR_ILLEGAL_INSTRUCTION", "CUDA_ERROR_CONTEXT_IS_DESTROYED":
		return "the process can't use the GPU any more; start it again"
	case "CUDA_ERROR_ECC_UNCORRECTABLE", "CUDA_ERROR_HARDWARE_STACK_ERROR", "CUDA_ERROR_NVLINK_UNCORRECTABLE", "CUDA_ERROR_UNKNOWN":
		return "the GPU may be lost: see `dmesg | grep -i xid` and `nvidia-smi`, then reset or reboot"
	}
	return ""
}

// OpenCUDA loads the driver from a soname or path and starts it. The error is the
// loader's, or names the symbol or the version that is missing, or is a
// *CUDAError.
func OpenCUDA(name string) (*CUDA, error) {
	lib, err := Open(name)
	if err != nil {
		return nil, err
	}
	c := &CUDA{path: lib.Path(), api: (*C.gb_cuda)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_cuda{}))))}
	missing := C.gb_cuda_load(c.api, lib.handle)
	// The version first: it explains a missing symbol.
	if c.api.cuDriverGetVersion != nil {
		c.version = int(C.gb_cuda_driver_version(c.api))
	}
	switch {
	case c.api.cuDriverGetVersion == nil:
		err = fmt.Errorf("%s is not a CUDA driver: it has no %s", c.path, C.GoString(C.gb_cuda_name(missing)))
	case c.version < minCUDA:
		err = fmt.Errorf("%s supports CUDA %s, want %s or newer: update the NVIDIA driver", c.path, CUDAVersion(c.version), CUDAVersion(minCUDA))
	case missing != C.gb_call_none:
		err = fmt.Errorf("%s, a driver of CUDA %s, has no %s", c.path, CUDAVersion(c.version), C.GoString(C.gb_cuda_name(missing)))
	default:
		err = c.check(C.gb_cuda_init(c.api))
	}
	if err != nil {
		C.free(unsafe.Pointer(c.api))
		return nil, err
	}
	return c, nil
}

// CUDAVersion writes out a version of cuDriverGetVersion's numbering: 12040 is 12.4.
func CUDAVersion(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// Path is the file that was loaded.
func (c *CUDA) Path() string { return c.path }

// Version is the newest CUDA that the driver supports, such as "12.4".
func (c *CUDA) Version() string { return CUDAVersion(c.version) }

// Free releases the table; no part of the driver may be used afterwards.
func (c *CUDA) Free() {
	C.free(unsafe.Pointer(c.api))
	c.api = nil
}

// check turns a status into nil or a *CUDAError.
func (c *CUDA) check(s C.gb_cuda_status) error {
	if s.result == 0 {
		return nil
	}
	return c.Error(int(s.call), int(s.result))
}

// Error describes the failure of a call, numbered as in gb_cuda_call.
func (c *CUDA) Error(call, result int) *CUDAError {
	e := &CUDAError{Call: C.GoString(C.gb_cuda_name(C.int(call))), Code: result, Name: "unknown CUDA error", Text: "the driver has no words for it"}
	words := C.gb_cuda_words(c.api, C.uint(result))
	if words.name != nil {
		e.Name = C.GoString(words.name)
	}
	if words.text != nil {
		e.Text = C.GoString(words.text)
	}
	return e
}

// DeviceCount counts the devices that CUDA shows this process.
func (c *CUDA) DeviceCount() (int, error) {
	var n C.int
	if err := c.check(C.gb_cuda_device_count(c.api, &n)); err != nil {
		return 0, err
	}
	return int(n), nil
}

// A CUDADeviceInfo identifies a device.
type CUDADeviceInfo struct {
	Name                string
	UUID                [16]byte
	Memory              int64 // bytes
	Multiprocessors     int
	L2Bytes             int
	CapabilityMajor     int
	CapabilityMinor     int
	DriverVersion       string // CUDA's, such as "12.4"
	DriverVersionNumber int    // as cuDriverGetVersion counts
}

// Capability is the compute capability as architectures count it: 75 for 7.5.
func (d CUDADeviceInfo) Capability() int { return 10*d.CapabilityMajor + d.CapabilityMinor }

// DeviceInfo describes the device with an ordinal.
func (c *CUDA) DeviceInfo(ordinal int) (CUDADeviceInfo, error) {
	var info C.gb_cuda_info
	if err := c.check(C.gb_cuda_describe(c.api, C.int(ordinal), &info)); err != nil {
		return CUDADeviceInfo{}, err
	}
	d := CUDADeviceInfo{
		Name: C.GoString(&info.name[0]), Memory: int64(info.memory),
		Multiprocessors: int(info.multiprocessors), L2Bytes: int(info.l2_bytes),
		CapabilityMajor: int(info.capability_major), CapabilityMinor: int(info.capability_minor),
		DriverVersion: c.Version(), DriverVersionNumber: c.version,
	}
	for i := range d.UUID {
		d.UUID[i] = byte(info.uuid.bytes[i])
	}
	return d, nil
}

// A CUDADevice is a device with its primary context. Its methods may be called from any
// goroutine, but only one at a time.
type CUDADevice struct {
	cuda *CUDA
	c    *C.gb_cuda_device
}

// OpenDevice retains the primary context of a device.
func (c *CUDA) OpenDevice(ordinal int) (*CUDADevice, error) {
	d := &CUDADevice{cuda: c, c: (*C.gb_cuda_device)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_cuda_device{}))))}
	if err := c.check(C.gb_cuda_open_device(d.c, c.api, C.int(ordinal))); err != nil {
		C.free(unsafe.Pointer(d.c))
		return nil, err
	}
	return d, nil
}

// C is the gb_cuda_device for the C of an engine.
func (d *CUDADevice) C() unsafe.Pointer { return unsafe.Pointer(d.c) }

// Close releases the context.
func (d *CUDADevice) Close() error {
	err := d.cuda.check(C.gb_cuda_close_device(d.c))
	C.free(unsafe.Pointer(d.c))
	d.c = nil
	return err
}

// Alloc gives device memory, aligned to 256 bytes.
func (d *CUDADevice) Alloc(bytes int64) (uint64, error) {
	var p C.gb_cu_pointer
	if err := d.cuda.check(C.gb_cuda_alloc(d.c, C.size_t(bytes), &p)); err != nil {
		return 0, err
	}
	return uint64(p), nil
}

// Free gives device memory back.
func (d *CUDADevice) Free(pointer uint64) error {
	return d.cuda.check(C.gb_cuda_free(d.c, C.gb_cu_pointer(pointer)))
}

// AllocPinned gives host memory that the device copies from at full speed.
func (d *CUDADevice) AllocPinned(bytes int) ([]byte, error) {
	var p unsafe.Pointer
	if err := d.cuda.check(C.gb_cuda_alloc_pinned(d.c, C.size_t(bytes), &p)); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), bytes), nil
}

// FreePinned gives back memory from AllocPinned.
func (d *CUDADevice) FreePinned(memory []byte) error {
	return d.cuda.check(C.gb_cuda_free_pinned(d.c, unsafe.Pointer(unsafe.SliceData(memory))))
}

// A CUDAModule is PTX that the driver compiled for the device.
type CUDAModule struct {
	device *CUDADevice
	c      C.CUmodule
}

// LoadModule has the driver compile PTX.
func (d *CUDADevice) LoadModule(ptx string) (*CUDAModule, error) {
	const logBytes = 4096
	text, log := C.CString(ptx), (*C.char)(C.calloc(1, logBytes))
	defer C.free(unsafe.Pointer(text))
	defer C.free(unsafe.Pointer(log))
	m := &CUDAModule{device: d}
	if err := d.cuda.check(C.gb_cuda_load_module(d.c, text, log, logBytes, &m.c)); err != nil {
		if words := C.GoString(log); words != "" {
			return nil, fmt.Errorf("%w: %s", err, words)
		}
		return nil, err
	}
	return m, nil
}

// Function finds a kernel, a CUfunction.
func (m *CUDAModule) Function(name string) (unsafe.Pointer, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var f C.CUfunction
	if err := m.device.cuda.check(C.gb_cuda_find_function(m.device.c, m.c, cname, &f)); err != nil {
		return nil, fmt.Errorf("find kernel %s: %w", name, err)
	}
	return unsafe.Pointer(f), nil
}

// Unload frees the module; no kernel of it may be running.
func (m *CUDAModule) Unload() error {
	return m.device.cuda.check(C.gb_cuda_unload_module(m.device.c, m.c))
}

// A CUDAStream is a stream with the events of its timed loop. One goroutine uses it
// at a time.
type CUDAStream struct {
	cuda *CUDA
	c    *C.gb_cuda_stream
}

// OpenStream makes a stream that does not wait for the default one.
func (d *CUDADevice) OpenStream() (*CUDAStream, error) {
	s := &CUDAStream{cuda: d.cuda, c: (*C.gb_cuda_stream)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_cuda_stream{}))))}
	if err := d.cuda.check(C.gb_cuda_open_stream(s.c, d.c)); err != nil {
		C.gb_cuda_close_stream(s.c) // what was made; the first failure is reported
		C.free(unsafe.Pointer(s.c))
		return nil, err
	}
	return s, nil
}

// Close destroys the stream, and its flush buffer.
func (s *CUDAStream) Close() error {
	err := s.cuda.check(C.gb_cuda_close_stream(s.c))
	C.free(unsafe.Pointer(s.c))
	s.c = nil
	return err
}

// C is the gb_cuda_stream for the C of an engine.
func (s *CUDAStream) C() unsafe.Pointer { return unsafe.Pointer(s.c) }

// Handle is the CUstream.
func (s *CUDAStream) Handle() uintptr { return uintptr(unsafe.Pointer(s.c.stream)) }

// Synchronize waits for all submitted work.
func (s *CUDAStream) Synchronize() error { return s.cuda.check(C.gb_cuda_synchronize(s.c)) }

// Done reports, without waiting, whether all submitted work has ended.
func (s *CUDAStream) Done() (bool, error) {
	status := C.gb_cuda_query(s.c)
	if status.result == C.gb_cu_error_not_ready {
		return false, nil
	}
	return status.result == 0, s.cuda.check(status)
}

// CopyIn copies host memory to the device and waits for it.
func (s *CUDAStream) CopyIn(to uint64, from []byte) error {
	if len(from) == 0 {
		return nil
	}
	return s.cuda.check(C.gb_cuda_copy_in(s.c, C.gb_cu_pointer(to), unsafe.Pointer(&from[0]), C.size_t(len(from))))
}

// CopyOut waits for all submitted work, and copies device memory to the host.
func (s *CUDAStream) CopyOut(to []byte, from uint64) error {
	if len(to) == 0 {
		return nil
	}
	return s.cuda.check(C.gb_cuda_copy_out(s.c, unsafe.Pointer(&to[0]), C.gb_cu_pointer(from), C.size_t(len(to))))
}

// Fill sets device memory to one byte and waits for it.
func (s *CUDAStream) Fill(to uint64, value byte, bytes int64) error {
	return s.cuda.check(C.gb_cuda_fill(s.c, C.gb_cu_pointer(to), C.uchar(value), C.size_t(bytes)))
}

// SetFlush has the timed loop overwrite device memory, which the stream then owns,
// before each sample and outside its events. Zero bytes end that.
func (s *CUDAStream) SetFlush(memory uint64, bytes int64) {
	s.c.flush, s.c.flush_bytes = C.gb_cu_pointer(memory), C.size_t(bytes)
}

// GateBytes is the size of the memory that holds a stream.
const GateBytes = int(unsafe.Sizeof(C.gb_cuda_gate{}))

// SetHold has the timed loop submit a launch of gb_hold before each sample, and release
// it through pinned memory of GateBytes once the whole sample is submitted. Both remain
// their owner's. Nil ends that.
func (s *CUDAStream) SetHold(launch *CUDALaunch, gate []byte) {
	if launch == nil {
		s.c.hold, s.c.gate = nil, nil
		return
	}
	s.c.hold, s.c.gate = launch.c, (*C.gb_cuda_gate)(unsafe.Pointer(unsafe.SliceData(gate)))
}

// ErrHoldExpired says that a held stream let go before the whole sample was submitted:
// whatever submits it waits for the stream.
var ErrHoldExpired = errors.New("the stream was held and let go by itself")

// Time fills out in one C call: device time by events around each group of inferences,
// with enqueue and host time, each divided by the group's size. It allocates nothing. A
// failing inference ends the block with a *CallError, a failing driver call with a
// *CUDAError.
func (s *CUDAStream) Time(c Call, group int, out []Sample) error {
	if len(out) == 0 {
		return nil
	}
	return s.judge(C.gb_time_cuda(s.c, C.gb_func(c.Func), c.Arg, C.int64_t(group), (*C.gb_sample)(unsafe.Pointer(&out[0])), C.int64_t(len(out))))
}

func (s *CUDAStream) judge(end C.gb_cuda_end) error {
	if end.code != 0 {
		return &CallError{Index: int(end.done), Code: int(end.code)}
	}
	if end.status.result != 0 {
		return s.cuda.check(end.status)
	}
	if end.expired != 0 {
		return ErrHoldExpired
	}
	return nil
}

// A CUDAGraph is what a call submitted, to be replayed by one driver call.
type CUDAGraph struct {
	stream *CUDAStream
	c      *C.gb_cuda_graph
}

// ErrUnsafeGraph says that a call can be captured but must not be replayed.
var ErrUnsafeGraph = errors.New("its replay would not be the same inference")

// unsafe is why a graph must not be replayed, or nil.
func (g *CUDAGraph) unsafe() error {
	switch g.c.unsafe {
	case C.gb_cuda_safe:
		return nil
	case C.gb_cuda_host_function:
		return fmt.Errorf("%w: it calls a function on the host in the middle", ErrUnsafeGraph)
	case C.gb_cuda_host_copy:
		return fmt.Errorf("%w: it copies from or to the host's memory, which others may be using by then", ErrUnsafeGraph)
	}
	return fmt.Errorf("%w as far as can be told: %s, a driver of CUDA %s, has no %s to look at it", ErrUnsafeGraph,
		g.stream.cuda.path, g.stream.cuda.Version(), C.GoString(C.gb_cuda_name(g.c.missing)))
}

// Capture records what the call submits on the stream; nothing runs. Work of the host in
// it is ErrUnsafeGraph.
func (s *CUDAStream) Capture(c Call) (*CUDAGraph, error) {
	g := &CUDAGraph{stream: s, c: (*C.gb_cuda_graph)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_cuda_graph{}))))}
	err := s.judge(C.gb_cuda_capture(s.c, C.gb_func(c.Func), c.Arg, g.c))
	if err == nil {
		err = g.unsafe()
	}
	if err != nil {
		C.free(unsafe.Pointer(g.c))
		return nil, err
	}
	return g, nil
}

// Call replays the graph. It is valid until Close.
func (g *CUDAGraph) Call() Call {
	return Call{Func: unsafe.Pointer(C.gb_cuda_run_graph), Arg: unsafe.Pointer(g.c)}
}

// Nodes counts what was recorded: kernels, copies and fills.
func (g *CUDAGraph) Nodes() int { return int(g.c.nodes) }

// Explain gives the driver's words for a replay that failed.
func (g *CUDAGraph) Explain() error { return g.stream.cuda.check(g.c.status) }

// Close destroys the graph; no replay of it may be running.
func (g *CUDAGraph) Close() error {
	err := g.stream.cuda.check(C.gb_cuda_close_graph(g.stream.c, g.c))
	C.free(unsafe.Pointer(g.c))
	g.c = nil
	return err
}

// A CUDALaunch is one kernel launch as a call of the timed loop.
type CUDALaunch struct {
	stream *CUDAStream
	c      *C.gb_cuda_launch
}

// NewLaunch prepares a launch of a one-dimensional grid. Each argument takes the
// low bytes of its word, as many as the kernel's parameter has.
func (s *CUDAStream) NewLaunch(function unsafe.Pointer, blocks, threads int, arguments ...uint64) *CUDALaunch {
	if len(arguments) > C.gb_cuda_max_arguments {
		panic(fmt.Sprintf("a launch has room for %d arguments, got %d", C.gb_cuda_max_arguments, len(arguments)))
	}
	l := &CUDALaunch{stream: s, c: (*C.gb_cuda_launch)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_cuda_launch{}))))}
	l.c.stream, l.c.function = s.c, C.CUfunction(function)
	l.c.blocks, l.c.threads, l.c.count = C.uint(blocks), C.uint(threads), C.int(len(arguments))
	for i, a := range arguments {
		l.c.arguments[i] = C.uint64_t(a)
	}
	return l
}

// Call launches the kernel. It is valid until Free.
func (l *CUDALaunch) Call() Call {
	return Call{Func: unsafe.Pointer(C.gb_cuda_run_launch), Arg: unsafe.Pointer(l.c)}
}

// Submit launches the kernel once, outside of a timed loop.
func (l *CUDALaunch) Submit() error {
	return l.stream.cuda.check(C.gb_cuda_submit(l.c))
}

// Explain gives the driver's words for a launch that failed.
func (l *CUDALaunch) Explain() error { return l.stream.cuda.check(l.c.status) }

// Free releases the C memory; the Call must not be used afterwards.
func (l *CUDALaunch) Free() {
	C.free(unsafe.Pointer(l.c))
	l.c = nil
}

// A CUDACopy is one copy between the host and the device as a call of the timed loop.
type CUDACopy struct {
	stream *CUDAStream
	c      *C.gb_cuda_copy
}

// NewCopy prepares a copy of pinned memory into the device, or out of it. Both places
// remain their owner's and outlive the copy.
func (s *CUDAStream) NewCopy(host []byte, device uint64, out bool) *CUDACopy {
	c := &CUDACopy{stream: s, c: (*C.gb_cuda_copy)(C.calloc(1, C.size_t(unsafe.Sizeof(C.gb_cuda_copy{}))))}
	c.c.stream, c.c.device, c.c.host, c.c.bytes = s.c, C.gb_cu_pointer(device), unsafe.Pointer(unsafe.SliceData(host)), C.size_t(len(host))
	if out {
		c.c.out = 1
	}
	return c
}

// Call submits the copy. It is valid until Free.
func (c *CUDACopy) Call() Call {
	return Call{Func: unsafe.Pointer(C.gb_cuda_run_copy), Arg: unsafe.Pointer(c.c)}
}

// Explain gives the driver's words for a copy that failed; nil where none did.
func (c *CUDACopy) Explain() error { return c.stream.cuda.check(c.c.status) }

// Free releases the C memory; the Call must not be used afterwards.
func (c *CUDACopy) Free() {
	C.free(unsafe.Pointer(c.c))
	c.c = nil
}
