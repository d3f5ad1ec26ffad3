#include "rotate.h"

int gb_run_rotated(void *rotated) {
	gb_rotated *r = rotated;
	for (int i = 0; i < r->count; i++) *r->places[i].at = r->places[i].away;
	int code = gb_program_run(r->program);
	// What was submitted keeps the address that it was given.
	for (int i = 0; i < r->count; i++) *r->places[i].at = r->places[i].home;
	return code;
}
