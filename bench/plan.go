package bench

import (
	"math/rand/v2"
	"slices"
	"time"

	"genbench/engines"
	"genbench/models"
)

// A Grid is a product of axes; every combination is a point.
type Grid struct {
	Models     []string `json:"models"`
	Engines    []string `json:"engines"`
	Precisions []string `json:"precisions"`
	Batches    []int    `json:"batches"`
	// Resolution overrides every network's own; 0 keeps it.
	Resolution int `json:"resolution"`
}

// Config is what a run was asked to do, resolved: defaults filled in.
type Config struct {
	Suite    string   `json:"suite"`
	Grid     Grid     `json:"grid"`
	Protocol Protocol `json:"protocol"`
	Threads  int      `json:"threads"` // host threads an inference may use
	Seed     uint64   `json:"seed"`
}

// A PlannedPoint is a point of the grid and what the plan makes of it.
type PlannedPoint struct {
	ID    string `json:"point"`
	Point Point  `json:"cell"`
	// Skip is the reason why the point is not measured; empty where it is.
	Skip string `json:"skip,omitempty"`
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

// NewPlan multiplies the grid out, asks every engine what it can do, and skips
// what cannot be done with the reason. opened holds the engines that could be
// opened; why the rest of the grid's engines could not is in failures, by name.
func NewPlan(c Config, drivers []engines.Driver, opened map[string]engines.Engine, failures map[string]error) (*Plan, error) {
	reference := func(engine string) bool {
		return slices.ContainsFunc(drivers, func(d engines.Driver) bool { return d.Name == engine && d.Reference })
	}
	plan := &Plan{Config: c}
	for _, name := range c.Grid.Engines {
		rec := EngineRecord{Info: engines.Info{Name: name}, Reference: reference(name)}
		if e, ok := opened[name]; ok {
			rec.Info, rec.Available = e.Info(), true
		} else if err, ok := failures[name]; ok {
			rec.Reason = err.Error()
		}
		plan.Engines = append(plan.Engines, rec)
	}
	for _, model := range c.Grid.Models {
		network, err := models.New(model, c.Grid.Resolution)
		if err != nil {
			return nil, err
		}
		cost, err := models.CostOf(network)
		if err != nil {
			return nil, err
		}
		for _, engine := range c.Grid.Engines {
			for _, precision := range c.Grid.Precisions {
				for _, batch := range c.Grid.Batches {
					p := PlannedPoint{
						Point: Point{Model: network.Name, Engine: engine, Precision: precision, Batch: batch, Resolution: network.Resolution},
						MACs:  cost.MACs * int64(batch), Params: cost.Params,
					}
					p.ID = p.Point.String()
					if e, ok := opened[engine]; !ok {
						p.Skip = failures[engine].Error()
					} else if err := e.Supports(engines.BuildOptions{Precision: models.Precision(precision), Batch: batch, Threads: c.Threads}); err != nil {
						p.Skip = err.Error()
					} else {
						p.PlannedSeconds = c.guess(p, reference(engine)).Seconds()
					}
					plan.Points = append(plan.Points, p)
				}
			}
		}
	}
	return plan, nil
}

// guess is the time of all visits to a point before anything was measured. It
// assumes 45 billion MACs a second and thread, what ONNX Runtime reached for
// ResNet-50 on two threads of an AMD EPYC (results/host-epyc-2cpu), and a
// fourteenth of it for the reference engine, as measured there; the first launch replaces guesses by what visits took.
func (c Config) guess(p PlannedPoint, reference bool) time.Duration {
	rate := 45e9 * float64(c.Threads)
	if reference {
		rate /= 14
	}
	inference := time.Duration(float64(p.MACs) / rate * float64(time.Second))
	build := 100*time.Millisecond + time.Duration(p.Params)*10 // 10 ns a parameter: generate, export, load
	visits := c.Protocol.Launches * c.Protocol.Rounds
	return time.Duration(visits) * (build + c.Protocol.visitTime(inference))
}

// visitTime is how long a visit to a point takes, from session to last sample,
// when it settles at once.
func (p Protocol) visitTime(inference time.Duration) time.Duration {
	warmup := max(p.WarmupTime, time.Duration(p.WarmupSamples)*inference)
	windows := 3 * max(p.WindowTime, time.Duration(p.WindowSamples)*inference)
	return warmup + windows + time.Duration(p.samples(inference))*inference
}

// samples is how many samples a round takes when an inference lasts so long (S1).
func (p Protocol) samples(inference time.Duration) int {
	inference = max(inference, 1)
	n := max(p.RoundSamples, int((p.RoundTime+inference-1)/inference))
	if limit := int(p.RoundCap / inference); n > limit {
		n = limit
	}
	return max(n, p.RoundMin)
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

// PlannedSeconds is the guessed length of the run (S7).
func (p *Plan) PlannedSeconds() float64 {
	seconds := p.Config.Protocol.Settle.Seconds()
	for _, point := range p.Points {
		seconds += point.PlannedSeconds
	}
	return seconds
}

// heaviest is the index of the measurable point with the most arithmetic.
func (p *Plan) heaviest() int {
	best := -1
	for i, point := range p.Points {
		if point.Skip == "" && (best < 0 || point.MACs > p.Points[best].MACs) {
			best = i
		}
	}
	return best
}
