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
	type file struct {
		model             string
		resolution, batch int
		precision         string
	}
	logits := map[string][]float32{}
	weights := map[string]string{}
	ranges := map[string]*models.Ranges{}
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
		export := models.ExportOptions{Batch: p.Batch, Precision: models.Precision(p.Precision)}
		if export.Precision == models.INT8 {
			if ranges[key] == nil {
				if ranges[key], err = w.calibrate(ctx, p, w.drivers[reference].Name, network); err != nil {
					return err
				}
			}
			export.Ranges = ranges[key]
		}
		onnx, err := models.ONNX(network, export)
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
			Ranges: export.Ranges, Expected: logits[key],
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

// calibrate runs images through the network in fp32 and gives the ranges that int8
// is to represent. One that has no images of its own takes synthetic ones of a seed
// that no input of a measurement has.
func (w *worker) calibrate(ctx context.Context, p Point, name string, network *models.Network) (*models.Ranges, error) {
	fail := func(err error) (*models.Ranges, error) { return nil, fmt.Errorf("calibrate %s: %w", p, err) }
	c := w.spec.Config.Calibration
	engine, err := w.engine(ctx, name)
	if err != nil {
		return fail(err)
	}
	observer, ok := engine.(engines.Observer)
	if !ok {
		return fail(fmt.Errorf("engine %s shows no activations", name))
	}
	images := models.SyntheticImages(network, c.Images, 0)
	if c.Directory != "" {
		if images, err = models.ImageDir(c.Directory, network); err != nil {
			return fail(err)
		}
	}
	cost, err := models.CostOf(network)
	if err != nil {
		return fail(err)
	}
	collect, err := models.NewCalibration(network, models.CalibrationOptions{Method: c.Method, Source: images.Source})
	if err != nil {
		return fail(err)
	}
	for i := range min(images.Len(), c.Images) {
		if err := w.begin(p, "calibration", time.Duration(cost.MACs)); err != nil { // 1 GMAC/s
			return fail(err)
		}
		image, err := images.At(i)
		if err != nil {
			return fail(err)
		}
		if err := observer.Observe(ctx, network, image, collect.See); err != nil {
			return fail(err)
		}
	}
	return collect.Ranges()
}
