// An inference as several calls, timed one by one.
#ifndef GENBENCH_PIECES_H
#define GENBENCH_PIECES_H

#include "driver.h"

// gb_time_cuda_pieces submits lead, then n pieces, each between two events, and waits
// for all of them at the end: device_ns[0..n) is what each took. A lead that keeps the
// device busy until all is submitted keeps the host's time out of theirs. In the
// result, done is the piece that failed, -1 for the lead.
gb_cuda_end gb_time_cuda_pieces(const gb_cuda_stream *s, gb_call lead, const gb_call *pieces, int64_t n, int64_t *device_ns);

#endif
