package enginetest

import (
	"testing"

	"genbench/engines"
	"genbench/hardware"
)

// Open opens an engine on the first device of its kind, which may be a double, and
// gives it with a stream; all is closed when the test ends.
func Open(t testing.TB, d engines.Driver) (engines.Engine, hardware.Stream) {
	t.Helper()
	device, err := openDevice(d.Device)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, device)
	stream, err := device.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, stream)
	engine, err := d.Open(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, engine)
	return engine, stream
}
