// A network as a flat program of cuDNN calls and kernel launches, which one C
// function submits: no Go runs while time is taken.
#ifndef GENBENCH_CUDNN_PROGRAM_H
#define GENBENCH_CUDNN_PROGRAM_H

#include "api.h"
#include "kernels/kernels.h"

// The functions of gb_cudnn by number, up to gb_cudnn_functions. Those from
// gb_cudnn_required on may be missing.
enum {
#define X(result, name, params) gb_cudnn_index_##name,
	GB_CUDNN_FUNCTIONS(X)
	GB_CUDNN_GRAPH_FUNCTIONS(X)
#undef X
	gb_cudnn_functions,
	gb_cudnn_required = gb_cudnn_index_cudnnBackendCreateDescriptor
};
const char *gb_cudnn_name(int function);
void gb_cudnn_set(gb_cudnn *api, int function, void *symbol);

size_t gb_cudnn_version(const gb_cudnn *api);
size_t gb_cudnn_cudart(const gb_cudnn *api);
const char *gb_cudnn_words(const gb_cudnn *api, unsigned status);

enum { gb_convolution, gb_fused_convolution, gb_pooling, gb_softmax, gb_launch, gb_graph };

// gb_step is one call. It owns its descriptors; NULL ones are not used by its kind.
typedef struct {
	unsigned kind;
	int node; // index in the network, for messages
	cudnnTensorDescriptor_t x, z, bias, y;
	cudnnFilterDescriptor_t w;
	cudnnConvolutionDescriptor_t convolution;
	cudnnActivationDescriptor_t activation;
	cudnnPoolingDescriptor_t pooling;
	unsigned algorithm;
	cudnnBackendDescriptor_t plan, pack; // of a graph; the plan may be other steps' too, and is not the step's
	size_t workspace;                    // bytes that the step needs and is given
	float z_factor; // 0 where there is no residual
	const void *x_data, *w_data, *z_data, *bias_data;
	const void *descale_data, *scale_data; // one float each, of a graph in fp8
	void *y_data;
	CUfunction function; // of a launch
	unsigned blocks, threads;
	gb_kernel kernel;
} gb_step;

typedef struct {
	const gb_cudnn *api;
	const gb_cuda *cuda;
	CUcontext context;
	CUstream stream;
	cudnnHandle_t handle;
	void *workspace;
	size_t workspace_bytes;
	gb_step *steps;
	int count;
	// Of the last run that failed: the step, the code of cuDNN or of the driver, and the
	// driver's call.
	int failed;
	unsigned status;
	int driver_call; // a gb_cuda_call; gb_call_none where it was cuDNN
} gb_program;

unsigned gb_program_open(gb_program *p, const gb_cudnn *api, const gb_cuda_stream *s);
unsigned gb_program_close(gb_program *p);

// gb_program_run is a gb_func: it submits all steps of a gb_program. The context
// must be current, as it is in the timed loop.
int gb_program_run(void *program);
// gb_program_submit makes the context current and submits one step.
int gb_program_submit(gb_program *p, int step);

// The rest describes steps. A gb_extent is a tensor's in NCHW order, whatever its
// layout.
typedef struct {
	int n, c, h, w;
} gb_extent;
unsigned gb_describe_tensor(const gb_cudnn *api, cudnnTensorDescriptor_t *t, unsigned layout, unsigned type, gb_extent e);
unsigned gb_describe_filter(const gb_cudnn *api, cudnnFilterDescriptor_t *f, unsigned layout, unsigned type, gb_extent e);
unsigned gb_describe_convolution(const gb_cudnn *api, cudnnConvolutionDescriptor_t *c, int pad_h, int pad_w, int stride,
	int dilation, int groups, unsigned compute, unsigned math);
unsigned gb_describe_activation(const gb_cudnn *api, cudnnActivationDescriptor_t *a, unsigned mode);
unsigned gb_describe_pooling(const gb_cudnn *api, cudnnPoolingDescriptor_t *p, unsigned mode, int window_h, int window_w, int pad, int stride);
// gb_find_algorithms measures the algorithms of a convolution step in the program's
// workspace; the fastest come first.
unsigned gb_find_algorithms(gb_program *p, const gb_step *s, gb_cudnn_algorithm *found, int *count);
// gb_choose_algorithm has a step run one of those as it was measured: by its way of
// multiplying, which need not be the one that was asked for, in the workspace that this
// way takes.
unsigned gb_choose_algorithm(const gb_cudnn *api, gb_step *s, const gb_cudnn_algorithm *a);
void gb_forget_step(const gb_cudnn *api, gb_step *s);

// The rest is the graph API for Go, which cannot call through pointers. Finalizing
// may compile for the device and destroying unload from it: those make the context
// current. Their status is cuDNN's, or with p->driver_call the driver's.
int gb_has_graphs(const gb_cudnn *api);
unsigned gb_backend_create(gb_program *p, unsigned type, cudnnBackendDescriptor_t *d);
unsigned gb_backend_set(gb_program *p, cudnnBackendDescriptor_t d, unsigned name, unsigned type, int64_t count, const void *elements);
unsigned gb_backend_get(gb_program *p, cudnnBackendDescriptor_t d, unsigned name, unsigned type, int64_t room, int64_t *count, void *elements);
unsigned gb_backend_finalize(gb_program *p, cudnnBackendDescriptor_t d);
unsigned gb_backend_destroy(gb_program *p, cudnnBackendDescriptor_t d);

#endif
