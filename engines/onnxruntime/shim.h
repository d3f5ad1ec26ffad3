#ifndef GENBENCH_ORT_SHIM_H
#define GENBENCH_ORT_SHIM_H

#include "api.h"

// Functions that can fail return NULL, or a message which the caller frees.

// gb_ort_version is the library's own, such as "1.32.0"; not to be freed.
const char *gb_ort_version(void *get_api_base);

// gb_ort_table gives the function table, or NULL from a library too old for it.
const gb_ort_api *gb_ort_table(void *get_api_base, uint32_t version);

// gb_ort_words turns a status into a message and releases it; NULL stays NULL.
char *gb_ort_words(const gb_ort_api *api, OrtStatus *status);

char *gb_ort_open(const gb_ort_api *api, OrtEnv **env);
void gb_ort_shut(const gb_ort_api *api, OrtEnv *env);

// A gb_ort_tensor is an input or output. Its data lives as long as its session: on the
// host it is made with it, on a GPU its owner provides it.
typedef struct {
	const int64_t *shape; // lives as long as the session
	size_t rank;
	unsigned element; // ONNXTensorElementDataType, numbered as in ONNX
	size_t bytes;
	void *data;
} gb_ort_tensor;

// A gb_ort_ports is all inputs, or all outputs, laid out as Run takes them.
typedef struct {
	size_t count;
	gb_ort_tensor *tensors;
	const char **names;
	OrtValue **values;
} gb_ort_ports;

// How far the profile of a session's first inference has got.
enum { gb_ort_unprofiled, gb_ort_profiling, gb_ort_profiled };

typedef struct {
	const gb_ort_api *api;
	OrtSessionOptions *options; // until gb_ort_configured
	OrtSession *session;
	gb_ort_ports inputs, outputs;
	// Of a session on a GPU: what Run gets instead of inputs and outputs.
	int gpu; // the device's ordinal, -1 on the host
	OrtIoBinding *binding;
	OrtRunOptions *run_options;
	int profile;
	int profile_all; // the profile continues beyond the first inference
	int unfused;     // nodes stay what the model says
	int exact;       // sums of 8-bit products do not overflow
	OrtStatus *failure; // of the last inference that failed
} gb_ort_session;

// gb_ort_configure makes the options of a session. With a profile_prefix the first
// inference is profiled into a file of that name and a suffix, which exists from
// the build on.
char *gb_ort_configure(gb_ort_session *s, int threads, const char *profile_prefix);

// gb_ort_use_cuda and gb_ort_use_tensorrt put a provider after those that the options
// have: a node goes to the first that can run it, and to the CPU if none can.
char *gb_ort_use_cuda(gb_ort_session *s, const char *const *keys, const char *const *values, size_t count);
char *gb_ort_use_tensorrt(gb_ort_session *s, const char *const *keys, const char *const *values, size_t count);

// gb_ort_load compiles an ONNX model, which it does not keep, or the one in a file.
char *gb_ort_load(gb_ort_session *s, const OrtEnv *env, const void *model, size_t size);
char *gb_ort_load_file(gb_ort_session *s, const OrtEnv *env, const char *path);

// gb_ort_cancel asks a load on another thread to end. The table must have version
// gb_ort_cancellable.
void gb_ort_cancel(gb_ort_session *s);

// gb_ort_configured frees the options. No load may run, nor be cancelled.
void gb_ort_configured(gb_ort_session *s);

// gb_ort_learn finds out what outputs look like, which a file need not say: it runs
// one inference with these contents of the inputs, in the host's memory, and fills in
// the outputs' types and shapes, which the caller frees. It is the one profiled.
char *gb_ort_learn(gb_ort_session *s, void *const *contents);

// gb_ort_bind binds inputs and outputs, for which it allocates memory if they are on
// the host. It is the last step of a build.
char *gb_ort_bind(gb_ort_session *s);

// gb_ort_run and gb_ort_submit are entries of the timed loop: one inference of a
// gb_ort_session, which gives 0 or an OrtErrorCode. When the first returns, the
// inference has ended; when the second does, for a session on a GPU, it is in the stream.
int gb_ort_run(void *session);
int gb_ort_submit(void *session);

// gb_ort_end_profile writes the profile, if an inference was profiled, and ends
// profiling.
char *gb_ort_end_profile(gb_ort_session *s);

// gb_ort_failure is the engine's message for the last inference that failed, or
// NULL; not to be freed.
const char *gb_ort_failure(const gb_ort_session *s);

// gb_ort_free frees what s holds, at any time after it was zeroed and given its api.
void gb_ort_free(gb_ort_session *s);

#endif
