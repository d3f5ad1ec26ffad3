package hardware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"genbench/hardware/hardwaretest"
	"genbench/hardware/native"
)

// fakeCUDA has the process use a fake driver for the length of the test. Settings
// are pairs of a key of the fake's and its value.
func fakeCUDA(t *testing.T, settings ...string) {
	t.Helper()
	t.Setenv(CUDAEnv, hardwaretest.FakeCUDA(t))
	for i := 0; i < len(settings); i += 2 {
		t.Setenv("FAKE_CUDA_"+settings[i], settings[i+1])
	}
}

// gpu opens the first device: of the machine where GENBENCH_REQUIRE names cuda, of
// a fake driver elsewhere.
func gpu(t *testing.T, settings ...string) (*CUDADevice, *CUDAStream) {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("GENBENCH_REQUIRE"), ","), "cuda") {
		fakeCUDA(t, settings...)
	}
	return openGPU(t)
}

// openGPU opens the first device of the driver that is set.
func openGPU(t *testing.T) (*CUDADevice, *CUDAStream) {
	t.Helper()
	d, err := Open("0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A broken device closes with an error; tests that want none close it themselves.
		s.Close()
		d.Close()
	})
	return d.(*CUDADevice), s.(*CUDAStream)
}

func TestOpenCUDA(t *testing.T) {
	fakeCUDA(t, "DEVICES", "3", "CAPABILITY", "75")
	infos, err := CUDADevices()
	if err != nil || len(infos) != 3 {
		t.Fatal(infos, err)
	}
	const id = "GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae02"
	want := Info{ID: id, Kind: CUDA, Name: "Fake GPU", Cores: 4, Memory: 4 << 30, Fake: true}
	if infos[2] != want {
		t.Errorf("got %+v", infos[2])
	}
	for _, name := range []string{"2", id, strings.ToUpper(id)} {
		d, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if d.Info() != want {
			t.Errorf("%s opens %+v", name, d.Info())
		}
		if details := d.(*CUDADevice).Details(); details.CapabilityMajor != 7 || details.CapabilityMinor != 5 || details.DriverVersion != "13.0" {
			t.Errorf("details %+v", details)
		}
		if err := errors.Join(d.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"3", "-1", "", "GPU-00000000-0000-0000-0000-000000000000", "gpu0"} {
		if _, err := Open(name); err == nil || !strings.Contains(err.Error(), "open device "+name) || !strings.Contains(err.Error(), id) {
			t.Errorf("%q: %v", name, err)
		}
	}
	host, err := Open("host")
	if err != nil || host.Info().Kind != Host {
		t.Error(host, err)
	}
}

func TestMIGInstanceByUUID(t *testing.T) {
	fakeCUDA(t, "MIG", "1")
	// Set and then removed, so that the test puts back what was there.
	t.Setenv("CUDA_VISIBLE_DEVICES", "")
	os.Unsetenv("CUDA_VISIBLE_DEVICES")
	const id = "MIG-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00"
	d, err := Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Info().ID != id {
		t.Errorf("got %s", d.Info().ID)
	}
	if visible := os.Getenv("CUDA_VISIBLE_DEVICES"); visible != id {
		t.Errorf("CUDA was shown %q", visible)
	}
}

// A kernel of known length must read as long through the same path as an inference:
// eager, replayed as a graph, and back to back.
func TestCUDATruth(t *testing.T) {
	_, s := gpu(t)
	const length = 5 * time.Millisecond
	delay, err := s.NewDelay(length)
	if err != nil {
		t.Fatal(err)
	}
	defer delay.Free()
	graph, err := s.Capture(delay.Call())
	if err != nil {
		t.Fatal(err)
	}
	defer graph.Close()
	for _, c := range []struct {
		name  string
		call  native.Call
		group int
		cold  bool
		held  bool
	}{
		{"eager", delay.Call(), 1, false, false},
		{"graph", graph.Call(), 1, false, false},
		{"amortised", delay.Call(), 4, false, false},
		{"cold", delay.Call(), 1, true, false},
		{"held", delay.Call(), 1, false, true},
		{"held and cold", delay.Call(), 2, true, true},
	} {
		if err := errors.Join(s.FlushL2(c.cold), s.Hold(c.held)); err != nil {
			t.Fatal(err)
		}
		samples := make([]Sample, 21)
		if err := s.TimeGroups(c.call, c.group, samples); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		device := make([]int64, len(samples))
		for i, v := range samples {
			device[i] = v.Device
			if v.Enqueue <= 0 || v.Enqueue > v.Host {
				t.Errorf("%s: sample %d: %d ns in the call, %d ns until synchronised", c.name, i, v.Enqueue, v.Host)
			}
			if !s.device.info.Fake && float64(v.Host) < 0.99*float64(length) {
				t.Errorf("%s: sample %d: host time %d ns is less than the kernel takes: the loop does not wait", c.name, i, v.Host)
			}
		}
		slices.Sort(device)
		median := float64(device[len(device)/2])
		if off := median/float64(length) - 1; math.Abs(off) > 0.01 {
			t.Errorf("%s: a kernel of %v reads as %v", c.name, length, time.Duration(median))
		}
	}
}

func TestCUDATimeAllocatesNothing(t *testing.T) {
	_, s := gpu(t)
	samples := make([]Sample, 4)
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Time(native.Nothing(), samples); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The loop's sample is whole: it waited for what the call submitted.
func TestCUDATimeWaits(t *testing.T) {
	d, s := gpu(t)
	memory, err := d.Alloc(4)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free(memory)
	pinned, err := d.AllocPinned(4)
	if err != nil {
		t.Fatal(err)
	}
	defer d.FreePinned(pinned)
	if err := s.Fill(memory, 7, 4); err != nil {
		t.Fatal(err)
	}
	if err := s.CopyOut(pinned, memory); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pinned, []byte{7, 7, 7, 7}) {
		t.Errorf("read %v", pinned)
	}
	if err := s.CopyIn(memory, []byte{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	delay, err := s.NewDelay(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer delay.Free()
	if err := delay.Submit(); err != nil {
		t.Fatal(err)
	}
	if err := s.Time(delay.Call(), make([]Sample, 1)); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Done(); !done || err != nil {
		t.Error("work is left in the stream behind the loop", err)
	}
	if err := s.CopyOut(pinned, memory); err != nil || !bytes.Equal(pinned, []byte{1, 2, 3, 4}) {
		t.Error(pinned, err)
	}
	if err := s.Synchronize(context.Background()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

// A transfer copies what lay in the device when it was made, as a call of the timed loop.
func TestTransfer(t *testing.T) {
	d, s := gpu(t)
	places := make([]Memory, 3)
	for i := range places {
		memory, err := d.Alloc(8)
		if err != nil {
			t.Fatal(err)
		}
		places[i] = Memory{memory, 8}
		if err := s.Fill(memory, byte(i+1), 8); err != nil {
			t.Fatal(err)
		}
	}
	all := func() string {
		text := ""
		for _, m := range places {
			raw := make([]byte, 8)
			if err := s.CopyOut(raw, m.Address); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(raw, bytes.Repeat(raw[:1], 8)) {
				t.Errorf("read %v, want one value", raw)
			}
			text += fmt.Sprint(raw[0])
		}
		return text
	}
	transfer, err := s.Transfer(places[:2], places[2:])
	if err != nil {
		t.Fatal(err)
	}
	delay, err := s.NewDelay(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer delay.Free()
	for _, c := range []struct {
		name string
		call native.Call
		want string // of what is 999 before
	}{
		{"in", transfer.In(), "129"},
		{"out", transfer.Out(), "999"},
		{"around", transfer.Around(delay.Call()), "129"},
	} {
		for _, m := range places {
			if err := s.Fill(m.Address, 9, 8); err != nil {
				t.Fatal(err)
			}
		}
		samples := make([]Sample, 3)
		if err := s.Time(c.call, samples); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := all(); got != c.want {
			t.Errorf("%s: the places hold %s, want %s", c.name, got, c.want)
		}
		for _, one := range samples {
			long := one.Device >= time.Millisecond.Nanoseconds()
			if one.Device <= 0 || one.Host <= 0 || long != (c.name == "around") {
				t.Errorf("%s: took %d ns, %d by the host's clock", c.name, one.Device, one.Host)
			}
		}
	}
	if err := errors.Join(transfer.Explain(), transfer.Close(), transfer.Close()); err != nil {
		t.Error(err)
	}
	for name, wrong := range map[string][2][]Memory{
		"no input":        {nil, places[2:]},
		"an empty output": {places[:1], {{places[2].Address, 0}}},
	} {
		if _, err := s.Transfer(wrong[0], wrong[1]); err == nil || !strings.Contains(err.Error(), "prepare copies on") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEffectiveClock(t *testing.T) {
	d, s := gpu(t, "MHZ", "1410")
	delay, err := s.NewDelay(20 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer delay.Free()
	if ticks, err := s.Ticks(); err != nil || len(ticks) != 2*d.Info().Cores {
		t.Errorf("%d readings of %d multiprocessors, %v", len(ticks), d.Info().Cores, err)
	}
	lap, err := s.MeterClock()
	if err != nil {
		t.Fatal(err)
	}
	for _, fakeMHz := range []float64{1410, 705} {
		t.Setenv("FAKE_CUDA_MHZ", fmt.Sprint(fakeMHz))
		if err := s.Time(delay.Call(), make([]Sample, 5)); err != nil {
			t.Fatal(err)
		}
		mhz, err := lap()
		if err != nil || mhz < 100 || mhz > 4000 || d.info.Fake && math.Abs(mhz-fakeMHz) > 1 {
			t.Errorf("%v MHz, %v; the fake's is %g", mhz, err, fakeMHz)
		}
		t.Logf("%s: %.0f MHz", d.Info().Name, mhz)
	}
	if _, ok := effectiveClock(Ticks{{0, 5, 5}}, Ticks{{1, 9, 9}, {0, 5, 9}}); ok {
		t.Error("a clock without a multiprocessor in both readings")
	}
}

func TestCUDAUnavailable(t *testing.T) {
	for name, c := range map[string]struct {
		library  func() string
		settings []string
		words    []string
	}{
		"no library": {
			library: func() string { return filepath.Join(t.TempDir(), "libcuda.so.1") },
			words:   []string{"No such file", CUDAEnv, "driver"},
		},
		"not a driver":      {library: func() string { return "libc.so.6" }, words: []string{"libc", "not a CUDA driver", "cuDriverGetVersion"}},
		"a missing symbol":  {library: func() string { return hardwaretest.FakeCUDA(t, "-DcuGraphLaunch=gone") }, words: []string{"cuGraphLaunch", "13.0"}},
		"an old driver":     {settings: []string{"DRIVER", "11040"}, words: []string{"CUDA 11.4", "11.8", "update"}},
		"no device":         {settings: []string{"INIT", "100"}, words: []string{"cuInit", "CUDA_ERROR_NO_DEVICE (100)", "nvidia-smi"}},
		"a stub":            {settings: []string{"INIT", "34"}, words: []string{"CUDA_ERROR_STUB_LIBRARY", "LD_LIBRARY_PATH"}},
		"no device counted": {settings: []string{"DEVICES", "0"}, words: []string{"cuDeviceGetCount", "CUDA_ERROR_NO_DEVICE"}},
	} {
		t.Run(name, func(t *testing.T) {
			fakeCUDA(t, c.settings...)
			if c.library != nil {
				t.Setenv(CUDAEnv, c.library())
			}
			for what, open := range map[string]func() error{
				"open": func() error { _, err := Open("0"); return err },
				"list": func() error { _, err := CUDADevices(); return err },
			} {
				err := open()
				if err == nil {
					t.Fatalf("%s: no error", what)
				}
				for _, word := range c.words {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("%s: %q is not in: %v", what, word, err)
					}
				}
			}
		})
	}
}

// wantCUDA holds an error to the words of a failed driver call.
func wantCUDA(t *testing.T, err error, call, name string) {
	t.Helper()
	var failed *native.CUDAError
	if !errors.As(err, &failed) || failed.Call != call || failed.Name != name {
		t.Fatalf("want %s of %s, got %v", name, call, err)
	}
}

func TestCUDAOutOfMemory(t *testing.T) {
	fakeCUDA(t, "MEMORY", "100000")
	d, s := gpu(t, "MEMORY", "100000")
	_, err := d.Alloc(100001)
	wantCUDA(t, err, "cuMemAlloc_v2", "CUDA_ERROR_OUT_OF_MEMORY")
	if !strings.Contains(err.Error(), "smaller batch") {
		t.Errorf("no cure in %v", err)
	}
	err = s.FlushL2(true)
	wantCUDA(t, err, "cuMemAlloc_v2", "CUDA_ERROR_OUT_OF_MEMORY")
	if err := s.Time(native.Nothing(), make([]Sample, 1)); err != nil {
		t.Errorf("a device without room cannot time: %v", err)
	}
}

func TestCUDAFlushGivesItsMemoryBack(t *testing.T) {
	// Room for one buffer of twice the fake's cache.
	d, s := gpu(t, "MEMORY", "150000")
	for range 3 {
		if err := errors.Join(s.FlushL2(true), s.FlushL2(true), s.FlushL2(false), s.FlushL2(false)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.FlushL2(true), s.Close()); err != nil {
		t.Fatal(err)
	}
	if d.info.Fake {
		if _, err := d.Alloc(150000); err != nil {
			t.Error("a closed stream holds memory:", err)
		}
	}
}

func TestCUDALaunchFailures(t *testing.T) {
	for name, c := range map[string]struct {
		settings   []string
		call, name string
		cure       string
	}{
		"a launch error":  {[]string{"BREAK", "1"}, "cuStreamSynchronize", "CUDA_ERROR_LAUNCH_FAILED", "start it again"},
		"a lost device":   {[]string{"BREAK", "1", "CODE", "999"}, "cuStreamSynchronize", "CUDA_ERROR_UNKNOWN", "xid"},
		"an unknown code": {[]string{"BREAK", "1", "CODE", "4711"}, "cuStreamSynchronize", "unknown CUDA error", "4711"},
	} {
		t.Run(name, func(t *testing.T) {
			fakeCUDA(t)
			_, s := gpu(t)
			delay, err := s.NewDelay(time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			defer delay.Free()
			for i := 0; i < len(c.settings); i += 2 {
				t.Setenv("FAKE_CUDA_"+c.settings[i], c.settings[i+1])
			}
			err = s.Time(delay.Call(), make([]Sample, 3))
			wantCUDA(t, err, c.call, c.name)
			if !strings.Contains(err.Error(), c.cure) || !strings.Contains(err.Error(), s.device.info.ID) {
				t.Errorf("the error must name the device and %q: %v", c.cure, err)
			}
			// What is lost stays lost, and says so.
			if err := s.Synchronize(context.Background()); err == nil {
				t.Error("a broken stream synchronises")
			}
			if err := s.Close(); err == nil {
				t.Error("a broken stream closes without a word")
			}
		})
	}
}

func TestCUDALaunchRefused(t *testing.T) {
	fakeCUDA(t)
	_, s := gpu(t)
	delay, err := s.NewDelay(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer delay.Free()
	t.Setenv("FAKE_CUDA_LAUNCH", "701")
	var failed *native.CallError
	if err := s.Time(delay.Call(), make([]Sample, 3)); !errors.As(err, &failed) || failed.Index != 0 || failed.Code != 701 {
		t.Errorf("got %v", err)
	}
	wantCUDA(t, delay.Explain(), "cuLaunchKernel", "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES")
	wantCUDA(t, delay.Submit(), "cuLaunchKernel", "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES")
	if _, err := s.Capture(delay.Call()); !errors.As(err, &failed) {
		t.Errorf("capture of a call that fails gives %v", err)
	}
	t.Setenv("FAKE_CUDA_LAUNCH", "0")
	if err := s.Time(delay.Call(), make([]Sample, 3)); err != nil {
		t.Errorf("a stream does not work after a refused launch and an ended capture: %v", err)
	}
}

func TestCUDAKernelsNotCompiled(t *testing.T) {
	fakeCUDA(t)
	_, s := gpu(t, "JIT", "222")
	_, err := s.NewDelay(time.Millisecond)
	wantCUDA(t, err, "cuModuleLoadDataEx", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION")
	for _, word := range []string{"compiles nothing today", "11.8"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in: %v", word, err)
		}
	}
}

func TestCUDACaptureFails(t *testing.T) {
	_, s := gpu(t)
	if !s.device.info.Fake {
		t.Skip("a real driver captures")
	}
	t.Setenv("FAKE_CUDA_CAPTURE", "900")
	_, err := s.Capture(native.Nothing())
	wantCUDA(t, err, "cuStreamBeginCapture_v2", "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
}

// What cannot be recorded is told from what is broken.
func TestCUDACaptureRefused(t *testing.T) {
	_, s := gpu(t)
	var refused *CaptureError
	if _, err := s.Capture(native.Nothing()); !errors.As(err, &refused) || !strings.Contains(err.Error(), "submits nothing") {
		t.Errorf("a call that submits nothing: %v", err)
	}
	if !s.device.info.Fake {
		return
	}
	delay, err := s.NewDelay(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer delay.Free()
	for code, want := range map[string]bool{"900": true, "908": true, "2": false, "999": false} {
		t.Setenv("FAKE_CUDA_CAPTURE", code)
		refused = nil
		if _, err := s.Capture(delay.Call()); err == nil || errors.As(err, &refused) != want {
			t.Errorf("error %s: %v", code, err)
		}
	}
	t.Setenv("FAKE_CUDA_CAPTURE", "0")
	t.Setenv("FAKE_CUDA_LAUNCH", "701")
	if _, err := s.Capture(delay.Call()); !errors.As(err, &refused) {
		t.Errorf("an engine that fails: %v", err)
	}
}

// What has work of the host in it is not replayed.
func TestCUDACaptureUnsafe(t *testing.T) {
	device, s := gpu(t)
	if !s.device.info.Fake {
		t.Skip("a real driver has no such functions to call")
	}
	driver, err := native.Open(os.Getenv(CUDAEnv))
	if err != nil {
		t.Fatal(err)
	}
	handle := s.Handle()
	stream := *(*unsafe.Pointer)(unsafe.Pointer(&handle))
	call := func(name string) native.Call {
		symbol, err := driver.Symbol(name)
		if err != nil {
			t.Fatal(err)
		}
		return native.Call{Func: symbol, Arg: stream}
	}
	// In a graph within.
	within := func(c native.Call) native.Call {
		argument := &struct{ stream, submit unsafe.Pointer }{stream, c.Func}
		return native.Call{Func: call("fake_cuda_within").Func, Arg: unsafe.Pointer(argument)}
	}
	pinned, err := device.AllocPinned(64)
	if err != nil {
		t.Fatal(err)
	}
	defer device.FreePinned(pinned)
	memory, err := device.Alloc(64)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Free(memory)
	in, out := s.NewCopy(pinned, memory, false), s.NewCopy(pinned, memory, true)
	defer in.Free()
	defer out.Free()
	const copies, calls = "copies from or to the host's memory", "calls a function on the host"
	for name, c := range map[string]struct {
		call    native.Call
		unified string
		want    string // of the refusal; empty is none
	}{
		"a copy from the host":                 {in.Call(), "0", copies},
		"a copy to the host":                   {out.Call(), "0", copies},
		"a copy within the device":             {call("fake_cuda_device_copy"), "0", ""},
		"a copy from the host, by its address": {in.Call(), "1", copies},
		"a copy within the device, by address": {call("fake_cuda_device_copy"), "1", ""},
		"a function of the host":               {call("fake_cuda_host_function"), "0", calls},
		"a function of the host, deeper":       {within(call("fake_cuda_host_function")), "0", calls},
		"a copy within the device, deeper":     {within(call("fake_cuda_device_copy")), "0", ""},
	} {
		t.Setenv("FAKE_CUDA_UNIFIED", c.unified)
		graph, err := s.Capture(c.call)
		var refused *CaptureError
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if err := graph.Close(); err != nil {
				t.Error(err)
			}
		} else if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want that it %s", name, err, c.want)
		}
	}
}

// A driver that cannot tell what was captured captures nothing, and does all else.
func TestCUDACaptureUnseen(t *testing.T) {
	for _, symbol := range []string{"cuGraphNodeGetType", "cuGraphMemcpyNodeGetParams", "cuGraphChildGraphNodeGetGraph", "cuPointerGetAttribute"} {
		t.Setenv(CUDAEnv, hardwaretest.FakeCUDA(t, "-D"+symbol+"=gone"))
		_, s := openGPU(t)
		delay, err := s.NewDelay(time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		defer delay.Free()
		var refused *CaptureError
		if _, err := s.Capture(delay.Call()); !errors.As(err, &refused) || !strings.Contains(err.Error(), "has no "+symbol) {
			t.Errorf("without %s: %v", symbol, err)
		}
		if err := s.Time(delay.Call(), make([]Sample, 1)); err != nil {
			t.Errorf("without %s: %v", symbol, err)
		}
	}
}

// A held stream stands still while a call is submitted, and one that waits for it
// inside is let go and told of.
func TestCUDAHold(t *testing.T) {
	_, s := gpu(t)
	if !s.device.info.Fake {
		t.Skip("a real one lets go after half a minute")
	}
	delay, err := s.NewDelay(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer delay.Free()
	if err := errors.Join(s.Hold(true), s.Hold(true)); err != nil {
		t.Fatal(err)
	}
	sample := make([]Sample, 3)
	if err := s.Time(delay.Call(), sample); err != nil || sample[2].Device != time.Millisecond.Nanoseconds() {
		t.Errorf("%v, %v", sample, err)
	}
	before, err := s.Ticks()
	if err != nil {
		t.Fatal(err)
	}
	driver, err := native.Open(os.Getenv(CUDAEnv))
	if err != nil {
		t.Fatal(err)
	}
	synchronize, err := driver.Symbol("cuStreamSynchronize")
	if err != nil {
		t.Fatal(err)
	}
	handle := s.Handle()
	stream := *(*unsafe.Pointer)(unsafe.Pointer(&handle))
	var waits *HeldError
	if err := s.Time(native.Call{Func: synchronize, Arg: stream}, sample); !errors.As(err, &waits) {
		t.Errorf("a call that waits for the stream: %v", err)
	}
	after, err := s.Ticks()
	if err != nil {
		t.Fatal(err)
	}
	if held := time.Duration(after[0].nanoseconds - before[0].nanoseconds); held < holdFor || held > holdFor+time.Second {
		t.Errorf("it was held for %s, want %s and once", held, holdFor)
	}
	// One that fails leaves nothing held.
	var failed *native.CallError
	if err := s.Time(native.Call{Func: synchronize}, sample); !errors.As(err, &failed) {
		t.Errorf("a call that fails: %v", err)
	}
	if err := errors.Join(s.Hold(false), s.Hold(false), s.Time(delay.Call(), sample)); err != nil {
		t.Error(err)
	}
}

// TestCUDACaptureRunsNothing fills memory by a copy that is captured, not run.
func TestCUDACaptureRunsNothing(t *testing.T) {
	_, s := gpu(t)
	delay, err := s.NewDelay(50 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer delay.Free()
	samples := make([]Sample, 1)
	var graph Graph
	capture := func() {
		if graph, err = s.Capture(delay.Call()); err != nil {
			t.Fatal(err)
		}
	}
	before, err := s.Ticks()
	if err != nil {
		t.Fatal(err)
	}
	capture()
	after, err := s.Ticks()
	if err != nil {
		t.Fatal(err)
	}
	if took := after[0].nanoseconds - before[0].nanoseconds; took > uint64(40*time.Millisecond) {
		t.Errorf("a capture took %d ns on the device: it ran", took)
	}
	defer graph.Close()
	if err := s.Time(graph.Call(), samples); err != nil {
		t.Fatal(err)
	}
	if got := time.Duration(samples[0].Device); got < 49*time.Millisecond {
		t.Errorf("the replay took %v", got)
	}
}

func TestCUDASynchronizeHeedsItsContext(t *testing.T) {
	fakeCUDA(t)
	_, s := gpu(t, "HANG", "1")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Synchronize(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCUDAEngineSeams(t *testing.T) {
	d, s := gpu(t)
	if s.Handle() == 0 || s.C() == nil || d.C() == nil {
		t.Error("an engine gets nothing to work with")
	}
	if s.Device() != d {
		t.Error("the stream belongs to another device")
	}
	runtime.KeepAlive(d)
}
