package reports

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"genbench/bench"
)

// A column is one fact about a point, declared once for all formats.
type column struct {
	// key names it for programs. Dots part an object from its members in JSON; in
	// CSV they become underscores. The unit stands in it.
	key string
	// header names it for people; a column without one is for programs only.
	header string
	unit   string // shown under the header
	right  bool   // numbers stand at the right
	// leave says when the column leaves a table that is too wide: the highest first,
	// 0 never.
	leave int
	// axis marks a coordinate of the grid: where all rows agree on it, it is said
	// once above the table.
	axis bool
	// explain has doc printed under a table for people.
	explain bool
	// silent is a reason for knowing nothing that people need not be told: that
	// nobody asked.
	silent string
	// statistic marks a column that only the page's table of statistics shows.
	statistic bool
	doc       string
	cell      func(row) cell
}

// A cell is a value in a column.
type cell struct {
	value  any    // string, int, int64, float64, bool or a slice; nil for unknown
	text   string // for people; empty for the plain form of value
	reason string // why value is nil
}

// people gives what a person reads.
func (c cell) people() string {
	switch {
	case c.value == nil:
		return "–"
	case c.text != "":
		return c.text
	}
	switch v := c.value.(type) {
	case float64:
		return strconv.FormatFloat(significant(v, 4), 'f', -1, 64)
	case string:
		if v == "" {
			return "–"
		}
	}
	return fmt.Sprint(c.value)
}

func unknown(format string, args ...any) cell {
	return cell{reason: fmt.Sprintf(format, args...)}
}

// number is a float for programs, rounded to nine figures: a clock that counts
// nanoseconds supports no more, and the rest differs between processors.
func number(v float64, text string) cell {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return unknown("the journal gives no finite number")
	}
	return cell{value: significant(v, 9), text: text}
}

// columns lists every fact about a point, in the order in which reports show them.
func columns() []column {
	return []column{
		{key: "run", doc: "id of the run", cell: func(r row) cell { return cell{value: r.run.Log.Run.ID} }},
		{key: "point", doc: "id of the point", cell: func(r row) cell { return cell{value: r.Point.String()} }},
		{key: "model", header: "model", doc: "network", cell: func(r row) cell { return cell{value: r.Point.Model} }},
		{key: "engine", header: "engine", axis: true, doc: "inference library", cell: func(r row) cell { return cell{value: r.Point.Engine} }},
		{key: "engine_version", doc: "version that the engine reports", cell: func(r row) cell {
			e, ok := r.engine()
			if !ok || e.Version == "" {
				return unknown("the engine was not opened")
			}
			return cell{value: e.Version}
		}},
		{key: "precision", header: "precision", axis: true, doc: "element type of compute", cell: func(r row) cell { return cell{value: r.Point.Precision} }},
		{key: "resolution", header: "input", unit: "px", right: true, axis: true, leave: 6, doc: "height and width of the input", cell: func(r row) cell {
			if r.Point.Resolution == 0 {
				return unknown("the input is not a single image, or the model was not opened for this batch")
			}
			return cell{value: r.Point.Resolution}
		}},
		{key: "batch", header: "batch", right: true, doc: "images per inference", cell: func(r row) cell { return cell{value: r.Point.Batch} }},
		{key: "graph", header: "graph", axis: true, doc: "how work is submitted on a GPU", cell: optionalAxis(func(p bench.Point) string { return p.Graph })},
		{key: "cache", header: "cache", axis: true, doc: "what an inference finds in the cache; hot reuses one input", cell: optionalAxis(func(p bench.Point) string { return p.Cache })},
		{key: "gap_ms", header: "gap", unit: "ms", right: true, axis: true, doc: "idle time before every inference", cell: func(r row) cell {
			if r.Point.Gap == 0 {
				return unknown("inferences run back to back")
			}
			gap := r.Point.Gap.Seconds() * 1e3
			return number(gap, strconv.FormatFloat(gap, 'f', -1, 64))
		}},
		{key: "state", doc: "measured, skipped, failed, invalid or pending", cell: func(r row) cell { return cell{value: string(r.State)} }},
		{key: "reason", doc: "why the state is not measured", cell: func(r row) cell { return cell{value: r.Reason} }},

		{key: "latency_ms.median", header: "latency", explain: true, unit: "ms", right: true,
			doc: "median device time of one inference of the whole batch: median of each round, averaged on the logarithm over rounds, then over launches",
			cell: func(r row) cell {
				if !r.measured() {
					return unknown("%s", r.without())
				}
				return r.milliseconds(r.Latency.Value)
			}},
		{key: "latency_ms.half_width_percent", header: "±", explain: true, unit: "%", right: true,
			doc: "half the width of the 95 % interval of the latency, over launches",
			cell: measuredCell(func(r row) cell {
				return r.interval(func(e bench.Estimate) float64 { return 100 * e.HalfWidth() }, percent)
			})},
		{key: "latency_ms.ci_low", header: "95 % interval", unit: "ms", silent: oneLaunch, right: true, leave: 15, doc: "lower end of the 95 % interval of the latency",
			cell: measuredCell(func(r row) cell {
				return r.interval(func(e bench.Estimate) float64 { return *e.Low / 1e6 }, func(float64) string { return r.ends() })
			})},
		{key: "latency_ms.ci_high", doc: "upper end of the 95 % interval of the latency",
			cell: measuredCell(func(r row) cell { return r.interval(func(e bench.Estimate) float64 { return *e.High / 1e6 }, nil) })},
		{key: "latency_ms.p90", header: "p90 (bound)", explain: true, unit: "ms", right: true, leave: 9,
			doc:  "device time of one inference that 9 of 10 samples of a launch do not exceed, averaged over launches, and in brackets its upper bound: " + whatBounds,
			cell: measuredCell(func(r row) cell { return r.tail(r.P90) })},
		tailBound("p90", p90), tailLow("p90", p90), tailHigh("p90", p90),
		{key: "latency_ms.p95", doc: "the same for 19 of 20 samples", cell: measuredCell(func(r row) cell { return r.tail(r.P95) })},
		tailBound("p95", p95), tailLow("p95", p95), tailHigh("p95", p95),
		{key: "latency_ms.p99", header: "p99 (bound)", explain: true, unit: "ms", right: true, leave: 4,
			doc:  "device time of one inference that 99 of 100 samples of a launch do not exceed, averaged over launches, and in brackets its upper bound: " + whatBounds,
			cell: measuredCell(func(r row) cell { return r.tail(r.P99) })},
		tailBound("p99", p99), tailLow("p99", p99), tailHigh("p99", p99),
		{key: "latency_ms.p999", doc: "the same for 999 of 1000 samples", cell: measuredCell(func(r row) cell { return r.tail(r.P999) })},
		tailBound("p999", p999), tailLow("p999", p999), tailHigh("p999", p999),
		{key: "latency_ms.min", header: "min", unit: "ms", right: true, leave: 12,
			doc: "device time of the fastest sample", cell: measuredCell(func(r row) cell { return r.milliseconds(r.Min) })},
		{key: "amortised_over", header: "amortised", unit: "over", silent: singleSamples, right: true, explain: true,
			doc: "how many inferences back to back each sample is the mean of, where one is too short for the device's events; latency and throughput are then those of a block",
			cell: measuredCell(func(r row) cell {
				if r.AmortisedOver == 0 {
					return unknown(singleSamples)
				}
				return cell{value: r.AmortisedOver}
			})},
		{key: "rotated_inputs", doc: "copies of the input that inferences read in turn; together they would fill the GPU's cache twice, unless the doubt few_inputs says otherwise",
			cell: measuredCell(func(r row) cell {
				if r.Inputs == 0 {
					return unknown("every inference reads the same input")
				}
				return cell{value: r.Inputs}
			})},

		{key: "throughput_per_s", header: "images/s", explain: true, right: true, leave: 1,
			doc: "images over the wall time of the whole block, in which inferences run one after another, gaps between them included; not batch over latency", cell: rateCell(func(r row) cell {
				return number(r.Throughput.Value, roundTo(r.Throughput.Value, decimals(*r.Throughput)))
			})},
		{key: "throughput_ci_low", doc: "lower end of the 95 % interval of the throughput", cell: rateCell(func(r row) cell { return end(*r.Throughput, low, 1, oneLaunch) })},
		{key: "throughput_ci_high", doc: "upper end of the 95 % interval of the throughput", cell: rateCell(func(r row) cell { return end(*r.Throughput, high, 1, oneLaunch) })},
		{key: "ms_per_image", header: "ms/image", right: true, leave: 5,
			doc: "latency over batch", cell: measuredCell(func(r row) cell {
				n := float64(r.Point.Batch)
				return number(r.Latency.Value/1e6/n, roundTo(r.Latency.Value/1e6/n, decimals(r.Latency.Scaled(1e-6/n))))
			})},
		{key: "params", header: "params", unit: "M", right: true, leave: 14, doc: "learnable parameters of the network", cell: func(r row) cell {
			return counted(r.Model.Params, 1e6)
		}},
		{key: "macs", header: "MACs", unit: "G/image", right: true, leave: 13, doc: "multiply-accumulates of the convolution and linear layers, for one image", cell: func(r row) cell {
			return counted(r.Model.MACs, 1e9)
		}},
		{key: "gmac_per_s", header: "GMAC/s", explain: true, right: true, leave: 8, doc: "arithmetic achieved: MACs of an image times images a second", cell: rateCell(func(r row) cell {
			if r.Model.MACs <= 0 {
				return unknown("the journal holds no cost of this network")
			}
			v := float64(r.Model.MACs) * r.Throughput.Value / 1e9
			return number(v, roundTo(v, decimals(r.Throughput.Scaled(float64(r.Model.MACs)/1e9))))
		})},
		{key: "top1_percent", header: "top-1", explain: true, unit: "%", right: true, leave: 3, doc: "ImageNet top-1 as published with the network's trained weights; it is not measured here", cell: func(r row) cell {
			if r.Model.Top1 == nil {
				return unknown("none is published for this network and resolution")
			}
			return number(*r.Model.Top1, strconv.FormatFloat(*r.Model.Top1, 'f', 1, 64))
		}},
		{key: "top1_source", doc: "who published it", cell: func(r row) cell {
			if r.Model.Top1 == nil {
				return unknown("none is published for this network and resolution")
			}
			return cell{value: r.Model.Top1Source}
		}},
		{key: "energy_j", header: "J", explain: true, silent: bench.NoEnergyPass, right: true, leave: 2, doc: "energy of one inference of the whole batch, from the device's own counter, in a separate pass", cell: measuredCell(func(r row) cell {
			if r.Energy == nil {
				return unknown("%s", r.NoEnergy)
			}
			return number(r.Energy.Gross.Value, roundTo(r.Energy.Gross.Value, decimals(r.Energy.Gross)))
		})},
		{key: "energy_ci_low_j", doc: "lower end of its 95 % interval, over windows", cell: energyBound(func(e bench.Estimate) *float64 { return e.Low })},
		{key: "energy_ci_high_j", doc: "upper end of its 95 % interval, over windows", cell: energyBound(func(e bench.Estimate) *float64 { return e.High })},
		{key: "energy_net_j", doc: "energy of one inference without what the device uses at rest", cell: measuredCell(func(r row) cell {
			if r.Energy == nil {
				return unknown("%s", r.NoEnergy)
			}
			return number(r.Energy.Net.Value, roundTo(r.Energy.Net.Value, decimals(r.Energy.Net)))
		})},

		{key: "samples", header: "samples", right: true, leave: 11, doc: "samples that count: single inferences, or blocks of them where amortised", cell: visitedCell(func(r row) cell { return cell{value: r.Samples} })},
		{key: "effective_samples", header: "n eff.", statistic: true, explain: true, right: true, doc: "how many independent samples the samples are worth, allowing for lag-1 autocorrelation",
			cell: measuredCell(func(r row) cell { return number(r.Effective, roundTo(r.Effective, 0)) })},
		{key: "rounds", header: "rounds (dropped)", explain: true, right: true, leave: 10, doc: "blocks of samples that count, and those that were dropped for contamination", cell: visitedCell(func(r row) cell {
			kept := len(r.Rounds) - r.Dropped()
			if r.Dropped() > 0 {
				return cell{value: kept, text: fmt.Sprintf("%d (%d)", kept, r.Dropped())}
			}
			return cell{value: kept}
		})},
		{key: "dropped_rounds", doc: "blocks of samples that were dropped for contamination", cell: visitedCell(func(r row) cell { return cell{value: r.Dropped()} })},
		{key: "dropped_median_ms", doc: "median device time of one inference in the dropped rounds", cell: func(r row) cell {
			if r.DroppedMedian == 0 {
				return unknown("no round was dropped")
			}
			return number(r.DroppedMedian/1e6, "")
		}},
		{key: "launches", header: "launches", right: true, leave: 7, doc: "fresh processes that measured the point", cell: visitedCell(func(r row) cell { return cell{value: r.Launches} })},
		{key: "mde_percent", header: "MDE", statistic: true, explain: true, unit: "%", right: true, doc: "minimum detectable effect: the smallest change in latency that a second run like this one would detect, at the 5 % level, in 80 of 100 cases",
			cell: measuredCell(func(r row) cell {
				if r.Latency.Low == nil {
					return unknown("%s", oneLaunch)
				}
				return number(100*r.Latency.MDE(), percent(100*r.Latency.MDE()))
			})},
		{key: "mad_ms", header: "MAD", statistic: true, explain: true, unit: "ms", right: true, doc: "median absolute deviation of the samples", cell: measuredCell(func(r row) cell { return threeFigures(r.Spread.MAD / 1e6) })},
		{key: "iqr_ms", header: "IQR", statistic: true, explain: true, unit: "ms", right: true, doc: "interquartile range of the samples", cell: measuredCell(func(r row) cell { return threeFigures(r.Spread.IQR / 1e6) })},
		{key: "cv_within", header: "CV within", statistic: true, explain: true, unit: "%", right: true, doc: "standard deviation over mean within a round, median of the rounds",
			cell: measuredCell(func(r row) cell { return number(r.Spread.CVWithin, percent(100*r.Spread.CVWithin)) })},
		{key: "cv_between", header: "CV between", statistic: true, explain: true, unit: "%", right: true, doc: "standard deviation over mean of the launches' medians", cell: measuredCell(func(r row) cell {
			if r.Launches < 2 {
				return unknown("%s", oneLaunch)
			}
			return number(r.Spread.CVBetween, percent(100*r.Spread.CVBetween))
		})},
		{key: "variance_shares.build", header: "build", statistic: true, silent: oneBuild, unit: "% of var.", right: true, doc: "share of the variance of a sample that lies between builds of the network by an engine that searches for its kernels",
			cell: measuredCell(func(r row) cell {
				if r.Spread.Shares.Build == nil {
					return unknown("%s", oneBuild)
				}
				return number(*r.Spread.Shares.Build, roundTo(100**r.Spread.Shares.Build, 0))
			})},
		{key: "variance_shares.launch", header: "launch", statistic: true, explain: true, unit: "% of var.", right: true, doc: "share of a sample's variance that lies between launches; next to it the shares between the rounds of a launch and between the samples of a round",
			cell: share(func(s bench.Shares) *float64 { return s.Launch }, "launches")},
		{key: "variance_shares.round", header: "round", statistic: true, unit: "% of var.", right: true, doc: "share of the variance of a sample that lies between the rounds of a launch",
			cell: share(func(s bench.Shares) *float64 { return s.Round }, "rounds of a launch")},
		{key: "variance_shares.sample", header: "sample", statistic: true, unit: "% of var.", right: true, doc: "share of the variance of a sample that lies between the samples of a round",
			cell: share(func(s bench.Shares) *float64 { return s.Sample }, "samples")},
		{key: "outliers", header: "outliers", statistic: true, explain: true, right: true, doc: "samples beyond Tukey's fences; they are kept", cell: measuredCell(func(r row) cell { return cell{value: r.Spread.Outliers} })},
		{key: "cycles", header: "cycles", statistic: true, explain: true, unit: "M", right: true, doc: "the latency times the device's clock in each round; a change in time that the cycles do not show comes from the clock",
			cell: inCycles(func(e bench.Estimate) cell { return number(e.Value, roundTo(e.Value/1e6, decimals(e.Scaled(1e-6)))) })},
		{key: "cycles_ci_low", doc: "lower end of the 95 % interval of the cycles", cell: inCycles(func(e bench.Estimate) cell { return end(e, low, 1, oneLaunch) })},
		{key: "cycles_ci_high", doc: "upper end of the 95 % interval of the cycles", cell: inCycles(func(e bench.Estimate) cell { return end(e, high, 1, oneLaunch) })},
		{key: "clock_mhz.mean", header: "clock", statistic: true, explain: true, unit: "MHz", right: true, doc: "mean clock of the device over the rounds, and from the lowest to the highest round", cell: ranged(func(m *bench.Measurement) *bench.Range { return m.Clock }, func(r bench.Range) float64 { return r.Mean }, "clock")},
		{key: "clock_mhz.low", doc: "clock of the round in which it was lowest", cell: ranged(func(m *bench.Measurement) *bench.Range { return m.Clock }, func(r bench.Range) float64 { return r.Low }, "clock")},
		{key: "clock_mhz.high", doc: "clock of the round in which it was highest", cell: ranged(func(m *bench.Measurement) *bench.Range { return m.Clock }, func(r bench.Range) float64 { return r.High }, "clock")},
		{key: "temperature_c.mean", header: "temperature", statistic: true, explain: true, unit: "°C", right: true, doc: "mean temperature of the device over the rounds, and from the lowest to the highest round", cell: ranged(func(m *bench.Measurement) *bench.Range { return m.Temperature }, func(r bench.Range) float64 { return r.Mean }, "temperature")},
		{key: "temperature_c.low", doc: "temperature of the coolest round", cell: ranged(func(m *bench.Measurement) *bench.Range { return m.Temperature }, func(r bench.Range) float64 { return r.Low }, "temperature")},
		{key: "temperature_c.high", doc: "temperature of the hottest round", cell: ranged(func(m *bench.Measurement) *bench.Range { return m.Temperature }, func(r bench.Range) float64 { return r.High }, "temperature")},
		{key: "e2e_ms.median", header: "host to host", statistic: true, silent: bench.NoHostCopies, explain: true, unit: "ms", right: true,
			doc:  "median time by the host's clock from the input in pinned host memory to the output there: copy in, one inference, copy out, in a separate pass",
			cell: copied(hostToHost)},
		{key: "e2e_ms.ci_low", doc: "lower end of its 95 % interval, over launches", cell: copiedEnd(hostToHost, low)},
		{key: "e2e_ms.ci_high", doc: "upper end of its 95 % interval", cell: copiedEnd(hostToHost, high)},
		{key: "h2d_ms.median", header: "copy in", statistic: true, silent: bench.NoHostCopies, explain: true, unit: "ms", right: true,
			doc: "median device time of copying the input of one inference from pinned host memory to the device, which is not part of the latency", cell: copied(copyIn)},
		{key: "h2d_ms.ci_low", doc: "lower end of its 95 % interval, over launches", cell: copiedEnd(copyIn, low)},
		{key: "h2d_ms.ci_high", doc: "upper end of its 95 % interval", cell: copiedEnd(copyIn, high)},
		{key: "d2h_ms.median", header: "copy out", statistic: true, silent: bench.NoHostCopies, explain: true, unit: "ms", right: true,
			doc: "median device time of copying the output of one inference to pinned host memory, which is not part of the latency", cell: copied(copyOut)},
		{key: "d2h_ms.ci_low", doc: "lower end of its 95 % interval, over launches", cell: copiedEnd(copyOut, low)},
		{key: "d2h_ms.ci_high", doc: "upper end of its 95 % interval", cell: copiedEnd(copyOut, high)},
		{key: "enqueue_ms.median", doc: "median time inside the call that submits one inference", cell: enqueued(func(e bench.Estimate) cell { return number(e.Value/1e6, "") })},
		{key: "enqueue_ms.ci_low", doc: "lower end of its 95 % interval, over launches", cell: enqueued(func(e bench.Estimate) cell { return end(e, low, 1e-6, oneLaunch) })},
		{key: "enqueue_ms.ci_high", doc: "upper end of its 95 % interval", cell: enqueued(func(e bench.Estimate) cell { return end(e, high, 1e-6, oneLaunch) })},
		{key: "build_ms", doc: "network to session, median of the visits", cell: func(r row) cell { return prepared(r, float64(r.Build)) }},
		{key: "first_inference_ms", doc: "first inference of a session, median of the visits", cell: func(r row) cell { return prepared(r, float64(r.First)) }},
		{key: "check.pass", doc: "whether the output matched the fp32 reference's in every launch", cell: checked(func(c *bench.Check) any { return c.Pass })},
		{key: "check.max_rel_err", doc: "largest difference over the reference's root mean square, worst launch", cell: checked(func(c *bench.Check) any { return significant(c.MaxRelErr, 4) })},
		{key: "check.cosine", doc: "cosine of output and reference, worst launch", cell: checked(func(c *bench.Check) any { return significant(c.Cosine, 9) })},

		{key: "quality", header: "quality", explain: true, doc: "Q1 fixed clocks, steady, replicated; Q2 floating clocks, but steady; Q3 not to be relied on; Q0 not to be used", cell: func(r row) cell {
			if r.Quality == "" {
				return unknown("%s", r.without())
			}
			return cell{value: string(r.Quality)}
		}},
		{key: "quality_reasons", doc: "why the quality is no better", cell: func(r row) cell { return cell{value: append([]string{}, r.Lowered...)} }},
		{key: "warnings", doc: "doubts about the point", cell: func(r row) cell { return cell{value: doubts(r.Warnings)} }},
		{key: "run_warnings", doc: "doubts about the run as a whole", cell: func(r row) cell { return cell{value: doubts(r.run.Warnings)} }},
		{key: "drift.drifted", doc: "whether the machine changed while the run measured", cell: func(r row) cell { return cell{value: r.run.Drift.Drifted() != ""} }},
		{key: "drift.sentinel_shift_percent", doc: "largest shift of the point that was visited repeatedly", cell: sentinelCell(func(s *bench.Sentinel) float64 { return 100 * s.Shift })},
		{key: "drift.sentinel_error_percent", doc: "how much of it chance explains", cell: sentinelCell(func(s *bench.Sentinel) float64 { return 100 * s.Error })},
		{key: "drift.trend_percent", doc: "change in all points together over the run", cell: trendCell(func(t *bench.Trend) float64 { return 100 * t.Change })},
		{key: "drift.trend_p", doc: "probability of a trend as clear without drift, Mann-Kendall", cell: trendCell(func(t *bench.Trend) float64 { return t.P })},
		{key: "drift.temperature_correlation", doc: "of the rounds' residuals with the temperature", cell: correlationCell(func(d bench.Drift) *bench.Correlation { return d.Temperature })},
		{key: "drift.clock_correlation", doc: "of the rounds' residuals with the clock", cell: correlationCell(func(d bench.Drift) *bench.Correlation { return d.Clock })},
		{key: "drift.odd_even_points", doc: "points whose odd rounds were tested against their even ones at 5 %", cell: func(r row) cell { return cell{value: r.run.Drift.OddEven.Points} }},
		{key: "drift.odd_even_rejected", doc: "how many of those the test told apart", cell: func(r row) cell { return cell{value: r.run.Drift.OddEven.Rejected} }},
		{key: "rules.met", doc: "rules of the protocol that the run met", cell: rulesCell(bench.RuleMet)},
		{key: "rules.not_met", doc: "rules of the protocol that it did not meet, with the reason", cell: func(r row) cell {
			broken := []bench.Rule{}
			for _, rule := range r.run.Rules {
				if rule.State == bench.RuleNotMet {
					broken = append(broken, rule)
				}
			}
			return cell{value: broken}
		}},
		{key: "rules.not_applicable", doc: "rules of the protocol that such a run cannot meet", cell: rulesCell(bench.RuleNotApplicable)},
		{key: "device", doc: "what the inference ran on", cell: func(r row) cell { return cell{value: deviceText(r.run.Log.Run)} }},
		{key: "protocol", doc: "measurement protocol and profile", cell: func(r row) cell { return cell{value: protocolText(r.run.Log.Run)} }},
		{key: "threads", doc: "host threads an inference may use", cell: func(r row) cell { return cell{value: r.run.Log.Run.Config.Threads} }},
	}
}

// oneLaunch is why an interval is missing.
const oneLaunch = "an interval needs at least two launches"

// measuredCell leaves a column unknown, with the reason, where a row has no numbers.
func measuredCell(of func(row) cell) func(row) cell {
	return func(r row) cell {
		if !r.measured() {
			return unknown("%s", r.without())
		}
		return of(r)
	}
}

// rateCell leaves a rate unknown, with the reason, where there is none.
func rateCell(of func(row) cell) func(row) cell {
	return measuredCell(func(r row) cell {
		if r.Throughput == nil {
			return unknown("%s", r.NoThroughput)
		}
		return of(r)
	})
}

// visitedCell leaves a count unknown, with the reason, where there was nothing to
// count.
func visitedCell(of func(row) cell) func(row) cell {
	return func(r row) cell {
		if len(r.Rounds) == 0 {
			return unknown("%s", r.without())
		}
		return of(r)
	}
}

// optionalAxis is a coordinate that some devices do not have.
func optionalAxis(of func(bench.Point) string) func(row) cell {
	return func(r row) cell {
		if v := of(r.Point); v != "" {
			return cell{value: v}
		}
		return unknown("the device has no such axis")
	}
}

// milliseconds shows nanoseconds with the decimals that the latency's interval
// supports, so that all times of a row can be compared at a glance.
func (r row) milliseconds(ns float64) cell {
	return number(ns/1e6, roundTo(ns/1e6, decimals(r.Latency.Scaled(1e-6))))
}

// ends are those of the interval of the latency, which has to have one, in milliseconds.
func (r row) ends() string {
	return r.milliseconds(*r.Latency.Low).people() + " to " + r.milliseconds(*r.Latency.High).people()
}

func (r row) interval(of func(bench.Estimate) float64, text func(float64) string) cell {
	if r.Latency.Low == nil || r.Latency.High == nil {
		return unknown("%s", oneLaunch)
	}
	v := of(r.Latency)
	if text == nil {
		return number(v, "")
	}
	return number(v, text(v))
}

func (r row) tail(t *bench.Tail) cell {
	if t == nil {
		return r.noTail()
	}
	d := decimals(r.Latency.Scaled(1e-6))
	return number(t.Value/1e6, fmt.Sprintf("%s (%s)", roundTo(t.Value/1e6, d), roundTo(t.Upper/1e6, d)))
}

// The high quantiles of a row.
func p90(r row) *bench.Tail  { return r.P90 }
func p95(r row) *bench.Tail  { return r.P95 }
func p99(r row) *bench.Tail  { return r.P99 }
func p999(r row) *bench.Tail { return r.P999 }

// whatBounds says what an upper bound of a high quantile is.
const whatBounds = "the samples show with 99 % confidence that it is no higher; where the upper end of its 95 % interval over launches is higher, that is given instead"

func tailBound(name string, of func(row) *bench.Tail) column {
	return column{key: "latency_ms." + name + "_upper_bound", doc: "upper bound of " + name + ": " + whatBounds, cell: measuredCell(func(r row) cell {
		if of(r) == nil {
			return r.noTail()
		}
		return number(of(r).Upper/1e6, "")
	})}
}

func tailLow(name string, of func(row) *bench.Tail) column {
	return column{key: "latency_ms." + name + "_ci_low", doc: "lower end of the 95 % interval of " + name, cell: tailEnd(of, low)}
}

func tailHigh(name string, of func(row) *bench.Tail) column {
	return column{key: "latency_ms." + name + "_ci_high", doc: "upper end of the 95 % interval of " + name, cell: tailEnd(of, high)}
}

func tailEnd(of func(row) *bench.Tail, which func(bench.Estimate) *float64) func(row) cell {
	return measuredCell(func(r row) cell {
		if of(r) == nil {
			return r.noTail()
		}
		reason := oneLaunch
		if r.Launches > 1 {
			reason = "a launch is too short to hold this quantile"
		}
		return end(of(r).Estimate, which, 1e-6, reason)
	})
}

// The ends of an interval.
func low(e bench.Estimate) *float64  { return e.Low }
func high(e bench.Estimate) *float64 { return e.High }

func end(e bench.Estimate, which func(bench.Estimate) *float64, by float64, reason string) cell {
	if which(e) == nil {
		return unknown("%s", reason)
	}
	return number(*which(e)*by, "")
}

// threeFigures shows a spread.
func threeFigures(v float64) cell {
	return number(v, strconv.FormatFloat(significant(v, 3), 'f', -1, 64))
}

// oneBuild is why there is nothing between builds.
const oneBuild = "the launches measured one build"

func share(of func(bench.Shares) *float64, level string) func(row) cell {
	return measuredCell(func(r row) cell {
		v := of(r.Spread.Shares)
		if v == nil {
			return unknown("that needs two %s, and samples that differ", level)
		}
		return number(*v, roundTo(100**v, 0))
	})
}

func inCycles(of func(bench.Estimate) cell) func(row) cell {
	return measuredCell(func(r row) cell {
		if r.Cycles == nil {
			return unknown("%s", r.NoCycles)
		}
		return of(*r.Cycles)
	})
}

// What is copied around an inference.
func hostToHost(c bench.Copies) bench.Estimate { return c.Around }
func copyIn(c bench.Copies) bench.Estimate     { return c.In }
func copyOut(c bench.Copies) bench.Estimate    { return c.Out }

func copied(of func(bench.Copies) bench.Estimate) func(row) cell {
	return measuredCell(func(r row) cell {
		if r.Copies == nil {
			return unknown("%s", r.NoCopies)
		}
		e := of(*r.Copies)
		return number(e.Value/1e6, roundTo(e.Value/1e6, decimals(e.Scaled(1e-6))))
	})
}

func copiedEnd(of func(bench.Copies) bench.Estimate, which func(bench.Estimate) *float64) func(row) cell {
	return measuredCell(func(r row) cell {
		if r.Copies == nil {
			return unknown("%s", r.NoCopies)
		}
		return end(of(*r.Copies), which, 1e-6, oneLaunch)
	})
}

func enqueued(of func(bench.Estimate) cell) func(row) cell {
	return measuredCell(func(r row) cell {
		if r.Enqueue == nil {
			return unknown("on a host device, host and enqueue time are the same")
		}
		return of(*r.Enqueue)
	})
}

func ranged(of func(*bench.Measurement) *bench.Range, which func(bench.Range) float64, name string) func(row) cell {
	return measuredCell(func(r row) cell {
		v := of(r.Measurement)
		if v == nil {
			return unknown("the device's %s could not be read", name)
		}
		text := roundTo(which(*v), 0)
		if roundTo(v.Low, 0) != roundTo(v.High, 0) {
			text += fmt.Sprintf(" (%s to %s)", roundTo(v.Low, 0), roundTo(v.High, 0))
		}
		return number(which(*v), text)
	})
}

func sentinelCell(of func(*bench.Sentinel) float64) func(row) cell {
	return func(r row) cell {
		if r.run.Drift.Sentinel == nil {
			return unknown("no point was visited again to watch the machine")
		}
		return number(of(r.run.Drift.Sentinel), "")
	}
}

func trendCell(of func(*bench.Trend) float64) func(row) cell {
	return func(r row) cell {
		if r.run.Drift.Trend == nil {
			return unknown("too few rounds for a trend")
		}
		return number(of(r.run.Drift.Trend), "")
	}
}

func correlationCell(of func(bench.Drift) *bench.Correlation) func(row) cell {
	return func(r row) cell {
		c := of(r.run.Drift)
		if c == nil {
			return unknown("the counter could not be read, or did not change")
		}
		return number(c.R, "")
	}
}

func rulesCell(state bench.RuleState) func(row) cell {
	return func(r row) cell {
		ids := []string{}
		for _, rule := range r.run.Rules {
			if rule.State == state {
				ids = append(ids, rule.ID)
			}
		}
		return cell{value: ids}
	}
}

// noTail is why a measured row publishes no high quantile.
func (r row) noTail() cell {
	if r.AmortisedOver > 0 {
		return unknown("samples are means of blocks, whose tails say nothing about single inferences")
	}
	return unknown("too few independent samples for this quantile")
}

// singleSamples is why a row is not amortised over anything.
const singleSamples = "each sample is one inference"

func counted(n int64, unit float64) cell {
	if n <= 0 {
		return unknown("the journal holds no cost of this network")
	}
	v := float64(n) / unit
	return cell{value: n, text: roundTo(v, decimals(bench.Estimate{Value: v}))}
}

func prepared(r row, ns float64) cell {
	if ns <= 0 {
		return unknown("no visit got that far")
	}
	return number(ns/1e6, "")
}

func checked(of func(*bench.Check) any) func(row) cell {
	return func(r row) cell {
		if r.Check == nil {
			return unknown("no output was checked")
		}
		return cell{value: of(r.Check)}
	}
}

// doubts makes an empty list of none: nothing is unknown, so it must not be null.
func doubts(warnings []bench.Warning) []bench.Warning {
	return append([]bench.Warning{}, warnings...)
}

// significant rounds to a number of figures.
func significant(v float64, figures int) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', figures, 64), 64)
	if err != nil {
		return v // infinite after rounding up the largest float; there is no better answer
	}
	return rounded
}

// Bounds of figures shown: an interval may be narrower than the clock's grain or
// wider than the value, and neither says how to print it.
const (
	mostFigures  = 5
	plainFigures = 3 // without an interval
)

// decimals is how many digits after the point an estimate supports: those that
// leave two figures of the interval's half-width.
func decimals(e bench.Estimate) int {
	if !(e.Value > 0) || math.IsInf(e.Value, 0) {
		return 0
	}
	magnitude := int(math.Floor(math.Log10(e.Value)))
	most := max(0, mostFigures-1-magnitude)
	if e.Low == nil || e.High == nil {
		return max(0, plainFigures-1-magnitude)
	}
	half := (*e.High - *e.Low) / 2
	if !(half > 0) {
		return most
	}
	least := max(0, -magnitude) // never round the value itself away
	return min(most, max(least, 1-int(math.Floor(math.Log10(half)))))
}

func roundTo(v float64, decimals int) string { return strconv.FormatFloat(v, 'f', decimals, 64) }

// percent shows a share with two figures.
func percent(v float64) string {
	if !(v > 0) {
		return "0"
	}
	return strconv.FormatFloat(v, 'f', max(0, 1-int(math.Floor(math.Log10(v)))), 64)
}

func protocolText(run bench.RunRecord) string {
	return strings.TrimSpace(run.Config.Protocol.ID + " " + run.Config.Protocol.Profile)
}

// energyBound shows an end of the interval of the energy.
func energyBound(of func(bench.Estimate) *float64) func(row) cell {
	return measuredCell(func(r row) cell {
		if r.Energy == nil {
			return unknown("%s", r.NoEnergy)
		}
		bound := of(r.Energy.Gross)
		if bound == nil {
			return unknown("an interval needs two windows")
		}
		return number(*bound, roundTo(*bound, decimals(r.Energy.Gross)))
	})
}
