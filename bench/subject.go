package bench

import (
	"errors"
	"fmt"

	"genbench/engines"
	"genbench/models"
)

// A subject is what a point's model names, opened for one batch: a network of the
// zoo with its weights, or an ONNX file. Its owner closes it when no more weights are
// to be loaded.
type subject struct {
	network *models.Network // nil for a file that is no network of ours
	why     error           // why a file is none
	file    *models.File    // nil for a network of the zoo
	inputs  map[string]models.Shape
	weights *models.Safetensors // nil where they are not in a file of their own

	resolution int
	params     int64
	macs       int64 // of the whole batch; 0 where a file does not say
}

// openSubject opens what a model's name stands for. Resolution 0 is the model's own.
func (c Config) openSubject(model string, resolution, batch int) (*subject, error) {
	s := &subject{}
	if err := c.fillSubject(s, model, resolution, batch); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (c Config) fillSubject(s *subject, model string, resolution, batch int) (err error) {
	if models.IsFile(model) {
		return c.fillFile(s, model, batch)
	}
	if s.network, err = models.New(model, resolution); err != nil {
		return err
	}
	if c.Weights != "" {
		if s.weights, err = models.OpenSafetensors(c.Weights); err != nil {
			return err
		}
		if s.network, err = models.WithWeights(s.network, s.weights); err != nil {
			return err
		}
	}
	cost, err := models.CostOf(s.network)
	if err != nil {
		return err
	}
	s.resolution, s.params, s.macs = s.network.Resolution, cost.Params, cost.MACs*int64(batch)
	return nil
}

func (c Config) fillFile(s *subject, path string, batch int) (err error) {
	if s.file, err = models.OpenONNX(path); err != nil {
		return err
	}
	if s.inputs, err = s.file.Resolve(batch, c.Shapes); err != nil {
		return err
	}
	cost, err := s.file.Cost(s.inputs)
	if err != nil {
		return err
	}
	s.params = cost.Params
	if cost.MACs != nil {
		s.macs = *cost.MACs
	}
	s.network, s.why = s.file.Network(s.inputs)
	for _, shape := range s.inputs {
		if len(s.inputs) == 1 && len(shape) == 4 {
			s.resolution = shape[2]
		}
	}
	return nil
}

func (s *subject) close() error {
	var errs []error
	if s.file != nil {
		errs = append(errs, s.file.Close())
	}
	if s.weights != nil {
		errs = append(errs, s.weights.Close())
	}
	return errors.Join(errs...)
}

// refuse is the reason why an engine cannot take the subject in a precision.
func (s *subject) refuse(e engines.Engine, p models.Precision) error {
	if s.file == nil {
		return nil
	}
	own := s.file.Precision()
	if p != own && !(p == models.TF32 && own == models.FP32) {
		return fmt.Errorf("a file is measured as it is, and this one computes in %s", own)
	}
	if _, reads := e.(engines.FileEngine); !reads && s.network == nil {
		return fmt.Errorf("the engine does not read ONNX files, and this one is not a network that genbench knows: %w", s.why)
	}
	return nil
}
