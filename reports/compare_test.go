package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"io"
	"math"
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
		if !strings.HasPrefix(line, "::notice title=genbench") && !strings.HasPrefix(line, "::error title=genbench%3A ") {
			t.Errorf("github: a line begins with %.40q", line)
		}
	}
	if n := strings.Count(written["github"], "\n"); n != 3 {
		t.Errorf("github: %d lines, want 3", n)
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
		{verdict.Regressed, false, 10, "Regressed: 1 of 4 points by 2 metrics, and 2 slower by advice alone"},
		{verdict.Missing, false, 5, "Incomplete: 1 of 4 points by 2 metrics vanished"},
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
			if f.Name == "csv" || f.Name == "junit" && !c.strict {
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
		{verdict.Same, false, "<testcase", "::warning title=genbench: advisory", "⚠️", "No regression among 2 points"}, // of another day
		{verdict.Same, true, "<failure", "::error title=genbench: advisory", "❌", "No regression among 2 points"},
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
