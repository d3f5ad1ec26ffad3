#ifndef GENBENCH_FAULTS_H
#define GENBENCH_FAULTS_H

#include <pthread.h>
#include <stdint.h>

// What a fault acts on; one a session.
typedef struct {
	int64_t spin_ns; // a whole batch
	int64_t calls;
	struct {
		pthread_t thread;
		pthread_mutex_t lock;
		pthread_cond_t changed;
		int64_t pending; // calls that have returned and whose work is not done
		int hired, dismissed;
	} helper;
} gb_fault;

// Calls of the timed loop, each with its own way of going wrong. Their argument is
// a gb_fault.
int gb_fault_spin(void *fault);
int gb_fault_noise(void *fault);
int gb_fault_crash(void *fault);
int gb_fault_hang(void *fault);
int gb_fault_fail(void *fault);
int gb_fault_exit(void *fault);
int gb_fault_oom(void *fault);
int gb_fault_defer(void *fault);

// gb_fault_hire starts the thread that gb_fault_defer leaves its work to, and gives
// an errno or 0; gb_fault_settle waits until it has none; gb_fault_dismiss ends it
// after its work and does nothing where there is none.
int gb_fault_hire(gb_fault *fault);
void gb_fault_settle(gb_fault *fault);
void gb_fault_dismiss(gb_fault *fault);

// gb_fault_chatter prints a line on stdout and one on stderr.
void gb_fault_chatter(const char *when);

enum {
	gb_fault_code = 7,    // what gb_fault_fail returns
	gb_fault_status = 23, // with which gb_fault_exit ends the process
};

#endif
