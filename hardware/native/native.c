#include "native.h"

#include <errno.h>
#include <time.h>

int64_t gb_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

gb_end gb_time_host(gb_func func, void *arg, gb_sample *out, int64_t n) {
	for (int64_t i = 0; i < n; i++) {
		int64_t start = gb_now();
		int code = func(arg);
		int64_t took = gb_now() - start;
		if (code != 0) return (gb_end){code, i};
		out[i].device_ns = took;
		out[i].enqueue_ns = took;
		out[i].host_ns = took;
	}
	return (gb_end){0, n};
}

gb_clock gb_probe_clock(void) {
	enum { runs = 10, reads = 1000 };
	int64_t step = INT64_MAX, fastest = INT64_MAX;
	// The fastest run is the one that nothing interrupted. A clock too coarse to
	// move within the runs gets as many as it needs.
	for (int run = 0; run < runs || step == INT64_MAX; run++) {
		int64_t first = gb_now(), last = first;
		for (int i = 0; i < reads; i++) {
			int64_t now = gb_now();
			if (now > last && now - last < step) step = now - last;
			last = now;
		}
		if (last - first < fastest) fastest = last - first;
	}
	return (gb_clock){(double)step, (double)fastest / reads};
}

void gb_sleep(int64_t ns) {
	struct timespec left = {ns / 1000000000, ns % 1000000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
	}
}

int gb_spin(void *arg) {
	int64_t until = gb_now() + *(const int64_t *)arg;
	while (gb_now() < until) {
	}
	return 0;
}

int gb_work(void *arg) {
	int64_t steps = *(const int64_t *)arg;
	uint64_t x = (uint64_t)steps;
	// Knuth's MMIX generator: each step waits for the one before.
	while (steps-- > 0) x = x * 6364136223846793005u + 1442695040888963407u;
	// The result is never all ones within any time a call takes, but the compiler does
	// not know that.
	return x == UINT64_MAX;
}

int gb_run_cycle(void *arg) {
	gb_cycle *c = arg;
	c->last = (c->last + 1) % c->count;
	return c->calls[c->last].func(c->calls[c->last].arg);
}

int gb_run_chain(void *arg) {
	const gb_chain *c = arg;
	int code = 0;
	for (int64_t i = 0; i < c->count && code == 0; i++) code = c->calls[i].func(c->calls[i].arg);
	return code;
}

int gb_nothing(void *arg) {
	(void)arg;
	return 0;
}
