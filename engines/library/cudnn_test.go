package library

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A V100, a T4, an A100, an H200 and others under the drivers they are found with.
func TestChoiceOfCUDNN(t *testing.T) {
	for _, c := range []struct {
		gpu  GPU
		want string // or words of the refusal
	}{
		{GPU{"V100", 7, 0, 12040}, "nvidia-cudnn-cu12 9.10.2.21"},
		{GPU{"V100", 7, 0, 13000}, "nvidia-cudnn-cu12 9.10.2.21"},
		{GPU{"V100", 7, 0, 11080}, "nvidia-cudnn-cu11 9.10.2.21"},
		{GPU{"T4", 7, 5, 12020}, "nvidia-cudnn-cu12 9.28.0.42"},
		{GPU{"A100", 8, 0, 11080}, "nvidia-cudnn-cu11 9.10.2.21"},
		{GPU{"H200", 9, 0, 13010}, "nvidia-cudnn-cu13 9.28.1.4"},
		{GPU{"B200", 10, 0, 12080}, "nvidia-cudnn-cu12 9.28.0.42"},
		{GPU{"RTX 5090", 12, 0, 11080}, "nvidia-cudnn-cu11 9.10.2.21 knows compute capabilities up to 9.0"},
		{GPU{"P100", 6, 0, 12040}, "nvidia-cudnn-cu12 9.10.2.21 wants compute capability 7.0 or more"},
		{GPU{"A100", 8, 0, 11040}, "nvidia-cudnn-cu11 9.10.2.21 wants a driver for CUDA 11.8"},
	} {
		got, err := ChosenCUDNN(c.gpu)
		if err != nil {
			got = err.Error()
		}
		if (err == nil && got != c.want) || !strings.Contains(got, c.want) {
			t.Errorf("%s, %s: %s, want %s", c.gpu.Name, c.gpu, got, c.want)
		}
	}
}

// TestCUDNNPins keeps the table well-formed: what the search looks for comes last, and
// no two files of a release share a name in its folder.
func TestCUDNNPins(t *testing.T) {
	folders := map[string]bool{}
	for _, r := range cudnnReleases() {
		if folders[r.folder()] {
			t.Errorf("two releases share the folder %s", r.folder())
		}
		folders[r.folder()] = true
		if filepath.Base(r.member) != "libcudnn.so.9" {
			t.Errorf("%s ends with %s", r.folder(), r.member)
		}
		names, sonames := map[string]bool{}, ""
		for _, p := range r.packages() {
			if p.arch != r.arch || p.name == "" || p.megabytes == 0 || p.platform == "" {
				t.Errorf("%s: package %+v", r.folder(), p)
			}
			for _, f := range p.files() {
				if sum, err := hex.DecodeString(f.sha256); err != nil || len(sum) != sha256.Size {
					t.Errorf("%s %s: %q is no sha256", p.name, f.member, f.sha256)
				}
				name := filepath.Base(f.member)
				if names[name] {
					t.Errorf("%s: two files %s", r.folder(), name)
				}
				names[name] = true
				sonames += name + " "
			}
		}
		for _, needed := range []string{"libcudnn_graph.so.9", "libcudnn_cnn.so.9", "libcudnn_ops.so.9", "libcublasLt.so.", "libcublas.so.", "libnvrtc.so.", "libnvrtc-builtins.so."} {
			if !strings.Contains(sonames, needed) {
				t.Errorf("%s lacks %s", r.folder(), needed)
			}
		}
	}
}

// TestSetupCUDNN fails at the first download, after it told what it chose and why.
func TestSetupCUDNN(t *testing.T) {
	b := newBox(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("cuDNN is pinned for amd64 alone")
	}
	b.script(t, "pip", `[ "$1" = --version ] && exit 0; exit 1`)
	_, err := SetupCUDNN(t.Context(), &b.log, GPU{"Tesla V100", 7, 0, 12040})
	if err == nil || !strings.Contains(err.Error(), "set up cudnn: fetch nvidia-cuda-nvrtc-cu12 12.9.86 with pip") || !strings.Contains(err.Error(), CUDNNEnv) {
		t.Errorf("got %v", err)
	}
	for _, words := range []string{
		"nvidia-cudnn-cu12 9.10.2.21 for Tesla V100: compute capability 7.0, driver for CUDA 12.4\n",
		"not a newer one: nvidia-cudnn-cu13 9.28.1.4 wants a driver for CUDA 13.0",
		"not a newer one: nvidia-cudnn-cu12 9.28.0.42 wants compute capability 7.5 or more",
		fmt.Sprintf("with nvidia-cuda-nvrtc-cu12 12.9.86 and nvidia-cublas-cu12 12.9.3.13: %d MB", 90+581+707),
	} {
		if !strings.Contains(b.log.String(), words) {
			t.Errorf("the log lacks %q:\n%s", words, b.log.String())
		}
	}
}
