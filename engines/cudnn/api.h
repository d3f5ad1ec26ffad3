// The part of cuDNN's C API that genbench calls, written by hand so that it builds
// without the vendor's header. It is the legacy API, which 8.9 and all of 9 have
// with the same prototypes (deprecated since 9.0 in favour of the graph API).
//
// Prototypes are those of cudnn.h of 8.9.7 and 9.28; `make check-abi` compiles them
// against both. Parameters that are enumerations there have here the integer type
// that the compiler gives them: unsigned.
#ifndef GENBENCH_CUDNN_API_H
#define GENBENCH_CUDNN_API_H

#include <stddef.h>

#include "driver.h"

typedef struct cudnnContext *cudnnHandle_t;
typedef struct cudnnTensorStruct *cudnnTensorDescriptor_t;
typedef struct cudnnFilterStruct *cudnnFilterDescriptor_t;
typedef struct cudnnConvolutionStruct *cudnnConvolutionDescriptor_t;
typedef struct cudnnActivationStruct *cudnnActivationDescriptor_t;
typedef struct cudnnPoolingStruct *cudnnPoolingDescriptor_t;

// gb_cudnn_algorithm is cudnnConvolutionFwdAlgoPerf_t.
struct gb_cudnn_algorithm {
	unsigned algorithm, status;
	float milliseconds;
	size_t workspace;
	unsigned determinism, math;
	int reserved[3];
};
#ifndef GENBENCH_VENDOR_CUDNN // which puts the vendor's in its place
typedef struct gb_cudnn_algorithm gb_cudnn_algorithm;
#endif

// One line a function: result, name and parameters.
#define GB_CUDNN_FUNCTIONS(X) \
	X(size_t, cudnnGetVersion, (void)) \
	X(size_t, cudnnGetCudartVersion, (void)) \
	X(const char *, cudnnGetErrorString, (unsigned status)) \
	X(unsigned, cudnnCreate, (cudnnHandle_t *handle)) \
	X(unsigned, cudnnDestroy, (cudnnHandle_t handle)) \
	X(unsigned, cudnnSetStream, (cudnnHandle_t handle, CUstream stream)) \
	X(unsigned, cudnnCreateTensorDescriptor, (cudnnTensorDescriptor_t *tensor)) \
	X(unsigned, cudnnDestroyTensorDescriptor, (cudnnTensorDescriptor_t tensor)) \
	X(unsigned, cudnnSetTensor4dDescriptor, (cudnnTensorDescriptor_t tensor, unsigned layout, unsigned type, \
		int n, int c, int h, int w)) \
	X(unsigned, cudnnCreateFilterDescriptor, (cudnnFilterDescriptor_t *filter)) \
	X(unsigned, cudnnDestroyFilterDescriptor, (cudnnFilterDescriptor_t filter)) \
	X(unsigned, cudnnSetFilter4dDescriptor, (cudnnFilterDescriptor_t filter, unsigned type, unsigned layout, \
		int k, int c, int h, int w)) \
	X(unsigned, cudnnCreateConvolutionDescriptor, (cudnnConvolutionDescriptor_t *convolution)) \
	X(unsigned, cudnnDestroyConvolutionDescriptor, (cudnnConvolutionDescriptor_t convolution)) \
	X(unsigned, cudnnSetConvolution2dDescriptor, (cudnnConvolutionDescriptor_t convolution, int padH, int padW, \
		int strideH, int strideW, int dilationH, int dilationW, unsigned mode, unsigned compute)) \
	X(unsigned, cudnnSetConvolutionGroupCount, (cudnnConvolutionDescriptor_t convolution, int groups)) \
	X(unsigned, cudnnSetConvolutionMathType, (cudnnConvolutionDescriptor_t convolution, unsigned math)) \
	X(unsigned, cudnnFindConvolutionForwardAlgorithmEx, (cudnnHandle_t handle, const cudnnTensorDescriptor_t x, \
		const void *xData, const cudnnFilterDescriptor_t w, const void *wData, \
		const cudnnConvolutionDescriptor_t convolution, const cudnnTensorDescriptor_t y, void *yData, \
		const int requested, int *returned, gb_cudnn_algorithm *algorithms, void *workspace, size_t bytes)) \
	X(unsigned, cudnnConvolutionForward, (cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t x, \
		const void *xData, const cudnnFilterDescriptor_t w, const void *wData, \
		const cudnnConvolutionDescriptor_t convolution, unsigned algorithm, void *workspace, size_t bytes, \
		const void *beta, const cudnnTensorDescriptor_t y, void *yData)) \
	X(unsigned, cudnnConvolutionBiasActivationForward, (cudnnHandle_t handle, const void *alpha1, \
		const cudnnTensorDescriptor_t x, const void *xData, const cudnnFilterDescriptor_t w, const void *wData, \
		const cudnnConvolutionDescriptor_t convolution, unsigned algorithm, void *workspace, size_t bytes, \
		const void *alpha2, const cudnnTensorDescriptor_t z, const void *zData, const cudnnTensorDescriptor_t bias, \
		const void *biasData, const cudnnActivationDescriptor_t activation, const cudnnTensorDescriptor_t y, void *yData)) \
	X(unsigned, cudnnCreateActivationDescriptor, (cudnnActivationDescriptor_t *activation)) \
	X(unsigned, cudnnDestroyActivationDescriptor, (cudnnActivationDescriptor_t activation)) \
	X(unsigned, cudnnSetActivationDescriptor, (cudnnActivationDescriptor_t activation, unsigned mode, unsigned nan, double coefficient)) \
	X(unsigned, cudnnCreatePoolingDescriptor, (cudnnPoolingDescriptor_t *pooling)) \
	X(unsigned, cudnnDestroyPoolingDescriptor, (cudnnPoolingDescriptor_t pooling)) \
	X(unsigned, cudnnSetPooling2dDescriptor, (cudnnPoolingDescriptor_t pooling, unsigned mode, unsigned nan, \
		int windowH, int windowW, int padH, int padW, int strideH, int strideW)) \
	X(unsigned, cudnnPoolingForward, (cudnnHandle_t handle, const cudnnPoolingDescriptor_t pooling, const void *alpha, \
		const cudnnTensorDescriptor_t x, const void *xData, const void *beta, const cudnnTensorDescriptor_t y, void *yData)) \
	X(unsigned, cudnnSoftmaxForward, (cudnnHandle_t handle, unsigned algorithm, unsigned mode, const void *alpha, \
		const cudnnTensorDescriptor_t x, const void *xData, const void *beta, const cudnnTensorDescriptor_t y, void *yData))

// Values of the header's enumerations.
enum {
	gb_cudnn_float = 0,                // CUDNN_DATA_FLOAT
	gb_cudnn_half = 2,                 // CUDNN_DATA_HALF
	gb_cudnn_int8 = 3,                 // CUDNN_DATA_INT8
	gb_cudnn_int32 = 4,                // CUDNN_DATA_INT32
	gb_cudnn_bfloat16 = 9,             // CUDNN_DATA_BFLOAT16
	gb_cudnn_nchw = 0,                 // CUDNN_TENSOR_NCHW
	gb_cudnn_nhwc = 1,                 // CUDNN_TENSOR_NHWC
	gb_cudnn_default_math = 0,         // CUDNN_DEFAULT_MATH
	gb_cudnn_tensor_op_math = 1,       // CUDNN_TENSOR_OP_MATH
	gb_cudnn_fma_math = 3,             // CUDNN_FMA_MATH
	gb_cudnn_cross_correlation = 1,    // CUDNN_CROSS_CORRELATION
	gb_cudnn_deterministic = 1,        // CUDNN_DETERMINISTIC
	gb_cudnn_algorithms = 8,           // CUDNN_CONVOLUTION_FWD_ALGO_COUNT
	gb_cudnn_precomputed_gemm = 1,     // CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM
	gb_cudnn_relu = 1,                 // CUDNN_ACTIVATION_RELU
	gb_cudnn_identity = 5,             // CUDNN_ACTIVATION_IDENTITY
	gb_cudnn_no_nan = 0,               // CUDNN_NOT_PROPAGATE_NAN
	gb_cudnn_max = 3,                  // CUDNN_POOLING_MAX_DETERMINISTIC
	gb_cudnn_mean_with_padding = 1,    // CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING
	gb_cudnn_mean_of_input = 2,        // CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING
	gb_cudnn_accurate_softmax = 1,     // CUDNN_SOFTMAX_ACCURATE
	gb_cudnn_softmax_over_channels = 1 // CUDNN_SOFTMAX_MODE_CHANNEL
};

typedef struct {
#define X(result, name, params) result(*name) params;
	GB_CUDNN_FUNCTIONS(X)
#undef X
} gb_cudnn;

#endif
