package bench

import (
	"fmt"
	"slices"

	"genbench/models"
)

// An Outcome is what became of a planned point, and the rounds that it rests on,
// before anything is estimated. It takes one pass over the journal, so results of
// many points can be compared quickly; NewResult estimates.
type Outcome struct {
	Point  Point
	State  State
	Reason string // of a state other than measured
	// Wrong says that an output was wrong, which no number of right ones makes good.
	Wrong  bool
	Model  *ModelRecord
	Rounds []*RoundRecord // that were kept
	// Clocks of the device during each of the rounds, in MHz; 0 where it was not read.
	Clocks []float64
	// Floating is why the clocks cannot be called fixed; empty where they can.
	Floating string
	// Launches counts those that kept a round.
	Launches int
	Energy   *Energy   // nil with the reason in NoEnergy
	NoEnergy string    // why Energy is nil
	Warnings []Warning // of the engine and of the rounds; those of estimates are not known yet
}

// Outcomes says what became of every planned point, in the plan's order.
func Outcomes(log *Log) []Outcome {
	files := map[modelKey]*ModelRecord{}
	for i := range log.Models {
		m := &log.Models[i]
		files[modelKey{m.Model, m.Precision, m.Batch, m.Resolution}] = m
	}
	points := map[string][]*PointRecord{}
	for i := range log.Points {
		points[log.Points[i].ID] = append(points[log.Points[i].ID], &log.Points[i])
	}
	rounds := map[string][]*RoundRecord{}
	for i := range log.Rounds {
		if log.Rounds[i].Sentinel {
			continue // it watches for drift and counts for no point
		}
		rounds[log.Rounds[i].ID] = append(rounds[log.Rounds[i].ID], &log.Rounds[i])
	}
	energies := map[string]*EnergyRecord{}
	for i := range log.Energies {
		energies[log.Energies[i].ID] = &log.Energies[i]
	}
	engines := map[string]EngineRecord{}
	for _, e := range log.Run.Engines {
		engines[e.Name] = e
	}
	list := make([]Outcome, len(log.Run.Plan))
	for i, planned := range log.Run.Plan {
		p := planned.Point
		list[i] = Outcome{Point: p, Model: files[p.modelKey()]}
		list[i].settle(log, planned, points[planned.ID], rounds[planned.ID])
		list[i].clock(log)
		list[i].meter(energies[planned.ID])
		switch e := engines[p.Engine]; {
		case e.Version == fakeVersion:
			list[i].Warnings = append(list[i].Warnings, Warning{FakeEngine, "engine " + e.Name})
		case e.Reference:
			list[i].Warnings = append(list[i].Warnings, Warning{ReferenceEngine, "engine " + e.Name})
		default:
			for _, d := range log.Run.Devices {
				if d.Fake {
					list[i].Warnings = append(list[i].Warnings, Warning{FakeEngine, "device " + d.Name})
					break
				}
			}
		}
	}
	return list
}

// clock finds the device's clock during the rounds, and what can be said against it.
func (o *Outcome) clock(log *Log) {
	m := Measurement{Rounds: o.Rounds}
	var known []float64
	o.Clocks = make([]float64, len(o.Rounds))
	for i, r := range o.Rounds {
		if clock, _ := r.conditions(); clock != nil && *clock > 0 {
			o.Clocks[i] = *clock
			known = append(known, *clock)
		}
	}
	m.Clock = rangeOf(known)
	if w := m.clockDoubt(log); w != nil {
		m.Warnings = append(m.Warnings, *w)
		o.Warnings = append(o.Warnings, *w)
	}
	o.Floating = m.floating(log.Run)
}

// meter takes in the energy pass; nil where there was none.
func (o *Outcome) meter(e *EnergyRecord) {
	if e == nil {
		o.NoEnergy = NoEnergyPass
		return
	}
	o.Energy, o.NoEnergy = estimateEnergy(e.Windows), e.Missing
	if o.Energy != nil && o.Energy.Suspect > 0 {
		o.Warnings = append(o.Warnings, Warning{EnergySuspect, fmt.Sprintf("%d windows", o.Energy.Suspect)})
	}
}

// ExitCode is what a run ends with: that of its Result, without estimating anything.
func ExitCode(log *Log) int {
	outcomes := Outcomes(log)
	states := make([]State, len(outcomes))
	for i, o := range outcomes {
		states[i] = o.State
	}
	return exitCode(states)
}

// settle finds the state, by the same rules as NewResult.
func (o *Outcome) settle(log *Log, planned PlannedPoint, points []*PointRecord, rounds []*RoundRecord) {
	if planned.Skip != "" {
		o.State, o.Reason = Skipped, planned.Skip
		return
	}
	for _, p := range points {
		switch {
		case p.Failed != "":
			o.State, o.Reason = Failed, p.Failed
			return
		case p.Skipped != "":
			o.State, o.Reason = Skipped, p.Skipped
			return
		case p.wrong():
			o.State, o.Reason, o.Wrong = Invalid, wrongOutput, true
		}
	}
	if o.State == Invalid {
		return
	}
	if len(rounds) == 0 {
		o.State, o.Reason = Pending, "the run ended before its first round"
		return
	}
	unsteady, launches := 0, map[int]bool{}
	for _, r := range rounds {
		if r.Status != OK {
			continue
		}
		o.Rounds = append(o.Rounds, r)
		launches[r.Launch] = true
		if !r.Steady.Met {
			unsteady++
		}
	}
	o.Launches = len(launches)
	kept, visits := len(o.Rounds), visitsOf(log.Run.Config.Protocol, rounds)
	switch finished := log.End != nil && log.End.Reason == ""; {
	case kept == 0:
		o.State, o.Reason = Invalid, fmt.Sprintf("all %d rounds were dropped: %s", len(rounds), rounds[len(rounds)-1].DropReason)
	case finished && float64(visits-kept) > invalidShare*float64(visits):
		o.State, o.Reason = Invalid, fmt.Sprintf("%d of %d visits gave no clean round", visits-kept, visits)
	default:
		o.State = Measured
	}
	if o.State == Measured && models.IsFile(o.Point.Model) && !slices.ContainsFunc(points, func(p *PointRecord) bool { return p.Check != nil }) {
		o.Warnings = append(o.Warnings, Warning{Unchecked, o.Point.Model})
	}
	if unsteady > 0 {
		o.Warnings = append(o.Warnings, Warning{Unsteady, fmt.Sprintf("%d of %d rounds", unsteady, kept)})
	}
	if dropped := len(rounds) - kept; dropped > 0 {
		o.Warnings = append(o.Warnings, Warning{DroppedRounds, fmt.Sprintf("%d of %d", dropped, len(rounds))})
	}
}

// visitsOf counts the visits that a point was owed: those of the plan, and those of
// launches that were added for its sake (S5), which its rounds show, kept or not.
func visitsOf(p Protocol, rounds []*RoundRecord) int {
	type visit struct{ launch, round int }
	added := map[visit]bool{}
	for _, r := range rounds {
		if r.Launch > p.Launches {
			added[visit{r.Launch, r.Round}] = true
		}
	}
	return p.Launches*p.Rounds + len(added)
}
