package reports

import (
	"cmp"
	"fmt"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"genbench/bench"
)

// mostCounters is how many counters have room under the samples.
const mostCounters = 6

// timelinePicture shows the run from beginning to end: all samples above, what the
// machine was doing below, on one time axis.
func timelinePicture(r *bench.Result) (picture, error) {
	p := picture{name: "timeline", subject: "samples and counters over time"}
	rounds := timedRounds(r)
	if len(rounds) == 0 {
		p.skipped = noNumbers(r)
		return p, nil
	}
	all := counters(r)
	left := 0
	if len(all) > mostCounters {
		all, left = all[:mostCounters], len(all)-mostCounters
	}
	f := timelineFigure(r, rounds, all)
	var err error
	p.png, p.svg, err = f.render()
	p.alt = fmt.Sprintf("Timeline of %s over the run, with launches marked, above %s", count(len(rounds), "round"), count(len(all), "counter"))
	p.caption = "Each column of dots is a round. Dots that rise together in several rounds are the machine's doing, not a network's."
	switch {
	case len(all) == 0:
		p.caption += " The journal holds no readings of counters."
	case left > 0:
		p.caption += fmt.Sprintf(" There was no room for %s.", count(left, "further counter"))
	}
	return p, err
}

// A timed round is one with its row.
type timed struct {
	*bench.RoundRecord
	row row
}

// timedRounds lists the rounds of all usable points in the order they were taken,
// without those of which a clock that went backwards left no sample.
func timedRounds(r *bench.Result) []timed {
	var all []timed
	for _, row := range usableRows(r) {
		for _, round := range row.Rounds {
			if len(round.DeviceNS) > 0 {
				all = append(all, timed{round, row})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b timed) int { return cmp.Compare(a.Start, b.Start) })
	return all
}

// sampleTimes are the ends of a round's samples, seconds from the start of the run: a
// sample is the mean of so many inferences, and a gap comes before each.
func (t timed) sampleTimes() []float64 {
	each := t.HostNS
	if len(each) != len(t.DeviceNS) {
		each = t.DeviceNS // a host device has one time
	}
	times := make([]float64, len(each))
	at := t.Start
	for i, ns := range each {
		at += ns*int64(max(1, t.AmortisedOver)) + t.row.Point.Gap.Nanoseconds()
		times[i] = float64(at) / 1e9
	}
	return times
}

func timelineFigure(r *bench.Result, rounds []timed, all []series) figure {
	x, y := noExtent(), extent{-1, 1}
	for _, t := range rounds {
		times := t.sampleTimes()
		x.include(float64(t.Start)/1e9, times[len(times)-1])
		for _, ns := range t.DeviceNS {
			y.include(deviation(ns, t.row))
		}
	}
	for _, s := range all {
		for _, p := range s.points {
			x.include(p.at)
		}
	}

	top := newPanel()
	deviationAxis(&top.Y, y)
	top.y = "sample against median (%)"
	top.Add(painter(func(c draw.Canvas, p *plot.Plot) { drawTimeline(c, p, rounds) }))
	panels := []*panel{top}
	for _, s := range all {
		panels = append(panels, counterPanel(s))
	}
	for i, p := range panels {
		linearAxis(&p.X, x, 0.01, 10)
		if i < len(panels)-1 {
			marker := p.X.Tick.Marker
			p.X.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
				ticks := slices.Clone(marker.Ticks(low, high))
				for i := range ticks {
					ticks[i].Label = " " // a mark without a number; one without a label would lose its grid line
				}
				return ticks
			})
			p.X.Tick.Label.Font.Size = 2
		}
	}
	panels[len(panels)-1].x = "seconds since the start of the run"

	const topHeight, counterHeight, gap = 2.6 * vg.Inch, 0.72 * vg.Inch, vg.Length(5)
	subtitle := "Device time of samples against their point's median; upright lines begin a launch"
	if slices.ContainsFunc(rounds, func(t timed) bool { return t.Status == bench.Dropped }) {
		subtitle += "; crosses are samples of dropped rounds"
	}
	if slices.ContainsFunc(rounds, func(t timed) bool { return t.Status != bench.Dropped && !t.Steady.Met }) {
		subtitle += "; purple dots are of unsteady rounds"
	}
	return figure{
		title:    "The run over time",
		subtitle: namingOf(usableRows(r)).with(subtitle),
		note:     provenance(r),
		height:   topHeight + vg.Length(len(all))*(counterHeight+gap) + 34,
		draw: func(c draw.Canvas) {
			c = inset(c)
			margin := vg.Length(0)
			for _, p := range panels {
				margin = max(margin, p.margin(c))
			}
			top := c.Max.Y - noteSize*1.4 // the launches are named above the first panel
			for i, p := range panels {
				h := counterHeight
				if i == 0 {
					h = topHeight
				}
				if i == len(panels)-1 {
					h = top - c.Min.Y // the last carries the time axis
				}
				area := c
				area.Max.Y, area.Min.Y = top, top-h
				p.drawAt(area, margin)
				top -= h + gap
			}
		},
	}
}

func drawTimeline(c draw.Canvas, p *plot.Plot, rounds []timed) {
	tx, ty := p.Transforms(&c)
	launch := 0
	for _, t := range rounds {
		if t.Launch > launch {
			launch = t.Launch
			x := tx(float64(t.Start) / 1e9)
			c.StrokeLine2(draw.LineStyle{Color: grey, Width: 0.8}, x, c.Min.Y, x, c.Max.Y)
			style := textStyle(noteSize, grey)
			if label := fmt.Sprintf("launch %d", launch); x+style.Width(label) < c.Max.X {
				write(c, style, x, c.Max.Y+2, label)
			}
		}
	}
	most := max(6, mostDots/len(rounds))
	var kept, unsteady, dropped []vg.Point
	for _, t := range rounds {
		times := t.sampleTimes()
		for _, i := range evenRanks(t.DeviceNS, most) {
			at := vg.Point{X: tx(times[i]), Y: ty(deviation(t.DeviceNS[i], t.row))}
			switch {
			case t.Status == bench.Dropped:
				dropped = append(dropped, at)
			case !t.Steady.Met:
				unsteady = append(unsteady, at)
			default:
				kept = append(kept, at)
			}
		}
	}
	dots(c, blue, 0.8, kept)
	dots(c, purple, 0.9, unsteady)
	crosses(c, orange, 1.5, dropped)
}

// evenRanks is evenly, but gives the places of the values, in order of place.
func evenRanks(ns []int64, most int) []int {
	places := make([]int, len(ns))
	for i := range places {
		places[i] = i
	}
	if len(ns) <= most {
		return places
	}
	slices.SortStableFunc(places, func(a, b int) int { return int(min(1, max(-1, ns[a]-ns[b]))) })
	picked := make([]int, most)
	for i := range picked {
		picked[i] = places[i*(len(places)-1)/(most-1)]
	}
	slices.Sort(picked)
	return picked
}

// counterPanel is one counter over time.
func counterPanel(s series) *panel {
	y := noExtent()
	whole := true
	for _, p := range s.points {
		y.include(p.value)
		whole = whole && p.value == float64(int64(p.value))
	}
	p := newPanel()
	if y.low >= 0 && y.low < 0.5*y.high {
		y.low = 0 // what comes near nothing is read against nothing
	}
	linearAxis(&p.Y, y, 0.1, 4)
	if y.low == 0 {
		p.Y.Min = 0
	}
	if whole {
		p.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
			return wholeTicks(low, high, 4)
		})
	}
	p.y, p.ySmall = s.name+"\n"+s.unit, true
	p.Add(painter(func(c draw.Canvas, p *plot.Plot) {
		tx, ty := p.Transforms(&c)
		var path []vg.Point
		for _, r := range s.points {
			path = append(path, vg.Point{X: tx(r.at), Y: ty(r.value)})
		}
		c.StrokeLines(draw.LineStyle{Color: green, Width: 1}, path)
	}))
	return p
}
