package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"genbench/bench"
	"genbench/bench/verdict"
	"genbench/engines"
	"genbench/engines/all"
	"genbench/hardware"
)

var (
	proofDir     = flag.String("gate-proof", "", "directory that keeps what the gates of `make gate-proof` came to")
	proofAA      = flag.Int("aa", 0, "A/A gates that `make gate-proof` runs, those kept before included")
	proofPlanted = flag.Int("planted", 0, "gates with a planted slow-down that `make gate-proof` runs, those kept before included")
	proofFlags   = flag.String("aa-flags", "", "flags of genbench run for the A/A gates, instead of the default suite")
	proofPairs   = flag.Int("pairs", 0, "pairs of every gate, instead of 12 and up to 20")
)

// A proofGate is what a real gate came to, kept in a file of its own so that a
// proof may take several evenings.
type proofGate struct {
	proofSetting
	Taken   time.Time    `json:"taken_utc"`
	Commit  string       `json:"commit"` // for people; the binary is what counts
	Code    int          `json:"exit_code"`
	Points  []proofPoint `json:"points"`
	Seconds float64      `json:"took_s"`
	// OffPlan is by how much each batch of launches missed its time plan.
	OffPlan []float64 `json:"off_plan"`
}

// A proofSetting is what gates must share to be counted together.
type proofSetting struct {
	Kind    string          `json:"kind"`            // aa or planted
	Binary  string          `json:"genbench_sha256"` // of the test binary, which is genbench
	Machine verdict.Machine `json:"machine"`
	Engines string          `json:"engines"`
	Flags   string          `json:"run_flags"`
	Pairs   int             `json:"pairs"` // 0 is 12 and up to 20
}

func (s proofSetting) equal(o proofSetting) bool { return s.text() == o.text() }

// text tells settings apart.
func (s proofSetting) text() string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(raw)
}

type proofPoint struct {
	Point   string          `json:"point"`
	Verdict verdict.Verdict `json:"verdict"`
	Ratio   *float64        `json:"ratio"`
}

const (
	proofOfNothing = "aa"
	proofOfPlant   = "planted"
	// plantedFlags measure one point that is 3 % slower in the new arm, spun in C, and
	// one that is not.
	plantedFlags = "--models genet-small --resolution 64 --batches 1,2 --max-steal 1 --max-foreign 99"
)

// hereAndNow is the setting of gates that this process runs.
func hereAndNow(t *testing.T, kind string) proofSetting {
	t.Helper()
	sum, err := ownSHA256()
	if err != nil {
		t.Fatal(err)
	}
	device, err := hardware.NewHost()
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	m, err := openCounters("")
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	statuses, err := (&app{drivers: suiteDrivers()}).engineStatuses(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var available []string
	for _, e := range statuses {
		if e.Available {
			available = append(available, e.Name+" "+*e.Version)
		}
	}
	s := proofSetting{
		Kind: kind, Binary: sum, Engines: strings.Join(available, ", "), Flags: *proofFlags, Pairs: *proofPairs,
		Machine: verdict.MachineOf(bench.RunRecord{Host: hardware.DescribeHost(""), Devices: []hardware.Info{device.Info()}, GPUs: m.gpus}),
	}
	if kind == proofOfPlant {
		s.Flags = plantedFlags
	}
	return s
}

// suiteDrivers are the engines that a suite takes which names none: those of the host
// that are not there to check others. This binary has fakes besides.
func suiteDrivers() []engines.Driver {
	return slices.DeleteFunc(all.Drivers(), func(d engines.Driver) bool { return d.Reference || d.Device != hardware.Host })
}

// run runs the gate of the test binary, with its fakes, as a process.
func (s proofSetting) run(t *testing.T) proofGate {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The default, said twice: both versions are this binary as it is.
	base, fresh := "--timeout 60s", "--timeout 60s"
	if s.Kind == proofOfPlant {
		base, fresh = "--engines fake-spin", "--engines fake-slow"
	}
	cmd := exec.Command(self)
	cmd.Args = []string{"genbench", "gate", "--base", base, "--new", fresh, "--format", "json", "--out", filepath.Join(t.TempDir(), "gate")}
	if s.Pairs > 0 {
		cmd.Args = append(cmd.Args, "--pairs", strconv.Itoa(s.Pairs))
	}
	cmd.Args = append(append(cmd.Args, "--"), strings.Fields(s.Flags)...)
	if s.Flags == "" {
		var names []string
		for _, d := range suiteDrivers() {
			names = append(names, d.Name)
		}
		cmd.Args = append(cmd.Args, "--engines", strings.Join(names, ","))
	}
	cmd.Env = append(os.Environ(), verdict.StateEnv+"="+t.TempDir())
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	g := proofGate{proofSetting: s, Taken: time.Now().UTC(), Commit: commit()}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	g.Code, g.Seconds = cmd.ProcessState.ExitCode(), time.Since(g.Taken).Seconds()
	var result struct {
		Points []proofPoint `json:"points"`
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatalf("the gate ended with %d and said no JSON: %v\n%s", g.Code, err, words.String())
	}
	g.Points = result.Points
	for _, match := range regexp.MustCompile(`planned .*, used .* \(([+-]\d+) %\)`).FindAllStringSubmatch(words.String(), -1) {
		percent, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		g.OffPlan = append(g.OffPlan, percent/100)
	}
	t.Logf("%s: exit %d after %s: %s", s.Kind, g.Code, time.Since(g.Taken).Round(time.Second), g.summary())
	return g
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown" // not a repository
	}
	return strings.TrimSpace(string(out))
}

func (g proofGate) summary() string {
	var parts []string
	for _, p := range g.Points {
		text := p.Point + " " + string(p.Verdict)
		if p.Ratio != nil {
			text += fmt.Sprintf(" %.4f", *p.Ratio)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// conclusive gates passed or failed a build; the rest could not judge.
func (g proofGate) conclusive() bool { return g.Code == 0 || g.Code == 10 }

// caught tells whether the planted slow-down failed the build, at its point alone.
func (g proofGate) caught() bool {
	var found []string
	for _, p := range g.Points {
		if p.Verdict == verdict.Regressed {
			found = append(found, p.Point)
		}
	}
	return g.Kind == proofOfPlant && g.Code == 10 && len(found) == 1 && strings.HasSuffix(found[0], "/b1")
}

// A proof is what a directory holds.
type proof []proofGate

func readProof(dir string) (proof, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var p proof
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var g proofGate
		if err := json.Unmarshal(raw, &g); err != nil {
			return nil, fmt.Errorf("read %s: %w; remove it to go on without", file, err)
		}
		p = append(p, g)
	}
	slices.SortFunc(p, func(a, b proofGate) int { return a.Taken.Compare(b.Taken) })
	return p, nil
}

// keep writes a gate down; a file is there whole or not at all.
func (g proofGate) keep(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(g, "", " ")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, g.Taken.Format("20060102-150405.000")+"-"+g.Kind)
	if err := os.WriteFile(file+".part", append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".part", file+".json")
}

// of gives the gates of one setting.
func (p proof) of(s proofSetting) proof {
	var list proof
	for _, g := range p {
		if g.proofSetting.equal(s) {
			list = append(list, g)
		}
	}
	return list
}

func (p proof) count(is func(proofGate) bool) int {
	n := 0
	for _, g := range p {
		if is(g) {
			n++
		}
	}
	return n
}

func (p proof) done() int { return p.count(proofGate.conclusive) }
func (p proof) alarms() int {
	return p.count(func(g proofGate) bool { return g.Kind == proofOfNothing && g.Code == 10 })
}
func (p proof) caught() int { return p.count(proofGate.caught) }

// next is the setting that is farthest behind, so that a proof that is cut short
// has some of each; nil where all is done.
func (p proof) next(wanted map[string]int, settings []proofSetting) *proofSetting {
	var behind *proofSetting
	share := 1.0
	for i, s := range settings {
		if n := wanted[s.Kind]; n > 0 {
			if done := float64(p.of(s).done()) / float64(n); done < share {
				share, behind = done, &settings[i]
			}
		}
	}
	return behind
}

// table shows the gates by setting, those of here and now first. Gates of another
// binary or machine are told of apart and count for nothing.
func (p proof) table(here []proofSetting) string {
	settings := slices.Clone(here)
	for _, g := range p {
		if !slices.ContainsFunc(settings, g.proofSetting.equal) {
			settings = append(settings, g.proofSetting)
		}
	}
	var b strings.Builder
	b.WriteString("| gates | judged | failed a build | caught at its point | could not judge | points same, undecided, other | hours | off the time plan: median, most | taken | commit | binary | machine |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | --- | ---: | --- | --- | --- | --- | --- |\n")
	for i, s := range settings {
		gates := p.of(s)
		if len(gates) == 0 {
			continue
		}
		points := map[verdict.Verdict]int{}
		total, hours := 0, 0.0
		var off []float64
		for _, g := range gates {
			hours += g.Seconds / 3600
			for _, x := range g.OffPlan {
				off = append(off, max(x, -x))
			}
			for _, pt := range g.Points {
				points[pt.Verdict]++
				total++
			}
		}
		plan := "–"
		if slices.Sort(off); len(off) > 0 {
			plan = fmt.Sprintf("%.0f %%, %.0f %%", 100*off[len(off)/2], 100*off[len(off)-1])
		}
		name := map[string]string{proofOfNothing: "A/A, " + cmp.Or(s.Flags, "the default suite"), proofOfPlant: "3 % slower at one of two points"}[s.Kind]
		caught := "–"
		if s.Kind == proofOfPlant {
			caught = strconv.Itoa(gates.caught())
		}
		if i >= len(here) {
			name += " (elsewhere or before)"
		}
		failed := gates.count(func(g proofGate) bool { return g.Code == 10 })
		same, undecided := points[verdict.Same], points[verdict.Undecided]
		first, last := gates[0].Taken.Format(time.DateOnly), gates[len(gates)-1].Taken.Format(time.DateOnly)
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %d | %d, %d, %d | %.1f | %s | %s to %s | %s | %.12s | %s |\n", name, gates.done(), failed, caught, len(gates)-gates.done(),
			same, undecided, total-same-undecided, hours, plan, first, last, gates[len(gates)-1].Commit, s.Binary, s.Machine.Name())
	}
	return b.String()
}

// `make gate-proof`: real measurements, no simulation. Gates of the same thing
// against itself never fail; a slow-down of 3 % at one of two points, spun in C, is
// caught and named at least 8 times of 10. It goes on where it was stopped.
func TestGateProof(t *testing.T) {
	if *proofDir == "" {
		t.Skip("measures for hours; run `make gate-proof`")
	}
	settings := []proofSetting{hereAndNow(t, proofOfNothing), hereAndNow(t, proofOfPlant)}
	wanted := map[string]int{proofOfNothing: *proofAA, proofOfPlant: *proofPlanted}
	all, err := readProof(*proofDir)
	if err != nil {
		t.Fatal(err)
	}
	show := func() {
		table := all.table(settings)
		t.Logf("\n%s", table)
		if err := os.WriteFile(filepath.Join(*proofDir, "table.md"), []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(*proofDir, 0o755); err != nil {
		t.Fatal(err)
	}
	show()
	// A machine that can judge nothing is not asked for ever.
	for range *proofAA + *proofPlanted {
		s := all.next(wanted, settings)
		if s == nil {
			break
		}
		g := s.run(t)
		if err := g.keep(*proofDir); err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
		show()
	}
	aa, planted := all.of(settings[0]), all.of(settings[1])
	t.Logf("%d of %d A/A gates failed; %d of %d planted slow-downs were caught at the right point", aa.alarms(), aa.done(), planted.caught(), planted.done())
	if n := aa.alarms(); n > 0 {
		t.Errorf("%d false alarms", n)
	}
	if planted.done() >= *proofPlanted && planted.caught()*10 < planted.done()*8 {
		t.Errorf("caught %d of %d, want 8 of 10", planted.caught(), planted.done())
	}
	for kind, n := range wanted {
		i := slices.IndexFunc(settings, func(s proofSetting) bool { return s.Kind == kind })
		if done := all.of(settings[i]).done(); done < n {
			t.Errorf("%s: %d gates of %d could judge; run it again on a quieter machine", kind, done, n)
		}
	}
}

// A proof counts what this binary found on this machine, and the kind that is
// farther behind comes next.
func TestProofGoesOn(t *testing.T) {
	aa := proofSetting{Kind: proofOfNothing, Binary: "aaaa", Machine: verdict.Machine{CPU: "A CPU", HostnameHash: "0123456"}}
	plant := aa
	plant.Kind = proofOfPlant
	other := aa
	other.Binary = "bbbb"
	far := aa
	far.Machine.CPU = "B CPU"
	dir := t.TempDir()
	at := time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC)
	slow := []proofPoint{{Point: "x/b1", Verdict: verdict.Regressed}, {Point: "x/b2", Verdict: verdict.Same}}
	for i, g := range []proofGate{
		{proofSetting: aa, Points: []proofPoint{{Point: "x/b1", Verdict: verdict.Same}}, OffPlan: []float64{-0.07}},
		{proofSetting: aa, Code: 4}, // it judged nothing
		{proofSetting: plant, Code: 10, Points: slow},
		{proofSetting: plant, Code: 10, Points: []proofPoint{slow[1], {Point: "x/b2", Verdict: verdict.Regressed}}},
		{proofSetting: other, Code: 10},
		{proofSetting: far, Code: 10},
	} {
		g.Taken = at.Add(time.Duration(i) * time.Hour)
		if err := g.keep(dir); err != nil {
			t.Fatal(err)
		}
	}
	p, err := readProof(dir)
	if err != nil || len(p) != 6 {
		t.Fatalf("%d gates, %v", len(p), err)
	}
	if p.of(aa).done() != 1 || p.of(aa).alarms() != 0 || p.of(plant).done() != 2 || p.of(plant).caught() != 1 || p.of(other).alarms() != 1 {
		t.Errorf("counted %d A/A gates with %d alarms and %d planted with %d caught", p.of(aa).done(), p.of(aa).alarms(), p.of(plant).done(), p.of(plant).caught())
	}
	here := []proofSetting{aa, plant}
	for _, c := range []struct {
		aa, planted int
		want        string
	}{{20, 10, proofOfNothing}, {2, 10, proofOfPlant}, {1, 3, proofOfPlant}, {1, 2, ""}, {0, 0, ""}} {
		got := ""
		if s := p.next(map[string]int{proofOfNothing: c.aa, proofOfPlant: c.planted}, here); s != nil {
			got = s.Kind
		}
		if got != c.want {
			t.Errorf("of %d and %d: next is %q, want %q", c.aa, c.planted, got, c.want)
		}
	}
	table := p.table(here)
	for _, want := range []string{
		"| A/A, the default suite | 1 | 0 | – | 1 | 1, 0, 0 |", "| 7 %, 7 % |",
		"| 3 % slower at one of two points | 2 | 2 | 1 | 0 |",
		"| A/A, the default suite (elsewhere or before) | 1 | 1 | – | 0 |", "bbbb", "B CPU (012345)",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
}
