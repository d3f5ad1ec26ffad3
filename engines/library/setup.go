package library

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// ONNXRuntimeEnv names the environment variable that holds the path of
// libonnxruntime.so.
const ONNXRuntimeEnv = "GENBENCH_ONNXRUNTIME"

// ONNXRuntimeGPUEnv names the environment variable that holds the path of a
// libonnxruntime.so with the libraries of GPU providers beside it.
const ONNXRuntimeGPUEnv = "GENBENCH_ONNXRUNTIME_GPU"

// A release is one published package that holds a library we know byte for byte.
type release struct {
	version string
	arch    string // as runtime.GOARCH
	channel channel
	member  string // path of the library inside the package
	sha256  string // of the library, not of the package: wheels for different Pythons hold the same one
}

// onnxRuntimeReleases lists what setup may fetch, preferred first. The digests were
// computed from the packages of 2026-11-13 (pip) and of npm's 1.30.0, the newest
// that each channel had on 2026-11-23. A wheel's library has the CPU provider only;
// that of npm lists others, whose libraries it does not hold.
func onnxRuntimeReleases() []release {
	return []release{
		{
			version: "1.32.0", arch: "amd64", channel: pip{},
			member: "onnxruntime/capi/libonnxruntime.so.1.32.0",
			sha256: "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
		},
		{
			version: "1.30.0", arch: "amd64", channel: npm{},
			member: "package/bin/napi-v6/linux/x64/libonnxruntime.so.1",
			sha256: "ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23",
		},
		{
			version: "1.32.0", arch: "arm64", channel: pip{},
			member: "onnxruntime/capi/libonnxruntime.so.1.32.0",
			sha256: "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
		},
		{
			version: "1.30.0", arch: "arm64", channel: npm{},
			member: "package/bin/napi-v6/linux/arm64/libonnxruntime.so.1",
			sha256: "1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76",
		},
	}
}

// SetupONNXRuntime fetches ONNX Runtime's CPU library into genbench's cache
// directory with pip, or with npm where there is no pip, and gives its path. It
// needs no root, keeps only a file whose SHA-256 is the pinned one, and does
// nothing where that file is there already. What it does is told on log.
//
// It does not load the library; opening the engine does.
func SetupONNXRuntime(ctx context.Context, log io.Writer) (string, error) {
	path, err := setup(ctx, log, "onnxruntime", onnxRuntimeReleases())
	if err != nil {
		return "", fmt.Errorf("set up onnxruntime: %w", err)
	}
	return path, nil
}

// setup installs the first release that can be had.
func setup(ctx context.Context, log io.Writer, engine string, releases []release) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	var fit []release
	for _, r := range releases {
		if r.arch == runtime.GOARCH && runtime.GOOS == "linux" {
			fit = append(fit, r)
		}
	}
	if len(fit) == 0 {
		return "", fmt.Errorf("no pinned package for %s/%s; get a library of your own and set %s to its path", runtime.GOOS, runtime.GOARCH, ONNXRuntimeEnv)
	}
	target := func(r release) string {
		// A home directory may be shared by machines of several kinds.
		return filepath.Join(cache, engine, r.version+"-linux-"+r.arch, filepath.Base(r.member))
	}
	for _, r := range fit {
		switch sum, err := hashFile(target(r)); {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return "", fmt.Errorf("check what is there: %w", err)
		case sum == r.sha256:
			fmt.Fprintf(log, "%s %s is already there: %s\n", engine, r.version, target(r))
			return target(r), nil
		default:
			fmt.Fprintf(log, "replacing %s: its sha256 is %s, not the pinned %s\n", target(r), sum, r.sha256)
		}
	}
	var failed []string
	for _, r := range fit {
		err := install(ctx, log, engine, r, target(r))
		if err == nil {
			fmt.Fprintf(log, "installed %s %s: %s\n", engine, r.version, target(r))
			return target(r), nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		fmt.Fprintf(log, "%v\n", err)
		failed = append(failed, err.Error())
	}
	return "", fmt.Errorf("%s; or get the library by other means and set %s to its path", strings.Join(failed, "; "), ONNXRuntimeEnv)
}

// install fetches one release and puts its library in place in one step.
func install(ctx context.Context, log io.Writer, engine string, r release, target string) error {
	work, err := os.MkdirTemp("", "genbench-setup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	archive, err := r.channel.fetch(ctx, log, work, engine, r)
	if err != nil {
		return fmt.Errorf("fetch %s %s with %s: %w", engine, r.version, r.channel.name(), err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	// The name must not look like a library: a file left behind by a killed
	// process is never opened.
	partial, err := os.CreateTemp(filepath.Dir(target), ".partial-")
	if err != nil {
		return err
	}
	defer os.Remove(partial.Name()) // gone already where all went well
	defer partial.Close()
	h := sha256.New()
	if err := r.channel.extract(archive, r.member, contextWriter{ctx, io.MultiWriter(partial, h)}); err != nil {
		return fmt.Errorf("extract %s from %s: %w", r.member, filepath.Base(archive), err)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != r.sha256 {
		return fmt.Errorf("check %s from %s: its sha256 is %s, expected %s; nothing was kept", r.member, filepath.Base(archive), sum, r.sha256)
	}
	if err := partial.Chmod(0o755); err != nil {
		return err
	}
	if err := partial.Sync(); err != nil {
		return err
	}
	if err := partial.Close(); err != nil {
		return err
	}
	return os.Rename(partial.Name(), target)
}

// contextWriter ends a long copy when the context does.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// A channel is a package manager that can fetch a package without installing it.
type channel interface {
	name() string
	// fetch downloads the release's package into dir and gives its path.
	fetch(ctx context.Context, log io.Writer, dir, engine string, r release) (string, error)
	// extract copies one member of the package.
	extract(archive, member string, to io.Writer) error
}

type pip struct{}

func (pip) name() string { return "pip" }

// fetch asks for a wheel by its tags, so that the Python that pip runs on
// need not match: any wheel of the version holds the same library.
func (pip) fetch(ctx context.Context, log io.Writer, dir, engine string, r release) (string, error) {
	command, err := findPip(ctx)
	if err != nil {
		return "", err
	}
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[r.arch]
	command = append(command, "download", "--no-deps", "--only-binary=:all:",
		"--implementation", "cp", "--python-version", "3.12", "--abi", "cp312",
		"--platform", "manylinux_2_28_"+machine,
		"--disable-pip-version-check", "--no-input", "--progress-bar", "off",
		"--dest", dir, engine+"=="+r.version)
	if err := runLogged(ctx, log, dir, command); err != nil {
		return "", err
	}
	return onlyFile(dir, "*.whl")
}

func (pip) extract(archive, member string, to io.Writer) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	from, err := z.Open(member)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = io.Copy(to, from)
	return err
}

// findPip gives the first pip that answers. A python3 without it is common.
func findPip(ctx context.Context) ([]string, error) {
	candidates := [][]string{{"python3", "-m", "pip"}, {"pip3"}, {"pip"}}
	var names []string
	for _, c := range candidates {
		cmd := exec.CommandContext(ctx, c[0], append(c[1:], "--version")...)
		if cmd.Run() == nil {
			return c, nil
		}
		names = append(names, strings.Join(c, " "))
	}
	return nil, fmt.Errorf("no pip here (tried %s)", strings.Join(names, ", "))
}

type npm struct{}

func (npm) name() string { return "npm" }

// fetch asks for the Node.js binding, which carries the library for all platforms.
// Scripts stay off: its own would download more from elsewhere.
func (npm) fetch(ctx context.Context, log io.Writer, dir, engine string, r release) (string, error) {
	if _, err := exec.LookPath("npm"); err != nil {
		return "", fmt.Errorf("no npm here: %w", err)
	}
	command := []string{"npm", "pack", "--ignore-scripts", "--loglevel", "error", engine + "-node@" + r.version}
	if err := runLogged(ctx, log, dir, command); err != nil {
		return "", err
	}
	return onlyFile(dir, "*.tgz")
}

func (npm) extract(archive, member string, to io.Writer) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	t := tar.NewReader(z)
	for {
		header, err := t.Next()
		if err == io.EOF {
			return fmt.Errorf("no such member")
		}
		if err != nil {
			return err
		}
		if header.Name == member {
			_, err := io.Copy(to, t)
			return err
		}
	}
}

func runLogged(ctx context.Context, log io.Writer, dir string, command []string) error {
	fmt.Fprintf(log, "running %s\n", strings.Join(command, " "))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Stdout = log
	cmd.Stderr = log
	// A package manager's own children may hold the pipes open after it was killed.
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	return nil
}

// onlyFile gives the one file a package manager left in dir.
func onlyFile(dir, pattern string) (string, error) {
	files := glob(dir, pattern)
	if len(files) != 1 {
		return "", fmt.Errorf("it reported success and left %d files %s", len(files), pattern)
	}
	return files[0], nil
}
