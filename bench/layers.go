package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// A LayerRecord is the layer pass of a point: what every layer of its engine took, in
// inferences apart from all that is timed.
type LayerRecord struct {
	Type   string `json:"type"` // "layers"
	ID     string `json:"point"`
	Launch int    `json:"launch"` // that of the pass
	// Missing says why there are no layers; empty where there are.
	Missing string       `json:"layers_reason,omitempty"`
	Layers  []TimedLayer `json:"layers"` // in the order of execution
}

// A TimedLayer is a layer with the part of the network that it computes.
type TimedLayer struct {
	engines.Layer
	// Nodes are those of the network that the layer was made of, by its name; none where
	// the engine's names do not say.
	Nodes []string `json:"nodes"`
	// MACs of these nodes, for all images of the batch; nil without nodes.
	MACs *int64 `json:"macs"`
}

// LayerTimes is what the layers of a point take, as the layer pass shows them: which
// are heavy, and by how much. Each was timed to its end before the next began, so
// their sum is not the latency.
type LayerTimes struct {
	// Of is the point whose layers were timed: this one, or another that is built alike.
	Of         Point
	Layers     []LayerTime // in the order of execution
	Sum        float64     // of the medians, ns
	Inferences int
	// Unattributed are MACs of the batch that no layer's name accounts for.
	Unattributed int64
}

// A LayerTime is one layer's part.
type LayerTime struct {
	TimedLayer
	Median float64 // over inferences, ns
	Share  float64 // of the sum of all layers' medians
}

// layerTimes summarises a record. macs are those of the whole batch.
func layerTimes(record *LayerRecord, macs int64) *LayerTimes {
	if len(record.Layers) == 0 {
		return nil
	}
	t := &LayerTimes{Unattributed: macs}
	for _, l := range record.Layers {
		if len(l.DeviceNS) == 0 {
			continue
		}
		layer := LayerTime{TimedLayer: l, Median: float64(median(l.DeviceNS))}
		if l.MACs != nil {
			t.Unattributed -= *l.MACs
		}
		t.Sum += layer.Median
		t.Inferences = len(l.DeviceNS)
		t.Layers = append(t.Layers, layer)
	}
	for i := range t.Layers {
		if t.Sum > 0 {
			t.Layers[i].Share = t.Layers[i].Median / t.Sum
		}
	}
	return t
}

// layerInferences is the most inferences that the pass takes: medians of layers are
// settled by then, and each adds a number per layer to the journal.
const layerInferences = 100

// layers is the pass after everything else: points are built again, with their
// engine's own profiler at work.
func (w *worker) layers(ctx context.Context) error {
	for _, v := range w.spec.Visits {
		record := LayerRecord{Type: "layers", ID: v.Point.String(), Launch: w.spec.Launch}
		var err error
		if record.Layers, err = w.timeLayers(ctx, v.Point); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// Latency was measured and stands; only its layers are not known.
			record.Missing, record.Layers = err.Error(), nil
		}
		failed := err
		if err := w.say(record); err != nil {
			return err
		}
		if failed != nil {
			if err := w.lostContext(ctx, failed); err != nil {
				return err
			}
		}
	}
	return w.say(doneMessage{Type: "done", MeasuringSeconds: w.busy.Seconds()})
}

// timeLayers takes a point's layers after a warm-up.
func (w *worker) timeLayers(ctx context.Context, p Point) (layers []TimedLayer, err error) {
	session, err := w.build(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	timer, ok := session.Session.(engines.LayerTimer)
	if !ok {
		return nil, fmt.Errorf("engine %s: %w", p.Engine, engines.ErrNoLayers)
	}
	first := make([]hardware.Sample, 1)
	if err := w.time(session, first); err != nil {
		return nil, err
	}
	warm, err := w.warmUp(session, p, time.Duration(first[0].Host))
	if err != nil {
		return nil, err
	}
	inferences := min(w.spec.Config.Protocol.samples(warm.median), layerInferences)
	// What watches the layers may take as long as they do.
	if err := w.begin(p, "layers", 2*time.Duration(inferences)*warm.median); err != nil {
		return nil, err
	}
	start := w.now()
	timed, err := timer.TimeLayers(ctx, inferences)
	w.busy += time.Duration(w.now() - start)
	if err != nil {
		return nil, err
	}
	subject, err := w.spec.Config.openSubject(p.Model, p.Resolution, p.Batch)
	if err != nil {
		return nil, err
	}
	parts, err := subject.parts(p.Batch)
	if err := errors.Join(err, subject.close()); err != nil {
		return nil, err
	}
	return attribute(timed, parts), nil
}

// A part is a node that a layer may have been made of.
type part struct {
	name   string
	macs   int64 // for the whole batch
	inputs []int // nodes that it reads, where that is known
}

// parts are the nodes of a network as it is deployed, or of a file.
func (s *subject) parts(batch int) ([]part, error) {
	if s.network == nil {
		cost, err := s.file.Cost(s.inputs)
		if err != nil {
			return nil, err
		}
		parts := make([]part, len(cost.Layers))
		for i, l := range cost.Layers {
			parts[i].name = l.Name
			if l.MACs != nil {
				parts[i].macs = *l.MACs
			}
		}
		return parts, nil
	}
	folded, err := models.Fold(s.network)
	if err != nil {
		return nil, err
	}
	cost, err := models.CostOf(folded)
	if err != nil {
		return nil, err
	}
	parts := make([]part, len(folded.Nodes))
	for i, l := range cost.Layers {
		parts[i] = part{name: l.Name, macs: l.MACs * int64(batch)}
		for _, k := range folded.Nodes[i].Inputs {
			if k != models.Image {
				parts[i].inputs = append(parts[i].inputs, k)
			}
		}
	}
	return parts, nil
}

// attribute finds the nodes that layers were made of, and their MACs.
func attribute(layers []engines.Layer, parts []part) []TimedLayer {
	timed := make([]TimedLayer, len(layers))
	for i, l := range layers {
		timed[i] = TimedLayer{Layer: l, Nodes: []string{}}
	}
	for i, layer := range owners(layers, parts) {
		if layer == nobody {
			continue
		}
		l := &timed[layer]
		l.Nodes = append(l.Nodes, parts[i].name)
		if l.MACs == nil {
			l.MACs = new(int64)
		}
		*l.MACs += parts[i].macs
	}
	return timed
}

// nobody owns a node that no layer is known to compute.
const nobody = -1

// owners gives for every node the layer that computes it. A node that two layers name,
// because an engine split it or copies for it, is the first's. One that none names was
// fused: engines name a layer after its convolution or after what comes last in it. So
// a node with arithmetic belongs to the layer of all that read it, and any other to the
// last of the layers that it reads from.
func owners(layers []engines.Layer, parts []part) []int {
	index := make(map[string]int, len(parts))
	for i, p := range parts {
		index[p.name] = i
	}
	owner := make([]int, len(parts))
	for i := range owner {
		owner[i] = nobody
	}
	for i, l := range layers {
		for _, word := range l.Origins {
			if node, ok := nodeNamed(word, index); ok && owner[node] == nobody {
				owner[node] = i
			}
		}
	}
	const undecided = -2
	readers := make([]int, len(parts)) // the layer that all readers belong to
	for i := range readers {
		readers[i] = undecided
	}
	for i := len(parts) - 1; i >= 0; i-- {
		of := owner[i]
		if of == nobody && readers[i] != undecided {
			of = readers[i]
		}
		for _, k := range parts[i].inputs {
			if readers[k] == undecided {
				readers[k] = of
			} else if readers[k] != of {
				readers[k] = nobody
			}
		}
	}
	for i, p := range parts {
		if owner[i] != nobody {
			continue
		}
		if p.macs == 0 {
			for _, k := range p.inputs {
				owner[i] = max(owner[i], owner[k])
			}
		}
		if owner[i] == nobody && readers[i] != undecided {
			owner[i] = readers[i]
		}
	}
	return owner
}

// nodeNamed finds the node that a word names: the word itself, or the longest
// beginning of it that ends before an underscore, after which engines put what they
// made of the node.
func nodeNamed(word string, index map[string]int) (int, bool) {
	for {
		if node, ok := index[word]; ok {
			return node, true
		}
		cut := strings.LastIndexByte(word, '_')
		if cut <= 0 {
			return 0, false
		}
		word = word[:cut]
	}
}

// NoLayerPass is why a run that was not asked for layers has none.
const NoLayerPass = "the run took no layer pass"

// takeLayers takes in the layer pass: what it says about the point, or about another
// that is built alike.
func (m *Measurement) takeLayers(log *Log, macs int64) {
	m.NoLayers = NoLayerPass
	built := m.Point.built()
	id := built.String()
	own := false
	for i := range log.Layers {
		l := &log.Layers[i]
		if own || !strings.HasPrefix(l.ID, id) {
			continue
		}
		of, err := ParsePoint(l.ID)
		if err != nil || of.built() != built {
			continue
		}
		own = of == m.Point
		if m.Layers, m.NoLayers = layerTimes(l, macs), l.Missing; m.Layers != nil {
			m.Layers.Of = of
		}
	}
}

// built is the point without what its build, and so the times of its layers, do not
// depend on: how its inferences are submitted, what they find in the cache, and how
// far apart they are.
func (p Point) built() Point {
	p.Graph, p.Cache, p.Gap = "", "", 0
	return p
}

// layers is the layer pass, after everything that is measured, of one of all the points
// that are built alike.
func (r *Runner) layers(ctx context.Context, readings <-chan ReadingRecord) error {
	proto := r.Plan.Config.Protocol
	spec := LaunchSpec{Launch: max(proto.Launches, proto.MaxLaunches) + 2, Layers: true} // after the energy pass
	taken := map[Point]bool{}
	for id := range r.done {
		if id.launch == spec.Launch {
			taken[id.point.built()] = true
		}
	}
	for _, p := range r.Plan.Points {
		if built := p.Point.built(); p.Skip == "" && !r.failed[p.Point] && !taken[built] {
			taken[built] = true
			spec.Visits = append(spec.Visits, Visit{Point: p.Point, Round: 1})
		}
	}
	if !r.Plan.Config.Layers || len(spec.Visits) == 0 {
		return nil
	}
	r.Events(Event{Kind: Layering, Launch: spec.Launch, Done: r.pace.done, Total: r.pace.total})
	return r.launch(ctx, spec, readings)
}

// layered writes down a point's layers.
func (r *Runner) layered(record LayerRecord) error {
	if err := r.append(record); err != nil {
		return err
	}
	point, err := ParsePoint(record.ID)
	if err != nil {
		return err
	}
	r.done[visitID{record.Launch, 1, point}] = true
	e := Event{Kind: Layered, Point: point, Launch: record.Launch, Text: "no layers: " + record.Missing, Done: r.pace.done, Total: r.pace.total}
	if found := layerTimes(&record, 0); found != nil {
		heaviest := slices.MaxFunc(found.Layers, func(a, b LayerTime) int { return int(a.Median - b.Median) })
		e.Text = fmt.Sprintf("%d layers, %s takes %.0f %%", len(found.Layers), heaviest.Name, 100*heaviest.Share)
	}
	r.Events(e)
	return nil
}

// unlayered says of the point on which a worker of the layer pass died that its layers
// are not known. Its latency, which was measured without a profiler, stands.
func (r *Runner) unlayered(d *death, launch int) error {
	return r.layered(LayerRecord{Type: "layers", ID: d.at, Launch: launch, Missing: d.reason})
}
