// Package history keeps many results over time: an index of journals in an
// embedded database, from which series of a point and its change points are read.
// The journals are the only source. Only the database knows where they lie: without
// it, the directories have to be named again.
package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver" // registers "sqlite3" with database/sql

	"genbench/bench"
	"genbench/bench/verdict"
	"genbench/hardware"
)

// version is that of the tables. Those of an older one are filled again; the table of
// journals has been the same in all of them.
const version = 2

const tables = `
CREATE TABLE IF NOT EXISTS journal (
	path    TEXT PRIMARY KEY,
	size    INTEGER NOT NULL, -- -1 where it has to be read again
	changed INTEGER NOT NULL, -- time of the file, ns
	problem TEXT NOT NULL     -- why it could not be read; empty where it could
) WITHOUT ROWID;
DROP TABLE IF EXISTS measurement;
CREATE TABLE measurement (
	path    TEXT NOT NULL REFERENCES journal(path) ON DELETE CASCADE,
	run     TEXT NOT NULL,
	started INTEGER NOT NULL, -- ns since 1970
	machine TEXT NOT NULL,
	setting TEXT NOT NULL,    -- of the machine and of the run
	point   TEXT NOT NULL,
	model   TEXT NOT NULL,
	engine  TEXT NOT NULL,
	version TEXT NOT NULL,    -- of the engine
	latency REAL NOT NULL,    -- ns
	low     REAL,
	high    REAL,
	quality TEXT NOT NULL
);
CREATE INDEX by_point ON measurement(point, machine, setting, started);
CREATE INDEX by_path ON measurement(path);
DROP TABLE IF EXISTS made;
CREATE TABLE made (genbench TEXT NOT NULL); -- one row: whose estimates these are
UPDATE journal SET size = -1;
`

// A Store is the index. One goroutine uses it at a time.
type Store struct {
	db       *sql.DB
	genbench string
}

// Open opens the index in a file, and makes it where there is none. What an older format
// or another version of genbench put into it is read again from the journals by Update.
// A damaged file is replaced by an empty index, which no longer knows of journals
// outside the directories that Update is given.
func Open(ctx context.Context, path, genbench string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	s, err := open(ctx, path, genbench)
	if !Damaged(err) {
		return s, err
	}
	return anew(ctx, path, genbench)
}

// Rebuild opens the index so that Update reads again every journal that it knows.
func Rebuild(ctx context.Context, path, genbench string) (*Store, error) {
	s, err := Open(ctx, path, genbench)
	if err != nil {
		return nil, err
	}
	if err = s.fillAnew(ctx, func(int) bool { return true }); err == nil {
		return s, nil
	}
	if err = errors.Join(fmt.Errorf("rebuild history %s: %w", path, err), s.Close()); !Damaged(err) {
		return nil, err
	}
	return anew(ctx, path, genbench)
}

// Damaged says whether an error comes from a file that is not an index, or no longer
// one.
func Damaged(err error) bool {
	return errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.CORRUPT)
}

// anew replaces the file, with what a writer that was killed left beside it.
func anew(ctx context.Context, path, genbench string) (*Store, error) {
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("replace damaged history: %w", err)
		}
	}
	return open(ctx, path, genbench)
}

func open(ctx context.Context, path, genbench string) (*Store, error) {
	name := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: "_pragma=foreign_keys(1)&_pragma=busy_timeout(10000)"}
	db, err := sql.Open("sqlite3", name.String())
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	db.SetMaxOpenConns(1) // pragmas belong to a connection
	s := &Store{db: db, genbench: genbench}
	if err := s.bring(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open history %s: %w", path, err), db.Close())
	}
	return s, nil
}

// bring makes the tables those of this version, filled by this genbench.
func (s *Store) bring(ctx context.Context) error {
	var found int
	if err := s.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&found); err != nil {
		return err
	}
	if found > version {
		return fmt.Errorf("a newer genbench made it (version %d, this one knows %d); use that one, or remove the file", found, version)
	}
	if found == version {
		var by string
		err := s.db.QueryRowContext(ctx, "SELECT genbench FROM made").Scan(&by)
		if err != nil || by == s.genbench {
			return err
		}
		return s.fillAnew(ctx, func(int) bool { return true })
	}
	// Another process may have been faster by the time that this one may write.
	return s.fillAnew(ctx, func(found int) bool { return found < version })
}

// fillAnew empties the table of measurements and has every journal read again, if the
// version found under the lock still asks for it.
func (s *Store) fillAnew(ctx context.Context, needed func(found int) bool) (err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // the first error says more
		}
	}()
	var found int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&found); err != nil {
		return err
	}
	if needed(found) {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("%s PRAGMA user_version = %d", tables, version)); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "INSERT INTO made VALUES (?)", s.genbench); err != nil {
			return err
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	done = err == nil
	return err
}

// Close closes the index.
func (s *Store) Close() error { return s.db.Close() }

// An Update is what came of looking at journals.
type Update struct {
	Read     int
	Problems []string // journals that could not be read, by path
}

// A stamp tells whether a file has changed.
type stamp struct{ size, changed int64 }

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime().UnixNano()} }

// Update brings the index to what lies below the directories and to what it knows
// elsewhere: journals that are new or have changed are read, those that are gone are
// forgotten.
func (s *Store) Update(ctx context.Context, dirs []string) (Update, error) {
	var u Update
	known, problems, err := s.journals(ctx)
	if err != nil {
		return u, fmt.Errorf("read history: %w", err)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return u, fmt.Errorf("update history: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit there is nothing to roll back
	look := func(path string, now stamp) error {
		if known[path] == now {
			return nil
		}
		u.Read++
		problem, err := read(ctx, tx, path, now)
		delete(problems, path)
		if problem != "" {
			problems[path] = problem
		}
		return err
	}
	seen := map[string]bool{}
	for _, dir := range dirs {
		root, err := filepath.Abs(dir)
		if err == nil {
			root, err = filepath.EvalSymlinks(root) // WalkDir does not follow its root
		}
		if err != nil {
			return u, fmt.Errorf("find journals: %w", err)
		}
		err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil && path == root {
				return err
			}
			if err != nil || e.IsDir() || e.Name() != bench.JournalName || seen[path] {
				return nil // a directory below that cannot be read holds nothing for us
			}
			seen[path] = true
			info, err := e.Info()
			if err != nil {
				return nil // it has gone since
			}
			return look(path, stampOf(info))
		})
		if err != nil {
			return u, fmt.Errorf("find journals: %w", err)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(known)) {
		if seen[path] {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err == nil:
			err = look(path, stampOf(info))
		case errors.Is(err, fs.ErrNotExist):
			delete(problems, path)
			_, err = tx.ExecContext(ctx, "DELETE FROM journal WHERE path = ?", path)
		default:
			err = nil // out of reach for now, on a disk that may come back
		}
		if err != nil {
			return u, fmt.Errorf("update history: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return u, fmt.Errorf("update history: %w", err)
	}
	for _, path := range slices.Sorted(maps.Keys(problems)) {
		u.Problems = append(u.Problems, problems[path])
	}
	return u, nil
}

// journals are those that the index knows, and what is wrong with some.
func (s *Store) journals(ctx context.Context) (known map[string]stamp, problems map[string]string, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT path, size, changed, problem FROM journal")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	known, problems = map[string]stamp{}, map[string]string{}
	for rows.Next() {
		var path, problem string
		var f stamp
		if err := rows.Scan(&path, &f.size, &f.changed, &problem); err != nil {
			return nil, nil, err
		}
		known[path] = f
		if problem != "" {
			problems[path] = problem
		}
	}
	return known, problems, rows.Err()
}

// read takes in one journal. One that cannot be read is noted with its problem.
func read(ctx context.Context, tx *sql.Tx, path string, now stamp) (problem string, err error) {
	result, readErr := bench.LoadResult(filepath.Dir(path))
	if readErr != nil {
		problem = readErr.Error()
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM journal WHERE path = ?", path); err != nil {
		return problem, fmt.Errorf("update history: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO journal VALUES (?, ?, ?, ?)", path, now.size, now.changed, problem); err != nil {
		return problem, fmt.Errorf("update history: %w", err)
	}
	if result == nil || ofGate(result.Log.Run) {
		return problem, nil
	}
	run := result.Log.Run
	versions := map[string]string{}
	for _, e := range run.Engines {
		versions[e.Name] = e.Version
	}
	for i := range result.Measurements {
		m := &result.Measurements[i]
		if m.State != bench.Measured {
			continue
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO measurement VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			path, run.ID, run.Started.UnixNano(), machine(run), setting(result.Log), m.Point.String(), m.Point.Model, m.Point.Engine, versions[m.Point.Engine],
			m.Latency.Value, m.Latency.Low, m.Latency.High, string(m.Quality))
		if err != nil {
			return problem, fmt.Errorf("update history: %w", err)
		}
	}
	return problem, nil
}

// ofGate says whether a run is one launch of a gate or of a calibration: half of a pair,
// whose numbers mean something only beside the other half.
func ofGate(run bench.RunRecord) bool {
	return run.Config.Protocol.Launches == 1 && run.Config.Protocol.SentinelEvery == 0 && slices.Contains(run.Argv, "--no-report")
}

func machine(run bench.RunRecord) string {
	m := verdict.MachineOf(run)
	if run.Host.HostnameHash == nil {
		return m.CPU + " (unknown host)"
	}
	return m.Name()
}

// setting is what else must be the same for two runs on one machine to belong to one
// series.
func setting(log *bench.Log) string {
	run := log.Run
	var parts []string
	for _, d := range run.Devices {
		if d.Kind != hardware.Host {
			// Equal boards of one machine differ all the same.
			parts = append(parts, strings.TrimSpace(d.Name+" "+d.ID[:min(len(d.ID), 12)]))
		}
	}
	parts = append(parts, fmt.Sprintf("%d threads", run.Config.Threads))
	if clocks := log.ClockSetting(); clocks != "" {
		parts = append(parts, clocks)
	}
	parts = append(parts, strings.TrimSpace(run.Config.Protocol.ID+" "+run.Config.Protocol.Profile))
	return strings.Join(parts, ", ")
}

// A Filter chooses series; an empty field takes all.
type Filter struct{ Model, Engine string }

// A Series is one point on one machine in one setting over time.
type Series struct {
	Point, Machine string
	Setting        string  // devices, threads, clocks and protocol
	Entries        []Entry // oldest first
	Changes        []Change
}

// An Entry is one run's latency of the point.
type Entry struct {
	Run       string
	Started   time.Time
	Version   string // of the engine
	Latency   float64
	Low, High *float64
	Quality   string
}

// Series reads what a filter chooses, each with its change points, by point, machine
// and setting.
func (s *Store) Series(ctx context.Context, f Filter) ([]Series, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT point, machine, setting, run, started, version, latency, low, high, quality FROM measurement
		WHERE (?1 = '' OR model = ?1) AND (?2 = '' OR engine = ?2) ORDER BY point, machine, setting, started, run, path`, f.Model, f.Engine)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	var list []Series
	for rows.Next() {
		var point, machine, setting string
		var started int64
		var e Entry
		if err := rows.Scan(&point, &machine, &setting, &e.Run, &started, &e.Version, &e.Latency, &e.Low, &e.High, &e.Quality); err != nil {
			return nil, errors.Join(fmt.Errorf("read history: %w", err), rows.Close())
		}
		e.Started = time.Unix(0, started).UTC()
		if n := len(list); n == 0 || list[n-1].Point != point || list[n-1].Machine != machine || list[n-1].Setting != setting {
			list = append(list, Series{Point: point, Machine: machine, Setting: setting})
		}
		last := &list[len(list)-1]
		// One run may lie in two places, as a result and as a baseline.
		if !slices.ContainsFunc(last.Entries[max(0, len(last.Entries)-1):], func(x Entry) bool { return x.Run == e.Run }) {
			last.Entries = append(last.Entries, e)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	for i := range list {
		list[i].Changes = changes(list[i].Entries)
	}
	return list, nil
}
