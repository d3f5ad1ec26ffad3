package tensorrt

// #include "bridge.h"
import "C"

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"genbench/engines"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// A layer is what is read of TensorRT's inspector, whose JSON is
// {"Layers": [...], "Bindings": [...]}. In a plan that was built without details a
// layer is a bare string.
type layer struct {
	Name     string
	Type     string `json:"LayerType"`
	Tactic   string `json:"TacticName"`
	Metadata string // such as "[ONNX Layer: stem.conv]", one after another
	Outputs  []struct {
		Format string `json:"Format/Datatype"`
	}
}

func (l *layer) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &l.Name)
	}
	type plain layer
	return json.Unmarshal(data, (*plain)(l))
}

// parseLayers gives the layers of the inspector's JSON; none where it is damaged.
func parseLayers(text []byte) []layer {
	var plan struct{ Layers []layer }
	if err := json.Unmarshal(text, &plan); err != nil {
		return nil
	}
	return plan.Layers
}

// precision is that of the layer's first output; empty where no format is given.
func (l layer) precision() string {
	if len(l.Outputs) == 0 {
		return ""
	}
	p := precisionOf(l.Outputs[0].Format)
	// TF32 is how a kernel multiplies; what it writes is fp32.
	if p == string(models.FP32) && strings.Contains(strings.ToLower(l.Tactic), "tf32") {
		return string(models.TF32)
	}
	return p
}

// summary counts layers by their precision and gives a digest of all tactics. Layers
// for which the library gives no format are left out of the first.
func summary(layers []layer) (precisions map[string]int, tactics string) {
	if layers == nil {
		return nil, ""
	}
	precisions = map[string]int{}
	var names []string
	for _, l := range layers {
		names = append(names, l.Name+"="+l.Tactic)
		if p := l.precision(); p != "" {
			precisions[p]++
		}
	}
	return precisions, digest([]byte(strings.Join(names, "\n")))
}

// precisionOf reads the words of TensorRT's inspector: a sentence such as "Channel
// major FP16 format where channel % 8 == 0", or a bare type such as "Half".
func precisionOf(format string) string {
	for _, p := range []struct{ word, precision string }{
		{"bfloat16", "bf16"}, {"bf16", "bf16"}, {"int8", "int8"}, {"fp16", "fp16"}, {"half", "fp16"}, {"fp8", "fp8"}, {"fp32", "fp32"}, {"float", "fp32"},
	} {
		if strings.Contains(strings.ToLower(format), p.word) {
			return p.precision
		}
	}
	return ""
}

var _ engines.LayerTimer = (*session)(nil)

// TimeLayers implements engines.LayerTimer through TensorRT's own profiler (IProfiler),
// which reads events between layers. All further inferences of the session are slower
// for it.
func (s *session) TimeLayers(ctx context.Context, inferences int) ([]engines.Layer, error) {
	layers, err := s.timeLayers(ctx, inferences)
	if err != nil {
		return nil, fmt.Errorf("time layers on tensorrt: %w", err)
	}
	return layers, nil
}

func (s *session) timeLayers(ctx context.Context, inferences int) ([]engines.Layer, error) {
	if s.c == nil {
		return nil, errors.New("the session is closed")
	}
	if !s.watched {
		if err := s.watch(); err != nil {
			return nil, err
		}
		// The first inference that is watched makes the events.
		if _, err := s.watchedRun(); err != nil {
			return nil, err
		}
	}
	var layers []engines.Layer
	for range inferences {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		times, err := s.watchedRun()
		if err != nil {
			return nil, err
		}
		if layers == nil {
			layers = make([]engines.Layer, len(times))
			for i := range times {
				layers[i].Name = times[i].name
			}
		}
		if !slices.EqualFunc(layers, times, func(l engines.Layer, t layerTime) bool { return l.Name == t.name }) {
			return nil, errors.New("two inferences report different layers")
		}
		for i := range times {
			layers[i].DeviceNS = append(layers[i].DeviceNS, times[i].ns)
		}
	}
	return s.describe(layers), nil
}

// watch has every further inference record what its layers take.
func (s *session) watch() error {
	leave, err := s.e.enter()
	defer leave()
	if err != nil {
		return err
	}
	if err := takeMessage(C.gb_trt_watch(s.e.table, s.c)); err != nil {
		return err
	}
	s.watched = true
	return nil
}

// watchedRun runs an inference and gives what its layers took.
func (s *session) watchedRun() ([]layerTime, error) {
	if err := s.stream.Time(s.Call(), make([]hardware.Sample, 1)); err != nil {
		var failed *native.CallError
		if errors.As(err, &failed) {
			err = s.Explain(failed)
		}
		return nil, err
	}
	leave, err := s.e.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	var times C.gb_trt_blob
	if err := takeMessage(C.gb_trt_layers(s.e.table, s.c, &times)); err != nil {
		return nil, err
	}
	return parseTimes(s.e.take(&times))
}

// describe adds what the inspector says of layers; where it says nothing they stay
// names and times.
func (s *session) describe(layers []engines.Layer) []engines.Layer {
	known := map[string]layer{}
	for _, l := range s.inspect() {
		known[l.Name] = l
	}
	for i := range layers {
		l := known[layers[i].Name]
		layers[i].Kind, layers[i].Precision = l.Type, l.precision()
		layers[i].Origins = engines.Words(layers[i].Name + " " + l.Metadata)
	}
	return layers
}

// A layerTime is what one layer of one inference took.
type layerTime struct {
	name string
	ns   int64
}

// parseTimes reads what the shim writes of an inference (abi.h).
func parseTimes(text []byte) ([]layerTime, error) {
	var times []layerTime
	for len(text) > 0 {
		entry, rest, ended := bytes.Cut(text, []byte{0})
		number, name, parted := strings.Cut(string(entry), " ")
		ms, err := strconv.ParseFloat(number, 64)
		if !ended || !parted || err != nil || math.IsNaN(ms) || ms < 0 {
			return nil, fmt.Errorf("the profiler reports %q, want a time and a layer's name", entry)
		}
		times = append(times, layerTime{name, int64(math.Round(1e6 * ms))})
		text = rest
	}
	if len(times) == 0 {
		return nil, errors.New("the profiler reports no layer")
	}
	return times, nil
}
