package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"genbench/bench"
	"genbench/bench/verdict"
)

// A leg takes as many points as its starting is worth, and the first leg what cannot
// be measured side by side.
func TestLegs(t *testing.T) {
	a, b, c, gone := bench.Point{Model: "a"}, bench.Point{Model: "b"}, bench.Point{Model: "c"}, bench.Point{Model: "gone"}
	couples := []verdict.Couple{
		{Base: &a, New: &a, Measured: true}, {Base: &gone}, {Base: &b, New: &b, Measured: true}, {Base: &c, New: &c, Measured: true},
	}
	visits := map[string]time.Duration{a.String(): time.Second, b.String(): time.Second, c.String(): time.Second, gone.String(): time.Hour}
	for _, test := range []struct {
		start time.Duration
		want  [][2]string // of each leg, the points of base and new
	}{
		{0, [][2]string{{"a gone", "a"}, {"b", "b"}, {"c", "c"}}},
		{time.Second / legShare, [][2]string{{"a gone", "a"}, {"b", "b"}, {"c", "c"}}},
		{2 * time.Second / legShare, [][2]string{{"a gone b", "a b"}, {"c", "c"}}},
		{time.Minute, [][2]string{{"a gone b c", "a b c"}}},
	} {
		d := &duel{pilots: [2]pilot{{visits: visits}, {visits: visits, start: test.start}}}
		var got [][2]string
		for _, l := range d.legs(couples) {
			var names [2]string
			for i, points := range l.points {
				for k, p := range points {
					if k > 0 {
						names[i] += " "
					}
					names[i] += p.Model
				}
			}
			got = append(got, names)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("starting takes %v: want - got +:\n%s", test.start, diff)
		}
	}
}
