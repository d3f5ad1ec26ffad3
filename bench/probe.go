package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"genbench/engines"
	"genbench/hardware"
)

// A ProbeSpec tells a worker to find out whether the device holds its clock.
type ProbeSpec struct {
	Point   Point         `json:"cell"`
	For     time.Duration `json:"for_ns"`
	LockMHz int           `json:"lock_mhz"` // 0 for the base clock
}

// A ClockProbe is what came of running a point under a lock.
type ClockProbe struct {
	Type    string  `json:"type,omitempty"`                // "probe", on a worker's pipe
	LockMHz int     `json:"clock_requested_mhz,omitempty"` // 0 for the base clock
	Seconds float64 `json:"seconds"`
	// ClockMHz is the mean clock by the device's own cycle counters.
	ClockMHz    *float64 `json:"sm_clock_eff_mhz"`
	ClockReason string   `json:"sm_clock_eff_mhz_reason,omitempty"`
	// Reasons joins the clock event bits of the looks under load and of the reading after
	// it, Readings counts those that were answered; without one the probe shows nothing.
	Reasons  hardware.EventReasons `json:"event_reasons"`
	Readings int                   `json:"event_readings"`
	Missing  string                `json:"missing,omitempty"` // why the point could not be run
}

// clockLimits are the bits of what may hold a clock down: power and heat.
const clockLimits = hardReasons | hardware.SWPowerCap | hardware.HWSlowdown

// Limit says why the clock is too high for the board; empty where it is not.
func (p ClockProbe) Limit() string {
	if limits := p.Reasons & clockLimits; limits != 0 {
		return "it met " + strings.Join(limits.Names(), ", ")
	}
	if p.LockMHz > 0 && p.ClockMHz != nil {
		if check := hardware.CheckClock(p.LockMHz, *p.ClockMHz); !check.Locked {
			return fmt.Sprintf("it ran at %.1f MHz", check.EffectiveMHz)
		}
	}
	return ""
}

// meterClock begins to measure the device's clock. lap gives its mean since the last
// lap, or at first since the beginning, or why that is not known.
func (w *worker) meterClock() (lap func() (mhz *float64, missing string)) {
	not := func(why string) func() (*float64, string) {
		return func() (*float64, string) { return nil, why }
	}
	meter, ok := w.stream.(hardware.EventStream)
	if !ok {
		return not("the device has no counter of its cycles")
	}
	end, err := meter.MeterClock()
	if err != nil {
		return not(err.Error())
	}
	return func() (*float64, string) {
		mhz, err := end()
		if err != nil {
			return nil, err.Error()
		}
		return &mhz, ""
	}
}

// A ClockLock is the lock under which a worker measures.
type ClockLock struct {
	MHz int `json:"mhz"`
	// MayLower is false where another process holds the lock.
	MayLower bool `json:"may_lower"`
}

// clocked takes one round of a session and adds the clock that it ran at.
func (w *worker) clocked(session engines.Session, p Point, inference time.Duration, r *RoundRecord) (verdict, time.Duration, error) {
	stop := w.meterClock()
	v, took, err := w.round(session, p, inference, r)
	if err != nil {
		return v, took, err
	}
	r.ClockMHz, r.ClockReason = stop()
	if w.spec.Lock != nil {
		r.LockMHz = w.spec.Lock.MHz
	}
	v.power(w.spec.Lock, r.ClockMHz)
	r.Status, r.DropReason, r.Disturbances = v.status(), v.reason, v.seen
	return v, took, nil
}

// A lockLostError ends a launch: the power cap holds the device below its lock.
type lockLostError struct{ reason string }

func (e *lockLostError) Error() string { return e.reason }

// probeBlock is about how long the device works between two messages of a probe.
const probeBlock = 100 * time.Millisecond

// probe runs a point and tells whether the device held its clock. Nothing in it is
// timed for a result.
func (w *worker) probe(ctx context.Context) error {
	answer := ClockProbe{Type: "probe", LockMHz: w.spec.Probe.LockMHz}
	if err := w.underLoad(ctx, &answer); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		answer.Missing = err.Error()
	}
	if err := w.say(answer); err != nil {
		return err
	}
	return w.say(doneMessage{Type: "done", MeasuringSeconds: w.busy.Seconds()})
}

func (w *worker) underLoad(ctx context.Context, answer *ClockProbe) error {
	p := w.spec.Probe.Point
	session, err := w.build(ctx, p)
	if err != nil {
		return err
	}
	defer w.finish(p, session)
	one := make([]hardware.Sample, 1)
	if err := w.begin(p, "first inference", 0); err != nil {
		return err
	}
	if err := w.time(session, one); err != nil {
		return err
	}
	each := time.Duration(max(one[0].Host, 1))
	block := make([]hardware.Sample, min(max(1, int(probeBlock/each)), w.spec.Config.Protocol.RoundMost))
	work := func(length time.Duration) (time.Duration, error) {
		start := w.now()
		for {
			if err := w.begin(p, "clock probe", time.Duration(len(block))*each); err != nil {
				return 0, err
			}
			if err := w.time(session, block); err != nil {
				return 0, err
			}
			if took := time.Duration(w.now() - start); took >= length || ctx.Err() != nil {
				return took, ctx.Err()
			}
		}
	}
	// A second for the clock to come up from rest, which is no evidence.
	if _, err := work(min(time.Second, w.spec.Probe.For)); err != nil {
		return err
	}
	// Between blocks the device is idle and meets no limit, so it is watched while they
	// run.
	stop := w.meterClock()
	var took time.Duration
	seen, _, err := w.counters.watching(w.spec.Config.Protocol.EventEvery, func(func() hardware.EventReasons) (err error) {
		took, err = work(w.spec.Probe.For)
		return err
	})
	if err != nil {
		return err
	}
	answer.Seconds = took.Seconds()
	answer.ClockMHz, answer.ClockReason = stop()
	if seen != nil {
		answer.Readings, answer.Reasons = seen.Looks, seen.Joined
	}
	reading, _, err := w.sample()
	if err != nil {
		return err
	}
	if reading.GPU != nil && reading.GPU.EventReasons != nil {
		answer.Reasons |= *reading.GPU.EventReasons
		// One reading after the load proves nothing by itself (event_every 0).
		if w.spec.Config.Protocol.EventEvery > 0 {
			answer.Readings++
		}
	}
	return nil
}
