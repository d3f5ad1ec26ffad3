package reports

import "strings"

// A document is a report in parts, before it becomes Markdown or HTML. What comes
// from outside (names, reasons, engine errors) goes in as it is; the renderers
// alone know what has to be escaped where.
type document []block

// A block stands on lines of its own.
type block interface{ isBlock() }

type (
	heading struct {
		level int
		text  string
	}
	paragraph prose
	// quote is a paragraph that must not be overlooked.
	quote prose
	list  []prose
	// code is text to be shown letter for letter.
	code string
	grid struct {
		header []string
		right  []bool // by column: whether its cells stand at the right
		rows   [][]prose
	}
	// folded blocks are shown when they are asked for.
	folded struct {
		summary string
		blocks  document
	}
)

func (heading) isBlock()   {}
func (paragraph) isBlock() {}
func (quote) isBlock()     {}
func (list) isBlock()      {}
func (code) isBlock()      {}
func (grid) isBlock()      {}
func (folded) isBlock()    {}
func (picture) isBlock()   {}

// Prose is a line of text, made of string, strong and mono.
type prose []any

type (
	strong string // important
	mono   string // a name or a command, letter for letter
)

// marked makes mono of what stands between backticks in a sentence.
func marked(s string) prose {
	var p prose
	for i, part := range strings.Split(s, "`") {
		switch {
		case part == "":
		case i%2 == 1:
			p = append(p, mono(part))
		default:
			p = append(p, part)
		}
	}
	return p
}

// lines are what a code block shows.
func (c code) lines() string {
	var shown []string
	for line := range strings.SplitSeq(strings.TrimRight(string(c), "\n"), "\n") {
		shown = append(shown, strings.TrimRight(harmless(line), " "))
	}
	return strings.Join(shown, "\n")
}
