package hardware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"genbench/hardware/native"
)

// A ClockRequest says which clocks a GPU is to run at. Either SMMHz or Base is set.
type ClockRequest struct {
	GPU   string `json:"gpu"`              // UUID
	SMMHz int    `json:"sm_mhz,omitempty"` // one of the board's graphics clocks
	// Base asks for the highest clock that the board holds at its power limit
	// (NVML_CLOCK_LIMIT_ID_TDP in nvml.h), whichever that is.
	Base bool `json:"base,omitempty"`
	// MemoryMHz locks the memory's clock, too, which takes Ampere or newer.
	MemoryMHz int `json:"memory_mhz,omitempty"`
}

// String says the request in words.
func (r ClockRequest) String() string {
	words := fmt.Sprintf("SM clock %d MHz", r.SMMHz)
	if r.Base {
		words = "SM clock at its base"
	}
	if r.MemoryMHz != 0 {
		words += fmt.Sprintf(", memory clock %d MHz", r.MemoryMHz)
	}
	return words
}

// A ClockRequestError says what a board can't do, and what it can.
type ClockRequestError struct{ Err error }

func (e *ClockRequestError) Error() string { return e.Err.Error() }
func (e *ClockRequestError) Unwrap() error { return e.Err }

// ErrClockRights is wrapped where the driver refuses to set clocks to this user.
var ErrClockRights = errors.New("setting clocks needs root, and in a container CAP_SYS_ADMIN (`--cap-add SYS_ADMIN`); " +
	"without them let root hold them with `genbench clocks lock`, or measure with floating clocks, which is quality Q2 at best")

// clockTolerance is how far a clock may be from the request (protocol C2).
const clockTolerance = 0.01

// A ClockCheck compares the clock that was asked for with the one measured under
// load. A driver that accepts a lock has only noted a wish: power and heat still
// decide.
type ClockCheck struct {
	RequestedMHz int     `json:"requested_mhz"`
	EffectiveMHz float64 `json:"effective_mhz"`
	Deviation    float64 `json:"deviation"` // relative; negative runs too slow
	Locked       bool    `json:"locked"`    // within 1 %
}

// CheckClock judges a clock measured under load, for example by a stream's timer and
// the SM's cycle counter.
func CheckClock(requestedMHz int, effectiveMHz float64) ClockCheck {
	c := ClockCheck{RequestedMHz: requestedMHz, EffectiveMHz: effectiveMHz}
	c.Deviation = effectiveMHz/float64(requestedMHz) - 1
	c.Locked = math.Abs(c.Deviation) <= clockTolerance // not so if it is no number
	return c
}

// MeterClock implements EventStream with the GPU's cycle counters and its timer: lap
// gives the median over the multiprocessors of their mean clocks.
func (s *CUDAStream) MeterClock() (lap func() (mhz float64, err error), err error) {
	from, err := s.Ticks()
	if err != nil {
		return nil, err
	}
	return func() (float64, error) {
		to, err := s.Ticks()
		if err != nil {
			return 0, err
		}
		mhz, ok := effectiveClock(from, to)
		from = to
		if !ok {
			return 0, errors.New("no multiprocessor answered both at the start and at the end")
		}
		return mhz, nil
	}, nil
}

// tell makes one call whose only answer is its code.
func (n *NVML) tell(call func() nvml.Return, symbols ...string) error {
	_, err := ask(n, func() (struct{}, nvml.Return) { return struct{}{}, call() }, symbols...)
	var refused *nvmlError
	if errors.As(err, &refused) && refused.code == nvml.ERROR_NO_PERMISSION {
		return fmt.Errorf("%w: %w", err, ErrClockRights)
	}
	return err
}

// lockClocks sets what the request says. If it fails, partly says that the SM clock is
// locked and the memory's was refused.
func (n *NVML) lockClocks(r ClockRequest) (partly bool, err error) {
	device, err := n.find(r.GPU)
	if err != nil {
		return false, err
	}
	low, high := uint32(r.SMMHz), uint32(r.SMMHz)
	if r.Base {
		limit := nvml.CLOCK_LIMIT_ID_TDP
		low, high = uint32(limit), uint32(limit)
	}
	if err := n.tell(func() nvml.Return { return device.SetGpuLockedClocks(low, high) }, "nvmlDeviceSetGpuLockedClocks"); err != nil {
		return false, err
	}
	if r.MemoryMHz == 0 {
		return false, nil
	}
	memory := uint32(r.MemoryMHz)
	err = n.tell(func() nvml.Return { return device.SetMemoryLockedClocks(memory, memory) }, "nvmlDeviceSetMemoryLockedClocks")
	return err != nil, err
}

// unlockClocks gives the clocks back to the driver.
func (n *NVML) unlockClocks(r ClockRequest) error {
	device, err := n.find(r.GPU)
	if err != nil {
		return err
	}
	err = n.tell(device.ResetGpuLockedClocks, "nvmlDeviceResetGpuLockedClocks")
	if r.MemoryMHz != 0 {
		err = errors.Join(err, n.unlockMemory(device))
	}
	return err
}

func (n *NVML) unlockMemory(device nvml.Device) error {
	return n.tell(device.ResetMemoryLockedClocks, "nvmlDeviceResetMemoryLockedClocks")
}

// CheckClockRequest refuses what the board can't do, with a *ClockRequestError, before
// anything is touched; it does not ask whether this user may. A board that lists no
// clocks is asked without.
func (n *NVML) CheckClockRequest(r ClockRequest) error {
	refuse := func(format string, args ...any) error { return &ClockRequestError{fmt.Errorf(format, args...)} }
	device, err := n.find(r.GPU)
	if err != nil {
		return err
	}
	if r.Base == (r.SMMHz != 0) || r.SMMHz < 0 || r.MemoryMHz < 0 {
		return refuse("an SM clock of %d MHz: want a positive number, or the base clock", r.SMMHz)
	}
	memory, err := n.memoryClocks(r.GPU)
	if r.MemoryMHz != 0 {
		architecture, archErr := ask(n, device.GetArchitecture, "nvmlDeviceGetArchitecture")
		if archErr != nil {
			return archErr
		}
		// nvml.h, nvmlDeviceSetMemoryLockedClocks: for Ampere or newer.
		if architecture < nvml.DEVICE_ARCH_AMPERE {
			return refuse("the memory clock can be locked on Ampere and newer boards only; lock the SM clock alone")
		}
		if err == nil && !slices.Contains(memory, r.MemoryMHz) {
			return refuse("%d MHz is no memory clock of this board: it has %s", r.MemoryMHz, commas(memory))
		}
	}
	if r.Base || err != nil || len(memory) == 0 {
		return nil
	}
	beside := r.MemoryMHz
	if beside == 0 {
		beside = slices.Max(memory) // what a busy board runs at
	}
	graphics, err := n.graphicsClocks(r.GPU, beside)
	if err != nil || slices.Contains(graphics, r.SMMHz) {
		return nil
	}
	return refuse("%d MHz is no SM clock of this board: %s", r.SMMHz, nearest(r.SMMHz, graphics))
}

// nearest names the values around one that is not among them.
func nearest(wanted int, values []int) string {
	below, above := 0, 0
	for _, v := range values {
		if v < wanted && v > below {
			below = v
		}
		if v > wanted && (above == 0 || v < above) {
			above = v
		}
	}
	switch {
	case below == 0 && above == 0:
		return "it lists none"
	case below == 0:
		return fmt.Sprintf("the lowest is %d", above)
	case above == 0:
		return fmt.Sprintf("the highest is %d", below)
	}
	return fmt.Sprintf("the nearest are %d and %d", below, above)
}

func (n *NVML) memoryClocks(uuid string) ([]int, error) {
	mhz, code, err := native.MemoryClocks(n.file, uuid)
	return n.listed(mhz, code, err, "nvmlDeviceGetSupportedMemoryClocks")
}

func (n *NVML) graphicsClocks(uuid string, memoryMHz int) ([]int, error) {
	mhz, code, err := native.GraphicsClocks(n.file, uuid, memoryMHz)
	return n.listed(mhz, code, err, "nvmlDeviceGetSupportedGraphicsClocks")
}

func (n *NVML) listed(mhz []int, code int, err error, symbol string) ([]int, error) {
	if err != nil {
		return nil, fmt.Errorf("%s: %w", symbol, errNoFunction)
	}
	if answer := nvml.Return(code); answer != nvml.SUCCESS {
		return nil, &nvmlError{symbol, answer, n.library.ErrorString(answer)}
	}
	slices.Sort(mhz)
	return mhz, nil
}

// A ClockLease is clocks held for as long as this process lives. Its owner closes it. A
// guardian, a process in a session of its own, gives the clocks back when the owner
// dies, whatever the signal; only a machine that stops at once, or a container all of
// whose processes are killed together, can leave them locked, and then the lease's file
// stays as the witness that `genbench clocks reset` needs (if it is not gone with the
// container: its directory should be the host's).
type ClockLease struct {
	Record LeaseRecord

	nvml     *NVML
	file     *leaseFile
	guardian *exec.Cmd
	tell     io.WriteCloser // to the guardian, to which its closing is the owner's death
	answers  *json.Decoder
	listen   io.Closer
	ended    chan struct{} // closed when the guardian has ended
	close    sync.Once
	closeErr error
}

// guardianPatience is how long a guardian may take to set or reset clocks. The
// calls take milliseconds; a driver that needs seconds is not well.
const guardianPatience = 20 * time.Second

// A guardianAnswer is what the guardian says after setting clocks, and after
// giving them back.
type guardianAnswer struct {
	Error    string `json:"error,omitempty"`
	NoRights bool   `json:"no_rights,omitempty"`
	Lost     bool   `json:"lost,omitempty"`
}

func answerOf(err error) guardianAnswer {
	if err == nil {
		return guardianAnswer{}
	}
	return guardianAnswer{err.Error(), errors.Is(err, ErrClockRights), errors.Is(err, ErrGPULost)}
}

// A guardianError is a failure that the guardian reported.
type guardianError struct{ guardianAnswer }

func (e *guardianError) Error() string { return e.guardianAnswer.Error }

func (e *guardianError) Is(target error) bool {
	return target == ErrClockRights && e.NoRights || target == ErrGPULost && e.Lost
}

// LeaseClocks locks the clocks of a GPU until the lease is closed or this process
// ends. The lease's file goes into the directory, see LeaseDirectory. guardian is a
// command, not started, that ends in GuardClocks.
//
// A lease that another process holds is a *LeaseHeldError, one left over a
// *LeaseLeftoverError; the error of missing rights wraps ErrClockRights. NVML has no
// function that reads a lock, so what is given back is the driver's own choice of
// clocks: a lock that somebody set before by other means is lost, and the file says
// which clocks were seen then.
func LeaseClocks(ctx context.Context, n *NVML, r ClockRequest, directory string, guardian *exec.Cmd) (*ClockLease, error) {
	fail := func(err error) (*ClockLease, error) {
		return nil, fmt.Errorf("lock clocks of GPU %s: %w", r.GPU, err)
	}
	if err := n.CheckClockRequest(r); err != nil {
		return fail(err)
	}
	record := LeaseRecord{Request: r, PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Second), NVML: n.path}
	device, err := n.find(r.GPU)
	if err != nil {
		return fail(err)
	}
	record.Before.SMMHz = try(n.clock(device.GetClockInfo, nvml.CLOCK_SM, "nvmlDeviceGetClockInfo")).or(&record.Reasons, "sm_mhz")
	record.Before.MemoryMHz = try(n.clock(device.GetClockInfo, nvml.CLOCK_MEM, "nvmlDeviceGetClockInfo")).or(&record.Reasons, "memory_mhz")
	if record.Boot, err = bootID(); err != nil {
		return fail(err)
	}
	file, err := createLease(directory, record)
	if err != nil {
		return fail(err)
	}
	l := &ClockLease{Record: record, nvml: n, file: file, guardian: guardian, ended: make(chan struct{})}
	if err := l.start(ctx); err != nil {
		return fail(err)
	}
	return l, nil
}

// start brings the guardian up and lets it lock. The guardian locks, not this
// process, so that there is no moment in which clocks are locked and unguarded.
func (l *ClockLease) start(ctx context.Context) error {
	stdin, tell, err := os.Pipe()
	if err != nil {
		return errors.Join(err, l.file.remove())
	}
	listen, stdout, err := os.Pipe()
	if err != nil {
		return errors.Join(err, stdin.Close(), tell.Close(), l.file.remove())
	}
	l.tell, l.listen, l.answers = tell, listen, json.NewDecoder(listen)
	g := l.guardian
	g.Stdin, g.Stdout = stdin, stdout
	// The lock on the file is one with ours: it lasts until both of us have ended.
	g.ExtraFiles = []*os.File{l.file.file}
	// A session of its own keeps the terminal's signals away.
	g.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = g.Start()
	err = errors.Join(err, stdin.Close(), stdout.Close())
	if g.Process == nil {
		return errors.Join(fmt.Errorf("start the guardian: %w", err), tell.Close(), listen.Close(), l.file.remove())
	}
	go func() {
		// Its answers, or the lack of them, say how it ended.
		_ = g.Wait()
		close(l.ended)
	}()
	patience, cancel := context.WithTimeout(ctx, guardianPatience)
	defer cancel()
	err = l.send(guardianOrder{Record: l.Record, File: l.file.path})
	if err == nil {
		err = l.answer(patience)
	}
	var told *guardianError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told):
		// It has put everything back and removed the file, or left it and noted in it
		// what went wrong.
		<-l.ended
		return errors.Join(err, l.hangUp(), l.file.close())
	}
	// It may or may not have locked: hanging up tells it to give back whatever it
	// did, and if it can't, its file stays.
	return errors.Join(fmt.Errorf("wait for the guardian: %w", err), l.hangUp(), l.file.close())
}

// A guardianOrder is what the guardian reads: first what to lock, then that it may
// let go.
type guardianOrder struct {
	Record  LeaseRecord `json:"record"`
	File    string      `json:"file"`
	Release bool        `json:"release,omitempty"`
}

func (l *ClockLease) send(order guardianOrder) error {
	line, err := json.Marshal(order)
	if err != nil {
		return err
	}
	_, err = l.tell.Write(append(line, '\n'))
	return err
}

// answer waits for the guardian's next one.
func (l *ClockLease) answer(ctx context.Context) error {
	got := make(chan error, 1)
	go func() {
		var a guardianAnswer
		err := l.answers.Decode(&a)
		if err == nil && a.Error != "" {
			err = &guardianError{a}
		}
		got <- err
	}()
	select {
	case err := <-got:
		if errors.Is(err, io.EOF) {
			return errors.New("it ended without an answer")
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *ClockLease) hangUp() error { return errors.Join(l.tell.Close(), l.listen.Close()) }

// Held reports whether the guardian still lives. A guardian that was ended by SIGTERM,
// as at shutdown, has given the clocks back, which may be another's by now; one that
// was killed, or that the driver refused, has not, and then Close does.
func (l *ClockLease) Held() bool {
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// Close gives the clocks back and ends the guardian. If the guardian is gone and its
// file is not, Close uses the NVML that the lease was taken with. A failure leaves the
// file.
func (l *ClockLease) Close() error {
	l.close.Do(func() {
		if err := l.giveBack(); err != nil {
			l.closeErr = fmt.Errorf("give back clocks of GPU %s: %w", l.Record.Request.GPU, err)
		}
	})
	return l.closeErr
}

func (l *ClockLease) giveBack() error {
	ctx, cancel := context.WithTimeout(context.Background(), guardianPatience)
	defer cancel()
	err := l.send(guardianOrder{Release: true})
	if err == nil {
		err = l.answer(ctx)
	}
	var told *guardianError
	if err == nil || errors.As(err, &told) {
		return errors.Join(err, l.hangUp(), l.file.close())
	}
	// The guardian is gone, or does not answer. Its pipes close a little before it ends.
	select {
	case <-l.ended:
	case <-ctx.Done():
	}
	if l.Held() {
		return errors.Join(fmt.Errorf("wait for the guardian (process %d): %w", l.guardian.Process.Pid, err), l.hangUp(), l.file.close())
	}
	status, err := l.file.status()
	if err != nil || status.Nlink == 0 {
		// It removed the file because it had given the clocks back. They, and the path,
		// may be another's by now.
		return errors.Join(err, l.hangUp(), l.file.close())
	}
	if err := l.nvml.unlockClocks(l.Record.Request); err != nil {
		return errors.Join(err, l.hangUp(), l.file.close())
	}
	return errors.Join(l.hangUp(), l.file.remove())
}

// GuardClocks is the guardian of a lease: it locks what the process on the other
// end of in asks for, answers on out, and gives the clocks back when it is told to,
// when that process is gone, or when ctx ends (SIGTERM). It holds file descriptor 3,
// the lease's file, until it ends.
func GuardClocks(ctx context.Context, in io.Reader, out io.Writer) error {
	orders := json.NewDecoder(in)
	var order guardianOrder
	if err := orders.Decode(&order); err != nil {
		return fmt.Errorf("guard clocks: read the order: %w; `genbench clocks lock` starts this itself", err)
	}
	// The other end may be dead, and a terminal closed.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	answers := json.NewEncoder(out)
	file := &leaseFile{path: order.File, file: os.NewFile(3, order.File)}

	n, err := OpenNVML(order.Record.NVML)
	if err != nil {
		return answers.Encode(answerOf(errors.Join(err, file.remove())))
	}
	partly, err := n.lockClocks(order.Record.Request)
	if partly {
		order.Record.Request.MemoryMHz = 0 // which was refused, so there is nothing to give back
		return answers.Encode(answerOf(errors.Join(err, giveBack(n, file, order.Record))))
	}
	if err != nil {
		return answers.Encode(answerOf(errors.Join(err, file.remove(), n.Close())))
	}
	if err := answers.Encode(guardianAnswer{}); err != nil {
		// Nobody is there any more: the same end as below.
		return giveBack(n, file, order.Record)
	}
	released := make(chan bool, 1)
	go func() {
		var next guardianOrder
		// An end of the stream is the owner's death, garbage is no better.
		released <- orders.Decode(&next) == nil && next.Release
	}()
	var asked bool
	select {
	case asked = <-released:
	case <-ctx.Done():
	}
	err = giveBack(n, file, order.Record)
	if asked {
		return answers.Encode(answerOf(err))
	}
	return err
}

// giveBack unlocks and removes the witness, or notes in it what went wrong.
func giveBack(n *NVML, file *leaseFile, record LeaseRecord) error {
	if err := n.unlockClocks(record.Request); err != nil {
		record.Failure = err.Error()
		return errors.Join(err, file.write(record), n.Close())
	}
	return errors.Join(file.remove(), n.Close())
}
