// Package enginetest holds engines to the contract of package engines. An engine's
// test is one call of Run; what an engine cannot do, its Supports says, and the
// suite knows no other excuse.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// RequireEnv names the environment variable that lists the engines, separated by
// commas, whose absence is a failure: GENBENCH_REQUIRE=onnxruntime.
const RequireEnv = "GENBENCH_REQUIRE"

// Run tests an engine on a device of its kind. Where its library is not installed
// the test is skipped with the engine's own reason, unless RequireEnv names it.
func Run(t *testing.T, d engines.Driver) {
	device, err := openDevice(d.Device)
	if err != nil {
		skip(t, d, err)
	}
	closeAtEnd(t, device)
	engine, err := d.Open(context.Background(), device)
	if err != nil {
		if problem := judgeUnavailable(d, err); problem != nil {
			t.Fatal(problem)
		}
		skip(t, d, err)
	}
	r := newRig(t, d, device, engine)
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(r); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("golden", func(t *testing.T) { runGolden(t, r) })
}

func skip(t *testing.T, d engines.Driver, reason error) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(RequireEnv), ","), d.Name) {
		t.Fatalf("%s names %s: %v", RequireEnv, d.Name, reason)
	}
	t.Skip(reason)
}

func openDevice(kind hardware.DeviceKind) (hardware.Device, error) {
	if kind == hardware.CUDA {
		return hardware.Open("0")
	}
	return hardware.NewHost()
}

// judgeUnavailable holds the error of an engine that did not open to its contract.
func judgeUnavailable(d engines.Driver, err error) error {
	var missing *engines.UnavailableError
	switch {
	case !errors.As(err, &missing):
		return fmt.Errorf("open %s: want an engine or an *UnavailableError, got %T: %w", d.Name, err, err)
	case missing.Engine != d.Name:
		return fmt.Errorf("open %s: the error speaks of engine %q", d.Name, missing.Engine)
	case missing.Missing == "" || len(missing.Looked) == 0 || missing.Hint == "":
		return fmt.Errorf("open %s: the error must tell what is missing, where it was looked for and the cure: %w", d.Name, err)
	}
	return nil
}

// A rig is an engine under test beside the reference.
type rig struct {
	driver    engines.Driver
	device    hardware.Device
	stream    hardware.Stream
	engine    engines.Engine
	host      hardware.Stream
	yardstick engines.Engine
}

// newRig opens what an engine runs on and is held against; all, and the engine, is
// closed when the test ends.
func newRig(t testing.TB, d engines.Driver, device hardware.Device, engine engines.Engine) *rig {
	t.Helper()
	closeAtEnd(t, engine)
	r := &rig{driver: d, device: device, engine: engine}
	var err error
	if r.stream, err = device.NewStream(); err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, r.stream)
	host, err := hardware.NewHost()
	if err != nil {
		t.Fatalf("open the host for the reference: %v", err)
	}
	closeAtEnd(t, host)
	if r.host, err = host.NewStream(); err != nil {
		t.Fatalf("open the host for the reference: %v", err)
	}
	closeAtEnd(t, r.host)
	if r.yardstick, err = reference.Driver().Open(context.Background(), host); err != nil {
		t.Fatalf("open the reference: %v", err)
	}
	closeAtEnd(t, r.yardstick)
	return r
}

func closeAtEnd(t testing.TB, c io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// options are those of a session under test. Two threads show what one hides. What
// an engine only emulates must be right as well.
func options(p models.Precision, batch int) engines.BuildOptions {
	return engines.BuildOptions{Precision: p, Batch: batch, Threads: 2, AllowEmulated: true}
}

// options are those for a case, with the ranges of what int8 or fp8 will meet.
func (r *rig) options(c Case, p models.Precision, batch int) (engines.BuildOptions, error) {
	o := options(p, batch)
	if !p.Calibrated() {
		return o, nil
	}
	calibration, err := models.NewCalibration(c.Network, models.CalibrationOptions{Method: models.MinMax})
	if err != nil {
		return o, err
	}
	if err := r.yardstick.(engines.Observer).Observe(context.Background(), c.Network, c.Input(batch), calibration.See); err != nil {
		return o, err
	}
	o.Ranges, err = calibration.Ranges()
	return o, err
}

func (r *rig) build(n *models.Network, o engines.BuildOptions) (engines.Session, error) {
	return r.engine.Build(context.Background(), n, r.stream, o)
}

// infer sets an input, runs one inference and reads its output at once.
func infer(stream hardware.Stream, s engines.Session, input models.Tensor) (models.Tensor, error) {
	if err := s.SetInput(input); err != nil {
		return models.Tensor{}, err
	}
	if err := launch(stream, s, make([]hardware.Sample, 1)); err != nil {
		return models.Tensor{}, err
	}
	return s.Output()
}

func launch(stream hardware.Stream, s engines.Session, samples []hardware.Sample) error {
	if err := stream.Time(s.Call(), samples); err != nil {
		var failed *native.CallError
		if errors.As(err, &failed) {
			return s.Explain(failed)
		}
		return err
	}
	return stream.Synchronize(context.Background())
}

// expect gives the reference's output.
func (r *rig) expect(n *models.Network, input models.Tensor) (models.Tensor, error) {
	s, err := r.yardstick.Build(context.Background(), n, r.host, options(models.FP32, input.Shape[0]))
	if err != nil {
		return models.Tensor{}, err
	}
	out, err := infer(r.host, s, input)
	return out, errors.Join(err, s.Close())
}

// once builds, runs one inference and closes.
func (r *rig) once(n *models.Network, o engines.BuildOptions, input models.Tensor) (models.Tensor, error) {
	s, err := r.build(n, o)
	if err != nil {
		return models.Tensor{}, err
	}
	out, err := infer(r.stream, s, input)
	return out, errors.Join(err, s.Close())
}
