package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A Runner carries out a plan: it starts one worker per launch, writes down what
// workers say, and outlives their crashes. It measures nothing itself and keeps quiet
// while they do.
type Runner struct {
	Plan    *Plan
	Journal *Journal
	// Base is native.Now at the start of the run, as every t_ns counts.
	Base int64
	// Launcher starts the workers.
	Launcher Launcher
	// Telemetry is read once a second, each sampler by a goroutine of its own: one
	// that hangs holds up only those of the same library. A GPU that is measured is not
	// among them: its worker reads it, never inside a timed block (X).
	Telemetry []Telemetry
	// Events is told what happened, between rounds, on the runner's goroutine.
	Events func(Event)
	// Clocks of the GPU that is measured on; nil on a host device.
	Clocks Clocks
	// Past is the journal of the run that this one continues; nil for a new one.
	Past *Log
	// Known are models that an earlier run of this binary described with this
	// configuration: those of the plan among them are written down and not computed
	// again. A model that changed since fails the check of its output.
	Known []ModelRecord
	// Groups are how many inferences make a sample, by a point's id, where a run that
	// this one follows decided it: all launches of a gate then take one kind of sample
	// (M4).
	Groups map[string]int
	// Settled is where a run that this one follows left the device, for the first launch
	// to come back to; nil where that is not known (W2).
	Settled *DeviceState

	now       func() int64 // native.Now but for simulations
	models    []ModelRecord
	failed    map[Point]bool // or gave a wrong answer
	done      map[visitID]bool
	medians   map[Point]map[int][]float64 // of kept rounds, by launch
	plans     map[Point]builtPlans
	groups    map[string]int // inferences per sample, by point, once decided (M4)
	settled   *DeviceState   // where the first launch under this clock left the device; nil before (W2)
	watch     watch
	clocks    clockState
	pace      pace
	measuring float64 // seconds
	used      float64 // seconds, before this runner began
	started   int64   // on the clock that now reads
	prepared  int64   // when the first visit could begin
}

// Telemetry is a sampler and the id of the device that it reads.
type Telemetry struct {
	Device string
	hardware.Sampler
}

// An Event is what a person watching wants to know when a round has ended.
type Event struct {
	Kind   EventKind
	Point  Point
	Launch int
	Text   string // of a failure, a dropped round, a stage, or layers
	// Latency over the launches so far, for Visited.
	Latency Estimate
	Energy  Estimate // joules per inference, for Metered
	Unclean bool     // the round was dropped or unsteady
	// AmortisedOver is as in the round's record.
	AmortisedOver int
	// Done and Total count visits; Left estimates the time until the last.
	Done, Total int
	Left        time.Duration
}

// EventKind says what an Event is about.
type EventKind int

const (
	Preparing EventKind = iota // expected outputs are being computed
	Launched                   // a worker began a launch
	Extended                   // as Launched, for a launch added to narrow intervals
	Visited                    // a round ended
	Watched                    // the sentinel was visited
	Metering                   // the energy pass began
	Metered                    // a point's energy was measured
	Layering                   // the layer pass began
	Layered                    // a point's layers were timed
	Broken                     // a point failed and is given up
	Refused                    // a point that the engine does not run is given up
	Settled                    // the device was warmed, or Text says why it was not
	Clocked                    // the GPU's clocks were set, or are being tried
)

// A JournalFullError says that the journal could not be written; what it holds up
// to there is intact.
type JournalFullError struct{ Err error }

func (e *JournalFullError) Error() string { return e.Err.Error() }
func (e *JournalFullError) Unwrap() error { return e.Err }

// A DriftError says that the machine changed too much during the run for its
// numbers to belong together (D1). What was measured is in the journal.
type DriftError struct {
	Point Point
	Shift float64 // of the sentinel's median, relative to its first
	Limit float64
}

func (e *DriftError) Error() string {
	return fmt.Sprintf("stopped for drift: the sentinel %s changed by %+.1f %% against the start of the run (limit %.0f %%)", e.Point, 100*e.Shift, 100*e.Limit)
}

// Run carries the plan out to its end, or until ctx is cancelled, the machine
// drifts or the journal cannot be written. Failed points do not end it. It appends
// the end record.
func (r *Runner) Run(ctx context.Context) error {
	r.begin()
	r.started = r.now()
	r.prepared = r.started
	err := r.run(ctx)
	end := EndRecord{
		Type: "end", PlannedSeconds: r.Plan.PlannedSeconds(),
		UsedSeconds:      r.used + time.Duration(r.now()-r.started).Seconds(),
		PreparingSeconds: time.Duration(r.prepared - r.started).Seconds(), MeasuringSeconds: r.measuring,
	}
	var full *JournalFullError
	var drifted *DriftError
	switch {
	case errors.As(err, &full):
		return err // there is no room for an end record either
	case ctx.Err() != nil:
		end.ExitCode, end.Reason = 130, "interrupted"
		err = ctx.Err()
	case errors.As(err, &drifted):
		end.ExitCode, end.Reason = 4, err.Error()
	case err != nil:
		end.ExitCode, end.Reason = 1, err.Error()
	default:
		log, readErr := ReadLog(r.Journal.path)
		if readErr != nil {
			return readErr
		}
		log.End = &end
		end.ExitCode = ExitCode(log)
	}
	if appendErr := r.append(end); appendErr != nil && err == nil {
		return appendErr
	}
	return err
}

// begin sets up what a run keeps in mind, from what an earlier part of it left.
func (r *Runner) begin() {
	r.failed, r.done, r.medians = map[Point]bool{}, map[visitID]bool{}, map[Point]map[int][]float64{}
	r.plans, r.groups = map[Point]builtPlans{}, map[string]int{}
	maps.Copy(r.groups, r.Groups)
	r.settled = r.Settled
	if r.now == nil {
		r.now = native.Now
	}
	if r.Events == nil {
		r.Events = func(Event) {}
	}
	r.pace = newPace(r.Plan)
	if r.Past != nil {
		r.recall(r.Past)
	}
}

func (r *Runner) run(ctx context.Context) error {
	sampling, stop := context.WithCancel(ctx)
	defer stop()
	readings := r.readings(sampling)
	if r.Plan.Measurable() == 0 {
		return nil
	}
	if err := r.expect(ctx, readings); err != nil {
		return err
	}
	if err := r.setClocks(ctx, readings); err != nil {
		return err
	}
	r.prepared = r.now()
	proto := r.Plan.Config.Protocol
	settle := proto.Settle // the machine is cold, also where a run is resumed
	last, launched := 1, false
	for launch := 1; launch <= max(proto.Launches, proto.MaxLaunches); launch++ {
		visits := r.owed(launch)
		if len(visits) == 0 {
			continue // all done before, given up, or narrow enough
		}
		spec := r.settling(LaunchSpec{Launch: launch, Visits: visits}, settle)
		settle, last, launched = proto.SettleAgain, launch, true
		kind := Launched
		if launch > proto.Launches {
			kind = Extended
			r.pace.extend(visits)
		}
		r.Events(Event{Kind: kind, Launch: launch, Done: r.pace.done, Total: r.pace.total, Left: r.pace.left()})
		if err := r.launch(ctx, spec, readings); err != nil {
			return err
		}
	}
	if r.watch.seen > 0 && !r.watch.fresh {
		// The last look at the sentinel: a launch with nothing else to do, which settles
		// only where no other of this part of the run has warmed the machine.
		r.watch.due = 0
		spec := LaunchSpec{Launch: last}
		if !launched {
			spec = r.settling(spec, settle)
		}
		if err := r.launch(ctx, spec, readings); err != nil {
			return err
		}
	}
	if err := r.meter(ctx, readings); err != nil {
		return err
	}
	return r.layers(ctx, readings)
}

// settling adds to a launch how it brings the device back to where it was settled, or,
// where that is not known, to a steady state (W2).
func (r *Runner) settling(spec LaunchSpec, atLeast time.Duration) LaunchSpec {
	if heaviest := r.heaviest(); atLeast > 0 && heaviest != (Point{}) {
		spec.Settle = &heaviest
	}
	spec.SettleFor, spec.SettledAt = atLeast, r.settled
	return spec
}

// meter is the energy pass, after everything that is timed.
func (r *Runner) meter(ctx context.Context, readings <-chan ReadingRecord) error {
	proto := r.Plan.Config.Protocol
	spec := LaunchSpec{Launch: max(proto.Launches, proto.MaxLaunches) + 1, Energy: true}
	for _, p := range r.Plan.Points {
		if p.Skip == "" && !r.failed[p.Point] && !r.done[visitID{spec.Launch, 1, p.Point}] {
			spec.Visits = append(spec.Visits, Visit{Point: p.Point, Round: 1})
		}
	}
	if !r.Plan.Config.Energy || len(spec.Visits) == 0 {
		return nil
	}
	r.Events(Event{Kind: Metering, Launch: spec.Launch, Done: r.pace.done, Total: r.pace.total})
	return r.launch(ctx, spec, readings)
}

// expect computes the outputs that neither an earlier part of the run nor an earlier
// run has left.
func (r *Runner) expect(ctx context.Context, readings <-chan ReadingRecord) error {
	known := map[modelKey]bool{}
	for _, m := range r.models {
		known[m.key()] = true
	}
	order := r.Plan.Order(1, 1)
	for _, m := range r.Known {
		wanted := slices.ContainsFunc(order, func(i int) bool { return r.Plan.Points[i].Point.modelKey() == m.key() })
		// A file whose output nothing foretells is described again: only its hash would
		// show that it changed.
		if !wanted || known[m.key()] || len(m.Expected) == 0 {
			continue
		}
		known[m.key()] = true
		r.models = append(r.models, m)
		if err := r.note(m); err != nil {
			return err
		}
	}
	var visits []Visit
	for _, i := range order {
		if p := r.Plan.Points[i].Point; !r.failed[p] && !known[p.modelKey()] {
			visits = append(visits, Visit{Point: p, Round: 1})
		}
	}
	if len(visits) == 0 {
		return nil
	}
	r.Events(Event{Kind: Preparing, Total: r.pace.total, Left: r.pace.left()})
	if err := r.launch(ctx, LaunchSpec{Launch: 0, Visits: visits}, readings); err != nil {
		return err
	}
	if len(r.models) == 0 && len(r.failed) == 0 {
		return errors.New("compute expected outputs: the worker said nothing")
	}
	return nil
}

// A modelKey tells apart the files that points are measured with.
type modelKey struct {
	model, precision  string
	batch, resolution int
}

func (p Point) modelKey() modelKey { return modelKey{p.Model, p.Precision, p.Batch, p.Resolution} }

func (m *ModelRecord) key() modelKey {
	return modelKey{m.Model, m.Precision, m.Batch, m.Resolution}
}

// A visitID tells the visits of a run apart.
type visitID struct {
	launch, round int
	point         Point
}

// owed lists what a launch still owes.
func (r *Runner) owed(launch int) []Visit {
	var visits []Visit
	for round := 1; round <= r.Plan.Config.Protocol.Rounds; round++ {
		visits = append(visits, r.visits(launch, round)...)
	}
	return visits
}

// visits lists what a round of a launch still owes, in its random order: points
// that have not failed, and in launches that are added (S5) only those whose interval
// is still too wide.
func (r *Runner) visits(launch, round int) []Visit {
	var visits []Visit
	for position, i := range r.Plan.Order(launch, round) {
		p := r.Plan.Points[i].Point
		if r.failed[p] || r.done[visitID{launch, round, p}] || launch > r.Plan.Config.Protocol.Launches && !r.wide(p, launch) {
			continue
		}
		visits = append(visits, Visit{Point: p, Round: round, Order: position + 1})
	}
	return visits
}

// wide tells whether the interval over the launches before this one is wider than
// the protocol aims for. A point of which nothing was kept does not count: more of
// the same would not make it valid.
func (r *Runner) wide(p Point, before int) bool {
	e, ok := r.latency(p, before)
	return ok && !(e.HalfWidth() <= r.Plan.Config.Protocol.RelWidth)
}

// latency is what the launches before one say about a point.
func (r *Runner) latency(p Point, before int) (Estimate, bool) {
	var launches []int
	var medians [][]float64
	for l := 1; l < before; l++ {
		if rounds := r.medians[p][l]; len(rounds) > 0 {
			launches, medians = append(launches, l), append(medians, rounds)
		}
	}
	if len(launches) == 0 {
		return Estimate{}, false
	}
	if builds := r.plans[p].builds(launches); builds != nil {
		medians = byBuild(medians, builds) // as the result will have it (S4)
	}
	return overLaunches(medians), true
}

// built keeps which build a launch measured.
func (r *Runner) built(p *PointRecord) {
	plans := r.plans[p.Point]
	plans.add(p)
	r.plans[p.Point] = plans
}

func (r *Runner) keep(p Point, launch int, median int64) {
	if r.medians[p] == nil {
		r.medians[p] = map[int][]float64{}
	}
	r.medians[p][launch] = append(r.medians[p][launch], float64(median))
}

// readings samples the counters once a second until ctx ends, beside the workers;
// a reading of the host takes tens of microseconds of one core. One that fails or
// hangs is reported once, until it answers again.
func (r *Runner) readings(ctx context.Context) <-chan ReadingRecord {
	out := make(chan ReadingRecord, 16)
	for _, t := range r.Telemetry {
		go func() {
			c := &counters{sampler: t.Sampler, patience: r.Plan.Config.Protocol.TelemetryPatience}
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			told := ""
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				reading, missing := c.read(r.now)
				if missing != "" && told != "" {
					continue
				}
				told = missing
				reading.Time -= r.Base
				select {
				case out <- ReadingRecord{Type: "reading", Device: t.Device, Missing: missing, Reading: reading}:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return out
}

// launch runs a spec to its end, starting a new worker for what is left whenever
// one dies. The point that a worker died on has failed.
func (r *Runner) launch(ctx context.Context, spec LaunchSpec, readings <-chan ReadingRecord) error {
	r.fill(&spec)
	alone := len(spec.Visits) == 0 // with the sentinel
	for attempt := 1; ; attempt++ {
		if spec.Launch > 0 && !spec.Energy && !spec.Layers {
			spec.Sentinel = r.sentinel()
		}
		if len(spec.Visits) == 0 && (spec.Sentinel == nil || spec.Sentinel.Due > 0) {
			return nil
		}
		if err := r.relock(ctx); err != nil {
			return err
		}
		spec.Lock = r.clocks.lock()
		death, err := r.worker(ctx, spec, attempt, readings)
		if err == nil && r.clocks.lost != "" {
			if alone {
				return r.lowerLock(ctx, 0) // there is nothing left to measure under another
			}
			if err := r.lowerLock(ctx, spec.Launch); err != nil {
				return err
			}
			spec.Settle, spec.Visits = nil, r.owed(spec.Launch)
			continue
		}
		if err != nil || death == nil {
			return err
		}
		if death.at == "" {
			return fmt.Errorf("start worker: %s%s", death.reason, indent(death.log))
		}
		give := r.give
		switch { // what was timed before stands
		case spec.Energy:
			give = r.unmetered
		case spec.Layers:
			give = r.unlayered
		case death.stage == copiesStage:
			give = r.uncopied
		}
		if death.unsettled {
			if err := r.settle(SettleRecord{Type: "settle", ID: death.at, Launch: spec.Launch, Start: r.now() - r.Base, Reason: death.reason}); err != nil {
				return err
			}
		}
		// The worker itself reports a point that failed and took the device's context
		// along.
		if !r.told(death.at, spec) {
			if err := give(death, spec.Launch); err != nil {
				return err
			}
		}
		spec.Settle = nil
		var rest []Visit
		for _, v := range spec.Visits {
			if !r.failed[v.Point] && !r.done[visitID{spec.Launch, v.Round, v.Point}] {
				rest = append(rest, v)
			}
		}
		spec.Visits = rest
	}
}

// fill adds what every worker is told.
func (r *Runner) fill(spec *LaunchSpec) {
	spec.Base, spec.Config, spec.Groups = r.Base, r.Plan.Config, r.groups
	spec.Expected, spec.Ranges = map[string][]float32{}, map[string]*models.Ranges{}
	for _, m := range r.models {
		key := fmt.Sprintf("%s@%d", m.Model, m.Resolution)
		spec.Expected[key] = m.Expected
		if m.Ranges != nil {
			spec.Ranges[key] = m.Ranges
		}
	}
}

// A death is the end of a worker that did not finish.
type death struct {
	at        string // the point it was on, by id; empty before the first
	stage     string
	reason    string
	log       []string
	unsettled bool // it had not settled the machine yet
}

// told tells whether a worker has said what became of the point that it died on.
func (r *Runner) told(id string, spec LaunchSpec) bool {
	p, err := ParsePoint(id)
	return err == nil && (r.failed[p] || (spec.Energy || spec.Layers) && r.done[visitID{spec.Launch, 1, p}])
}

// give gives up the point that a worker died on.
func (r *Runner) give(d *death, launch int) error {
	point, err := ParsePoint(d.at)
	if err != nil {
		return err
	}
	return r.fail(PointRecord{Type: "point", ID: d.at, Launch: launch, Point: point, Failed: d.reason, Log: d.log})
}

// fail gives up a point that cannot be measured, or not as its axes ask.
func (r *Runner) fail(record PointRecord) error {
	if err := r.append(record); err != nil {
		return err
	}
	r.drop(record.Point)
	kind, text := Broken, record.Failed
	if record.Skipped != "" {
		kind, text = Refused, record.Skipped
	}
	r.Events(Event{Kind: kind, Point: record.Point, Launch: record.Launch, Text: text, Done: r.pace.done, Total: r.pace.total, Left: r.pace.left()})
	return nil
}

// drop leaves a point out of all that is still to come.
func (r *Runner) drop(p Point) {
	r.failed[p] = true
	r.pace.drop(p)
}

func (r *Runner) append(record any) error {
	if err := r.Journal.Append(record); err != nil {
		return &JournalFullError{err}
	}
	return nil
}

// note appends what may wait for the next round's sync.
func (r *Runner) note(record any) error {
	if err := r.Journal.Note(record); err != nil {
		return &JournalFullError{err}
	}
	return nil
}

// worker runs one worker. It returns a death if the worker ended before it was
// done, and an error only for what must end the whole run.
func (r *Runner) worker(ctx context.Context, spec LaunchSpec, attempt int, readings <-chan ReadingRecord) (*death, error) {
	name := fmt.Sprintf("launch-%d", spec.Launch)
	if spec.Probe != nil {
		name = fmt.Sprintf("clock-%d", spec.Probe.LockMHz)
	}
	if attempt > 1 {
		name += fmt.Sprintf("-%d", attempt)
	}
	w, err := r.Launcher.Start(ctx, spec, name)
	if err != nil {
		return nil, err
	}
	l := &listener{runner: r, spec: spec, allow: r.Plan.Config.Protocol.Watchdog}
	fatal, hung := l.listen(ctx, w.Lines(), readings, w.Kill)
	if errors.Is(fatal, errUndying) {
		return nil, fatal // nor can it be waited for
	}
	how, log := w.Wait()
	switch {
	case fatal != nil:
		return nil, fatal
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case l.done:
		return nil, nil
	}
	d := &death{at: l.at, stage: l.stage, log: log, unsettled: spec.Settle != nil && (l.stage == settleStage || !l.settling)}
	switch {
	case hung:
		d.reason = fmt.Sprintf("hung: no word for %s while at %q", l.allow.Round(time.Millisecond), l.stage)
	case how == "":
		d.reason = fmt.Sprintf("the worker ended early while at %q", l.stage)
	default:
		d.reason = fmt.Sprintf("the worker died (%s) while at %q", how, l.stage)
	}
	return d, nil
}

func indent(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "\n  " + strings.Join(lines, "\n  ")
}

// A watch is what is known of the sentinel (D1).
type watch struct {
	point Point
	seen  int     // visits so far
	due   int64   // the next, as t_ns
	first float64 // median of the first that was kept, nanoseconds; 0 before it
	fresh bool    // nothing was measured since the last visit
}

// sentinel tells a worker what to visit to watch for drift; nil where the protocol
// asks for none, or no point is left that could serve.
func (r *Runner) sentinel() *SentinelSpec {
	every := r.Plan.Config.Protocol.SentinelEvery
	if every == 0 {
		return nil
	}
	if r.watch.seen == 0 || r.failed[r.watch.point] {
		i := r.Plan.sentinel(func(p Point) bool { return !r.failed[p] })
		if i < 0 {
			return nil
		}
		if p := r.Plan.Points[i].Point; p != r.watch.point {
			r.watch.point, r.watch.first = p, 0
		}
	}
	return &SentinelSpec{Point: r.watch.point, Next: r.watch.seen + 1, Due: r.watch.due, Every: every}
}

// watched takes in a sentinel's round.
func (r *Runner) watched(round *RoundRecord, p Point) error {
	if round.Status != OK && round.Try <= r.Plan.Config.Protocol.Retries {
		return nil // it will be repeated
	}
	r.watch.seen, r.watch.point, r.watch.fresh = round.Round, p, true
	r.watch.due = round.Start + r.Plan.Config.Protocol.SentinelEvery.Nanoseconds()
	e := Event{Kind: Watched, Point: p, Launch: round.Launch, Text: round.DropReason, Done: r.pace.done, Total: r.pace.total, Left: r.pace.left()}
	if round.Status != OK {
		r.Events(e)
		return nil
	}
	mid := float64(median(round.DeviceNS))
	if r.watch.first == 0 {
		r.watch.first = mid
	}
	shift := mid/r.watch.first - 1
	e.Text = fmt.Sprintf("%+.1f %% against the first", 100*shift)
	r.Events(e)
	if limit := r.Plan.Config.Protocol.DriftStop; limit > 0 && math.Abs(shift) > limit {
		return &DriftError{p, shift, limit}
	}
	return nil
}
