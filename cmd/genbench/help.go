package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// readable is the widest that help gets.
const readable = 120

// fitHelp makes a command, and those below it, write help that fits the terminal, or
// a readable width where there is none.
func (a *app) fitHelp(root *cobra.Command) {
	width := min(cmp.Or(a.width(), readable), readable)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		out := c.OutOrStdout()
		paragraphs{out, width}.reflow(cmp.Or(c.Long, c.Short))
		fmt.Fprintln(out)
		writeUsage(c, out, width)
	})
	root.SetUsageFunc(func(c *cobra.Command) error {
		writeUsage(c, c.OutOrStderr(), width)
		return nil
	})
}

// reflow prints a text whose lines were broken for its source. Lines that begin with
// white space stay lines of their own.
func (p paragraphs) reflow(text string) {
	var open []string
	end := func() {
		if open != nil {
			p.write("", strings.Join(open, " "))
			open = nil
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		switch rest := strings.TrimLeft(line, " \t"); {
		case rest == "":
			end()
			fmt.Fprintln(p.out)
		case rest != line:
			end()
			p.write(strings.ReplaceAll(strings.TrimSuffix(line, rest), "\t", "    "), rest)
		default:
			open = append(open, line)
		}
	}
	end()
}

// writeUsage prints how a command is called. Examples stay as they are, to be copied.
func writeUsage(c *cobra.Command, out io.Writer, width int) {
	p := paragraphs{out, width}
	fmt.Fprintln(out, "Usage:")
	if c.Runnable() {
		p.write("  ", c.UseLine())
	}
	if c.HasAvailableSubCommands() {
		p.write("  ", c.CommandPath()+" [command]")
	}
	if c.HasExample() {
		fmt.Fprintf(out, "\nExamples:\n%s\n", c.Example)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintln(out, "\nAvailable Commands:")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				p.write(fmt.Sprintf("  %-*s ", sub.NamePadding(), sub.Name()), sub.Short)
			}
		}
	}
	if c.HasAvailableLocalFlags() {
		fmt.Fprintf(out, "\nFlags:\n%s", c.LocalFlags().FlagUsagesWrapped(width))
	}
	if c.HasAvailableInheritedFlags() {
		fmt.Fprintf(out, "\nGlobal Flags:\n%s", c.InheritedFlags().FlagUsagesWrapped(width))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(out, "\nUse \"%s [command] --help\" for more information about a command.\n", c.CommandPath())
	}
}

// namesOf are the names of the things of a list.
func namesOf[T any](list []T, name func(T) string) []string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = name(v)
	}
	return names
}

// orList writes names as a sentence does: a, b or c.
func orList(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
