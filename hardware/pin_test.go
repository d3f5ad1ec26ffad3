package hardware

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestParseCPUs(t *testing.T) {
	for list, want := range map[string][]int{
		"0": {0}, "0,2-5": {0, 2, 3, 4, 5}, " 7 , 1 - 2 ": {1, 2, 7}, "3-3": {3}, "65535": {65535},
	} {
		got, err := ParseCPUs(list)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is %v, %v; want %v", list, got, err, want)
		}
	}
	for list, why := range map[string]string{
		"":          "it is empty",
		"  ":        "it is empty",
		"0,":        `"" is neither a number nor a range`,
		"0-":        `"0-" is neither a number nor a range`,
		"-1":        `"-1" is neither a number nor a range`,
		"0;1":       `"0;1" is neither a number nor a range`,
		"5-2":       "the range 5-2 runs backwards",
		"1,0-2":     "CPU 1 is in it twice",
		"65536":     "no machine has a CPU 65536",
		"0-9999999": "no machine has a CPU 9999999",
	} {
		_, err := ParseCPUs(list)
		if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "want numbers and ranges such as 0,2-5") {
			t.Errorf("%q: error is %v, want %q", list, err, why)
		}
	}
}

func FuzzParseCPUs(f *testing.F) {
	for _, s := range []string{"0,2-5", "1,1", "", "-", "0-65535", "9-1", "0-9999999999", "65536", "0-3,8\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		cpus, err := ParseCPUs(list)
		if err != nil {
			return
		}
		if len(cpus) == 0 || cpus[0] < 0 || cpus[len(cpus)-1] >= maxCPUs {
			t.Errorf("%q gives %v", list, cpus)
		}
		back, err := ParseCPUs(FormatCPUs(cpus))
		if err != nil || !slices.Equal(cpus, back) {
			t.Errorf("%q is %v, written as %s, read as %v, %v", list, cpus, FormatCPUs(cpus), back, err)
		}
	})
}

func TestFormatCPUs(t *testing.T) {
	for want, cpus := range map[string][]int{"": nil, "3": {3}, "0-1": {1, 0}, "0,2-4,7": {0, 2, 3, 4, 7}} {
		if got := FormatCPUs(cpus); got != want {
			t.Errorf("%v is written as %q, want %q", cpus, got, want)
		}
	}
}

const pinChildKey = "GENBENCH_TEST_PIN"

// TestPinChild binds the whole process, so it is one of its own.
func TestPinChild(t *testing.T) {
	list, isChild := os.LookupEnv(pinChildKey)
	if !isChild {
		t.Skip("runs as the child of TestPin")
	}
	cpus, err := ParseCPUs(list)
	if err != nil {
		t.Fatal(err)
	}
	// Threads that are there before, and threads that come while others are bound.
	var stop, threads sync.WaitGroup
	stop.Add(1)
	thread := func() {
		runtime.LockOSThread()
		threads.Done()
		stop.Wait()
	}
	threads.Add(16)
	for range 8 {
		go thread()
	}
	go func() {
		for range 8 {
			go thread()
		}
	}()
	if err := Pin(cpus); err != nil {
		fmt.Printf("REPORT %v\n", err)
		stop.Done()
		return
	}
	threads.Wait()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(tasks) < 17 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if os.IsNotExist(err) {
			continue
		}
		if got, _ := colonValue(string(status), "Cpus_allowed_list"); got != list {
			t.Errorf("%s may run on %s, want %s", task, got, list)
		}
	}
	child, err := exec.Command("cat", "/proc/self/status").Output()
	if got, _ := colonValue(string(child), "Cpus_allowed_list"); err != nil || got != list {
		t.Errorf("a child may run on %s, %v; want %s", got, err, list)
	}
	stop.Done()
	fmt.Println("REPORT bound")
}

func TestPin(t *testing.T) {
	allowed, err := AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	online, err := openTree("").cpuList("sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	absent := slices.Max(online) + 1000
	for list, want := range map[string]string{
		FormatCPUs(allowed[len(allowed)-1:]):  "bound",
		FormatCPUs(allowed):                   "bound",
		FormatCPUs([]int{absent}):             fmt.Sprintf("bind to CPUs %d: the machine has CPUs %s online", absent, FormatCPUs(online)),
		FormatCPUs([]int{allowed[0], absent}): fmt.Sprintf("bind to CPUs %d,%d: the machine has CPUs %s online", allowed[0], absent, FormatCPUs(online)),
	} {
		child := exec.Command(os.Args[0], "-test.run=^TestPinChild$")
		child.Env = append(os.Environ(), pinChildKey+"="+list, "GORACE=atexit_sleep_ms=0")
		out, err := child.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "REPORT "+want+"\n") {
			t.Errorf("%s: %v, want %q:\n%s", list, err, want, out)
		}
	}
	if err := Pin(nil); err == nil || err.Error() != "bind to CPUs: none is named" {
		t.Errorf("no CPU: error is %v", err)
	}
}
