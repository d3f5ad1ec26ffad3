// Package bench is how genbench measures: what is visited in which order, when a
// number may be taken, what is written down, and what may be said of it.
//
// # The way of a measurement
//
//	flags            cmd/genbench
//	  -> Grid        product of models x engines x precisions x batches
//	  -> Plan        NewPlan: points, skipped ones with their reason; Plan.Order: a random order per launch
//	  -> launch      Runner.launch: a fresh worker process; a crash or a hang costs one point
//	  -> visit       worker.visit: build, first inference, warm-up, output check, steady state, one round
//	  -> round       hardware.Stream.Time: n inferences timed by one C loop, counters read at both ends
//	  -> journal     Journal.Append: one JSON line, synced, after every round
//	  -> Result      NewResult: estimates, intervals, doubts, quality; a pure function of the journal
//
// # Protocol gbp-1, rule by rule
//
// What is timed. Device time is taken around the engine's own submitting call, with
// input and output in place (M1); on the host a call has finished when it returns,
// so device and host time are one. Throughput is images over the time of the block
// (M3, Measurement.estimate). Build and first inference are metrics of their own
// (M7, PointRecord). The timed loop is one C call on a locked thread with the garbage
// collector off (M8, worker.quietly). Every visit compares an output with the fp32
// reference's, and a point that fails prints no latency (M10, checkOutput). That the
// clock tells the truth is shown by a call of known length (M9, `genbench selftest`
// and the fake-spin engine of the tests).
//
// Warm-up. At least three inferences and 0.3 s (W1, worker.warmUp); the heaviest point
// runs for 2 s before the first launch takes anything (W2, worker.settle); then
// windows, until three in a row differ by at most 1 % and drift by less than 0.25 %
// (W4, worker.prove, SteadyProof.judge). A round that could not wait for that is
// taken and marked unsteady; nothing is silent.
//
// Sampling. A round is the larger of 10 samples and 0.5 s, at most 2 s, at least 3
// samples (S1, Protocol.samples). `quick` takes 4 launches of one round (S2). Each
// launch visits the points in a fresh permutation of the run's seed (S3, Plan.Order).
// A high quantile is published only where enough independent samples stand behind
// it, with an upper bound beside it (S6, tail, effectiveSamples). The time planned
// stands beside the time used (S7, EndRecord).
//
// Contamination. A round during which a hypervisor took more than 10 % of the machine,
// or other processes used more than half a core, is dropped, kept in the journal
// with its reason, and taken again up to three times (X, judgeRound). Medians with and
// without such rounds are both shown (X2). A point that more than a quarter of its
// visits left without a clean round is invalid (X1, Measurement.doubt).
//
// Estimates. The median of a round, the mean of logarithms over the rounds of a
// launch, then a t interval over launches (E1, overLaunches): the launch is the
// highest level that is replicated, and an interval that takes rounds or samples for
// independent covers far less than it claims. TestIntervalCoverage shows both.
// Samples beyond Tukey's fences are counted and never dropped (E3, spreadOf).
//
// # Where this differs from the protocol's first figures
//
// On a host device steal time above 1 % tags a round and above 10 % drops it, where
// the protocol said that 1 % drops; and `quick` waits 1.5 s for a steady state, where
// it said 10, and ends a round after 1 s, where it said 2. HostProtocol gives the
// measurements behind them.
//
// # Not yet
//
// Profiles ci and publish, and with them the sequential stop (S5); the hierarchical
// bootstrap (E2) and drift rules (D); energy (J); pinning (--cpus); clocks (C); graph
// and cache modes (M5, M6) and every rule that needs a GPU. Comparing two results (R)
// is package verdict's. Results name the protocol's effective numbers, so
// that none of this can be taken for granted.
package bench
