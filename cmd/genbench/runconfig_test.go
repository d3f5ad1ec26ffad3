package main

import (
	"testing"

	"genbench/hardware"
)

// Without a word of them, an inference gets a thread for each processor that it may use,
// and no more than a quota feeds.
func TestDefaultThreads(t *testing.T) {
	given := func(string) bool { return false }
	for _, c := range []struct {
		cpus  string
		cores int // that the device says can be kept busy
		want  int
	}{{"0-3", 2, 2}, {"0", 8, 1}, {"0-3", 4, 4}} {
		flags := runFlags{suite: "default", weights: synthetic, profile: "quick", cpus: c.cpus, given: given}
		config, err := (&app{drivers: testDrivers()}).config(flags, hardware.Info{ID: "host", Kind: hardware.Host, Cores: c.cores})
		if err != nil || config.Threads != c.want {
			t.Errorf("CPUs %s where %d can be kept busy: %d threads, %v; want %d", c.cpus, c.cores, config.Threads, err, c.want)
		}
	}
	// The cores of a GPU are its multiprocessors, and feed no thread of the host.
	flags := runFlags{suite: "default", weights: synthetic, profile: "quick", cpus: "0-99", given: given}
	host, err := hardware.Find("host")
	if err != nil {
		t.Fatal(err)
	}
	config, err := (&app{drivers: testDrivers()}).config(flags, hardware.Info{ID: "GPU-1", Kind: hardware.CUDA, Cores: 1000})
	if err != nil || config.Threads != min(100, host.Cores) {
		t.Errorf("on a GPU: %d threads, %v; want those of the host, %d", config.Threads, err, host.Cores)
	}
}
