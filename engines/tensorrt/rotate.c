#include "rotate.h"

#include <stdlib.h>

static int bind(const gb_trt_rotated *r, int away) {
	for (int i = 0; i < r->count; i++) {
		const gb_trt_moved *m = &r->inputs[i];
		char *message = r->table->bind(r->engine, m->name, away ? m->away : m->home);
		if (message == NULL) continue;
		free(message);
		return gb_trt_not_bound;
	}
	return 0;
}

int gb_trt_run_rotated(void *rotated) {
	gb_trt_rotated *r = rotated;
	int code = bind(r, 1);
	if (code == 0) code = r->table->run(r->engine);
	int back = bind(r, 0);
	return code != 0 ? code : back;
}
