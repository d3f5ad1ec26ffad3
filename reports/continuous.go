package reports

import (
	"encoding/json"
	"fmt"
	"io"

	"genbench/bench"
)

// Bencher writes Bencher Metric Format (bencher.dev/docs/reference/bencher-metric-format):
// by point, the built-in measures latency, in nanoseconds, and throughput, in
// operations a second, here images. The bounds are those of the interval. Points
// without numbers, and those of test doubles, are left out: the format cannot say why.
func Bencher(w io.Writer, results ...*bench.Result) error {
	type metric struct {
		Value float64  `json:"value"`
		Low   *float64 `json:"lower_value,omitempty"`
		High  *float64 `json:"upper_value,omitempty"`
	}
	// Rounded, because the last bits of a logarithm differ between machines.
	short := func(v *float64) *float64 {
		if v == nil {
			return nil
		}
		rounded := significant(*v, 9)
		return &rounded
	}
	of := func(e bench.Estimate) metric { return metric{*short(&e.Value), short(e.Low), short(e.High)} }
	if err := onePoint(results); err != nil {
		return err
	}
	all := map[string]map[string]metric{}
	for _, r := range rowsOf(results) {
		if r.usable() {
			measures := map[string]metric{"latency": of(r.Latency)}
			if r.Throughput != nil {
				measures["throughput"] = of(*r.Throughput)
			}
			all[r.Point.String()] = measures
		}
	}
	return writeIndented(w, all)
}

// SmallerIsBetter writes what github-action-benchmark's tool customSmallerIsBetter
// reads (github.com/benchmark-action/github-action-benchmark, README): the latency
// of every point that has one.
func SmallerIsBetter(w io.Writer, results ...*bench.Result) error {
	type entry struct {
		Name  string  `json:"name"`
		Unit  string  `json:"unit"`
		Value float64 `json:"value"`
		Range string  `json:"range,omitempty"`
		Extra string  `json:"extra"`
	}
	if err := onePoint(results); err != nil {
		return err
	}
	all := []entry{}
	for _, r := range rowsOf(results) {
		if !r.usable() {
			continue
		}
		amortised := ""
		if r.AmortisedOver > 0 {
			amortised = fmt.Sprintf(", amortised over %d inferences", r.AmortisedOver)
		}
		e := entry{Name: r.Point.String(), Unit: "ms", Value: significant(r.Latency.Value/1e6, 7), Extra: fmt.Sprintf("run %s, quality %s%s", clean(r.run.Log.Run.ID), r.Quality, amortised)}
		if r.Latency.Low != nil {
			e.Range = fmt.Sprintf("± %.3g %%", 100*r.Latency.HalfWidth())
		}
		all = append(all, e)
	}
	return writeIndented(w, all)
}

// onePoint refuses results that share a point: it is the name by which these formats know
// a number, so that one result would overwrite the other or stand beside it unnamed.
func onePoint(results []*bench.Result) error {
	runs := map[string]string{}
	for _, r := range rowsOf(results) {
		if !r.usable() {
			continue
		}
		id, run := r.Point.String(), r.run.Log.Run.ID
		if first, twice := runs[id]; twice {
			return fmt.Errorf("point %s is in runs %s and %s, and this format keeps one number per point; write each result to a file of its own", id, clean(first), clean(run))
		}
		runs[id] = run
	}
	return nil
}

func writeIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
