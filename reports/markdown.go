package reports

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"

	"genbench/bench"
)

// Markdown writes the full report as a code-hosting site shows it (CommonMark with
// tables), without pictures: a stream has no files beside it. WriteDir writes it
// with them.
func Markdown(w io.Writer, results ...*bench.Result) error {
	var b bytes.Buffer
	for i, r := range results {
		if i > 0 {
			b.WriteString("\n---\n\n")
		}
		if err := compose(r, nil).markdown(&b); err != nil {
			return fmt.Errorf("write markdown report: %w", err)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (d document) markdown(b *bytes.Buffer) error {
	for i, part := range d {
		if i > 0 {
			b.WriteByte('\n')
		}
		switch part := part.(type) {
		case heading:
			fmt.Fprintf(b, "%s %s\n", strings.Repeat("#", part.level), prose{part.text}.markdown())
		case paragraph:
			fmt.Fprintf(b, "%s\n", prose(part).line())
		case quote:
			fmt.Fprintf(b, "> %s\n", prose(part).line())
		case list:
			for _, item := range part {
				fmt.Fprintf(b, "- %s\n", item.line())
			}
		case code:
			fence := fenceFor(string(part), 3)
			fmt.Fprintf(b, "%s\n%s\n%s\n", fence, part.lines(), fence)
		case grid:
			if err := part.markdown(b); err != nil {
				return err
			}
		case folded:
			fmt.Fprintf(b, "<details>\n<summary>%s</summary>\n\n", escapeHTML(part.summary))
			if err := part.blocks.markdown(b); err != nil {
				return err
			}
			b.WriteString("\n</details>\n")
		case picture:
			// The width keeps the picture inside the page; its file has twice the dots.
			fmt.Fprintf(b, "<p><a href=\"%s.svg\"><img src=\"%s.png\" width=\"%d\" alt=\"%s\"></a></p>\n\n%s\n",
				part.name, part.name, shownWidth, escapeHTML(part.alt), prose{part.caption}.line())
		}
	}
	return nil
}

// markdown lays a table out so that its source reads as one too.
func (g grid) markdown(b *bytes.Buffer) error {
	aligns := make([]tw.Align, len(g.header))
	header := make([]string, len(g.header))
	for i, h := range g.header {
		header[i] = prose{h}.tableCell()
		aligns[i] = tw.AlignLeft
		if g.right[i] {
			aligns[i] = tw.AlignRight
		}
	}
	side := tw.CellConfig{
		Formatting: tw.CellFormatting{AutoFormat: tw.Off, AutoWrap: tw.WrapNone},
		Alignment:  tw.CellAlignment{PerColumn: aligns},
	}
	t := tablewriter.NewTable(b, tablewriter.WithRenderer(renderer.NewMarkdown()), tablewriter.WithConfig(tablewriter.Config{Header: side, Row: side}))
	t.Header(header)
	for _, row := range g.rows {
		cells := make([]string, len(row))
		for i, text := range row {
			cells[i] = text.tableCell()
		}
		if err := t.Append(cells); err != nil {
			return err
		}
	}
	return t.Render()
}

func (p prose) markdown() string {
	var b strings.Builder
	for _, part := range p {
		switch part := part.(type) {
		case strong:
			fmt.Fprintf(&b, "**%s**", escapeMarkdown(clean(string(part))))
		case mono:
			text := clean(string(part))
			fence := fenceFor(text, 1)
			if strings.HasPrefix(text, "`") || strings.HasSuffix(text, "`") || text == "" {
				text = " " + text + " "
			}
			b.WriteString(fence + text + fence)
		default:
			b.WriteString(escapeMarkdown(spaced(fmt.Sprint(part))))
		}
	}
	return b.String()
}

// spaced is clean, but keeps the spaces at the ends that part a text from its
// neighbours in a line.
func spaced(s string) string {
	text := clean(s)
	if text == "" {
		if s != "" {
			return " "
		}
		return ""
	}
	if s[0] == ' ' {
		text = " " + text
	}
	if s[len(s)-1] == ' ' {
		text += " "
	}
	return text
}

// tableCell escapes the pipe as well where it is not yet: a table row is cut at
// pipes before anything else is read, even inside a code span.
func (p prose) tableCell() string {
	text := p.markdown()
	var b strings.Builder
	for i := range len(text) {
		if text[i] == '|' && (i == 0 || text[i-1] != '\\') {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// special are the characters with which Markdown, its tables and the math of
// code-hosting sites begin something. An ampersand and an angle bracket become
// entities, because a backslash does not stop HTML.
var special = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "~", `\~`, "$", `\$`,
	"<", "&lt;", ">", "&gt;", "&", "&amp;",
)

func escapeMarkdown(s string) string { return unlinked(special.Replace(s)) }

// unlinked keeps a site from making links of a text by itself: an engine's error in a
// bot's comment must not call a user by @name, refer to issue #1 or lead to an address.
// A space without width parts what would be recognised; a backslash does not stop it.
func unlinked(s string) string {
	word := func(c byte) bool {
		return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	begins := func(i int) bool {
		rest := s[i+1:]
		switch s[i] {
		case '@': // within a word only an e-mail address: models are called genet@224
			return i == 0 || !word(s[i-1]) || strings.HasPrefix(strings.TrimLeftFunc(rest, func(r rune) bool { return r < 128 && word(byte(r)) }), ".")
		case '#':
			return rest != "" && rest[0] >= '0' && rest[0] <= '9'
		case ':':
			return strings.HasPrefix(rest, "//")
		case 'w', 'W':
			return i >= 2 && strings.EqualFold(s[i-2:i+1], "www") && strings.HasPrefix(rest, ".")
		}
		return false
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[i])
		if begins(i) {
			b.WriteString("&#8203;")
		}
	}
	return b.String()
}

// blockStart is what would make a heading, a list or a rule of a paragraph.
var blockStart = regexp.MustCompile(`^([#+=-]|\d+[.)](\s|$))`)

// line is a prose that begins a line of its own.
func (p prose) line() string {
	text := p.markdown()
	if !blockStart.MatchString(text) {
		return text
	}
	mark := strings.IndexAny(text, "#+=-.)")
	return text[:mark] + `\` + text[mark:]
}

// fenceFor is a run of backticks, of at least so many, that the text does not hold.
func fenceFor(s string, least int) string {
	longest, current := 0, 0
	for _, r := range s {
		if r != '`' {
			current = 0
			continue
		}
		current++
		longest = max(longest, current)
	}
	if longest < least {
		return strings.Repeat("`", least)
	}
	return strings.Repeat("`", longest+1)
}
