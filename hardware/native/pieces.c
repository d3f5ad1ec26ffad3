#include "pieces.h"

#include <stdlib.h>

// TRY makes a call of the driver unless something failed before.
#define TRY(name, ...) \
	do { \
		if (end.code != 0 || end.status.result != 0) break; \
		unsigned result = api->name(__VA_ARGS__); \
		if (result != 0) end.status = (gb_cuda_status){gb_call_##name, result}; \
	} while (0)

gb_cuda_end gb_time_cuda_pieces(const gb_cuda_stream *s, gb_call lead, const gb_call *pieces, int64_t n, int64_t *device_ns) {
	const gb_cuda *api = s->api;
	gb_cuda_end end = {.status = {gb_call_none, 0}, .done = -1};
	CUevent *events = calloc((size_t)n + 1, sizeof *events);
	TRY(cuCtxSetCurrent, s->context);
	for (int64_t i = 0; i <= n; i++) TRY(cuEventCreate, &events[i], gb_cu_event_default);
	TRY(cuStreamSynchronize, s->stream);
	if (end.status.result == 0) end.code = lead.func(lead.arg);
	TRY(cuEventRecord, events[0], s->stream);
	for (int64_t i = 0; i < n && end.code == 0 && end.status.result == 0; i++) {
		end.done = i;
		end.code = pieces[i].func(pieces[i].arg);
		TRY(cuEventRecord, events[i + 1], s->stream);
	}
	// What was submitted before a failure still writes to the events.
	unsigned waited = api->cuStreamSynchronize(s->stream);
	if (end.code == 0 && end.status.result == 0 && waited != 0) end.status = (gb_cuda_status){gb_call_cuStreamSynchronize, waited};
	for (int64_t i = 0; i < n; i++) {
		float milliseconds = 0;
		TRY(cuEventElapsedTime, &milliseconds, events[i], events[i + 1]);
		device_ns[i] = (int64_t)((double)milliseconds * 1e6 + 0.5);
	}
	for (int64_t i = 0; i <= n; i++) {
		if (events[i] == NULL) continue;
		unsigned destroyed = api->cuEventDestroy_v2(events[i]);
		if (end.code == 0 && end.status.result == 0 && destroyed != 0) end.status = (gb_cuda_status){gb_call_cuEventDestroy_v2, destroyed};
	}
	free(events);
	return end;
}
