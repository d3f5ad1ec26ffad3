// Named so that no folder of CUDA headers in CGO_CFLAGS can come before it.
//
// The part of the CUDA driver API that genbench calls, written by hand so that it
// builds without the vendor's header, and the timed loop on a CUDA stream.
//
// Names carry the version that the driver exports (cuMemAlloc_v2), because a
// binary looks symbols up, not declarations. Prototypes are those of cuda.h of
// CUDA 12.9 and 13.5; `make check-abi` compiles them against both. All functions
// are in drivers of CUDA 11.4 and newer.
#ifndef GENBENCH_CUDA_H
#define GENBENCH_CUDA_H

#include <stddef.h>

#include "native.h"

// Handles are declared as the vendor's header declares them, so that both may be
// included in one file. Parameters that are enumerations there have the compiler's
// integer type for those here: unsigned, as none has a negative value.
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUgraphNode_st *CUgraphNode;
struct gb_cu_uuid {
	char bytes[16];
};
#ifndef GENBENCH_VENDOR_CUDA // which puts the vendor's in its place
typedef struct gb_cu_uuid gb_cu_uuid;
#endif
typedef unsigned long long gb_cu_pointer;

// gb_cu_copy is CUDA_MEMCPY3D. Only the places that it copies from and to are read here.
struct gb_cu_copy_side {
	size_t x, y, z, level;
	unsigned type; // CUmemorytype
	void *host;
	gb_cu_pointer device;
	void *array, *reserved;
	size_t pitch, height;
};
struct gb_cu_copy {
	struct gb_cu_copy_side from, to;
	size_t width, height, depth;
};
#ifndef GENBENCH_VENDOR_CUDA
typedef struct gb_cu_copy gb_cu_copy;
#endif

// One line per function: name and parameters. All return a CUresult.
#define GB_CUDA_FUNCTIONS(X) \
	X(cuDriverGetVersion, (int *version)) \
	X(cuInit, (unsigned flags)) \
	X(cuGetErrorName, (unsigned error, const char **name)) \
	X(cuGetErrorString, (unsigned error, const char **text)) \
	X(cuDeviceGetCount, (int *count)) \
	X(cuDeviceGet, (int *device, int ordinal)) \
	X(cuDeviceGetName, (char *name, int size, int device)) \
	X(cuDeviceGetUuid_v2, (gb_cu_uuid *uuid, int device)) \
	X(cuDeviceTotalMem_v2, (size_t *bytes, int device)) \
	X(cuDeviceGetAttribute, (int *value, unsigned attribute, int device)) \
	X(cuDevicePrimaryCtxRetain, (CUcontext *context, int device)) \
	X(cuDevicePrimaryCtxRelease_v2, (int device)) \
	X(cuCtxSetCurrent, (CUcontext context)) \
	X(cuMemAlloc_v2, (gb_cu_pointer *pointer, size_t bytes)) \
	X(cuMemFree_v2, (gb_cu_pointer pointer)) \
	X(cuMemHostAlloc, (void **pointer, size_t bytes, unsigned flags)) \
	X(cuMemFreeHost, (void *pointer)) \
	X(cuMemcpyHtoDAsync_v2, (gb_cu_pointer to, const void *from, size_t bytes, CUstream stream)) \
	X(cuMemcpyDtoHAsync_v2, (void *to, gb_cu_pointer from, size_t bytes, CUstream stream)) \
	X(cuMemsetD8Async, (gb_cu_pointer to, unsigned char value, size_t bytes, CUstream stream)) \
	X(cuStreamCreate, (CUstream *stream, unsigned flags)) \
	X(cuStreamDestroy_v2, (CUstream stream)) \
	X(cuStreamSynchronize, (CUstream stream)) \
	X(cuStreamQuery, (CUstream stream)) \
	X(cuEventCreate, (CUevent *event, unsigned flags)) \
	X(cuEventRecord, (CUevent event, CUstream stream)) \
	X(cuEventElapsedTime, (float *milliseconds, CUevent from, CUevent to)) \
	X(cuEventDestroy_v2, (CUevent event)) \
	X(cuModuleLoadDataEx, (CUmodule *module, const void *image, unsigned count, unsigned *options, void **values)) \
	X(cuModuleGetFunction, (CUfunction *function, CUmodule module, const char *name)) \
	X(cuModuleUnload, (CUmodule module)) \
	X(cuLaunchKernel, (CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, \
		unsigned blockY, unsigned blockZ, unsigned shared, CUstream stream, void **params, void **extra)) \
	X(cuStreamBeginCapture_v2, (CUstream stream, unsigned mode)) \
	X(cuStreamEndCapture, (CUstream stream, CUgraph *graph)) \
	X(cuGraphGetNodes, (CUgraph graph, CUgraphNode *nodes, size_t *count)) \
	X(cuGraphInstantiateWithFlags, (CUgraphExec *exec, CUgraph graph, unsigned long long flags)) \
	X(cuGraphUpload, (CUgraphExec exec, CUstream stream)) \
	X(cuGraphLaunch, (CUgraphExec exec, CUstream stream)) \
	X(cuGraphExecDestroy, (CUgraphExec exec)) \
	X(cuGraphDestroy, (CUgraph graph))

// Functions without which nothing is captured, since a capture could not be inspected.
#define GB_CUDA_OPTIONAL(X) \
	X(cuGraphNodeGetType, (CUgraphNode node, unsigned *type)) \
	X(cuGraphMemcpyNodeGetParams, (CUgraphNode node, gb_cu_copy *copy)) \
	X(cuGraphChildGraphNodeGetGraph, (CUgraphNode node, CUgraph *graph)) \
	X(cuPointerGetAttribute, (void *value, unsigned attribute, gb_cu_pointer pointer))

// Values of cuda.h's enumerations and macros.
enum {
	gb_cu_sm_count = 16,              // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
	gb_cu_l2_bytes = 38,              // CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE
	gb_cu_capability_major = 75,      // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
	gb_cu_capability_minor = 76,      // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
	gb_cu_stream_non_blocking = 1,    // CU_STREAM_NON_BLOCKING
	gb_cu_event_default = 0,          // CU_EVENT_DEFAULT
	gb_cu_capture_thread_local = 1,   // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
	gb_cu_jit_error_log = 5,          // CU_JIT_ERROR_LOG_BUFFER
	gb_cu_jit_error_log_bytes = 6,    // CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES
	gb_cu_error_invalid_value = 1,    // CUDA_ERROR_INVALID_VALUE
	gb_cu_error_not_ready = 600,      // CUDA_ERROR_NOT_READY
	gb_cu_node_copy = 1,              // CU_GRAPH_NODE_TYPE_MEMCPY
	gb_cu_node_host = 3,              // CU_GRAPH_NODE_TYPE_HOST
	gb_cu_node_graph = 4,             // CU_GRAPH_NODE_TYPE_GRAPH
	gb_cu_memory_host = 1,            // CU_MEMORYTYPE_HOST
	gb_cu_memory_unified = 4,         // CU_MEMORYTYPE_UNIFIED
	gb_cu_pointer_memory = 2,         // CU_POINTER_ATTRIBUTE_MEMORY_TYPE
};

// gb_cuda is the driver: a table that gb_cuda_load fills.
typedef struct {
#define X(name, params) unsigned (*name) params;
	GB_CUDA_FUNCTIONS(X)
	GB_CUDA_OPTIONAL(X) // NULL where the driver lacks one
#undef X
} gb_cuda;

// gb_cuda_call numbers the functions, so that a failure can name its own.
enum gb_cuda_call {
	gb_call_none,
#define X(name, params) gb_call_##name,
	GB_CUDA_FUNCTIONS(X)
	GB_CUDA_OPTIONAL(X)
#undef X
	gb_cuda_calls
};

// gb_cuda_name gives the name of a call, or "".
const char *gb_cuda_name(int call);

// gb_cuda_load looks up all functions and gives the first required one that is missing,
// or gb_call_none.
int gb_cuda_load(gb_cuda *api, void *library);

// gb_cuda_status is how a service ended: the driver's code, 0 for success, and the
// call that gave it.
typedef struct {
	int call;
	unsigned result;
} gb_cuda_status;

// gb_cuda_driver_version is CUDA's in cuDriverGetVersion's numbering, or 0.
int gb_cuda_driver_version(const gb_cuda *api);
gb_cuda_status gb_cuda_init(const gb_cuda *api);

// gb_cuda_words is the driver's name and text for a code; NULL where it has none.
typedef struct {
	const char *name, *text;
} gb_cuda_message;
gb_cuda_message gb_cuda_words(const gb_cuda *api, unsigned result);

typedef struct {
	char name[256];
	gb_cu_uuid uuid;
	size_t memory;
	int multiprocessors, l2_bytes, capability_major, capability_minor;
} gb_cuda_info;
gb_cuda_status gb_cuda_device_count(const gb_cuda *api, int *count);
gb_cuda_status gb_cuda_describe(const gb_cuda *api, int ordinal, gb_cuda_info *info);

// gb_cuda_device is a device with its primary context, which vendor libraries use
// too.
typedef struct {
	const gb_cuda *api;
	int device;
	CUcontext context;
} gb_cuda_device;

gb_cuda_status gb_cuda_open_device(gb_cuda_device *d, const gb_cuda *api, int ordinal);
gb_cuda_status gb_cuda_close_device(gb_cuda_device *d);

// gb_cuda_gate is memory of the host that the kernel gb_hold looks at: it ends when
// open is set, or sets expired when it has waited for too long.
typedef struct {
	unsigned open, expired;
} gb_cuda_gate;

// gb_cuda_stream is a stream with the two events that its loop records. All functions
// below first make the context current on the calling thread, because a goroutine moves
// between threads.
typedef struct {
	const gb_cuda *api;
	CUcontext context;
	CUstream stream;
	CUevent from, to;
	gb_cu_pointer flush; // overwritten before each sample, to empty the L2 cache
	size_t flush_bytes;  // 0: the cache is left as it is
	struct gb_cuda_launch *hold; // submitted before each sample, to hold the stream; NULL: not held
	gb_cuda_gate *gate;          // that ends the hold
} gb_cuda_stream;

gb_cuda_status gb_cuda_open_stream(gb_cuda_stream *s, const gb_cuda_device *d);
gb_cuda_status gb_cuda_close_stream(gb_cuda_stream *s);
gb_cuda_status gb_cuda_synchronize(const gb_cuda_stream *s);
gb_cuda_status gb_cuda_query(const gb_cuda_stream *s);

gb_cuda_status gb_cuda_alloc(const gb_cuda_device *d, size_t bytes, gb_cu_pointer *pointer);
gb_cuda_status gb_cuda_free(const gb_cuda_device *d, gb_cu_pointer pointer);
gb_cuda_status gb_cuda_alloc_pinned(const gb_cuda_device *d, size_t bytes, void **pointer);
gb_cuda_status gb_cuda_free_pinned(const gb_cuda_device *d, void *pointer);

// Copies have ended when they return.
gb_cuda_status gb_cuda_copy_in(const gb_cuda_stream *s, gb_cu_pointer to, const void *from, size_t bytes);
gb_cuda_status gb_cuda_copy_out(const gb_cuda_stream *s, void *to, gb_cu_pointer from, size_t bytes);
gb_cuda_status gb_cuda_fill(const gb_cuda_stream *s, gb_cu_pointer to, unsigned char value, size_t bytes);

// gb_cuda_load_module has the driver compile PTX text, which ends in a zero byte.
// If that fails, its compiler's words are in log.
gb_cuda_status gb_cuda_load_module(const gb_cuda_device *d, const char *ptx, char *log, size_t log_bytes, CUmodule *module);
gb_cuda_status gb_cuda_find_function(const gb_cuda_device *d, CUmodule module, const char *name, CUfunction *function);
gb_cuda_status gb_cuda_unload_module(const gb_cuda_device *d, CUmodule module);

// gb_cuda_launch is a kernel launch that can be a call of the timed loop. Every
// parameter is 8 bytes of arguments, of which the kernel takes what it declares.
enum { gb_cuda_max_arguments = 12 };
typedef struct gb_cuda_launch {
	const gb_cuda_stream *stream;
	CUfunction function;
	unsigned blocks, threads;
	int count;
	uint64_t arguments[gb_cuda_max_arguments];
	gb_cuda_status status; // of the last launch that failed
} gb_cuda_launch;

// gb_cuda_run_launch is a gb_func whose argument is a gb_cuda_launch. The context
// must be current, as it is in the timed loop.
int gb_cuda_run_launch(void *launch);
gb_cuda_status gb_cuda_submit(gb_cuda_launch *l);

// gb_cuda_copy is a copy between the host and the device that can be a call of the timed
// loop.
typedef struct {
	const gb_cuda_stream *stream;
	gb_cu_pointer device;
	void *host; // pinned
	size_t bytes;
	int out; // out of the device; otherwise into it
	gb_cuda_status status; // of the last copy that failed
} gb_cuda_copy;

// gb_cuda_run_copy is a gb_func whose argument is a gb_cuda_copy. The context must be
// current, as it is in the timed loop.
int gb_cuda_run_copy(void *copy);

// gb_cuda_graph is what a call submitted, recorded once to be replayed.
typedef struct {
	const gb_cuda_stream *stream;
	CUgraphExec exec;
	size_t nodes; // what was recorded, without what is in graphs within
	int unsafe;   // gb_cuda_unsafe: why it must not be replayed, and has no exec
	int missing;  // the function of a gb_cuda_unseen
	gb_cuda_status status; // of the last replay that failed
} gb_cuda_graph;

// What makes a graph unsafe to replay, though it could be: work of the host that is part
// of an inference. ONNX Runtime stages arguments of kernels in memory of the host,
// which a copy reads and a host function frees; a replay reads what others have written
// there since, or frees it again (github.com/microsoft/onnxruntime/pull/32121).
enum gb_cuda_unsafe {
	gb_cuda_safe,
	gb_cuda_host_function, // it calls a function of the host
	gb_cuda_host_copy,     // it copies from or to memory of the host
	gb_cuda_unseen,        // the driver lacks a function that would tell
};

// gb_cuda_end says how a timed block or a capture ended: with a code of the timed
// function, with a driver call that failed, or well.
typedef struct {
	gb_cuda_status status;
	int code;
	int64_t done; // samples that are whole
	int expired;  // a held stream had to be released before all was submitted
} gb_cuda_end;

// gb_cuda_capture records what func(arg) submits instead of running it. It is no
// failure if that must not be replayed: g says why.
gb_cuda_end gb_cuda_capture(const gb_cuda_stream *s, gb_func func, void *arg, gb_cuda_graph *g);
// gb_cuda_run_graph is a gb_func whose argument is a gb_cuda_graph. The context
// must be current, as it is in the timed loop.
int gb_cuda_run_graph(void *graph);
gb_cuda_status gb_cuda_close_graph(const gb_cuda_stream *s, gb_cuda_graph *g);

// gb_time_cuda fills out[0..n). A sample is one inference, or the mean of `group`
// back-to-back inferences where they are too short for the events to resolve. It
// stops at the first failure.
gb_cuda_end gb_time_cuda(const gb_cuda_stream *s, gb_func func, void *arg, int64_t group, gb_sample *out, int64_t n);

#endif
