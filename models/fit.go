package models

import (
	"fmt"
	"slices"
	"strings"
)

// A WeightStore is a source of weights that can say what it has.
type WeightStore interface {
	WeightSource
	// Keys lists the tensors that can be loaded.
	Keys() []string
	// Shape is that of a tensor; false where there is none of that name.
	Shape(key string) (Shape, bool)
}

// A naming is one way in which files keep the weights of a network.
type naming struct {
	name string // empty: the keys of Network.Params
	// stored lists the tensors of such a file, without num_batches_tracked.
	stored []Param
	// derive gives the network's own parameters from the stored ones; nil: they are
	// the same.
	derive func(WeightSource) WeightSource
	// epsilon is that of the batch norms in the implementation whose keys these are; 0:
	// the network's own.
	epsilon float64
}

// WithWeights gives the network with weights from a store, which must stay open
// as long as the network is used. The store's keys may follow any naming in use
// for the network; the one that fits most of them is used. A network of the zoo is to
// be as New gives it, not folded. Its batch norms get the epsilon of the naming's own
// models; weights that were ported to it from elsewhere, such as timm's tf_efficientnet
// ones, which had another epsilon and padding, cannot be told by their keys.
//
// A tensor that is missing, has another shape or is not the network's gives a
// *FitError that lists all of them.
func WithWeights(n *Network, store WeightStore) (*Network, error) {
	namings := []naming{{stored: n.Params()}}
	if n.namings != nil {
		namings = n.namings()
	}
	best, most := namings[0], -1
	for _, naming := range namings {
		found := 0
		for _, p := range naming.stored {
			if _, ok := store.Shape(p.Key); ok {
				found++
			}
		}
		if found > most {
			best, most = naming, found
		}
	}
	if err := fit(n.Name, best, store); err != nil {
		return nil, err
	}
	out := *n
	out.Weights = store
	if best.derive != nil {
		out.Weights = best.derive(store)
	}
	if best.epsilon != 0 {
		out.Nodes = slices.Clone(n.Nodes)
		for i, node := range out.Nodes {
			if norm, ok := node.Op.(BatchNorm); ok {
				norm.Epsilon = best.epsilon
				out.Nodes[i].Op = norm
			}
		}
	}
	return &out, nil
}

// A FitError lists the tensors in which a file does not fit a network.
type FitError struct {
	Network string
	Origin  string // of the weights
	Naming  string // of the keys that were expected, empty for the network's own
	// Missing are keys that the network needs, Extra those that it does not know.
	Missing, Extra []string
	Misshaped      []Misshaped
	nearest        map[string]string // for the keys that the message shows
}

// Misshaped is a tensor of the wrong shape.
type Misshaped struct {
	Key       string
	Got, Want Shape
}

// shownMisfits is how many tensors of each kind a message names.
const shownMisfits = 8

func fit(network string, naming naming, store WeightStore) error {
	e := &FitError{Network: network, Origin: store.Origin(), Naming: naming.name, nearest: map[string]string{}}
	has := map[string]bool{}
	for _, key := range store.Keys() {
		has[key] = true
	}
	wanted := make(map[string]bool, len(naming.stored))
	for _, p := range naming.stored {
		wanted[p.Key] = true
		if got, _ := store.Shape(p.Key); !has[p.Key] {
			e.Missing = append(e.Missing, p.Key)
		} else if !got.Equal(p.Shape) {
			e.Misshaped = append(e.Misshaped, Misshaped{p.Key, got, p.Shape})
		}
	}
	for _, key := range store.Keys() {
		if !wanted[key] {
			e.Extra = append(e.Extra, key)
		}
	}
	if len(e.Missing)+len(e.Extra)+len(e.Misshaped) == 0 {
		return nil
	}
	e.look(e.Missing, e.Extra, store.Keys())
	all := make([]string, len(naming.stored))
	for i, p := range naming.stored {
		all[i] = p.Key
	}
	e.look(e.Extra, e.Missing, all)
	return e
}

// look finds the nearest of the keys that have no partner yet, or of all.
func (e *FitError) look(keys, candidates, all []string) {
	if len(candidates) == 0 {
		candidates = all
	}
	// A file may hold anything; comparing names takes time with their lengths.
	const longest, most = 200, 4096
	var near []string
	for _, c := range candidates {
		if len(c) <= longest && len(near) < most {
			near = append(near, c)
		}
	}
	for _, key := range keys[:min(len(keys), shownMisfits)] {
		if found := Nearest(key, near); len(key) <= longest && len(found) > 0 {
			e.nearest[key] = found[0]
		}
	}
}

func (e *FitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "fit %s to %s", e.Origin, e.Network)
	if e.Naming != "" {
		fmt.Fprintf(&b, " (%s)", e.Naming)
	}
	fmt.Fprintf(&b, ": %d tensors missing, %d of another shape, %d unknown", len(e.Missing), len(e.Misshaped), len(e.Extra))
	list := func(what string, n int, line func(i int) string) {
		for i := range min(n, shownMisfits) {
			fmt.Fprintf(&b, "\n  %s %s", what, line(i))
		}
		if n > shownMisfits {
			fmt.Fprintf(&b, "\n  … and %d more %s", n-shownMisfits, what)
		}
	}
	key := func(keys []string, has string) func(int) string {
		return func(i int) string {
			if near, ok := e.nearest[keys[i]]; ok {
				return fmt.Sprintf("%s (nearest that %s: %s)", shorten(keys[i]), has, shorten(near))
			}
			return shorten(keys[i])
		}
	}
	list("missing", len(e.Missing), key(e.Missing, "the file has"))
	list("misshaped", len(e.Misshaped), func(i int) string {
		m := e.Misshaped[i]
		return fmt.Sprintf("%s: %v, want %v", shorten(m.Key), m.Got, m.Want)
	})
	list("unknown", len(e.Extra), key(e.Extra, "the network has"))
	return b.String()
}

// namings lists the ways in which the weights of the network are kept.
func (d definition) namings() []naming {
	own := d.params(d.build)
	if d.derive != nil {
		return []naming{
			{name: "training form", stored: d.training(), derive: d.derive},
			{name: "deployed form", stored: own},
		}
	}
	list := []naming{{stored: own}}
	for _, other := range d.others {
		stored := d.params(other.build)
		names := make(map[string]string, len(own))
		for i, p := range own {
			names[p.Key] = stored[i].Key
		}
		list = append(list, naming{other.name, stored, func(s WeightSource) WeightSource { return renamed{s, names} }, other.epsilon})
	}
	return list
}

// params lists the tensors of the network that build makes.
func (d definition) params(build func(*builder)) []Param {
	b := newBuilder(d.name, d.resolution)
	build(b)
	if b.err != nil {
		// A mistake in a family's literals, which no input can cause.
		panic(fmt.Errorf("build %s: %w", d.name, b.err))
	}
	return b.net.Params()
}

// renamed loads parameters under other keys.
type renamed struct {
	WeightSource
	names map[string]string
}

func (r renamed) Load(p Param, dst []float32) error {
	if name, ok := r.names[p.Key]; ok {
		p.Key = name
	}
	return r.WeightSource.Load(p, dst)
}
