package hardware

import (
	"errors"
	"math"
	"testing"
	"time"

	"genbench/hardware/native"
)

func TestTimePieces(t *testing.T) {
	_, s := gpu(t)
	var pieces []native.Call
	want := []time.Duration{time.Millisecond, 3 * time.Millisecond, 200 * time.Microsecond}
	for _, length := range want {
		delay, err := s.NewDelay(length)
		if err != nil {
			t.Fatal(err)
		}
		defer delay.Free()
		pieces = append(pieces, delay.Call())
	}
	got := make([]int64, len(pieces))
	for range 2 {
		if err := s.TimePieces(pieces, got); err != nil {
			t.Fatal(err)
		}
		for i, length := range want {
			// A GPU's timer and the launch of a kernel are worth some microseconds.
			if math.Abs(float64(got[i]-length.Nanoseconds())) > 0.02*float64(length)+10e3 {
				t.Errorf("piece %d took %d ns, want %v", i, got[i], length)
			}
		}
	}
	if err := s.TimePieces(nil, nil); err != nil {
		t.Errorf("no pieces: %v", err)
	}
}

// A piece that fails is named by its place, and what was submitted before it has ended.
func TestTimePiecesFails(t *testing.T) {
	d, s := gpu(t)
	delay, err := s.NewDelay(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer delay.Free()
	kernel, err := d.kernel("gb_delay")
	if err != nil {
		t.Fatal(err)
	}
	const tooMany = 2048 // threads of a block
	wrong := s.NewLaunch(kernel, 1, tooMany, 0)
	defer wrong.Free()
	err = s.TimePieces([]native.Call{delay.Call(), wrong.Call(), delay.Call()}, make([]int64, 3))
	var failed *native.CallError
	if !errors.As(err, &failed) || failed.Index != 1 {
		t.Errorf("got %v, want a failure of piece 1", err)
	}
	if done, err := s.Done(); !done || err != nil {
		t.Errorf("work is left in the stream: %v, %v", done, err)
	}
}

// Memory that work still writes to is nobody else's before that work has ended.
func TestFreedMemoryIsNotWritten(t *testing.T) {
	d, s := gpu(t)
	kernel, err := d.kernel("gb_ticks")
	if err != nil {
		t.Fatal(err)
	}
	other, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	reader := other.(*CUDAStream)
	const blocks, bytes = 1024, 24 * 1024
	memory, err := d.Alloc(bytes)
	if err != nil {
		t.Fatal(err)
	}
	launch := s.NewLaunch(kernel, blocks, 1, memory)
	defer launch.Free()
	if err := launch.Submit(); err != nil {
		t.Fatal(err)
	}
	if err := d.Free(memory); err != nil {
		t.Fatal(err)
	}
	again, err := d.Alloc(bytes) // the same memory, as a rule
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free(again)
	const mark = 0x5a
	if err := reader.Fill(again, mark, bytes); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, bytes)
	if err := reader.CopyOut(raw, again); err != nil {
		t.Fatal(err)
	}
	for i, b := range raw {
		if b != mark {
			t.Fatalf("byte %d of memory that was allocated anew is %#x: work on what lay there before wrote it", i, b)
		}
	}
}
