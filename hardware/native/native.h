// The one timed loop of genbench and the few C services that must not be
// reached through Go while time is being taken. native.go says why.
#ifndef GENBENCH_NATIVE_H
#define GENBENCH_NATIVE_H

#include <stdint.h>

// gb_func submits one inference and returns 0, or an error code of its engine.
typedef int (*gb_func)(void *arg);

// gb_sample mirrors hardware.Sample field by field: nanoseconds between stream
// events, inside the submitting call, and from start to synchronised.
typedef struct {
	int64_t device_ns;
	int64_t enqueue_ns;
	int64_t host_ns;
} gb_sample;

// gb_now reads CLOCK_MONOTONIC in nanoseconds, the same clock in every process
// of one machine.
int64_t gb_now(void);

// gb_end says how a timed block ended: the code of the failing call, or 0, and how many
// calls succeeded before it. It is returned by value, because a pointer to a result
// would make Go allocate one for every block.
typedef struct {
	int code;
	int64_t done;
} gb_end;

// gb_time_host runs func(arg) n times and fills out[0..n). It stops at the first
// non-zero return. On the host a call has finished when it returns, so the three
// times are one.
gb_end gb_time_host(gb_func func, void *arg, gb_sample *out, int64_t n);

// gb_clock holds the smallest non-zero step of gb_now and what one reading costs.
typedef struct {
	double step_ns;
	double read_ns;
} gb_clock;

gb_clock gb_probe_clock(void);

// gb_sleep idles for ns nanoseconds, whatever signals come.
void gb_sleep(int64_t ns);

// gb_spin burns *(int64_t *)arg nanoseconds of CPU: a call of known length.
int gb_spin(void *arg);

// gb_work does *(int64_t *)arg steps of dependent arithmetic: a call of fixed work,
// whose length shows what disturbs the processor.
int gb_work(void *arg);

// gb_call is a timed function with its argument.
typedef struct {
	gb_func func;
	void *arg;
} gb_call;

// gb_cycle is a series of calls that gb_run_cycle makes in turn, one each time.
typedef struct {
	const gb_call *calls;
	int64_t count, last; // index of the call made last
} gb_cycle;

int gb_run_cycle(void *arg);

// gb_chain is a series of calls that gb_run_chain makes one after another, as one call.
// It ends with the first that fails.
typedef struct {
	const gb_call *calls;
	int64_t count;
} gb_chain;

int gb_run_chain(void *arg);

// gb_nothing returns at once: what the loop costs by itself.
int gb_nothing(void *arg);

#endif
