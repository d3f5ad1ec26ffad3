package models

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// ResNet-50 written to an ONNX file by PyTorch's exporters and by genbench, in turn, on
// the same machine (`make torch-ratio`), must take genbench no longer. PyTorch has its model in memory; genbench builds
// the network, computes the weights and folds the batch norms within its time.
func TestTorchRatio(t *testing.T) {
	python := os.Getenv("GENBENCH_TORCH_PYTHON")
	if python == "" {
		t.Skip("GENBENCH_TORCH_PYTHON names no Python with torch, torchvision and onnxscript; `make torch-ratio` makes one")
	}
	const rounds = 6 // after one that warms both up
	cmd := exec.Command(python, filepath.Join("testdata", "export.py"))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(stdout)
	answer := func() string {
		if !answers.Scan() {
			t.Fatalf("PyTorch's side ended: %v", answers.Err())
		}
		return answers.Text()
	}
	versions := answer()
	dir := t.TempDir()
	theirs := func(exporter string) float64 {
		fmt.Fprintln(stdin, exporter, filepath.Join(dir, exporter+".onnx"))
		ns, err := strconv.ParseInt(strings.TrimSpace(answer()), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return float64(ns) / 1e9
	}
	ours := func() float64 {
		start := time.Now()
		n, err := New("resnet-50", 0)
		if err != nil {
			t.Fatal(err)
		}
		model, err := ONNX(n, ExportOptions{Batch: 1, Precision: FP32})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "genbench.onnx"), model, 0o644); err != nil {
			t.Fatal(err)
		}
		return time.Since(start).Seconds()
	}
	for _, exporter := range []string{"dynamo", "torchscript"} {
		theirs(exporter)
		ours()
		var ratios, a, b []float64
		for round := range rounds {
			var x, y float64
			if round%2 == 0 {
				x, y = theirs(exporter), ours()
			} else {
				y, x = ours(), theirs(exporter)
			}
			ratios, a, b = append(ratios, math.Log(x/y)), append(a, x), append(b, y)
		}
		mean, sd := stat.MeanStdDev(ratios, nil)
		half := distuv.StudentsT{Sigma: 1, Nu: rounds - 1}.Quantile(0.975) * sd / math.Sqrt(rounds)
		t.Logf("resnet-50 to fp32 ONNX, torch and torchvision %s: torch.onnx.export (%s) %.2f s, genbench %.3f s, ratio %.1f [%.1f, %.1f] over %d rounds in turn",
			versions, exporter, stat.Mean(a, nil), stat.Mean(b, nil), math.Exp(mean), math.Exp(mean-half), math.Exp(mean+half), rounds)
		if mean+half < 0 {
			t.Errorf("genbench is slower than the %s exporter", exporter)
		}
	}
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("PyTorch's side ended with %v", err)
	}
}
