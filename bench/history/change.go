package history

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat"
)

// A Change is a moment after which a series has another level. It is a report and
// fails nothing (R11).
type Change struct {
	At    int     // the first entry after it
	Ratio float64 // of the level after it to the one before
}

const (
	leastSegment = 4    // entries on either side of a change
	changeLevel  = 0.01 // of the shuffles
	shuffles     = 999
)

// changes splits a series where its two parts differ most and continues in both, as
// long as a shuffled series rarely splits that well: binary segmentation with a t
// statistic and a permutation test, in the manner of Hunter (arXiv 2301.03034). The
// shuffles have a fixed seed, so the same series gives the same changes.
func changes(entries []Entry) []Change {
	values := make([]float64, len(entries))
	for i, e := range entries {
		values[i] = math.Log(e.Latency)
	}
	var list []Change
	segment(values, 0, &list)
	for i := range list {
		from, to := 0, len(values)
		if i > 0 {
			from = list[i-1].At
		}
		if i+1 < len(list) {
			to = list[i+1].At
		}
		list[i].Ratio = math.Exp(stat.Mean(values[list[i].At:to], nil) - stat.Mean(values[from:list[i].At], nil))
	}
	return list
}

// segment appends the changes of a part of the series that begins at offset, in order.
func segment(values []float64, offset int, list *[]Change) {
	at, best := split(values)
	if at == 0 {
		return
	}
	shuffled := append([]float64(nil), values...)
	source := rand.New(rand.NewPCG(uint64(offset), uint64(len(values))))
	better := 1
	for range shuffles {
		source.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if _, t := split(shuffled); t >= best {
			better++
		}
	}
	if float64(better)/(shuffles+1) > changeLevel {
		return
	}
	segment(values[:at], offset, list)
	*list = append(*list, Change{At: offset + at})
	segment(values[at:], offset+at, list)
}

// split finds where the means of the two parts lie farthest apart, in standard
// errors; 0 where the series is too short or does not vary.
func split(values []float64) (at int, t float64) {
	n := len(values)
	var total, square float64
	for _, v := range values {
		total += v - values[0]
		square += (v - values[0]) * (v - values[0])
	}
	left := 0.0
	for i := 1; i <= n-leastSegment; i++ {
		left += values[i-1] - values[0]
		if i < leastSegment {
			continue
		}
		a, b := left/float64(i), (total-left)/float64(n-i)
		between := (a - b) * (a - b) * float64(i) * float64(n-i) / float64(n)
		within := square - total*total/float64(n) - between
		if between <= 0 {
			continue
		}
		if s := between / max(within, 1e-12*between); s > t {
			at, t = i, s
		}
	}
	return at, t
}
