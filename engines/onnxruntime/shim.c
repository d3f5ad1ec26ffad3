#include "shim.h"

#include <stdlib.h>
#include <string.h>

typedef const gb_ort_base *(*get_api_base_func)(void);

const char *gb_ort_version(void *get_api_base) {
	return ((get_api_base_func)get_api_base)()->GetVersionString();
}

const gb_ort_api *gb_ort_table(void *get_api_base, uint32_t version) {
	return ((get_api_base_func)get_api_base)()->GetApi(version);
}

// words turns a status into a message of ours and releases it.
static char *words(const gb_ort_api *api, OrtStatus *status) {
	if (status == NULL) return NULL;
	char *text = strdup(api->GetErrorMessage(status));
	api->ReleaseStatus(status);
	return text;
}

char *gb_ort_open(const gb_ort_api *api, OrtEnv **env) {
	return words(api, api->CreateEnv(gb_ort_log_error, "genbench", env));
}

void gb_ort_shut(const gb_ort_api *api, OrtEnv *env) { api->ReleaseEnv(env); }

static OrtStatus *configure(const gb_ort_api *api, OrtSessionOptions *options, int threads) {
	OrtStatus *status;
	if ((status = api->SetSessionLogSeverityLevel(options, gb_ort_log_error)) != NULL) return status;
	if ((status = api->SetSessionGraphOptimizationLevel(options, gb_ort_optimise_all)) != NULL) return status;
	if ((status = api->SetSessionExecutionMode(options, gb_ort_sequential)) != NULL) return status;
	if ((status = api->SetInterOpNumThreads(options, 1)) != NULL) return status;
	return api->SetIntraOpNumThreads(options, threads);
}

static OrtStatus *create_session(gb_ort_session *s, const OrtEnv *env, const void *model, size_t size, int threads) {
	OrtSessionOptions *options = NULL;
	OrtStatus *status = s->api->CreateSessionOptions(&options);
	if (status == NULL) status = configure(s->api, options, threads);
	if (status == NULL) status = s->api->CreateSessionFromArray(env, model, size, options, &s->session);
	if (options != NULL) s->api->ReleaseSessionOptions(options);
	return status;
}

static OrtStatus *create_value(const gb_ort_api *api, const OrtMemoryInfo *memory, gb_ort_tensor *t) {
	return api->CreateTensorWithDataAsOrtValue(memory, t->data, t->bytes, t->shape, t->rank, gb_ort_float, &t->value);
}

static OrtStatus *create_values(gb_ort_session *s) {
	OrtMemoryInfo *memory = NULL;
	OrtStatus *status = s->api->CreateCpuMemoryInfo(gb_ort_device_allocator, gb_ort_mem_default, &memory);
	if (status == NULL) status = create_value(s->api, memory, &s->input);
	if (status == NULL) status = create_value(s->api, memory, &s->output);
	if (memory != NULL) s->api->ReleaseMemoryInfo(memory);
	return status;
}

// allocate gives zeroed memory on a cache line, as vector instructions like it.
static int allocate(gb_ort_tensor *t) {
	void *data = NULL;
	if (posix_memalign(&data, 64, t->bytes) != 0) return -1;
	t->data = memset(data, 0, t->bytes);
	return 0;
}

char *gb_ort_build(gb_ort_session *s, const OrtEnv *env, const void *model, size_t size, int threads) {
	char *failed;
	if (allocate(&s->input) != 0 || allocate(&s->output) != 0) {
		failed = strdup("out of memory for input and output");
	} else {
		OrtStatus *status = create_session(s, env, model, size, threads);
		if (status == NULL) status = create_values(s);
		failed = words(s->api, status);
	}
	if (failed != NULL) gb_ort_free(s);
	return failed;
}

int gb_ort_run(void *session) {
	gb_ort_session *s = session;
	const OrtValue *input = s->input.value;
	OrtStatus *status = s->api->Run(s->session, NULL, &s->input.name, &input, 1, &s->output.name, 1, &s->output.value);
	if (status == NULL) return 0;
	if (s->failure != NULL) s->api->ReleaseStatus(s->failure);
	s->failure = status;
	unsigned code = s->api->GetErrorCode(status);
	return code != 0 ? (int)code : -1;
}

const char *gb_ort_failure(const gb_ort_session *s) {
	return s->failure == NULL ? NULL : s->api->GetErrorMessage(s->failure);
}

void gb_ort_free(gb_ort_session *s) {
	if (s->failure != NULL) s->api->ReleaseStatus(s->failure);
	if (s->input.value != NULL) s->api->ReleaseValue(s->input.value);
	if (s->output.value != NULL) s->api->ReleaseValue(s->output.value);
	if (s->session != NULL) s->api->ReleaseSession(s->session);
	free(s->input.data);
	free(s->output.data);
	s->failure = NULL;
	s->session = NULL;
	s->input.value = s->output.value = NULL;
	s->input.data = s->output.data = NULL;
}
