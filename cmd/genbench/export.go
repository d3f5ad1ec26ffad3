package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"genbench/bench"
	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

func (a *app) exportCommand() *cobra.Command {
	var (
		output, precision, weights, form string
		batch, resolution                int
		calibration                      bench.Calibration
	)
	cmd := &cobra.Command{
		Use:   "export MODEL -o FILE.onnx",
		Short: "Write a network as an ONNX file, the same bytes every time",
		Example: "  genbench export genet-large -o genet-large.onnx\n" +
			"  genbench export resnet-50 --batch 8 --resolution 192 -o resnet-50.onnx\n" +
			"  genbench export resnet-50 --weights resnet50.safetensors -o resnet-50.onnx\n" +
			"  genbench export resnet-50 --precision int8 --calibrate photos -o resnet-50.int8.onnx",
		Args:              exactArgs(1, "one model"),
		ValidArgsFunction: completeModels,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if output == "" {
				return usage(errors.New("export needs -o FILE.onnx"))
			}
			if batch < 1 {
				return usage(fmt.Errorf("--batch %d: want at least 1", batch))
			}
			if err := knownPrecision(precision); err != nil {
				return usage(err)
			}
			if models.IsFile(args[0]) {
				return usage(fmt.Errorf("export %s: it is already an ONNX file; export takes a network of `genbench list models`", args[0]))
			}
			network, err := network(args[0], resolution)
			if err != nil {
				return err
			}
			network, source, err := withWeights(network, weights)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, source.close()) }()
			options := models.ExportOptions{Batch: batch, Precision: models.Precision(precision)}
			if options.Precision.Calibrated() {
				if options.Kernels, err = kernelsNamed(form); err != nil {
					return usage(err)
				}
				fmt.Fprintf(a.stderr, "calibrating on at most %d images\n", calibration.Images)
				if options.Ranges, err = a.ranges(cmd.Context(), calibration, network); err != nil {
					return usage(fmt.Errorf("calibrate %s: %w", network.Name, err))
				}
			}
			data, err := models.ONNX(network, options)
			if err != nil {
				var unsupported *models.PrecisionError
				if errors.As(err, &unsupported) {
					return usage(err)
				}
				return err
			}
			if err := writeFile(output, data); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s: %s at batch %d, %d×%d, %s, %.1f MB, weights %s\n", output, network.Name, batch, network.Resolution, network.Resolution, precision, float64(len(data))/1e6, source)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write")
	cmd.Flags().StringVar(&precision, "precision", "fp32", "element type of compute")
	cmd.Flags().StringVar(&form, "kernels", kernelForms[0], kernelsUsage)
	addCalibration(cmd, &calibration)
	cmd.Flags().StringVar(&weights, "weights", synthetic, weightsUsage)
	cmd.Flags().IntVar(&batch, "batch", 1, "images per inference")
	cmd.Flags().IntVar(&resolution, "resolution", 0, "input height and width (default: the network's own)")
	return cmd
}

// kernelForms are the names of models.Kernels, in their order.
var kernelForms = [...]string{"fused", "operators"}

const kernelsUsage = "form of an int8 model: fused, as TensorRT wants it, or operators, as ONNX Runtime does"

// addCalibration adds the flags of the ranges of int8 and fp8 to a command.
func addCalibration(cmd *cobra.Command, c *bench.Calibration) {
	c.Images = calibrationImages
	flags := cmd.Flags()
	flags.StringVar(&c.Directory, "calibrate", "", "directory of JPEG and PNG images to calibrate int8 and fp8 on (default: synthetic images)")
	flags.StringVar((*string)(&c.Method), "calibration", string(models.Percentile), "how ranges of int8 and fp8 are derived from values: "+orList(calibrationNames()))
}

func calibrationNames() []string {
	return namesOf(models.CalibrationMethods(), func(m models.CalibrationMethod) string { return string(m) })
}

func checkCalibration(method models.CalibrationMethod) error {
	if !slices.Contains(models.CalibrationMethods(), method) {
		return fmt.Errorf("--calibration %q: want one of %s", method, orList(calibrationNames()))
	}
	return nil
}

func kernelsNamed(form string) (models.Kernels, error) {
	i := slices.Index(kernelForms[:], form)
	if i < 0 {
		return 0, fmt.Errorf("--kernels %q: want one of %s", form, strings.Join(kernelForms[:], ", "))
	}
	return models.Kernels(i), nil
}

// ranges calibrates through the reference engine.
func (a *app) ranges(ctx context.Context, c bench.Calibration, network *models.Network) (*models.Ranges, error) {
	if err := checkCalibration(c.Method); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(a.drivers, func(d engines.Driver) bool { return d.Reference })
	if i < 0 {
		return nil, errors.New("no reference engine is built into this binary")
	}
	device, err := hardware.NewHost()
	if err != nil {
		return nil, err
	}
	defer device.Close()
	engine, err := a.drivers[i].Open(ctx, device)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	return c.Ranges(ctx, engine.(engines.Observer), network, func() error { return ctx.Err() })
}

// network builds a network; a bad name or resolution is the caller's error.
func network(name string, resolution int) (*models.Network, error) {
	if resolution < 0 {
		return nil, usage(fmt.Errorf("--resolution %d: want a positive number", resolution))
	}
	n, err := models.New(name, resolution)
	if err != nil {
		return nil, usage(err)
	}
	return n, nil
}

// writeFile writes a file whole or not at all.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func completeModels(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, m := range models.List() {
		names = append(names, m.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
