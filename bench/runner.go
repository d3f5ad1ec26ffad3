package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"genbench/hardware"
	"genbench/hardware/native"
)

// A Runner carries out a plan: it starts one worker process a launch, writes down
// what workers say, and outlives their crashes. It measures nothing itself and
// keeps quiet while they do.
type Runner struct {
	Plan    *Plan
	Journal *Journal
	// Base is native.Now at the start of the run.
	Base int64
	// Worker makes the command that starts a worker.
	Worker func(context.Context) *exec.Cmd
	// Telemetry is read once a second, each sampler by a goroutine of its own: one
	// that hangs holds nothing up.
	Telemetry []Telemetry
	// LogDir receives the workers' standard output and error, one file a worker.
	LogDir string
	// Events is told what happened, between rounds, on the runner's goroutine.
	Events func(Event)

	models    []ModelRecord
	failed    map[Point]bool
	medians   map[Point][]float64 // of kept rounds, over all launches
	pace      pace
	started   time.Time
	measuring float64
}

// Telemetry is a sampler and the id of the device that it reads.
type Telemetry struct {
	Device string
	hardware.Sampler
}

// An Event is what a person watching wants to know when a round has ended.
type Event struct {
	Kind   EventKind
	Point  Point
	Launch int
	Text   string // of a failure, a dropped round, or a stage
	// Latency over the launches so far, for Visited.
	Latency Estimate
	Unclean bool // the round was dropped or unsteady
	// Done and Total count visits; Left estimates the time until the last.
	Done, Total int
	Left        time.Duration
}

// EventKind says what an Event is about.
type EventKind int

const (
	Preparing EventKind = iota // expected outputs are being computed
	Launched                   // a worker began a launch
	Visited                    // a round ended
	Broken                     // a point failed and is given up
)

// A JournalFullError says that the journal could not be written; what it holds up
// to there is intact.
type JournalFullError struct{ Err error }

func (e *JournalFullError) Error() string { return e.Err.Error() }
func (e *JournalFullError) Unwrap() error { return e.Err }

// Run carries the plan out to its end, or until ctx is cancelled or the journal
// cannot be written. Failed points do not end it. It appends the end record.
func (r *Runner) Run(ctx context.Context) error {
	r.failed, r.medians = map[Point]bool{}, map[Point][]float64{}
	r.started = time.Now()
	r.pace = newPace(r.Plan)
	if r.Events == nil {
		r.Events = func(Event) {}
	}
	err := r.run(ctx)
	end := EndRecord{
		Type: "end", PlannedSeconds: r.Plan.PlannedSeconds(),
		UsedSeconds: time.Since(r.started).Seconds(), MeasuringSeconds: r.measuring,
	}
	var full *JournalFullError
	switch {
	case errors.As(err, &full):
		return err // there is no room for an end record either
	case ctx.Err() != nil:
		end.ExitCode, end.Reason = 130, "interrupted"
		err = ctx.Err()
	case err != nil:
		end.ExitCode, end.Reason = 1, err.Error()
	default:
		log, readErr := ReadLog(r.Journal.path)
		if readErr != nil {
			return readErr
		}
		log.End = &end
		end.ExitCode = NewResult(log).ExitCode()
	}
	if appendErr := r.append(end); appendErr != nil && err == nil {
		return appendErr
	}
	return err
}

func (r *Runner) run(ctx context.Context) error {
	sampling, stop := context.WithCancel(ctx)
	defer stop()
	readings := r.readings(sampling)

	r.Events(Event{Kind: Preparing, Total: r.pace.total, Left: r.pace.left()})
	all := r.visits(1, 1)
	if len(all) == 0 {
		return nil
	}
	if err := r.launch(ctx, LaunchSpec{Launch: 0, Visits: all}, readings); err != nil {
		return err
	}
	if len(r.models) == 0 && len(r.failed) == 0 {
		return errors.New("compute expected outputs: the worker said nothing")
	}
	proto := r.Plan.Config.Protocol
	for launch := 1; launch <= proto.Launches; launch++ {
		spec := LaunchSpec{Launch: launch}
		for round := 1; round <= proto.Rounds; round++ {
			spec.Visits = append(spec.Visits, r.visits(launch, round)...)
		}
		if heaviest := r.Plan.heaviest(); launch == 1 && heaviest >= 0 {
			spec.Settle = &r.Plan.Points[heaviest].Point
		}
		spec.Expected = map[string][]float32{}
		for _, m := range r.models {
			spec.Expected[fmt.Sprintf("%s@%d", m.Model, m.Resolution)] = m.Expected
		}
		r.Events(Event{Kind: Launched, Launch: launch, Done: r.pace.done, Total: r.pace.total, Left: r.pace.left()})
		if err := r.launch(ctx, spec, readings); err != nil {
			return err
		}
	}
	return nil
}

// visits lists a round's visits in its random order, without failed points.
func (r *Runner) visits(launch, round int) []Visit {
	var visits []Visit
	for position, i := range r.Plan.Order(launch, round) {
		if p := r.Plan.Points[i].Point; !r.failed[p] {
			visits = append(visits, Visit{Point: p, Round: round, Order: position + 1})
		}
	}
	return visits
}

// readings samples the counters once a second until ctx ends, beside the workers;
// a reading of the host takes tens of microseconds of one core.
func (r *Runner) readings(ctx context.Context) <-chan ReadingRecord {
	out := make(chan ReadingRecord, 16)
	for _, t := range r.Telemetry {
		go func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				reading, err := t.Sample()
				if err != nil {
					continue // the next second may answer; a gap shows in the journal
				}
				reading.Time -= r.Base
				select {
				case out <- ReadingRecord{Type: "reading", Device: t.Device, Reading: reading}:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return out
}

// launch runs a spec to its end, starting a new worker for what is left whenever
// one dies. The point that a worker died on has failed.
func (r *Runner) launch(ctx context.Context, spec LaunchSpec, readings <-chan ReadingRecord) error {
	spec.Base, spec.Config = r.Base, r.Plan.Config
	for attempt := 1; len(spec.Visits) > 0; attempt++ {
		death, err := r.worker(ctx, spec, attempt, readings)
		if err != nil {
			return err
		}
		if death == nil {
			return nil
		}
		if death.at == "" {
			return fmt.Errorf("start worker: %s%s", death.reason, indent(death.log))
		}
		if err := r.give(death, spec.Launch); err != nil {
			return err
		}
		spec.Settle = nil
		var rest []Visit
		for _, v := range spec.Visits {
			if !r.failed[v.Point] && !death.visited[visitKey{v.Point, v.Round}] {
				rest = append(rest, v)
			}
		}
		spec.Visits = rest
	}
	return nil
}

// A death is the end of a worker that did not finish.
type death struct {
	at      string // the point it was on, by id; empty before the first
	reason  string
	log     []string
	visited map[visitKey]bool // rounds it had ended
}

type visitKey struct {
	point Point
	round int
}

// give gives the point up that a worker died on.
func (r *Runner) give(d *death, launch int) error {
	point, err := ParsePoint(d.at)
	if err != nil {
		return err
	}
	return r.fail(PointRecord{Type: "point", ID: d.at, Launch: launch, Point: point, Failed: d.reason, Log: d.log})
}

func (r *Runner) fail(record PointRecord) error {
	if err := r.append(record); err != nil {
		return err
	}
	r.failed[record.Point] = true
	r.pace.drop(record.Point)
	r.Events(Event{Kind: Broken, Point: record.Point, Launch: record.Launch, Text: record.Failed, Done: r.pace.done, Total: r.pace.total, Left: r.pace.left()})
	return nil
}

func (r *Runner) append(record any) error {
	if err := r.Journal.Append(record); err != nil {
		return &JournalFullError{err}
	}
	return nil
}

// worker runs one worker process. It returns a death if the worker ended before
// it was done, and an error only for what must end the whole run.
func (r *Runner) worker(ctx context.Context, spec LaunchSpec, attempt int, readings <-chan ReadingRecord) (*death, error) {
	name := fmt.Sprintf("launch-%d", spec.Launch)
	if attempt > 1 {
		name += fmt.Sprintf("-%d", attempt)
	}
	logFile, err := os.Create(filepath.Join(r.LogDir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("create worker log: %w", err)
	}
	defer logFile.Close()
	pipe, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	defer pipe.Close()

	cmd := r.Worker(ctx)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{theirs} // becomes file descriptor 3
	// A group of its own: Ctrl-C at a terminal reaches the parent alone, which
	// then decides, and a kill reaches what an engine may have started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	// The input stays open until the worker has ended: its end would tell the
	// worker that the parent is gone.
	sent := make(chan error, 1)
	go func() { sent <- json.NewEncoder(stdin).Encode(spec) }()

	lines := make(chan []byte)
	go func() {
		defer close(lines)
		in := bufio.NewReader(pipe)
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return // a line without its end was cut off by the worker's death
			}
			lines <- line
		}
	}()

	l := &listener{runner: r, spec: spec, visited: map[visitKey]bool{}, allow: r.Plan.Config.Protocol.Watchdog}
	fatal, hung := l.listen(lines, readings, func() { _ = cmd.Cancel() })
	for range lines {
		// After a fatal error the worker is being killed; let its reader end.
	}
	stdin.Close()
	waitErr := cmd.Wait()
	if fatal != nil {
		return nil, fatal
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if l.done {
		return nil, nil
	}
	d := &death{at: l.at, visited: l.visited, log: tailOf(logFile.Name(), 20)}
	switch {
	case hung:
		d.reason = fmt.Sprintf("hung: no word for %s while at %q", l.allow.Round(time.Millisecond), l.stage)
	case waitErr == nil:
		d.reason = fmt.Sprintf("the worker ended early while at %q", l.stage)
	default:
		d.reason = fmt.Sprintf("the worker died (%s) while at %q", deathOf(waitErr, logFile.Name()), l.stage)
	}
	if err := <-sent; err != nil && l.at == "" {
		d.reason += fmt.Sprintf("; its launch could not be sent: %v", err)
	}
	return d, nil
}

// deathOf says how a process ended. A fault inside an engine's C code is caught by
// the Go runtime, which prints it and exits with a code that tells nothing; the
// line it printed does.
func deathOf(err error, log string) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	f, openErr := os.Open(log)
	if openErr != nil {
		return exit.String()
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, "SIG") || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "genbench: ") {
			return line
		}
	}
	return exit.String()
}

// tailOf gives the last lines of a log; a log that cannot be read says so.
func tailOf(path string, n int) []string {
	const most = 16 << 10
	f, err := os.Open(path)
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return []string{err.Error()}
		}
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return []string{err.Error()}
	}
	trimmed := strings.TrimSpace(string(text))
	if trimmed == "" {
		return nil
	}
	lines := strings.Split(trimmed, "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return lines
}

func indent(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "\n  " + strings.Join(lines, "\n  ")
}

// A listener takes in what one worker says.
type listener struct {
	runner  *Runner
	spec    LaunchSpec
	at      string // the point the worker is on
	stage   string
	allow   time.Duration
	visited map[visitKey]bool
	began   int64 // of the current visit
	done    bool
}

// listen takes lines until the worker closes its pipe. Silence longer than the
// worker announced is a hang: kill is called and hung returned. So it is for an
// error that must end the run.
func (l *listener) listen(lines <-chan []byte, readings <-chan ReadingRecord, kill func()) (fatal error, hung bool) {
	watchdog := time.NewTimer(l.allow)
	defer watchdog.Stop()
	for {
		select {
		case line, open := <-lines:
			if !open {
				return nil, hung
			}
			if err := l.take(line); err != nil {
				kill()
				return err, false
			}
			watchdog.Reset(l.allow)
		case reading := <-readings:
			if err := l.runner.append(reading); err != nil {
				kill()
				return err, false
			}
		case <-watchdog.C:
			hung = true
			kill()
		}
	}
}

// take writes down one line of a worker.
func (l *listener) take(line []byte) error {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return fmt.Errorf("worker said something that is no record: %w", err)
	}
	read := func(v any) error {
		if err := json.Unmarshal(line, v); err != nil {
			return fmt.Errorf("worker sent a damaged record of type %q: %w", head.Type, err)
		}
		return nil
	}
	r := l.runner
	switch head.Type {
	case "begin":
		var m beginMessage
		if err := read(&m); err != nil {
			return err
		}
		if m.ID != l.at || m.Stage == "build" {
			l.began = native.Now()
		}
		l.at, l.stage, l.allow = m.ID, m.Stage, m.Allow
		return nil
	case "model":
		var m ModelRecord
		if err := read(&m); err != nil {
			return err
		}
		r.models = append(r.models, m)
		for _, v := range l.spec.Visits {
			if p := v.Point; p.Model == m.Model && p.Resolution == m.Resolution && p.Precision == m.Precision && p.Batch == m.Batch {
				l.visited[visitKey{p, v.Round}] = true
			}
		}
		return r.append(m)
	case "point":
		var p PointRecord
		if err := read(&p); err != nil {
			return err
		}
		if p.Failed != "" {
			l.visited[visitKey{p.Point, p.Round}] = true
			return r.fail(p)
		}
		if err := r.append(p); err != nil {
			return err
		}
		if p.Check != nil && !p.Check.Pass {
			l.visited[visitKey{p.Point, p.Round}] = true
			r.pace.visited(p.Point, time.Duration(native.Now()-l.began))
		}
		return nil
	case "round":
		var round RoundRecord
		if err := read(&round); err != nil {
			return err
		}
		if reason := round.invalid(); reason != "" {
			return fmt.Errorf("worker sent a %s", reason)
		}
		return l.round(round)
	case "reading":
		var reading ReadingRecord
		if err := read(&reading); err != nil {
			return err
		}
		return r.append(reading)
	case "done":
		var m doneMessage
		if err := read(&m); err != nil {
			return err
		}
		l.done = true
		r.measuring += m.MeasuringSeconds
		return nil
	}
	return fmt.Errorf("worker sent a record of unknown type %q", head.Type)
}

func (l *listener) round(round RoundRecord) error {
	r := l.runner
	if err := r.append(round); err != nil {
		return err
	}
	point, err := ParsePoint(round.ID)
	if err != nil {
		return err
	}
	last := round.Status == OK || round.Try > r.Plan.Config.Protocol.Retries
	e := Event{Kind: Visited, Point: point, Launch: round.Launch, Text: round.DropReason, Unclean: round.Status != OK || !round.Steady.Met}
	if last {
		l.visited[visitKey{point, round.Round}] = true
		r.pace.visited(point, time.Duration(native.Now()-l.began))
	}
	if round.Status == OK {
		r.medians[point] = append(r.medians[point], float64(median(round.DeviceNS)))
	}
	if values := r.medians[point]; len(values) > 0 {
		// With one round a launch these are launches; with more the line shown while
		// running is a preview, the report groups them.
		launches := make([][]float64, len(values))
		for i, v := range values {
			launches[i] = []float64{v}
		}
		e.Latency = overLaunches(launches)
	}
	e.Done, e.Total, e.Left = r.pace.done, r.pace.total, r.pace.left()
	r.Events(e)
	return nil
}

// A pace estimates the time left from what visits took so far.
type pace struct {
	guess       map[Point]time.Duration // of one visit
	took        map[Point]time.Duration // of the last visit
	owed        map[Point]int           // visits still to come
	done, total int
}

func newPace(p *Plan) pace {
	visits := p.Config.Protocol.Launches * p.Config.Protocol.Rounds
	pc := pace{guess: map[Point]time.Duration{}, took: map[Point]time.Duration{}, owed: map[Point]int{}}
	for _, point := range p.Points {
		if point.Skip == "" {
			pc.guess[point.Point] = time.Duration(point.PlannedSeconds / float64(visits) * float64(time.Second))
			pc.owed[point.Point] = visits
			pc.total += visits
		}
	}
	return pc
}

func (p *pace) visited(point Point, took time.Duration) {
	p.took[point] = took
	p.owed[point]--
	p.done++
}

// drop forgets the visits a failed point still owed.
func (p *pace) drop(point Point) {
	p.total -= p.owed[point]
	p.owed[point] = 0
}

// left adds up what visits took where that is known, and guesses corrected by how
// wrong they were so far where it is not.
func (p *pace) left() time.Duration {
	var took, guessed time.Duration
	for point, t := range p.took {
		took += t
		guessed += p.guess[point]
	}
	correction := 1.0
	if guessed > 0 {
		correction = float64(took) / float64(guessed)
	}
	var left time.Duration
	for point, n := range p.owed {
		each, known := p.took[point]
		if !known {
			each = time.Duration(correction * float64(p.guess[point]))
		}
		left += time.Duration(n) * each
	}
	return left
}
