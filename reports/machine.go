package reports

import (
	"fmt"
	"slices"
	"strings"

	"genbench/bench"
	"genbench/hardware"
)

// deviceText names what a run's inferences ran on.
func deviceText(run bench.RunRecord) string {
	var names []string
	for _, d := range run.Devices {
		names = append(names, deviceName(d))
	}
	if len(names) == 0 {
		return "a device that the journal does not name"
	}
	return strings.Join(names, " and ")
}

// deviceName is a device with what there is of it.
func deviceName(d hardware.Info) string {
	name := d.Name
	if name == "" {
		name = d.ID
	}
	switch {
	case d.Fake:
		name += " (a test double)"
	case d.Kind == hardware.Host && d.Cores > 0:
		name += fmt.Sprintf(" (%s)", count(d.Cores, "processor"))
	}
	return name
}

// clocksText says what a run did about the clocks of its GPU, and by what it knows
// that they held; empty on a host device.
func clocksText(r *bench.Result) string {
	log := r.Log
	if len(log.Clocks) == 0 {
		return ""
	}
	last := log.Clocks[len(log.Clocks)-1]
	said := fmt.Sprintf("asked for %s; %s (%s)", last.Asked, log.ClockSetting(), last.Reason)
	if verified := r.VerifiedClocks(); verified != "" {
		said += "; " + verified
	}
	return said
}

// onGPU tells whether a GPU was measured on.
func onGPU(run bench.RunRecord) bool {
	return slices.ContainsFunc(run.Devices, func(d hardware.Info) bool { return d.Kind == hardware.CUDA })
}

// kind says of what kind a run is: the first thing a reader must know of it.
func kind(run bench.RunRecord) string {
	host, gpu := false, false
	for _, d := range run.Devices {
		host = host || d.Kind == hardware.Host
		gpu = gpu || d.Kind == hardware.CUDA
	}
	switch {
	case gpu && host:
		return "CPU and GPU run"
	case gpu:
		return "GPU run"
	case host:
		return "CPU run"
	}
	return "Run"
}

// count puts a number before a noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
