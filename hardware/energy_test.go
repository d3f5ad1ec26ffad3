package hardware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"genbench/hardware/hardwaretest"
)

// A fakeSupply is a device on a virtual clock: it takes a power that its counter
// shows in ticks, and its power meter reads what it is told to.
type fakeSupply struct {
	at     int64   // ns
	watts  float64 // taken
	tick   time.Duration
	meter  func(at int64) (float64, error)
	stands int64 // when the counter stops counting; 0 is never
}

func (s *fakeSupply) energyMeter() *EnergyMeter {
	return &EnergyMeter{
		device: "a fake",
		joules: func() (float64, error) {
			s.at += 20_000 // what a look costs
			at := s.at
			if s.stands != 0 {
				at = min(at, s.stands)
			}
			return float64(at/s.tick.Nanoseconds()) * s.tick.Seconds() * s.watts, nil
		},
		watts:   func() (float64, error) { return s.meter(s.at) },
		celsius: func() (float64, error) { return 40 + float64(s.at)/1e9, nil },
		poll:    100 * time.Microsecond,
		now:     func() int64 { return s.at },
		sleep: func(ctx context.Context, d time.Duration) error {
			s.at += d.Nanoseconds()
			return ctx.Err()
		},
	}
}

func constant(watts float64) func(int64) (float64, error) {
	return func(int64) (float64, error) { return watts, nil }
}

func TestEnergyMeter(t *testing.T) {
	for _, c := range []struct {
		name    string
		supply  fakeSupply
		atLeast time.Duration
		seconds float64
		gross   float64
		suspect bool
	}{
		{"the time is longer", fakeSupply{watts: 200, tick: 20 * time.Millisecond, meter: constant(201)}, 10 * time.Second, 10, 2000, false},
		{"a hundred ticks are longer", fakeSupply{watts: 200, tick: 100 * time.Millisecond, meter: constant(200)}, time.Second, 10, 2000, false},
		{"quick ticks", fakeSupply{watts: 50, tick: time.Millisecond, meter: constant(50)}, time.Second, 1, 50, false},
		{"counter below the power", fakeSupply{watts: 200, tick: 20 * time.Millisecond, meter: constant(212)}, 4 * time.Second, 4, 800, true},
		{"counter above the power", fakeSupply{watts: 200, tick: 20 * time.Millisecond, meter: constant(188)}, 4 * time.Second, 4, 800, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := c.supply.energyMeter()
			w, err := m.Measure(t.Context(), c.atLeast)
			if err != nil {
				t.Fatal(err)
			}
			tick := float64(c.supply.tick.Nanoseconds())
			// Up to the tick that follows.
			if w.Seconds() < c.seconds-1e-3 || w.Seconds() > c.seconds+2*tick/1e9 || math.Abs(w.Ticks*tick/1e9/w.Seconds()-1) > 0.01 {
				t.Errorf("%g s, %g ticks; want %g s", w.Seconds(), w.Ticks, c.seconds)
			}
			if math.Abs(float64(w.PeriodNS)/tick-1) > 0.15 {
				t.Errorf("the period is learned as %d ns, want %g", w.PeriodNS, tick)
			}
			if math.Abs(w.MeanW()/c.supply.watts-1) > 0.005 || math.Abs(w.GrossJ-c.gross)/c.gross > 0.03 {
				t.Errorf("%g J, %g W; want %g J, %g W", w.GrossJ, w.MeanW(), c.gross, c.supply.watts)
			}
			meter, _ := c.supply.meter(0)
			if w.Suspect != c.suspect || w.CrossCheckPct == nil || math.Abs(*w.CrossCheckPct-100*(meter/c.supply.watts-1)) > 0.5 {
				t.Errorf("cross check is %v %%, suspect is %t; want %t", *w.CrossCheckPct, w.Suspect, c.suspect)
			}
			if rise := *w.EndC - *w.StartC; math.Abs(rise-w.Seconds()) > 0.2 {
				t.Errorf("temperature rose by %g in %g s", rise, w.Seconds())
			}
		})
	}
}

// The check follows a power that changes.
func TestEnergyCrossCheckIntegrates(t *testing.T) {
	w := EnergyWindow{StartNS: 1e9, EndNS: 4e9, GrossJ: 450}
	w.check([]power{{1e9 + 5e8, 100}, {3e9 + 5e8, 200}}, "")
	// Half a second at 100 W, two at 150 in the mean, half at 200.
	if *w.CrossCheckJ != 450 || *w.CrossCheckPct != 0 || w.Suspect {
		t.Errorf("%g J, %g %%, suspect is %t; want 450 J", *w.CrossCheckJ, *w.CrossCheckPct, w.Suspect)
	}
}

func TestEnergyMeterFails(t *testing.T) {
	still := fakeSupply{watts: 0, tick: time.Millisecond, meter: constant(0)}
	if _, err := still.energyMeter().Measure(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "measure energy of a fake: the counter has stood at 0 J for 5s") {
		t.Errorf("error is %v, want that nothing is counted", err)
	}
	stops := fakeSupply{watts: 10, tick: time.Millisecond, meter: constant(10), stands: 2e9}
	if _, err := stops.energyMeter().Measure(t.Context(), 3*time.Second); err == nil || !strings.Contains(err.Error(), "has stood at 20 J") {
		t.Errorf("error is %v, want that the counter stopped", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	good := fakeSupply{watts: 10, tick: time.Millisecond, meter: constant(10)}
	if _, err := good.energyMeter().Measure(ended, time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want that of the context", err)
	}
	blind := fakeSupply{watts: 10, tick: time.Millisecond, meter: func(at int64) (float64, error) {
		if at > 1e9 {
			return 0, errors.New("gone")
		}
		return 10, nil
	}}
	w, err := blind.energyMeter().Measure(t.Context(), 2*time.Second)
	if err != nil || w.CrossCheckJ != nil || w.Reasons["cross_check_pct"] != "gone" || w.Suspect {
		t.Errorf("without a power: %+v, %v; want the window, and why it is not checked", w, err)
	}
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	var back EnergyWindow
	if err := json.Unmarshal(b, &back); err != nil || gocmp.Diff(w, back) != "" {
		t.Errorf("through JSON: %v %s", err, gocmp.Diff(w, back))
	}
}

// Two packages, of which one counts its memory apart, as servers show them.
func raplTree(t *testing.T, changes ...string) tree {
	const dir = "sys/class/powercap/"
	return fakeTree(t, "metal", append([]string{
		dir + "intel-rapl:0/name", "package-0", dir + "intel-rapl:0/energy_uj", "1000000", dir + "intel-rapl:0/max_energy_range_uj", "10000000",
		dir + "intel-rapl:1/name", "package-1", dir + "intel-rapl:1/energy_uj", "9000000", dir + "intel-rapl:1/max_energy_range_uj", "10000000",
		dir + "intel-rapl:0:0/name", "core", dir + "intel-rapl:0:0/energy_uj", "777", dir + "intel-rapl:0:0/max_energy_range_uj", "10000000",
		dir + "intel-rapl:0:1/name", "dram", dir + "intel-rapl:0:1/energy_uj", "500000", dir + "intel-rapl:0:1/max_energy_range_uj", "2000000",
		dir + "intel-rapl:2/name", "psys", dir + "intel-rapl:2/energy_uj", "777", dir + "intel-rapl:2/max_energy_range_uj", "10000000",
		dir + "intel-rapl-mmio:0/name", "package-0", dir + "intel-rapl-mmio:0/energy_uj", "777", dir + "intel-rapl-mmio:0/max_energy_range_uj", "10000000",
		dir + "intel-rapl/enabled", "1",
	}, changes...)...)
}

func TestRAPL(t *testing.T) {
	const dir = "sys/class/powercap/"
	machine := raplTree(t)
	counters, err := raplZones(machine)
	if err != nil {
		t.Fatal(err)
	}
	read := func(want float64) {
		t.Helper()
		if got, err := counters.joules(); err != nil || math.Abs(got-want) > 1e-9 {
			t.Errorf("%g J, %v; want %g", got, err, want)
		}
	}
	read(10.5)
	change(t, machine, dir+"intel-rapl:0/energy_uj", "3000000", dir+"intel-rapl:0:1/energy_uj", "1500000")
	read(13.5)
	// Package 1 and the memory begin anew: 10 and 2 J are one turn.
	change(t, machine, dir+"intel-rapl:1/energy_uj", "500000", dir+"intel-rapl:0:1/energy_uj", "100000")
	read(13.5 + 1.5 + 0.6)
	change(t, machine, dir+"intel-rapl:1/energy_uj", "9000000")
	read(13.5 + 1.5 + 0.6 + 8.5)
	change(t, machine, dir+"intel-rapl:1/energy_uj", "100000")
	read(13.5 + 1.5 + 0.6 + 8.5 + 1.1)
	change(t, machine, dir+"intel-rapl:1/energy_uj", "absent")
	if _, err := counters.joules(); err == nil || !strings.Contains(err.Error(), "intel-rapl:1/energy_uj") {
		t.Errorf("error is %v, want the file", err)
	}
}

func TestRAPLUnavailable(t *testing.T) {
	const dir = "sys/class/powercap/"
	for _, c := range []struct {
		changes []string
		why     string
	}{
		{[]string{dir + "intel-rapl:0/energy_uj", "many"}, `intel-rapl:0/energy_uj: "many" is not a whole number`},
		{[]string{dir + "intel-rapl:0/max_energy_range_uj", "absent"}, "max_energy_range_uj: file does not exist"},
		{[]string{dir + "intel-rapl:0/name", "x", dir + "intel-rapl:1/name", "x", dir + "intel-rapl:0:1/name", "x"}, "virtual machines show none"},
	} {
		if _, err := raplZones(raplTree(t, c.changes...)); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v: error is %v, want %q", c.changes, err, c.why)
		}
	}
	var unavailable *EnergyUnavailableError
	if _, err := NewHostEnergyMeter(t.TempDir()); !errors.As(err, &unavailable) || unavailable.Device != "the host" {
		t.Errorf("error is %v, want that no counter is there", err)
	}
	secret := tree{secretFS{raplTree(t).FS.(fstest.MapFS)}}
	if _, err := raplZones(secret); err == nil || !strings.Contains(err.Error(), "chmod a+r /sys/class/powercap/intel-rapl:0/energy_uj") {
		t.Errorf("error is %v, want who may read it and the cure", err)
	}
}

// A secretFS lets nobody read counters of energy.
type secretFS struct{ fstest.MapFS }

func (s secretFS) ReadFile(name string) ([]byte, error) {
	if strings.HasSuffix(name, "energy_uj") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return s.MapFS.ReadFile(name)
}

const energyChildKey = "GENBENCH_TEST_ENERGY"

// What the child prints.
type energyReport struct {
	Error       string
	Unavailable bool
	Window      EnergyWindow
}

// TestEnergyChild is the process in which one fake is opened.
func TestEnergyChild(t *testing.T) {
	path, isChild := os.LookupEnv(energyChildKey)
	if !isChild {
		t.Skip("runs as the child of TestGPUEnergy")
	}
	n, err := OpenNVML(path)
	if err != nil {
		t.Fatal(err)
	}
	var report energyReport
	var unavailable *EnergyUnavailableError
	m, err := NewGPUEnergyMeter(n, "GPU-fake-0")
	if err == nil {
		report.Window, err = m.Measure(t.Context(), 10*time.Millisecond)
	}
	if err != nil {
		report.Error, report.Unavailable = err.Error(), errors.As(err, &unavailable)
	}
	out, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("REPORT %s\n", out)
}

func TestGPUEnergy(t *testing.T) {
	fake, bare := hardwaretest.FakeNVML(t), hardwaretest.FakeNVML(t, "BARE")
	for _, c := range []struct {
		name, library string
		env           []string
		err           string
		unavailable   bool
		suspect       bool
	}{
		{"counts", fake, []string{"TICK_MS=4"}, "", false, false},
		{"power by the older function", fake, []string{"TICK_MS=4", "FIELD_RETURN=3", "INSTANT_MW=9"}, "", false, false},
		{"the power says more", fake, []string{"TICK_MS=4", "INSTANT_MW=300000"}, "", false, true},
		{"cut up", fake, []string{"MIG=1"}, "(MIG)", true, false},
		{"not supported", fake, []string{"RETURN=3"}, "Not Supported", true, false},
		{"no function", bare, nil, "no such function", true, false},
		{"lost", fake, []string{"RETURN=15"}, "gone until it is reset", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestEnergyChild$")
			child.Env = append(os.Environ(), energyChildKey+"="+c.library, "GORACE=atexit_sleep_ms=0")
			for _, v := range c.env {
				child.Env = append(child.Env, "FAKE_NVML_"+v)
			}
			out, err := child.CombinedOutput()
			_, text, found := strings.Cut(string(out), "REPORT ")
			var got energyReport
			if err != nil || !found || json.Unmarshal([]byte(strings.SplitN(text, "\n", 2)[0]), &got) != nil {
				t.Fatalf("child: %v\n%s", err, out)
			}
			if c.err != "" {
				if !strings.Contains(got.Error, c.err) || got.Unavailable != c.unavailable {
					t.Errorf("error is %q, unavailable is %t; want %q, %t", got.Error, got.Unavailable, c.err, c.unavailable)
				}
				return
			}
			w := got.Window
			if got.Error != "" || math.Abs(w.MeanW()/250.5-1) > 0.02 || w.Ticks < 99 || w.CrossCheckPct == nil || w.Suspect != c.suspect || w.StartC == nil {
				t.Errorf("got %+v, want 250.5 W over 100 ticks, suspect %t", got, c.suspect)
			}
		})
	}
}
