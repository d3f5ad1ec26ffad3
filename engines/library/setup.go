package library

import (
	"archive/tar"
	"archive/zip"
	"cmp"
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
	"slices"
	"strings"
	"time"

	"genbench/hardware/native"
)

// ONNXRuntimeEnv names the environment variable that holds the path of
// libonnxruntime.so.
const ONNXRuntimeEnv = "GENBENCH_ONNXRUNTIME"

// ONNXRuntimeGPUEnv names the environment variable that holds the path of a
// libonnxruntime.so with the libraries of GPU providers beside it.
const ONNXRuntimeGPUEnv = "GENBENCH_ONNXRUNTIME_GPU"

// A release is one published package that holds a library we know byte for byte.
type release struct {
	name      string // of the package; "" for one named like the engine
	version   string
	arch      string // as runtime.GOARCH
	platform  string // of a wheel, without the processor; "" for manylinux_2_28
	megabytes int    // to download; announced beforehand, where known
	channel   channel
	file
	// beside are libraries of the package that must lie in the same folder.
	beside []file
	// with are other packages whose libraries must lie there too.
	with []release
}

// A file is one library of a package.
type file struct {
	member string // its path inside the package
	sha256 string // its own, not the package's: wheels for different Pythons hold the same one
}

// files are those of a package, the library itself last: where it is, all are.
func (r release) files() []file { return append(slices.Clone(r.beside), r.file) }

// packages lists those of a release, its own last.
func (r release) packages() []release { return append(slices.Clone(r.with), r) }

// folder is the release's own in the engine's folder of the cache. A home directory
// may be shared by machines of several kinds.
func (r release) folder() string {
	folder := r.version + "-linux-" + r.arch
	if r.name != "" {
		folder = r.name + "-" + folder
	}
	return folder
}

// onnxRuntimeReleases lists what setup may fetch, preferred first. The digests were
// computed from the packages of 2026-11-13 (pip) and of npm's 1.30.0, the newest
// that each channel had on 2026-11-23. A wheel's library has the CPU provider only;
// that of npm lists others, whose libraries it does not hold.
func onnxRuntimeReleases() []release {
	return []release{
		{
			version: "1.32.0", arch: "amd64", channel: pip{},
			file: file{"onnxruntime/capi/libonnxruntime.so.1.32.0", "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f"},
		},
		{
			version: "1.30.0", arch: "amd64", channel: npm{},
			file: file{"package/bin/napi-v6/linux/x64/libonnxruntime.so.1", "ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23"},
		},
		{
			version: "1.32.0", arch: "arm64", channel: pip{},
			file: file{"onnxruntime/capi/libonnxruntime.so.1.32.0", "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a"},
		},
		{
			version: "1.30.0", arch: "arm64", channel: npm{},
			file: file{"package/bin/napi-v6/linux/arm64/libonnxruntime.so.1", "1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76"},
		},
	}
}

// A gpuRelease is one for GPUs, with what it needs of them.
type gpuRelease struct {
	release
	driver      int    // the oldest, as cuDriverGetVersion counts
	least, most int    // compute capabilities, ten times the major number and the minor; most 0 for any
	gap         [2]int // the first and the last between them that it has no code for
	needs       string
}

// refuses says why a release does not run on a GPU; "" where it does.
func (r gpuRelease) refuses(gpu GPU) string {
	capability := 10*gpu.CapabilityMajor + gpu.CapabilityMinor
	name := strings.TrimSpace(r.name + " " + r.version)
	switch {
	case gpu.Driver < r.driver:
		return fmt.Sprintf("%s wants a driver for CUDA %s", name, native.CUDAVersion(r.driver))
	case capability < r.least:
		return fmt.Sprintf("%s wants compute capability %d.%d or more", name, r.least/10, r.least%10)
	case r.most != 0 && capability > r.most:
		return fmt.Sprintf("%s knows compute capabilities up to %d.%d", name, r.most/10, r.most%10)
	case capability >= r.gap[0] && capability <= r.gap[1]:
		return fmt.Sprintf("%s has no code for compute capability %d.%d", name, gpu.CapabilityMajor, gpu.CapabilityMinor)
	}
	return ""
}

// choose gives the first release that runs on a GPU, and why those before it do not.
func choose(releases []gpuRelease, gpu GPU) (chosen gpuRelease, passed []string, err error) {
	for _, r := range releases {
		why := r.refuses(gpu)
		if why == "" {
			return r, passed, nil
		}
		passed = append(passed, why)
	}
	return gpuRelease{}, nil, fmt.Errorf("no pinned release runs on %s (%s): %s", gpu.Name, gpu, strings.Join(passed, "; "))
}

// tellPassed says why newer releases were not chosen.
func tellPassed(log io.Writer, passed []string) {
	for _, why := range passed {
		fmt.Fprintf(log, "not a newer one: %s\n", why)
	}
}

// onnxRuntimeGPUReleases lists what setup may fetch for GPUs, preferred first. The
// digests were computed from PyPI's packages on 2026-11-23. Which CUDA a package is
// built for is in its build_and_package_info.py (1.31.1: 13.0, 1.24.4: 12.8), the
// versions of the other libraries in its requirements and in what its libraries are
// linked with. CUDA 13 dropped Volta (CUDA Toolkit 13.0 release notes) and within a
// major version a build runs with any driver of it (CUDA Compatibility, minor version
// compatibility).
//
// What their providers have code for was read from the fat binaries in them on
// 2026-11-30. 1.31.1: sm_75, 80, 86, 89, 90 and 120, without PTX, so nothing in it runs
// on a B200 or GB300 (10.x) or a Thor (11.0). 1.24.4: sm_60 to sm_90 and PTX for 9.0,
// which the driver compiles for what is newer.
func onnxRuntimeGPUReleases() []gpuRelease {
	shared := file{"onnxruntime/capi/libonnxruntime_providers_shared.so", "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d"}
	return []gpuRelease{
		{
			release: release{
				version: "1.31.1", arch: "amd64", channel: pip{},
				file: file{"onnxruntime/capi/libonnxruntime.so.1.31.1", "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303"},
				beside: []file{
					shared,
					{"onnxruntime/capi/libonnxruntime_providers_cuda.so", "8387867e857499e045caff5d13ac6a5de29571c801562fa2dde0e45f1f31de52"},
					{"onnxruntime/capi/libonnxruntime_providers_tensorrt.so", "1882ee49fdb0e6fc2d272b00cfaf9a3310bf8580a34385c0eec4d82014ea172e"},
				},
			},
			driver: 13000, least: 75, gap: [2]int{100, 119}, needs: "CUDA 13, cuDNN 9 and TensorRT 10",
		},
		{
			release: release{
				version: "1.24.4", arch: "amd64", channel: pip{},
				file: file{"onnxruntime/capi/libonnxruntime.so.1.24.4", "b10825f4306b01a4951c528554f2495c4597080c63637b300669544d9c142e76"},
				beside: []file{
					shared,
					{"onnxruntime/capi/libonnxruntime_providers_cuda.so", "43d2eb6ba2d1c2e796f495114420c0a1e1c6a8d987dd17c6e89a211dafdbb6c4"},
					{"onnxruntime/capi/libonnxruntime_providers_tensorrt.so", "e735b9fdc61a3953940d1be32cada651738ccb1f570cde8a3a3d1b0cf98290e2"},
				},
			},
			driver: 12000, least: 70, needs: "CUDA 12, cuDNN 9 and TensorRT 10",
		},
	}
}

// A GPU is what a choice of package depends on.
type GPU struct {
	Name                             string
	CapabilityMajor, CapabilityMinor int
	Driver                           int // the newest CUDA of the driver, as cuDriverGetVersion counts: 12040 is 12.4
}

// GPUOf is a device as the choice of packages sees it.
func GPUOf(d native.CUDADeviceInfo) GPU {
	return GPU{Name: d.Name, CapabilityMajor: d.CapabilityMajor, CapabilityMinor: d.CapabilityMinor, Driver: d.DriverVersionNumber}
}

// SetupONNXRuntimeGPU fetches ONNX Runtime with its CUDA and TensorRT providers into
// genbench's cache directory: the newest pinned release that the GPU and its driver
// run. It works like SetupONNXRuntime, and does not fetch NVIDIA's own libraries.
func SetupONNXRuntimeGPU(ctx context.Context, log io.Writer, gpu GPU) (string, error) {
	chosen, passed, err := choose(onnxRuntimeGPUReleases(), gpu)
	if err != nil {
		return "", fmt.Errorf("set up onnxruntime-gpu: %w", err)
	}
	fmt.Fprintf(log, "onnxruntime-gpu %s for %s: %s; it needs %s, which `genbench list engines` looks for\n",
		chosen.version, gpu.Name, gpu, chosen.needs)
	tellPassed(log, passed)
	path, err := setup(ctx, log, "onnxruntime-gpu", ONNXRuntimeGPUEnv, []release{chosen.release})
	if err != nil {
		return "", fmt.Errorf("set up onnxruntime-gpu: %w", err)
	}
	return path, nil
}

func (g GPU) String() string {
	return fmt.Sprintf("compute capability %d.%d, driver for CUDA %s", g.CapabilityMajor, g.CapabilityMinor, native.CUDAVersion(g.Driver))
}

// SetupONNXRuntime fetches ONNX Runtime's CPU library into genbench's cache
// directory with pip, or with npm where there is no pip, and gives its path. It
// needs no root, keeps only a file whose SHA-256 is the pinned one, and does nothing
// where that file is already there. It says on log what it does.
//
// It does not load the library; opening the engine does.
func SetupONNXRuntime(ctx context.Context, log io.Writer) (string, error) {
	path, err := setup(ctx, log, "onnxruntime", ONNXRuntimeEnv, onnxRuntimeReleases())
	if err != nil {
		return "", fmt.Errorf("set up onnxruntime: %w", err)
	}
	return path, nil
}

// setup installs the first release that can be had; env names the variable for a
// library of one's own.
func setup(ctx context.Context, log io.Writer, engine, env string, releases []release) (string, error) {
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
		return "", fmt.Errorf("no pinned package for %s/%s; get a library of your own and set %s to its path", runtime.GOOS, runtime.GOARCH, env)
	}
	target := func(r release) string { return filepath.Join(cache, engine, r.folder()) }
	for _, r := range fit {
		there, err := installed(log, r, target(r))
		if err != nil {
			return "", fmt.Errorf("check what is there: %w", err)
		}
		if there {
			path := r.in(target(r))
			fmt.Fprintf(log, "%s %s is already there: %s\n", engine, r.version, path)
			return path, nil
		}
	}
	var failed []string
	for _, r := range fit {
		err := install(ctx, log, engine, r, target(r))
		if err == nil {
			path := r.in(target(r))
			fmt.Fprintf(log, "installed %s %s: %s\n", engine, r.version, path)
			return path, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		fmt.Fprintf(log, "%v\n", err)
		failed = append(failed, err.Error())
	}
	return "", fmt.Errorf("%s; or get the library by other means and set %s to its path", strings.Join(failed, "; "), env)
}

// in is where a file lies in a folder of the cache.
func (f file) in(dir string) string { return filepath.Join(dir, filepath.Base(f.member)) }

// installed reports whether all files of a release are in a folder as pinned.
func installed(log io.Writer, r release, dir string) (bool, error) {
	for _, p := range r.packages() {
		if there, err := unpacked(log, p, dir); !there || err != nil {
			return false, err
		}
	}
	return true, nil
}

// unpacked is installed for one package.
func unpacked(log io.Writer, r release, dir string) (bool, error) {
	for _, f := range r.files() {
		switch sum, err := hashFile(f.in(dir)); {
		case errors.Is(err, os.ErrNotExist):
			return false, nil
		case err != nil:
			return false, err
		case sum != f.sha256:
			fmt.Fprintf(log, "replacing %s: its sha256 is %s, not the pinned %s\n", f.in(dir), sum, f.sha256)
			return false, nil
		}
	}
	return true, nil
}

// install fetches the packages of a release that are not in place, its own last.
func install(ctx context.Context, log io.Writer, engine string, r release, target string) error {
	for _, p := range r.packages() {
		// A setup that broke off half way continues where it was.
		there, err := unpacked(io.Discard, p, target)
		if err != nil {
			return err
		}
		if !there {
			if err := fetch(ctx, log, engine, p, target); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetch downloads one package and puts its libraries in place, each in one step.
func fetch(ctx context.Context, log io.Writer, engine string, r release, target string) error {
	work, err := os.MkdirTemp("", "genbench-setup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	archive, err := r.channel.fetch(ctx, log, work, engine, r)
	if err != nil {
		return fmt.Errorf("fetch %s %s with %s: %w", cmp.Or(r.name, engine), r.version, r.channel.name(), err)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	for _, f := range r.files() {
		if err := put(ctx, r.channel, archive, f, f.in(target)); err != nil {
			return err
		}
	}
	return nil
}

// put extracts one file of a package, if it is the pinned one.
func put(ctx context.Context, from channel, archive string, f file, target string) error {
	// The name must not look like a library: a file left behind by a killed
	// process is never opened.
	partial, err := os.CreateTemp(filepath.Dir(target), ".partial-")
	if err != nil {
		return err
	}
	defer os.Remove(partial.Name()) // gone already where all went well
	defer partial.Close()
	h := sha256.New()
	if err := from.extract(archive, f.member, contextWriter{ctx, io.MultiWriter(partial, h)}); err != nil {
		return fmt.Errorf("extract %s from %s: %w", f.member, filepath.Base(archive), err)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != f.sha256 {
		return fmt.Errorf("check %s from %s: its sha256 is %s, expected %s; nothing was kept", f.member, filepath.Base(archive), sum, f.sha256)
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
// need not match: any wheel of the version for the platform holds the same library.
func (pip) fetch(ctx context.Context, log io.Writer, dir, engine string, r release) (string, error) {
	command, err := findPip(ctx)
	if err != nil {
		return "", err
	}
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[r.arch]
	command = append(command, "download", "--no-deps", "--only-binary=:all:",
		"--implementation", "cp", "--python-version", "3.12", "--abi", "cp312",
		"--platform", cmp.Or(r.platform, "manylinux_2_28")+"_"+machine,
		"--disable-pip-version-check", "--no-input", "--progress-bar", "off",
		"--dest", dir, cmp.Or(r.name, engine)+"=="+r.version)
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
