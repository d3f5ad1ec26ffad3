package models

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math"
	"strconv"
	"strings"
)

// CalibrationMethod is a rule that derives the range of a tensor from its values.
type CalibrationMethod string

const (
	// MinMax keeps the largest magnitude that was seen.
	MinMax CalibrationMethod = "min-max"
	// Percentile cuts off the largest values, so that a few outliers do not cost all
	// others their resolution.
	Percentile CalibrationMethod = "percentile"
	// Entropy takes the range whose 128 levels keep most of the distribution of the
	// values: the least Kullback-Leibler divergence (Migacz, "8-bit Inference with
	// TensorRT", GPU Technology Conference 2017).
	Entropy CalibrationMethod = "entropy"
)

// CalibrationMethods lists the methods.
func CalibrationMethods() []CalibrationMethod {
	return []CalibrationMethod{MinMax, Percentile, Entropy}
}

// DefaultPercentile is the share of values within the range, in percent, that
// Percentile keeps unless told otherwise.
const DefaultPercentile = 99.99

// CalibrationOptions is how ranges are taken.
type CalibrationOptions struct {
	Method CalibrationMethod
	// Percentile in percent; 0 means DefaultPercentile. Other methods ignore it.
	Percentile float64
	// Source says where the images come from, for Ranges.
	Source string
}

// A Calibration collects the activations of a network, image after image, and ends
// in Ranges. One pass is enough, as its histograms grow with the values; the order
// of the images does not matter. It belongs to one goroutine.
//
// Memory: a histogram of 16 kB for every node.
type Calibration struct {
	network *Network // folded
	options CalibrationOptions
	tensors map[string]*histogram
	names   []string // of the tensors, the input first
	images  int
	hash    hash.Hash
}

// NewCalibration starts a calibration of a network, folded or not.
func NewCalibration(n *Network, o CalibrationOptions) (*Calibration, error) {
	switch o.Method {
	case MinMax, Entropy:
	case Percentile:
		if o.Percentile == 0 {
			o.Percentile = DefaultPercentile
		}
		if !(o.Percentile > 0 && o.Percentile <= 100) {
			return nil, fmt.Errorf("calibrate %s: percentile %v, want more than 0 and at most 100", n.Name, o.Percentile)
		}
	default:
		names := make([]string, len(CalibrationMethods()))
		for i, m := range CalibrationMethods() {
			names[i] = string(m)
		}
		return nil, fmt.Errorf("calibrate %s: unknown method %q, choose one of %s", n.Name, string(o.Method), strings.Join(names, ", "))
	}
	folded, err := Fold(n)
	if err != nil {
		return nil, fmt.Errorf("calibrate %s: %w", n.Name, err)
	}
	c := &Calibration{network: folded, options: o, tensors: make(map[string]*histogram), hash: sha256.New()}
	c.names = append(c.names, InputName)
	for _, node := range folded.Nodes {
		c.names = append(c.names, node.Name)
	}
	for _, name := range c.names {
		c.tensors[name] = &histogram{}
	}
	return c, nil
}

// See takes the values of one tensor: the result of a node of the folded network,
// or InputName with the image itself. It is what an engine's Observe calls; the
// values are not kept.
func (c *Calibration) See(node string, values []float32) error {
	h, ok := c.tensors[node]
	if !ok {
		return fmt.Errorf("calibrate %s: the folded network has no node %s", c.network.Name, node)
	}
	if err := h.add(values); err != nil {
		return fmt.Errorf("calibrate %s: node %s: %w", c.network.Name, node, err)
	}
	if node == InputName {
		c.images += len(values) / c.network.InputShape(1).Elements()
		raw := make([]byte, 0, 4*len(values))
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		c.hash.Write(raw)
	}
	return nil
}

// Ranges ends the calibration. A tensor that was never seen is an error that names
// it.
func (c *Calibration) Ranges() (*Ranges, error) {
	r := &Ranges{
		Method: string(c.options.Method), Images: c.images, Source: c.options.Source,
		SHA256: fmt.Sprintf("%x", c.hash.Sum(nil)), Limit: make(map[string]float32, len(c.names)),
	}
	if c.options.Method == Percentile {
		r.Method += " " + strconv.FormatFloat(c.options.Percentile, 'g', -1, 64)
	}
	for _, name := range c.names {
		h := c.tensors[name]
		if h.total == 0 {
			return nil, fmt.Errorf("calibrate %s: no values of %s were seen", c.network.Name, name)
		}
		switch c.options.Method {
		case MinMax:
			r.Limit[name] = h.largest
		case Percentile:
			r.Limit[name] = h.percentile(c.options.Percentile)
		case Entropy:
			r.Limit[name] = h.entropy()
		}
	}
	return r, nil
}

// histogramBins is how many equal bins hold the magnitudes of a tensor. The largest
// one lies in their upper half, so at least 1024 are in use.
const histogramBins = 2048

// A histogram counts magnitudes. The width of its bins is a power of two, so that
// making room for a larger value merges pairs of bins exactly, and the counts do
// not depend on the order of the values.
type histogram struct {
	counts  []uint64
	width   float64
	largest float32
	total   uint64
	zeros   uint64 // exact zeros, which are in the first bin too
}

func (h *histogram) add(values []float32) error {
	var largest float32
	for i, v := range values {
		if v < 0 {
			v = -v
		}
		if !(v <= math.MaxFloat32) {
			return fmt.Errorf("value %d is %v", i, values[i])
		}
		largest = max(largest, v)
	}
	h.widen(largest)
	h.total += uint64(len(values))
	if h.counts == nil { // only zeros so far
		h.zeros += uint64(len(values))
		return nil
	}
	scale := 1 / h.width // exact
	for _, v := range values {
		if v == 0 {
			h.zeros++
		}
		h.counts[int(math.Abs(float64(v))*scale)]++
	}
	return nil
}

// widen makes room for a magnitude.
func (h *histogram) widen(largest float32) {
	h.largest = max(h.largest, largest)
	if largest == 0 {
		return
	}
	if h.counts == nil {
		// largest < 2^e, so the bins end at 2^e
		_, e := math.Frexp(float64(largest))
		h.counts, h.width = make([]uint64, histogramBins), math.Ldexp(1, e)/histogramBins
		h.counts[0] = h.total
		return
	}
	for float64(largest) >= h.width*histogramBins {
		for i := range histogramBins / 2 {
			h.counts[i] = h.counts[2*i] + h.counts[2*i+1]
		}
		clear(h.counts[histogramBins/2:])
		h.width *= 2
	}
}

// percentile gives the magnitude that this share of all values does not exceed, rounded
// up to the end of a bin.
func (h *histogram) percentile(percent float64) float32 {
	// Rounded up, with a hair of tolerance for a share that has no exact float.
	want := uint64(math.Ceil(percent/100*float64(h.total) - 1e-6))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= want {
			return min(float32(float64(i+1)*h.width), h.largest)
		}
	}
	return h.largest
}

// entropy gives the limit whose 128 levels lose least. For every candidate, what lies
// beyond it counts as lying in its last bin, as saturation puts it there; the
// candidate's bins are joined into 128 levels, and what a level holds is spread evenly
// over those of its bins that hold anything. The divergence of the second from the
// first says what is lost.
//
// Exact zeros are left out, as every scale represents them; after a ReLU they are half
// of the values and would outvote the rest.
func (h *histogram) entropy() float32 {
	const (
		levels = 128
		step   = 8 // bins between candidates: 1/256 of the range
	)
	if h.counts == nil {
		return 0
	}
	counts := make([]float64, histogramBins)
	used := 0
	var beyond float64
	for i, n := range h.counts {
		if i == 0 {
			n -= h.zeros
		}
		counts[i] = float64(n)
		if n > 0 {
			used = i + 1
		}
		beyond += counts[i]
	}
	best, limit := math.Inf(1), h.largest
	within := 0
	for bins := levels; ; bins += step {
		bins = min(bins, max(used, levels))
		for ; within < bins; within++ {
			beyond -= counts[within]
		}
		if d := divergence(counts[:bins], beyond, levels); d < best {
			best, limit = d, min(float32(float64(bins)*h.width), h.largest)
		}
		if bins >= used {
			return limit
		}
	}
}

// divergence is that of counts, whose last one takes in beyond, from the same counts
// joined into levels: the sum of p·log(p/q), infinite where q is zero and p is not.
func divergence(counts []float64, beyond float64, levels int) float64 {
	var total, kept float64
	for _, n := range counts {
		kept += n
	}
	total = kept + beyond
	if kept == 0 {
		return math.Inf(1)
	}
	sum := 0.0
	for level := range levels {
		from, to := level*len(counts)/levels, (level+1)*len(counts)/levels
		held, filled := 0.0, 0.0
		for i := from; i < to; i++ {
			held += counts[i]
			if counts[i] > 0 {
				filled++
			}
		}
		for i := from; i < to; i++ {
			p := counts[i]
			if i == len(counts)-1 {
				p += beyond
			}
			if p == 0 {
				continue
			}
			if counts[i] == 0 {
				return math.Inf(1)
			}
			p /= total
			q := held / filled / kept
			sum += float64(p * math.Log(p/q))
		}
	}
	return sum
}
