package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
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
	answerTurns      = flag.Int("answer-turns", 1, "how often both sides run; they take turns at being first")
	answerIterations = flag.Int("answer-iterations", 1000, "inferences of the loop at each point")
	answerWidth      = flag.Float64("answer-width", 0.01, "half-width of the 95 % interval, relative to the median, that genbench stops at")
	answerLaunches   = flag.Int("answer-launches", 40, "launches after which genbench gives a point up")
)

// answerShare is the part of the loop's time that genbench may take.
const answerShare = 1. / 3

// answerFirst is how many launches genbench takes before it looks at an interval: from
// there stopping on the width hardly lessens how often the interval holds the truth
// (bench, TestStoppingCoverage).
const answerFirst = 8

// answerWarmUp is how many inferences the loop runs before those it counts.
const answerWarmUp = 10

// A racer is a point and what both sides tell of it, a value for every turn.
type racer struct {
	model string
	batch int
	// Of genbench: the estimate, and the median of every launch in nanoseconds.
	ours     []bench.Estimate
	launches [][]float64
	states   []bench.State
	// Of the loop: its median in nanoseconds, and the half-width of the 95 % interval
	// of the mean that it would print, relative to the mean, every sample taken for
	// independent.
	medians []float64
	naive   []float64
}

func (r racer) String() string { return fmt.Sprintf("%s b%d", r.model, r.batch) }

// reached tells whether genbench came to the width in every turn.
func (r racer) reached(width float64) bool {
	for i, e := range r.ours {
		if r.states[i] != bench.Measured || !(e.HalfWidth() <= width) {
			return false
		}
	}
	return len(r.ours) > 0
}

// scatter is what one launch tells of the median: half the width of an interval over
// a single process, if processes scatter as genbench's launches do.
func (r racer) scatter() float64 {
	var squares, freedom float64
	for _, medians := range r.launches {
		logs := logarithms(medians)
		if len(logs) > 1 {
			squares += stat.Variance(logs, nil) * float64(len(logs)-1)
			freedom += float64(len(logs) - 1)
		}
	}
	return distuv.UnitNormal.Quantile(0.975) * math.Sqrt(squares/freedom)
}

// honest is the half-width of the loop's interval over its processes; NaN for one.
func (r racer) honest() float64 {
	n := float64(len(r.medians))
	if n < 2 {
		return math.NaN()
	}
	return distuv.StudentsT{Sigma: 1, Nu: n - 1}.Quantile(0.975) * stat.StdDev(logarithms(r.medians), nil) / math.Sqrt(n)
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
// genbench is the real binary, and its time is all of it, from the start of the
// process to the report: it stops at each point when the interval over launches is
// narrow enough. The loop is a process a point, and its time is that of the processes
// alone; the files are made for it. It is granted the width: what it prints takes its
// samples for independent, and says nothing of what another process would have
// measured. An honest interval of the loop would take several processes; with more
// than one turn it is shown.
func TestRaceToAnswer(t *testing.T) {
	if *answerPython == "" || *answerBinary == "" {
		t.Skip("measures for an hour; run `make race-to-answer`")
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
	var ours, theirs time.Duration
	for turn := range *answerTurns {
		sides := []func(){
			func() { ours += runGenbench(t, racers, threads, turn) },
			func() { theirs += runLoops(t, racers, threads) },
		}
		if turn%2 == 1 {
			sides[0], sides[1] = sides[1], sides[0]
		}
		for _, side := range sides {
			side()
		}
	}
	t.Logf("%d points, %s, both in turn\n%s", len(racers), plural(*answerTurns, "turn", "turns"), raceTable(racers))
	ratio := ours.Seconds() / theirs.Seconds()
	t.Logf("genbench %s, the loop of %d %s: %.2f of its time, limit %.2f", ours.Round(time.Second), *answerIterations, theirs.Round(time.Second), ratio, answerShare)
	if ratio > answerShare {
		t.Errorf("genbench took %.2f of the loop's time", ratio)
	}
	var wide []string
	for _, r := range racers {
		if !r.reached(*answerWidth) {
			wide = append(wide, r.String())
		}
	}
	if len(wide) > 0 {
		t.Errorf("%d of %d points did not come to ±%g %%: %s", len(wide), len(racers), 100**answerWidth, strings.Join(wide, ", "))
	}
}

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

// runGenbench lets genbench measure all points and tells how long it took.
func runGenbench(t *testing.T, racers []*racer, threads, turn int) time.Duration {
	var names, batches []string // what is named twice counts once
	for _, r := range racers {
		names, batches = append(names, r.model), append(batches, fmt.Sprint(r.batch))
	}
	dir := filepath.Join(t.TempDir(), "run")
	cmd := exec.Command(*answerBinary, "run", "--engines", "onnxruntime", "--precisions", "fp32",
		"--models", strings.Join(names, ","), "--batches", strings.Join(batches, ","), "--threads", fmt.Sprint(threads),
		"--profile", "quick", "--rel-width", fmt.Sprint(*answerWidth), "--launches", fmt.Sprint(answerFirst), "--max-launches", fmt.Sprint(*answerLaunches),
		"--seed", fmt.Sprint(turn+1), "--out", dir)
	var words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &words, os.Stderr
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	// Points that are invalid on a busy machine (4) are named later.
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == exitInvalid) {
		t.Fatalf("genbench: %v\n%s", err, words.String())
	}
	result, err := bench.LoadResult(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range racers {
		for _, m := range result.Measurements {
			if m.Point.Model != r.model || m.Point.Batch != r.batch {
				continue
			}
			r.ours, r.states = append(r.ours, m.Latency), append(r.states, m.State)
			r.launches = append(r.launches, nil)
			medians := &r.launches[len(r.launches)-1]
			for _, round := range m.Rounds {
				if round.Status == bench.OK {
					*medians = append(*medians, middleOf(round.DeviceNS))
				}
			}
		}
	}
	t.Logf("genbench took %s", took.Round(time.Second))
	return took
}

// runLoops runs the loop at every point and tells how long its processes took.
func runLoops(t *testing.T, racers []*racer, threads int) time.Duration {
	var total time.Duration
	for _, r := range racers {
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
		total += took
		lines := strings.Split(strings.TrimSpace(string(text)), "\n") // version, warm-up, samples
		if len(lines) != 3 {
			t.Fatalf("the loop said %d lines, want 3", len(lines))
		}
		var whole []int64
		var ns []float64
		for _, field := range strings.Fields(lines[2]) {
			v, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			whole, ns = append(whole, v), append(ns, float64(v))
		}
		r.medians, r.naive = append(r.medians, middleOf(whole)), append(r.naive, naiveWidth(ns))
		t.Logf("loop: %s took %s", r, took.Round(time.Millisecond))
		if err := os.RemoveAll(dir); err != nil { // a suite of them is a gigabyte
			t.Fatal(err)
		}
	}
	return total
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

// raceTable shows what each side knows of every point. Widths are in percent of the
// median; those of several turns are the widest.
func raceTable(racers []*racer) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "point\tgenbench ms\t± %\tlaunches\tone launch ± %\tloop ms\tit prints ± %\tover processes ± %\tgenbench/loop")
	percent := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return fmt.Sprintf("%.2f", 100*v)
	}
	for _, r := range racers {
		width, launches, naive := 0.0, 0, 0.0
		var middle, theirs []float64
		for i := range r.ours {
			width, naive = max(width, r.ours[i].HalfWidth()), max(naive, r.naive[i])
			launches += r.ours[i].Launches
			middle, theirs = append(middle, r.ours[i].Value), append(theirs, r.medians[i])
		}
		mine, other := geometricMean(middle), geometricMean(theirs)
		if slices.ContainsFunc(r.states, func(s bench.State) bool { return s != bench.Measured }) {
			mine = math.NaN() // a turn gave no number
		}
		fmt.Fprintf(w, "%s\t%.3f\t%s\t%d\t%s\t%.3f\t%s\t%s\t%.3f\n", r, mine/1e6, percent(width), launches, percent(r.scatter()),
			other/1e6, percent(naive), percent(r.honest()), mine/other)
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

func TestRaceWidths(t *testing.T) {
	// Four launches of 10 ms, sd of the logarithms 0.01: t(3) = 3.182, half 1.59 %.
	r := racer{
		ours:     []bench.Estimate{{Value: 10e6}},
		states:   []bench.State{bench.Measured},
		launches: [][]float64{{10e6 * math.Exp(0.01), 10e6 * math.Exp(-0.01)}},
		medians:  []float64{10e6 * math.Exp(0.01), 10e6 * math.Exp(-0.01)},
	}
	if r.reached(0.01) {
		t.Error("an estimate without an interval reached a width")
	}
	low, high := 9.95e6, 10.05e6
	r.ours[0].Low, r.ours[0].High = &low, &high
	if !r.reached(0.01) || r.reached(0.004) {
		t.Error("±0.5 % is not told from ±1 % and ±0.4 %")
	}
	r.states[0] = bench.Invalid
	if r.reached(0.01) {
		t.Error("an invalid point reached a width")
	}
	sd := 0.01 * math.Sqrt2
	if got, want := r.scatter(), 1.959964*sd; math.Abs(got-want) > 1e-6 {
		t.Errorf("one launch is known to %g, want %g", got, want)
	}
	if got, want := r.honest(), 12.7062*sd/math.Sqrt2; math.Abs(got-want) > 1e-5 {
		t.Errorf("two processes are known to %g, want %g", got, want)
	}
	if got, want := naiveWidth([]float64{9, 10, 11, 10}), 1.96*math.Sqrt(2./3)/2/10; math.Abs(got-want) > 1e-12 {
		t.Errorf("a loop prints %g, want %g", got, want)
	}
}
