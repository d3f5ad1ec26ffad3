package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"genbench/bench"
	"genbench/reports"
)

func (a *app) reportCommand() *cobra.Command {
	var format, output string
	cmd := &cobra.Command{
		Use:   "report DIR…",
		Short: "Make every view of a run again from its journal, the same bytes every time",
		Long: "Without --format, every view is written next to each run's journal: report.md, report.html,\n" +
			"summary.json and the pictures as PNG and SVG. With --format, one view of all the named runs is\n" +
			"printed, or written to -o FILE.",
		Example: "  genbench report genbench-20260301-090000\n  genbench report A --format gobench -o a.txt && genbench report B --format gobench -o b.txt && benchstat a.txt b.txt",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(errors.New("report needs the directory of a run: `genbench report DIR`"))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			var report reports.Report
			if format != "" {
				var err error
				width := 0 // for a file, whatever terminal it is written from
				if output == "" {
					width = a.width()
				}
				if report, err = reports.Lookup(format, width); err != nil {
					return usage(err)
				}
			} else if output != "" {
				return usage(errors.New("-o needs --format"))
			}
			var results []*bench.Result
			var damage error
			for _, dir := range args {
				result, err := bench.LoadResult(dir)
				if result == nil {
					return usage(err)
				}
				if err != nil {
					fmt.Fprintf(a.stderr, "genbench: %v\n", err)
					damage = &exitError{code: exitInternal}
				}
				results = append(results, result)
			}
			if format == "" {
				for i, result := range results {
					if err := reports.WriteDir(args[i], result); err != nil {
						return err
					}
					fmt.Fprintf(a.stdout, "%s\n", reportPath(args[i]))
				}
				return damage
			}
			var b bytes.Buffer // so results which a format refuses leave no file
			if err := report(&b, results...); err != nil {
				return usage(fmt.Errorf("--format %s: %w", format, err))
			}
			if err := a.writeTo(output, func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err }); err != nil {
				return err
			}
			return damage
		},
	}
	cmd.Flags().StringVar(&format, "format", "", orList(namesOf(reports.Formats(), func(f reports.Format) string { return f.Name })))
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write (default: print)")
	return cmd
}

// writeTo prints to a file, or to standard output where none is named.
func (a *app) writeTo(path string, write func(io.Writer) error) error {
	if path == "" {
		return write(a.stdout)
	}
	f, err := os.Create(path)
	if err != nil {
		return usage(err)
	}
	err = write(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// width is the number of columns of the terminal, 0 where standard output is not one.
// COLUMNS overrides it, as in other tools.
func (a *app) width() int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if f, ok := a.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}
