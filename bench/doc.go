// Package bench is how genbench measures: what is visited in which order, when a
// number may be taken, what is written down, and what may be said of it.
//
// # The way of a measurement
//
//	flags, suite file   cmd/genbench, ParseSuite
//	  -> Grid           product of models x engines x precisions x batches x graph and cache modes x gaps
//	  -> Plan           NewPlan: points, skipped ones with their reason; Plan.Order: a random order per round
//	  -> launch         Runner.launch: a fresh worker process (Processes); a crash or a hang costs one point
//	  -> visit          worker.visit: build, first inference, graphs and copies of the input (worker.arrange),
//	                    warm-up, output check, one round
//	  -> round          worker.round: windows until they agree, each timed by one C loop (hardware.Stream.Time);
//	                    counters read at both ends, a GPU's clock events ten times a second between;
//	                    then, on a GPU and not in `ci`, copies around inferences (worker.copies)
//	  -> journal        Journal.Append: one JSON line, synced, after every round
//	  -> Result         NewResult: estimates, intervals, doubts, quality; a pure function of the journal
//
// # Protocol gbp-1, rule by rule
//
// What is timed. Device time is taken around the engine's own submitting call, with
// input and output in place (M1); on the host a call has finished when it returns,
// so device and host time are one. On a GPU a short pass after each round, but not in
// `ci`, times up to 30 copies of the input from pinned memory, of the output to it, and
// inferences from host to host by the host's clock, which stand in columns of their own
// beside enqueue time (M2, worker.copies, hardware.Transfer). Throughput is images over
// the time of the block by the host's clock, waiting included; a point at which something
// was asked for before every inference has none (M3, RoundRecord.WallNS,
// Point.NoThroughput). Build, first inference and the capturing of graphs are metrics
// of their own (M7, PointRecord). The timed loop is one C call on a locked thread with
// the garbage collector off (M8, quietly). Every visit compares an output with the fp32
// reference's, as closely as its precision allows, and a point that fails prints no
// latency (M10, checkOutput); int8 and fp8 are calibrated before the first launch
// (worker.calibrate). That the clock tells the truth is shown by a call of known length
// (M9, `genbench selftest` and the fake-spin engine of the tests); an engine that returns
// before its work is done is found by how long its output then takes to come, and its
// point fails (worker.deferred).
//
// On a GPU how an inference is submitted and what it finds in the cache are axes
// (Grid.On, worker.arrange). `eager` is the engine's own call; `graph` replays what one
// call submitted, one inference of a blank input before it, so that the output which
// is checked is the replay's; `blocked` holds the stream by a kernel until all of an
// inference is submitted (M5, hardware.EventStream). `rotate` reads the input from
// copies that fill twice the L2 cache, in turn, or from fewer where each takes a graph
// and those too much memory (mostGraphNodes); `hot` reads one; `cold` overwrites twice
// the cache before every sample, outside of its events (M6, engines.Rotator). What
// is not asked for is eager and graph, with rotate. An engine that cannot be captured,
// held or rotated costs the point, which is skipped with the reason (refusal), as what a
// host has none of is when it is planned (onlyOnGPU). An inference of less than 0.2 ms
// is too short for events that resolve half a microsecond: a sample is then the mean of
// so many back to back that they take 1 ms, the same number in all launches, and the
// figure is called amortised wherever it stands and has no tails (M4, worker.amortise).
// Where something comes before every inference, a gap, a flush or a hold, it stays one.
//
// Warm-up. At least three inferences and 0.3 s, on a GPU ten and 1 s (W1,
// worker.warmUp); the heaviest point runs for 2 s before the first launch takes
// anything, on a GPU for 30 to 180 s until its effective clock changes by less than
// 0.2 % and its temperature by less than half a degree in 10 s, and for 5 to 60 s before
// later launches until they are within 0.5 % and 3 degrees of where that left them, or
// as before the first one where the clocks were set anew; what was reached is in the
// journal, and what was not is a doubt about the run (W2, worker.settle, SettleRecord). A round leaves out its first inference, on a GPU five and
// 300 ms (W3, Protocol.ramp). Then windows run, until the last three differ by at most
// 1 % and drift by less than 0.25 % beyond what the noise within them explains, and on a
// GPU the mean clocks of them, by its cycle counters, by at most 0.5 %, or 1 where a
// power cap holds clocks that float; where three are too noisy to show a drift, more are
// taken (W4, worker.steady, SteadyProof.judge). A round in which latency or clock still
// moves is taken and marked unsteady; nothing is silent. Noise alone is no such mark: the
// interval tells of it. A host's frequency is read at the windows' ends and judges
// nothing: it is of a moment. What latency does after the device idled is measured on
// purpose: --gaps makes points of idle times, slept through in C outside of what is timed
// (W5, worker.block).
//
// Sampling. A round is made of the samples of those windows that agree, the last 2000
// of them; where they are less than the larger of 10 samples and 0.5 s, on a GPU of 100
// and 1 s, more are added, as far as 2 s go, on a GPU 5 (S1, Protocol.samples). `quick`
// takes 4 launches of one round, `ci` 12 of one and never looks at the numbers before
// the last, `publish` 5 of 4 (S2, Profiles). Each round of a launch visits the points in
// a fresh permutation of the run's seed (S3, Plan.Order). After its launches `publish`
// adds more, up to 12, for those points alone whose interval is still too wide, and
// `quick` does where --rel-width asks for a width; a point that does not come there is
// called imprecise (S5, Runner.wide). Stopping on the width costs an interval up to four
// points of its 95 (TestStoppingCoverage). A high quantile is published only where enough
// independent samples stand behind it, with an upper bound beside it (S6, tellsTail,
// upperBound, effectiveSamples). The time planned, and the most it may become, is told
// before the run and stands beside the time used (S7, Plan.MostSeconds, EndRecord).
//
// Contamination (X, judgeRound). A round is dropped, kept in the journal with its reason,
// and taken again up to three times when a hypervisor took more than 10 % of the machine,
// other processes used more than half a core or have a context on the GPU, a thermal or
// power-brake bit was set at either end of it or at one of the looks that another thread
// takes ten times a second between (counters.watching), or the slowdown bit twice, the
// board counted time of a hardware slowdown, the GPU counted memory errors or PCIe replays
// or its driver reported a fault (Xid), the processor counted a thermal throttle, or the
// clock followed another GPU's. Nobody asks the measured board for its other counters
// beside a round (Runner.Telemetry). After heat the next try waits for the device to cool
// (worker.coolDown). A power cap that holds a locked clock more than 1 % below its lock
// lowers the lock by one of the board's steps, up to five times a run, and the launch
// begins anew; what it had measured stays in the journal and does not count (POWER locked:
// verdict.power, Runner.lowerLock, Log.supersede). A power cap that floating clocks met
// and a device that was idle when it should not have been are kept and tagged
// (RoundRecord.Disturbances). Samples that no clock running forward gives are left out and
// cost the round (RoundRecord.take). Counters that fail or hang cost the reading, and the
// reason stands where it would have been (counters). Medians with and without dropped
// rounds are both shown (X2). A point that more than a quarter of its visits, those added
// for width among them, left without a clean round is invalid (X1, Measurement.doubt).
//
// Clocks of a GPU. Unless --clocks says otherwise (C1, ClockPolicy), the parent locks the
// highest SM clock at which the heaviest point runs for 20 s, in `quick` 5, without a bit
// of power or heat and within 1 % of the lock: first the board's highest; where a limit
// holds it lower, the clock that the limit left, and from there step by step, in at most
// six tries (Runner.search, worker.probe). `auto` is the default because of C5: a run
// that may not lock goes on with floating clocks, of class Q2, and says so beside every
// number (Measurement.clockDoubt); so asking costs nothing where it is refused, and where
// it is granted nothing else makes class Q1. A lock is a wish: what counts is the clock that
// the GPU's cycle counters and its own timer tell over each round, which must lie within
// 1 % of the one asked for in every round that counts (C2, worker.clocked,
// hardware.CheckClock). The SM clock alone is locked (C3). A guardian process holds the
// lease and gives the clocks back however the run ends (C4, hardware.LeaseClocks). A
// lock of another process is measured under and left alone. What was asked, tried,
// reached and changed stands in the journal (ClocksRecord), and two runs under different
// clocks are not compared (R9). A gate measures all launches under the clock that its
// warm-up found.
//
// Energy. With --energy a launch of its own, after everything that is timed, runs each
// point continuously in five windows of ten seconds or a hundred updates of the
// device's counter, each after one at rest (J1, J2, worker.energy,
// hardware.EnergyMeter). Joules an inference, gross and net of rest, come with an
// interval over windows (J5, estimateEnergy); a counter that disagrees with the
// integrated power by more than 5 % is doubted (J3). Where nothing counts energy, or
// something comes before every inference, a gap, a flush or a hold, the result says why
// there is none.
//
// Layers. With --layers one more launch, after all of these, builds points anew, one of
// those that differ in how they are submitted or what they find in the cache alone
// (Point.built), with its engine's own profiler at work (TensorRT's IProfiler, ONNX
// Runtime's profile, of a GPU the kernels in it) or times it step by step (cudnn,
// reference), and writes down what each layer took in each of up to a hundred inferences
// (worker.layers). A layer is given the nodes that
// its name tells, and those that were fused into it, and their MACs (owners). Medians
// and shares stand beside the latency, which no profiler disturbed; their sum is not
// it. A worker that dies there costs the layers of its point, not its latency.
//
// Builds. An engine that times candidates while it builds may choose otherwise in
// another build. Launches of the profile publish take turns with three (S2,
// Protocol.Builds); each has a number, a search and a timing cache of its own. Where
// their plans differ, the intervals of a point are over its builds, the highest level
// that is then replicated (S4, byBuild), and the share of the variance between them is
// told (betweenBuilds).
//
// Drift. `ci` and `publish` visit one point of the plan, the one most like ResNet-50 in
// fp16 at batch 8, at the start, at the end and every ten minutes, in rounds that count
// for nothing else, always of build 1 (D1, Plan.sentinel, worker.sentinel); the launches
// of a gate do not, for the two of a pair share what drifts. On a GPU a shift of its median
// by more than 3 % ends the run (DriftError); the result judges the shift beyond
// chance (judgeSentinel). The medians of all rounds, less their points'
// means, are tested for a trend within launches and between them, and set against
// temperature and clock (D2, trendOf, correlationOf); the odd rounds of every point
// are tested against its even ones, where nothing but chance should differ (D3,
// OddEven). More than 1 % of drift costs every number of the run its class.
//
// Estimates. The median of a round, the mean of logarithms over the rounds of a
// launch, then a t interval over launches (E1, overLaunches): the launch is the
// highest level that is replicated, and an interval that takes rounds or samples for
// independent covers far less than it claims. Rates and high quantiles are those of
// a launch, averaged alike, with a hierarchical studentised bootstrap (E2,
// bootstrap). TestIntervalCoverage and TestBootstrapCoverage show 93 to 97 % for both
// and far less for the other kind. Beside each stand the effective sample size, the
// share of the variance at each level, what a second run could tell apart, clock,
// temperature and cycles (E3, E4, sharesOf, Estimate.MDE, conditions). Samples beyond
// Tukey's fences are counted and never dropped (spreadOf).
//
// Quality. Q1 is for clocks that were locked and verified, or on a host for bound
// processors whose clock stood still, Q2 for floating ones, Q3 for numbers not to be
// relied on, Q0 for those that are none; every class below Q1 has its reasons
// (qualityOf, Measurement.Lowered). Which rules a result met is judged from its
// journal and printed (rulesOf).
//
// # A run that cannot be lost
//
// Every round is on the disk before the next begins (Journal.Append). A worker that
// crashes, exits, runs out of memory or is killed costs the point it was on, one that
// says nothing for longer than it announced is killed (listener.listen), one whose
// device's context is gone ends by itself (worker.lostContext), and the rest of its
// launch goes on in a new one. A run that was interrupted, by Ctrl-C, SIGKILL, a
// full disk or a power cut, is resumed: a torn last line is cut off, everything before
// it stays, visits that were made are not made again (ReopenJournal, Runner.recall),
// and another machine, binary, library or plan is refused with what differs
// (RunRecord.Differences). Two runs of one user on one device are kept apart by a
// lock that the kernel gives back however its holder ends (hardware.AwaitDevice).
//
// # How this is checked
//
// The tests drive the same Runner and the same worker in one process, on a device that
// is scripted and a clock that is virtual (simulation in virtual_test.go): hours of
// `publish`, every class of contamination, every stop, hangs, crashes and resumed runs
// pass in seconds. The faults are tested once more on the real binary
// (cmd/genbench/faults_test.go). Whatever a fake engine gave is of quality Q0 and says
// `fake`.
//
// # Where this differs from the protocol's first figures
//
// On a host device steal time above 1 % tags a round and above 10 % drops it, where
// the protocol said that 1 % drops; `quick` and `ci` wait 1.5 s for a steady state, where
// it said 10 (hurriedCap); and drift does not stop a run. HostProtocol gives the reasons.
// `ci` aims for 1 %, the least that its gate tells apart. gpuProtocol holds the protocol's
// own figures, which nobody has calibrated on a board yet. `quick` settles a GPU for 10 to
// 60 s and before later launches for 2 to 15, for a first impression is not to wait
// minutes for the board; the slopes it waits for are the same.
//
// A high quantile is that of a launch, not of the mixture of launches: where launches
// differ, four of them do not hold the 90th percentile of launches, and no interval
// can cover it. It has an interval only where a launch holds enough samples for a
// quantile of its own (tailRank). The bootstrap is as wide as a t interval with
// twelve launches, but 1.4 to 3 times as wide with four, and covers as much where
// launches scatter symmetrically; where one launch in a few is slow it covers 91 %
// where t covers 88 (TestSkewedLaunches).
//
// The windows that prove a steady state are the round, where the protocol let a round
// follow them: what was proven is then true of the samples themselves, and none is
// thrown away. Of a run of the default suite on a two-core machine the windows took
// 108 s and the rounds after them 40 s.
//
// W4's three windows within 1 % cannot be met by noise of a few percent a sample,
// though nothing drifts: of 56 rounds on a shared two-core machine 53 failed it. Noise
// is now told from drift (SteadyProof.judge has the shares of both that are caught).
// D1's shift counts beyond what chance explains, for the same reason.
//
// Results name the protocol's effective numbers, so that none of this can be taken for
// granted.
package bench
