package enginetest

import (
	"context"
	"errors"
	"fmt"

	"genbench/engines"
	"genbench/models"
)

// checkLayers holds a session that can time its layers to what LayerTimer says: as many
// times as inferences for every layer, one after the other, and a session that still
// computes what it did.
func checkLayers(r *rig) error {
	const inferences = 3
	c := Miniatures()[0]
	o := options(models.FP32, 1)
	o.Layers = true
	s, err := r.build(c.Network, o)
	if err != nil {
		return err
	}
	defer s.Close()
	timer, ok := s.(engines.LayerTimer)
	if !ok {
		return nil
	}
	before, err := infer(r.stream, s, c.Input(1))
	if err != nil {
		return err
	}
	layers, err := timer.TimeLayers(context.Background(), inferences)
	if errors.Is(err, engines.ErrNoLayers) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := judgeLayers(layers, inferences); err != nil {
		return err
	}
	after, err := infer(r.stream, s, c.Input(1))
	if err != nil {
		return err
	}
	if err := identical(before, after); err != nil {
		return fmt.Errorf("timing the layers changed the output: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if _, err := timer.TimeLayers(context.Background(), inferences); err == nil {
		return errors.New("a closed session times its layers")
	}
	return cancelledLayers(r, c, o)
}

func judgeLayers(layers []engines.Layer, inferences int) error {
	var total int64
	for _, l := range layers {
		if l.Name == "" || len(l.DeviceNS) != inferences {
			return fmt.Errorf("layer %q has %d times, want one for each of %d inferences", l.Name, len(l.DeviceNS), inferences)
		}
		for _, ns := range l.DeviceNS {
			if ns < 0 {
				return fmt.Errorf("layer %s took %d ns", l.Name, ns)
			}
			total += ns
		}
	}
	if total == 0 {
		return fmt.Errorf("%d layers took no time", len(layers))
	}
	return nil
}

func cancelledLayers(r *rig, c Case, o engines.BuildOptions) error {
	s, err := r.build(c.Network, o)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.(engines.LayerTimer).TimeLayers(ctx, 1)
	if !errors.Is(err, context.Canceled) {
		return fmt.Errorf("a cancelled context gives %v", err)
	}
	return nil
}
