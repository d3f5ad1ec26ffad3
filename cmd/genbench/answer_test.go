package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"genbench/bench"
	"genbench/hardware"
	"genbench/models"
)

var (
	answerBinary     = flag.String("answer-binary", "", "genbench binary that `make race-to-answer` races")
	answerPython     = flag.String("answer-python", "", "Python with numpy and onnxruntime, for the loop it races against")
	answerModels     = flag.String("answer-models", "", "networks of the race, instead of the default suite's")
	answerBatches    = flag.String("answer-batches", "", "batches of the race, instead of the default suite's")
	answerThreads    = flag.Int("answer-threads", 0, "threads of both sides, instead of all processors")
	answerTurns      = flag.Int("answer-turns", 3, "how often both sides measure every point; from 2")
	answerIterations = flag.Int("answer-iterations", 1000, "inferences of the loop at each point")
	answerWidth      = flag.Float64("answer-width", 0.01, "half-width of the 95 % interval, relative to the median, that both sides are to come to")
	answerSeed       = flag.Uint64("answer-seed", 1, "seed of the order of points and sides")
)

const (
	// answerShare is the part of the loop's time that genbench may take.
	answerShare = 1. / 3
	// answerLeast is how many processes an interval over processes takes: from there
	// stopping on its width hardly lessens how often it holds the truth (bench,
	// TestStoppingCoverage).
	answerLeast = 8
	// answerWarmUp is how many inferences the loop runs before those it counts.
	answerWarmUp = 10
)

// A racer is a point and what the processes of both sides tell of it, one of each a
// turn.
type racer struct {
	model        string
	batch        int
	ours, theirs effort
	// naive is the half-width of the 95 % interval of the mean that the loop would
	// print, relative to the mean, every sample taken for independent.
	naive []float64
}

func (r racer) String() string { return fmt.Sprintf("%s b%d", r.model, r.batch) }

// An effort is what processes of one side took and told of one point.
type effort struct {
	medians []float64 // ns
	took    []time.Duration
}

// A field is one side of the race: its effort at every point.
type field []effort

// variance is that of the logarithms of what processes tell of a point, pooled over
// the points, and its degrees of freedom.
func (f field) variance() (v, freedom float64) {
	for _, e := range f {
		n := float64(len(e.medians))
		v += stat.Variance(logarithms(e.medians), nil) * (n - 1)
		freedom += n - 1
	}
	return v / freedom, freedom
}

// pass is how long a process for every point takes.
func (f field) pass() time.Duration {
	var total time.Duration
	for _, e := range f {
		var sum time.Duration
		for _, d := range e.took {
			sum += d
		}
		total += sum / time.Duration(len(e.took))
	}
	return total
}

// processes is how many of a variance bring an interval over them to a half-width.
func processes(variance, width float64) float64 {
	z := distuv.UnitNormal.Quantile(0.975)
	return max(answerLeast, z*z*variance/(width*width))
}

func logarithms(values []float64) []float64 {
	logs := make([]float64, len(values))
	for i, v := range values {
		logs[i] = math.Log(v)
	}
	return logs
}

// naiveWidth is the half-width of the mean's interval as a loop over one process
// prints it, 1.96 s/√n, relative to the mean.
func naiveWidth(ns []float64) float64 {
	mean, sd := stat.MeanStdDev(ns, nil)
	return 1.96 * sd / math.Sqrt(float64(len(ns))) / mean
}

// `make race-to-answer`: how long it takes to know the latency of every point of the
// default suite within 1 %, against a loop of 1000 inferences a point as people write
// it, over the same files, library, input and threads.
//
// Both are held to the same interval, one over processes: what a loop prints of its
// own samples takes them for independent, and says nothing of what another process
// would have measured. Every turn measures every point once on both sides, one right
// after the other and in random order, so that the machine does to one what it does
// to the other: genbench with a launch, the loop with a process. How far a side's
// processes lie apart says how many of them come to the width, and each takes its
// wall time. To genbench's is added all that it does once, the first run of the suite
// with its checks and report; to the loop's nothing, not even the making of its files.
func TestRaceToAnswer(t *testing.T) {
	if *answerPython == "" || *answerBinary == "" {
		t.Skip("measures for an hour; run `make race-to-answer`")
	}
	if *answerTurns < 2 {
		t.Fatalf("%d turns do not tell how far processes lie apart", *answerTurns)
	}
	racers := raceGrid(t)
	threads := *answerThreads
	if threads == 0 { // as genbench run
		usable, err := hardware.AllowedCPUs()
		if err != nil {
			t.Fatal(err)
		}
		threads = len(usable)
	}
	first, once := firstRun(t, racers, threads)
	t.Logf("genbench, the first run: %s", once.Round(time.Second))
	order := rand.New(rand.NewPCG(*answerSeed, 7))
	for turn := range *answerTurns {
		for _, i := range order.Perm(len(racers)) {
			r := racers[i]
			sides := []func(){
				func() { r.launch(t, first, threads, order.Uint64N(1<<32)+1) },
				func() { r.loop(t, threads) },
			}
			order.Shuffle(2, func(i, j int) { sides[i], sides[j] = sides[j], sides[i] })
			for _, side := range sides {
				side()
			}
			t.Logf("turn %d, %s: genbench %.3f ms in %s, the loop %.3f ms in %s", turn+1, r,
				last(r.ours.medians)/1e6, last(r.ours.took).Round(time.Millisecond), last(r.theirs.medians)/1e6, last(r.theirs.took).Round(time.Millisecond))
		}
	}
	t.Logf("%d points, %d turns\n%s", len(racers), *answerTurns, raceTable(racers))
	ratio, low, high := settleRace(t, racers, once)
	t.Logf("genbench takes %.2f of the loop's time, 95 %% interval %.2f to %.2f, limit %.2f", ratio, low, high, answerShare)
	if ratio > answerShare {
		t.Errorf("genbench takes %.2f of the loop's time", ratio)
	}
}

// settleRace gives the ratio of the times that both sides take to come to the width,
// with its 95 % interval; what is uncertain is the ratio of the variances.
func settleRace(t *testing.T, racers []*racer, once time.Duration) (ratio, low, high float64) {
	var ours, theirs field
	for _, r := range racers {
		ours, theirs = append(ours, r.ours), append(theirs, r.theirs)
	}
	mine, freedom := ours.variance()
	others, _ := theirs.variance()
	share := func(mine float64) float64 {
		return (once.Seconds() + processes(mine, *answerWidth)*ours.pass().Seconds()) / (processes(others, *answerWidth) * theirs.pass().Seconds())
	}
	for _, side := range []struct {
		name     string
		variance float64
		pass     time.Duration
	}{{"genbench", mine, ours.pass()}, {"the loop", others, theirs.pass()}} {
		n := processes(side.variance, *answerWidth)
		t.Logf("%s: processes scatter by %.2f %%, so that ±%g %% takes %.0f of them, each %s: %s", side.name, 100*math.Sqrt(side.variance), 100**answerWidth,
			n, side.pass.Round(100*time.Millisecond), time.Duration(n*float64(side.pass)).Round(time.Second))
	}
	f := distuv.F{D1: freedom, D2: freedom}.Quantile(0.975)
	return share(mine), share(mine / f), share(mine * f)
}

func last[T any](list []T) T { return list[len(list)-1] }

// raceGrid lists the points of the race.
func raceGrid(t *testing.T) []*racer {
	suite, err := bench.SuiteNamed("default")
	if err != nil {
		t.Fatal(err)
	}
	names, batches := suite.Grid.Models, suite.Grid.Batches
	if *answerModels != "" {
		names = strings.Split(*answerModels, ",")
	}
	if *answerBatches != "" {
		batches = nil
		for _, word := range strings.Split(*answerBatches, ",") {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, n)
		}
	}
	var racers []*racer
	for _, name := range names {
		for _, batch := range batches {
			racers = append(racers, &racer{model: name, batch: batch})
		}
	}
	return racers
}

// genbenchRun runs genbench's own loop over some points and tells how long it took.
func genbenchRun(t *testing.T, dir string, racers []*racer, threads int, flags ...string) time.Duration {
	t.Helper()
	var names, batches []string // what is named twice counts once
	for _, r := range racers {
		names, batches = append(names, r.model), append(batches, fmt.Sprint(r.batch))
	}
	args := append([]string{"run", "--engines", "onnxruntime", "--precisions", "fp32", "--models", strings.Join(names, ","), "--batches", strings.Join(batches, ","),
		"--threads", fmt.Sprint(threads), "--profile", "ci", "--launches", "1", "--sentinel-every", "0s", "--out", dir}, flags...)
	cmd := exec.Command(*answerBinary, args...)
	var words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &words, &words
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	// A point that is invalid on a busy machine (4) has its median all the same.
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == exitInvalid) {
		t.Fatalf("genbench: %v\n%s", err, words.String())
	}
	return took
}

// firstRun is what genbench does once: it looks at the machine, computes the outputs
// that later launches expect, and writes a report.
func firstRun(t *testing.T, racers []*racer, threads int) (dir string, took time.Duration) {
	dir = filepath.Join(t.TempDir(), "first")
	return dir, genbenchRun(t, dir, racers, threads, "--seed", fmt.Sprint(*answerSeed))
}

// launch takes genbench's turn.
func (r *racer) launch(t *testing.T, first string, threads int, seed uint64) {
	dir := filepath.Join(t.TempDir(), "run")
	took := genbenchRun(t, dir, []*racer{r}, threads, "--follow", first, "--no-report", "--seed", fmt.Sprint(seed))
	log, err := bench.ReadLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ns []int64
	for _, round := range log.Rounds { // of the only point; the last one was kept, or is the best there is
		ns = round.DeviceNS
	}
	if len(ns) == 0 {
		t.Fatalf("genbench took no sample of %s", r)
	}
	r.ours.medians, r.ours.took = append(r.ours.medians, middleOf(ns)), append(r.ours.took, took)
}

// loop takes the loop's turn.
func (r *racer) loop(t *testing.T, threads int) {
	dir := t.TempDir()
	model, image := exportPoint(t, dir, r.model, r.batch)
	cmd := exec.Command(*answerPython, filepath.Join("..", "..", "engines", "onnxruntime", "testdata", "loop.py"), model, image, fmt.Sprint(threads))
	cmd.Stdin = strings.NewReader(fmt.Sprintf("%d\n%d\n", answerWarmUp, *answerIterations))
	cmd.Stderr = os.Stderr
	start := time.Now()
	text, err := cmd.Output()
	took := time.Since(start)
	if err != nil {
		t.Fatalf("the loop: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n") // version, warm-up, samples
	if len(lines) != 3 {
		t.Fatalf("the loop said %d lines, want 3", len(lines))
	}
	var whole []int64
	var ns []float64
	for _, word := range strings.Fields(lines[2]) {
		v, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		whole, ns = append(whole, v), append(ns, float64(v))
	}
	r.theirs.medians, r.theirs.took = append(r.theirs.medians, middleOf(whole)), append(r.theirs.took, took)
	r.naive = append(r.naive, naiveWidth(ns))
	if err := os.RemoveAll(dir); err != nil { // a suite of them is a gigabyte
		t.Fatal(err)
	}
}

// exportPoint writes the files that a loop reads.
func exportPoint(t *testing.T, dir, name string, batch int) (model, image string) {
	network, err := models.New(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	onnx, err := models.ONNX(network, models.ExportOptions{Batch: batch, Precision: models.FP32})
	if err != nil {
		t.Fatal(err)
	}
	var raw []byte
	for _, v := range models.SyntheticInput(network.InputShape(batch)).Data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	model, image = filepath.Join(dir, "model.onnx"), filepath.Join(dir, "input.f32")
	if err := errors.Join(os.WriteFile(model, onnx, 0o644), os.WriteFile(image, raw, 0o644)); err != nil {
		t.Fatal(err)
	}
	return model, image
}

// raceTable shows what each side tells of every point: its middle over the turns, how
// far its processes lie apart, and how long one takes; of the loop, also what it
// prints.
func raceTable(racers []*racer) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "point\tgenbench ms\tsd %\ttakes s\tloop ms\tsd %\ttakes s\tprints ± %\tgenbench/loop")
	for _, r := range racers {
		mine, other := geometricMean(r.ours.medians), geometricMean(r.theirs.medians)
		fmt.Fprintf(w, "%s\t%.3f\t%.2f\t%.1f\t%.3f\t%.2f\t%.1f\t%.2f\t%.3f\n", r,
			mine/1e6, 100*stat.StdDev(logarithms(r.ours.medians), nil), field{r.ours}.pass().Seconds(),
			other/1e6, 100*stat.StdDev(logarithms(r.theirs.medians), nil), field{r.theirs}.pass().Seconds(), 100*slices.Max(r.naive), mine/other)
	}
	w.Flush()
	return b.String()
}

// middleOf is the median, as a record's is taken.
func middleOf(ns []int64) float64 {
	sorted := slices.Sorted(slices.Values(ns))
	n := len(sorted)
	return float64(sorted[(n-1)/2]+sorted[n/2]) / 2
}

func geometricMean(values []float64) float64 { return math.Exp(stat.Mean(logarithms(values), nil)) }

func TestRaceIsSettled(t *testing.T) {
	// Both sides scatter alike: the ratio is that of their times, but for what
	// genbench does once. An sd of √2 % takes 8 processes, (1.96·√2)² = 7.7, of 10 %
	// 384.
	spread := func(sd float64, took time.Duration) effort {
		return effort{[]float64{10e6 * math.Exp(sd/math.Sqrt2), 10e6 * math.Exp(-sd/math.Sqrt2)}, []time.Duration{took, took}}
	}
	for _, test := range []struct {
		mine, others float64 // standard deviations
		once         time.Duration
		want         float64
	}{
		{0.1, 0.1, 0, 0.1},
		{0.1, 0.1, 10 * 384146 * time.Millisecond, 1.1},
		{0.1 * math.Sqrt2, 0.1, 0, 0.2},
		{0.01, 0.001, 0, 0.1}, // neither goes below 8
	} {
		racers := []*racer{
			{ours: spread(test.mine, time.Second), theirs: spread(test.others, 10*time.Second)},
			{ours: spread(test.mine, time.Second), theirs: spread(test.others, 10*time.Second)},
		}
		ratio, low, high := settleRace(t, racers, 2*test.once)
		if math.Abs(ratio-test.want) > 1e-4 || !(low <= ratio && ratio <= high) {
			t.Errorf("sd %g and %g, %v once: %g [%g, %g], want %g", test.mine, test.others, test.once, ratio, low, high, test.want)
		}
		if test.mine > 0.02 && (low > ratio/10 || high < ratio*10) && test.once == 0 {
			t.Errorf("two degrees of freedom tell the ratio %g to [%g, %g]; F(2, 2) has 39", ratio, low, high)
		}
	}
	if got, want := naiveWidth([]float64{9, 10, 11, 10}), 1.96*math.Sqrt(2./3)/2/10; math.Abs(got-want) > 1e-12 {
		t.Errorf("a loop prints %g, want %g", got, want)
	}
}
