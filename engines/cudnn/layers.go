package cudnn

// #include <stdlib.h>
// #include "piece.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"genbench/engines"
	"genbench/hardware/native"
	"genbench/models"
)

var _ engines.LayerTimer = (*session)(nil)

// TimeLayers implements engines.LayerTimer with an event between any two steps of the
// program. A node that became several steps is one layer.
func (s *session) TimeLayers(ctx context.Context, inferences int) ([]engines.Layer, error) {
	layers, err := s.timeLayers(ctx, inferences)
	if err != nil {
		return nil, fmt.Errorf("time layers on cudnn: %w", err)
	}
	return layers, nil
}

func (s *session) timeLayers(ctx context.Context, inferences int) ([]engines.Layer, error) {
	if s.program == nil {
		return nil, errors.New("the session is closed")
	}
	count := int(s.program.count)
	pieces := unsafe.Slice((*C.gb_piece)(C.calloc(C.size_t(max(count, 1)), C.size_t(unsafe.Sizeof(C.gb_piece{})))), count)
	defer C.free(unsafe.Pointer(unsafe.SliceData(pieces)))
	calls := make([]native.Call, count)
	for i := range pieces {
		pieces[i] = C.gb_piece{program: s.program, step: C.int(i)}
		calls[i] = native.Call{Func: unsafe.Pointer(C.gb_piece_run), Arg: unsafe.Pointer(&pieces[i])}
	}
	layers, layerOf := s.layers(inferences)
	took := make([]int64, count)
	for k := range inferences {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.stream.TimePieces(calls, took); err != nil {
			var failed *native.CallError
			if errors.As(err, &failed) && failed.Index >= 0 {
				err = s.failure()
			}
			return nil, err
		}
		for i, ns := range took {
			layers[layerOf[i]].DeviceNS[k] += ns
		}
	}
	return layers, nil
}

// layers gives the program's layers, without times, and to each step its layer. The
// rounding of an int8 or fp8 network's input is one that computes nothing.
func (s *session) layers(inferences int) (layers []engines.Layer, layerOf []int) {
	fused := map[int]int{} // the last node that a step computes, by its first
	for _, p := range s.plan.steps {
		fused[p.node] = p.out
	}
	last := none
	for _, step := range s.steps() {
		node := int(step.node)
		if node != last {
			l := engines.Layer{Name: s.name(node), Kind: "round", DeviceNS: make([]int64, inferences)}
			if node != models.Image {
				l.Kind, l.Precision, l.Origins = s.network.Nodes[node].Op.Kind(), string(s.runsIn(node)), []string{l.Name}
			}
			if out, ok := fused[node]; ok && out != node {
				l.Origins = append(l.Origins, s.name(out))
			}
			layers = append(layers, l)
			last = node
		}
		layerOf = append(layerOf, len(layers)-1)
	}
	return layers, layerOf
}
