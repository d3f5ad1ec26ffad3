package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// build makes a session of the launch's own build.
func (w *worker) build(ctx context.Context, p Point) (*arrangement, error) {
	return w.buildNumbered(ctx, p, w.spec.Config.Protocol.build(w.spec.Launch))
}

// buildNumbered makes a session with its input set, which is still to be arranged.
// Opening the engine's library and reading the model come first and are no part of the
// build's time (M7): whichever point is visited first would pay for them.
func (w *worker) buildNumbered(ctx context.Context, p Point, number int) (a *arrangement, err error) {
	if err := w.begin(p, "open engine", 0); err != nil {
		return nil, err
	}
	engine, err := w.engine(ctx, p.Engine)
	if err != nil {
		return nil, err
	}
	subject, err := w.spec.Config.openSubject(p.Model, p.Resolution, p.Batch)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, subject.close()) }()
	proto := w.spec.Config.Protocol
	if err := w.allow(p, "build", max(proto.Watchdog, proto.BuildPatience)); err != nil {
		return nil, err
	}
	options := w.spec.Config.buildOptions(p)
	options.Layers, options.Build = w.spec.Layers, number
	if options.Precision.Calibrated() {
		options.Ranges = w.spec.Ranges[expectedKey(p)]
	}
	start := w.now()
	defer func() {
		if a != nil {
			a.buildNS = w.now() - start
		}
	}()
	if reader, ok := engine.(engines.FileEngine); ok && subject.file != nil {
		inputs, err := subject.file.Values(subject.inputs, 0)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", p, err)
		}
		session, err := reader.BuildFile(ctx, subject.file, inputs, w.stream, options)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", p, err)
		}
		return &arrangement{Session: session, group: 1}, nil
	}
	session, err := engine.Build(ctx, subject.network, w.stream, options)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", p, err)
	}
	a = &arrangement{Session: session, input: models.SyntheticInput(subject.network.InputShape(p.Batch)), group: 1}
	if err := session.SetInput(a.input); err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return a, nil
}

// time runs a block of len(s) samples back to back, each of one inference or of a
// group of them.
func (w *worker) time(session engines.Session, s []hardware.Sample) error {
	start := w.now()
	var err error
	if group := groupOf(session); group > 1 {
		err = session.(*arrangement).stream.TimeGroups(session.Call(), group, s)
	} else {
		err = w.stream.Time(session.Call(), s)
	}
	w.busy += time.Duration(w.now() - start)
	var failed *native.CallError
	if errors.As(err, &failed) {
		return session.Explain(failed)
	}
	return err
}

// block runs len(s) inferences of a point with its gap before each (W5). The
// sleeping lies outside of what the stream times.
func (w *worker) block(session engines.Session, p Point, s []hardware.Sample) error {
	if p.Gap == 0 {
		return w.time(session, s)
	}
	for i := range s {
		w.sleep(p.Gap)
		if err := w.time(session, s[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// visit builds a point's session, warms it up, checks its output and takes one
// round. It sends the point's record, then each try of the round.
func (w *worker) visit(ctx context.Context, v Visit, record *PointRecord) error {
	number := w.spec.Config.Protocol.build(w.spec.Launch)
	if v.Sentinel {
		number = 1 // of the same engine in all launches, whose builds may differ (D1)
	}
	session, err := w.buildNumbered(ctx, v.Point, number)
	if err != nil {
		return err
	}
	defer w.finish(v.Point, session)
	record.BuildNS = session.buildNS
	if err := w.begin(v.Point, "first inference", 0); err != nil {
		return err
	}
	first := make([]hardware.Sample, 1)
	if err := w.time(session, first); err != nil {
		return err
	}
	record.FirstNS = first[0].Host
	record.Executed = session.Executed()
	start := w.now()
	if err := w.arrange(ctx, session, v.Point); err != nil {
		return err
	}
	record.ArrangeNS, record.GraphNodes, record.RotatedInputs = w.now()-start, session.nodes(), session.inputs
	if session.inputs < session.asked {
		record.InputsAsked = session.asked
	}

	warm, err := w.warmUp(session, v.Point, time.Duration(first[0].Host))
	if err != nil {
		return err
	}
	inference, err := w.amortise(session, v.Point, warm.median)
	if err != nil {
		return err
	}
	if record.Check, err = w.check(session, v.Point); err != nil {
		return err
	}
	if err := w.say(record); err != nil {
		return err
	}
	if record.wrong() {
		w.broken[v.Point] = true
		return nil // the record says so; a wrong answer has no latency
	}
	clean, err := w.rounds(ctx, session, v, warm, inference)
	if err != nil || !clean {
		return err // what spoilt every try of the round would spoil the copies, too
	}
	return w.copies(session, v, inference)
}

// rounds takes a visit's round, and repeats it while it is dropped, as often as the
// protocol allows. It says whether one was clean.
func (w *worker) rounds(ctx context.Context, session engines.Session, v Visit, warm warmth, inference time.Duration) (clean bool, err error) {
	proto := w.spec.Config.Protocol
	hot := 0
	for try := 1; ; try++ {
		round := RoundRecord{
			Type: "round", ID: v.Point.String(), Launch: w.spec.Launch, Round: v.Round, Order: v.Order, Try: try,
			Sentinel: v.Sentinel, WarmupSamples: warm.inferences, WarmupFar: !warm.near, AmortisedOver: amortisedOver(session),
		}
		verdict, took, err := w.clocked(session, v.Point, inference, &round)
		if err != nil {
			return false, err
		}
		inference = took
		if err := w.say(round); err != nil {
			return false, err
		}
		if verdict.lockLost {
			return false, &lockLostError{round.DropReason}
		}
		if round.Status == OK || try > proto.Retries {
			return round.Status == OK, nil
		}
		if verdict.hot {
			hot++
			err = w.coolDown(ctx, v.Point, proto.coolWait(hot))
		} else {
			err = w.pause(ctx, v.Point, proto.RetryWait)
		}
		if err != nil {
			return false, err
		}
	}
}

// pause waits before a round is repeated.
func (w *worker) pause(ctx context.Context, p Point, d time.Duration) error {
	if err := w.begin(p, "waiting", d); err != nil {
		return err
	}
	return pause(ctx, d)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// coolDown waits until the device is nearly as cool as the launch found it, for at
// most limit.
func (w *worker) coolDown(ctx context.Context, p Point, limit time.Duration) error {
	if err := w.begin(p, "cooling", limit); err != nil {
		return err
	}
	end := w.now() + limit.Nanoseconds()
	for w.now() < end {
		if err := pause(ctx, min(time.Second, time.Duration(end-w.now()))); err != nil {
			return err
		}
		reading, missing, err := w.sample()
		if err != nil {
			return err
		}
		if now := w.temperature(reading); missing == "" && now != nil && w.rest != nil && *now <= *w.rest+w.spec.Config.Protocol.CoolWithin {
			return nil
		}
	}
	return nil
}

// A warmth is what a warm-up came to.
type warmth struct {
	inferences int
	median     time.Duration // of the last five
	near       bool          // whether the last one lay near it
}

// warmUp runs until both minima are reached and the last inference lies near the
// median of the last five (W1). A network that never comes near is left to the round's
// windows.
func (w *worker) warmUp(session engines.Session, p Point, guess time.Duration) (warmth, error) {
	proto := w.spec.Config.Protocol
	if err := w.begin(p, "warm-up", 2*proto.WarmupTime+time.Duration(proto.WarmupSamples+5)*(guess+p.Gap)); err != nil {
		return warmth{}, err
	}
	one := make([]hardware.Sample, 1)
	var last []int64
	start := w.now()
	checked := false
	for n := 1; ; n++ {
		if err := w.block(session, p, one); err != nil {
			return warmth{}, err
		}
		last = append(last, one[0].Device)
		if len(last) > 5 {
			last = last[1:]
		}
		mid := median(last)
		took := time.Duration(w.now() - start)
		near := math.Abs(float64(one[0].Device-mid)) <= proto.WarmupWithin*float64(mid)
		end := n >= proto.WarmupSamples && took >= proto.WarmupTime && (near || took >= 2*proto.WarmupTime+5*time.Duration(mid))
		// Early, because what an engine defers piles up.
		if !checked && (end || n == 64) {
			checked = true
			if p.Gap > 0 {
				// In a gap deferred work gets done unseen.
				burst := w.now()
				if err := w.time(session, samples(proto.WarmupSamples)); err != nil {
					return warmth{}, err
				}
				took = time.Duration(w.now() - burst)
			}
			if err := w.deferred(session, took); err != nil {
				return warmth{}, err
			}
		}
		if end {
			return warmth{n, time.Duration(mid), near}, nil
		}
	}
}

// deferred finds an engine whose calls return before the work is done (M9): its
// output then takes long to come. An honest one's is a copy of a few thousand
// numbers, which takes a small part of the time of the inferences before it.
func (w *worker) deferred(session engines.Session, took time.Duration) error {
	start := w.now()
	if _, err := session.Output(); err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	if waited := time.Duration(w.now() - start); waited > took/2+5*time.Millisecond {
		return fmt.Errorf("the engine defers its work: after inferences that took %s together its output came %s later, so its calls do not last as long as its inferences and nothing can be timed", took.Round(time.Microsecond), waited.Round(time.Microsecond))
	}
	return nil
}

// check compares the first image of the last output with the reference's. It gives
// nil for a file whose output nothing here can foretell.
func (w *worker) check(session engines.Session, p Point) (*Check, error) {
	want, ok := w.spec.Expected[expectedKey(p)]
	if !ok {
		return nil, fmt.Errorf("check output of %s: no expected output was computed", p)
	}
	if len(want) == 0 && models.IsFile(p.Model) {
		return nil, nil
	}
	out, err := session.Output()
	if err != nil {
		return nil, fmt.Errorf("check output of %s: %w", p, err)
	}
	if len(out.Shape) == 0 || out.Shape[0] != p.Batch {
		return nil, fmt.Errorf("check output of %s: its shape is %v, want a batch of %d", p, out.Shape, p.Batch)
	}
	return checkOutput(out.Data[:len(out.Data)/p.Batch], want, models.Precision(p.Precision).Tolerance())
}

// round takes samples until a steady state is proven and enough of them are in it,
// with the counters read at both ends. In between this thread does nothing but the C
// loop and its windows' medians, while another looks at a GPU's clock events. It gives a
// verdict, which the clock may still change, and the median, from which the next try is
// sized.
func (w *worker) round(session engines.Session, p Point, inference time.Duration, r *RoundRecord) (verdict, time.Duration, error) {
	proto := w.spec.Config.Protocol
	var none verdict
	from, fromMissing, err := w.sample()
	if err != nil {
		return none, 0, err
	}
	ownFrom, err := w.usage()
	if err != nil {
		return none, 0, err
	}
	var s []hardware.Sample
	var start int64
	events, noEvents, err := w.counters.watching(proto.EventEvery, func(so func() hardware.EventReasons) error {
		// Clocks that float under a power cap may move further (X, POWER floating).
		allowed := func() float64 {
			if w.spec.Lock == nil && (so()&hardware.SWPowerCap != 0 || stood(from.GPU, hardware.SWPowerCap)) {
				return proto.SteadyClockCapped
			}
			return proto.SteadyClock
		}
		return w.quietly(func() (err error) {
			r.Steady, s, start, err = w.steady(session, p, inference, allowed)
			return err
		})
	})
	if err != nil {
		return none, 0, err
	}
	ownTo, err := w.usage()
	if err != nil {
		return none, 0, err
	}
	to, toMissing, err := w.sample()
	if err != nil {
		return none, 0, err
	}
	r.Start = start - w.spec.Base
	r.Interval = interval(from, fromMissing, to, toMissing, ownTo.CPUSeconds-ownFrom.CPUSeconds)
	if r.Interval.GPU != nil {
		r.Interval.GPU.Watched(events, noEvents)
	}
	r.ContextSwitches = ownTo.InvoluntarySwitches - ownFrom.InvoluntarySwitches
	impossible := r.take(s, w.device.Info().Kind)
	v := judgeRound(r.Interval, from.GPU, to.GPU, proto)
	if r.Interval.GPU != nil && p.Gap == 0 {
		v.fed(*r.Interval.GPU, to.GPU)
	}
	if impossible != "" {
		v.drop(BadClock, "%s", impossible)
	}
	if len(r.DeviceNS) == 0 {
		return v, inference, nil
	}
	return v, time.Duration(median(r.DeviceNS)), nil
}

// take writes samples into the record. Those that no clock running forward could have
// given are left out and reported.
func (r *RoundRecord) take(s []hardware.Sample, kind hardware.DeviceKind) (impossible string) {
	lost := 0
	for i := range s {
		if s[i].Device <= 0 || s[i].Host <= 0 {
			if lost++; lost == 1 {
				impossible = fmt.Sprintf("sample %d took %d ns", i, min(s[i].Device, s[i].Host))
			}
			continue
		}
		r.DeviceNS = append(r.DeviceNS, s[i].Device)
		if kind != hardware.Host {
			r.EnqueueNS, r.HostNS = append(r.EnqueueNS, s[i].Enqueue), append(r.HostNS, s[i].Host)
		}
	}
	if lost > 0 {
		impossible = fmt.Sprintf("the clock went backwards: %s, with %d of %d samples impossible and left out", impossible, lost, len(s))
	}
	return impossible
}

// sample reads the counters and sends them. A reading that could not be had is no
// error: missing says why, and the round continues without it.
func (w *worker) sample() (reading hardware.Reading, missing string, err error) {
	reading, missing = w.counters.read(w.now)
	relative := reading
	relative.Time -= w.spec.Base
	return reading, missing, w.say(ReadingRecord{Type: "reading", Device: w.device.Info().ID, Missing: missing, Reading: relative})
}

// steady leaves out a ramp and runs windows until the last ones agree (W4) or the
// protocol's patience ends. The samples of those are the round's, for what was proven is
// proven of them; where they are too few for a round, more follow. A window leaves out
// its first inferences, too: while the one before it was judged and reported, the
// processors did other work (W3). clockLimit is how much the clocks of windows may
// differ, as far as is known so far. It gives the samples and when the first of them
// began.
func (w *worker) steady(session engines.Session, p Point, inference time.Duration, clockLimit func() float64) (proof SteadyProof, kept []hardware.Sample, start int64, err error) {
	proto := w.spec.Config.Protocol
	take := func(ramp, n int) (s []hardware.Sample, start int64, err error) {
		if err := w.begin(p, "round", time.Duration(ramp+n)*lasts(session, p, inference)); err != nil {
			return nil, 0, err
		}
		s, start = samples(ramp+n), w.now()
		if err := w.block(session, p, s); err != nil {
			return nil, 0, err
		}
		for _, one := range s[:ramp] {
			start += lasts(session, p, time.Duration(one.Host)).Nanoseconds()
		}
		return s[ramp:], start, nil
	}
	ramp := proto.RampSamples
	if p.Gap > 0 {
		ramp = 0 // a pause before every inference is what is measured
	}
	if first := proto.ramp(lasts(session, p, inference)) - ramp; first > 0 {
		if _, _, err := take(first, 0); err != nil {
			return proof, nil, 0, err
		}
	}
	var windows [][]hardware.Sample
	var starts []int64
	clock := w.meterClock()
	for began := w.now(); ; {
		s, start, err := take(ramp, proto.window(lasts(session, p, inference)))
		if err != nil {
			return proof, nil, 0, err
		}
		windows, starts = append(windows, s), append(starts, start)
		proof.add(deviceTimes(s))
		proof.addClock(clock())
		proof.ClockLimit = clockLimit()
		inference = time.Duration(proof.WindowMedians[len(windows)-1])
		took := time.Duration(w.now() - began)
		proof.Seconds = took.Seconds()
		last := len(windows) >= steadyWindows && took >= proto.SteadyCap
		if proof.judge(proto, last); proof.Met || last {
			break
		}
	}
	first := len(windows) - proof.Windows
	kept, start = slices.Concat(windows[first:]...), starts[first]
	if missing := proto.samples(lasts(session, p, inference)) - len(kept); missing > 0 {
		s, _, err := take(ramp, missing)
		if err != nil {
			return proof, nil, 0, err
		}
		kept = append(kept, s...)
	}
	if excess := len(kept) - proto.RoundMost; excess > 0 {
		for _, s := range kept[:excess] {
			start += lasts(session, p, time.Duration(s.Host)).Nanoseconds()
		}
		kept = kept[excess:]
	}
	return proof, kept, start, nil
}

// deviceTimes gives the device times of samples for the proof; what a clock that runs
// backwards gave is judged with the round.
func deviceTimes(s []hardware.Sample) []int64 {
	ns := make([]int64, len(s))
	for i := range s {
		ns[i] = max(s[i].Device, 1)
	}
	return ns
}

// quietly runs a timed block on a locked thread with the garbage collector off,
// after a collection (M8).
func quietly(block func() error) error {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return block()
}

// samples gives a buffer whose pages are there before the clock runs.
func samples(n int) []hardware.Sample {
	s := make([]hardware.Sample, n)
	clear(s)
	return s
}
