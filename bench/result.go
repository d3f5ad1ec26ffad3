package bench

import (
	"fmt"
	"slices"
	"time"
)

// A Result is a run as its journal tells it: a pure function of the file.
type Result struct {
	Log          *Log
	Measurements []Measurement // in the plan's order, one a point
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

// A Measurement is a point with all that was learnt of it. Times are nanoseconds
// of one inference of a whole batch.
type Measurement struct {
	Point  Point
	State  State
	Reason string   // of a state other than measured
	Log    []string // the worker's last words, where it failed
	Model  ModelRecord

	// The estimates exist where State is measured.
	Latency    Estimate // median device time of one inference, ns
	Throughput Estimate // images a second: work over the time of the block (M3)
	Min        float64
	P90, P99   *Tail // nil where samples are too few
	Spread     Spread
	Effective  float64 // samples after autocorrelation

	Samples  int
	Launches int
	Rounds   []*RoundRecord // ok and dropped, in the order they were taken
	// DroppedMedian is the median of the dropped rounds' samples; 0 without any
	// (X2: both are shown).
	DroppedMedian float64

	Build, First time.Duration // medians over visits
	Check        *Check        // the worst of all launches

	Quality  Quality
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
	if cores := hostCores(log.Run); log.Run.Config.Threads > cores && cores > 0 {
		r.Warnings = append(r.Warnings, Warning{Oversubscribed, fmt.Sprintf("%d threads on %d processors", log.Run.Config.Threads, cores)})
	}
	for _, planned := range log.Run.Plan {
		r.Measurements = append(r.Measurements, measure(log, planned))
	}
	return r
}

func hostCores(run RunRecord) int {
	for _, d := range run.Devices {
		if d.ID == "host" {
			return d.Cores
		}
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
		if model.Model == m.Point.Model && model.Resolution == m.Point.Resolution && model.Precision == m.Point.Precision && model.Batch == m.Point.Batch {
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
	if m.State == Failed {
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
	m.estimate()
	m.doubt(log)
	return m
}

// prepare takes in the point records: build times, the worst check, a failure.
func (m *Measurement) prepare(log *Log, id string) {
	var builds, firsts []int64
	for i := range log.Points {
		p := &log.Points[i]
		if p.ID != id {
			continue
		}
		if p.Failed != "" {
			m.State, m.Reason, m.Log = Failed, p.Failed, p.Log
			continue
		}
		builds, firsts = append(builds, p.BuildNS), append(firsts, p.FirstNS)
		if p.Check != nil && (m.Check == nil || p.Check.MaxRelErr > m.Check.MaxRelErr) {
			m.Check = p.Check
		}
	}
	if len(builds) > 0 {
		m.Build, m.First = time.Duration(median(builds)), time.Duration(median(firsts))
	}
}

// estimate fills in the numbers from the rounds that were kept.
func (m *Measurement) estimate() {
	var (
		medians, rates = map[int][]float64{}, map[int][]float64{}
		launches       []int
		rounds         [][]float64
		pooled         []float64
		dropped        []float64
	)
	for _, r := range m.Rounds {
		ns := make([]float64, len(r.DeviceNS))
		total := 0.0
		for i, v := range r.DeviceNS {
			ns[i] = float64(v)
			total += ns[i]
		}
		if r.Status == Dropped {
			dropped = append(dropped, ns...)
			continue
		}
		if medians[r.Launch] == nil {
			launches = append(launches, r.Launch)
		}
		m.Effective += effectiveSamples(ns)
		rounds, pooled = append(rounds, ns), append(pooled, ns...)
		medians[r.Launch] = append(medians[r.Launch], float64(median(r.DeviceNS)))
		rates[r.Launch] = append(rates[r.Launch], float64(len(ns)*m.Point.Batch)/(total/1e9))
	}
	slices.Sort(dropped)
	if len(dropped) > 0 {
		m.DroppedMedian = quantile(dropped, 0.5)
	}
	m.Samples, m.Launches = len(pooled), len(launches)
	if m.Samples == 0 {
		m.State, m.Quality = Invalid, Q0
		m.Reason = fmt.Sprintf("all %d rounds were dropped: %s", len(m.Rounds), m.Rounds[len(m.Rounds)-1].DropReason)
		return
	}
	m.State = Measured
	slices.Sort(launches)
	var byLaunch, ratesByLaunch [][]float64
	for _, l := range launches {
		byLaunch, ratesByLaunch = append(byLaunch, medians[l]), append(ratesByLaunch, rates[l])
	}
	m.Latency, m.Throughput = overLaunches(byLaunch), overLaunches(ratesByLaunch)
	slices.Sort(pooled)
	m.Min = pooled[0]
	m.P90, m.P99 = tail(pooled, 0.90, m.Effective), tail(pooled, 0.99, m.Effective)
	launchMedians := make([]float64, len(byLaunch))
	for i, rounds := range byLaunch {
		for _, v := range rounds {
			launchMedians[i] += v / float64(len(rounds))
		}
	}
	m.Spread = spreadOf(pooled, rounds, launchMedians)
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
	kept, unsteady := 0, 0
	stolen, worstSteal := 0, 0.0
	crowded, worstForeign := 0, 0.0
	for _, r := range m.Rounds {
		if r.Status != OK {
			continue
		}
		kept++
		if !r.Steady.Met {
			unsteady++
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
	if unsteady > 0 {
		warn(Unsteady, "%d of %d rounds", unsteady, kept)
	}
	if stolen > 0 {
		warn(Stolen, "%d of %d rounds, up to %.1f %% of the machine", stolen, kept, 100*worstSteal)
	}
	if crowded > 0 {
		warn(ForeignLoad, "%d of %d rounds, up to %.2f cores", crowded, kept, worstForeign)
	}
	if n := m.Dropped(); n > 0 {
		warn(DroppedRounds, "%d of %d; their median is %s against %s kept", n, len(m.Rounds), milliseconds(m.DroppedMedian), milliseconds(m.Latency.Value))
	}
	if m.Launches < 2 {
		warn(FewLaunches, "%d, an interval needs 2", m.Launches)
	} else if half := m.Latency.HalfWidth(); half > proto.RelWidth {
		warn(Imprecise, "±%.1f %%, the profile %s aims for ±%.1f %%", 100*half, proto.Profile, 100*proto.RelWidth)
	}
	m.Quality = qualityOf(m.Warnings, false)
	if visits := proto.Launches * proto.Rounds; float64(visits-kept) > invalidShare*float64(visits) && log.End != nil && log.End.Reason == "" {
		m.State, m.Quality = Invalid, Q0
		m.Reason = fmt.Sprintf("%d of %d visits gave no clean round", visits-kept, visits)
	}
}

func milliseconds(ns float64) string { return fmt.Sprintf("%.4g ms", ns/1e6) }

// fakeVersion marks the library of a test double.
const fakeVersion = "fake"

// ExitCode is what `genbench run` ends with for this result: 0 where every
// measurable point was measured, 5 where some failed or were not reached, 4 where
// some are invalid and none failed.
func (r *Result) ExitCode() int {
	code := 0
	for i := range r.Measurements {
		switch r.Measurements[i].State {
		case Failed, Pending:
			return 5
		case Invalid:
			code = 4
		}
	}
	return code
}
