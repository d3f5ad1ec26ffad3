package bench

import (
	"fmt"
	"math"
)

// A Check compares an output with the fp32 reference's for the same input, in the
// launch whose latency it vouches for (M10). A point that fails prints no latency.
type Check struct {
	Images        int     `json:"images"` // how many of the batch were compared
	Cosine        float64 `json:"cosine"`
	MaxRelErr     float64 `json:"max_rel_err"` // largest |difference| over the reference's root mean square
	Top1Agreement float64 `json:"top1_agreement"`
	Limit         float64 `json:"limit"` // MaxRelErr must not exceed it
	Pass          bool    `json:"pass"`
}

// checkLimit is the largest relative error of fp32 outputs. Engines differ in the
// order of their sums and in transforms such as Winograd's; the golden outputs
// are met within 1e-4, a wrong layer shows above 1e-2.
const checkLimit = 1e-3

// checkOutput compares the logits of one image.
func checkOutput(got, want []float32) (*Check, error) {
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
	c := &Check{Images: 1, Limit: checkLimit, Cosine: dot / math.Sqrt(gg*ww), MaxRelErr: worst / rms}
	if topGot == topWant {
		c.Top1Agreement = 1
	}
	if bad(c.MaxRelErr) || bad(c.Cosine) {
		return nil, fmt.Errorf("check output: the logits hold values that are no numbers, or are all zero")
	}
	c.Pass = c.MaxRelErr <= c.Limit && c.Top1Agreement == 1
	return c, nil
}

func bad(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }
