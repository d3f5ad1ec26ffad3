// The part of ONNX Runtime's C API that genbench calls, written by hand so that it
// builds without the header. OrtApi is one table of function pointers that only
// ever grows at its end, so a slot keeps its place from the release that added it.
//
// Slots and prototypes are those of onnxruntime_c_api.h with ORT_API_VERSION 24
// (release 1.24); TestPrototypes compares them with a header where there is one.
#ifndef GENBENCH_ORT_API_H
#define GENBENCH_ORT_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct OrtAllocator OrtAllocator;
typedef struct OrtEnv OrtEnv;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtStatus OrtStatus; // NULL is success
typedef struct OrtValue OrtValue;

// Parameters that are enumerations in the header have here the integer type that
// the compiler gives them: unsigned, except where there is a negative value.
typedef struct {
	const void *slot0[1];
	unsigned (*GetErrorCode)(const OrtStatus *status);                                     // 1
	const char *(*GetErrorMessage)(const OrtStatus *status);                               // 2
	OrtStatus *(*CreateEnv)(unsigned severity, const char *log_id, OrtEnv **out);          // 3
	const void *slot4[4];
	OrtStatus *(*CreateSessionFromArray)(const OrtEnv *env, const void *model, size_t size,
		const OrtSessionOptions *options, OrtSession **out);                               // 8
	OrtStatus *(*Run)(OrtSession *session, const OrtRunOptions *options,
		const char *const *input_names, const OrtValue *const *inputs, size_t input_count,
		const char *const *output_names, size_t output_count, OrtValue **outputs);         // 9
	OrtStatus *(*CreateSessionOptions)(OrtSessionOptions **out);                           // 10
	const void *slot11[2];
	OrtStatus *(*SetSessionExecutionMode)(OrtSessionOptions *options, unsigned mode);      // 13
	OrtStatus *(*EnableProfiling)(OrtSessionOptions *options, const char *file_prefix);    // 14
	const void *slot15[7];
	OrtStatus *(*SetSessionLogSeverityLevel)(OrtSessionOptions *options, int severity);    // 22
	OrtStatus *(*SetSessionGraphOptimizationLevel)(OrtSessionOptions *options, unsigned level); // 23
	OrtStatus *(*SetIntraOpNumThreads)(OrtSessionOptions *options, int threads);           // 24
	OrtStatus *(*SetInterOpNumThreads)(OrtSessionOptions *options, int threads);           // 25
	const void *slot26[23];
	OrtStatus *(*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *info, void *data, size_t bytes,
		const int64_t *shape, size_t rank, unsigned element, OrtValue **out);              // 49
	const void *slot50[19];
	OrtStatus *(*CreateCpuMemoryInfo)(int allocator, int memory, OrtMemoryInfo **out);     // 69
	const void *slot70[6];
	OrtStatus *(*AllocatorFree)(OrtAllocator *allocator, void *memory);                    // 76
	const void *slot77[1];
	OrtStatus *(*GetAllocatorWithDefaultOptions)(OrtAllocator **out);                      // 78
	const void *slot79[13];
	void (*ReleaseEnv)(OrtEnv *);                                                          // 92
	void (*ReleaseStatus)(OrtStatus *);                                                    // 93
	void (*ReleaseMemoryInfo)(OrtMemoryInfo *);                                            // 94
	void (*ReleaseSession)(OrtSession *);                                                  // 95
	void (*ReleaseValue)(OrtValue *);                                                      // 96
	const void *slot97[3];
	void (*ReleaseSessionOptions)(OrtSessionOptions *);                                    // 100
	const void *slot101[9];
	OrtStatus *(*SessionEndProfiling)(OrtSession *session, OrtAllocator *allocator, char **file); // 110
	const void *slot111[182];
	// Since table 22; not to be read in an older one.
	OrtStatus *(*SessionOptionsSetLoadCancellationFlag)(OrtSessionOptions *options, bool cancel); // 293
} gb_ort_api;

// What OrtGetApiBase returns.
typedef struct {
	const gb_ort_api *(*GetApi)(uint32_t version);
	const char *(*GetVersionString)(void);
} gb_ort_base;

// Values of the header's enumerations.
enum {
	gb_ort_log_error = 3,        // OrtLoggingLevel
	gb_ort_log_fatal = 4,
	gb_ort_sequential = 0,       // ExecutionMode
	gb_ort_optimise_all = 99,    // GraphOptimizationLevel
	gb_ort_device_allocator = 0, // OrtAllocatorType
	gb_ort_mem_default = 0,      // OrtMemType
	gb_ort_float = 1,            // ONNXTensorElementDataType
	gb_ort_float16 = 10,
	gb_ort_bfloat16 = 16,
};

enum { gb_ort_cancellable = 22 }; // the first table with SessionOptionsSetLoadCancellationFlag

#endif
