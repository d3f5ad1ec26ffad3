#ifndef GENBENCH_FAULTS_H
#define GENBENCH_FAULTS_H

#include <stdint.h>

// What a fault acts on; one a session.
typedef struct {
	int64_t spin_ns; // a whole batch
	int64_t calls;
} gb_fault;

// Calls of the timed loop, each with its own way of going wrong. Their argument is
// a gb_fault.
int gb_fault_spin(void *fault);
int gb_fault_noise(void *fault);
int gb_fault_crash(void *fault);
int gb_fault_hang(void *fault);
int gb_fault_fail(void *fault);

// gb_fault_chatter prints a line on stdout and one on stderr.
void gb_fault_chatter(const char *when);

enum { gb_fault_code = 7 }; // what gb_fault_fail returns

#endif
