package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"genbench/hardware"
	"genbench/models"
)

// ReopenJournal opens the journal of an interrupted run to continue it, and reads it.
// A torn last line is cut off: what follows must begin on a line of its own. A
// journal that is damaged elsewhere is refused.
func ReopenJournal(dir string) (*Journal, *Log, error) {
	path := filepath.Join(dir, JournalName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("reopen journal: %s holds no %s; is it a result directory of `genbench run`?", dir, JournalName)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reopen journal: %w", err)
	}
	log, err := readWhole(f, path)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return &Journal{f: f, path: path}, log, nil
}

// readWhole cuts off what follows the last line's end and reads the rest.
func readWhole(f *os.File, path string) (*Log, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("reopen journal: %w", err)
	}
	end, block := size, make([]byte, 64<<10)
	for end > 0 {
		part := block[:min(int64(len(block)), end)]
		if _, err := f.ReadAt(part, end-int64(len(part))); err != nil {
			return nil, fmt.Errorf("reopen journal: %w", err)
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			end -= int64(len(part) - i - 1)
			break
		}
		end -= int64(len(part))
	}
	log, err := readLog(io.NewSectionReader(f, 0, end), path)
	if err != nil || end == size {
		return log, err
	}
	if err := f.Truncate(end); err != nil {
		return nil, fmt.Errorf("cut the torn line off journal %s: %w", path, err)
	}
	return log, f.Sync()
}

// times are the t_ns at which rounds ended and readings were taken.
func (l *Log) times(yield func(int64) bool) {
	for i := range l.Rounds {
		end := l.Rounds[i].Start
		for _, ns := range l.Rounds[i].DeviceNS {
			end += ns
		}
		if !yield(end) {
			return
		}
	}
	for i := range l.Readings {
		if !yield(l.Readings[i].Time) {
			return
		}
	}
}

// lastTime is the latest t_ns of a log.
func (l *Log) lastTime() int64 {
	var last int64
	for t := range l.times {
		last = max(last, t)
	}
	return last
}

// usedSeconds is how long a run was under way, by its log: the pauses between its
// parts do not count.
func (l *Log) usedSeconds() float64 {
	begins := []int64{0}
	for _, r := range l.Resumes {
		begins = append(begins, r.Started.Sub(l.Run.Started).Nanoseconds())
	}
	lasted := make([]int64, len(begins))
	for t := range l.times {
		part := len(begins) - 1
		for part > 0 && t < begins[part] {
			part--
		}
		lasted[part] = max(lasted[part], t-begins[part])
	}
	var used int64
	for _, ns := range lasted {
		used += ns
	}
	return time.Duration(used).Seconds()
}

// ContinueBase gives the base of what is added to a run, such that its t_ns continue
// where the wall clock says, or at least after all that the log holds: the monotonic
// clock itself restarts with the machine.
func (l *Log) ContinueBase(monotonic int64, wall time.Time) int64 {
	return monotonic - max(wall.Sub(l.Run.Started).Nanoseconds(), l.lastTime()+1)
}

// Finished tells whether a run came to the end of its plan.
func (l *Log) Finished() bool { return l.End != nil && l.End.Reason == "" }

// recall takes in what an interrupted part of the run left.
func (r *Runner) recall(log *Log) {
	r.models = log.Models
	for _, c := range log.Clocks {
		r.clocks.set = c
		if c.Restarts > 0 && c.Policy == clocksLocked {
			r.clocks.lowered++
		}
	}
	proto := r.Plan.Config.Protocol
	for _, e := range log.Energies {
		if p, err := ParsePoint(e.ID); err == nil {
			r.done[visitID{e.Launch, 1, p}] = true
		}
	}
	for _, l := range log.Layers {
		if p, err := ParsePoint(l.ID); err == nil {
			r.done[visitID{l.Launch, 1, p}] = true
		}
	}
	lock := 0 // of the sentinel's last visit
	for i := range log.Rounds {
		round := &log.Rounds[i]
		p, err := ParsePoint(round.ID)
		if err != nil {
			continue // of a point that is not in the plan, or its visit is made again
		}
		r.groups[round.ID] = max(round.AmortisedOver, 1)
		last := round.Status == OK || round.Try > proto.Retries || round.superseded
		r.watch.fresh = round.Sentinel && last
		if round.Sentinel {
			if !last {
				continue
			}
			if p != r.watch.point || round.LockMHz != lock {
				r.watch.point, r.watch.first = p, 0 // under another clock it starts afresh
			}
			lock = round.LockMHz
			r.watch.seen, r.watch.due = round.Round, round.Start+proto.SentinelEvery.Nanoseconds()
			if round.Status == OK && r.watch.first == 0 {
				r.watch.first = float64(median(round.DeviceNS))
			}
			continue
		}
		if round.superseded {
			continue // its visit is made again
		}
		if round.Status == OK {
			r.keep(p, round.Launch, median(round.DeviceNS))
		}
		if last {
			r.strike(visitID{round.Launch, round.Round, p})
		}
	}
	for i := range log.Points {
		p := &log.Points[i]
		r.built(p)
		if (p.Failed != "" || p.Skipped != "" || p.wrong()) && !r.failed[p.Point] {
			r.drop(p.Point)
		}
	}
	r.used = log.usedSeconds()
	if log.End != nil {
		r.used, r.measuring = log.End.UsedSeconds, log.End.MeasuringSeconds
	}
}

// strike marks a visit as made by an earlier part of the run.
func (r *Runner) strike(v visitID) {
	if !r.done[v] {
		r.done[v] = true
		r.pace.past(v.point, v.launch > r.Plan.Config.Protocol.Launches)
	}
}

// Differences lists what makes measurements of one run and of another, planned one
// incomparable: the machine, the binary, the engines, or the plan.
func (r RunRecord) Differences(other RunRecord) []string {
	var list []string
	differ := func(what string, then, now any) {
		a, b := text(then), text(now)
		if a != b {
			list = append(list, fmt.Sprintf("%s: %s then, %s now", what, a, b))
		}
	}
	differ("protocol", r.Protocol, other.Protocol)
	differ("genbench version", r.GenbenchVersion, other.GenbenchVersion)
	differ("genbench binary (sha256)", r.GenbenchSHA256, other.GenbenchSHA256)
	a, b := r.Host, other.Host
	differ("host", a.HostnameHash, b.HostnameHash)
	differ("processor", a.CPUModel, b.CPUModel)
	differ("architecture", a.Architecture, b.Architecture)
	differ("processors", a.CPUs, b.CPUs)
	differ("SMT", a.SMT, b.SMT)
	differ("governor", a.Governor, b.Governor)
	differ("turbo", a.Turbo, b.Turbo)
	differ("kernel", a.Kernel, b.Kernel)
	differ("pinned processors", a.PinnedCPUs, b.PinnedCPUs)
	differ("devices", r.Devices, other.Devices)
	gpu := func(what string, of func(hardware.GPU) any) {
		differ(what, r.measuredGPU(of), other.measuredGPU(of))
	}
	gpu("driver", func(g hardware.GPU) any { return g.Driver })
	gpu("VBIOS", func(g hardware.GPU) any { return g.VBIOS })
	gpu("power limit, W", func(g hardware.GPU) any { return g.PowerLimitW })
	gpu("ECC", func(g hardware.GPU) any { return g.ECC })
	gpu("MIG", func(g hardware.GPU) any { return g.MIG })
	engineOf := func(r RunRecord, name string) any {
		for _, e := range r.Engines {
			if e.Name == name && e.Available {
				return e.Info
			}
		}
		return "not available"
	}
	for _, e := range r.Engines {
		differ("engine "+e.Name, engineOf(r, e.Name), engineOf(other, e.Name))
	}
	skips := map[string]string{}
	for _, p := range other.Plan {
		skips[p.ID] = p.Skip
	}
	for _, p := range r.Plan {
		// The text of a reason may name what is looked at again; whether there is one may
		// not change.
		skip, planned := skips[p.ID]
		switch {
		case !planned:
			list = append(list, fmt.Sprintf("point %s: not in this plan", p.ID))
		case (skip == "") != (p.Skip == ""):
			differ("point "+p.ID, skipped(p.Skip), skipped(skip))
		}
	}
	return list
}

// measuredGPU gives a property of the GPU that a run measures on; nil on a host, or
// where NVML does not know it.
func (r RunRecord) measuredGPU(of func(hardware.GPU) any) any {
	for _, g := range r.GPUs {
		if slices.ContainsFunc(r.Devices, func(d hardware.Info) bool { return d.ID == g.UUID }) {
			return of(g)
		}
	}
	return nil
}

// ChangedFiles lists the models whose file, or whose weights' file, is no longer what the
// log says was measured.
func (l *Log) ChangedFiles() ([]string, error) {
	var list []string
	seen := map[string]bool{}
	for _, m := range l.Models {
		file, key := models.IsFile(m.Model), fmt.Sprintf("%s@%d", m.Model, m.Resolution)
		if seen[key] || !file && l.Run.Config.Weights == "" {
			continue
		}
		seen[key] = true
		subject, err := l.Run.Config.openSubject(m.Model, m.Resolution, m.Batch)
		if err != nil {
			return nil, err
		}
		var now string
		if file {
			now, err = subject.file.SHA256()
		} else {
			now, err = hashWeights(subject.network)
		}
		if err := errors.Join(err, subject.close()); err != nil {
			return nil, err
		}
		if now != m.WeightsSHA256 {
			list = append(list, fmt.Sprintf("model %s: its file was sha256 %.12s then, %.12s now", m.Model, m.WeightsSHA256, now))
		}
	}
	return list, nil
}

func skipped(reason string) string {
	if reason == "" {
		return "measurable"
	}
	return "skipped, " + reason
}

// text of a value as the journal has it.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
