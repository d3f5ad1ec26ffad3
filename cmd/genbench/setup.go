package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"genbench/engines/all"
	"genbench/engines/library"
	"genbench/hardware"
)

func (a *app) setupCommand() *cobra.Command {
	setups := []string{"cudnn", "onnxruntime", "onnxruntime-gpu", "tensorrt"}
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
	setup.AddCommand(a.setupCUDNNCommand(), a.setupTensorRTCommand())
	return setup
}

// setupCUDNNCommand takes a description of the GPU where there is none: in clusters
// only machines without a GPU may have a network.
func (a *app) setupCUDNNCommand() *cobra.Command {
	var cuda, capability string
	cmd := &cobra.Command{
		Use:   "cudnn",
		Short: "Fetch cuDNN, cuBLAS and NVRTC with pip, in the versions for the GPU here or the one described",
		Example: "  genbench setup cudnn\n" +
			"  genbench setup cudnn --cuda 12.4 --capability 7.0   # for a V100 elsewhere",
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			gpu, err := a.describedGPU(cuda, capability)
			if err != nil {
				return err
			}
			path, err := library.SetupCUDNN(cmd.Context(), a.stderr, gpu)
			if err != nil {
				return &exitError{exitUnavailable, err}
			}
			fmt.Fprintln(a.stdout, path)
			return nil
		},
	}
	cmd.Flags().StringVar(&cuda, "cuda", "", "the newest CUDA `version` of the driver, as nvidia-smi shows it (default: that of the driver here)")
	cmd.Flags().StringVar(&capability, "capability", "", "the GPU's compute capability, `major.minor` (default: that of GPU 0, or 7.5 where there is none)")
	return cmd
}

// describedGPU is GPU 0, but for what flags say. Without a GPU the flags must at least
// name the driver's CUDA.
func (a *app) describedGPU(cuda, capability string) (library.GPU, error) {
	gpu, absent := firstGPU()
	if absent != nil {
		if cuda == "" {
			return gpu, &exitError{exitUnavailable, fmt.Errorf("set up cudnn: its version depends on the GPU and its driver: %w; "+
				"for a GPU elsewhere give --cuda and --capability", absent)}
		}
		gpu = library.GPU{Name: "a GPU elsewhere", CapabilityMajor: 7, CapabilityMinor: 5}
	}
	if cuda != "" {
		major, minor, err := majorMinor(cuda)
		if err != nil {
			return gpu, usage(fmt.Errorf("--cuda %s: %w", cuda, err))
		}
		gpu.Driver = 1000*major + 10*minor
	}
	if capability != "" {
		var err error
		if gpu.CapabilityMajor, gpu.CapabilityMinor, err = majorMinor(capability); err != nil {
			return gpu, usage(fmt.Errorf("--capability %s: %w", capability, err))
		}
	}
	return gpu, nil
}

// majorMinor reads "12.4", or "12" for 12.0.
func majorMinor(text string) (major, minor int, err error) {
	head, tail, found := strings.Cut(text, ".")
	if !found {
		tail = "0"
	}
	major, err = strconv.Atoi(head)
	if err == nil {
		minor, err = strconv.Atoi(tail)
	}
	if err != nil || major < 1 || major > 99 || minor < 0 || minor > 9 {
		return 0, 0, errors.New("want a version such as 12 or 12.4")
	}
	return major, minor, nil
}

func (a *app) setupTensorRTCommand() *cobra.Command {
	var include string
	cmd := &cobra.Command{
		Use:   "tensorrt",
		Short: "Compile the shim that speaks to TensorRT, against the headers of the installed version",
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
	cmd.Flags().StringVar(&include, "include", "", "the `folder` of NvInfer.h (default: the usual places)")
	return cmd
}

// firstGPU describes GPU 0 for the choice of packages.
func firstGPU() (library.GPU, error) {
	device, err := firstDevice(hardware.CUDA)
	if err != nil {
		return library.GPU{}, err
	}
	defer device.Close()
	return library.GPUOf(device.(*hardware.CUDADevice).Details()), nil
}
