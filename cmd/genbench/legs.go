package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"genbench/bench"
	"genbench/bench/verdict"
)

// legShare is how many times as long a leg measures as it takes to start, so
// splitting a pair into legs costs at most a third more time.
const legShare = 3

// A leg is a part of a pair: both versions are launched for a few points, one right
// after the other. Machines wander in minutes more than in seconds, so the two lie
// closer together the shorter a leg is.
type leg struct {
	points [2][]bench.Point // of each version
}

func (l *leg) add(c verdict.Couple) {
	for i, p := range []*bench.Point{c.Base, c.New} {
		if p != nil {
			l.points[i] = append(l.points[i], *p)
		}
	}
}

// legs splits couples, in their order, into as many legs as are worth the starts that
// they cost. What only one version can measure goes with the first.
func (d *duel) legs(couples []verdict.Couple) []leg {
	start := max(d.pilots[0].start, d.pilots[1].start)
	legs := []leg{{}}
	var measured time.Duration // by the longer of the versions, in the last leg
	for _, c := range couples {
		if !c.Measured {
			legs[0].add(c)
			continue
		}
		if measured > 0 && measured >= legShare*start {
			legs, measured = append(legs, leg{}), 0
		}
		legs[len(legs)-1].add(c)
		measured += max(d.pilots[0].visits[c.Base.String()], d.pilots[1].visits[c.New.String()])
	}
	return legs
}

// A batch is a series of launch pairs.
type batch struct {
	name        string
	legs        []leg
	base, fresh verdict.Arm   // of each, a journal for every leg of every pair
	pairs       int           // that it has
	before      int           // those of them from an earlier sitting or over more points
	pair        time.Duration // planned for each further one
	used        time.Duration // by all but those before
}

func (b *batch) planned(pairs int) time.Duration { return time.Duration(pairs) * b.pair }

// batch begins a series of pairs over some points.
func (d *duel) batch(name string, couples []verdict.Couple) *batch {
	b := &batch{name: name}
	d.narrow(b, couples)
	return b
}

// narrow makes the further pairs of a batch take only some points. Their time is
// planned and accounted for afresh.
func (d *duel) narrow(b *batch, couples []verdict.Couple) {
	b.legs, b.pair, b.before, b.used = d.legs(couples), 0, b.pairs, 0
	for _, l := range b.legs {
		b.pair += d.pilots[0].of(l.points[0]) + d.pilots[1].of(l.points[1])
	}
}

// account prints the time used beside the plan.
func (b *batch) account(w io.Writer) {
	planned := b.planned(b.pairs - b.before)
	if planned <= 0 {
		return // nothing was left to measure
	}
	fmt.Fprintf(w, "planned %s, used %s (%+.0f %%)\n", seconds(planned.Seconds()), seconds(b.used.Seconds()), 100*(b.used.Seconds()/planned.Seconds()-1))
}

// fight adds pairs to a batch until it has the number asked for. Legs come in random
// order, and which version goes first is drawn for each; both get the same seed, so
// that they visit the points of a leg in the same order. An unfinished pair counts
// for nothing.
func (d *duel) fight(ctx context.Context, b *batch, pairs int) error {
	for b.pairs < pairs {
		start := time.Now()
		results := [2][]*bench.Log{make([]*bench.Log, len(b.legs)), make([]*bench.Log, len(b.legs))}
		for _, k := range d.order.Perm(len(b.legs)) {
			seed := d.order.Uint64N(1<<32) + 1
			first := d.order.IntN(2)
			for _, i := range []int{first, 1 - first} {
				var err error
				if results[i][k], err = d.launch(ctx, &d.arms[i], d.launchDir(b.name, b.pairs+1, k+1, i), d.pilots[i].dir, seed, b.legs[k].points[i]); err != nil {
					return err
				}
			}
		}
		b.base.Logs = append(b.base.Logs, results[0]...)
		b.fresh.Logs = append(b.fresh.Logs, results[1]...)
		b.pairs++
		b.used += time.Since(start)
		left := ""
		if b.pairs < pairs {
			left = ", " + seconds(float64(pairs-b.pairs)*b.used.Seconds()/float64(b.pairs-b.before)) + " left"
		}
		fmt.Fprintf(d.stderr, "[%d/%d%s]\n", b.pairs, pairs, left)
	}
	return nil
}

// launchDir is where a launch of a leg is kept.
func (d *duel) launchDir(batch string, pair, leg, arm int) string {
	return filepath.Join(d.pairDir(batch, pair), fmt.Sprintf("%02d-%s", leg, d.arms[arm].name))
}

func (d *duel) pairDir(batch string, pair int) string {
	return filepath.Join(d.dir, batch, fmt.Sprintf("%02d", pair))
}
