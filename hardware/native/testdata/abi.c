// Compiled, not run, by TestCUDAPrototypes: the vendor's header and ours in one
// file.
#include <cuda.h>

#include <stddef.h>

// Ours, by the path that the test gives.
#define GENBENCH_VENDOR_CUDA
typedef CUuuid gb_cu_uuid;
typedef CUDA_MEMCPY3D gb_cu_copy;
#include GENBENCH_HEADER

// A pointer of our type takes the vendor's function only if both have the same
// parameters; enumerations count as the integer type that holds them.
#define X(name, params) static unsigned(*const check_##name) params __attribute__((unused)) = name;
GB_CUDA_FUNCTIONS(X)
GB_CUDA_OPTIONAL(X)
#undef X

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #theirs)
SAME(gb_cu_sm_count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
SAME(gb_cu_l2_bytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
SAME(gb_cu_capability_major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME(gb_cu_capability_minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
SAME(gb_cu_stream_non_blocking, CU_STREAM_NON_BLOCKING);
SAME(gb_cu_event_default, CU_EVENT_DEFAULT);
SAME(gb_cu_capture_thread_local, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
SAME(gb_cu_jit_error_log, CU_JIT_ERROR_LOG_BUFFER);
SAME(gb_cu_jit_error_log_bytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
SAME(gb_cu_error_invalid_value, CUDA_ERROR_INVALID_VALUE);
SAME(gb_cu_error_not_ready, CUDA_ERROR_NOT_READY);
SAME(gb_cu_node_copy, CU_GRAPH_NODE_TYPE_MEMCPY);
SAME(gb_cu_node_host, CU_GRAPH_NODE_TYPE_HOST);
SAME(gb_cu_node_graph, CU_GRAPH_NODE_TYPE_GRAPH);
SAME(gb_cu_memory_host, CU_MEMORYTYPE_HOST);
SAME(gb_cu_memory_unified, CU_MEMORYTYPE_UNIFIED);
SAME(gb_cu_pointer_memory, CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
_Static_assert(sizeof(struct gb_cu_uuid) == sizeof(CUuuid), "CUuuid");
_Static_assert(sizeof(gb_cu_pointer) == sizeof(CUdeviceptr), "CUdeviceptr");
_Static_assert(sizeof(struct gb_cu_copy) == sizeof(CUDA_MEMCPY3D), "CUDA_MEMCPY3D");
#define FIELD(ours, theirs) _Static_assert(offsetof(struct gb_cu_copy, ours) == offsetof(CUDA_MEMCPY3D, theirs), #theirs)
FIELD(from.type, srcMemoryType);
FIELD(from.device, srcDevice);
FIELD(to.type, dstMemoryType);
FIELD(to.device, dstDevice);
FIELD(depth, Depth);
