// Stands in for CUDA's header of this name where there is no toolkit: TensorRT's
// headers want two opaque types of it and nothing else.
#ifndef GENBENCH_CUDA_STANDIN_H
#define GENBENCH_CUDA_STANDIN_H
typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
#endif
