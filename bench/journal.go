package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"genbench/engines"
	"genbench/hardware"
	"genbench/models"
)

// Schema is the version of the journal. A reader refuses any other by name.
const Schema = "genbench/1"

// JournalName is the journal's file within a run's directory: the only source,
// from which every view can be made again.
const JournalName = "run.jsonl"

// The records of a journal, one JSON object a line. A worker sends the same
// records over its pipe, so what was measured is written down as it was sent. Units
// stand in the keys; an unknown value is null.
type (
	// RunRecord is the first line: all that is known before anything is measured.
	RunRecord struct {
		Type            string                   `json:"type"` // "run"
		Schema          string                   `json:"schema"`
		Protocol        string                   `json:"protocol"`
		ID              string                   `json:"id"`
		Started         time.Time                `json:"started_utc"`
		MonotonicBase   int64                    `json:"monotonic_base_ns"` // native.Now at the start; other t_ns count from here
		GenbenchVersion string                   `json:"genbench_version"`
		GenbenchSHA256  string                   `json:"genbench_sha256"` // of the binary
		Argv            []string                 `json:"argv"`
		Config          Config                   `json:"config"`
		Seed            uint64                   `json:"seed"`
		PlannedSeconds  float64                  `json:"planned_s"`
		Host            hardware.HostDescription `json:"host"`
		Devices         []hardware.Info          `json:"devices"` // that can be measured on
		GPUs            []hardware.GPU           `json:"gpus"`    // as NVML identifies them; null with gpus_reason where there is no NVML
		GPUsReason      string                   `json:"gpus_reason,omitempty"`
		Engines         []EngineRecord           `json:"engines"`
		Plan            []PlannedPoint           `json:"plan"`
		Findings        []hardware.Finding       `json:"findings"` // what preflight found disturbing

		PreflightSeconds float64 `json:"preflight_s"` // how long looking at the machine before the run took
	}

	// EngineRecord is an engine that the run asked for, available or not.
	EngineRecord struct {
		engines.Info
		Available bool   `json:"available"`
		Reason    string `json:"reason,omitempty"` // why it is not available
		Reference bool   `json:"reference,omitempty"`
	}

	// ModelRecord is a network as it was measured, and what it should answer.
	ModelRecord struct {
		Type          string   `json:"type"` // "model"
		Model         string   `json:"model"`
		Family        string   `json:"family"`
		Source        string   `json:"source"`
		Precision     string   `json:"precision"`
		Batch         int      `json:"batch"`
		Resolution    int      `json:"resolution"`
		ONNXSHA256    string   `json:"onnx_sha256"`
		Weights       string   `json:"weights"` // where they come from
		WeightsSHA256 string   `json:"weights_sha256"`
		Params        int64    `json:"params"`
		MACs          int64    `json:"macs"` // of one image
		Top1          *float64 `json:"top1_percent"`
		Top1Source    string   `json:"top1_source,omitempty"`
		// Ranges are what an int8 or fp8 model was calibrated to; nil in other precisions.
		Ranges *models.Ranges `json:"ranges,omitempty"`
		// Expected holds the fp32 reference's logits of the batch's first image.
		Expected []float32 `json:"expected_logits,omitempty"`
	}

	// PointRecord is one visit's preparation: build, first inference, check; or
	// why there was none.
	PointRecord struct {
		Type   string `json:"type"` // "point"
		ID     string `json:"point"`
		Launch int    `json:"launch"` // from 1; 0 where the point never ran
		Round  int    `json:"round"`
		Point  Point  `json:"cell"`
		// Sentinel marks the preparation of a visit that only watches for drift (D1).
		Sentinel bool `json:"sentinel,omitempty"`

		BuildNS int64 `json:"build_ns,omitempty"` // network to session
		FirstNS int64 `json:"first_inference_ns,omitempty"`
		// ArrangeNS is what capturing graphs and copying inputs took after it (M5, M6);
		// GraphNodes and RotatedInputs are how many there are. InputsAsked is how many
		// would fill twice the cache, where fewer rotate.
		ArrangeNS     int64 `json:"arrange_ns,omitempty"`
		GraphNodes    int   `json:"graph_nodes,omitempty"`
		RotatedInputs int   `json:"rotated_inputs,omitempty"`
		InputsAsked   int   `json:"inputs_asked,omitempty"`

		Executed engines.Execution `json:"executed"`
		Check    *Check            `json:"check,omitempty"`

		Failed string `json:"failed,omitempty"` // reason
		// Skipped is why the engine does not run the point as its axes ask.
		Skipped string   `json:"skipped,omitempty"`
		Log     []string `json:"log_tail,omitempty"` // the worker's last words
	}

	// RoundRecord is one block of samples.
	RoundRecord struct {
		Type   string `json:"type"` // "round"
		ID     string `json:"point"`
		Launch int    `json:"launch"` // from 1
		Round  int    `json:"round"`  // from 1, within the launch
		Try    int    `json:"try"`    // from 1; more than one where earlier tries were dropped
		Order  int    `json:"order"`  // position of the visit within the round, from 1
		// Sentinel marks a visit that only watches for drift (D1). Its Round counts
		// such visits of the whole run; it takes no part in the point's estimates.
		Sentinel bool `json:"sentinel,omitempty"`

		// AmortisedOver is how many inferences back to back each sample is the mean of;
		// 0 where a sample is one inference (M4).
		AmortisedOver int `json:"amortised_over,omitempty"`

		Start     int64   `json:"t_start_ns"`
		DeviceNS  []int64 `json:"device_ns"`
		EnqueueNS []int64 `json:"enqueue_ns"` // null on a host device: one time is all there is
		HostNS    []int64 `json:"host_ns"`    // null on a host device

		Status     Status `json:"status"` // ok or dropped
		DropReason string `json:"drop_reason,omitempty"`
		// Disturbances are the classes of what was seen, also in a round that is kept.
		Disturbances []Disturbance `json:"disturbances,omitempty"`

		WarmupSamples int `json:"warmup_n"`
		// WarmupFar says that the last inference of the warm-up did not lie near the
		// median of the last five (W1).
		WarmupFar bool        `json:"warmup_far,omitempty"`
		Steady    SteadyProof `json:"steady_proof"`
		// ContextSwitches counts how often a worker's thread was made to give way.
		ContextSwitches int64             `json:"involuntary_context_switches"`
		Interval        hardware.Interval `json:"telemetry"`
		// ClockMHz is the mean SM clock by the GPU's own cycle counters, from before the
		// steady state was proven to the last sample (C2); null on a host device. LockMHz
		// is the clock that was asked for; 0 where it floats.
		ClockMHz    *float64 `json:"sm_clock_eff_mhz"`
		ClockReason string   `json:"sm_clock_eff_mhz_reason,omitempty"`
		LockMHz     int      `json:"clock_requested_mhz,omitempty"`

		// superseded marks a round whose launch was started again (Log.supersede).
		superseded bool
	}

	// ReadingRecord is one row of counters.
	ReadingRecord struct {
		Type   string `json:"type"`   // "reading"
		Device string `json:"device"` // id of the device that was read
		// Missing says why there is nothing but the time; empty where there is more.
		Missing string `json:"missing,omitempty"`
		hardware.Reading
	}

	// ResumeRecord begins what was added to a run after it had been interrupted.
	ResumeRecord struct {
		Type            string             `json:"type"` // "resume"
		Started         time.Time          `json:"started_utc"`
		MonotonicBase   int64              `json:"monotonic_base_ns"` // as in the run record, for what follows
		GenbenchVersion string             `json:"genbench_version"`
		Argv            []string           `json:"argv"`
		Findings        []hardware.Finding `json:"findings"`
	}

	// EndRecord is the last line of a run that came to an end, planned or not.
	EndRecord struct {
		Type           string  `json:"type"` // "end"
		ExitCode       int     `json:"exit_code"`
		Reason         string  `json:"reason,omitempty"`
		PlannedSeconds float64 `json:"planned_s"`
		UsedSeconds    float64 `json:"used_s"`
		// PreparingSeconds is the part of it before the first visit: expected outputs,
		// calibration, settling of the first launch.
		PreparingSeconds float64 `json:"preparing_s"`
		// MeasuringSeconds is the part of it inside timed blocks, warm-up included.
		MeasuringSeconds float64 `json:"measuring_s"`
	}
)

// wrong tells whether the output differed from the reference's.
func (p *PointRecord) wrong() bool { return p.Check != nil && !p.Check.Pass }

// wrongOutput is why a point that answers wrongly is given up.
const wrongOutput = "the output differs from the reference"

// Status of a round.
type Status string

const (
	OK      Status = "ok"
	Dropped Status = "dropped"
)

// A Journal appends records to a run's file and syncs each to the disk before it
// returns: nothing measured is ever lost.
type Journal struct {
	f    *os.File
	path string
	buf  bytes.Buffer
}

// CreateJournal makes a run's directory and its empty journal. A directory that
// already holds a journal is an error: results are never overwritten.
func CreateJournal(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create result directory: %w", err)
	}
	path := filepath.Join(dir, JournalName)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("create journal: %s already holds a run; choose another --out", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	return &Journal{f: f, path: path}, nil
}

// Append writes one record as a line and syncs it. After an error the file may
// end in a torn line, which readers ignore.
func (j *Journal) Append(record any) error {
	if err := j.Note(record); err != nil {
		return err
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("write journal %s: %w; everything before this line is kept", j.path, err)
	}
	return nil
}

// Note writes one record as a line that the next Append syncs: for readings: losing a
// few costs no measurement, and syncing each would keep the disk busy during one.
func (j *Journal) Note(record any) error {
	j.buf.Reset()
	enc := json.NewEncoder(&j.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(record); err != nil {
		return fmt.Errorf("write journal %s: %w", j.path, err)
	}
	if _, err := j.f.Write(j.buf.Bytes()); err != nil {
		return fmt.Errorf("write journal %s: %w; everything before this line is kept", j.path, err)
	}
	return nil
}

// Discard removes a journal to which nothing was written, and its directory if it is
// empty then: a run that never began leaves nothing behind.
func (j *Journal) Discard() error {
	if err := os.Remove(j.path); err != nil {
		return fmt.Errorf("discard journal: %w", err)
	}
	if err := os.Remove(filepath.Dir(j.path)); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("discard journal: %w", err)
	}
	return nil
}

// Close ends the file.
func (j *Journal) Close() error { return j.f.Close() }

// A Log is a journal as read back, in the order it was written.
type Log struct {
	Run      RunRecord
	Models   []ModelRecord
	Points   []PointRecord
	Rounds   []RoundRecord
	Energies []EnergyRecord
	Copies   []CopyRecord
	Layers   []LayerRecord
	Settles  []SettleRecord
	Readings []ReadingRecord
	Resumes  []ResumeRecord
	Clocks   []ClocksRecord
	// End is nil where the run was cut off. A run that was resumed has its last.
	End *EndRecord

	// TornLine is the number of a last line that was cut short, 0 if none was.
	TornLine int
	// Unknown counts records of types this version does not know.
	Unknown map[string]int
}

// A JournalError says where a journal is damaged. Intact holds what stands before
// the damage.
type JournalError struct {
	Path   string
	Line   int
	Reason string
	Intact *Log // nil where not even the first line could be read
}

func (e *JournalError) Error() string {
	s := fmt.Sprintf("read journal %s: line %d: %s", e.Path, e.Line, e.Reason)
	if e.Intact != nil {
		s += fmt.Sprintf("; %d rounds before it are intact", len(e.Intact.Rounds))
	}
	return s
}

// ReadLog reads the journal of a run's directory. A torn last line is noted, not
// an error. Damage anywhere else is a *JournalError, which carries what was
// intact before it.
func ReadLog(dir string) (*Log, error) {
	path := dir
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		path = filepath.Join(dir, JournalName)
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read journal: %s holds no %s; is it a result directory of `genbench run`?", dir, JournalName)
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	return readLog(f, path)
}

func readLog(r io.Reader, path string) (*Log, error) {
	log := &Log{Unknown: map[string]int{}}
	in := bufio.NewReaderSize(r, 1<<20)
	for number := 1; ; number++ {
		line, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("read journal %s: line %d: %w", path, number, err)
		}
		torn := err == io.EOF
		if torn && len(bytes.TrimSpace(line)) == 0 {
			if number == 1 {
				return nil, &JournalError{Path: path, Line: 1, Reason: "the file is empty"}
			}
			return log, nil
		}
		if reason := log.add(line, number == 1); reason != "" {
			if number == 1 {
				return nil, &JournalError{Path: path, Line: 1, Reason: reason}
			}
			if torn {
				log.TornLine = number
				return log, nil
			}
			return nil, &JournalError{Path: path, Line: number, Reason: reason, Intact: log}
		}
		if torn {
			return log, nil
		}
	}
}

// add takes one line in; a non-empty answer is the reason it could not.
func (l *Log) add(line []byte, first bool) string {
	kind, err := recordType(line)
	if err != nil {
		return "not a JSON object: " + err.Error()
	}
	if first != (kind == "run") {
		if first {
			return fmt.Sprintf("the first record must be of type \"run\", got %q", kind)
		}
		return "a second record of type \"run\""
	}
	into := func(v any) string {
		if err := json.Unmarshal(line, v); err != nil {
			return fmt.Sprintf("damaged record of type %q: %v", kind, err)
		}
		return ""
	}
	switch kind {
	case "run":
		var head struct {
			Schema string `json:"schema"`
		}
		// Before all else: another schema may have other types.
		if reason := into(&head); reason != "" {
			return reason
		}
		if head.Schema != Schema {
			return fmt.Sprintf("schema %q, this version reads %q", head.Schema, Schema)
		}
		if reason := into(&l.Run); reason != "" {
			return reason
		}
		return l.Run.invalid()
	case "model":
		return appendRecord(&l.Models, into)
	case "point":
		return appendRecord(&l.Points, into)
	case "round":
		var r RoundRecord
		if reason := into(&r); reason != "" {
			return reason
		}
		if reason := r.invalid(); reason != "" {
			return reason
		}
		l.Rounds = append(l.Rounds, r)
		return ""
	case "copies":
		var c CopyRecord
		if reason := into(&c); reason != "" {
			return reason
		}
		if reason := c.invalid(); reason != "" {
			return reason
		}
		l.Copies = append(l.Copies, c)
		return ""
	case "energy":
		return appendRecord(&l.Energies, into)
	case "layers":
		return appendRecord(&l.Layers, into)
	case "settle":
		return appendRecord(&l.Settles, into)
	case "reading":
		return appendRecord(&l.Readings, into)
	case "clocks":
		var c ClocksRecord
		if reason := into(&c); reason != "" {
			return reason
		}
		l.supersede(c)
		l.Clocks = append(l.Clocks, c)
		return ""
	case "resume":
		l.End = nil // that of the part which was interrupted
		return appendRecord(&l.Resumes, into)
	case "end":
		var end EndRecord
		if reason := into(&end); reason != "" {
			return reason // cut short, as the run was
		}
		l.End = &end
		return ""
	}
	if !json.Valid(line) {
		return fmt.Sprintf("damaged record of type %q", kind)
	}
	l.Unknown[kind]++
	return ""
}

// typeFirst is how every line of ours begins.
const typeFirst = `{"type":"`

// recordType tells what a line holds. The type comes first in what genbench writes
// and is read off; only where it does not is the whole line decoded for it.
func recordType(line []byte) (string, error) {
	if rest, ours := bytes.CutPrefix(line, []byte(typeFirst)); ours {
		if kind, _, ends := bytes.Cut(rest, []byte{'"'}); ends && !bytes.ContainsRune(kind, '\\') {
			return string(kind), nil
		}
	}
	var head struct {
		Type string `json:"type"`
	}
	err := json.Unmarshal(line, &head)
	return head.Type, err
}

func appendRecord[T any](to *[]T, into func(any) string) string {
	var v T
	if reason := into(&v); reason != "" {
		return reason
	}
	*to = append(*to, v)
	return ""
}

// invalid says why a plan that parsed cannot be true.
func (r *RunRecord) invalid() string {
	ids := map[string]bool{}
	for _, p := range r.Plan {
		switch {
		case p.Point.Batch < 1:
			return fmt.Sprintf("point %q of the plan has a batch of %d", p.ID, p.Point.Batch)
		case p.Point.Resolution < 0 || p.MACs < 0 || p.Params < 0:
			return fmt.Sprintf("point %q of the plan has resolution %d, %d MACs, %d parameters", p.ID, p.Point.Resolution, p.MACs, p.Params)
		case ids[p.ID]:
			return fmt.Sprintf("point %q is in the plan twice", p.ID)
		}
		ids[p.ID] = true
	}
	return ""
}

// invalid says why a round that parsed cannot be true.
func (r *RoundRecord) invalid() string {
	if r.Status != OK && r.Status != Dropped {
		return fmt.Sprintf("round with status %q, want ok or dropped", r.Status)
	}
	if len(r.DeviceNS) == 0 && r.Status == OK {
		return "round without samples"
	}
	for i, ns := range r.DeviceNS {
		if ns <= 0 {
			return fmt.Sprintf("round with a sample %d of %d ns", i, ns)
		}
	}
	if len(r.HostNS) > 0 && len(r.HostNS) != len(r.DeviceNS) {
		return fmt.Sprintf("round with %d host times of %d samples", len(r.HostNS), len(r.DeviceNS))
	}
	for i, ns := range r.HostNS {
		if ns <= 0 {
			return fmt.Sprintf("round with a host time %d of %d ns", i, ns)
		}
	}
	return ""
}

// WallNS is how long each sample took by the host's clock, waiting included: what work
// is divided by to give a rate (M3).
func (r *RoundRecord) WallNS() []int64 {
	if len(r.HostNS) > 0 {
		return r.HostNS
	}
	return r.DeviceNS // which is the same on a host device
}
