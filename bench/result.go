package bench

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// A Result is a run as its journal tells it: a pure function of the file.
type Result struct {
	Log          *Log
	Measurements []Measurement // in the plan's order, one a point
	Drift        Drift         // of the machine over the run
	Rules        []Rule        // of the protocol: which this run met
	Warnings     []Warning     // doubts about the run as a whole
}

// State says what became of a point.
type State string

const (
	Measured State = "measured"
	Skipped  State = "skipped" // not possible here; the reason says why
	Failed   State = "failed"  // the engine crashed, hung or gave an error
	Invalid  State = "invalid" // measured, but the numbers must not be used
	Pending  State = "pending" // the run ended before its first round
)

// A Measurement is a point with all that was learnt about it. Times are nanoseconds
// of one inference of a whole batch.
type Measurement struct {
	Point  Point
	State  State
	Reason string   // of a state other than measured
	Log    []string // the worker's last words, where it failed
	Model  ModelRecord

	// The estimates exist where State is measured.
	Latency Estimate // median device time of one inference, ns (E1)
	// Enqueue is the median time inside the call that submits an inference, ns (M2); nil
	// on a host, where device and host time are the same.
	Enqueue *Estimate
	// Throughput is images a second: work over the time of the block (M3, E2). It is
	// nil, with the reason in NoThroughput, where inferences do not follow each other.
	Throughput   *Estimate
	NoThroughput string
	// Cycles is the latency in cycles of the device's clock (E4); nil with the reason
	// in NoCycles where no clock was read in every round.
	Cycles   *Estimate
	NoCycles string
	Min      float64 // fastest sample of the rounds that count, ns
	// High quantiles of the device time, ns; nil where samples are too few (S6).
	P90, P95, P99, P999 *Tail
	Spread              Spread
	Effective           float64 // samples after autocorrelation
	// Clock and Temperature span the rounds that count; nil where not readable.
	Clock, Temperature *Range

	// AmortisedOver is how many inferences back to back a sample is the mean of, at
	// most; 0 where samples are single (M4).
	AmortisedOver int
	// Inputs is how many rotate, InputsAsked how many would fill twice the cache where
	// fewer do; both 0 where none rotate.
	Inputs, InputsAsked int

	Samples  int
	Launches int
	// Builds is how many different ones the launches measured, where builds were
	// replicated (S2); intervals are then over them. 0 where not.
	Builds int
	Rounds []*RoundRecord // ok and dropped, in the order they were taken
	// DroppedMedian is the median of the dropped rounds' samples; 0 without any
	// (X2: both are shown).
	DroppedMedian float64

	Build, First time.Duration // medians over visits
	Check        *Check        // the worst of all launches
	Copies       *Copies       // around one inference; nil where they were not timed (M2)
	NoCopies     string        // why Copies is nil
	Energy       *Energy       // of one inference; nil without an energy pass that could measure it
	NoEnergy     string        // why Energy is nil
	Layers       *LayerTimes   // of one inference; nil without a layer pass that could time them
	NoLayers     string        // why Layers is nil

	Quality Quality
	// Lowered says why the quality is no better than it is; empty at Q1.
	Lowered  []string
	Warnings []Warning
}

// Dropped counts the rounds that were dropped.
func (m *Measurement) Dropped() int {
	n := 0
	for _, r := range m.Rounds {
		if r.Status == Dropped {
			n++
		}
	}
	return n
}

// LoadResult reads a run's directory. A damaged journal gives the Result of what
// is intact together with a *JournalError.
func LoadResult(dir string) (*Result, error) {
	log, err := ReadLog(dir)
	if err != nil {
		if damage, ok := err.(*JournalError); ok && damage.Intact != nil {
			return NewResult(damage.Intact), err
		}
		return nil, err
	}
	return NewResult(log), nil
}

// NewResult derives estimates, doubts and quality from a journal.
func NewResult(log *Log) *Result {
	r := &Result{Log: log}
	if log.TornLine > 0 {
		r.Warnings = append(r.Warnings, Warning{TornJournal, fmt.Sprintf("line %d", log.TornLine)})
	}
	for _, kind := range sortedKeys(log.Unknown) {
		r.Warnings = append(r.Warnings, Warning{UnknownRecords, fmt.Sprintf("%d of type %q", log.Unknown[kind], kind)})
	}
	if log.End == nil {
		r.Warnings = append(r.Warnings, Warning{Interrupted, "the journal has no end record"})
	} else if log.End.Reason != "" {
		r.Warnings = append(r.Warnings, Warning{Interrupted, log.End.Reason})
	}
	for _, f := range log.Run.Findings {
		r.Warnings = append(r.Warnings, Warning{Disturbed, f.Text})
	}
	for _, resumed := range log.Resumes {
		for _, f := range resumed.Findings {
			r.Warnings = append(r.Warnings, Warning{Disturbed, "when the run was resumed: " + f.Text})
		}
	}
	if cores := hostCores(log.Run); log.Run.Config.Threads > cores && cores > 0 {
		r.Warnings = append(r.Warnings, Warning{Oversubscribed, fmt.Sprintf("%d threads on %d processors", log.Run.Config.Threads, cores)})
	}
	for _, s := range log.Settles {
		if !s.Met {
			r.Warnings = append(r.Warnings, Warning{Unsettled, fmt.Sprintf("launch %d, after %.0f s: %s", s.Launch, s.Seconds, s.Reason)})
		}
	}
	for _, planned := range log.Run.Plan {
		r.Measurements = append(r.Measurements, measure(log, planned))
	}
	r.judge()
	return r
}

// hostCores is how many processors a run on the host could keep busy: of those that its
// workers were bound to, or else of those that its parent might use. 0 means not known.
func hostCores(run RunRecord) int {
	for _, d := range run.Devices {
		if d.ID != "host" {
			continue
		}
		bound := len(run.Config.CPUs)
		if bound == 0 {
			return d.Cores
		}
		if limits := run.Host.CgroupLimits; limits != nil {
			return hardware.UsableCores(bound, limits.CPUs)
		}
		return bound
	}
	return 0
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// invalidShare is the fraction of contaminated visits above which a point is
// invalid (X1).
const invalidShare = 0.25

func measure(log *Log, planned PlannedPoint) Measurement {
	m := Measurement{Point: planned.Point, State: Pending}
	for _, model := range log.Models {
		if model.key() == m.Point.modelKey() {
			m.Model = model
		}
	}
	if m.Model.Model == "" {
		m.Model = ModelRecord{Model: m.Point.Model, Params: planned.Params, MACs: planned.MACs / int64(max(1, m.Point.Batch))}
	}
	if planned.Skip != "" {
		m.State, m.Reason = Skipped, planned.Skip
		return m
	}
	m.prepare(log, planned.ID)
	for i := range log.Rounds {
		if log.Rounds[i].ID == planned.ID && !log.Rounds[i].Sentinel {
			m.Rounds = append(m.Rounds, &log.Rounds[i])
		}
	}
	if m.State == Failed || m.State == Skipped {
		return m
	}
	if m.Check != nil && !m.Check.Pass {
		m.State, m.Quality = Invalid, Q0
		m.Reason = fmt.Sprintf("the output differs from the reference: largest error %.2g of its root mean square (limit %.2g), top-1 agreement %.0f %%", m.Check.MaxRelErr, m.Check.Limit, 100*m.Check.Top1Agreement)
		return m
	}
	if len(m.Rounds) == 0 {
		m.Reason = "the run ended before its first round"
		return m
	}
	m.estimate(log)
	m.takeCopies(log, planned.ID)
	m.meter(log, planned.ID)
	m.takeLayers(log, planned.MACs)
	if planned.Emulated != "" {
		m.Warnings = append(m.Warnings, Warning{Emulated, planned.Emulated})
	}
	m.doubt(log)
	return m
}

// NoEnergyPass is why a run that was not asked for energy has none.
const NoEnergyPass = "the run took no energy pass"

// meter takes in the energy pass (J).
func (m *Measurement) meter(log *Log, id string) {
	m.NoEnergy = NoEnergyPass
	for i := range log.Energies {
		if e := &log.Energies[i]; e.ID == id {
			m.Energy, m.NoEnergy = estimateEnergy(e.Windows), e.Missing
		}
	}
	if m.Energy != nil && m.Energy.Suspect > 0 {
		m.Warnings = append(m.Warnings, Warning{EnergySuspect, fmt.Sprintf("%d windows", m.Energy.Suspect)})
	}
}

// prepare takes in the point records: build times, the worst check, why the point was
// given up. A visit that only looked for drift can give it up too.
func (m *Measurement) prepare(log *Log, id string) {
	var builds, firsts []int64
	for i := range log.Points {
		p := &log.Points[i]
		if p.ID != id {
			continue
		}
		if p.Failed != "" || p.Skipped != "" {
			if m.State == Pending { // the first one tells why
				m.State, m.Reason, m.Log = Failed, p.Failed, p.Log
				if p.Failed == "" {
					m.State, m.Reason = Skipped, p.Skipped
				}
			}
			continue
		}
		if p.Check != nil && (m.Check == nil || p.Check.worse(m.Check)) {
			m.Check = p.Check
		}
		if p.Sentinel {
			continue
		}
		builds, firsts = append(builds, p.BuildNS), append(firsts, p.FirstNS)
		if m.InputsAsked == 0 {
			m.Inputs, m.InputsAsked = p.RotatedInputs, p.InputsAsked
		}
	}
	if len(builds) > 0 {
		m.Build, m.First = time.Duration(median(builds)), time.Duration(median(firsts))
	}
}

// estimate fills in the numbers from the rounds that were kept.
func (m *Measurement) estimate(log *Log) {
	var (
		launches []int // in the order of launchRounds
		dropped  []float64
		pooled   []float64
	)
	kept := map[int][]*RoundRecord{}
	for _, r := range m.Rounds {
		if r.Status == Dropped {
			dropped = append(dropped, floats(r.DeviceNS)...)
			continue
		}
		if kept[r.Launch] == nil {
			launches = append(launches, r.Launch)
		}
		kept[r.Launch] = append(kept[r.Launch], r)
	}
	slices.Sort(dropped)
	if len(dropped) > 0 {
		m.DroppedMedian = quantile(dropped, 0.5)
	}
	slices.Sort(launches)
	medians, samples, walls := make([][]float64, len(launches)), make([][][]float64, len(launches)), make([][][]float64, len(launches))
	launchMedians, enqueued := make([]float64, len(launches)), make([][]float64, len(launches))
	for i, l := range launches {
		for _, r := range kept[l] {
			if len(r.EnqueueNS) > 0 {
				enqueued[i] = append(enqueued[i], float64(max(median(r.EnqueueNS), 1)))
			}
			m.AmortisedOver = max(m.AmortisedOver, r.AmortisedOver)
			ns := floats(r.DeviceNS)
			m.Effective += effectiveSamples(ns)
			pooled, samples[i], walls[i] = append(pooled, ns...), append(samples[i], ns), append(walls[i], floats(r.WallNS()))
			medians[i] = append(medians[i], float64(median(r.DeviceNS)))
		}
		launchMedians[i] = stat.Mean(medians[i], nil)
	}
	m.Samples, m.Launches = len(pooled), len(launches)
	if m.Samples == 0 {
		m.State, m.Quality = Invalid, Q0
		m.Reason = fmt.Sprintf("all %d rounds were dropped: %s", len(m.Rounds), m.Rounds[len(m.Rounds)-1].DropReason)
		return
	}
	m.State = Measured
	slices.Sort(pooled)
	m.Min = pooled[0]
	builds := m.builds(log, launches)
	m.Spread = spreadOf(pooled, samples, builds, launchMedians)
	if builds != nil {
		// The highest level that is replicated, which an interval must be over (S4).
		medians, samples, walls = byBuild(medians, builds), byBuild(samples, builds), byBuild(walls, builds)
		m.Builds = len(medians)
	}
	m.Latency = overLaunches(medians)
	if m.onGPU() {
		e := overReplicas(enqueued, builds)
		m.Enqueue = &e
	}

	m.resample(newBootstrap(samples, walls, log.Run.Seed, m.Point.String()), pooled)
	m.conditions(launches, kept, builds)
}

// resample fills in what the pooled samples say about tails and throughput.
func (m *Measurement) resample(bootstrap *bootstrap, pooled []float64) {
	quantiles := []float64{0.90, 0.95, 0.99, 0.999}
	enough := quantiles[:0]
	for _, q := range quantiles {
		// The mean of a block hides what single inferences take.
		if m.AmortisedOver == 0 && tellsTail(q, m.Effective) {
			enough = append(enough, q)
		}
	}
	rate, tails := bootstrap.intervals(enough, m.Latency)
	if m.NoThroughput = m.Point.NoThroughput(); m.NoThroughput == "" {
		perSecond := rate.Scaled(1e9 * float64(m.Point.Batch))
		m.Throughput = &perSecond
	}
	least := 0.0 // of the next bound: the highest quantiles may lack an interval that lower ones have
	for i, into := range []**Tail{&m.P90, &m.P95, &m.P99, &m.P999}[:len(enough)] {
		t := &Tail{Estimate: Estimate{Value: quantile(pooled, enough[i]), Level: level, Launches: m.Launches}}
		if tails[i] != nil {
			t.Estimate = *tails[i]
		}
		t.Upper = max(t.Value, upperBound(pooled, enough[i], m.Effective), least)
		if t.High != nil {
			t.Upper = max(t.Upper, *t.High) // where launches differ by more than samples do
		}
		*into, least = t, t.Upper
	}
}

// builds gives the build that each launch measured, for an engine whose builds of one
// network came out differently; nil where there is one, or all are the same.
func (m *Measurement) builds(log *Log, launches []int) []int {
	var plans builtPlans
	id := m.Point.String()
	for i := range log.Points {
		if p := &log.Points[i]; p.ID == id {
			plans.add(p)
		}
	}
	return plans.builds(launches)
}

// builtPlans are what an engine made of a point's network, by launch.
type builtPlans map[int]*engines.Plan

func (b *builtPlans) add(p *PointRecord) {
	if p.Sentinel || p.Executed.Plan == nil {
		return
	}
	if *b == nil {
		*b = builtPlans{}
	}
	(*b)[p.Launch] = p.Executed.Plan
}

// builds gives the build of each launch; nil where there is one, or all are the same.
func (b builtPlans) builds(launches []int) []int {
	different := map[string]bool{}
	for _, plan := range b {
		different[plan.SHA256] = true
	}
	if len(different) < 2 {
		return nil
	}
	builds := make([]int, len(launches))
	distinct := map[int]bool{}
	for i, l := range launches {
		if plan := b[l]; plan != nil {
			builds[i] = plan.Build
		}
		distinct[builds[i]] = true
	}
	if len(distinct) < 2 {
		return nil // of those that count
	}
	return builds
}

// overReplicas is overLaunches for the numbers of each launch, or over builds where those
// came out differently (S4).
func overReplicas(launches [][]float64, builds []int) Estimate {
	if builds != nil {
		launches = byBuild(launches, builds)
	}
	return overLaunches(launches)
}

// byBuild brings the rounds of all launches of a build together.
func byBuild[T any](rounds [][]T, builds []int) [][]T {
	var groups [][]T
	at := map[int]int{}
	for i, build := range builds {
		k, ok := at[build]
		if !ok {
			k = len(groups)
			at[build] = k
			groups = append(groups, nil)
		}
		groups[k] = append(groups[k], rounds[i]...)
	}
	return groups
}

// NoThroughput is why a point has no throughput, empty where it has one: a good part
// of the time of its block (M3) is what was asked for before every inference, and work
// over only the time of the inferences is a rate that nothing ran at.
func (p Point) NoThroughput() string {
	switch {
	case p.Gap > 0:
		return "inferences are spaced by a gap, which sets their rate"
	case p.Cache == Cold:
		return "the cache is emptied before every inference, which sets their rate"
	case p.Graph == Blocked:
		return "the stream is held until all of an inference is queued, which sets their rate"
	}
	return ""
}

func floats(ns []int64) []float64 {
	v := make([]float64, len(ns))
	for i := range ns {
		v[i] = float64(ns[i])
	}
	return v
}

// doubt judges what was estimated.
func (m *Measurement) doubt(log *Log) {
	if m.State != Measured {
		return
	}
	proto := log.Run.Config.Protocol
	warn := func(code Code, format string, args ...any) {
		m.Warnings = append(m.Warnings, Warning{code, fmt.Sprintf(format, args...)})
	}
	for _, e := range log.Run.Engines {
		if e.Name != m.Point.Engine {
			continue
		}
		if e.Version == fakeVersion {
			warn(FakeEngine, "engine %s", e.Name)
		}
		if e.Reference {
			warn(ReferenceEngine, "engine %s", e.Name)
		}
	}
	for _, d := range log.Run.Devices {
		if d.Fake && !slices.ContainsFunc(m.Warnings, func(w Warning) bool { return w.Code == FakeEngine }) {
			warn(FakeEngine, "device %s", d.Name)
		}
	}
	if m.Check == nil && models.IsFile(m.Point.Model) {
		warn(Unchecked, "%s has operators that genbench's reference does not know", m.Point.Model)
	}
	if m.AmortisedOver > 0 {
		warn(Amortised, "over %d inferences", m.AmortisedOver)
	}
	if m.InputsAsked > 0 {
		warn(FewInputs, "%d of %d", m.Inputs, m.InputsAsked)
	}
	kept, unsteady := 0, 0
	moved, widest := 0, 0.0
	stolen, worstSteal := 0, 0.0
	crowded, worstForeign := 0, 0.0
	for _, r := range m.Rounds {
		if r.Status != OK {
			continue
		}
		kept++
		if !r.Steady.Met {
			unsteady++
			if r.Steady.ClockMoved() {
				moved++
				widest = max(widest, r.Steady.ClockSpread)
			}
		}
		if steal := r.Interval.StealFraction; steal != nil && *steal > proto.TagSteal {
			stolen++
			worstSteal = max(worstSteal, *steal)
		}
		if foreign := r.Interval.ForeignCPUs; foreign != nil && *foreign > proto.TagForeign {
			crowded++
			worstForeign = max(worstForeign, *foreign)
		}
	}
	if moved > 0 {
		warn(Unsteady, "%d of %d rounds; in %d of them the clock moved, by up to %.1f %%", unsteady, kept, moved, 100*widest)
	} else if unsteady > 0 {
		warn(Unsteady, "%d of %d rounds", unsteady, kept)
	}
	if stolen > 0 {
		warn(Stolen, "%d of %d rounds, up to %.1f %% of the machine", stolen, kept, 100*worstSteal)
	}
	if crowded > 0 {
		warn(ForeignLoad, "%d of %d rounds, up to %.2f cores", crowded, kept, worstForeign)
	}
	if w := m.clockDoubt(log); w != nil {
		m.Warnings = append(m.Warnings, *w)
	}
	if n := m.Dropped(); n > 0 {
		warn(DroppedRounds, "%d of %d; their median is %s against %s kept", n, len(m.Rounds), milliseconds(m.DroppedMedian), milliseconds(m.Latency.Value))
	}
	if m.Launches < 2 {
		warn(FewLaunches, "%d, an interval needs 2", m.Launches)
	} else if half := m.Latency.HalfWidth(); half > proto.RelWidth {
		warn(Imprecise, "±%.1f %%, the profile %s aims for ±%.1f %%", 100*half, proto.Profile, 100*proto.RelWidth)
	}
	if visits := visitsOf(proto, m.Rounds); float64(visits-kept) > invalidShare*float64(visits) && log.End != nil && log.End.Reason == "" {
		m.State, m.Quality = Invalid, Q0
		m.Reason = fmt.Sprintf("%d of %d visits gave no clean round", visits-kept, visits)
	}
}

// judge says what the run shows of drift, and from all doubts the quality of every
// point and which rules were met.
func (r *Result) judge() {
	var measured []roundMedians
	for i := range r.Measurements {
		if m := &r.Measurements[i]; m.State == Measured {
			measured = append(measured, mediansOf(m.Rounds))
		}
	}
	r.Drift = driftOf(r.Log, measured)
	r.Warnings = append(r.Warnings, r.Drift.Warnings()...)
	for i := range r.Measurements {
		m := &r.Measurements[i]
		switch m.State {
		case Measured:
			m.Quality, m.Lowered = qualityOf(slices.Concat(m.Warnings, r.Warnings), m.floating(r.Log.Run))
		case Invalid:
			m.Lowered = []string{m.Reason}
		}
	}
	r.Rules = rulesOf(r)
}

// floating says why the clocks cannot be called fixed; empty where they can: a GPU's
// were locked and verified under load in every round (clockDoubt); on a host the worker
// was bound to processors whose clock stayed within 1 % in all rounds.
func (m *Measurement) floating(run RunRecord) string {
	if slices.ContainsFunc(m.Rounds, func(r *RoundRecord) bool { return r.EnqueueNS != nil }) {
		for _, w := range m.Warnings {
			if w.Code == FloatingClocks || w.Code == ClockNotHeld {
				return w.String()
			}
		}
		return ""
	}
	switch {
	case len(run.Host.PinnedCPUs) == 0:
		return "not bound to processors"
	case m.Clock == nil:
		why := m.Rounds[0].Interval.Reasons["mean_frequency_mhz"]
		return "bound to processors, but their clock is not readable: " + cmp.Or(why, "no round has it")
	case m.Clock.High-m.Clock.Low > fixedWithin*m.Clock.Mean:
		return fmt.Sprintf("the clock went from %.0f to %.0f MHz", m.Clock.Low, m.Clock.High)
	case m.NoCycles != "": // some rounds have no clock
		return "bound to processors, but " + m.NoCycles
	}
	return ""
}

// fixedWithin is how far a clock may move and still be called fixed (C2).
const fixedWithin = 0.01

func milliseconds(ns float64) string { return fmt.Sprintf("%.4g ms", ns/1e6) }

// fakeVersion marks the library of a test double.
const fakeVersion = "fake"

// ExitCode is what `genbench run` ends with for this result: 0 where every
// measurable point was measured, 5 where some failed or were not reached, 4 where
// some are invalid and none failed, 3 where there was none to measure.
func (r *Result) ExitCode() int {
	states := make([]State, len(r.Measurements))
	for i := range r.Measurements {
		states[i] = r.Measurements[i].State
	}
	return exitCode(states)
}

func exitCode(points []State) int {
	code, skipped := 0, 0
	for _, s := range points {
		switch s {
		case Failed, Pending:
			return 5
		case Invalid:
			code = 4
		case Skipped:
			skipped++
		}
	}
	if skipped > 0 && skipped == len(points) {
		return 3
	}
	return code
}
