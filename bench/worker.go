package bench

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A LaunchSpec is what a worker is told to do, the one line on its standard
// input. The input then stays open: its end means that the parent is gone.
type LaunchSpec struct {
	Launch int    `json:"launch"` // from 1; 0 is the pass that computes expected outputs
	Base   int64  `json:"monotonic_base_ns"`
	Config Config `json:"config"`
	// Settle is the point that warms the machine before anything is timed; nil
	// after the first launch.
	Settle *Point  `json:"settle,omitempty"`
	Visits []Visit `json:"visits"`
	// Expected holds the fp32 reference's logits by "MODEL@RESOLUTION".
	Expected map[string][]float32 `json:"expected,omitempty"`
}

// A Visit is one round that a worker owes.
type Visit struct {
	Point Point `json:"cell"`
	Round int   `json:"round"`
	Order int   `json:"order"`
}

// A beginMessage tells the parent what the worker is about to do, and how long it
// may be silent from here before it must be taken for hung.
type beginMessage struct {
	Type  string        `json:"type"` // "begin"
	ID    string        `json:"point"`
	Stage string        `json:"stage"`
	Allow time.Duration `json:"allow_ns"`
}

// A doneMessage is a worker's last word: it did all it was told.
type doneMessage struct {
	Type             string  `json:"type"` // "done"
	MeasuringSeconds float64 `json:"measuring_s"`
}

// workerPipe is the file descriptor on which a worker talks; its standard output
// and error belong to the engines, which print what they like.
const workerPipe = 3

// RunWorker is the body of the worker process: it takes a LaunchSpec from stdin
// and sends records over file descriptor 3. It returns when the work is done or
// cannot be done; a point that fails is reported and passed over.
func RunWorker(ctx context.Context, drivers []engines.Driver, stdin io.Reader) error {
	in := bufio.NewReader(stdin)
	line, err := in.ReadBytes('\n')
	w := &worker{drivers: drivers, engines: map[string]engines.Engine{}}
	if err == nil {
		err = json.Unmarshal(line, &w.spec)
	}
	if err != nil {
		return fmt.Errorf("start worker: no launch on standard input (%w); this command is started by `genbench run`, not by hand", err)
	}
	out := os.NewFile(workerPipe, "worker pipe")
	defer out.Close()
	w.out = json.NewEncoder(out)
	// A parent that was killed cannot tell its worker to stop; the end of the
	// input can. The timed loop runs in C on another thread and cannot hold this up.
	go func() {
		if _, err := in.ReadByte(); err != nil {
			os.Exit(1)
		}
	}()
	if err := w.open(); err != nil {
		return err
	}
	defer w.close()
	if w.spec.Launch == 0 {
		return w.expect(ctx)
	}
	return w.measure(ctx)
}

// A worker is one launch: a fresh process that visits points and measures them.
type worker struct {
	spec    LaunchSpec
	drivers []engines.Driver
	out     *json.Encoder

	device  hardware.Device
	stream  hardware.Stream
	sampler hardware.Sampler
	engines map[string]engines.Engine
	buffer  []hardware.Sample
	busy    time.Duration // spent inside timed blocks
}

func (w *worker) open() error {
	var err error
	if w.device, err = hardware.NewHost(); err != nil {
		return err
	}
	if w.stream, err = w.device.NewStream(); err != nil {
		return err
	}
	if w.sampler, err = hardware.NewHostSampler(""); err != nil {
		return err
	}
	return nil
}

func (w *worker) close() {
	for _, e := range w.engines {
		// The process ends next and the operating system frees what is left; an
		// engine that cannot close says so in the log.
		if err := e.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "close engine %s: %v\n", e.Info().Name, err)
		}
	}
}

func (w *worker) engine(ctx context.Context, name string) (engines.Engine, error) {
	if e, ok := w.engines[name]; ok {
		return e, nil
	}
	i := slices.IndexFunc(w.drivers, func(d engines.Driver) bool { return d.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("engine %q is not built into this binary", name)
	}
	e, err := w.drivers[i].Open(ctx, w.device)
	if err != nil {
		return nil, err
	}
	w.engines[name] = e
	return e, nil
}

// say sends a record. A pipe that cannot be written means that the parent is gone.
func (w *worker) say(record any) error {
	if err := w.out.Encode(record); err != nil {
		return fmt.Errorf("tell parent: %w", err)
	}
	return nil
}

// begin announces a stage that should take about expected.
func (w *worker) begin(p Point, stage string, expected time.Duration) error {
	return w.say(beginMessage{Type: "begin", ID: p.String(), Stage: stage, Allow: w.spec.Config.Protocol.Watchdog + 5*expected})
}

// expect is the pass before the first launch: for every network the fp32
// reference's logits, for every model file its hash.
func (w *worker) expect(ctx context.Context) error {
	reference := slices.IndexFunc(w.drivers, func(d engines.Driver) bool { return d.Reference })
	if reference < 0 {
		return errors.New("compute expected outputs: no reference engine is built into this binary")
	}
	type file struct {
		model             string
		resolution, batch int
		precision         string
	}
	logits := map[string][]float32{}
	weights := map[string]string{}
	seen := map[file]bool{}
	for _, v := range w.spec.Visits {
		p := v.Point
		f := file{p.Model, p.Resolution, p.Batch, p.Precision}
		if seen[f] {
			continue
		}
		seen[f] = true
		network, err := models.New(p.Model, p.Resolution)
		if err != nil {
			return err
		}
		cost, err := models.CostOf(network)
		if err != nil {
			return err
		}
		if err := w.begin(p, "expected output", time.Duration(cost.MACs)); err != nil { // 1 GMAC/s
			return err
		}
		key := expectedKey(p)
		if logits[key] == nil {
			if logits[key], err = w.reference(ctx, w.drivers[reference].Name, network); err != nil {
				return fmt.Errorf("compute expected output of %s: %w", key, err)
			}
			if weights[key], err = hashWeights(network); err != nil {
				return err
			}
		}
		onnx, err := models.ONNX(network, models.ExportOptions{Batch: p.Batch, Precision: models.Precision(p.Precision)})
		if err != nil {
			return fmt.Errorf("export %s: %w", p, err)
		}
		sum := sha256.Sum256(onnx)
		info, err := models.Lookup(p.Model)
		if err != nil {
			return err
		}
		if p.Resolution != info.Resolution {
			// The accuracy was published for another input; quoting it beside this
			// one's latency would compare what does not belong together.
			info.Top1, info.Top1Source = nil, ""
		}
		err = w.say(ModelRecord{
			Type: "model", Model: p.Model, Family: info.Family, Source: info.Source,
			Precision: p.Precision, Batch: p.Batch, Resolution: p.Resolution,
			ONNXSHA256: hex.EncodeToString(sum[:]),
			Weights:    network.Weights.Origin(), WeightsSHA256: weights[key],
			Params: cost.Params, MACs: cost.MACs, Top1: info.Top1, Top1Source: info.Top1Source,
			Expected: logits[key],
		})
		if err != nil {
			return err
		}
	}
	return w.say(doneMessage{Type: "done"})
}

// expectedKey names an expected output: it depends on the network alone, because
// the first image of every batch is the same.
func expectedKey(p Point) string { return fmt.Sprintf("%s@%d", p.Model, p.Resolution) }

// reference runs one image through the reference engine.
func (w *worker) reference(ctx context.Context, name string, network *models.Network) ([]float32, error) {
	engine, err := w.engine(ctx, name)
	if err != nil {
		return nil, err
	}
	session, err := engine.Build(ctx, network, w.stream, engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: runtime.NumCPU()})
	if err != nil {
		return nil, err
	}
	defer session.Close()
	if err := session.SetInput(models.SyntheticInput(network.InputShape(1))); err != nil {
		return nil, err
	}
	if err := w.time(session, make([]hardware.Sample, 1)); err != nil {
		return nil, err
	}
	out, err := session.Output()
	return out.Data, err
}

// hashWeights is the sha256 of all parameters, little-endian float32 in execution
// order, before any folding.
func hashWeights(n *models.Network) (string, error) {
	h := sha256.New()
	var values []float32
	var raw []byte
	for _, p := range n.Params() {
		values = slices.Grow(values[:0], p.Shape.Elements())[:p.Shape.Elements()]
		if err := n.Weights.Load(p, values); err != nil {
			return "", fmt.Errorf("hash weights of %s: %w", n.Name, err)
		}
		raw = raw[:0]
		for _, v := range values {
			bits := math.Float32bits(v)
			raw = append(raw, byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24))
		}
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// measure visits every point of the launch.
func (w *worker) measure(ctx context.Context) error {
	if w.spec.Settle != nil {
		if err := w.settle(ctx, *w.spec.Settle); err != nil {
			// The visit itself will tell the parent why this point cannot run.
			fmt.Fprintf(os.Stderr, "settle on %s: %v\n", *w.spec.Settle, err)
		}
	}
	for _, v := range w.spec.Visits {
		record := PointRecord{Type: "point", ID: v.Point.String(), Launch: w.spec.Launch, Round: v.Round, Point: v.Point}
		err := w.visit(ctx, v, &record)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		record.Failed = err.Error()
		if err := w.say(record); err != nil {
			return err
		}
	}
	return w.say(doneMessage{Type: "done", MeasuringSeconds: w.busy.Seconds()})
}

// settle runs the heaviest point until the machine is as warm as it will be (W2).
func (w *worker) settle(ctx context.Context, p Point) error {
	session, err := w.build(ctx, p)
	if err != nil {
		return err
	}
	defer session.Close()
	one := make([]hardware.Sample, 1)
	end := time.Now().Add(w.spec.Config.Protocol.Settle)
	for time.Now().Before(end) && ctx.Err() == nil {
		if err := w.begin(p, "settle", time.Duration(one[0].Host)); err != nil {
			return err
		}
		if err := w.time(session, one); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// build makes a session with its input set.
func (w *worker) build(ctx context.Context, p Point) (engines.Session, error) {
	engine, err := w.engine(ctx, p.Engine)
	if err != nil {
		return nil, err
	}
	network, err := models.New(p.Model, p.Resolution)
	if err != nil {
		return nil, err
	}
	if err := w.begin(p, "build", 0); err != nil {
		return nil, err
	}
	session, err := engine.Build(ctx, network, w.stream, engines.BuildOptions{
		Precision: models.Precision(p.Precision), Batch: p.Batch, Threads: w.spec.Config.Threads,
	})
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", p, err)
	}
	if err := session.SetInput(models.SyntheticInput(network.InputShape(p.Batch))); err != nil {
		session.Close()
		return nil, err
	}
	return session, nil
}

// time runs a block of len(s) inferences.
func (w *worker) time(session engines.Session, s []hardware.Sample) error {
	start := native.Now()
	err := w.stream.Time(session.Call(), s)
	w.busy += time.Duration(native.Now() - start)
	var failed *native.CallError
	if errors.As(err, &failed) {
		return session.Explain(failed)
	}
	return err
}

// visit builds a point's session, warms it up, checks its output and takes one
// round. It sends the point's record, then each try of the round.
func (w *worker) visit(ctx context.Context, v Visit, record *PointRecord) error {
	start := native.Now()
	session, err := w.build(ctx, v.Point)
	if err != nil {
		return err
	}
	defer session.Close()
	record.BuildNS = native.Now() - start
	if err := w.begin(v.Point, "first inference", 0); err != nil {
		return err
	}
	first := make([]hardware.Sample, 1)
	if err := w.time(session, first); err != nil {
		return err
	}
	record.FirstNS = first[0].Host
	record.Executed = session.Executed()

	warm, inference, err := w.warmUp(session, v.Point, time.Duration(first[0].Host))
	if err != nil {
		return err
	}
	if record.Check, err = w.check(session, v.Point); err != nil {
		return err
	}
	if err := w.say(record); err != nil {
		return err
	}
	if !record.Check.Pass {
		return nil // the record says so; a wrong answer has no latency
	}
	proto := w.spec.Config.Protocol
	for try := 1; ; try++ {
		round := RoundRecord{
			Type: "round", ID: v.Point.String(), Launch: w.spec.Launch, Round: v.Round, Order: v.Order, Try: try,
			WarmupSamples: warm,
		}
		if inference, err = w.round(session, v.Point, inference, &round); err != nil {
			return err
		}
		if err := w.say(round); err != nil {
			return err
		}
		if round.Status == OK || try > proto.Retries {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(proto.RetryWait):
		}
	}
}

// warmUp runs until both minima are reached and the last inference lies near the
// median of the last five (W1), and gives the number of inferences and the last
// median. A network that never comes near is left to the steady-state proof.
func (w *worker) warmUp(session engines.Session, p Point, guess time.Duration) (int, time.Duration, error) {
	proto := w.spec.Config.Protocol
	if err := w.begin(p, "warm-up", time.Duration(proto.WarmupSamples+5)*guess); err != nil {
		return 0, 0, err
	}
	one := make([]hardware.Sample, 1)
	var last []int64
	start := time.Now()
	for n := 1; ; n++ {
		if err := w.time(session, one); err != nil {
			return 0, 0, err
		}
		last = append(last, one[0].Device)
		if len(last) > 5 {
			last = last[1:]
		}
		mid := median(last)
		took := time.Since(start)
		near := math.Abs(float64(one[0].Device-mid)) <= proto.WarmupWithin*float64(mid)
		if n >= proto.WarmupSamples && took >= proto.WarmupTime && (near || took >= 2*proto.WarmupTime+5*time.Duration(mid)) {
			return n, time.Duration(mid), nil
		}
	}
}

// check compares the first image of the last output with the reference's.
func (w *worker) check(session engines.Session, p Point) (*Check, error) {
	want, ok := w.spec.Expected[expectedKey(p)]
	if !ok {
		return nil, fmt.Errorf("check output of %s: no expected output was computed", p)
	}
	out, err := session.Output()
	if err != nil {
		return nil, fmt.Errorf("check output of %s: %w", p, err)
	}
	if len(out.Shape) == 0 || out.Shape[0] != p.Batch {
		return nil, fmt.Errorf("check output of %s: its shape is %v, want a batch of %d", p, out.Shape, p.Batch)
	}
	return checkOutput(out.Data[:len(out.Data)/p.Batch], want)
}

// round proves a steady state and takes one block of samples, with the counters
// read at both ends and nothing but the C loop in between. It gives the median,
// from which the next try is sized.
func (w *worker) round(session engines.Session, p Point, inference time.Duration, r *RoundRecord) (time.Duration, error) {
	proto := w.spec.Config.Protocol
	var err error
	if r.Steady, inference, err = w.prove(session, p, inference); err != nil {
		return 0, err
	}
	n := proto.samples(inference)
	s := w.samples(n)
	if err := w.begin(p, "round", time.Duration(n)*inference); err != nil {
		return 0, err
	}
	from, err := w.sample()
	if err != nil {
		return 0, err
	}
	ownFrom, err := hardware.Usage()
	if err != nil {
		return 0, err
	}
	start := native.Now()
	if err := w.quietly(func() error { return w.time(session, s) }); err != nil {
		return 0, err
	}
	ownTo, err := hardware.Usage()
	if err != nil {
		return 0, err
	}
	to, err := w.sample()
	if err != nil {
		return 0, err
	}
	r.Start = start - w.spec.Base
	r.DeviceNS = make([]int64, n)
	for i := range s {
		r.DeviceNS[i] = s[i].Device
	}
	if w.device.Info().Kind != hardware.Host {
		r.EnqueueNS, r.HostNS = make([]int64, n), make([]int64, n)
		for i := range s {
			r.EnqueueNS[i], r.HostNS[i] = s[i].Enqueue, s[i].Host
		}
	}
	r.Interval = hardware.Between(from, to, ownTo.CPUSeconds-ownFrom.CPUSeconds)
	r.ContextSwitches = ownTo.InvoluntarySwitches - ownFrom.InvoluntarySwitches
	r.Status, r.DropReason = judgeRound(r.Interval, proto)
	return time.Duration(median(r.DeviceNS)), nil
}

// judgeRound classifies a round by what else the machine was doing (X).
func judgeRound(i hardware.Interval, p Protocol) (Status, string) {
	if i.StealFraction != nil && *i.StealFraction > p.DropSteal {
		return Dropped, fmt.Sprintf("the hypervisor took %.1f %% of the machine's time (limit %.0f %%)", 100**i.StealFraction, 100*p.DropSteal)
	}
	if i.ForeignCPUs != nil && *i.ForeignCPUs > p.DropForeign {
		return Dropped, fmt.Sprintf("other processes used %.2f cores (limit %.1f)", *i.ForeignCPUs, p.DropForeign)
	}
	return OK, ""
}

// sample reads the counters and sends them.
func (w *worker) sample() (hardware.Reading, error) {
	reading, err := w.sampler.Sample()
	if err != nil {
		return reading, fmt.Errorf("read counters: %w", err)
	}
	relative := reading
	relative.Time -= w.spec.Base
	return reading, w.say(ReadingRecord{Type: "reading", Device: w.device.Info().ID, Reading: relative})
}

// prove runs windows until the last of them show a steady state (W4) or the
// protocol's patience ends, and gives the last window's median.
func (w *worker) prove(session engines.Session, p Point, inference time.Duration) (SteadyProof, time.Duration, error) {
	proto := w.spec.Config.Protocol
	var proof SteadyProof
	start := native.Now()
	for {
		inference = max(inference, 1)
		n := max(proto.WindowSamples, int((proto.WindowTime+inference-1)/inference))
		s := w.samples(n)
		if err := w.begin(p, "steady state", time.Duration(n)*inference); err != nil {
			return proof, 0, err
		}
		if err := w.quietly(func() error { return w.time(session, s) }); err != nil {
			return proof, 0, err
		}
		ns := make([]int64, n)
		for i := range s {
			ns[i] = s[i].Device
		}
		proof.add(ns)
		inference = time.Duration(proof.WindowMedians[len(proof.WindowMedians)-1])
		took := time.Duration(native.Now() - start)
		proof.Seconds = took.Seconds()
		last := len(proof.WindowMedians) >= steadyWindows && took >= proto.SteadyCap
		if proof.judge(proto, last); proof.Met || last {
			return proof, inference, nil
		}
	}
}

// quietly runs a timed block on a locked thread with the garbage collector off,
// after a collection (M8).
func (w *worker) quietly(block func() error) error {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return block()
}

// samples gives a buffer whose pages are already there.
func (w *worker) samples(n int) []hardware.Sample {
	if n > cap(w.buffer) {
		w.buffer = make([]hardware.Sample, n)
	}
	s := w.buffer[:n]
	clear(s)
	return s
}
