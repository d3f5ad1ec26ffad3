package verdict

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"genbench/bench"
)

// legs parts a run of several launches as a gate takes them: a journal for every
// point of every launch.
func legs(log *bench.Log) Arm {
	var arm Arm
	for launch := 1; launch <= log.Run.Config.Protocol.Launches; launch++ {
		for _, planned := range log.Run.Plan {
			part := *log
			part.Run.Plan = []bench.PlannedPoint{planned}
			part.Run.Config.Protocol.Launches = 1
			part.Rounds = nil
			for _, r := range log.Rounds {
				if r.Launch == launch && r.ID == planned.ID {
					r.Launch = 1
					part.Rounds = append(part.Rounds, r)
				}
			}
			arm.Logs = append(arm.Logs, &part)
		}
	}
	return arm
}

// Whether the points of a launch come in one journal or in many, the verdict is the
// same: launches are paired by their place among the journals.
func TestLegsAreOneRun(t *testing.T) {
	base := story{launches: 12, points: 3, seed: 1}.log()
	fresh := story{launches: 12, points: 3, seed: 2, factor: func(i int) float64 { return []float64{1, 1.04, 1}[i] }}.log()
	whole, err := Compare(Arm{Logs: []*bench.Log{base}}, Arm{Logs: []*bench.Log{fresh}}, live)
	if err != nil {
		t.Fatal(err)
	}
	parted, err := Compare(legs(base), legs(fresh), live)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range whole.Families[0].Rows {
		other := parted.Families[0].Rows[i]
		if row.Point != other.Point || row.Verdict != other.Verdict || row.P != other.P || !slices.Equal(row.Pairs, other.Pairs) {
			t.Errorf("whole %+v\nin legs %+v", row, other)
		}
	}
	if parted.Families[0].Rows[1].Verdict != Regressed {
		t.Errorf("a slow-down of 4 %% is %s", parted.Families[0].Rows[1].Verdict)
	}
}

// A point that more than a quarter of its own journals lost is missing, however many
// journals of others there are.
func TestLegsThatLoseAPoint(t *testing.T) {
	base, fresh := story{launches: 12, points: 2, seed: 1}.log(), story{launches: 12, points: 2, seed: 2}.log()
	for _, lost := range []int{3, 4} {
		arm := legs(fresh)
		for _, log := range arm.Logs[:2*lost] {
			if id := log.Run.Plan[0].ID; log.Run.Plan[0].Point.Model == "net-0" {
				log.Rounds, log.Points = nil, []bench.PointRecord{{Type: "point", ID: id, Launch: 1, Round: 1, Point: log.Run.Plan[0].Point, Failed: "it fails on purpose"}}
			}
		}
		c, err := Compare(legs(base), arm, live)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range c.Families[0].Rows {
			if missing := row.Verdict == Missing; missing != (lost > 3 && row.Point.Model == "net-0") {
				t.Errorf("%d of 12 lost: %s is %s", lost, row.Point, row.Verdict)
			}
			told := slices.ContainsFunc(row.Doubts, func(w bench.Warning) bool {
				return w.Code == bench.LostLaunches && strings.HasPrefix(w.Detail, "3 of 12; one failed: it fails on purpose")
			})
			if told != (lost == 3 && row.Point.Model == "net-0") {
				t.Errorf("%d of 12 lost: %s has the doubts %v", lost, row.Point, row.Doubts)
			}
		}
		// What neither version could measure has not vanished.
		c, err = Compare(arm, arm, live)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range c.Families[0].Rows {
			if both := row.Verdict == Undecided && strings.HasPrefix(row.Reason, "both failed"); both != (lost > 3 && row.Point.Model == "net-0") {
				t.Errorf("%d of 12 lost by both: %s is %s (%s)", lost, row.Point, row.Verdict, row.Reason)
			}
		}
		// For the version before, that is no regression of the one after.
		c, err = Compare(arm, legs(base), live)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range c.Families[0].Rows {
			if want := map[bool]Verdict{true: Undecided, false: Same}[lost > 3 && row.Point.Model == "net-0"]; row.Verdict != want {
				t.Errorf("%d of 12 lost by the base: %s is %s, want %s", lost, row.Point, row.Verdict, want)
			}
		}
	}
}

// One wrong answer is enough, in the last launch, too.
func TestLegsWithAWrongOutput(t *testing.T) {
	base, arm := legs(story{launches: 12, points: 2, seed: 1}.log()), legs(story{launches: 12, points: 2, seed: 2}.log())
	last := arm.Logs[len(arm.Logs)-1]
	last.Points = []bench.PointRecord{{Type: "point", ID: last.Run.Plan[0].ID, Launch: 1, Point: last.Run.Plan[0].Point, Check: &bench.Check{}}}
	c, err := Compare(base, arm, live)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range c.Families[0].Rows {
		want := Same
		if row.Point == last.Run.Plan[0].Point {
			want = Invalid
		}
		if row.Verdict != want {
			t.Errorf("%s is %s (%s), want %s", row.Point, row.Verdict, row.Reason, want)
		}
	}
	if c.ExitCode() != 4 {
		t.Errorf("exit code %d, want 4", c.ExitCode())
	}
}

// A point that the base did not reach cannot be compared, and does not pass for new.
func TestBaseThatWasCutOff(t *testing.T) {
	base := story{launches: 12, points: 2, seed: 1}.log()
	id := base.Run.Plan[1].ID
	base.Rounds = slices.DeleteFunc(base.Rounds, func(r bench.RoundRecord) bool { return r.ID == id })
	c, err := Compare(Arm{Logs: []*bench.Log{base}}, story{launches: 12, points: 2, seed: 2}.arm(), live)
	if err != nil {
		t.Fatal(err)
	}
	if row := c.Families[0].Rows[1]; row.Verdict != Invalid || c.ExitCode() != 4 {
		t.Errorf("%s (%s), exit code %d", row.Verdict, row.Reason, c.ExitCode())
	}
}

// A model that is exchanged between two legs spoils an arm, whichever leg has it.
func TestLegsOfAnExchangedModel(t *testing.T) {
	arm := legs(story{launches: 3, points: 2, seed: 1}.log())
	for i, log := range arm.Logs {
		log.Models = []bench.ModelRecord{{Type: "model", Model: log.Run.Plan[0].Point.Model, Precision: "fp32", Batch: 1, Resolution: 224, ONNXSHA256: fmt.Sprint(log.Run.Plan[0].Point.Model, i/5)}}
	}
	changes := arm.Changed() // the last leg, of net-1, has other bytes
	if len(changes) != 1 || changes[0].Name != "model" {
		t.Errorf("got %+v, want a model", changes)
	}
}

func TestCouples(t *testing.T) {
	base, fresh := story{launches: 1, points: 3, seed: 1}, story{launches: 1, points: 4, seed: 2, engine: "another"}
	b, n := base.log(), fresh.log()
	n.Run.Plan[1].Skip = "it is not made for it"
	n.Rounds = slices.DeleteFunc(n.Rounds, func(r bench.RoundRecord) bool { return r.ID == n.Run.Plan[1].ID })
	couples, err := Couples(Arm{Logs: []*bench.Log{b}}, Arm{Logs: []*bench.Log{n}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range couples {
		text := fmt.Sprint(c.Measured)
		for _, p := range []*bench.Point{c.Base, c.New} {
			if p != nil {
				text += fmt.Sprintf(" %s/%s", p.Model, p.Engine)
			}
		}
		got = append(got, text)
	}
	want := []string{"true net-0/made-up net-0/another", "false net-1/made-up net-1/another", "true net-2/made-up net-2/another", "false net-3/another"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// A launch whose lock a power cap lowered is lost, and no more than that; more than a
// quarter of them make the point invalid.
func TestLegsWithALoweredLock(t *testing.T) {
	locked := func(arm Arm, lowered int) Arm {
		for i, log := range arm.Logs {
			log.Clocks = []bench.ClocksRecord{{Policy: "lock", LockMHz: 1410}}
			if i < lowered {
				log.Clocks = append(log.Clocks, bench.ClocksRecord{Policy: "lock", LockMHz: 1395, Restarts: 1})
			}
		}
		return arm
	}
	base, fresh := story{launches: 12, points: 1, seed: 1}.log(), story{launches: 12, points: 1, seed: 2}.log()
	for lowered, want := range map[int]Verdict{0: Same, 1: Same, 3: Same, 4: Invalid} {
		c, err := Compare(locked(legs(base), 0), locked(legs(fresh), lowered), live)
		if err != nil {
			t.Fatalf("%d lowered: %v", lowered, err)
		}
		row := c.Families[0].Rows[0]
		if row.Verdict != want || want == Same && len(row.Pairs) != 12-lowered {
			t.Errorf("%d lowered: %s of %d pairs (%s), want %s", lowered, row.Verdict, len(row.Pairs), row.Reason, want)
		}
		told := row.Reason
		for _, w := range row.Doubts {
			told += w.String()
		}
		if lowered > 0 && !strings.Contains(told, "locked at 1410 MHz, then locked at 1395 MHz") {
			t.Errorf("%d lowered: told %q", lowered, told)
		}
	}
}

// Where the points to be confirmed have no numbers on the base's side, that is what the
// comparison says, and Confirm acquits none of them.
func TestConfirmationThatTheBaseFails(t *testing.T) {
	base, slow := story{launches: 12, points: 1, seed: 1}, story{launches: 12, points: 1, seed: 2, factor: func(int) float64 { return 1.04 }}
	c, err := Compare(base.arm(), slow.arm(), live)
	if err != nil {
		t.Fatal(err)
	}
	failed := base.log()
	p := failed.Run.Plan[0]
	failed.Rounds, failed.Points = nil, []bench.PointRecord{{Type: "point", ID: p.ID, Launch: 1, Point: p.Point, Failed: "it fails on purpose"}}
	o := live
	o.Only = c.Flagged()
	again, err := Compare(Arm{Logs: []*bench.Log{failed}}, slow.arm(), o)
	if err != nil {
		t.Fatal(err)
	}
	c.Confirm(again)
	if row := c.Families[0].Rows[0]; row.Verdict != Invalid || !strings.Contains(row.Reason, "it fails on purpose") || c.ExitCode() != 4 {
		t.Errorf("%s (%s), exit code %d; want invalid, 4", row.Verdict, row.Reason, c.ExitCode())
	}
}

// What counts as lost is pairs: a few launches of one version and others of the other may
// be too many together.
func TestLegsThatLosePairs(t *testing.T) {
	lose := func(arm Arm, from, to int) Arm {
		for i, log := range arm.Logs[from:to] {
			p := log.Run.Plan[0]
			log.Rounds, log.Points = nil, []bench.PointRecord{{Type: "point", ID: p.ID, Launch: 1, Point: p.Point, Failed: fmt.Sprint("it fails on purpose ", i)}}
		}
		return arm
	}
	base, fresh := story{launches: 20, points: 1, seed: 1}.log(), story{launches: 20, points: 1, seed: 2}.log()
	for from, want := range map[int]Verdict{0: Same, 5: Invalid} { // of the launches that the new version loses
		c, err := Compare(lose(legs(base), 0, 5), lose(legs(fresh), from, from+5), live)
		if err != nil {
			t.Fatal(err)
		}
		row := c.Families[0].Rows[0]
		if row.Verdict != want || want == Invalid && row.Reason != "only 10 of 20 launch pairs have numbers on both sides" {
			t.Errorf("5 of 20 lost from the %d. launch on: %s (%s), want %s", from+1, row.Verdict, row.Reason, want)
		}
	}
}
