// An ONNX Runtime with a CUDA provider that is none: it is the real library of the
// CPU, found by FAKE_ORT_COMPUTES, with some functions of its table replaced. Device
// memory is the fake driver's, on the host; a run is put into the fake driver's
// stream and computed when that is waited for; a profile says that the CUDA provider
// ran what the CPU did, or what the file FAKE_ORT_PROFILE does.
//
// FAKE_ORT_FAULT is "append" for a provider that cannot be loaded, "run" for one that
// fails, "fallback" for one that leaves the first node to the CPU. Options are written
// to the file FAKE_ORT_OPTIONS.
#include "api.h"
#include "cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static gb_ort_api real, table;
static gb_ort_base real_base;
static unsigned (*submit)(void *stream, void (*run)(void *argument), const void *argument, size_t bytes, int64_t ns);

// What the options of the session that is being built say. Sessions are built one
// after the other.
static void *next_stream;
static FILE *next_profile;
static char next_private[256];

typedef struct { OrtSession *session; void *stream; FILE *profile; } known;
static known sessions[256];

static known *find(OrtSession *session) {
	for (size_t i = 0; i < sizeof sessions / sizeof *sessions; i++)
		if (sessions[i].session == session) return &sessions[i];
	fprintf(stderr, "fake GPU: a session without a stream, or too many\n");
	abort();
}

static int fault(const char *name) {
	const char *wanted = getenv("FAKE_ORT_FAULT");
	return wanted != NULL && strcmp(wanted, name) == 0;
}

static OrtStatus *create_options(OrtCUDAProviderOptionsV2 **out) {
	*out = calloc(1, 1);
	return NULL;
}

static OrtStatus *update_options(OrtCUDAProviderOptionsV2 *cuda, const char *const *keys, const char *const *values, size_t count) {
	(void)cuda;
	FILE *log = getenv("FAKE_ORT_OPTIONS") == NULL ? NULL : fopen(getenv("FAKE_ORT_OPTIONS"), "w");
	for (size_t i = 0; i < count; i++) {
		if (strcmp(keys[i], "user_compute_stream") == 0) next_stream = (void *)strtoull(values[i], NULL, 10);
		else if (log != NULL) fprintf(log, "%s=%s\n", keys[i], values[i]);
	}
	if (log != NULL) fclose(log);
	return NULL;
}

static void release_options(OrtCUDAProviderOptionsV2 *cuda) { free(cuda); }

static OrtStatus *append(OrtSessionOptions *options, const OrtCUDAProviderOptionsV2 *cuda) {
	(void)options;
	(void)cuda;
	return fault("append") ? real.CreateStatus(1, "Failed to load shared library libonnxruntime_providers_cuda.so") : NULL;
}

// The profile that the adapter waits for is written at the end; the real one lies
// elsewhere until then.
static OrtStatus *enable_profiling(OrtSessionOptions *options, const char *prefix) {
	char name[512];
	snprintf(name, sizeof name, "%s_fake.json", prefix);
	next_profile = fopen(name, "w");
	snprintf(next_private, sizeof next_private, "%s/fake-gpu-profile-%d", getenv("TMPDIR") == NULL ? P_tmpdir : getenv("TMPDIR"), getpid());
	return real.EnableProfiling(options, next_private);
}

static OrtStatus *end_profiling(OrtSession *session, OrtAllocator *allocator, char **file) {
	OrtStatus *status = real.SessionEndProfiling(session, allocator, file);
	if (status != NULL) return status;
	known *s = find(session);
	const char *written = getenv("FAKE_ORT_PROFILE");
	FILE *from = fopen(written == NULL ? *file : written, "r");
	static char line[1 << 20];
	int first = fault("fallback");
	while (from != NULL && fgets(line, sizeof line, from) != NULL) {
		static const char cpu[] = "\"CPUExecutionProvider\"";
		char *at = written == NULL ? strstr(line, cpu) : NULL;
		if (at == NULL || first) {
			if (at != NULL) first = 0;
			fputs(line, s->profile);
			continue;
		}
		fprintf(s->profile, "%.*s\"CUDAExecutionProvider\"%s", (int)(at - line), line, at + sizeof cpu - 1);
	}
	if (from != NULL) fclose(from);
	remove(*file);
	fclose(s->profile);
	s->profile = NULL;
	return NULL;
}

static OrtStatus *keep(known *s, OrtStatus *status, OrtSession **out) {
	if (status == NULL) *s = (known){*out, next_stream, next_profile};
	else if (next_profile != NULL) fclose(next_profile);
	next_stream = NULL;
	next_profile = NULL;
	return status;
}

static OrtStatus *create_session(const OrtEnv *env, const void *model, size_t size, const OrtSessionOptions *options, OrtSession **out) {
	return keep(find(NULL), real.CreateSessionFromArray(env, model, size, options, out), out);
}

static OrtStatus *create_from_file(const OrtEnv *env, const char *path, const OrtSessionOptions *options, OrtSession **out) {
	return keep(find(NULL), real.CreateSession(env, path, options, out), out);
}

static void release_session(OrtSession *session) {
	known *s = find(session);
	if (s->profile != NULL) fclose(s->profile);
	*s = (known){0};
	real.ReleaseSession(session);
}

static OrtStatus *create_memory(const char *name, int allocator, int id, int memory, OrtMemoryInfo **out) {
	if (strcmp(name, "Cuda") != 0 || id != 0) return real.CreateStatus(2, "want memory of Cuda device 0");
	return real.CreateCpuMemoryInfo(allocator, memory, out);
}

typedef struct { OrtSession *session; const OrtRunOptions *options; const OrtIoBinding *binding; } work;

// compute runs when the stream is waited for. What goes wrong here is a fault of the
// fake and must not pass for one of the adapter.
static void compute(void *argument) {
	work *w = argument;
	OrtStatus *status = real.RunWithBinding(w->session, w->options, w->binding);
	if (status != NULL) {
		fprintf(stderr, "fake GPU: %s\n", real.GetErrorMessage(status));
		abort();
	}
}

static OrtStatus *run(OrtSession *session, const OrtRunOptions *options, const OrtIoBinding *binding) {
	if (fault("run")) return real.CreateStatus(11, "CUDA failure 700: an illegal memory access was encountered");
	work w = {session, options, binding};
	if (submit(find(session)->stream, compute, &w, sizeof w, 50000) == 0) return NULL;
	return real.CreateStatus(11, "the fake driver refused the work");
}

static const gb_ort_api *get_api(uint32_t version) {
	const gb_ort_api *theirs = real_base.GetApi(version);
	// Every fake driver has a state of its own, so it is asked for anew.
	void *driver = dlopen(getenv("GENBENCH_CUDA"), RTLD_NOW | RTLD_NOLOAD);
	if (theirs == NULL || driver == NULL) return NULL;
	submit = (unsigned (*)(void *, void (*)(void *), const void *, size_t, int64_t))dlsym(driver, "fake_cuda_submit");
	dlclose(driver);
	real = table = *theirs;
	table.CreateCUDAProviderOptions = create_options;
	table.UpdateCUDAProviderOptions = update_options;
	table.ReleaseCUDAProviderOptions = release_options;
	table.SessionOptionsAppendExecutionProvider_CUDA_V2 = append;
	table.EnableProfiling = enable_profiling;
	table.SessionEndProfiling = end_profiling;
	table.CreateSessionFromArray = create_session;
	table.CreateSession = create_from_file;
	table.ReleaseSession = release_session;
	table.CreateMemoryInfo = create_memory;
	table.RunWithBinding = run;
	return &table;
}

const gb_ort_base *OrtGetApiBase(void) {
	void *library = dlopen(getenv("FAKE_ORT_COMPUTES"), RTLD_NOW);
	if (library == NULL) return NULL;
	real_base = *((const gb_ort_base *(*)(void))dlsym(library, "OrtGetApiBase"))();
	static gb_ort_base base;
	base = (gb_ort_base){get_api, real_base.GetVersionString};
	return &base;
}
