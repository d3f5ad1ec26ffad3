package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"genbench/bench"
	"genbench/bench/verdict"
)

// A CompareReport writes a comparison in one format.
type CompareReport func(io.Writer, *verdict.Comparison) error

// A CompareFormat is a report of a comparison with the name that `--format` knows
// it by.
type CompareFormat struct {
	Name string
	Doc  string
	New  CompareReport
}

// CompareFormats lists the formats, the one for people at a terminal first.
func CompareFormats() []CompareFormat {
	return []CompareFormat{
		{"text", "a table for the terminal", compareText},
		{"md", "Markdown for a pull request or a step summary", compareMarkdown},
		{"json", "one object", compareJSON},
		{"csv", "one line a point and metric", compareCSV},
		{"junit", "JUnit XML, one test case a point and metric", compareJUnit},
		{"github", "annotations of a GitHub workflow", compareGitHub},
	}
}

// LookupCompare finds the report of a format. For an unknown name the error gives
// the nearest known one and lists the rest.
func LookupCompare(name string) (CompareReport, error) {
	var names []string
	for _, f := range CompareFormats() {
		if f.Name == name {
			return f.New, nil
		}
		names = append(names, f.Name)
	}
	return nil, unknownFormat("format of a comparison", name, names)
}

// Headline is the verdict on all points in one sentence. With several metrics a point
// is counted once for each.
func Headline(c *verdict.Comparison) string {
	total := 0
	for _, f := range c.Families {
		total += len(f.Rows)
	}
	of := count(total, "point")
	if len(c.Families) > 1 {
		of = fmt.Sprintf("%d points by %d metrics", total, len(c.Families))
	}
	undecided := c.Count(verdict.Undecided)
	said := ""
	switch n := c.Count(verdict.Regressed); {
	case c.Stopped != "":
		said = fmt.Sprintf("Not decided, as the gate of %s was stopped: %s", of, strings.TrimSuffix(clean(c.Stopped), "."))
	case c.Failing() > 0:
		said = fmt.Sprintf("Regressed: %d of %s", c.Failing(), of)
		if more := n - c.Failing(); more > 0 {
			said += fmt.Sprintf(", and %d slower by advice alone", more)
		}
	case c.Count(verdict.Missing) > 0:
		said = fmt.Sprintf("Incomplete: %d of %s vanished", c.Count(verdict.Missing), of)
	case c.Count(verdict.Invalid) > 0:
		said = fmt.Sprintf("Invalid: %d of %s must not be compared", c.Count(verdict.Invalid), of)
	case n > 0:
		said = fmt.Sprintf("Slower, as far as this comparison can tell: %d of %s", n, of)
	case undecided == total:
		said = fmt.Sprintf("Undecided: nothing can be said of %s", of)
	case undecided > 0:
		said = fmt.Sprintf("No regression found, and %d of %s undecided", undecided, of)
	default:
		said = fmt.Sprintf("No regression among %s", of)
	}
	var parts []string
	for _, v := range []verdict.Verdict{verdict.Same, verdict.Improved, verdict.Undecided, verdict.ClockShift, verdict.Missing, verdict.Invalid, verdict.Extra} {
		if n := c.Count(v); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, v))
		}
	}
	if len(parts) > 0 {
		said += " (" + strings.Join(parts, ", ") + ")"
	}
	return said + "."
}

// severity orders rows: what fails a build first, what is well last.
func severity(v verdict.Verdict) int {
	return slices.Index([]verdict.Verdict{verdict.Regressed, verdict.Missing, verdict.Invalid, verdict.ClockShift, verdict.Undecided, verdict.Improved, verdict.Extra, verdict.Same}, v)
}

func bySeverity(rows []verdict.Row) []verdict.Row {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b verdict.Row) int { return severity(a.Verdict) - severity(b.Verdict) })
	return rows
}

// compareHeader names the columns that people see.
var compareHeader = []string{"point", "base", "new", "ratio", "interval", "verdict", "p (Holm)", "detectable"}

func compareCells(f verdict.Family, r verdict.Row) []string {
	cells := []string{clean(r.Point.String()), "–", "–", "–", "–", string(r.Verdict), "–", "–"}
	if len(r.Pairs) == 0 {
		return cells
	}
	cells[1], cells[2] = quantity(f.Metric, r.Base), quantity(f.Metric, r.New)
	cells[3] = fmt.Sprintf("%.4f", r.Ratio.Value)
	if r.Ratio.Low != nil {
		cells[4] = fmt.Sprintf("%.4f–%.4f", *r.Ratio.Low, *r.Ratio.High)
	}
	cells[6] = fmt.Sprintf("%.3g", r.Adjusted)
	if known(r.Detectable) {
		cells[7] = fmt.Sprintf("%.2g %%", 100*r.Detectable)
	}
	return cells
}

func known(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// quantity is a value of a metric with its unit.
func quantity(m verdict.Metric, v float64) string {
	switch m.Unit {
	case "ns":
		return fmt.Sprintf("%.4g ms", v/1e6)
	case "1/s":
		return fmt.Sprintf("%.4g /s", v)
	}
	return fmt.Sprintf("%.4g %s", v, m.Unit)
}

// remark is what a row's verdict needs to be understood, beside its numbers.
func remark(r verdict.Row) string {
	var parts []string
	if r.Confirmed != nil && *r.Confirmed {
		parts = append(parts, "confirmed by a second batch")
	}
	if r.Reason != "" {
		parts = append(parts, r.Reason)
	}
	if r.Watch {
		parts = append(parts, "on the watch list")
	}
	if lost := lostLaunches(r); lost != "" {
		parts = append(parts, "launches lost: "+lost)
	}
	if r.Cycles != nil {
		parts = append(parts, fmt.Sprintf("%.4f in clock cycles", *r.Cycles))
	}
	if r.Raised {
		parts = append(parts, fmt.Sprintf("margin raised to this machine's noise floor, %.3g %%", 100*r.Margin))
	}
	return clean(strings.Join(parts, "; "))
}

// lostLaunches tells of those that a row is judged without; empty where there are none.
func lostLaunches(r verdict.Row) string {
	for _, w := range r.Doubts {
		if w.Code == bench.LostLaunches {
			return w.Detail
		}
	}
	return ""
}

// toBeSeen tells whether a comparison that fails nothing should still be looked at.
func toBeSeen(c *verdict.Comparison) bool {
	if c.Count(verdict.Undecided) > 0 || c.Count(verdict.ClockShift) > 0 || c.Advisory != "" {
		return true
	}
	for _, f := range c.Families {
		if f.Advisory != "" || slices.ContainsFunc(f.Rows, func(r verdict.Row) bool { return lostLaunches(r) != "" }) {
			return true
		}
	}
	return false
}

// design says in one line how a family was judged.
func design(c *verdict.Comparison, f verdict.Family) string {
	least, most := math.MaxInt, 0 // pairs of the rows that have any
	for _, r := range f.Rows {
		if n := len(r.Pairs); n > 0 {
			least, most = min(least, n), max(most, n)
		}
	}
	pairs := count(most, "launch pair")
	if least < most {
		pairs = fmt.Sprintf("%d to %s", least, pairs)
	}
	return fmt.Sprintf("%s (%s): margin %.3g %%, %s, %s tested together, chance of a false alarm at most %.3g %%; intervals are of each point alone, %.3g %%",
		f.Metric.Name, f.Metric.Doc, 100*f.Threshold, pairs, count(f.Tested, "point"), 100*c.Alpha, 100*(1-c.Alpha))
}

// codesIn lists the codes of a comparison and its rows, with how many rows have each.
func codesIn(c *verdict.Comparison) ([]bench.CodeInfo, map[bench.Code]int) {
	counted := map[bench.Code]int{}
	var all []bench.Warning
	for _, d := range c.Doubts {
		if d.Code != "" {
			all = append(all, bench.Warning{Code: d.Code})
		}
	}
	for _, f := range c.Families[:1] { // doubts are of points, not of metrics
		for _, r := range f.Rows {
			all = append(all, r.Doubts...)
			for _, w := range r.Doubts {
				counted[w.Code]++
			}
		}
	}
	return codesOf(all), counted
}

// verdictsOf lists the verdicts that occur, gravest first.
func verdictsOf(c *verdict.Comparison) []verdict.Verdict {
	var list []verdict.Verdict
	for _, f := range c.Families {
		for _, r := range f.Rows {
			if !slices.Contains(list, r.Verdict) {
				list = append(list, r.Verdict)
			}
		}
	}
	slices.SortFunc(list, func(a, b verdict.Verdict) int { return severity(a) - severity(b) })
	return list
}

func differenceText(d verdict.Difference) string {
	s := fmt.Sprintf("%s: %s, now %s", d.Name, d.Base, d.New)
	if d.Allowed {
		s += " (allowed)"
	}
	return clean(s)
}

func compareText(w io.Writer, c *verdict.Comparison) error {
	var b bytes.Buffer
	say := func(first, rest, text string) { b.WriteString(wrap(text, sentenceWidth, first, rest)) }
	say("", "", Headline(c))
	if c.Advisory != "" {
		say("! ", "  ", "advisory: "+c.Advisory)
	}
	for _, d := range c.Doubts {
		say("! ", "  ", clean(d.Text))
	}
	say("", "", fmt.Sprintf("base %s, new %s, %s on %s", c.Base.ID, c.New.ID, strings.ToLower(kind(c.New)), deviceText(c.New)))
	for _, d := range c.Differences {
		say("  ", "    ", differenceText(d))
	}
	for _, f := range c.Families {
		b.WriteByte('\n')
		say("", "", design(c, f))
		if c.Advisory == "" && f.Advisory != "" {
			say("! ", "  ", "advisory: "+f.Advisory)
		}
		b.WriteByte('\n')
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, strings.Join(compareHeader, "\t"))
		var remarks []string
		for _, r := range bySeverity(f.Rows) {
			line := strings.Join(compareCells(f, r), "\t")
			if text := remark(r); text != "" {
				i := slices.Index(remarks, text)
				if i < 0 {
					i = len(remarks)
					remarks = append(remarks, text)
				}
				line += fmt.Sprintf("\t[%d]", i+1)
			}
			fmt.Fprintln(t, line)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for i, text := range remarks {
			say(fmt.Sprintf("\n[%d] ", i+1), "    ", text)
		}
	}
	b.WriteByte('\n')
	for _, v := range verdictsOf(c) {
		say("  ", "    ", fmt.Sprintf("%s: %s", v, v.Meaning()))
	}
	infos, counted := codesIn(c)
	for _, info := range infos {
		where := count(counted[info.Code], "point")
		if counted[info.Code] == 0 {
			where = "the whole run"
		}
		say("  ", "    ", fmt.Sprintf("doubt %s, %s: %s; %s", info.Code, where, info.Means, info.Advice))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// mostRows is how many rows of a table a pull request is shown; a step summary
// must stay below 1 MiB (docs.github.com, "Workflow commands", job summaries).
const mostRows = 100

// compareMarkdown writes what a pull request gets: the verdict, what is not the
// same, the rest folded. Verdicts and doubts link to their explanations as
// footnotes, which a comment, a summary and a file all show.
func compareMarkdown(w io.Writer, c *verdict.Comparison) error {
	b := comparisonPage{notes: map[string]bool{}}
	mark := "✅"
	switch c.ExitCode() {
	case 0:
		if toBeSeen(c) {
			mark = "⚠️"
		}
	default:
		mark = "❌"
	}
	fmt.Fprintf(&b, "### %s %s\n\n", mark, escapeMarkdown(Headline(c)))
	if c.Advisory != "" {
		fmt.Fprintf(&b, "> **Advisory:** %s.\n\n", marked(clean(c.Advisory)).markdown())
	}
	for _, f := range c.Families {
		fmt.Fprintf(&b, "%s.\n\n", escapeMarkdown(design(c, f)))
		if c.Advisory == "" && f.Advisory != "" {
			fmt.Fprintf(&b, "> **Advisory:** %s.\n\n", marked(clean(f.Advisory)).markdown())
		}
		b.family(f)
	}
	if len(c.Differences) > 0 {
		b.WriteString("Around the points:\n\n")
		for _, d := range c.Differences {
			fmt.Fprintf(&b, "- %s\n", prose{differenceText(d)}.line())
		}
		b.WriteByte('\n')
	}
	for _, d := range c.Doubts {
		note := ""
		if d.Code != "" {
			note = b.noted(string(d.Code))
		}
		fmt.Fprintf(&b, "- %s%s\n", prose{clean(d.Text)}.line(), note)
	}
	fmt.Fprintf(&b, "\n%s, %s on %s. Detectable: the least true change found with 80 %% power.\n\n", prose{"base ", mono(c.Base.ID), ", new ", mono(c.New.ID)}.line(), strings.ToLower(kind(c.New)), escapeMarkdown(deviceText(c.New)))
	b.footnotes(c)
	_, err := w.Write(b.Bytes())
	return err
}

// A comparisonPage is a comparison in Markdown, as far as it is written.
type comparisonPage struct {
	bytes.Buffer
	notes map[string]bool // verdicts and doubts that need a footnote
}

// family writes the rows of one metric, those that are the same folded.
func (b *comparisonPage) family(f verdict.Family) {
	var grave, well []verdict.Row
	for _, r := range bySeverity(f.Rows) {
		if r.Verdict == verdict.Same {
			well = append(well, r)
		} else {
			grave = append(grave, r)
		}
	}
	if len(grave) > 0 {
		b.table(f, grave)
	}
	if len(well) > 0 {
		fmt.Fprintf(b, "<details><summary>%s the same</summary>\n\n", count(len(well), "point"))
		b.table(f, well)
		b.WriteString("</details>\n\n")
	}
}

func (b *comparisonPage) table(f verdict.Family, rows []verdict.Row) {
	b.WriteString("| point | base | new | ratio | interval | verdict | detectable | |\n| --- | ---: | ---: | ---: | --- | --- | ---: | --- |\n")
	for i, r := range rows {
		if i == mostRows {
			fmt.Fprintf(b, "| … %d more: see the other formats | | | | | | | |\n", len(rows)-mostRows)
			break
		}
		cells := compareCells(f, r)
		doubts := ""
		for _, d := range r.Doubts {
			doubts += b.noted(string(d.Code))
		}
		judged := escapeMarkdown(string(r.Verdict)) + b.noted(string(r.Verdict))
		text := strings.TrimSpace(prose{remark(r)}.tableCell() + " " + doubts)
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", prose{mono(cells[0])}.tableCell(), cells[1], cells[2], cells[3], cells[4], judged, cells[7], text)
	}
	b.WriteByte('\n')
}

// noted is the sign of a footnote.
func (b *comparisonPage) noted(of string) string {
	b.notes[of] = true
	return fmt.Sprintf("[^%s]", of)
}

// footnotes explains what has a sign.
func (b *comparisonPage) footnotes(c *verdict.Comparison) {
	for _, v := range verdictsOf(c) {
		if b.notes[string(v)] {
			fmt.Fprintf(b, "[^%s]: %s\n", v, marked(v.Meaning()).markdown())
		}
	}
	infos, _ := codesIn(c)
	for _, info := range infos {
		if b.notes[string(info.Code)] {
			fmt.Fprintf(b, "[^%s]: %s: %s; %s\n", info.Code, escapeMarkdown(string(info.Code)), marked(info.Means).markdown(), marked(info.Advice).markdown())
		}
	}
}

// comparedPoint is a row in JSON; what is not known is null.
type comparedPoint struct {
	Metric     string          `json:"metric"`
	Point      string          `json:"point"`
	Verdict    verdict.Verdict `json:"verdict"`
	Reason     string          `json:"reason,omitempty"`
	Base       *float64        `json:"base"`
	New        *float64        `json:"new"`
	Ratio      *float64        `json:"ratio"`
	Low        *float64        `json:"ci_low"`
	High       *float64        `json:"ci_high"`
	Pairs      int             `json:"pairs"`
	Margin     float64         `json:"margin"`
	Floor      *float64        `json:"aa_floor"`
	P          *float64        `json:"p"`
	Adjusted   *float64        `json:"p_holm"`
	Detectable *float64        `json:"mde_80"`
	Cycles     *float64        `json:"cycles_ratio"`
	Unfit      int             `json:"unfit_pairs"`
	Watch      bool            `json:"watch"`
	Confirmed  *bool           `json:"confirmed"`
	Doubts     []bench.Code    `json:"doubts"`
	Advisory   bool            `json:"advisory"` // it may not fail a build
}

func comparedPoints(c *verdict.Comparison) []comparedPoint {
	list := []comparedPoint{}
	for _, f := range c.Families {
		for _, r := range f.Rows {
			p := comparedPoint{Metric: f.Metric.Name, Point: r.Point.String(), Verdict: r.Verdict, Reason: r.Reason, Pairs: len(r.Pairs),
				Margin: r.Margin, Floor: r.Floor, Low: r.Ratio.Low, High: r.Ratio.High, Cycles: r.Cycles, Unfit: r.Unfit, Watch: r.Watch, Confirmed: r.Confirmed, Doubts: []bench.Code{}, Advisory: c.Advice(f) != ""}
			if len(r.Pairs) > 0 {
				p.Base, p.New, p.Ratio, p.P, p.Adjusted = &r.Base, &r.New, &r.Ratio.Value, &r.P, &r.Adjusted
				if known(r.Detectable) {
					p.Detectable = &r.Detectable
				}
			}
			for _, w := range r.Doubts {
				p.Doubts = append(p.Doubts, w.Code)
			}
			list = append(list, p)
		}
	}
	return list
}

func compareJSON(w io.Writer, c *verdict.Comparison) error {
	doubts := []string{}
	for _, d := range c.Doubts {
		doubts = append(doubts, d.Text)
	}
	object := struct {
		Headline    string               `json:"headline"`
		ExitCode    int                  `json:"exit_code"`
		Base        string               `json:"base_run"`
		New         string               `json:"new_run"`
		Advisory    *string              `json:"advisory"`
		Alpha       float64              `json:"alpha"`
		Level       float64              `json:"ci_level"` // of each point alone
		Differences []verdict.Difference `json:"env_diff"`
		Doubts      []string             `json:"doubts"`
		Points      []comparedPoint      `json:"points"`
	}{Headline: Headline(c), ExitCode: c.ExitCode(), Base: c.Base.ID, New: c.New.ID, Alpha: c.Alpha, Level: 1 - c.Alpha, Differences: append([]verdict.Difference{}, c.Differences...), Doubts: doubts, Points: comparedPoints(c)}
	if advice := strings.Join(c.Advices(), "; "); advice != "" {
		object.Advisory = &advice
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(object)
}

func compareCSV(w io.Writer, c *verdict.Comparison) error {
	out := csv.NewWriter(w)
	number := func(v *float64) string {
		if v == nil {
			return ""
		}
		return strconv.FormatFloat(*v, 'g', 8, 64)
	}
	rows := [][]string{{"metric", "point", "verdict", "base", "new", "ratio", "ci_low", "ci_high", "pairs", "margin", "aa_floor", "p", "p_holm", "mde_80", "cycles_ratio", "reason"}}
	for _, p := range comparedPoints(c) {
		rows = append(rows, []string{p.Metric, clean(p.Point), string(p.Verdict), number(p.Base), number(p.New), number(p.Ratio), number(p.Low), number(p.High),
			strconv.Itoa(p.Pairs), number(&p.Margin), number(p.Floor), number(p.P), number(p.Adjusted), number(p.Detectable), number(p.Cycles), clean(p.Reason)})
	}
	return out.WriteAll(rows)
}

// compareJUnit writes the elements that the JUnit schema of Jenkins' xUnit plugin
// (src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd in
// jenkinsci/xunit-plugin) has in common with other readers. A regression is a
// failure, what could not be compared an error, what could not be told skipped.
func compareJUnit(w io.Writer, c *verdict.Comparison) error {
	type outcome struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
	}
	type testcase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *outcome `xml:"failure"`
		Error   *outcome `xml:"error"`
		Skipped *outcome `xml:"skipped"`
		Out     string   `xml:"system-out,omitempty"`
	}
	type suite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Errors   int        `xml:"errors,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	root := struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		Suites  []suite  `xml:"testsuite"`
	}{Name: "genbench"}
	for _, f := range c.Families {
		s := suite{Name: "genbench." + f.Metric.Name, Tests: len(f.Rows)}
		for _, r := range f.Rows {
			t := testcase{Class: s.Name, Name: clean(r.Point.String()), Out: sentence(f, r)}
			said := outcome{Message: sentence(f, r), Type: string(r.Verdict)}
			switch {
			case r.Verdict == verdict.Regressed && c.Advice(f) == "":
				t.Failure = &said
				s.Failures++
			case r.Verdict == verdict.Missing, r.Verdict == verdict.Invalid:
				t.Error = &said
				s.Errors++
			case c.Unacceptable(f, r.Verdict):
				t.Failure = &said
				s.Failures++
			case r.Verdict != verdict.Same && r.Verdict != verdict.Improved:
				said.Type = "" // the schema gives skipped no type
				t.Skipped = &said
				s.Skipped++
			}
			s.Cases = append(s.Cases, t)
		}
		root.Suites = append(root.Suites, s)
	}
	switch {
	case c.Stopped != "":
		said := outcome{Message: clean(c.Stopped), Type: "stopped"}
		root.Suites = append(root.Suites, suite{Name: "genbench", Tests: 1, Errors: 1, Cases: []testcase{{Class: "genbench", Name: "came to its end", Error: &said}}})
	case c.Strict && len(c.Advices()) > 0:
		said := outcome{Message: clean(strings.Join(c.Advices(), "; ")), Type: "advisory"}
		root.Suites = append(root.Suites, suite{Name: "genbench", Tests: 1, Failures: 1, Cases: []testcase{{Class: "genbench", Name: "is more than advice", Failure: &said}}})
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", " ")
	if err := enc.Encode(root); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// sentence says a row in words.
func sentence(f verdict.Family, r verdict.Row) string {
	cells := compareCells(f, r)
	s := fmt.Sprintf("%s: %s %s", r.Verdict, f.Metric.Name, clean(r.Point.String()))
	if len(r.Pairs) > 0 {
		s += fmt.Sprintf(" %s → %s, ratio %s (%s), p %s", cells[1], cells[2], cells[3], cells[4], cells[6])
	}
	if text := remark(r); text != "" {
		s += "; " + text
	}
	return s
}

// compareGitHub writes workflow commands (docs.github.com, "Workflow commands for
// GitHub Actions"): an error for what fails the build, a warning for what it should
// be looked at for, one notice with the verdict. GitHub shows ten of a kind for a
// step, so the rest is one line with their number.
func compareGitHub(w io.Writer, c *verdict.Comparison) error {
	var b bytes.Buffer
	const most = 9
	said := map[string]int{}
	if c.Stopped != "" {
		fmt.Fprintf(&b, "::error title=genbench::%s\n", commandData(clean(Headline(c))))
		said["error"]++
	} else {
		fmt.Fprintf(&b, "::notice title=genbench::%s\n", commandData(Headline(c)))
	}
	for _, advice := range c.Advices() {
		level := "warning"
		if c.Strict {
			level = "error"
		}
		fmt.Fprintf(&b, "::%s title=genbench: advisory::%s\n", level, commandData(clean(advice)))
		said[level]++
	}
	for _, f := range c.Families {
		for _, r := range bySeverity(f.Rows) {
			level := ""
			switch r.Verdict {
			case verdict.Regressed, verdict.Missing, verdict.Invalid:
				level = "error"
				if r.Verdict == verdict.Regressed && c.Advice(f) != "" {
					level = "warning"
				}
			case verdict.ClockShift:
				level = "warning"
			default:
				if !r.Watch && !r.Refused && !c.Unacceptable(f, r.Verdict) {
					continue
				}
				level = "warning"
			}
			if c.Unacceptable(f, r.Verdict) {
				level = "error"
			}
			if said[level]++; said[level] <= most {
				fmt.Fprintf(&b, "::%s title=%s::%s\n", level, commandProperty("genbench: "+string(r.Verdict)), commandData(sentence(f, r)))
			}
		}
	}
	for _, level := range []string{"error", "warning"} {
		if more := said[level] - most; more > 0 {
			fmt.Fprintf(&b, "::%s title=genbench::%d more; see the step summary\n", level, more)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// commandData and commandProperty escape as the runner's own toolkit does
// (actions/toolkit, packages/core/src/command.ts, escapeData and escapeProperty).
func commandData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func commandProperty(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
