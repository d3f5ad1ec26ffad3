package reports

import (
	"cmp"
	"fmt"
	"image/color"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"genbench/bench"
)

// latencyPicture shows latency against batch; where there is one batch alone,
// latencies side by side.
func latencyPicture(r *bench.Result) (picture, error) {
	p := picture{name: "latency", subject: "latency against batch"}
	rows := usableRows(r)
	if len(rows) == 0 {
		p.skipped = noNumbers(r)
		return p, nil
	}
	batches := batchesOf(rows)
	var f figure
	if len(batches) > 1 {
		f = againstBatch(r, rows, batches)
		p.alt = fmt.Sprintf("Line chart of latency against batch of %s, %s", count(len(lines(rows)), "line"), intervals(rows))
		p.caption = "Median device time of one inference of the whole batch, with its 95 % interval over launches where there is one and it is wider than the mark. A line that rises more slowly than the batch size shows that larger batches pay off."
	} else {
		f = sideBySide(r, rows, batches[0])
		p.alt = fmt.Sprintf("Latency of %s at batch %d, %s", count(len(rows), "point"), batches[0], intervals(rows))
		p.caption = "Median device time of one inference of the whole batch, with its 95 % interval over launches where there is one and it is wider than the mark."
	}
	var err error
	p.png, p.svg, err = f.render()
	return p, err
}

func batchesOf(rows []row) []int {
	var batches []int
	for _, r := range rows {
		if !slices.Contains(batches, r.Point.Batch) {
			batches = append(batches, r.Point.Batch)
		}
	}
	slices.Sort(batches)
	return batches
}

// lines groups rows that differ in the batch alone, each sorted by batch.
func lines(rows []row) [][]row {
	var all [][]row
	index := map[bench.Point]int{}
	for _, r := range rows {
		key := r.Point
		key.Batch = 0
		i, seen := index[key]
		if !seen {
			i = len(all)
			index[key] = i
			all = append(all, nil)
		}
		all[i] = append(all[i], r)
	}
	for _, line := range all {
		slices.SortFunc(line, func(a, b row) int { return cmp.Compare(a.Point.Batch, b.Point.Batch) })
	}
	return all
}

// tagGap is the least distance between names in a column of them.
const tagGap = 10.5

func againstBatch(r *bench.Result, rows []row, batches []int) figure {
	naming := namingOf(oneBatch(rows))
	look := looks(r)
	groups := lines(rows)
	// Those that matter most are drawn last, on top.
	slices.SortStableFunc(groups, func(a, b []row) int { return cmp.Compare(rank(look(a[0])), rank(look(b[0]))) })

	pl := newPanel()
	pl.x, pl.y = "batch (images per inference)", "median latency of one inference (ms)"
	x, y := extent{float64(batches[0]), float64(batches[len(batches)-1])}, noExtent()
	for _, row := range rows {
		y.include(span(row.Latency, 1e-6)...)
	}
	logAxis(&pl.X, x, 0.04, 9)
	pl.X.Tick.Marker = plot.ConstantTicks(batchTicks(batches))
	logAxis(&pl.Y, y, 0.05, 9)
	for _, line := range groups {
		pl.Add(overBatches(line, look(line[0])))
	}
	// A line that reaches the largest batch has its name at the right, the others
	// have it where they end.
	last := func(line []row) row { return line[len(line)-1] }
	var complete, short [][]row
	width := vg.Length(0)
	for _, line := range groups {
		if last(line).Point.Batch < batches[len(batches)-1] {
			short = append(short, line)
			continue
		}
		complete = append(complete, line)
		width = max(width, textStyle(tagSize, black, bold).Width(naming.name(line[0].Point)))
	}
	slices.SortStableFunc(complete, func(a, b []row) int { return cmp.Compare(last(a).Latency.Value, last(b).Latency.Value) })
	const leader = 16 // between the last point and the name
	return figure{
		title:    "Latency against batch",
		subtitle: naming.with("Median device time of one inference of the whole batch, " + intervals(rows) + "; both axes logarithmic"),
		note:     provenance(r),
		height:   max(3.6*vg.Inch, vg.Length(len(groups))*tagGap+50),
		draw: func(c draw.Canvas) {
			data := pl.drawAlone(draw.Crop(c, 0, -(width + leader), 0, 0))
			tx, ty := pl.Transforms(&data)
			at := func(r row) vg.Point {
				return vg.Point{X: tx(float64(r.Point.Batch)), Y: ty(r.Latency.Value / 1e6)}
			}
			var wanted []vg.Length
			for _, line := range complete {
				wanted = append(wanted, at(last(line)).Y)
			}
			for i, y := range spread(wanted, tagGap, c.Min.Y+tagSize/2, c.Max.Y-tagSize/2) {
				l := look(complete[i][0])
				c.StrokeLine2(draw.LineStyle{Color: pale, Width: 0.8}, at(last(complete[i])).X+radius(l)+1, wanted[i], data.Max.X+leader-3, y)
				writeMiddle(c, l.text(), data.Max.X+leader, y, naming.name(complete[i][0].Point))
			}
			var obstacles, drawn []vg.Rectangle
			for _, line := range groups {
				for i, row := range line {
					obstacles = append(obstacles, around(at(row), radius(look(row))+1))
					if i > 0 {
						drawn = append(drawn, along(at(line[i-1]), at(row))...)
					}
				}
			}
			var tags []tag
			for _, line := range short {
				tags = append(tags, tag{at(last(line)), naming.name(line[0].Point), look(line[0]).text()})
			}
			noteHomeless(data, placeTags(data, tags, obstacles, drawn))
		},
	}
}

// overBatches draws the latencies of one point over its batches, with their intervals.
func overBatches(line []row, l look) painter {
	return func(c draw.Canvas, p *plot.Plot) {
		tx, ty := p.Transforms(&c)
		var path []vg.Point
		for _, row := range line {
			path = append(path, vg.Point{X: tx(float64(row.Point.Batch)), Y: ty(row.Latency.Value / 1e6)})
		}
		width := vg.Length(1)
		if l.bold {
			width = 1.8
		}
		c.StrokeLines(draw.LineStyle{Color: l.color, Width: width}, path)
		for i, row := range line {
			var ends []vg.Point
			for _, end := range span(row.Latency, 1e-6) {
				ends = append(ends, vg.Point{X: path[i].X, Y: ty(end)})
			}
			mark(c, l, path[i], ends...)
		}
	}
}

// oneBatch keeps one row of each line.
func oneBatch(rows []row) []row {
	var firsts []row
	for _, line := range lines(rows) {
		firsts = append(firsts, line[0])
	}
	return firsts
}

// rank puts what stands out after what does not.
func rank(l look) int {
	if l.bold {
		return 1
	}
	return 0
}

func radius(l look) vg.Length {
	if l.bold {
		return 3.2
	}
	return 2.6
}

// batchTicks marks the batches that were measured, without labels that would touch.
func batchTicks(batches []int) []plot.Tick {
	var ticks []plot.Tick
	last := 0.0
	for _, b := range batches {
		t := plot.Tick{Value: float64(b)}
		if last == 0 || float64(b)/last >= 1.3 {
			t.Label, last = strconv.Itoa(b), float64(b)
		}
		ticks = append(ticks, t)
	}
	return ticks
}

// span are the ends of an estimate's interval, or its value where it has none.
func span(e bench.Estimate, unit float64) []float64 {
	if e.Low == nil || e.High == nil {
		return []float64{e.Value * unit}
	}
	return []float64{*e.Low * unit, *e.High * unit}
}

// intervals says which points have one.
func intervals(rows []row) string {
	with := 0
	for _, r := range rows {
		if r.Latency.Low != nil {
			with++
		}
	}
	switch with {
	case len(rows):
		return "with 95 % intervals over launches"
	case 0:
		return "without intervals, for which there are too few launches"
	}
	return "with 95 % intervals over launches where there are enough"
}

// mark draws a point with its interval, which lies along the x or the y axis. What
// is narrower than the point is hidden by it.
func mark(c draw.Canvas, l look, at vg.Point, ends ...vg.Point) {
	style := draw.LineStyle{Color: l.color, Width: 0.9}
	const half = 2.5 // of a cap
	for _, end := range ends {
		c.StrokeLine2(style, at.X, at.Y, end.X, end.Y)
		switch {
		case abs(end.X-at.X) > radius(l)+2:
			c.StrokeLine2(style, end.X, end.Y-half, end.X, end.Y+half)
		case abs(end.Y-at.Y) > radius(l)+2:
			c.StrokeLine2(style, end.X-half, end.Y, end.X+half, end.Y)
		}
	}
	// A white rim keeps points apart that overlap.
	c.DrawGlyph(draw.GlyphStyle{Color: color.White, Radius: radius(l) + 0.8, Shape: l.shape}, at)
	c.DrawGlyph(draw.GlyphStyle{Color: l.color, Radius: radius(l), Shape: l.shape}, at)
}

func abs(v vg.Length) vg.Length { return max(v, -v) }

// sideBySide is a line of its own for every point, the plan's first on top.
func sideBySide(r *bench.Result, rows []row, batch int) figure {
	naming := namingOf(rows)
	look := looks(r)
	x := noExtent()
	for _, row := range rows {
		x.include(span(row.Latency, 1e-6)...)
	}
	pl := newPanel()
	pl.x = fmt.Sprintf("median latency of one inference of %s (ms)", count(batch, "image"))
	logAxis(&pl.X, x, 0.06, 8)
	rowAxis(pl.Plot, rows, naming)
	pl.Add(painter(func(c draw.Canvas, p *plot.Plot) {
		tx, ty := p.Transforms(&c)
		for i, row := range rows {
			l := look(row)
			at := vg.Point{X: tx(row.Latency.Value / 1e6), Y: ty(rowPosition(rows, i))}
			var ends []vg.Point
			for _, end := range span(row.Latency, 1e-6) {
				ends = append(ends, vg.Point{X: tx(end), Y: at.Y})
			}
			mark(c, l, at, ends...)
		}
	}))
	return figure{
		title:    fmt.Sprintf("Latency at batch %d", batch),
		subtitle: naming.with(fmt.Sprintf("Median device time of one inference of %s, %s", count(batch, "image"), intervals(rows))),
		note:     provenance(r),
		height:   vg.Length(len(rows))*14 + 56,
		draw:     func(c draw.Canvas) { pl.drawAlone(inset(c)) },
	}
}

// inset leaves room at the right for half a tick label.
func inset(c draw.Canvas) draw.Canvas { return draw.Crop(c, 0, -14, 0, 0) }

// rowAxis gives every row a line on the y axis, with its name.
func rowAxis(p *plot.Plot, rows []row, naming naming) {
	p.Y.Min, p.Y.Max = 0, float64(len(rows))
	var ticks []plot.Tick
	for i, row := range rows {
		ticks = append(ticks, plot.Tick{Value: rowPosition(rows, i), Label: naming.name(row.Point)})
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.Y.Tick.Length = 0
	p.Y.Tick.Label.Font.Size = tagSize
}

// rowPosition is the middle of a row's line, the first at the top.
func rowPosition(rows []row, i int) float64 { return float64(len(rows)-i) - 0.5 }
