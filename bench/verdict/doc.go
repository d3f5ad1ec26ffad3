// Package verdict says what two results mean for each other: whether a point has
// regressed, improved, stayed the same, or cannot be told, and what would have been
// found. It measures nothing.
//
//	two results, or what a gate has of its two versions: an Arm each
//	  -> Differences   what differs around the points; a comparison that it spoils is refused (R9)
//	  -> match         the points of both (Couples), and what is missing, extra or without numbers
//	  -> Pairs         one log ratio per launch pair (R1)
//	  -> flip          the exact sign-flip test, its interval, its estimate
//	  -> holm          over all points of a metric (R3); Benjamini-Hochberg for the watch list
//	  -> Verdict       against a margin (R2), with the least effect that would have been found (R4)
//
// The margin is the change that one is ready to overlook, 1 % for median latency; a
// regression or improvement also has to exceed the machine's own noise floor where a
// Calibration has measured that (R5). The floor acquits nothing: what lies within it, and
// is not shown to lie within the margin itself, is undecided. A gate looks twice, after
// 12 and after 20 pairs, and splits the chance of a false alarm between them (Looks);
// points that the second look would hardly decide do not get it (GiveUp). What it flags
// is measured again before a build fails (R6). `make false-alarms` simulates all of it.
package verdict
