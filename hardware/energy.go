package hardware

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"genbench/hardware/native"
)

// An EnergyMeter measures what a device takes from its supply, in windows that begin
// and end with a tick of the device's own counter, so a window is wrong by one tick at
// most. It counts everything that the device does, whoever asked for it. One goroutine
// uses it at a time, and while a GPU's is in use no other may call its NVML.
type EnergyMeter struct {
	device string
	joules func() (float64, error) // cumulative
	// watts is the power at this moment, to check the counter by; nil where there is
	// only the counter.
	watts       func() (float64, error)
	celsius     func() (float64, error)
	poll        time.Duration // between two looks for a tick; 0 looks without pause
	uncheckable string        // why watts is nil

	now    func() int64
	sleep  func(context.Context, time.Duration) error
	period time.Duration // of the counter's ticks; 0 until it is learned
}

// An EnergyUnavailableError says why a device's energy can't be measured.
type EnergyUnavailableError struct {
	Device string
	Why    string
}

func (e *EnergyUnavailableError) Error() string {
	return fmt.Sprintf("measure energy of %s: %s", e.Device, e.Why)
}

// An EnergyWindow is what a device took between two ticks of its counter.
type EnergyWindow struct {
	StartNS int64   `json:"t_start_ns"` // native.Now at the ticks
	EndNS   int64   `json:"t_end_ns"`
	GrossJ  float64 `json:"gross_j"`
	// PeriodNS is the time between ticks, and Ticks how many the window spans: a window
	// is uncertain by one part in that many.
	PeriodNS int64   `json:"counter_period_ns"`
	Ticks    float64 `json:"counter_ticks"`
	// CrossCheckJ integrates the momentary power; CrossCheckPct is by how much it
	// exceeds GrossJ. More than 5 % either way is suspect (protocol J3).
	CrossCheckJ   *float64 `json:"cross_check_j"`
	CrossCheckPct *float64 `json:"cross_check_pct"`
	Suspect       bool     `json:"energy_suspect"`
	StartC        *float64 `json:"temperature_start_c"`
	EndC          *float64 `json:"temperature_end_c"`

	Reasons Reasons `json:"-"` // why a field is nil
}

// MarshalJSON puts each reason beside its field.
func (w EnergyWindow) MarshalJSON() ([]byte, error) {
	type plain EnergyWindow
	return marshalWithReasons(plain(w), w.Reasons)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (w *EnergyWindow) UnmarshalJSON(b []byte) error {
	type plain EnergyWindow
	return unmarshalWithReasons(b, (*plain)(w), &w.Reasons)
}

// Seconds is the length of the window.
func (w EnergyWindow) Seconds() float64 { return float64(w.EndNS-w.StartNS) / 1e9 }

// MeanW is the mean power; over a window in which the device has nothing to do it is
// the idle power.
func (w EnergyWindow) MeanW() float64 { return w.GrossJ / w.Seconds() }

const (
	// minTicks bounds the uncertainty of a window to 1 % (protocol J1, J2).
	minTicks = 100
	// maxEnergyDeviation is that of the counter from the power (protocol J3).
	maxEnergyDeviation = 0.05
	// learnedTicks are watched for their period, for no longer than learnTime.
	learnedTicks = 20
	learnTime    = 3 * time.Second
	// stillTime without a tick says that the counter does not count.
	stillTime = 5 * time.Second
	// The power is looked at twice a tick, but within these bounds: NVML's calls are
	// not free, and a window has only a few hundred looks.
	minLook, maxLook = 10 * time.Millisecond, 100 * time.Millisecond
)

// NewHostEnergyMeter reads the RAPL counters of the processor packages, and of their
// memory where it has its own, from the /sys below root; the empty root is "/". AMD's
// processors have them under the same name. On a machine without them the error is an
// *EnergyUnavailableError: virtual machines show none, and only root may read them.
func NewHostEnergyMeter(root string) (*EnergyMeter, error) {
	t := openTree(root)
	zones, err := raplZones(t)
	if err != nil {
		return nil, &EnergyUnavailableError{"the host", err.Error()}
	}
	thermometer := &hostSampler{tree: t, sensors: sensorFiles(t)}
	return &EnergyMeter{
		device: "the host", joules: zones.joules, celsius: thermometer.temperature,
		uncheckable: "RAPL tells no momentary power", now: native.Now, sleep: sleep,
	}, nil
}

// NewGPUEnergyMeter reads the energy counter of a GPU, which Volta and newer boards
// have. The error is an *EnergyUnavailableError where the driver reports none, and on a
// board that is split up (MIG), whose parts have no counters of their own.
func NewGPUEnergyMeter(n *NVML, uuid string) (*EnergyMeter, error) {
	name := "GPU " + uuid
	device, err := n.find(uuid)
	if err != nil {
		return nil, fmt.Errorf("measure energy of %s: %w", name, err)
	}
	if mig, err := ask(n, func() (int, nvml.Return) { now, _, code := device.GetMigMode(); return now, code }, "nvmlDeviceGetMigMode"); err == nil && mig == nvml.DEVICE_MIG_ENABLE {
		return nil, &EnergyUnavailableError{name, "the board is split into instances (MIG), and counts energy for all of them together"}
	}
	joules := func() (float64, error) {
		mJ, err := ask(n, device.GetTotalEnergyConsumption, "nvmlDeviceGetTotalEnergyConsumption")
		return convert(mJ, err, fromMilli)
	}
	if _, err := joules(); errors.Is(err, ErrGPULost) {
		return nil, fmt.Errorf("measure energy of %s: %w", name, err)
	} else if err != nil {
		return nil, &EnergyUnavailableError{name, err.Error()}
	}
	m := &EnergyMeter{
		device: name, joules: joules, poll: time.Millisecond, now: native.Now, sleep: sleep,
		watts: func() (float64, error) { return n.momentaryPower(device) },
		celsius: func() (float64, error) {
			c, err := n.temperature(device)
			return float64(c), err
		},
	}
	if _, err := m.watts(); err != nil {
		m.watts, m.uncheckable = nil, err.Error()
	}
	return m, nil
}

// momentaryPower reads the power now in watts. The older function gives the mean of
// the last second on some boards (nvml.h at NVML_FI_DEV_POWER_AVERAGE), so it comes
// second.
func (n *NVML) momentaryPower(d nvml.Device) (float64, error) {
	now, err := n.field(d, nvml.FI_DEV_POWER_INSTANT)
	if err == nil {
		return fromMilli(now), nil
	}
	mW, oldErr := ask(n, d.GetPowerUsage, "nvmlDeviceGetPowerUsage")
	if oldErr != nil {
		return 0, fmt.Errorf("%w; %w", err, oldErr)
	}
	return fromMilli(mW), nil
}

// Measure watches the device for a time, and for a hundred ticks at least. It returns
// after the tick that follows. Work that is to be measured runs all the while, beside
// this call; StartNS and EndNS say how much of it fell into the window.
func (m *EnergyMeter) Measure(ctx context.Context, atLeast time.Duration) (EnergyWindow, error) {
	fail := func(err error) (EnergyWindow, error) {
		return EnergyWindow{}, fmt.Errorf("measure energy of %s: %w", m.device, err)
	}
	if m.period == 0 {
		period, err := m.learn(ctx)
		if err != nil {
			return fail(err)
		}
		m.period = period
	}
	w := EnergyWindow{PeriodNS: m.period.Nanoseconds()}
	r := &w.Reasons
	start, first, err := m.tick(ctx)
	if err != nil {
		return fail(err)
	}
	w.StartNS = start
	w.StartC = try(m.celsius()).or(r, "temperature_start_c")
	var powers []power
	look := min(max(m.period/2, minLook), maxLook)
	for until := start + max(atLeast, minTicks*m.period).Nanoseconds(); ; {
		if powers, err = m.lookAtPower(powers); err != nil {
			r.add("cross_check_j", "%v", err)
		}
		now := m.now()
		if now >= until {
			break
		}
		if err := m.sleep(ctx, min(look, time.Duration(until-now))); err != nil {
			return fail(err)
		}
		// A counter that wraps around must be read at least once per turn.
		if _, err := m.joules(); err != nil {
			return fail(err)
		}
	}
	end, last, err := m.tick(ctx)
	if err != nil {
		return fail(err)
	}
	w.EndNS, w.GrossJ = end, last-first
	w.Ticks = float64(end-start) / float64(m.period)
	w.EndC = try(m.celsius()).or(r, "temperature_end_c")
	w.check(powers, m.uncheckable)
	return w, nil
}

// A power is one reading of it.
type power struct {
	at    int64
	watts float64
}

func (m *EnergyMeter) lookAtPower(powers []power) ([]power, error) {
	if m.watts == nil {
		return nil, nil
	}
	watts, err := m.watts()
	if err != nil {
		return powers, err
	}
	return append(powers, power{m.now(), watts}), nil
}

// check integrates the power over the window by trapezoids. Before the first look and
// after the last the power is taken to be theirs.
func (w *EnergyWindow) check(powers []power, why string) {
	if _, failed := w.Reasons["cross_check_j"]; !failed && len(powers) == 0 {
		w.Reasons.add("cross_check_j", "%s", why)
	}
	if why, failed := w.Reasons["cross_check_j"]; failed {
		w.Reasons.add("cross_check_pct", "%s", why)
		return
	}
	powers = slices.Concat([]power{{w.StartNS, powers[0].watts}}, powers, []power{{w.EndNS, powers[len(powers)-1].watts}})
	var joules float64
	for i := range len(powers) - 1 {
		joules += (powers[i].watts + powers[i+1].watts) / 2 * float64(powers[i+1].at-powers[i].at) / 1e9
	}
	deviation := joules/w.GrossJ - 1
	percent := 100 * deviation
	w.CrossCheckJ, w.CrossCheckPct = &joules, &percent
	w.Suspect = !(math.Abs(deviation) <= maxEnergyDeviation)
}

// learn finds the period of the counter's ticks: the median distance of twenty.
func (m *EnergyMeter) learn(ctx context.Context) (time.Duration, error) {
	var distances []int64
	last, _, err := m.tick(ctx)
	if err != nil {
		return 0, err
	}
	for begun := last; len(distances) < learnedTicks && (len(distances) < 2 || last-begun < learnTime.Nanoseconds()); {
		at, _, err := m.tick(ctx)
		if err != nil {
			return 0, err
		}
		distances = append(distances, at-last)
		last = at
	}
	slices.Sort(distances)
	return time.Duration(distances[len(distances)/2]), nil
}

// tick waits until the counter moves and gives the time and what it then reads.
func (m *EnergyMeter) tick(ctx context.Context) (at int64, joules float64, err error) {
	before, err := m.joules()
	if err != nil {
		return 0, 0, err
	}
	for begun := m.now(); ; {
		joules, err := m.joules()
		now := m.now()
		switch {
		case err != nil:
			return 0, 0, err
		case joules != before:
			return now, joules, nil
		case now-begun > max(stillTime, 10*m.period).Nanoseconds():
			return 0, 0, fmt.Errorf("the counter has stood at %g J for %v", joules, time.Duration(now-begun).Round(time.Millisecond))
		}
		if m.poll == 0 {
			err = ctx.Err()
		} else {
			err = m.sleep(ctx, m.poll)
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// A raplZone is one counter of the kernel's powercap tree (Documentation/power/
// powercap/powercap.rst), in microjoules.
type raplZone struct {
	energy string // the file
	turn   int64  // where the counter wraps around
	last   int64  // as read
	turned int64  // what came before, since the first reading
}

// raplCounters are zones that count independently of each other.
type raplCounters struct {
	tree  tree
	zones []raplZone
}

// raplZones finds the packages and the memory that is counted separately. Their parts
// (core, uncore) are in the packages' sum, psys holds the whole platform, and
// intel-rapl-mmio shows the packages a second time.
func raplZones(t tree) (*raplCounters, error) {
	counters := &raplCounters{tree: t}
	for _, name := range t.glob("sys/class/powercap/intel-rapl:*/name") {
		kind, err := t.text(name)
		if err != nil {
			return nil, err
		}
		dir := path.Dir(name)
		depth := strings.Count(path.Base(dir), ":")
		if !(depth == 1 && strings.HasPrefix(kind, "package") || depth == 2 && kind == "dram") {
			continue
		}
		zone := raplZone{energy: dir + "/energy_uj"}
		if zone.turn, err = t.integer(dir + "/max_energy_range_uj"); err != nil {
			return nil, err
		}
		if zone.last, err = t.integer(zone.energy); errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("%w: only root may since Linux 5.10 (CVE-2020-8694); `chmod a+r /%s` as root lets others", err, zone.energy)
		} else if err != nil {
			return nil, err
		}
		counters.zones = append(counters.zones, zone)
	}
	if len(counters.zones) == 0 {
		return nil, errors.New("no processor package in /sys/class/powercap counts energy (RAPL); virtual machines show none")
	}
	return counters, nil
}

// joules sums what the zones counted, each carried over its turns.
func (c *raplCounters) joules() (float64, error) {
	var sum float64
	for i := range c.zones {
		z := &c.zones[i]
		now, err := c.tree.integer(z.energy)
		if err != nil {
			return 0, err
		}
		if now < z.last {
			z.turned += z.turn
		}
		z.last = now
		sum += float64(z.turned+now) / 1e6
	}
	return sum, nil
}
