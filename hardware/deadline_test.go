package hardware

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"genbench/hardware/hardwaretest"
)

// A slowSampler answers after a while, with the number of the call as its time.
type slowSampler struct {
	takes  []time.Duration // one a call; the last goes on
	calls  int
	closed bool
	err    error
	gpuSampler
}

func (s *slowSampler) Sample() (Reading, error) {
	takes := s.takes[min(s.calls, len(s.takes)-1)]
	s.calls++
	call := s.calls
	time.Sleep(takes)
	return Reading{Time: int64(call)}, s.err
}

func (s *slowSampler) Close() error { s.closed = true; return nil }

// inBubble runs a test on a virtual clock, which WithDeadline reads, too.
func inBubble(t *testing.T, slow *slowSampler, test func(w *deadlineSampler)) {
	synctest.Test(t, func(t *testing.T) {
		w := WithDeadline(slow, time.Second).(*deadlineSampler)
		w.now = func() int64 { return time.Now().UnixNano() }
		test(w)
	})
}

func TestWithDeadline(t *testing.T) {
	slow := &slowSampler{takes: []time.Duration{0, 900 * time.Millisecond, 10 * time.Second, 0}}
	inBubble(t, slow, func(w *deadlineSampler) {
		for i, want := range []struct {
			call int64 // whose answer it is; 0 is none
			took time.Duration
			why  string
		}{
			{1, 0, ""},
			{2, 900 * time.Millisecond, ""},
			{0, time.Second, "has not returned for 1s"},
			{0, 0, "has not returned for 1s"},
		} {
			start := time.Now()
			got, err := w.Sample()
			if err != nil || time.Since(start) != want.took {
				t.Fatalf("sample %d took %v, %v; want %v", i, time.Since(start), err, want.took)
			}
			if want.call != 0 {
				if got.Time != want.call || got.GPU != nil {
					t.Errorf("sample %d is %+v, want that of call %d", i, got, want.call)
				}
				continue
			}
			b, err := json.Marshal(got.GPU)
			if err != nil {
				t.Fatal(err)
			}
			var fields map[string]any
			if err := json.Unmarshal(b, &fields); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"sm_clock_mhz", "power_w", "foreign_processes"} {
				if why, _ := fields[key+"_reason"].(string); fields[key] != nil || !strings.Contains(why, want.why) {
					t.Errorf("sample %d: %s is %v because %q, want null because %q", i, key, fields[key], why, want.why)
				}
			}
		}
		time.Sleep(20 * time.Second)
		// The answer of the third call has come meanwhile and is of no use.
		if got, err := w.Sample(); err != nil || got.Time != 4 {
			t.Errorf("after the hang: %+v, %v; want call 4", got, err)
		}
		slow.err = errors.New("lost")
		if _, err := w.Sample(); err == nil || err.Error() != "lost" {
			t.Errorf("error is %v, want the sampler's", err)
		}
		if err := errors.Join(w.Close(), w.Close()); err != nil || !slow.closed {
			t.Errorf("close: %v, closed is %t", err, slow.closed)
		}
		if _, err := w.Sample(); err == nil {
			t.Error("a closed sampler samples")
		}
	})
}

func TestWithDeadlineCloses(t *testing.T) {
	for _, c := range []struct {
		hang   time.Duration
		closed bool
	}{{1500 * time.Millisecond, true}, {time.Minute, false}} {
		slow := &slowSampler{takes: []time.Duration{c.hang}}
		inBubble(t, slow, func(w *deadlineSampler) {
			if _, err := w.Sample(); err != nil {
				t.Fatal(err)
			}
			err := w.Close()
			if (err == nil) != c.closed || slow.closed != c.closed {
				t.Errorf("a hang of %v: error is %v, closed is %t; want %t", c.hang, err, slow.closed, c.closed)
			}
			time.Sleep(time.Hour) // its goroutine ends when the call does
		})
	}
}

func TestBlankReadings(t *testing.T) {
	host := (&hostSampler{}).blank("asleep").Host
	gpu := (&gpuSampler{}).blank("asleep").GPU
	if len(host.Reasons) != 8 || len(gpu.Reasons) != 12 || host.Reasons["busy_s"] != "asleep" || gpu.Reasons["energy_j"] != "asleep" {
		t.Errorf("reasons are %v and %v, want one for each field", host.Reasons, gpu.Reasons)
	}
}

const hangChildKey = "GENBENCH_TEST_HANG"

// TestHangChild is the process in which the fake is opened.
func TestHangChild(t *testing.T) {
	path, isChild := os.LookupEnv(hangChildKey)
	if !isChild {
		t.Skip("runs as the child of TestDriverHangs")
	}
	later := os.Getenv("FAKE_NVML_LATER")
	n, err := OpenNVML(path)
	if err != nil {
		t.Fatal(err)
	}
	real, err := NewNVMLSampler(n, "GPU-fake-0", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := WithDeadline(real, 50*time.Millisecond)
	says := func(text string) {
		t.Helper()
		if err := os.WriteFile(later, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	says("0")
	if r, err := s.Sample(); err != nil || r.GPU.PowerW == nil {
		t.Fatalf("before: %+v, %v", r, err)
	}
	says("hang")
	for range 2 {
		if r, err := s.Sample(); err != nil || r.Time == 0 || r.GPU.PowerW != nil || !strings.Contains(r.GPU.Reasons["power_w"], "has not returned") {
			t.Fatalf("while it hangs: %+v, %v", r.GPU, err)
		}
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "left to hang") {
		t.Errorf("close while it hangs: %v", err)
	}
	says("15")
	if _, err := WithDeadline(real, time.Minute).Sample(); !errors.Is(err, ErrGPULost) {
		t.Errorf("error is %v, want ErrGPULost", err)
	}
}

// A driver that stops answering costs readings, not the run.
func TestDriverHangs(t *testing.T) {
	fake := hardwaretest.FakeNVML(t)
	child := exec.Command(os.Args[0], "-test.run=^TestHangChild$")
	child.Env = append(os.Environ(), hangChildKey+"="+fake, "FAKE_NVML_LATER="+filepath.Join(t.TempDir(), "later"), "GORACE=atexit_sleep_ms=0")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
