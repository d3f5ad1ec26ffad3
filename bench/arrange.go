package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// Ways to submit an inference to a GPU (M5).
const (
	// Eager makes the engine's own submitting call, and the GPU begins at once.
	Eager = "eager"
	// Graphed replays what one such call submitted, by one call of the driver.
	Graphed = "graph"
	// Blocked holds the stream until all of an inference is submitted, so that device
	// time holds no wait for the host.
	Blocked = "blocked"
)

// What an inference finds in a GPU's cache (M6).
const (
	// Rotate gives every inference an input that the cache does not hold, from buffers
	// that together are twice its size.
	Rotate = "rotate"
	// Hot gives every inference the same input, so it finds what the one before left.
	Hot = "hot"
	// Cold overwrites the whole cache before every inference.
	Cold = "cold"
)

// GraphModes lists what --graph takes.
func GraphModes() []string { return []string{Eager, Graphed, Blocked} }

// CacheModes lists what --cache takes.
func CacheModes() []string { return []string{Rotate, Hot, Cold} }

// On fills in the axes that a kind of device has and the grid does not name: on a GPU
// eager and graph, with inputs that are rotated.
func (g Grid) On(kind hardware.DeviceKind) Grid {
	if kind == hardware.Host {
		return g
	}
	if len(g.Graph) == 0 {
		g.Graph = []string{Eager, Graphed}
	}
	if len(g.Cache) == 0 {
		g.Cache = []string{Rotate}
	}
	return g
}

// ways are the points of the axes that say how a network is run, in grid order; they
// leave open what is run.
func (g Grid) ways() iter.Seq[Point] {
	graphs, caches, gaps := g.Graph, g.Cache, g.Gaps
	if len(graphs) == 0 {
		graphs = []string{""}
	}
	if len(caches) == 0 {
		caches = []string{""}
	}
	if len(gaps) == 0 {
		gaps = []time.Duration{0}
	}
	return func(yield func(Point) bool) {
		for _, graph := range graphs {
			for _, cache := range caches {
				for _, gap := range gaps {
					if !yield(Point{Graph: graph, Cache: cache, Gap: gap}) {
						return
					}
				}
			}
		}
	}
}

// onlyOnGPU is why a host cannot run a point as its axes ask; empty where it can.
func onlyOnGPU(p Point) string {
	switch {
	case p.Graph == Graphed || p.Graph == Blocked:
		return fmt.Sprintf("graph mode %s is for GPUs: on the host a call has finished when it returns", p.Graph)
	case p.Cache == Rotate || p.Cache == Cold:
		return fmt.Sprintf("cache mode %s is for GPUs: on the host an inference finds what the one before left (hot)", p.Cache)
	}
	return ""
}

// A refusal is why an engine does not run a point as its axes ask. The point is
// skipped: nothing broke.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// refused tells a refusal from a failure.
func refused(err error) (reason string, ok bool) {
	var r *refusal
	var held *hardware.HeldError
	switch {
	case errors.As(err, &r):
		return r.reason, true
	case errors.As(err, &held):
		return held.Error(), true
	}
	return "", false
}

// An arrangement is a session whose inferences run as its point's axes ask.
type arrangement struct {
	engines.Session
	input  models.Tensor        // of the session; empty for a file, which keeps its own
	stream hardware.EventStream // nil until it is arranged, and on a host
	graphs []hardware.Graph     // one for each input
	cycle  *native.Cycle        // through graphs or rotated calls; nil where there is one call
	inputs int                  // how many are rotated
	asked  int                  // inputs that were to be rotated
	group  int                  // inferences per sample; more than one is amortised (M4)

	buildNS int64 // how long its engine took to build it (M7)
}

// Call implements engines.Session.
func (a *arrangement) Call() native.Call {
	switch {
	case a.cycle != nil:
		return a.cycle.Call()
	case len(a.graphs) > 0:
		return a.graphs[0].Call()
	}
	return a.Session.Call()
}

// Explain implements engines.Session.
func (a *arrangement) Explain(e *native.CallError) error {
	if len(a.graphs) == 0 {
		return a.Session.Explain(e)
	}
	at := 0
	if a.cycle != nil {
		at = a.cycle.Last()
	}
	return fmt.Errorf("replay graph: %w: %w", e, a.graphs[at].Explain())
}

// Close releases what the arrangement added, and the session.
func (a *arrangement) Close() error {
	var errs []error
	for _, g := range a.graphs {
		errs = append(errs, g.Close())
	}
	if a.cycle != nil {
		a.cycle.Free()
	}
	if a.stream != nil {
		errs = append(errs, a.stream.FlushL2(false), a.stream.Hold(false))
	}
	a.graphs, a.cycle, a.stream = nil, nil, nil
	return errors.Join(append(errs, a.Session.Close())...)
}

// nodes counts what a replay runs; 0 without a graph.
func (a *arrangement) nodes() int {
	if len(a.graphs) == 0 {
		return 0
	}
	return a.graphs[0].Nodes()
}

// arrange sets a session that has run once to run as its point asks. What its engine
// cannot do is a *refusal.
func (w *worker) arrange(ctx context.Context, a *arrangement, p Point) error {
	stream, ok := w.stream.(hardware.EventStream)
	if !ok {
		return nil // a host, whose plan holds nothing to arrange
	}
	a.stream = stream
	if err := w.begin(p, "arrange", 0); err != nil {
		return err
	}
	calls := []native.Call{a.Session.Call()}
	if p.Cache == Rotate {
		var err error
		if calls, err = a.rotate(p); err != nil {
			return err
		}
		a.asked = len(calls)
	}
	if p.Graph == Graphed {
		var err error
		if calls, err = w.capture(ctx, a, p, calls); err != nil {
			return err
		}
	}
	if p.Cache == Rotate {
		a.inputs = len(calls)
	}
	if len(calls) > 1 {
		a.cycle = native.NewCycle(calls)
	}
	if p.Cache == Cold {
		if err := stream.FlushL2(true); err != nil {
			return err
		}
	}
	if p.Graph == Blocked {
		return stream.Hold(true)
	}
	return nil
}

// rotate gives a call for each of the inputs that fill twice the cache: with fewer, a
// cache that does not replace its oldest lines first could still hold some.
func (a *arrangement) rotate(p Point) ([]native.Call, error) {
	rotator, ok := a.Session.(engines.Rotator)
	if !ok {
		return nil, &refusal{fmt.Sprintf("engine %s reads its input from one place only and cannot rotate it; ask for --cache %s or %s", p.Engine, Hot, Cold)}
	}
	if a.stream.CacheBytes() == 0 {
		return nil, &refusal{fmt.Sprintf("the device does not say how large its cache is, so it is not known how many inputs to rotate; ask for --cache %s", Hot)}
	}
	return rotator.Rotate(2 * a.stream.CacheBytes())
}

// mostGraphNodes is the most nodes that the graphs of a point hold together, unless
// those of two inputs already hold more: up to CUDA 12.4 with driver 550 each takes 64
// KB of the GPU's memory (PyTorch's documentation, "CUDAGraph Trees", Dynamic Shape
// Support), which makes 2 GiB.
const mostGraphNodes = 1 << 15

// capture records every call, or as many as mostGraphNodes allows: the inputs of a
// small network that fill a large cache twice are thousands. Where the input can be
// set, a blank one runs first, so the output checked later is a replay's own.
func (w *worker) capture(ctx context.Context, a *arrangement, p Point, calls []native.Call) ([]native.Call, error) {
	if a.input.Shape != nil {
		blank := models.Tensor{Shape: a.input.Shape, Data: make([]float32, len(a.input.Data))}
		if err := a.Session.SetInput(blank); err != nil {
			return nil, err
		}
		if err := w.time(a.Session, make([]hardware.Sample, 1)); err != nil {
			return nil, err
		}
		if err := a.Session.SetInput(a.input); err != nil {
			return nil, err
		}
	}
	for i, call := range calls {
		if i >= 2 && (i+1)*a.nodes() > mostGraphNodes {
			return calls[:i], nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		graph, err := a.stream.Capture(call)
		var not *hardware.CaptureError
		var failed *native.CallError
		switch {
		case errors.As(err, &not) && errors.As(err, &failed):
			return nil, &refusal{fmt.Sprintf("engine %s cannot be captured as a graph: %v", p.Engine, a.Session.Explain(failed))}
		case errors.As(err, &not):
			return nil, &refusal{fmt.Sprintf("engine %s cannot be captured as a graph: %v", p.Engine, not.Err)}
		case err != nil:
			return nil, err
		}
		a.graphs = append(a.graphs, graph)
		calls[i] = graph.Call()
	}
	return calls, nil
}

// shortInference is the device time below which samples are amortised over blocks,
// amortisedBlock the least length of such a block (M4): 400 and 2000 times the half
// microsecond that events resolve.
const (
	shortInference = 200 * time.Microsecond
	amortisedBlock = time.Millisecond
)

// amortise decides how many inferences make a sample (M4), or takes what an earlier
// visit decided: one point is measured in one way. Where something comes before every
// inference, which a block back to back would leave out, a sample stays a single
// inference. It returns the median of one.
func (w *worker) amortise(a *arrangement, p Point, inference time.Duration) (time.Duration, error) {
	if a.stream == nil || p.Gap != 0 || p.Cache == Cold || p.Graph == Blocked {
		return inference, nil
	}
	if known, ok := w.groups[p.String()]; ok {
		a.group = known
		return inference, nil
	}
	for inference > 0 && inference < shortInference && a.group < mostAmortised {
		if a.group > 1 && time.Duration(a.group)*inference >= amortisedBlock {
			break
		}
		// Back to back they may take less than one by one.
		a.group = min(max(a.group+1, int((amortisedBlock+inference-1)/inference)), mostAmortised)
		s := samples(amortisedTrial)
		if err := w.begin(p, "amortise", time.Duration(len(s)*a.group)*inference); err != nil {
			return 0, err
		}
		if err := w.time(a, s); err != nil {
			return 0, err
		}
		inference = time.Duration(median(deviceTimes(s)))
	}
	w.groups[p.String()] = a.group
	return inference, nil
}

// mostAmortised is the largest block: no inference takes less than a tenth of a
// microsecond, and a clock that says one did is judged with the round.
const mostAmortised = 10_000

// amortisedTrial is how many blocks are timed to find how long an inference takes
// back to back.
const amortisedTrial = 5

// amortisedOver is how many inferences each sample of a session is the mean of; 0 where
// samples are single.
func amortisedOver(session engines.Session) int {
	if n := groupOf(session); n > 1 {
		return n
	}
	return 0
}

// lasts is how long a sample of a point takes, the gap before it included, given how
// long an inference takes.
func lasts(session engines.Session, p Point, inference time.Duration) time.Duration {
	return time.Duration(groupOf(session))*inference + p.Gap
}

// groupOf is how many inferences of a session make a sample.
func groupOf(session engines.Session) int {
	if a, ok := session.(*arrangement); ok {
		return a.group
	}
	return 1
}
