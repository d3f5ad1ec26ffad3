package bench

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"genbench/hardware"
)

// Every class of contamination has evidence that raises it, and evidence just
// short of it.
func TestJudgeRound(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	gpu := func(bits hardware.EventReasons) *hardware.GPUReading {
		return &hardware.GPUReading{EventReasons: &bits}
	}
	ends := func(from, to hardware.EventReasons) (hardware.Interval, *hardware.GPUReading, *hardware.GPUReading) {
		both := from | to
		return hardware.Interval{GPU: &hardware.GPUInterval{EventReasons: &both}}, gpu(from), gpu(to)
	}
	none, one := int64(0), int64(1)
	for _, c := range []struct {
		name     string
		interval hardware.Interval
		from, to hardware.EventReasons
		between  []hardware.EventReasons
		why      string // of dropping
		seen     []Disturbance
		hot      bool
	}{
		{name: "unknown"},
		{name: "quiet", interval: hardware.Interval{StealFraction: f(0.05), ForeignCPUs: f(0.4)}},
		{name: "stolen", interval: hardware.Interval{StealFraction: f(0.11)}, why: "hypervisor took 11.0 %", seen: []Disturbance{StolenTime}},
		{name: "crowded", interval: hardware.Interval{ForeignCPUs: f(0.8)}, why: "other processes used 0.80 cores", seen: []Disturbance{Foreign}},
		{name: "both", interval: hardware.Interval{StealFraction: f(0.2), ForeignCPUs: f(0.8)}, why: "time (limit 10 %); other processes", seen: []Disturbance{StolenTime, Foreign}},
		{name: "hot processor", interval: hardware.Interval{ThermalThrottles: &one}, why: "throttled itself", seen: []Disturbance{Hard}, hot: true},
		{name: "hardware thermal", to: hardware.HWThermalSlowdown, why: "hw_thermal_slowdown", seen: []Disturbance{Hard}, hot: true},
		{name: "power brake", from: hardware.HWPowerBrakeSlowdown, why: "hw_power_brake_slowdown", seen: []Disturbance{Hard}, hot: true},
		{name: "software thermal", to: hardware.SWThermalSlowdown, why: "sw_thermal_slowdown", seen: []Disturbance{Hard}, hot: true},
		{name: "slowdown once", to: hardware.HWSlowdown},
		{name: "slowdown twice", from: hardware.HWSlowdown, to: hardware.HWSlowdown, why: "hw_slowdown", seen: []Disturbance{Hard}, hot: true},
		{name: "slowdown counted", interval: hardware.Interval{GPU: &hardware.GPUInterval{ThermalViolationNS: &one}}, to: hardware.HWSlowdown, why: "hw_slowdown", seen: []Disturbance{Hard}, hot: true},
		{name: "slowdown counted, not seen", interval: hardware.Interval{GPU: &hardware.GPUInterval{HWSlowdownNS: &one}}, why: "the board slowed itself down for 1e-06 ms", seen: []Disturbance{Hard}, hot: true},
		{name: "slowdown counted and seen once", interval: hardware.Interval{GPU: &hardware.GPUInterval{HWSlowdownNS: &one}}, to: hardware.HWSlowdown, why: "ms; the GPU was slowed down: hw_slowdown", seen: []Disturbance{Hard}, hot: true},
		{name: "slowdown once, no time of the board's", interval: hardware.Interval{GPU: &hardware.GPUInterval{HWSlowdownNS: &none, ThermalViolationNS: &one}}, to: hardware.HWSlowdown},
		{name: "slowdown once at the power cap", interval: hardware.Interval{GPU: &hardware.GPUInterval{PowerViolationNS: &one}}, to: hardware.HWSlowdown},
		{name: "memory errors", interval: hardware.Interval{GPU: &hardware.GPUInterval{ECCErrors: &one}}, why: "1 memory errors", seen: []Disturbance{Foreign}},
		{name: "sent again", interval: hardware.Interval{GPU: &hardware.GPUInterval{PCIeReplays: &one}}, why: "1 packets", seen: []Disturbance{Foreign}},
		{name: "power cap", to: hardware.SWPowerCap, seen: []Disturbance{PowerLimited}},
		{name: "sync boost", to: hardware.SyncBoost, why: "sync_boost", seen: []Disturbance{Sync}},
		{name: "idle before", from: hardware.GPUIdle},
		{name: "idle after", to: hardware.GPUIdle, seen: []Disturbance{Underfed}},
		{name: "heat between the ends", between: []hardware.EventReasons{0, hardware.HWThermalSlowdown, 0}, why: "hw_thermal_slowdown", seen: []Disturbance{Hard}, hot: true},
		{name: "slowdown once between", between: []hardware.EventReasons{0, hardware.HWSlowdown}},
		{name: "slowdown twice between", between: []hardware.EventReasons{hardware.HWSlowdown, 0, hardware.HWSlowdown}, why: "hw_slowdown", seen: []Disturbance{Hard}, hot: true},
		{name: "slowdown between and after", between: []hardware.EventReasons{hardware.HWSlowdown}, to: hardware.HWSlowdown, why: "hw_slowdown", seen: []Disturbance{Hard}, hot: true},
		{name: "power cap between", between: []hardware.EventReasons{hardware.SWPowerCap}, seen: []Disturbance{PowerLimited}},
		{name: "idle between", between: []hardware.EventReasons{0, hardware.GPUIdle}, seen: []Disturbance{Underfed}},
		{name: "fault of the board", interval: hardware.Interval{GPU: &hardware.GPUInterval{Xids: []int{79}}}, why: "Xid [79]", seen: []Disturbance{Foreign}},
		{name: "foreign process", interval: hardware.Interval{GPU: &hardware.GPUInterval{ForeignProcesses: []int{42}}}, why: "other processes use the GPU: [42]", seen: []Disturbance{Foreign}},
		{name: "clocks that were set", to: hardware.ApplicationsClocksSetting},
	} {
		i, from, to := c.interval, (*hardware.GPUReading)(nil), (*hardware.GPUReading)(nil)
		if c.from|c.to != 0 || c.between != nil {
			i, from, to = ends(c.from, c.to)
			if c.interval.GPU != nil {
				counts := *c.interval.GPU
				counts.EventReasons = i.GPU.EventReasons
				i.GPU = &counts
			}
		}
		if c.between != nil {
			var watch hardware.EventWatch
			for _, look := range c.between {
				watch.Add(look)
			}
			i.GPU.Watched(&watch, "")
		}
		v := judgeRound(i, from, to, HostProtocol())
		if i.GPU != nil {
			v.fed(*i.GPU, to)
		}
		if (c.why == "") != (v.reason == "") || !strings.Contains(v.reason, c.why) || !slices.Equal(v.seen, c.seen) || v.hot != c.hot {
			t.Errorf("%s: %+v; want %q, %v, hot %v", c.name, v, c.why, c.seen, c.hot)
		}
		if want := map[bool]Status{true: OK, false: Dropped}[c.why == ""]; v.status() != want {
			t.Errorf("%s: %s, want %s", c.name, v.status(), want)
		}
	}
}

// POWER, locked: dropped only if the cap was seen, the clock lies more than 1 % below
// the lock, and a lower lock can be had.
func TestPowerUnderLock(t *testing.T) {
	mhz := func(v float64) *float64 { return &v }
	for _, c := range []struct {
		name  string
		bits  hardware.EventReasons
		lock  *ClockLock
		clock *float64
		lost  bool
	}{
		{"held", hardware.SWPowerCap, &ClockLock{1410, true}, mhz(1397), false},
		{"capped", hardware.SWPowerCap, &ClockLock{1410, true}, mhz(1395), true},
		{"slow without a cap", 0, &ClockLock{1410, true}, mhz(1300), false},
		{"fast", hardware.SWPowerCap, &ClockLock{1410, true}, mhz(1500), false},
		{"another's lock", hardware.SWPowerCap, &ClockLock{1410, false}, mhz(1300), false},
		{"floating", hardware.SWPowerCap, nil, mhz(1300), false},
		{"not known", hardware.SWPowerCap, &ClockLock{1410, true}, nil, false},
	} {
		v := judgeRound(hardware.Interval{GPU: &hardware.GPUInterval{EventReasons: &c.bits}}, nil, nil, gpuProtocol())
		v.power(c.lock, c.clock)
		if v.lockLost != c.lost || (v.status() == Dropped) != c.lost || slices.Contains(v.seen, LockLost) != c.lost {
			t.Errorf("%s: %+v, want lost %t", c.name, v, c.lost)
		}
	}
}

func TestCoolWait(t *testing.T) {
	p := HostProtocol()
	var waits []time.Duration
	for n := 1; n <= 7; n++ {
		waits = append(waits, p.coolWait(n))
	}
	want := []time.Duration{10 * time.Second, 15 * time.Second, 22500 * time.Millisecond, 33750 * time.Millisecond, 50625 * time.Millisecond, time.Minute, time.Minute}
	if !slices.Equal(waits, want) {
		t.Errorf("%v, want %v", waits, want)
	}
}

// dropped counts the rounds of a point that were dropped, by class.
func dropped(m *Measurement) map[Disturbance]int {
	n := map[Disturbance]int{}
	for _, r := range m.Rounds {
		if r.Status == Dropped {
			for _, d := range r.Disturbances {
				n[d]++
			}
		}
	}
	return n
}

// A board that overheats for a while loses rounds, cools down, and is measured.
func TestHeatPasses(t *testing.T) {
	s := simulate(t, "quick", hardware.CUDA)
	s.config.Protocol.Settle = 0
	const from, to = 2 * time.Second, 5 * time.Second
	s.counters = func(at time.Duration, r *hardware.Reading) error {
		if at > from && at < to {
			*r.GPU.EventReasons, *r.GPU.TemperatureC = hardware.HWThermalSlowdown, 92
		}
		return nil
	}
	m := s.run(t).point(t, "sim")
	if m.State != Measured || m.Launches != 4 || dropped(m)[Hard] != 1 {
		t.Fatalf("%s, %d launches, dropped %v", m.State, m.Launches, dropped(m))
	}
	for i, r := range m.Rounds {
		if r.Status != Dropped {
			continue
		}
		// The next try waited for the cold, and no longer: the first wait may last 10 s.
		next := time.Duration(m.Rounds[i+1].Start)
		if next < to || next > to+4*time.Second {
			t.Errorf("taken again at %s, cold since %s", next, to)
		}
	}
}

// Heat that comes and goes within a round, with a reading at neither end to show it, is
// found by the looks between.
func TestThrottleWithinRound(t *testing.T) {
	within := func(watched bool) *Measurement {
		s := simulate(t, "quick", hardware.CUDA)
		p := &s.config.Protocol
		p.Settle, p.SettleAgain, p.Launches = 0, 0, 2
		if !watched {
			p.EventEvery = 0
		}
		s.latency = func(inference) time.Duration { return 10 * time.Millisecond }
		undisturbed := s.run(t).point(t, "sim").Rounds[0]
		middle := time.Duration(undisturbed.Start) + time.Duration(len(undisturbed.DeviceNS))*5*time.Millisecond
		s.counters = func(at time.Duration, r *hardware.Reading) error {
			if since := at - middle; since >= -150*time.Millisecond && since < 150*time.Millisecond {
				*r.GPU.EventReasons = hardware.SWThermalSlowdown
			}
			return nil
		}
		r := s.run(t)
		for _, reading := range r.Log.Readings {
			if reading.GPU != nil && *reading.GPU.EventReasons != 0 {
				t.Errorf("a reading at %s shows %v, want none", time.Duration(reading.Time), reading.GPU.EventReasons.Names())
			}
		}
		return r.point(t, "sim")
	}
	m := within(true)
	if m.State != Measured || m.Launches != 2 || dropped(m)[Hard] != 1 {
		t.Fatalf("%s, %d launches, dropped %v", m.State, m.Launches, dropped(m))
	}
	hit, rest := m.Rounds[0], m.Rounds[1:]
	if gpu := hit.Interval.GPU; hit.Status != Dropped || !strings.Contains(hit.DropReason, "sw_thermal_slowdown") ||
		*gpu.EventReasons != hardware.SWThermalSlowdown || gpu.Watch.Seen["sw_thermal_slowdown"] != 3 || gpu.Watch.Looks < 15 {
		t.Errorf("the round is %s %q with %+v, seen %+v", hit.Status, hit.DropReason, gpu.EventReasons, gpu.Watch)
	}
	for _, r := range rest {
		if gpu := r.Interval.GPU; r.Status != OK || *gpu.EventReasons != 0 || gpu.Watch.Looks < 15 || len(gpu.Watch.Seen) != 0 {
			t.Errorf("a quiet round is %s with %+v", r.Status, gpu.Watch)
		}
	}
	// By its ends alone the same round is taken for a clean one, and says that nobody looked.
	blind := within(false)
	if gpu := blind.Rounds[0].Interval.GPU; blind.Dropped() != 0 || gpu.Watch != nil || gpu.Reasons["event_watch"] == "" {
		t.Errorf("%d rounds dropped, with %+v", blind.Dropped(), gpu)
	}
}

// Looks that fail or hang cost themselves, and no round.
func TestWatchFails(t *testing.T) {
	for _, c := range []struct {
		name, missing string
		looks         int
		failed        int
		look          func(n int, hang <-chan struct{}) (hardware.EventReasons, error)
	}{
		{name: "answers", looks: 5, look: func(int, <-chan struct{}) (hardware.EventReasons, error) { return 0, nil }},
		{name: "refuses", missing: "read clock events: not supported", look: func(int, <-chan struct{}) (hardware.EventReasons, error) {
			return 0, errors.New("not supported")
		}},
		{name: "fails once", looks: 4, failed: 1, look: func(n int, _ <-chan struct{}) (hardware.EventReasons, error) {
			if n == 2 {
				return 0, errors.New("busy")
			}
			return 0, nil
		}},
		{name: "hangs", looks: 1, failed: 1, look: func(n int, hang <-chan struct{}) (hardware.EventReasons, error) {
			if n == 2 {
				<-hang
			}
			return 0, nil
		}},
		{name: "hangs at once", missing: "did not answer within 1s", look: func(_ int, hang <-chan struct{}) (hardware.EventReasons, error) {
			<-hang
			return 0, nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang := make(chan struct{})
				n := 0
				counters := &counters{patience: time.Second, sampler: scriptedEvents(func() (hardware.EventReasons, error) {
					n++
					return c.look(n, hang)
				})}
				seen, missing, err := counters.watching(100*time.Millisecond, func(func() hardware.EventReasons) error {
					time.Sleep(550 * time.Millisecond)
					return errors.New("of the block")
				})
				if err == nil || err.Error() != "of the block" || !strings.Contains(missing, c.missing) || (c.missing == "") != (missing == "") {
					t.Errorf("error %v, missing %q, want %q", err, missing, c.missing)
				}
				if (seen == nil) != (c.missing != "") || seen != nil && (seen.Looks != c.looks || seen.Failed != c.failed) {
					t.Errorf("seen %+v, want %d looks and %d failed", seen, c.looks, c.failed)
				}
				// NVML is used by one goroutine at a time: what hangs is waited for.
				if hung := strings.HasPrefix(c.name, "hangs"); hung != counters.owed() {
					t.Errorf("owed: %t", counters.owed())
				}
				close(hang)
				synctest.Wait()
				if _, missing := counters.read(func() int64 { return 0 }); missing != "" {
					t.Errorf("afterwards: %s", missing)
				}
			})
		})
	}
}

// A scriptedEvents tells clock events and nothing else.
type scriptedEvents func() (hardware.EventReasons, error)

func (s scriptedEvents) EventReasons() (hardware.EventReasons, error) { return s() }
func (scriptedEvents) Sample() (hardware.Reading, error)              { return hardware.Reading{}, nil }
func (scriptedEvents) Close() error                                   { return nil }

// A point that is never left in peace is invalid and says why (X1).
func TestNeverQuiet(t *testing.T) {
	s := simulate(t, "quick", hardware.CUDA)
	s.config.Protocol.Settle = 0
	s.counters = func(_ time.Duration, r *hardware.Reading) error {
		r.GPU.ForeignProcesses = []int{4711}
		return nil
	}
	r := s.run(t)
	m := r.point(t, "sim")
	if m.State != Invalid || !strings.Contains(m.Reason, "4711") || r.ExitCode() != 4 {
		t.Errorf("%s %q, exit code %d", m.State, m.Reason, r.ExitCode())
	}
	if want := 4 * (1 + s.config.Protocol.Retries); len(m.Rounds) != want {
		t.Errorf("%d tries, want %d", len(m.Rounds), want)
	}
}

// Rounds that a power cap or an idle device lower in worth are kept and tagged.
func TestTaggedRounds(t *testing.T) {
	s := simulate(t, "quick", hardware.CUDA)
	s.config.Protocol.Settle = 0
	s.counters = func(_ time.Duration, r *hardware.Reading) error {
		*r.GPU.EventReasons = hardware.SWPowerCap | hardware.GPUIdle
		return nil
	}
	m := s.run(t).point(t, "sim")
	if m.State != Measured || m.Dropped() != 0 {
		t.Fatalf("%s, %d dropped", m.State, m.Dropped())
	}
	for _, r := range m.Rounds {
		if !slices.Equal(r.Disturbances, []Disturbance{PowerLimited, Underfed}) {
			t.Errorf("tagged %v", r.Disturbances)
		}
	}
}

// Samples that run backwards cost their round.
func TestClockGoingBackwards(t *testing.T) {
	s := simulate(t, "quick", hardware.Host)
	n := 0
	s.latency = func(i inference) time.Duration {
		if i.launch == 2 && i.index == 7 {
			if n++; n == 1 { // the first window
				return -time.Millisecond
			}
		}
		return 10 * time.Millisecond
	}
	m := s.run(t).point(t, "sim")
	if m.State != Measured || m.Launches != 4 || dropped(m)[BadClock] != 1 {
		t.Fatalf("%s %s, %d launches, dropped %v", m.State, m.Reason, m.Launches, dropped(m))
	}
	for _, r := range m.Rounds {
		if r.Status == Dropped && !strings.Contains(r.DropReason, "the clock went backwards: sample 6 took -1000000 ns, with 1 of ") {
			t.Errorf("reason %q", r.DropReason)
		}
	}

	// A clock that stands still gives no sample at all, and no endless round either.
	s = simulate(t, "quick", hardware.Host)
	s.latency = func(i inference) time.Duration {
		if i.launch == 2 {
			return 0
		}
		return 10 * time.Millisecond
	}
	// Nothing in the second launch ever takes time, so its warm-up is cut short.
	s.config.Protocol.WarmupTime = 0
	s.config.Protocol.SteadyCap = 0
	if m := s.run(t).point(t, "sim"); m.State != Measured || m.Launches != 3 || dropped(m)[BadClock] != 4 {
		t.Errorf("%s %s, %d launches, dropped %v", m.State, m.Reason, m.Launches, dropped(m))
	}
}

// Counters that hang, fail or vanish cost readings and no round.
func TestCountersFail(t *testing.T) {
	for _, c := range []struct {
		name, want string
		fail       func(s *simulation) error
	}{
		{"hang", "the counters did not answer within 1s", func(s *simulation) error { s.hang(); return nil }},
		{"lost", hardware.ErrGPULost.Error(), func(*simulation) error { return hardware.ErrGPULost }},
		{"error", "read counters: no such device", func(*simulation) error { return errors.New("no such device") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := simulate(t, "quick", hardware.CUDA)
			s.config.Protocol.Settle = 0
			s.counters = func(at time.Duration, _ *hardware.Reading) error {
				if at > 10*time.Second {
					return c.fail(s)
				}
				return nil
			}
			r := s.run(t)
			m := r.point(t, "sim")
			if r.err != nil || m.State != Measured || m.Launches != 4 || m.Dropped() != 0 {
				t.Fatalf("%v, %s %s, %d launches, %d dropped", r.err, m.State, m.Reason, m.Launches, m.Dropped())
			}
			last := m.Rounds[len(m.Rounds)-1].Interval
			why := last.Reasons["steal_fraction"]
			if last.StealFraction != nil || last.GPU != nil || c.name != "hang" && !strings.Contains(why, c.want) || why == "" {
				t.Errorf("the last round's evidence is %+v", last)
			}
			found := false
			for _, reading := range r.Log.Readings {
				if strings.Contains(reading.Missing, c.want) {
					found = true
				}
			}
			if !found {
				t.Errorf("no reading says %q", c.want)
			}
		})
	}
}

// Counters that hang before a worker's first word cost its readings, too, and no more.
func TestCountersHangWhenOpened(t *testing.T) {
	s := brief(simulate(t, "quick", hardware.CUDA))
	s.config.Protocol.Settle, s.stuck = 0, true
	r := s.run(t)
	m := r.point(t, "sim")
	if r.err != nil || m.State != Measured || m.Launches != 2 || m.Dropped() != 0 {
		t.Fatalf("%v, %s %s, %d launches, %d dropped", r.err, m.State, m.Reason, m.Launches, m.Dropped())
	}
	if why := m.Rounds[0].Interval.Reasons["steal_fraction"]; !strings.Contains(why, "could not be opened within 30s") {
		t.Errorf("the evidence says %q", why)
	}
}

// The parent of a worker is no other process on the GPU.
func TestOurProcesses(t *testing.T) {
	for pid, want := range map[int]bool{os.Getpid(): true, os.Getppid(): true, 0: false} {
		if ours(pid) != want {
			t.Errorf("process %d is ours: %t, want %t", pid, !want, want)
		}
	}
}
