package main

import (
	"slices"
	"testing"

	"genbench/bench"
	"genbench/hardware"
	"genbench/hardware/hardwaretest"
)

// The parent reads all but the board that is measured, on which nothing is asked beside
// what is timed.
func TestMeasuredBoardIsLeftAlone(t *testing.T) {
	t.Setenv(nvmlVariable, hardwaretest.FakeNVML(t))
	t.Setenv("FAKE_NVML_DEVICES", "2")
	t.Setenv("GENBENCH_LEASES", t.TempDir())
	m, err := openCounters("gpu-FAKE-0")
	if err != nil {
		t.Fatal(err)
	}
	var read []string
	for _, telemetry := range m.telemetry {
		read = append(read, telemetry.Device)
	}
	if !slices.Equal(read, []string{"host", "GPU-fake-1"}) || len(m.gpus) != 2 {
		t.Errorf("it reads %v and knows %d boards", read, len(m.gpus))
	}
	if err := m.close(); err != nil {
		t.Error(err)
	}
	board := hardware.GPU{UUID: "GPU-1", MIGInstances: []hardware.MIGInstance{{UUID: "MIG-1"}}}
	for device, want := range map[string]bool{"GPU-1": true, "MIG-1": true, "GPU-2": false, "host": false} {
		if holds(board, device) != want {
			t.Errorf("%s lies on the board: %t", device, !want)
		}
	}
}

// A hangingSampler answers when it is let go.
type hangingSampler struct {
	asked, release chan struct{}
	closed         bool
}

func (s *hangingSampler) Sample() (hardware.Reading, error) {
	s.asked <- struct{}{}
	<-s.release
	return hardware.Reading{}, nil
}

func (s *hangingSampler) Close() error { s.closed = true; return nil }

// Counters are closed when nobody reads them any more: one that does not come back stays
// open, for what it reads from would be unloaded under it.
func TestCountersAreClosedWhenRead(t *testing.T) {
	for name, comesBack := range map[string]bool{"comes back": true, "hangs": false} {
		s := &hangingSampler{asked: make(chan struct{}), release: make(chan struct{})}
		m := &machine{turn: make(turn, 1)}
		read := turnSampler{s, m.turn}
		m.telemetry = []bench.Telemetry{{Device: "GPU-1", Sampler: read}}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if _, err := read.Sample(); err != nil {
				t.Error(err)
			}
		}()
		<-s.asked
		if comesBack {
			close(s.release)
		}
		if err := m.close(); err != nil || s.closed != comesBack {
			t.Errorf("a reading that %s: %v, closed %t", name, err, s.closed)
		}
		if !comesBack {
			close(s.release)
		}
		<-ended
	}
}
