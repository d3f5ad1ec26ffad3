package cudnn

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/engines/onnxruntime"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/models"
)

// rangesOf calibrates a case to the input that it will meet.
func rangesOf(t *testing.T, c enginetest.Case, batch int) *models.Ranges {
	t.Helper()
	calibration, err := models.NewCalibration(c.Network, models.CalibrationOptions{Method: models.MinMax})
	if err != nil {
		t.Fatal(err)
	}
	host, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	e, err := reference.Driver().Open(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.(engines.Observer).Observe(t.Context(), c.Network, c.Input(batch), calibration.See); err != nil {
		t.Fatal(err)
	}
	ranges, err := calibration.Ranges()
	if err != nil {
		t.Fatal(err)
	}
	return ranges
}

func (b bench) buildInt8(t *testing.T, c enginetest.Case, batch int, emulate bool) (*session, error) {
	t.Helper()
	return b.buildRounded(t, c, models.INT8, batch, emulate)
}

func (b bench) buildRounded(t *testing.T, c enginetest.Case, p models.Precision, batch int, emulate bool) (*session, error) {
	t.Helper()
	s, err := b.engine.Build(t.Context(), c.Network, b.stream, engines.BuildOptions{
		Precision: p, Batch: batch, Ranges: rangesOf(t, c, batch), AllowEmulated: emulate,
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { s.Close() })
	return s.(*session), nil
}

// A session counts what runs in integers and names what does not, with the reason.
func TestInt8Executed(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		miniature    int
		int8, fp32   int
		named, never []string
	}{
		// 3 channels, and 10 classes, are no multiples of 4; the rest are two pools.
		{0, 6, 4, []string{
			"stem.conv: in fp32 between 8-bit values: cuDNN's 8-bit convolutions want channels in multiples of 4, and this one has 3 and 8",
			"head.fc: in fp32 between 8-bit values: cuDNN's 8-bit convolutions want channels in multiples of 4, and this one has 32 and 10",
			"stem.pool, head.pool",
			"stage1.b.conv: implicit_precomp_gemm",
		}, []string{"stage1.b.conv: in fp32"}},
		{1, 7, 6, []string{
			"block2.b.conv: in fp32 between 8-bit values: cuDNN has no reliable 8-bit depthwise convolution",
			"by kernels of genbench and cuDNN's pooling: head.pool",
		}, []string{"block2.a.conv: in fp32"}},
	} {
		s, err := b.buildInt8(t, enginetest.Miniatures()[c.miniature], 2, false)
		if err != nil {
			t.Fatal(err)
		}
		ran := s.Executed()
		if ran.Precisions["int8"] != c.int8 || ran.Precisions["fp32"] != c.fp32 || len(ran.Precisions) != 2 {
			t.Errorf("%s: ran %v, want %d and %d", s.network.Name, ran.Precisions, c.int8, c.fp32)
		}
		choices := strings.Join(ran.Choices, "\n")
		for _, words := range c.named {
			if !strings.Contains(choices, words) {
				t.Errorf("%s: %q is not in\n%s", s.network.Name, words, choices)
			}
		}
		for _, words := range c.never {
			if strings.Contains(choices, words) {
				t.Errorf("%s: %q is in\n%s", s.network.Name, words, choices)
			}
		}
	}
}

// Integers and floats between the same roundings compute one model: what cuDNN refuses
// in integers, when algorithms are measured or when it first runs, gives the numbers
// that it would have given, up to the order of sums.
func TestInt8AndFloatsAgree(t *testing.T) {
	cases := slices.Concat(enginetest.Blocks(), enginetest.Miniatures())
	outputs := map[string][][]float32{}
	integers := map[string]int{}
	for _, refusing := range []string{"0", "1", "2"} {
		b := newBench(t, "FAKE_CUDNN_NO_INT8", refusing)
		for _, c := range cases {
			s, err := b.buildInt8(t, c, 2, true)
			if err != nil {
				t.Fatal(err)
			}
			ran := s.Executed()
			if refusing == "0" {
				integers[c.Name] = ran.Precisions["int8"]
			}
			choices := strings.Join(ran.Choices, "\n")
			refused := strings.Count(choices, "cuDNN refuses its 8-bit convolution: node ")
			if refusing == "0" && refused > 0 || refusing != "0" && (refused != integers[c.Name] || ran.Precisions["int8"] > 0) {
				t.Errorf("%s, refusing %s: ran %v, %d refused, %d in integers before", c.Name, refusing, ran.Precisions, refused, integers[c.Name])
			}
			outputs[c.Name] = append(outputs[c.Name], b.infer(t, s, s.Call(), c.Input(2)))
		}
	}
	total := 0
	for _, c := range cases {
		total += integers[c.Name]
		for _, other := range outputs[c.Name][1:] {
			near(t, other, outputs[c.Name][0], 0.02)
		}
	}
	if total < 20 {
		t.Errorf("only %d convolutions ran in integers", total)
	}
}

// The session computes the exported model: ONNX Runtime gives the same numbers for the
// file, but for the few that sums in another order round to the neighbouring integer.
func TestInt8IsTheExportedModel(t *testing.T) {
	runtime, stream := openRuntime(t)
	b := newBench(t)
	cases := slices.Concat(enginetest.Blocks(), enginetest.Miniatures())
	if !testing.Short() {
		cases = append(cases, enginetest.Operators()...)
	}
	same := 0
	for _, c := range cases {
		s, err := b.buildInt8(t, c, 2, true)
		if err != nil {
			t.Fatal(err)
		}
		got := b.infer(t, s, s.Call(), c.Input(2))
		want := runExported(t, runtime, stream, c, models.INT8)
		var worst, squares float64
		for i, v := range want {
			worst, squares = max(worst, math.Abs(float64(got[i])-float64(v))), squares+float64(v)*float64(v)
		}
		switch worst /= math.Sqrt(squares / float64(len(want))); {
		case worst <= 1e-4:
			same++
		case !(worst <= 0.05):
			t.Errorf("%s: off by %.3f of the root mean square", c.Name, worst)
		}
	}
	if same < len(cases)/2 {
		t.Errorf("%d of %d cases give the same numbers", same, len(cases))
	}
}

// openRuntime gives ONNX Runtime, where it is installed.
func openRuntime(t *testing.T) (engines.FileEngine, hardware.Stream) {
	t.Helper()
	host, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := host.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	runtime, err := onnxruntime.Driver().Open(t.Context(), host)
	if err != nil {
		if strings.Contains(os.Getenv(enginetest.RequireEnv), "onnxruntime") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return runtime.(engines.FileEngine), stream
}

// runExported gives what an engine makes of a case's int8 or fp8 file.
func runExported(t *testing.T, e engines.FileEngine, stream hardware.Stream, c enginetest.Case, p models.Precision) []float32 {
	t.Helper()
	data, err := models.ONNX(c.Network, models.ExportOptions{Batch: 2, Precision: p, Ranges: rangesOf(t, c, 2), Kernels: models.FusedKernels})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "case.onnx")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := models.OpenONNX(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	input := c.Input(2)
	var raw []byte
	for _, v := range input.Data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	values := []models.Value{{Name: models.InputName, Elem: f.Inputs[0].Elem, Shape: input.Shape, Data: raw}}
	s, err := e.BuildFile(t.Context(), f, values, stream, engines.BuildOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := stream.Time(s.Call(), make([]hardware.Sample, 1)); err != nil {
		t.Fatal(err)
	}
	out, err := s.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out.Data
}

// A network of which nothing runs in integers is no int8 one, unless that is allowed.
func TestInt8OfNothing(t *testing.T) {
	b := newBench(t, "FAKE_CUDNN_NO_INT8", "1")
	_, err := b.buildInt8(t, enginetest.Miniatures()[0], 1, false)
	if err == nil || !strings.Contains(err.Error(), "no layer of it runs in 8-bit integers on cuDNN (stem.conv: ") {
		t.Errorf("got %v", err)
	}
	if _, err := b.buildInt8(t, enginetest.Miniatures()[0], 1, true); err != nil {
		t.Error(err)
	}
}

func TestInt8WithoutRanges(t *testing.T) {
	b := newBench(t)
	n := enginetest.Miniatures()[0].Network
	o := engines.BuildOptions{Precision: models.INT8, Batch: 1}
	if _, err := b.engine.Build(t.Context(), n, b.stream, o); err == nil || !strings.Contains(err.Error(), "int8 needs the ranges") {
		t.Errorf("got %v", err)
	}
	o.Ranges = &models.Ranges{Limit: map[string]float32{models.InputName: 1}}
	if _, err := b.engine.Build(t.Context(), n, b.stream, o); err == nil || !strings.Contains(err.Error(), "stem.relu") {
		t.Errorf("got %v", err)
	}
}

// An error that is no refusal of integers is the build's, not a reason to use floats.
func TestInt8Failures(t *testing.T) {
	b := newBench(t)
	c := enginetest.Miniatures()[0]
	ranges := rangesOf(t, c, 1)
	t.Setenv("FAKE_CUDA_LAUNCH", "701")
	_, err := b.engine.Build(t.Context(), c.Network, b.stream, engines.BuildOptions{Precision: models.INT8, Batch: 1, Ranges: ranges})
	if err == nil || !strings.Contains(err.Error(), "node "+models.InputName+": cuLaunchKernel: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES") {
		t.Errorf("got %v", err)
	}
	var floats *notEightBits
	if errors.As(err, &floats) {
		t.Errorf("%v is taken for a refusal of integers", err)
	}
}

// The kernels round as the model does: to the nearest, ties to even, never to -128.
func TestRoundingOfKernels(t *testing.T) {
	b := newBench(t)
	n := &models.Network{Name: "identity", Channels: 4, Resolution: 2, Weights: models.Synthetic(), Nodes: []models.Node{
		{Name: "cut", Op: models.Slice{From: 0, To: 4}, Inputs: []int{models.Image}},
		{Name: "sum", Op: models.Add{}, Inputs: []int{0, 0}},
	}}
	// A limit of 127 makes a step of 1.
	ranges := &models.Ranges{Limit: map[string]float32{models.InputName: 127, "cut": 127, "sum": 254}}
	s, err := b.engine.Build(t.Context(), n, b.stream, engines.BuildOptions{Precision: models.INT8, Batch: 1, Ranges: ranges, AllowEmulated: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	input := []float32{0.5, 1.5, 2.5, -0.5, -1.5, 0.49, 126.5, 127, 127.4, 400, -127.4, -128, -1e30, 3, float32(math.Copysign(0, -1)), 77.7}
	want := []float32{0, 2, 2, 0, -2, 0, 126, 127, 127, 127, -127, -127, -127, 3, 0, 78}
	got := b.infer(t, s.(*session), s.Call(), models.Tensor{Shape: models.Shape{1, 4, 2, 2}, Data: input})
	for i := range want {
		if got[i] != 2*want[i] {
			t.Errorf("%v is rounded to %v, want %v", input[i], got[i]/2, want[i])
		}
	}
}
