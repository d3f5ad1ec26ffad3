package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A listener takes in what one worker says.
type listener struct {
	runner *Runner
	spec   LaunchSpec
	at     string // the point the worker is on
	stage  string
	allow  time.Duration
	began  int64 // of the current visit
	done   bool
	// settling says that the worker came to run what it settles on, or gave that up.
	settling bool
}

// errUndying is a worker that SIGKILL does not end, such as one that waits inside a
// driver.
var errUndying = errors.New("a worker that hung cannot be killed: it waits inside the system, most likely in the driver of the device; the device may need a reset")

// undyingAfter is how long a worker that was killed may take to end.
const undyingAfter = 30 * time.Second

// grace is how much longer than it announced a worker may be silent. A parent that was
// itself stopped, by Ctrl-Z or a debugger, finds its timer expired and lines waiting at
// the same moment, and must read them before it judges.
const grace = time.Second

// listen takes lines until the worker closes its pipe. Silence longer than the
// worker announced is a hang: kill is called and hung returned. An error that must end
// the run kills the worker, too, as the launcher does when ctx ends. A worker that was
// killed and does not end in time is errUndying.
func (l *listener) listen(ctx context.Context, lines <-chan []byte, readings <-chan ReadingRecord, kill func()) (fatal error, hung bool) {
	watchdog := time.NewTimer(l.allow)
	defer watchdog.Stop()
	late, killed := false, false
	ending := func() {
		killed = true
		watchdog.Reset(undyingAfter)
	}
	fail := func(err error) {
		if fatal = err; err != nil {
			kill()
			ending()
		}
	}
	cancelled := ctx.Done()
	for {
		select {
		case line, open := <-lines:
			if !open {
				return fatal, hung
			}
			if fatal == nil {
				fail(l.take(line))
			}
			if !killed {
				late = false
				watchdog.Reset(l.allow)
			}
		case reading := <-readings:
			if fatal == nil {
				fail(l.runner.note(reading))
			}
		case <-cancelled:
			cancelled = nil
			ending()
		case <-watchdog.C:
			switch {
			case killed:
				return errors.Join(fatal, errUndying), hung
			case !late:
				late = true
				watchdog.Reset(min(grace, l.allow))
			default:
				hung = true
				kill()
				ending()
			}
		}
	}
}

// take writes down one line of a worker.
func (l *listener) take(line []byte) error {
	kind, err := recordType(line)
	if err != nil {
		return fmt.Errorf("worker said something that is not a record: %w", err)
	}
	r := l.runner
	switch kind {
	case "begin":
		return said(kind, line, l.begins)
	case "model":
		return said(kind, line, l.modelled)
	case "point":
		return said(kind, line, l.opened)
	case "round":
		return said(kind, line, l.round)
	case "settle":
		return said(kind, line, func(s SettleRecord) error {
			l.settling = true
			return r.settle(s)
		})
	case "copies":
		return said(kind, line, l.copied)
	case "energy":
		return said(kind, line, l.metered)
	case "layers":
		return said(kind, line, r.layered)
	case "probe":
		return said(kind, line, func(p ClockProbe) error {
			p.Type = ""
			r.clocks.probe = &p
			return nil
		})
	case "reading":
		return said(kind, line, func(reading ReadingRecord) error { return r.note(reading) })
	case "done":
		return said(kind, line, l.ended)
	}
	return fmt.Errorf("worker sent a record of unknown type %q", kind)
}

// said decodes a line and hands it to take.
func said[T any](kind string, line []byte, take func(T) error) error {
	var v T
	if err := json.Unmarshal(line, &v); err != nil {
		return fmt.Errorf("worker sent a damaged record of type %q: %w", kind, err)
	}
	return take(v)
}

func (l *listener) begins(m beginMessage) error {
	r := l.runner
	if m.ID != l.at || m.Stage == "build" {
		l.began = r.now()
	}
	l.at, l.stage, l.allow = m.ID, m.Stage, m.Allow
	if m.Stage == settleStage {
		l.settling = true
		if r.pace.done == 0 {
			r.prepared = r.now() // as far as is known yet
		}
	}
	return nil
}

func (l *listener) modelled(m ModelRecord) error {
	r := l.runner
	r.models = append(r.models, m)
	for _, v := range l.spec.Visits {
		if v.Point.modelKey() == m.key() {
			r.done[visitID{0, v.Round, v.Point}] = true
		}
	}
	return r.append(m)
}

func (l *listener) opened(p PointRecord) error {
	r := l.runner
	if p.Failed != "" || p.Skipped != "" {
		return r.fail(p)
	}
	if err := r.append(p); err != nil {
		return err
	}
	r.built(&p)
	if p.wrong() {
		r.drop(p.Point)
		r.Events(Event{Kind: Broken, Point: p.Point, Launch: p.Launch, Text: wrongOutput, Done: r.pace.done, Total: r.pace.total, Left: r.pace.left()})
	}
	return nil
}

func (l *listener) ended(m doneMessage) error {
	l.done = true
	l.runner.clocks.lost = m.LockLost
	l.runner.measuring += m.MeasuringSeconds
	return nil
}

func (l *listener) round(round RoundRecord) error {
	if reason := round.invalid(); reason != "" {
		return fmt.Errorf("worker sent a %s", reason)
	}
	r := l.runner
	if err := r.append(round); err != nil {
		return err
	}
	point, err := ParsePoint(round.ID)
	if err != nil {
		return err
	}
	r.groups[round.ID] = max(round.AmortisedOver, 1)
	if round.Sentinel {
		return r.watched(&round, point)
	}
	r.watch.fresh = false
	e := Event{Kind: Visited, Point: point, Launch: round.Launch, Text: round.DropReason, Unclean: round.Status != OK || !round.Steady.Met, AmortisedOver: round.AmortisedOver}
	if round.Status == OK || round.Try > r.Plan.Config.Protocol.Retries {
		l.visited(point, round.Round)
	}
	if round.Status == OK {
		r.keep(point, round.Launch, median(round.DeviceNS))
	}
	e.Latency, _ = r.latency(point, round.Launch+1)
	e.Done, e.Total, e.Left = r.pace.done, r.pace.total, r.pace.left()
	r.Events(e)
	return nil
}

// copied writes down a visit's copies.
func (l *listener) copied(copies CopyRecord) error {
	if reason := copies.invalid(); reason != "" {
		return fmt.Errorf("worker sent %s", reason)
	}
	return l.runner.append(copies)
}

// metered writes down a point's energy.
func (l *listener) metered(energy EnergyRecord) error {
	r := l.runner
	if err := r.append(energy); err != nil {
		return err
	}
	point, err := ParsePoint(energy.ID)
	if err != nil {
		return err
	}
	r.done[visitID{energy.Launch, 1, point}] = true
	e := Event{Kind: Metered, Point: point, Launch: energy.Launch, Text: energy.Missing, Done: r.pace.done, Total: r.pace.total}
	if found := estimateEnergy(energy.Windows); found != nil {
		e.Energy = found.Gross
	}
	r.Events(e)
	return nil
}

// visited strikes a visit off.
func (l *listener) visited(p Point, round int) {
	r := l.runner
	r.done[visitID{l.spec.Launch, round, p}] = true
	r.pace.visited(p, time.Duration(r.now()-l.began))
}
