package bench

// A Warning is a doubt that travels with a number. Its code is one of the closed
// list below; Detail holds the figures of this case.
type Warning struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// A Code names a doubt.
type Code string

// The closed list of doubts. Doc explains each; the report prints it.
const (
	Unsteady        Code = "unsteady"
	Stolen          Code = "stolen_time"
	ForeignLoad     Code = "foreign_load"
	DroppedRounds   Code = "dropped_rounds"
	FewLaunches     Code = "few_launches"
	Imprecise       Code = "imprecise"
	ReferenceEngine Code = "reference_engine"
	FakeEngine      Code = "fake"
	Oversubscribed  Code = "oversubscribed"
	Disturbed       Code = "disturbed"
	Interrupted     Code = "interrupted"
	TornJournal     Code = "torn_journal"
	UnknownRecords  Code = "unknown_records"
)

// CodeInfo explains a code: what was seen, and what to do about it.
type CodeInfo struct {
	Code   Code
	Means  string
	Advice string
}

// Codes lists every doubt with its explanation, in the order reports print them.
func Codes() []CodeInfo {
	return []CodeInfo{
		{FakeEngine, "a test double answered; no number here is a measurement", "run with a real engine"},
		{ReferenceEngine, "the reference engine checks others and is not built for speed", "do not quote its latency; choose another engine with --engines"},
		{Unsteady, "latency had not settled within the time the protocol allows before the round was taken", "close other programs, fix the clocks, or take a longer profile"},
		{Stolen, "the hypervisor gave this machine's processors to others while it measured", "measure on a dedicated machine"},
		{ForeignLoad, "other processes used the processors while rounds were taken that --max-foreign let pass", "stop them, or leave --max-foreign at its default so that such rounds are taken again"},
		{DroppedRounds, "rounds were dropped for contamination and taken again; they stay in the journal with their reason", "see `genbench doctor` for what disturbs this machine"},
		{FewLaunches, "fewer launches than an interval needs", "let the run finish, or raise the number of launches"},
		{Imprecise, "the 95 % interval is wider than the profile aims for", "take a longer profile, or quieten the machine"},
		{Oversubscribed, "more threads were asked for than this process may use processors", "lower --threads"},
		{Disturbed, "the machine was not quiet when the run began", "see `genbench doctor`"},
		{Interrupted, "the run ended before its plan was done", "run it again; what was measured is in the journal"},
		{TornJournal, "the journal's last line was cut short and is ignored", "nothing else is lost; the run was stopped while it wrote"},
		{UnknownRecords, "the journal holds records of a type this version does not know", "read it with the version that wrote it"},
	}
}

// Quality is the class printed on every number.
type Quality string

const (
	// Q1: fixed clocks or pinned processors, verified; steady; replicated; no drift.
	Q1 Quality = "Q1"
	// Q2: floating or power limited, but steady.
	Q2 Quality = "Q2"
	// Q3: unsteady, imprecise, contaminated or drifted.
	Q3 Quality = "Q3"
	// Q0: invalid; the number must not be used.
	Q0 Quality = "Q0"
)

// qualityOf lowers a number's class by its doubts. fixed says that the machine's
// clocks were fixed and the worker pinned, without which there is no Q1.
func qualityOf(warnings []Warning, fixed bool) Quality {
	q := Q2
	if fixed {
		q = Q1
	}
	for _, w := range warnings {
		switch w.Code {
		case Unsteady, Imprecise, Stolen, ForeignLoad, FewLaunches, ReferenceEngine, Oversubscribed:
			q = Q3
		case FakeEngine:
			return Q0
		}
	}
	return q
}
