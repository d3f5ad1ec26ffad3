// The part of cuDNN's C API that genbench calls, written by hand so that it builds
// without the vendor's header: the legacy API, which 8.9 and all of 9 have with the
// same prototypes (deprecated since 9.0 in favour of the graph API), and the part of
// the graph API that computes a convolution with all that follows it.
//
// Prototypes are those of cudnn.h of 8.9.7 and 9.28; `make check-abi` compiles them
// against both. Parameters that are enumerations there have the compiler's integer type
// for those here: unsigned.
#ifndef GENBENCH_CUDNN_API_H
#define GENBENCH_CUDNN_API_H

#include <stddef.h>
#include <stdint.h>

#include "driver.h"

typedef struct cudnnContext *cudnnHandle_t;
typedef struct cudnnTensorStruct *cudnnTensorDescriptor_t;
typedef struct cudnnFilterStruct *cudnnFilterDescriptor_t;
typedef struct cudnnConvolutionStruct *cudnnConvolutionDescriptor_t;
typedef struct cudnnActivationStruct *cudnnActivationDescriptor_t;
typedef struct cudnnPoolingStruct *cudnnPoolingDescriptor_t;
typedef void *cudnnBackendDescriptor_t;

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

// One line per function: result, name and parameters.
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

// The graph API; where it is missing, the legacy calls compute everything.
#define GB_CUDNN_GRAPH_FUNCTIONS(X) \
	X(unsigned, cudnnBackendCreateDescriptor, (unsigned type, cudnnBackendDescriptor_t *descriptor)) \
	X(unsigned, cudnnBackendDestroyDescriptor, (cudnnBackendDescriptor_t descriptor)) \
	X(unsigned, cudnnBackendSetAttribute, (cudnnBackendDescriptor_t descriptor, unsigned name, unsigned type, int64_t count, \
		const void *elements)) \
	X(unsigned, cudnnBackendGetAttribute, (const cudnnBackendDescriptor_t descriptor, unsigned name, unsigned type, \
		int64_t requested, int64_t *count, void *elements)) \
	X(unsigned, cudnnBackendFinalize, (cudnnBackendDescriptor_t descriptor)) \
	X(unsigned, cudnnBackendExecute, (cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack))

// Values of the header's enumerations.
enum {
	gb_cudnn_float = 0,                // CUDNN_DATA_FLOAT
	gb_cudnn_half = 2,                 // CUDNN_DATA_HALF
	gb_cudnn_int8 = 3,                 // CUDNN_DATA_INT8
	gb_cudnn_int32 = 4,                // CUDNN_DATA_INT32
	gb_cudnn_bfloat16 = 9,             // CUDNN_DATA_BFLOAT16
	gb_cudnn_fp8 = 12,                 // CUDNN_DATA_FP8_E4M3
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

// The graph API has so many that they keep the header's names, prefixed with gb_.
#define GB_CUDNN_GRAPH_VALUES(X) \
	X(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, 0) \
	X(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, 1) \
	X(CUDNN_BACKEND_ENGINE_DESCRIPTOR, 2) \
	X(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, 3) \
	X(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, 4) \
	X(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, 5) \
	X(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, 7) \
	X(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, 10) \
	X(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, 13) \
	X(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, 15) \
	X(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, 16) \
	X(CUDNN_BACKEND_TENSOR_DESCRIPTOR, 17) \
	X(CUDNN_TYPE_HANDLE, 0) \
	X(CUDNN_TYPE_DATA_TYPE, 1) \
	X(CUDNN_TYPE_BOOLEAN, 2) \
	X(CUDNN_TYPE_INT64, 3) \
	X(CUDNN_TYPE_FLOAT, 4) \
	X(CUDNN_TYPE_DOUBLE, 5) \
	X(CUDNN_TYPE_VOID_PTR, 6) \
	X(CUDNN_TYPE_CONVOLUTION_MODE, 7) \
	X(CUDNN_TYPE_HEUR_MODE, 8) \
	X(CUDNN_TYPE_KNOB_TYPE, 9) \
	X(CUDNN_TYPE_NUMERICAL_NOTE, 11) \
	X(CUDNN_TYPE_POINTWISE_MODE, 14) \
	X(CUDNN_TYPE_BACKEND_DESCRIPTOR, 15) \
	X(CUDNN_ATTR_POINTWISE_MODE, 0) \
	X(CUDNN_ATTR_POINTWISE_MATH_PREC, 1) \
	X(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, 4) \
	X(CUDNN_ATTR_POINTWISE_SWISH_BETA, 8) \
	X(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, 100) \
	X(CUDNN_ATTR_CONVOLUTION_CONV_MODE, 101) \
	X(CUDNN_ATTR_CONVOLUTION_DILATIONS, 102) \
	X(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 103) \
	X(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 104) \
	X(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 105) \
	X(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 106) \
	X(CUDNN_ATTR_ENGINEHEUR_MODE, 200) \
	X(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, 201) \
	X(CUDNN_ATTR_ENGINEHEUR_RESULTS, 202) \
	X(CUDNN_ATTR_ENGINECFG_ENGINE, 300) \
	X(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, 302) \
	X(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, 400) \
	X(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, 401) \
	X(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 402) \
	X(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, 600) \
	X(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, 601) \
	X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 700) \
	X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 701) \
	X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, 702) \
	X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, 703) \
	X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, 704) \
	X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, 705) \
	X(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, 750) \
	X(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, 751) \
	X(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, 752) \
	X(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, 753) \
	X(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, 800) \
	X(CUDNN_ATTR_OPERATIONGRAPH_OPS, 801) \
	X(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 900) \
	X(CUDNN_ATTR_TENSOR_DATA_TYPE, 901) \
	X(CUDNN_ATTR_TENSOR_DIMENSIONS, 902) \
	X(CUDNN_ATTR_TENSOR_STRIDES, 903) \
	X(CUDNN_ATTR_TENSOR_UNIQUE_ID, 906) \
	X(CUDNN_ATTR_TENSOR_IS_VIRTUAL, 907) \
	X(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 1000) \
	X(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, 1001) \
	X(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 1003) \
	X(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1301) \
	X(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, 1303) \
	X(CUDNN_POINTWISE_ADD, 0) \
	X(CUDNN_POINTWISE_MUL, 1) \
	X(CUDNN_POINTWISE_RELU_FWD, 100) \
	X(CUDNN_POINTWISE_SIGMOID_FWD, 102) \
	X(CUDNN_POINTWISE_SWISH_FWD, 106) \
	X(CUDNN_HEUR_MODE_A, 3) \
	X(CUDNN_NUMERICAL_NOTE_TENSOR_CORE, 0) \
	X(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, 1) \
	X(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, 2) \
	X(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, 4)
enum {
#define X(name, value) gb_##name = value,
	GB_CUDNN_GRAPH_VALUES(X)
#undef X
};

typedef struct {
#define X(result, name, params) result(*name) params;
	GB_CUDNN_FUNCTIONS(X)
	GB_CUDNN_GRAPH_FUNCTIONS(X) // NULL in a library without them
#undef X
} gb_cudnn;

#endif
