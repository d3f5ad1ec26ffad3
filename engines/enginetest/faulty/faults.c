#define _POSIX_C_SOURCE 200809L
#include "faults.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int gb_fault_spin(void *arg) {
	int64_t until = now() + ((gb_fault *)arg)->spin_ns;
	while (now() < until) {
	}
	return 0;
}

void gb_fault_chatter(const char *when) {
	printf("fake-noise: chatter on stdout from %s\n", when);
	fflush(stdout);
	fprintf(stderr, "fake-noise: chatter on stderr from %s\n", when);
}

int gb_fault_noise(void *arg) {
	gb_fault *fault = arg;
	if (fault->calls++ == 0) gb_fault_chatter("the first inference");
	return gb_fault_spin(arg);
}

int gb_fault_crash(void *arg) {
	(void)arg;
	volatile int *volatile nowhere = NULL; // volatile twice, or the compiler drops the store
	*nowhere = 1;
	return 0;
}

int gb_fault_hang(void *arg) {
	(void)arg;
	for (;;) pause();
}

int gb_fault_fail(void *arg) {
	(void)arg;
	return gb_fault_code;
}
