package reference

import (
	"context"
	"fmt"

	"genbench/engines"
	"genbench/hardware/native"
	"genbench/models"
)

var _ engines.LayerTimer = (*session)(nil)

// TimeLayers implements engines.LayerTimer: a step is a node.
func (s *session) TimeLayers(ctx context.Context, inferences int) ([]engines.Layer, error) {
	if err := s.open("time layers"); err != nil {
		return nil, err
	}
	layers := make([]engines.Layer, len(s.steps))
	for i, name := range s.nodes {
		layers[i] = engines.Layer{
			Name: name, Kind: s.kinds[i], Precision: string(models.FP32),
			Origins: []string{name}, DeviceNS: make([]int64, inferences),
		}
	}
	for k := range inferences {
		for i, step := range s.steps {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("time layers: %w", err)
			}
			start := native.Now()
			step()
			layers[i].DeviceNS[k] = native.Now() - start
		}
	}
	return layers, nil
}
