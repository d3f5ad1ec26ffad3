package enginetest

import (
	"errors"
	"fmt"
	"slices"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// checkSubmission holds an engine on a GPU to what the axes of a run do with its calls:
// one that is recorded must compute when it is replayed, from the input that is there
// then; one on a held stream must not wait for it; every rotated call must read a
// copy of its own; and where its input and output are said to lie, they lie. An engine that refuses to be recorded or held says so by the
// stream's error.
func checkSubmission(r *rig) error {
	stream, ok := r.stream.(hardware.EventStream)
	if !ok {
		return nil // of a host, which has one way
	}
	precisions, err := r.supported()
	if err != nil {
		return err
	}
	// And in one that rounds its input, which may lie elsewhere than what is computed on.
	tried := precisions[:1]
	if i := slices.IndexFunc(precisions, models.Precision.Calibrated); i > 0 {
		tried = append(tried[:1:1], precisions[i])
	}
	c := Miniatures()[0]
	first := c.Input(2)
	second := models.Tensor{Shape: first.Shape, Data: slices.Clone(first.Data)}
	slices.Reverse(second.Data)
	var errs []error
	for _, p := range tried {
		o, err := r.options(c, p, 2)
		if err != nil {
			return err
		}
		s, err := r.build(c.Network, o)
		if err != nil {
			return err
		}
		if err := errors.Join(submissions(stream, s, first, second), s.Close()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

func submissions(stream hardware.EventStream, s engines.Session, first, second models.Tensor) error {
	ofFirst, err := infer(stream, s, first)
	if err != nil {
		return err
	}
	ofSecond, err := infer(stream, s, second)
	if err != nil {
		return err
	}
	if slices.Equal(ofFirst.Data, ofSecond.Data) {
		return errors.New("two inputs give one output, which would hide what is to be seen here")
	}
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	note("held", held(stream, s, first, ofFirst))
	note("graph", replayed(stream, s, s.Call(), first, ofSecond, ofFirst))
	note("copied", copied(stream, s, first, second, ofFirst))
	note("rotated", rotated(stream, s, first, second, ofFirst, ofSecond))
	return errors.Join(errs...)
}

// held runs an inference on a stream that stands still until all of it is submitted.
func held(stream hardware.EventStream, s engines.Session, input, want models.Tensor) error {
	if err := stream.Hold(true); err != nil {
		return err
	}
	got, err := infer(stream, s, input)
	var waits *hardware.HeldError
	if errors.As(err, &waits) {
		return stream.Hold(false)
	}
	return errors.Join(err, same(got, want), stream.Hold(false))
}

// replayed records a call while the output still is before, and wants a replay, and
// nothing else, to change it.
func replayed(stream hardware.EventStream, s engines.Session, call native.Call, input, before, want models.Tensor) error {
	if err := s.SetInput(input); err != nil {
		return err
	}
	if _, err := runCall(stream, s, call); err != nil { // what happens once has happened
		return err
	}
	graph, err := stream.Capture(call)
	var refused *hardware.CaptureError
	if errors.As(err, &refused) {
		return nil
	}
	if err != nil {
		return err
	}
	other := models.Tensor{Shape: input.Shape, Data: slices.Clone(input.Data)}
	slices.Reverse(other.Data)
	got, err := infer(stream, s, other)
	if err == nil {
		err = same(got, before)
	}
	if err == nil {
		err = s.SetInput(input)
	}
	if err == nil {
		if got, err = runCall(stream, s, graph.Call()); err == nil {
			err = same(got, want)
		}
	}
	return errors.Join(err, graph.Close())
}

// copied wants what is copied to where the input is said to lie to be the next
// inference's, and what is copied to where the output is said to lie to be read as such.
func copied(stream hardware.EventStream, s engines.Session, first, second, ofFirst models.Tensor) error {
	r, ok := s.(engines.Resident)
	if !ok {
		return nil
	}
	inputs, outputs := r.Resident()
	if _, err := infer(stream, s, first); err != nil {
		return err
	}
	in, err := stream.Transfer(inputs, outputs)
	if err != nil {
		return err
	}
	out, err := stream.Transfer(outputs, inputs) // which puts the output back
	if err != nil {
		return errors.Join(err, in.Close())
	}
	try := func(what string, call native.Call) error {
		if _, err := infer(stream, s, second); err != nil {
			return err
		}
		got, err := runCall(stream, s, call)
		if err == nil {
			err = same(got, ofFirst)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	err = errors.Join(try("input", in.Around(s.Call())), try("output", out.In()))
	return errors.Join(err, in.Close(), out.Close())
}

// rotated wants every call to read its own copy: once the session's input is another,
// they still give the first output, and the session's own call the second.
func rotated(stream hardware.EventStream, s engines.Session, first, second, ofFirst, ofSecond models.Tensor) error {
	r, ok := s.(engines.Rotator)
	if !ok {
		return nil
	}
	if err := s.SetInput(first); err != nil {
		return err
	}
	calls, err := r.Rotate(3)
	if err != nil {
		return err
	}
	if len(calls) < 2 {
		return fmt.Errorf("%d calls, want at least 2", len(calls))
	}
	if got, err := infer(stream, s, second); err != nil || same(got, ofSecond) != nil {
		return fmt.Errorf("the session's own call after them: %w", errors.Join(err, same(got, ofSecond)))
	}
	for i, call := range calls {
		got, err := runCall(stream, s, call)
		if err == nil {
			err = same(got, ofFirst)
		}
		if err != nil {
			return fmt.Errorf("call %d of %d: %w", i+1, len(calls), err)
		}
		if got, err = runCall(stream, s, s.Call()); err != nil || same(got, ofSecond) != nil {
			return fmt.Errorf("the session's own call after call %d: %w", i+1, errors.Join(err, same(got, ofSecond)))
		}
	}
	return nil
}

// runCall makes one inference by a call and reads its output.
func runCall(stream hardware.EventStream, s engines.Session, call native.Call) (models.Tensor, error) {
	if err := stream.Time(call, make([]hardware.Sample, 1)); err != nil {
		var failed *native.CallError
		if errors.As(err, &failed) {
			err = s.Explain(failed)
		}
		return models.Tensor{}, err
	}
	return s.Output()
}

// same wants one output to be the other to the last bit: one engine computed both.
func same(got, want models.Tensor) error {
	if !slices.Equal(got.Data, want.Data) {
		return errors.New("the output is another than that of the session's call on this input")
	}
	return nil
}
