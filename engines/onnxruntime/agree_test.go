package onnxruntime

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// The same file, library version, input and thread count, timed by genbench's C loop
// and by ONNX Runtime's own Python session loop, in turn, must agree within 1 % at the
// median (`make agree`); a machine too noisy to tell is told so, and only a proven
// difference fails. Blocks of inferences alternate, with the first side changing, so that a machine whose speed wanders takes both along; one thread,
// because the threads of an idle pool spin and would disturb the other side.
func TestAgreesWithPython(t *testing.T) {
	python := os.Getenv("GENBENCH_AGREE_PYTHON")
	if python == "" {
		t.Skip("GENBENCH_AGREE_PYTHON names no Python with numpy and onnxruntime; `make agree` makes one")
	}
	const (
		limit  = 0.01
		pairs  = 40
		block  = 20
		cold   = 5 // of a block: the other side has had the caches
		warmUp = 20
	)
	device, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := Driver().Open(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	stream, err := device.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"genet-small", "resnet-18", "mobilenetv2-1.0"} {
		t.Run(name, func(t *testing.T) {
			network, err := models.New(name, 0)
			if err != nil {
				t.Fatal(err)
			}
			session, err := engine.Build(t.Context(), network, stream, engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			input := models.SyntheticInput(network.InputShape(1))
			if err := session.SetInput(input); err != nil {
				t.Fatal(err)
			}
			theirs := startPython(t, python, network, input)
			if version := theirs.line(t); version != engine.Info().Version {
				t.Fatalf("Python has ONNX Runtime %s, genbench opened %s", version, engine.Info().Version)
			}
			ours := func(n int) int64 {
				samples := make([]hardware.Sample, n)
				if err := stream.Time(session.Call(), samples); err != nil {
					t.Fatal(err)
				}
				ns := make([]int64, n)
				for i, s := range samples {
					ns[i] = s.Device
				}
				return middle(ns[cold:])
			}
			ours(warmUp)
			theirs.time(t, warmUp, cold)
			var ratios []float64
			var latencies []int64
			for pair := range pairs {
				var a, b int64
				if pair%2 == 0 {
					a, b = ours(block), theirs.time(t, block, cold)
				} else {
					b, a = theirs.time(t, block, cold), ours(block)
				}
				ratios, latencies = append(ratios, float64(a)/float64(b)), append(latencies, a)
			}
			slices.Sort(ratios)
			// The 14th and 27th of 40 order statistics enclose the median with 96 %.
			ratio := (ratios[pairs/2-1] + ratios[pairs/2]) / 2
			low, high := ratios[13]-1, ratios[26]-1
			verdict := "undecided"
			switch {
			case low > limit || high < -limit:
				verdict = "differs"
			case low >= -limit && high <= limit:
				verdict = "agrees"
			}
			fmt.Printf("%-16s ONNX Runtime %s, 1 thread, batch 1: %.3f ms; genbench / Python %.4f [%.4f, %.4f], %d pairs in turn: %s\n",
				name, engine.Info().Version, float64(middle(latencies))/1e6, ratio, 1+low, 1+high, pairs, verdict)
			if verdict == "differs" {
				t.Errorf("the two loops differ by %.2f %%, limit %.0f %%", 100*(ratio-1), 100*limit)
			}
		})
	}
}

func middle(ns []int64) int64 {
	sorted := slices.Clone(ns)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// A pythonLoop is a process that times runs when told to.
type pythonLoop struct {
	in  *bufio.Writer
	out *bufio.Reader
}

func startPython(t *testing.T, python string, network *models.Network, input models.Tensor) *pythonLoop {
	t.Helper()
	dir := t.TempDir()
	onnx, err := models.ONNX(network, models.ExportOptions{Batch: 1, Precision: models.FP32})
	if err != nil {
		t.Fatal(err)
	}
	model, image := filepath.Join(dir, "model.onnx"), filepath.Join(dir, "input.f32")
	raw := make([]byte, 0, 4*len(input.Data))
	for _, v := range input.Data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	for path, data := range map[string][]byte{model: onnx, image: raw} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, filepath.Join("testdata", "loop.py"), model, image)
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
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the Python loop ended with %v", err)
		}
	})
	return &pythonLoop{in: bufio.NewWriter(stdin), out: bufio.NewReader(stdout)}
}

func (p *pythonLoop) line(t *testing.T) string {
	t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatalf("read from the Python loop: %v", err)
	}
	return strings.TrimSpace(line)
}

// time lets Python time n runs and gives the median of all but the first cold.
func (p *pythonLoop) time(t *testing.T, n, cold int) int64 {
	t.Helper()
	fmt.Fprintln(p.in, n)
	if err := p.in.Flush(); err != nil {
		t.Fatal(err)
	}
	var ns []int64
	for _, field := range strings.Fields(p.line(t)) {
		v, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ns = append(ns, v)
	}
	return middle(ns[cold:])
}
