package bench

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"genbench/models"
)

// A Point is one cell of the grid: what is measured, apart from the machine it
// is measured on. It is comparable and so serves as a map key.
type Point struct {
	Model      string `json:"model"`
	Engine     string `json:"engine"`
	Precision  string `json:"precision"`
	Batch      int    `json:"batch"`      // images per inference
	Resolution int    `json:"resolution"` // input height and width; 0 for a file without one image, or that was not opened
	// Graph says how an inference is submitted to a GPU (M5), one of GraphModes; empty
	// where nobody asked, which leaves it to the engine.
	Graph string `json:"graph,omitempty"`
	// Cache says what an inference finds in a GPU's cache (M6), one of CacheModes; empty
	// where nobody asked, which is what the inference before it left there.
	Cache string `json:"cache,omitempty"`
	// Gap is how long the device idles before every inference (W5); 0 runs them
	// back to back.
	Gap time.Duration `json:"gap_ns,omitempty"`
}

// String is the point's id in journals and on the command line:
// MODEL@RESOLUTION/ENGINE/PRECISION/bBATCH[/graph=…][/cache=…][/gap=…]. A file
// without a resolution is named only by its path.
func (p Point) String() string {
	s := p.Model
	if p.Resolution != 0 || !models.IsFile(p.Model) {
		s += "@" + strconv.Itoa(p.Resolution)
	}
	s += fmt.Sprintf("/%s/%s/b%d", p.Engine, p.Precision, p.Batch)
	if p.Graph != "" {
		s += "/graph=" + p.Graph
	}
	if p.Cache != "" {
		s += "/cache=" + p.Cache
	}
	if p.Gap != 0 {
		s += "/gap=" + p.Gap.String()
	}
	return s
}

// ParsePoint reads what String wrote. A model's name may itself hold slashes and
// at signs, so the id is read from its end.
func ParsePoint(s string) (Point, error) {
	var p Point
	bad := func(what string) (Point, error) {
		return Point{}, fmt.Errorf("parse point %q: %s; want MODEL@RESOLUTION/ENGINE/PRECISION/bBATCH", s, what)
	}
	rest := s
	last := func() (field string, ok bool) {
		i := strings.LastIndexByte(rest, '/')
		if i < 0 {
			return "", false
		}
		field, rest = rest[i+1:], rest[:i]
		return field, true
	}
	field, ok := last()
	for ; ok; field, ok = last() {
		if v, found := strings.CutPrefix(field, "gap="); found && p.Gap == 0 && p.Cache == "" && p.Graph == "" {
			gap, err := time.ParseDuration(v)
			if err != nil || gap <= 0 {
				return bad("no gap")
			}
			p.Gap = gap
		} else if v, found := strings.CutPrefix(field, "cache="); found && p.Cache == "" && p.Graph == "" {
			p.Cache = v
		} else if v, found := strings.CutPrefix(field, "graph="); found && p.Graph == "" {
			p.Graph = v
		} else {
			break
		}
	}
	batch, found := strings.CutPrefix(field, "b")
	n, err := strconv.Atoi(batch)
	if !ok || !found || err != nil || n < 1 {
		return bad("no batch")
	}
	p.Batch = n
	if p.Precision, ok = last(); !ok || p.Precision == "" {
		return bad("no precision")
	}
	if p.Engine, ok = last(); !ok || p.Engine == "" {
		return bad("no engine")
	}
	p.Model = rest
	if !models.IsFile(rest) {
		at := strings.LastIndexByte(rest, '@')
		if at < 1 {
			return bad("no resolution")
		}
		if p.Resolution, err = strconv.Atoi(rest[at+1:]); err != nil || p.Resolution < 0 {
			return bad("no resolution")
		}
		p.Model = rest[:at]
	}
	if p.String() != s {
		return bad("not in its usual form")
	}
	return p, nil
}
