package reports

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"genbench/bench"
	"genbench/bench/history"
)

var lookDir = flag.String("look", "", "write all pictures of the test cases to this directory, for looking at")

// every runs a test on the pictures of every case and of a crowd.
func every(t *testing.T, test func(t *testing.T, name string, p picture)) {
	results := map[string]*bench.Result{"crowd": crowd(t)}
	for _, name := range cases {
		results[name] = load(t, name)
	}
	for name, r := range results {
		all, err := pictures(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, p := range all {
			test(t, name, p)
		}
	}
}

// skipDrawing leaves drawing out of a short pass: the race detector slows it tenfold
// and has nothing to find where there is one goroutine.
func skipDrawing(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("drawing takes long")
	}
}

// TestPictures: each is a PNG of the width it promises and a well-formed SVG, has
// its words, and nothing is cut off at an edge; or it says why it is not there.
func TestPictures(t *testing.T) {
	skipDrawing(t)
	missing := map[string]bool{
		"none/latency": true, "none/accuracy": true, "none/samples": true, "none/timeline": true, // nothing was measured
		"one/accuracy": true, // nothing to compare
	}
	every(t, func(t *testing.T, name string, p picture) {
		id := name + "/" + p.name
		if (p.skipped != "") != missing[id] {
			t.Errorf("%s skipped: %q", id, p.skipped)
		}
		if p.skipped != "" {
			if p.png != nil || p.svg != nil {
				t.Errorf("%s is skipped and drawn", id)
			}
			return
		}
		if p.alt == "" || p.caption == "" {
			t.Errorf("%s lacks words", id)
		}
		img, err := png.Decode(bytes.NewReader(p.png))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		b := img.Bounds()
		if b.Dx() != 1440 {
			t.Errorf("%s is %d dots wide", id, b.Dx())
		}
		white := func(x, y int) bool {
			r, g, b, _ := img.At(x, y).RGBA()
			return r == 0xffff && g == 0xffff && b == 0xffff
		}
		for x := range b.Dx() {
			if !white(x, 0) || !white(x, b.Dy()-1) {
				t.Errorf("%s is cut off at the top or bottom, at dot %d", id, x)
				break
			}
		}
		for y := range b.Dy() {
			if !white(0, y) || !white(b.Dx()-1, y) {
				t.Errorf("%s is cut off at the left or right, at dot %d", id, y)
				break
			}
		}
		decoder := xml.NewDecoder(bytes.NewReader(p.svg))
		for {
			if _, err := decoder.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: the SVG is no XML: %v", id, err)
			}
		}
		for _, bad := range []string{"NaN", "Inf"} {
			if bytes.Contains(p.svg, []byte(bad)) {
				t.Errorf("%s holds %s", id, bad)
			}
		}
		if !bytes.Contains(p.svg, []byte("sans-serif")) || !bytes.HasPrefix([]byte(p.inline()), []byte("<!--")) {
			t.Errorf("%s: the SVG is not as pages need it", id)
		}
		if *lookDir != "" {
			if err := os.WriteFile(filepath.Join(*lookDir, name+"-"+p.name+".png"), p.png, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestPicturesOfImpossibleBatches: a damaged journal can say that an inference had no
// image, which no logarithmic axis has.
func TestPicturesOfImpossibleBatches(t *testing.T) {
	for _, batch := range []int{0, -4} {
		m := point("resnet-18", "resnet", 69.8, batch, 3)
		r := result(m, point("resnet-18", "resnet", 69.8, 8, 20))
		if _, err := latencyPicture(r); err != nil {
			t.Errorf("batch %d: %v", batch, err)
		}
		for _, f := range Formats() {
			written(t, f.New(80), r)
		}
	}
}

// TestPicturesAreDeterministic draws everything twice.
func TestPicturesAreDeterministic(t *testing.T) {
	skipDrawing(t)
	for _, name := range []string{"cpu", "troubled"} {
		first, err := pictures(load(t, name))
		if err != nil {
			t.Fatal(err)
		}
		second, err := pictures(load(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for i := range first {
			if !bytes.Equal(first[i].png, second[i].png) || !bytes.Equal(first[i].svg, second[i].svg) {
				t.Errorf("%s/%s differs from one drawing to the next", name, first[i].name)
			}
		}
	}
}

// TestPicturesSayWhere: every picture names its run and machine, and says of
// top-1 that it is published.
func TestPicturesSayWhere(t *testing.T) {
	skipDrawing(t)
	all, err := pictures(load(t, "cpu"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		for _, words := range []string{"CPU run on Example CPU 9000", "20260301-090000-0007", "gbp-1 quick"} {
			if !bytes.Contains(p.svg, []byte(words)) {
				t.Errorf("%s does not say %q", p.name, words)
			}
		}
		if p.name == "accuracy" && !strings.Contains(p.caption, "Top-1 is published, not measured") {
			t.Errorf("%s: %s", p.name, p.caption)
		}
	}
}

// TestDroppedRoundsAreMarked: crosses are drawn where rounds were dropped.
func TestDroppedRoundsAreMarked(t *testing.T) {
	for name, want := range map[string]bool{"cpu": false, "troubled": true} {
		all, err := pictures(load(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			if p.name != "samples" && p.name != "timeline" {
				continue
			}
			if got := bytes.Contains(p.svg, []byte("#E69F00")) || bytes.Contains(p.svg, []byte("#e69f00")); got != want {
				t.Errorf("%s/%s has the colour of dropped rounds: %v, want %v", name, p.name, got, want)
			}
		}
	}
}

func TestParetoFront(t *testing.T) {
	rows := rowsOf([]*bench.Result{result(
		point("slow-best", "x", 82, 1, 50), point("fast", "x", 70, 1, 5), point("beaten", "x", 75, 1, 30), point("middle", "x", 76, 1, 20),
		point("same-time-worse", "x", 60, 1, 5), point("same-top1-slower", "x", 82, 1, 60),
	)})
	var got []string
	for _, r := range paretoFront(rows) {
		got = append(got, r.Point.Model)
	}
	if want := []string{"fast", "middle", "slow-best"}; !slices.Equal(got, want) {
		t.Errorf("front %v, want %v", got, want)
	}
}

// TestTicks: any range gets at least two and not too many numbers, all inside it.
func TestTicks(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		low := math.Pow(10, 8*rng.Float64()-4)
		high := low * math.Pow(10, 0.05+6*rng.Float64())
		for name, ticks := range map[string][]string{"log": labels(low, high, logTicksOf), "linear": labels(low, high, linearTicksOf)} {
			if len(ticks) < 2 || len(ticks) > 9 {
				t.Fatalf("%s ticks of %g to %g: %v", name, low, high, ticks)
			}
			unique := slices.Clone(ticks)
			slices.Sort(unique)
			if len(slices.Compact(unique)) != len(ticks) {
				t.Fatalf("%s ticks of %g to %g repeat: %v", name, low, high, ticks)
			}
		}
	}
	// A journal may hold counters of any size.
	for _, low := range []float64{1e300, -1e300, 1 << 60} {
		if ticks := linearTicksOf(low, math.Nextafter(low, math.Inf(1))); len(ticks) < 1 || len(ticks) > 9 {
			t.Errorf("%d ticks of %g and the next float", len(ticks), low)
		}
	}
	if got := labels(-2, 2, linearTicksOf); !slices.Contains(got, "0") || slices.Contains(got, "-0") {
		t.Errorf("ticks around zero: %v", got)
	}
}

// TestDeviationTicks: numbers keep apart however far a sample strays.
func TestDeviationTicks(t *testing.T) {
	for _, high := range []float64{1, 3, 50, 400, 9e4, 3e6} {
		for _, low := range []float64{-1, -12, -90} {
			ticks := deviationTicks(low, high)
			if len(ticks) < 2 && high > 1 {
				t.Errorf("%g to %g has the ticks %v", low, high, ticks)
			}
			zero := false
			for i, tick := range ticks {
				zero = zero || tick.Value == 0
				if i > 0 {
					gap := deviationScale{}.Normalize(low, high, tick.Value) - deviationScale{}.Normalize(low, high, ticks[i-1].Value)
					if gap < 0.06 {
						t.Errorf("%g to %g: %s and %s are %.3f of the axis apart", low, high, ticks[i-1].Label, tick.Label, gap)
					}
				}
			}
			if !zero {
				t.Errorf("%g to %g has no zero", low, high)
			}
		}
	}
}

type value struct {
	at    float64
	label string
}

func logTicksOf(low, high float64) (out []value) {
	for _, t := range logTicks(low, high, 8) {
		out = append(out, value{t.Value, t.Label})
	}
	return out
}

func linearTicksOf(low, high float64) (out []value) {
	for _, t := range linearTicks(low, high, 8) {
		out = append(out, value{t.Value, t.Label})
	}
	return out
}

func labels(low, high float64, of func(low, high float64) []value) []string {
	var list []string
	for _, v := range of(low, high) {
		if v.label != "" && v.at >= low*(1-1e-9)-1e-9 && v.at <= high*(1+1e-9) {
			list = append(list, v.label)
		}
	}
	return list
}

// TestSpread: labels end up in order, apart, inside, and where they were if there
// was room.
func TestSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		at := make([]vg.Length, 1+rng.IntN(20))
		for i := range at {
			at[i] = vg.Length(300 * rng.Float64())
		}
		slices.Sort(at)
		got := spread(at, 10, 0, 300)
		if len(got) != len(at) {
			t.Fatalf("%d labels for %d", len(got), len(at))
		}
		for i := range got {
			if got[i] < -1e-9 || got[i] > 300+1e-9 || i > 0 && got[i]-got[i-1] < 10-1e-9 {
				t.Fatalf("spread(%v) = %v", at, got)
			}
		}
	}
	if got := spread([]vg.Length{50, 100, 200}, 10, 0, 300); !slices.Equal(got, []vg.Length{50, 100, 200}) {
		t.Errorf("labels with room were moved: %v", got)
	}
}

// TestPlaceTags: tags cover neither each other nor points, and stay inside.
func TestPlaceTags(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	c := draw.New(vgimg.New(400, 300))
	for range 50 {
		var obstacles, placed []vg.Rectangle
		var points []vg.Point
		for range 30 {
			at := vg.Point{X: vg.Length(400 * rng.Float64()), Y: vg.Length(300 * rng.Float64())}
			points, obstacles = append(points, at), append(obstacles, around(at, 4))
		}
		for _, at := range points {
			box, ok := roomFor(c, at, vg.Point{X: 60, Y: 8}, obstacles, placed)
			if !ok {
				continue
			}
			for _, other := range slices.Concat(obstacles, placed) {
				if overlap(box, other) {
					t.Fatalf("tag %v covers %v", box, other)
				}
			}
			if box.Min.X < 0 || box.Min.Y < 0 || box.Max.X > 400 || box.Max.Y > 300 {
				t.Fatalf("tag %v leaves the canvas", box)
			}
			placed = append(placed, box)
		}
		if len(placed) < 20 {
			t.Fatalf("%d of 30 tags found room", len(placed))
		}
	}
}

func TestEvenly(t *testing.T) {
	ns := []int64{9, 1, 8, 2, 7, 3, 6, 4, 5, 100}
	if got := evenly(ns, 4); !slices.Equal(got, []int64{1, 4, 7, 100}) {
		t.Errorf("evenly gave %v: the extremes must be among them", got)
	}
	if got := evenRanks(ns, 4); !slices.Equal(got, []int{1, 4, 7, 9}) {
		t.Errorf("evenRanks gave %v", got)
	}
	if got := evenly(ns, 10); len(got) != 10 {
		t.Errorf("evenly lost samples: %v", got)
	}
}

// TestRates: counters become rates, with neither a gap nor a restart of the
// counter making a false one.
func TestRates(t *testing.T) {
	s := rate(series{points: []reading{{0, 100}, {1, 101.5}, {1.1, 101.6}, {2, 103.5}, {3, 0.5}, {4, 1.5}}})
	want := []reading{{1, 1.5}, {2, 2}, {4, 1}}
	if len(s.points) != len(want) {
		t.Fatalf("rates %v, want %v", s.points, want)
	}
	for i := range want {
		if math.Abs(s.points[i].at-want[i].at) > 1e-9 || math.Abs(s.points[i].value-want[i].value) > 1e-9 {
			t.Errorf("rates %v, want %v", s.points, want)
		}
	}
}

func TestShorten(t *testing.T) {
	long := "a-name-that-is-much-longer-than-what-fits-into-a-figure-v2"
	got := shorten(long, 20)
	if n := len([]rune(got)); n != 20 || !strings.HasPrefix(got, "a-name") || !strings.HasSuffix(got, "figure-v2") {
		t.Errorf("shorten gave %q of %d", got, n)
	}
	if got := shorten("short\nname", 20); got != "short name" {
		t.Errorf("shorten gave %q", got)
	}
}

// TestSampleTimes: an amortised sample took as long as all its inferences, and a gap
// comes before each.
func TestSampleTimes(t *testing.T) {
	round := timed{&bench.RoundRecord{Start: 1e9, DeviceNS: []int64{1e6, 2e6}, AmortisedOver: 50}, row{nil, &bench.Measurement{}}}
	if got := round.sampleTimes(); got[0] != 1.05 || got[1] != 1.15 {
		t.Errorf("amortised samples end at %v, want 1.05 and 1.15 s", got)
	}
	round.AmortisedOver, round.row.Point.Gap = 0, time.Second
	if got := round.sampleTimes(); got[0] != 2.001 || got[1] != 3.003 {
		t.Errorf("spaced samples end at %v, want 2.001 and 3.003 s", got)
	}
}

// TestHistoryFigure: where there is no room for all, what changed is drawn; runs are
// counted in whole numbers.
func TestHistoryFigure(t *testing.T) {
	var list []history.Series
	for i := range mostSeries + 2 {
		list = append(list, history.Series{Point: fmt.Sprintf("net-%d", i), Machine: "A CPU", Setting: "2 threads", Entries: make([]history.Entry, 2)})
		for k := range list[i].Entries {
			list[i].Entries[k].Latency = 1e9 * float64(k+1)
		}
	}
	last := &list[len(list)-1]
	last.Changes = []history.Change{{At: 1, Ratio: 2}}
	_, svg, err := HistoryFigure(list)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{last.Point + " on": true, "net-6 on": true, "net-7 on": false, "2 more series": true, ">1.5<": false, "vertical axes": true} {
		if strings.Contains(string(svg), text) != want {
			t.Errorf("the figure has %q: %v, want %v", text, !want, want)
		}
	}
}
