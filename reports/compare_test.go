package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"genbench/bench"
	"genbench/bench/verdict"
)

// hostile is a comparison in which every text that comes from outside tries to
// break out of its place, and every number that may be unknown is.
func hostile() *verdict.Comparison {
	evil := "a|b\n::error::c <script> ]]> \"d\" `e` %0A [f](g) ,:"
	infinite := verdict.Row{Point: bench.Point{Model: evil, Engine: "x", Precision: "fp32", Batch: 1, Resolution: 1}, Verdict: verdict.Regressed, Reason: evil,
		Pairs: verdict.Pairs{0.1}, Base: 1e6, New: 2e6, Ratio: bench.Estimate{Value: 2}, Detectable: math.Inf(1), P: 1, Adjusted: 1,
		Doubts: []bench.Warning{{Code: bench.Unsteady, Detail: evil}}}
	missing := verdict.Row{Point: infinite.Point, Verdict: verdict.Missing, Reason: evil}
	return &verdict.Comparison{
		Base: bench.RunRecord{ID: evil}, New: bench.RunRecord{ID: evil}, Alpha: 0.05, Doubts: []verdict.Doubt{{Code: bench.TornJournal, Text: evil}},
		Differences: []verdict.Difference{{Name: "cpu", Base: evil, New: evil}},
		Families:    []verdict.Family{{Metric: verdict.Metrics()[0], Threshold: 0.01, Rows: []verdict.Row{infinite, missing}}},
	}
}

// A gate that was stopped says so on one line, whatever stopped it.
func TestStoppedComparison(t *testing.T) {
	c := hostile()
	c.Stopped, c.StoppedCode = "run new: exit status 1: it\n  ends\x1b[31m", 6
	for _, f := range CompareFormats() {
		var b bytes.Buffer
		if err := f.New(&b, c); err != nil {
			t.Fatal(err)
		}
		if text := b.String(); strings.Contains(text, "it\n") || strings.Contains(text, "\x1b") {
			t.Errorf("%s: the words that stopped it break out:\n%s", f.Name, text)
		}
		if f.Name == "md" && !strings.HasPrefix(b.String(), "### ❌ Not decided, as the gate of 2 points was stopped: run new: exit status 1: it") {
			t.Errorf("md begins %.120s", b.String())
		}
	}
}

func TestHostileComparison(t *testing.T) {
	written := map[string]string{}
	for _, f := range CompareFormats() {
		var b bytes.Buffer
		if err := f.New(&b, hostile()); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		written[f.Name] = b.String()
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(written["json"]), &object); err != nil || object["exit_code"] != 10.0 {
		t.Errorf("json: %v, exit code %v", err, object["exit_code"])
	}
	rows, err := csv.NewReader(strings.NewReader(written["csv"])).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Errorf("csv: %d rows, %v", len(rows), err)
	}
	decoder := xml.NewDecoder(strings.NewReader(written["junit"]))
	failures := 0
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("junit: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "failure" {
			failures++
		}
	}
	if failures != 1 {
		t.Errorf("junit: %d failures, want 1", failures)
	}
	for line := range strings.Lines(written["github"]) {
		if !regexp.MustCompile(`^::(notice|warning|error) title=genbench(%3A \w+)?::`).MatchString(line) {
			t.Errorf("github: a line begins with %.40q", line)
		}
	}
	// The headline, the doubt about all, that about a point, and both rows.
	if n := strings.Count(written["github"], "\n"); n != 5 {
		t.Errorf("github: %d lines, want 5", n)
	}
	// Within code, which two backticks begin where the text holds one, a tag is text.
	if outside := regexp.MustCompile("``.*?``").ReplaceAllString(written["md"], ""); strings.Contains(outside, "<script>") {
		t.Error("md: a tag of the outside stands in it")
	}
	for line := range strings.Lines(written["md"]) {
		if strings.HasPrefix(line, "| `") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 9 {
			t.Errorf("md: a row has another number of cells: %s", line)
		}
	}
	// Every verdict and doubt that is marked is explained.
	for _, note := range []string{"regressed", "missing", "unsteady", "torn_journal"} {
		if !strings.Contains(written["md"], "[^"+note+"]: ") {
			t.Errorf("md: no explanation of %s", note)
		}
	}
}

// judged is a row of a point that was tested.
func judged(batch int, v verdict.Verdict) verdict.Row {
	return verdict.Row{Point: bench.Point{Model: "net", Engine: "x", Precision: "fp32", Batch: batch, Resolution: 1}, Verdict: v, Pairs: verdict.Pairs{0, 0}, Base: 1, New: 1, Ratio: bench.Estimate{Value: 1}}
}

// One metric's verdict may fail a build where another's is advice, and all say which.
func TestAdviceOfOneMetric(t *testing.T) {
	for _, c := range []struct {
		latency verdict.Verdict
		strict  bool
		code    int
		head    string
	}{
		{verdict.Regressed, false, 10, "Regressed: 1 of 4 points by 2 metrics (2 slower by advice alone, 1 same)."},
		{verdict.Missing, false, 5, "Incomplete: 1 of 4 points by 2 metrics vanished (2 slower by advice alone, 1 same, 1 missing)."},
		{verdict.Invalid, false, 4, "Invalid: 1 of 4 points by 2 metrics must not be compared (2 slower by advice alone, 1 same, 1 invalid)."},
		{verdict.Same, false, 0, "Slower, as far as this comparison can tell: 2 of 4 points by 2 metrics"},
		{verdict.Same, true, 11, "Slower, as far as this comparison can tell: 2 of 4 points by 2 metrics"},
	} {
		comparison := &verdict.Comparison{Alpha: 0.05, Strict: c.strict, Families: []verdict.Family{
			{Metric: verdict.Metrics()[0], Rows: []verdict.Row{judged(1, c.latency), judged(2, verdict.Same)}},
			{Metric: verdict.Metrics()[1], Rows: []verdict.Row{judged(1, verdict.Regressed), judged(2, verdict.Regressed)}, Advisory: "it is of another day"},
		}}
		if got := comparison.ExitCode(); got != c.code {
			t.Errorf("%s: exit code %d, want %d", c.latency, got, c.code)
		}
		if got := Headline(comparison); !strings.HasPrefix(got, c.head) {
			t.Errorf("headline %q, want %q", got, c.head)
		}
		for _, f := range CompareFormats() {
			if f.Name == "csv" { // which says of each row whether it is advice
				continue
			}
			var b bytes.Buffer
			if err := f.New(&b, comparison); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), "it is of another day") {
				t.Errorf("%s does not say what is advice:\n%s", f.Name, b.String())
			}
		}
	}
}

// Under --strict every format fails for what the program ends with.
func TestStrictFormats(t *testing.T) {
	for _, c := range []struct {
		verdict         verdict.Verdict
		strict          bool
		junit, github   string
		markdown, first string
	}{
		{verdict.Undecided, false, "<skipped", "", "⚠️", "No regression found, and 1 of 2 points undecided"},
		{verdict.Undecided, true, "<failure", "::error title=genbench%3A undecided", "❌", "No regression found, and 1 of 2 points undecided"},
		{verdict.ClockShift, false, "<skipped", "::warning title=genbench%3A clock_shift", "⚠️", "No regression among 2 points"},
		{verdict.ClockShift, true, "<failure", "::error title=genbench%3A clock_shift", "❌", "No regression among 2 points"},
		{verdict.Same, false, "<testcase", "::warning title=genbench%3A advisory", "⚠️", "No regression among 2 points"}, // of another day
		{verdict.Same, true, "<failure", "::error title=genbench%3A advisory", "❌", "No regression among 2 points"},
	} {
		advisory := ""
		if c.verdict == verdict.Same {
			advisory = "it is of another day"
		}
		comparison := &verdict.Comparison{Alpha: 0.05, Strict: c.strict, Advisory: advisory, Families: []verdict.Family{{Metric: verdict.Metrics()[0], Rows: []verdict.Row{judged(1, verdict.Same), judged(2, c.verdict)}}}}
		written := map[string]string{}
		for _, f := range CompareFormats() {
			var b bytes.Buffer
			if err := f.New(&b, comparison); err != nil {
				t.Fatal(err)
			}
			written[f.Name] = b.String()
		}
		if !strings.Contains(written["junit"], c.junit) {
			t.Errorf("%s, strict %t: junit lacks %s:\n%s", c.verdict, c.strict, c.junit, written["junit"])
		}
		if !strings.Contains(written["github"], c.github) || c.github == "" && strings.Count(written["github"], "\n") != 1 {
			t.Errorf("%s, strict %t: github lacks %s:\n%s", c.verdict, c.strict, c.github, written["github"])
		}
		if !strings.HasPrefix(written["md"], "### "+c.markdown+" "+c.first) {
			t.Errorf("%s, strict %t: md begins %.60s", c.verdict, c.strict, written["md"])
		}
	}
}

// doubted is the comparison of a gate with every verdict and every kind of doubt.
func doubted() *verdict.Comparison {
	row := func(model string, batch int, v verdict.Verdict, ratio float64) verdict.Row {
		low, high := ratio-0.006, ratio+0.006
		return verdict.Row{Point: bench.Point{Model: model, Engine: "onnxruntime", Precision: "fp32", Batch: batch, Resolution: 224}, Verdict: v,
			Pairs: make(verdict.Pairs, 12), Base: 12.4e6, New: 12.4e6 * ratio, Ratio: bench.Estimate{Value: ratio, Low: &low, High: &high, Level: 0.95},
			Margin: 0.01, P: 0.4, Adjusted: 1, Detectable: 0.023}
	}
	yes, no := true, false
	worse := row("resnet-50", 1, verdict.Regressed, 1.052)
	worse.P, worse.Adjusted, worse.Confirmed = 0.0005, 0.004, &yes
	worse.Doubts = []bench.Warning{{Code: bench.Unsteady, Detail: "3 of 24 rounds"}}
	once := row("resnet-50", 8, verdict.Undecided, 1.034)
	once.Confirmed, once.Reason = &no, "flagged once; 12 new pairs gave same at a ratio of 1.0012"
	restless := row("genet-small", 1, verdict.Undecided, 1.002)
	restless.Refused, restless.Reason = true, "looks the same, but in 5 of 12 pairs a launch found no steady state (Q3) or only one had fixed clocks"
	restless.Doubts = []bench.Warning{{Code: bench.Unsteady, Detail: "9 of 24 rounds"}}
	lost := row("genet-small", 8, verdict.Same, 1.001)
	lost.Pairs = lost.Pairs[:11]
	lost.Doubts = []bench.Warning{{Code: bench.LostLaunches, Detail: "1 of 12; one failed: the worker died (signal: killed)"}}
	floor := row("genet-normal", 1, verdict.Undecided, 0.993)
	floor.Margin, floor.Raised, floor.Reason = 0.021, true, "lies within this machine's noise floor of 2.1 %, not shown to be within 1 %"
	quick := row("genet-normal", 8, verdict.Improved, 0.93)
	bare := func(model string, v verdict.Verdict, reason string) verdict.Row {
		return verdict.Row{Point: bench.Point{Model: model, Engine: "onnxruntime", Precision: "fp32", Batch: 1, Resolution: 224}, Verdict: v, Reason: reason}
	}
	failed := bare("efficientnet-b0", verdict.Missing, "new: failed: build efficientnet-b0: CUDA error 2 (@octocat, see https://example.org/errors#2): out of memory\n  at conv.cc:17")
	fresh := bare("mobilenetv2-1.0", verdict.Extra, "base: skipped: engine onnxruntime does not run depthwise convolutions")
	family := verdict.Family{Metric: verdict.Metrics()[0], Threshold: 0.01, Tested: 6, Rows: []verdict.Row{lost, worse, fresh, once, restless, floor, quick, failed}}
	for i := range family.Rows {
		if r := &family.Rows[i]; len(r.Pairs) > 0 {
			r.Doubts = append(r.Doubts, bench.Warning{Code: bench.Unchecked, Detail: r.Point.Model})
		}
	}
	run := func(id string) bench.RunRecord {
		r := bench.RunRecord{ID: id}
		r.Config.Protocol.Launches = 1
		return r
	}
	c := &verdict.Comparison{Base: run("20260301-090000-0001"), New: run("20260301-090010-0002"), Alpha: 0.05, Families: []verdict.Family{family},
		Differences: []verdict.Difference{{Name: "engine", Base: "onnxruntime 1.30.0", New: "onnxruntime 1.32.0", Spoils: true, Allowed: true}},
		Doubts:      []verdict.Doubt{{Text: "base and new are the same binary, libraries, networks and settings, as far as their journals say: this gate compared a thing with itself"}}}
	for _, arm := range []string{"base", "new"} {
		c.Doubts = append(c.Doubts, verdict.Doubt{Code: bench.TornJournal, Text: arm + ": line 12 of the journal was cut short and is ignored"})
		for _, load := range []string{"1.32", "1.71", "2.05"} {
			c.Doubts = append(c.Doubts, verdict.Doubt{Code: bench.Disturbed, Text: arm + ": the load average of the last minute is " + load + " (limit 1.0)"})
		}
	}
	return c
}

// A comparison with every trouble, in all formats: what is doubted reaches each.
func TestTroubledComparison(t *testing.T) {
	for _, f := range CompareFormats() {
		text := compared(t, f.Name, doubted())
		golden(t, filepath.Join("comparison", "want."+f.Name), []byte(text))
		for _, doubt := range []string{"compared a thing with itself", "line 12 of the journal was cut short", "the load average of the last minute is 1.32"} {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), doubt) {
				t.Errorf("%s lacks %q", f.Name, doubt)
			}
		}
		for _, code := range []string{"unsteady", "unchecked_output", "lost_launches"} {
			if !strings.Contains(text, code) {
				t.Errorf("%s lacks the doubt %s about points", f.Name, code)
			}
		}
	}
}

// compared is what a format makes of a comparison.
func compared(t *testing.T, format string, c *verdict.Comparison) string {
	t.Helper()
	report, err := LookupCompare(format)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := report(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What was not compared is no part of "no regression", and is to be looked at.
func TestExtraIsNoVerdict(t *testing.T) {
	rows := []verdict.Row{judged(1, verdict.Same)}
	for batch := 2; batch < 15; batch++ {
		rows = append(rows, judged(batch, verdict.Extra))
	}
	family := verdict.Family{Metric: verdict.Metrics()[0], Rows: rows}
	c := &verdict.Comparison{Alpha: 0.05, Families: []verdict.Family{family}}
	want := "No regression among the 1 of 14 points that could be compared (1 same, 13 extra)."
	if got := Headline(c); got != want {
		t.Errorf("headline %q, want %q", got, want)
	}
	if got := compared(t, "md", c); !strings.HasPrefix(got, "### ⚠️ "+want) {
		t.Errorf("md begins %.60s", got)
	}
	c.Families[0].Rows = []verdict.Row{judged(1, verdict.Undecided), judged(2, verdict.Extra)}
	if got, want := Headline(c), "Undecided: nothing can be said of 1 compared point (1 undecided, 1 extra)."; got != want {
		t.Errorf("headline %q, want %q", got, want)
	}
}

// A doubt about the whole is seen where all is well otherwise, above the tables; so are
// the doubts about points that make it no measurement. Others do not mark the verdict.
func TestDoubtMarksTheVerdict(t *testing.T) {
	for _, c := range []struct {
		whole []verdict.Doubt
		point bench.Code
		mark  string
	}{
		{nil, "", "✅"},
		{[]verdict.Doubt{{Text: "it is compared with itself"}}, "", "⚠️"},
		{[]verdict.Doubt{{Code: bench.Interrupted, Text: "the run did not reach its end"}}, "", "⚠️"},
		{nil, bench.FakeEngine, "⚠️"},
		{nil, bench.LostLaunches, "⚠️"},
		{nil, bench.Unchecked, "✅"},
	} {
		row := judged(1, verdict.Same)
		if c.point != "" {
			row.Doubts = []bench.Warning{{Code: c.point}}
		}
		text := compared(t, "md", &verdict.Comparison{Alpha: 0.05, Doubts: c.whole, Families: []verdict.Family{{Metric: verdict.Metrics()[0], Rows: []verdict.Row{row}}}})
		if !strings.HasPrefix(text, "### "+c.mark+" No regression among 1 point") {
			t.Errorf("%v %s: md begins %.60s", c.whole, c.point, text)
		}
		above, _, _ := strings.Cut(text, "latency (")
		for _, d := range c.whole {
			if !strings.Contains(above, d.Text) {
				t.Errorf("%q stands below the tables:\n%s", d.Text, text)
			}
		}
		if !strings.Contains(above, string(c.point)) {
			t.Errorf("%s is not told above the tables:\n%s", c.point, text)
		}
	}
}

// What was flagged once and acquitted is told of, and fails nothing.
func TestUnconfirmedIsAnnotated(t *testing.T) {
	no := false
	row := judged(1, verdict.Undecided)
	row.Confirmed, row.Reason = &no, "flagged once; 12 new pairs gave same at a ratio of 1.0012"
	c := &verdict.Comparison{Alpha: 0.05, Families: []verdict.Family{{Metric: verdict.Metrics()[0], Rows: []verdict.Row{row, judged(2, verdict.Undecided)}}}}
	for strict, want := range map[bool]string{false: "::warning title=genbench%3A flagged once%2C not confirmed::undecided: latency net@1/x/fp32/b1 ", true: "::error title=genbench%3A flagged once%2C not confirmed::"} {
		c.Strict = strict
		if text := compared(t, "github", c); !strings.Contains(text, want) {
			t.Errorf("strict %t: github lacks %s:\n%s", strict, want, text)
		}
	}
}

// However much there is to say, GitHub takes it, and what is not said is told of.
func TestMarkdownFitsAComment(t *testing.T) {
	c := &verdict.Comparison{Alpha: 0.05, Stopped: strings.Repeat("core dumped & ", 10_000)}
	for i := range 100 {
		c.Doubts = append(c.Doubts, verdict.Doubt{Text: strings.Repeat("<doubt>", 1000+i)})
		c.Differences = append(c.Differences, verdict.Difference{Name: "pinning", Base: strings.Repeat("[1] ", 100+i), New: "none"})
	}
	var codes []bench.Warning
	for _, info := range bench.Codes() {
		codes = append(codes, bench.Warning{Code: info.Code, Detail: "so and so"})
	}
	for _, m := range verdict.Metrics() {
		f := verdict.Family{Metric: m}
		for i := range 300 {
			row := judged(i+1, []verdict.Verdict{verdict.Same, verdict.Invalid, verdict.Undecided}[i%3])
			row.Reason, row.Doubts = strings.Repeat("ptxas | error & ", 1000)+row.Point.String(), codes
			f.Rows = append(f.Rows, row)
		}
		c.Families = append(c.Families, f)
	}
	text := compared(t, "md", c)
	if len(text) > 60_000 || len(text) < 40_000 {
		t.Errorf("%d bytes", len(text))
	}
	shown := strings.Count(text, "\n| `")
	if want := fmt.Sprintf("\nShortened: %d rows left out, long texts and lists cut (…). `--format json`, or `--also json=FILE`, has everything.\n", 1200-shown); !strings.Contains(text, want) {
		t.Errorf("%d rows are shown, and it is not said that the rest is not: want %s", shown, want)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "|") && bars(line) != 9 {
			t.Errorf("a row has %d bars: %.200s", bars(line), line)
		}
	}
}

// A text that many rows share is written once.
func TestRemarksAreNumbered(t *testing.T) {
	rows := []verdict.Row{judged(1, verdict.Invalid), judged(2, verdict.Invalid), judged(3, verdict.Invalid)}
	rows[0].Reason, rows[1].Reason, rows[2].Reason = "the library is gone", "another reason", "the library is gone"
	text := compared(t, "md", &verdict.Comparison{Alpha: 0.05, Families: []verdict.Family{{Metric: verdict.Metrics()[0], Rows: rows}}})
	if n := strings.Count(text, "the library is gone"); n != 1 || strings.Count(text, `| \[1\] |`) != 2 || !strings.Contains(text, `- \[2\] another reason`) {
		t.Errorf("the reason stands there %d times:\n%s", n, text)
	}
	if strings.Contains(text, "Shortened") {
		t.Error("something was left out")
	}
}

// The line above a table says what was asked of it: a margin that is the machine's own,
// and a chance of a false alarm where pairs were taken in turn and nowhere else.
func TestDesign(t *testing.T) {
	low, high, plain := judged(1, verdict.Same), judged(2, verdict.Same), judged(3, verdict.Same)
	low.Margin, low.Raised, high.Margin, high.Raised = 0.021, true, 0.034, true
	family := verdict.Family{Metric: verdict.Metrics()[0], Threshold: 0.01, Tested: 3, Rows: []verdict.Row{low, high, plain}}
	gate := &verdict.Comparison{Alpha: 0.05, Families: []verdict.Family{family}}
	gate.Base.Config.Protocol.Launches = 1
	const promise = "with a chance of a false alarm of at most 5 %"
	if got := design(gate, family); !strings.Contains(got, "margin 1 %, for a regression or an improvement raised to this machine's noise floor at 2 of 3 points (2.1 to 3.4 %);") || !strings.Contains(got, promise) {
		t.Errorf("gate: %s", got)
	}
	stored := *gate
	stored.Base.Config.Protocol.Launches = 12
	advice := *gate
	advice.Advisory = "the gate did not reach its end"
	// What is the same lies within the margin that was asked for.
	if got := remark(low); got != "" {
		t.Errorf("same: %s", got)
	}
	low.Verdict = verdict.Regressed
	if got, want := remark(low), "margin raised to this machine's noise floor, 2.1 %"; got != want {
		t.Errorf("regressed: %q, want %q", got, want)
	}
	for _, c := range []*verdict.Comparison{&stored, &advice} {
		if got := design(c, family); strings.Contains(got, promise) || !strings.Contains(got, "3 points tested together at a level of 5 %") {
			t.Errorf("not a gate: %s", got)
		}
	}
}

// A gate that was stopped before it had a pair says what stopped it and no more.
func TestNothingToCompare(t *testing.T) {
	c := &verdict.Comparison{Alpha: 0.05, Stopped: "run base: exit status 1: no such library", StoppedCode: 6, Advisory: "there is nothing to show",
		Families: []verdict.Family{{Metric: verdict.Metrics()[0]}}}
	for format, want := range map[string]string{
		"text": "Not decided, as the gate was stopped: run base: exit status 1: no such library.\n! advisory: there is nothing to show\n",
		"md":   "### ❌ Not decided, as the gate was stopped: run base: exit status 1: no such library.\n\n- **Advisory:** there is nothing to show.\n\n",
	} {
		if got := compared(t, format, c); got != want {
			t.Errorf("%s is %q, want %q", format, got, want)
		}
	}
	c.Families = nil
	for _, f := range CompareFormats() {
		compared(t, f.Name, c)
	}
}
