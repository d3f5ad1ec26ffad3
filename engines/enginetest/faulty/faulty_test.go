package faulty_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"genbench/engines"
	"genbench/engines/enginetest"
	"genbench/engines/enginetest/faulty"
	"genbench/hardware"
	"genbench/hardware/native"
	"genbench/models"
)

// victimEnv makes this test binary run one inference of the named fake.
const victimEnv = "GENBENCH_TEST_FAULT"

func TestMain(m *testing.M) {
	name := os.Getenv(victimEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := runOnce(name); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func driver(name string) engines.Driver {
	drivers := faulty.Drivers()
	return drivers[slices.IndexFunc(drivers, func(d engines.Driver) bool { return d.Name == name })]
}

func session(name string, batch int) (engines.Session, hardware.Stream, error) {
	device, err := hardware.NewHost()
	if err != nil {
		return nil, nil, err
	}
	stream, err := device.NewStream()
	if err != nil {
		return nil, nil, err
	}
	engine, err := driver(name).Open(context.Background(), device)
	if err != nil {
		return nil, nil, err
	}
	c := enginetest.Miniatures()[0]
	s, err := engine.Build(context.Background(), c.Network, stream, engines.BuildOptions{Precision: models.FP32, Batch: batch, Threads: 1})
	if err != nil {
		return nil, nil, err
	}
	return s, stream, s.SetInput(c.Input(batch))
}

func runOnce(name string) error {
	s, stream, err := session(name, 1)
	if err != nil {
		return err
	}
	os.Stderr.WriteString("about to run\n")
	err = stream.Time(s.Call(), make([]hardware.Sample, 1))
	var failed *native.CallError
	if errors.As(err, &failed) {
		return s.Explain(failed)
	}
	return err
}

// victim runs a fake in a process of its own.
func victim(t *testing.T, name string, limit time.Duration) (stdout, stderr string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), victimEnv+"="+name)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.String(), errs.String(), err
}

func TestSpinIsAnHonestEngine(t *testing.T) { enginetest.Run(t, driver("fake-spin")) }

func TestSpinTakesItsTime(t *testing.T) {
	for _, batch := range []int{1, 4} {
		s, stream, err := session("fake-spin", batch)
		if err != nil {
			t.Fatal(err)
		}
		samples := make([]hardware.Sample, 20)
		if err := stream.Time(s.Call(), samples); err != nil {
			t.Fatal(err)
		}
		fastest := slices.MinFunc(samples, func(a, b hardware.Sample) int { return int(a.Host - b.Host) })
		want := int64(batch) * faulty.PerImage.Nanoseconds()
		if fastest.Host < want || fastest.Host > want+want/5 {
			t.Errorf("batch %d: the fastest of 20 took %d ns, want %d", batch, fastest.Host, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNoise(t *testing.T) {
	stdout, stderr, err := victim(t, "fake-noise", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{stdout, stderr} {
		for _, when := range []string{"the build", "the first inference"} {
			if !strings.Contains(text, when) {
				t.Errorf("no chatter from %s in %q", when, text)
			}
		}
	}
}

func TestCrash(t *testing.T) {
	_, stderr, err := victim(t, "fake-crash", time.Minute)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(stderr, "about to run") || !strings.Contains(stderr, "SIGSEGV") {
		t.Errorf("got %v and %q", err, stderr)
	}
}

func TestHang(t *testing.T) {
	_, stderr, err := victim(t, "fake-hang", 3*time.Second)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(stderr, "about to run") {
		t.Errorf("got %v and %q", err, stderr)
	}
}

func TestExit(t *testing.T) {
	_, stderr, err := victim(t, "fake-exit", time.Minute)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != faulty.ExitStatus || !strings.Contains(stderr, "about to run") {
		t.Errorf("got %v and %q", err, stderr)
	}
}

func TestOutOfMemory(t *testing.T) {
	_, stderr, err := victim(t, "fake-oom", time.Minute)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(stderr, "about to run") || !strings.Contains(stderr, "out of memory") {
		t.Errorf("got %v and %q", err, stderr)
	}
}

func TestBuild(t *testing.T) {
	_, _, err := session("fake-build", 1)
	if err == nil || !strings.Contains(err.Error(), faulty.BuildNode) || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("got %v", err)
	}
}

// TestDefer finds the work where it was put: in reading the output.
func TestDefer(t *testing.T) {
	s, stream, err := session("fake-defer", 4)
	if err != nil {
		t.Fatal(err)
	}
	samples := make([]hardware.Sample, 10)
	start := time.Now()
	if err := stream.Time(s.Call(), samples); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Output(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	want := 10 * 4 * faulty.PerImage
	var timed time.Duration
	for _, one := range samples {
		timed += time.Duration(one.Host)
	}
	if took < want || timed > want/2 {
		t.Errorf("10 inferences of %v took %v, of which their calls %v", 4*faulty.PerImage, took, timed)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestFail(t *testing.T) {
	s, stream, err := session("fake-fail", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = stream.Time(s.Call(), make([]hardware.Sample, 3))
	var failed *native.CallError
	if !errors.As(err, &failed) || failed.Index != 0 || failed.Code != faulty.FailCode {
		t.Fatalf("got %v", err)
	}
	if text := s.Explain(failed).Error(); !strings.Contains(text, "fake-fail") || !strings.Contains(text, "on purpose") {
		t.Errorf("explained as %q", text)
	}
}

func TestWrong(t *testing.T) {
	var outputs [2]models.Tensor
	for i, name := range []string{"fake-spin", "fake-wrong"} {
		s, _, err := session(name, 1)
		if err != nil {
			t.Fatal(err)
		}
		if outputs[i], err = s.Output(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for i, v := range outputs[0].Data {
		if v == 0 || outputs[1].Data[i] != -v {
			t.Errorf("logit %d: %v of fake-wrong, %v of fake-spin", i, outputs[1].Data[i], v)
		}
	}
}

func TestMissing(t *testing.T) {
	_, _, err := session("fake-missing", 1)
	var missing *engines.UnavailableError
	if !errors.As(err, &missing) || missing.Engine != "fake-missing" {
		t.Errorf("got %v", err)
	}
}
