package reports

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// A table is what people see of rows: a choice of columns, and in words what was
// left out of them.
type table struct {
	columns []column
	rows    []row
	cells   [][]cell   // by row, then column
	texts   [][]string // the same for a terminal: numbers aligned, names folded
	notes   notes
	// longest is the width to which names are folded, 0 for no limit.
	longest int
	// common are the coordinates that all rows share, as "engine onnxruntime".
	common []string
	// empty are the columns in which nothing is known, as "p99: reasons".
	empty []string
	// gaps are the reasons of dashes in measured rows, as "p99: reasons".
	gaps []string
	// left are the headers of columns that found no room.
	left []string
}

// notesHeader is the column of signs, which stands last.
const notesHeader = "notes"

// tableOf chooses columns for people; keep narrows the choice further. width is
// the room in characters, 0 for no limit.
func tableOf(rows []row, width int, keep func(column) bool) table {
	t := table{rows: rows, notes: notesOf(rows)}
	for _, c := range columns() {
		if c.header == "" || !keep(c) {
			continue
		}
		if shared, same := agreed(c, rows); c.axis && same {
			if shared != "" {
				t.common = append(t.common, c.header+" "+shared)
			}
			continue
		}
		if reasons, none := unknownEverywhere(c, rows); none {
			if said := reasons.String(); said != "" && said != c.silent {
				t.empty = append(t.empty, fmt.Sprintf("%s: %s", c.header, said))
			}
			continue
		}
		t.columns = append(t.columns, c)
	}
	if ambiguous(rows) {
		// Two rows that differ in the resolution alone: it must not leave.
		for i := range t.columns {
			if t.columns[i].key == "resolution" {
				t.columns[i].leave = 0
			}
		}
	}
	t.fill()
	if width == 0 {
		return t
	}
	// First long names are folded, then columns leave, then all names are folded.
	if t.width() > width {
		t.longest = 32
		t.fill()
	}
	for t.width() > width && t.leaveOne() {
	}
	if over := t.width() - width; over > 0 {
		const readable = 12
		t.longest = max(readable, t.nameWidth()-over)
		t.fill()
	}
	return t
}

// agreed gives the people's text of a column that is the same in all rows, empty
// where no row knows it.
func agreed(c column, rows []row) (string, bool) {
	text := ""
	for i, r := range rows {
		cell := c.cell(r)
		here := cell.people()
		if cell.value == nil {
			here = ""
		}
		if i > 0 && here != text {
			return "", false
		}
		text = here
	}
	if c.unit != "" && text != "" {
		text += " " + c.unit
	}
	return text, len(rows) > 0
}

// unknownEverywhere says whether a column knows nothing of any measured row, and
// why; without a measured row, whether it knows nothing at all.
func unknownEverywhere(c column, rows []row) (reasons reasons, none bool) {
	measured := slices.ContainsFunc(rows, row.measured)
	for _, r := range rows {
		if measured && !r.measured() {
			continue
		}
		cell := c.cell(r)
		switch {
		case cell.value != nil, c.key == stateColumn:
			return nil, false
		case measured:
			reasons.add(cell.reason)
		}
	}
	return reasons, true
}

// reasons count why cells of a column are unknown, in the order of the rows.
type reasons []struct {
	why    string
	points int
}

func (l *reasons) add(why string) {
	for i := range *l {
		if (*l)[i].why == why {
			(*l)[i].points++
			return
		}
	}
	*l = append(*l, struct {
		why    string
		points int
	}{why, 1})
}

// String names the one reason, or each with the number of points that it holds for.
func (l reasons) String() string {
	if len(l) == 1 {
		return l[0].why
	}
	var parts []string
	for _, r := range l {
		parts = append(parts, fmt.Sprintf("%s (%s)", r.why, count(r.points, "point")))
	}
	return strings.Join(parts, "; ")
}

// stateColumn is where a row without numbers says what became of it.
const stateColumn = "latency_ms.median"

// ambiguous says whether two rows are the same but for their resolution.
func ambiguous(rows []row) bool {
	seen := map[any]bool{}
	for _, r := range rows {
		p := r.Point
		p.Resolution = 0
		id := struct{ run, point any }{r.run, p}
		if seen[id] {
			return true
		}
		seen[id] = true
	}
	return false
}

// fill evaluates the cells. A row without numbers says what became of it where
// its latency would stand.
func (t *table) fill() {
	t.cells, t.gaps = nil, nil
	for _, r := range t.rows {
		line := make([]cell, len(t.columns))
		for i, c := range t.columns {
			line[i] = c.cell(r)
			if !r.measured() && c.key == stateColumn {
				line[i] = cell{value: string(r.State)}
			}
		}
		t.cells = append(t.cells, line)
	}
	t.texts = make([][]string, len(t.rows))
	for i := range t.rows {
		for j, c := range t.columns {
			text := clean(t.cells[i][j].people())
			if c.key == nameColumn && t.longest > 0 {
				text = fold(text, t.longest)
			}
			t.texts[i] = append(t.texts[i], text)
		}
	}
	for j, c := range t.columns {
		if c.right {
			alignPoints(t.texts, j)
		}
	}
	for i, c := range t.columns {
		var why reasons
		for j, r := range t.rows {
			if cell := t.cells[j][i]; r.measured() && cell.value == nil {
				why.add(cell.reason)
			}
		}
		if why != nil {
			t.gaps = append(t.gaps, fmt.Sprintf("%s: %s", c.header, why))
		}
	}
}

// leaveOne takes the least important column out.
func (t *table) leaveOne() bool {
	worst := -1
	for i, c := range t.columns {
		if c.leave > 0 && (worst < 0 || c.leave > t.columns[worst].leave) {
			worst = i
		}
	}
	if worst < 0 {
		return false
	}
	t.left = append(t.left, t.columns[worst].header)
	t.columns = append(t.columns[:worst:worst], t.columns[worst+1:]...)
	t.fill()
	return true
}

// columnWidth is the room a column takes without the gap after it.
func (t *table) columnWidth(i int) int {
	w := max(textWidth(t.columns[i].header), textWidth(t.columns[i].unit))
	for _, line := range t.texts {
		for part := range strings.Lines(line[i]) {
			w = max(w, textWidth(strings.TrimSuffix(part, "\n")))
		}
	}
	return w
}

// nameColumn holds the networks' names, which may be folded.
const nameColumn = "model"

func (t *table) nameWidth() int {
	for i, c := range t.columns {
		if c.key == nameColumn {
			return t.columnWidth(i)
		}
	}
	return 0
}

// columnGap is the space between columns.
const columnGap = 2

// width is the room the table takes, signs included.
func (t *table) width() int {
	total := 0
	for i := range t.columns {
		total += t.columnWidth(i) + columnGap
	}
	signs := textWidth(notesHeader)
	for _, r := range t.rows {
		signs = max(signs, textWidth(t.notes.signs(r)))
	}
	return total + signs + columnGap
}

// filler stands for a space that the table library must not trim.
const filler = "\u00a0"

// alignPoints pads a column of numbers so that their decimal points stand in one
// line. What follows a number, such as a bound in brackets, is left alone.
func alignPoints(texts [][]string, column int) {
	fraction := func(s string) int {
		if s == "" || s[0] < '0' || s[0] > '9' || strings.Contains(s, " ") {
			return -1
		}
		if i := strings.IndexByte(s, '.'); i >= 0 {
			return len(s) - i
		}
		return 0
	}
	most := 0
	for _, line := range texts {
		if strings.Contains(line[column], " ") {
			return
		}
		most = max(most, fraction(line[column]))
	}
	for _, line := range texts {
		if f := fraction(line[column]); f >= 0 {
			line[column] += strings.Repeat(filler, most-f)
		}
	}
}

// fold breaks a name without spaces into lines of a width, after a hyphen, dot or
// underscore where there is one near the end.
func fold(s string, width int) string {
	var lines []string
	runes := []rune(s)
	for len(runes) > width {
		cut := width
		for i := width; i > width/2; i-- {
			if strings.ContainsRune("-._/", runes[i-1]) {
				cut = i
				break
			}
		}
		lines, runes = append(lines, string(runes[:cut])), runes[cut:]
	}
	return strings.Join(append(lines, string(runes)), "\n")
}

// textWidth is the number of terminal cells that a text takes.
func textWidth(s string) int { return twwidth.Width(s) }

// harmless makes a text from outside safe to show on one line: valid UTF-8, and
// nothing that a terminal or a reader's eye would obey. Engine errors hold line
// ends and colours.
func harmless(s string) string {
	s = terminalCommand.ReplaceAllString(strings.ToValidUTF8(s, string(utf8.RuneError)), "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return ' '
		}
		return r
	}, s)
}

// clean is harmless with single spaces.
func clean(s string) string { return strings.Join(strings.Fields(harmless(s)), " ") }

// terminalCommand is an escape sequence of ECMA-48, such as a colour.
var terminalCommand = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]")
