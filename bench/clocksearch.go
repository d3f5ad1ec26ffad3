package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"genbench/hardware"
)

// clockState is what a runner knows of the clocks that it set.
type clockState struct {
	set     ClocksRecord // the last one; without Type before the first
	lowered int          // times that the lock was lowered (X, POWER locked)
	lost    string       // why the worker gave its launch up; empty where it did not
	probe   *ClockProbe  // what the last probe answered
}

// lock is what workers are told of it; nil where the clocks float.
func (s *clockState) lock() *ClockLock {
	if s.set.Policy != clocksLocked {
		return nil
	}
	return &ClockLock{MHz: s.set.LockMHz, MayLower: s.set.Holder == 0}
}

// maxProbes bounds the search for a clock: each takes Protocol.ClockProbe.
const maxProbes = 6

// usualProbes is how many a search takes where the first clock meets a limit: it, the
// one that the limit left, and the next above or below.
const usualProbes = 3

// clockSeconds is about how long a run takes to find its clock.
func (c Config) clockSeconds() float64 {
	switch c.Clocks {
	case AutoClocks:
		return usualProbes * c.Protocol.ClockProbe.Seconds()
	case BaseClocks:
		return c.Protocol.ClockProbe.Seconds()
	}
	return 0
}

// maxLowered bounds how often a run lowers its lock before it lets the clocks float:
// each time costs the launch that it happens in.
const maxLowered = 5

// setClocks sets the GPU's clocks as the run was asked to, before anything is timed.
// What cannot be locked floats, with the reason (C5): no clock is worth losing a run
// for.
func (r *Runner) setClocks(ctx context.Context, readings <-chan ReadingRecord) error {
	if r.Clocks == nil || r.heaviest() == (Point{}) {
		return nil
	}
	asked := r.Plan.Config.Clocks
	held, err := r.Clocks.Holder()
	if err != nil {
		return r.float(ctx, fmt.Sprintf("who holds the clocks is not known: %v", err), nil)
	}
	before := r.clocks.set // of the part of the run that was interrupted
	switch {
	case asked == FloatClocks && held != nil:
		return r.float(ctx, fmt.Sprintf("it was asked for, though process %d holds them (%s)", held.PID, held.Request), nil)
	case asked == FloatClocks:
		return r.float(ctx, "it was asked for", nil)
	case held != nil:
		return r.adopt(ctx, *held, readings)
	case before.Policy == clocksFloating:
		return r.float(ctx, "as before the run was interrupted: "+before.Reason, nil)
	case before.Policy == clocksLocked:
		return r.lock(ctx, before.LockMHz, "as before the run was interrupted", nil)
	case asked == BaseClocks:
		return r.lockBase(ctx, readings)
	case asked.MHz() > 0:
		return r.lock(ctx, asked.MHz(), "it was asked for", nil)
	}
	return r.search(ctx, readings)
}

// setTo records and reports how the clocks are set from here on. What was seen under
// another clock is no basis for comparison: the sentinel starts afresh, and the next
// launch settles as the first one does.
func (r *Runner) setTo(c ClocksRecord) error {
	c.Type, c.Time, c.Asked = "clocks", r.now()-r.Base, r.Plan.Config.Clocks
	if before := r.clocks.set; before.Type != "" && (before.Policy != c.Policy || before.LockMHz != c.LockMHz) {
		r.watch.first, r.settled = 0, nil
	}
	if s := r.settled; s != nil && s.ClockMHz != nil && c.LockMHz > 0 && !hardware.CheckClock(c.LockMHz, *s.ClockMHz).Locked {
		r.settled = nil // the state in which a preceding run left the device
	}
	r.clocks.set = c
	r.Events(Event{Kind: Clocked, Text: fmt.Sprintf("%s: %s", c, c.Reason), Launch: c.Restarts})
	return r.append(c)
}

// float gives the clocks back to the driver. That a run is being interrupted is no
// reason to.
func (r *Runner) float(ctx context.Context, reason string, probes []ClockProbe) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := r.Clocks.Release(); err != nil {
		reason += fmt.Sprintf("; giving the clocks back failed: %v", err)
	}
	return r.setTo(ClocksRecord{Policy: clocksFloating, Reason: reason, Probes: probes})
}

// lock holds the clocks at so many MHz.
func (r *Runner) lock(ctx context.Context, mhz int, reason string, probes []ClockProbe) error {
	if err := r.Clocks.Lock(ctx, mhz); err != nil {
		return r.float(ctx, err.Error(), probes)
	}
	return r.setTo(ClocksRecord{Policy: clocksLocked, LockMHz: mhz, Reason: reason, Probes: probes})
}

// adopt measures under a lock that another process holds, and which this run can't
// lower.
func (r *Runner) adopt(ctx context.Context, lease hardware.Lease, readings <-chan ReadingRecord) error {
	c := ClocksRecord{Policy: clocksLocked, LockMHz: lease.Request.SMMHz, Holder: lease.PID, Reason: fmt.Sprintf("process %d holds them", lease.PID)}
	if !lease.Request.Base {
		return r.setTo(c)
	}
	probe, err := r.probe(ctx, 0, readings)
	if err != nil {
		return err
	}
	c.Probes = []ClockProbe{probe}
	var why string
	if c.LockMHz, why = r.baseOf(probe); c.LockMHz == 0 {
		return r.float(ctx, fmt.Sprintf("process %d holds them at their base, which is not known: %s", lease.PID, why), c.Probes)
	}
	return r.setTo(c)
}

// lockBase holds the clocks at their base and finds out which clock that is: NVML
// takes the wish and does not say.
func (r *Runner) lockBase(ctx context.Context, readings <-chan ReadingRecord) error {
	if err := r.Clocks.Lock(ctx, 0); err != nil {
		return r.float(ctx, err.Error(), nil)
	}
	probe, err := r.probe(ctx, 0, readings)
	if err != nil {
		return err
	}
	base, why := r.baseOf(probe)
	if base == 0 {
		return r.float(ctx, "the board's base clock is not known: "+why, []ClockProbe{probe})
	}
	return r.setTo(ClocksRecord{Policy: clocksLocked, LockMHz: base, Reason: "the base clock, as measured under load", Probes: []ClockProbe{probe}})
}

// baseOf is the clock of the board nearest to the one that a probe measured, or why
// there is none.
func (r *Runner) baseOf(p ClockProbe) (mhz int, why string) {
	switch {
	case p.Missing != "":
		return 0, p.Missing
	case p.ClockMHz == nil:
		return 0, p.ClockReason
	case p.Limit() != "":
		return 0, p.Limit()
	}
	for _, clock := range r.Clocks.Supported() {
		if hardware.CheckClock(clock, *p.ClockMHz).Locked && (mhz == 0 || distance(clock, *p.ClockMHz) < distance(mhz, *p.ClockMHz)) {
			mhz = clock
		}
	}
	if mhz == 0 {
		return 0, fmt.Sprintf("it ran at %.1f MHz, which is not one that it lists", *p.ClockMHz)
	}
	return mhz, ""
}

func distance(clock int, mhz float64) float64 { return max(float64(clock)-mhz, mhz-float64(clock)) }

// search locks the highest clock at which the heaviest point meets no limit (C1,
// auto): down from the top, at once to the clock that a limit left it, then up again
// step by step to the first that is too high.
func (r *Runner) search(ctx context.Context, readings <-chan ReadingRecord) error {
	clocks := r.Clocks.Supported()
	if len(clocks) == 0 {
		return r.float(ctx, "the board does not say which clocks it has", nil)
	}
	var probes []ClockProbe
	clean, limited := -1, len(clocks)
	for len(probes) < maxProbes && clean+1 < limited {
		at := clean + 1
		if clean < 0 {
			at = limited - 1
			if n := len(probes); n > 0 {
				at = min(at, max(0, highest(clocks, probes[n-1].ClockMHz)))
			}
		}
		if err := r.Clocks.Lock(ctx, clocks[at]); err != nil {
			return r.float(ctx, err.Error(), probes)
		}
		probe, err := r.probe(ctx, clocks[at], readings)
		if err != nil {
			return err
		}
		probes = append(probes, probe)
		switch {
		case probe.Missing != "":
			return r.float(ctx, "no clock could be tried: "+probe.Missing, probes)
		case probe.Readings == 0:
			return r.float(ctx, "the board does not say what limits its clocks", probes)
		}
		if probe.Limit() == "" {
			clean = at
		} else {
			limited = at
		}
	}
	if clean < 0 {
		last := probes[len(probes)-1]
		return r.float(ctx, fmt.Sprintf("no clock was found that the board holds; at %d MHz %s", last.LockMHz, last.Limit()), probes)
	}
	return r.lock(ctx, clocks[clean], r.found(probes, clocks, clean, limited), probes)
}

// found says what a search found.
func (r *Runner) found(probes []ClockProbe, clocks []int, clean, limited int) string {
	point := r.heaviest()
	said := fmt.Sprintf("%s ran there for %s without a limit", point, r.Plan.Config.Protocol.ClockProbe)
	switch {
	case clean == len(clocks)-1:
		return said + ", the board's highest clock"
	case clean+1 == limited:
		return said + fmt.Sprintf(", the highest such clock of the board: at %d MHz %s", clocks[limited], limitAt(probes, clocks[limited]))
	}
	return said + fmt.Sprintf(", the highest found in %d tries", len(probes))
}

func limitAt(probes []ClockProbe, mhz int) string {
	for _, p := range slices.Backward(probes) {
		if p.LockMHz == mhz {
			return p.Limit()
		}
	}
	return ""
}

// highest is the index of the highest clock not above a measured one, give or take
// the error of a measurement; the last one if that is not known.
func highest(clocks []int, mhz *float64) int {
	if mhz == nil {
		return len(clocks) - 1
	}
	at := -1
	for i, clock := range clocks {
		if float64(clock) <= *mhz*1.005 {
			at = i
		}
	}
	return at
}

// relock checks whether the lock still stands when a launch begins, and takes it
// again if not.
func (r *Runner) relock(ctx context.Context) error {
	c := r.clocks.set
	if r.Clocks == nil || c.Policy != clocksLocked || c.Holder != 0 || r.Clocks.Standing() {
		return nil
	}
	return r.lock(ctx, c.LockMHz, "its guardian had ended and given it back; it was locked again", nil)
}

// lowerLock takes the next lower clock, because the power cap held the device below its
// lock, and has the launch start again (X, POWER locked); launch is 0 where there was
// none but the sentinel's last visit.
func (r *Runner) lowerLock(ctx context.Context, launch int) error {
	c := ClocksRecord{Policy: clocksFloating, Reason: r.clocks.lost, Restarts: launch}
	r.clocks.lost = ""
	lower := 0
	for _, clock := range r.Clocks.Supported() {
		if clock < r.clocks.set.LockMHz {
			lower = clock
		}
	}
	var err error
	switch {
	case lower == 0:
		c.Reason += "; the board lists no lower clock"
	case r.clocks.lowered == maxLowered:
		c.Reason += fmt.Sprintf("; the lock had already been lowered %d times", maxLowered)
	default:
		r.clocks.lowered++
		if err = r.Clocks.Lock(ctx, lower); err == nil {
			c.Policy, c.LockMHz = clocksLocked, lower
		}
	}
	if c.Policy == clocksFloating {
		err = errors.Join(err, r.Clocks.Release())
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.Reason += "; " + err.Error()
	}
	if launch > 0 {
		r.forget(launch)
	}
	return r.setTo(c)
}

// forget takes back what a launch gave before it starts again.
func (r *Runner) forget(launch int) {
	for v := range r.done {
		if v.launch == launch {
			delete(r.done, v)
			r.pace.again(v.point)
		}
	}
	for _, launches := range r.medians {
		delete(launches, launch)
	}
}

// heaviest is the point with the most arithmetic of those that have not failed; zero
// where there is none.
func (r *Runner) heaviest() Point {
	var best PlannedPoint
	for _, p := range r.Plan.Points {
		if p.Skip == "" && !r.failed[p.Point] && (best.Point == Point{} || p.MACs > best.MACs) {
			best = p
		}
	}
	return best.Point
}

// probe has a worker run the heaviest point under the clocks as they are now set.
func (r *Runner) probe(ctx context.Context, mhz int, readings <-chan ReadingRecord) (ClockProbe, error) {
	point := r.heaviest()
	spec := LaunchSpec{Launch: 1, Probe: &ProbeSpec{Point: point, For: r.Plan.Config.Protocol.ClockProbe, LockMHz: mhz}}
	r.fill(&spec)
	r.clocks.probe = nil
	wish := "the base clock"
	if mhz > 0 {
		wish = fmt.Sprintf("%d MHz", mhz)
	}
	r.Events(Event{Kind: Clocked, Text: fmt.Sprintf("trying %s with %s for %s", wish, point, spec.Probe.For.Round(time.Millisecond))})
	death, err := r.worker(ctx, spec, 1, readings)
	switch {
	case err != nil:
		return ClockProbe{}, err
	case r.clocks.probe != nil:
		return *r.clocks.probe, nil
	case death == nil:
		return ClockProbe{}, errors.New("probe the clock: the worker said nothing")
	}
	// The point's first visit will report it.
	return ClockProbe{LockMHz: mhz, Missing: death.reason}, nil
}
