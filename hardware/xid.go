package hardware

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"golang.org/x/sys/unix"
)

// xidLine is how the driver writes a fault of a board into the kernel's log, such as
// "NVRM: Xid (PCI:0000:65:00): 79, …" (NVIDIA, "Xid Errors", viewing them).
var xidLine = regexp.MustCompile(`NVRM: Xid \((?:PCI:)?([0-9a-fA-F:]+)[^)]*\): (\d+)`)

// applicationXids are faults that end the program that met them and, as a rule, leave
// the board healthy: an exception in a kernel (13), an access to memory that is not
// mapped (31), a fault of the program's own that leaves the GPU healthy (43), and the
// removal of a program that was killed or that another fault, which then has its own
// number, had ended (45). The immediate action in NVIDIA's catalog is RESTART_APP for
// 13 and 31, IGNORE for 43, and for 45 to follow the other fault
// (docs.nvidia.com/deploy/xid-errors: Xid Catalog, and Common Xid Errors). It says of
// 13 and 31 that a broken board can raise them as well, if rarely.
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

// A faultWatch collects the faults of one board as the driver reports them to programs,
// which takes no right to read the kernel's log. It may be closed while another
// goroutine reads.
type faultWatch struct {
	nvml *NVML
	lock sync.Mutex
	set  nvml.EventSet // nil once closed
	err  error         // why nothing is collected
}

// watchFaults begins to collect; what came before is not reported.
func (n *NVML) watchFaults(d nvml.Device) *faultWatch {
	w := &faultWatch{nvml: n}
	if w.set, w.err = ask(n, n.library.EventSetCreate, "nvmlEventSetCreate"); w.err != nil {
		return w
	}
	err := n.tell(func() nvml.Return { return d.RegisterEvents(nvml.EventTypeXidCriticalError, w.set) }, "nvmlDeviceRegisterEvents")
	if err != nil {
		w.err = errors.Join(err, w.close())
	}
	return w
}

// mostFaults bounds one look: a board that fails without end is reported all the same.
const mostFaults = 64

// since lists the faults since the last look, by their numbers, in order; empty is
// none. It does not wait.
func (w *faultWatch) since() ([]int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	switch {
	case w.err != nil:
		return nil, w.err
	case w.set == nil:
		return nil, errors.New("the watch of the board's faults is closed")
	}
	faults := []int{}
	for range mostFaults {
		event, err := ask(w.nvml, func() (nvml.EventData, nvml.Return) { return w.set.Wait(0) }, "nvmlEventSetWait_v2", "nvmlEventSetWait")
		var told *nvmlError
		if errors.As(err, &told) && told.code == nvml.ERROR_TIMEOUT {
			break
		}
		if err != nil {
			return nil, err
		}
		faults = append(faults, int(event.EventData))
	}
	return faults, nil
}

func (w *faultWatch) close() error {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.set == nil {
		return nil
	}
	set := w.set
	w.set = nil
	return w.nvml.tell(set.Free, "nvmlEventSetFree")
}

// readKernelLog reads what /dev/kmsg holds now, one record per read (kernel's
// Documentation/ABI/testing/dev-kmsg). Most systems let only root read it.
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
