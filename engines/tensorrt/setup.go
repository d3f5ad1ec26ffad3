package tensorrt

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"genbench/engines/library"
)

//go:embed shim/abi.h shim/shim.cc shim/standin/cuda_runtime_api.h
var shimSource embed.FS

// includeDirs is where TensorRT's packages put their headers.
var includeDirs = []string{
	"/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu", "/usr/include",
	"/usr/local/tensorrt/include", "/usr/local/TensorRT/include", "/opt/tensorrt/include",
}

// CompileShim compiles the shim against the TensorRT headers in a folder, or, where
// include is empty, in one of the usual places, and puts it into genbench's cache
// directory, where Driver finds it. It returns the library's path and says on log what
// it does. It needs a C++ compiler, $CXX or c++, and neither CUDA nor TensorRT's libraries.
func CompileShim(ctx context.Context, include string, log io.Writer) (string, error) {
	path, err := compileShim(ctx, include, log)
	if err != nil {
		return "", fmt.Errorf("set up tensorrt: %w", err)
	}
	return path, nil
}

func compileShim(ctx context.Context, include string, log io.Writer) (string, error) {
	include, version, err := findHeaders(include)
	if err != nil {
		return "", err
	}
	major, _, _ := strings.Cut(version, ".")
	cacheDir, err := library.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cacheDir, "tensorrt-shim", version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	source, err := os.MkdirTemp("", "genbench-shim-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(source)
	if err := os.CopyFS(source, shimSource); err != nil {
		return "", err
	}
	compiler := os.Getenv("CXX")
	if compiler == "" {
		compiler = "c++"
	}
	target := filepath.Join(dir, fmt.Sprintf("libgenbench_trt%s.so", major))
	fresh := filepath.Join(source, "shim.so")
	fmt.Fprintf(log, "compile the shim for TensorRT %s from %s with %s\n", version, include, compiler)
	cmd := exec.CommandContext(ctx, compiler, "-std=c++17", "-O2", "-fvisibility=hidden", "-shared", "-fPIC",
		"-isystem", include,
		// After all real folders, so that a real cuda_runtime_api.h wins.
		"-idirafter", filepath.Join(source, "shim", "standin"),
		"-o", fresh, filepath.Join(source, "shim", "shim.cc"), "-ldl")
	if out, err := cmd.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("%w; install a C++ compiler or name one in CXX", err)
		}
		return "", fmt.Errorf("%s: %w\n%s", compiler, err, out)
	}
	data, err := os.ReadFile(fresh)
	if err != nil {
		return "", err
	}
	if err := (cache{dir: dir}).write(target, data); err != nil {
		return "", err
	}
	return target, nil
}

// findHeaders gives the folder of NvInfer.h and the version that the headers state.
func findHeaders(include string) (dir, version string, err error) {
	dirs := includeDirs
	if include != "" {
		dirs = []string{include}
	}
	var looked []string
	for _, dir := range dirs {
		version, err := headerVersion(dir)
		if err == nil {
			return dir, version, nil
		}
		looked = append(looked, err.Error())
	}
	return "", "", fmt.Errorf("no TensorRT headers found (%s); name their folder with --include. They come with TensorRT's development packages and, under the Apache licence, with the TensorRT repository on GitHub",
		strings.Join(looked, "; "))
}

// versionLine matches the two ways in which releases write their version.
var versionLine = regexp.MustCompile(`(?m)^#define\s+(?:NV_TENSORRT|TRT)_(MAJOR|MINOR|PATCH)(?:_ENTERPRISE)?\s+(\d+)`)

func headerVersion(dir string) (string, error) {
	for _, name := range []string{"NvInfer.h", "NvOnnxParser.h"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "NvInferVersion.h"))
	if err != nil {
		return "", err
	}
	parts := map[string]string{}
	for _, m := range versionLine.FindAllStringSubmatch(string(text), -1) {
		parts[m[1]] = m[2]
	}
	if len(parts) != 3 {
		return "", fmt.Errorf("%s states no version", filepath.Join(dir, "NvInferVersion.h"))
	}
	return parts["MAJOR"] + "." + parts["MINOR"] + "." + parts["PATCH"], nil
}
