package main

import (
	"github.com/spf13/cobra"

	"genbench/bench"
)

// workerName is the hidden command that a run starts once per launch.
const workerName = "worker"

func (a *app) workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    workerName,
		Short:  "Measure one launch for `genbench run`, which starts this itself",
		Hidden: true,
		Args:   exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.RunWorker(cmd.Context(), a.drivers, a.stdin)
		},
	}
}
