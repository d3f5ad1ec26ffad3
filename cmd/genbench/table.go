package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// table prints rows in columns, those from numbers on aligned to the right.
func table(w io.Writer, header []string, rows [][]string, footer []string, numbers int) error {
	align := make([]tw.Align, len(header))
	for i := range align {
		align[i] = tw.AlignLeft
		if i >= numbers {
			align[i] = tw.AlignRight
		}
	}
	format := tw.CellFormatting{AutoFormat: tw.Off, AutoWrap: tw.WrapNone}
	section := tw.CellConfig{Formatting: format, Alignment: tw.CellAlignment{PerColumn: align}, Padding: tw.CellPadding{Global: tw.Padding{Right: "  ", Overwrite: true}}}
	t := tablewriter.NewTable(w,
		tablewriter.WithConfig(tablewriter.Config{Header: section, Row: section, Footer: section}),
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders:  tw.BorderNone,
			Settings: tw.Settings{Separators: tw.SeparatorsNone, Lines: tw.Lines{ShowHeaderLine: tw.On, ShowFooterLine: tw.On, ShowTop: tw.Off, ShowBottom: tw.Off}},
		})),
	)
	t.Header(header)
	for _, row := range rows {
		if err := t.Append(row); err != nil {
			return err
		}
	}
	if footer != nil {
		t.Footer(footer)
	}
	return t.Render()
}

// A sheet is a table that can be made to fit a terminal. Its columns from numbers on
// are aligned to the right.
type sheet struct {
	header  []string
	rows    [][]string
	numbers int
	footer  []string // nil is none
	// all says where to find what did not fit; empty means under --json.
	all string
}

// widths are those of the columns, each with the gap that follows it.
func (s *sheet) widths() (columns []int, sum int) {
	columns = make([]int, len(s.header))
	for _, row := range append([][]string{s.header, s.footer}, s.rows...) {
		for i, cell := range row {
			columns[i] = max(columns[i], utf8.RuneCountInString(cell)+2)
		}
	}
	for _, n := range columns {
		sum += n
	}
	return columns, sum
}

// leaveOut takes a column away.
func (s *sheet) leaveOut(name string) {
	i := slices.Index(s.header, name)
	without := func(row []string) []string { return slices.Delete(slices.Clone(row), i, i+1) }
	s.header = without(s.header)
	if s.footer != nil {
		s.footer = without(s.footer)
	}
	for j := range s.rows {
		s.rows[j] = without(s.rows[j])
	}
	if i < s.numbers {
		s.numbers--
	}
}

// fold breaks the cells of column i between words at a width.
func (s *sheet) fold(i, width int) {
	for _, row := range s.rows {
		var b strings.Builder
		paragraphs{&b, width}.write("", row[i])
		row[i] = strings.TrimSuffix(b.String(), "\n")
	}
}

// narrowest is how far a column of words is folded.
const narrowest = 24

// print writes the table. Where it is wider than width it lacks columns, the first of
// leave first, and says so; what is still too wide is taken from the column of words,
// if it has one. Width 0 has room for all.
func (s *sheet) print(w io.Writer, width int, words string, leave ...string) error {
	var left []string
	for width > 0 {
		columns, sum := s.widths()
		if sum <= width {
			break
		}
		i := slices.Index(s.header, words)
		if i >= 0 && (columns[i]-(sum-width) >= narrowest || len(leave) == 0) {
			s.fold(i, max(columns[i]-(sum-width), narrowest)-2)
			break
		}
		if len(leave) == 0 {
			break
		}
		s.leaveOut(leave[0])
		left, leave = append(left, leave[0]), leave[1:]
	}
	if err := table(w, s.header, s.rows, s.footer, s.numbers); err != nil {
		return err
	}
	if left != nil {
		slices.Reverse(left)
		text := fmt.Sprintf("without %s: the terminal is too narrow; %s", strings.Join(left, ", "), cmp.Or(s.all, "--json has all"))
		fmt.Fprintln(w)
		paragraphs{w, width}.write("", text)
	}
	return nil
}
