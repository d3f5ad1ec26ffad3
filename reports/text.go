package reports

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"

	"genbench/bench"
)

// Text makes the report for a terminal of so many columns, 0 for no limit. A
// narrow one loses columns in a stated order and is told which; no row is lost.
func Text(width int) Report {
	return func(w io.Writer, results ...*bench.Result) error {
		var b bytes.Buffer
		for i, r := range results {
			if i > 0 {
				b.WriteByte('\n')
			}
			if err := writeText(&b, r, width); err != nil {
				return fmt.Errorf("write text report: %w", err)
			}
		}
		_, err := w.Write(b.Bytes())
		return err
	}
}

// sentenceWidth is the width to which sentences are wrapped where there is no limit.
const sentenceWidth = 100

func writeText(b *bytes.Buffer, r *bench.Result, width int) error {
	wrapAt := width
	if width == 0 {
		wrapAt = sentenceWidth
	}
	say := func(first, rest, format string, args ...any) {
		b.WriteString(wrap(fmt.Sprintf(format, args...), wrapAt, first, rest))
	}
	rows := byBatch(rowsOf([]*bench.Result{r}))
	run := r.Log.Run

	say("", "", "%s", finding(r))
	for _, doubt := range runDoubts(r) {
		say("! ", "  ", "%s: %s (%s); %s", doubt.Code, doubt.Means, strings.Join(doubt.details, "; "), doubt.Advice)
	}
	b.WriteByte('\n')
	if len(rows) == 0 {
		say("", "", "The plan of run %s has no points.", run.ID)
		return nil
	}

	t := tableOf(rows, width, func(c column) bool { return !c.statistic })
	say("", "", "run %s, %s, %s", run.ID, protocolText(run), replication(run))
	if clocks := clocksText(r); clocks != "" {
		say("", "", "clocks: %s", clocks)
	}
	if len(t.common) > 0 {
		say("", "", "all points: %s", strings.Join(t.common, ", "))
	}
	b.WriteByte('\n')
	if err := t.writeText(b); err != nil {
		return err
	}
	b.WriteByte('\n')

	for _, c := range t.columns {
		if c.explain {
			say("  ", "    ", "%s: %s", c.header, c.doc)
		}
	}
	for _, gap := range t.gaps {
		say("  ", "    ", "– in %s", gap)
	}
	for _, empty := range t.empty {
		say("  ", "    ", "no column %s", empty)
	}
	if len(t.left) > 0 {
		say("  ", "    ", "no room in %d columns for %s; use a wider terminal or --format csv", width, strings.Join(t.left, ", "))
	}
	writeLayers(b, rows, say)
	if len(t.notes.doubts) > 0 {
		b.WriteString("\ndoubts\n")
	}
	for _, d := range t.notes.doubts {
		say(signed(d.sign), "     ", "%s, %s: %s; %s", d.Code, count(len(d.of), "point"), d.Means, d.Advice)
	}
	if len(t.notes.reasons) > 0 {
		b.WriteString("\npoints without numbers\n")
	}
	for _, reason := range t.notes.reasons {
		say(signed(reason.sign), "     ", "%s: %s", reason.headline(), reason.reason)
	}
	return nil
}

// signed puts a note's sign into the margin of its text.
func signed(sign string) string { return fmt.Sprintf(" %-3s ", sign) }

// writeText lays the table out with spaces alone, which survives any terminal and
// a paste into a mail.
func (t table) writeText(w io.Writer) error {
	header := make([]string, 0, len(t.columns)+1)
	aligns := make([]tw.Align, 0, len(t.columns)+1)
	for _, c := range t.columns {
		title, align := c.header, tw.AlignLeft
		if c.right {
			align = tw.AlignRight
		}
		title += "\n" + c.unit
		header, aligns = append(header, title), append(aligns, align)
	}
	header, aligns = append(header, notesHeader), append(aligns, tw.AlignLeft)

	var out bytes.Buffer
	side := tw.CellConfig{
		Formatting: tw.CellFormatting{AutoFormat: tw.Off, AutoWrap: tw.WrapNone}, // its own formatting makes "P 50 ΜS" of "p50 µs"
		Alignment:  tw.CellAlignment{PerColumn: aligns},
		Padding:    tw.CellPadding{Global: tw.Padding{Right: strings.Repeat(" ", columnGap), Overwrite: true}},
	}
	grid := tablewriter.NewTable(&out,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.Border{Left: tw.Off, Right: tw.Off, Top: tw.Off, Bottom: tw.Off},
			Symbols: tw.NewSymbols(tw.StyleLight),
			Settings: tw.Settings{
				Separators: tw.Separators{BetweenColumns: tw.Off, BetweenRows: tw.Off},
				Lines:      tw.Lines{ShowTop: tw.Off, ShowBottom: tw.Off, ShowHeaderLine: tw.On},
			},
		})),
		tablewriter.WithConfig(tablewriter.Config{Header: side, Row: side}),
	)
	grid.Header(header)
	for i, line := range t.texts {
		if err := grid.Append(append(slices.Clone(line), t.notes.signs(t.rows[i]))); err != nil {
			return err
		}
	}
	if err := grid.Render(); err != nil {
		return err
	}
	for line := range strings.Lines(out.String()) {
		line = strings.ReplaceAll(strings.TrimRight(line, "\n"), filler, " ")
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// wrap breaks a sentence into lines of a width, after first on the first of them
// and after rest on the others. A word longer than a line stands alone.
func wrap(s string, width int, first, rest string) string {
	var b strings.Builder
	b.WriteString(first)
	column, fresh := textWidth(first), true
	for word := range strings.FieldsSeq(clean(s)) {
		n := textWidth(word)
		if !fresh && column+1+n > width {
			b.WriteString("\n" + rest)
			column, fresh = textWidth(rest), true
		}
		if !fresh {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column, fresh = column+n, false
	}
	b.WriteByte('\n')
	return b.String()
}
