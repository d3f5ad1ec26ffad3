package reports

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"genbench/bench"
)

// Notes are what the rows of a table refer to by short signs: letters for doubts,
// numbers for the reasons of points without numbers. Each is explained once.
type notes struct {
	doubts  []doubtNote
	reasons []reasonNote
}

// A doubtNote is a code with all that carries it.
type doubtNote struct {
	sign string
	bench.CodeInfo
	of []doubtOf
}

type doubtOf struct {
	point  string
	detail string
}

// A reasonNote is a reason shared by points without numbers.
type reasonNote struct {
	sign   string
	state  bench.State
	reason string
	points []string
	log    []string // the worker's last words, of the first point that has any
}

func notesOf(rows []row) notes {
	var n notes
	var all []bench.Warning
	for _, r := range rows {
		all = append(all, r.Warnings...)
	}
	for _, info := range codesOf(all) {
		note := doubtNote{sign: letters(len(n.doubts)), CodeInfo: info}
		for _, r := range rows {
			for _, w := range r.Warnings {
				if w.Code == info.Code {
					note.of = append(note.of, doubtOf{r.Point.String(), w.Detail})
				}
			}
		}
		n.doubts = append(n.doubts, note)
	}
	for _, r := range rows {
		if r.measured() {
			continue
		}
		i := slices.IndexFunc(n.reasons, func(x reasonNote) bool { return x.state == r.State && x.reason == r.Reason })
		if i < 0 {
			i = len(n.reasons)
			n.reasons = append(n.reasons, reasonNote{sign: strconv.Itoa(i + 1), state: r.State, reason: r.Reason})
		}
		n.reasons[i].points = append(n.reasons[i].points, r.Point.String())
		if n.reasons[i].log == nil {
			n.reasons[i].log = r.Log
		}
	}
	return n
}

// A runDoubt is a code that a whole run carries, with the details of each time.
type runDoubt struct {
	bench.CodeInfo
	details []string
}

func runDoubts(r *bench.Result) []runDoubt {
	var list []runDoubt
	for _, info := range codesOf(r.Warnings) {
		doubt := runDoubt{CodeInfo: info}
		for _, w := range r.Warnings {
			if w.Code == info.Code {
				doubt.details = append(doubt.details, w.Detail)
			}
		}
		list = append(list, doubt)
	}
	return list
}

// codesOf gives the codes among warnings, in the order of the closed list. A code
// that the list lacks, from a journal of another version, is named all the same.
func codesOf(warnings []bench.Warning) []bench.CodeInfo {
	var seen []bench.Code
	for _, w := range warnings {
		if !slices.Contains(seen, w.Code) {
			seen = append(seen, w.Code)
		}
	}
	var infos []bench.CodeInfo
	for _, info := range bench.Codes() {
		if i := slices.Index(seen, info.Code); i >= 0 {
			infos = append(infos, info)
			seen = slices.Delete(seen, i, i+1)
		}
	}
	slices.Sort(seen)
	for _, code := range seen {
		infos = append(infos, bench.CodeInfo{Code: code, Means: "a doubt that this version of genbench does not know", Advice: "read the journal with the version that wrote it"})
	}
	return infos
}

// signs are the notes of one row.
func (n notes) signs(r row) string {
	var signs []string
	for _, d := range n.doubts {
		if slices.ContainsFunc(r.Warnings, func(w bench.Warning) bool { return w.Code == d.Code }) {
			signs = append(signs, d.sign)
		}
	}
	for _, reason := range n.reasons {
		if !r.measured() && reason.state == r.State && reason.reason == r.Reason {
			signs = append(signs, reason.sign)
		}
	}
	return strings.Join(signs, " ")
}

// headline says of how many points a reason is.
func (r reasonNote) headline() string {
	if len(r.points) == 1 {
		return string(r.state)
	}
	return fmt.Sprintf("%s, %s", r.state, count(len(r.points), "point"))
}

// letters is a, b, …, z, aa, ab, ….
func letters(i int) string {
	s := ""
	for i++; i > 0; i = (i - 1) / 26 {
		s = string(rune('a'+(i-1)%26)) + s
	}
	return s
}
