#include "rotate.h"

#include <stdlib.h>

static int bind(const gb_trt_rotated *r, uint64_t address) {
	char *message = r->table->bind(r->engine, r->name, address);
	if (message == NULL) return 0;
	free(message);
	return gb_trt_not_bound;
}

int gb_trt_run_rotated(void *rotated) {
	gb_trt_rotated *r = rotated;
	int code = bind(r, r->input);
	if (code == 0) code = r->table->run(r->engine);
	int back = bind(r, r->home);
	return code != 0 ? code : back;
}
