package reports

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/perf/benchfmt"

	"genbench/bench"
)

var update = flag.Bool("update", false, "write testdata anew")

// cases are the journals of testdata.
var cases = []string{"cpu", "gpu", "none", "one", "torn", "troubled"}

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	path = filepath.Join("testdata", path)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run with -update", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what the code now writes (-want +got); look at it, then run with -update:\n%s", path, cmp.Diff(string(want), string(got)))
	}
}

// written is what a report makes of results.
func written(t *testing.T, report Report, results ...*bench.Result) string {
	t.Helper()
	var b strings.Builder
	if err := report(&b, results...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			r := load(t, name)
			for _, f := range Formats() {
				golden(t, filepath.Join(name, "want."+f.Name), []byte(written(t, f.New(0), r)))
			}
			golden(t, filepath.Join(name, "want.80.text"), []byte(written(t, Text(80), r)))

			dir := t.TempDir()
			if err := WriteDir(dir, r); err != nil {
				t.Fatal(err)
			}
			page, err := os.ReadFile(filepath.Join(dir, "report.md"))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(name, "want.report.md"), page)
			if runtime.GOARCH != "amd64" {
				return // others fuse multiplications with additions, which may show in a coordinate's last digit
			}
			var sums strings.Builder
			for _, file := range drawings(t, dir) {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), filepath.Base(file))
			}
			golden(t, filepath.Join(name, "want.svg.sha256"), []byte(sums.String()))
		})
	}
}

// drawings lists the SVG files of a directory.
func drawings(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestPureFunction: the same journal gives the same bytes, wherever it lies, and
// nothing of where that is.
func TestPureFunction(t *testing.T) {
	skipDrawing(t)
	journal, err := os.ReadFile(filepath.Join("testdata", "troubled", bench.JournalName))
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for range 2 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, bench.JournalName), journal, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := bench.LoadResult(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteDir(dir, r); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	entries, err := os.ReadDir(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		a, errA := os.ReadFile(filepath.Join(dirs[0], e.Name()))
		b, errB := os.ReadFile(filepath.Join(dirs[1], e.Name()))
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs between two directories with one journal", e.Name())
		}
		if e.Name() != bench.JournalName && (bytes.Contains(a, []byte(dirs[0])) || bytes.Contains(a, []byte("/opt/lib/"))) {
			t.Errorf("%s names a path of the machine", e.Name())
		}
	}
	want := []string{"accuracy.png", "accuracy.svg", "latency.png", "latency.svg", "report.html", "report.md", "run.jsonl", "samples.png", "samples.svg", "summary.json", "timeline.png", "timeline.svg"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files of a run (-want +got):\n%s", diff)
	}
}

// TestWriteDirAgain: a picture that can no longer be drawn must not stay behind
// from an earlier time, and a directory that cannot be written is an error.
func TestWriteDirAgain(t *testing.T) {
	skipDrawing(t)
	dir := t.TempDir()
	stale := filepath.Join(dir, "latency.png")
	if err := os.WriteFile(stale, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := load(t, "none")
	if err := WriteDir(dir, r); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("the outdated picture is still there: %v", err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "No picture of latency against batch: no point gave a usable number (4 skipped).") {
		t.Errorf("the report does not say why there is no picture:\n%s", page)
	}
	if err := WriteDir(filepath.Join(dir, "nowhere"), r); err == nil {
		t.Error("writing to a directory that is not there gave no error")
	}
}

func TestLookup(t *testing.T) {
	for _, f := range Formats() {
		if report, err := Lookup(f.Name, 80); err != nil || report == nil {
			t.Errorf("Lookup(%q): %v", f.Name, err)
		}
	}
	for name, want := range map[string]string{
		"jsno":    `unknown report format "jsno": did you mean "json"? there are text, md, csv, json, gobench, bencher, smaller-is-better`,
		"TXT":     `unknown report format "TXT": did you mean "text"? there are text, md, csv, json, gobench, bencher, smaller-is-better`,
		"gobecnh": `unknown report format "gobecnh": did you mean "gobench"? there are text, md, csv, json, gobench, bencher, smaller-is-better`,
		"yaml":    `unknown report format "yaml": there are text, md, csv, json, gobench, bencher, smaller-is-better`,
		"":        `unknown report format "": there are text, md, csv, json, gobench, bencher, smaller-is-better`,
	} {
		if _, err := Lookup(name, 0); err == nil || err.Error() != want {
			t.Errorf("Lookup(%q) = %v, want %s", name, err, want)
		}
	}
}

// TestColumns holds the one table to what its users rely on.
func TestColumns(t *testing.T) {
	seen := map[string]bool{}
	var groups []string
	leave := map[int]string{}
	for _, c := range columns() {
		if c.key == "" || c.doc == "" || c.cell == nil {
			t.Errorf("column %q lacks its key, doc or cell", c.key)
		}
		if seen[c.key] || strings.HasSuffix(c.key, reasonSuffix) {
			t.Errorf("key %q is taken", c.key)
		}
		seen[c.key] = true
		if group, _, nested := strings.Cut(c.key, "."); nested && (len(groups) == 0 || groups[len(groups)-1] != group) {
			if slices.Contains(groups, group) {
				t.Errorf("the columns of %s do not stand together, as JSON needs", group)
			}
			groups = append(groups, group)
		} else if !nested {
			groups = append(groups, "")
		}
		if other := leave[c.leave]; c.leave > 0 && other != "" {
			t.Errorf("%s and %s leave a narrow table in no order", other, c.key)
		}
		leave[c.leave] = c.key
	}
}

// TestWidths: no line is wider than the terminal, no row and no column is lost
// without a word, and a wider terminal never shows less.
func TestWidths(t *testing.T) {
	for _, name := range cases {
		r := load(t, name)
		var before table
		for _, width := range []int{80, 100, 120, 160, 200, 300, 0} {
			text := written(t, Text(width), r)
			for line := range strings.Lines(text) {
				if w := textWidth(strings.TrimSuffix(line, "\n")); width > 0 && w > width {
					t.Errorf("%s at width %d has a line of %d: %q", name, width, w, line)
				}
			}
			rows := byBatch(rowsOf([]*bench.Result{r}))
			now := tableOf(rows, width, func(c column) bool { return !c.statistic })
			for _, c := range before.columns {
				if !slices.ContainsFunc(now.columns, func(x column) bool { return x.key == c.key }) {
					t.Errorf("%s loses %s at the greater width %d", name, c.key, width)
				}
			}
			before = now
			flat := strings.Join(strings.Fields(text), " ")
			if said := fmt.Sprintf("no room in %d columns for %s;", width, strings.Join(now.left, ", ")); now.left != nil && !strings.Contains(flat, said) {
				t.Errorf("%s at width %d does not say %q", name, width, said)
			}
			// Latencies stand in every table; what follows it does not count.
			body, _, _ := strings.Cut(text, "\n\n  ")
			shown := strings.Fields(body)
			for _, r := range rows {
				want := string(r.State)
				if r.measured() {
					want = r.milliseconds(r.Latency.Value).people()
				}
				i := slices.IndexFunc(shown, func(s string) bool { return strings.TrimRight(s, filler) == want })
				if i < 0 {
					t.Errorf("%s at width %d loses the row of %s, %s", name, width, r.Point, want)
					continue
				}
				shown[i] = "" // two rows may be as fast
			}
		}
	}
	narrow := tableOf(byBatch(rowsOf([]*bench.Result{load(t, "cpu")})), 60, func(column) bool { return true })
	want := []string{"95 % interval", "params", "MACs", "min", "samples", "rounds (dropped)", "p90 (bound)", "GMAC/s", "launches", "input", "ms/image", "top-1", "images/s"}
	if diff := cmp.Diff(want, narrow.left); diff != "" {
		t.Errorf("order in which columns leave (-want +got):\n%s", diff)
	}
}

// TestDashesAreExplained: each reason for a dash is told, and for how many points.
func TestDashesAreExplained(t *testing.T) {
	r := load(t, "gpu")
	for i := range r.Measurements[:3] {
		r.Measurements[i].Throughput, r.Measurements[i].NoThroughput = nil, "the stream is held"
	}
	r.Measurements[3].Throughput, r.Measurements[3].NoThroughput = nil, "a gap sets it"
	want := "images/s: the stream is held (3 points); a gap sets it (1 point)"
	if gaps := tableOf(rowsOf([]*bench.Result{r}), 0, core).gaps; !slices.Contains(gaps, want) {
		t.Errorf("dashes are explained by %q, want %q", gaps, want)
	}
	for i := range r.Measurements {
		r.Measurements[i].Throughput = nil
		if i > 3 {
			r.Measurements[i].NoThroughput = "a gap sets it"
		}
	}
	want = fmt.Sprintf("images/s: the stream is held (3 points); a gap sets it (%d points)", len(r.Measurements)-3)
	if empty := tableOf(rowsOf([]*bench.Result{r}), 0, core).empty; !slices.Contains(empty, want) {
		t.Errorf("the column that is not there is explained by %q, want %q", empty, want)
	}
}

// TestLongNames: a name that does not fit is broken over lines, whole.
func TestLongNames(t *testing.T) {
	const name = "someone|else's_network-with-a-name-of-sixty-characters-*v2*-x"
	text := written(t, Text(80), load(t, "troubled"))
	joined := ""
	for line := range strings.Lines(text) {
		if first := strings.Fields(line); len(first) > 0 && strings.Contains(name, first[0]) {
			joined += first[0]
		}
	}
	if !strings.Contains(joined, name) {
		t.Errorf("the pieces of %q are not all there: %q", name, joined)
	}
}

// TestJSON: every null has a reason and nothing else has one, numbers are finite,
// and every point of every run is there.
func TestJSON(t *testing.T) {
	var results []*bench.Result
	points := 0
	for _, name := range cases {
		r := load(t, name)
		results = append(results, r)
		points += len(r.Measurements)
	}
	spoilt := load(t, "cpu")
	spoilt.Measurements[0].Latency.Value = math.NaN()
	spoilt.Measurements[1].Throughput.Value = math.Inf(1)
	spoilt.Measurements[2].Check.Cosine = 1
	points += len(spoilt.Measurements)
	text := written(t, JSON, append(results, spoilt)...)
	var objects []map[string]any
	if err := json.Unmarshal([]byte(text), &objects); err != nil {
		t.Fatalf("not JSON: %v", err)
	}
	if len(objects) != points {
		t.Errorf("%d objects for %d points", len(objects), points)
	}
	nulls := 0
	var check func(path string, object map[string]any)
	check = func(path string, object map[string]any) {
		for key, v := range object {
			if base, isReason := strings.CutSuffix(key, reasonSuffix); isReason {
				if value, there := object[base]; !there || value != nil {
					t.Errorf("%s.%s gives a reason for what is known", path, key)
				}
				if v == "" {
					t.Errorf("%s.%s is empty", path, key)
				}
				continue
			}
			switch v := v.(type) {
			case nil:
				nulls++
				if _, ok := object[key+reasonSuffix]; !ok {
					t.Errorf("%s.%s is null without a reason", path, key)
				}
			case map[string]any:
				check(path+"."+key, v)
			}
		}
	}
	for _, o := range objects {
		check(fmt.Sprint(o["point"]), o)
		for _, key := range []string{"model", "engine", "precision", "batch", "resolution", "latency_ms", "throughput_per_s", "energy_j", "samples", "rounds", "launches", "quality", "warnings", "state", "reason"} {
			if _, ok := o[key]; !ok {
				t.Errorf("%s lacks %s", o["point"], key)
			}
		}
		if o["state"] != "measured" && o["latency_ms"].(map[string]any)["median"] != nil {
			t.Errorf("%s is %s and has a latency", o["point"], o["state"])
		}
	}
	if nulls == 0 {
		t.Error("no case has a null, so that none was checked")
	}
	if last := objects[points-len(spoilt.Measurements)]["latency_ms"].(map[string]any); last["median"] != nil {
		t.Errorf("NaN became %v", last["median"])
	}
	if got := written(t, JSON); got != "[\n]\n" {
		t.Errorf("no results give %q", got)
	}
}

// TestCSV: rectangular, one record a point, the same keys and values as JSON.
func TestCSV(t *testing.T) {
	r := load(t, "troubled")
	records, err := csv.NewReader(strings.NewReader(written(t, CSV, r))).ReadAll()
	if err != nil {
		t.Fatal(err) // the reader checks that all records are of one length
	}
	if len(records) != 1+len(r.Measurements) {
		t.Errorf("%d records for %d points", len(records), len(r.Measurements))
	}
	var objects []map[string]any
	if err := json.Unmarshal([]byte(written(t, JSON, r)), &objects); err != nil {
		t.Fatal(err)
	}
	for i, record := range records[1:] {
		fields := map[string]any{}
		for key, v := range objects[i] {
			if inner, ok := v.(map[string]any); ok {
				for k, v := range inner {
					fields[key+"_"+k] = v
				}
				continue
			}
			fields[key] = v
		}
		for j, key := range records[0] {
			if key == "unknown" {
				continue
			}
			var same bool
			switch want := fields[key].(type) {
			case nil:
				same = record[j] == "" && strings.Contains(record[len(record)-1], key+": ")
			case float64:
				got, err := strconv.ParseFloat(record[j], 64)
				same = err == nil && got == want
			case []any:
				same = len(strings.Fields(record[j])) == len(want)
				if len(want) > 0 {
					if _, text := want[0].(string); text {
						same = len(strings.Split(record[j], "; ")) >= len(want)
					}
				}
			default:
				same = record[j] == fmt.Sprint(want)
			}
			if !same {
				t.Errorf("%s of record %d is %q, JSON has %v", key, i, record[j], fields[key])
			}
		}
	}
}

// TestGoBench reads the format back with the parser that benchstat uses.
func TestGoBench(t *testing.T) {
	for _, name := range cases {
		r := load(t, name)
		kept := map[string][]int64{} // extremes by model, engine and batch
		rates := map[string][]float64{}
		want := 0
		for _, row := range rowsOf([]*bench.Result{r}) {
			for _, round := range row.Rounds {
				if row.measured() && round.Status == bench.OK {
					want++
					sorted := slices.Clone(round.DeviceNS)
					slices.Sort(sorted)
					key := fmt.Sprintf("%s %s %d", nameValue(row.Point.Model), row.Point.Engine, row.Point.Batch)
					kept[key] = append(kept[key], sorted[0], sorted[len(sorted)-1])
					wall := 0.0
					for _, ns := range round.WallNS() {
						wall += float64(ns)
					}
					rates[key] = append(rates[key], float64(len(sorted)*row.Point.Batch)*1e9/wall)
				}
			}
		}
		reader := benchfmt.NewReader(strings.NewReader(written(t, GoBench, r)), name)
		got := 0
		for reader.Scan() {
			switch record := reader.Result().(type) {
			case *benchfmt.SyntaxError:
				t.Errorf("%s: %v", name, record)
			case *benchfmt.Result:
				got++
				base, parts := record.Name.Parts()
				if string(base) != "Latency" {
					t.Errorf("name %q", record.Name)
				}
				fields := map[string]string{}
				for _, part := range parts {
					key, value, ok := strings.Cut(strings.TrimPrefix(string(part), "/"), "=")
					if !ok {
						t.Errorf("%s: part %q of name %q is no key and value", name, part, record.Name)
					}
					fields[key] = value
				}
				for _, key := range []string{"model", "engine", "precision", "batch", "resolution"} {
					if fields[key] == "" {
						t.Errorf("%s: name %q lacks %s", name, record.Name, key)
					}
				}
				seconds, ok := record.Value("sec/op")
				if !ok || record.Iters < 1 {
					t.Errorf("%s: no time in %q", name, record.Name)
				}
				key := fields["model"] + " " + fields["engine"] + " " + fields["batch"]
				limits := kept[key]
				if ns := seconds * 1e9; len(limits) == 0 || ns < float64(slices.Min(limits))-1 || ns > float64(slices.Max(limits))+1 {
					t.Errorf("%s: %q says %g ns, samples lie in %v", name, record.Name, ns, limits)
				}
				rate, _ := record.Value("images/s")
				if !slices.ContainsFunc(rates[key], func(want float64) bool { return math.Abs(rate/want-1) < 1e-6 }) {
					t.Errorf("%s: %g images/s in %q, over the host's clock %v", name, rate, record.Name, rates[key])
				}
				for _, key := range []string{"cpu", "goarch", "engine-version", "protocol"} {
					if record.GetConfig(key) == "" {
						t.Errorf("%s: no configuration line %s before %q", name, key, record.Name)
					}
				}
			}
		}
		if err := reader.Err(); err != nil {
			t.Error(err)
		}
		if got != want {
			t.Errorf("%s: %d lines for %d kept rounds", name, got, want)
		}
	}
}

// TestGoBenchWithoutRate: where something comes before every inference there is a time
// and no rate.
func TestGoBenchWithoutRate(t *testing.T) {
	r := load(t, "gpu")
	for i := range r.Measurements {
		r.Measurements[i].Point.Cache = bench.Cold
	}
	if text := written(t, GoBench, r); strings.Contains(text, " images/s\n") || !strings.Contains(text, " ns/op\n") {
		t.Errorf("cold inferences have a rate:\n%s", text)
	}
}

// TestGoBenchNames: any name of a network stays one value of one key.
func TestGoBenchNames(t *testing.T) {
	for _, text := range nasty {
		r := load(t, "one")
		r.Measurements[0].Point.Model = text + "-8"
		reader := benchfmt.NewReader(strings.NewReader(written(t, GoBench, r)), "nasty")
		results := 0
		for reader.Scan() {
			if err, bad := reader.Result().(*benchfmt.SyntaxError); bad {
				t.Errorf("%q: %v", text, err)
			}
			result, ok := reader.Result().(*benchfmt.Result)
			if !ok {
				continue
			}
			results++
			var keys []string
			_, parts := result.Name.Parts()
			for _, part := range parts {
				key, _, _ := strings.Cut(string(part), "=")
				keys = append(keys, key)
			}
			if want := []string{"/model", "/engine", "/precision", "/batch", "/resolution"}; !slices.Equal(keys, want) {
				t.Errorf("%q: name %q has the keys %v", text, result.Name, keys)
			}
		}
		if results != 1 {
			t.Errorf("%q: %d results of 1", text, results)
		}
	}
}

// TestCellsAreKnownOrSayWhy guards the columns themselves.
func TestCellsAreKnownOrSayWhy(t *testing.T) {
	for _, name := range cases {
		for _, row := range rowsOf([]*bench.Result{load(t, name)}) {
			for _, c := range columns() {
				cell := c.cell(row)
				if (cell.value == nil) != (cell.reason != "") {
					t.Errorf("%s of %s: value %v, reason %q", c.key, row.Point, cell.value, cell.reason)
				}
				if cell.people() == "" {
					t.Errorf("%s of %s shows a hole", c.key, row.Point)
				}
			}
		}
	}
}

// TestSkippedStayVisible: in every format for people, every point without numbers
// is there with its reason.
func TestSkippedStayVisible(t *testing.T) {
	r := load(t, "troubled")
	for name, report := range map[string]Report{"text": Text(80), "md": Markdown} {
		flat := strings.Join(strings.Fields(written(t, report, r)), " ")
		for _, m := range r.Measurements {
			if m.State != bench.Measured && !strings.Contains(flat, clean(m.Reason)) && !strings.Contains(flat, escapeMarkdown(clean(m.Reason))) {
				t.Errorf("%s does not say why %s is %s: %s", name, m.Point, m.State, m.Reason)
			}
		}
		for _, w := range r.Warnings {
			if !strings.Contains(flat, w.Detail) {
				t.Errorf("%s does not show the run's doubt %s (%s)", name, w.Code, w.Detail)
			}
		}
	}
}

// TestEveryDoubtIsExplained: a code on a row has its sign there, and its meaning
// and advice once below.
func TestEveryDoubtIsExplained(t *testing.T) {
	r := load(t, "troubled")
	text := strings.Join(strings.Fields(written(t, Text(0), r)), " ")
	rows := rowsOf([]*bench.Result{r})
	n := notesOf(rows)
	if len(n.doubts) < 4 {
		t.Fatalf("the case has %d doubts, too few to prove anything", len(n.doubts))
	}
	for _, d := range n.doubts {
		if got := strings.Count(text, d.Means); got != 1 {
			t.Errorf("%s is explained %d times", d.Code, got)
		}
		if !strings.Contains(text, d.Advice) {
			t.Errorf("%s comes without advice", d.Code)
		}
	}
	for _, row := range rows {
		signs := strings.Fields(n.signs(row))
		want := len(row.Warnings)
		if !row.measured() {
			want++
		}
		if len(signs) != want {
			t.Errorf("%s has signs %v for %d notes", row.Point, signs, want)
		}
	}
	twice := *r
	twice.Warnings = []bench.Warning{{Code: bench.Disturbed, Detail: "load is high"}, {Code: bench.Disturbed, Detail: "threads move"}}
	for name, report := range map[string]Report{"text": Text(0), "md": Markdown} {
		text := strings.Join(strings.Fields(written(t, report, &twice)), " ")
		if strings.Count(text, "the machine was not quiet") != 1 || !strings.Contains(text, "load is high; threads move") {
			t.Errorf("%s does not explain once what the run carries twice", name)
		}
	}
	strange := *r
	strange.Measurements = slices.Clone(r.Measurements)
	strange.Measurements[0].Warnings = []bench.Warning{{Code: "from_the_future", Detail: "x"}}
	if text := written(t, Text(0), &strange); !strings.Contains(text, "from_the_future") {
		t.Error("a code that is not on the list is not shown")
	}
}

// TestInvalidHasNoNumbers: a point that turned out invalid keeps its row and loses
// its numbers, in every format (M10, X1).
func TestInvalidHasNoNumbers(t *testing.T) {
	r := load(t, "cpu")
	m := &r.Measurements[0]
	before := row{r, m}.milliseconds(m.Latency.Value)
	m.State, m.Quality, m.Reason = bench.Invalid, bench.Q0, "the output differs from the reference"
	for _, f := range Formats() {
		text := written(t, f.New(0), r)
		for _, number := range []string{before.people(), strconv.FormatFloat(before.value.(float64), 'g', -1, 64), strconv.Itoa(int(m.Latency.Value))} {
			if strings.Contains(text, number) {
				t.Errorf("%s quotes %s of an invalid point", f.Name, number)
			}
		}
		if f.Name == "gobench" && strings.Contains(text, fmt.Sprintf("model=%s/engine=%s/precision=%s/batch=%d/", m.Point.Model, m.Point.Engine, m.Point.Precision, m.Point.Batch)) {
			t.Error("gobench has rounds of an invalid point")
		}
		// What other programs define has no place for a reason.
		foreign := slices.Contains([]string{"gobench", "bencher", "smaller-is-better"}, f.Name)
		if !foreign && !strings.Contains(text, m.Reason) {
			t.Errorf("%s does not say why the point is invalid", f.Name)
		}
	}
	for _, c := range comparisons(r) {
		if c.genet.Measurement == m {
			t.Error("an invalid point is compared with others")
		}
	}
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"\x1b[1;31mred\x1b[0m and\r\n plain": "red and plain",
		"lone \x1b escape":                   "lone escape",
		"\u202ereversed":                     "reversed",
		"bad \xff byte":                      "bad \ufffd byte",
		"":                                   "",
	} {
		if got := clean(text); got != want {
			t.Errorf("clean(%q) = %q, want %q", text, got, want)
		}
	}
}

// A file whose input is not one square image, or that was never opened, has no
// resolution: 0 would be one.
func TestWithoutResolution(t *testing.T) {
	m := point("text.onnx", "", 0, 1, 3)
	m.Point.Resolution = 0
	for _, c := range columns() {
		if c.key != "resolution" {
			continue
		}
		if got := c.cell(row{&bench.Result{Log: &bench.Log{}}, &m}); got.value != nil || got.reason == "" {
			t.Errorf("resolution %v, reason %q", got.value, got.reason)
		}
	}
	if object := written(t, JSON, result(m)); !strings.Contains(object, `"resolution":null,"resolution_reason":"the input is not`) {
		t.Errorf("JSON: %s", object)
	}
}
