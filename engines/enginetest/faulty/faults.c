#define _POSIX_C_SOURCE 200809L
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

int gb_fault_exit(void *arg) {
	(void)arg;
	fprintf(stderr, "fake-exit: a library that ends its process\n");
	exit(gb_fault_status);
}

// gb_fault_oom fills memory until malloc gives none and then dies as a C++ library
// does of an allocation it does not catch. A limit on the address space stands in
// for the machine's, which others need.
int gb_fault_oom(void *arg) {
	(void)arg;
	const size_t room = 256 << 20, piece = 4 << 20;
	long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "r");
	if (statm == NULL || fscanf(statm, "%ld", &pages) != 1) return gb_fault_code;
	fclose(statm);
	rlim_t limit = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + room;
	if (setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) != 0) return gb_fault_code;
	for (;;) {
		char *more = malloc(piece);
		if (more == NULL) break;
		memset(more, 1, piece);
	}
	fprintf(stderr, "fake-oom: out of memory\n");
	abort();
}

static void *help(void *arg) {
	gb_fault *fault = arg;
	pthread_mutex_lock(&fault->helper.lock);
	for (;;) {
		while (fault->helper.pending == 0 && !fault->helper.dismissed) {
			pthread_cond_wait(&fault->helper.changed, &fault->helper.lock);
		}
		if (fault->helper.pending == 0) break;
		pthread_mutex_unlock(&fault->helper.lock);
		gb_fault_spin(fault);
		pthread_mutex_lock(&fault->helper.lock);
		fault->helper.pending--;
		pthread_cond_broadcast(&fault->helper.changed);
	}
	pthread_mutex_unlock(&fault->helper.lock);
	return NULL;
}

int gb_fault_hire(gb_fault *fault) {
	pthread_mutex_init(&fault->helper.lock, NULL);
	pthread_cond_init(&fault->helper.changed, NULL);
	int failed = pthread_create(&fault->helper.thread, NULL, help, fault);
	fault->helper.hired = failed == 0;
	return failed;
}

int gb_fault_defer(void *arg) {
	gb_fault *fault = arg;
	pthread_mutex_lock(&fault->helper.lock);
	fault->helper.pending++;
	pthread_cond_broadcast(&fault->helper.changed);
	pthread_mutex_unlock(&fault->helper.lock);
	return 0;
}

void gb_fault_settle(gb_fault *fault) {
	pthread_mutex_lock(&fault->helper.lock);
	while (fault->helper.pending > 0) pthread_cond_wait(&fault->helper.changed, &fault->helper.lock);
	pthread_mutex_unlock(&fault->helper.lock);
}

void gb_fault_dismiss(gb_fault *fault) {
	if (!fault->helper.hired) return;
	pthread_mutex_lock(&fault->helper.lock);
	fault->helper.dismissed = 1;
	pthread_cond_broadcast(&fault->helper.changed);
	pthread_mutex_unlock(&fault->helper.lock);
	pthread_join(fault->helper.thread, NULL);
	fault->helper.hired = 0;
}
