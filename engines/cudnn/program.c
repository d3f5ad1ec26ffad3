#include "program.h"

#include <float.h>
#include <string.h>

const char *gb_cudnn_name(int function) {
	static const char *const names[] = {
#define X(result, name, params) #name,
		GB_CUDNN_FUNCTIONS(X)
		GB_CUDNN_GRAPH_FUNCTIONS(X)
#undef X
	};
	return names[function];
}

// The table is nothing but pointers to functions, all of one size.
void gb_cudnn_set(gb_cudnn *api, int function, void *symbol) {
	memcpy((char *)api + (size_t)function * sizeof symbol, &symbol, sizeof symbol);
}

size_t gb_cudnn_version(const gb_cudnn *api) { return api->cudnnGetVersion(); }
size_t gb_cudnn_cudart(const gb_cudnn *api) { return api->cudnnGetCudartVersion(); }
const char *gb_cudnn_words(const gb_cudnn *api, unsigned status) { return api->cudnnGetErrorString(status); }

unsigned gb_program_open(gb_program *p, const gb_cudnn *api, const gb_cuda_stream *s) {
	*p = (gb_program){.api = api, .cuda = s->api, .context = s->context, .stream = s->stream};
	if ((p->status = p->cuda->cuCtxSetCurrent(p->context)) != 0) {
		p->driver_call = gb_call_cuCtxSetCurrent;
		return p->status;
	}
	unsigned status = api->cudnnCreate(&p->handle);
	return status != 0 ? status : api->cudnnSetStream(p->handle, p->stream);
}

unsigned gb_program_close(gb_program *p) {
	p->cuda->cuCtxSetCurrent(p->context); // a context that is lost fails below too
	return p->handle == NULL ? 0 : p->api->cudnnDestroy(p->handle);
}

static int submit(gb_program *p, const gb_step *s) {
	static const float one = 1, zero = 0; // cuDNN reads its factors on the host
	const gb_cudnn *api = p->api;
	p->driver_call = gb_call_none;
	switch (s->kind) {
	case gb_convolution:
		p->status = api->cudnnConvolutionForward(p->handle, &one, s->x, s->x_data, s->w, s->w_data, s->convolution,
			s->algorithm, p->workspace, s->workspace, &zero, s->y, s->y_data);
		break;
	case gb_fused_convolution:
		p->status = api->cudnnConvolutionBiasActivationForward(p->handle, &one, s->x, s->x_data, s->w, s->w_data,
			s->convolution, s->algorithm, p->workspace, s->workspace, &s->z_factor, s->z, s->z_data, s->bias,
			s->bias_data, s->activation, s->y, s->y_data);
		break;
	case gb_pooling:
		p->status = api->cudnnPoolingForward(p->handle, s->pooling, &one, s->x, s->x_data, &zero, s->y, s->y_data);
		break;
	case gb_softmax:
		p->status = api->cudnnSoftmaxForward(p->handle, gb_cudnn_accurate_softmax, gb_cudnn_softmax_over_channels, &one,
			s->x, s->x_data, &zero, s->y, s->y_data);
		break;
	case gb_graph:
		p->status = api->cudnnBackendExecute(p->handle, s->plan, s->pack);
		break;
	case gb_launch: {
		void *params[] = {(void *)&s->kernel}; // read only
		p->status = p->cuda->cuLaunchKernel(s->function, s->blocks, 1, 1, s->threads, 1, 1, 0, p->stream, params, NULL);
		p->driver_call = gb_call_cuLaunchKernel;
		break;
	}
	}
	return (int)p->status;
}

int gb_program_run(void *program) {
	gb_program *p = program;
	for (int i = 0; i < p->count; i++) {
		if (submit(p, &p->steps[i]) != 0) {
			p->failed = i;
			return (int)p->status;
		}
	}
	return 0;
}

int gb_program_submit(gb_program *p, int step) {
	p->failed = step;
	if ((p->status = p->cuda->cuCtxSetCurrent(p->context)) != 0) {
		p->driver_call = gb_call_cuCtxSetCurrent;
		return (int)p->status;
	}
	return submit(p, &p->steps[step]);
}

unsigned gb_describe_tensor(const gb_cudnn *api, cudnnTensorDescriptor_t *t, unsigned layout, unsigned type, gb_extent e) {
	unsigned status = api->cudnnCreateTensorDescriptor(t);
	return status != 0 ? status : api->cudnnSetTensor4dDescriptor(*t, layout, type, e.n, e.c, e.h, e.w);
}

unsigned gb_describe_filter(const gb_cudnn *api, cudnnFilterDescriptor_t *f, unsigned layout, unsigned type, gb_extent e) {
	unsigned status = api->cudnnCreateFilterDescriptor(f);
	return status != 0 ? status : api->cudnnSetFilter4dDescriptor(*f, type, layout, e.n, e.c, e.h, e.w);
}

unsigned gb_describe_convolution(const gb_cudnn *api, cudnnConvolutionDescriptor_t *c, int pad_h, int pad_w, int stride,
	int dilation, int groups, unsigned compute, unsigned math) {
	unsigned status = api->cudnnCreateConvolutionDescriptor(c);
	if (status == 0) {
		status = api->cudnnSetConvolution2dDescriptor(*c, pad_h, pad_w, stride, stride, dilation, dilation,
			gb_cudnn_cross_correlation, compute);
	}
	if (status == 0) status = api->cudnnSetConvolutionGroupCount(*c, groups);
	return status != 0 ? status : api->cudnnSetConvolutionMathType(*c, math);
}

unsigned gb_describe_activation(const gb_cudnn *api, cudnnActivationDescriptor_t *a, unsigned mode) {
	unsigned status = api->cudnnCreateActivationDescriptor(a);
	// The coefficient is the ceiling of a clipped ReLU. Others are said to ignore it;
	// no ceiling is right whether they do or not.
	return status != 0 ? status : api->cudnnSetActivationDescriptor(*a, mode, gb_cudnn_no_nan, DBL_MAX);
}

unsigned gb_describe_pooling(const gb_cudnn *api, cudnnPoolingDescriptor_t *p, unsigned mode, int window_h, int window_w, int pad, int stride) {
	unsigned status = api->cudnnCreatePoolingDescriptor(p);
	return status != 0 ? status
					   : api->cudnnSetPooling2dDescriptor(*p, mode, gb_cudnn_no_nan, window_h, window_w, pad, pad, stride, stride);
}

unsigned gb_find_algorithms(gb_program *p, const gb_step *s, gb_cudnn_algorithm *found, int *count) {
	if ((p->status = p->cuda->cuCtxSetCurrent(p->context)) != 0) {
		p->driver_call = gb_call_cuCtxSetCurrent;
		return p->status;
	}
	p->driver_call = gb_call_none;
	p->status = p->api->cudnnFindConvolutionForwardAlgorithmEx(p->handle, s->x, s->x_data, s->w, s->w_data, s->convolution,
		s->y, s->y_data, *count, count, found, p->workspace, p->workspace_bytes);
	return p->status;
}

unsigned gb_choose_algorithm(const gb_cudnn *api, gb_step *s, const gb_cudnn_algorithm *a) {
	s->algorithm = a->algorithm;
	s->workspace = a->workspace;
	return api->cudnnSetConvolutionMathType(s->convolution, a->math);
}

void gb_forget_step(const gb_cudnn *api, gb_step *s) {
	if (s->x != NULL) api->cudnnDestroyTensorDescriptor(s->x);
	if (s->z != NULL) api->cudnnDestroyTensorDescriptor(s->z);
	if (s->bias != NULL) api->cudnnDestroyTensorDescriptor(s->bias);
	if (s->y != NULL) api->cudnnDestroyTensorDescriptor(s->y);
	if (s->w != NULL) api->cudnnDestroyFilterDescriptor(s->w);
	if (s->convolution != NULL) api->cudnnDestroyConvolutionDescriptor(s->convolution);
	if (s->activation != NULL) api->cudnnDestroyActivationDescriptor(s->activation);
	if (s->pooling != NULL) api->cudnnDestroyPoolingDescriptor(s->pooling);
	if (s->pack != NULL) api->cudnnBackendDestroyDescriptor(s->pack);
	memset(s, 0, sizeof *s);
}
