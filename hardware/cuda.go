package hardware

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"genbench/hardware/native"
)

// CUDAEnv names the environment variable that holds the path of the CUDA driver's
// library, for a box where the loader does not find libcuda.so.1.
const CUDAEnv = "GENBENCH_CUDA"

// Open gives the device of an id: "host"; the index of a GPU among those that CUDA
// shows this process, which is nvidia-smi's where CUDA_VISIBLE_DEVICES hides none; or a
// UUID, "GPU-…" or "MIG-…", as nvidia-smi -L prints it. The owner closes it after all of
// its streams.
func Open(id string) (Device, error) {
	if id == string(Host) {
		return NewHost()
	}
	d, err := openCUDADevice(id)
	if err != nil {
		return nil, fmt.Errorf("open device %s: %w", id, err)
	}
	return d, nil
}

// CUDADevices lists the GPUs that CUDA shows this process, in the order of their
// indices.
func CUDADevices() ([]Info, error) {
	cuda, err := openCUDA("")
	if err != nil {
		return nil, fmt.Errorf("list GPUs: %w", err)
	}
	defer cuda.Free()
	all, err := describeCUDA(cuda)
	if err != nil {
		return nil, fmt.Errorf("list GPUs: %w", err)
	}
	infos := make([]Info, len(all))
	for i, d := range all {
		infos[i] = cudaInfo(d)
	}
	return infos, nil
}

// openCUDA starts the driver. It reads the environment only once, when a process first
// starts it: the GPUs that CUDA shows are put in nvidia-smi's order, and a MIG instance
// is made visible, because CUDA shows only those that are named.
func openCUDA(id string) (*native.CUDA, error) {
	settings := map[string]string{"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
	if strings.HasPrefix(id, "MIG-") {
		settings["CUDA_VISIBLE_DEVICES"] = id
	}
	for key, value := range settings {
		if _, set := os.LookupEnv(key); set {
			continue // by someone who knows better
		}
		if err := os.Setenv(key, value); err != nil {
			return nil, err
		}
	}
	library := cmp.Or(os.Getenv(CUDAEnv), "libcuda.so.1")
	cuda, err := native.OpenCUDA(library)
	var failed *native.CUDAError
	switch {
	case err == nil:
		return cuda, nil
	case errors.As(err, &failed):
		return nil, fmt.Errorf("start the CUDA driver: %w", err)
	}
	return nil, fmt.Errorf("load the CUDA driver: %w; install NVIDIA's driver, give the container the GPU, or set %s to its libcuda.so.1", err, CUDAEnv)
}

func describeCUDA(cuda *native.CUDA) ([]native.CUDADeviceInfo, error) {
	n, err := cuda.DeviceCount()
	if err != nil {
		return nil, err
	}
	all := make([]native.CUDADeviceInfo, n)
	for i := range all {
		if all[i], err = cuda.DeviceInfo(i); err != nil {
			return nil, fmt.Errorf("GPU %d: %w", i, err)
		}
	}
	return all, nil
}

func cudaInfo(d native.CUDADeviceInfo) Info {
	// For a MIG instance the driver gives the instance's own UUID, and a name like
	// "NVIDIA A100-SXM4-40GB MIG 1g.5gb".
	prefix := "GPU-"
	if strings.Contains(d.Name, " MIG ") {
		prefix = "MIG-"
	}
	h := hex.EncodeToString(d.UUID[:])
	return Info{
		ID:     prefix + strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"),
		Kind:   CUDA,
		Name:   d.Name,
		Cores:  d.Multiprocessors,
		Memory: d.Memory,
		Fake:   strings.HasPrefix(d.Name, "Fake "),
	}
}

// A CUDADevice is a GPU, or an instance of one, with the context that vendor
// libraries share. The embedded part gives memory and kernels to engines.
type CUDADevice struct {
	*native.CUDADevice
	cuda    *native.CUDA
	details native.CUDADeviceInfo
	info    Info
	clock   *native.CUDAModule // loaded when first needed
}

func openCUDADevice(id string) (*CUDADevice, error) {
	cuda, err := openCUDA(id)
	if err != nil {
		return nil, err
	}
	all, err := describeCUDA(cuda)
	if err != nil {
		cuda.Free()
		return nil, err
	}
	at := slices.IndexFunc(all, func(d native.CUDADeviceInfo) bool { return strings.EqualFold(cudaInfo(d).ID, id) })
	if index, err := strconv.Atoi(id); err == nil && index >= 0 && index < len(all) {
		at = index
	}
	if at < 0 {
		cuda.Free()
		var known []string
		for i, d := range all {
			known = append(known, fmt.Sprintf("%d (%s, %s)", i, d.Name, cudaInfo(d).ID))
		}
		return nil, fmt.Errorf("no such device; there are host and %s", cmp.Or(strings.Join(known, ", "), "no GPUs"))
	}
	d := &CUDADevice{cuda: cuda, details: all[at], info: cudaInfo(all[at])}
	if d.CUDADevice, err = cuda.OpenDevice(at); err != nil {
		cuda.Free()
		return nil, err
	}
	return d, nil
}

func (d *CUDADevice) Info() Info { return d.info }

// Details says more about the GPU than results need: its compute capability, its L2
// cache, and the driver's version.
func (d *CUDADevice) Details() native.CUDADeviceInfo { return d.details }

// Driver is the CUDA driver.
func (d *CUDADevice) Driver() *native.CUDA { return d.cuda }

func (d *CUDADevice) NewStream() (Stream, error) {
	s, err := d.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("make a stream on %s: %w", d.info.ID, err)
	}
	return &CUDAStream{CUDAStream: s, device: d}, nil
}

// Close gives the context back; it may be called twice.
func (d *CUDADevice) Close() error {
	if d.CUDADevice == nil {
		return nil
	}
	var unload error
	if d.clock != nil {
		unload = d.clock.Unload()
	}
	err := errors.Join(unload, d.CUDADevice.Close())
	d.cuda.Free()
	d.CUDADevice, d.cuda, d.clock = nil, nil, nil
	if err != nil {
		return fmt.Errorf("close %s: %w", d.info.ID, err)
	}
	return nil
}

// kernel gives one of the kernels of clock.cu.
func (d *CUDADevice) kernel(name string) (unsafe.Pointer, error) {
	if d.clock == nil {
		m, err := d.LoadModule(native.ClockPTX)
		if err != nil {
			return nil, fmt.Errorf("compile genbench's kernels: %w", err)
		}
		d.clock = m
	}
	return d.clock.Function(name)
}

// A CUDAStream is a CUDA stream. The embedded part copies memory, and captures what
// a call submits as a graph that is replayed by one driver call.
type CUDAStream struct {
	*native.CUDAStream
	device *CUDADevice
	flush  uint64             // memory that the loop overwrites; 0 for none
	hold   *native.CUDALaunch // what holds the stream; nil where the stream runs freely
	gate   []byte             // that releases it
	// counter reads cycle counters into memory; nil before the first reading.
	counter       *native.CUDALaunch
	counterMemory uint64
}

// Device is the stream's.
func (s *CUDAStream) Device() *CUDADevice { return s.device }

// Time takes one sample per inference, with events of the stream around each.
func (s *CUDAStream) Time(c native.Call, out []Sample) error { return s.TimeGroups(c, 1, out) }

// TimeGroups takes one sample per group of back-to-back inferences, divided by the
// group's size. It is for inferences so short that the events' resolution, about
// half a microsecond, would matter (protocol M4); such figures are called amortised.
func (s *CUDAStream) TimeGroups(c native.Call, group int, out []Sample) error {
	if group < 1 {
		return fmt.Errorf("time inferences: groups of %d, want at least 1", group)
	}
	if err := s.CUDAStream.Time(c, group, out); err != nil {
		return s.explain(err)
	}
	return nil
}

// explain adds the device to a failure of the driver. It is a function of its own
// because what errors.As writes to is allocated, and a timed block that succeeds
// allocates nothing.
func (s *CUDAStream) explain(err error) error {
	if errors.Is(err, native.ErrHoldExpired) {
		return &HeldError{holdFor}
	}
	var failed *native.CUDAError
	if errors.As(err, &failed) {
		return fmt.Errorf("time inferences on %s: %w", s.device.info.ID, err)
	}
	return err
}

// Capture implements EventStream. Its error is a *CaptureError where the driver refuses
// to record, nothing was recorded or the recording holds work of the host; and where
// the engine itself fails, as its call may do what cannot be recorded.
func (s *CUDAStream) Capture(c native.Call) (Graph, error) {
	g, err := s.CUDAStream.Capture(c)
	var refused *native.CUDAError
	var failed *native.CallError
	switch {
	case errors.As(err, &refused) && refused.Code >= captureUnsupported && refused.Code <= captureWrongThread, errors.As(err, &failed), errors.Is(err, native.ErrUnsafeGraph):
		return nil, &CaptureError{err}
	case err != nil:
		return nil, fmt.Errorf("capture as a graph on %s: %w", s.device.info.ID, err)
	case g.Nodes() == 0:
		return nil, errors.Join(&CaptureError{errors.New("it submits nothing to the stream that it was given")}, g.Close())
	}
	return g, nil
}

// The range of CUresult that is about captures: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
// to CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD in cuda.h.
const captureUnsupported, captureWrongThread = 900, 908

// holdFor is after how long a held stream lets go by itself: submitting an inference
// never takes that long (protocol M5).
const holdFor = 30 * time.Second

// Hold has a kernel run before each sample that ends once the whole sample is
// submitted. The driver has room for about a thousand launches after it; a call that
// submits more waits until it lets go, as does one that synchronises.
func (s *CUDAStream) Hold(on bool) error {
	switch {
	case on && s.hold == nil:
		kernel, err := s.device.kernel("gb_hold")
		if err != nil {
			return fmt.Errorf("hold the stream: %w", err)
		}
		// Pinned memory has one address for both, because every 64-bit process has
		// unified addressing (CUDA Driver API, Unified Addressing).
		if s.gate, err = s.device.AllocPinned(native.GateBytes); err != nil {
			return fmt.Errorf("hold the stream: %w", err)
		}
		gate := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(s.gate))))
		s.hold = s.NewLaunch(kernel, 1, 1, gate, uint64(holdFor.Nanoseconds()))
		s.SetHold(s.hold, s.gate)
	case !on && s.hold != nil:
		s.SetHold(nil, nil)
		s.hold.Free()
		gate := s.gate
		s.hold, s.gate = nil, nil
		if err := s.device.FreePinned(gate); err != nil {
			return fmt.Errorf("end holding the stream: %w", err)
		}
	}
	return nil
}

// CacheBytes is the size of the L2 cache; 0 where the driver does not say.
func (s *CUDAStream) CacheBytes() int64 { return int64(s.device.details.L2Bytes) }

// FlushL2 has the loop overwrite twice the size of the L2 cache before each sample,
// outside its events, so that an inference finds nothing of its own there (protocol M6,
// cold). Twice the size, because a cache need not replace the oldest lines first.
func (s *CUDAStream) FlushL2(on bool) error {
	switch {
	case on && s.flush == 0:
		bytes := 2 * int64(s.device.details.L2Bytes)
		if bytes == 0 {
			return fmt.Errorf("flush the L2 cache: %s does not report its size", s.device.info.Name)
		}
		memory, err := s.device.Alloc(bytes)
		if err != nil {
			return fmt.Errorf("flush the L2 cache: %w", err)
		}
		s.flush = memory
		s.SetFlush(memory, bytes)
	case !on && s.flush != 0:
		s.SetFlush(0, 0)
		memory := s.flush
		s.flush = 0
		if err := s.device.Free(memory); err != nil {
			return fmt.Errorf("end flushing the L2 cache: %w", err)
		}
	}
	return nil
}

// poll is how often a wait that can be cancelled checks: it is never in a sample.
const poll = 100 * time.Microsecond

func (s *CUDAStream) Synchronize(ctx context.Context) error {
	for ctx.Done() != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := s.Done()
		if err != nil {
			return fmt.Errorf("synchronise with %s: %w", s.device.info.ID, err)
		}
		if done {
			return nil
		}
		time.Sleep(poll)
	}
	if err := s.CUDAStream.Synchronize(); err != nil {
		return fmt.Errorf("synchronise with %s: %w", s.device.info.ID, err)
	}
	return nil
}

// freeCounter gives back what readings of cycle counters took.
func (s *CUDAStream) freeCounter() error {
	if s.counter == nil {
		return nil
	}
	s.counter.Free()
	s.counter = nil
	return s.device.Free(s.counterMemory)
}

// Close destroys the stream; it may be called twice.
func (s *CUDAStream) Close() error {
	if s.CUDAStream == nil {
		return nil
	}
	err := errors.Join(s.Hold(false), s.freeCounter(), s.CUDAStream.Close())
	s.CUDAStream = nil
	if err != nil {
		return fmt.Errorf("close the stream on %s: %w", s.device.info.ID, err)
	}
	return nil
}

// A Delay is work of known length on the GPU, for truth tests.
type Delay struct{ *native.CUDALaunch }

// NewDelay prepares a kernel that takes the given time by the GPU's own timer. Its
// owner frees it.
func (s *CUDAStream) NewDelay(length time.Duration) (*Delay, error) {
	kernel, err := s.device.kernel("gb_delay")
	if err != nil {
		return nil, err
	}
	return &Delay{s.NewLaunch(kernel, 1, 1, uint64(length.Nanoseconds()))}, nil
}

// Ticks are the cycle counters of a GPU's multiprocessors at one moment.
type Ticks []tick

type tick struct{ multiprocessor, nanoseconds, cycles uint64 }

// Ticks reads the counters in the stream: after all that was submitted, by a kernel
// of some microseconds. Two readings around a block give its effective clock, without
// the gaps of sampling from outside. The first reading allocates the memory for all, so
// that later ones are short enough to fit between the windows of a round.
func (s *CUDAStream) Ticks() (ticks Ticks, err error) {
	// Blocks go where there is room; two for each leave out hardly any multiprocessor.
	blocks := 2 * s.device.details.Multiprocessors
	raw := make([]byte, blocks*24)
	if s.counter == nil {
		kernel, err := s.device.kernel("gb_ticks")
		if err != nil {
			return nil, err
		}
		if s.counterMemory, err = s.device.Alloc(int64(len(raw))); err != nil {
			return nil, fmt.Errorf("read cycle counters: %w", err)
		}
		s.counter = s.NewLaunch(kernel, blocks, 1, s.counterMemory)
	}
	if err := s.counter.Submit(); err != nil {
		return nil, fmt.Errorf("read cycle counters: %w", err)
	}
	if err := s.CopyOut(raw, s.counterMemory); err != nil {
		return nil, fmt.Errorf("read cycle counters: %w", err)
	}
	for ; len(raw) > 0; raw = raw[24:] {
		word := func(i int) uint64 { return binary.NativeEndian.Uint64(raw[8*i:]) }
		ticks = append(ticks, tick{multiprocessor: word(0), nanoseconds: word(1), cycles: word(2)})
	}
	return ticks, nil
}

// effectiveClock is the median clock of the multiprocessors between two readings,
// in MHz: cycles counted over time passed. It is false where no multiprocessor is in
// both.
func effectiveClock(from, to Ticks) (mhz float64, ok bool) {
	first := make(map[uint64]tick, len(from))
	for _, t := range from {
		first[t.multiprocessor] = t
	}
	var clocks []float64
	for _, t := range to {
		f, known := first[t.multiprocessor]
		if !known || t.nanoseconds <= f.nanoseconds || t.cycles < f.cycles {
			continue
		}
		clocks = append(clocks, 1e3*float64(t.cycles-f.cycles)/float64(t.nanoseconds-f.nanoseconds))
	}
	if len(clocks) == 0 {
		return 0, false
	}
	slices.Sort(clocks)
	return clocks[len(clocks)/2], true
}
