package reports

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"genbench/bench"
)

// mostDots bounds the dots of a figure; beyond it an SVG becomes slow to open and
// shows nothing more.
const mostDots = 5000

// samplesPicture shows every sample against its point's median, launch by launch:
// where a bare mean would hide two modes, a drift or a few slow ones.
func samplesPicture(r *bench.Result) (picture, error) {
	p := picture{name: "samples", subject: "the distribution of samples"}
	rows := usableRows(r)
	if len(rows) == 0 {
		p.skipped = noNumbers(r)
		return p, nil
	}
	naming := namingOf(rows)
	bands := 0
	for _, row := range rows {
		bands += len(launchesOf(row))
	}
	most := max(8, mostDots/bands)

	x := extent{-1, 1}
	for _, row := range rows {
		for _, end := range span(row.Latency, 100/row.Latency.Value) {
			x.include(end - 100)
		}
		for _, round := range row.Rounds {
			for _, ns := range round.DeviceNS {
				x.include(deviation(ns, row))
			}
		}
	}
	pl := newPanel()
	deviationAxis(&pl.X, x)
	pl.x = "device time of a sample against its point's median latency (%)"
	rowAxis(pl.Plot, rows, naming)
	for i, t := range pl.Y.Tick.Marker.Ticks(0, 0) {
		t.Label += fmt.Sprintf("  batch %d", rows[i].Point.Batch)
		pl.Y.Tick.Marker.(plot.ConstantTicks)[i] = t
	}
	dropped := slices.ContainsFunc(rows, func(r row) bool { return r.Dropped() > 0 })
	pl.Add(painter(func(c draw.Canvas, p *plot.Plot) { drawSamples(c, p, rows, most) }))

	lane := vg.Length(0) // height of a row
	for _, row := range rows {
		lane = max(lane, clamp(vg.Length(len(launchesOf(row)))*4+7, 14, 40))
	}
	if len(rows) > 40 {
		lane = 11 // as little as the names need
	}
	f := figure{
		title:    "Every sample against its point's median",
		subtitle: naming.with("Each band is a launch, each dot a sample, the upright line the launch's median, the shade the 95 % interval over launches. The scale is linear within ±1 % and logarithmic beyond"),
		note:     provenance(r),
		height:   vg.Length(len(rows))*lane + 50,
		draw:     func(c draw.Canvas) { pl.drawAlone(inset(c)) },
	}
	if dropped {
		f.subtitle += ". Crosses are samples of dropped rounds"
	}
	var err error
	p.png, p.svg, err = f.render()
	p.alt = fmt.Sprintf("Strip chart of the samples of %s, launch by launch, as deviations from the point's median latency", count(len(rows), "point"))
	p.caption = fmt.Sprintf("Device time of each sample against its point's median. Bands that lie apart differ between launches; dots far to the right are slow samples. Of a launch with more than %d samples only that many are drawn, spaced evenly by rank and including the extremes.", most)
	return p, err
}

// launchesOf lists the launches in which a point was visited.
func launchesOf(r row) []int {
	var launches []int
	for _, round := range r.Rounds {
		if !slices.Contains(launches, round.Launch) {
			launches = append(launches, round.Launch)
		}
	}
	slices.Sort(launches)
	return launches
}

// deviation is by how many percent a sample differs from its point's latency.
func deviation(ns int64, r row) float64 { return 100 * (float64(ns)/r.Latency.Value - 1) }

// A deviationScale is linear near zero and logarithmic far from it, so that both
// the width of a distribution and its slowest samples can be seen.
type deviationScale struct{}

func (deviationScale) Normalize(low, high, v float64) float64 {
	return (math.Asinh(v) - math.Asinh(low)) / (math.Asinh(high) - math.Asinh(low))
}

// deviationAxis sets an axis to percent deviations.
func deviationAxis(a *plot.Axis, e extent) {
	const room = 0.15 // of asinh, on each side
	a.Min, a.Max = math.Sinh(math.Asinh(e.low)-room), math.Sinh(math.Asinh(e.high)+room)
	a.Scale = deviationScale{}
	a.Tick.Marker = plot.TickerFunc(deviationTicks)
}

// deviationTicks marks zero and round values on both sides of it, the more of them
// the shorter the range.
func deviationTicks(low, high float64) []plot.Tick {
	const apart = 0.06 // of the axis, so that numbers do not touch
	var ticks []plot.Tick
	for _, sizes := range [][]float64{
		{1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4},
		{1, 10, 100, 1e3, 1e4, 1e5, 1e6},
		{10, 100, 1e3, 1e4, 1e5, 1e6, 1e7},
		{100, 1e4, 1e6, 1e8},
	} {
		ticks = []plot.Tick{{Value: 0, Label: "0"}}
		for _, size := range sizes {
			if -size >= low {
				ticks = slices.Insert(ticks, 0, plot.Tick{Value: -size, Label: fmt.Sprintf("%+g", -size)})
			}
			if size <= high {
				ticks = append(ticks, plot.Tick{Value: size, Label: fmt.Sprintf("%+g", size)})
			}
		}
		crowded := false
		for i := 1; i < len(ticks); i++ {
			scale := deviationScale{}
			crowded = crowded || scale.Normalize(low, high, ticks[i].Value)-scale.Normalize(low, high, ticks[i-1].Value) < apart
		}
		if !crowded {
			break
		}
	}
	return ticks
}

func drawSamples(c draw.Canvas, p *plot.Plot, rows []row, most int) {
	tx, ty := p.Transforms(&c)
	for i, row := range rows {
		launches := launchesOf(row)
		top, bottom := ty(rowPosition(rows, i)+0.42), ty(rowPosition(rows, i)-0.42)
		if ends := span(row.Latency, 1); len(ends) == 2 {
			left, right := tx(100*(ends[0]/row.Latency.Value-1)), tx(100*(ends[1]/row.Latency.Value-1))
			c.FillPolygon(pale, []vg.Point{{X: left, Y: bottom}, {X: right, Y: bottom}, {X: right, Y: top}, {X: left, Y: top}})
		}
		band := (top - bottom) / vg.Length(len(launches))
		for j, launch := range launches {
			middle := top - (vg.Length(j)+0.5)*band
			var kept, dropped []int64
			for _, round := range row.Rounds {
				switch {
				case round.Launch != launch:
				case round.Status == bench.Dropped:
					dropped = append(dropped, round.DeviceNS...)
				default:
					kept = append(kept, round.DeviceNS...)
				}
			}
			at := func(ns []int64) []vg.Point {
				var points []vg.Point
				for k, n := range evenly(ns, most) {
					points = append(points, vg.Point{X: tx(deviation(n, row)), Y: middle + band*0.7*vg.Length(scatter(k)-0.5)})
				}
				return points
			}
			dots(c, blue, 0.8, at(kept))
			crosses(c, orange, 1.3, at(dropped))
			if len(kept) > 0 {
				slices.Sort(kept)
				x := tx(deviation(kept[len(kept)/2], row))
				c.StrokeLine2(draw.LineStyle{Color: black, Width: 1}, x, middle-band*0.45, x, middle+band*0.45)
			}
		}
	}
}

// evenly picks at most so many values by their rank, the smallest and the largest
// among them.
func evenly(ns []int64, most int) []int64 {
	sorted := slices.Clone(ns)
	slices.Sort(sorted)
	if len(sorted) <= most {
		return sorted
	}
	picked := make([]int64, most)
	for i := range picked {
		picked[i] = sorted[i*(len(sorted)-1)/(most-1)]
	}
	return picked
}

// scatter is a number between 0 and 1 for the i-th dot of a band, so that dots of
// neighbouring values do not cover each other: the radical inverse of i to base 2.
func scatter(i int) float64 {
	v, unit := 0.0, 0.5
	for ; i > 0; i >>= 1 {
		v += unit * float64(i&1)
		unit /= 2
	}
	return v
}

// dots draws many small squares as one path, which keeps an SVG small.
func dots(c draw.Canvas, color color.Color, radius vg.Length, at []vg.Point) {
	if len(at) == 0 {
		return
	}
	var path vg.Path
	for _, p := range at {
		path.Move(vg.Point{X: p.X - radius, Y: p.Y - radius})
		path.Line(vg.Point{X: p.X + radius, Y: p.Y - radius})
		path.Line(vg.Point{X: p.X + radius, Y: p.Y + radius})
		path.Line(vg.Point{X: p.X - radius, Y: p.Y + radius})
		path.Close()
	}
	c.SetColor(color)
	c.Fill(path)
}

// crosses draws many small crosses as one path.
func crosses(c draw.Canvas, color color.Color, radius vg.Length, at []vg.Point) {
	if len(at) == 0 {
		return
	}
	var path vg.Path
	for _, p := range at {
		path.Move(vg.Point{X: p.X - radius, Y: p.Y - radius})
		path.Line(vg.Point{X: p.X + radius, Y: p.Y + radius})
		path.Move(vg.Point{X: p.X - radius, Y: p.Y + radius})
		path.Line(vg.Point{X: p.X + radius, Y: p.Y - radius})
	}
	c.SetLineStyle(draw.LineStyle{Color: color, Width: 0.8})
	c.Stroke(path)
}
