package tensorrt

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/engines/library"
	"genbench/engines/onnxruntime"
	"genbench/engines/reference"
	"genbench/hardware"
	"genbench/hardware/hardwaretest"
	"genbench/hardware/native"
	"genbench/models"
)

// A fake libnvinfer and parser: what is asked of them before the shim takes over.
const fakeLibraries = `
int getInferLibVersion(void) { return FAKE_VERSION; }
void *createInferBuilder_INTERNAL(void *logger, int version) { (void)logger; (void)version; return 0; }
void *createInferRuntime_INTERNAL(void *logger, int version) { (void)logger; (void)version; return 0; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { (void)network; (void)logger; (void)version; return 0; }
`

// fake puts a GPU, a TensorRT and a shim of doubles into the environment of a test.
// It needs ONNX Runtime, which computes what TensorRT would.
func fake(t *testing.T, flags ...string) {
	t.Helper()
	host, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	computes, err := onnxruntime.Driver().Open(t.Context(), host)
	var missing *engines.UnavailableError
	if errors.As(err, &missing) {
		t.Skipf("the fake TensorRT has nothing to compute with: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAKE_TRT_COMPUTES", computes.Info().Library)
	if err := computes.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv(hardware.CUDAEnv, hardwaretest.FakeCUDA(t))

	dir := t.TempDir()
	for _, name := range []string{"libnvinfer.so.10", "libnvonnxparser.so.10"} {
		hardwaretest.Compile(t, filepath.Join(dir, name), map[string][]byte{"fake.c": []byte(fakeLibraries)}, append([]string{"-DFAKE_VERSION=101600"}, flags...)...)
	}
	t.Setenv(LibraryEnv, filepath.Join(dir, "libnvinfer.so.10"))
	resource := filepath.Join(dir, "libnvinfer_builder_resource.so.10.16.0")
	hardwaretest.Compile(t, resource, map[string][]byte{"none.c": []byte("int none;\n")}, "-Wl,-soname,do_not_link_against_nvinfer_builder_resource")
	sources := hardwaretest.Sources(t, "testdata/fakeshim.c", "shim/abi.h", "../onnxruntime/api.h")
	t.Setenv(ShimEnv, hardwaretest.Compile(t, filepath.Join(dir, "libgenbench_trt10.so"), sources))
	t.Setenv(library.CacheEnv, t.TempDir())
}

// TestConformance holds the adapter to the contract, on the doubles or, where
// GENBENCH_REQUIRE names tensorrt, on the real ones.
func TestConformance(t *testing.T) {
	if !strings.Contains(os.Getenv(enginetest.RequireEnv), "tensorrt") {
		fake(t)
		// ONNX Runtime, which stands in, has no bf16; neither has a T4.
		t.Setenv("FAKE_CUDA_CAPABILITY", "75")
	}
	enginetest.Run(t, Driver())
}

func openFake(t *testing.T) (engines.Engine, hardware.Stream) {
	t.Helper()
	return enginetest.Open(t, Driver())
}

var small = engines.BuildOptions{Precision: models.FP32, Batch: 1, Threads: 1}

func TestPlanIsKept(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	network := enginetest.Miniatures()[0].Network
	var plans []engines.Plan
	for range 2 {
		s, err := engine.Build(t.Context(), network, stream, small)
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, *s.Executed().Plan)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if plans[0].Cached || !plans[1].Cached {
		t.Errorf("cached: %v, then %v", plans[0].Cached, plans[1].Cached)
	}
	if plans[0].SHA256 == "" || plans[0].SHA256 != plans[1].SHA256 || plans[0].TacticsDigest != plans[1].TacticsDigest {
		t.Errorf("the cached plan is another: %+v, then %+v", plans[0], plans[1])
	}
	s, err := engine.Build(t.Context(), network, stream, engines.BuildOptions{Precision: models.FP32, Batch: 2, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Executed().Plan.Cached {
		t.Error("another batch takes the same plan")
	}
}

// A file that holds no plan, such as a crash of the machine leaves, is built anew, once.
func TestDamagedPlanIsBuiltAnew(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	build := func() engines.Execution {
		t.Helper()
		s, err := engine.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, small)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Executed()
	}
	first := build()
	files, err := filepath.Glob(filepath.Join(os.Getenv(library.CacheEnv), "tensorrt-plans", "*.plan"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"", "not a plan", string(whole[:len(whole)-1])} {
		if err := os.WriteFile(files[0], []byte(damaged), 0o644); err != nil {
			t.Fatal(err)
		}
		if x := build(); x.Plan.Cached || x.Plan.SHA256 != first.Plan.SHA256 {
			t.Errorf("%q: %+v, want the plan %s built anew", damaged, x.Plan, first.Plan.SHA256)
		}
		if x := build(); !x.Plan.Cached {
			t.Errorf("%q: the new plan is not kept", damaged)
		}
	}
}

// The fake's context takes as much as inputs and outputs do.
func TestDeviceBytes(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	s, err := engine.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, small)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var ports int64
	in, out := s.(engines.Resident).Resident()
	for _, m := range slices.Concat(in, out) {
		ports += m.Bytes
	}
	files, err := filepath.Glob(filepath.Join(os.Getenv(library.CacheEnv), "tensorrt-plans", "*.plan"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	plan, err := cache{}.read(files[0])
	if err != nil || plan == nil {
		t.Fatal(plan, err)
	}
	if got, want := s.Executed().DeviceBytes, 2*ports+int64(len(plan)); got != want {
		t.Errorf("it holds %d bytes, want %d", got, want)
	}
	if _, err := s.(engines.Rotator).Rotate(1); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Executed().DeviceBytes, 2*ports+int64(len(plan))+2*in[0].Bytes; got != want {
		t.Errorf("with two more inputs it holds %d bytes, want %d", got, want)
	}
}

func TestTF32IsToldFromFP32(t *testing.T) {
	fake(t)
	engine, stream := openFake(t)
	for _, precision := range []models.Precision{models.TF32, models.FP32} {
		o := small
		o.Precision = precision
		s, err := engine.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, o)
		if err != nil {
			t.Fatal(err)
		}
		if x := s.Executed(); x.Precisions[string(precision)] == 0 || len(x.Precisions) != 1 || x.Plan.Cached {
			t.Errorf("built for %s, executed %v, plan %+v", precision, x.Precisions, x.Plan)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFaults(t *testing.T) {
	network := enginetest.Miniatures()[0].Network
	for fault, want := range map[string]string{"build": "stem.conv", "plan": "magic tag"} {
		t.Run(fault, func(t *testing.T) {
			fake(t)
			engine, stream := openFake(t)
			t.Setenv("FAKE_TRT_FAULT", fault)
			_, err := engine.Build(t.Context(), network, stream, small)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), network.Name) {
				t.Errorf("got %v, want the network and %q", err, want)
			}
		})
	}
	built := func(t *testing.T) (engines.Session, hardware.Stream) {
		t.Helper()
		fake(t)
		engine, stream := openFake(t)
		s, err := engine.Build(t.Context(), network, stream, small)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s, stream
	}
	t.Run("run", func(t *testing.T) {
		s, stream := built(t)
		t.Setenv("FAKE_TRT_FAULT", "run")
		err := stream.Time(s.Call(), make([]hardware.Sample, 2))
		var failed *native.CallError
		if !errors.As(err, &failed) || failed.Index != 0 {
			t.Fatalf("got %v", err)
		}
		if text := s.Explain(failed).Error(); !strings.Contains(text, "illegal memory access") {
			t.Errorf("the library's reason is lost: %s", text)
		}
	})
	t.Run("bind", func(t *testing.T) {
		s, stream := built(t)
		calls, err := s.(engines.Rotator).Rotate(1)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("FAKE_TRT_FAULT", "bind")
		var failed *native.CallError
		if err := stream.Time(calls[0], make([]hardware.Sample, 1)); !errors.As(err, &failed) {
			t.Fatalf("got %v", err)
		}
		if text := s.Explain(failed).Error(); !strings.Contains(text, "misaligned address") {
			t.Errorf("the library's reason is lost: %s", text)
		}
	})
	t.Run("lost device", func(t *testing.T) {
		fake(t)
		device, err := hardware.Open("0")
		if err != nil {
			t.Fatal(err)
		}
		defer device.Close() // which fails, as all does then
		engine, err := Driver().Open(t.Context(), device)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := device.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		s, err := engine.Build(t.Context(), network, stream, small)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("FAKE_CUDA_BREAK", "1")
		if err := stream.Time(s.Call(), make([]hardware.Sample, 1)); err == nil {
			t.Fatal("the device does not break")
		}
		_, err = engine.Build(t.Context(), network, stream, small)
		if err == nil || !strings.Contains(err.Error(), "cuCtxSetCurrent: CUDA_ERROR_LAUNCH_FAILED") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("out of memory", func(t *testing.T) {
		fake(t)
		t.Setenv("FAKE_CUDA_MEMORY", "16")
		engine, stream := openFake(t)
		_, err := engine.Build(t.Context(), network, stream, small)
		if err == nil || !strings.Contains(err.Error(), "CUDA_ERROR_OUT_OF_MEMORY") || !strings.Contains(err.Error(), models.InputName) {
			t.Errorf("got %v", err)
		}
	})
}

func TestUnavailable(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*testing.T)
		words   []string
	}{
		"no shim":                    {func(t *testing.T) { t.Setenv(ShimEnv, filepath.Join(t.TempDir(), "libgenbench_trt10.so")) }, []string{ShimEnv}},
		"a shim of another genbench": {func(t *testing.T) { t.Setenv("FAKE_TRT_FAULT", "abi") }, []string{"interface", "genbench setup tensorrt"}},
		"no library":                 {func(t *testing.T) { t.Setenv(LibraryEnv, filepath.Join(t.TempDir(), "libnvinfer.so.10")) }, []string{"libnvinfer.so.10", LibraryEnv}},
	} {
		t.Run(name, func(t *testing.T) {
			fake(t)
			c.prepare(t)
			expectUnavailable(t, c.words)
		})
	}
	t.Run("another major version", func(t *testing.T) {
		fake(t, "-UFAKE_VERSION", "-DFAKE_VERSION=8601")
		expectUnavailable(t, []string{"8.6.1", "wants 10"})
	})
	t.Run("older than the shim", func(t *testing.T) {
		fake(t, "-UFAKE_VERSION", "-DFAKE_VERSION=100001")
		expectUnavailable(t, []string{"10.0.1, older", "10.16.0", "--include"})
	})
}

func expectUnavailable(t *testing.T, words []string) {
	t.Helper()
	device, err := hardware.Open("0")
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	_, err = Driver().Open(context.Background(), device)
	var missing *engines.UnavailableError
	if !errors.As(err, &missing) || missing.Engine != "tensorrt" {
		t.Fatalf("got %v", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in %v", word, err)
		}
	}
}

func TestSupports(t *testing.T) {
	for capability, whys := range map[string]map[models.Precision]string{
		"70": {models.FP32: "", models.FP16: "", models.TF32: "8.0", models.BF16: "8.0", models.INT8: "", models.FP8: "fp8 needs sm_89 or newer"},
		"86": {models.TF32: "", models.BF16: "", models.FP8: "this GPU has 8.6"},
		"89": {models.FP8: ""},
	} {
		t.Run(capability, func(t *testing.T) {
			fake(t)
			t.Setenv("FAKE_CUDA_CAPABILITY", capability)
			engine, stream := openFake(t)
			for precision, why := range whys {
				o := small // without ranges: a plan is made before a calibration
				o.Precision = precision
				err := engine.Supports(o)
				if (err == nil) != (why == "") || err != nil && !strings.Contains(err.Error(), why) {
					t.Errorf("%s: %v, want %q", precision, err, why)
				}
				if !precision.Calibrated() || why != "" {
					continue
				}
				_, err = engine.Build(t.Context(), enginetest.Miniatures()[0].Network, stream, o)
				if words := string(precision) + " needs the ranges"; err == nil || !strings.Contains(err.Error(), words) {
					t.Errorf("built without ranges: %v, want %q", err, words)
				}
			}
		})
	}
}

// An fp8 model is built as it is, and what the layers are inspected to run in is told.
func TestFP8(t *testing.T) {
	fake(t)
	t.Setenv("FAKE_CUDA_CAPABILITY", "89")
	engine, stream := openFake(t)
	c := enginetest.Miniatures()[0]
	host, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	yardstick, err := reference.Driver().Open(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	calibration, err := models.NewCalibration(c.Network, models.CalibrationOptions{Method: models.MinMax})
	if err != nil {
		t.Fatal(err)
	}
	var want []float32 // the last node's values
	if err := yardstick.(engines.Observer).Observe(t.Context(), c.Network, c.Input(1), func(node string, values []float32) error {
		want = slices.Clone(values)
		return calibration.See(node, values)
	}); err != nil {
		t.Fatal(err)
	}
	o := small
	o.Precision = models.FP8
	if o.Ranges, err = calibration.Ranges(); err != nil {
		t.Fatal(err)
	}
	s, err := engine.Build(t.Context(), c.Network, stream, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := errors.Join(s.SetInput(c.Input(1)), stream.Time(s.Call(), make([]hardware.Sample, 1))); err != nil {
		t.Fatal(err)
	}
	got, err := s.Output()
	if err != nil {
		t.Fatal(err)
	}
	var off, all float64
	for i, v := range want {
		off, all = off+math.Pow(float64(got.Data[i]-v), 2), all+float64(v)*float64(v)
	}
	if off = math.Sqrt(off / all); !(off > 0.001 && off < 0.15) {
		t.Errorf("off from fp32 by %.4f of the root mean square, want what rounding to fp8 costs", off)
	}
	if x := s.Executed(); x.Precisions["fp8"] == 0 || len(x.Precisions) != 1 {
		t.Errorf("executed %v", x.Precisions)
	}
}
