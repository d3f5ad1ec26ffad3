package hardware

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// xidLine is how the driver writes a fault of a board into the kernel's log, as
// "NVRM: Xid (PCI:0000:65:00): 79, …" (NVIDIA, "Xid Errors", viewing them).
var xidLine = regexp.MustCompile(`NVRM: Xid \((?:PCI:)?([0-9a-fA-F:]+)[^)]*\): (\d+)`)

// applicationXids are faults that end the program which caused them and leave the
// board well: those for which NVIDIA's Xid catalog says to restart the application.
var applicationXids = []int{13, 31, 43, 45}

// xids lists the faults of a board in the kernel's log, each kind once, without
// those that some program's own mistake explains. The log reaches back to the boot,
// or as far as its buffer does.
func xids(kernelLog, busID string) []int {
	slot := strings.TrimSuffix(busID, ".0")
	var found []int
	for _, m := range xidLine.FindAllStringSubmatch(kernelLog, -1) {
		number, err := strconv.Atoi(m[2])
		if err == nil && strings.EqualFold(m[1], slot) && !slices.Contains(applicationXids, number) {
			found = append(found, number)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// readKernelLog reads what /dev/kmsg holds now, one record a read (kernel's
// Documentation/ABI/testing/dev-kmsg). Most systems let only root.
func readKernelLog(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	defer unix.Close(fd)
	var text strings.Builder
	record := make([]byte, 8192) // a longer one can't be
	for {
		n, err := unix.Read(fd, record)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			// Overwritten before it was read, or interrupted: the next one comes.
		case errors.Is(err, unix.EAGAIN), err == nil && n == 0:
			return text.String(), nil
		case err != nil:
			return "", fmt.Errorf("read %s: %w", path, err)
		default:
			text.Write(record[:n])
		}
	}
}
