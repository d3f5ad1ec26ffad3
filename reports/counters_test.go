package reports

import (
	"slices"
	"testing"

	"genbench/bench"
	"genbench/hardware"
)

// A board beside the one that was measured on is in no counter of it.
func TestCountersOfTheMeasuredGPU(t *testing.T) {
	log := &bench.Log{Run: bench.RunRecord{Devices: []hardware.Info{{ID: "GPU-1", Kind: hardware.CUDA}}}}
	for i, id := range []string{"GPU-1", "GPU-2", "GPU-1", "GPU-2"} {
		mhz := 1410 + i
		log.Readings = append(log.Readings, bench.ReadingRecord{Type: "reading", Device: id, Reading: hardware.Reading{Time: int64(i) * 1e9, GPU: &hardware.GPUReading{SMClockMHz: &mhz}}})
	}
	got := counters(&bench.Result{Log: log})
	if len(got) != 1 || !slices.Equal(got[0].points, []reading{{0, 1410}, {2, 1412}}) {
		t.Errorf("counters %+v", got)
	}
}
