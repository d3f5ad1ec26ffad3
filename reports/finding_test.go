package reports

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"

	"genbench/bench"
)

// estimate makes what bench makes of the logarithms of launch medians.
func estimate(logs []float64) bench.Estimate {
	mean, sd := stat.MeanStdDev(logs, nil)
	n := float64(len(logs))
	half := studentT(n-1, 0.95) * sd / math.Sqrt(n)
	low, high := math.Exp(mean-half), math.Exp(mean+half)
	return bench.Estimate{Value: math.Exp(mean), Low: &low, High: &high, Level: 0.95, Launches: len(logs)}
}

// TestRatioCovers: the interval of a ratio, made from two intervals alone, holds
// the true ratio about as often as it says, with as few as four launches and with
// one side noisier than the other.
func TestRatioCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(n int, mean, sd float64) bench.Estimate {
		logs := make([]float64, n)
		for i := range logs {
			logs[i] = mean + sd*rng.NormFloat64()
		}
		return estimate(logs)
	}
	for _, c := range []struct {
		nA, nB   int
		sdA, sdB float64
	}{{4, 4, 0.01, 0.01}, {4, 4, 0.003, 0.02}, {5, 12, 0.01, 0.01}} {
		const trials = 4000
		hits := 0
		for range trials {
			r := ratioOf(draw(c.nA, math.Log(3), c.sdA), draw(c.nB, 0, c.sdB))
			if *r.Low <= 3 && 3 <= *r.High {
				hits++
			}
		}
		// 4000 trials have a standard error of 0.35 %.
		if coverage := float64(hits) / trials; coverage < 0.935 || coverage > 0.975 {
			t.Errorf("%+v: the 95 %% interval covers %.1f %%", c, 100*coverage)
		}
	}
}

// TestRatioOfKnown compares with Welch's t as SciPy 1.17.1 has it:
// ttest_ind([0.10, 0.12, 0.14, 0.11], [0.01, 0.03, 0.02], equal_var=False)
// gives 4.8496 degrees of freedom and the interval 0.0707540 to 0.1242460.
func TestRatioOfKnown(t *testing.T) {
	r := ratioOf(estimate([]float64{0.10, 0.12, 0.14, 0.11}), estimate([]float64{0.01, 0.03, 0.02}))
	for name, c := range map[string]struct{ got, want float64 }{
		"value": {math.Log(r.Value), 0.0975}, "low": {math.Log(*r.Low), 0.0707540}, "high": {math.Log(*r.High), 0.1242460},
	} {
		if math.Abs(c.got-c.want) > 1e-6 {
			t.Errorf("%s is %.7f, want %.7f", name, c.got, c.want)
		}
	}
	if without := ratioOf(estimate([]float64{0, 0.1}), bench.Estimate{Value: 1, Level: 0.95, Launches: 1}); without.Low != nil || math.IsNaN(without.Value) {
		t.Errorf("one launch gave the interval %v", without)
	}
}

// point is a measured point for a result made by hand.
func point(model, family string, top1 float64, batch int, ms float64) bench.Measurement {
	m := bench.Measurement{
		Point: bench.Point{Model: model, Engine: "e", Precision: "fp32", Batch: batch, Resolution: 224}, State: bench.Measured, Quality: bench.Q2,
		Latency: estimate([]float64{math.Log(ms * 1e6), math.Log(ms*1e6) + 0.001, math.Log(ms*1e6) - 0.001}),
		Model:   bench.ModelRecord{Model: model, Family: family},
	}
	if top1 > 0 {
		m.Model.Top1 = &top1
	}
	return m
}

func result(points ...bench.Measurement) *bench.Result {
	return &bench.Result{Log: &bench.Log{}, Measurements: points}
}

func TestComparisons(t *testing.T) {
	genet := func(batch int, ms float64) bench.Measurement { return point("genet-a", "genet", 76, batch, ms) }
	fake := point("fake", "x", 80, 1, 1)
	fake.Quality = bench.Q0
	failed := point("failed", "x", 80, 1, 1)
	failed.State = bench.Failed
	other := point("other-engine", "x", 80, 1, 1)
	other.Point.Engine = "f"
	for name, c := range map[string]struct {
		points  []bench.Measurement
		want    string
		matched bool
	}{
		"the fastest of equal or better": {[]bench.Measurement{genet(1, 10), point("slow", "x", 90, 1, 40), point("fast", "x", 76, 1, 30), point("worse", "x", 75.9, 1, 1)}, "fast", true},
		"better after worse":             {[]bench.Measurement{point("worse", "x", 70, 1, 1), genet(1, 10), point("better", "x", 77, 1, 50)}, "better", true},
		"the best where none reaches it": {[]bench.Measurement{genet(1, 10), point("less", "x", 70, 1, 1), point("near", "x", 75, 1, 30), point("least", "x", 60, 1, 1)}, "near", false},
		"same batch only":                {[]bench.Measurement{genet(1, 10), point("big", "x", 80, 8, 1), point("same", "x", 80, 1, 30)}, "same", true},
		"no fakes, failures, engines":    {[]bench.Measurement{genet(1, 10), fake, failed, other, point("real", "x", 80, 1, 30)}, "real", true},
		"no top-1, no comparison":        {[]bench.Measurement{genet(1, 10), point("unknown", "x", 0, 1, 30)}, "", false},
		"not another GENet":              {[]bench.Measurement{genet(1, 10), point("genet-b", "GENet", 80, 1, 30)}, "", false},
	} {
		list := comparisons(result(c.points...))
		got := ""
		matched := false
		if len(list) > 0 {
			got, matched = list[0].rival.Point.Model, list[0].matched
		}
		if got != c.want || matched != c.matched {
			t.Errorf("%s: rival %q (matched %v), want %q (%v)", name, got, matched, c.want, c.matched)
		}
	}
}

// TestHeadline: the rule that picks the opening sentence must not look at who won.
func TestHeadline(t *testing.T) {
	for _, ms := range []float64{1, 1000} { // the GENets win, and lose
		r := result(
			point("genet-s", "genet", 75, 1, ms), point("genet-s", "genet", 75, 8, ms), point("genet-n", "genet", 79, 8, ms), point("genet-l", "genet", 82, 8, ms),
			point("rival", "x", 80, 1, 30), point("rival", "x", 80, 8, 30),
		)
		c, ok := headline(comparisons(r))
		if !ok || c.genet.Point.Model != "genet-n" || c.genet.Point.Batch != 8 {
			t.Errorf("at %g ms the headline is of %v", ms, c.genet.Point)
		}
	}
	c, ok := headline(comparisons(result(point("genet-n", "genet", 79, 1, 1), point("genet-l", "genet", 82, 1, 1), point("weak", "x", 70, 1, 30))))
	if !ok || c.genet.Point.Model != "genet-n" || c.matched {
		t.Errorf("without an equal rival the headline is of %v, matched %v", c.genet.Point, c.matched)
	}
}

func TestFindingSaysWhatIsKnown(t *testing.T) {
	genet := point("genet-a", "genet", 76, 8, 10)
	slower := point("rival", "x", 77, 8, 30)
	same := point("rival", "x", 77, 8, 10.001)
	faster := point("rival", "x", 77, 8, 4)
	alone := genet
	alone.Latency.Low, alone.Latency.High, alone.Latency.Launches = nil, nil, 1
	shaky := slower
	shaky.Quality = bench.Q3
	for name, c := range map[string]struct {
		r    *bench.Result
		want string
	}{
		"faster":         {result(genet, slower), "genet-a (published top-1 76.0 %) is 3.0000 times as fast as rival (95 % interval 2.9932 to 3.0068)"},
		"slower":         {result(genet, faster), "takes 2.5000 times as long as rival (95 % interval 2.4943 to 2.5057)"},
		"not told apart": {result(genet, same), "cannot be told apart from rival by speed"},
		"no interval":    {result(alone, slower), "which without an interval is no finding"},
		"of low quality": {result(genet, shaky), "; quality Q3, not to be relied on"},
		"no GENet":       {result(slower, point("x", "x", 1, 1, 2)), "of 2 points, x in fp32 on e takes the least time per image: 2"},
		"one point":      {result(genet), "the one point with a usable number, genet-a in fp32 on e, takes 10.000 ms (9.975 to 10.025), median device time of one inference of 8 images and its 95 % interval"},
		"nothing":        {result(), "no point gave a usable number: the plan has no points"},
	} {
		if got := found(c.r); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q lacks %q", name, got, c.want)
		}
	}
}

// TestModesAreNamed: what was measured in two ways is told apart, in the sentence and in
// the table, and a way that is not the plain one is named.
func TestModesAreNamed(t *testing.T) {
	in := func(m bench.Measurement, graph, cache string) bench.Measurement {
		m.Point.Graph, m.Point.Cache = graph, cache
		return m
	}
	genet, rival := point("genet-a", "genet", 76, 8, 10), point("rival", "x", 77, 8, 30)
	two := result(in(genet, bench.Eager, bench.Hot), in(genet, bench.Graphed, bench.Hot), in(rival, bench.Eager, bench.Hot), in(rival, bench.Graphed, bench.Hot))
	if got := found(two); !strings.Contains(got, "at batch 8 in fp32 on e (graph eager, cache hot), genet-a") {
		t.Error(got)
	}
	page := written(t, Markdown, two)
	for _, row := range []string{"| **genet-a (graph eager)** |", "| **genet-a (graph graph)** |"} {
		if !strings.Contains(page, row) {
			t.Errorf("the page lacks %s:\n%s", row, page)
		}
	}
	if got := found(result(in(genet, bench.Eager, bench.Rotate))); !strings.Contains(got, "genet-a in fp32 on e, takes") {
		t.Error(got)
	}
}

// TestFirstLineNamesTheCPU: a report of a CPU run says in its first line that it
// is one, and on which processor.
func TestFirstLineNamesTheCPU(t *testing.T) {
	for name, want := range map[string]string{"cpu": "CPU run", "troubled": "CPU run", "none": "CPU run", "gpu": "GPU run"} {
		r := load(t, name)
		for format, report := range map[string]Report{"text": Text(0), "md": Markdown} {
			first, _, _ := strings.Cut(written(t, report, r), "\n")
			if !strings.Contains(first, want) || !strings.Contains(first, "Example") {
				t.Errorf("%s %s begins %q", name, format, first)
			}
		}
	}
}

// TestFakeIsNoMeasurement: numbers of a test double stay visible, but neither a
// sentence nor a picture quotes them.
func TestFakeIsNoMeasurement(t *testing.T) {
	s := newSimulation(t, 31, zoo, []string{"onnxruntime"}, []string{"fp32"}, []int{1})
	s.run.Engines[0].Version = "fake"
	r := parse(t, s.journal(4, &bench.EndRecord{}))
	text := written(t, Text(0), r)
	if !strings.Contains(text, "no point gave a usable number") || !strings.Contains(text, "a test double answered") || !strings.Contains(text, "Q0") {
		t.Errorf("a fake passes for an engine:\n%s", text)
	}
	for name, report := range map[string]Report{"bencher": Bencher, "smaller-is-better": SmallerIsBetter} {
		if out := written(t, report, r); strings.Contains(out, zoo[0].name) {
			t.Errorf("%s, which cannot say that a fake is one, has its numbers:\n%s", name, out)
		}
	}
	all, err := pictures(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.skipped == "" {
			t.Errorf("picture %s shows numbers of a fake", p.name)
		}
	}
}

func TestDecimals(t *testing.T) {
	for _, c := range []struct {
		value, half float64 // half 0: no interval
		want        string
	}{
		{12.3456, 0.148, "12.35"},
		{12.3456, 1.48, "12.3"},
		{12.3456, 14.8, "12"},
		{12.3456, 0.00001, "12.346"}, // five figures at most
		{280.3, 64, "280"},
		{12345.6, 900, "12346"},
		{0.04567, 0.0012, "0.0457"},
		{0.04567, 0.2, "0.05"}, // never rounded away
		{12.3456, 0, "12.3"},
		{0.0123456, 0, "0.0123"},
		{1234.56, 0, "1235"},
		{0, 0, "0"},
	} {
		e := bench.Estimate{Value: c.value}
		if c.half > 0 {
			low, high := c.value-c.half, c.value+c.half
			e.Low, e.High = &low, &high
		}
		if got := roundTo(c.value, decimals(e)); got != c.want {
			t.Errorf("%g ± %g shows as %s, want %s", c.value, c.half, got, c.want)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.123: "0.12", 1.25: "1.2", 12.5: "12", 123.4: "123", math.NaN(): "0"} {
		if got := percent(v); got != want {
			t.Errorf("percent(%g) = %s, want %s", v, got, want)
		}
	}
}

func ExampleLookup() {
	_, err := Lookup("jason", 80)
	fmt.Println(err)
	// Output: unknown report format "jason": did you mean "json"? there are text, md, csv, json, gobench, bencher, smaller-is-better
}
