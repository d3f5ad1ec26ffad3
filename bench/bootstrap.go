package bench

import (
	"cmp"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// bootstrapDraws is how many times launches are resampled (E2).
const bootstrapDraws = 10_000

// Sizes of the store of remade launches. On launches of 50 samples, 400 remakes
// of each gave the same coverage as drawing every sample afresh 10,000 times, in a
// twentieth of the time; bootstrapWork bounds the time that long journals take.
const (
	mostRemakes   = 400
	fewestRemakes = 40
	bootstrapWork = 2_000_000 // samples drawn for a point
)

// A bootstrap builds intervals for what is not a mean: high quantiles and rates. It
// draws launches, within each the rounds, within each blocks of samples, and
// studentises each draw by the spread of its own launches (E2). Its draws are seeded,
// so that a journal always gives the same interval.
//
// Whatever is estimated, the value of a launch is one logarithm, and the estimate
// the mean over launches; the truth that the interval is to cover is the mean over
// all launches there could be. It cannot be a quantile of the mixture of all
// launches: if launches differ, four of them do not hold the 90th percentile of
// launches, and no interval from them covers it.
//
// A t interval over launches of the same values covers as well where launches
// scatter symmetrically, and is narrower: in simulation the bootstrap is on average
// 1.4 to 3 times as wide with four launches of one round, 1.1 to 1.2 times with five
// of four, and as wide with twelve. Where one launch in a few is slow, t covers 88 %
// with four launches and the bootstrap 91. That is why tails and rates, which slow
// launches spoil first, have this interval, and the median has the other
// (TestBootstrapCoverage, TestSkewedLaunches).
type bootstrap struct {
	launches       []*launchSamples
	random         *rand.Rand
	draws, remakes int
}

// A launchSamples holds what a launch measured, laid out for drawing.
type launchSamples struct {
	rounds []roundSamples
	sorted []float64 // logarithms of all samples
	counts []int32   // by rank: how often a remake holds the sample
}

type roundSamples struct {
	ns    []float64
	wall  []float64 // of each sample, for the rate; the same as ns on a host device
	rank  []int32   // of each sample within the launch
	block int       // length of the blocks that keep their order
}

// newBootstrap takes samples by launch and round, in the order of time, and the wall
// time of each, laid out alike; nil where that is the same.
func newBootstrap(launches, walls [][][]float64, seed uint64, point string) *bootstrap {
	h := fnv.New64a()
	h.Write([]byte(point))
	b := &bootstrap{random: rand.New(rand.NewPCG(seed, h.Sum64())), draws: bootstrapDraws}
	total := 0
	for k, rounds := range launches {
		l := &launchSamples{}
		type place struct {
			ns            float64
			round, sample int
		}
		var places []place
		for i, ns := range rounds {
			wall := ns
			if walls != nil {
				wall = walls[k][i]
			}
			l.rounds = append(l.rounds, roundSamples{ns: ns, wall: wall, rank: make([]int32, len(ns)), block: blockLength(ns)})
			for j, v := range ns {
				places = append(places, place{v, i, j})
			}
		}
		slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.ns, b.ns) })
		l.sorted, l.counts = make([]float64, len(places)), make([]int32, len(places))
		for rank, p := range places {
			l.sorted[rank] = math.Log(p.ns)
			l.rounds[p.round].rank[p.sample] = int32(rank)
		}
		b.launches = append(b.launches, l)
		total += len(places)
	}
	b.remakes = min(mostRemakes, max(fewestRemakes, bootstrapWork/max(1, total)))
	return b
}

// blockLength is how many samples have to stay together for a resampled series to
// keep its autocorrelation: the length that minimises the error of the variance of
// the mean of an autoregressive series (Carlstein 1986).
func blockLength(series []float64) int {
	r := autocorrelation(series)
	n := float64(len(series))
	length := math.Cbrt(math.Pow(2*r/(1-r*r), 2) * n)
	return int(min(max(1, math.Ceil(length)), max(1, n/3)))
}

// A drawn is one value of a launch for each thing that is estimated: the logarithm
// of its rate, then of its quantiles.
type drawn []float64

// intervals estimates the launches' rate (inferences a nanosecond) and the given
// quantiles, smallest first, of launches whose median is known. A quantile is nil where
// a launch is too short for one; without a second launch there are values but no
// intervals.
func (b *bootstrap) intervals(quantiles []float64, median Estimate) (rate Estimate, tails []*Estimate) {
	longest := 0
	for _, l := range b.launches {
		n := 0
		for _, r := range l.rounds {
			n = max(n, len(r.ns))
		}
		longest = max(longest, n*len(l.rounds))
	}
	harmonic := harmonicNumbers(longest)
	// Rounds differ in length, so a remake can be shorter than its launch.
	ranks := make([]tailRank, 0, len(quantiles))
	index := make([]int, len(quantiles)) // into ranks; -1 where there is none
	for i, q := range quantiles {
		t := tailRank{harmonic, -math.Log1p(-q)}
		index[i] = -1
		if !slices.ContainsFunc(b.launches, func(l *launchSamples) bool { _, _, ok := t.of(l.shortest()); return !ok }) {
			index[i] = len(ranks)
			ranks = append(ranks, t)
		}
	}
	values := make([]drawn, len(b.launches))
	for i, l := range b.launches {
		values[i] = l.value(ranks)
	}
	estimates := b.studentised(values, ranks)
	for _, i := range index {
		if i < 0 {
			tails = append(tails, nil)
		} else {
			tails = append(tails, &estimates[1+i])
		}
	}
	b.order(&estimates[0], tails, values, median)
	return estimates[0], tails
}

// order narrows intervals of the launches' values, which may be absurdly wide where few
// launches fall into groups: a draw from only one group has next to no spread, its score
// is huge, and the studentised interval of one quantile ends far beyond that of the next
// higher one, or where no sample ever was.
//
// At the fast end none reaches beyond the t interval of the same values: launches
// scatter to the slow side, where t covers too little and the bootstrap is needed; on the
// fast side t covers enough. And in every launch the median is no slower than the 90th
// percentile, that no slower than the 95th, and so on to the slowest sample. What holds
// in every launch holds for the means over launches, so the end of one interval bounds
// its neighbours too.
func (b *bootstrap) order(rate *Estimate, tails []*Estimate, values []drawn, median Estimate) {
	if len(values) < 2 {
		return
	}
	t := make([]Estimate, len(values[0])) // of each value, over launches
	for i := range t {
		of := make([][]float64, len(values))
		for j, v := range values {
			of[j] = []float64{math.Exp(v[i])}
		}
		t[i] = overLaunches(of)
	}
	slowest, highest := make([][]float64, len(b.launches)), make([][]float64, len(b.launches))
	for i, l := range b.launches {
		wall := 0.0
		for _, r := range l.rounds {
			wall = max(wall, slices.Max(r.wall))
		}
		slowest[i], highest[i] = []float64{wall}, []float64{math.Exp(l.sorted[len(l.sorted)-1])}
	}
	rate.narrow(1 / *overLaunches(slowest).High, *t[0].High)
	floor, ceiling := 0.0, *overLaunches(highest).High
	if median.Low != nil {
		floor = *median.Low
	}
	var held []*Estimate // those with an interval, which are the ones that launches have values of
	for i, e := range slices.DeleteFunc(slices.Clone(tails), func(e *Estimate) bool { return e == nil }) {
		if e.Low != nil {
			e.narrow(max(floor, *t[1+i].Low), math.Inf(1))
			floor, held = *e.Low, append(held, e)
		}
	}
	for _, e := range slices.Backward(held) {
		e.narrow(0, ceiling)
		ceiling = *e.High
	}
}

// narrow cuts an interval, if there is one, to bounds, but never cuts off its value.
func (e *Estimate) narrow(low, high float64) {
	if e.Low == nil || e.High == nil {
		return
	}
	low, high = min(e.Value, max(*e.Low, low)), max(e.Value, min(*e.High, high))
	e.Low, e.High = &low, &high
}

// studentised builds an interval for each of the launches' values.
func (b *bootstrap) studentised(values []drawn, ranks []tailRank) []Estimate {
	n := len(values)
	root := math.Sqrt(float64(n))
	estimates := make([]Estimate, len(values[0]))
	column := make([]float64, n)
	errors := make([]float64, len(estimates)) // standard, of each estimate
	for i := range estimates {
		for j := range values {
			column[j] = values[j][i]
		}
		mean, sd := stat.MeanStdDev(column, nil)
		estimates[i] = Estimate{Value: math.Exp(mean), Level: level, Launches: n}
		errors[i] = sd / root
	}
	if n < 2 {
		return estimates
	}
	store := make([][]drawn, n)
	centre := make([]float64, len(estimates)) // what the draws scatter about
	for j, l := range b.launches {
		for range b.remakes {
			d := l.remake(b.random, ranks)
			store[j] = append(store[j], d)
			for i, v := range d {
				centre[i] += v / float64(n*b.remakes)
			}
		}
	}
	scores := make([][]float64, len(estimates))
	for i := range scores {
		scores[i] = make([]float64, b.draws)
	}
	picked := make([]drawn, n)
	for k := range b.draws {
		for j := range picked {
			from := store[b.random.IntN(n)]
			picked[j] = from[b.random.IntN(len(from))]
		}
		for i := range estimates {
			sum, squares := 0.0, 0.0
			for _, d := range picked {
				v := d[i] - centre[i]
				sum, squares = sum+v, squares+v*v
			}
			mean := sum / float64(n)
			// A draw without spread has an infinite score of the sign of its mean, or none.
			if mean != 0 {
				scores[i][k] = mean / (math.Sqrt(max(0, squares-sum*mean)/float64(n-1)) / root)
			}
		}
	}
	for i := range estimates {
		slices.Sort(scores[i])
		outside := int((1 - level) / 2 * float64(b.draws)) // at each end
		below, above := scores[i][outside], scores[i][b.draws-1-outside]
		value := math.Log(estimates[i].Value)
		low, high := estimates[i].Value, estimates[i].Value
		if errors[i] > 0 {
			low, high = math.Exp(value-above*errors[i]), math.Exp(value-below*errors[i])
		}
		// Two launches, or launches of which all but one agree to the last bit, can leave
		// nothing to say; no interval is better than an infinite one.
		if low > 0 && !math.IsInf(high, 0) {
			estimates[i].Low, estimates[i].High = &low, &high
		}
	}
	return estimates
}

// shortest is the least number of samples that a remake of the launch can hold.
func (l *launchSamples) shortest() int {
	least := len(l.rounds[0].ns)
	for _, r := range l.rounds {
		least = min(least, len(r.ns))
	}
	return least * len(l.rounds)
}

// value is what the launch itself measured.
func (l *launchSamples) value(ranks []tailRank) drawn {
	d := make(drawn, 1, 1+len(ranks))
	for _, r := range l.rounds {
		total := 0.0
		for _, v := range r.wall {
			total += v
		}
		d[0] += math.Log(float64(len(r.ns))/total) / float64(len(l.rounds))
	}
	for _, t := range ranks {
		lower, weight, _ := t.of(len(l.sorted))
		d = append(d, l.sorted[lower]+weight*(l.sorted[lower+1]-l.sorted[lower]))
	}
	return d
}

// remake draws rounds from the launch, and blocks of samples from each.
func (l *launchSamples) remake(random *rand.Rand, ranks []tailRank) drawn {
	clear(l.counts)
	d := make(drawn, 1, 1+len(ranks))
	size := 0
	for range l.rounds {
		r := &l.rounds[random.IntN(len(l.rounds))]
		n := len(r.ns)
		total := 0.0
		for taken := 0; taken < n; {
			at := random.IntN(n)
			for range min(r.block, n-taken) {
				total += r.wall[at]
				l.counts[r.rank[at]]++
				taken++
				if at++; at == n {
					at = 0 // blocks wrap around, so all samples are equally likely
				}
			}
		}
		d[0] += math.Log(float64(n)/total) / float64(len(l.rounds))
		size += n
	}
	for _, t := range ranks {
		lower, weight, _ := t.of(size)
		d = append(d, l.interpolated(size, lower, weight))
	}
	return d
}

// interpolated lies between two neighbouring order statistics of a remake of size
// samples. Tails are near the top, so it counts from there.
func (l *launchSamples) interpolated(size, lower int, weight float64) float64 {
	above := int32(size - 1 - lower) // samples beyond the lower one
	seen := int32(0)
	upper := math.NaN()
	for rank := len(l.counts) - 1; ; rank-- {
		seen += l.counts[rank]
		if math.IsNaN(upper) && seen >= above {
			upper = l.sorted[rank]
		}
		if seen > above {
			return l.sorted[rank] + weight*(upper-l.sorted[rank])
		}
	}
}
