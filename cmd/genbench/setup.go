package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"genbench/engines/library"
)

func (a *app) setupCommand() *cobra.Command {
	setup := &cobra.Command{
		Use:   "setup onnxruntime",
		Short: "Fetch an engine's library into the cache directory, without root",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(fmt.Errorf("set up what? want onnxruntime"))
			}
			return usage(unknown("library", args[0], []string{"onnxruntime"}, "genbench setup --help"))
		},
	}
	setup.AddCommand(&cobra.Command{
		Use:   "onnxruntime",
		Short: "Fetch ONNX Runtime's CPU library with pip, or with npm where there is no pip",
		Args:  exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := library.SetupONNXRuntime(cmd.Context(), a.stderr)
			if err != nil {
				return &exitError{exitUnavailable, err}
			}
			fmt.Fprintln(a.stdout, path)
			return nil
		},
	})
	return setup
}
