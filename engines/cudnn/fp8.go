package cudnn

// #include "program.h"
import "C"

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"genbench/models"
)

// refusesFP8 says why no network runs in fp8 here; nil where one may. Units for it came
// with compute capability 8.9, but NVIDIA's sample of an fp8 convolution asks for 9.0
// and CUDA 12 (cudnn-frontend, samples/cpp/convolution/fp8_fprop.cpp), and so do XLA's
// tests (LayoutAssignmentTest.ConvCuDNNF8).
func (e *engine) refusesFP8() error {
	gpu := e.device.Details()
	switch cudart := int(C.gb_cudnn_cudart(e.api)) / 1000; {
	case gpu.Capability() < 90:
		return fmt.Errorf("fp8 on cuDNN needs sm_90 or newer (compute capability 9.0, Hopper); %s has %d.%d", gpu.Name, gpu.CapabilityMajor, gpu.CapabilityMinor)
	case cudart < 12:
		return fmt.Errorf("fp8 needs a cuDNN for CUDA 12 or newer, this one is for CUDA %d", cudart)
	case C.gb_has_graphs(e.api) == 0:
		return errors.New("fp8 needs cuDNN's graph API, which this library lacks")
	}
	return nil
}

// needsHalf says why a convolution cannot run in fp8; "" where it can. Matrix units
// read 16 bytes at once, so features come in multiples of 16 on either side. Groups and
// dilation are refused as in int8: no sample or test of NVIDIA's has them in fp8.
func needsHalf(op models.Conv) string {
	switch {
	case op.Groups == op.In && op.Groups > 1:
		return "cuDNN has no fp8 depthwise convolution"
	case op.Groups > 1:
		return fmt.Sprintf("cuDNN has no grouped fp8 convolution, and this one has %d groups", op.Groups)
	case op.Dilation > 1:
		return "cuDNN has no dilated fp8 convolution"
	case op.In%16 != 0 || op.Out%16 != 0:
		return fmt.Sprintf("cuDNN's fp8 convolutions want channels in multiples of 16, and this one has %d and %d", op.In, op.Out)
	}
	return ""
}

// fp8Convolution appends a step for a plan, which planFP8 makes, and the kernel for
// what the plan may leave undone: it computes y from sums in half.
func (s *session) fp8Convolution(p *planned, weights []byte, scale float32, bias []float32) {
	x, y := s.plan.at(p.inputs[0]), s.plan.at(p.out)
	step := s.next(C.gb_graph, p.node)
	step.x_data = s.address(p.inputs[0])
	s.keep(&step.w_data, weights)
	s.sums.want(&step.y_data, y.extent())
	s.keepFactor(&step.descale_data, x.step*scale)
	if y.step != 0 {
		s.keepFactor(&step.scale_data, 1/y.step)
	}
	rest := s.next(C.gb_launch, p.node)
	s.describePointwise(rest, p)
	s.sums.want(&rest.kernel.x, y.extent())
	if bias != nil {
		s.keepFloats(&rest.kernel.shift, bias)
		s.keepFloats((**C.float)(unsafe.Pointer(&step.bias_data)), bias)
	}
}

// keepFactor is keep for one float.
func (s *session) keepFactor(place *unsafe.Pointer, factor float32) {
	s.keep(place, binary.NativeEndian.AppendUint32(nil, math.Float32bits(factor)))
}

// planFP8 makes plans of the graph API for the convolutions of an fp8 network, which have
// no algorithms to choose from. At best a plan computes everything, down to the
// rounding of the result; otherwise it gives the sums, times their factor, in half, and
// leaves the rest to the kernel after it. A residual is always left to the kernel, as
// the graph API would have to convert it back from E4M3.
func (s *session) planFP8(ctx context.Context) error {
	known := map[string]planned8{} // blocks repeat
	refused := &notEightBits{}
	for i := 0; i < int(s.program.count); i++ { // a plan may take the place of two steps
		if err := ctx.Err(); err != nil {
			return err
		}
		first := &s.steps()[i]
		if first.kind != C.gb_graph {
			continue
		}
		whole, sums := s.fusionsOfFP8(int(first.node))
		key := whole.signature(s)
		v, ok := known[key]
		if !ok {
			var err error
			if v, err = s.firstPlan(whole, sums, first); err != nil {
				return err
			}
			known[key] = v
		}
		if v.plan == nil {
			refused.add(int(first.node), v.refused)
			continue
		}
		f, count, words := sums, 1, "gives sums for a kernel"
		if v.whole {
			f, count, words = whole, 2, "computes all"
			first.y_data = s.address(f.out)
		}
		s.note("%s: fp8 graph plan %s %s, %v, workspace %d bytes", s.name(f.node), v.plan.name, words, v.plan.latency, int64(v.plan.workspace))
		s.replace(i, count, f.step(s, first, v.plan))
	}
	if len(refused.nodes) > 0 {
		return refused
	}
	return nil
}

// A planned8 is what computes an fp8 convolution: a plan for all of it or for the sums,
// or the reason why there is none.
type planned8 struct {
	plan    *graphPlan
	whole   bool
	refused *refusal
}

// fusionsOfFP8 gives the graph of an fp8 convolution with all that follows it, and the
// one of its sums.
func (s *session) fusionsOfFP8(node int) (whole, sums fusion) {
	whole, _ = s.fusionOf(node)
	whole.fp8, whole.rounds = true, s.plan.at(whole.out).step != 0
	alone := *whole.planned
	alone.add, alone.act = none, ""
	sums = fusion{planned: &alone, conv: whole.conv, fp8: true}
	sums.conv.Bias = false
	return whole, sums
}

// firstPlan makes the fastest plan of the first graph that cuDNN takes. It is the
// session's to close.
func (s *session) firstPlan(whole, sums fusion, first *C.gb_step) (v planned8, err error) {
	_, _, known := operation(whole.act)
	for _, f := range []fusion{whole, sums} {
		all := f.planned == whole.planned
		if all && (!known || f.add != none) {
			continue
		}
		from := *first
		if all {
			from.y_data = s.address(f.out)
		}
		graph := &builder{session: s, node: f.node}
		best, err := s.fastestPlan(graph, f, &from)
		if err == nil {
			s.graphs = append(s.graphs, graph, best.builder)
			return planned8{plan: best, whole: all}, nil
		}
		if closed := graph.close(); closed != nil || !errors.As(err, &v.refused) {
			return v, errors.Join(err, closed)
		}
	}
	return v, nil
}
