package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"genbench/models"
	"genbench/reports"
)

func (a *app) showCommand() *cobra.Command {
	var (
		asJSON     bool
		resolution int
		weights    string
		precision  string
		form       string
		shapes     []string
	)
	cmd := &cobra.Command{
		Use:   "show MODEL|FILE.onnx",
		Short: "Show every layer of a network or an ONNX file: shapes, parameters, MACs",
		Example: "  genbench show genet-large\n" +
			"  genbench show efficientnet-b0 --precision int8\n" +
			"  genbench show resnet-50 --weights resnet50.safetensors\n" +
			"  genbench show mine.onnx --shape input:1x3x224x224",
		Args:              exactArgs(1, "one model or file"),
		ValidArgsFunction: completeModelsAndFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if models.IsFile(args[0]) {
				for _, flag := range []string{"weights", "resolution", "precision", "kernels"} {
					if cmd.Flags().Changed(flag) {
						return usage(fmt.Errorf("show %s: an ONNX file has its own weights, resolution and precision, and takes --shape, not --%s", args[0], flag))
					}
				}
				return a.showFile(args[0], shapes, asJSON)
			}
			if len(shapes) > 0 {
				return usage(fmt.Errorf("--shape %s: a network takes --resolution; --shape is for ONNX files", shapes[0]))
			}
			network, err := network(args[0], resolution)
			if err != nil {
				return err
			}
			switch precision {
			case string(models.FP32):
			case string(models.INT8):
				return a.showQuantization(network, form, asJSON)
			default:
				return usage(fmt.Errorf("--precision %s: want fp32, or int8, in which not every layer computes in integers", precision))
			}
			return a.showLayers(network, weights, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&precision, "precision", string(models.FP32), "for a network, int8 shows which layers compute in integers, and why the others do not")
	cmd.Flags().StringVar(&form, "kernels", kernelForms[0], kernelsUsage)
	cmd.Flags().StringVar(&weights, "weights", synthetic, weightsUsage)
	cmd.Flags().StringArrayVar(&shapes, "shape", nil, "shape of an ONNX file's input, name:1x3x224x224; once for each input")
	cmd.Flags().IntVar(&resolution, "resolution", 0, "input height and width (default: the network's own)")
	return cmd
}

// showLayers prints every layer of a network, and whether weights fit it.
func (a *app) showLayers(network *models.Network, weights string, asJSON bool) (err error) {
	network, source, err := withWeights(network, weights)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	cost, err := models.CostOf(network)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(a.stdout, struct {
			Name       string `json:"name"`
			Resolution int    `json:"resolution"`
			models.Cost
			Weights *weightsSource `json:"weights,omitempty"`
		}{network.Name, network.Resolution, cost, source.file()})
	}
	rows := make([][]string, 0, len(cost.Layers))
	var bytes int64
	for _, l := range cost.Layers {
		in := make([]string, len(l.Inputs))
		for i, s := range l.Inputs {
			in[i] = s.String()
		}
		rows = append(rows, []string{l.Name, l.Op, strings.Join(in, " "), l.Output.String(), count(l.Params), count(l.MACs), count(l.WeightBytes + l.ActivationBytes)})
		bytes += l.WeightBytes + l.ActivationBytes
	}
	fmt.Fprintf(a.stdout, "%s at %d×%d: %s parameters, %s MACs per image, %d layers\n", network.Name, network.Resolution, network.Resolution, count(cost.Params), count(cost.MACs), len(cost.Layers))
	if source.file() != nil {
		fmt.Fprintf(a.stdout, "weights %s: every tensor fits\n", source)
	}
	fmt.Fprintln(a.stdout)
	layers := sheet{header: []string{"layer", "op", "in", "out", "params", "MACs", "bytes"}, rows: rows, numbers: 4,
		footer: []string{"total", "", "", "", count(cost.Params), count(cost.MACs), count(bytes)}}
	return layers.print(a.stdout, a.width(), "", "in", "bytes")
}

// showQuantization prints what becomes of every layer in an int8 export.
func (a *app) showQuantization(network *models.Network, form string, asJSON bool) error {
	kernels, err := kernelsNamed(form)
	if err != nil {
		return usage(err)
	}
	nodes, err := models.Quantization(network, nil, kernels)
	if err != nil {
		return err
	}
	integers := 0
	rows := make([][]string, len(nodes))
	for i, n := range nodes {
		computes := "float"
		if n.Int8 {
			computes = "int8"
			integers++
		}
		rows[i] = []string{n.Node, n.Kind, computes, n.Reason}
	}
	if asJSON {
		return writeJSON(a.stdout, struct {
			Name       string                 `json:"name"`
			Resolution int                    `json:"resolution"`
			Kernels    string                 `json:"kernels"`
			Int8       int                    `json:"int8"`
			Layers     []models.QuantizedNode `json:"layers"`
		}{network.Name, network.Resolution, form, integers, nodes})
	}
	fmt.Fprintf(a.stdout, "%s in int8, %s: %d of %d layers, batch norms folded, compute in integers\n\n", network.Name, form, integers, len(nodes))
	layers := sheet{header: []string{"layer", "op", "in", "why"}, rows: rows, numbers: 4}
	return layers.print(a.stdout, a.width(), "why")
}

// completeModelsAndFiles leaves what is not a network's name to the shell.
func completeModelsAndFiles(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	names, _ := completeModels(cmd, args, toComplete)
	return names, cobra.ShellCompDirectiveDefault
}

// count prints an integer with thin groups of three; zero as a dot, so the eye finds
// what costs.
func count(n int64) string {
	if n == 0 {
		return "·"
	}
	return reports.Thousands(n)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
