package reports

import (
	"fmt"
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"genbench/bench"
)

// A naming gives points the shortest names that tell them apart: coordinates that
// all of them share stand in a figure's subtitle instead.
type naming struct {
	resolution bool // whether names need it
	differ     [len(coordinates)]bool
	shared     []string
}

// coordinates are those of a point besides its network and batch.
var coordinates = [...]func(bench.Point) string{
	func(p bench.Point) string { return p.Engine },
	func(p bench.Point) string { return p.Precision },
	func(p bench.Point) string { return labelled("graph ", p.Graph) },
	func(p bench.Point) string { return labelled("cache ", p.Cache) },
	func(p bench.Point) string {
		if p.Gap == 0 {
			return ""
		}
		return labelled("gap ", p.Gap.String())
	},
}

func labelled(label, value string) string {
	if value == "" {
		return ""
	}
	return label + value
}

func namingOf(rows []row) naming {
	// Most networks have a resolution of their own, which their names stand for.
	n := naming{resolution: ambiguous(rows)}
	for i, of := range coordinates {
		n.differ[i] = slices.ContainsFunc(rows, func(r row) bool { return of(r.Point) != of(rows[0].Point) })
		if !n.differ[i] && len(rows) > 0 && of(rows[0].Point) != "" {
			n.shared = append(n.shared, clean(of(rows[0].Point)))
		}
	}
	return n
}

// name is that of a point without its batch.
func (n naming) name(p bench.Point) string {
	return strings.Join(append([]string{n.network(p)}, n.differing(p)...), " ")
}

// network is the name of a point's network alone.
func (n naming) network(p bench.Point) string {
	if n.resolution {
		return fmt.Sprintf("%s@%d", shorten(p.Model, longestName), p.Resolution)
	}
	return shorten(p.Model, longestName)
}

// differing are the coordinates of a point in which it differs from others.
func (n naming) differing(p bench.Point) []string {
	var parts []string
	for i, of := range coordinates {
		if n.differ[i] && of(p) != "" {
			parts = append(parts, clean(of(p)))
		}
	}
	return parts
}

// with puts the shared coordinates before a text.
func (n naming) with(s string) string {
	if len(n.shared) == 0 {
		return s
	}
	return strings.Join(n.shared, ", ") + ". " + s
}

// A look is how a family is drawn, the same in every figure of a run.
type look struct {
	color color.Color
	shape draw.GlyphDrawer
	bold  bool
}

// text is how its names are written.
func (l look) text() text.Style {
	style := textStyle(tagSize, l.color)
	if l.bold {
		bold(&style)
	}
	return style
}

// looks gives every family a colour and a shape: GENet the warm one that stands
// out, the others the rest of the palette in the order of the plan. Families
// beyond it are grey; their names stand beside them.
func looks(r *bench.Result) func(row) look {
	shapes := []draw.GlyphDrawer{draw.BoxGlyph{}, draw.PyramidGlyph{}, diamond{}, draw.BoxGlyph{}, draw.PyramidGlyph{}}
	colors := []color.Color{blue, green, purple, orange, sky}
	order := map[string]int{}
	for _, row := range rowsOf([]*bench.Result{r}) {
		if f := family(row); !isGENet(row) {
			if _, seen := order[f]; !seen {
				order[f] = len(order)
			}
		}
	}
	return func(row row) look {
		if isGENet(row) {
			return look{vermillion, draw.CircleGlyph{}, true}
		}
		i := order[family(row)]
		if i >= len(colors) {
			return look{grey, draw.CrossGlyph{}, false}
		}
		return look{colors[i], shapes[i], false}
	}
}

// family is a network's, or the network itself where the journal names none.
func family(r row) string {
	if r.Model.Family != "" {
		return r.Model.Family
	}
	return r.Point.Model
}

// diamond is a square on its tip.
type diamond struct{}

func (diamond) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, at vg.Point) {
	r := s.Radius * 1.25
	var p vg.Path
	p.Move(vg.Point{X: at.X, Y: at.Y + r})
	p.Line(vg.Point{X: at.X + r, Y: at.Y})
	p.Line(vg.Point{X: at.X, Y: at.Y - r})
	p.Line(vg.Point{X: at.X - r, Y: at.Y})
	p.Close()
	c.Fill(p)
}

// usableRows are the rows that a figure can show.
func usableRows(r *bench.Result) []row {
	return slices.DeleteFunc(rowsOf([]*bench.Result{r}), func(row row) bool { return !row.usable() })
}

// noNumbers is why there is no figure.
func noNumbers(r *bench.Result) string {
	return "no point gave a usable number (" + census(rowsOf([]*bench.Result{r})) + ")"
}
