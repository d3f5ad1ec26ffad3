package onnxruntime

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
)

var _ engines.LayerTimer = (*session)(nil)

// TimeLayers implements engines.LayerTimer from the library's own profile, which
// counts whole microseconds, rounded down. A session on a GPU refuses: its profile
// tells how long nodes took to be submitted, not how long they ran.
func (s *session) TimeLayers(ctx context.Context, inferences int) ([]engines.Layer, error) {
	fail := func(err error) ([]engines.Layer, error) { return nil, fmt.Errorf("time layers: %w", err) }
	switch {
	case s.c == nil:
		return fail(errors.New("the session is closed"))
	case s.stream != nil:
		return fail(fmt.Errorf("%w: ONNX Runtime's profile tells when a node was submitted to a GPU, not how long it ran there", engines.ErrNoLayers))
	case s.profile == nil || s.c.profile_all == 0:
		return fail(errors.New("the session was not built for it, or its profile was read before"))
	}
	one := make([]hardware.Sample, 1)
	for range inferences {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		if err := native.TimeHost(s.Call(), one); err != nil {
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
	layers := s.layersOf(nodes, inferences)
	if len(layers) == 0 {
		return fail(errors.New("the profile holds no node"))
	}
	return layers, nil
}

// layersOf gives the nodes of the last inferences. One that an inference ran several
// times, in the body of a loop, has the sum; one that it did not reach has 0.
func (s *session) layersOf(nodes []ranNode, inferences int) []engines.Layer {
	if len(nodes) == 0 {
		return nil
	}
	first := nodes[len(nodes)-1].run - inferences + 1
	var layers []engines.Layer
	known := map[[2]string]int{} // graphs within a graph count their nodes anew
	for _, n := range nodes {
		if n.run < first {
			continue
		}
		key := [2]string{n.Name, n.index}
		at, ok := known[key]
		if !ok {
			at = len(layers)
			known[key] = at
			layers = append(layers, engines.Layer{
				Name: n.Name, Kind: n.Op, Precision: s.engine.provider.precisionOf(n, s.order.options.Precision),
				Origins: engines.Words(n.Name), DeviceNS: make([]int64, inferences),
			})
		}
		layers[at].DeviceNS[n.run-first] += 1000 * n.micros
	}
	return layers
}
