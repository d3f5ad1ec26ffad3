// Package reference is an engine in plain Go that the others are checked against.
// It follows the definition of each operator, needs no library, and computes the
// same bits at any number of threads. It is correct, not fast: its latencies say
// nothing about the machine.
package reference

import (
	"context"
	"fmt"
	"runtime"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// Driver is the entry for engines/all.
func Driver() engines.Driver {
	return engines.Driver{
		Name:      "reference",
		Doc:       "plain Go, fp32: the yardstick of the other engines' outputs, not of their speed",
		Device:    hardware.Host,
		Reference: true,
		Open:      open,
	}
}

func open(ctx context.Context, device hardware.Device) (engines.Engine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if kind := device.Info().Kind; kind != hardware.Host {
		return nil, fmt.Errorf("open reference: it runs on the host, not on a %s device", kind)
	}
	return engine{}, nil
}

// engine has no state: everything belongs to a session.
type engine struct{}

var _ engines.Observer = engine{}

func (engine) Info() engines.Info {
	return engines.Info{Name: "reference", Version: runtime.Version()}
}

func (engine) Supports(o engines.BuildOptions) error {
	switch {
	case o.Precision != models.FP32:
		return fmt.Errorf("reference computes in fp32 only, not in %s", o.Precision)
	case o.Batch < 1:
		return fmt.Errorf("batch %d, want at least 1", o.Batch)
	case o.Threads < 1:
		return fmt.Errorf("%d threads, want at least 1", o.Threads)
	}
	return nil
}

func (e engine) Build(ctx context.Context, n *models.Network, _ hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	if err := e.Supports(o); err != nil {
		return nil, fmt.Errorf("build %s on reference: %w", n.Name, err)
	}
	s, err := newSession(ctx, n, o)
	if err != nil {
		return nil, fmt.Errorf("build %s on reference: %w", n.Name, err)
	}
	return s, nil
}

// Observe implements engines.Observer, on all of this process's processors.
func (engine) Observe(ctx context.Context, n *models.Network, input models.Tensor, see func(node string, values []float32) error) error {
	fail := func(err error) error { return fmt.Errorf("observe %s on reference: %w", n.Name, err) }
	if len(input.Shape) == 0 || input.Shape[0] < 1 {
		return fail(fmt.Errorf("the input has shape %v, which has no batch", input.Shape))
	}
	s, err := newSession(ctx, n, engines.BuildOptions{Precision: models.FP32, Batch: input.Shape[0], Threads: runtime.GOMAXPROCS(0)})
	if err != nil {
		return fail(err)
	}
	defer s.Close()
	if err := s.SetInput(input); err != nil {
		return fail(err)
	}
	if err := s.observe(ctx, see); err != nil {
		return fail(err)
	}
	return nil
}

func (engine) Close() error { return nil }
