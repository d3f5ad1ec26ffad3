// Inferences that read their input from another place than the session's own.
#ifndef GENBENCH_CUDNN_ROTATE_H
#define GENBENCH_CUDNN_ROTATE_H

#include "program.h"

// gb_rotated is a program with another input. Where the steps of the program have the
// address of the input stands in places.
typedef struct {
	gb_program *program;
	const void ***places;
	int count;
	const void *home, *input;
} gb_rotated;

// gb_run_rotated is a gb_func: gb_program_run on the input of a gb_rotated.
int gb_run_rotated(void *rotated);

#endif
