package main

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// A gate's time plan is learned from its pilots, of which only the first prepares
// anything, and kept to within 20 % (S7), for all points and for some of them. The
// launches are made up and last as long as their journals say, so that a busy
// machine does not fail this; `make gate-proof` tells of real ones.
func TestTimePlanHolds(t *testing.T) {
	if testing.Short() {
		t.Skip("sleeps for two seconds")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a := &app{stdout: io.Discard, stderr: io.Discard, drivers: testDrivers()}
	d, err := a.newDuel(&gateFlags{profile: "ci", out: filepath.Join(dir, "gate"), seed: 1}, []string{"--models", "genet-small", "--batches", "1,3"})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"base", "new"} {
		d.arms[i] = contestant{name: name, binary: self, argv0: "lasting"}
	}
	ctx := context.Background()
	if err := d.warmUp(ctx); err != nil {
		t.Fatal(err)
	}
	all := d.batch("pairs", nil, nil)
	if err := d.fight(ctx, all, 2); err != nil {
		t.Fatal(err)
	}
	one := pointsOf(d.pilots[0].log.Run.Plan)[1:]
	some := d.batch("confirm", one, one)
	if err := d.fight(ctx, some, 2); err != nil {
		t.Fatal(err)
	}
	if some.pair > all.pair*9/10 {
		t.Errorf("a pair of one point is planned to take %v, of two %v", some.pair, all.pair)
	}
	for _, b := range []*batch{all, some} {
		off := b.used.Seconds()/b.planned(2).Seconds() - 1
		t.Logf("%s: planned %v, used %v, %+.0f %%", b.name, b.planned(2), b.used, 100*off)
		if math.Abs(off) > 0.2 {
			t.Errorf("%s: planned %v, used %v", b.name, b.planned(2), b.used)
		}
	}
}
