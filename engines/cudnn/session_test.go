package cudnn

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/cudnn/cudnntest"
	"genbench/engines/enginetest"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/hardware/hardwaretest"
	"genbench/hardware/native"
	"genbench/models"
)

// A bench is the engine on doubles of the driver and of cuDNN.
type bench struct {
	engine *engine
	stream *hardware.CUDAStream
}

// fakes sets settings, which are pairs of a variable and its value, and gives the
// device of a fake driver.
func fakes(t *testing.T, settings ...string) hardware.Device {
	t.Helper()
	t.Setenv(hardware.CUDAEnv, hardwaretest.FakeCUDA(t))
	t.Setenv(Env, cudnntest.Fake(t))
	for i := 0; i < len(settings); i += 2 {
		t.Setenv(settings[i], settings[i+1])
	}
	device, err := hardware.Open("0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() }) // a broken one says so here
	return device
}

func newBench(t *testing.T, settings ...string) bench {
	t.Helper()
	device := fakes(t, settings...)
	e, err := Driver().Open(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := device.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stream.Close()
		e.Close()
	})
	return bench{e.(*engine), stream.(*hardware.CUDAStream)}
}

func (b bench) build(t *testing.T, n *models.Network, p models.Precision, batch int) *session {
	t.Helper()
	s, err := b.engine.Build(t.Context(), n, b.stream, engines.BuildOptions{Precision: p, Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*session)
}

func (b bench) infer(t *testing.T, s *session, call native.Call, input models.Tensor) []float32 {
	t.Helper()
	if err := s.SetInput(input); err != nil {
		t.Fatal(err)
	}
	if err := b.stream.Time(call, make([]hardware.Sample, 1)); err != nil {
		t.Fatal(err)
	}
	out, err := s.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out.Data
}

func expected(t *testing.T, n *models.Network, input models.Tensor) []float32 {
	t.Helper()
	host, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := host.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	e, err := reference.Driver().Open(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Build(t.Context(), n, stream, engines.BuildOptions{Precision: models.FP32, Batch: input.Shape[0], Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetInput(input); err != nil {
		t.Fatal(err)
	}
	if err := stream.Time(s.Call(), make([]hardware.Sample, 1)); err != nil {
		t.Fatal(err)
	}
	out, err := s.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out.Data
}

// near allows a fraction of the root mean square.
func near(t *testing.T, got, want []float32, limit float64) {
	t.Helper()
	var squares float64
	for _, v := range want {
		squares += float64(v) * float64(v)
	}
	allowed := limit * math.Sqrt(squares/float64(len(want)))
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= allowed) {
			t.Errorf("element %d is %v, want %v ± %v", i, got[i], want[i], allowed)
			return
		}
	}
}

// The conformance suite sees the layout that is faster, with plans of the graph API
// where there are any; here each layout has to do alone, with plans and without, and
// with every way of computing what cuDNN refuses to fuse.
func TestEveryLayoutAndFallback(t *testing.T) {
	cases := slices.Concat(enginetest.Blocks(), enginetest.Miniatures())
	for _, c := range []struct {
		graph, setting, value, note string
	}{
		{"0", "FAKE_CUDNN_NO_FUSED", "0", "graph plan eng12,"},
		{"1", "FAKE_CUDNN_NO_FUSED", "0", "implicit_precomp_gemm"},
		{"1", "FAKE_CUDNN_NO_FUSED", "1", "not fused"},
		{"1", "FAKE_CUDNN_NO_FUSED", "2", "not fused"},
		{"1", "FAKE_CUDNN_NO_GEMM", "1", "not fused"},
	} {
		t.Run("GRAPH="+c.graph+","+c.setting+"="+c.value, func(t *testing.T) {
			b := newBench(t, c.setting, c.value, "FAKE_CUDNN_GRAPH", c.graph)
			for _, l := range []layout{nchw, nhwc} {
				noted := false
				b.engine.layouts = []layout{l}
				for _, n := range cases {
					s := b.build(t, n.Network, models.FP32, 2)
					near(t, b.infer(t, s, s.Call(), n.Input(2)), expected(t, n.Network, n.Input(2)), 1e-4)
					if s.layout != l {
						t.Errorf("built in %s, want %s", s.layout, l)
					}
					noted = noted || strings.Contains(strings.Join(s.Executed().Choices, "\n"), c.note)
				}
				if !noted {
					t.Errorf("no session in %s says %q", l, c.note)
				}
			}
		})
	}
}

func TestFasterLayoutIsKept(t *testing.T) {
	n := enginetest.Miniatures()[0].Network
	for _, c := range []struct {
		setting, value string
		precision      models.Precision
		want           layout
	}{
		{"FAKE_CUDNN_NO_LAYOUT", "-1", models.FP16, nhwc}, // by the fake's clock
		{"FAKE_CUDNN_NO_LAYOUT", "1", models.FP16, nchw},
		{"FAKE_CUDNN_NO_LAYOUT", "0", models.FP32, nhwc},
	} {
		b := newBench(t, c.setting, c.value)
		// Whichever is tried first.
		for range 2 {
			slices.Reverse(b.engine.layouts)
			if s := b.build(t, n, c.precision, 8); s.layout != c.want {
				t.Errorf("%s=%s, %s: built in %s", c.setting, c.value, c.precision, s.layout)
			}
		}
	}
}

// Where there is room for one layout only, that one is the session's.
func TestRoomForOneLayout(t *testing.T) {
	n := enginetest.Miniatures()[0].Network
	b := newBench(t, "FAKE_CUDNN_GRAPH", "1") // plans want less than algorithms are measured in
	room := b.build(t, n, models.FP32, 1).Executed().DeviceBytes + 8*alignment
	b = newBench(t, "FAKE_CUDA_MEMORY", strconv.FormatInt(room, 10))
	s := b.build(t, n, models.FP32, 1)
	if s.layout != b.engine.layouts[0] || !strings.Contains(strings.Join(s.Executed().Choices, "\n"), "CUDA_ERROR_OUT_OF_MEMORY") {
		t.Errorf("built in %s: %q", s.layout, s.Executed().Choices)
	}
}

func TestGraphOfASession(t *testing.T) {
	b := newBench(t)
	c := enginetest.Miniatures()[1]
	s := b.build(t, c.Network, models.FP16, 2)
	eager := b.infer(t, s, s.Call(), c.Input(2))
	graph, err := b.stream.Capture(s.Call())
	if err != nil {
		t.Fatal(err)
	}
	other := c.Input(2)
	for i := range other.Data {
		other.Data[i] = -other.Data[i]
	}
	if got := b.infer(t, s, s.Call(), other); slices.Equal(got, eager) {
		t.Error("another input gives the same output")
	}
	if got := b.infer(t, s, graph.Call(), c.Input(2)); !slices.Equal(got, eager) {
		t.Error("a replay gives another output")
	}
	if err := errors.Join(graph.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

// cuDNN measures its default arithmetic beside what it was asked for: in fp32 that is
// tf32 where there is such a thing, whose times say nothing; elsewhere it is as good as
// the other. A choice names the algorithm of every convolution, and runs as it was
// measured, which the double insists on.
func TestAlgorithmOfItsOwnArithmetic(t *testing.T) {
	c := enginetest.Miniatures()[1]
	for _, row := range []struct {
		capability string
		precision  models.Precision
		want       string
		limit      float64
	}{
		{"80", models.FP32, "winograd_nonfused", 1e-4},
		{"80", models.FP16, "gemm", 0.02},
		{"75", models.FP32, "gemm", 1e-4},
	} {
		b := newBench(t, "FAKE_CUDA_CAPABILITY", row.capability)
		s := b.build(t, c.Network, row.precision, 1)
		choices := s.Executed().Choices
		if !slices.ContainsFunc(choices, func(c string) bool { return strings.HasPrefix(c, "block1.b.conv: "+row.want+",") }) {
			t.Errorf("%s at %s: no %s for block1.b.conv in %q", row.precision, row.capability, row.want, choices)
		}
		near(t, b.infer(t, s, s.Call(), c.Input(1)), expected(t, c.Network, c.Input(1)), row.limit)
	}
}

func TestSupportsByCapability(t *testing.T) {
	for capability, want := range map[string][]models.Precision{
		"70": {models.FP32, models.FP16, models.INT8},
		"75": {models.FP32, models.FP16, models.INT8},
		"80": {models.FP32, models.TF32, models.FP16, models.BF16, models.INT8},
		"89": {models.FP32, models.TF32, models.FP16, models.BF16, models.INT8},
		"90": {models.FP32, models.TF32, models.FP16, models.BF16, models.INT8, models.FP8},
	} {
		b := newBench(t, "FAKE_CUDA_CAPABILITY", capability)
		for _, p := range models.Precisions() {
			err := b.engine.Supports(engines.BuildOptions{Precision: p.Name, Batch: 1})
			if (err == nil) != slices.Contains(want, p.Name) {
				t.Errorf("%s, %s: %v", capability, p.Name, err)
			}
		}
	}
}

func TestUnavailable(t *testing.T) {
	for name, c := range map[string]struct {
		flags    []string
		settings []string
		words    []string
	}{
		"too old":          {settings: []string{"FAKE_CUDNN_VERSION", "8600"}, words: []string{"cuDNN 8.6.0", "8.9.0"}},
		"a missing symbol": {flags: []string{"-DcudnnSoftmaxForward=gone"}, words: []string{"cudnnSoftmaxForward"}},
		"too new for the driver": {
			settings: []string{"FAKE_CUDNN_CUDART", "13000", "FAKE_CUDA_DRIVER", "12040"},
			words:    []string{"CUDA 13", "CUDA 12.4", "package for CUDA 12"},
		},
		"for newer GPUs": {
			settings: []string{"FAKE_CUDNN_VERSION", "91100", "FAKE_CUDA_CAPABILITY", "70"},
			words:    []string{"cuDNN 9.11.0", "compute capability 7.0"},
		},
		"for a CUDA of newer GPUs": {
			settings: []string{"FAKE_CUDNN_CUDART", "13000", "FAKE_CUDA_CAPABILITY", "70"},
			words:    []string{"CUDA 13", "compute capability 7.0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			device := fakes(t, c.settings...)
			t.Setenv(Env, cudnntest.Fake(t, c.flags...))
			_, err := Driver().Open(t.Context(), device)
			var missing *engines.UnavailableError
			if !errors.As(err, &missing) {
				t.Fatalf("got %v", err)
			}
			for _, word := range append(c.words, Env) {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is not in: %v", word, err)
				}
			}
		})
	}
}

// The same release for another CUDA is another library.
func TestVersionNamesItsCUDA(t *testing.T) {
	for cudart, want := range map[string]string{"12090": "9.0.0+cuda12", "11080": "9.0.0+cuda11"} {
		if got := newBench(t, "FAKE_CUDNN_CUDART", cudart).engine.Info().Version; got != want {
			t.Errorf("made for CUDA %s: version %s, want %s", cudart, got, want)
		}
	}
}

// A V100, a T4, an A100 and an H100 under the drivers that they are found with.
func TestHint(t *testing.T) {
	for _, c := range []struct{ capability, driver, want string }{
		{"70", "12040", "nvidia-cudnn-cu12 9.10.2.21"},
		{"70", "13000", "nvidia-cudnn-cu12 9.10.2.21"},
		{"75", "12020", "nvidia-cudnn-cu12 9.28.0.42"},
		{"80", "11080", "nvidia-cudnn-cu11 9.10.2.21"},
		{"90", "13000", "nvidia-cudnn-cu13 9.28.1.4"},
		{"120", "11080", "update the driver"},
	} {
		device := fakes(t, "FAKE_CUDA_CAPABILITY", c.capability, "FAKE_CUDA_DRIVER", c.driver)
		if got := hint(device.(*hardware.CUDADevice).Details()); !strings.Contains(got, c.want) {
			t.Errorf("capability %s, driver %s: %s", c.capability, c.driver, got)
		}
	}
}

func TestKernelsNotCompiled(t *testing.T) {
	device := fakes(t, "FAKE_CUDA_JIT", "222")
	_, err := Driver().Open(t.Context(), device)
	if err == nil || !strings.Contains(err.Error(), "CUDA_ERROR_UNSUPPORTED_PTX_VERSION") {
		t.Errorf("got %v", err)
	}
}

func TestBuildFailures(t *testing.T) {
	for name, c := range map[string]struct{ settings, words []string }{
		"no handle":         {[]string{"FAKE_CUDNN_CREATE", "3007"}, []string{"cudnnCreate", "ARCH_MISMATCH (3007)", "without libcublasLt.so.12", "genbench setup cudnn"}},
		"no algorithm":      {[]string{"FAKE_CUDNN_FIND", "3000"}, []string{"stem.conv", "cudnnFindConvolutionForwardAlgorithmEx", "NOT_SUPPORTED", "NHWC", "NCHW"}},
		"no convolution":    {[]string{"FAKE_CUDNN_RUN", "5000"}, []string{"stem.conv", "cudnnConvolutionForward", "EXECUTION_FAILED"}},
		"no launch":         {[]string{"FAKE_CUDA_LAUNCH", "701"}, []string{"stem.conv", "cuLaunchKernel", "LAUNCH_OUT_OF_RESOURCES"}},
		"a launch error":    {[]string{"FAKE_CUDA_BREAK", "1"}, []string{"CUDA_ERROR_LAUNCH_FAILED"}},
		"a lost device":     {[]string{"FAKE_CUDA_BREAK", "1", "FAKE_CUDA_CODE", "999"}, []string{"CUDA_ERROR_UNKNOWN", "xid"}},
		"no memory at all":  {[]string{"FAKE_CUDA_MEMORY", "1000"}, []string{"memory for activations", "CUDA_ERROR_OUT_OF_MEMORY", "smaller batch"}},
		"no scratch memory": {[]string{"FAKE_CUDA_MEMORY", "500000"}, []string{"CUDA_ERROR_OUT_OF_MEMORY", "smaller batch"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			network := enginetest.Miniatures()[1].Network // its first activation is a kernel
			for i := 0; i < len(c.settings); i += 2 {
				t.Setenv(c.settings[i], c.settings[i+1])
			}
			_, err := b.engine.Build(t.Context(), network, b.stream, engines.BuildOptions{Precision: models.FP32, Batch: 1})
			if err == nil {
				t.Fatal("it builds")
			}
			for _, word := range append(c.words, network.Name) {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is not in: %v", word, err)
				}
			}
		})
	}
}

func TestRunFailures(t *testing.T) {
	c := enginetest.Miniatures()[1]
	for name, f := range map[string]struct {
		settings, words []string
		call            bool   // the call itself fails
		graph           string // FAKE_CUDNN_GRAPH
	}{
		"a refused plan":        {[]string{"FAKE_CUDNN_RUN", "5000"}, []string{"stem.conv", "cudnnBackendExecute", "EXECUTION_FAILED"}, true, "0"},
		"a refused convolution": {[]string{"FAKE_CUDNN_RUN", "5000"}, []string{"stem.conv", "cudnnConvolutionForward", "EXECUTION_FAILED"}, true, "1"},
		"a refused launch":      {[]string{"FAKE_CUDA_LAUNCH", "701"}, []string{"stem.conv", "cuLaunchKernel", "LAUNCH_OUT_OF_RESOURCES"}, true, "1"},
		"a launch error":        {[]string{"FAKE_CUDA_BREAK", "1"}, []string{"cuStreamSynchronize", "CUDA_ERROR_LAUNCH_FAILED"}, false, "1"},
		"a lost device":         {[]string{"FAKE_CUDA_BREAK", "1", "FAKE_CUDA_CODE", "999"}, []string{"cuStreamSynchronize", "CUDA_ERROR_UNKNOWN"}, false, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "FAKE_CUDNN_GRAPH", f.graph)
			s := b.build(t, c.Network, models.FP32, 1)
			for i := 0; i < len(f.settings); i += 2 {
				t.Setenv(f.settings[i], f.settings[i+1])
			}
			err := b.stream.Time(s.Call(), make([]hardware.Sample, 2))
			var failed *native.CallError
			if errors.As(err, &failed) != f.call {
				t.Fatalf("got %v", err)
			}
			if f.call {
				if err = s.Explain(failed); !errors.Is(err, failed) {
					t.Errorf("the explanation loses the error: %v", err)
				}
			}
			for _, word := range f.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is not in: %v", word, err)
				}
			}
		})
	}
}

// What a session held is free when it is closed: there is room for a few at a time.
func TestSessionsGiveMemoryBack(t *testing.T) {
	b := newBench(t, "FAKE_CUDA_MEMORY", "4000000")
	n := enginetest.Miniatures()[0].Network
	for range 20 {
		s := b.build(t, n, models.FP32, 1)
		if held := s.Executed().DeviceBytes; held <= 0 || held > 2_000_000 {
			t.Fatalf("a session says it holds %d bytes", held)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.engine.Build(ctx, n, b.stream, engines.BuildOptions{Precision: models.FP32, Batch: 1}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	memory, err := b.engine.device.Alloc(3_900_000)
	if err != nil {
		t.Fatal("closed sessions hold memory:", err)
	}
	if err := b.engine.device.Free(memory); err != nil {
		t.Error(err)
	}
}

// A session that is closed after a failure has work in the stream still.
func TestCloseWaits(t *testing.T) {
	b := newBench(t)
	conv := models.Conv{In: 4, Out: 4, KernelH: 1, KernelW: 1, Stride: 1, Dilation: 1, Groups: 1}
	s := b.build(t, &models.Network{Name: "waits", Channels: 4, Resolution: 2, Weights: models.Synthetic(), Nodes: []models.Node{
		{Name: "conv", Op: conv, Inputs: []int{models.Image}},
		{Name: "relu", Op: models.Activation{Func: models.ReLU}, Inputs: []int{0}},
		{Name: "swish", Op: models.Activation{Func: models.HardSwish}, Inputs: []int{1}},
	}}, models.FP32, 1)
	t.Setenv("FAKE_CUDA_LAUNCH", "701")
	var failed *native.CallError
	err := b.stream.Time(s.Call(), make([]hardware.Sample, 1))
	if choices := strings.Join(s.Executed().Choices, "\n"); !errors.As(err, &failed) || !strings.Contains(choices, "conv: graph plan") {
		t.Fatalf("got %v, want a launch that fails behind a plan: %s", err, choices)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestForeignStream(t *testing.T) {
	b := newBench(t)
	other, err := hardware.Open("0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	stream, err := other.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := b.engine.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, engines.BuildOptions{Precision: models.FP32, Batch: 1}); err == nil {
		t.Error("it builds on a stream of another context")
	}
}
