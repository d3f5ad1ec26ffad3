package models

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Info describes a network of the zoo at its own resolution.
type Info struct {
	Name       string `json:"name"`
	Family     string `json:"family"`
	Source     string `json:"source"`     // of the architecture
	Resolution int    `json:"resolution"` // input height and width
	Params     int64  `json:"params"`     // see Cost
	MACs       int64  `json:"macs"`       // see Cost
	// Top1 is a published ImageNet-1k accuracy in percent, nil where none is known
	// for this network at this resolution. It is quoted, never measured here.
	Top1       *float64 `json:"top1"`
	Top1Source string   `json:"top1_source"`
}

// An UnknownModelError says that the zoo has no network of that name.
type UnknownModelError struct {
	Name    string
	Nearest []string // names of the zoo, nearest first; never empty
}

func (e *UnknownModelError) Error() string {
	return fmt.Sprintf("find model %q: there is none of that name, the nearest are %s; `genbench list models` shows all", e.Name, strings.Join(e.Nearest, ", "))
}

// A ResolutionError says which images a network takes.
type ResolutionError struct {
	Model      string
	Resolution int
	Smallest   int // resolution that works
	Own        int // the network's own
	Err        error
}

func (e *ResolutionError) Error() string {
	return fmt.Sprintf("build %s at resolution %d: %v; the smallest that works is %d, its own is %d", e.Model, e.Resolution, e.Err, e.Smallest, e.Own)
}

func (e *ResolutionError) Unwrap() error { return e.Err }

// maxResolution keeps a slip of the keyboard from asking for terabytes: at 4096
// the first activation of a ResNet already takes a gigabyte per image.
const maxResolution = 4096

// A definition is a network of the zoo.
type definition struct {
	name, family, source string
	resolution           int
	top1                 accuracy
	build                func(*builder)
	// derive gives the network's weights from those of its training form; nil: they
	// are the same.
	derive func(WeightSource) WeightSource
	// training lists the tensors of that form; nil without derive.
	training func() []Param
	// others are other namings of the weights in use.
	others []otherKeys
}

// otherKeys builds the same network under other state-dict keys.
type otherKeys struct {
	name    string // "timm"
	epsilon float64
	build   func(*builder)
}

// definitions lists the zoo by family.
func definitions() []definition {
	return slices.Concat(
		genets(),
		resnets(),
		mobilenets(),
		efficientnets(),
		searched(),
		ofanets(),
		dnanets(),
		dfnets(),
		regnets(),
		ghostnets(),
		shufflenets(),
		densenets(),
		vggs(),
		repvggs(),
		zennets(),
	)
}

// aliases are other names in use; the key is in the form that plain gives.
func aliases() map[string]string {
	return map[string]string{
		"genetlight":  "genet-small", // the paper's name; the authors' code says small
		"gernets":     "genet-small", // timm
		"gernetm":     "genet-normal",
		"gernetl":     "genet-large",
		"mobilenetv2": "mobilenetv2-1.0",
	}
}

// List describes all networks, by family.
func List() []Info {
	defs := definitions()
	infos := make([]Info, len(defs))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(defs); i = int(next.Add(1)) - 1 {
				info, err := defs[i].info()
				if err != nil {
					// A mistake in a family's literals, which no input can cause.
					panic(err)
				}
				infos[i] = info
			}
		})
	}
	wg.Wait()
	return infos
}

// Lookup describes one network. Names are taken as in New.
func Lookup(name string) (Info, error) {
	d, err := lookup(name)
	if err != nil {
		return Info{}, err
	}
	return d.info()
}

func (d definition) info() (Info, error) {
	n, shapes, err := d.network(d.resolution)
	if err != nil {
		return Info{}, fmt.Errorf("build %s: %w", d.name, err)
	}
	c := countCost(n, shapes)
	info := Info{
		Name: d.name, Family: d.family, Source: d.source, Resolution: d.resolution,
		Params: c.Params, MACs: c.MACs, Top1Source: d.top1.source,
	}
	if d.top1.percent > 0 {
		info.Top1 = &d.top1.percent
	}
	return info, nil
}

// New builds a network of the zoo with Synthetic weights. Resolution 0 is the
// network's own. Case and separators in the name do not matter.
//
// An unknown name gives an *UnknownModelError, a resolution that the network
// cannot take a *ResolutionError.
func New(name string, resolution int) (*Network, error) {
	d, err := lookup(name)
	if err != nil {
		return nil, err
	}
	if resolution == 0 {
		resolution = d.resolution
	}
	n, _, err := d.network(resolution)
	if err == nil {
		return n, nil
	}
	smallest := 1
	for smallest < d.resolution {
		if _, _, err := d.network(smallest); err == nil {
			break
		}
		smallest++
	}
	return nil, &ResolutionError{Model: d.name, Resolution: resolution, Smallest: smallest, Own: d.resolution, Err: err}
}

// network builds the network, and gives its shapes at batch 1.
func (d definition) network(resolution int) (*Network, []Shape, error) {
	switch {
	case resolution < 1:
		return nil, nil, errors.New("an image has at least one pixel")
	case resolution > maxResolution:
		return nil, nil, fmt.Errorf("the largest is %d", maxResolution)
	}
	b := newBuilder(d.name, resolution)
	d.build(b)
	if b.err != nil {
		return nil, nil, b.err
	}
	b.net.Weights, b.net.namings = Synthetic(), d.namings
	if d.derive != nil {
		b.net.Weights = d.derive(b.net.Weights)
	}
	return b.net, b.shapes, nil
}

func lookup(name string) (definition, error) {
	defs := definitions()
	wanted := plain(name)
	if a, ok := aliases()[wanted]; ok {
		wanted = plain(a)
	}
	for _, d := range defs {
		if plain(d.name) == wanted {
			return d, nil
		}
	}
	names := make([]string, len(defs))
	for i, d := range defs {
		names[i] = d.name
	}
	return definition{}, &UnknownModelError{Name: name, Nearest: Nearest(name, names)}
}

// Nearest gives the candidates that a mistyped name may have meant, the likeliest
// first: at most three, and one at least if there are candidates. Case and
// separators do not count.
func Nearest(name string, candidates []string) []string {
	matches := ranked(name, candidates)
	names := make([]string, 0, 3)
	for _, m := range matches[:min(len(matches), cap(names))] {
		names = append(names, m.name)
	}
	return names
}

// Likely gives the candidate that a mistyped name must have meant, where there is one:
// none that takes changing more than half of the name's letters.
func Likely(name string, candidates []string) (string, bool) {
	matches := ranked(name, candidates)
	if len(matches) == 0 || matches[0].score > len(plain(name)) {
		return "", false
	}
	return matches[0].name, true
}

// A match is a candidate and how far it is from a name.
type match struct {
	name  string
	score int // twice the letters to be changed
}

// ranked sorts candidates by how far they are from a name.
func ranked(name string, candidates []string) []match {
	wanted := plain(name)
	matches := make([]match, len(candidates))
	for i, c := range candidates {
		p := plain(c)
		score := 2 * distance(wanted, p)
		// Part of a name, or its letters in order, is a better guess than a name
		// of the same length that happens to share some: "resnet" means resnet-50,
		// not regnet, and "trt" means tensorrt.
		switch {
		case wanted == "":
		case strings.Contains(p, wanted):
			score = min(score, 1)
		case abbreviates(wanted, p):
			score = min(score, 2)
		}
		matches[i] = match{c, score}
	}
	slices.SortStableFunc(matches, func(a, b match) int { return a.score - b.score })
	return matches
}

// abbreviates reports whether the letters of a are in b, in order.
func abbreviates(a, b string) bool {
	for i := 0; i < len(b) && a != ""; i++ {
		if a[0] == b[i] {
			a = a[1:]
		}
	}
	return a == ""
}

// plain takes case and separators out of a name.
func plain(name string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name))
}

// distance is Levenshtein's: the fewest insertions, deletions and replacements
// that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
