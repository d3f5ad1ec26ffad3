package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// expect is the pass before the first launch: for every network the fp32
// reference's logits, for every model file its hash.
func (w *worker) expect(ctx context.Context) error {
	reference := slices.IndexFunc(w.drivers, func(d engines.Driver) bool { return d.Reference })
	if reference < 0 {
		return errors.New("compute expected outputs: no reference engine is built into this binary")
	}
	known := map[string]*expectation{}
	seen := map[modelKey]bool{}
	for _, v := range w.spec.Visits {
		p := v.Point
		if seen[p.modelKey()] {
			continue
		}
		seen[p.modelKey()] = true
		subject, err := w.spec.Config.openSubject(p.Model, p.Resolution, p.Batch)
		if err != nil {
			return err
		}
		record := ModelRecord{Type: "model", Model: p.Model, Precision: p.Precision, Batch: p.Batch, Resolution: p.Resolution, Params: subject.params, MACs: subject.macs / int64(p.Batch)}
		err = w.describe(ctx, subject, p, w.drivers[reference].Name, known, &record)
		if err := errors.Join(err, subject.close()); err != nil {
			return err
		}
		if err := w.say(record); err != nil {
			return err
		}
	}
	return w.say(doneMessage{Type: "done"})
}

// An expectation is what is computed once for a network, whatever its batch and
// precision.
type expectation struct {
	logits  []float32
	weights string // their sha256
	ranges  *models.Ranges
}

// describe fills in what is to be known of a model before it is measured.
func (w *worker) describe(ctx context.Context, s *subject, p Point, reference string, known map[string]*expectation, record *ModelRecord) error {
	if err := w.begin(p, "expected output", time.Duration(s.macs/int64(p.Batch))); err != nil { // 1 GMAC/s
		return err
	}
	if s.file != nil {
		record.Family, record.Source, record.Weights = "file", s.file.Origin(), s.file.Origin()
		var err error
		if record.ONNXSHA256, err = s.file.SHA256(); err != nil {
			return err
		}
		record.WeightsSHA256 = record.ONNXSHA256
		if s.network == nil {
			return nil // nothing here can tell what its output should be
		}
	}
	key := expectedKey(p)
	e := known[key]
	if e == nil {
		e = &expectation{}
		var err error
		if e.logits, err = w.reference(ctx, reference, s.network); err != nil {
			return fmt.Errorf("compute expected output of %s: %w", key, err)
		}
		if e.weights, err = hashWeights(s.network); err != nil {
			return err
		}
		known[key] = e
	}
	record.Expected = e.logits
	if s.file != nil {
		return nil
	}
	export := models.ExportOptions{Batch: p.Batch, Precision: models.Precision(p.Precision)}
	if export.Precision.Calibrated() {
		if e.ranges == nil {
			var err error
			if e.ranges, err = w.calibrate(ctx, p, reference, s.network); err != nil {
				return err
			}
		}
		export.Ranges, record.Ranges = e.ranges, e.ranges
	}
	onnx, err := models.ONNX(s.network, export)
	if err != nil {
		return fmt.Errorf("export %s: %w", p, err)
	}
	sum := sha256.Sum256(onnx)
	info, err := models.Lookup(p.Model)
	if err != nil {
		return err
	}
	record.Family, record.Source, record.Top1, record.Top1Source = info.Family, info.Source, info.Top1, info.Top1Source
	if p.Resolution != info.Resolution || s.weights != nil {
		// The accuracy was published for another input or other weights; quoting it
		// beside this latency would compare what does not belong together.
		record.Top1, record.Top1Source = nil, ""
	}
	record.ONNXSHA256, record.Weights, record.WeightsSHA256 = hex.EncodeToString(sum[:]), s.network.Weights.Origin(), e.weights
	return nil
}

// expectedKey names an expected output: it depends only on the network, because the
// first image of every batch is the same.
func expectedKey(p Point) string { return fmt.Sprintf("%s@%d", p.Model, p.Resolution) }

// reference runs one image through the reference engine.
func (w *worker) reference(ctx context.Context, name string, network *models.Network) (logits []float32, err error) {
	engine, err := w.engine(ctx, name)
	if err != nil {
		return nil, err
	}
	session, err := engine.Build(ctx, network, w.stream, engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: runtime.NumCPU()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
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

// calibrate gives the ranges that int8 and fp8 are to represent.
func (w *worker) calibrate(ctx context.Context, p Point, name string, network *models.Network) (*models.Ranges, error) {
	fail := func(err error) (*models.Ranges, error) { return nil, fmt.Errorf("calibrate %s: %w", p, err) }
	engine, err := w.engine(ctx, name)
	if err != nil {
		return fail(err)
	}
	observer, ok := engine.(engines.Observer)
	if !ok {
		return fail(fmt.Errorf("engine %s does not show its activations", name))
	}
	cost, err := models.CostOf(network)
	if err != nil {
		return fail(err)
	}
	ranges, err := w.spec.Config.Calibration.Ranges(ctx, observer, network, func() error {
		return w.begin(p, "calibration", time.Duration(cost.MACs)) // 1 GMAC/s
	})
	if err != nil {
		return fail(err)
	}
	return ranges, nil
}

// Ranges runs images through the network in fp32 and gives what its activations
// span. Without images of its own it takes synthetic ones, from a seed that no
// measured input has. It calls each before every image.
func (c Calibration) Ranges(ctx context.Context, observer engines.Observer, network *models.Network, each func() error) (*models.Ranges, error) {
	images := models.SyntheticImages(network, c.Images, 0)
	if c.Directory != "" {
		var err error
		if images, err = models.ImageDir(c.Directory, network); err != nil {
			return nil, err
		}
	}
	collect, err := models.NewCalibration(network, models.CalibrationOptions{Method: c.Method, Source: images.Source})
	if err != nil {
		return nil, err
	}
	for i := range min(images.Len(), c.Images) {
		if err := each(); err != nil {
			return nil, err
		}
		image, err := images.At(i)
		if err != nil {
			return nil, err
		}
		if err := observer.Observe(ctx, network, image, collect.See); err != nil {
			return nil, err
		}
	}
	return collect.Ranges()
}
