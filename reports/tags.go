package reports

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A tag is a name beside a point of a figure.
type tag struct {
	at    vg.Point
	text  string
	style text.Style
}

// placeTags writes each tag near its point where it covers no other tag and no
// obstacle, and no line unless there is no other place; the first tags choose
// first. A tag that had to go far is tied to its point by a line of its own. It
// returns how many found no room.
func placeTags(c draw.Canvas, tags []tag, obstacles, lines []vg.Rectangle) (homeless int) {
	var placed []vg.Rectangle
	for _, t := range tags {
		size := vg.Point{X: t.style.Width(t.text), Y: t.style.Font.Size}
		box, ok := roomFor(c, t.at, size, slices.Concat(obstacles, lines), placed)
		if !ok {
			if box, ok = roomFor(c, t.at, size, obstacles, placed); ok {
				c.FillPolygon(color.White, corners(box)) // it lies on a line
			}
		}
		if !ok {
			homeless++
			continue
		}
		if end := nearestIn(box, t.at); distance(t.at, end) > farAway {
			c.StrokeLine2(draw.LineStyle{Color: grey, Width: 0.4}, t.at.X, t.at.Y, end.X, end.Y)
		}
		writeMiddle(c, t.style, box.Min.X, (box.Min.Y+box.Max.Y)/2, t.text)
		placed = append(placed, box)
	}
	return homeless
}

// farAway is the distance from which a tag needs a line to its point.
const farAway = 12

// noteHomeless says above the area of the data how many names are missing.
func noteHomeless(data draw.Canvas, homeless int) {
	if homeless > 0 {
		style := textStyle(noteSize, grey)
		style.XAlign = text.XRight
		write(data, style, data.Max.X, data.Max.Y+2, "no room for "+count(homeless, "name"))
	}
}

// roomFor looks for a free box around a point, near before far and the right side
// before the left. Neither the box nor the line to it may cross a placed tag.
func roomFor(c draw.Canvas, at, size vg.Point, obstacles, placed []vg.Rectangle) (vg.Rectangle, bool) {
	for _, reach := range []float64{6, 9, 14, 20, 28, 38, 50} {
		for _, degrees := range []float64{0, 30, -30, 60, -60, 180, 150, -150, 90, -90, 120, -120} {
			sin, cos := math.Sincos(degrees * math.Pi / 180)
			middle := vg.Point{
				X: at.X + vg.Length(reach*cos) + size.X/2*vg.Length(sign(cos)),
				Y: at.Y + vg.Length(reach*sin) + size.Y/2*vg.Length(sign(sin)),
			}
			box := vg.Rectangle{
				Min: vg.Point{X: middle.X - size.X/2, Y: middle.Y - size.Y/2},
				Max: vg.Point{X: middle.X + size.X/2, Y: middle.Y + size.Y/2},
			}
			if box.Min.X < c.Min.X || box.Max.X > c.Max.X || box.Min.Y < c.Min.Y || box.Max.Y > c.Max.Y {
				continue
			}
			leader := along(at, nearestIn(box, at))
			crossed := slices.ContainsFunc(placed, func(tag vg.Rectangle) bool {
				return overlap(box, tag) || slices.ContainsFunc(leader, func(step vg.Rectangle) bool { return overlap(step, tag) })
			})
			if !crossed && !slices.ContainsFunc(obstacles, func(o vg.Rectangle) bool { return overlap(box, o) }) {
				return box, true
			}
		}
	}
	return vg.Rectangle{}, false
}

// sign is -1, 0 or 1; what differs from 0 by rounding alone is 0.
func sign(v float64) float64 {
	if math.Abs(v) < 0.1 {
		return 0
	}
	return math.Copysign(1, v)
}

func overlap(a, b vg.Rectangle) bool {
	return a.Min.X < b.Max.X && b.Min.X < a.Max.X && a.Min.Y < b.Max.Y && b.Min.Y < a.Max.Y
}

func clamp(v, low, high vg.Length) vg.Length { return max(low, min(v, high)) }

// nearestIn is the point of a box that is nearest to another.
func nearestIn(box vg.Rectangle, to vg.Point) vg.Point {
	return vg.Point{X: clamp(to.X, box.Min.X, box.Max.X), Y: clamp(to.Y, box.Min.Y, box.Max.Y)}
}

func distance(a, b vg.Point) float64 { return math.Hypot(float64(b.X-a.X), float64(b.Y-a.Y)) }

func corners(r vg.Rectangle) []vg.Point {
	return []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}}
}

// around is the box of a point and what is drawn there.
func around(at vg.Point, radius vg.Length) vg.Rectangle {
	return vg.Rectangle{Min: vg.Point{X: at.X - radius, Y: at.Y - radius}, Max: vg.Point{X: at.X + radius, Y: at.Y + radius}}
}

// along are small boxes on a line, so that tags keep off it.
func along(a, b vg.Point) []vg.Rectangle {
	const step = 4
	n := int(distance(a, b)/step) + 1
	boxes := make([]vg.Rectangle, 0, n+1)
	for i := range n + 1 {
		f := vg.Length(i) / vg.Length(n)
		boxes = append(boxes, around(vg.Point{X: a.X + f*(b.X-a.X), Y: a.Y + f*(b.Y-a.Y)}, 1))
	}
	return boxes
}

// spread moves positions apart until each is at least gap from the next, each as
// little as may be, and keeps them between low and high where there is room. It
// takes them sorted from small to large.
func spread(at []vg.Length, gap, low, high vg.Length) []vg.Length {
	type cluster struct {
		sum   vg.Length // of the wanted positions of its first members
		n     int
		start vg.Length
	}
	var clusters []cluster
	place := func(c *cluster) {
		c.start = c.sum/vg.Length(c.n) - vg.Length(c.n-1)*gap/2
		c.start = max(low, min(c.start, high-vg.Length(c.n-1)*gap))
	}
	for _, p := range at {
		c := cluster{sum: p, n: 1}
		place(&c)
		clusters = append(clusters, c)
		for len(clusters) > 1 {
			last, before := clusters[len(clusters)-1], clusters[len(clusters)-2]
			if before.start+vg.Length(before.n)*gap <= last.start {
				break
			}
			merged := cluster{sum: before.sum + last.sum, n: before.n + last.n}
			place(&merged)
			clusters = append(clusters[:len(clusters)-2], merged)
		}
	}
	var out []vg.Length
	for _, c := range clusters {
		for i := range c.n {
			out = append(out, c.start+vg.Length(i)*gap)
		}
	}
	return out
}
