package models

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A mapped file is memory that the kernel fills from the file as it is touched, so a
// file of several gigabytes opens at once and costs only what is read of it.
type mapped struct {
	path string
	lock sync.RWMutex // held for reading while bytes are in use
	data []byte       // nil once closed
}

// openMapped maps a regular file that is not empty.
func openMapped(path string) (*mapped, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is not a regular file")}
	case info.Size() == 0:
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("the file is empty")}
	case info.Size() > math.MaxInt:
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%d bytes do not fit the address space", info.Size())}
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, &fs.PathError{Op: "map", Path: path, Err: err}
	}
	return &mapped{path: path, data: data}, nil
}

// look calls f with the file's bytes, which are valid only during the call. Touching a
// page that the file no longer has, because another process cut it off, is an error
// instead of the end of the process.
func (m *mapped) look(f func(data []byte) error) (err error) {
	m.lock.RLock()
	defer m.lock.RUnlock()
	if m.data == nil {
		return fmt.Errorf("read %s: the file is closed", m.path)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		start := uintptr(unsafe.Pointer(unsafe.SliceData(m.data)))
		// What the runtime panics with at a memory fault has its address.
		memory, ok := fault.(interface{ Addr() uintptr })
		if !ok || memory.Addr() < start || memory.Addr()-start >= uintptr(len(m.data)) {
			panic(fault)
		}
		err = fmt.Errorf("read %s: the file became shorter while it was read", m.path)
	}()
	return f(m.data)
}

// sha256 reads the whole file.
func (m *mapped) sha256() (string, error) {
	sum := ""
	err := m.look(func(data []byte) error {
		sum = fmt.Sprintf("%x", sha256.Sum256(data))
		return nil
	})
	return sum, err
}

func (m *mapped) base() string { return filepath.Base(m.path) }

// Close unmaps the file; a second call does nothing.
func (m *mapped) Close() error {
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.data == nil {
		return nil
	}
	data := m.data
	m.data = nil
	return unix.Munmap(data)
}

// A DamagedError says where a file is not what its format demands.
type DamagedError struct {
	Path string
	Byte int64  // offset in the file
	Part string // tensor or node, empty where there is none
	Err  error  // what was expected there
}

func (e *DamagedError) Error() string {
	part := ""
	if e.Part != "" {
		part = e.Part + ": "
	}
	return fmt.Sprintf("read %s: byte %d: %s%v", e.Path, e.Byte, part, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// shorten makes a name from a file fit a message: not too long, and nothing in it
// that a terminal would obey.
func shorten(s string) string { return shortenTo(s, 120) }

func shortenTo(s string, most int) string {
	// What will not be shown is not looked at: a name may take megabytes, and be asked
	// for with each of a node's fields.
	s = s[:min(len(s), most+utf8.UTFMax)]
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		s = strconv.QuoteToGraphic(s)
	}
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
