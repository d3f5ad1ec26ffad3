package hardware

import (
	"errors"
	"fmt"

	"genbench/hardware/native"
)

// A cudaTransfer copies between pinned memory and a GPU.
type cudaTransfer struct {
	device      *CUDADevice
	pinned      [][]byte
	copies      []*native.CUDACopy
	in, out     []native.Call
	chains      []*native.Chain
	takes, puts native.Call
}

// Transfer implements EventStream.
func (s *CUDAStream) Transfer(inputs, outputs []Memory) (_ Transfer, err error) {
	t := &cudaTransfer{device: s.device}
	defer func() {
		if err != nil {
			err = fmt.Errorf("prepare copies on %s: %w", s.device.info.ID, errors.Join(err, t.Close()))
		}
	}()
	if len(inputs) == 0 || len(outputs) == 0 {
		return nil, errors.New("there is no input or no output")
	}
	for i, m := range append(append([]Memory{}, inputs...), outputs...) {
		if m.Bytes <= 0 {
			return nil, fmt.Errorf("a place of %d bytes", m.Bytes)
		}
		pinned, err := s.device.AllocPinned(int(m.Bytes))
		if err != nil {
			return nil, err
		}
		t.pinned = append(t.pinned, pinned)
		if err := s.CopyOut(pinned, m.Address); err != nil {
			return nil, err
		}
		out := i >= len(inputs)
		one := s.NewCopy(pinned, m.Address, out)
		t.copies = append(t.copies, one)
		if out {
			t.out = append(t.out, one.Call())
		} else {
			t.in = append(t.in, one.Call())
		}
	}
	t.puts, t.takes = t.chain(t.in), t.chain(t.out)
	return t, nil
}

func (t *cudaTransfer) chain(calls []native.Call) native.Call {
	c := native.NewChain(calls...)
	t.chains = append(t.chains, c)
	return c.Call()
}

func (t *cudaTransfer) In() native.Call  { return t.puts }
func (t *cudaTransfer) Out() native.Call { return t.takes }
func (t *cudaTransfer) Around(c native.Call) native.Call {
	return t.chain([]native.Call{t.puts, c, t.takes})
}

func (t *cudaTransfer) Explain() error {
	for _, c := range t.copies {
		if err := c.Explain(); err != nil {
			return err
		}
	}
	return nil
}

// Close gives the host's memory back; it may be called twice.
func (t *cudaTransfer) Close() error {
	var errs []error
	for _, c := range t.chains {
		c.Free()
	}
	for _, c := range t.copies {
		c.Free()
	}
	for _, p := range t.pinned {
		errs = append(errs, t.device.FreePinned(p))
	}
	t.chains, t.copies, t.pinned = nil, nil, nil
	return errors.Join(errs...)
}
