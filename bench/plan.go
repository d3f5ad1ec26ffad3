package bench

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// A Grid is a product of axes; every combination is a point.
type Grid struct {
	Models     []string `json:"models" yaml:"models"`
	Engines    []string `json:"engines" yaml:"engines"`
	Precisions []string `json:"precisions" yaml:"precisions"`
	Batches    []int    `json:"batches" yaml:"batches"`
	// Resolution overrides every network's own; 0 keeps it.
	Resolution int `json:"resolution" yaml:"resolution"`
	// Graph lists ways to submit an inference to a GPU (M5), Cache what it finds in the
	// cache (M6); none leaves both as the engine has them.
	Graph []string `json:"graph,omitempty" yaml:"graph"`
	Cache []string `json:"cache,omitempty" yaml:"cache"`
	// Gaps are idle times before every inference (W5); none stands for 0 only,
	// inferences back to back.
	Gaps []time.Duration `json:"gaps_ns,omitempty" yaml:"gaps"`
}

// Config is what a run was asked to do, resolved: defaults filled in.
type Config struct {
	Suite    string   `json:"suite"`
	Grid     Grid     `json:"grid"`
	Protocol Protocol `json:"protocol"`
	Threads  int      `json:"threads"` // host threads an inference may use
	// Device is the id of what the engines run on, as hardware.Open takes it.
	Device string `json:"device"`
	// NVML names the library that GPUs are watched through; empty is the loader's
	// choice.
	NVML string `json:"nvml,omitempty"`
	// Clocks is what is done about a GPU's clocks; empty on a host device.
	Clocks ClockPolicy `json:"clocks,omitempty"`
	// CPUs the workers are bound to; none leaves them where the system puts them.
	CPUs []int `json:"cpus,omitempty"`
	// Weights is a safetensors file that every network takes its weights from; empty
	// for synthetic ones.
	Weights string `json:"weights,omitempty"`
	// Shapes of inputs that an ONNX file leaves open.
	Shapes map[string]models.Shape `json:"shapes,omitempty"`
	// Points are the ids of the only points of the grid to measure; none stands for
	// all of them.
	Points []string `json:"points,omitempty"`
	// AllowEmulated measures precisions that an engine only converts to and from.
	AllowEmulated bool `json:"allow_emulated,omitempty"`
	// Energy asks for the energy pass, Layers for the layer pass.
	Energy      bool        `json:"energy,omitempty"`
	Layers      bool        `json:"layers,omitempty"`
	Calibration Calibration `json:"calibration"`
	Seed        uint64      `json:"seed"`
}

// Calibration is how the ranges of int8 and fp8 are found.
type Calibration struct {
	Method models.CalibrationMethod `json:"method"`
	// Directory of images; empty takes Images synthetic ones.
	Directory string `json:"directory,omitempty"`
	Images    int    `json:"images"` // at most
}

// SameModels tells whether a network of the same name is the same in both, apart from
// files that change: its weights, its input's shape, its calibration.
func (c Config) SameModels(other Config) bool {
	return c.Weights == other.Weights && c.Calibration == other.Calibration && maps.EqualFunc(c.Shapes, other.Shapes, slices.Equal)
}

// buildOptions of a point, without the ranges of int8 and fp8.
func (c Config) buildOptions(p Point) engines.BuildOptions {
	return engines.BuildOptions{Precision: models.Precision(p.Precision), Batch: p.Batch, Threads: c.Threads, AllowEmulated: c.AllowEmulated}
}

// A PlannedPoint is a point of the grid and what the plan makes of it.
type PlannedPoint struct {
	ID    string `json:"point"`
	Point Point  `json:"cell"`
	// Skip is the reason why the point is not measured; empty where it is.
	Skip string `json:"skip,omitempty"`
	// Emulated is why the engine would have refused the precision, where it was told to
	// run it anyway.
	Emulated string `json:"emulated,omitempty"`
	// MACs of one inference, all images of the batch.
	MACs   int64 `json:"macs"`
	Params int64 `json:"params"`
	// PlannedSeconds of all its visits, guessed before anything was measured.
	PlannedSeconds float64 `json:"planned_s"`
}

// A Plan is what a run will do, in all detail that can be known before it.
type Plan struct {
	Config  Config
	Points  []PlannedPoint // in grid order, skipped ones too
	Engines []EngineRecord
}

// NewPlan multiplies the grid out, asks every engine what it can do, and skips what
// cannot be done, with the reason. opened holds the engines that could be opened;
// failures says, by name, why the rest of the grid's engines could not. Where the
// config names points, the plan has no others; it fails with an *UnknownPointError
// for one that is not in the grid.
func NewPlan(c Config, drivers []engines.Driver, opened map[string]engines.Engine, failures map[string]error) (plan *Plan, err error) {
	reference := func(engine string) bool {
		return slices.ContainsFunc(drivers, func(d engines.Driver) bool { return d.Name == engine && d.Reference })
	}
	plan = &Plan{Config: c}
	for _, name := range c.Grid.Engines {
		rec := EngineRecord{Info: engines.Info{Name: name}, Reference: reference(name)}
		if e, ok := opened[name]; ok {
			rec.Info, rec.Available = e.Info(), true
		} else if err, ok := failures[name]; ok {
			rec.Reason = err.Error()
		}
		plan.Engines = append(plan.Engines, rec)
	}
	kinds := map[string]hardware.DeviceKind{}
	for _, d := range drivers {
		kinds[d.Name] = d.Device
	}
	for _, model := range c.Grid.Models {
		subjects := map[int]*subject{}
		unfit := map[int]error{}
		defer func() {
			for _, s := range subjects {
				err = errors.Join(err, s.close())
			}
		}()
		for _, batch := range c.Grid.Batches {
			s, err := c.openSubject(model, c.Grid.Resolution, batch)
			var shape *models.ShapeError
			if errors.As(err, &shape) {
				unfit[batch] = err // such as a batch that a file does not take
				continue
			}
			if err != nil {
				return nil, err
			}
			subjects[batch] = s
		}
		for _, engine := range c.Grid.Engines {
			for _, precision := range c.Grid.Precisions {
				for _, batch := range c.Grid.Batches {
					for way := range c.Grid.ways() {
						p := PlannedPoint{Point: way}
						p.Point.Model, p.Point.Engine, p.Point.Precision, p.Point.Batch = model, engine, precision, batch
						s := subjects[batch]
						if s != nil {
							p.Point.Resolution, p.MACs, p.Params = s.resolution, s.macs, s.params
						}
						p.ID = p.Point.String()
						switch e := opened[engine]; {
						case e == nil:
							p.Skip = failures[engine].Error()
						case s == nil:
							p.Skip = unfit[batch].Error()
						case kinds[engine] == hardware.Host && onlyOnGPU(p.Point) != "":
							p.Skip = onlyOnGPU(p.Point)
						default:
							c.judge(&p, s, e, c.rate(kinds[engine], reference(engine)))
						}
						plan.Points = append(plan.Points, p)
					}
				}
			}
		}
	}
	return plan, plan.narrow()
}

// An UnknownPointError names a point that was asked for and is not in the grid.
type UnknownPointError struct {
	ID    string
	Known []string // the grid's points
}

func (e *UnknownPointError) Error() string {
	return fmt.Sprintf("plan points: the grid of %d points has no %q", len(e.Known), e.ID)
}

// narrow keeps only the points that were named, if any were.
func (p *Plan) narrow() error {
	if len(p.Config.Points) == 0 {
		return nil
	}
	known := make([]string, len(p.Points))
	for i := range p.Points {
		known[i] = p.Points[i].ID
	}
	for _, id := range p.Config.Points {
		if !slices.Contains(known, id) {
			return &UnknownPointError{id, known}
		}
	}
	p.Points = slices.DeleteFunc(p.Points, func(point PlannedPoint) bool { return !slices.Contains(p.Config.Points, point.ID) })
	return nil
}

// judge fills in why the engine cannot run the point, or how long it will take at so many
// MACs a second.
func (c Config) judge(p *PlannedPoint, s *subject, e engines.Engine, rate float64) {
	options := c.buildOptions(p.Point)
	if err := s.refuse(e, options.Precision); err != nil {
		p.Skip = err.Error()
		return
	}
	if err := e.Supports(options); err != nil {
		p.Skip = err.Error()
		return
	}
	options.AllowEmulated = false
	if err := e.Supports(options); err != nil {
		p.Emulated = err.Error()
	}
	p.PlannedSeconds = c.guess(*p, rate).Seconds()
}

// rate is how many MACs a second an engine is guessed to do before anything was
// measured: on a host 45 billion a thread, what ONNX Runtime reached for ResNet-50 on
// two threads of an AMD EPYC (results/host-epyc-2cpu), and a fourteenth of it for the
// reference engine, as measured there. On a GPU, where nothing was measured yet, it is
// 1000 billion, a fraction of what a small board of recent years is made for; there most
// of a visit is fixed times.
func (c Config) rate(kind hardware.DeviceKind, reference bool) float64 {
	rate := 45e9 * float64(c.Threads)
	switch {
	case kind != hardware.Host:
		rate = 1000e9
	case reference:
		rate /= 14
	}
	return rate
}

// guess is the time of all visits to a point before anything was measured; the first
// launch replaces guesses by what visits took.
func (c Config) guess(p PlannedPoint, rate float64) time.Duration {
	inference := time.Duration(float64(p.MACs) / rate * float64(time.Second))
	build := 100*time.Millisecond + time.Duration(p.Params)*10 // 10 ns a parameter: generate, export, load
	visits := c.Protocol.Launches * c.Protocol.Rounds
	return time.Duration(visits) * (build + c.Protocol.visitTime(inference, p.Point.Gap))
}

// visitTime is how long a visit to a point takes, from session to last sample,
// when it settles at once.
func (p Protocol) visitTime(inference, gap time.Duration) time.Duration {
	each := inference + gap
	warmup := max(p.WarmupTime, time.Duration(p.WarmupSamples)*each)
	return warmup + time.Duration(p.ramp(each)+(steadyWindows-1)*p.RampSamples+max(steadyWindows*p.window(each), p.samples(each)))*each + time.Duration(p.copies(inference))*inference
}

// ramp is how many inferences before a round are left out of it (W3).
func (p Protocol) ramp(each time.Duration) int {
	each = max(each, 1)
	return max(p.RampSamples, int((p.RampTime+each-1)/each))
}

// samples is the least number of samples in a round when one inference and the gap
// before it take each (S1).
func (p Protocol) samples(each time.Duration) int {
	each = max(each, 1)
	n := max(p.RoundSamples, int((p.RoundTime+each-1)/each))
	if limit := int(p.RoundCap / each); n > limit {
		n = limit
	}
	return min(max(n, p.RoundMin), p.RoundMost)
}

// window is how many samples a window of the steady-state proof takes (W4).
func (p Protocol) window(each time.Duration) int {
	each = max(each, 1)
	return min(max(p.WindowSamples, int((p.WindowTime+each-1)/each)), p.RoundMost)
}

// Order is the sequence in which a round of a launch visits the points: a
// permutation of the measurable ones, drawn anew from the run's seed each time
// (S3), as indices into Points.
func (p *Plan) Order(launch, round int) []int {
	var order []int
	for i, point := range p.Points {
		if point.Skip == "" {
			order = append(order, i)
		}
	}
	source := rand.New(rand.NewPCG(p.Config.Seed, uint64(launch)<<32|uint64(round)))
	source.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// Measurable counts the points that are not skipped.
func (p *Plan) Measurable() int {
	n := 0
	for _, point := range p.Points {
		if point.Skip == "" {
			n++
		}
	}
	return n
}

// PlannedSeconds is the guessed length of the run (S7), without launches that are
// added for width.
func (p *Plan) PlannedSeconds() float64 {
	proto := p.Config.Protocol
	seconds := (proto.Settle + time.Duration(proto.Launches-1)*proto.SettleAgain).Seconds()
	seconds += p.Config.clockSeconds()
	for _, point := range p.Points {
		seconds += point.PlannedSeconds
	}
	if p.Config.Energy {
		// Each window under load has one at rest before it.
		seconds += float64(p.Measurable()*proto.EnergyWindows) * 2 * proto.EnergyWindow.Seconds()
	}
	if p.Config.Layers {
		taken := map[Point]bool{}
		for _, point := range p.Points {
			if built := point.Point.built(); point.Skip == "" && !taken[built] {
				taken[built] = true
				seconds += point.PlannedSeconds / float64(proto.Launches*proto.Rounds) // about a visit
			}
		}
	}
	return seconds
}

// MostSeconds is the guessed length of the run if every point needs every launch
// that may be added (S5), and the device all the time it may take to settle (W2).
func (p *Plan) MostSeconds() float64 {
	proto := p.Config.Protocol
	added := max(0, proto.MaxLaunches-proto.Launches)
	// Clocks, energy and layers are found once, however many launches there are.
	visits := 0.0
	for _, point := range p.Points {
		visits += point.PlannedSeconds
	}
	settling := max(0, proto.SettleCap-proto.Settle) + time.Duration(proto.Launches-1)*max(0, proto.SettleAgainCap-proto.SettleAgain)
	settling += time.Duration(added) * max(proto.SettleAgain, proto.SettleAgainCap)
	return p.PlannedSeconds() + visits*float64(added)/float64(proto.Launches) + settling.Seconds()
}

// sentinel is the index of the measurable point that is most like ResNet-50 in
// fp16 at batch 8, which the protocol names (D1); -1 without any. It is one of the
// plan's own, so it costs no network and no engine that was not asked for.
func (p *Plan) sentinel(usable func(Point) bool) int {
	best, bestScore := -1, 0
	for i, point := range p.Points {
		if point.Skip != "" || point.Point.Gap != 0 || !usable(point.Point) {
			continue
		}
		score := 1
		if point.Point.Model == "resnet-50" {
			score += 4
		}
		if point.Point.Precision == string(models.FP16) {
			score += 2
		}
		if point.Point.Batch == 8 {
			score++
		}
		if score > bestScore {
			best, bestScore = i, score
		}
	}
	return best
}
