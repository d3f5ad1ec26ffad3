package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"genbench/bench"
	"genbench/engines"
	"genbench/hardware"
)

// The journals under testdata are invented: no machine and no time in them is
// real. They are written here, from fixed seeds, when tests run with -update.

// A simulation writes the journal of a run that never was.
type simulation struct {
	t      *testing.T
	rng    *rand.Rand
	out    bytes.Buffer
	run    bench.RunRecord
	models []bench.ModelRecord
	// behaviour of a point, by id; the zero value is well-behaved
	trouble map[string]trouble
	// milliseconds gives the true latency of an inference
	milliseconds func(bench.Point) float64
	samples      int // a round, 0 for what half a second holds
	gpu          bool
	noReadings   bool

	now         float64 // seconds since the start
	busy, steal float64
	power       float64
	last        float64
}

type trouble struct {
	failed      string   // in launch 1
	log         []string // of the failure
	unsteady    bool
	noise       float64 // relative standard deviation between launches, 0 for little
	drop        int     // launches in which the first try is dropped
	dropAll     bool
	stolen      bool
	checkFailed bool
}

func pointer[T any](v T) *T { return &v }

func (s *simulation) append(record any) {
	s.t.Helper()
	enc := json.NewEncoder(&s.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(record); err != nil {
		s.t.Fatal(err)
	}
}

// read advances the counters to now and writes a reading.
func (s *simulation) read() {
	if s.noReadings {
		return
	}
	dt := s.now - s.last
	s.last = s.now
	s.busy += dt * (1.85 + 0.1*s.rng.Float64())
	s.steal += dt * 0.012 * s.rng.ExpFloat64()
	record := bench.ReadingRecord{Type: "reading", Reading: hardware.Reading{Time: int64(s.now * 1e9)}}
	record.Host = &hardware.HostReading{
		CPUs: pointer(2), BusySeconds: pointer(round(s.busy, 2)), StealSeconds: pointer(round(s.steal, 2)),
		Running: pointer(2 + s.rng.IntN(2)), Load1: pointer(round(1.8+0.3*s.rng.Float64(), 2)),
		FrequencyMHz: pointer(round(2595+20*math.Sin(s.now/20)+6*s.rng.NormFloat64(), 1)),
		Reasons:      hardware.Reasons{"temperature_c": "no thermal sensor in /sys/class/hwmon", "thermal_throttles": "no thermal_throttle counters in /sys"},
	}
	if s.gpu {
		s.power += (310 - s.power) * min(1, dt/3)
		record.GPU = &hardware.GPUReading{
			SMClockMHz: pointer(1755 - s.rng.IntN(3)*15), MemoryClockMHz: pointer(2619), PState: pointer(0),
			PowerW: pointer(round(s.power+8*s.rng.NormFloat64(), 1)), TemperatureC: pointer(38 + int(s.power/12)),
			ForeignProcesses: []int{},
		}
	}
	s.append(record)
}

func round(v float64, decimals int) float64 {
	scale := math.Pow(10, float64(decimals))
	return math.Round(v*scale) / scale
}

// pass lets time go by, with a reading every second.
func (s *simulation) pass(seconds float64) {
	for end := s.now + seconds; s.now < end; {
		next := min(end, math.Floor(s.now)+1)
		s.now = next
		if next == math.Floor(next) {
			s.read()
		}
	}
}

// journal writes the whole run. It stops after so many launches; end is nil for a
// run that was cut off.
func (s *simulation) journal(launches int, end *bench.EndRecord) []byte {
	s.append(s.run)
	for _, m := range s.models {
		s.append(m)
	}
	s.pass(4)
	given := map[string]bool{}
	for launch := 1; launch <= launches; launch++ {
		s.pass(1.5)
		plan := bench.Plan{Config: s.run.Config, Points: s.run.Plan}
		for order, i := range plan.Order(launch, 1) {
			planned := s.run.Plan[i]
			if planned.Skip != "" || given[planned.ID] {
				continue
			}
			if s.trouble[planned.ID].failed != "" {
				given[planned.ID] = true
			}
			s.visit(planned, launch, order+1)
		}
	}
	if end != nil {
		end.Type, end.UsedSeconds, end.MeasuringSeconds = "end", round(s.now, 3), round(0.8*s.now, 3)
		end.PlannedSeconds = s.run.PlannedSeconds
		s.append(end)
	}
	return s.out.Bytes()
}

func (s *simulation) visit(planned bench.PlannedPoint, launch, order int) {
	trouble := s.trouble[planned.ID]
	point := bench.PointRecord{Type: "point", ID: planned.ID, Launch: launch, Round: 1, Point: planned.Point}
	if trouble.failed != "" {
		s.pass(0.4)
		point.Failed, point.Log = trouble.failed, trouble.log
		s.append(point)
		return
	}
	ms := s.milliseconds(planned.Point)
	build := 0.05 + float64(planned.Params)*8e-9
	s.pass(build)
	point.BuildNS = int64(build * 1e9)
	point.FirstNS = int64(ms * 1.9e6)
	point.Executed = engines.Execution{Precisions: map[string]int{planned.Point.Precision: 61}}
	point.Check = &bench.Check{Images: 1, Cosine: 0.9999999, MaxRelErr: 2.1e-6, Top1Agreement: 1, Limit: 1e-3, Pass: true}
	if trouble.checkFailed {
		point.Check.MaxRelErr, point.Check.Cosine, point.Check.Top1Agreement, point.Check.Pass = 0.41, 0.87, 0, false
	}
	s.append(point)
	if trouble.checkFailed {
		return
	}
	spread := 0.004
	if trouble.noise > 0 {
		spread = trouble.noise
	}
	shift := math.Exp(spread * s.rng.NormFloat64())
	n := s.samples
	if n == 0 {
		n = max(10, int(500/ms))
		if limit := int(2000 / ms); n > limit {
			n = max(3, limit)
		}
	}
	for try := 1; try <= 2; try++ {
		s.pass(0.3 + 3*0.2)
		r := bench.RoundRecord{Type: "round", ID: planned.ID, Launch: launch, Round: 1, Try: try, Order: order, WarmupSamples: 3, Status: bench.OK}
		dropped := trouble.dropAll || (try == 1 && launch <= trouble.drop)
		settled := int64(ms * shift * 1e6)
		r.Steady = bench.SteadyProof{Met: !trouble.unsteady, WindowMedians: []int64{settled, settled, settled + settled/500}, Ratio: 1.002, Drift: 0.002, Seconds: 0.6}
		if trouble.unsteady {
			r.Steady.WindowMedians = append(r.Steady.WindowMedians, settled+settled/20)
			r.Steady.Ratio, r.Steady.Drift, r.Steady.Seconds = 1.05, 0.031, 3
		}
		if s.gpu {
			r.Steady.ClockLimit = s.run.Config.Protocol.SteadyClock
			for range r.Steady.WindowMedians {
				r.Steady.WindowClocks = append(r.Steady.WindowClocks, 1755)
			}
		} else {
			r.Steady.ClockReason = "neither cpufreq nor /proc/cpuinfo tells a clock"
		}
		s.read()
		r.Start = int64(s.now * 1e9)
		for range n {
			v := ms * shift * math.Exp(0.003*math.Abs(s.rng.NormFloat64())+0.004*s.rng.ExpFloat64())
			if s.rng.Float64() < 0.015 {
				v *= 1 + 0.5*s.rng.Float64() // an interruption
			}
			if dropped {
				v *= 1.2 + 0.4*s.rng.Float64()
			}
			r.DeviceNS = append(r.DeviceNS, int64(v*1e6))
			if s.gpu {
				r.EnqueueNS = append(r.EnqueueNS, int64(21e3+3e3*s.rng.Float64()))
				r.HostNS = append(r.HostNS, int64(v*1e6)+int64(11e3+2e3*s.rng.Float64()))
			}
			s.now += v / 1e3
		}
		r.Interval = hardware.Interval{
			Seconds: pointer(round(s.now-float64(r.Start)/1e9, 4)), StealFraction: pointer(0.004), ForeignCPUs: pointer(round(0.02+0.03*s.rng.Float64(), 3)),
			MeanFrequencyMHz: pointer(2596.1), Reasons: hardware.Reasons{"temperature_c": "no thermal sensor in /sys/class/hwmon", "thermal_throttles": "no thermal_throttle counters in /sys"},
		}
		if s.gpu {
			r.ClockMHz = pointer(1738 + 2*float64(launch))
			length := s.now - float64(r.Start)/1e9
			r.Interval.GPU = &hardware.GPUInterval{
				EventReasons: new(hardware.EventReasons), Watch: &hardware.EventWatch{Looks: int(10 * length), Seen: map[string]int{}},
				EnergyJ: pointer(round(280*length, 3)), TemperatureC: pointer(61), PowerViolationNS: new(int64), ThermalViolationNS: new(int64),
				ECCErrors: new(int64), PCIeReplays: new(int64), Xids: []int{}, ForeignProcesses: []int{},
			}
		}
		if trouble.stolen {
			r.Interval.StealFraction = pointer(0.034)
		}
		if dropped {
			r.Status, r.DropReason = bench.Dropped, "other processes used 0.91 cores (limit 0.5)"
			r.Interval.ForeignCPUs = pointer(0.91)
		}
		s.append(r)
		s.read()
		if s.gpu {
			s.copy(planned.Point, launch, ms*shift)
		}
		if !dropped {
			return
		}
	}
}

// copy writes what the visit of a point copied around its inferences: at 20 GB/s.
func (s *simulation) copy(p bench.Point, launch int, ms float64) {
	c := bench.CopyRecord{Type: "copies", ID: p.String(), Launch: launch, Round: 1, Start: int64(s.now * 1e9),
		InputBytes: int64(p.Batch) * 3 * 224 * 224 * 2, OutputBytes: int64(p.Batch) * 1000 * 2}
	for k := range 9 {
		noise := 1 + 0.001*float64(k+launch)
		in, out := noise*(2e3+float64(c.InputBytes)/20), noise*(2e3+float64(c.OutputBytes)/20)
		c.InNS, c.OutNS = append(c.InNS, int64(in)), append(c.OutNS, int64(out))
		c.AroundNS = append(c.AroundNS, int64(in+out+ms*1e6+15e3))
	}
	s.append(c)
}

// A zooEntry is a network with published figures: params and MACs as counted for
// its own resolution, top-1 with its source.
type zooEntry struct {
	name, family string
	resolution   int
	params, macs int64
	top1         float64 // 0 for none
	source       string
	cpu          float64 // invented ms per image on the imaginary CPU
}

var zoo = []zooEntry{
	{"genet-small", "GENet", 192, 8173761, 547222656, 75.7, "arXiv:2006.14090, Table 3", 14.6},
	{"genet-normal", "GENet", 192, 21142920, 2208073216, 80.0, "arXiv:2006.14090, Table 3", 49.3},
	{"genet-large", "GENet", 256, 31078280, 4557041664, 81.3, "arXiv:2006.14090, Table 3", 101.5},
	{"resnet-18", "ResNet", 224, 11689512, 1814073344, 69.758, "torchvision 0.14.1, IMAGENET1K_V1", 38.2},
	{"resnet-50", "ResNet", 224, 25557032, 4089184256, 76.13, "torchvision 0.14.1, IMAGENET1K_V1", 93.8},
	{"mobilenetv2-1.0", "MobileNetV2", 224, 3504872, 300774272, 71.878, "torchvision 0.14.1, IMAGENET1K_V1", 13.1},
	{"efficientnet-b0", "EfficientNet", 224, 5288548, 385888768, 77.692, "torchvision 0.14.1, IMAGENET1K_V1", 24.7},
}

// newSimulation is a run on an imaginary machine with two processors.
func newSimulation(t *testing.T, seed uint64, nets []zooEntry, engineNames, precisions []string, batches []int) *simulation {
	proto, err := bench.NewProtocol("quick")
	if err != nil {
		t.Fatal(err)
	}
	s := &simulation{t: t, rng: rand.New(rand.NewPCG(seed, 1)), trouble: map[string]trouble{}, power: 90}
	s.milliseconds = func(p bench.Point) float64 {
		i := slices.IndexFunc(nets, func(z zooEntry) bool { return z.name == p.Model })
		return nets[i].cpu * float64(p.Batch) * (0.93 + 0.07/float64(p.Batch))
	}
	s.run = bench.RunRecord{
		Type: "run", Schema: bench.Schema, Protocol: bench.ProtocolID, ID: fmt.Sprintf("20260301-090000-%04x", seed),
		Started: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), MonotonicBase: 81234567890123,
		GenbenchVersion: "v0.1.0",
		Argv:            []string{"/usr/local/bin/genbench", "run", "--suite", "default", "--engines", "onnxruntime"},
		Config: bench.Config{Suite: "default", Grid: bench.Grid{Engines: engineNames, Precisions: precisions, Batches: batches},
			Protocol: proto, Threads: 2, Seed: seed},
		Seed: seed,
		Host: hardware.HostDescription{
			HostnameHash: pointer("3f9a1c5e7b20"), CPUModel: pointer("Example CPU 9000"), Architecture: "amd64",
			Sockets: pointer(1), Cores: pointer(2), CPUs: pointer(2), SMT: pointer(false), Kernel: pointer("6.1.0-18-amd64"),
			Distro: pointer("Debian GNU/Linux 12 (bookworm)"), Clocksource: pointer("tsc"), Virtualised: pointer(true), Hypervisor: pointer("kvm"),
			MemTotal: pointer(int64(8 << 30)), KernelParameters: []string{"mitigations=auto"}, CgroupLimits: &hardware.CgroupLimits{CPUs: pointer(2.0)}, PinnedCPUs: []int{},
			Reasons: hardware.Reasons{"governor": "no cpufreq in /sys: a virtual machine does not show its clocks", "turbo": "neither intel_pstate nor cpufreq/boost in /sys"},
		},
		Devices: []hardware.Info{{ID: "host", Kind: hardware.Host, Name: "Example CPU 9000", Cores: 2, Memory: 8 << 30}},
	}
	for _, name := range engineNames {
		s.run.Engines = append(s.run.Engines, bench.EngineRecord{
			Info:      engines.Info{Name: name, Version: "1.20.1", Library: "/opt/lib/lib" + name + ".so.1.20.1", SHA256: "9d5f3a0c71e24b8896b1d4f0a3c2e7586f00d1c2b3a4958677e8d9cafb0e1d2c"},
			Available: true,
		})
	}
	for _, z := range nets {
		s.run.Config.Grid.Models = append(s.run.Config.Grid.Models, z.name)
		for _, precision := range precisions {
			for _, batch := range batches {
				m := bench.ModelRecord{
					Type: "model", Model: z.name, Family: z.family, Source: z.source, Precision: precision, Batch: batch, Resolution: z.resolution,
					ONNXSHA256: "5c2e", Weights: "synthetic", WeightsSHA256: "77ab", Params: z.params, MACs: z.macs,
				}
				if z.top1 > 0 {
					m.Top1, m.Top1Source = pointer(z.top1), z.source
				}
				s.models = append(s.models, m)
			}
		}
		for _, name := range engineNames {
			for _, precision := range precisions {
				for _, batch := range batches {
					p := bench.Point{Model: z.name, Engine: name, Precision: precision, Batch: batch, Resolution: z.resolution}
					s.run.Plan = append(s.run.Plan, bench.PlannedPoint{ID: p.String(), Point: p, MACs: z.macs * int64(batch), Params: z.params, PlannedSeconds: 6})
				}
			}
		}
	}
	s.run.PlannedSeconds = 2 + 6*float64(len(s.run.Plan))
	return s
}

// journals makes every case of testdata.
func journals(t *testing.T) map[string][]byte {
	all := map[string][]byte{}

	cpu := newSimulation(t, 7, zoo, []string{"onnxruntime"}, []string{"fp32"}, []int{1, 8})
	all["cpu"] = cpu.journal(4, &bench.EndRecord{})

	torn := newSimulation(t, 11, zoo[:4], []string{"onnxruntime"}, []string{"fp32"}, []int{1})
	whole := torn.journal(3, nil)
	all["torn"] = whole[:len(whole)-250]

	one := newSimulation(t, 3, zoo[:1], []string{"onnxruntime"}, []string{"fp32"}, []int{1})
	all["one"] = one.journal(1, &bench.EndRecord{ExitCode: 130, Reason: "interrupted"})

	all["troubled"] = troubled(t)
	all["gpu"] = imaginaryGPU(t)

	none := newSimulation(t, 5, zoo[:2], []string{"onnxruntime"}, []string{"fp32"}, []int{1, 8})
	none.run.Engines[0] = bench.EngineRecord{Info: engines.Info{Name: "onnxruntime"}, Reason: unavailable}
	for i := range none.run.Plan {
		none.run.Plan[i].Skip = unavailable
	}
	none.models, none.noReadings = nil, true
	all["none"] = none.journal(1, &bench.EndRecord{})
	return all
}

const unavailable = "engine onnxruntime unavailable: libonnxruntime.so not found (looked in LD_LIBRARY_PATH; the loader's default path); run `genbench setup onnxruntime`"

// troubled has everything that can go wrong, and names that break tables.
func troubled(t *testing.T) []byte {
	nets := append(slices.Clone(zoo[:5]), zooEntry{
		"someone|else's_network-with-a-name-of-sixty-characters-*v2*-x", "custom", 224, 1000000, 500000000, 0, "a file", 20.0,
	})
	s := newSimulation(t, 13, nets, []string{"onnxruntime", "reference"}, []string{"fp32", "fp16"}, []int{1, 8})
	s.run.Engines[1].Reference, s.run.Engines[1].Library, s.run.Engines[1].SHA256, s.run.Engines[1].Version = true, "", "", "built in"
	s.run.Config.Threads = 4
	s.run.Argv = append(s.run.Argv, "--threads", "4", "--note", "it's a <test> | `x`")
	slow := s.milliseconds
	s.milliseconds = func(p bench.Point) float64 {
		if p.Engine == "reference" {
			return 10 * slow(p)
		}
		return slow(p)
	}
	for i := range s.run.Plan {
		p := &s.run.Plan[i]
		switch {
		case p.Point.Precision == "fp16":
			p.Skip = fmt.Sprintf("engine %s runs fp32 alone on a CPU", p.Point.Engine)
		case p.Point.Engine == "reference" && p.Point.Batch > 1:
			p.Skip = "the reference engine takes one image at a time"
		}
	}
	id := func(z int, engine string, batch int) string {
		return bench.Point{Model: nets[z].name, Engine: engine, Precision: "fp32", Batch: batch, Resolution: nets[z].resolution}.String()
	}
	s.trouble = map[string]trouble{
		id(0, "onnxruntime", 8): {unsteady: true, noise: 0.06},
		id(1, "onnxruntime", 1): {drop: 2, stolen: true},
		id(1, "onnxruntime", 8): {failed: "the worker died (signal: killed) while at \"round\"", log: []string{
			"2026-03-01 09:03:11 \x1b[31m[E]\x1b[0m arena: cannot grow to 2147483648 bytes", "node stage3.0.conv2 | 640x640x3x3", "terminate called after throwing an instance of 'std::bad_alloc'"}},
		id(2, "onnxruntime", 1): {checkFailed: true},
		id(2, "onnxruntime", 8): {dropAll: true},
		id(3, "onnxruntime", 8): {noise: 0.09},
		id(4, "reference", 1):   {failed: "build resnet-50 fp32 on reference: node layer1.0.conv1:\nno kernel for dilation 2 | <none>"},
	}
	return s.journal(4, &bench.EndRecord{ExitCode: 5, Reason: "interrupted"})
}

// imaginaryGPU is a run on a GPU that does not exist, with enough samples for
// every tail.
func imaginaryGPU(t *testing.T) []byte {
	nets := []zooEntry{zoo[0], zoo[1], zoo[4]}
	s := newSimulation(t, 17, nets, []string{"tensorrt"}, []string{"fp16"}, []int{1, 64})
	s.gpu, s.samples = true, 180
	s.run.Devices = []hardware.Info{{ID: "GPU-5b1c7e02-0000-4000-8000-0123456789ab", Kind: hardware.CUDA, Name: "Example GPU", Cores: 132, Memory: 80 << 30}}
	proto := &s.run.Config.Protocol
	proto.EventEvery, proto.SteadyClock, proto.SteadyClockCapped, proto.CopySamples = 100*time.Millisecond, 0.005, 0.01, 9
	s.run.Config.Grid.Models = nil
	for i := range s.run.Plan {
		p := &s.run.Plan[i]
		p.Point.Graph, p.Point.Cache = "eager", "hot"
		p.ID = p.Point.String()
	}
	base := s.milliseconds
	s.milliseconds = func(p bench.Point) float64 { return 0.25 + base(p)/400 }
	return s.journal(4, &bench.EndRecord{})
}

// load reads a case of testdata.
func load(t *testing.T, name string) *bench.Result {
	t.Helper()
	r, err := bench.LoadResult(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestJournals keeps the cases of testdata and the code above in step.
func TestJournals(t *testing.T) {
	for name, data := range journals(t) {
		path := filepath.Join("testdata", name, bench.JournalName)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%v; run with -update", err)
		}
	}
}

// parse reads a journal that is not in testdata.
func parse(t *testing.T, journal []byte) *bench.Result {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, bench.JournalName), journal, 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := bench.LoadResult(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// crowd is a run of 200 points, with names of 60 characters among them, many
// variants of one family, and no readings of counters.
func crowd(t *testing.T) *bench.Result {
	var nets []zooEntry
	for i := range 50 {
		z := zoo[i%len(zoo)]
		z.name = fmt.Sprintf("%s-variant-%02d", z.name, i)
		if i%5 == 0 {
			z.name += "-" + strings.Repeat("x", 59-len(z.name))
		}
		z.top1 += float64(i%11) * 0.4
		z.cpu *= 1 + 0.13*float64(i%13)
		nets = append(nets, z)
	}
	s := newSimulation(t, 23, nets, []string{"onnxruntime"}, []string{"fp32"}, []int{1, 8, 16, 64})
	s.samples, s.noReadings = 5, true
	return parse(t, s.journal(4, &bench.EndRecord{}))
}
