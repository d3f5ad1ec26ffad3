// Stands in for CUDA's runtime header, of which cudnn.h needs only this, and which
// would ask for the compiler's own headers.
#ifndef STUB_CUDA_RUNTIME_H
#define STUB_CUDA_RUNTIME_H
#include <library_types.h>
#include <stddef.h>
typedef struct CUstream_st *cudaStream_t;
typedef struct CUgraph_st *cudaGraph_t;
#endif
