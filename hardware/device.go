// Package hardware is the machine: devices and the streams that order work on
// them, the one clock, and the counters that say in what state the machine was when a
// number was taken. It knows nothing of networks or engines.
package hardware

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"genbench/hardware/native"
)

// A Device is what an inference runs on: the host's processors, or one GPU.
type Device interface {
	Info() Info
	// NewStream makes a queue of work on the device. Its owner closes it before
	// the device.
	NewStream() (Stream, error)
	Close() error
}

// A Stream orders work on a device and holds the only clock in genbench. One
// goroutine uses a stream at a time.
type Stream interface {
	// Handle is the CUstream to submit work on; 0 on the host.
	Handle() uintptr
	// Time runs len(s) inferences in one C loop and fills s. It allocates
	// nothing; a failing inference ends the block with a *native.CallError.
	Time(c native.Call, s []Sample) error
	// Synchronize waits until all submitted work is done.
	Synchronize(context.Context) error
	Close() error
}

// An EventStream is a stream of a device with events of its own, a GPU: work can be
// submitted to it in more than one way, and with its cache in more than one state.
type EventStream interface {
	Stream
	// TimeGroups takes one sample per group of back-to-back inferences, divided by the
	// group's size: for inferences that are too short for the events (protocol M4).
	TimeGroups(c native.Call, group int, s []Sample) error
	// Capture records what a call submits; nothing runs. Its owner closes the graph
	// before the stream. Where the engine cannot be recorded the error is a *CaptureError.
	Capture(c native.Call) (Graph, error)
	// FlushL2 has each sample, outside its events, find a cache that holds nothing of
	// the inference (protocol M6, cold).
	FlushL2(on bool) error
	// Hold keeps the stream from running until a whole sample is submitted, so that the
	// GPU waits for no launch (protocol M5, blocked). A call that waits for the stream
	// inside ends the block with a *HeldError.
	Hold(on bool) error
	// CacheBytes is the size of the last cache before the device's memory.
	CacheBytes() int64
	// Transfer prepares copies of an inference's input and output from and to pinned
	// memory of the host, which starts as a copy of what is on the device (protocol
	// M2). Its owner closes it before the stream.
	Transfer(inputs, outputs []Memory) (Transfer, error)
	// MeterClock begins to measure the clock of the device's multiprocessors by their
	// own counters: lap gives the mean since it was last called, or since the
	// beginning, in MHz. Both wait for what was submitted before.
	MeterClock() (lap func() (mhz float64, err error), err error)
}

// A Graph is recorded work that one call replays.
type Graph interface {
	// Call replays it; it is valid until Close.
	Call() native.Call
	// Explain gives the driver's words for a replay that failed.
	Explain() error
	// Nodes counts what was recorded: kernels, copies and fills.
	Nodes() int
	Close() error
}

// Memory is a piece of a device's.
type Memory struct {
	Address uint64
	Bytes   int64
}

// A Transfer is the copying around an inference, as calls that are valid until Close.
type Transfer interface {
	In() native.Call  // of all inputs, to the device
	Out() native.Call // of all outputs, to the host
	// Around is an inference from host to host: copy in, the call, copy out. It is asked
	// for once.
	Around(c native.Call) native.Call
	// Explain gives the driver's words for a copy that failed; nil where none did.
	Explain() error
	Close() error
}

// A CaptureError says that what a call submits cannot be recorded as a graph, though
// it runs.
type CaptureError struct{ Err error }

func (e *CaptureError) Error() string {
	return fmt.Sprintf("capture as a graph: %v", e.Err)
}
func (e *CaptureError) Unwrap() error { return e.Err }

// A HeldError says that a call waits for the stream it submits to, or for room in that
// stream's queue, and so does not end while the stream is held.
type HeldError struct{ After time.Duration }

func (e *HeldError) Error() string {
	return fmt.Sprintf("the stream cannot be held until an inference is submitted: submitting waits for the stream, or for room to submit more (let go after %s)", e.After)
}

// A Sample is one timed inference.
type Sample = native.Sample

// DeviceKind tells a CPU device from a GPU; protocol rules differ between them.
type DeviceKind string

const (
	Host DeviceKind = "host"
	CUDA DeviceKind = "cuda"
)

// Info identifies a device in results.
type Info struct {
	ID   string     `json:"id"`   // "host", or the GPU's UUID
	Kind DeviceKind `json:"kind"` // host or cuda
	Name string     `json:"name"` // as the maker calls it
	// Cores is the number of logical CPUs this process may use, or of SMs.
	Cores  int   `json:"cores"`
	Memory int64 `json:"memory_bytes"` // of the machine, or of the GPU
	// Fake marks a test double; results of one never pass for measurements.
	Fake bool `json:"fake,omitempty"`
}

// Find gives the Info of the device that Open would open, without opening it: it asks a
// GPU only what needs no context, because to a measurement that runs there a context of
// this process would be foreign work.
func Find(id string) (Info, error) {
	if id == string(Host) {
		return hostInfo()
	}
	info, err := findCUDA(id)
	if err != nil {
		return Info{}, fmt.Errorf("find device %s: %w", id, err)
	}
	return info, nil
}

func findCUDA(id string) (Info, error) {
	cuda, err := openCUDA(id)
	if err != nil {
		return Info{}, err
	}
	defer cuda.Free()
	all, err := describeCUDA(cuda)
	if err != nil {
		return Info{}, err
	}
	var known []string
	for i, d := range all {
		info := cudaInfo(d)
		if strings.EqualFold(info.ID, id) || strconv.Itoa(i) == id {
			return info, nil
		}
		known = append(known, fmt.Sprintf("%d (%s, %s)", i, d.Name, info.ID))
	}
	return Info{}, fmt.Errorf("no such device; there are host and %s", cmp.Or(strings.Join(known, ", "), "no GPUs"))
}

// host is the CPU as a device: a call has finished when it returns.
type host struct{ info Info }

// NewHost gives the machine's processors as a device.
func NewHost() (Device, error) {
	info, err := hostInfo()
	if err != nil {
		return nil, err
	}
	return &host{info: info}, nil
}

func (h *host) Info() Info                 { return h.info }
func (h *host) NewStream() (Stream, error) { return hostStream{}, nil }
func (h *host) Close() error               { return nil }

type hostStream struct{}

func (hostStream) Handle() uintptr { return 0 }

func (hostStream) Time(c native.Call, s []Sample) error {
	return native.TimeHost(c, s)
}

func (hostStream) Synchronize(ctx context.Context) error { return ctx.Err() }
func (hostStream) Close() error                          { return nil }
