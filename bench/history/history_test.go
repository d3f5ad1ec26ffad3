package history

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"genbench/bench"
)

// write makes a journal of one run of one point: 4 launches.
func write(t *testing.T, dir string, day int, ms float64) {
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
	s, err := Open(context.Background(), path)
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
	// damaged is told.
	if err := os.RemoveAll(filepath.Join(root, "11")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "bad"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bad", bench.JournalName), []byte("{]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		u, err = s.Update(ctx, []string{root})
		if err != nil || u.Read != 1-i || u.Gone != 1-i || len(u.Problems) != 1 {
			t.Errorf("update %d: %+v, %v", i, u, err)
		}
	}
	write(t, filepath.Join(root, "11"), 11, 5.3)
	if _, err := s.Update(ctx, []string{root}); err != nil {
		t.Fatal(err)
	}
	s.Close()

	// The database is only an index: damaged or of another version it is built anew.
	for _, damage := range [][]byte{[]byte("this is no database, and long enough to look at: " + string(make([]byte, 200)))} {
		if err := os.WriteFile(path, damage, 0o644); err != nil {
			t.Fatal(err)
		}
		s = opened(t, path)
		if u, err := s.Update(ctx, []string{root}); err != nil || u.Read != 13 {
			t.Errorf("after damage: %+v, %v", u, err)
		}
		check(s)
		if _, err := s.db.Exec("PRAGMA user_version = 99"); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	s = opened(t, path)
	if u, err := s.Update(ctx, []string{root}); err != nil || u.Read != 13 {
		t.Errorf("after another version: %+v, %v", u, err)
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
	if err != nil || u.Kept != 1000 {
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
