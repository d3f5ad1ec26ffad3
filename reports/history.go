package reports

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"genbench/bench/history"
)

// HistoryText writes one line a series, and below it its changes; the runs
// themselves where detail asks for them.
func HistoryText(w io.Writer, list []history.Series, detail bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "point\tmachine\tsetting\truns\tfirst\tlatest\tlatest/first\tchanges")
	for _, s := range list {
		first, last := s.Entries[0], s.Entries[len(s.Entries)-1]
		var found []string
		for _, c := range s.Changes {
			found = append(found, fmt.Sprintf("%+.1f %% at %s (%s)", 100*(c.Ratio-1), clean(s.Entries[c.At].Run), s.Entries[c.At].Started.Format(time.DateOnly)))
		}
		said := "none"
		if len(found) > 0 {
			said = strings.Join(found, ", ")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%.4f\t%s\n", clean(s.Point), clean(s.Machine), clean(s.Setting), len(s.Entries), milliseconds(first.Latency), milliseconds(last.Latency), last.Latency/first.Latency, said)
	}
	if err := t.Flush(); err != nil || !detail {
		return err
	}
	for _, s := range list {
		fmt.Fprintf(w, "\n%s on %s, %s\n\n", clean(s.Point), clean(s.Machine), clean(s.Setting))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "taken\trun\tengine\tlatency\tinterval\tquality\t")
		next := 0
		for i, e := range s.Entries {
			interval, mark := "–", ""
			if e.Low != nil && e.High != nil {
				interval = fmt.Sprintf("%.4g–%.4g", *e.Low/1e6, *e.High/1e6)
			}
			if next < len(s.Changes) && s.Changes[next].At == i {
				mark = fmt.Sprintf("← %+.1f %%", 100*(s.Changes[next].Ratio-1))
				next++
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Started.Format("2006-01-02 15:04"), clean(e.Run), clean(e.Version), milliseconds(e.Latency), interval, clean(e.Quality), mark)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func milliseconds(ns float64) string { return fmt.Sprintf("%.4g ms", ns/1e6) }

// mostSeries is how many series a figure has room for.
const mostSeries = 8

// HistoryFigure draws series over time, a panel each, with an upright line at every
// change, as PNG and SVG.
func HistoryFigure(list []history.Series) (png, svg []byte, err error) {
	if len(list) == 0 {
		return nil, nil, errors.New("draw history: no results to draw")
	}
	note := ""
	if len(list) > mostSeries {
		note = fmt.Sprintf("%d more series are not shown; those with change points come first", len(list)-mostSeries)
		// What changed is what one looks for.
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b history.Series) int {
			return cmp.Compare(min(1, len(b.Changes)), min(1, len(a.Changes)))
		})
		list = list[:mostSeries]
	}
	var panels []*panel
	for _, s := range list {
		panels = append(panels, historyPanel(s))
	}
	panels[len(panels)-1].x = "runs, oldest first"
	const each = 1.5 * vg.Inch
	f := figure{
		title:    "Latency over time",
		subtitle: "Median latency of one inference with its 95 % interval, one dot per run; upright lines are change points, vertical axes do not begin at zero",
		note:     note,
		height:   each*vg.Length(len(panels)) + 20,
		draw: func(c draw.Canvas) {
			c = inset(c)
			margin := vg.Length(0)
			for _, p := range panels {
				margin = max(margin, p.margin(c))
			}
			top, h := c.Max.Y, (c.Max.Y-c.Min.Y)/vg.Length(len(panels))
			for _, p := range panels {
				area := c
				area.Max.Y, area.Min.Y = top, top-h+6
				p.drawAt(area, margin)
				top -= h
			}
		},
	}
	return f.render()
}

func historyPanel(s history.Series) *panel {
	p := newPanel()
	const room = 110 // characters above a panel
	p.title, p.y, p.ySmall = shorten(s.Point, 60)+" on "+shorten(s.Machine, longestName)+", ", "ms", true
	p.title += shorten(s.Setting, max(10, room-utf8.RuneCountInString(p.title)))
	y := noExtent()
	for _, e := range s.Entries {
		y.include(e.Latency / 1e6)
		if e.Low != nil && e.High != nil {
			y.include(*e.Low/1e6, *e.High/1e6)
		}
	}
	linearAxis(&p.X, extent{1, float64(max(2, len(s.Entries)))}, 0.02, 10)
	p.X.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick { return wholeTicks(low, high, 10) })
	linearAxis(&p.Y, y, 0.08, 4)
	p.Add(painter(func(c draw.Canvas, p *plot.Plot) {
		x, y := p.Transforms(&c)
		for _, change := range s.Changes {
			at := x(float64(change.At) + 0.5)
			c.StrokeLine2(draw.LineStyle{Color: vermillion, Width: 0.9}, at, c.Min.Y, at, c.Max.Y)
		}
		for i, e := range s.Entries {
			at := x(float64(i + 1))
			if e.Low != nil && e.High != nil {
				c.StrokeLine2(draw.LineStyle{Color: sky, Width: 0.8}, at, y(*e.Low/1e6), at, y(*e.High/1e6))
			}
			c.DrawGlyph(draw.GlyphStyle{Color: blue, Radius: 1.6, Shape: draw.CircleGlyph{}}, vg.Point{X: at, Y: y(e.Latency / 1e6)})
		}
	}))
	return p
}
