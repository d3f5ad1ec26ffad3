package hardware

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseCPUs reads a list of CPUs such as "0,2-5", each at most once. The result is
// sorted. Pin finds out whether the machine has them.
func ParseCPUs(list string) ([]int, error) {
	cpus, err := listedCPUs(list)
	if err != nil {
		return nil, fmt.Errorf("read list of CPUs %q: %w; want numbers and ranges such as 0,2-5", list, err)
	}
	return cpus, nil
}

// listedCPUs reads the format of such lists, which is the kernel's. Its error says only
// what is wrong. The empty list is an error: nothing runs on no CPU.
func listedCPUs(list string) ([]int, error) {
	fail := func(format string, args ...any) ([]int, error) { return nil, fmt.Errorf(format, args...) }
	if strings.TrimSpace(list) == "" {
		return fail("it is empty")
	}
	seen := map[int]bool{}
	for part := range strings.SplitSeq(list, ",") {
		word := strings.TrimSpace(part)
		first, last, isRange := strings.Cut(word, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 32)
		to, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 32)
		switch {
		case err1 != nil || err2 != nil:
			return fail("%q is neither a number nor a range", word)
		case to < from:
			return fail("the range %s runs backwards", word)
		case to >= maxCPUs:
			return fail("no machine has a CPU %d", to)
		}
		for cpu := int(from); cpu <= int(to); cpu++ {
			if seen[cpu] {
				return fail("CPU %d is in it twice", cpu)
			}
			seen[cpu] = true
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// FormatCPUs writes sorted CPUs as ParseCPUs and the kernel read them.
func FormatCPUs(cpus []int) string {
	sorted := slices.Sorted(slices.Values(cpus))
	var parts []string
	for i := 0; i < len(sorted); {
		end := i
		for end+1 < len(sorted) && sorted[end+1] == sorted[end]+1 {
			end++
		}
		part := strconv.Itoa(sorted[i])
		if end > i {
			part += "-" + strconv.Itoa(sorted[end])
		}
		parts = append(parts, part)
		i = end + 1
	}
	return strings.Join(parts, ",")
}

// AllowedCPUs lists the CPUs that this process may run on.
func AllowedCPUs() ([]int, error) { return allowedCPUs(openTree("")) }

// Pin binds this whole process to CPUs: the threads it has, and those that it or a
// library will start, which inherit the binding. A worker calls it before it opens an
// engine. It fails, and leaves some of the threads bound, where a CPU is offline or not
// granted by the control group: otherwise measuring on fewer CPUs than were asked for
// would go unnoticed.
func Pin(cpus []int) error {
	fail := func(err error) error { return fmt.Errorf("bind to CPUs %s: %w", FormatCPUs(cpus), err) }
	if len(cpus) == 0 {
		return errors.New("bind to CPUs: none is named")
	}
	wanted := unix.NewCPUSet(slices.Max(cpus) + 1)
	for _, cpu := range cpus {
		wanted.Set(cpu)
	}
	// A thread that is not bound yet may start another while the list is read. Once a
	// pass finds all bound, every later thread descends from a bound one.
	for bound := false; !bound; {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fail(err)
		}
		bound = true
		for _, entry := range entries {
			thread, err := strconv.Atoi(entry.Name())
			if err != nil {
				return fail(err)
			}
			changed, err := pinThread(thread, wanted, cpus)
			if errors.Is(err, unix.ESRCH) {
				continue // it has ended
			}
			if err != nil {
				return fail(err)
			}
			bound = bound && !changed
		}
	}
	return nil
}

// pinThread binds one thread and reports whether that changed anything.
func pinThread(thread int, wanted unix.CPUSetDynamic, cpus []int) (bool, error) {
	granted, err := affinity(thread)
	if err != nil || slices.Equal(granted, cpus) {
		return false, err
	}
	// EINVAL says that no CPU of the set is usable.
	if err := unix.SchedSetaffinityDynamic(thread, wanted); err != nil && !errors.Is(err, unix.EINVAL) {
		return false, fmt.Errorf("sched_setaffinity: %w", err)
	}
	if granted, err = affinity(thread); err != nil {
		return false, err
	}
	if !slices.Equal(granted, cpus) {
		return false, notGranted(cpus, granted)
	}
	return true, nil
}

// notGranted says which CPUs the kernel left out, and why, as far as it says.
func notGranted(cpus, granted []int) error {
	missing := slices.DeleteFunc(slices.Clone(cpus), func(cpu int) bool { return slices.Contains(granted, cpu) })
	if len(missing) == 0 {
		missing = cpus // none was usable, and the thread stays where it was
	}
	online, err := openTree("").cpuList("sys/devices/system/cpu/online")
	if err == nil && len(intersect(missing, online)) < len(missing) {
		return fmt.Errorf("the machine has CPUs %s online", FormatCPUs(online))
	}
	return fmt.Errorf("the control group does not grant CPUs %s; `cat /proc/self/status` shows those it does", FormatCPUs(missing))
}

// affinity lists the CPUs that a thread may run on.
func affinity(thread int) ([]int, error) {
	set := unix.NewCPUSet(maxCPUs)
	if err := unix.SchedGetaffinityDynamic(thread, set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	cpus := make([]int, 0, set.Count())
	for cpu := range maxCPUs {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}
