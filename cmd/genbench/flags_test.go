package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"genbench/engines/enginetest/faulty"
	"genbench/engines/reference"
)

// Whatever stands after `genbench run`, the answer is a plan, an engine or device
// that is not here, or what is wrong with the call, and never a crash. Arguments are
// lines of the input.
func FuzzRunFlags(f *testing.F) {
	for _, args := range []string{
		"--models\ngenet-small,resnet-18\n--batches\n1,8\n--precisions=fp32,int8\n--threads\n2",
		"--models=genet-small\n--resolution\n64\n--gaps\n0s,1ms,10ms",
		"--suite\npaper\n--profile\npublish\n--rel-width=0.01\n--max-launches=7",
		"--launches\n3\n--max-launches\n2\n--wait\n5m",
		"--engines\nreference,fake-spin\n--cpus\n0,2-5\n--seed\n18446744073709551615",
		"--models\nnone.onnx\n--shape\ninput:1x3x224x224\n--weights\nnone.safetensors",
		"--device\nGPU-0\n--allow-emulated\n--energy\n--calibrate\nnowhere\n--calibration\nminmax",
		"--timeout\n1ns\n--max-steal\nNaN\n--max-foreign\n-1",
		"--resume\nnowhere", "--help", "--", "extra",
	} {
		f.Add(args)
	}
	// Nothing of this machine: neither its libraries nor its files decide.
	drivers := append(faulty.Drivers(), reference.Driver())
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, "\n")
		if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--dry-run") }) {
			t.Skip("would measure")
		}
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"run", "--dry-run"}, args...), strings.NewReader(""), &stdout, &stderr, drivers)
		switch code {
		case 0:
			if stdout.Len() == 0 {
				t.Errorf("%q: nothing was planned and nothing is wrong", args)
			}
		case exitUsage, exitUnavailable:
			if !strings.HasPrefix(stderr.String(), "genbench: ") {
				t.Errorf("%q: exit code %d for %q", args, code, stderr.String())
			}
		default:
			t.Errorf("%q: exit code %d for %q", args, code, stderr.String())
		}
	})
}
