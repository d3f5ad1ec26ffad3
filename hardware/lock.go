package hardware

import (
	"context"
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

// A DeviceHolder says who is measuring on a device.
type DeviceHolder struct {
	PID       int       `json:"pid"`
	Since     time.Time `json:"since"`
	Directory string    `json:"directory"` // that the result goes to
}

// A DeviceHeldError says that a device is already being measured on: a second run
// beside the first would spoil both.
type DeviceHeldError struct {
	Device string
	DeviceHolder
	Path string // of the lock's file
}

func (e *DeviceHeldError) Error() string {
	return fmt.Sprintf("lock device %s: %s; wait for it (--wait 30m) or end it (%s)", e.Device, e.DeviceHolder, e.Path)
}

// String says what the holder does.
func (h DeviceHolder) String() string {
	if h.PID == 0 { // it is just writing down who it is
		return "another process is about to measure on it"
	}
	return fmt.Sprintf("process %d has been measuring on it since %s, into %s", h.PID, h.Since.Format(time.RFC3339), h.Directory)
}

// A DeviceLock keeps other runs of this user off a device. The kernel releases it
// however its holder ends.
type DeviceLock struct{ f *os.File }

// userDirectory names the place of this user's locks and leases: genbench-UID in the
// directory of temporary files (TMPDIR). Every run of the user on this machine must
// find the same one. The runtime directory of a session is not that of a cron job and
// ends with the session, and a home may be shared with other machines.
func userDirectory() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("genbench-%d", os.Geteuid()))
}

// makeUserDirectory makes it if it does not exist. Others may write in the same place,
// so it is checked.
func makeUserDirectory() (string, error) {
	dir, user := userDirectory(), os.Geteuid()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	var status unix.Stat_t
	if err := unix.Lstat(dir, &status); err != nil {
		return "", fmt.Errorf("look at %s: %w", dir, err)
	}
	if status.Mode&unix.S_IFMT != unix.S_IFDIR || int(status.Uid) != user {
		return "", fmt.Errorf("%s is not a directory that user %d made; have it removed, or set TMPDIR", dir, user)
	}
	return dir, nil
}

// lockDevice takes the lock of a device for a run whose result goes to directory.
// The error is a *DeviceHeldError where another process has it. Its file stays: one
// removed while others open it would lock nobody out.
func lockDevice(id, directory string) (*DeviceLock, error) {
	dir, err := makeUserDirectory()
	if err != nil {
		return nil, fmt.Errorf("lock device %s: %w", id, err)
	}
	path := filepath.Join(dir, strings.ReplaceAll(id, string(filepath.Separator), "-")+".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock device %s: %w", id, err)
	}
	// Of the open file, which no worker inherits, and not of the process, where
	// closing any other descriptor of the file would give it back.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock device %s: %s: %w", id, path, err)
		}
		held := &DeviceHeldError{Device: id, Path: path}
		if text, err := io.ReadAll(f); err != nil || json.Unmarshal(text, &held.DeviceHolder) != nil {
			held.DeviceHolder = DeviceHolder{}
		}
		return nil, held
	}
	text, err := json.Marshal(DeviceHolder{PID: os.Getpid(), Since: time.Now().UTC(), Directory: directory})
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(text, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock device %s: %w", id, err), f.Close())
	}
	return &DeviceLock{f}, nil
}

// lockPoll is how often a device that is held is asked for again: seldom enough not to
// disturb its holder, which is measuring.
const lockPoll = time.Second

// AwaitDevice takes the lock of a device for a run whose result goes to directory.
// While another process has the device it keeps asking, until ctx ends or limit has
// passed; then the error is a *DeviceHeldError. waiting is called with every new holder.
func AwaitDevice(ctx context.Context, id, directory string, limit time.Duration, waiting func(DeviceHolder)) (*DeviceLock, error) {
	until := time.Now().Add(limit)
	var told DeviceHolder
	for {
		lock, err := lockDevice(id, directory)
		var held *DeviceHeldError
		left := time.Until(until)
		if !errors.As(err, &held) || left <= 0 {
			return lock, err
		}
		if held.PID != 0 && (held.PID != told.PID || held.Directory != told.Directory) {
			told = held.DeviceHolder
			waiting(told)
		}
		if err := sleep(ctx, min(lockPoll, left)); err != nil {
			return nil, fmt.Errorf("lock device %s: %w", id, err)
		}
	}
}

// Close gives the device back.
func (l *DeviceLock) Close() error { return l.f.Close() }
