package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A simulation is a run on a device that does not exist, at times that do not
// pass: the runner and the worker are the real ones, in one process, on the
// virtual clock of a synctest bubble. What the device does is scripted.
type simulation struct {
	config Config
	kind   hardware.DeviceKind
	// latency of one inference; 1 ms an image where nil.
	latency func(inference) time.Duration
	// counters changes the reading of a quiet machine; an error is a failed reading.
	counters func(at time.Duration, r *hardware.Reading) error
	// stuck counters hang while they are opened.
	stuck bool
	// fault says how the next block goes wrong: "" not at all, "hang", "break" the device's
	// context, or the words with which the worker dies.
	fault func(inference) string
	// opening says with which words a worker of a host dies of opening an engine; empty for
	// none.
	opening func(engine string, launch int) string
	// deferred is how long an engine's output is in coming after its calls returned.
	deferred func(engine string) time.Duration
	// clock of the multiprocessors in MHz; 1500 where nil. Not a number is unreadable.
	clock func(at time.Duration) float64
	// builds is told of every build, with its number.
	builds func(engine string, number int)
	// plans tells what a build of a number came to; nil for engines that do not search.
	plans func(number int) string
	// wrong tells whose outputs are not the reference's; nil for nobody's.
	wrong func(engine string) bool
	// refuses tells what an engine does not let be done with its calls: "graph",
	// "blocked" or "rotate"; or at all: "build".
	refuses func(engine, what string) bool
	// graphNodes are those of a captured graph; 7 where 0.
	graphNodes int
	// noCounter is why the device has no energy counter; empty where it has one, of
	// 50 W at rest and 100 W more under load.
	noCounter string
	// layers is what an engine's profiler tells; nil for engines without one.
	layers func(inferences int) ([]engines.Layer, error)
	// known models of an earlier run; nil are those that other simulations computed.
	known []ModelRecord
	// groups are of a run that it follows.
	groups map[string]int
	// settled is where that run left the device.
	settled *DeviceState
	// board has clocks that can be locked; nil where they can't.
	board *simulatedBoard
	// interrupt cancels the run at a time; 0 never.
	interrupt time.Duration

	released chan struct{} // ends what hangs, when the run is over
}

// An inference is about to run.
type inference struct {
	at     time.Duration // since the start of the run
	launch int
	engine string
	batch  int
	index  int // within its block
	way    simulatedWay
	copies bool // it stands between copies, or is one
}

// A simulatedWay is how inferences are submitted, and what they find in the cache.
type simulatedWay struct {
	graphs, inputs, group int // graphs and inputs are 0 where there is none of them
	held, cold            bool
}

const (
	simulatedModel      = "mobilenetv3-small"
	simulatedResolution = 32
)

// simulate makes a run of one small network on the engine "sim".
func simulate(t *testing.T, profile string, kind hardware.DeviceKind) *simulation {
	t.Helper()
	protocol, err := protocolFor(profile, kind)
	if err != nil {
		t.Fatal(err)
	}
	return &simulation{kind: kind, config: Config{
		Suite: "simulated", Protocol: protocol, Threads: 1, Seed: 7,
		Grid: Grid{Models: []string{simulatedModel}, Engines: []string{"sim"}, Precisions: []string{"fp32"}, Batches: []int{1}, Resolution: simulatedResolution},
	}}
}

// A simulated is what came of a simulation.
type simulated struct {
	*Result
	err    error // of Runner.Run
	dir    string
	events []Event
	took   time.Duration // by the virtual clock
}

// point gives the measurement of an engine's first point.
func (s *simulated) point(t *testing.T, engine string) *Measurement {
	t.Helper()
	for i := range s.Measurements {
		if s.Measurements[i].Point.Engine == engine {
			return &s.Measurements[i]
		}
	}
	t.Fatalf("no point of %s", engine)
	return nil
}

// run carries the simulation out from its start.
func (s *simulation) run(t *testing.T) *simulated {
	t.Helper()
	return s.in(t, filepath.Join(t.TempDir(), "run"), nil)
}

// resume carries on what an earlier simulation left.
func (s *simulation) resume(t *testing.T, dir string) *simulated {
	t.Helper()
	journal, log, err := ReopenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	return s.in(t, dir, log)
}

func (s *simulation) in(t *testing.T, dir string, past *Log) *simulated {
	t.Helper()
	out := &simulated{dir: dir}
	synctest.Test(t, func(t *testing.T) { s.bubble(t, dir, past, out) })
	return out
}

// described are the models that simulations have had computed so far. They are the same
// in all, and take longer than the rest of a simulation.
var described catalogue

type catalogue struct {
	sync.Mutex
	models map[modelKey]ModelRecord
}

// add keeps what depends on nothing but the model.
func (c *catalogue) add(records []ModelRecord) {
	c.Lock()
	defer c.Unlock()
	for _, m := range records {
		if m.Model == simulatedModel && m.Precision == string(models.FP32) && m.Weights == "synthetic" {
			if c.models == nil {
				c.models = map[modelKey]ModelRecord{}
			}
			c.models[m.key()] = m
		}
	}
}

// knownModels are those that a simulation was given, or does not compute again.
func (s *simulation) knownModels() []ModelRecord {
	if s.known != nil || s.config.Weights != "" {
		return s.known
	}
	described.Lock()
	defer described.Unlock()
	return slices.Collect(maps.Values(described.models))
}

// bubble is the body of a simulation, inside of the virtual clock.
func (s *simulation) bubble(t *testing.T, dir string, past *Log, out *simulated) {
	began := time.Now()
	now := func() int64 { return int64(time.Since(began)) }
	s.released = make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if s.interrupt > 0 {
		time.AfterFunc(s.interrupt, cancel)
	}
	drivers := s.drivers()
	opened := map[string]engines.Engine{}
	for _, d := range drivers {
		e, err := d.Open(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		opened[d.Name] = e
	}
	plan, err := NewPlan(s.config, drivers, opened, nil)
	if err != nil {
		t.Fatal(err)
	}
	var base int64
	var journal *Journal
	if past == nil {
		if journal, err = CreateJournal(dir); err != nil {
			t.Fatal(err)
		}
		err = journal.Append(RunRecord{
			Type: "run", Schema: Schema, Protocol: ProtocolID, ID: "simulated", Started: began, Config: s.config, Seed: s.config.Seed,
			Devices: []hardware.Info{s.info()}, Engines: plan.Engines, Plan: plan.Points, PlannedSeconds: plan.PlannedSeconds(),
		})
		if err != nil {
			t.Fatal(err)
		}
	} else {
		if journal, _, err = ReopenJournal(dir); err != nil {
			t.Fatal(err)
		}
		base = past.ContinueBase(now(), time.Now())
		if err := journal.Append(ResumeRecord{Type: "resume", Started: time.Now(), MonotonicBase: base}); err != nil {
			t.Fatal(err)
		}
	}
	defer journal.Close()
	launcher := &simulatedLauncher{simulation: s, drivers: drivers, now: now}
	runner := &Runner{
		Groups: s.groups, Settled: s.settled,
		Plan: plan, Journal: journal, Base: base, Launcher: launcher, Past: past, Known: s.knownModels(), now: now,
		Telemetry: []Telemetry{{Device: "host", Sampler: simulatedHost{simulatedSampler{s, now}}}},
		Events:    func(e Event) { out.events = append(out.events, e) },
	}
	if s.board != nil {
		s.board.now = now
		runner.Clocks = s.board
	}
	out.err = runner.Run(ctx)
	described.add(runner.models)
	out.took = time.Since(began)
	close(s.released)
	cancel()
	launcher.workers.Wait()
	if out.Result, err = LoadResult(dir); err != nil {
		t.Fatal(err)
	}
	if quick, whole := ExitCode(out.Log), out.ExitCode(); quick != whole {
		t.Errorf("exit code %d by outcomes, %d by the result", quick, whole)
	}
}

func (s *simulation) info() hardware.Info {
	return hardware.Info{ID: "sim", Kind: s.kind, Name: "simulated device", Cores: 1, Fake: true}
}

// drivers gives one engine for every name of the grid, and a reference.
func (s *simulation) drivers() []engines.Driver {
	var drivers []engines.Driver
	for _, name := range append(slices.Clone(s.config.Grid.Engines), "sim-reference") {
		drivers = append(drivers, engines.Driver{
			Name: name, Device: s.kind, Reference: name == "sim-reference",
			Open: func(_ context.Context, on hardware.Device) (engines.Engine, error) {
				if d, ok := on.(*simulatedDevice); ok && s.opening != nil {
					if words := s.opening(name, d.launch); words != "" {
						d.die(words)
					}
				}
				return simulatedEngine{name}, nil
			},
		})
	}
	return drivers
}

// A simulatedLauncher runs workers in-process.
type simulatedLauncher struct {
	*simulation
	drivers []engines.Driver
	now     func() int64
	workers sync.WaitGroup
}

type simulatedWorker struct {
	lines  chan []byte
	killed context.CancelFunc
	ended  chan struct{}
	death  string
}

func (l *simulatedLauncher) Start(ctx context.Context, spec LaunchSpec, _ string) (Worker, error) {
	ctx, kill := context.WithCancel(ctx)
	w := &simulatedWorker{lines: make(chan []byte), killed: kill, ended: make(chan struct{})}
	read, write := io.Pipe()
	l.workers.Add(2)
	go func() {
		defer l.workers.Done()
		readLines(read, w.lines)
	}()
	device := &simulatedDevice{simulation: l.simulation, launch: spec.Launch, killed: ctx.Done(), now: l.now, die: func(words string) {
		w.death = words
		runtime.Goexit() // as a process that takes its engine's crash with it
	}}
	on := surroundings{
		open: func() (hardware.Device, error) { return device.opened(), nil },
		sampler: func(hardware.Device) (hardware.Sampler, error) {
			if l.stuck {
				l.hang()
			}
			return l.sampler(l.now), nil
		},
		meter:   func(hardware.Device) (energyMeter, error) { return l.simulation.meter(device) },
		usage:   func() (hardware.ProcessUsage, error) { return hardware.ProcessUsage{}, nil },
		now:     l.now,
		sleep:   time.Sleep,
		quietly: func(block func() error) error { return block() },
	}
	go func() {
		defer l.workers.Done()
		defer close(w.ended)
		defer write.Close()
		if err := work(ctx, spec, l.drivers, on, write); err != nil {
			w.death = err.Error()
		}
	}()
	return w, nil
}

func (w *simulatedWorker) Lines() <-chan []byte { return w.lines }
func (w *simulatedWorker) Kill()                { w.killed() }
func (w *simulatedWorker) Wait() (string, []string) {
	<-w.ended
	w.killed()
	return w.death, nil
}

// A simulatedDevice is a device and its only stream.
type simulatedDevice struct {
	*simulation
	launch  int
	killed  <-chan struct{}
	now     func() int64
	die     func(words string)
	busy    atomic.Int64      // nanoseconds of work done
	session *simulatedSession // whose Call was asked for last
	way     simulatedWay
	broken  bool // nothing works any more in this process
	// transfer is prepared copying; nil without.
	transfer *simulatedTransfer
}

var errBroken = errors.New("unspecified launch failure")

// A simulatedGPU is a device whose stream has events.
type simulatedGPU struct{ *simulatedDevice }

const simulatedCache = 1 << 20

func (g simulatedGPU) NewStream() (hardware.Stream, error) { return g, nil }
func (g simulatedGPU) CacheBytes() int64                   { return simulatedCache }

func (g simulatedGPU) TimeGroups(c native.Call, group int, s []hardware.Sample) error {
	g.way.group = group
	defer func() { g.way.group = 1 }()
	return g.Time(c, s)
}

func (g simulatedGPU) Capture(native.Call) (hardware.Graph, error) {
	if g.refuses != nil && g.refuses(g.session.engine, "graph") {
		return nil, &hardware.CaptureError{Err: errors.New("it synchronises")}
	}
	g.way.graphs++
	return simulatedGraph{g.simulatedDevice}, nil
}

func (g simulatedGPU) FlushL2(on bool) error { g.way.cold = on; return nil }
func (g simulatedGPU) Hold(on bool) error    { g.way.held = on; return nil }

func (g simulatedGPU) MeterClock() (func() (float64, error), error) {
	return func() (float64, error) {
		mhz := 1500.0
		switch {
		case g.board != nil:
			mhz, _ = g.board.runs()
		case g.clock != nil:
			mhz = g.clock(time.Duration(g.now()))
		}
		if math.IsNaN(mhz) {
			return 0, errors.New("no such kernel")
		}
		return mhz, nil
	}, nil
}

// Transfer copies a megabyte in a tenth of a millisecond, either way.
func (g simulatedGPU) Transfer(inputs, outputs []hardware.Memory) (hardware.Transfer, error) {
	if g.refuses != nil && g.refuses(g.session.engine, "copy") {
		return nil, errors.New("no pinned memory")
	}
	each := func(m []hardware.Memory) time.Duration {
		return time.Duration(bytesOf(m)) * 100 * time.Microsecond >> 20
	}
	g.transfer = &simulatedTransfer{device: g.simulatedDevice, in: each(inputs), out: each(outputs)}
	return g.transfer, nil
}

// A simulatedTransfer has calls that its device knows by their arguments.
type simulatedTransfer struct {
	device  *simulatedDevice
	in, out time.Duration
	around  byte
}

func (t *simulatedTransfer) In() native.Call  { return native.Call{Arg: unsafe.Pointer(&t.in)} }
func (t *simulatedTransfer) Out() native.Call { return native.Call{Arg: unsafe.Pointer(&t.out)} }
func (t *simulatedTransfer) Around(native.Call) native.Call {
	return native.Call{Arg: unsafe.Pointer(&t.around)}
}
func (t *simulatedTransfer) Explain() error { return nil }
func (t *simulatedTransfer) Close() error   { t.device.transfer = nil; return nil }

// lasts gives how long the copies of a call take, and whether an inference is in it.
func (t *simulatedTransfer) lasts(c native.Call) (copies time.Duration, inference bool) {
	switch {
	case t == nil || c.Arg == nil:
		return 0, true
	case c == t.In():
		return t.in, false
	case c == t.Out():
		return t.out, false
	}
	return t.in + t.out, true
}

type simulatedGraph struct{ device *simulatedDevice }

func (g simulatedGraph) Call() native.Call { return native.Call{} }
func (g simulatedGraph) Explain() error    { return nil }
func (g simulatedGraph) Nodes() int        { return cmp.Or(g.device.graphNodes, 7) }
func (g simulatedGraph) Close() error      { g.device.way.graphs--; return nil }

// opened is the device as its kind has it.
func (d *simulatedDevice) opened() hardware.Device {
	if d.kind == hardware.Host {
		return d
	}
	return simulatedGPU{d}
}

func (d *simulatedDevice) Info() hardware.Info                 { return d.info() }
func (d *simulatedDevice) NewStream() (hardware.Stream, error) { return d, nil }
func (d *simulatedDevice) Handle() uintptr                     { return 0 }
func (d *simulatedDevice) Synchronize(ctx context.Context) error {
	if d.broken {
		return errBroken
	}
	return ctx.Err()
}
func (d *simulatedDevice) Close() error { return nil }

func (d *simulatedDevice) Time(c native.Call, s []hardware.Sample) error {
	copies, infers := d.transfer.lasts(c)
	if copies > 0 && d.refuses != nil && d.refuses(d.session.engine, "inference between copies") {
		return &native.CallError{Code: 7}
	}
	i := inference{at: time.Duration(d.now()), launch: d.launch, engine: d.session.engine, batch: d.session.batch, way: d.way, copies: copies > 0}
	if d.way.held && d.refuses != nil && d.refuses(i.engine, "blocked") {
		return &hardware.HeldError{After: 30 * time.Second}
	}
	if d.fault != nil {
		switch how := d.fault(i); how {
		case "":
		case "hang":
			<-d.killed
			return errors.New("killed")
		case "break":
			d.broken = true
		default:
			d.die(how)
		}
	}
	if d.broken {
		return errBroken
	}
	var total time.Duration
	for k := range s {
		i.index = k
		took := time.Duration(i.batch) * time.Millisecond
		if infers && d.latency != nil {
			took = d.latency(i)
		}
		if !infers {
			took = 0
		}
		took += copies
		s[k] = hardware.Sample{Device: took.Nanoseconds(), Enqueue: 1000, Host: took.Nanoseconds()}
		took *= time.Duration(max(i.way.group, 1))
		i.at += max(took, 0)
		total += max(took, 0)
	}
	select {
	case <-d.killed:
		return errors.New("killed")
	case <-time.After(total):
		d.busy.Add(total.Nanoseconds())
		return nil
	}
}

// A simulatedMeter counts joules of what its device does.
type simulatedMeter struct{ device *simulatedDevice }

func (s *simulation) meter(d *simulatedDevice) (energyMeter, error) {
	if s.noCounter != "" {
		return nil, &hardware.EnergyUnavailableError{Device: "sim", Why: s.noCounter}
	}
	return simulatedMeter{d}, nil
}

func (m simulatedMeter) Measure(ctx context.Context, atLeast time.Duration) (hardware.EnergyWindow, error) {
	w := hardware.EnergyWindow{StartNS: m.device.now()}
	busy := m.device.busy.Load()
	select {
	case <-ctx.Done():
		return w, ctx.Err()
	case <-time.After(atLeast + 1): // behind the work that ends with the window
	}
	w.EndNS = m.device.now()
	w.GrossJ = 50*w.Seconds() + 100*time.Duration(m.device.busy.Load()-busy).Seconds()
	return w, nil
}

// A simulatedSampler reads a machine that is quiet but for what the script says.
type simulatedSampler struct {
	*simulation
	now func() int64
}

// sampler is that of the simulation's kind of device.
func (s *simulation) sampler(now func() int64) hardware.Sampler {
	if s.kind == hardware.Host {
		return simulatedSampler{s, now}
	}
	return simulatedGPUSampler{simulatedSampler{s, now}}
}

// A simulatedGPUSampler is one that tells clock events, too.
type simulatedGPUSampler struct{ simulatedSampler }

func (s simulatedGPUSampler) EventReasons() (hardware.EventReasons, error) {
	if s.board != nil && s.board.fleeting {
		_, reasons := s.board.state()
		return reasons, nil
	}
	r, err := s.Sample()
	switch {
	case err != nil:
		return 0, err
	case r.GPU == nil || r.GPU.EventReasons == nil:
		return 0, errors.New("not supported")
	}
	return *r.GPU.EventReasons, nil
}

// A simulatedHost is what the parent reads: all but the device that is measured.
type simulatedHost struct{ simulatedSampler }

func (s simulatedHost) Sample() (hardware.Reading, error) {
	r, err := s.simulatedSampler.Sample()
	r.GPU = nil
	return r, err
}

func (s simulatedSampler) Close() error { return nil }
func (s simulatedSampler) Sample() (hardware.Reading, error) {
	at := s.now()
	number, zero, hot := 1, 0.0, 40
	clock, power := 1500, 100.0
	var reasons hardware.EventReasons
	r := hardware.Reading{Time: at, Host: &hardware.HostReading{CPUs: &number, BusySeconds: &zero, StealSeconds: &zero}}
	if s.kind != hardware.Host {
		r.GPU = &hardware.GPUReading{SMClockMHz: &clock, PowerW: &power, TemperatureC: &hot, EventReasons: &reasons, ForeignProcesses: []int{}}
	}
	if s.board != nil && s.kind != hardware.Host {
		if clock, reasons = s.board.state(); s.board.fleeting {
			reasons = 0
		}
	}
	if s.counters == nil {
		return r, nil
	}
	err := s.counters(time.Duration(at), &r)
	return r, err
}

// hang never comes back while the run lasts.
func (s *simulation) hang() { <-s.released }

type simulatedEngine struct{ name string }

func (e simulatedEngine) Info() engines.Info { return engines.Info{Name: e.name, Version: fakeVersion} }
func (e simulatedEngine) Supports(o engines.BuildOptions) error {
	switch {
	case o.Precision == models.FP32, o.Precision.Calibrated():
		return nil
	case o.AllowEmulated:
		return nil
	}
	return fmt.Errorf("sim only emulates %s", o.Precision)
}

// Observe implements engines.Observer with activations between -2 and 1.
func (simulatedEngine) Observe(_ context.Context, n *models.Network, input models.Tensor, see func(string, []float32) error) error {
	folded, err := models.Fold(n)
	if err != nil {
		return err
	}
	if err := see(models.InputName, input.Data); err != nil {
		return err
	}
	for _, node := range folded.Nodes {
		if err := see(node.Name, []float32{1, -2}); err != nil {
			return err
		}
	}
	return nil
}
func (e simulatedEngine) Close() error { return nil }
func (e simulatedEngine) Build(_ context.Context, _ *models.Network, stream hardware.Stream, o engines.BuildOptions) (engines.Session, error) {
	if o.Precision.Calibrated() && o.Ranges == nil {
		return nil, fmt.Errorf("%s without ranges", o.Precision)
	}
	gpu, ok := stream.(simulatedGPU)
	device := gpu.simulatedDevice
	if !ok {
		device = stream.(*simulatedDevice)
	}
	if device.builds != nil && device.launch > 0 {
		device.builds(e.name, o.Build)
	}
	if ok && gpu.refuses != nil && gpu.refuses(e.name, "build") {
		return nil, errors.New("no engine today")
	}
	if !ok {
		return &simulatedSession{device: device, engine: e.name, batch: o.Batch, number: o.Build, profiled: o.Layers}, nil
	}
	session := &simulatedSession{device: device, engine: e.name, batch: o.Batch, number: o.Build, profiled: o.Layers}
	if gpu.refuses != nil && gpu.refuses(e.name, "rotate") {
		return session, nil
	}
	return &simulatedRotator{session}, nil
}

// A simulatedRotator is a session whose input of a quarter of the cache may lie anywhere.
type simulatedRotator struct{ *simulatedSession }

func (s *simulatedRotator) Rotate(bytes int64) ([]native.Call, error) {
	calls := make([]native.Call, engines.Copies(simulatedCache/4, bytes))
	s.device.way.inputs = len(calls)
	return calls, nil
}

type simulatedSession struct {
	device *simulatedDevice
	engine string
	batch  int
	number int
	// profiled sessions are built to have their layers timed.
	profiled bool
}

// Resident implements engines.Resident: a megabyte of input an image, half of output.
func (s *simulatedSession) Resident() (inputs, outputs []hardware.Memory) {
	return []hardware.Memory{{Bytes: int64(s.batch) << 20}}, []hardware.Memory{{Bytes: int64(s.batch) << 18}, {Bytes: int64(s.batch) << 18}}
}

func (s *simulatedSession) SetInput(models.Tensor) error      { return nil }
func (s *simulatedSession) Explain(e *native.CallError) error { return e }
func (s *simulatedSession) Close() error                      { s.device.way.inputs = 0; return nil }
func (s *simulatedSession) Call() native.Call                 { s.device.session = s; return native.Call{} }
func (s *simulatedSession) Executed() engines.Execution {
	if s.device.plans == nil {
		return engines.Execution{}
	}
	return engines.Execution{Plan: &engines.Plan{Build: s.number, SHA256: s.device.plans(s.number)}}
}
func (s *simulatedSession) Output() (models.Tensor, error) {
	if s.device.deferred != nil {
		time.Sleep(s.device.deferred(s.engine))
	}
	t := models.Tensor{Shape: []int{s.batch, 3}}
	logits := []float32{1, 2, 3}
	if s.device.wrong != nil && s.device.wrong(s.engine) {
		slices.Reverse(logits)
	}
	for range s.batch {
		t.Data = append(t.Data, logits...)
	}
	return t, nil
}
