package onnxruntime

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"genbench/engines"
	"genbench/engines/library"
	"genbench/hardware"
	"genbench/hardware/native"
)

var _ engines.LayerTimer = (*session)(nil)

// TimeLayers implements engines.LayerTimer from the library's own profile, which
// counts whole microseconds, rounded down. On a GPU a layer takes what its kernels take
// there. Where the library does not record those, a session on a GPU refuses, as all
// its profile says of nodes is how long the host took to submit them.
func (s *session) TimeLayers(ctx context.Context, inferences int) ([]engines.Layer, error) {
	fail := func(err error) ([]engines.Layer, error) { return nil, fmt.Errorf("time layers: %w", err) }
	switch {
	case s.c == nil:
		return fail(errors.New("the session is closed"))
	case len(s.engine.provider.opaque) > 0:
		return fail(fmt.Errorf("%w: to ONNX Runtime all that TensorRT takes is one node; use the engine tensorrt, which times the layers of its plans", engines.ErrNoLayers))
	case s.profile == nil || s.c.profile_all == 0:
		return fail(errors.New("the session was not built for it, or its profile has already been read"))
	}
	one := make([]hardware.Sample, 1)
	for range inferences {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		if err := s.inferOnce(one); err != nil {
			var failed *native.CallError
			if errors.As(err, &failed) {
				err = s.Explain(failed)
			}
			return fail(err)
		}
	}
	if err := takeMessage(C.gb_ort_end_profile(s.c)); err != nil {
		return fail(err)
	}
	defer func() {
		s.profile.close()
		s.profile = nil
	}()
	nodes, err := s.profile.read()
	if err != nil {
		return fail(err)
	}
	layers, err := s.layersOf(nodes, inferences)
	if err != nil {
		return fail(err)
	}
	return layers, nil
}

// inferOnce runs one inference to its end.
func (s *session) inferOnce(sample []hardware.Sample) error {
	if s.stream != nil {
		return s.stream.Time(s.Call(), sample)
	}
	return native.TimeHost(s.Call(), sample)
}

// layersOf gives the nodes of the last inferences. One that an inference ran several
// times, in the body of a loop, has the sum; one that it did not reach has 0, and so
// has one of a session on a GPU that the host ran.
func (s *session) layersOf(nodes []ranNode, inferences int) ([]engines.Layer, error) {
	if len(nodes) == 0 {
		return nil, errors.New("the profile holds no node")
	}
	if s.stream != nil {
		if err := s.engine.watched(nodes); err != nil {
			return nil, err
		}
	}
	first := nodes[len(nodes)-1].run - inferences + 1
	var layers []engines.Layer
	known := map[[2]string]int{} // graphs within a graph number their own nodes
	for _, n := range nodes {
		if n.run < first {
			continue
		}
		key := [2]string{n.Name, n.index}
		at, ok := known[key]
		if !ok {
			at = len(layers)
			known[key] = at
			l := engines.Layer{
				Name: n.Name, Kind: n.Op, Precision: s.engine.provider.precisionOf(n, s.order.options.Precision, s.engine.mayTF32()),
				Origins: engines.Words(n.Name), DeviceNS: make([]int64, inferences),
			}
			if !slices.Contains(s.engine.provider.ours, n.Provider) {
				l.Kind += " on " + n.Provider
			}
			layers = append(layers, l)
		}
		micros := n.micros
		if s.stream != nil {
			micros = n.kernelMicros
		}
		layers[at].DeviceNS[n.run-first] += 1000 * micros
	}
	return layers, nil
}

// watched refuses the profile of a library that did not watch the GPU, or not all of
// what ran there: a convolution that is said to have launched nothing was lost. The
// library finds a node's kernels by the microsecond in which the node began, and now
// and then another began in the same one; a median bears that in fewer than half of the
// inferences.
func (e *engine) watched(nodes []ranNode) error {
	if !slices.ContainsFunc(nodes, func(n ranNode) bool { return n.kernels > 0 }) {
		return fmt.Errorf("%w: this build of ONNX Runtime, like its releases, says how long nodes took to submit and not how long they ran on the GPU; "+
			"one that was built with --enable_cuda_profiling says that too (name it by %s), and so do the engines cudnn and tensorrt", engines.ErrNoLayers, library.ONNXRuntimeGPUEnv)
	}
	ran, silent := map[string]int{}, map[string]int{}
	for _, n := range nodes {
		if !slices.Contains(e.provider.ours, n.Provider) || !slices.Contains(multipliers(), n.Op) {
			continue
		}
		ran[n.Name]++
		if n.kernels == 0 {
			silent[n.Name]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(silent)) {
		if 2*silent[name] >= ran[name] {
			return fmt.Errorf("%w: ONNX Runtime's profile has lost what the GPU ran of node %s, in %d of %d times", engines.ErrNoLayers, name, silent[name], ran[name])
		}
	}
	return nil
}
