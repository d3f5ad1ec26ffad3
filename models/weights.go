package models

import (
	"fmt"
	"math"
	"runtime"
	"sync"
)

// Synthetic gives deterministic weights: every value follows only from its tensor's
// state-dict key and its index, so a network can be rebuilt anywhere, in any order, and
// its output checked without a download. Latency does not depend on the values as long
// as they are ordinary numbers, which these are: kernels have the variance 1/fan-in,
// statistics lie around their neutral value.
//
// The rule, for element i of the tensor with key K: splitmix64 (Steele, Lea,
// Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014) seeded
// with FNV-1a 64 of K gives u in [0,1) and v = 2u-1;
//
//	kernel            v·sqrt(3/fan), fan = elements / output channels
//	bias, beta, mean  v/10
//	gamma, variance   1 + v/4
//
// computed in float64 and rounded once.
func Synthetic() WeightSource { return synthetic{} }

type synthetic struct{}

func (synthetic) Origin() string { return "synthetic" }

func (synthetic) Load(p Param, dst []float32) error {
	if len(dst) != p.Shape.Elements() {
		return fmt.Errorf("load %s: room for %d elements, shape %v has %d", p.Key, len(dst), p.Shape, p.Shape.Elements())
	}
	offset, scale := 0.0, 0.1
	switch p.Role {
	case Kernel:
		fan := p.Shape[1:].Elements()
		scale = math.Sqrt(3 / float64(fan))
	case Bias, Beta, Mean:
	case Gamma, Variance:
		offset, scale = 1, 0.25
	default:
		return fmt.Errorf("load %s: no rule for role %d", p.Key, p.Role)
	}
	fill(p.Key, offset, scale, dst)
	return nil
}

// SyntheticInput is the input that goes with Synthetic: uniform in [-1,1), rounded. The
// images of a batch follow each other in one sequence, so image 0 is the same in every
// batch; golden outputs are for it.
func SyntheticInput(shape Shape) Tensor {
	t := Tensor{Shape: append(Shape(nil), shape...), Data: make([]float32, shape.Elements())}
	fill("input", 0, 1, t.Data)
	return t
}

// grain is the fewest elements that one goroutine fills: about 0.1 ms of work.
const grain = 1 << 16

// fill writes offset + scale·v for the sequence of a key.
func fill(key string, offset, scale float64, dst []float32) {
	seed := fnv1a(key)
	workers := min(runtime.GOMAXPROCS(0), len(dst)/grain)
	if workers < 2 {
		fillFrom(seed, offset, scale, dst)
		return
	}
	share := (len(dst) + workers - 1) / workers
	var wg sync.WaitGroup
	for from := 0; from < len(dst); from += share {
		part := dst[from:min(from+share, len(dst))]
		wg.Go(func() { fillFrom(seed+uint64(from)*golden, offset, scale, part) })
	}
	wg.Wait()
}

// golden is splitmix64's increment, 2^64 divided by the golden ratio.
const golden = 0x9E3779B97F4A7C15

func fillFrom(state uint64, offset, scale float64, dst []float32) {
	for i := range dst {
		state += golden
		z := state
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		v := 2*(float64(z>>11)/(1<<53)) - 1
		// The explicit conversion keeps the compiler from fusing multiply and add on
		// machines that can, which would round differently there.
		dst[i] = float32(offset + float64(v*scale))
	}
}

func fnv1a(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}
