package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/stat"

	"genbench/hardware"
)

// A SettleRecord is how a launch brought a GPU to a steady clock and temperature before
// it took anything, or why it did not settle the machine at all (W2).
type SettleRecord struct {
	Type    string  `json:"type"` // "settle"
	ID      string  `json:"point"`
	Launch  int     `json:"launch"`
	Start   int64   `json:"t_start_ns"`
	Seconds float64 `json:"seconds"`
	Met     bool    `json:"met"`
	// Reason says what was not reached, or is not known.
	Reason string `json:"reason,omitempty"`
	// End is the last second's state. Slopes are those of the first launch: of the clock
	// as a fraction, of the temperature in degrees, in 10 s; null where there was too
	// little to judge by.
	End              DeviceState `json:"end"`
	ClockSlope       *float64    `json:"clock_slope_10s"`
	TemperatureSlope *float64    `json:"temperature_slope_c_10s"`
	// First says that it waited for slopes, and not for an earlier state; To is that
	// state.
	First bool         `json:"first"`
	To    *DeviceState `json:"to,omitempty"`
}

// A DeviceState is what a launch has to come back to; null where it is not readable.
type DeviceState struct {
	ClockMHz     *float64 `json:"sm_clock_mhz"` // effective, by the device's own counters
	TemperatureC *float64 `json:"temperature_c"`
}

// settleSpan is the least of the past that a slope is taken over, settleWindow the
// most: sensors count whole degrees, and half a degree in 10 s shows in twice that.
// The clock is read every settleStep.
const (
	settleSpan   = 10 * time.Second
	settleWindow = 20 * time.Second
	settleStep   = time.Second
)

// settleStage is the stage of a worker while it settles.
const settleStage = "settle"

// settle runs the heaviest point until the machine is as warm as it will be (W2): for
// a time on a host, until clock and temperature stand still on a GPU.
func (w *worker) settle(ctx context.Context, p Point) error {
	record := SettleRecord{Type: "settle", ID: p.String(), Launch: w.spec.Launch, Start: w.now() - w.spec.Base, First: w.spec.SettledAt == nil, To: w.spec.SettledAt}
	_, device := w.stream.(hardware.EventStream)
	settle := w.settleHost
	if device {
		settle = w.settleDevice
	}
	failed := settle(ctx, p, &record)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// A worker that dies from here on did not die of settling.
	if err := w.begin(p, "settled", 0); err != nil {
		return err
	}
	switch {
	case failed == nil && device:
		return w.say(record)
	case failed == nil:
		return nil // a host only lets the time pass; there is nothing to report
	}
	record.Met, record.Reason = false, failed.Error()
	record.Seconds, record.End = 0, DeviceState{} // a state on the way is nothing to come back to
	return errors.Join(w.say(record), failed)
}

// settleHost runs inferences for as long as it should.
func (w *worker) settleHost(ctx context.Context, p Point, _ *SettleRecord) error {
	session, err := w.build(ctx, p)
	if err != nil {
		return err
	}
	defer w.finish(p, session)
	return w.runFor(ctx, session, p, w.spec.SettleFor, 0)
}

// runFor runs inferences for length, in blocks of about block, or one by one where that
// is 0.
func (w *worker) runFor(ctx context.Context, session *arrangement, p Point, length, block time.Duration) error {
	var inference time.Duration
	n := 1
	end := w.now() + length.Nanoseconds()
	for left := length; left > 0 && ctx.Err() == nil; left = time.Duration(end - w.now()) {
		s := samples(n)
		if err := w.begin(p, settleStage, time.Duration(n)*inference); err != nil {
			return err
		}
		if err := w.time(session, s); err != nil {
			return err
		}
		inference = time.Duration(max(s[0].Host, 1))
		n = min(max(1, int(min(block, left)/inference)), w.spec.Config.Protocol.RoundMost)
	}
	return ctx.Err()
}

// settleDevice runs inferences in steps of a second and looks at clock and temperature
// between them.
func (w *worker) settleDevice(ctx context.Context, p Point, r *SettleRecord) error {
	session, err := w.build(ctx, p)
	if err != nil {
		return err
	}
	defer w.finish(p, session)
	proto := w.spec.Config.Protocol
	limit := proto.SettleCap
	if !r.First {
		limit = proto.SettleAgainCap
	}
	started := w.now()
	var history settling
	for {
		stop := w.meterClock()
		if err := w.runFor(ctx, session, p, min(settleStep, limit), settleStep/10); err != nil {
			return err
		}
		mhz, noClock := stop()
		reading, noTemperature, err := w.sample()
		if err != nil {
			return err
		}
		state := DeviceState{ClockMHz: mhz, TemperatureC: w.temperature(reading)}
		took := time.Duration(w.now() - started)
		history.add(took, state)
		r.Seconds, r.End = took.Seconds(), state
		r.ClockSlope, r.TemperatureSlope = history.slopes()
		blind := mhz == nil && state.TemperatureC == nil
		switch {
		case blind:
			r.Met, r.Reason = false, fmt.Sprintf("neither clock nor temperature of the device can be read (%s)", cmp.Or(noClock, noTemperature, "the sampler reads no temperature"))
		case r.First:
			r.Met, r.Reason = history.still(proto)
		default:
			r.Met, r.Reason = state.back(*w.spec.SettledAt, proto)
		}
		if took >= w.spec.SettleFor && (r.Met || blind || took >= limit) {
			return nil
		}
	}
}

// A settling is what a device did while it was warmed.
type settling struct {
	at     []time.Duration
	states []DeviceState
}

// add takes in the state at a time, and forgets what lies too far back.
func (s *settling) add(at time.Duration, state DeviceState) {
	s.at, s.states = append(s.at, at), append(s.states, state)
	for at-s.at[0] > settleWindow {
		s.at, s.states = s.at[1:], s.states[1:]
	}
}

// slopes of the clock, relative to it, and of the temperature, in 10 s; nil where they
// were not read over settleSpan.
func (s *settling) slopes() (clock, temperature *float64) {
	if v, level, ok := s.slope(func(d DeviceState) *float64 { return d.ClockMHz }); ok && level > 0 {
		v /= level
		clock = &v
	}
	if v, _, ok := s.slope(func(d DeviceState) *float64 { return d.TemperatureC }); ok {
		temperature = &v
	}
	return clock, temperature
}

// slope of a line by least squares, in 10 s, beside the mean of the values. Whole
// degrees of a sensor leave it uncertain by a tenth of one; the median of slopes
// (Theil-Sen) would take two of them for none.
func (s *settling) slope(of func(DeviceState) *float64) (slope, level float64, ok bool) {
	var at, values []float64
	for i, state := range s.states {
		if v := of(state); v != nil {
			at, values = append(at, s.at[i].Seconds()), append(values, *v)
		}
	}
	// The first of the states stands for the second before it.
	if len(at) < 2 || at[len(at)-1]-at[0] < (settleSpan-settleStep).Seconds() {
		return 0, 0, false
	}
	_, perSecond := stat.LinearRegression(at, values, nil, false)
	return 10 * perSecond, stat.Mean(values, nil), true
}

// still tells whether both stand still, as far as they are known.
func (s *settling) still(p Protocol) (met bool, reason string) {
	clock, temperature := s.slopes()
	last := s.states[len(s.states)-1]
	switch {
	case last.ClockMHz != nil && clock == nil || last.TemperatureC != nil && temperature == nil:
		return false, "it was watched for too short a time"
	case clock != nil && math.Abs(*clock) >= p.SettleClock:
		return false, fmt.Sprintf("the clock changed by %+.2f %% in 10 s (limit %g %%)", 100**clock, 100*p.SettleClock)
	case temperature != nil && math.Abs(*temperature) >= p.SettleDegrees:
		return false, fmt.Sprintf("the temperature changed by %+.2f °C in 10 s (limit %g °C)", *temperature, p.SettleDegrees)
	}
	return true, ""
}

// back tells whether a device is where the first launch left it, as far as both are
// known.
func (d DeviceState) back(to DeviceState, p Protocol) (met bool, reason string) {
	if to.ClockMHz == nil && to.TemperatureC == nil {
		return false, "the first launch left no clock or temperature to come back to"
	}
	if d.TemperatureC != nil && to.TemperatureC != nil {
		if off := *d.TemperatureC - *to.TemperatureC; math.Abs(off) > p.SettleAgainDegrees {
			return false, fmt.Sprintf("the temperature is %+.0f °C from the first launch's (limit %g °C)", off, p.SettleAgainDegrees)
		}
	}
	if d.ClockMHz != nil && to.ClockMHz != nil && *to.ClockMHz > 0 {
		if off := *d.ClockMHz / *to.ClockMHz - 1; math.Abs(off) > p.SettleAgainClock {
			return false, fmt.Sprintf("the clock is %+.2f %% from the first launch's (limit %g %%)", 100*off, 100*p.SettleAgainClock)
		}
	}
	return true, ""
}

// settle writes down how a launch began, and keeps where the first one left the device.
func (r *Runner) settle(record SettleRecord) error {
	if err := r.append(record); err != nil {
		return err
	}
	if record.First && record.Seconds > 0 {
		r.settled = &record.End
	}
	r.Events(Event{Kind: Settled, Launch: record.Launch, Text: record.Reason, Done: r.pace.done, Total: r.pace.total, Left: r.pace.left()})
	return nil
}
