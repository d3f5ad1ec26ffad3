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
	if state := (manner{}).settled(gpu, bench.AutoClocks); state != nil {
		t.Errorf("%+v without a run to follow", state)
	}
}
