// Inferences that read their input from another place than the session's own.
#ifndef GENBENCH_CUDNN_ROTATE_H
#define GENBENCH_CUDNN_ROTATE_H

#include "program.h"

// gb_place is a pointer of a program's step, with its value and the one for another
// input: an address of the input, or a pack of a graph that holds one.
typedef struct {
	void **at;
	void *home, *away;
} gb_place;

// gb_rotated is a program with another input.
typedef struct {
	gb_program *program;
	const gb_place *places;
	int count;
} gb_rotated;

// gb_run_rotated is a gb_func: gb_program_run on the input of a gb_rotated. It writes a few
// pointers before and after, some nanoseconds that on an idle stream lie between the
// events of a sample.
int gb_run_rotated(void *rotated);

#endif
