package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"genbench/engines/all"
	"genbench/engines/library"
	"genbench/hardware"
)

func (a *app) setupCommand() *cobra.Command {
	setups := []string{"onnxruntime", "onnxruntime-gpu", "tensorrt"}
	setup := &cobra.Command{
		Use:   "setup " + strings.Join(setups, "|"),
		Short: "Fetch or build an engine's library in the cache directory, without root",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(fmt.Errorf("set up what? want one of %s", strings.Join(setups, ", ")))
			}
			return usage(unknown("library", args[0], setups, "genbench setup --help"))
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
	setup.AddCommand(a.setupTensorRTCommand())
	return setup
}

func (a *app) setupTensorRTCommand() *cobra.Command {
	var include string
	cmd := &cobra.Command{
		Use:   "tensorrt",
		Short: "Compile the shim that speaks to TensorRT, against the headers of the version that is installed",
		Args:  exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := all.SetupTensorRT(cmd.Context(), include, a.stderr)
			if err != nil {
				return &exitError{exitUnavailable, err}
			}
			fmt.Fprintln(a.stdout, path)
			return nil
		},
	}
	cmd.Flags().StringVar(&include, "include", "", "the `folder` of NvInfer.h; the usual places without it")
	return cmd
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
