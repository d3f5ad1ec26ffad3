package reports

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"genbench/bench"
	"genbench/hardware"
)

// GoBench writes the Go benchmark format (golang.org/design/14313-benchmark-format),
// one line a kept round, so that benchstat sees every replicate. ns/op is the
// median device time of one inference in that round, and the number of iterations
// is the round's samples; images/s is over the host's clock (M3), and missing where
// there is no rate. What describes the machine and the run stands in configuration
// lines, the coordinates of a point in its name.
//
// Rounds of one launch are not independent; benchstat takes them for it. Where a
// run has more than one round a launch, trust the intervals of the other formats.
func GoBench(w io.Writer, results ...*bench.Result) error {
	var b bytes.Buffer
	b.WriteString("Unit images/s better=higher\n")
	var last []configLine
	for _, result := range results {
		run := result.Log.Run
		for _, r := range rowsOf([]*bench.Result{result}) {
			if !r.measured() {
				continue
			}
			if config := benchConfig(run, r); !slices.Equal(config, last) {
				b.WriteByte('\n')
				for _, line := range config {
					fmt.Fprintf(&b, "%s: %s\n", line.key, line.value)
				}
				// What the next result lacks would hold for it, too.
				for _, line := range last {
					if !slices.ContainsFunc(config, func(c configLine) bool { return c.key == line.key }) {
						fmt.Fprintf(&b, "%s:\n", line.key)
					}
				}
				b.WriteByte('\n')
				last = config
			}
			for _, round := range r.Rounds {
				if round.Status == bench.OK {
					writeRound(&b, r.Point, round)
				}
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

type configLine struct{ key, value string }

// benchConfig are the lines that hold for all results after them.
func benchConfig(run bench.RunRecord, r row) []configLine {
	var config []configLine
	line := func(key, value string) {
		if value = clean(value); value != "" {
			config = append(config, configLine{key, value})
		}
	}
	line("goarch", run.Host.Architecture)
	if run.Host.CPUModel != nil {
		line("cpu", *run.Host.CPUModel)
	}
	var gpus []string
	for _, d := range run.Devices {
		if d.Kind != hardware.Host {
			gpus = append(gpus, d.Name)
		}
	}
	line("gpu", strings.Join(gpus, ", "))
	line("protocol", run.Config.Protocol.ID)
	line("profile", run.Config.Protocol.Profile)
	line("threads", strconv.Itoa(run.Config.Threads))
	if e, ok := r.engine(); ok {
		line("engine-version", e.Version)
	}
	return config
}

// writeRound writes one line. The resolution ends the name, because a name that
// ended in a hyphen and a number would be read as one with GOMAXPROCS.
func writeRound(b *bytes.Buffer, p bench.Point, round *bench.RoundRecord) {
	sorted := slices.Clone(round.DeviceNS)
	slices.Sort(sorted)
	n := len(sorted)
	median := float64(sorted[(n-1)/2]+sorted[n/2]) / 2
	total := 0.0 // a hostile journal overflows an integer
	for _, ns := range round.WallNS() {
		total += float64(ns)
	}
	fmt.Fprintf(b, "BenchmarkLatency/model=%s/engine=%s/precision=%s", nameValue(p.Model), nameValue(p.Engine), nameValue(p.Precision))
	if p.Graph != "" {
		fmt.Fprintf(b, "/graph=%s", nameValue(p.Graph))
	}
	if p.Cache != "" {
		fmt.Fprintf(b, "/cache=%s", nameValue(p.Cache))
	}
	if p.Gap != 0 {
		fmt.Fprintf(b, "/gap=%s", nameValue(p.Gap.String()))
	}
	fmt.Fprintf(b, "/batch=%d/resolution=%d\t%d\t%s ns/op", p.Batch, p.Resolution, n, strconv.FormatFloat(median, 'f', -1, 64))
	if p.NoThroughput() == "" {
		rate := float64(n) * float64(p.Batch) / (total / 1e9)
		fmt.Fprintf(b, "\t%s images/s", strconv.FormatFloat(significant(rate, 7), 'f', -1, 64))
	}
	if round.AmortisedOver > 0 {
		fmt.Fprintf(b, "\t%d amortised-over", round.AmortisedOver)
	}
	b.WriteByte('\n')
}

// nameValue makes a value that may stand in a benchmark's name, where a slash
// begins the next key and a space ends the name.
func nameValue(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == '=' || unicode.IsSpace(r) || unicode.IsControl(r) {
			return '_'
		}
		return r
	}, s)
}
