package reports

import (
	"bytes"
	"cmp"
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
		{"csv", "one line per point and metric", compareCSV},
		{"junit", "JUnit XML, one test case per point and metric", compareJUnit},
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
func Headline(c *verdict.Comparison) string { return headlineOf(c, clean(c.Stopped)) }

// headlineOf is Headline with the words for why a gate was stopped.
func headlineOf(c *verdict.Comparison, stopped string) string {
	total := rowsIn(c)
	points := func(n int, noun string) string {
		if len(c.Families) > 1 {
			return fmt.Sprintf("%s by %d metrics", count(n, noun), len(c.Families))
		}
		return count(n, noun)
	}
	all := points(total, "point")
	// What was not compared must not pass for "no regression".
	compared, among := all, all
	judged := total - c.Count(verdict.Extra) - c.Count(verdict.Missing) - c.Count(verdict.Invalid)
	if judged < total {
		compared = points(judged, "compared point")
		among = fmt.Sprintf("the %d of %s that could be compared", judged, all)
	}
	undecided := c.Count(verdict.Undecided)
	slower := c.Count(verdict.Regressed) - c.Failing() // by advice alone
	said := ""
	switch {
	case c.Stopped != "" && total == 0:
		said = "Not decided, as the gate was stopped: " + strings.TrimSuffix(stopped, ".")
	case c.Stopped != "":
		said = fmt.Sprintf("Not decided, as the gate of %s was stopped: %s", all, strings.TrimSuffix(stopped, "."))
	case c.Failing() > 0:
		said = fmt.Sprintf("Regressed: %d of %s", c.Failing(), compared)
	case c.Count(verdict.Missing) > 0:
		said = fmt.Sprintf("Incomplete: %d of %s vanished", c.Count(verdict.Missing), all)
	case c.Count(verdict.Invalid) > 0:
		said = fmt.Sprintf("Invalid: %d of %s must not be compared", c.Count(verdict.Invalid), all)
	case slower > 0:
		said = fmt.Sprintf("Slower, as far as this comparison can tell: %d of %s", slower, compared)
		slower = 0
	case undecided == judged:
		said = fmt.Sprintf("Undecided: nothing can be said of %s", compared)
	case undecided > 0:
		said = fmt.Sprintf("No regression found, and %d of %s undecided", undecided, compared)
	default:
		said = fmt.Sprintf("No regression among %s", among)
	}
	var parts []string
	if slower > 0 {
		parts = append(parts, fmt.Sprintf("%d slower by advice alone", slower))
	}
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

// rowsIn counts the rows of all families. A gate that was stopped at once has none.
func rowsIn(c *verdict.Comparison) int {
	n := 0
	for _, f := range c.Families {
		n += len(f.Rows)
	}
	return n
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
	if r.Raised && r.Verdict != verdict.Same { // which the floor does not make it
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
	if c.Count(verdict.Undecided) > 0 || c.Count(verdict.ClockShift) > 0 || c.Count(verdict.Extra) > 0 || len(c.Advices()) > 0 || len(c.Doubts) > 0 {
		return true
	}
	_, points := codesIn(c)
	for code := range points {
		if serious(code) {
			return true
		}
	}
	return false
}

// serious tells whether a doubt about a point is to be looked at whatever the verdict.
// The others, such as an output that nothing can check, may be how a project always
// measures; a warning on every pull request would soon be overlooked.
func serious(code bench.Code) bool { return code == bench.LostLaunches || code == bench.FakeEngine }

// design says in one line how a family was judged.
func design(c *verdict.Comparison, f verdict.Family) string {
	least, most := math.MaxInt, 0 // pairs of the rows that have any
	raised, lowest, highest := 0, math.Inf(1), 0.0
	for _, r := range f.Rows {
		if n := len(r.Pairs); n > 0 {
			least, most = min(least, n), max(most, n)
		}
		if r.Raised {
			raised, lowest, highest = raised+1, min(lowest, r.Margin), max(highest, r.Margin)
		}
	}
	pairs := count(most, "launch pair")
	if least < most {
		pairs = fmt.Sprintf("%d to %s", least, pairs)
	}
	margin := fmt.Sprintf("margin %.3g %%", 100*f.Threshold)
	if raised > 0 {
		floors := fmt.Sprintf("%.3g", 100*lowest)
		if most := fmt.Sprintf("%.3g", 100*highest); most != floors {
			floors += " to " + most
		}
		margin += fmt.Sprintf(", for a regression or an improvement raised to this machine's noise floor at %d of %s (%s %%)", raised, count(len(f.Rows), "point"), floors)
	}
	level := fmt.Sprintf("at a level of %.3g %%", 100*c.Alpha)
	if interleaved(c, f) {
		level = fmt.Sprintf("with a chance of a false alarm of at most %.3g %%", 100*c.Alpha)
	}
	return fmt.Sprintf("%s (%s): %s; %s; %s tested together %s; intervals are of each point alone, %.3g %%",
		f.Metric.Name, f.Metric.Doc, margin, pairs, count(f.Tested, "point"), level, 100*(1-c.Alpha))
}

// interleaved tells whether a family's pairs are those of a gate, each of whose launches
// is a run of its own. Only then does the level bound the false alarms: what changes on
// a machine between two stored results looks like a change of the version.
func interleaved(c *verdict.Comparison, f verdict.Family) bool {
	return c.Advice(f) == "" && c.Base.Config.Protocol.Launches == 1
}

// wholeDoubts are the doubts about a comparison as a whole, those with one code in one:
// every launch of a gate may tell of the same trouble in other figures.
func wholeDoubts(c *verdict.Comparison) []verdict.Doubt {
	const most = 2 // texts of one code
	var list []verdict.Doubt
	texts := map[bench.Code][]string{}
	for _, d := range c.Doubts {
		d.Text = clean(d.Text)
		if d.Code == "" || texts[d.Code] == nil {
			list = append(list, d)
		}
		texts[d.Code] = append(texts[d.Code], d.Text)
	}
	for i, d := range list {
		if all := texts[d.Code]; d.Code != "" {
			list[i].Text = strings.Join(all[:min(most, len(all))], "; ")
			if len(all) > most {
				list[i].Text += fmt.Sprintf("; and %d more like these", len(all)-most)
			}
		}
	}
	return list
}

// pointDoubts says for each code of the rows, gravest first, how many points carry it
// and what that means.
func pointDoubts(c *verdict.Comparison) (codes []bench.Code, texts []string) {
	infos, points := codesIn(c)
	for _, info := range infos {
		if n := points[info.Code]; n > 0 {
			codes = append(codes, info.Code)
			texts = append(texts, fmt.Sprintf("%d of %s: %s; %s", n, count(len(c.Families[0].Rows), "point"), info.Means, info.Advice))
		}
	}
	return codes, texts
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
	for _, f := range c.Families[:min(1, len(c.Families))] { // doubts are of points, not of metrics
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
	for _, d := range wholeDoubts(c) {
		say("! ", "  ", d.Text)
	}
	if rowsIn(c) == 0 {
		_, err := w.Write(b.Bytes())
		return err
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
	// DoubtDetails are the figures of the doubts, by code.
	DoubtDetails map[bench.Code]string `json:"doubt_details,omitempty"`
	Advisory     bool                  `json:"advisory"` // it may not fail a build
}

func comparedPoints(c *verdict.Comparison) []comparedPoint {
	list := []comparedPoint{}
	for _, f := range c.Families {
		for _, r := range f.Rows {
			p := comparedPoint{Metric: f.Metric.Name, Point: r.Point.String(), Verdict: r.Verdict, Reason: r.Reason, Pairs: len(r.Pairs),
				Margin: r.Margin, Floor: r.Floor, Low: r.Ratio.Low, High: r.Ratio.High, Cycles: r.Cycles, Unfit: r.Unfit, Watch: r.Watch, Confirmed: r.Confirmed, Doubts: []bench.Code{}, DoubtDetails: map[bench.Code]string{}, Advisory: c.Advice(f) != ""}
			if len(r.Pairs) > 0 {
				p.Base, p.New, p.Ratio, p.P, p.Adjusted = &r.Base, &r.New, &r.Ratio.Value, &r.P, &r.Adjusted
				if known(r.Detectable) {
					p.Detectable = &r.Detectable
				}
			}
			for _, w := range r.Doubts {
				p.Doubts = append(p.Doubts, w.Code)
				p.DoubtDetails[w.Code] = w.Detail
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
	rows := [][]string{{"metric", "point", "verdict", "base", "new", "ratio", "ci_low", "ci_high", "pairs", "margin", "aa_floor", "p", "p_holm", "mde_80", "cycles_ratio", "reason", "confirmed", "advisory", "doubts", "comparison_doubts"}}
	var whole []string
	for _, d := range wholeDoubts(c) {
		whole = append(whole, d.Text)
	}
	for _, p := range comparedPoints(c) {
		confirmed := ""
		if p.Confirmed != nil {
			confirmed = strconv.FormatBool(*p.Confirmed)
		}
		var doubts []string
		for _, code := range p.Doubts {
			doubts = append(doubts, string(code))
		}
		rows = append(rows, []string{p.Metric, clean(p.Point), string(p.Verdict), number(p.Base), number(p.New), number(p.Ratio), number(p.Low), number(p.High),
			strconv.Itoa(p.Pairs), number(&p.Margin), number(p.Floor), number(p.P), number(p.Adjusted), number(p.Detectable), number(p.Cycles), clean(p.Reason),
			confirmed, strconv.FormatBool(p.Advisory), strings.Join(doubts, " "), strings.Join(whole, "; ")})
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
		Out      string     `xml:"system-out,omitempty"`
	}
	var whole []string // what must be known of the comparison, in every suite
	for _, advice := range c.Advices() {
		whole = append(whole, "advisory: "+clean(advice))
	}
	for _, d := range wholeDoubts(c) {
		whole = append(whole, "doubt: "+d.Text)
	}
	codes, texts := pointDoubts(c)
	for i, code := range codes {
		whole = append(whole, fmt.Sprintf("doubt %s, %s", code, texts[i]))
	}
	root := struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		Suites  []suite  `xml:"testsuite"`
	}{Name: "genbench"}
	for _, f := range c.Families {
		s := suite{Name: "genbench." + f.Metric.Name, Tests: len(f.Rows), Out: strings.Join(whole, "\n")}
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
	var doubts []string
	for _, d := range r.Doubts {
		doubts = append(doubts, string(d.Code))
	}
	if doubts != nil {
		s += "; doubts: " + strings.Join(doubts, ", ")
	}
	return s
}

// compareGitHub writes workflow commands (docs.github.com, "Workflow commands for
// GitHub Actions"): an error for what fails the build, a warning for what should be
// looked at, a notice with the verdict and one for each doubt that is less than that.
// GitHub shows ten of a kind for a step, so the rest is one line with their number.
func compareGitHub(w io.Writer, c *verdict.Comparison) error {
	var b bytes.Buffer
	const most = 9
	said := map[string]int{}
	say := func(level, title, text string) {
		if said[level]++; said[level] <= most {
			fmt.Fprintf(&b, "::%s title=%s::%s\n", level, commandProperty(title), commandData(text))
		}
	}
	if c.Stopped != "" {
		say("error", "genbench", Headline(c))
	} else {
		say("notice", "genbench", Headline(c))
	}
	for _, advice := range c.Advices() {
		level := "warning"
		if c.Strict {
			level = "error"
		}
		say(level, "genbench: advisory", clean(advice))
	}
	for _, d := range wholeDoubts(c) {
		say("warning", "genbench: "+cmp.Or(string(d.Code), "doubt"), d.Text)
	}
	codes, texts := pointDoubts(c)
	for i, code := range codes {
		level := "notice"
		if serious(code) {
			level = "warning"
		}
		say(level, "genbench: "+string(code), texts[i])
	}
	for _, f := range c.Families {
		for _, r := range bySeverity(f.Rows) {
			level, title := "", string(r.Verdict)
			unconfirmed := r.Confirmed != nil && !*r.Confirmed
			if unconfirmed {
				title = "flagged once, not confirmed"
			}
			switch {
			case r.Verdict == verdict.Regressed && c.Advice(f) == "", r.Verdict == verdict.Missing, r.Verdict == verdict.Invalid, c.Unacceptable(f, r.Verdict):
				level = "error"
			case r.Verdict == verdict.Regressed, r.Verdict == verdict.ClockShift, r.Watch, r.Refused, unconfirmed:
				level = "warning"
			default:
				continue
			}
			say(level, "genbench: "+title, sentence(f, r))
		}
	}
	for _, level := range []string{"error", "warning", "notice"} {
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
