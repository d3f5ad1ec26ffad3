package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genbench/engines"
	"genbench/hardware"
)

func msDuration(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// A script builds a journal record by record.
type script struct {
	t   *testing.T
	dir string
	j   *Journal
	run RunRecord
}

// newScript begins a run of the given points on an engine called "engine".
func newScript(t *testing.T, points ...PlannedPoint) *script {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	j, err := CreateJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	protocol, err := NewProtocol("quick")
	if err != nil {
		t.Fatal(err)
	}
	for i := range points {
		points[i].ID = points[i].Point.String()
	}
	s := &script{t: t, dir: dir, j: j, run: RunRecord{
		Type: "run", Schema: Schema, Protocol: ProtocolID, ID: "test", Config: Config{Protocol: protocol, Threads: 2},
		Devices: []hardware.Info{{ID: "host", Kind: hardware.Host, Cores: 2}},
		Engines: []EngineRecord{{Info: engines.Info{Name: "engine", Version: "1"}, Available: true}},
		Plan:    points,
	}}
	return s
}

func (s *script) add(records ...any) *script {
	s.t.Helper()
	for _, r := range records {
		if err := s.j.Append(r); err != nil {
			s.t.Fatal(err)
		}
	}
	return s
}

// begin writes the first line, after a test changed what it liked.
func (s *script) begin() *script { return s.add(s.run) }

// text writes a raw line, damaged on purpose.
func (s *script) text(line string) *script {
	s.t.Helper()
	if _, err := s.j.f.WriteString(line); err != nil {
		s.t.Fatal(err)
	}
	return s
}

func (s *script) load() *Result {
	s.t.Helper()
	r, err := LoadResult(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func pointOf(model string) Point {
	return Point{Model: model, Engine: "engine", Precision: "fp32", Batch: 1, Resolution: 224}
}

// cleanRound is a steady round of samples around ms milliseconds.
func cleanRound(p Point, launch int, ms float64) RoundRecord {
	r := RoundRecord{Type: "round", ID: p.String(), Launch: launch, Round: 1, Try: 1, Order: 1, Status: OK, Steady: SteadyProof{Met: true}}
	for i := range 10 {
		r.DeviceNS = append(r.DeviceNS, int64(ms*1e6)+int64(i))
	}
	return r
}

func TestJournalRoundTrip(t *testing.T) {
	p := pointOf("m")
	r := newScript(t, PlannedPoint{Point: p}).begin().add(
		ModelRecord{Type: "model", Model: "m", Resolution: 224, Precision: "fp32", Batch: 1, Params: 7},
		PointRecord{Type: "point", ID: p.String(), Launch: 1, Point: p, BuildNS: 5, FirstNS: 6},
		cleanRound(p, 1, 10), cleanRound(p, 2, 10.1), cleanRound(p, 3, 10), cleanRound(p, 4, 10),
		ReadingRecord{Type: "reading", Reading: hardware.Reading{Time: 9}},
		EndRecord{Type: "end"},
	).load()
	if len(r.Log.Rounds) != 4 || len(r.Log.Readings) != 1 || r.Log.Readings[0].Time != 9 || r.Log.End == nil || len(r.Log.Unknown) != 0 {
		t.Fatalf("read back %+v", r.Log)
	}
	m := r.Measurements[0]
	if m.State != Measured || m.Model.Params != 7 || m.Build != 5 || m.First != 6 || m.Samples != 40 || m.Launches != 4 {
		t.Errorf("measurement %+v", m)
	}
}

func TestCreateJournalKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	j, err := CreateJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := CreateJournal(dir); err == nil || !strings.Contains(err.Error(), "already holds a run") {
		t.Errorf("a second journal in one directory: %v, want a refusal", err)
	}
}

// Every way in which a journal can be damaged has its answer.
func TestDamagedJournals(t *testing.T) {
	p := pointOf("m")
	whole := func(t *testing.T) *script {
		return newScript(t, PlannedPoint{Point: p}).begin().add(cleanRound(p, 1, 10), cleanRound(p, 2, 10))
	}
	t.Run("torn last line", func(t *testing.T) {
		r := whole(t).text(`{"type":"round","point":"m@224/eng`).load()
		if r.Log.TornLine != 4 || len(r.Log.Rounds) != 2 {
			t.Errorf("torn line %d, %d rounds; want 4 and 2", r.Log.TornLine, len(r.Log.Rounds))
		}
		if r.Warnings[0].Code != TornJournal {
			t.Errorf("first warning %+v, want %s", r.Warnings[0], TornJournal)
		}
	})
	t.Run("torn end", func(t *testing.T) {
		r := whole(t).text(`{"type":"end","exit_code":130,"rea`).load()
		if r.Log.TornLine != 4 || r.Log.End != nil || r.Log.Finished() {
			t.Errorf("torn line %d, end %+v: half an end is none", r.Log.TornLine, r.Log.End)
		}
	})
	t.Run("damage in the middle", func(t *testing.T) {
		s := whole(t).text("{\"type\":\"round\",\"poi\x00\n").add(cleanRound(p, 3, 10))
		r, err := LoadResult(s.dir)
		var damage *JournalError
		if !errors.As(err, &damage) || damage.Line != 4 {
			t.Fatalf("error %v, want damage at line 4", err)
		}
		if r == nil || r.Measurements[0].Launches != 2 {
			t.Errorf("result %+v, want the two launches before the damage", r)
		}
	})
	t.Run("impossible sample", func(t *testing.T) {
		bad := cleanRound(p, 3, 10)
		bad.DeviceNS[3] = -1
		_, err := LoadResult(whole(t).add(bad).dir)
		var damage *JournalError
		if !errors.As(err, &damage) || damage.Line != 4 || !strings.Contains(err.Error(), "sample 3 of -1 ns") || !strings.Contains(err.Error(), "2 rounds before it are intact") {
			t.Errorf("error %v, want line 4, the sample and what is intact", err)
		}
	})
	t.Run("later schema", func(t *testing.T) {
		s := newScript(t)
		s.run.Schema = "genbench/9"
		_, err := LoadResult(s.begin().dir)
		if err == nil || !strings.Contains(err.Error(), `schema "genbench/9", this version reads "genbench/1"`) {
			t.Errorf("error %v, want both schemas named", err)
		}
	})
	t.Run("unknown record", func(t *testing.T) {
		r := whole(t).text("{\"type\":\"dream\"}\n{\"type\":\"dream\"}\n").load()
		if r.Log.Unknown["dream"] != 2 || len(r.Log.Rounds) != 2 {
			t.Errorf("unknown %v, %d rounds", r.Log.Unknown, len(r.Log.Rounds))
		}
	})
	t.Run("second run", func(t *testing.T) {
		s := whole(t)
		if _, err := LoadResult(s.add(s.run).dir); err == nil || !strings.Contains(err.Error(), "line 4") {
			t.Errorf("error %v, want line 4", err)
		}
	})
	t.Run("empty file", func(t *testing.T) {
		if _, err := LoadResult(newScript(t).dir); err == nil || !strings.Contains(err.Error(), "the file is empty") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("not a result", func(t *testing.T) {
		if _, err := LoadResult(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is it a result directory") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("foreign file", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, JournalName), []byte("\x08\x08ONNX\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadResult(dir); err == nil || !strings.Contains(err.Error(), "line 1: not a JSON object") {
			t.Errorf("error %v", err)
		}
	})
}

func FuzzReadLog(f *testing.F) {
	f.Add("{\"type\":\"run\",\"schema\":\"genbench/1\"}\n{\"type\":\"round\",\"status\":\"ok\",\"device_ns\":[1]}\n{\"type\":\"end\"}")
	f.Add("{\"type\":\"run\",\"schema\":\"genbench/1\",\"plan\":[{\"point\":\"m@1/e/p/b1\",\"cell\":{\"model\":\"m\"}}]}\n{\"type\":\"round\",\"point\":\"m@1/e/p/b1\",\"status\":\"ok\",\"device_ns\":[1,2]}\n")
	f.Fuzz(func(t *testing.T, text string) {
		log, err := readLog(strings.NewReader(text), "fuzz")
		if err != nil {
			var damage *JournalError
			if !errors.As(err, &damage) {
				t.Fatalf("error of another kind: %v", err)
			}
			log = damage.Intact
		}
		if log != nil {
			NewResult(log)
		}
	})
}

// longJournal is a journal as a long run leaves it: rounds of so many samples, and a
// point record and a reading at both ends for each.
func longJournal(tb testing.TB, rounds, samples int) []byte {
	tb.Helper()
	random := rand.New(rand.NewPCG(71, 72))
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	write := func(v any) {
		if err := enc.Encode(v); err != nil {
			tb.Fatal(err)
		}
	}
	const points = 20
	run := RunRecord{Type: "run", Schema: Schema, Config: Config{Protocol: HostProtocol()}}
	for i := range points {
		p := pointOf(string(rune('a' + i)))
		run.Plan = append(run.Plan, PlannedPoint{ID: p.String(), Point: p})
	}
	write(run)
	number, busy := 2, 1.25
	reading := ReadingRecord{Type: "reading", Device: "host", Reading: hardware.Reading{Host: &hardware.HostReading{CPUs: &number, BusySeconds: &busy, StealSeconds: &busy}}}
	for i := range rounds {
		p := run.Plan[i%points].Point
		write(PointRecord{Type: "point", ID: p.String(), Launch: 1 + i/points, Round: 1, Point: p, BuildNS: 5e8, FirstNS: 2e7, Check: &Check{Pass: true}})
		r := cleanRound(p, 1+i/points, 10)
		r.Steady.WindowMedians, r.Steady.WindowErrors = []int64{10e6, 10e6, 10e6}, []float64{1e4, 1e4, 1e4}
		r.DeviceNS = make([]int64, samples)
		for k := range r.DeviceNS {
			r.DeviceNS[k] = int64(10e6 * (1 + 0.01*random.ExpFloat64()))
		}
		write(reading)
		write(r)
		write(reading)
	}
	write(EndRecord{Type: "end"})
	return b.Bytes()
}

func BenchmarkReadLog(b *testing.B) {
	text := longJournal(b, 1000, 100)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readLog(bytes.NewReader(text), "journal"); err != nil {
			b.Fatal(err)
		}
	}
}
