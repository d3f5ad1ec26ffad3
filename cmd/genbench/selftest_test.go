package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stuckTest is the name by which the test binary is a test of an engine that was killed
// and whose end of the pipe something else, which no kill reaches, keeps open.
const stuckTest = "genbench-stuck"

// beStuck starts what outlives its group, with the pipe, and waits.
func beStuck() {
	attributes := &os.ProcAttr{Files: []*os.File{nil, nil, nil, os.NewFile(truthPipe, "pipe")}, Sys: &syscall.SysProcAttr{Setsid: true}}
	if _, err := os.StartProcess("/bin/sleep", []string{"sleep", "20"}, attributes); err != nil {
		os.Exit(1)
	}
	time.Sleep(time.Minute)
}

// A test that does not end is given up, though its pipe stays open.
func TestStuckEngineIsGivenUp(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a pipe that stays open")
	}
	name := os.Args[0]
	os.Args[0] = stuckTest
	defer func() { os.Args[0] = name }()
	start := time.Now()
	test, err := testEngine(t.Context(), "any", 200*time.Millisecond)
	if err != nil || !strings.Contains(test.Failed, "hung: no answer for 200ms") {
		t.Errorf("%+v, %v", test, err)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("given up after %s", took)
	}
}
