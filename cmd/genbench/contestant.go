package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"genbench/engines"
	"genbench/engines/library"
)

// A contestant is a version as a gate runs it: a binary, flags of its own, and
// variables of its environment.
type contestant struct {
	name   string // base or new
	says   string // what it is, for people
	binary string
	argv0  string
	flags  []string
	env    []string
	// cleanup removes what was made to run it; nil where nothing was.
	cleanup func()
}

// refForms explains what REF may be.
func refForms() string {
	return "  PATH of a genbench binary\n" +
		"  PATH of an ONNX file (*.onnx)\n" +
		"  PATH of an engine's library (libonnxruntime.so…)\n" +
		"  ENGINE@VERSION of a library in genbench's cache directory, where each has a folder\n" +
		"  git:REVISION, built by --build in its own checkout\n" +
		"  \"--flag value …\" of genbench run for this version only; it begins with a dash\n"
}

func isONNX(ref string) bool { return strings.HasSuffix(ref, ".onnx") }

// contestant finds out what a REF means.
func (a *app) contestant(ctx context.Context, ref string, f *gateFlags) (contestant, error) {
	c, err := a.self()
	if err != nil {
		return c, err
	}
	if strings.HasPrefix(ref, "-") {
		c.flags = strings.Fields(ref)
		for _, flag := range setByGate() {
			if hasFlag(c.flags, flag) {
				return c, usage(fmt.Errorf("REF %q: %s is set by the gate itself", ref, flag))
			}
		}
		c.says = "this binary with " + ref
		return c, nil
	}
	if revision, ok := strings.CutPrefix(ref, "git:"); ok {
		return a.buildRevision(ctx, revision, f)
	}
	if engine, version, ok := strings.Cut(ref, "@"); ok {
		if d, err := knownEngine(a.drivers, engine); err == nil {
			file, err := cachedLibrary(d, version)
			if err != nil {
				return c, err
			}
			c.env, c.says = []string{d.Library.Env + "=" + file}, fmt.Sprintf("%s %s", engine, version)
			return c, nil
		}
	}
	info, err := os.Stat(ref)
	if err != nil || info.IsDir() {
		return c, usage(fmt.Errorf("REF %q is none of\n%s", ref, strings.TrimRight(refForms(), "\n")))
	}
	if isONNX(ref) { // launches run where the gate does, and points are named as they were given
		c.flags, c.says = []string{"--models", listItem(ref)}, "file "+filepath.Base(ref)
		return c, nil
	}
	path, err := filepath.Abs(ref)
	if err != nil {
		return c, fmt.Errorf("find %s: %w", ref, err)
	}
	if base := filepath.Base(path); strings.Contains(base, ".so") {
		// Engines share a library's name; one that cannot use this very file says so.
		for _, d := range a.drivers {
			named, err := filepath.Match(d.Library.Files, base)
			if err != nil {
				return c, fmt.Errorf("pattern of the library of %s: %w", d.Name, err)
			}
			if env := d.Library.Env + "=" + path; named && !slices.Contains(c.env, env) {
				c.env, c.says = append(c.env, env), "library "+base
			}
		}
		if c.env == nil {
			return c, usage(fmt.Errorf("REF %q: no engine's library has such a name", ref))
		}
		return c, nil
	}
	if info.Mode()&0o111 == 0 {
		return c, usage(fmt.Errorf("REF %q is a file that is not executable", ref))
	}
	c.binary, c.argv0, c.says = path, path, "binary "+filepath.Base(path)
	return c, nil
}

// self is this binary, under the name that it was called by.
func (a *app) self() (contestant, error) {
	path, err := os.Executable()
	if err != nil {
		return contestant{}, fmt.Errorf("find own binary to run: %w", err)
	}
	return contestant{binary: path, argv0: os.Args[0], says: "this binary"}, nil
}

// cachedLibrary finds a version of an engine's library that `genbench setup` fetched,
// or that was put beside those. VERSION is the folder's name, or a part of it between
// hyphens: 1.32.0 of 1.32.0-linux-amd64.
func cachedLibrary(d engines.Driver, version string) (string, error) {
	if d.Library.Folder == "" {
		return "", usage(fmt.Errorf("engine %s has no library that comes in versions", d.Name))
	}
	cache, err := library.CacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, d.Library.Folder)
	files, err := filepath.Glob(filepath.Join(folder, "*", d.Library.Files))
	if err != nil {
		return "", fmt.Errorf("look for %s %s: %w", d.Name, version, err)
	}
	found := map[string]string{} // by folder, the file with the longest name: others are links to it
	var there []string
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		if !slices.Contains(there, name) {
			there = append(there, name)
		}
		if strings.Contains("-"+name+"-", "-"+version+"-") && len(file) > len(found[name]) {
			found[name] = file
		}
	}
	names := slices.Sorted(maps.Keys(found))
	switch len(names) {
	case 0:
		return "", &exitError{exitUnavailable, fmt.Errorf("%s@%s: no such version below %s (%s); put its %s into a folder there",
			d.Name, version, publicPath(folder), cmp.Or(strings.Join(there, ", "), "it holds none"), d.Library.Files)}
	case 1:
		return found[names[0]], nil
	}
	return "", usage(fmt.Errorf("%s@%s is one of %s: give the name in full", d.Name, version, strings.Join(names, ", ")))
}

// buildRevision checks a revision out beside the repository's own work tree and
// builds it there.
func (a *app) buildRevision(ctx context.Context, revision string, f *gateFlags) (contestant, error) {
	var c contestant
	root, err := os.MkdirTemp("", "genbench-gate-")
	if err != nil {
		return c, fmt.Errorf("check out %s: %w", revision, err)
	}
	tree := filepath.Join(root, "tree")
	c.cleanup = func() {
		// Forced twice: one whose checkout was cut off is locked. Git forgets a work tree
		// whose directory is gone at its next prune, so nothing is lost where this fails.
		_ = exec.Command("git", "worktree", "remove", "--force", "--force", tree).Run()
		_ = os.RemoveAll(root)
	}
	fail := func(err error) (contestant, error) {
		c.cleanup()
		return contestant{}, cmp.Or(ctx.Err(), err)
	}
	if out, err := group(exec.CommandContext(ctx, "git", "worktree", "add", "--detach", tree, revision)).CombinedOutput(); err != nil {
		return fail(usage(fmt.Errorf("check out %s: %w: %s", revision, err, strings.TrimSpace(string(out)))))
	}
	fmt.Fprintf(a.stderr, "building %s: %s\n", revision, f.build)
	build := group(exec.CommandContext(ctx, "sh", "-c", f.build))
	build.Dir = tree
	if out, err := build.CombinedOutput(); err != nil {
		return fail(&exitError{exitVersion, fmt.Errorf("build %s with %q: %w: %s", revision, f.build, err, strings.TrimSpace(string(out)))})
	}
	c.binary = filepath.Join(tree, f.built)
	if _, err := os.Stat(c.binary); err != nil {
		return fail(usage(fmt.Errorf("build %s: %q made no %s; name what it makes with --built", revision, f.build, f.built)))
	}
	c.argv0, c.says = c.binary, "revision "+revision
	return c, nil
}

// group makes a command end with all that it started when its context does: first
// asked to, then killed.
func group(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
