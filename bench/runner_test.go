package bench

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"genbench/hardware"
)

// noisy gives latencies around ms milliseconds an image with relative standard
// deviations between launches and between samples, the same for the same seed.
func noisy(ms, launchSD, sampleSD float64) func(inference) time.Duration {
	r := rand.New(rand.NewPCG(1, 2))
	effect := map[int]float64{}
	return func(i inference) time.Duration {
		if _, ok := effect[i.launch]; !ok {
			effect[i.launch] = launchSD * r.NormFloat64()
		}
		return time.Duration(ms * float64(i.batch) * 1e6 * math.Exp(effect[i.launch]+sampleSD*r.NormFloat64()))
	}
}

func TestSimulatedQuick(t *testing.T) {
	s := simulate(t, "quick", hardware.Host)
	s.latency = noisy(20, 0.001, 0.001)
	start := time.Now()
	r := s.run(t)
	t.Logf("%s simulated in %s", r.took, time.Since(start))
	if r.err != nil {
		t.Fatal(r.err)
	}
	m := r.point(t, "sim")
	if m.State != Measured || m.Launches != 4 || m.Quality != Q0 {
		t.Errorf("%+v", m)
	}
}
