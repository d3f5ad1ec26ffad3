package engines

import "genbench/hardware/native"

// A Rotator is a session on a GPU whose inferences can read their input from several
// places in turn, so that no inference finds its input in the cache because the one
// before left it there (protocol M6).
type Rotator interface {
	// Rotate makes copies of the input as it is now, as many as fill that many bytes,
	// but at least two, and gives a call for each, which leaves its output where the
	// session's own call does. They are valid until Close; a later SetInput does not
	// reach them, and Call continues to read what that sets. A session rotates once.
	Rotate(bytes int64) ([]native.Call, error)
}

// Copies is how many inputs of a given size Rotate makes.
func Copies(input, bytes int64) int {
	return int(max(2, (bytes+input-1)/max(input, 1)))
}
