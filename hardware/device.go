// Package hardware is the machine: devices and the streams that order work on
// them, the one clock, and the counters that tell in which state a number was
// taken. It knows nothing of networks or engines.
package hardware

import (
	"context"

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
	Kind DeviceKind `json:"kind"` //
	Name string     `json:"name"` // as the maker calls it
	// Cores is the number of logical CPUs this process may use, or of SMs.
	Cores  int   `json:"cores"`
	Memory int64 `json:"memory_bytes"`
	// Fake marks a test double; results of one never pass for measurements.
	Fake bool `json:"fake,omitempty"`
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
