package enginetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// A check holds an engine to one part of the contract. It gives an error instead
// of failing a test, so that the suite's own test can see it fail.
type check struct {
	name string
	run  func(*rig) error
}

func checks() []check {
	return []check{
		{"info", checkInfo},
		{"foreign device", checkForeignDevice},
		{"operators", func(r *rig) error { return checkOutputs(r, Operators()) }},
		{"blocks", func(r *rig) error { return checkOutputs(r, Blocks()) }},
		{"miniatures", func(r *rig) error { return checkOutputs(r, Miniatures()) }},
		{"refusals", checkRefusals},
		{"repeatable", checkRepeatable},
		{"two sessions", checkTwoSessions},
		{"output is a copy", checkOutputIsCopy},
		{"input shape", checkInputShape},
		{"errors name the node", checkErrorsNameTheNode},
		{"cancelled build", checkCancelledBuild},
		{"executed", checkExecuted},
		{"layers", checkLayers},
		{"closed session", checkClosedSession},
		{"no deferred work", checkNoDeferredWork},
		{"submitted in every way", checkSubmission},
		{"reopened", checkReopened},
	}
}

// supported lists the precisions that the engine says it can build.
func (r *rig) supported() ([]models.Precision, error) {
	var found []models.Precision
	for _, p := range models.Precisions() {
		if r.engine.Supports(options(p.Name, 1)) == nil {
			found = append(found, p.Name)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("the engine supports no precision")
	}
	return found, nil
}

func checkInfo(r *rig) error {
	info := r.engine.Info()
	if info.Name != r.driver.Name || info.Version == "" || r.driver.Doc == "" {
		return fmt.Errorf("driver %q with doc %q gives an engine named %q, version %q", r.driver.Name, r.driver.Doc, info.Name, info.Version)
	}
	if info.Library == "" {
		return nil // built in
	}
	f, err := os.Open(info.Library)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != info.SHA256 {
		return fmt.Errorf("%s has sha256 %s, the engine says %s", info.Library, sum, info.SHA256)
	}
	return nil
}

// foreign is a device of a kind that no engine knows.
type foreign struct{ hardware.Device }

func (f foreign) Info() hardware.Info {
	info := f.Device.Info()
	info.Kind = "abacus"
	return info
}

func checkForeignDevice(r *rig) error {
	e, err := r.driver.Open(context.Background(), foreign{r.device})
	if err == nil {
		return errors.Join(errors.New("it opens on a device of another kind"), e.Close())
	}
	if !strings.Contains(err.Error(), "abacus") {
		return fmt.Errorf("the error does not name the device's kind: %w", err)
	}
	return nil
}

// checkOutputs compares with the reference at every precision and two batches.
func checkOutputs(r *rig, cases []Case) error {
	precisions, err := r.supported()
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range cases {
		for _, batch := range []int{1, 3} {
			want, err := r.expect(c.Network, c.Input(batch))
			if err != nil {
				return err
			}
			for _, p := range precisions {
				allowed, err := limit(p)
				if err != nil {
					return err
				}
				var got models.Tensor
				o, err := r.options(c, p, batch)
				if err == nil {
					got, err = r.once(c.Network, o, c.Input(batch))
				}
				if err == nil {
					err = compare(got, want, allowed)
				}
				if err != nil {
					errs = append(errs, fmt.Errorf("%s, %s, batch %d: %w", c.Name, p, batch, err))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// checkRefusals wants a reason for what is not supported, and Build to give the
// same.
func checkRefusals(r *rig) error {
	n := Miniatures()[0].Network
	refused := []engines.BuildOptions{
		{Precision: "fp7", Batch: 1, Threads: 1},
		{Precision: "", Batch: 1, Threads: 1},
		{Precision: models.FP32, Batch: 0, Threads: 1},
	}
	for _, o := range refused {
		if r.engine.Supports(o) == nil {
			return fmt.Errorf("it supports %+v", o)
		}
	}
	for _, p := range models.Precisions() {
		if o := options(p.Name, 1); r.engine.Supports(o) != nil {
			refused = append(refused, o)
		}
	}
	for _, o := range refused {
		reason := r.engine.Supports(o).Error()
		if reason == "" {
			return fmt.Errorf("it refuses %+v without a reason", o)
		}
		s, err := r.build(n, o)
		if err == nil {
			return errors.Join(fmt.Errorf("it refuses %+v and builds it", o), s.Close())
		}
		if !strings.Contains(err.Error(), reason) {
			return fmt.Errorf("build gives %q, the refusal was %q", err, reason)
		}
	}
	return nil
}

// checkRepeatable wants the same bits from the same session and input.
func checkRepeatable(r *rig) error {
	precisions, err := r.supported()
	if err != nil {
		return err
	}
	for _, c := range Miniatures() {
		for _, p := range precisions {
			o, err := r.options(c, p, 3)
			if err != nil {
				return err
			}
			s, err := r.build(c.Network, o)
			if err != nil {
				return err
			}
			err = repeat(r.stream, s, c.Input(3))
			if err := errors.Join(err, s.Close()); err != nil {
				return fmt.Errorf("%s, %s: %w", c.Name, p, err)
			}
		}
	}
	return nil
}

func repeat(stream hardware.Stream, s engines.Session, input models.Tensor) error {
	first, err := infer(stream, s, input)
	if err != nil {
		return err
	}
	for range 5 {
		again, err := infer(stream, s, input)
		if err != nil {
			return err
		}
		if err := identical(first, again); err != nil {
			return err
		}
	}
	// The input must outlive an inference: rounds set it once.
	if err := launch(stream, s, make([]hardware.Sample, 3)); err != nil {
		return err
	}
	last, err := s.Output()
	if err != nil {
		return err
	}
	return identical(first, last)
}

// checkTwoSessions interleaves sessions of different networks and of one network.
func checkTwoSessions(r *rig) error {
	cases := Miniatures()
	cases = append(cases, cases[0])
	var want []models.Tensor
	var sessions []engines.Session
	defer func() {
		for _, s := range sessions {
			s.Close() // a session that cannot close is found by another check
		}
	}()
	inputs := make([]models.Tensor, len(cases))
	for i, c := range cases {
		inputs[i] = c.Input(1)
		for k := range inputs[i].Data {
			inputs[i].Data[k] *= float32(i + 1) // tells the two sessions of one network apart
		}
		out, err := r.expect(c.Network, inputs[i])
		if err != nil {
			return err
		}
		want = append(want, out)
		s, err := r.build(c.Network, options(models.FP32, 1))
		if err != nil {
			return err
		}
		sessions = append(sessions, s)
	}
	for i, s := range sessions {
		if err := s.SetInput(inputs[i]); err != nil {
			return err
		}
	}
	for range 2 {
		for _, s := range sessions {
			if err := launch(r.stream, s, make([]hardware.Sample, 1)); err != nil {
				return err
			}
		}
		for i, s := range sessions {
			got, err := s.Output()
			if err != nil {
				return err
			}
			if err := compare(got, want[i], fp32Limit); err != nil {
				return fmt.Errorf("session %d beside others: %w", i, err)
			}
		}
	}
	// One that closes must leave the others running.
	if err := sessions[0].Close(); err != nil {
		return err
	}
	got, err := infer(r.stream, sessions[2], inputs[2])
	if err != nil {
		return err
	}
	return compare(got, want[2], fp32Limit)
}

// checkOutputIsCopy wants an output to stay what it is.
func checkOutputIsCopy(r *rig) error {
	c := Miniatures()[0]
	s, err := r.build(c.Network, options(models.FP32, 1))
	if err != nil {
		return err
	}
	defer s.Close()
	first, err := infer(r.stream, s, c.Input(1))
	if err != nil {
		return err
	}
	kept := models.Tensor{Shape: first.Shape, Data: slices.Clone(first.Data)}
	other := c.Input(1)
	for i := range other.Data {
		other.Data[i] *= -2
	}
	second, err := infer(r.stream, s, other)
	if err != nil {
		return err
	}
	if err := identical(kept, first); err != nil {
		return fmt.Errorf("an inference changed the output of an earlier one: %w", err)
	}
	if identical(first, second) == nil {
		return errors.New("two inputs give one output")
	}
	return nil
}

func checkInputShape(r *rig) error {
	c := Miniatures()[0]
	s, err := r.build(c.Network, options(models.FP32, 3))
	if err != nil {
		return err
	}
	defer s.Close()
	want := c.Network.InputShape(3)
	for _, shape := range []models.Shape{{1, 3, 32, 32}, {3, 32, 32, 3}, {3, 3, 32}, {9, 1, 32, 32}} {
		err := s.SetInput(models.SyntheticInput(shape))
		if err == nil {
			return fmt.Errorf("it takes an input of shape %v, its own is %v", shape, want)
		}
		if text := err.Error(); !strings.Contains(text, shape.String()) || !strings.Contains(text, want.String()) {
			return fmt.Errorf("the error must name %v and %v: %w", shape, want, err)
		}
	}
	short := c.Input(3)
	short.Data = short.Data[:len(short.Data)-1]
	if s.SetInput(short) == nil {
		return errors.New("it takes an input with fewer elements than its shape")
	}
	return nil
}

// withhold is a weight source that lacks one tensor.
type withhold struct {
	models.WeightSource
	key string
}

var errWithheld = errors.New("the tensor is withheld")

func (w withhold) Load(p models.Param, dst []float32) error {
	if p.Key == w.key {
		return fmt.Errorf("load %s: %w", p.Key, errWithheld)
	}
	return w.WeightSource.Load(p, dst)
}

func checkErrorsNameTheNode(r *rig) error {
	const node = "stage2.a.conv"
	lacking := *Miniatures()[0].Network
	lacking.Weights = withhold{lacking.Weights, node + ".weight"}
	s, err := r.build(&lacking, options(models.FP32, 1))
	if err == nil {
		return errors.Join(errors.New("it builds without a weight"), s.Close())
	}
	if !strings.Contains(err.Error(), node) || !errors.Is(err, errWithheld) {
		return fmt.Errorf("the error must name %s and keep its cause: %w", node, err)
	}

	torn := *Miniatures()[0].Network
	torn.Nodes = slices.Clone(torn.Nodes)
	at := slices.IndexFunc(torn.Nodes, func(n models.Node) bool { return n.Name == node })
	torn.Nodes[at].Op = conv(99, 32, 3, 2, 1)
	s, err = r.build(&torn, options(models.FP32, 1))
	if err == nil {
		return errors.Join(errors.New("it builds a network whose shapes do not fit"), s.Close())
	}
	for _, word := range []string{torn.Name, node, "99"} {
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("the error must name %s: %w", word, err)
		}
	}
	return nil
}

func checkCancelledBuild(r *rig) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s, err := r.engine.Build(ctx, Miniatures()[0].Network, r.stream, options(models.FP32, 1))
	if err == nil {
		return errors.Join(errors.New("it builds under a cancelled context"), s.Close())
	}
	if !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the error must be the context's: %w", err)
	}
	return nil
}

// checkExecuted wants a session to tell, after an inference, what ran: the precision
// it was built for where the engine says it computes in it, another where it says it
// emulates.
func checkExecuted(r *rig) error {
	precisions, err := r.supported()
	if err != nil {
		return err
	}
	c := Miniatures()[0]
	for _, p := range precisions {
		o, err := r.options(c, p, 1)
		if err != nil {
			return err
		}
		native := o
		native.AllowEmulated = false
		emulated := r.engine.Supports(native) != nil
		s, err := r.build(c.Network, o)
		if err != nil {
			return err
		}
		_, err = infer(r.stream, s, c.Input(1))
		ran := s.Executed()
		if err := errors.Join(err, s.Close()); err != nil {
			return err
		}
		switch {
		case ran.Precisions == nil: // the engine cannot tell
		case !emulated && ran.Precisions[string(p)] == 0:
			return fmt.Errorf("built for %s, executed %v", p, ran.Precisions)
		case emulated && ran.Precisions[string(p)] > 0:
			return fmt.Errorf("it says that it emulates %s, and executed %v", p, ran.Precisions)
		}
		if len(ran.Fallback) > 0 {
			return fmt.Errorf("nodes left the device: %q", ran.Fallback)
		}
		if ran.DeviceBytes < 0 {
			return fmt.Errorf("it holds %d bytes", ran.DeviceBytes)
		}
	}
	return nil
}

func checkClosedSession(r *rig) error {
	c := Miniatures()[0]
	s, err := r.build(c.Network, options(models.FP32, 1))
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("closed a second time: %w", err)
	}
	if s.SetInput(c.Input(1)) == nil {
		return errors.New("a closed session takes an input")
	}
	if _, err := s.Output(); err == nil {
		return errors.New("a closed session gives an output")
	}
	return nil
}

// checkNoDeferredWork finds an engine whose call returns before its work is done
// or ordered on the stream: either the output lags behind the input, or reading it
// takes the time that the calls did not.
func checkNoDeferredWork(r *rig) error {
	s := draw("load", 32, 56)
	x := s.normed("a", conv(32, 64, 3, 1, 1), models.Image)
	s.head(64, 10, s.normed("b", conv(64, 64, 3, 1, 1), x))
	session, err := r.build(s.network, options(models.FP32, 1))
	if err != nil {
		return err
	}
	defer session.Close()
	var inputs, want [2]models.Tensor
	for i := range inputs {
		inputs[i] = models.SyntheticInput(s.network.InputShape(1))
		for k := range inputs[i].Data {
			inputs[i].Data[k] *= float32(1 + 2*i)
		}
		if want[i], err = r.expect(s.network, inputs[i]); err != nil {
			return err
		}
	}
	for i := range 6 {
		got, err := infer(r.stream, session, inputs[i%2])
		if err != nil {
			return err
		}
		if err := compare(got, want[i%2], fp32Limit); err != nil {
			return fmt.Errorf("the output right after inference %d: %w", i, err)
		}
	}

	read := func() (time.Duration, error) {
		start := time.Now()
		_, err := session.Output()
		return time.Since(start), err
	}
	// One inference at a time: in a block, an engine that lags by one is found only
	// in the last. A busy machine may stall a read, but not most of them.
	const tries = 5
	hidden := 0
	sample := make([]hardware.Sample, 1)
	var worst string
	for range tries {
		if err := launch(r.stream, session, sample); err != nil {
			return err
		}
		first, err := read()
		if err != nil {
			return err
		}
		second, err := read()
		if err != nil {
			return err
		}
		timed := time.Duration(sample[0].Host)
		if first-second > timed {
			hidden++
			worst = fmt.Sprintf("an inference took %v in its call and %v in reading the output", timed, first-second)
		}
	}
	if hidden > tries/2 {
		return errors.New(worst)
	}
	return nil
}

// checkReopened wants a second engine to work beside and after the first.
func checkReopened(r *rig) error {
	second, err := r.driver.Open(context.Background(), r.device)
	if err != nil {
		return err
	}
	beside := *r
	beside.engine = second
	c := Miniatures()[0]
	want, err := r.expect(c.Network, c.Input(1))
	if err != nil {
		return err
	}
	got, err := beside.once(c.Network, options(models.FP32, 1), c.Input(1))
	if err := errors.Join(err, second.Close()); err != nil {
		return err
	}
	if err := compare(got, want, fp32Limit); err != nil {
		return fmt.Errorf("a second engine: %w", err)
	}
	if got, err = r.once(c.Network, options(models.FP32, 1), c.Input(1)); err != nil {
		return fmt.Errorf("after the second engine closed: %w", err)
	}
	return compare(got, want, fp32Limit)
}
