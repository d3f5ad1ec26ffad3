package models

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tiny is a network of two nodes once it is folded.
func tiny(t *testing.T) *Network {
	t.Helper()
	b := newBuilder("tiny", 4)
	b.layer(Image, layer{conv: "conv", norm: "bn", out: 2, kernel: 1, act: ReLU})
	if b.err != nil {
		t.Fatal(b.err)
	}
	b.net.Weights = Synthetic()
	return b.net
}

// seen is what a network showed of some images: by image, then by node.
type seen []map[string][]float32

func normal(images, values int) seen {
	random := rand.New(rand.NewPCG(3, 4))
	all := make(seen, images)
	for i := range all {
		all[i] = make(map[string][]float32)
		scale := math.Exp2(float64(i%5) - 2) // so that later images are larger than the first
		for _, name := range []string{InputName, "conv", "bn.relu"} {
			v := make([]float32, values)
			for k := range v {
				v[k] = float32(scale * random.NormFloat64())
				if name == "bn.relu" {
					v[k] = max(v[k], 0)
				}
			}
			all[i][name] = v
		}
	}
	return all
}

func calibrate(t *testing.T, o CalibrationOptions, images seen) *Ranges {
	t.Helper()
	c, err := NewCalibration(tiny(t), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, nodes := range images {
		for _, name := range []string{InputName, "conv", "bn.relu"} {
			if err := c.See(name, nodes[name]); err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := c.Ranges()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// magnitudes gives those of all images, sorted.
func (s seen) magnitudes(name string) []float64 {
	var all []float64
	for _, nodes := range s {
		for _, v := range nodes[name] {
			all = append(all, math.Abs(float64(v)))
		}
	}
	slices.Sort(all)
	return all
}

func TestCalibrationAgainstSortedValues(t *testing.T) {
	images := normal(10, 3*16*50)
	for _, percent := range []float64{0, 50, 99, 99.99, 100} {
		r := calibrate(t, CalibrationOptions{Method: Percentile, Percentile: percent, Source: "normal"}, images)
		p := percent
		if p == 0 {
			p = DefaultPercentile
		}
		if want := fmt.Sprintf("percentile %v", p); r.Method != want || r.Source != "normal" {
			t.Errorf("the ranges are called %q of %q, want %q", r.Method, r.Source, want)
		}
		for name, limit := range r.Limit {
			all := images.magnitudes(name)
			exact := all[max(int(math.Ceil(p/100*float64(len(all))))-1, 0)]
			bin := all[len(all)-1] / (histogramBins / 2) // no bin is wider
			if float64(limit) < exact || float64(limit) > exact+bin {
				t.Errorf("percentile %v of %s is %v, exactly %v, bins are up to %v wide", p, name, limit, exact, bin)
			}
		}
	}
	r := calibrate(t, CalibrationOptions{Method: MinMax}, images)
	for name, limit := range r.Limit {
		if all := images.magnitudes(name); float64(limit) != all[len(all)-1] {
			t.Errorf("min-max of %s is %v, want %v", name, limit, all[len(all)-1])
		}
	}
	if r.Images != 500 || r.Method != "min-max" || len(r.Limit) != 3 {
		t.Errorf("%d images, method %q, %d limits", r.Images, r.Method, len(r.Limit))
	}
	hash := sha256.New()
	for _, nodes := range images {
		for _, v := range nodes[InputName] {
			hash.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
		}
	}
	if want := fmt.Sprintf("%x", hash.Sum(nil)); r.SHA256 != want {
		t.Errorf("the images have the hash %s, want %s", r.SHA256, want)
	}
}

// Images in any order give the same ranges, though later ones widen the histograms.
func TestCalibrationForgetsTheOrder(t *testing.T) {
	images := normal(10, 48)
	reversed := slices.Clone(images)
	slices.Reverse(reversed)
	for _, m := range CalibrationMethods() {
		a, b := calibrate(t, CalibrationOptions{Method: m}, images), calibrate(t, CalibrationOptions{Method: m}, reversed)
		if diff := cmp.Diff(a.Limit, b.Limit); diff != "" {
			t.Errorf("%s:\n%s", m, diff)
		}
	}
}

// What ONNX Runtime 1.32's own calibrator (HistogramCollector.get_entropy_threshold
// with 2049 bins over a million values) gave: 4.56 for normal values, 10.5 of 15.3 for
// exponential ones, the whole range for uniform ones. Its bins are others and KL is flat
// around its minimum, so 10 % are allowed.
func TestEntropy(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name      string
		draw      func() float64
		low, high float32
	}{
		{"normal", random.NormFloat64, 4.1, 5.0},
		{"exponential", random.ExpFloat64, 9.5, 11.6},
		{"uniform", random.Float64, 0.99, 1},
		// Zeros say nothing about the range: half of the values change nothing.
		{"normal behind a ReLU", func() float64 { return max(random.NormFloat64(), 0) }, 4.1, 5.0},
		// One outlier in a million is not worth three quarters of the levels.
		{"normal with an outlier", func() float64 { return random.NormFloat64() }, 3.5, 5.5},
	} {
		h := &histogram{}
		values := make([]float32, 1_000_000)
		for i := range values {
			values[i] = float32(c.draw())
		}
		if strings.Contains(c.name, "outlier") {
			values[5] = 20
		}
		if err := h.add(values); err != nil {
			t.Fatal(err)
		}
		if got := h.entropy(); got < c.low || got > c.high {
			t.Errorf("%s: limit %v of at most %v, want %v to %v", c.name, got, h.largest, c.low, c.high)
		}
	}
}

func TestCalibrationOfZeros(t *testing.T) {
	for _, m := range CalibrationMethods() {
		zeros := map[string][]float32{InputName: make([]float32, 48), "conv": make([]float32, 8), "bn.relu": make([]float32, 8)}
		r := calibrate(t, CalibrationOptions{Method: m}, seen{zeros})
		if r.Limit["conv"] != 0 {
			t.Errorf("%s of zeros is %v", m, r.Limit["conv"])
		}
		model, err := ONNX(tiny(t), ExportOptions{Batch: 1, Precision: INT8, Ranges: r})
		if err != nil {
			t.Fatal(err)
		}
		if raw := readBack(t, model).tensors[InputName+scaleSuffix].raw; math.Float32frombits(binary.LittleEndian.Uint32(raw)) <= 0 {
			t.Errorf("%s: a tensor of zeros has a scale of % x, which divides by zero", m, raw)
		}
		// Zeros that came first count like those that come later.
		late := map[string][]float32{InputName: {1, 2, 3}, "conv": {1, 2}, "bn.relu": {1}}
		a, b := calibrate(t, CalibrationOptions{Method: m}, seen{zeros, late}), calibrate(t, CalibrationOptions{Method: m}, seen{late, zeros})
		if diff := cmp.Diff(a.Limit, b.Limit); diff != "" {
			t.Errorf("%s, zeros first against zeros last:\n%s", m, diff)
		}
	}
}

func TestCalibrationRefuses(t *testing.T) {
	n := tiny(t)
	for _, o := range []CalibrationOptions{{Method: "mean"}, {Method: Percentile, Percentile: 101}, {Method: Percentile, Percentile: math.NaN()}} {
		if _, err := NewCalibration(n, o); err == nil || !strings.Contains(err.Error(), "tiny") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	c, err := NewCalibration(n, CalibrationOptions{Method: Percentile})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.See("bn", []float32{1}); err == nil || !strings.Contains(err.Error(), "no node bn") {
		t.Errorf("a node that was folded away: %v", err)
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if err := c.See("conv", []float32{0, float32(v)}); err == nil || !strings.Contains(err.Error(), "conv: value 1") {
			t.Errorf("the value %v: %v", v, err)
		}
	}
	if err := c.See("conv", []float32{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ranges(); err == nil || !strings.Contains(err.Error(), InputName) {
		t.Errorf("ranges of a network whose input was not seen: %v", err)
	}
}

func BenchmarkCalibration(b *testing.B) {
	random := rand.New(rand.NewPCG(3, 4))
	values := make([]float32, 1<<20)
	for i := range values {
		values[i] = float32(random.NormFloat64())
	}
	h := &histogram{}
	b.SetBytes(int64(4 * len(values)))
	for b.Loop() {
		if err := h.add(values); err != nil {
			b.Fatal(err)
		}
	}
}
