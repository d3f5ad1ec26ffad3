// The part of ONNX Runtime's C API that genbench calls, written by hand so that it
// builds without the header. OrtApi is one table of function pointers that only
// ever grows at its end, so a slot keeps its place from the release that added it.
//
// Slots and prototypes are those of onnxruntime_c_api.h with ORT_API_VERSION 24
// (release 1.24); TestPrototypes compares them with a header where there is one.
// The conformance suite has passed on the libraries of 1.17.0, 1.22.0 and 1.32.0.
#ifndef GENBENCH_ORT_API_H
#define GENBENCH_ORT_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct OrtAllocator OrtAllocator;
typedef struct OrtCUDAProviderOptionsV2 OrtCUDAProviderOptionsV2;
typedef struct OrtEnv OrtEnv;
typedef struct OrtIoBinding OrtIoBinding;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtStatus OrtStatus; // NULL is success
typedef struct OrtTensorRTProviderOptionsV2 OrtTensorRTProviderOptionsV2;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtValue OrtValue;

// Parameters that are enumerations in the header have the compiler's integer type for
// those here: unsigned, except where there is a negative value.
typedef struct {
	OrtStatus *(*CreateStatus)(unsigned code, const char *message);                        // 0
	unsigned (*GetErrorCode)(const OrtStatus *status);                                     // 1
	const char *(*GetErrorMessage)(const OrtStatus *status);                               // 2
	OrtStatus *(*CreateEnv)(unsigned severity, const char *log_id, OrtEnv **out);          // 3
	const void *slot4[3];
	OrtStatus *(*CreateSession)(const OrtEnv *env, const char *path, const OrtSessionOptions *options,
		OrtSession **out);                                                                 // 7
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
	const void *slot26[13];
	OrtStatus *(*CreateRunOptions)(OrtRunOptions **out);                                   // 39
	const void *slot40[9];
	OrtStatus *(*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *info, void *data, size_t bytes,
		const int64_t *shape, size_t rank, unsigned element, OrtValue **out);              // 49
	OrtStatus *(*IsTensor)(const OrtValue *value, int *out);                               // 50
	const void *slot51[9];
	OrtStatus *(*GetTensorElementType)(const OrtTensorTypeAndShapeInfo *info, unsigned *out); // 60
	OrtStatus *(*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo *info, size_t *out);  // 61
	OrtStatus *(*GetDimensions)(const OrtTensorTypeAndShapeInfo *info, int64_t *dims, size_t count); // 62
	const void *slot63[2];
	OrtStatus *(*GetTensorTypeAndShape)(const OrtValue *value, OrtTensorTypeAndShapeInfo **out); // 65
	const void *slot66[2];
	OrtStatus *(*CreateMemoryInfo)(const char *name, int allocator, int id, int memory, OrtMemoryInfo **out); // 68
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
	void (*ReleaseRunOptions)(OrtRunOptions *);                                            // 97
	const void *slot98[1];
	void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo *);                    // 99
	void (*ReleaseSessionOptions)(OrtSessionOptions *);                                    // 100
	const void *slot101[9];
	OrtStatus *(*SessionEndProfiling)(OrtSession *session, OrtAllocator *allocator, char **file); // 110
	const void *slot111[19];
	OrtStatus *(*AddSessionConfigEntry)(OrtSessionOptions *options, const char *key, const char *value); // 130
	const void *slot131[2];
	OrtStatus *(*RunWithBinding)(OrtSession *session, const OrtRunOptions *options, const OrtIoBinding *binding); // 133
	OrtStatus *(*CreateIoBinding)(OrtSession *session, OrtIoBinding **out);                // 134
	void (*ReleaseIoBinding)(OrtIoBinding *);                                              // 135
	OrtStatus *(*BindInput)(OrtIoBinding *binding, const char *name, const OrtValue *value);  // 136
	OrtStatus *(*BindOutput)(OrtIoBinding *binding, const char *name, const OrtValue *value); // 137
	const void *slot138[27];
	OrtStatus *(*AddRunConfigEntry)(OrtRunOptions *options, const char *key, const char *value); // 165
	const void *slot166[4];
	OrtStatus *(*SessionOptionsAppendExecutionProvider_TensorRT_V2)(OrtSessionOptions *options,
		const OrtTensorRTProviderOptionsV2 *tensorrt);                                     // 170
	OrtStatus *(*CreateTensorRTProviderOptions)(OrtTensorRTProviderOptionsV2 **out);       // 171
	OrtStatus *(*UpdateTensorRTProviderOptions)(OrtTensorRTProviderOptionsV2 *tensorrt,
		const char *const *keys, const char *const *values, size_t count);                 // 172
	const void *slot173[1];
	void (*ReleaseTensorRTProviderOptions)(OrtTensorRTProviderOptionsV2 *);                // 174
	const void *slot175[29];
	OrtStatus *(*SessionOptionsAppendExecutionProvider_CUDA_V2)(OrtSessionOptions *options,
		const OrtCUDAProviderOptionsV2 *cuda);                                             // 204
	OrtStatus *(*CreateCUDAProviderOptions)(OrtCUDAProviderOptionsV2 **out);               // 205
	OrtStatus *(*UpdateCUDAProviderOptions)(OrtCUDAProviderOptionsV2 *cuda,
		const char *const *keys, const char *const *values, size_t count);                 // 206
	const void *slot207[1];
	void (*ReleaseCUDAProviderOptions)(OrtCUDAProviderOptionsV2 *);                        // 208
	const void *slot209[84];
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
	gb_ort_optimise_basic = 1,   // GraphOptimizationLevel
	gb_ort_optimise_all = 99,
	gb_ort_device_allocator = 0, // OrtAllocatorType
	gb_ort_mem_default = 0,      // OrtMemType
};

enum { gb_ort_cancellable = 22 }; // the first table with SessionOptionsSetLoadCancellationFlag

#endif
