package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"genbench/engines/library"
	"genbench/hardware"
)

func (a *app) setupCommand() *cobra.Command {
	setup := &cobra.Command{
		Use:   "setup onnxruntime|onnxruntime-gpu",
		Short: "Fetch an engine's library into the cache directory, without root",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(fmt.Errorf("set up what? want onnxruntime or onnxruntime-gpu"))
			}
			return usage(unknown("library", args[0], []string{"onnxruntime", "onnxruntime-gpu"}, "genbench setup --help"))
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
	setup.AddCommand(&cobra.Command{
		Use:   "onnxruntime-gpu",
		Short: "Fetch ONNX Runtime with CUDA and TensorRT providers with pip, in the version for the GPU here",
		Args:  exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			gpu, err := firstGPU()
			if err != nil {
				return &exitError{exitUnavailable, fmt.Errorf("set up onnxruntime-gpu: its version depends on the GPU: %w", err)}
			}
			path, err := library.SetupONNXRuntimeGPU(cmd.Context(), a.stderr, gpu)
			if err != nil {
				return &exitError{exitUnavailable, err}
			}
			fmt.Fprintln(a.stdout, path)
			return nil
		},
	})
	return setup
}

// firstGPU describes GPU 0 to what chooses packages.
func firstGPU() (library.GPU, error) {
	device, err := firstDevice(hardware.CUDA)
	if err != nil {
		return library.GPU{}, err
	}
	defer device.Close()
	d := device.(*hardware.CUDADevice).Details()
	return library.GPU{Name: d.Name, CapabilityMajor: d.CapabilityMajor, CapabilityMinor: d.CapabilityMinor, Driver: d.DriverVersionNumber}, nil
}
