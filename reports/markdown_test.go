package reports

import (
	"bytes"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"

	"genbench/bench"
)

// nasty are texts that mean something to Markdown, HTML, a shell or a terminal.
var nasty = []string{
	"a|b", `a\|b`, "a\nb", "a\r\n| b |", "`code`", "``", "``a`b", "*bold* _it_ ~~no~~", "<script>alert(1)</script>", "a&amp;b", "[x](y)", "![x](y)",
	"# no heading", "- no item", "1. no item", "+ no item", "=== ", "$x$", "\x1b[31mred\x1b[0m", "bell\x07 and \x1b(0 graphics", "tab\tstop", "\u202eright to left", "line\u2028separator",
	"\xff\xfe", "", " ", "ends with \\", "it's \"quoted\"", "µs × °C – …", "日本語", "@name", "see https://example.org", strings.Repeat("long ", 50),
}

// TestMarkdownCells: whatever stands in a cell, the table stays a table: each row
// on one line, with as many cells as the header.
func TestMarkdownCells(t *testing.T) {
	for _, text := range nasty {
		for _, cell := range []prose{{text}, {mono(text)}, {strong(text)}, {"x ", mono(text), " y"}} {
			g := grid{header: []string{"first", text}, right: []bool{false, true}, rows: [][]prose{{cell, {"end"}}, {{"next"}, cell}}}
			var b bytes.Buffer
			if err := g.markdown(&b); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
			if len(lines) != 4 {
				t.Errorf("%q makes %d lines of 4:\n%s", text, len(lines), b.String())
			}
			for _, line := range lines {
				if got := bars(line); got != 3 {
					t.Errorf("%q makes a row with %d bars instead of 3: %s", text, got, line)
				}
			}
		}
	}
}

// bars counts the pipes that part cells: those not after an odd number of
// backslashes.
func bars(line string) int {
	n, slashes := 0, 0
	for _, r := range line {
		switch r {
		case '\\':
			slashes++
			continue
		case '|':
			if slashes%2 == 0 {
				n++
			}
		}
		slashes = 0
	}
	return n
}

// TestMarkdownText: no text from outside begins a block, a tag or a control
// sequence.
func TestMarkdownText(t *testing.T) {
	begins := regexp.MustCompile(`^([#+=-]|\d+[.)]\s)`)
	for _, text := range nasty {
		line := prose{text}.line()
		if strings.ContainsAny(line, "\n\r\x07\x1b\u202e\u2028<") {
			t.Errorf("%q becomes %q", text, line)
		}
		if begins.MatchString(line) {
			t.Errorf("%q begins a block: %q", text, line)
		}
		if p := string(prose{mono(text)}.markdown()); strings.ContainsAny(p, "\n\r\x1b") {
			t.Errorf("%q as code becomes %q", text, p)
		}
	}
}

// TestMarkdownLinksNothing: no text from outside calls a user or leads anywhere, and the
// names of points stay as they are, to be copied.
func TestMarkdownLinksNothing(t *testing.T) {
	for text, want := range map[string]string{
		"@octocat":                 "@&#8203;octocat",
		"ask (@octocat), @@x":      "ask (@&#8203;octocat), @&#8203;@&#8203;x",
		"a.b@example.org":          "a.b@&#8203;example.org",
		"genet-small@224/x/fp32":   "genet-small@224/x/fp32",
		"https://example.org/a#12": "https:&#8203;//example.org/a#&#8203;12",
		"see WWW.example.org":      "see WWW&#8203;.example.org",
		"C#, a: b, 1 www":          "C#, a: b, 1 www",
		"<@a>":                     "&lt;@&#8203;a&gt;",
	} {
		if got := (prose{text}).markdown(); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
		if got := (prose{mono(text)}).markdown(); got != "`"+text+"`" {
			t.Errorf("%q as code becomes %q", text, got)
		}
	}
}

func TestHTMLText(t *testing.T) {
	for _, text := range nasty {
		d := document{heading{2, text}, paragraph{text, strong(text), mono(text)}, list{{text}}, code(text), grid{[]string{text}, []bool{true}, [][]prose{{{text}}}}, folded{text, document{paragraph{text}}}}
		page := string(d.html(text))
		if strings.Contains(page, "<script") || strings.ContainsAny(page, "\x07\x1b\u202e") {
			t.Errorf("%q gets into the page:\n%s", text, page)
		}
	}
}

// FuzzMarkdownCell holds arbitrary text to what TestMarkdownCells asks of the
// texts known to be nasty.
func FuzzMarkdownCell(f *testing.F) {
	for _, text := range nasty {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range []prose{{text}, {mono(text)}, {strong(text)}} {
			cell := p.tableCell()
			if bars(cell) != 0 || strings.ContainsAny(cell, "\n\r") {
				t.Errorf("%q becomes %q", text, cell)
			}
		}
	})
}

// TestMarkdownOfEverything: in the report of the case that has every trouble, all
// tables are rectangular and nothing from outside survives as HTML.
func TestMarkdownOfEverything(t *testing.T) {
	text := written(t, Markdown, load(t, "troubled"))
	columns := 0
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced || !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		if columns == 0 {
			columns = bars(line)
		}
		if bars(line) != columns {
			t.Errorf("a row has %d bars, its header %d: %s", bars(line), columns, line)
		}
	}
	for _, tag := range regexp.MustCompile(`<[^>]*>?`).FindAllString(text, -1) {
		switch tag {
		case "<details>", "</details>", "<summary>", "</summary>", "<test>": // the last stands in a code block, as it was typed
		default:
			t.Errorf("tag %s", tag)
		}
	}
}

// TestTwoRuns: reports of several runs keep them apart.
func TestTwoRuns(t *testing.T) {
	a, b := load(t, "one"), load(t, "gpu")
	for name, report := range map[string]Report{"text": Text(100), "md": Markdown, "csv": CSV, "json": JSON} {
		text := written(t, report, a, b)
		for _, r := range []*bench.Result{a, b} {
			if !strings.Contains(text, r.Log.Run.ID) {
				t.Errorf("%s does not name run %s", name, r.Log.Run.ID)
			}
		}
	}
	// What holds for the GPU's rounds does not for those after them.
	reader, gpus := benchfmt.NewReader(strings.NewReader(written(t, GoBench, b, a)), "both"), map[string]string{}
	for reader.Scan() {
		if record, ok := reader.Result().(*benchfmt.Result); ok {
			_, parts := record.Name.Parts()
			gpus[string(parts[1])] = record.GetConfig("gpu")
		}
	}
	if gpus["/engine=tensorrt"] != "Example GPU" || gpus["/engine=onnxruntime"] != "" {
		t.Errorf("gobench: GPUs by engine %v", gpus)
	}
	for name, report := range map[string]Report{"bencher": Bencher, "smaller-is-better": SmallerIsBetter} {
		text := written(t, report, a, b)
		for _, r := range []*bench.Result{a, b} {
			if !strings.Contains(text, r.Measurements[0].Point.String()) {
				t.Errorf("%s has no number of run %s", name, r.Log.Run.ID)
			}
		}
		if err := report(io.Discard, a, b, load(t, "cpu")); err == nil || !strings.Contains(err.Error(), "point genet-small@192/onnxruntime/fp32/b1 is in runs "+a.Log.Run.ID+" and ") {
			t.Errorf("%s of two runs with one point: %v", name, err)
		}
	}
}

// TestShellQuote: a POSIX shell reads back what was meant.
func TestShellQuote(t *testing.T) {
	for _, text := range nasty {
		if strings.ContainsRune(text, 0) {
			continue
		}
		out, err := exec.Command("sh", "-c", "printf %s "+shellQuote(text)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if string(out) != text {
			t.Errorf("the shell makes %q of %s", out, shellQuote(text))
		}
	}
}

func TestCommandLine(t *testing.T) {
	run := load(t, "troubled").Log.Run
	if got, want := commandLine(run), "genbench run --suite default --engines onnxruntime --threads 4 --note 'it'\\''s a <test> | `x`' --seed 13"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	run.Argv = []string{"./genbench", "run", "--out", "there", "--seed=5", "--out=elsewhere"}
	if got, want := commandLine(run), "genbench run --seed=5 --threads 4"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	run.Argv = []string{"genbench", "replay", "first", "--out", "again"}
	if got, want := commandLine(run), "genbench replay first"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestBinaryIsNamed: a version of which there are many builds says nothing without the
// sum of the binary.
func TestBinaryIsNamed(t *testing.T) {
	r := load(t, "one")
	r.Log.Run.GenbenchVersion, r.Log.Run.GenbenchSHA256 = "(devel)", "9ef8151745172e8a4763ebdbd211e34f"
	if page := written(t, Markdown, r); !strings.Contains(page, "(devel), sha256 `9ef815174517`…, journal `genbench/1`") {
		t.Errorf("the page does not name the binary:\n%s", page)
	}
}

func TestWrap(t *testing.T) {
	got := wrap("one two  three four-and-a-very-long-word five", 12, "a  ", "   ")
	want := "a  one two\n   three\n   four-and-a-very-long-word\n   five\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
