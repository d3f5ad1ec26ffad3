package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"genbench/bench/history"
	"genbench/bench/verdict"
	"genbench/reports"
)

func (a *app) historyCommand() *cobra.Command {
	var f history.Filter
	var plot string
	var rebuild bool
	cmd := &cobra.Command{
		Use:   "history [DIR…]",
		Short: "Show results over time, with the moments at which they changed",
		Long: "Reads every journal below the directories (default: this one) into an index in the state\n" +
			"directory, and shows each point on each machine and in each setting over time, with what earlier\n" +
			"calls found elsewhere. Later calls read only what is new. Single launches of a gate or a\n" +
			"calibration are not results of their own and are left out.\n" +
			"Change points are only reported: they fail nothing.",
		Example: "  genbench history results\n  genbench history results --model genet-large --plot genet-large.svg",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			return a.history(cmd.Context(), args, f, plot, rebuild)
		},
	}
	cmd.Flags().StringVar(&f.Model, "model", "", "one network, with every run of it")
	cmd.Flags().StringVar(&f.Engine, "engine", "", "one engine")
	cmd.Flags().StringVar(&plot, "plot", "", "file to draw to, *.svg or *.png")
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "read again every journal that the index lists; a damaged index lists none")
	return cmd
}

func (a *app) history(ctx context.Context, dirs []string, f history.Filter, plot string, rebuild bool) error {
	vector := strings.HasSuffix(plot, ".svg")
	if plot != "" && !vector && !strings.HasSuffix(plot, ".png") {
		return usage(fmt.Errorf("--plot %s: want a file that ends in .svg or .png", plot))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			return usage(fmt.Errorf("find journals: %w", err))
		}
	}
	state, err := verdict.StateDir()
	if err != nil {
		return err
	}
	path := filepath.Join(state, "history.db")
	open := history.Open
	if rebuild {
		open = history.Rebuild
	}
	store, err := open(ctx, path, version())
	if err != nil {
		return err
	}
	list, err := a.indexed(ctx, store, dirs, f)
	if closeErr := store.Close(); err == nil {
		err = closeErr
	}
	if history.Damaged(err) {
		return fmt.Errorf("%w; `genbench history --rebuild` makes a new index", err)
	}
	if err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Fprintln(a.stdout, "no results; `genbench run` makes some")
		return nil
	}
	if err := reports.HistoryText(a.stdout, list, f.Model != ""); err != nil {
		return err
	}
	if plot == "" {
		return nil
	}
	png, svg, err := reports.HistoryFigure(list)
	if err != nil {
		return err
	}
	if vector {
		return writeFile(plot, svg)
	}
	return writeFile(plot, png)
}

func (a *app) indexed(ctx context.Context, store *history.Store, dirs []string, f history.Filter) ([]history.Series, error) {
	u, err := store.Update(ctx, dirs)
	if err != nil {
		return nil, err
	}
	for _, problem := range u.Problems {
		fmt.Fprintf(a.stderr, "genbench: %s\n", problem)
	}
	if u.Read > 0 {
		fmt.Fprintf(a.stderr, "read %s\n", plural(u.Read, "journal", "journals"))
	}
	return store.Series(ctx, f)
}
