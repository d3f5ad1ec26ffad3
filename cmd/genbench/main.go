// Genbench measures how fast neural networks run, and says how far the numbers
// can be believed.
//
//	genbench run                   measure the default suite
//	genbench report DIR            make every view of a run again
//	genbench list models           what can be measured
//	genbench doctor                what would disturb a measurement
//	genbench clocks lock base      hold the clocks of GPUs
//
// One file of this package holds one sub-command. Exit codes, whose causes are in the
// README's table: 0 done, 1 internal or a full disk, 2 usage, 3 unavailable or in use,
// 4 measurement invalid, 5 some points failed or are missing, 6 a version that a gate
// compares cannot be built or run, 10 regression, 11 undecided under --strict, 12 not
// comparable, 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"genbench/engines"
	"genbench/engines/all"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, all.Drivers()))
}

// Exit codes. The README's table says what each stands for; 10 and 11 are verdict's.
const (
	exitInternal     = 1
	exitUsage        = 2
	exitUnavailable  = 3
	exitInvalid      = 4
	exitIncomplete   = 5
	exitVersion      = 6
	exitIncomparable = 12
	exitInterrupted  = 130
)

// An exitError ends the program with a code. A nil err means that everything has been
// said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage marks an error as the caller's.
func usage(err error) error { return &exitError{exitUsage, err} }

// An app is what every sub-command works with.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	drivers        []engines.Driver
}

// run is the whole program as a function of its arguments, streams and engines.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, drivers []engines.Driver) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, drivers: drivers}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *exitError
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled): // whatever it would be otherwise
		exit = &exitError{exitInterrupted, fmt.Errorf("interrupted: %w", err)}
	case !errors.As(err, &exit):
		exit = &exitError{exitInternal, err}
	}
	if exit.err != nil {
		fmt.Fprintf(stderr, "genbench: %v\n", exit.err)
	}
	return exit.code
}

// exitCodeOf is what the program ends with for an error.
func exitCodeOf(err error) int {
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return exitInternal
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "genbench",
		Short:         "Measure how fast neural networks run, and how far to believe it",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				text := fmt.Sprintf("unknown command %q", args[0])
				if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
					text += fmt.Sprintf(": did you mean %q?", near[0])
				}
				return usage(errors.New(text + "; `genbench --help` lists the commands"))
			}
			return cmd.Help()
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath()))
	})
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddCommand(
		a.runCommand(), a.replayCommand(), a.reportCommand(), a.listCommand(), a.showCommand(), a.exportCommand(),
		a.compareCommand(), a.gateCommand(), a.calibrateCommand(), a.baselineCommand(), a.historyCommand(),
		a.setupCommand(), a.doctorCommand(), a.selftestCommand(), a.clocksCommand(), a.truthCommand(), a.workerCommand(),
	)
	a.fitHelp(root)
	return root
}

// exactArgs is cobra.ExactArgs with the exit code of a usage error and a name for
// what is missing.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usage(fmt.Errorf("%s takes %s, got %d arguments; see `%s --help`", cmd.CommandPath(), what, len(args), cmd.CommandPath()))
		}
		return nil
	}
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision != "" && (v == "" || v == "(devel)") {
		v = "devel-" + revision + dirty
	}
	return v
}
