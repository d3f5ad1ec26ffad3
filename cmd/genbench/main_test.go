package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"genbench/engines"
	"genbench/engines/all"
	"genbench/engines/enginetest/faulty"
)

var update = flag.Bool("update", false, "rewrite what scripts compare with")

// testDrivers are the real engines and the ones that go wrong on purpose.
func testDrivers() []engines.Driver { return append(faulty.Drivers(), all.Drivers()...) }

// The test binary is genbench too, for scripts and for the workers it starts.
func TestMain(m *testing.M) {
	commands := map[string]func(){
		"genbench": func() { os.Exit(weigh(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, testDrivers()))) },
	}
	// A genbench with an engine for the double of a GPU.
	commands[onGPU] = func() {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, append(testDrivers(), delayDriver())))
	}
	commands[stuckTest] = beStuck
	for name, r := range recorders() {
		commands[name] = r.run
	}
	// A genbench whose own launches are made up, for what runs itself.
	commands["twin"] = func() {
		if len(os.Args) > 1 && os.Args[1] == "run" {
			recorder{}.run()
			return
		}
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, testDrivers()))
	}
	testscript.Main(m, commands)
}

// The program told as stories: testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"safetensors": writeSafetensors},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			files, err := filepath.Abs(filepath.Join("..", "..", "models", "testdata", "files"))
			if err != nil {
				return err
			}
			env.Setenv("FILES", files) // of other exporters
			// Scripts must not depend on what this machine has installed.
			env.Setenv("GENBENCH_ONNXRUNTIME", "")
			// Stories that run beside each other must not lock each other out.
			env.Setenv("TMPDIR", env.WorkDir)
			steps, err := workflowSteps()
			if err != nil {
				return err
			}
			for name, script := range steps {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(script), 0o644); err != nil {
					return err
				}
			}
			env.Setenv("GENBENCH_STATE", filepath.Join(env.WorkDir, "state"))
			return nil
		},
	})
}
