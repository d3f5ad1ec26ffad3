package hardware

import (
	"fmt"
	"time"

	"genbench/hardware/native"
)

// submitTime is more than the host takes to submit one call to a vendor's library.
const submitTime = 40 * time.Microsecond

// TimePieces runs one inference that is made of several calls and gives what each of
// them took between two events, in nanoseconds. A delay in front holds the GPU until
// all of them are submitted, so that none waits for the host. This is for finding out
// which are expensive: the events between them make the whole slower.
func (s *CUDAStream) TimePieces(pieces []native.Call, out []int64) error {
	delay, err := s.NewDelay(time.Duration(len(pieces)) * submitTime)
	if err != nil {
		return fmt.Errorf("time pieces of an inference: %w", err)
	}
	defer delay.Free()
	if err := s.CUDAStream.TimePieces(delay.Call(), pieces, out); err != nil {
		return s.explain(err)
	}
	return nil
}
