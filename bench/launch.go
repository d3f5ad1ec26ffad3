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
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Launcher starts the workers of a run. Processes is what measures; tests have
// one that runs the same worker in-process on a virtual clock.
type Launcher interface {
	// Start begins a worker that carries out spec and ends early when ctx does.
	// The name tells it from all others of the run.
	Start(ctx context.Context, spec LaunchSpec, name string) (Worker, error)
}

// A Worker is a launch under way.
type Worker interface {
	// Lines gives the records it sends, until it has ended.
	Lines() <-chan []byte
	// Kill ends it at once.
	Kill()
	// Wait gives how it ended, empty where nothing was wrong with that, and its last
	// words. It is called once, when Lines is closed.
	Wait() (death string, log []string)
}

// Processes starts every worker as a process of its own, so an engine's crash ends
// only that and not the run.
type Processes struct {
	// Command makes the command that becomes a worker (RunWorker).
	Command func(context.Context) *exec.Cmd
	// LogDir receives the workers' standard output and error, one file a worker.
	LogDir string
}

type process struct {
	cmd   *exec.Cmd
	log   *os.File
	from  int64 // where in the log this worker's words begin
	pipe  *os.File
	stdin io.WriteCloser
	sent  chan error
	lines chan []byte
}

// Start implements Launcher.
func (l Processes) Start(ctx context.Context, spec LaunchSpec, name string) (Worker, error) {
	// A resumed run starts a launch a second time.
	log, err := os.OpenFile(filepath.Join(l.LogDir, name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create worker log: %w", err)
	}
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create worker log: %w", err), log.Close())
	}
	pipe, theirs, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start worker: %w", err), log.Close())
	}
	p := &process{cmd: l.Command(ctx), log: log, from: from, pipe: pipe, sent: make(chan error, 1), lines: make(chan []byte)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.ExtraFiles = []*os.File{theirs} // becomes file descriptor 3
	// A group of its own: Ctrl-C at a terminal reaches only the parent, which then
	// decides, and a kill reaches what an engine may have started.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	p.cmd.WaitDelay = 5 * time.Second
	p.stdin, err = p.cmd.StdinPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	theirs.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start worker: %w", err), pipe.Close(), log.Close())
	}
	// The input stays open until the worker has ended: its end would tell the
	// worker that the parent is gone.
	go func() { p.sent <- json.NewEncoder(p.stdin).Encode(spec) }()
	go readLines(pipe, p.lines)
	return p, nil
}

// readLines passes on whole lines; one without its end was cut off by the
// worker's death.
func readLines(from io.Reader, to chan<- []byte) {
	defer close(to)
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		to <- line
	}
}

func (p *process) Lines() <-chan []byte { return p.lines }

func (p *process) Kill() { _ = p.cmd.Cancel() } // it may have ended by itself

func (p *process) Wait() (string, []string) {
	defer p.log.Close()
	defer p.pipe.Close()
	p.stdin.Close()
	err := p.cmd.Wait()
	death := ""
	if err != nil {
		death = deathOf(err, p.log.Name(), p.from)
	}
	if err := <-p.sent; err != nil && death == "" {
		death = fmt.Sprintf("its launch could not be sent: %v", err)
	}
	return death, tailOf(p.log.Name(), p.from, 20)
}

// deathOf says how a process ended. A fault inside an engine's C code is caught by
// the Go runtime, which prints it and exits with a code that says nothing; the line
// it printed says what happened. Its words begin at from.
func deathOf(err error, log string, from int64) string {
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
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return exit.String()
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := lines.Text(); isCrash(line) || strings.HasPrefix(line, "genbench: ") {
			return line
		}
	}
	return exit.String()
}

// tailOf gives the last lines of a log, or those around the first sign of a crash:
// what a library said comes before it, pages from the Go runtime after it. A log that
// cannot be read says so. What stands before from is another worker's.
func tailOf(path string, from int64, n int) []string {
	const most = 64 << 10
	f, err := os.Open(path)
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		_, err = f.Seek(max(from, info.Size()-most), io.SeekStart)
	}
	if err != nil {
		return []string{err.Error()}
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
	if crash := slices.IndexFunc(lines, isCrash); crash >= 0 {
		lines = lines[:min(len(lines), crash+n/2)]
	}
	return lines[max(0, len(lines)-n):]
}

// isCrash recognises the line with which the Go runtime begins its report of a fault.
func isCrash(line string) bool {
	return strings.HasPrefix(line, "SIG") || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}
