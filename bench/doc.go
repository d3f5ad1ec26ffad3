// Package bench is how genbench measures: what is visited in which order, when a
// number may be taken, what is written down, and what may be said about it.
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
// The sections below go through protocol gbp-1 rule by rule; the letters are those of its
// rules, and each claim names the function or test that keeps it.
//
// # Before a run (P)
//
// The machine is looked at for what would disturb a measurement: load, stolen time,
// governor, pinning; on a GPU other processes, faults, temperature, clocks held by others
// (hardware.Preflight, hardware.PreflightGPU, as `genbench doctor` prints them). What is
// found is a doubt about the whole run; what makes measuring pointless refuses it.
//
// # What is timed (M)
//
//   - M1: device time, around the engine's own submitting call, with input and output in
//     place. On the host a call has finished when it returns, so device time and host
//     time are the same.
//   - M2: on a GPU a short pass after each round, but not in `ci`, times up to 30 copies
//     of the input from pinned memory, copies of the output to it, and inferences from
//     host to host by the host's clock (worker.copies, hardware.Transfer). They have
//     columns of their own beside enqueue time.
//   - M3: throughput is images over the wall time of the block, waiting included
//     (RoundRecord.WallNS). A point at which something was asked for before every
//     inference has none (Point.NoThroughput).
//   - M4: an inference of less than 0.2 ms is too short for events that resolve half a
//     microsecond. A sample is then the mean of as many back to back as take 1 ms, the
//     same number in all launches; the figure is called amortised wherever it stands and
//     has no tails (worker.amortise). Where something comes before every inference (a gap,
//     a flush or a hold), a sample stays a single inference.
//   - M7: build, first inference and the capturing of graphs are metrics of their own
//     (PointRecord). Opening an engine's library is part of none of them.
//   - M8: the timed loop is one C call on a locked thread with the garbage collector off
//     (quietly).
//   - M9: that the clock tells the truth is shown by a call of known length (`genbench
//     selftest`, and the fake-spin engine of the tests). An engine that returns before its
//     work is done is found by how long its output then takes to come, and its point fails
//     (worker.deferred).
//   - M10: every visit compares an output with the fp32 reference's, as closely as its
//     precision allows. A point that fails prints no latency (checkOutput). int8 and fp8
//     are calibrated before the first launch (worker.calibrate).
//
// On a GPU, how an inference is submitted and what it finds in the cache are axes of the
// grid (Grid.On, worker.arrange). By default a GPU is measured eager and graph, with
// rotate.
//
//   - Graph (M5): `eager` is the engine's own call. `graph` replays what one call
//     submitted, after one inference of a blank input, so the output that is checked is
//     the replay's. `blocked` holds the stream with a kernel until all of an inference is
//     submitted (hardware.EventStream).
//   - Cache (M6): `rotate` reads the input from copies that fill twice the L2 cache, in
//     turn, or from fewer copies where each needs a graph and those would take too much
//     memory (mostGraphNodes). `hot` reads one. `cold` overwrites twice the cache before
//     every sample, outside of its events (engines.Rotator).
//   - An engine that cannot be captured, held or rotated costs the point, which is skipped
//     with the reason (refusal), as are, when the run is planned, modes that a host does
//     not have (onlyOnGPU).
//
// # Warm-up to a proven steady state (W)
//
//   - W1: every visit warms up for at least three inferences and 0.3 s, on a GPU ten and
//     1 s (worker.warmUp).
//   - W2: before the first launch takes anything, the heaviest point runs for 2 s. On a GPU
//     it runs for 30 to 180 s, until its effective clock changes by less than 0.2 % and its
//     temperature by less than half a degree in 10 s; before later launches for 5 to 60 s,
//     until they are within 0.5 % and 3 degrees of where the first launch left them, or as
//     before the first one if the clocks were set anew. What was reached is in the journal;
//     what was not is a doubt about the run (worker.settle, SettleRecord).
//   - W3: a round leaves out the first inference of every window, on a GPU five, and on a
//     GPU the first 300 ms as well (Protocol.ramp, worker.steady). Between windows the
//     processors do other work, and the inference after that is slower.
//   - W4: windows run until the last three differ by at most 1 % and drift by less than
//     0.25 % beyond what the noise within them explains. On a GPU their mean clocks, by its
//     cycle counters, may differ by at most 0.5 %, or by 1 % where a power cap holds clocks
//     that float. Where three windows are too noisy to show a drift, more are taken
//     (worker.steady, SteadyProof.judge). A round in which latency or clock still moves is
//     taken and marked unsteady; nothing is silent. Noise alone is no such mark: the
//     interval shows it.
//   - W5: how latency behaves after the device has been idle is measured on purpose.
//     --gaps makes idle times an axis of the grid, slept through in C outside of what is
//     timed (worker.block).
//
// # Sampling, order, stopping (S)
//
//   - S1: a round is made of the samples of those windows that agree, the last 2000 of
//     them. Where that is less than the larger of 10 samples and 0.5 s, on a GPU of 100 and
//     1 s, more are added, for at most 2 s, on a GPU 5 (Protocol.samples).
//   - S2: `quick` takes 4 launches of one round; `ci` takes 12 of one and never looks at
//     the numbers before the last; `publish` takes 5 of 4 (Profiles).
//   - S3: each round of a launch visits the points in a fresh permutation drawn from the
//     run's seed (Plan.Order).
//   - S4: intervals are over the highest level that was replicated: launches, or builds
//     where those differ (overReplicas).
//   - S5: after its launches `publish` adds more, up to 12, only for points whose interval
//     is still too wide; `quick` does so if --rel-width asks for a width. A point that does
//     not come there is called imprecise (Runner.wide). Stopping on the width costs an
//     interval up to four points of its 95 (TestStoppingCoverage).
//   - S6: a high quantile is published only where enough independent samples stand behind
//     it, with an upper bound beside it (tellsTail, upperBound, effectiveSamples).
//   - S7: the planned time, and the most it may become, is printed before the run and kept
//     beside the time used (Plan.MostSeconds, EndRecord).
//
// Launches of `publish` take turns with three builds, because an engine that times
// candidates while it builds may choose otherwise in another build (Protocol.Builds). Each
// build has a number, a search and a timing cache of its own. Where their plans differ,
// the share of the variance between them is reported (betweenBuilds).
//
// # Contamination (X)
//
// A round is dropped (judgeRound), kept in the journal with its reason, and repeated up
// to three times, when
//
//   - a hypervisor took more than 10 % of the machine, or other processes used more than
//     half a core or have a context on the GPU;
//   - a thermal or power-brake bit was set at either end of the round or at one of the
//     looks that another thread takes ten times a second in between (counters.watching), or
//     the slowdown bit twice, or the board counted time of a hardware slowdown;
//   - the GPU counted memory errors or PCIe replays, its driver reported a fault (Xid), or
//     the processor counted a thermal throttle;
//   - the clock followed another GPU's;
//   - it holds samples that no clock running forward gives (RoundRecord.take).
//
// Nobody asks the measured board for its other counters during a round (Runner.Telemetry).
// After heat the next try waits for the device to cool (worker.coolDown). Counters that
// fail or hang cost the reading, and the reason stands in its place (counters).
//
// A power cap that holds a locked clock more than 1 % below its lock lowers the lock by
// one of the board's steps, up to five times a run, and the launch begins anew; what it
// had measured stays in the journal and does not count (POWER locked: verdict.power,
// Runner.lowerLock, Log.supersede). A power cap met by floating clocks, and a device that
// was idle when it should not have been, are kept and tagged (RoundRecord.Disturbances).
//
// Medians with and without dropped rounds are both shown (X2). A point of which more than
// a quarter of the visits, those added for width included, gave no clean round is invalid
// (X1, Measurement.doubt).
//
// # Clocks of a GPU (C)
//
//   - C1: unless --clocks says otherwise (ClockPolicy), the parent locks the highest SM
//     clock at which the heaviest point runs for 20 s, in `quick` 5, without a bit of power
//     or heat and within 1 % of the lock. It tries the board's highest clock first; where a
//     limit holds it lower, the clock that the limit left, and from there step by step, in
//     at most six tries (Runner.search, worker.probe).
//   - C2: a lock is a wish. What counts is the clock that the GPU's cycle counters and its
//     own timer show over each round, which must lie within 1 % of the one asked for in
//     every round that counts (worker.clocked, hardware.CheckClock).
//   - C3: only the SM clock is locked.
//   - C4: a guardian process holds the lease and gives the clocks back however the run ends
//     (hardware.LeaseClocks). A lock held by another process is measured under and left
//     alone.
//   - C5: a run that may not lock continues with floating clocks, of class Q2, and says so
//     beside every number (Measurement.clockDoubt). That is why `auto` is the default:
//     asking costs nothing where it is refused, and where it is granted nothing else makes
//     class Q1.
//
// What was asked, tried, reached and changed is in the journal (ClocksRecord). Two runs
// under different clocks are not compared (R9). A gate measures all launches under the
// clock that its warm-up found.
//
// # Energy and layers (J)
//
// With --energy a launch of its own, after everything that is timed, runs each point
// continuously in five windows of ten seconds or a hundred updates of the device's
// counter, each after one at rest (J1, J2, worker.energy, hardware.EnergyMeter). Joules per
// inference, gross and net of rest, come with an interval over windows (J5,
// estimateEnergy); a counter that disagrees with the integrated power by more than 5 % is
// doubted (J3). Where nothing counts energy, or something comes before every inference, the
// result says why there is none.
//
// With --layers one more launch, after all of these, builds points anew, one of those that
// differ only in how they are submitted or what they find in the cache (Point.built). Its
// engine's own profiler is at work (TensorRT's IProfiler, ONNX Runtime's profile, on a GPU
// the kernels in it), or the engine times step by step (cudnn, reference). It records what
// each layer took in up to a hundred inferences (worker.layers). A layer is given the nodes
// that its name tells, those that were fused into it, and their MACs (owners). Medians and
// shares stand beside the latency, which no profiler disturbed; their sum is not the
// latency. A worker that dies there costs the layers of its point, not its latency.
//
// # Drift (D)
//
//   - D1: `ci` and `publish` visit one point of the plan, the one most like ResNet-50 in
//     fp16 at batch 8, at the start, at the end and every ten minutes, in rounds that count
//     for nothing else, always of build 1 (Plan.sentinel, worker.sentinel). The launches of
//     a gate do not, because the two of a pair share what drifts. On a GPU a shift of its
//     median by more than 3 % ends the run (DriftError); the result judges the shift beyond
//     chance (judgeSentinel).
//   - D2: the medians of all rounds, less their points' means, are tested for a trend within
//     launches and, apart, from launch to launch. The change over the run is that of the
//     launches' means: what rises in every launch and falls back before the next is no drift
//     (trendOf). They are also set against temperature and clock (correlationOf).
//   - D3: the odd rounds of every point are tested against its even ones, where nothing but
//     chance should differ (OddEven).
//
// More than 1 % of drift costs every number of the run its class.
//
// # Estimates (E)
//
//   - E1: the median of a round, the mean of logarithms over the rounds of a launch, then a
//     t interval over launches (overLaunches). An interval that treats rounds or samples as
//     independent covers far less than it claims.
//   - E2: rates and high quantiles are those of a launch, averaged alike, with a
//     hierarchical studentised bootstrap (bootstrap). TestIntervalCoverage and
//     TestBootstrapCoverage show 93 to 97 % for both, and far less for the other kind.
//   - E3, E4: beside each stand the effective sample size, the share of the variance at each
//     level, what a second run could tell apart, clock, temperature and cycles (sharesOf,
//     Estimate.MDE, conditions). Samples beyond Tukey's fences are counted and never dropped
//     (spreadOf).
//
// # Quality
//
// Q1 is for clocks that were locked and verified, or on a host for bound processors whose
// clock was seen to stand still; Q2 for floating ones; Q3 for numbers not to be relied on;
// Q0 for those that are none. Every class below Q1 has its reasons (qualityOf,
// Measurement.Lowered). Which rules a result met is judged from its journal and printed
// (rulesOf).
//
// # A run that cannot be lost
//
// Every round is on the disk before the next begins (Journal.Append). A worker that
// crashes, exits, runs out of memory or is killed costs the point it was on; one that says
// nothing for longer than it announced is killed (listener.listen); one whose device's
// context is gone ends by itself (worker.lostContext). The rest of its launch continues in a
// new worker.
//
// A run that was interrupted, by Ctrl-C, SIGKILL, a full disk or a power cut, can be
// resumed. A torn last line is cut off, everything before it stays, and visits that were
// made are not made again (ReopenJournal, Runner.recall). Another machine, binary, library
// or plan is refused, with what differs (RunRecord.Differences). Two runs of one user on one
// device are kept apart by a lock that the kernel releases however its holder ends
// (hardware.AwaitDevice).
//
// # How this is checked
//
// The tests drive the same Runner and the same worker in one process, on a scripted device
// and a virtual clock (simulation in virtual_test.go): hours of `publish`, every class of
// contamination, every stop, hangs, crashes and resumed runs pass in seconds. The faults are
// tested once more on the real binary (cmd/genbench/faults_test.go). Whatever a fake engine
// gave is of quality Q0 and says `fake`.
//
// # Where this differs from the protocol's first figures
//
// On a host device steal time above 1 % tags a round and above 10 % drops it, where the
// protocol said that 1 % drops; `quick` and `ci` wait 1.5 s for a steady state, where it said
// 10 (hurriedCap); and drift does not stop a run. HostProtocol gives the reasons. `ci` aims
// for 1 %, the least that its gate tells apart. gpuProtocol holds the protocol's own figures,
// which nobody has calibrated on a board yet. `quick` settles a GPU for 10 to 60 s, and
// before later launches for 2 to 15, since a first impression should not wait minutes for
// the board; the slopes it waits for are the same.
//
// A high quantile is that of a launch, not of the mixture of launches: where launches
// differ, four of them do not hold the 90th percentile of launches, and no interval can
// cover it. It has an interval only where a launch holds enough samples for a quantile of
// its own (tailRank). The bootstrap is as wide as a t interval with twelve launches, but 1.4
// to 3 times as wide with four, and covers as much where launches scatter symmetrically;
// where one launch in a few is slow it covers 91 % where t covers 88 (TestSkewedLaunches).
//
// The windows that prove a steady state are the round, where the protocol let a round follow
// them: what was proven is then true of the samples themselves, and no window is thrown away.
// In a run of the default suite on a two-core machine the windows took 108 s and the rounds
// after them 40 s.
//
// W4's three windows within 1 % cannot be met by noise of a few percent per sample, though
// nothing drifts: of 56 rounds on a shared two-core machine 53 failed it. Noise is now told
// from drift (SteadyProof.judge has the shares of both that are caught). D1's shift counts
// beyond what chance explains, for the same reason.
//
// Results name the protocol's effective numbers, so none of this need be taken for granted.
package bench
