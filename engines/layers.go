package engines

import (
	"context"
	"errors"
	"strings"
	"unicode"
)

// A LayerTimer is a session that can say how long each of its layers takes. Asking
// slows inferences down, because each layer ends before the next begins and clocks are
// read in between: it is for a pass of its own, from which no latency is taken.
type LayerTimer interface {
	// TimeLayers runs that many inferences, each to its end, and gives the layers in
	// the order of their execution. The session must have been built for it
	// (BuildOptions.Layers). Where the engine has no way to time them here the error is
	// ErrNoLayers, with the reason.
	TimeLayers(ctx context.Context, inferences int) ([]Layer, error)
}

// ErrNoLayers says that an engine cannot say how long its layers take.
var ErrNoLayers = errors.New("its layers cannot be timed")

// A Layer is what an engine runs as one piece: a node of the network, or several that
// it fused.
type Layer struct {
	Name string `json:"name"` // the engine's
	// Kind is the engine's word for what the layer does, such as "Conv"; empty where
	// it has none.
	Kind string `json:"kind,omitempty"`
	// Precision that it computes in; empty where that is not known, or nothing is
	// computed.
	Precision string `json:"precision,omitempty"`
	// Origins are words that may name nodes of the network that the layer was made of.
	Origins []string `json:"-"`
	// DeviceNS is what the layer took, in nanoseconds, once for each inference.
	DeviceNS []int64 `json:"device_ns"`
}

// Words splits an engine's name for a layer into what may be names of nodes, which
// engines join by spaces, commas, signs and brackets.
func Words(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-/:", r)
	})
}
