package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"genbench/engines"
)

func TestLaunchesTakeTurnsWithBuilds(t *testing.T) {
	for builds, want := range map[int][]int{0: {1, 1, 1, 1, 1}, 1: {1, 1, 1, 1, 1}, 3: {1, 1, 2, 3, 1}} {
		for launch, build := range want { // launch 0 computes what is expected
			if got := (Protocol{Builds: builds}).build(launch); got != build {
				t.Errorf("%d builds: launch %d measures build %d, want %d", builds, launch, got, build)
			}
		}
	}
}

// Known variances between builds and between their launches come back at their level.
func TestBuildShares(t *testing.T) {
	for _, c := range []struct {
		name                string
		buildSD, launchSD   float64
		launches            int // of each build
		build, launch, rest float64
	}{
		{"both", 0.02, 0.02, 4, 4. / 9, 4. / 9, 1. / 9},
		{"builds", 0.03, 0, 4, 0.9, 0, 0.1},
		{"launches", 0, 0.03, 4, 0, 0.9, 0.1},
		{"one launch of each", 0.03, 0, 1, 0.9, math.NaN(), 0.1},
	} {
		random := rand.New(rand.NewPCG(17, 18))
		var launches [][][]float64
		var builds []int
		for build := range 200 {
			of := c.buildSD * random.NormFloat64()
			for range c.launches {
				mean := of + c.launchSD*random.NormFloat64()
				samples := make([]float64, 20)
				for i := range samples {
					samples[i] = math.Exp(mean + 0.01*random.NormFloat64())
				}
				launches, builds = append(launches, [][]float64{samples}), append(builds, build)
			}
		}
		s := sharesOf(launches, builds)
		for _, part := range []struct {
			level string
			got   *float64
			want  float64
		}{{"build", s.Build, c.build}, {"launch", s.Launch, c.launch}, {"sample", s.Sample, c.rest}} {
			if math.IsNaN(part.want) {
				if part.got != nil {
					t.Errorf("%s: the %s has share %g, and was not replicated", c.name, part.level, *part.got)
				}
				continue
			}
			if part.got == nil || math.Abs(*part.got-part.want) > 0.08 {
				t.Errorf("%s: share of the %s %v, want %.2f", c.name, part.level, part.got, part.want)
			}
		}
	}
}

// Where an engine's builds differ, the interval is over them: five launches of three
// builds are no five replicates.
func TestIntervalIsOverBuilds(t *testing.T) {
	p := Point{Model: "m", Engine: "engine", Precision: "fp32", Batch: 1, Resolution: 32}
	measure := func(plan func(launch int) *engines.Plan) Measurement {
		s := newScript(t, PlannedPoint{Point: p})
		s.begin()
		for launch := 1; launch <= 6; launch++ {
			s.add(PointRecord{Type: "point", ID: p.String(), Launch: launch, Round: 1, Point: p, BuildNS: 1, FirstNS: 1, Executed: engines.Execution{Plan: plan(launch)}})
			s.add(cleanRound(p, launch, 10+0.1*float64((launch-1)%3)+0.001*float64(launch)))
		}
		s.add(EndRecord{Type: "end"})
		return s.load().Measurements[0]
	}
	three := measure(func(launch int) *engines.Plan {
		build := (launch-1)%3 + 1
		return &engines.Plan{Build: build, SHA256: fmt.Sprint(build)}
	})
	if three.Builds != 3 || three.Launches != 6 || three.Latency.Launches != 3 || three.Spread.Shares.Build == nil || *three.Spread.Shares.Build < 0.5 {
		t.Errorf("three builds in six launches: %d builds, %d launches, interval over %d, shares %+v", three.Builds, three.Launches, three.Latency.Launches, three.Spread.Shares)
	}
	for name, plan := range map[string]func(int) *engines.Plan{
		"no search":             func(int) *engines.Plan { return nil },
		"a search with one end": func(launch int) *engines.Plan { return &engines.Plan{Build: (launch-1)%3 + 1, SHA256: "same"} },
	} {
		one := measure(plan)
		if one.Builds != 0 || one.Latency.Launches != 6 || one.Spread.Shares.Build != nil {
			t.Errorf("%s: %d builds, interval over %d, shares %+v", name, one.Builds, one.Latency.Launches, one.Spread.Shares)
		}
		if one.Latency.HalfWidth() >= three.Latency.HalfWidth() {
			t.Errorf("%s: half-width %g, over builds %g", name, one.Latency.HalfWidth(), three.Latency.HalfWidth())
		}
		if math.Abs(one.Latency.Value-three.Latency.Value) > 1 {
			t.Errorf("%s: latency %v, over builds %v", name, one.Latency.Value, three.Latency.Value)
		}
	}
}
