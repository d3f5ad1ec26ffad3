package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"genbench/bench"
)

// mostPanels is how many panels the figure of accuracy has room for.
const mostPanels = 6

// accuracyPicture shows what the paper is about: published top-1 against the time
// an image takes, one panel for what may be compared.
func accuracyPicture(r *bench.Result) (picture, error) {
	p := picture{name: "accuracy", subject: "published top-1 against latency per image"}
	rows := slices.DeleteFunc(usableRows(r), func(r row) bool { return r.Model.Top1 == nil })
	if len(rows) == 0 {
		p.skipped = noNumbers(r)
		if len(usableRows(r)) > 0 {
			p.skipped = "no measured network has a published top-1"
		}
		return p, nil
	}
	if len(slices.CompactFunc(slices.Clone(rows), func(a, b row) bool { return a.Point.Model == b.Point.Model })) < 2 {
		p.skipped = "there is only one network, and a comparison needs two"
		return p, nil
	}
	panels := panelsOf(rows)
	left := 0
	if len(panels) > mostPanels {
		panels, left = outermost(panels), len(panels)-mostPanels
	}
	f := accuracyFigure(r, rows, panels)
	var err error
	p.png, p.svg, err = f.render()
	p.alt = fmt.Sprintf("Scatter chart of published ImageNet top-1 against measured latency per image, %s, with the Pareto front", count(len(panels), "panel"))
	p.caption = "Towards the top left is better. The dashed stairs are the Pareto front by the medians: no measured network is both faster and more accurate; where intervals overlap, another run may draw it differently. " +
		"Top-1 is published, not measured, for each network at its own resolution with its trained weights; latency is measured."
	if left > 0 {
		p.caption += fmt.Sprintf(" There was no room for %s of the grid; the tables have them.", countOf(left, "further panel", "further panels"))
	}
	return p, err
}

// panelsOf groups rows that may be compared, small batches first.
func panelsOf(rows []row) [][]row {
	var panels [][]row
	for _, r := range byBatch(rows) {
		i := slices.IndexFunc(panels, func(p []row) bool { return alike(p[0].Point, r.Point) })
		if i < 0 {
			i = len(panels)
			panels = append(panels, nil)
		}
		panels[i] = append(panels[i], r)
	}
	return panels
}

// outermost keeps the first and the last panels: the smallest and largest batches.
func outermost(panels [][]row) [][]row {
	return slices.Concat(panels[:mostPanels/2], panels[len(panels)-mostPanels/2:])
}

func accuracyFigure(r *bench.Result, rows []row, panels [][]row) figure {
	look := looks(r)
	naming := namingOf(rows)
	cols := min(2, len(panels))
	tiles := draw.Tiles{Cols: cols, Rows: (len(panels) + cols - 1) / cols, PadX: 14, PadY: 12}

	// One scale for all panels, so that batches can be compared at a glance.
	x, top1 := noExtent(), noExtent()
	for _, row := range slices.Concat(panels...) {
		x.include(span(row.Latency, 1e-6/float64(row.Point.Batch))...)
		top1.include(*row.Model.Top1)
	}
	drawn := make([]*panel, len(panels))
	for i, rows := range panels {
		p := newPanel()
		if len(panels) > 1 {
			point := rows[0].Point
			p.title = strings.Join(append([]string{fmt.Sprintf("batch %d", point.Batch)}, naming.differing(point)...), ", ")
		}
		logAxis(&p.X, x, 0.12, 6)
		linearAxis(&p.Y, top1, 0.08, 8)
		p.x = fmt.Sprintf("latency per image at batch %d (ms)", rows[0].Point.Batch)
		if i%cols == 0 {
			p.y = "published ImageNet top-1 (%)"
		}
		p.Add(accuracyPanel(rows, look, naming))
		drawn[i] = p
	}
	height := vg.Length(3.9 * vg.Inch)
	if len(panels) > 1 {
		height = vg.Length(tiles.Rows) * 3.1 * vg.Inch
	}
	return figure{
		title:    "Published top-1 against measured latency per image",
		subtitle: naming.with("Median device time of one inference over its images, " + intervals(rows) + "; top-1 is published for each network at its own resolution, not measured"),
		note:     provenance(r),
		height:   height,
		draw: func(c draw.Canvas) {
			c = inset(c)
			for i, p := range drawn {
				p.drawAlone(tiles.At(c, i%cols, i/cols))
			}
		},
	}
}

// accuracyPanel draws the points of one panel, family lines and front below them.
func accuracyPanel(panel []row, look func(row) look, naming naming) painter {
	return func(c draw.Canvas, p *plot.Plot) {
		tx, ty := p.Transforms(&c)
		at := func(r row) vg.Point {
			return vg.Point{X: tx(r.Latency.Value / 1e6 / float64(r.Point.Batch)), Y: ty(*r.Model.Top1)}
		}
		var obstacles, drawn []vg.Rectangle

		front := paretoFront(panel)
		stairs := []vg.Point{{X: at(front[0]).X, Y: c.Min.Y}}
		for i, r := range front {
			if i > 0 {
				stairs = append(stairs, vg.Point{X: at(r).X, Y: at(front[i-1]).Y})
			}
			stairs = append(stairs, at(r))
		}
		stairs = append(stairs, vg.Point{X: c.Max.X, Y: at(front[len(front)-1]).Y})
		c.StrokeLines(draw.LineStyle{Color: grey, Width: 0.8, Dashes: []vg.Length{3, 2.5}}, stairs)
		for i := 1; i < len(stairs); i++ {
			drawn = append(drawn, along(stairs[i-1], stairs[i])...)
		}

		for _, members := range familiesOf(panel) {
			if !slices.IsSortedFunc(members, func(a, b row) int { return cmp.Compare(*a.Model.Top1, *b.Model.Top1) }) {
				continue // a zigzag would show no trade of time for accuracy
			}
			l := look(members[0])
			width := vg.Length(0.7)
			if l.bold {
				width = 1.6
			}
			var path []vg.Point
			for i, r := range members {
				path = append(path, at(r))
				if i > 0 {
					drawn = append(drawn, along(path[i-1], path[i])...)
				}
			}
			c.StrokeLines(draw.LineStyle{Color: l.color, Width: width}, path)
		}

		ordered := slices.Clone(panel)
		slices.SortStableFunc(ordered, func(a, b row) int { return cmp.Compare(rank(look(a)), rank(look(b))) })
		for _, r := range ordered {
			l := look(r)
			box := around(at(r), radius(l)+1)
			var ends []vg.Point
			for _, end := range span(r.Latency, 1e-6/float64(r.Point.Batch)) {
				ends = append(ends, vg.Point{X: tx(end), Y: at(r).Y})
				box.Min.X, box.Max.X = min(box.Min.X, tx(end)), max(box.Max.X, tx(end))
			}
			mark(c, l, at(r), ends...)
			obstacles = append(obstacles, box)
		}

		// The names that matter most choose their places first: GENet, then the front.
		slices.SortStableFunc(ordered, func(a, b row) int {
			if d := cmp.Compare(rank(look(b)), rank(look(a))); d != 0 {
				return d
			}
			return cmp.Compare(index(front, a), index(front, b))
		})
		var tags []tag
		for _, r := range ordered {
			tags = append(tags, tag{at(r), naming.network(r.Point), look(r).text()})
		}
		noteHomeless(c, placeTags(c, tags, obstacles, drawn))
	}
}

// index is where a row stands in a list, or its length.
func index(list []row, r row) int {
	if i := slices.IndexFunc(list, func(x row) bool { return x.Measurement == r.Measurement }); i >= 0 {
		return i
	}
	return len(list)
}

// paretoFront are the rows that no other beats in both, the fastest first.
func paretoFront(rows []row) []row {
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(a, b row) int {
		if d := cmp.Compare(a.Latency.Value, b.Latency.Value); d != 0 {
			return d
		}
		return cmp.Compare(*b.Model.Top1, *a.Model.Top1)
	})
	var front []row
	for _, r := range sorted {
		if len(front) == 0 || *r.Model.Top1 > *front[len(front)-1].Model.Top1 {
			front = append(front, r)
		}
	}
	return front
}

// familiesOf groups a panel's rows by family, each sorted by latency.
func familiesOf(rows []row) [][]row {
	var families [][]row
	for _, r := range rows {
		i := slices.IndexFunc(families, func(f []row) bool { return family(f[0]) == family(r) })
		if i < 0 {
			i = len(families)
			families = append(families, nil)
		}
		families[i] = append(families[i], r)
	}
	for _, f := range families {
		slices.SortStableFunc(f, func(a, b row) int { return cmp.Compare(a.Latency.Value, b.Latency.Value) })
	}
	return families
}
