package bench

import (
	"strings"
	"testing"
	"time"

	"genbench/hardware"
	"genbench/models"
)

const wholeSuite = `
name: mine
doc: two networks, spaced
profile: publish
threads: 2
clocks: lock:1410
seed: 9
grid:
  models: [genet-small, resnet-18]
  engines: [onnxruntime]
  precisions: [fp32]
  batches: [1, 8]
  resolution: 64
  gaps: [0s, 10ms]
protocol:
  launches: 3
  max_launches: 0
  round_time: 250ms
  rel_width: 0.02
`

func TestSuiteFile(t *testing.T) {
	s, err := ParseSuite([]byte(wholeSuite), "mine.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "mine" || s.Profile != "publish" || s.Threads != 2 || s.Clocks != LockedClocks(1410) || s.Seed == nil || *s.Seed != 9 ||
		len(s.Grid.Models) != 2 || s.Grid.Resolution != 64 || len(s.Grid.Gaps) != 2 || s.Grid.Gaps[1] != 10*time.Millisecond {
		t.Errorf("%+v", s)
	}
	p, err := s.Protocol(s.Profile, hardware.Host)
	if err != nil {
		t.Fatal(err)
	}
	want, err := protocolFor("publish", hardware.Host)
	if err != nil {
		t.Fatal(err)
	}
	want.Launches, want.MaxLaunches, want.RoundTime, want.RelWidth = 3, 0, 250*time.Millisecond, 0.02
	if p != want {
		t.Errorf("got %+v\nwant %+v", p, want)
	}
}

func TestBadSuiteFiles(t *testing.T) {
	change := func(old, with string) string { return strings.Replace(wholeSuite, old, with, 1) }
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", change("threads:", "thraeds:"), `mine.yaml: line 5: unknown key "thraeds": did you mean threads`},
		{"unknown axis", change("  batches:", "  batchs:"), `line 12: unknown key "batchs": did you mean batches`},
		{"unknown number", change("round_time:", "round_tmie:"), `line 18: unknown key "round_tmie": did you mean round_time`},
		{"key twice", change("threads: 2", "name: again"), "line 5"},
		{"wrong type", change("[1, 8]", "[one]"), "line 12"},
		{"no duration", change("250ms", "soon"), `invalid duration "soon"`},
		{"no YAML", change("[1, 8]", "[1, 8"), "line 1"},
		{"no name", change("name: mine", "name: ''"), "it has no name"},
		{"no grid", "name: empty", "its grid needs models"},
		{"no profile", change("publish", "publsh"), `unknown profile "publsh"`},
		{"no policy", change("lock:1410", "1410"), `read suite mine.yaml: clocks: "1410" is not a clock policy`},
		{"impossible", change("launches: 3", "launches: 0"), "launches 0: want at least 1"},
	} {
		_, err := ParseSuite([]byte(c.text), "mine.yaml")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Every network of a suite that is built in is in the zoo, and every profile can
// be run.
func TestBuiltIn(t *testing.T) {
	for _, s := range Suites() {
		for _, model := range s.Grid.Models {
			if _, err := models.Lookup(model); err != nil {
				t.Errorf("suite %s: %v", s.Name, err)
			}
		}
	}
	for _, profile := range Profiles() {
		for _, kind := range []hardware.DeviceKind{hardware.Host, hardware.CUDA} {
			p, err := protocolFor(profile.Name, kind)
			if err == nil {
				err = p.Check()
			}
			if err != nil {
				t.Errorf("profile %s on %s: %v", profile.Name, kind, err)
			}
		}
	}
}

func FuzzSuite(f *testing.F) {
	f.Add(wholeSuite)
	f.Add("name: a\ngrid: {models: [m], precisions: [fp32], batches: [1]}\nprotocol: {watchdog: 1s}")
	f.Add("&a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSuite([]byte(text), "fuzz.yaml")
		if err != nil {
			return
		}
		profile := s.Profile
		if profile == "" {
			profile = "quick"
		}
		if p, err := s.Protocol(profile, hardware.Host); err != nil || p.Check() != nil {
			t.Errorf("a suite that was read gives no protocol: %v", err)
		}
	})
}
