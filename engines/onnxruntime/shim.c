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

char *gb_ort_words(const gb_ort_api *api, OrtStatus *status) {
	if (status == NULL) return NULL;
	char *text = strdup(api->GetErrorMessage(status));
	api->ReleaseStatus(status);
	return text;
}

char *gb_ort_open(const gb_ort_api *api, OrtEnv **env) {
	return gb_ort_words(api, api->CreateEnv(gb_ort_log_error, "genbench", env));
}

void gb_ort_shut(const gb_ort_api *api, OrtEnv *env) { api->ReleaseEnv(env); }

static OrtStatus *configure(const gb_ort_api *api, OrtSessionOptions *options, unsigned level, int threads, const char *profile_prefix) {
	OrtStatus *status;
	// The status says what went wrong; at a lower level the library would also complain
	// that a model which could not be loaded leaves no profile.
	if ((status = api->SetSessionLogSeverityLevel(options, gb_ort_log_fatal)) != NULL) return status;
	if ((status = api->SetSessionGraphOptimizationLevel(options, level)) != NULL) return status;
	if ((status = api->SetSessionExecutionMode(options, gb_ort_sequential)) != NULL) return status;
	if ((status = api->SetInterOpNumThreads(options, 1)) != NULL) return status;
	if ((status = api->SetIntraOpNumThreads(options, threads)) != NULL) return status;
	if (profile_prefix == NULL) return NULL;
	return api->EnableProfiling(options, profile_prefix);
}

char *gb_ort_configure(gb_ort_session *s, int threads, const char *profile_prefix) {
	OrtStatus *status = s->api->CreateSessionOptions(&s->options);
	unsigned level = s->unfused ? gb_ort_optimise_basic : gb_ort_optimise_all;
	if (status == NULL) status = configure(s->api, s->options, level, threads, profile_prefix);
	if (status == NULL && s->exact) status = s->api->AddSessionConfigEntry(s->options, "session.x64quantprecision", "1");
	s->profile = profile_prefix == NULL ? gb_ort_unprofiled : gb_ort_profiling;
	return gb_ort_words(s->api, status);
}

void gb_ort_cancel(gb_ort_session *s) {
	OrtStatus *status = s->api->SessionOptionsSetLoadCancellationFlag(s->options, true);
	// A build that cannot be told to end runs to its end, as in older releases.
	if (status != NULL) s->api->ReleaseStatus(status);
}

char *gb_ort_use_cuda(gb_ort_session *s, const char *const *keys, const char *const *values, size_t count) {
	OrtCUDAProviderOptionsV2 *cuda = NULL;
	OrtStatus *status = s->api->CreateCUDAProviderOptions(&cuda);
	if (status == NULL) status = s->api->UpdateCUDAProviderOptions(cuda, keys, values, count);
	if (status == NULL) status = s->api->SessionOptionsAppendExecutionProvider_CUDA_V2(s->options, cuda);
	if (cuda != NULL) s->api->ReleaseCUDAProviderOptions(cuda);
	return gb_ort_words(s->api, status);
}

char *gb_ort_use_tensorrt(gb_ort_session *s, const char *const *keys, const char *const *values, size_t count) {
	OrtTensorRTProviderOptionsV2 *tensorrt = NULL;
	OrtStatus *status = s->api->CreateTensorRTProviderOptions(&tensorrt);
	if (status == NULL) status = s->api->UpdateTensorRTProviderOptions(tensorrt, keys, values, count);
	if (status == NULL) status = s->api->SessionOptionsAppendExecutionProvider_TensorRT_V2(s->options, tensorrt);
	if (tensorrt != NULL) s->api->ReleaseTensorRTProviderOptions(tensorrt);
	return gb_ort_words(s->api, status);
}

static OrtStatus *create_binding(gb_ort_session *s) {
	OrtStatus *status = s->api->CreateIoBinding(s->session, &s->binding);
	for (size_t i = 0; status == NULL && i < s->inputs.count; i++) status = s->api->BindInput(s->binding, s->inputs.names[i], s->inputs.values[i]);
	for (size_t i = 0; status == NULL && i < s->outputs.count; i++) status = s->api->BindOutput(s->binding, s->outputs.names[i], s->outputs.values[i]);
	if (status == NULL) status = s->api->CreateRunOptions(&s->run_options);
	// The loop waits for the stream itself.
	if (status == NULL) status = s->api->AddRunConfigEntry(s->run_options, "disable_synchronize_execution_providers", "1");
	return status;
}

char *gb_ort_load(gb_ort_session *s, const OrtEnv *env, const void *model, size_t size) {
	return gb_ort_words(s->api, s->api->CreateSessionFromArray(env, model, size, s->options, &s->session));
}

char *gb_ort_load_file(gb_ort_session *s, const OrtEnv *env, const char *path) {
	return gb_ort_words(s->api, s->api->CreateSession(env, path, s->options, &s->session));
}

void gb_ort_configured(gb_ort_session *s) {
	if (s->options != NULL) s->api->ReleaseSessionOptions(s->options);
	s->options = NULL;
}

static OrtStatus *create_value(const gb_ort_api *api, const OrtMemoryInfo *memory, const gb_ort_tensor *t, void *data, OrtValue **value) {
	return api->CreateTensorWithDataAsOrtValue(memory, data, t->bytes, t->shape, t->rank, t->element, value);
}

static void drop_values(const gb_ort_api *api, gb_ort_ports *ports) {
	for (size_t i = 0; i < ports->count; i++) {
		if (ports->values[i] != NULL) api->ReleaseValue(ports->values[i]);
		ports->values[i] = NULL;
	}
}

// look fills in a tensor from a value. What is no tensor has no element type.
static OrtStatus *look(const gb_ort_api *api, const OrtValue *value, gb_ort_tensor *t) {
	int is_tensor = 0;
	OrtStatus *status = api->IsTensor(value, &is_tensor);
	if (status != NULL || !is_tensor) return status;
	OrtTensorTypeAndShapeInfo *info = NULL;
	int64_t *shape = NULL;
	status = api->GetTensorTypeAndShape(value, &info);
	if (status == NULL) status = api->GetTensorElementType(info, &t->element);
	if (status == NULL) status = api->GetDimensionsCount(info, &t->rank);
	if (status == NULL) shape = calloc(t->rank + 1, sizeof *shape);
	if (status == NULL) status = api->GetDimensions(info, shape, t->rank);
	if (info != NULL) api->ReleaseTensorTypeAndShapeInfo(info);
	t->shape = shape;
	return status;
}

char *gb_ort_learn(gb_ort_session *s, void *const *contents) {
	OrtMemoryInfo *memory = NULL;
	OrtStatus *status = s->api->CreateCpuMemoryInfo(gb_ort_device_allocator, gb_ort_mem_default, &memory);
	for (size_t i = 0; status == NULL && i < s->inputs.count; i++) {
		status = create_value(s->api, memory, &s->inputs.tensors[i], contents[i], &s->inputs.values[i]);
	}
	if (status == NULL) {
		status = s->api->Run(s->session, NULL, s->inputs.names, (const OrtValue *const *)s->inputs.values, s->inputs.count,
			s->outputs.names, s->outputs.count, s->outputs.values);
		s->profile = gb_ort_profiled;
	}
	for (size_t i = 0; status == NULL && i < s->outputs.count; i++) status = look(s->api, s->outputs.values[i], &s->outputs.tensors[i]);
	drop_values(s->api, &s->inputs);
	drop_values(s->api, &s->outputs);
	if (memory != NULL) s->api->ReleaseMemoryInfo(memory);
	return gb_ort_words(s->api, status);
}

// allocate gives zeroed memory on a cache line, as vector instructions like it.
static int allocate(gb_ort_ports *ports) {
	for (size_t i = 0; i < ports->count; i++) {
		gb_ort_tensor *t = &ports->tensors[i];
		void *data = NULL;
		if (posix_memalign(&data, 64, t->bytes) != 0) return -1;
		t->data = memset(data, 0, t->bytes);
	}
	return 0;
}

static OrtStatus *create_values(const gb_ort_api *api, const OrtMemoryInfo *memory, gb_ort_ports *ports) {
	OrtStatus *status = NULL;
	for (size_t i = 0; status == NULL && i < ports->count; i++) {
		status = create_value(api, memory, &ports->tensors[i], ports->tensors[i].data, &ports->values[i]);
	}
	return status;
}

char *gb_ort_bind(gb_ort_session *s) {
	if (s->gpu < 0 && (allocate(&s->inputs) != 0 || allocate(&s->outputs) != 0)) return strdup("out of memory for inputs and outputs");
	OrtMemoryInfo *memory = NULL;
	OrtStatus *status = s->gpu < 0 ? s->api->CreateCpuMemoryInfo(gb_ort_device_allocator, gb_ort_mem_default, &memory)
		: s->api->CreateMemoryInfo("Cuda", gb_ort_device_allocator, s->gpu, gb_ort_mem_default, &memory);
	if (status == NULL) status = create_values(s->api, memory, &s->inputs);
	if (status == NULL) status = create_values(s->api, memory, &s->outputs);
	if (status == NULL && s->gpu >= 0) status = create_binding(s);
	if (memory != NULL) s->api->ReleaseMemoryInfo(memory);
	return gb_ort_words(s->api, status);
}

static void before_run(gb_ort_session *s) {
	// Whoever did not ask for the profile must not pay for one in every inference.
	if (s->profile == gb_ort_profiled && !s->profile_all) free(gb_ort_end_profile(s));
}

static int after_run(gb_ort_session *s, OrtStatus *status) {
	if (s->profile == gb_ort_profiling) s->profile = gb_ort_profiled;
	if (status == NULL) return 0;
	if (s->failure != NULL) s->api->ReleaseStatus(s->failure);
	s->failure = status;
	unsigned code = s->api->GetErrorCode(status);
	return code != 0 ? (int)code : -1;
}

int gb_ort_run(void *session) {
	gb_ort_session *s = session;
	before_run(s);
	return after_run(s, s->api->Run(s->session, NULL, s->inputs.names, (const OrtValue *const *)s->inputs.values, s->inputs.count,
		s->outputs.names, s->outputs.count, s->outputs.values));
}

int gb_ort_submit(void *session) {
	gb_ort_session *s = session;
	before_run(s);
	return after_run(s, s->api->RunWithBinding(s->session, s->run_options, s->binding));
}

char *gb_ort_end_profile(gb_ort_session *s) {
	if (s->profile != gb_ort_profiled) return NULL;
	s->profile = gb_ort_unprofiled;
	OrtAllocator *allocator = NULL;
	char *file = NULL;
	OrtStatus *status = s->api->GetAllocatorWithDefaultOptions(&allocator);
	if (status == NULL) status = s->api->SessionEndProfiling(s->session, allocator, &file);
	if (status == NULL) status = s->api->AllocatorFree(allocator, file);
	return gb_ort_words(s->api, status);
}

const char *gb_ort_failure(const gb_ort_session *s) {
	return s->failure == NULL ? NULL : s->api->GetErrorMessage(s->failure);
}

static void drop_ports(gb_ort_session *s, gb_ort_ports *ports) {
	drop_values(s->api, ports);
	for (size_t i = 0; i < ports->count; i++) {
		if (s->gpu < 0) free(ports->tensors[i].data);
		ports->tensors[i].data = NULL;
	}
}

void gb_ort_free(gb_ort_session *s) {
	gb_ort_configured(s);
	if (s->failure != NULL) s->api->ReleaseStatus(s->failure);
	if (s->binding != NULL) s->api->ReleaseIoBinding(s->binding);
	if (s->run_options != NULL) s->api->ReleaseRunOptions(s->run_options);
	drop_ports(s, &s->inputs);
	drop_ports(s, &s->outputs);
	if (s->session != NULL) s->api->ReleaseSession(s->session);
	s->failure = NULL;
	s->session = NULL;
	s->binding = NULL;
	s->run_options = NULL;
}
