#include "piece.h"

int gb_piece_run(void *piece) {
	gb_piece *p = piece;
	return gb_program_submit(p->program, p->step);
}
