package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"genbench/hardware"
)

// An EnergyRecord is the energy pass of a point (J): windows of inferences back to
// back, each after a window at rest.
type EnergyRecord struct {
	Type   string `json:"type"` // "energy"
	ID     string `json:"point"`
	Launch int    `json:"launch"` // that of the pass
	// Missing says why there are no windows; empty where there are.
	Missing string         `json:"energy_reason,omitempty"`
	Windows []EnergySample `json:"windows"`
}

// An EnergySample is one window under load beside the rest before it.
type EnergySample struct {
	Idle hardware.EnergyWindow `json:"idle"`
	Busy hardware.EnergyWindow `json:"busy"`
	// Rate is inferences a second while the window lasted and until the load ended.
	Rate float64 `json:"inferences_per_s"`
}

// gross and net are joules an inference, net of what the device takes at rest.
func (s EnergySample) gross() float64 { return s.Busy.MeanW() / s.Rate }
func (s EnergySample) net() float64   { return (s.Busy.MeanW() - s.Idle.MeanW()) / s.Rate }

// Energy is what one inference of a point takes, in joules, over the windows of its
// pass.
type Energy struct {
	Gross Estimate `json:"gross_j"`
	Net   Estimate `json:"net_j"`
	IdleW float64  `json:"idle_w"`
	BusyW float64  `json:"busy_w"`
	// Suspect counts windows whose counter and integrated power differ by more than
	// 5 % (J3).
	Suspect int `json:"suspect_windows"`
}

// estimateEnergy builds a t interval over windows. Windows follow each other within
// one process, so the interval does not say what another launch would take.
func estimateEnergy(windows []EnergySample) *Energy {
	if len(windows) == 0 {
		return nil
	}
	e := &Energy{}
	var gross, net []float64
	for _, w := range windows {
		gross, net = append(gross, w.gross()), append(net, w.net())
		e.IdleW += w.Idle.MeanW() / float64(len(windows))
		e.BusyW += w.Busy.MeanW() / float64(len(windows))
		if w.Busy.Suspect {
			e.Suspect++
		}
	}
	e.Gross, e.Net = overWindows(gross), overWindows(net)
	return e
}

func overWindows(values []float64) Estimate {
	mean, sd := stat.MeanStdDev(values, nil)
	e := Estimate{Value: mean, Level: level, Launches: 1}
	if n := float64(len(values)); n >= 2 {
		half := distuv.StudentsT{Sigma: 1, Nu: n - 1}.Quantile(1-(1-level)/2) * sd / math.Sqrt(n)
		low, high := mean-half, mean+half
		e.Low, e.High = &low, &high
	}
	return e
}

// An energyMeter is hardware.EnergyMeter, or a simulated one.
type energyMeter interface {
	Measure(ctx context.Context, atLeast time.Duration) (hardware.EnergyWindow, error)
}

// openMeter gives the energy counter of a device.
func openMeter(d hardware.Device, nvml string) (energyMeter, error) {
	if d.Info().Kind == hardware.Host {
		return hardware.NewHostEnergyMeter("")
	}
	library, err := hardware.OpenNVML(nvml)
	var absent *hardware.NVMLUnavailableError
	if errors.As(err, &absent) {
		return nil, &hardware.EnergyUnavailableError{Device: d.Info().ID, Why: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	// The library stays open as long as this process, the worker of the energy pass.
	return hardware.NewGPUEnergyMeter(library, d.Info().ID)
}

// energy is the pass after the last launch: every point is run continuously while
// its device's counter is read, apart from all timing (J1). Points that differ only in
// how inferences are submitted or what they find in the cache are each measured: a GPU
// that waits for its host draws power meanwhile, and so does every access to memory.
func (w *worker) energy(ctx context.Context) error {
	// A counter that hangs or crashes takes the first point's energy with it.
	if err := w.begin(w.spec.Visits[0].Point, "energy counter", 0); err != nil {
		return err
	}
	meter, err := w.meter(w.device)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	missing := ""
	var unavailable *hardware.EnergyUnavailableError
	if errors.As(err, &unavailable) {
		missing = unavailable.Why
	} else if err != nil {
		missing = err.Error()
	}
	for _, v := range w.spec.Visits {
		record := EnergyRecord{Type: "energy", ID: v.Point.String(), Launch: w.spec.Launch, Missing: missing}
		var failed error
		if missing == "" {
			record.Windows, failed = w.windows(ctx, meter, v.Point)
		}
		if failed != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// Latency was measured and stands; only its energy is not known.
			record.Missing, record.Windows = failed.Error(), nil
		}
		if err := w.say(record); err != nil {
			return err
		}
		if failed != nil {
			if err := w.lostContext(ctx, failed); err != nil {
				return err
			}
		}
	}
	return w.say(doneMessage{Type: "done", MeasuringSeconds: w.busy.Seconds()})
}

// unmetered notes that a worker died on a point's energy.
func (r *Runner) unmetered(d *death, launch int) error {
	return (&listener{runner: r}).metered(EnergyRecord{Type: "energy", ID: d.at, Launch: launch, Missing: d.reason})
}

// windows takes a point's windows at rest and under load.
func (w *worker) windows(ctx context.Context, meter energyMeter, p Point) ([]EnergySample, error) {
	if p.Cache == Cold || p.Graph == Blocked || p.Gap > 0 {
		return nil, fmt.Errorf("energy is measured over inferences back to back, which those of %s are not: what comes before each takes energy too", p)
	}
	session, err := w.build(ctx, p)
	if err != nil {
		return nil, err
	}
	defer w.finish(p, session)
	first := make([]hardware.Sample, 1)
	if err := w.time(session, first); err != nil {
		return nil, err
	}
	if err := w.arrange(ctx, session, p); err != nil {
		return nil, err
	}
	warm, err := w.warmUp(session, p, time.Duration(first[0].Host))
	if err != nil {
		return nil, err
	}
	// One by one, short inferences leave the board idle while the host submits.
	inference, err := w.amortise(session, p, warm.median)
	if err != nil {
		return nil, err
	}
	proto := w.spec.Config.Protocol
	block := samples(max(1, int(proto.WindowTime/max(lasts(session, p, inference), 1))))
	var all []EnergySample
	for range proto.EnergyWindows {
		var s EnergySample
		// A slow counter stretches a window to a hundred of its updates.
		if err := w.begin(p, "energy at rest", 4*proto.EnergyWindow); err != nil {
			return nil, err
		}
		if s.Idle, err = meter.Measure(ctx, proto.EnergyWindow); err != nil {
			return nil, fmt.Errorf("measure energy at rest: %w", err)
		}
		if err := w.begin(p, "energy", 4*proto.EnergyWindow); err != nil {
			return nil, err
		}
		loading, stop := context.WithCancel(ctx)
		loaded := make(chan error, 1)
		started := w.now()
		inferences := 0
		go func() {
			for loading.Err() == nil {
				if err := w.time(session, block); err != nil {
					loaded <- err
					return
				}
				inferences += len(block) * session.group
			}
			loaded <- nil
		}()
		window, err := meter.Measure(ctx, proto.EnergyWindow)
		stop()
		if err := errors.Join(err, <-loaded); err != nil {
			return nil, fmt.Errorf("measure energy: %w", err)
		}
		s.Busy = window
		s.Rate = float64(inferences) / time.Duration(w.now()-started).Seconds()
		all = append(all, s)
	}
	return all, nil
}
