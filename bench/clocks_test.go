package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"genbench/hardware"
)

// A simulatedBoard has clocks, and a power cap that holds them down.
type simulatedBoard struct {
	clocks []int
	// cap is the clock that its power allows at a time; 2000 MHz where nil.
	cap func(at time.Duration) float64
	// base of the board, in MHz.
	base int
	// refuse is why it cannot be locked; deaf takes locks and does not follow them.
	refuse error
	deaf   bool
	// holder holds the clocks instead of the run.
	holder *hardware.Lease
	// silent tells no event bits; fleeting ones stand while the device works and are gone
	// when a reading comes.
	silent, fleeting bool
	// falls is when the guardian ends, once.
	falls time.Duration

	now   func() int64
	mutex sync.Mutex
	lock  int
	calls []string
}

func (b *simulatedBoard) Supported() []int                 { return b.clocks }
func (b *simulatedBoard) Holder() (*hardware.Lease, error) { return b.holder, nil }

func (b *simulatedBoard) Lock(_ context.Context, mhz int) error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.calls = append(b.calls, fmt.Sprintf("lock %d", mhz))
	if b.refuse != nil {
		return b.refuse
	}
	if b.lock = mhz; mhz == 0 {
		b.lock = b.base
	}
	return nil
}

func (b *simulatedBoard) Release() error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.calls, b.lock = append(b.calls, "release"), 0
	return nil
}

func (b *simulatedBoard) Standing() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.falls > 0 && b.now() > int64(b.falls) {
		b.falls, b.lock = 0, 0
	}
	return b.lock != 0
}

// runs is the clock as it is, and whether the power cap holds it there.
func (b *simulatedBoard) runs() (mhz float64, capped bool) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	power := 2000.0
	if b.cap != nil {
		power = b.cap(time.Duration(b.now()))
	}
	wish := 1980.0
	switch {
	case b.deaf:
		wish = 1300
	case b.holder != nil && b.holder.Request.Base:
		wish = float64(b.base)
	case b.holder != nil:
		wish = float64(b.holder.Request.SMMHz)
	case b.lock != 0:
		wish = float64(b.lock)
	}
	return math.Min(wish, power), power < wish
}

func (b *simulatedBoard) state() (mhz int, bits hardware.EventReasons) {
	clock, capped := b.runs()
	if capped {
		bits = hardware.SWPowerCap
	}
	return int(clock), bits
}

// onBoard simulates a quick run on a board.
func onBoard(t *testing.T, policy ClockPolicy, b *simulatedBoard) *simulation {
	t.Helper()
	s := simulate(t, "quick", hardware.CUDA)
	// As little to measure as can be: the clocks are what is looked at.
	p := &s.config.Protocol
	p.Settle, p.SettleAgain, p.Launches = 0, 0, 2
	p.RoundSamples, p.RoundTime, p.WindowSamples, p.WindowTime = 20, 0, 5, 0
	s.latency = func(inference) time.Duration { return 10 * time.Millisecond }
	s.config.Clocks, s.board = policy, b
	if b.clocks == nil {
		b.clocks = []int{1200, 1305, 1410, 1515, 1620, 1725}
	}
	if b.silent {
		s.counters = func(_ time.Duration, r *hardware.Reading) error {
			r.GPU.EventReasons = nil
			return nil
		}
	}
	return s
}

func powerCap(mhz float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return mhz }
}

// What a run does about the clocks is what it was asked for, as far as the board and
// the rights go, and its result says so.
func TestClockPolicies(t *testing.T) {
	held := func(r hardware.ClockRequest) *hardware.Lease {
		return &hardware.Lease{LeaseRecord: hardware.LeaseRecord{PID: 4711, Request: r}, Held: true}
	}
	for _, c := range []struct {
		name    string
		policy  ClockPolicy
		board   *simulatedBoard // one with the usual clocks where nil
		setting string          // of the log
		reason  string          // of the last record
		calls   []string
		doubt   Code   // on the point; empty for none
		detail  string // of it
		brief   bool   // also where time is short: one of each kind
	}{
		{
			name: "auto, no limit", policy: AutoClocks, setting: "locked at 1725 MHz", reason: "for 5s without a limit, the board's highest clock",
			calls: []string{"lock 1725", "lock 1725"},
		},
		{
			name: "auto, a power cap", brief: true, policy: AutoClocks, board: &simulatedBoard{cap: powerCap(1433)}, setting: "locked at 1410 MHz",
			reason: "the highest such clock of the board: at 1515 MHz it met sw_power_cap",
			calls:  []string{"lock 1725", "lock 1410", "lock 1515", "lock 1410"},
		},
		{
			name: "auto, a cap that no reading meets", brief: true, policy: AutoClocks, board: &simulatedBoard{cap: powerCap(1720), fleeting: true}, setting: "locked at 1620 MHz",
			reason: "at 1725 MHz it met sw_power_cap", calls: []string{"lock 1725", "lock 1620", "lock 1620"},
		},
		{
			// At its mean the cap is met as well: down, not up.
			name: "auto, a cap on the edge", policy: AutoClocks, board: &simulatedBoard{cap: powerCap(1409)}, setting: "locked at 1305 MHz",
			reason: "at 1410 MHz it met sw_power_cap", calls: []string{"lock 1725", "lock 1410", "lock 1305", "lock 1305"},
		},
		{
			name: "auto, nothing holds", policy: AutoClocks, board: &simulatedBoard{cap: powerCap(1100)}, setting: "floating",
			reason: "no clock was found that the board holds; at 1200 MHz it met sw_power_cap", calls: []string{"lock 1725", "lock 1200", "release"},
			doubt: FloatingClocks, detail: "asked for auto; no clock was found",
		},
		{
			name: "auto, no rights", brief: true, policy: AutoClocks, board: &simulatedBoard{refuse: hardware.ErrClockRights}, setting: "floating",
			reason: "CAP_SYS_ADMIN", calls: []string{"lock 1725", "release"}, doubt: FloatingClocks, detail: "needs root",
		},
		{
			name: "auto, a board that tells nothing", policy: AutoClocks, board: &simulatedBoard{silent: true}, setting: "floating",
			reason: "does not say what limits its clocks", calls: []string{"lock 1725", "release"}, doubt: FloatingClocks, detail: "does not say",
		},
		{
			name: "auto, held by another", policy: AutoClocks, board: &simulatedBoard{holder: held(hardware.ClockRequest{SMMHz: 1410})}, setting: "locked at 1410 MHz",
			reason: "process 4711 holds them",
		},
		{
			name: "auto, another's base", policy: AutoClocks, board: &simulatedBoard{holder: held(hardware.ClockRequest{Base: true}), base: 1305}, setting: "locked at 1305 MHz",
			reason: "process 4711 holds them",
		},
		{
			name: "a clock", policy: LockedClocks(1410), setting: "locked at 1410 MHz", reason: "it was asked for", calls: []string{"lock 1410"},
		},
		{
			name: "a clock that does not come", brief: true, policy: LockedClocks(1410), board: &simulatedBoard{deaf: true}, setting: "locked at 1410 MHz", reason: "it was asked for",
			calls: []string{"lock 1410"}, doubt: ClockNotHeld, detail: "asked for 1410 MHz, measured 1300.0 MHz under load (-7.8 %), in 2 of 2 rounds",
		},
		{
			name: "a clock without rights", policy: LockedClocks(1410), board: &simulatedBoard{refuse: hardware.ErrClockRights}, setting: "floating", reason: "needs root",
			calls: []string{"lock 1410", "release"}, doubt: FloatingClocks, detail: "asked for lock:1410; setting clocks needs root",
		},
		{
			name: "base", policy: BaseClocks, board: &simulatedBoard{base: 1515}, setting: "locked at 1515 MHz", reason: "the base clock, as measured under load",
			calls: []string{"lock 0"},
		},
		{
			name: "a base that is none of the board's", policy: BaseClocks, board: &simulatedBoard{base: 1350}, setting: "floating", reason: "1350.0 MHz, which is not one that it lists",
			calls: []string{"lock 0", "release"}, doubt: FloatingClocks, detail: "asked for lock:base",
		},
		{
			name: "a base above the power cap", policy: BaseClocks, board: &simulatedBoard{base: 1515, cap: powerCap(1410)}, setting: "floating", reason: "not known: it met sw_power_cap",
			calls: []string{"lock 0", "release"}, doubt: FloatingClocks, detail: "asked for lock:base",
		},
		{
			name: "float", policy: FloatClocks, setting: "floating", reason: "it was asked for", calls: []string{"release"},
			doubt: FloatingClocks, detail: "asked for float; it was asked for",
		},
		{
			// A cap on clocks that float costs no round (X, POWER floating).
			name: "float at a power cap", policy: FloatClocks, board: &simulatedBoard{cap: powerCap(1433)}, setting: "floating", reason: "it was asked for",
			calls: []string{"release"}, doubt: FloatingClocks, detail: "asked for float",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && !c.brief {
				t.Skip("one of each kind shows the way")
			}
			if c.board == nil {
				c.board = &simulatedBoard{}
			}
			s := onBoard(t, c.policy, c.board)
			r := s.run(t)
			m := r.point(t, "sim")
			if r.err != nil || m.State != Measured || m.Launches != s.config.Protocol.Launches || m.Dropped() != 0 {
				t.Fatalf("%v, %s %s, %d launches, %d dropped", r.err, m.State, m.Reason, m.Launches, m.Dropped())
			}
			if got := r.Log.ClockSetting(); got != c.setting {
				t.Errorf("the clocks are %q, want %q", got, c.setting)
			}
			last := r.Log.Clocks[len(r.Log.Clocks)-1]
			if !strings.Contains(last.Reason, c.reason) || last.Asked != c.policy {
				t.Errorf("the record is %+v, want the reason %q", last, c.reason)
			}
			if !slices.Equal(c.board.calls, c.calls) {
				t.Errorf("calls %q, want %q", c.board.calls, c.calls)
			}
			var doubts []Warning
			for _, w := range m.Warnings {
				if w.Code == FloatingClocks || w.Code == ClockNotHeld {
					doubts = append(doubts, w)
				}
			}
			if (c.doubt == "") != (len(doubts) == 0) || c.doubt != "" && (doubts[0].Code != c.doubt || !strings.Contains(doubts[0].Detail, c.detail)) {
				t.Errorf("doubts %v, want %s: %s", doubts, c.doubt, c.detail)
			}
			// Without a doubt, and only then, the clocks count as fixed: Q1 needs that.
			if fixed := m.floating(r.Log.Run) == ""; fixed != (c.doubt == "") {
				t.Errorf("floating: %q", m.floating(r.Log.Run))
			}
			// A comparison of results takes the point for what it is, too.
			if o := Outcomes(r.Log)[0]; (o.Floating == "") != (c.doubt == "") || (c.doubt != "") != slices.ContainsFunc(o.Warnings, func(w Warning) bool { return w.Code == c.doubt }) {
				t.Errorf("outcome floating: %q, with the doubts %v", o.Floating, o.Warnings)
			}
			want := map[Code][2]RuleState{"": {RuleMet, RuleMet}, FloatingClocks: {RuleNotMet, RuleNotMet}, ClockNotHeld: {RuleMet, RuleNotMet}}[c.doubt]
			if got := [2]RuleState{ruleNamed(t, r.Result, "C1").State, ruleNamed(t, r.Result, "C2").State}; got != want {
				t.Errorf("C1 and C2 are %v, want %v", got, want)
			}
			for _, round := range m.Rounds {
				if round.LockMHz != last.LockMHz || round.ClockMHz == nil {
					t.Errorf("a round under %d MHz with %v", round.LockMHz, round.ClockMHz)
				}
			}
		})
	}
}

// A lock that the power cap defeats is lowered, and its launch begins anew: no launch
// mixes clocks, and nothing of the other launches is lost.
func TestLockLowered(t *testing.T) {
	b := &simulatedBoard{}
	s := onBoard(t, LockedClocks(1410), b)
	s.config.Grid.Engines, s.config.Protocol.Launches = []string{"sim", "sim-2"}, 3
	// The cap comes when the second launch has measured one point and is at its second.
	var heat atomic.Bool
	seen := map[string]bool{}
	s.latency = func(i inference) time.Duration {
		if i.launch == 2 {
			seen[i.engine] = true
			heat.Store(len(seen) > 1)
		}
		return 10 * time.Millisecond
	}
	b.cap = func(time.Duration) float64 {
		if heat.Load() {
			return 1320
		}
		return 1433
	}
	r := s.run(t)
	if r.err != nil || r.ExitCode() != 0 {
		t.Fatalf("%v, exit code %d", r.err, r.ExitCode())
	}
	if got := r.Log.ClockSetting(); got != "locked at 1410 MHz, then locked at 1305 MHz" {
		t.Errorf("the clocks are %q", got)
	}
	if last := r.Log.Clocks[len(r.Log.Clocks)-1]; last.Restarts != 2 || !strings.Contains(last.Reason, "the power cap held the clock at 1320.0 MHz, 6.4 % below its lock at 1410 MHz") {
		t.Errorf("the record is %+v", last)
	}
	lost, superseded := 0, 0
	for _, m := range r.Measurements {
		if m.State != Measured || m.Launches != s.config.Protocol.Launches {
			t.Errorf("%s: %s %s, %d launches", m.Point, m.State, m.Reason, m.Launches)
		}
		for _, round := range m.Rounds {
			if slices.Contains(round.Disturbances, LockLost) {
				lost++
			} else if round.Status == Dropped && strings.Contains(round.DropReason, "launch 2 was started again with clocks locked at 1305 MHz") {
				superseded++
			}
			if round.Status == OK && round.LockMHz != map[bool]int{true: 1410, false: 1305}[round.Launch == 1] {
				t.Errorf("launch %d counts a round at %d MHz", round.Launch, round.LockMHz)
			}
		}
		// Two clocks make one number, so it is not of class Q1.
		if why := m.floating(r.Log.Run); !strings.Contains(why, "the lock was changed on the way: 1410, then 1305 MHz") {
			t.Errorf("floating: %q", why)
		}
	}
	if lost != 1 || superseded == 0 {
		t.Errorf("%d rounds lost to the cap, %d superseded; want 1 and some", lost, superseded)
	}
	if done := r.events[len(r.events)-1]; done.Done != 6 || done.Total != 6 {
		t.Errorf("%d of %d visits at the end", done.Done, done.Total)
	}
	if s := r.Drift.Sentinel; s != nil {
		t.Errorf("sentinel %v", s)
	}
}

// A run that is interrupted after its lock was lowered goes on as it would have: drift is
// looked for under the new clock alone, and the launch that was begun anew is whole.
func TestResumedUnderALowerLock(t *testing.T) {
	b := &simulatedBoard{}
	s := onBoard(t, LockedClocks(1410), b)
	s.config.Grid.Engines = []string{"sim", "sim-2"}
	s.config.Protocol.Launches, s.config.Protocol.SentinelEvery = 3, time.Second
	var hot atomic.Bool
	s.latency = func(i inference) time.Duration {
		if i.launch == 2 {
			hot.Store(true)
		}
		mhz, _ := b.runs()
		return time.Duration(10e6 * 1410 / mhz)
	}
	b.cap = func(time.Duration) float64 {
		if hot.Load() {
			return 1320
		}
		return 1433
	}
	whole := s.run(t)
	if whole.err != nil || whole.Log.ClockSetting() != "locked at 1410 MHz, then locked at 1305 MHz" {
		t.Fatalf("%v, clocks %q", whole.err, whole.Log.ClockSetting())
	}
	hot.Store(false)
	s.interrupt = whole.took * 8 / 10
	part := s.run(t)
	if !errors.Is(part.err, context.Canceled) || part.Log.ClockSetting() != whole.Log.ClockSetting() {
		t.Fatalf("%v, clocks %q", part.err, part.Log.ClockSetting())
	}
	s.interrupt = 0
	r := s.resume(t, part.dir)
	if r.err != nil || r.ExitCode() != 0 {
		t.Fatalf("%v, exit code %d", r.err, r.ExitCode())
	}
	for _, m := range r.Measurements {
		if m.State != Measured || m.Launches != s.config.Protocol.Launches {
			t.Errorf("%s: %s %s, %d launches", m.Point, m.State, m.Reason, m.Launches)
		}
	}
	visits := map[int]bool{}
	for _, round := range r.Log.Rounds {
		if round.Sentinel && visits[round.Round] {
			t.Errorf("the sentinel's visit %d was made twice", round.Round)
		}
		visits[round.Round] = visits[round.Round] || round.Sentinel
	}
}

// A board whose cap keeps falling is not followed without end.
func TestLockLoweredNoFurther(t *testing.T) {
	if testing.Short() {
		t.Skip("TestLockLowered shows the way")
	}
	b := &simulatedBoard{clocks: []int{1200, 1215, 1230, 1245, 1260, 1275, 1290, 1305}, cap: powerCap(1100)}
	s := onBoard(t, LockedClocks(1305), b)
	r := s.run(t)
	m := r.point(t, "sim")
	if r.err != nil || m.State != Measured || m.Launches != s.config.Protocol.Launches {
		t.Fatalf("%v, %s %s, %d launches", r.err, m.State, m.Reason, m.Launches)
	}
	if want := []string{"lock 1305", "lock 1290", "lock 1275", "lock 1260", "lock 1245", "lock 1230", "release"}; !slices.Equal(b.calls, want) {
		t.Errorf("calls %q, want %q", b.calls, want)
	}
	if last := r.Log.Clocks[len(r.Log.Clocks)-1]; last.Policy != clocksFloating || !strings.Contains(last.Reason, "had already been lowered 5 times") {
		t.Errorf("the record is %+v", last)
	}
}

// A lock of another process is measured under and not touched.
func TestLockOfAnotherIsKept(t *testing.T) {
	if testing.Short() {
		t.Skip("TestLockLowered shows the way")
	}
	b := &simulatedBoard{holder: &hardware.Lease{LeaseRecord: hardware.LeaseRecord{PID: 4711, Request: hardware.ClockRequest{SMMHz: 1410}}}, cap: powerCap(1320)}
	r := onBoard(t, AutoClocks, b).run(t)
	m := r.point(t, "sim")
	if r.err != nil || m.State != Measured || m.Dropped() != 0 || len(b.calls) != 0 {
		t.Fatalf("%v, %s %s, %d dropped, calls %q", r.err, m.State, m.Reason, m.Dropped(), b.calls)
	}
	if why := m.floating(r.Log.Run); !strings.Contains(why, "asked for 1410 MHz, measured 1320.0 MHz") {
		t.Errorf("floating: %q", why)
	}
}

// A guardian that ends gives the clocks back; the next launch takes them again.
func TestLockTakenAgain(t *testing.T) {
	b := &simulatedBoard{falls: time.Second}
	r := onBoard(t, LockedClocks(1410), b).run(t)
	if want := []string{"lock 1410", "lock 1410"}; r.err != nil || !slices.Equal(b.calls, want) {
		t.Fatalf("%v, calls %q, want %q", r.err, b.calls, want)
	}
	if last := r.Log.Clocks[len(r.Log.Clocks)-1]; !strings.Contains(last.Reason, "guardian had ended") {
		t.Errorf("the record is %+v", last)
	}
}

// A resumed run goes on under the clock that the first part found.
func TestClocksResumed(t *testing.T) {
	if testing.Short() {
		t.Skip("TestResumeCoversThePlan resumes, too")
	}
	b := &simulatedBoard{cap: powerCap(1433)}
	s := onBoard(t, AutoClocks, b)
	s.config.Protocol.Launches = 3
	s.interrupt = 20 * time.Second // the search took 18
	first := s.run(t)
	if !errors.Is(first.err, context.Canceled) || len(first.Log.Rounds) == 0 {
		t.Fatalf("%v, %d rounds", first.err, len(first.Log.Rounds))
	}
	s.interrupt, b.calls = 0, nil
	r := s.resume(t, first.dir)
	if m := r.point(t, "sim"); r.err != nil || m.State != Measured || m.Launches != s.config.Protocol.Launches || m.floating(r.Log.Run) != "" {
		t.Errorf("%v, %s %s, %d launches, %s", r.err, m.State, m.Reason, m.Launches, m.floating(r.Log.Run))
	}
	if want := []string{"lock 1410"}; !slices.Equal(b.calls, want) {
		t.Errorf("calls %q, want %q", b.calls, want)
	}
	if last := r.Log.Clocks[len(r.Log.Clocks)-1]; last.Reason != "as before the run was interrupted" {
		t.Errorf("the record is %+v", last)
	}
}

// A run that was interrupted before it had found a clock searches anew.
func TestSearchResumed(t *testing.T) {
	if testing.Short() {
		t.Skip("TestResumeCoversThePlan resumes, too")
	}
	b := &simulatedBoard{}
	s := onBoard(t, AutoClocks, b)
	s.interrupt = 3 * time.Second
	first := s.run(t)
	if !errors.Is(first.err, context.Canceled) || len(first.Log.Clocks) != 0 {
		t.Fatalf("%v, clocks %+v", first.err, first.Log.Clocks)
	}
	s.interrupt = 0
	if r := s.resume(t, first.dir); r.err != nil || r.Log.ClockSetting() != "locked at 1725 MHz" {
		t.Errorf("%v, clocks %q", r.err, r.Log.ClockSetting())
	}
}

func TestClockPolicyText(t *testing.T) {
	for _, good := range []ClockPolicy{AutoClocks, FloatClocks, BaseClocks, LockedClocks(1410)} {
		if p, err := ParseClockPolicy(string(good)); err != nil || p != good {
			t.Errorf("%s: %s, %v", good, p, err)
		}
	}
	for _, bad := range []string{"", "lock", "lock:", "lock:0", "lock:-5", "lock:+5", "lock:05", "lock:fast", "base", "1410"} {
		if p, err := ParseClockPolicy(bad); err == nil || !strings.Contains(err.Error(), "lock:1410") {
			t.Errorf("%q: %s, %v, want what is a policy", bad, p, err)
		}
	}
	if got := LockedClocks(1410).MHz(); got != 1410 {
		t.Errorf("%d MHz", got)
	}
}

// A sentinel that was visited under two locks shows drift under the last alone.
func TestSentinelUnderTwoLocks(t *testing.T) {
	visit := func(lock int, ns int64) RoundRecord {
		return RoundRecord{ID: "watch", Sentinel: true, Status: OK, LockMHz: lock, DeviceNS: []int64{ns - 1, ns, ns, ns, ns + 1}}
	}
	rounds := []RoundRecord{visit(1410, 1e6), visit(1305, 1.08e6), {ID: "other", Status: OK}, visit(1305, 1.08e6), visit(1305, 1.08e6)}
	if s := driftOf(&Log{Rounds: rounds}, nil).Sentinel; s == nil || s.Visits != 3 || s.Beyond(driftLimit) {
		t.Errorf("%v, want three visits and no drift", s)
	}
	if s := driftOf(&Log{Rounds: rounds[:3]}, nil).Sentinel; s != nil {
		t.Errorf("%v of one visit", s)
	}
}
