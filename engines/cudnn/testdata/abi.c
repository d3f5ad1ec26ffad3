// Compiled, not run, by TestPrototypes: the vendor's header and ours in one file.
#include <cudnn.h>

#define GENBENCH_VENDOR_CUDNN
typedef cudnnConvolutionFwdAlgoPerf_t gb_cudnn_algorithm;
#include "api.h"

// A pointer of our type takes the vendor's function only if both have the same
// parameters; enumerations count as the integer type that holds them.
#define X(result, name, params) \
	static result(*const check_##name) params __attribute__((unused)) = name;
GB_CUDNN_FUNCTIONS(X)
GB_CUDNN_GRAPH_FUNCTIONS(X)
#undef X

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #theirs)
SAME(gb_cudnn_float, CUDNN_DATA_FLOAT);
SAME(gb_cudnn_half, CUDNN_DATA_HALF);
SAME(gb_cudnn_int8, CUDNN_DATA_INT8);
SAME(gb_cudnn_int32, CUDNN_DATA_INT32);
SAME(gb_cudnn_bfloat16, CUDNN_DATA_BFLOAT16);
SAME(gb_cudnn_fp8, CUDNN_DATA_FP8_E4M3);
SAME(gb_cudnn_nchw, CUDNN_TENSOR_NCHW);
SAME(gb_cudnn_nhwc, CUDNN_TENSOR_NHWC);
SAME(gb_cudnn_default_math, CUDNN_DEFAULT_MATH);
SAME(gb_cudnn_tensor_op_math, CUDNN_TENSOR_OP_MATH);
SAME(gb_cudnn_fma_math, CUDNN_FMA_MATH);
SAME(gb_cudnn_cross_correlation, CUDNN_CROSS_CORRELATION);
SAME(gb_cudnn_deterministic, CUDNN_DETERMINISTIC);
SAME(gb_cudnn_algorithms, CUDNN_CONVOLUTION_FWD_ALGO_COUNT);
SAME(gb_cudnn_precomputed_gemm, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM);
SAME(gb_cudnn_relu, CUDNN_ACTIVATION_RELU);
SAME(gb_cudnn_identity, CUDNN_ACTIVATION_IDENTITY);
SAME(gb_cudnn_no_nan, CUDNN_NOT_PROPAGATE_NAN);
SAME(gb_cudnn_max, CUDNN_POOLING_MAX_DETERMINISTIC);
SAME(gb_cudnn_mean_with_padding, CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING);
SAME(gb_cudnn_mean_of_input, CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING);
SAME(gb_cudnn_accurate_softmax, CUDNN_SOFTMAX_ACCURATE);
SAME(gb_cudnn_softmax_over_channels, CUDNN_SOFTMAX_MODE_CHANNEL);
#define X(name, value) SAME(gb_##name, name);
GB_CUDNN_GRAPH_VALUES(X)
#undef X

#define FIELD(ours, theirs) \
	_Static_assert(offsetof(struct gb_cudnn_algorithm, ours) == offsetof(cudnnConvolutionFwdAlgoPerf_t, theirs), #theirs); \
	_Static_assert(sizeof(((struct gb_cudnn_algorithm *)0)->ours) == sizeof(((cudnnConvolutionFwdAlgoPerf_t *)0)->theirs), #theirs)
FIELD(algorithm, algo);
FIELD(status, status);
FIELD(milliseconds, time);
FIELD(workspace, memory);
FIELD(determinism, determinism);
FIELD(math, mathType);
FIELD(reserved, reserved);
_Static_assert(sizeof(struct gb_cudnn_algorithm) == sizeof(cudnnConvolutionFwdAlgoPerf_t), "size");
