package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"genbench/hardware"
)

// A Disturbance is a kind of event that spoils a round or makes it worth less (X).
type Disturbance string

const (
	// Hard: heat or a power brake slowed the device down.
	Hard Disturbance = "hard"
	// PowerLimited: the device met its power cap, where some boards always run.
	PowerLimited Disturbance = "power_limited"
	// LockLost: a power cap held a locked clock below its lock.
	LockLost Disturbance = "lock_lost"
	// Sync: the clock followed another GPU's.
	Sync Disturbance = "sync_boost"
	// Underfed: the device was idle when it should have been busy.
	Underfed Disturbance = "underfed"
	// Foreign: others used the device or the processors.
	Foreign Disturbance = "foreign"
	// StolenTime: a hypervisor gave the processors to others.
	StolenTime Disturbance = "stolen"
	// BadClock: samples that no clock running forward gives.
	BadClock Disturbance = "bad_clock"
)

// A verdict on a round.
type verdict struct {
	seen   []Disturbance // also of a round that is kept
	reason string        // why it is dropped; empty where it is kept
	hot    bool          // dropped for heat, which passes
	// lockLost: dropped for a lock that is too high, which only a lower one mends.
	lockLost bool
}

func (v *verdict) tag(d Disturbance) {
	if !slices.Contains(v.seen, d) {
		v.seen = append(v.seen, d)
	}
}

func (v *verdict) drop(d Disturbance, format string, args ...any) {
	v.tag(d)
	if v.reason != "" {
		v.reason += "; "
	}
	v.reason += fmt.Sprintf(format, args...)
}

func (v *verdict) status() Status {
	if v.reason != "" {
		return Dropped
	}
	return OK
}

// judgeRound classifies a round by what else happened during it (X): i is the
// evidence from one end to the other, from and to are the GPU's readings at them, nil
// on a host device or where a reading is missing. What is not known judges nothing.
func judgeRound(i hardware.Interval, from, to *hardware.GPUReading, p Protocol) verdict {
	var v verdict
	if i.StealFraction != nil && *i.StealFraction > p.DropSteal {
		v.drop(StolenTime, "the hypervisor took %.1f %% of the machine's time (limit %.0f %%)", 100**i.StealFraction, 100*p.DropSteal)
	}
	if i.ForeignCPUs != nil && *i.ForeignCPUs > p.DropForeign {
		v.drop(Foreign, "other processes used %.2f cores (limit %.1f)", *i.ForeignCPUs, p.DropForeign)
	}
	if i.ThermalThrottles != nil && *i.ThermalThrottles > 0 {
		v.hot = true
		v.drop(Hard, "the processor throttled itself for heat %d times", *i.ThermalThrottles)
	}
	if i.GPU != nil {
		v.gpu(*i.GPU, from, to)
	}
	return v
}

// hardReasons are those for which one look is enough.
const hardReasons = hardware.HWThermalSlowdown | hardware.HWPowerBrakeSlowdown | hardware.SWThermalSlowdown

func (v *verdict) gpu(i hardware.GPUInterval, from, to *hardware.GPUReading) {
	if len(i.ForeignProcesses) > 0 {
		v.drop(Foreign, "other processes use the GPU: %v", i.ForeignProcesses)
	}
	happened := func(n *int64) bool { return n != nil && *n > 0 }
	if happened(i.ECCErrors) {
		v.drop(Foreign, "the GPU met %d memory errors that it could not correct", *i.ECCErrors)
	}
	if len(i.Xids) > 0 {
		v.drop(Foreign, "the driver reported faults of the GPU: Xid %v", i.Xids)
	}
	if happened(i.PCIeReplays) {
		v.drop(Foreign, "%d packets to the GPU had to be sent again", *i.PCIeReplays)
	}
	// A slowdown too short for a look is in the board's count all the same.
	counted := happened(i.HWSlowdownNS)
	if counted {
		v.hot = true
		v.drop(Hard, "the board slowed itself down for %.3g ms", float64(*i.HWSlowdownNS)/1e6)
	}
	if i.EventReasons == nil {
		return
	}
	reasons := *i.EventReasons
	// A slowdown of hardware seen once may be a voltage step of microseconds, unless
	// time was counted for it: the board's, or heat's where the driver does not tell that.
	// Time at a power cap does not count: some boards always run at it.
	hard := reasons & hardReasons
	counted = counted || i.HWSlowdownNS == nil && happened(i.ThermalViolationNS)
	seen := looks(i.Watch, hardware.HWSlowdown)
	for _, end := range []*hardware.GPUReading{from, to} {
		if stood(end, hardware.HWSlowdown) {
			seen++
		}
	}
	if seen >= 2 || counted {
		hard |= reasons & hardware.HWSlowdown
	}
	if hard != 0 {
		v.hot = true
		v.drop(Hard, "the GPU was slowed down: %s", strings.Join(hard.Names(), ", "))
	}
	if reasons&hardware.SyncBoost != 0 {
		v.drop(Sync, "the GPU's clock followed another's: %s", strings.Join(hardware.SyncBoost.Names(), ", "))
	}
	if reasons&hardware.SWPowerCap != 0 {
		v.tag(PowerLimited)
	}
}

// fed judges a round without gaps: before it a GPU has every reason to be idle; during
// it and right after, none.
func (v *verdict) fed(i hardware.GPUInterval, to *hardware.GPUReading) {
	if looks(i.Watch, hardware.GPUIdle) > 0 || stood(to, hardware.GPUIdle) {
		v.tag(Underfed)
	}
}

// stood tells whether a reading shows a bit.
func stood(r *hardware.GPUReading, bit hardware.EventReasons) bool {
	return r != nil && r.EventReasons != nil && *r.EventReasons&bit != 0
}

// looks counts the looks of a watch that showed a bit.
func looks(w *hardware.EventWatch, bit hardware.EventReasons) int {
	if w == nil {
		return 0
	}
	return w.Seen[bit.Names()[0]]
}

// power judges a round at the power cap by the clock that was measured: one that was
// held below its lock is dropped, and the lock is too high (X, POWER locked). Where the
// lock is not ours to lower, the round is kept, and the clock beside it shows why. So
// is one under floating clocks (X, POWER floating), whose latency shows whether they
// hold still.
func (v *verdict) power(lock *ClockLock, mhz *float64) {
	if lock == nil || mhz == nil || !lock.MayLower || !slices.Contains(v.seen, PowerLimited) {
		return
	}
	if check := hardware.CheckClock(lock.MHz, *mhz); !check.Locked && check.Deviation < 0 {
		v.lockLost = true
		v.drop(LockLost, "the power cap held the clock at %.1f MHz, %.1f %% below its lock at %d MHz", *mhz, -100*check.Deviation, lock.MHz)
	}
}

// coolWait is how long to wait for the device to cool after the nth round in
// succession that heat spoilt.
func (p Protocol) coolWait(n int) time.Duration {
	wait := p.CoolWait
	for range n - 1 {
		if wait += wait / 2; wait >= p.CoolCap {
			break
		}
	}
	return min(wait, p.CoolCap)
}
