package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"syscall"
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
	// Settle is the point that warms the machine before anything is timed, for SettleFor
	// at least; nil in a worker that continues where another ended. SettledAt is where
	// the first launch left the device, for later ones to come back to (W2).
	Settle    *Point        `json:"settle,omitempty"`
	SettleFor time.Duration `json:"settle_for_ns,omitempty"`
	SettledAt *DeviceState  `json:"settled_at,omitempty"`
	Visits    []Visit       `json:"visits"`
	// Lock is the one that the device's clocks are under; nil where they float.
	Lock *ClockLock `json:"lock,omitempty"`
	// Probe makes the launch one that only tries a clock.
	Probe *ProbeSpec `json:"probe,omitempty"`
	// Energy makes the launch the energy pass, in which nothing is timed.
	Energy bool `json:"energy,omitempty"`
	// Layers makes the launch the layer pass.
	Layers bool `json:"layers,omitempty"`
	// Sentinel is the point to visit whenever it is due; nil without one (D1).
	Sentinel *SentinelSpec `json:"sentinel,omitempty"`
	// Expected holds the fp32 reference's logits by "MODEL@RESOLUTION".
	Expected map[string][]float32 `json:"expected,omitempty"`
	// Groups holds how many inferences make a sample, by point, where that is decided
	// (M4).
	Groups map[string]int `json:"groups,omitempty"`
	// Ranges holds what int8 and fp8 were calibrated to, by the same key.
	Ranges map[string]*models.Ranges `json:"ranges,omitempty"`
}

// A Visit is one round that a worker owes.
type Visit struct {
	Point Point `json:"cell"`
	Round int   `json:"round"`
	Order int   `json:"order"`
	// Sentinel marks a visit that only watches for drift; Round counts these apart.
	Sentinel bool `json:"sentinel,omitempty"`
}

// A SentinelSpec tells a worker which point watches for drift, and when.
type SentinelSpec struct {
	Point Point         `json:"cell"`
	Next  int           `json:"next"`   // number of the coming visit, from 1
	Due   int64         `json:"due_ns"` // when it is due, counted as all t_ns
	Every time.Duration `json:"every_ns"`
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
	// LockLost says why the launch was given up, to be started again under a lower lock.
	LockLost string `json:"lock_lost,omitempty"`
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
	var spec LaunchSpec
	if err == nil {
		err = json.Unmarshal(line, &spec)
	}
	if err != nil {
		return fmt.Errorf("start worker: no launch on standard input (%w); this command is started by `genbench run`, not by hand", err)
	}
	// What an engine starts must not hold the pipe open when the worker has ended.
	syscall.CloseOnExec(workerPipe)
	// It stays open until the process ends: with its end the parent collects the worker,
	// which by then must have said why it failed.
	out := os.NewFile(workerPipe, "worker pipe")
	// A parent that was killed cannot tell its worker to stop; the end of the
	// input can. The timed loop runs in C on another thread and cannot hold this up.
	go func() {
		if _, err := in.ReadByte(); err != nil {
			os.Exit(1)
		}
	}()
	// Before any engine starts threads, which inherit it.
	if len(spec.Config.CPUs) > 0 {
		if err := hardware.Pin(spec.Config.CPUs); err != nil {
			return fmt.Errorf("start worker: %w", err)
		}
	}
	return work(ctx, spec, drivers, theMachine(spec), out)
}

// Surroundings are what a worker measures on and with.
type surroundings struct {
	open    func() (hardware.Device, error)
	sampler func(hardware.Device) (hardware.Sampler, error)
	meter   func(hardware.Device) (energyMeter, error)
	usage   func() (hardware.ProcessUsage, error)
	now     func() int64 // the clock that t_ns count on
	sleep   func(time.Duration)
	// quietly runs a timed block with as little beside it as can be had.
	quietly func(block func() error) error
}

// theMachine is the surroundings of every worker process; simulations bring their
// own. Expected outputs are computed on the host whatever is measured.
func theMachine(spec LaunchSpec) surroundings {
	device := spec.Config.Device
	if spec.Launch == 0 || device == "" {
		device = string(hardware.Host)
	}
	return surroundings{
		open:    func() (hardware.Device, error) { return hardware.Open(device) },
		sampler: func(d hardware.Device) (hardware.Sampler, error) { return openCounters(d, spec.Config.NVML) },
		meter:   func(d hardware.Device) (energyMeter, error) { return openMeter(d, spec.Config.NVML) },
		usage:   hardware.Usage,
		now:     native.Now,
		sleep:   native.Sleep,
		quietly: quietly,
	}
}

// work carries out a launch and writes what comes of it to out, one record per line.
func work(ctx context.Context, spec LaunchSpec, drivers []engines.Driver, on surroundings, out io.Writer) error {
	w := &worker{surroundings: on, spec: spec, drivers: drivers, out: json.NewEncoder(out), engines: map[string]engines.Engine{}, broken: map[Point]bool{}, groups: map[string]int{}}
	maps.Copy(w.groups, spec.Groups)
	if err := w.begins(); err != nil {
		return err
	}
	defer w.close()
	if spec.Launch == 0 {
		return w.expect(ctx)
	}
	if spec.Energy {
		return w.energy(ctx)
	}
	if spec.Layers {
		return w.layers(ctx)
	}
	if spec.Probe != nil {
		return w.probe(ctx)
	}
	err := w.measure(ctx)
	var lost *lockLostError
	if errors.As(err, &lost) {
		return w.say(doneMessage{Type: "done", MeasuringSeconds: w.busy.Seconds(), LockLost: lost.reason})
	}
	return err
}

// A worker is one launch: a fresh process that visits points and measures them.
type worker struct {
	surroundings
	spec    LaunchSpec
	drivers []engines.Driver
	out     *json.Encoder

	device   hardware.Device
	stream   hardware.Stream
	counters *counters
	engines  map[string]engines.Engine
	busy     time.Duration // spent inside timed blocks
	broken   map[Point]bool
	groups   map[string]int // as in the spec, and what this launch decided
	rest     *float64       // the device's temperature before any work; nil where it is not known
}

func (w *worker) begins() error {
	var err error
	if w.device, err = w.open(); err != nil {
		return err
	}
	if w.stream, err = w.device.NewStream(); err != nil {
		return err
	}
	sampler, err := w.openSampler()
	if err != nil {
		return err
	}
	w.counters = &counters{sampler: sampler, patience: w.spec.Config.Protocol.TelemetryPatience}
	return nil
}

// openSampler opens the counters. A driver's library that hangs meanwhile costs the
// readings and not the run: it gets half of the time that the parent waits for a word.
func (w *worker) openSampler() (hardware.Sampler, error) {
	type opened struct {
		sampler hardware.Sampler
		err     error
	}
	opening := make(chan opened, 1)
	go func() {
		sampler, err := w.sampler(w.device)
		opening <- opened{sampler, err}
	}()
	patience := w.spec.Config.Protocol.Watchdog / 2
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case o := <-opening:
		return o.sampler, o.err
	case <-late.C:
		return noSampler{fmt.Errorf("they could not be opened within %s", patience)}, nil
	}
}

// A noSampler says why there is none.
type noSampler struct{ why error }

func (s noSampler) Sample() (hardware.Reading, error) { return hardware.Reading{}, s.why }
func (s noSampler) Close() error                      { return nil }

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
	return w.allow(p, stage, w.spec.Config.Protocol.Watchdog+5*expected)
}

// allow announces a stage that may be silent for the given time.
func (w *worker) allow(p Point, stage string, silence time.Duration) error {
	return w.say(beginMessage{Type: "begin", ID: p.String(), Stage: stage, Allow: silence})
}

// lostContext tells whether a failure took the device's context along, as a fault of a
// kernel does: every later call of the process then fails, and only a new worker can
// measure the rest of the launch.
func (w *worker) lostContext(ctx context.Context, failure error) error {
	if err := w.stream.Synchronize(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the device's context is gone (%w), after: %w", err, failure)
	}
	return ctx.Err()
}

// finish closes a session. What was measured with it stands, so one that cannot close
// says so in the log.
func (w *worker) finish(p Point, s engines.Session) {
	if err := s.Close(); err != nil {
		fmt.Fprintf(os.Stderr, "close session of %s: %v\n", p, err)
	}
}

// measure visits every point of the launch, and the sentinel whenever it is due.
func (w *worker) measure(ctx context.Context) error {
	if reading, missing := w.counters.read(w.now); missing == "" {
		w.rest = w.temperature(reading)
	}
	if w.spec.Settle != nil {
		if err := w.settle(ctx, *w.spec.Settle); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// The visit itself will tell the parent why this point cannot run.
			fmt.Fprintf(os.Stderr, "settle on %s: %v\n", *w.spec.Settle, err)
			if err := w.lostContext(ctx, err); err != nil {
				return err
			}
		}
	}
	if err := w.sentinel(ctx); err != nil {
		return err
	}
	for _, v := range w.spec.Visits {
		if w.broken[v.Point] {
			continue
		}
		if err := w.try(ctx, v); err != nil {
			return err
		}
		if err := w.sentinel(ctx); err != nil {
			return err
		}
	}
	return w.say(doneMessage{Type: "done", MeasuringSeconds: w.busy.Seconds()})
}

// sentinel visits the sentinel point if that is due (D1).
func (w *worker) sentinel(ctx context.Context) error {
	s := w.spec.Sentinel
	if s == nil || w.broken[s.Point] || w.now()-w.spec.Base < s.Due {
		return nil
	}
	err := w.try(ctx, Visit{Point: s.Point, Round: s.Next, Sentinel: true})
	s.Next++
	s.Due = w.now() - w.spec.Base + s.Every.Nanoseconds()
	return err
}

// try makes a visit and tells the parent if it failed or its point is to be skipped.
func (w *worker) try(ctx context.Context, v Visit) error {
	record := PointRecord{Type: "point", ID: v.Point.String(), Launch: w.spec.Launch, Round: v.Round, Point: v.Point, Sentinel: v.Sentinel}
	err := w.visit(ctx, v, &record)
	var lost *lockLostError
	if err == nil || errors.As(err, &lost) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if reason, ok := refused(err); ok {
		record.Skipped = reason
	} else {
		record.Failed = err.Error()
	}
	w.broken[v.Point] = true
	return errors.Join(w.say(record), w.lostContext(ctx, err))
}
