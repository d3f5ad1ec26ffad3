package bench

import (
	"fmt"
	"math"

	"genbench/models"
)

// A Check compares an output with the fp32 reference's for the same input, in the
// launch whose latency it vouches for (M10). A point that fails prints no latency.
type Check struct {
	Images        int     `json:"images"` // how many of the batch were compared
	Cosine        float64 `json:"cosine"`
	MaxRelErr     float64 `json:"max_rel_err"` // largest |difference| over the reference's root mean square
	Top1Agreement float64 `json:"top1_agreement"`
	Limit         float64 `json:"limit"`      // MaxRelErr must not exceed it
	MinCosine     float64 `json:"min_cosine"` // Cosine must not be less
	Pass          bool    `json:"pass"`
}

// checkOutput compares the logits of one image. How far they may lie apart depends
// on the precision they were computed in (models.Tolerance says by what measurements,
// and why the same top-1 class is reported but not required).
func checkOutput(got, want []float32, tolerance models.Tolerance) (*Check, error) {
	if len(got) != len(want) {
		return nil, fmt.Errorf("check output: got %d logits, the reference has %d", len(got), len(want))
	}
	var dot, gg, ww, worst float64
	topGot, topWant := 0, 0
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		dot, gg, ww = dot+g*w, gg+g*g, ww+w*w
		worst = max(worst, math.Abs(g-w)) // NaN propagates through max
		if got[i] > got[topGot] {
			topGot = i
		}
		if want[i] > want[topWant] {
			topWant = i
		}
	}
	rms := math.Sqrt(ww / float64(len(want)))
	c := &Check{Images: 1, Limit: tolerance.MaxRelErr, MinCosine: tolerance.MinCosine, Cosine: dot / math.Sqrt(gg*ww), MaxRelErr: worst / rms}
	if topGot == topWant {
		c.Top1Agreement = 1
	}
	if bad(c.MaxRelErr) || bad(c.Cosine) {
		return nil, fmt.Errorf("check output: the logits hold values that are not numbers, or are all zero")
	}
	c.Pass = c.MaxRelErr <= c.Limit && c.Cosine >= c.MinCosine
	return c, nil
}

// worse tells which of two outputs vouches for less.
func (c *Check) worse(than *Check) bool {
	if c.Pass != than.Pass {
		return !c.Pass
	}
	return c.MaxRelErr > than.MaxRelErr
}

func bad(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }
