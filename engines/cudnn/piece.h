// One step of a program as a call of its own.
#ifndef GENBENCH_CUDNN_PIECE_H
#define GENBENCH_CUDNN_PIECE_H

#include "program.h"

typedef struct {
	gb_program *program;
	int step;
} gb_piece;

// gb_piece_run is a gb_func: it submits the step of a gb_piece.
int gb_piece_run(void *piece);

#endif
