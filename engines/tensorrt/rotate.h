// Inferences that read their inputs from other places than the session's own.
#ifndef GENBENCH_TRT_ROTATE_H
#define GENBENCH_TRT_ROTATE_H

#include "bridge.h"

// gb_trt_moved is an input and its two addresses.
typedef struct {
	const char *name;
	uint64_t home, away;
} gb_trt_moved;

// gb_trt_rotated is an engine with other addresses of its inputs.
typedef struct {
	const gb_trt_table *table;
	gb_trt_engine *engine;
	const gb_trt_moved *inputs;
	int count;
} gb_trt_rotated;

enum { gb_trt_not_bound = -2 }; // the engine refused an address

// gb_trt_run_rotated is a gb_func: one inference of a gb_trt_rotated. TensorRT takes a
// tensor's address when an inference is enqueued, so every input is bound once before
// and once after, which costs the host two short calls of TensorRT's. On an idle stream
// they lie between the events of a sample, as all that it takes to submit an inference
// does, and the sample is longer by the first of them. A replayed graph and a held
// stream have none of it.
int gb_trt_run_rotated(void *rotated);

#endif
