package hardware

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// CgroupLimits is what the control groups of this process grant it. A nil field
// is no limit.
type CgroupLimits struct {
	CPUs        *float64 `json:"cpus,omitempty"`         // CPU seconds per second
	MemoryBytes *int64   `json:"memory_bytes,omitempty"` //
}

// cgroupLimits reads the tightest limits from this process's groups up to the top of
// what this mount of the hierarchy shows. It knows version 2, version 1 and both side
// by side. A kernel without control groups limits nothing.
func cgroupLimits(t tree) (CgroupLimits, error) {
	var limits CgroupLimits
	groups, err := t.text("proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return limits, nil
	}
	if err != nil {
		return limits, err
	}
	mounts, err := t.text("proc/self/mountinfo")
	if err != nil {
		return limits, err
	}
	for _, m := range cgroupMounts(mounts) {
		for _, dir := range m.directories(groups) {
			if err := limits.tighten(t, m, dir); err != nil {
				return CgroupLimits{}, err
			}
		}
	}
	return limits, nil
}

// tighten applies the limits that one directory of a hierarchy sets.
func (l *CgroupLimits) tighten(t tree, m cgroupMount, dir string) error {
	var cpus *float64
	var memory *int64
	var err error
	if m.controllers == nil {
		if cpus, err = cpuMax(t, dir+"/cpu.max"); err != nil {
			return err
		}
		if memory, err = optionalInteger(t, dir+"/memory.max"); err != nil {
			return err
		}
	} else {
		if cpus, err = cpuQuota(t, dir); err != nil {
			return err
		}
		if memory, err = optionalInteger(t, dir+"/memory.limit_in_bytes"); err != nil {
			return err
		}
		// Version 1 says "no limit" by the largest page-aligned number.
		if memory != nil && *memory > 1<<62 {
			memory = nil
		}
	}
	if cpus != nil && (l.CPUs == nil || *cpus < *l.CPUs) {
		l.CPUs = cpus
	}
	if memory != nil && (l.MemoryBytes == nil || *memory < *l.MemoryBytes) {
		l.MemoryBytes = memory
	}
	return nil
}

// cpuMax reads version 2's "quota period" or "max period".
func cpuMax(t tree, file string) (*float64, error) {
	s, err := t.text(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	quotaText, periodText, _ := strings.Cut(s, " ")
	if quotaText == "max" {
		return nil, nil
	}
	quota, err1 := strconv.ParseFloat(quotaText, 64)
	period, err2 := strconv.ParseFloat(periodText, 64)
	if err1 != nil || err2 != nil || quota <= 0 || period <= 0 {
		return nil, fmt.Errorf("read /%s: %q is not a quota and a period", file, s)
	}
	cpus := quota / period
	return &cpus, nil
}

// cpuQuota reads version 1's pair of files; a quota of -1 is none.
func cpuQuota(t tree, dir string) (*float64, error) {
	quota, err := optionalInteger(t, dir+"/cpu.cfs_quota_us")
	if err != nil || quota == nil || *quota <= 0 {
		return nil, err
	}
	period, err := t.integer(dir + "/cpu.cfs_period_us")
	if err != nil {
		return nil, err
	}
	if period <= 0 {
		return nil, fmt.Errorf("read /%s/cpu.cfs_period_us: a period of %d µs", dir, period)
	}
	cpus := float64(*quota) / float64(period)
	return &cpus, nil
}

// optionalInteger reads a number; an absent file and "max" are nil.
func optionalInteger(t tree, file string) (*int64, error) {
	s, err := t.text(file)
	if errors.Is(err, fs.ErrNotExist) || s == "max" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := t.integer(file)
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// A cgroupMount is one mounted hierarchy.
type cgroupMount struct {
	root        string   // what part of the hierarchy is mounted
	point       string   // where, without the leading slash
	controllers []string // version 1's; nil for version 2
}

// cgroupMounts finds the hierarchies in /proc/self/mountinfo, whose format is in
// proc_pid_mountinfo(5).
func cgroupMounts(mountinfo string) []cgroupMount {
	var mounts []cgroupMount
	for line := range strings.Lines(mountinfo) {
		mount, filesystem, ok := strings.Cut(line, " - ")
		m, f := strings.Fields(mount), strings.Fields(filesystem)
		if !ok || len(m) < 5 || len(f) < 3 {
			continue
		}
		found := cgroupMount{root: unescape(m[3]), point: strings.TrimPrefix(unescape(m[4]), "/")}
		switch f[0] {
		case "cgroup2":
		case "cgroup":
			found.controllers = strings.Split(f[2], ",")
		default:
			continue
		}
		mounts = append(mounts, found)
	}
	return mounts
}

// unescape decodes the white space and backslashes of mountinfo's fields, which the
// kernel writes as three octal digits (mangle in fs/seq_file.c).
func unescape(field string) string {
	var b strings.Builder
	for rest := field; rest != ""; {
		before, after, escaped := strings.Cut(rest, `\`)
		b.WriteString(before)
		if !escaped {
			break
		}
		char, err := strconv.ParseUint(after[:min(3, len(after))], 8, 8)
		if err != nil || len(after) < 3 {
			b.WriteByte('\\') // no escape of the kernel's
			rest = after
			continue
		}
		b.WriteByte(byte(char))
		rest = after[3:]
	}
	return b.String()
}

// directories lists the process's group and its ancestors, as far as they are
// visible in this mount. groups is the text of /proc/self/cgroup.
func (m cgroupMount) directories(groups string) []string {
	for line := range strings.Lines(groups) {
		// hierarchy-ID:controller-list:path, see cgroups(7).
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || !m.has(parts[1]) {
			continue
		}
		below, ok := strings.CutPrefix(parts[2], strings.TrimSuffix(m.root, "/"))
		if !ok || below != "" && below[0] != '/' {
			below = "" // the group is named as another namespace sees it
		}
		dir := path.Join(m.point, path.Clean("/"+below))
		dirs := []string{dir}
		for dir != m.point && dir != "." {
			dir = path.Dir(dir)
			dirs = append(dirs, dir)
		}
		return dirs
	}
	return nil
}

// has reports whether a line of /proc/self/cgroup is about this hierarchy.
func (m cgroupMount) has(controllers string) bool {
	if m.controllers == nil {
		return controllers == ""
	}
	return controllers != "" && slices.Contains(m.controllers, strings.Split(controllers, ",")[0])
}
