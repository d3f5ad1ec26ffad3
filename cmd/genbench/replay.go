package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"genbench/bench"
)

func (a *app) replayCommand() *cobra.Command {
	var out string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "replay DIR",
		Short: "Repeat a run from its own file and show both",
		Long: "Replay measures the points of the run in DIR once more, with its configuration and seed, into a new\n" +
			"directory, and prints both results side by side. Differences of the machine are reported first.",
		Example: "  genbench replay genbench-20260301-090000 --out again",
		Args:    exactArgs(1, "the directory of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := patience(wait)
			if err != nil {
				return err
			}
			return a.replay(cmd.Context(), args[0], out, until)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "directory for the new result (default: genbench-DATE-TIME)")
	addWait(cmd, &wait)
	return cmd
}

func (a *app) replay(ctx context.Context, dir, out string, until time.Time) (err error) {
	// Its estimates wait until nothing is being measured: after this run.
	before, err := bench.ReadLog(dir)
	if err != nil {
		return usage(err)
	}
	config := before.Run.Config
	if err := a.checkConfig(&config); err != nil {
		return usage(fmt.Errorf("replay %s: %w", dir, err))
	}
	if out == "" {
		out = defaultDir(time.Now())
	}
	device, err := findDevice(config.Device)
	if err != nil {
		return err
	}
	lock, err := a.lockDevice(ctx, device.ID, out, until)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	plan, device, err := a.planOn(ctx, config, false)
	if err != nil {
		return err
	}
	began := time.Now()
	runErr := a.carryOut(ctx, plan, device, out, manner{until: until})
	after, err := bench.LoadResult(out)
	// What lies there may belong to another run, which this one did not touch.
	if runErr != nil && (after == nil || after.Log.Run.Started.Before(began)) {
		return runErr // it never got as far as a journal
	}
	if after == nil {
		return err
	}
	for _, difference := range before.Run.Differences(after.Log.Run) {
		fmt.Fprintf(a.stderr, "differs: %s\n", difference)
	}
	if err := a.sideBySide(bench.NewResult(before), after); err != nil {
		return err
	}
	return runErr
}

// sideBySide prints two results of one plan. It gives no verdict: the ratio of two
// medians is not a test, as the intervals beside it show.
func (a *app) sideBySide(before, after *bench.Result) error {
	again := map[bench.Point]*bench.Measurement{}
	for i := range after.Measurements {
		again[after.Measurements[i].Point] = &after.Measurements[i]
	}
	var rows [][]string
	for i := range before.Measurements {
		then := &before.Measurements[i]
		row := []string{then.Point.String(), latencyOf(then), "–", "–", ""}
		if now := again[then.Point]; now != nil {
			row[2] = latencyOf(now)
			if then.State == bench.Measured && now.State == bench.Measured {
				row[3] = strconv.FormatFloat(now.Latency.Value/then.Latency.Value, 'f', 3, 64)
				row[4] = overlap(then.Latency, now.Latency)
			}
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(a.stdout)
	points := sheet{header: []string{"point", "then, ms", "now, ms", "now/then", "intervals"}, rows: rows, numbers: 1, all: "a wider one has all"}
	return points.print(a.stdout, a.width(), "", "intervals")
}

func latencyOf(m *bench.Measurement) string {
	if m.State != bench.Measured {
		return string(m.State)
	}
	text := fmt.Sprintf("%.3f", m.Latency.Value/1e6)
	if m.Latency.Low != nil && m.Latency.High != nil {
		text += fmt.Sprintf(" [%.3f, %.3f]", *m.Latency.Low/1e6, *m.Latency.High/1e6)
	}
	if m.AmortisedOver > 0 {
		text += " amortised"
	}
	return text
}

// overlap tells whether two intervals have a value in common.
func overlap(a, b bench.Estimate) string {
	if a.Low == nil || b.Low == nil {
		return "unknown"
	}
	if *a.Low <= *b.High && *b.Low <= *a.High {
		return "overlap"
	}
	return "apart"
}
