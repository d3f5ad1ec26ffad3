package history

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genbench/bench"
	"genbench/hardware"
)

// write makes a journal of one run of one point: 4 launches. What is to be otherwise in
// the run is changed before it is written.
func write(t *testing.T, dir string, day int, ms float64, changes ...func(*bench.RunRecord)) {
	t.Helper()
	p := bench.Point{Model: "net", Engine: "made-up", Precision: "fp32", Batch: 1, Resolution: 224}
	protocol, err := bench.NewProtocol("quick")
	if err != nil {
		t.Fatal(err)
	}
	hash := "0123"
	run := bench.RunRecord{Type: "run", Schema: bench.Schema, Protocol: bench.ProtocolID, ID: fmt.Sprintf("run-%03d", day),
		Started: time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC), Config: bench.Config{Protocol: protocol},
		Plan: []bench.PlannedPoint{{ID: p.String(), Point: p}}}
	run.Host.HostnameHash = &hash
	for _, change := range changes {
		change(&run)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, bench.JournalName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	enc := json.NewEncoder(f)
	records := []any{run}
	for launch := 1; launch <= 4; launch++ {
		ns := int64(ms * 1e6 * (1 + 0.001*float64(launch)))
		records = append(records, bench.RoundRecord{Type: "round", ID: p.String(), Launch: launch, Round: 1, Try: 1, Status: bench.OK, DeviceNS: []int64{ns, ns + 1, ns + 2}})
	}
	for _, r := range append(records, bench.EndRecord{Type: "end"}) {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
}

func opened(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), path, "this genbench")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestHistory(t *testing.T) {
	ctx, root := context.Background(), t.TempDir()
	for day := range 12 {
		ms := 5.0 + 0.01*float64(day%3)
		if day >= 7 {
			ms *= 1.05
		}
		write(t, filepath.Join(root, fmt.Sprint(day)), day, ms)
	}
	path := filepath.Join(t.TempDir(), "deep", "history.db")
	s := opened(t, path)
	u, err := s.Update(ctx, []string{root})
	if err != nil || u.Read != 12 {
		t.Fatalf("update %+v, %v", u, err)
	}
	check := func(s *Store) {
		t.Helper()
		list, err := s.Series(ctx, Filter{Model: "net"})
		if err != nil || len(list) != 1 || len(list[0].Entries) != 12 {
			t.Fatalf("series %+v, %v", list, err)
		}
		c := list[0].Changes
		if len(c) != 1 || c[0].At != 7 || math.Abs(c[0].Ratio-1.05) > 0.005 {
			t.Errorf("changes %+v, want one of 5 %% at 7", c)
		}
	}
	check(s)
	if none, err := s.Series(ctx, Filter{Model: "other"}); err != nil || none != nil {
		t.Errorf("another network has %v, %v", none, err)
	}
	// What has not changed is not read again; what is gone is forgotten; what is
	// damaged is told, once, as it is now, and no more when it is whole or gone.
	if err := os.RemoveAll(filepath.Join(root, "11")); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(root, "bad")
	spoil := func(text string) {
		t.Helper()
		if err := os.MkdirAll(bad, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bad, bench.JournalName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	update := func(read, entries, problems int) {
		t.Helper()
		u, err := s.Update(ctx, []string{root})
		if err != nil || u.Read != read || len(u.Problems) != problems {
			t.Errorf("update %+v, %v; want %d read, %d problems", u, err, read, problems)
		}
		if list, err := s.Series(ctx, Filter{}); err != nil || len(list) != 1 || len(list[0].Entries) != entries {
			t.Errorf("series %+v, %v; want %d entries", list, err, entries)
		}
	}
	spoil("{]\n")
	update(1, 11, 1)
	update(0, 11, 1)
	spoil("{]\n{]\n")
	update(1, 11, 1)
	write(t, bad, 12, 5.3)
	update(1, 12, 0)
	spoil("{]\n")
	update(1, 11, 1)
	if err := os.RemoveAll(bad); err != nil {
		t.Fatal(err)
	}
	update(0, 11, 0)
	write(t, filepath.Join(root, "11"), 11, 5.3)
	update(1, 12, 0)
	s.Close()

	// The database is only an index. Damaged, it is built anew; made by another genbench
	// or of an older form, it is filled anew.
	for name, change := range map[string]func(){
		"no database": func() {
			if err := os.WriteFile(path, []byte("this is no database, and long enough to look at: "+string(make([]byte, 200))), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+"-journal", []byte("left by another"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"older": func() {
			s := opened(t, path)
			defer s.Close()
			if _, err := s.db.Exec("DROP TABLE made; PRAGMA user_version = 1"); err != nil {
				t.Fatal(err)
			}
		},
		"another genbench": func() {
			s, err := Open(ctx, path, "another genbench")
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
		},
	} {
		change()
		s = opened(t, path)
		if u, err := s.Update(ctx, []string{root}); err != nil || u.Read != 12 {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
		check(s)
		s.Close()
	}
}

// Nothing but damage costs the index what it knows.
func TestOpenKeepsWhatItCannotRead(t *testing.T) {
	ctx, root := context.Background(), t.TempDir()
	write(t, root, 1, 5)
	path := filepath.Join(t.TempDir(), "what? 100 %#1", "history.db")
	s := opened(t, path)
	if _, err := s.Update(ctx, []string{root}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(ctx, path, "this genbench"); err == nil || !strings.Contains(err.Error(), "a newer genbench made it (version 99") {
		t.Errorf("a newer version: %v", err)
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if _, err := Open(stopped, path, "this genbench"); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	db, err := sql.Open("sqlite3", (&url.URL{Scheme: "file", OmitHost: true, Path: path}).String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if u, err := opened(t, path).Update(ctx, nil); err != nil || u.Read != 0 {
		t.Errorf("afterwards: %+v, %v", u, err)
	}

	// Those who come at once get one index.
	path = filepath.Join(t.TempDir(), "history.db")
	failed := make(chan error)
	for range 4 {
		go func() {
			s, err := Open(ctx, path, "this genbench")
			if err == nil {
				err = s.Close()
			}
			failed <- err
		}()
	}
	for range 4 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// What was read once is known wherever it lies, through a link too, and is read again
// on demand, even where the tables are damaged.
func TestRebuild(t *testing.T) {
	ctx, a, b := context.Background(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(a, "1"), 1, 5)
	write(t, filepath.Join(b, "2"), 2, 5)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(a, link); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "history.db")
	s := opened(t, path)
	for _, dir := range []string{link, b} {
		if _, err := s.Update(ctx, []string{dir}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	for _, c := range []struct {
		damaged     bool
		read, known int
	}{{false, 2, 2}, {true, 1, 1}} {
		if c.damaged {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := 4096; i < len(content); i++ { // all pages but that of the schema
				content[i] = 0xa5
			}
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Rebuild(ctx, path, "this genbench")
		if err != nil {
			t.Fatal(err)
		}
		u, err := s.Update(ctx, []string{b})
		list, seriesErr := s.Series(ctx, Filter{})
		if err != nil || seriesErr != nil || u.Read != c.read || len(list) != 1 || len(list[0].Entries) != c.known {
			t.Errorf("damaged %v: %+v, %v, %+v", c.damaged, u, errors.Join(err, seriesErr), list)
		}
		s.Close()
	}
}

// One series holds what can be compared: launches of gates are none, and what was
// measured in another way is another series.
func TestSeriesAreOfOneKind(t *testing.T) {
	ctx, root := context.Background(), t.TempDir()
	write(t, filepath.Join(root, "plain"), 1, 5)
	write(t, filepath.Join(root, "genbench-gate-1", "pairs", "01", "new"), 2, 5, func(r *bench.RunRecord) {
		r.Config.Protocol.Launches = 1
		r.Argv = []string{"genbench", "run", "--launches", "1", "--seed", "1", "--sentinel-every", "0s", "--out", "01/new", "--no-report"}
	})
	write(t, filepath.Join(root, "no report yet"), 3, 5, func(r *bench.RunRecord) { r.Argv = []string{"genbench", "run", "--no-report"} })
	write(t, filepath.Join(root, "threads"), 4, 5, func(r *bench.RunRecord) { r.Config.Threads = 8 })
	write(t, filepath.Join(root, "gpu 1"), 5, 5, func(r *bench.RunRecord) {
		r.Devices = []hardware.Info{{ID: "GPU-0001-aaaa", Kind: hardware.CUDA, Name: "A GPU"}}
	})
	write(t, filepath.Join(root, "gpu 2"), 6, 5, func(r *bench.RunRecord) {
		r.Devices = []hardware.Info{{ID: "GPU-0002-aaaa", Kind: hardware.CUDA, Name: "A GPU"}}
	})
	write(t, filepath.Join(root, "ci"), 7, 5, func(r *bench.RunRecord) { r.Config.Protocol.Profile = "ci" })
	write(t, filepath.Join(root, "nameless"), 8, 5, func(r *bench.RunRecord) { r.Host.HostnameHash = nil })
	s := opened(t, filepath.Join(t.TempDir(), "history.db"))
	if _, err := s.Update(ctx, []string{root}); err != nil {
		t.Fatal(err)
	}
	list, err := s.Series(ctx, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, x := range list {
		got[x.Machine+": "+x.Setting] = len(x.Entries)
	}
	want := map[string]int{
		"unknown (0123): 0 threads, gbp-1 quick":                     2,
		"unknown (0123): 8 threads, gbp-1 quick":                     1,
		"unknown (0123): A GPU GPU-0001-aaa, 0 threads, gbp-1 quick": 1,
		"unknown (0123): A GPU GPU-0002-aaa, 0 threads, gbp-1 quick": 1,
		"unknown (0123): 0 threads, gbp-1 ci":                        1,
		"unknown (unknown host): 0 threads, gbp-1 quick":             1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("series %v\nwant   %v", got, want)
	}
}

// Noise alone gives few changes; steps are found where they are.
func TestChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	series := func(n int, level func(i int) float64) []Entry {
		list := make([]Entry, n)
		for i := range list {
			list[i].Latency = 1e6 * level(i) * math.Exp(0.01*r.NormFloat64())
		}
		return list
	}
	found := 0
	const draws = 100
	for range draws {
		if len(changes(series(40, func(int) float64 { return 1 }))) > 0 {
			found++
		}
	}
	if found > 5 { // 1 % expected
		t.Errorf("%d of %d series of noise have a change", found, draws)
	}
	c := changes(series(60, func(i int) float64 { return []float64{1, 1.1, 0.95}[i/20] }))
	if len(c) != 2 || c[0].At != 20 || c[1].At != 40 || math.Abs(c[0].Ratio-1.1) > 0.02 || math.Abs(c[1].Ratio-0.95/1.1) > 0.02 {
		t.Errorf("changes %+v, want +10 %% at 20 and back below at 40", c)
	}
	if c := changes(series(7, func(i int) float64 { return 1 + float64(i/4) })); c != nil {
		t.Errorf("too short a series has changes %+v", c)
	}
	if c := changes(make([]Entry, 0)); c != nil {
		t.Errorf("an empty series has changes %+v", c)
	}
}

// After the first build a thousand results are read in under 2 s.
func TestThousandResults(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a thousand journals")
	}
	ctx, root := context.Background(), t.TempDir()
	for day := range 1000 {
		write(t, filepath.Join(root, fmt.Sprint(day)), day, 5+0.001*float64(day%7))
	}
	s := opened(t, filepath.Join(t.TempDir(), "history.db"))
	start := time.Now()
	if _, err := s.Update(ctx, []string{root}); err != nil {
		t.Fatal(err)
	}
	built := time.Since(start)
	start = time.Now()
	u, err := s.Update(ctx, []string{root})
	if err != nil || u.Read != 0 {
		t.Fatalf("%+v, %v", u, err)
	}
	list, err := s.Series(ctx, Filter{})
	if err != nil || len(list[0].Entries) != 1000 {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("built in %v, read in %v", built, took)
	if took > 4*time.Second { // twice the promise: the machine may be busy
		t.Errorf("took %v", took)
	}
}
