package main

import (
	"testing"

	"genbench/bench"
	"genbench/hardware"
)

// A run comes back to where the one that it follows settled, or came back to.
func TestSettledByAnother(t *testing.T) {
	gpu := hardware.Info{ID: "GPU-1"}
	settle := func(mhz float64, first bool) bench.SettleRecord {
		return bench.SettleRecord{Seconds: 5, First: first, End: bench.DeviceState{ClockMHz: &mhz}}
	}
	target, off := 1410.0, 1405.0
	for _, c := range []struct {
		name    string
		device  hardware.Info
		settles []bench.SettleRecord
		want    float64 // MHz; 0 for none
	}{
		{"nothing", gpu, nil, 0},
		{"one that died", gpu, []bench.SettleRecord{{Reason: "it died"}}, 0},
		{"later launches", gpu, []bench.SettleRecord{settle(1410, true), settle(1405, false)}, 1410},
		{"a lowered lock", gpu, []bench.SettleRecord{settle(1410, true), settle(1305, true), settle(1300, false)}, 1305},
		{"a follower", gpu, []bench.SettleRecord{settle(1410, false)}, 1410},
		{"a follower, of where it was to come back to", gpu, []bench.SettleRecord{{Seconds: 5, End: bench.DeviceState{ClockMHz: &off}, To: &bench.DeviceState{ClockMHz: &target}}}, 1410},
		{"another device", hardware.Info{ID: "GPU-2"}, []bench.SettleRecord{settle(1410, true)}, 0},
	} {
		how := manner{after: &bench.Log{Run: bench.RunRecord{Devices: []hardware.Info{gpu}}, Settles: c.settles}}
		got := 0.0
		if state := how.settled(c.device, bench.LockedClocks(1410)); state != nil {
			got = *state.ClockMHz
		}
		if got != c.want {
			t.Errorf("%s: %g MHz, want %g", c.name, got, c.want)
		}
	}
	locked := manner{after: &bench.Log{Run: bench.RunRecord{Devices: []hardware.Info{gpu}}, Settles: []bench.SettleRecord{settle(1410, true)}, Clocks: []bench.ClocksRecord{{LockMHz: 1410}}}}
	if state := locked.settled(gpu, bench.FloatClocks); state != nil {
		t.Errorf("%+v of a lock, where clocks float", state)
	}
	if state := locked.settled(gpu, bench.LockedClocks(1395)); state != nil {
		t.Errorf("%+v of a lock at 1410 MHz, for one at 1395", state)
	}
	if state := locked.settled(gpu, bench.LockedClocks(1410)); state == nil {
		t.Error("nothing of the same lock")
	}
	if state := (manner{}).settled(gpu, bench.AutoClocks); state != nil {
		t.Errorf("%+v without a run to follow", state)
	}
}

// The kind of sample goes from one version's points to the other's, whatever they differ in.
func TestGroupsOfAnother(t *testing.T) {
	point := func(model, engine string, batch int) bench.PlannedPoint {
		p := bench.Point{Model: model, Engine: engine, Precision: "fp16", Batch: batch, Resolution: 224}
		return bench.PlannedPoint{ID: p.String(), Point: p}
	}
	then := &bench.Log{Run: bench.RunRecord{Plan: []bench.PlannedPoint{point("main.onnx", "a", 1), point("main.onnx", "a", 8)}}}
	for i, p := range then.Run.Plan {
		then.Rounds = append(then.Rounds, bench.RoundRecord{ID: p.ID, Launch: 1, Status: bench.OK, DeviceNS: []int64{1000}, AmortisedOver: 20 * (1 - i)})
	}
	for name, now := range map[string][]bench.PlannedPoint{
		"the same":        then.Run.Plan,
		"one of them":     then.Run.Plan[:1],
		"another file":    {point("pr.onnx", "a", 1), point("pr.onnx", "a", 8)},
		"another engine":  {point("main.onnx", "b", 1), point("main.onnx", "b", 8)},
		"another of both": {point("pr.onnx", "b", 1), point("pr.onnx", "b", 8)},
	} {
		groups := manner{after: then}.groups(now)
		for _, p := range now {
			if want := map[int]int{1: 20, 8: 1}[p.Point.Batch]; groups[p.ID] != want {
				t.Errorf("%s: a sample of %s is of %d, want %d", name, p.ID, groups[p.ID], want)
			}
		}
	}
}
