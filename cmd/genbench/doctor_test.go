package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"genbench/hardware"
)

func TestDoctor(t *testing.T) {
	skipShort(t)
	b := newBoard(t)
	hot := []string{"FAKE_NVML_DEVICES=2", "FAKE_NVML_CELSIUS=70", "FAKE_NVML_ECC_ERRORS=3"}
	for _, width := range []string{"60", "120"} {
		code, stdout, stderr := b.run(t, append(hot, "COLUMNS="+width), "doctor")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		limit := map[string]int{"60": 60, "120": 120}[width]
		for line := range strings.Lines(stdout) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > limit {
				t.Errorf("%d columns where there are %d: %s", n, limit, line)
			}
		}
		text := strings.Join(strings.Fields(stdout), " ")
		for _, want := range []string{
			"gpu Fake GPU (GPU-fake-1) driver 999.42, CUDA 13.2, power limit 700 W, base SM clock 1095 MHz, highest 1980 MHz",
			"energy can be measured",
			"fail GPU-fake-0: 3 uncorrectable memory errors since the driver was loaded → reset the GPU",
			"warn GPU-fake-1: the GPU is at 70 °C when idle (limit 60)",
			"the GPU's clocks float",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("at %s columns %q is not in\n%s", width, want, stdout)
			}
		}
		if strings.LastIndex(text, " fail ") > strings.Index(text, " warn ") {
			t.Errorf("a warning comes before a failure:\n%s", stdout)
		}
	}
	code, stdout, stderr := b.run(t, append(hot, "FAKE_NVML_RETURN=3"), "doctor", "--json")
	var d diagnosis
	if err := json.Unmarshal([]byte(stdout), &d); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr)
	}
	i := slices.IndexFunc(d.Energy, func(e energyStatus) bool { return e.Device == "GPU-fake-0" })
	if i < 0 || !strings.Contains(d.Energy[i].Reason, "Not Supported") {
		t.Errorf("energy is %+v, want why the GPU's can't be measured", d.Energy)
	}
	for _, lost := range []string{"FAKE_NVML_RETURN=15", "FAKE_NVML_HANDLE=15"} {
		if code, stdout, stderr = b.run(t, []string{lost}, "doctor"); code != 0 || !strings.Contains(stdout, "gone until it is reset") || !strings.Contains(stdout, "nvidia-smi --gpu-reset") {
			t.Errorf("%s: exit code %d:\n%s%s", lost, code, stdout, stderr)
		}
	}
	if code, stdout, _ = b.run(t, []string{"FAKE_NVML_RETURN=3"}, "doctor"); code != 0 || !strings.Contains(stdout, "power limit unknown") {
		t.Errorf("exit code %d:\n%s", code, stdout)
	}
}

func TestDoctorBound(t *testing.T) {
	skipShort(t)
	allowed, err := hardware.AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	b := newBoard(t)
	one := hardware.FormatCPUs(allowed[:1])
	if code, stdout, stderr := b.run(t, nil, "doctor", "--cpus", one); code != 0 || len(allowed) > 1 && !strings.Contains(stdout, "bound to processors "+one) {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	for list, want := range map[string]string{
		"2-1":   "--cpus: read list of CPUs \"2-1\": the range 2-1 runs backwards",
		"65000": "--cpus: bind to CPUs 65000: the machine has CPUs",
	} {
		if code, _, stderr := b.run(t, nil, "doctor", "--cpus", list); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("--cpus %s: exit code %d, %q; want %d and %q", list, code, stderr, exitUsage, want)
		}
	}
}

func TestParagraphs(t *testing.T) {
	for _, c := range []struct {
		width       int
		first, text string
		want        string
	}{
		{0, "  a ", "one two three", "  a one two three\n"},
		{9, "  a ", "one two three", "  a one\n    two\n    three\n"},
		{11, "  a ", "one two three", "  a one two\n    three\n"},
		{5, "é ", "longer x", "é longer\n  x\n"},
		{20, "head", "", "head\n"},
	} {
		var b strings.Builder
		if (paragraphs{&b, c.width}).write(c.first, c.text); b.String() != c.want {
			t.Errorf("%q at %d is %q, want %q", c.text, c.width, b.String(), c.want)
		}
	}
}
