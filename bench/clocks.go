package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"genbench/hardware"
)

// A ClockPolicy is what a run does about the clocks of the GPU that it measures on
// (C1): AutoClocks, FloatClocks, BaseClocks, or "lock:" and a number of MHz. A run on
// a host device has none.
type ClockPolicy string

const (
	// AutoClocks locks the highest clock at which the heaviest point meets neither the
	// power cap nor a limit of heat.
	AutoClocks ClockPolicy = "auto"
	// FloatClocks leaves the clocks to the driver.
	FloatClocks ClockPolicy = "float"
	// BaseClocks locks the highest clock that the board holds at its power limit.
	BaseClocks ClockPolicy = "lock:base"
)

// LockedClocks is the policy of one clock.
func LockedClocks(mhz int) ClockPolicy { return ClockPolicy(fmt.Sprintf("lock:%d", mhz)) }

// ParseClockPolicy reads what LockedClocks and the constants write.
func ParseClockPolicy(text string) (ClockPolicy, error) {
	p := ClockPolicy(text)
	switch {
	case p == AutoClocks, p == FloatClocks, p == BaseClocks, p.MHz() > 0 && p == LockedClocks(p.MHz()):
		return p, nil
	}
	return "", fmt.Errorf("%q is not a clock policy; want auto, float, lock:base, or lock: and a number of MHz, such as lock:1410", text)
}

// MHz is the clock that the policy names; 0 where it names none.
func (p ClockPolicy) MHz() int {
	number, ok := strings.CutPrefix(string(p), "lock:")
	if !ok {
		return 0
	}
	mhz, err := strconv.Atoi(number)
	if err != nil {
		return 0
	}
	return mhz
}

// Clocks are those of the GPU that a run measures on. One goroutine uses them. What
// they hold is given back however the process ends.
type Clocks interface {
	// Supported lists the SM clocks that can be locked, in MHz, ascending; empty where
	// the board does not say.
	Supported() []int
	// Holder is the lease of another process that holds them; nil without one.
	Holder() (*hardware.Lease, error)
	// Lock holds them at so many MHz, or at their base for 0, in place of what it held
	// before. The lock is a wish: only what is measured under load shows whether it
	// was granted.
	Lock(ctx context.Context, mhz int) error
	// Release gives back what Lock holds.
	Release() error
	// Standing tells whether what Lock took is still held: the guardian that gives it
	// back when the process ends can itself be killed.
	Standing() bool
}

// A ClocksRecord says how the clocks of the GPU are set from then on, and why.
type ClocksRecord struct {
	Type string `json:"type"` // "clocks"
	Time int64  `json:"t_ns"`
	// Asked is the policy that the run was given, Policy what became of it: "lock" or
	// "float".
	Asked  ClockPolicy `json:"clock_asked"`
	Policy string      `json:"clock_policy"`
	// LockMHz is the clock asked of the driver, 0 while they float. Every round holds
	// it, too, beside the clock that was measured.
	LockMHz int `json:"clock_requested_mhz,omitempty"`
	// Holder is the process that holds the clocks where that is another one.
	Holder int    `json:"holder_pid,omitempty"`
	Reason string `json:"reason"`
	// Restarts is the launch that starts again under these clocks; what it gave before
	// no longer counts.
	Restarts int          `json:"restarts_launch,omitempty"`
	Probes   []ClockProbe `json:"probes,omitempty"` // what was tried before
}

const (
	clocksLocked   = "lock"
	clocksFloating = "float"
)

// String says how the clocks are set.
func (c ClocksRecord) String() string {
	if c.Policy != clocksLocked {
		return "floating"
	}
	return fmt.Sprintf("locked at %d MHz", c.LockMHz)
}

// ClockSetting says in words how a run set the clocks of its GPU, in the order of the
// changes; empty where it set none, as on a host device.
func (l *Log) ClockSetting() string {
	var settings []string
	for _, c := range l.Clocks {
		if s := c.String(); len(settings) == 0 || settings[len(settings)-1] != s {
			settings = append(settings, s)
		}
	}
	return strings.Join(settings, ", then ")
}

// supersede drops what a launch gave before it started again under other clocks: a
// launch is one state of the machine.
func (l *Log) supersede(c ClocksRecord) {
	if c.Restarts == 0 {
		return
	}
	for i := range l.Rounds {
		r := &l.Rounds[i]
		if r.Launch != c.Restarts {
			continue
		}
		r.superseded = true
		if r.Status == OK {
			r.Status, r.DropReason = Dropped, fmt.Sprintf("launch %d was started again with clocks %s", c.Restarts, c)
		}
	}
	l.Copies = slices.DeleteFunc(l.Copies, func(r CopyRecord) bool { return r.Launch == c.Restarts })
}

// underLastLock leaves out the sentinel's rounds from before its clock was last
// changed: a difference between clocks is not drift.
func underLastLock(rounds []RoundRecord) []RoundRecord {
	var visits []RoundRecord
	for _, r := range rounds {
		if !r.Sentinel {
			continue
		}
		if len(visits) > 0 && visits[0].LockMHz != r.LockMHz {
			visits = nil
		}
		visits = append(visits, r)
	}
	return visits
}

// clockDoubt says why the GPU's clocks cannot be called fixed in the rounds of a
// point that count: they floated, or the clock measured under load was not the one
// asked for (C2, C5).
func (m *Measurement) clockDoubt(log *Log) *Warning {
	var kept, unknown, off int
	var worst hardware.ClockCheck
	var locks []string
	why := ""
	for _, r := range m.Rounds {
		if r.Status != OK || r.EnqueueNS == nil {
			continue
		}
		kept++
		if r.LockMHz == 0 {
			return &Warning{FloatingClocks, log.floatReason()}
		}
		if lock := fmt.Sprint(r.LockMHz); !slices.Contains(locks, lock) {
			locks = append(locks, lock)
		}
		if r.ClockMHz == nil {
			unknown++
			why = r.ClockReason
			continue
		}
		check := hardware.CheckClock(r.LockMHz, *r.ClockMHz)
		if check.Locked {
			continue
		}
		if off++; math.Abs(check.Deviation) > math.Abs(worst.Deviation) {
			worst = check
		}
	}
	switch {
	case off > 0:
		return &Warning{ClockNotHeld, fmt.Sprintf("asked for %d MHz, measured %.1f MHz under load (%+.1f %%), in %d of %d rounds",
			worst.RequestedMHz, worst.EffectiveMHz, 100*worst.Deviation, off, kept)}
	case unknown > 0:
		return &Warning{ClockNotHeld, fmt.Sprintf("asked for %s MHz, not verified in %d of %d rounds: %s", strings.Join(locks, ", then "), unknown, kept, why)}
	case len(locks) > 1:
		return &Warning{ClockNotHeld, fmt.Sprintf("the lock was changed on the way: %s MHz", strings.Join(locks, ", then "))}
	}
	return nil
}

// floatReason is why the clocks of a GPU float.
func (l *Log) floatReason() string {
	for _, c := range slices.Backward(l.Clocks) {
		if c.Policy == clocksFloating {
			return fmt.Sprintf("asked for %s; %s", c.Asked, c.Reason)
		}
	}
	return "the journal holds no lock of the GPU's clocks"
}

// VerifiedClocks says how the lock of a GPU's clocks was verified, and with what
// outcome; empty where nothing was locked.
func (r *Result) VerifiedClocks() string {
	var rounds, held int
	var clocks []float64
	for i := range r.Log.Rounds {
		round := &r.Log.Rounds[i]
		if round.Status != OK || round.LockMHz == 0 {
			continue
		}
		rounds++
		if round.ClockMHz == nil {
			continue
		}
		clocks = append(clocks, *round.ClockMHz)
		if hardware.CheckClock(round.LockMHz, *round.ClockMHz).Locked {
			held++
		}
	}
	if rounds == 0 {
		return ""
	}
	said := fmt.Sprintf("held within 1 %% in %d of %d rounds, by the GPU's cycle counters against its timer under load", held, rounds)
	if span := rangeOf(clocks); span != nil {
		said += fmt.Sprintf(" (%.0f to %.0f MHz)", span.Low, span.High)
	}
	return said
}

// clocks judges the rules of a GPU's clocks (C).
func (j *ruleJudge) clocks() []Rule {
	log := j.r.Log
	if len(log.Clocks) == 0 {
		return []Rule{notMet("C1", "the clocks float"), notMet("C2", "no clock was verified under load"), notApplicable("C3", "no clock was locked"), notApplicable("C4", "no clock was locked"), j.rights("")}
	}
	last := log.Clocks[len(log.Clocks)-1]
	if last.Policy == clocksFloating {
		return []Rule{notMet("C1", "the clocks float: %s", log.floatReason()), notMet("C2", "no clock was locked"), notApplicable("C3", "no clock was locked"), notApplicable("C4", "no clock was locked"), j.rights(last.Asked)}
	}
	rules := []Rule{met("C1", "%s: %s; %s", last.Asked, log.ClockSetting(), last.Reason)}
	fixed := holding(j.measured, func(m *Measurement) bool { return m.floating(log.Run) == "" })
	rules = append(rules, all("C2", fixed, len(j.measured), "points ran at the clock asked for in every round, verified under load"), met("C3", "only the SM clock is locked"))
	if last.Holder != 0 {
		rules = append(rules, notApplicable("C4", "process %d holds the clocks", last.Holder))
	} else {
		rules = append(rules, met("C4", "a guardian gives the clocks back however the run ends"))
	}
	return append(rules, j.rights(last.Asked))
}

// rights judges what a run that may not lock does (C5).
func (j *ruleJudge) rights(asked ClockPolicy) Rule {
	floating := holding(j.measured, func(m *Measurement) bool { return m.floating(j.r.Log.Run) != "" })
	switch {
	case floating == 0:
		return notApplicable("C5", "no clock floats")
	case asked == FloatClocks:
		return met("C5", "floating was asked for, and rules out class Q1 in every table")
	}
	return met("C5", "floating clocks rule out class Q1 in every table")
}
