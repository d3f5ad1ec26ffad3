package verdict

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"genbench/bench"
	"genbench/models"
)

// A Calibration is what an A/A comparison on one machine found: how far two
// measurements of the same thing lie apart there (R5).
type Calibration struct {
	Schema  string           `json:"schema"`
	Setting Setting          `json:"setting"`
	Points  map[string]Floor `json:"points"` // by floorID
}

// floorID names a point's floor: by the network itself, whose file may lie elsewhere next
// time, or hold another network under the same name.
func floorID(p bench.Point, network string) string {
	if models.IsFile(p.Model) {
		p.Model = filepath.Base(p.Model)
	}
	return short(p.String(), network)
}

// Floor is that of a point with a network of such a sha256.
func (c *Calibration) Floor(p bench.Point, network string) (Floor, bool) {
	f, ok := c.Points[floorID(p, network)]
	return f, ok
}

// A Floor is a machine's noise at one point.
type Floor struct {
	// Floor is the 95th percentile of |ratio-1| over the pairs.
	Floor float64 `json:"floor"`
	// PairSD is the standard deviation of a pair's log ratio.
	PairSD float64   `json:"pair_sd"`
	Pairs  int       `json:"pairs"`
	Taken  time.Time `json:"taken_utc"` // when the first of them began
}

// A Setting is what a calibration holds for: a machine, and how it was measured on.
type Setting struct {
	Machine
	Devices    []string `json:"devices"` // ids of those measured on
	Threads    int      `json:"threads"`
	PinnedCPUs []int    `json:"pinned_cpus"`
	Turbo      string   `json:"turbo"`
	Clocks     string   `json:"clocks"` // how a GPU's were set
	// Sampling is a digest of the protocol's numbers that decide how a sample is taken.
	Sampling string `json:"sampling"`
}

// SettingOf is the setting that an arm was taken in.
func SettingOf(a Arm) Setting {
	r := a.Run()
	s := Setting{Machine: MachineOf(r), Threads: r.Config.Threads, PinnedCPUs: r.Host.PinnedCPUs, Turbo: text(r.Host.Turbo), Clocks: clocks(a),
		Sampling: digestOf(sampling(r.Config.Protocol))}
	for _, d := range r.Devices {
		s.Devices = append(s.Devices, d.ID)
	}
	return s
}

// Equal tells whether two settings are the same.
func (s Setting) Equal(o Setting) bool { return s.id() == o.id() }

// id tells settings apart, and names the file of this one's calibration.
func (s Setting) id() string {
	return digestOf(s)
}

// digestOf tells values of strings and numbers apart.
func digestOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// A Machine is what a measurement was taken on, as far as a change of it makes another
// machine.
type Machine struct {
	HostnameHash string   `json:"hostname_hash"`
	CPU          string   `json:"cpu_model"`
	Cores        string   `json:"cores"`
	Governor     string   `json:"governor"`
	GPUs         []string `json:"gpus"` // UUID, driver and power limit
}

// calibrationSchema is the version of the calibration file.
const calibrationSchema = "genbench-calibration/3"

// Fresh is how long a calibration holds. A machine's noise follows what else runs
// on it, and a week is about as long as one may trust that.
const Fresh = 7 * 24 * time.Hour

// MachineOf is the machine that a run was taken on.
func MachineOf(r bench.RunRecord) Machine {
	m := Machine{HostnameHash: text(r.Host.HostnameHash), CPU: text(r.Host.CPUModel), Cores: cores(r), Governor: text(r.Host.Governor), GPUs: []string{}}
	for _, g := range r.GPUs {
		m.GPUs = append(m.GPUs, fmt.Sprintf("%s driver %s limit %s W", g.UUID, text(g.Driver), text(g.PowerLimitW)))
	}
	return m
}

// NewCalibration learns the floors from an A/A comparison of latencies, all of whose
// pairs were taken in one setting.
func NewCalibration(c *Comparison, s Setting) (*Calibration, error) {
	cal := &Calibration{Schema: calibrationSchema, Setting: s, Points: map[string]Floor{}}
	for _, r := range c.Families[0].Rows {
		if len(r.Pairs) < LeastCalibrationPairs {
			continue
		}
		off := make([]float64, len(r.Pairs))
		for i, d := range r.Pairs {
			off[i] = math.Abs(math.Expm1(d))
		}
		slices.Sort(off)
		cal.Points[floorID(r.Point, r.Network)] = Floor{Floor: off[int(math.Ceil(0.95*float64(len(off))))-1], PairSD: r.Pairs.spread(), Pairs: len(off), Taken: c.Base.Started.UTC()}
	}
	if len(cal.Points) == 0 {
		return nil, fmt.Errorf("calibrate: no point has %d pairs with numbers on both sides", LeastCalibrationPairs)
	}
	return cal, nil
}

// LeastCalibrationPairs is the least number of pairs whose 95th percentile is not
// simply the largest.
const LeastCalibrationPairs = 20

// A Coverage is what a calibration knows about the points of a run.
type Coverage struct {
	Points, Known int // points that are not skipped, and those of them with a floor
	// Largest of the floors is the least threshold that works for all points that have
	// one; At is the point that sets it.
	Largest float64
	At      bench.Point
}

// Coverage looks up a run's points.
func (c *Calibration) Coverage(log *bench.Log) Coverage {
	var v Coverage
	for _, o := range bench.Outcomes(log) {
		if o.State == bench.Skipped {
			continue
		}
		v.Points++
		f, ok := c.Floor(o.Point, networkOf(o))
		if !ok {
			continue
		}
		v.Known++
		if f.Floor > v.Largest {
			v.Largest, v.At = f.Floor, o.Point
		}
	}
	return v
}

// networkOf is the sha256 of what was measured; empty where that is not known.
func networkOf(o bench.Outcome) string {
	if o.Model == nil {
		return ""
	}
	return o.Model.ONNXSHA256
}

// Save writes the calibration of its setting below the state directory. Points that an
// earlier one has and this one lacks keep their floors.
func (c *Calibration) Save(state string, now time.Time) (string, error) {
	path := calibrationFile(state, c.Setting)
	// A file that cannot be read is replaced.
	kept := *c
	kept.Points = maps.Clone(c.Points)
	if earlier, _, err := LoadCalibration(state, c.Setting, now); err == nil && earlier != nil {
		maps.Copy(kept.Points, earlier.Points)
		maps.Copy(kept.Points, c.Points)
	}
	raw, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		return "", fmt.Errorf("save calibration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("save calibration: %w", err)
	}
	if err := os.WriteFile(path+".part", append(raw, '\n'), 0o644); err != nil {
		return "", fmt.Errorf("save calibration: %w", err)
	}
	if err := os.Rename(path+".part", path); err != nil {
		return "", fmt.Errorf("save calibration: %w", err)
	}
	return path, nil
}

func calibrationFile(state string, s Setting) string {
	return filepath.Join(state, "calibration", s.id()+".json")
}

// LoadCalibration finds the calibration of a setting, with the points whose floors are
// fresh. Where there are none, it gives nil and the reason.
func LoadCalibration(state string, s Setting, now time.Time) (*Calibration, string, error) {
	path := calibrationFile(state, s)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "this machine has never been calibrated as it is set up now", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read calibration: %w", err)
	}
	var c Calibration
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&c); err != nil {
		return nil, "", fmt.Errorf("read calibration %s: %w; run `genbench calibrate` again", path, err)
	}
	if c.Schema != calibrationSchema {
		return nil, "", fmt.Errorf("read calibration %s: schema %q, this version reads %q; run `genbench calibrate` again", path, c.Schema, calibrationSchema)
	}
	oldest := time.Duration(0)
	for id, f := range c.Points {
		if !(f.Floor >= 0) || math.IsInf(f.Floor, 0) {
			return nil, "", fmt.Errorf("read calibration %s: point %s has the floor %v; run `genbench calibrate` again", path, id, f.Floor)
		}
		age := now.Sub(f.Taken)
		oldest = max(oldest, age)
		if age > Fresh || age < -time.Hour { // or the clock was set wrong then, or is now
			delete(c.Points, id)
		}
	}
	switch {
	case len(c.Points) > 0:
	case oldest > 0:
		return nil, fmt.Sprintf("the calibration is %.0f days old", oldest.Hours()/24), nil
	default:
		return nil, "the calibration is dated in the future", nil
	}
	return &c, "", nil
}

// StateEnv names the environment variable that moves genbench's state directory.
const StateEnv = "GENBENCH_STATE"

// StateDir is where calibrations, baselines and the history are kept:
// $GENBENCH_STATE, or genbench below $XDG_STATE_HOME, which is ~/.local/state
// where it is not set (XDG Base Directory Specification 0.8).
func StateDir() (string, error) {
	if dir := os.Getenv(StateEnv); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "genbench"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find state directory: %w; set %s", err, StateEnv)
	}
	return filepath.Join(home, ".local", "state", "genbench"), nil
}

// Name is what a machine goes by in a history: the processor and the first digits
// that tell two of them apart.
func (m Machine) Name() string {
	return fmt.Sprintf("%s (%s)", m.CPU, m.HostnameHash[:min(6, len(m.HostnameHash))])
}
