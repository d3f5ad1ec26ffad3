// Package reports shows results: as a table for a terminal, a Markdown or HTML
// page with pictures, and files for other programs.
//
// Every report is a pure function of journals: the same journals give the same
// bytes, on any machine, at any time. All formats draw from one table of columns
// (columns.go), so that a figure has one meaning, one unit and, but for formats
// that others define, one name wherever it appears; what is not known is a null with
// its reason, never a hole, a zero or a NaN.
package reports

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"genbench/bench"
	"genbench/models"
)

// A Report writes results in one format. It returns the first error of the
// writer. Of results, only several together can make it fail: those that a format
// cannot tell apart.
type Report func(io.Writer, ...*bench.Result) error

// A Format is a report with the name that `--format` knows it by.
type Format struct {
	Name string
	Doc  string
	// New makes the report. width is the number of columns of the terminal that it
	// is for, 0 for no limit; only text heeds it.
	New func(width int) Report
}

// Formats lists the formats, the one for people at a terminal first.
func Formats() []Format {
	fixed := func(r Report) func(int) Report { return func(int) Report { return r } }
	return []Format{
		{"text", "a table for the terminal", Text},
		{"md", "a report in Markdown, without its pictures", fixed(Markdown)},
		{"csv", "one line per point, units in the column names", fixed(CSV)},
		{"json", "one object per point", fixed(JSON)},
		{"gobench", "Go benchmark format, one line per round, for benchstat", fixed(GoBench)},
		{"bencher", "Bencher Metric Format, JSON", fixed(Bencher)},
		{"smaller-is-better", "customSmallerIsBetter JSON of github-action-benchmark", fixed(SmallerIsBetter)},
	}
}

// Lookup finds the report of a format. For an unknown name the error gives the
// nearest known one and lists the rest.
func Lookup(name string, width int) (Report, error) {
	var names []string
	for _, f := range Formats() {
		if f.Name == name {
			return f.New(width), nil
		}
		names = append(names, f.Name)
	}
	return nil, unknownFormat("report format", name, names)
}

// unknownFormat gives the nearest of the formats of a kind and lists all.
func unknownFormat(kind, name string, names []string) error {
	hint := ""
	if near, ok := models.Likely(name, names); ok {
		hint = fmt.Sprintf("did you mean %q? ", near)
	}
	return fmt.Errorf("unknown %s %q: %sthere are %s", kind, name, hint, strings.Join(names, ", "))
}

// A row is one point of one run, as the reports show it.
type row struct {
	run *bench.Result
	*bench.Measurement
}

// rowsOf lists all points of all results, in the order of the plans.
func rowsOf(results []*bench.Result) []row {
	var rows []row
	for _, r := range results {
		for i := range r.Measurements {
			rows = append(rows, row{r, &r.Measurements[i]})
		}
	}
	return rows
}

// byBatch brings together what may be compared: the rows of one batch. Within a
// batch the plan's order stays, so that a row keeps its place from run to run.
func byBatch(rows []row) []row {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b row) int { return a.Point.Batch - b.Point.Batch })
	return rows
}

// measured says whether the row has numbers to show. An invalid point has some,
// but nobody must use them, so they stay in the journal.
func (r row) measured() bool { return r.State == bench.Measured }

// usable says whether the row's numbers are measurements at all: those of a test
// double are not, nor those of a batch that a damaged journal gives no image.
func (r row) usable() bool { return r.measured() && r.Quality != bench.Q0 && r.Point.Batch > 0 }

// without is why the row has no numbers.
func (r row) without() string { return fmt.Sprintf("%s: %s", r.State, r.Reason) }

// engine is what the run knows of the row's engine.
func (r row) engine() (bench.EngineRecord, bool) {
	for _, e := range r.run.Log.Run.Engines {
		if e.Name == r.Point.Engine {
			return e, true
		}
	}
	return bench.EngineRecord{}, false
}
