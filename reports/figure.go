package reports

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"genbench/bench"
)

// A picture is a figure of a report, or the reason why there is none.
type picture struct {
	name    string // of its files, without the ending
	subject string // what it shows, in a few words
	alt     string // for who cannot see it
	caption string
	skipped string // why there is none; the rest is then empty
	png     []byte
	svg     []byte
}

// pictures draws all figures of a run. They depend on its journal alone.
func pictures(r *bench.Result) ([]picture, error) {
	var all []picture
	for _, draw := range []func(*bench.Result) (picture, error){accuracyPicture, latencyPicture, samplesPicture, timelinePicture} {
		p, err := draw(r)
		if err != nil {
			return nil, fmt.Errorf("draw picture of %s: %w", p.subject, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// inline is the SVG as it may stand inside a page.
func (p picture) inline() string {
	_, element, _ := strings.Cut(string(p.svg), "?>\n")
	return element
}

// A figure is a drawing under a title, with a line below that lets it travel
// without its report.
type figure struct {
	title    string
	subtitle string
	note     string
	height   vg.Length // of the drawing alone
	draw     func(draw.Canvas)
}

const (
	figureWidth  = 7.5 * vg.Inch
	figureMargin = vg.Length(10)
	figureDPI    = 192
	// shownWidth is the width in a page in pixels: nearly half the dots, so that it
	// is sharp on a dense screen.
	shownWidth = 800
)

// Sizes of text in points.
const (
	titleSize = vg.Length(12.5)
	bodySize  = vg.Length(9)
	tickSize  = vg.Length(8.5)
	tagSize   = vg.Length(8)
	noteSize  = vg.Length(7)
)

// The palette of Okabe and Ito ("Color Universal Design", 2008), which people with
// any colour vision tell apart. Its yellow is too pale for lines on white.
var (
	black      = color.RGBA{R: 0x1f, G: 0x23, B: 0x28, A: 0xff}
	grey       = color.RGBA{R: 0x6a, G: 0x71, B: 0x78, A: 0xff}
	pale       = color.RGBA{R: 0xe4, G: 0xe7, B: 0xea, A: 0xff}
	vermillion = color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}
	blue       = color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}
	green      = color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff}
	purple     = color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}
	sky        = color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}
	orange     = color.RGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff}
)

// render draws the figure twice.
func (f figure) render() (png, svg []byte, err error) {
	inner := figureWidth - 2*figureMargin
	title := fit(f.title, textStyle(titleSize, black, bold), inner)
	subtitle := fit(f.subtitle, textStyle(bodySize, grey), inner)
	note := fit(f.note, textStyle(noteSize, grey), inner)
	above := vg.Length(len(title))*titleSize*1.25 + vg.Length(len(subtitle))*bodySize*1.3 + 6
	below := vg.Length(len(note))*noteSize*1.3 + 4
	height := f.height + above + below + 2*figureMargin

	paint := func(canvas vg.Canvas) {
		c := draw.NewCanvas(canvas, figureWidth, height)
		y := height - figureMargin
		for _, line := range title {
			y -= titleSize * 1.25
			write(c, textStyle(titleSize, black, bold), figureMargin, y+titleSize*0.25, line)
		}
		for _, line := range subtitle {
			y -= bodySize * 1.3
			write(c, textStyle(bodySize, grey), figureMargin, y+bodySize*0.25, line)
		}
		y = figureMargin + vg.Length(len(note))*noteSize*1.3
		for _, line := range note {
			y -= noteSize * 1.3
			write(c, textStyle(noteSize, grey), figureMargin, y+noteSize*0.25, line)
		}
		f.draw(draw.Crop(c, figureMargin, -figureMargin, figureMargin+below, -figureMargin-above))
	}

	img := vgimg.NewWith(vgimg.UseWH(figureWidth, height), vgimg.UseDPI(figureDPI))
	paint(img)
	var p bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(&p); err != nil {
		return nil, nil, err
	}
	vector := vgsvg.New(figureWidth, height)
	paint(vector)
	var s bytes.Buffer
	if _, err := vector.WriteTo(&s); err != nil {
		return nil, nil, err
	}
	// Where the reader has no Liberation Sans, Arial has the same metrics.
	withFallback := bytes.ReplaceAll(s.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return p.Bytes(), withFallback, nil
}

// provenance is the note of every figure of a run.
func provenance(r *bench.Result) string {
	run := r.Log.Run
	var engines []string
	for _, e := range run.Engines {
		if e.Available {
			engines = append(engines, strings.TrimSpace(e.Name+" "+e.Version))
		}
	}
	parts := []string{kind(run) + " on " + deviceText(run)}
	if len(engines) > 0 {
		parts = append(parts, strings.Join(engines, ", "))
	}
	parts = append(parts, fmt.Sprintf("protocol %s, %s", protocolText(run), replication(run)), "run "+run.ID)
	return clean(strings.Join(parts, "  ·  "))
}

type textOption func(*text.Style)

func bold(s *text.Style) { s.Font.Weight = xfont.WeightBold }

func textStyle(size vg.Length, c color.Color, options ...textOption) text.Style {
	s := text.Style{
		Color:   c,
		Font:    font.Font{Typeface: "Liberation", Variant: "Sans", Size: size},
		XAlign:  text.XLeft,
		YAlign:  text.YBottom,
		Handler: text.Plain{Fonts: font.DefaultCache},
	}
	for _, o := range options {
		o(&s)
	}
	return s
}

// write sets a line of text with its baseline at y.
func write(c draw.Canvas, s text.Style, x, y vg.Length, line string) {
	s.YAlign = text.YBottom
	c.FillText(s, vg.Point{X: x, Y: y - (s.Font.Size - s.FontExtents().Ascent)}, line)
}

// capital is the height of a capital letter over the size of the font.
const capital = 0.72

// writeMiddle sets a line of text with its capitals centred on y.
func writeMiddle(c draw.Canvas, s text.Style, x, y vg.Length, line string) {
	write(c, s, x, y-capital/2*s.Font.Size, line)
}

// fit breaks a text into lines of a width.
func fit(s string, style text.Style, width vg.Length) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(clean(s)) {
		longer := strings.TrimSpace(line + " " + word)
		if line != "" && style.Width(longer) > width {
			lines = append(lines, line)
			longer = word
		}
		line = longer
	}
	if line == "" {
		return nil
	}
	return append(lines, line)
}

// shorten takes the middle out of a name that is too long to stand in a figure;
// names that differ mostly do so at an end.
func shorten(s string, most int) string {
	runes := []rune(clean(s))
	if len(runes) <= most {
		return string(runes)
	}
	tail := (most - 1) / 2
	return string(runes[:most-1-tail]) + "…" + string(runes[len(runes)-tail:])
}

// longestName is how much of a name stands in a figure.
const longestName = 34

// A painter draws on the area of a plot's data.
type painter func(c draw.Canvas, p *plot.Plot)

func (f painter) Plot(c draw.Canvas, p *plot.Plot) { f(c, p) }

// A panel is a plot with its words. They are set here rather than by the plot,
// which misplaces the labels of axes that are not linear.
type panel struct {
	*plot.Plot
	title  string
	x, y   string // labels of the axes; y may have several lines
	ySmall bool
}

// newPanel is an empty panel in the house style, with a grid.
func newPanel() *panel {
	p := plot.New()
	p.BackgroundColor = nil
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle = textStyle(tickSize, black)
		axis.Tick.Label = restyle(axis.Tick.Label, tickSize, black)
		axis.Tick.Length = 3
		axis.Tick.LineStyle = draw.LineStyle{Color: grey, Width: 0.5}
		axis.LineStyle = draw.LineStyle{Color: grey, Width: 0.6}
		axis.Padding = 0
	}
	p.Add(painter(func(c draw.Canvas, p *plot.Plot) {
		x, y := p.Transforms(&c)
		style := draw.LineStyle{Color: pale, Width: 0.6}
		for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
			if at := x(t.Value); !t.IsMinor() && c.ContainsX(at) {
				c.StrokeLine2(style, at, c.Min.Y, at, c.Max.Y)
			}
		}
		for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
			if at := y(t.Value); !t.IsMinor() && c.ContainsY(at) {
				c.StrokeLine2(style, c.Min.X, at, c.Max.X, at)
			}
		}
	}))
	return &panel{Plot: p}
}

// yStyle is that of the label of the y axis.
func (p *panel) yStyle() text.Style {
	style := textStyle(bodySize, black)
	if p.ySmall {
		style.Font.Size = tagSize
	}
	style.XAlign, style.Rotation = text.XCenter, math.Pi/2
	return style
}

// yWidth is the room that the label of the y axis takes.
func (p *panel) yWidth() vg.Length {
	if p.y == "" {
		return 0
	}
	return vg.Length(strings.Count(p.y, "\n")+1)*p.yStyle().Font.Size*1.2 + 4
}

// area is what is left of a canvas for the plot with its ticks.
func (p *panel) area(c draw.Canvas, left vg.Length) draw.Canvas {
	bottom, top := vg.Length(0), vg.Length(0)
	if p.x != "" {
		bottom = bodySize * 1.6
	}
	if p.title != "" {
		top = bodySize * 1.6
	}
	return draw.Crop(c, left, 0, bottom, -top)
}

// margin is how far from the left edge of a canvas the data begin.
func (p *panel) margin(c draw.Canvas) vg.Length {
	area := p.area(c, p.yWidth())
	return p.DataCanvas(area).Min.X - c.Min.X
}

// drawAt draws the panel with its data beginning at a margin, which is no less
// than its own, and gives the area of the data.
func (p *panel) drawAt(c draw.Canvas, margin vg.Length) draw.Canvas {
	area := p.area(c, p.yWidth()+margin-p.margin(c))
	p.Draw(area)
	data := p.DataCanvas(area)
	if p.title != "" {
		write(c, textStyle(bodySize, black, bold), data.Min.X, c.Max.Y-bodySize, p.title)
	}
	if p.x != "" {
		style := textStyle(bodySize, black)
		style.XAlign = text.XCenter
		write(c, style, data.Center().X, c.Min.Y+bodySize*0.3, p.x)
	}
	if p.y != "" {
		style := p.yStyle()
		size := style.Font.Size
		for i, line := range strings.Split(p.y, "\n") {
			// Rotated, the baseline of a line is at the right of it.
			write(c, style, c.Min.X+size+vg.Length(i)*size*1.2-(size-style.FontExtents().Ascent), data.Center().Y+(size-style.FontExtents().Ascent), line)
		}
	}
	return data
}

// drawAlone draws a panel that has a canvas to itself.
func (p *panel) drawAlone(c draw.Canvas) draw.Canvas { return p.drawAt(c, p.margin(c)) }

// restyle keeps the alignment of a text.
func restyle(s text.Style, size vg.Length, c color.Color) text.Style {
	fresh := textStyle(size, c)
	fresh.XAlign, fresh.YAlign, fresh.Rotation = s.XAlign, s.YAlign, s.Rotation
	return fresh
}

// An extent is the range of values on an axis.
type extent struct{ low, high float64 }

func noExtent() extent { return extent{math.Inf(1), math.Inf(-1)} }

func (e *extent) include(values ...float64) {
	for _, v := range values {
		e.low, e.high = min(e.low, v), max(e.high, v)
	}
}

// logAxis sets an axis to a logarithmic scale over an extent, with some room at
// both ends, and ticks that suit its length.
func logAxis(a *plot.Axis, e extent, room float64, ticks int) {
	margin := math.Pow(e.high/e.low, room)
	if e.high/e.low < 1.05 {
		margin = 1.1
	}
	a.Min, a.Max = e.low/margin, e.high*margin
	a.Scale = plot.LogScale{}
	a.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick { return logTicks(low, high, ticks) })
}

// linearAxis is the same for a linear scale.
func linearAxis(a *plot.Axis, e extent, room float64, ticks int) {
	margin := (e.high - e.low) * room
	if margin == 0 {
		margin = max(math.Abs(e.high)*0.05, 1e-9)
	}
	a.Min, a.Max = e.low-margin, e.high+margin
	a.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick { return linearTicks(low, high, ticks) })
}

// logTicks chooses marks for a logarithmic axis: 1, 2, 5 in each decade where they
// are enough, else powers of ten alone, or evenly spaced values over a short range.
func logTicks(low, high float64, most int) []plot.Tick {
	if high/low < 6 {
		return linearTicks(low, high, most)
	}
	for _, steps := range [][]float64{{1, 2, 5}, {1, 3}, {1}} {
		var ticks []plot.Tick
		for d := math.Floor(math.Log10(low)); d <= math.Log10(high); d++ {
			for _, step := range steps {
				v := step * math.Pow(10, d)
				if v >= low && v <= high {
					ticks = append(ticks, plot.Tick{Value: v, Label: tickLabel(v)})
				}
			}
		}
		if len(ticks) <= most {
			return withMinor(ticks, low, high)
		}
	}
	var ticks []plot.Tick
	first, last := math.Ceil(math.Log10(low)), math.Floor(math.Log10(high))
	every := math.Ceil((last - first + 1) / float64(most))
	for d := first; d <= last; d += every {
		ticks = append(ticks, plot.Tick{Value: math.Pow(10, d), Label: tickLabel(math.Pow(10, d))})
	}
	return ticks
}

// withMinor adds unlabelled marks at the whole multiples of the decades.
func withMinor(ticks []plot.Tick, low, high float64) []plot.Tick {
	for d := math.Floor(math.Log10(low)); d <= math.Log10(high); d++ {
		for step := 1.0; step < 10; step++ {
			if v := step * math.Pow(10, d); v >= low && v <= high {
				ticks = append(ticks, plot.Tick{Value: v})
			}
		}
	}
	return ticks
}

// linearTicks chooses at most so many round values.
func linearTicks(low, high float64, most int) []plot.Tick {
	if !(high > low) {
		return []plot.Tick{{Value: low, Label: tickLabel(low)}}
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)/float64(most))))
	for i := 0; (high-low)/step > float64(most); i++ {
		step *= []float64{2, 2.5, 2}[i%3] // 1, 2, 5, 10
	}
	// Between huge floats there are no others: counting from one to the next would
	// not end.
	if low+step == low || high+step == high {
		return []plot.Tick{{Value: low, Label: tickLabel(low)}}
	}
	var ticks []plot.Tick
	for n := math.Ceil(low / step); n*step <= high+1e-9*step; n++ {
		ticks = append(ticks, plot.Tick{Value: n * step, Label: tickLabel(n * step)})
	}
	return ticks
}

// wholeTicks are those of linearTicks that can be counts.
func wholeTicks(low, high float64, most int) []plot.Tick {
	return slices.DeleteFunc(linearTicks(low, high, most), func(t plot.Tick) bool { return t.Value != float64(int64(t.Value)) })
}

func tickLabel(v float64) string {
	if v == 0 {
		return "0" // never -0
	}
	if math.Abs(v) >= 1e7 || math.Abs(v) < 1e-4 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return strconv.FormatFloat(significant(v, 9), 'f', -1, 64)
}
