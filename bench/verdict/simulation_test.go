package verdict

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/aclements/go-moremath/stats"
	"golang.org/x/perf/benchmath"

	"genbench/bench"
)

var gates = flag.Int("gates", 0, "gates that the simulation draws for each cell of its table (default: few)")

// A world is how noise comes about: standard deviations of logarithms.
type world struct {
	run     float64 // everything of one day, shared by all launches of a blocked run
	launch  float64 // of a fresh process
	round   float64 // of a visit
	sample  float64 // of an inference
	drift   float64 // of the machine from one launch to the next: a random walk
	trend   float64 // of the machine from the first to the last launch
	wild    float64 // chance that something disturbs a launch
	wildest float64 // by up to so much
	samples int     // a round
}

// The figures of a decent machine: pairs of one arm against itself have a standard
// deviation of 0.8 %.
var machineRoom = world{run: 0.01, launch: 0.004, round: 0.003, sample: 0.005, drift: 0.001, trend: 0.02, wild: 0.02, wildest: 0.04, samples: 20}

// A trial is one gate's worth of data at one point: rounds of samples of both arms.
type trial struct{ base, fresh [][]float64 }

// draw takes the data of a family. Interleaved, the arms of a pair are neighbours
// in random order and share the day; blocked, all of the base was taken on another
// day. The first point is slower by slow.
func (w world) draw(r *rand.Rand, points, pairs int, interleaved bool, slow float64) []trial {
	machine := make([]float64, 2*pairs) // shared by all points: what the machine does
	walk := 0.0
	for t := range machine {
		walk += w.drift * r.NormFloat64()
		machine[t] = walk + w.trend*float64(t)/float64(2*pairs-1)
	}
	swapped := make([]bool, pairs)
	for k := range swapped {
		swapped[k] = r.IntN(2) == 1
	}
	family := make([]trial, points)
	for p := range family {
		var day [2]float64
		if !interleaved {
			day = [2]float64{w.run * r.NormFloat64(), w.run * r.NormFloat64()}
		}
		for k := range pairs {
			for arm := range 2 {
				t := 2*k + arm
				if swapped[k] {
					t = 2*k + 1 - arm
				}
				if !interleaved {
					t = arm*pairs + k
				}
				center := day[arm] + machine[t] + w.launch*r.NormFloat64() + w.round*r.NormFloat64()
				if r.Float64() < w.wild {
					center += w.wildest * r.Float64()
				}
				if arm == 1 && p == 0 {
					center += math.Log1p(slow)
				}
				samples := make([]float64, w.samples)
				for i := range samples {
					samples[i] = math.Exp(center + w.sample*r.NormFloat64())
				}
				if arm == 0 {
					family[p].base = append(family[p].base, samples)
				} else {
					family[p].fresh = append(family[p].fresh, samples)
				}
			}
		}
	}
	return family
}

func (t trial) pairs(from, to int) Pairs {
	var pairs Pairs
	for k := from; k < to; k++ {
		pairs = append(pairs, math.Log(medianOfRound(t.fresh[k]))-math.Log(medianOfRound(t.base[k])))
	}
	return pairs
}

func medianOfRound(samples []float64) float64 {
	s := slices.Clone(samples)
	slices.Sort(s)
	return sortedMedian(s)
}

// familyOf judges the pairs that each of some points has, as Compare does.
func familyOf(pairs map[int]Pairs, margin, spend float64) *Family {
	f := &Family{Metric: Metrics()[0], Threshold: margin}
	for _, i := range slices.Sorted(maps.Keys(pairs)) {
		f.Rows = append(f.Rows, Row{Point: bench.Point{Batch: i + 1}, Pairs: pairs[i], Margin: margin})
	}
	f.judge(0.05, spend, make([]matched, len(f.Rows)))
	return f
}

// gate is what `genbench gate` decides: two looks, and a confirmation where asked.
// It lists the points that it fails the build for.
func gate(data []trial, margin float64, confirm bool) []int {
	f, _ := looked(data, margin, true)
	flagged := f.flagged()
	if !confirm || len(flagged) == 0 {
		return flagged
	}
	again := map[int]Pairs{}
	for _, i := range flagged {
		again[i] = data[i].pairs(SecondLook, SecondLook+Confirmation(len(flagged), 0.05).Pairs)
	}
	f.confirm(familyOf(again, margin, 0.05))
	return f.flagged()
}

// looked is a gate's family after both looks, and how many points had the second;
// sparing gives up those that it would hardly decide.
func looked(data []trial, margin float64, sparing bool) (f *Family, second int) {
	looks := Looks(FirstLook, SecondLook, 0.05)
	pairs := map[int]Pairs{}
	for i, t := range data {
		pairs[i] = t.pairs(0, FirstLook)
	}
	first := familyOf(pairs, margin, looks[0].Alpha)
	if sparing {
		first.giveUp(looks[1])
	}
	for i, r := range first.Rows {
		if r.open() {
			pairs[i] = data[i].pairs(0, SecondLook)
			second++
		}
	}
	if second == 0 {
		return first, 0
	}
	f = familyOf(pairs, margin, looks[1].Alpha)
	f.stand(first)
	return f, second
}

func (f *Family) flagged() []int {
	var list []int
	for _, r := range f.Rows {
		if r.Verdict == Regressed {
			list = append(list, r.Point.Batch-1)
		}
	}
	return list
}

// A rival decides from the same data that the gate has at its second look.
type rival struct {
	name   string
	decide func([]trial) []int
}

func pooled(rounds [][]float64) []float64 {
	var all []float64
	for _, r := range rounds[:SecondLook] {
		all = append(all, r...)
	}
	return all
}

func medians(rounds [][]float64) []float64 {
	var all []float64
	for _, r := range rounds[:SecondLook] {
		all = append(all, medianOfRound(r))
	}
	return all
}

func each(data []trial, slower func(trial) bool) []int {
	var list []int
	for i, t := range data {
		if slower(t) {
			list = append(list, i)
		}
	}
	return list
}

func rivals() []rival {
	thresholds := benchmath.DefaultThresholds
	return []rival{
		{"genbench gate, margin 1 %, confirmed", func(d []trial) []int { return gate(d, 0.01, true) }},
		{"genbench gate, no margin, not confirmed", func(d []trial) []int { return gate(d, 0, false) }},
		{"benchstat (U test on round medians, p < 0.05)", func(d []trial) []int {
			return each(d, func(t trial) bool {
				base, fresh := medians(t.base), medians(t.fresh)
				c := benchmath.AssumeNothing.Compare(benchmath.NewSample(base, &thresholds), benchmath.NewSample(fresh, &thresholds))
				return c.P < 0.05 && stats.Sample{Xs: fresh}.Quantile(0.5) > stats.Sample{Xs: base}.Quantile(0.5)
			})
		}},
		{"Mann-Whitney on pooled samples, p < 0.05", func(d []trial) []int {
			return each(d, func(t trial) bool {
				c, err := stats.MannWhitneyUTest(pooled(t.fresh), pooled(t.base), stats.LocationGreater)
				return err == nil && c.P < 0.025
			})
		}},
		{"fixed threshold: medians 2 % apart", func(d []trial) []int {
			return each(d, func(t trial) bool { return medianOfRound(pooled(t.fresh)) > 1.02*medianOfRound(pooled(t.base)) })
		}},
		{"fixed threshold: medians 5 % apart", func(d []trial) []int {
			return each(d, func(t trial) bool { return medianOfRound(pooled(t.fresh)) > 1.05*medianOfRound(pooled(t.base)) })
		}},
	}
}

// share is how often a rival answers so over many families.
func (w world) share(seed uint64, draws, points int, interleaved bool, slow float64, decide func([]trial) []int, hit func([]int) bool) float64 {
	r := rand.New(rand.NewPCG(seed, uint64(points)))
	hits := 0
	for range draws {
		if hit(decide(w.draw(r, points, SecondLook+Confirmation(points, 0.05).Pairs, interleaved, slow))) {
			hits++
		}
	}
	return float64(hits) / float64(draws)
}

func anyPoint(flagged []int) bool   { return len(flagged) > 0 }
func firstPoint(flagged []int) bool { return slices.Equal(flagged, []int{0}) }

// The chance that a gate on identical arms flags any point, without the margin and
// without the confirmation, which both only lower it.
func TestFalseAlarms(t *testing.T) {
	draws := 400
	if testing.Short() {
		draws = 100
	}
	room := machineRoom
	room.samples = 1 // the gate sees medians alone
	for _, points := range []int{20, 100} {
		got := room.share(11, draws, points, true, 0, func(d []trial) []int { return gate(d, 0, false) }, anyPoint)
		// Slow side only is half of alpha; all of it must stay below 5 %, here with
		// three standard errors of the simulation.
		limit := 0.05 + 3*math.Sqrt(0.05*0.95/float64(draws))
		t.Logf("%d points: %.1f %% of %d A/A gates flag one", points, 100*got, draws)
		if got > limit {
			t.Errorf("%d points: %.1f %% false alarms, want at most 5 %%", points, 100*got)
		}
	}
	// The test can fail: with day-to-day noise and the base of another day, the
	// same statistics are wrong nearly always. Hence `advisory`.
	blocked := room.share(12, draws/4, 20, false, 0, func(d []trial) []int { return gate(d, 0, false) }, anyPoint)
	if blocked < 0.5 {
		t.Errorf("with a stored base only %.0f %% false alarms: the simulated days do not differ", 100*blocked)
	}
}

// What the plan promises is found at least four times in five, at the right point.
func TestPromisedPower(t *testing.T) {
	draws := 400
	if testing.Short() {
		draws = 150
	}
	normal := world{launch: 0.005 / math.Sqrt2, samples: 1} // pairs of 0.5 %
	for _, points := range []int{1, 20, 100} {
		effect := Detectable(Looks(FirstLook, SecondLook, 0.05)[1], points, Confirmation(1, 0.05), 0.01, 0.005)
		power := normal.share(14, draws, points, true, effect, func(d []trial) []int { return gate(d, 0.01, true) }, firstPoint)
		t.Logf("%d points, pairs of 0.5 %%: %.2f %% slower is found %.1f %% of the time", points, 100*effect, 100*power)
		if power < 0.8-3*math.Sqrt(0.8*0.2/float64(draws)) {
			t.Errorf("%d points: power %.0f %%, promised 80 %%", points, 100*power)
		}
	}
}

// Giving points up after the first look costs little power, and spares most of the
// second where nothing has changed and noise hides it.
func TestGivingUpCostsLittlePower(t *testing.T) {
	draws := 400
	if testing.Short() {
		draws = 100
	}
	const points = 20
	look := Looks(FirstLook, SecondLook, 0.05)[1]
	for _, sd := range []float64{0.005, 0.02, 0.10} { // of a pair
		w := world{launch: sd / math.Sqrt2, samples: 1}
		effect := Detectable(look, points, Look{}, 0.01, sd)
		r := rand.New(rand.NewPCG(15, uint64(sd*1e4)))
		lost, found, measured := 0, 0, 0
		for range draws {
			data := w.draw(r, points, SecondLook, true, effect)
			whole, _ := looked(data, 0.01, false)
			spared, second := looked(data, 0.01, true)
			measured += second
			if slices.Contains(whole.flagged(), 0) {
				found++
				if !slices.Contains(spared.flagged(), 0) {
					lost++
				}
			}
		}
		t.Logf("pairs of %.1f %%: of %d found by two whole looks %d are lost; %.1f of %d points have the second", 100*sd, found, lost, float64(measured)/float64(draws), points)
		// With three standard errors of the simulation.
		if limit := 0.02 * float64(found); float64(lost) > limit+3*math.Sqrt(limit) {
			t.Errorf("pairs of %.1f %%: %d of %d lost, want one in fifty at most", 100*sd, lost, found)
		}
		if sd == 0.10 && measured > draws*points/4 {
			t.Errorf("pairs of %.1f %%: %d of %d points measured on, want a quarter at most", 100*sd, measured, draws*points)
		}
	}
}

// The chance of a verdict that a row is given is that with which one comes.
func TestProspect(t *testing.T) {
	const sd, margin, rows = 0.01, 0.01, 10
	next := Looks(FirstLook, SecondLook, 0.05)[1]
	r := rand.New(rand.NewPCG(16, 1))
	type bin struct{ draws, said, came float64 }
	bins := make([]bin, 5)
	var slight bin // below leastProspect
	for range 20000 {
		truth := 0.08 * (r.Float64() - 0.5) // wide and flat, as the prediction has it
		pairs := make(Pairs, SecondLook)
		for i := range pairs {
			pairs[i] = truth + sd*r.NormFloat64()
		}
		said := Row{Pairs: pairs[:FirstLook], Margin: margin}.prospect(next, rows, margin)
		flip := newFlip(pairs)
		bound := math.Log1p(margin)
		came := min(1, 2*min(flip.Above(bound), flip.Below(-bound))) <= next.Alpha/rows || within(flip, bound, next.Alpha)
		of := []*bin{&bins[min(len(bins)-1, int(said*float64(len(bins))))]}
		if said < leastProspect {
			of = append(of, &slight)
		}
		for _, b := range of {
			b.draws++
			b.said += said
			if came {
				b.came++
			}
		}
	}
	for i, b := range append(bins, slight) {
		said, came := b.said/b.draws, b.came/b.draws
		t.Logf("%5.0f draws: said %.3f, came %.3f", b.draws, said, came)
		if math.Abs(said-came) > 0.06 || i == len(bins) && came > leastProspect {
			t.Errorf("a chance of %.3f came true in %.3f of %.0f draws", said, came, b.draws)
		}
	}
	same := Row{Pairs: Pairs{0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, Margin: margin}
	if got := same.prospect(next, rows, same.Margin); got != 1 {
		t.Errorf("pairs without a spread are given a chance of %g", got)
	}
}

// `make false-alarms`: the table, side by side on the same data.
func TestFalseAlarmTable(t *testing.T) {
	if *gates == 0 {
		t.Skip("prints a table; run `make false-alarms`")
	}
	writeFalseAlarms(os.Stdout, *gates)
	writePlan(os.Stdout)
}

func writeFalseAlarms(out io.Writer, draws int) {
	w := machineRoom
	fmt.Fprintf(out, "%d simulated gates a cell. Noise (standard deviations): day %.1f %%, launch %.1f %%, round %.1f %%, sample %.1f %%;\n", draws, 100*w.run, 100*w.launch, 100*w.round, 100*w.sample)
	fmt.Fprintf(out, "the machine slows by %.0f %% from first to last launch and wanders by %.1f %% a launch; %.0f %% of launches are disturbed by up to %.0f %%.\n", 100*w.trend, 100*w.drift, 100*w.wild, 100*w.wildest)
	fmt.Fprintf(out, "A/A: builds failed although nothing changed. Found: 3 %% slower at one of 20 points, and no other point blamed.\n\n")
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "decides\tA/A, 20 points\tA/A, 100 points\tfound\tA/A, 20 points, base of another day\t")
	for _, r := range rivals() {
		cells := []string{
			percent(w.share(21, draws, 20, true, 0, r.decide, anyPoint)),
			percent(w.share(22, draws, 100, true, 0, r.decide, anyPoint)),
			percent(w.share(23, draws, 20, true, 0.03, r.decide, firstPoint)),
			percent(w.share(24, draws, 20, false, 0, r.decide, anyPoint)),
		}
		if strings.HasPrefix(r.name, "genbench") {
			cells[3] = "advisory (" + cells[3] + ")"
		}
		fmt.Fprintf(tab, "%s\t%s\t\n", r.name, strings.Join(cells, "\t"))
	}
	tab.Flush()
	fmt.Fprintln(out, "\nadvisory: genbench refuses to fail a build on a base of another day; in brackets what its statistics alone would do.")
}

// writePlan prints the least slow-down that is found with 80 % power.
func writePlan(out io.Writer) {
	fmt.Fprintf(out, "\nLeast slow-down that one look finds with 80 %% power, by the standard deviation of a pair (margin 0; a margin adds itself)\n\n")
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "pair sd\tpairs\t1 point\t20 points\t100 points\t")
	for _, sd := range []float64{0.002, 0.005, 0.01, 0.02} {
		for _, pairs := range []int{FirstLook, SecondLook} {
			cells := make([]string, 0, 3)
			for _, points := range []int{1, 20, 100} {
				cells = append(cells, fmt.Sprintf("%.2f %%", 100*Detectable(Look{pairs, 0.05}, points, Look{}, 0, sd)))
			}
			fmt.Fprintf(tab, "%.1f %%\t%d\t%s\t\n", 100*sd, pairs, strings.Join(cells, "\t"))
		}
	}
	tab.Flush()
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }
