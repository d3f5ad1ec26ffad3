package hardware

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A LeaseRecord is the text of a lease's file.
type LeaseRecord struct {
	Request ClockRequest `json:"request"`
	PID     int          `json:"pid"` // of the holder
	Since   time.Time    `json:"since"`
	// Boot is the kernel's id of the boot. Clocks do not stay locked across one, so a
	// lease from an earlier boot means nothing.
	Boot string `json:"boot_id"`
	NVML string `json:"nvml"` // the library's file
	// Before is what the clocks were when the lease was taken. NVML can't tell
	// whether they were locked.
	Before struct {
		SMMHz     *int `json:"sm_mhz"`
		MemoryMHz *int `json:"memory_mhz"`
	} `json:"before"`
	Reasons Reasons `json:"before_reasons,omitempty"`
	// Failure is why the guardian could not give the clocks back.
	Failure string `json:"failure,omitempty"`
}

// A Lease is a lease's file as found.
type Lease struct {
	LeaseRecord
	Path string
	// Held is true while the holder or its guardian lives. A lease that nobody holds
	// is left over: the clocks may still be locked.
	Held bool
}

// A LeaseHeldError says that another process holds the clocks of a GPU.
type LeaseHeldError struct{ Lease }

func (e *LeaseHeldError) Error() string {
	if e.PID == 0 { // its text is damaged, or not written yet
		return fmt.Sprintf("another process holds them; end it, and its guardian gives them back (%s does not say which)", e.Path)
	}
	return fmt.Sprintf("process %d has held them since %s (%s, %s); end it, and its guardian gives them back",
		e.PID, e.Since.Format(time.RFC3339), e.Request, e.Path)
}

// A LeaseLeftoverError says that clocks were locked and nobody is there to give
// them back.
type LeaseLeftoverError struct{ Lease }

func (e *LeaseLeftoverError) Error() string {
	text := fmt.Sprintf("process %d left them locked at %s (%s, %s)", e.PID, e.Since.Format(time.RFC3339), e.Request, e.Path)
	if e.Failure != "" {
		text += ": " + e.Failure
	}
	return text + "; `genbench clocks reset` gives them back"
}

const rootLeases = "/run/genbench"

// LeaseDirectory is where this user's leases are: /run/genbench for root, where
// everybody can read them, and for others, to whom few drivers grant a lock at all, the
// place of their locks, see userDirectory. It may not exist yet.
func LeaseDirectory() string {
	if os.Geteuid() == 0 {
		return rootLeases
	}
	return userDirectory()
}

// LeaseDirectories are those whose leases concern this user: its own and root's.
func LeaseDirectories() []string {
	if own := LeaseDirectory(); own != rootLeases {
		return []string{rootLeases, own}
	}
	return []string{rootLeases}
}

func bootID() (string, error) { return openTree("").text("proc/sys/kernel/random/boot_id") }

const leasePrefix, leaseSuffix = "clocks-", ".json"

// Leases lists the leases in the directories, without those of an earlier boot. A
// directory that does not exist has none; a file that can't be read is an error that
// names it.
func Leases(directories ...string) ([]Lease, error) {
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("list clock leases: %w", err)
	}
	var found []Lease
	for _, dir := range directories {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list clock leases: %w", err)
		}
		for _, entry := range entries {
			if !strings.HasPrefix(entry.Name(), leasePrefix) || !strings.HasSuffix(entry.Name(), leaseSuffix) {
				continue
			}
			lease, err := readLease(filepath.Join(dir, entry.Name()))
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, io.EOF):
				// Given back meanwhile, or made and not yet written: no clock is locked.
			case err != nil:
				return nil, fmt.Errorf("list clock leases: %w", err)
			case lease.Boot == boot:
				found = append(found, lease)
			}
		}
	}
	return found, nil
}

// readLease reads one lease. Where its text can't be read, the path and whether it is
// held are given with the error: a damaged lease may be a live one.
func readLease(path string) (Lease, error) {
	f, err := os.Open(path)
	if err != nil {
		return Lease{}, err
	}
	defer f.Close()
	// The owner's lock is one for writing; asking with one for reading is not confused
	// by other readers.
	ask := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &ask); err != nil {
		return Lease{}, fmt.Errorf("ask for the lock of %s: %w", path, err)
	}
	lease := Lease{Path: path, Held: ask.Type != unix.F_UNLCK}
	var record LeaseRecord
	if err := json.NewDecoder(f).Decode(&record); err != nil {
		cure := "`genbench clocks reset --gpus UUID` gives the clocks back and removes it"
		if lease.Held {
			cure = "a process holds it; end that, and its guardian gives the clocks back"
		}
		return lease, fmt.Errorf("read %s: %w; %s", path, err, cure)
	}
	lease.LeaseRecord = record
	return lease, nil
}

// A leaseFile is an open and locked lease.
type leaseFile struct {
	path string
	file *os.File
}

// createLease takes the lease of a GPU. Files are readable by all, so that those who
// may not lock can see who did.
func createLease(directory string, record LeaseRecord) (*leaseFile, error) {
	if directory == userDirectory() {
		if _, err := makeUserDirectory(); err != nil {
			return nil, err
		}
	} else if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(directory, leasePrefix+record.Request.GPU+leaseSuffix)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	taken := &leaseFile{path, f}
	fail := func(err error) (*leaseFile, error) { return nil, errors.Join(err, taken.close()) }
	// A lock of the open file, not of the process: the guardian inherits it.
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		holder, err := readLease(path)
		if err != nil && !holder.Held {
			return fail(err)
		}
		return fail(&LeaseHeldError{holder})
	}
	if err != nil {
		return fail(fmt.Errorf("lock %s: %w", path, err))
	}
	status, err := taken.status()
	if err != nil {
		return fail(err)
	}
	if status.Nlink == 0 {
		return fail(fmt.Errorf("%s has just been given back; try again", path))
	}
	if status.Size > 0 {
		var left LeaseRecord
		if err := json.NewDecoder(f).Decode(&left); err != nil || left.Boot == record.Boot {
			return fail(&LeaseLeftoverError{Lease{LeaseRecord: left, Path: path}})
		}
	}
	if err := taken.write(record); err != nil {
		return nil, errors.Join(err, taken.remove())
	}
	return taken, nil
}

// status is that of the open file itself, wherever its path leads by now.
func (f *leaseFile) status() (unix.Stat_t, error) {
	var status unix.Stat_t
	if err := unix.Fstat(int(f.file.Fd()), &status); err != nil {
		return status, fmt.Errorf("look at %s: %w", f.path, err)
	}
	return status, nil
}

// write replaces the text. A file without text says that no clock is locked, so on a
// full disk the old text stays, whole or damaged.
func (f *leaseFile) write(record LeaseRecord) error {
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if _, err := f.file.WriteAt(text, 0); err != nil {
		return err
	}
	if err := f.file.Truncate(int64(len(text))); err != nil {
		return err
	}
	return f.file.Sync()
}

// remove ends the lease. A guardian that was told to end has already removed the file.
func (f *leaseFile) remove() error {
	err := os.Remove(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f.close())
}

// close leaves the file where it is; the guardian may hold it, too.
func (f *leaseFile) close() error { return f.file.Close() }

// ResetClocks gives the clocks of a GPU back to the driver, whether or not there is
// a lease left over in the directories, and removes that lease. A lease that is held
// is a *LeaseHeldError and stays. The memory's clock is given back where the board can
// lock it at all, since other programs lock it, too.
func ResetClocks(n *NVML, uuid string, directories ...string) error {
	fail := func(err error) error { return fmt.Errorf("reset clocks of GPU %s: %w", uuid, err) }
	request := ClockRequest{GPU: uuid}
	var left []string
	for _, dir := range directories {
		path := filepath.Join(dir, leasePrefix+uuid+leaseSuffix)
		lease, err := readLease(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case lease.Held:
			return fail(&LeaseHeldError{lease})
		case lease.Path == "": // whether it is held is not known
			return fail(err)
		case lease.Request.MemoryMHz != 0:
			request.MemoryMHz = lease.Request.MemoryMHz
		}
		left = append(left, path) // a damaged one, too: its clocks have now been given back
	}
	if err := n.unlockClocks(request); err != nil {
		return fail(err)
	}
	if request.MemoryMHz == 0 {
		device, err := n.find(uuid)
		if err == nil {
			err = n.unlockMemory(device)
		}
		if err != nil && !unsupported(err) {
			return fail(err)
		}
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return fail(err)
		}
	}
	return nil
}
