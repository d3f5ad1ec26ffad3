package reports

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"genbench/bench"
)

// layerCaveat is what must be known of the times of layers.
const layerCaveat = "Layers are timed in a separate pass, with the engine's profiler or with events between them: each ends before the next begins, " +
	"and reading the clock takes time as well. Their sum is therefore not the latency; look at the shares."

// layerHead says of a point how many layers it has and what they add up to, beside
// the latency that was measured without a profiler.
func layerHead(r row) string {
	s := fmt.Sprintf("%s, medians of %s: %s ms in all, ", count(len(r.Layers.Layers), "layer"), count(r.Layers.Inferences, "inference"), layerMS(r.Layers.Sum))
	if r.measured() {
		s += fmt.Sprintf("%s %% of the latency of %s ms", roundTo(100*r.Layers.Sum/r.Latency.Value, 0), layerMS(r.Latency.Value))
	} else {
		s += "with no usable latency to compare"
	}
	if r.Layers.Unattributed > 0 {
		s += fmt.Sprintf("; %s MACs are in layers whose names do not tell what they compute", Thousands(r.Layers.Unattributed))
	}
	return s
}

// layerMS shows the time of a layer, of which some take a microsecond.
func layerMS(ns float64) string { return roundTo(ns/1e6, 3) }

// Thousands parts an integer in groups of three.
func Thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

func layerHeader() []string {
	return []string{"layer", "does", "precision", "nodes", "MACs", "ms", "share %", "GMAC/s"}
}

// layerCells are the cells of a layer, in the order of layerHeader.
func layerCells(l bench.LayerTime) []string {
	macs, rate := "–", "–"
	if l.MACs != nil {
		macs = Thousands(*l.MACs)
		if l.Median > 0 && *l.MACs > 0 {
			rate = roundTo(float64(*l.MACs)/l.Median, 1)
		}
	}
	nodes := strings.Join(l.Nodes, " ")
	if nodes == l.Name {
		nodes = "" // said already
	}
	return []string{l.Name, l.Kind, cmp.Or(l.Precision, "–"), nodes, macs, layerMS(l.Median), roundTo(100*l.Share, 1), rate}
}

// withLayers are the rows whose layers were timed.
func withLayers(rows []row) []row {
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.Layers == nil })
}

// shownUnder is the first point that has the layers of a row: those of points that are
// built alike were timed once.
func shownUnder(rows []row, i int) bench.Point {
	for _, r := range rows[:i] {
		if r.run == rows[i].run && r.Layers.Of == rows[i].Layers.Of {
			return r.Point
		}
	}
	return rows[i].Point
}

// withoutLayers are the rows whose layers could not be timed though they should be.
func withoutLayers(rows []row) []row {
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool {
		return r.Layers != nil || !r.measured() || !r.run.Log.Run.Config.Layers
	})
}

// layers is the part of a page on what each layer takes; nothing where no layer pass
// was asked for.
func layers(rows []row) document {
	timed, untimed := withLayers(rows), withoutLayers(rows)
	if len(timed)+len(untimed) == 0 {
		return nil
	}
	d := document{heading{2, "Layers"}, paragraph{layerCaveat}}
	for i, r := range timed {
		if under := shownUnder(timed, i); under != r.Point {
			d = append(d, paragraph{mono(r.Point.String()), ": the layers of ", mono(under.String()), ", ", layerHead(r), "."})
			continue
		}
		g := grid{header: layerHeader(), right: []bool{false, false, false, false, true, true, true, true}}
		for _, l := range r.Layers.Layers {
			var line []prose
			for _, text := range layerCells(l) {
				line = append(line, prose{text})
			}
			g.rows = append(g.rows, line)
		}
		d = append(d, paragraph{mono(r.Point.String()), ": ", layerHead(r), "."}, folded{"Every layer of " + r.Point.String(), document{g}})
	}
	for _, r := range untimed {
		d = append(d, paragraph{mono(r.Point.String()), ": no layers, ", r.NoLayers, "."})
	}
	return d
}

// shownLayers is how many of a point's layers a terminal shows.
const shownLayers = 10

// writeLayers shows the heaviest layers of every point on a terminal.
func writeLayers(b *bytes.Buffer, rows []row, say func(first, rest, format string, args ...any)) {
	timed, untimed := withLayers(rows), withoutLayers(rows)
	if len(timed)+len(untimed) == 0 {
		return
	}
	b.WriteString("\nlayers\n")
	say("  ", "  ", "%s", layerCaveat)
	for i, r := range timed {
		b.WriteByte('\n')
		if under := shownUnder(timed, i); under != r.Point {
			say("  ", "    ", "%s: the layers of %s, %s", r.Point, under, layerHead(r))
			continue
		}
		say("  ", "    ", "%s: %s", r.Point, layerHead(r))
		heaviest := slices.Clone(r.Layers.Layers)
		slices.SortStableFunc(heaviest, func(x, y bench.LayerTime) int { return cmp.Compare(y.Median, x.Median) })
		shown := heaviest[:min(shownLayers, len(heaviest))]
		table := layerTable{header: []string{"ms", "share %", "GMAC/s", "precision", "layer"}}
		for _, l := range shown {
			cells := layerCells(l)
			table.add(cells[5], cells[6], cells[7], cells[2], cells[0])
		}
		table.write(b)
		if rest := heaviest[len(shown):]; len(rest) > 0 {
			share := 0.0
			for _, l := range rest {
				share += l.Share
			}
			say("    ", "    ", "%s, %s %% in all; see the report or --format json", count(len(rest), "more layer"), roundTo(100*share, 1))
		}
	}
	for _, r := range untimed {
		say("  ", "    ", "%s: no layers, %s", r.Point, r.NoLayers)
	}
}

// A layerTable is columns of numbers with the names at their end, whose length
// therefore does not matter.
type layerTable struct {
	header []string
	rows   [][]string
}

func (t *layerTable) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *layerTable) write(b *bytes.Buffer) {
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], textWidth(clean(cell)))
		}
	}
	last := len(t.header) - 1
	for _, row := range append([][]string{t.header}, t.rows...) {
		b.WriteString("    ")
		for i, cell := range row {
			cell = clean(cell)
			if i == last {
				b.WriteString(cell + "\n")
				break
			}
			b.WriteString(strings.Repeat(" ", widths[i]-textWidth(cell)) + cell + "  ")
		}
	}
}

// layerObjects are a point's layers for programs.
func layerObjects(r row) []any {
	objects := []any{}
	for _, l := range r.Layers.Layers {
		object := struct {
			Name      string   `json:"name"`
			Kind      string   `json:"kind"`
			Precision *string  `json:"precision"`
			Nodes     []string `json:"nodes"`
			MACs      *int64   `json:"macs"`
			MS        float64  `json:"ms"`
			Share     float64  `json:"share"`
		}{Name: l.Name, Kind: l.Kind, Nodes: l.Nodes, MACs: l.MACs, MS: l.Median / 1e6, Share: significant(l.Share, 4)}
		if l.Precision != "" {
			object.Precision = &l.Precision
		}
		objects = append(objects, object)
	}
	return objects
}
