package main

import (
	"fmt"
	"io"
	"math"
	"time"
	"unicode/utf8"

	"genbench/bench"
	"genbench/hardware"
)

// progress tells a person what a run is doing: one line whenever a round has
// ended, and nothing in between, because redrawing would take a core from what is
// being measured.
type progress struct {
	out   io.Writer
	width int // of the widest point's name
}

func (p *progress) begin(plan *bench.Plan, findings []hardware.Finding, dir string) {
	c := plan.Config
	fmt.Fprintf(p.out, "%s %s: %s × %s, about %s, %s, seed %d → %s\n",
		c.Protocol.ID, c.Protocol.Profile, plural(plan.Measurable(), "point", "points"), design(c.Protocol), plannedTime(plan), plural(c.Threads, "thread", "threads"), c.Seed, dir)
	for _, f := range findings {
		fmt.Fprintf(p.out, "%s: %s; %s\n", f.Severity, f.Text, f.Advice)
	}
	for _, e := range plan.Engines {
		if !e.Available {
			fmt.Fprintf(p.out, "skipped: %s\n", e.Reason)
		}
	}
}

func (p *progress) event(e bench.Event) {
	left := ""
	if e.Left > 0 {
		left = ", " + seconds(e.Left.Seconds()) + " left"
	}
	switch e.Kind {
	case bench.Preparing:
		fmt.Fprintln(p.out, "computing expected outputs")
	case bench.Launched:
		fmt.Fprintf(p.out, "launch %d\n", e.Launch)
	case bench.Extended:
		fmt.Fprintf(p.out, "launch %d, added for points whose interval is too wide\n", e.Launch)
	case bench.Clocked:
		fmt.Fprintf(p.out, "clocks: %s\n", e.Text)
	case bench.Watched:
		fmt.Fprintf(p.out, "[%*d/%d%s] %-*s  sentinel: %s\n", digits(e.Total), e.Done, e.Total, left, p.width, e.Point, e.Text)
	case bench.Visited:
		mark := ""
		if e.AmortisedOver > 0 {
			mark = "  amortised"
		}
		switch {
		case e.Text != "":
			mark += "  dropped: " + e.Text
		case e.Unclean:
			mark += "  unsteady"
		}
		fmt.Fprintf(p.out, "[%*d/%d%s] %-*s  %s%s\n", digits(e.Total), e.Done, e.Total, left, p.width, e.Point, latency(e.Latency), mark)
	case bench.Settled:
		if e.Text != "" {
			fmt.Fprintf(p.out, "launch %d begins unsettled: %s\n", e.Launch, e.Text)
		}
	case bench.Refused:
		fmt.Fprintf(p.out, "[%*d/%d%s] %-*s  skipped: %s\n", digits(e.Total), e.Done, e.Total, left, p.width, e.Point, e.Text)
	case bench.Metering:
		fmt.Fprintln(p.out, "energy")
	case bench.Metered:
		text := "no energy: " + e.Text
		if e.Text == "" {
			text = fmt.Sprintf("%.3g J", e.Energy.Value)
		}
		fmt.Fprintf(p.out, "[%*d/%d%s] %-*s  %s\n", digits(e.Total), e.Done, e.Total, left, p.width, e.Point, text)
	case bench.Layering:
		fmt.Fprintln(p.out, "layers")
	case bench.Layered:
		fmt.Fprintf(p.out, "[%*d/%d%s] %-*s  %s\n", digits(e.Total), e.Done, e.Total, left, p.width, e.Point, e.Text)
	case bench.Broken:
		fmt.Fprintf(p.out, "[%*d/%d%s] %-*s  failed: %s\n", digits(e.Total), e.Done, e.Total, left, p.width, e.Point, e.Text)
	}
}

// design says how often everything is replicated.
func design(p bench.Protocol) string {
	s := plural(p.Launches, "launch", "launches")
	if p.MaxLaunches > p.Launches {
		s = fmt.Sprintf("%d to %d launches", p.Launches, p.MaxLaunches)
	}
	return s + " × " + plural(p.Rounds, "round", "rounds")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// plannedTime is how long a run should take, and how long it may.
func plannedTime(plan *bench.Plan) string {
	s := seconds(plan.PlannedSeconds())
	if most := plan.MostSeconds(); most > plan.PlannedSeconds() {
		s += ", at most " + seconds(most)
	}
	return s
}

// latency with the half-width of its interval, as far as the launches so far show.
func latency(e bench.Estimate) string {
	if e.Launches == 0 {
		return "–"
	}
	s := fmt.Sprintf("%9.3f ms", e.Value/1e6)
	if half := e.HalfWidth(); !math.IsNaN(half) {
		s += fmt.Sprintf(" ±%.1f %%", 100*half)
	}
	return s
}

func digits(n int) int { return len(fmt.Sprint(n)) }

// seconds as people say them.
func seconds(s float64) string {
	return (time.Duration(math.Ceil(s)) * time.Second).String()
}

func pointWidth(plan *bench.Plan) int {
	widest := 0
	for _, p := range plan.Points {
		if p.Skip == "" {
			widest = max(widest, utf8.RuneCountInString(p.ID))
		}
	}
	return widest
}
