#include "rotate.h"

int gb_run_rotated(void *rotated) {
	gb_rotated *r = rotated;
	for (int i = 0; i < r->count; i++) *r->places[i] = r->input;
	int code = gb_program_run(r->program);
	// What was submitted keeps the address that it was given.
	for (int i = 0; i < r->count; i++) *r->places[i] = r->home;
	return code;
}
