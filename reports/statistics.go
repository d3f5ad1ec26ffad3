package reports

import (
	"fmt"
	"slices"
	"strings"

	"genbench/bench"
)

// statistics is the part of a report for those who want to check it: where the
// variance of each point lies, what could have been detected, whether the machine
// drifted, and why no number is of a higher class.
func statistics(r *bench.Result, rows []row) document {
	if !slices.ContainsFunc(rows, row.measured) {
		return nil
	}
	measured := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !r.measured() })
	t := tableOf(measured, 0, func(c column) bool {
		return c.statistic || c.axis || c.key == "model" || c.key == "batch" || c.key == "samples" || c.key == "launches"
	})
	d := document{heading{2, "Statistics"}, t.grid(false), folded{"What the columns mean", document{t.legend()}}}
	return append(d, paragraph{"Whether the machine changed while it measured:"}, drift(r.Drift), paragraph{"The quality classes, and why none is higher:"}, classes(measured))
}

// drift says what the run shows of its machine.
func drift(d bench.Drift) list {
	var l list
	if why := d.Drifted(); why != "" {
		l = append(l, prose{strong("Drifted"), ": ", why, "."})
	}
	switch {
	case d.Sentinel == nil:
		l = append(l, prose{"Sentinel: no point was visited repeatedly to watch the machine."})
	default:
		l = append(l, prose{"Sentinel: ", d.Sentinel.String(), "."})
	}
	switch {
	case d.Trend == nil:
		l = append(l, prose{"Trend: too few rounds to show one."})
	default:
		l = append(l, prose{"Trend: ", d.Trend.String(), "."})
	}
	for _, c := range []struct {
		name string
		of   *bench.Correlation
	}{{"temperature", d.Temperature}, {"clock", d.Clock}} {
		if c.of != nil {
			l = append(l, prose{fmt.Sprintf("Rounds' residuals against the device's %s: correlation %+.2f (p = %.2g, %s).", c.name, c.of.R, c.of.P, count(c.of.Rounds, "round"))})
		}
	}
	if o := d.OddEven; o.Points > 0 {
		l = append(l, prose{fmt.Sprintf("Odd rounds against even ones: %d of %s differ in a test at 5 %%.", o.Rejected, count(o.Points, "point"))})
	}
	return l
}

// classes counts the points of each quality class by the reasons for it.
func classes(rows []row) list {
	type class struct {
		quality bench.Quality
		reasons string
	}
	var order []class
	points := map[class]int{}
	for _, r := range rows {
		var reasons []string
		for _, why := range r.Lowered {
			// The figures of a doubt differ from point to point; the notes have them.
			code, _, _ := strings.Cut(why, ":")
			if !slices.Contains(reasons, code) {
				reasons = append(reasons, code)
			}
		}
		c := class{r.Quality, strings.Join(reasons, ", ")}
		if points[c] == 0 {
			order = append(order, c)
		}
		points[c]++
	}
	var l list
	for _, c := range order {
		text := prose{strong(string(c.quality)), fmt.Sprintf(", %s", count(points[c], "point"))}
		if c.reasons != "" {
			text = append(text, ": ", c.reasons)
		}
		l = append(l, append(text, "."))
	}
	return l
}

// rules lists which rules of the protocol the run met.
func rules(r *bench.Result) document {
	g := grid{header: []string{"rule", "state", "why"}, right: []bool{false, false, false}}
	states := map[bench.RuleState]int{}
	var broken []string
	for _, rule := range r.Rules {
		states[rule.State]++
		state := prose{string(rule.State)}
		if rule.State == bench.RuleNotMet {
			broken = append(broken, rule.ID)
			state = prose{strong(string(rule.State))}
		}
		g.rows = append(g.rows, []prose{{mono(rule.ID)}, state, marked(rule.Why)})
	}
	summary := fmt.Sprintf("Of the rules of protocol %s, as far as the journal shows, %d are met, %d do not apply and %d are not met",
		r.Log.Run.Config.Protocol.ID, states[bench.RuleMet], states[bench.RuleNotApplicable], states[bench.RuleNotMet])
	if len(broken) > 0 {
		summary += ": " + strings.Join(broken, ", ")
	}
	return document{paragraph{summary + ". What each of them asks for is written in genbench's ", mono("bench/doc.go"), "."}, folded{"The rules, one by one", document{g}}}
}
