#ifndef GENBENCH_ORT_SHIM_H
#define GENBENCH_ORT_SHIM_H

#include "api.h"

// Functions that can fail return NULL, or a message which the caller frees.

// gb_ort_version is the library's own, such as "1.32.0"; not to be freed.
const char *gb_ort_version(void *get_api_base);

// gb_ort_table gives the function table, or NULL from a library too old for it.
const gb_ort_api *gb_ort_table(void *get_api_base, uint32_t version);

char *gb_ort_open(const gb_ort_api *api, OrtEnv **env);
void gb_ort_shut(const gb_ort_api *api, OrtEnv *env);

// A gb_ort_tensor is float32 memory that lives as long as its session.
typedef struct {
	const char *name;
	const int64_t *shape; // only read while the session is built
	size_t rank;
	size_t bytes;
	float *data;
	OrtValue *value;
} gb_ort_tensor;

typedef struct {
	const gb_ort_api *api;
	OrtSession *session;
	gb_ort_tensor input, output;
	OrtStatus *failure; // of the last inference that failed
} gb_ort_session;

// gb_ort_build compiles an ONNX model, which it does not keep, and allocates its
// input and output. On failure s holds nothing.
char *gb_ort_build(gb_ort_session *s, const OrtEnv *env, const void *model, size_t size, int threads);

// gb_ort_run is the entry of the timed loop: one inference of a gb_ort_session. It
// gives 0 or an OrtErrorCode.
int gb_ort_run(void *session);

// gb_ort_failure is the engine's message for the last inference that failed, or
// NULL; not to be freed.
const char *gb_ort_failure(const gb_ort_session *s);

void gb_ort_free(gb_ort_session *s);

#endif
