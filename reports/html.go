package reports

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"strings"
)

// escapeHTML makes a text safe between tags and inside quoted attributes.
func escapeHTML(s string) string { return html.EscapeString(clean(s)) }

// pageStyle is the look of the page, which holds no script and fetches nothing; the
// width of pictures comes to it. A table of figures scrolls rather than break names
// and numbers over lines.
const pageStyle = `
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; color: #1f2328; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { border-bottom: 1px solid #d1d9e0; padding-bottom: .3em; line-height: 1.25; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th { text-align: left; }
th, td { border: 1px solid #d1d9e0; padding: .3rem .7rem; }
table.figures { font-size: .875rem; } table.figures td { white-space: nowrap; }
tr:nth-child(even) td { background: #f6f8fa; }
code, pre { font: 85% ui-monospace, "Liberation Mono", monospace; background: #f6f8fa; border-radius: 6px; }
code { padding: .2em .4em; } pre { padding: 1rem; overflow-x: auto; }
blockquote { margin: 1rem 0; padding: .2rem 1rem; border-left: .25rem solid #d55e00; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; } figcaption { color: #59636e; }
td.right, th.right { text-align: right; }
`

// html makes a page that stands alone, pictures included.
func (d document) html(title string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>%s</title>\n<style>%sfigure svg { width: %dpx; }\n</style>\n</head>\n<body>\n", escapeHTML(title), pageStyle, shownWidth)
	d.htmlBody(&b)
	b.WriteString("</body>\n</html>\n")
	return b.Bytes()
}

func (d document) htmlBody(b *bytes.Buffer) {
	for _, part := range d {
		switch part := part.(type) {
		case heading:
			fmt.Fprintf(b, "<h%d>%s</h%d>\n", part.level, escapeHTML(part.text), part.level)
		case paragraph:
			fmt.Fprintf(b, "<p>%s</p>\n", prose(part).html())
		case quote:
			fmt.Fprintf(b, "<blockquote><p>%s</p></blockquote>\n", prose(part).html())
		case list:
			b.WriteString("<ul>\n")
			for _, item := range part {
				fmt.Fprintf(b, "<li>%s</li>\n", item.html())
			}
			b.WriteString("</ul>\n")
		case code:
			fmt.Fprintf(b, "<pre>%s</pre>\n", html.EscapeString(part.lines()))
		case grid:
			part.html(b)
		case folded:
			fmt.Fprintf(b, "<details>\n<summary>%s</summary>\n", escapeHTML(part.summary))
			part.blocks.htmlBody(b)
			b.WriteString("</details>\n")
		case picture:
			fmt.Fprintf(b, "<figure role=\"img\" aria-label=\"%s\">\n%s<figcaption>%s</figcaption>\n</figure>\n", escapeHTML(part.alt), part.inline(), escapeHTML(part.caption))
		}
	}
}

func (g grid) html(b *bytes.Buffer) {
	class := func(i int) string {
		if g.right[i] {
			return ` class="right"`
		}
		return ""
	}
	table := ""
	if slices.Contains(g.right, true) {
		table = ` class="figures"`
	}
	fmt.Fprintf(b, "<table%s>\n<thead><tr>", table)
	for i, h := range g.header {
		fmt.Fprintf(b, "<th%s>%s</th>", class(i), escapeHTML(h))
	}
	b.WriteString("</tr></thead>\n<tbody>\n")
	for _, row := range g.rows {
		b.WriteString("<tr>")
		for i, cell := range row {
			fmt.Fprintf(b, "<td%s>%s</td>", class(i), cell.html())
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</tbody>\n</table>\n")
}

func (p prose) html() string {
	var b strings.Builder
	for _, part := range p {
		switch part := part.(type) {
		case strong:
			fmt.Fprintf(&b, "<strong>%s</strong>", escapeHTML(string(part)))
		case mono:
			fmt.Fprintf(&b, "<code>%s</code>", escapeHTML(string(part)))
		default:
			b.WriteString(html.EscapeString(spaced(fmt.Sprint(part))))
		}
	}
	return b.String()
}
