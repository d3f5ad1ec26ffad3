package bench

import "fmt"

// A Warning is a doubt that travels with a number. Its code is one of the closed
// list below; Detail holds the figures of this case.
type Warning struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

func (w Warning) String() string { return fmt.Sprintf("%s: %s", w.Code, w.Detail) }

// A Code names a doubt.
type Code string

// The closed list of doubts. Doc explains each; the report prints it.
const (
	Unsteady        Code = "unsteady"
	Unsettled       Code = "unsettled"
	Amortised       Code = "amortised"
	FewInputs       Code = "few_inputs"
	Stolen          Code = "stolen_time"
	ForeignLoad     Code = "foreign_load"
	DroppedRounds   Code = "dropped_rounds"
	LostLaunches    Code = "lost_launches"
	FewLaunches     Code = "few_launches"
	Imprecise       Code = "imprecise"
	Drifted         Code = "drifted"
	OddEvenDiffer   Code = "odd_even_differ"
	ReferenceEngine Code = "reference_engine"
	FakeEngine      Code = "fake"
	Emulated        Code = "emulated"
	Unchecked       Code = "unchecked_output"
	EnergySuspect   Code = "energy_suspect"
	Oversubscribed  Code = "oversubscribed"
	FloatingClocks  Code = "floating_clocks"
	ClockNotHeld    Code = "clock_not_held"
	Disturbed       Code = "disturbed"
	Interrupted     Code = "interrupted"
	TornJournal     Code = "torn_journal"
	UnknownRecords  Code = "unknown_records"
)

// CodeInfo explains a code: what was seen, and what to do about it.
type CodeInfo struct {
	Code   Code   `json:"code"`
	Means  string `json:"means"`
	Advice string `json:"advice"`
}

// Codes lists every doubt with its explanation, in the order reports print them.
func Codes() []CodeInfo {
	return []CodeInfo{
		{FakeEngine, "a test double answered; no number here is a measurement", "run with a real engine"},
		{ReferenceEngine, "the reference engine checks others and is not built for speed", "do not quote its latency; choose another engine with --engines"},
		{Emulated, "the engine does not compute in this precision: it converts and computes in another", "do not quote it as a latency of this precision; omit --allow-emulated to skip such points"},
		{Unchecked, "nothing here could tell what this file's output should be, so a wrong answer would not be noticed", "compare its output with that of the program it comes from"},
		{EnergySuspect, "the device's energy counter and its power integrated over time differ by more than 5 %", "do not quote the energy; the latency is not affected"},
		{Unsteady, "latency was still going up or down, beyond what its noise explains, or a GPU's clock was still moving, when the time that the protocol allows for settling ended", "close other programs, fix the clocks, or take a longer profile"},
		{Unsettled, "the device was not brought to a steady clock and temperature before a launch, or came back to different ones than the first launch had", "allow it longer (settle_cap, settle_again_cap), fix the clocks, or keep its surroundings steady"},
		{Amortised, "an inference is too short for the device's events: each sample is the mean of a block of inferences back to back, so what a single one takes is not known and no tail is published", "compare it with other amortised figures only"},
		{FewInputs, "each input that is rotated has a graph of its own, and enough of them to fill twice the cache would take too much of the GPU's memory: an inference may find some of its input in the cache", "use --graph eager, which rotates all of them, or --cache cold"},
		{Stolen, "the hypervisor gave this machine's processors to others while it measured", "measure on a dedicated machine"},
		{ForeignLoad, "other processes used the processors during rounds that --max-foreign let pass", "stop them, or leave --max-foreign at its default so that such rounds are repeated"},
		{DroppedRounds, "rounds were dropped for contamination and repeated; they stay in the journal with their reason", "see `genbench doctor` for what disturbs this machine"},
		{LostLaunches, "some launches of one version gave no numbers for this point; it is judged by the rest", "read their logs below the result directory: a version that dies now and then is not a good one"},
		{FewLaunches, "fewer launches than an interval needs", "let the run finish, or raise the number of launches"},
		{Imprecise, "the 95 % interval is wider than the profile aims for", "take a longer profile, or quieten the machine"},
		{Drifted, "the machine became faster or slower while it measured, so the order in which points were visited affects their numbers", "let it warm up or cool down first, fix the clocks, and measure again"},
		{OddEvenDiffer, "odd and even rounds of the same points differ more often than chance explains; differences between points are then less certain than their intervals say", "look for what disturbs the machine regularly; `genbench doctor` helps"},
		{Oversubscribed, "more threads were asked for than there are processors that this process may use", "lower --threads"},
		{FloatingClocks, "nothing held the GPU's clocks: they follow heat, power and the preceding load", "lock them with --clocks, as root, or let root hold them with `genbench clocks lock`"},
		{ClockNotHeld, "the GPU's clocks were locked, but what its cycle counters measured under load does not show that the lock held, within 1 %", "lock a lower clock with --clocks, and see `genbench doctor` for heat and power"},
		{Disturbed, "the machine was not quiet when the run began", "see `genbench doctor`"},
		{Interrupted, "the run ended before its plan was done", "run it again; what was measured is in the journal"},
		{TornJournal, "the journal's last line was cut short and is ignored", "nothing else is lost; the run was stopped while it wrote"},
		{UnknownRecords, "the journal holds records of a type this version does not know", "read it with the version that wrote it"},
	}
}

// Quality is the class printed on every number.
type Quality string

const (
	// Q1: clocks locked and verified under load, or pinned processors with a steady
	// clock; steady; replicated; no drift.
	Q1 Quality = "Q1"
	// Q2: floating or power limited, but steady.
	Q2 Quality = "Q2"
	// Q3: unsteady, imprecise, contaminated or drifted.
	Q3 Quality = "Q3"
	// Q0: invalid; the number must not be used.
	Q0 Quality = "Q0"
)

// qualityOf lowers a number's class by the doubts about it and about its run, and
// gives the reasons. floating says why the machine's clocks cannot be called fixed,
// without which there is no Q1; empty where they can.
func qualityOf(warnings []Warning, floating string) (q Quality, lowered []string) {
	q = Q1
	for _, w := range warnings {
		switch w.Code {
		case FakeEngine:
			return Q0, []string{w.String()}
		case Unsteady, Imprecise, Drifted, Stolen, ForeignLoad, FewLaunches, ReferenceEngine, Oversubscribed:
			q = Q3
			lowered = append(lowered, w.String())
		}
	}
	if q == Q1 && floating != "" {
		return Q2, []string{floating}
	}
	return q, lowered
}
