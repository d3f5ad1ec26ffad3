package engines

import "genbench/hardware"

// A Resident is a session on a GPU that says where its inputs and outputs lie, so that
// the copies which a caller of the engine makes around an inference can be timed
// (protocol M2).
type Resident interface {
	// Resident gives the places that Call reads and writes, in the engine's own types and
	// layouts. They are valid until Close and hold what SetInput set and the last
	// inference left.
	Resident() (inputs, outputs []hardware.Memory)
}
