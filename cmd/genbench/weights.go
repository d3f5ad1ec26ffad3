package main

import (
	"fmt"

	"genbench/models"
)

// synthetic is the value of --weights for weights that are computed.
const synthetic = "synthetic"

const weightsUsage = "weights: synthetic, or a .safetensors file with the keys of timm, torchvision or GENet's own release"

// weightsSource is where a network's weights come from, and stays open as long as
// they are loaded.
type weightsSource struct {
	store  *models.Safetensors // nil: synthetic
	Path   string              `json:"path"`
	SHA256 string              `json:"sha256"`
}

// withWeights gives the network the weights that --weights names. A file that is
// damaged or does not fit is the caller's error.
func withWeights(n *models.Network, path string) (*models.Network, *weightsSource, error) {
	if path == synthetic {
		return n, &weightsSource{}, nil
	}
	store, err := models.OpenSafetensors(path)
	if err != nil {
		return nil, nil, usage(fmt.Errorf("--weights: %w", err))
	}
	source := &weightsSource{store: store, Path: path}
	if n, err = models.WithWeights(n, store); err == nil {
		if source.SHA256, err = store.SHA256(); err == nil {
			return n, source, nil
		}
	}
	if closeErr := source.close(); closeErr != nil {
		return nil, nil, closeErr
	}
	return nil, nil, usage(fmt.Errorf("--weights: %w", err))
}

// file is the source where that is a file; else nil.
func (w *weightsSource) file() *weightsSource {
	if w.store == nil {
		return nil
	}
	return w
}

func (w *weightsSource) close() error {
	if w.store == nil {
		return nil
	}
	return w.store.Close()
}

func (w *weightsSource) String() string {
	if w.store == nil {
		return synthetic
	}
	return fmt.Sprintf("%s (sha256 %s)", w.Path, w.SHA256)
}
