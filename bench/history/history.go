// Package history keeps many results over time: an index of journals in an
// embedded database, from which series of a point and its change points are read.
// The journals are the only source; the database is built from them and may be
// deleted at any time.
package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver" // registers "sqlite3" with database/sql

	"genbench/bench"
	"genbench/bench/verdict"
)

// version is that of the tables. Another one is thrown away and built anew.
const version = 1

const tables = `
CREATE TABLE journal (
	path    TEXT PRIMARY KEY,
	size    INTEGER NOT NULL,
	changed INTEGER NOT NULL, -- time of the file, ns
	problem TEXT NOT NULL     -- why it could not be read; empty where it could
) WITHOUT ROWID;
CREATE TABLE measurement (
	path    TEXT NOT NULL REFERENCES journal(path) ON DELETE CASCADE,
	run     TEXT NOT NULL,
	started INTEGER NOT NULL, -- ns since 1970
	machine TEXT NOT NULL,
	point   TEXT NOT NULL,
	model   TEXT NOT NULL,
	engine  TEXT NOT NULL,
	version TEXT NOT NULL,    -- of the engine
	latency REAL NOT NULL,    -- ns
	low     REAL,
	high    REAL,
	quality TEXT NOT NULL
);
CREATE INDEX by_point ON measurement(point, machine, started);
CREATE INDEX by_path ON measurement(path);
`

// A Store is the index. One goroutine uses it at a time.
type Store struct {
	db   *sql.DB
	path string
}

// Open opens the index in a file, and makes it where there is none or one of
// another version. A file that is damaged is replaced: nothing is lost with it.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	s, err := open(ctx, path)
	if err == nil {
		return s, nil
	}
	if removeErr := os.Remove(path); removeErr != nil {
		return nil, fmt.Errorf("open history: %w", errors.Join(err, removeErr))
	}
	return open(ctx, path)
}

func open(ctx context.Context, path string) (*Store, error) {
	db, err := sql.Open("sqlite3", "file:"+filepath.ToSlash(path)+"?_pragma=foreign_keys(1)&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	db.SetMaxOpenConns(1) // pragmas belong to a connection
	s := &Store{db: db, path: path}
	var found int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&found); err != nil {
		return nil, errors.Join(fmt.Errorf("open history %s: %w", path, err), db.Close())
	}
	switch found {
	case version:
		return s, nil
	case 0:
		if _, err := db.ExecContext(ctx, fmt.Sprintf("BEGIN; %s PRAGMA user_version = %d; COMMIT", tables, version)); err != nil {
			return nil, errors.Join(fmt.Errorf("make history %s: %w", path, err), db.Close())
		}
		return s, nil
	}
	return nil, errors.Join(fmt.Errorf("open history %s: its version is %d", path, found), db.Close())
}

// Close ends the use of the index.
func (s *Store) Close() error { return s.db.Close() }

// An Update is what came of looking at journals.
type Update struct {
	Read, Kept, Gone int
	Problems         []string // journals that could not be read
}

// Update brings the index to what lies below the directories: journals that are
// new or have changed are read, those that are gone are forgotten.
func (s *Store) Update(ctx context.Context, dirs []string) (Update, error) {
	var u Update
	type stamp struct{ size, changed int64 }
	known := map[string]stamp{}
	rows, err := s.db.QueryContext(ctx, "SELECT path, size, changed, problem FROM journal")
	if err != nil {
		return u, fmt.Errorf("read history: %w", err)
	}
	for rows.Next() {
		var path, problem string
		var f stamp
		if err := rows.Scan(&path, &f.size, &f.changed, &problem); err != nil {
			return u, errors.Join(fmt.Errorf("read history: %w", err), rows.Close())
		}
		known[path] = f
		if problem != "" {
			u.Problems = append(u.Problems, problem)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return u, fmt.Errorf("read history: %w", err)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return u, fmt.Errorf("update history: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit there is nothing to roll back
	seen := map[string]bool{}
	for _, dir := range dirs {
		root, err := filepath.Abs(dir)
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
			now := stamp{info.Size(), info.ModTime().UnixNano()}
			if known[path] == now {
				u.Kept++
				return nil
			}
			u.Read++
			problem, err := read(ctx, tx, path, now.size, now.changed)
			if problem != "" {
				u.Problems = append(u.Problems, problem)
			}
			return err
		})
		if err != nil {
			return u, fmt.Errorf("find journals: %w", err)
		}
	}
	for path := range known {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			u.Gone++
			if _, err := tx.ExecContext(ctx, "DELETE FROM journal WHERE path = ?", path); err != nil {
				return u, fmt.Errorf("update history: %w", err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		return u, fmt.Errorf("update history: %w", err)
	}
	return u, nil
}

// read takes one journal in. One that cannot be read is noted with its problem.
func read(ctx context.Context, tx *sql.Tx, path string, size, changed int64) (problem string, err error) {
	result, readErr := bench.LoadResult(filepath.Dir(path))
	if readErr != nil {
		problem = readErr.Error()
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM journal WHERE path = ?", path); err != nil {
		return problem, fmt.Errorf("update history: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO journal VALUES (?, ?, ?, ?)", path, size, changed, problem); err != nil {
		return problem, fmt.Errorf("update history: %w", err)
	}
	if result == nil {
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
		_, err := tx.ExecContext(ctx, "INSERT INTO measurement VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			path, run.ID, run.Started.UnixNano(), verdict.MachineOf(run).Name(), m.Point.String(), m.Point.Model, m.Point.Engine, versions[m.Point.Engine],
			m.Latency.Value, m.Latency.Low, m.Latency.High, string(m.Quality))
		if err != nil {
			return problem, fmt.Errorf("update history: %w", err)
		}
	}
	return problem, nil
}

// A Filter chooses series; an empty field takes all.
type Filter struct{ Model, Engine string }

// A Series is one point on one machine over time.
type Series struct {
	Point, Machine string
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

// Series reads what a filter chooses, each with its change points, by point and
// machine.
func (s *Store) Series(ctx context.Context, f Filter) ([]Series, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT point, machine, run, started, version, latency, low, high, quality FROM measurement
		WHERE (?1 = '' OR model = ?1) AND (?2 = '' OR engine = ?2) ORDER BY point, machine, started, run`, f.Model, f.Engine)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	var list []Series
	for rows.Next() {
		var point, machine string
		var started int64
		var e Entry
		if err := rows.Scan(&point, &machine, &e.Run, &started, &e.Version, &e.Latency, &e.Low, &e.High, &e.Quality); err != nil {
			return nil, errors.Join(fmt.Errorf("read history: %w", err), rows.Close())
		}
		e.Started = time.Unix(0, started).UTC()
		if n := len(list); n == 0 || list[n-1].Point != point || list[n-1].Machine != machine {
			list = append(list, Series{Point: point, Machine: machine})
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
