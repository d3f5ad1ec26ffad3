package onnxruntime

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// agreeLaunches is how often both sides start afresh: twice as many narrow the interval
// by a third.
var agreeLaunches = flag.Int("agree-launches", 40, "fresh launches of each side in the comparison with Python")

// The same file, library version, input and thread count, timed by genbench's C loop
// and by ONNX Runtime's own Python session loop, in turn, must agree within 1 % at the
// median (`make agree`). Where the pages of a process come to lie moves its latency for
// as long as it lives, so both sides start afresh for every launch, and the interval is
// built over launches. Within one, single inferences alternate and the first side changes,
// so that a machine whose speed wanders takes both along. One thread, because the
// threads of an idle pool spin and would disturb the other side. A machine too noisy
// to tell is told so; only a proven difference fails.
func TestAgreesWithPython(t *testing.T) {
	python := os.Getenv("GENBENCH_AGREE_PYTHON")
	if python == "" {
		t.Skip("GENBENCH_AGREE_PYTHON names no Python with numpy and onnxruntime; `make agree` makes one")
	}
	const limit = 0.01
	launches := *agreeLaunches
	// Batches are chosen for some 40 ms an inference here, so that what Python itself
	// adds to a call, tens of microseconds, does not count.
	for _, c := range []struct {
		name  string
		batch int
	}{{"genet-small", 4}, {"resnet-18", 1}, {"mobilenetv2-1.0", 4}} {
		t.Run(c.name, func(t *testing.T) {
			network, err := models.New(c.name, 0)
			if err != nil {
				t.Fatal(err)
			}
			var ratios, latencies []float64
			for range launches {
				ratio, latency := agreeOnce(t, python, network, c.batch)
				ratios, latencies = append(ratios, math.Log(ratio)), append(latencies, latency)
			}
			mean, sd := stat.MeanStdDev(ratios, nil)
			half := distuv.StudentsT{Sigma: 1, Nu: float64(launches - 1)}.Quantile(0.975) * sd / math.Sqrt(float64(launches))
			ratio, low, high := math.Exp(mean), math.Exp(mean-half), math.Exp(mean+half)
			verdict := "undecided"
			switch {
			case low > 1+limit || high < 1-limit:
				verdict = "differs"
			case low >= 1-limit && high <= 1+limit:
				verdict = "agrees"
			}
			slices.Sort(latencies)
			t.Logf("%-16s ONNX Runtime, 1 thread, batch %d: %.3f ms; genbench / Python %.4f [%.4f, %.4f] over %d launches in turn: %s within %.0f %%",
				c.name, c.batch, latencies[launches/2]/1e6, ratio, low, high, launches, verdict, 100*limit)
			if verdict == "differs" {
				t.Errorf("the two loops differ by %.2f %%, limit %.0f %%", 100*(ratio-1), 100*limit)
			}
		})
	}
}

// agreeOnce opens a session on both sides and gives the median ratio of alternating
// blocks, and the median of genbench's own in nanoseconds.
func agreeOnce(t *testing.T, python string, network *models.Network, batch int) (ratio, latency float64) {
	// One inference a turn, after one that takes the caches back from the other side:
	// a shared machine's speed wanders by a tenth within a second, so the shorter the
	// turn the more of it both sides share.
	const (
		pairs  = 48
		block  = 2
		cold   = 1
		warmUp = 10
	)
	device, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	engine, err := Driver().Open(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	stream, err := device.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	session, err := engine.Build(t.Context(), network, stream, engines.BuildOptions{Precision: models.FP32, Batch: batch, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	input := models.SyntheticInput(network.InputShape(batch))
	if err := session.SetInput(input); err != nil {
		t.Fatal(err)
	}
	theirs := startPython(t, python, network, input)
	defer theirs.stop(t)
	if version := theirs.line(t); version != engine.Info().Version {
		t.Fatalf("Python has ONNX Runtime %s, genbench opened %s", version, engine.Info().Version)
	}
	ours := func(n int) float64 {
		samples := make([]hardware.Sample, n)
		if err := stream.Time(session.Call(), samples); err != nil {
			t.Fatal(err)
		}
		ns := make([]float64, n)
		for i, s := range samples {
			ns[i] = float64(s.Device)
		}
		return middle(ns[cold:])
	}
	ours(warmUp)
	theirs.time(t, warmUp, cold)
	var ratios, latencies []float64
	for pair := range pairs {
		var a, b float64
		if pair%2 == 0 {
			a, b = ours(block), theirs.time(t, block, cold)
		} else {
			b, a = theirs.time(t, block, cold), ours(block)
		}
		ratios, latencies = append(ratios, a/b), append(latencies, a)
	}
	return middle(ratios), middle(latencies)
}

func middle(values []float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// A pythonLoop is a process that times runs when told to.
type pythonLoop struct {
	command *exec.Cmd
	pipe    io.Closer // its standard input; closed, the loop ends
	in      *bufio.Writer
	out     *bufio.Reader
}

func startPython(t *testing.T, python string, network *models.Network, input models.Tensor) *pythonLoop {
	t.Helper()
	dir := t.TempDir()
	onnx, err := models.ONNX(network, models.ExportOptions{Batch: input.Shape[0], Precision: models.FP32})
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
	cmd := exec.Command(python, filepath.Join("testdata", "loop.py"), model, image, "1")
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
	return &pythonLoop{command: cmd, pipe: stdin, in: bufio.NewWriter(stdin), out: bufio.NewReader(stdout)}
}

func (p *pythonLoop) stop(t *testing.T) {
	t.Helper()
	p.pipe.Close()
	if err := p.command.Wait(); err != nil {
		t.Errorf("the Python loop ended with %v", err)
	}
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
func (p *pythonLoop) time(t *testing.T, n, cold int) float64 {
	t.Helper()
	fmt.Fprintln(p.in, n)
	if err := p.in.Flush(); err != nil {
		t.Fatal(err)
	}
	var ns []float64
	for _, field := range strings.Fields(p.line(t)) {
		v, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ns = append(ns, float64(v))
	}
	return middle(ns[cold:])
}
