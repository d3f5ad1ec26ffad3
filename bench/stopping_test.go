package bench

import (
	"math"
	"math/rand/v2"
	"testing"
)

// To stop when an interval looks narrow enough is to look again and again, and to
// stop sooner where chance made it narrow (S5). By simulation of the real rule it
// costs the 95 % interval up to four points where it begins at four launches, three
// and a half at five, and two at eight (4000 repetitions each), which is why a race that rests
// on the interval begins there. An interval of a fixed number of launches covers what
// it claims (TestIntervalCoverage).
func TestStoppingCoverage(t *testing.T) {
	repeats := 1500
	if testing.Short() {
		repeats = 300
	}
	const width, most = 0.01, 40
	p := pointOf("m")
	for _, c := range []struct {
		first  int     // launches before the first look
		lowest float64 // coverage in percent that it must not fall below, simulation error included
	}{{4, 88}, {5, 88.5}, {8, 90}} {
		for _, sd := range []float64{0.01, 0.02} {
			random := rand.New(rand.NewPCG(81, 82))
			covered, total := 0, 0
			for range repeats {
				r := &Runner{Plan: &Plan{Config: Config{Protocol: Protocol{Launches: c.first, MaxLaunches: most, RelWidth: width}}}, medians: map[Point]map[int][]float64{p: {}}}
				launches := 0
				for launches < c.first || launches < most && r.wide(p, launches+1) {
					launches++
					r.medians[p][launches] = []float64{1e7 * math.Exp(sd*random.NormFloat64())}
				}
				e, _ := r.latency(p, launches+1)
				if *e.Low <= 1e7 && 1e7 <= *e.High {
					covered++
				}
				if launches < most && e.HalfWidth() > width {
					t.Fatalf("stopped after %d launches at ±%g", launches, e.HalfWidth())
				}
				total += launches
			}
			share := 100 * float64(covered) / float64(repeats)
			t.Logf("launches that scatter by %.1f %%: from %d launches %.1f are taken and ±1 %% covers %.1f %%", 100*sd, c.first, float64(total)/float64(repeats), share)
			if share < c.lowest || share > 98 {
				t.Errorf("from %d launches that scatter by %g the interval covers %.1f %%", c.first, sd, share)
			}
		}
	}
}
