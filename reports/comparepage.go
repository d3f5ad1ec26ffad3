package reports

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"genbench/bench/verdict"
)

// What a pull request is shown of a comparison. A comment holds 65,536 characters, a
// step summary 1 MiB (docs.github.com, "Workflow commands", job summaries); no reader
// wants as much.
const (
	mostBytes = 60_000
	mostRows  = 100 // of a table
	mostText  = 300 // characters of a text from outside, such as an engine's error
	mostName  = 120 // characters of a name or a setting
	mostLines = 12  // of a list
)

// compareMarkdown writes what a pull request gets: the verdict, why it may be doubted,
// what is not the same, the rest folded. Verdicts and doubts link to their
// explanations as footnotes, which a comment, a summary and a file all show.
func compareMarkdown(w io.Writer, c *verdict.Comparison) error {
	// What stands below the tables has its room kept, as if all of it were needed.
	below := comparisonPage{notes: map[string]bool{}}
	for _, v := range verdictsOf(c) {
		below.noted(string(v))
	}
	infos, _ := codesIn(c)
	for _, info := range infos {
		below.noted(string(info.Code))
	}
	below.below(c)
	const perFamily = 1500 // its line, the heads and ends of two tables
	b := comparisonPage{notes: map[string]bool{}, room: mostBytes - below.Len() - perFamily*len(c.Families) - 500}

	mark := "✅"
	switch {
	case c.ExitCode() != 0:
		mark = "❌"
	case toBeSeen(c):
		mark = "⚠️"
	}
	fmt.Fprintf(&b, "### %s %s\n\n", mark, escapeMarkdown(headlineOf(c, b.short(c.Stopped, mostText))))
	b.doubts(c)
	if rowsIn(c) == 0 {
		_, err := w.Write(b.Bytes())
		return err
	}
	for _, f := range c.Families {
		fmt.Fprintf(&b, "%s.\n\n", escapeMarkdown(design(c, f)))
		if c.Advisory == "" && f.Advisory != "" {
			fmt.Fprintf(&b, "> **Advisory:** %s.\n\n", marked(b.short(f.Advisory, mostText)).markdown())
		}
		b.family(f)
	}
	b.below(c)
	_, err := w.Write(b.Bytes())
	return err
}

// A comparisonPage is a comparison in Markdown, as far as it is written.
type comparisonPage struct {
	bytes.Buffer
	room  int             // bytes that the page may have before what stands below the tables
	notes map[string]bool // verdicts and doubts that need a footnote
	left  int             // rows left out
	cut   bool            // a text was
}

// short cuts a text in the middle: an error begins with what failed and ends with why.
func (b *comparisonPage) short(s string, most int) string {
	text := shorten(s, most)
	b.cut = b.cut || text != clean(s)
	return text
}

// doubts says what must be known before the numbers are read.
func (b *comparisonPage) doubts(c *verdict.Comparison) {
	var lines []string
	if c.Advisory != "" {
		lines = append(lines, fmt.Sprintf("**Advisory:** %s.", marked(b.short(c.Advisory, mostText)).markdown()))
	}
	for _, d := range wholeDoubts(c) {
		note := ""
		if d.Code != "" {
			note = b.noted(string(d.Code))
		}
		lines = append(lines, fmt.Sprintf("**Doubt:** %s.%s", marked(b.short(d.Text, mostText)).markdown(), note))
	}
	infos, points := codesIn(c)
	var parts []string
	for _, info := range infos {
		if n := points[info.Code]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s%s (%d of %s)", prose{mono(info.Code)}.markdown(), b.noted(string(info.Code)), n, count(len(c.Families[0].Rows), "point")))
		}
	}
	if parts != nil {
		lines = append(lines, "**Doubts about points:** "+strings.Join(parts, ", "))
	}
	b.list(lines)
}

// list writes the first of some lines, each an item, and the number of the others.
func (b *comparisonPage) list(lines []string) {
	for i, line := range lines {
		if i == mostLines {
			b.cut = true
			fmt.Fprintf(b, "- … %d more\n", len(lines)-i)
			break
		}
		fmt.Fprintf(b, "- %s\n", line)
	}
	if lines != nil {
		b.WriteByte('\n')
	}
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

// table writes as many rows as there is room for, and below them their remarks, each
// once.
func (b *comparisonPage) table(f verdict.Family, rows []verdict.Row) {
	b.WriteString("| point | base | new | ratio | interval | verdict | detectable | notes |\n| --- | ---: | ---: | ---: | --- | --- | ---: | --- |\n")
	var remarks []string
	var below bytes.Buffer
	for i, r := range rows {
		cells := compareCells(f, r)
		judged := escapeMarkdown(string(r.Verdict)) + b.noted(string(r.Verdict))
		var notes []string
		var item string
		if text := remark(r); text != "" {
			n := slices.Index(remarks, text)
			if n < 0 {
				n = len(remarks)
				remarks = append(remarks, text)
				item = fmt.Sprintf("- \\[%d\\] %s\n", n+1, prose{b.short(text, mostText)}.markdown())
			}
			notes = append(notes, fmt.Sprintf("\\[%d\\]", n+1))
		}
		for _, d := range r.Doubts {
			notes = append(notes, b.noted(string(d.Code)))
		}
		line := fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", prose{mono(b.short(cells[0], mostName))}.tableCell(), cells[1], cells[2], cells[3], cells[4], judged, cells[7], strings.Join(notes, " "))
		if i == mostRows || b.Len()+below.Len()+len(line)+len(item) > b.room {
			fmt.Fprintf(b, "| … %d more | | | | | | | |\n", len(rows)-i)
			b.left += len(rows) - i
			break
		}
		b.WriteString(line)
		below.WriteString(item)
	}
	b.WriteByte('\n')
	if below.Len() > 0 {
		b.Write(below.Bytes())
		b.WriteByte('\n')
	}
}

// below is what stands under the tables.
func (b *comparisonPage) below(c *verdict.Comparison) {
	if len(c.Differences) > 0 {
		b.WriteString("Differences between base and new:\n\n")
		var lines []string
		for _, d := range c.Differences {
			lines = append(lines, prose{b.short(differenceText(d), mostName)}.line())
		}
		b.list(lines)
	}
	fmt.Fprintf(b, "%s, %s on %s. Detectable: the least true change found with 80 %% power.\n\n",
		prose{"base ", mono(b.short(c.Base.ID, mostName)), ", new ", mono(b.short(c.New.ID, mostName))}.line(), strings.ToLower(kind(c.New)), escapeMarkdown(b.short(deviceText(c.New), mostName)))
	var missing []string
	if b.left > 0 {
		missing = append(missing, count(b.left, "row")+" left out")
	}
	if b.cut {
		missing = append(missing, "long texts and lists cut (…)")
	}
	if missing != nil {
		fmt.Fprintf(b, "Shortened: %s. `--format json`, or `--also json=FILE`, has everything.\n\n", strings.Join(missing, ", "))
	}
	b.footnotes(c)
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
