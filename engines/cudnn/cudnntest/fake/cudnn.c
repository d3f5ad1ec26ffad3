// A libcudnn.so.9 without a GPU, which computes plainly on the fake driver's memory
// and clock. Answers are set by the environment, at every call:
//
//	FAKE_CUDNN_VERSION    what cudnnGetVersion says; 90000
//	FAKE_CUDNN_CUDART     the CUDA it is made for; 12090
//	FAKE_CUDNN_CREATE     what making a handle returns; 0
//	FAKE_CUDNN_FIND       what measuring algorithms returns; 0
//	FAKE_CUDNN_NO_LAYOUT  a layout without algorithms, 0 NCHW or 1 NHWC; -1
//	FAKE_CUDNN_NO_FUSED   1: no fused convolution, 2: none with a residual
//	FAKE_CUDNN_NO_GEMM    1: the algorithm that fuses without activation is missing
//	FAKE_CUDNN_RUN        what submitting a convolution returns; 0
//	FAKE_CUDNN_NO_INT8    1: no algorithm for 8-bit integers, 2: none that runs in the
//	                      workspace that it was measured in; 0
//	FAKE_CUDNN_NO_FP8     1: no engine for a graph that rounds to fp8, 2: none for one in
//	                      fp8 at all; 0
//	FAKE_CUDNN_GRAPH      1: no engine for any graph, 2: no plan can be made, 3: none can
//	                      be executed, 4: all take longer than the legacy calls; 0
//
// It is as strict as cuDNN: extents must fit each other, factors, formats and types be
// those that it knows, and an algorithm runs by the way of multiplying that it was
// measured by. What it has in fp8, and in tf32, depends on the fake driver's
// FAKE_CUDA_CAPABILITY.
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"
#include "kernels.h"

enum { bad_param = 2000, not_supported = 3000, execution_failed = 5000 };
enum { type_float = 0, type_half = 2, type_int8 = 3, type_int32 = 4, type_bfloat = 9, type_fp8 = 12 };

static long long number(const char *key, long long otherwise) {
	const char *value = getenv(key);
	return value ? strtoll(value, NULL, 0) : otherwise;
}

typedef struct {
	unsigned layout, type;
	int n, c, h, w;
} tensor;
typedef struct {
	int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, groups;
	unsigned math, compute;
} convolution;
typedef struct {
	unsigned mode;
	int h, w, pad_h, pad_w, stride_h, stride_w;
} pooling;
typedef struct {
	void *stream;
} handle;
typedef struct {
	unsigned algorithm, status;
	float milliseconds;
	size_t workspace;
	unsigned determinism, math;
	int reserved[3];
} performance;

#define KERNELS(X) X(gb_pointwise) X(gb_multiply) X(gb_channels) X(gb_planes) X(gb_pool)
#define X(name) fake_cuda_body name;
KERNELS(X)
#undef X

// The fake driver is the one that the process uses.
static unsigned (*submit)(void *stream, void (*run)(void *argument), const void *argument, size_t bytes, int64_t ns);

__attribute__((constructor)) static void find_driver(void) {
	const char *path = getenv("GENBENCH_CUDA");
	void *driver = path ? dlopen(path, RTLD_NOW) : NULL;
	void *known = driver ? dlsym(driver, "fake_cuda_kernel") : NULL, *queue = driver ? dlsym(driver, "fake_cuda_submit") : NULL;
	if (!known || !queue) {
		fprintf(stderr, "the fake cuDNN runs on the fake driver alone, and GENBENCH_CUDA is %s\n", path ? path : "not set");
		return;
	}
	void (*kernel)(const char *, fake_cuda_body *);
	memcpy(&kernel, &known, sizeof kernel);
	memcpy(&submit, &queue, sizeof submit);
#define X(name) kernel(#name, name);
	KERNELS(X)
#undef X
}

size_t cudnnGetVersion(void) { return (size_t)number("FAKE_CUDNN_VERSION", 90000); }
size_t cudnnGetCudartVersion(void) { return (size_t)number("FAKE_CUDNN_CUDART", 12090); }
const char *cudnnGetErrorString(unsigned status) {
	switch (status) {
	case 0: return "CUDNN_STATUS_SUCCESS";
	case bad_param: return "CUDNN_STATUS_BAD_PARAM";
	case not_supported: return "CUDNN_STATUS_NOT_SUPPORTED";
	case 3007: return "CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH";
	case 4004: return "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
	case execution_failed: return "CUDNN_STATUS_EXECUTION_FAILED";
	}
	return "CUDNN_UNKNOWN_STATUS";
}
static int handles, alive; // alive are descriptors of the graph API
unsigned cudnnCreate(handle **h) { return (*h = calloc(1, sizeof **h)), handles++, (unsigned)number("FAKE_CUDNN_CREATE", 0); }
// Descriptors that outlive the last handle have been forgotten.
unsigned cudnnDestroy(handle *h) { return free(h), --handles == 0 && alive > 0 ? bad_param : 0; }
unsigned cudnnSetStream(handle *h, void *stream) { return h->stream = stream, 0; }

#define DESCRIPTOR(kind, type) \
	unsigned cudnnCreate##kind##Descriptor(type **d) { return (*d = calloc(1, sizeof **d)), 0; } \
	unsigned cudnnDestroy##kind##Descriptor(type *d) { return free(d), 0; }
DESCRIPTOR(Tensor, tensor)
DESCRIPTOR(Filter, tensor)
DESCRIPTOR(Convolution, convolution)
DESCRIPTOR(Activation, unsigned)
DESCRIPTOR(Pooling, pooling)

static unsigned set(tensor *t, unsigned layout, unsigned type, int n, int c, int h, int w) {
	*t = (tensor){layout, type, n, c, h, w};
	int known = layout <= 1 && (type == type_float || type == type_half || type == type_bfloat || type == type_int8 || type == type_fp8);
	return known && n > 0 && c > 0 && h > 0 && w > 0 ? 0 : bad_param;
}
// The legacy API has no fp8.
unsigned cudnnSetTensor4dDescriptor(tensor *t, unsigned layout, unsigned type, int n, int c, int h, int w) {
	return type == type_fp8 ? not_supported : set(t, layout, type, n, c, h, w);
}
unsigned cudnnSetFilter4dDescriptor(tensor *f, unsigned type, unsigned layout, int k, int c, int h, int w) {
	return type == type_fp8 ? not_supported : set(f, layout, type, k, c, h, w);
}
unsigned cudnnSetConvolution2dDescriptor(convolution *c, int ph, int pw, int sh, int sw, int dh, int dw, unsigned mode, unsigned compute) {
	*c = (convolution){ph, pw, sh, sw, dh, dw, 1, 0, compute};
	return mode == 1 && (compute == type_float || compute == type_int32) ? 0 : bad_param;
}
unsigned cudnnSetConvolutionGroupCount(convolution *c, int groups) { return c->groups = groups, groups > 0 ? 0 : bad_param; }
unsigned cudnnSetConvolutionMathType(convolution *c, unsigned math) { return c->math = math, math <= 3 ? 0 : bad_param; }
unsigned cudnnSetActivationDescriptor(unsigned *a, unsigned mode, unsigned nan, double coefficient) {
	*a = mode;
	return (mode == 1 || mode == 5) && nan == 0 && coefficient > 1e300 ? 0 : bad_param;
}
unsigned cudnnSetPooling2dDescriptor(pooling *p, unsigned mode, unsigned nan, int h, int w, int ph, int pw, int sh, int sw) {
	*p = (pooling){mode, h, w, ph, pw, sh, sw};
	return mode >= 1 && mode <= 3 && nan == 0 ? 0 : bad_param;
}

static size_t elements(const tensor *t) { return (size_t)t->n * (size_t)t->c * (size_t)t->h * (size_t)t->w; }

// E4M3 by its definition, not by the bits of a float as the kernels have it.
static float from_fp8(unsigned char v) {
	int exponent = v >> 3 & 15, mantissa = v & 7;
	float f = exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
	if ((v & 0x7f) == 0x7f) return NAN;
	return v & 0x80 ? -f : f;
}
static unsigned char to_fp8(float v) {
	unsigned char sign = signbit(v) ? 0x80 : 0;
	if (isnan(v)) return sign | 0x7f;
	if (fabsf(v) >= 448) return sign | 0x7e;
	int exponent;
	frexpf(v, &exponent); // of a number from 1/2 to 1
	if (exponent < -5 || v == 0) exponent = -5;
	int steps = (int)rintf(ldexpf(fabsf(v), 4 - exponent)); // 8 to 16, fewer of a subnormal
	return (unsigned char)(sign | ((exponent + 6) * 8 + steps - 8));
}

// read gives a tensor as floats in NCHW order.
static float *read(const tensor *t, const void *data) {
	float *out = malloc(elements(t) * sizeof *out);
	size_t plane = (size_t)t->h * (size_t)t->w, channels = (size_t)t->c;
	for (size_t i = 0; i < elements(t); i++) {
		size_t at = i;
		if (t->layout == 1) at = (i / (plane * channels) * plane + i % plane) * channels + i / plane % channels;
		if (t->type == type_float) {
			out[i] = ((const float *)data)[at];
		} else if (t->type == type_half) {
			out[i] = (float)((const _Float16 *)data)[at];
		} else if (t->type == type_fp8) {
			out[i] = from_fp8(((const unsigned char *)data)[at]);
		} else {
			unsigned bits = (unsigned)((const unsigned short *)data)[at] << 16;
			memcpy(&out[i], &bits, sizeof bits);
		}
	}
	return out;
}

// write is the reverse, and frees the floats.
static void write(const tensor *t, void *data, float *in) {
	size_t plane = (size_t)t->h * (size_t)t->w, channels = (size_t)t->c;
	for (size_t i = 0; i < elements(t); i++) {
		size_t at = i;
		if (t->layout == 1) at = (i / (plane * channels) * plane + i % plane) * channels + i / plane % channels;
		if (t->type == type_float) {
			((float *)data)[at] = in[i];
		} else if (t->type == type_half) {
			((_Float16 *)data)[at] = (_Float16)in[i];
		} else if (t->type == type_fp8) {
			((unsigned char *)data)[at] = to_fp8(in[i]);
		} else {
			unsigned bits;
			memcpy(&bits, &in[i], sizeof bits);
			((unsigned short *)data)[at] = (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
		}
	}
	free(in);
}

typedef struct {
	convolution c;
	tensor x, w, y;
	const void *x_data, *w_data, *z_data, *bias_data;
	void *y_data;
	float z_factor;
	unsigned activation;
} convolving;

// tf32 rounds to the ten bits of mantissa that matrix units read. So a program that
// asks for fp32 and lets them in is found out.
static float tf32(float v) {
	unsigned bits;
	memcpy(&bits, &v, sizeof bits);
	bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
	memcpy(&v, &bits, sizeof bits);
	return v;
}

// multiply gives the sums as floats in NCHW order.
static float *multiply(const convolving *a) {
	float *x = read(&a->x, a->x_data), *w = read(&a->w, a->w_data), *y = calloc(elements(&a->y), sizeof *y);
	if (a->x.type == type_float && a->c.math != 3 && number("FAKE_CUDA_CAPABILITY", 80) >= 80) {
		for (size_t i = 0; i < elements(&a->x); i++) x[i] = tf32(x[i]);
		for (size_t i = 0; i < elements(&a->w); i++) w[i] = tf32(w[i]);
	}
	int in = a->w.c, out = a->y.c / a->c.groups, rows = a->y.h, columns = a->y.w;
	for (int n = 0; n < a->y.n; n++) {
		for (int k = 0; k < a->y.c; k++) {
			float *image = y + ((size_t)n * (size_t)a->y.c + (size_t)k) * (size_t)(rows * columns);
			for (int c = 0; c < in; c++) {
				const float *plane = x + ((size_t)n * (size_t)a->x.c + (size_t)(k / out * in + c)) * (size_t)(a->x.h * a->x.w);
				for (int r = 0; r < a->w.h; r++) {
					for (int s = 0; s < a->w.w; s++) {
						float factor = w[((k * in + c) * a->w.h + r) * a->w.w + s];
						// The output columns whose input lies within the image.
						int shift = s * a->c.dilation_w - a->c.pad_w, step = a->c.stride_w;
						int first = shift < 0 ? (-shift + step - 1) / step : 0, last = (a->x.w - 1 - shift) / step;
						if (a->x.w - 1 - shift < 0) continue;
						if (last >= columns) last = columns - 1;
						for (int i = 0; i < rows; i++) {
							int row = i * a->c.stride_h + r * a->c.dilation_h - a->c.pad_h;
							if (row < 0 || row >= a->x.h) continue;
							const float *from = plane + row * a->x.w + shift;
							float *to = image + i * columns;
							if (step == 1) {
								for (int j = first; j <= last; j++) to[j] += factor * from[j];
							} else {
								for (int j = first; j <= last; j++) to[j] += factor * from[j * step];
							}
						}
					}
				}
			}
		}
	}
	free(x);
	free(w);
	return y;
}

static void run_convolution(void *argument) {
	convolving *a = argument;
	float *y = multiply(a);
	if (a->bias_data) {
		tensor one = {a->y.layout, a->y.type, 1, a->y.c, 1, 1};
		float *bias = read(&one, a->bias_data), *z = a->z_factor != 0 ? read(&a->y, a->z_data) : NULL;
		size_t plane = (size_t)a->y.h * (size_t)a->y.w;
		for (size_t i = 0; i < elements(&a->y); i++) {
			y[i] += bias[i / plane % (size_t)a->y.c];
			if (z) y[i] += a->z_factor * z[i];
			if (a->activation == 1 && y[i] < 0) y[i] = 0;
		}
		free(bias);
		free(z);
	}
	write(&a->y, a->y_data, y);
}

// run_integers multiplies 8-bit integers and sums them up in 32 bits. Filters and
// tensors are NHWC.
static void run_integers(void *argument) {
	convolving *a = argument;
	const signed char *x = a->x_data, *w = a->w_data;
	float *y = a->y_data;
	for (int i = 0; i < (int)elements(&a->y); i++) {
		int k = i % a->y.c, column = i / a->y.c % a->y.w, row = i / (a->y.c * a->y.w) % a->y.h, n = i / (a->y.c * a->y.w * a->y.h);
		int32_t sum = 0;
		for (int r = 0; r < a->w.h; r++) {
			for (int s = 0; s < a->w.w; s++) {
				int from = row * a->c.stride_h + r - a->c.pad_h, at = column * a->c.stride_w + s - a->c.pad_w;
				if (from < 0 || from >= a->x.h || at < 0 || at >= a->x.w) continue;
				const signed char *pixel = x + ((n * a->x.h + from) * a->x.w + at) * a->x.c;
				const signed char *factor = w + ((k * a->w.h + r) * a->w.w + s) * a->w.c;
				for (int c = 0; c < a->x.c; c++) sum += pixel[c] * factor[c];
			}
		}
		y[i] = (float)sum;
	}
}

static int same(const tensor *a, const tensor *b) { return memcmp(a, b, sizeof *a) == 0; }

static unsigned fits(const convolution *c, const tensor *x, const tensor *w, const tensor *y) {
	int h = (x->h + 2 * c->pad_h - c->dilation_h * (w->h - 1) - 1) / c->stride_h + 1;
	int v = (x->w + 2 * c->pad_w - c->dilation_w * (w->w - 1) - 1) / c->stride_w + 1;
	// 8-bit integers may have floats for sums; no other types mix.
	int types = x->type == w->type && x->layout == w->layout && w->layout == y->layout &&
		(x->type == type_int8 ? y->type == type_float && c->compute == type_int32 : w->type == y->type && c->compute == type_float);
	return types && x->c == w->c * c->groups && y->c == w->n && w->n % c->groups == 0 && y->n == x->n && y->h == h && y->w == v ? 0 : bad_param;
}

// integers tells whether cuDNN has an 8-bit convolution of this kind.
static int integers(const convolution *c, const tensor *x, const tensor *y) {
	return x->layout == 1 && x->c % 4 == 0 && y->c % 4 == 0 && c->groups == 1 && c->dilation_h == 1 && c->dilation_w == 1;
}

// cost is a thousandth of a nanosecond for a multiplication, and less in NHWC for
// half precision, as on GPUs with matrix units.
static int64_t cost(const tensor *w, const tensor *y) {
	int64_t ns = (int64_t)elements(y) * w->c * w->h * w->w / 1000;
	return 3000 + (y->type != type_float && y->layout == 1 ? ns / 4 : ns);
}

// A measured is a result of measuring, which stays one as long as the process.
typedef struct measured measured;
struct measured {
	measured *next;
	convolution c; // its math is that of the result
	tensor x, w, y;
	performance p;
};
static measured *results;

// recall gives the result for what is to run; NULL where it was not measured.
static performance *recall(const convolution *c, const tensor *x, const tensor *w, const tensor *y, unsigned algorithm) {
	for (measured *m = results; m; m = m->next) {
		if (m->p.algorithm == algorithm && !memcmp(&m->c, c, sizeof *c) && same(&m->x, x) && same(&m->w, w) && same(&m->y, y)) return &m->p;
	}
	return NULL;
}

static void remember(convolution c, const tensor *x, const tensor *w, const tensor *y, performance p) {
	c.math = p.math;
	if (recall(&c, x, w, y, p.algorithm)) return;
	measured *m = malloc(sizeof *m);
	*m = (measured){results, c, *x, *w, *y, p};
	results = m;
}

unsigned cudnnFindConvolutionForwardAlgorithmEx(handle *h, const tensor *x, const void *x_data, const tensor *w, const void *w_data,
	const convolution *c, const tensor *y, void *y_data, const int room, int *count, performance *found, void *workspace, size_t bytes) {
	unsigned status = (unsigned)number("FAKE_CUDNN_FIND", 0);
	if (status) return status;
	if (!h || !x_data || !w_data || !y_data || fits(c, x, w, y)) return bad_param;
	// Fastest first: one in the default arithmetic, whatever was asked for, one that is
	// not deterministic, one that wants much memory, one that wants more of it by default
	// than as asked for, one that does, and one that fails.
	enum { asked = 99 };
	static const performance all[] = {
		{2, 0, 0.001f, 0, 1, 0, {0}}, {5, 0, 0.01f, 0, 0, asked, {0}}, {7, 0, 0.02f, 1 << 20, 1, asked, {0}}, {1, 0, 0.025f, 8192, 1, 0, {0}},
		{1, 0, 0.03f, 4096, 1, asked, {0}}, {0, 0, 0.04f, 0, 1, asked, {0}}, {4, not_supported, -1, 0, 1, asked, {0}},
	};
	*count = 0;
	for (size_t i = 0; i < sizeof all / sizeof *all && *count < room; i++) {
		performance p = all[i];
		if (p.algorithm == 1 && number("FAKE_CUDNN_NO_GEMM", 0)) continue;
		if (p.math == asked && p.algorithm == 1 && c->math == 0) continue; // which is the one before
		if (number("FAKE_CUDNN_NO_LAYOUT", -1) == (long long)x->layout) p.status = not_supported;
		if (x->type == type_int8 && (p.algorithm != 1 || !integers(c, x, y) || number("FAKE_CUDNN_NO_INT8", 0) == 1)) p.status = not_supported;
		if (p.workspace > bytes || (p.workspace && !workspace)) p.status = 4004;
		if (p.math == asked) p.math = c->math;
		remember(*c, x, w, y, p);
		found[(*count)++] = p;
	}
	return 0;
}

static unsigned convolve(handle *h, const convolving *a, unsigned algorithm, const void *workspace, size_t bytes) {
	unsigned status = (unsigned)number("FAKE_CUDNN_RUN", 0);
	if (status) return status;
	if (!a->x_data || !a->w_data || !a->y_data || fits(&a->c, &a->x, &a->w, &a->y) || a->x_data == a->y_data) return bad_param;
	const performance *p = recall(&a->c, &a->x, &a->w, &a->y, algorithm);
	if (!p || bytes < p->workspace || (p->workspace && !workspace)) return bad_param;
	if (a->x.type == type_int8) {
		if (algorithm != 1 || !integers(&a->c, &a->x, &a->y)) return not_supported;
		if (number("FAKE_CUDNN_NO_INT8", 0) == 2 && bytes <= p->workspace) return not_supported;
		return submit(h->stream, run_integers, a, sizeof *a, cost(&a->w, &a->y)) ? execution_failed : 0;
	}
	return submit(h->stream, run_convolution, a, sizeof *a, cost(&a->w, &a->y)) ? execution_failed : 0;
}

unsigned cudnnConvolutionForward(handle *h, const float *alpha, const tensor *x, const void *x_data, const tensor *w, const void *w_data,
	const convolution *c, unsigned algorithm, void *workspace, size_t bytes, const float *beta, const tensor *y, void *y_data) {
	if (*alpha != 1 || *beta != 0) return not_supported;
	convolving a = {*c, *x, *w, *y, x_data, w_data, NULL, NULL, y_data, 0, 5};
	return convolve(h, &a, algorithm, workspace, bytes);
}

unsigned cudnnConvolutionBiasActivationForward(handle *h, const float *alpha1, const tensor *x, const void *x_data, const tensor *w,
	const void *w_data, const convolution *c, unsigned algorithm, void *workspace, size_t bytes, const float *alpha2, const tensor *z,
	const void *z_data, const tensor *bias, const void *bias_data, const unsigned *activation, const tensor *y, void *y_data) {
	long long missing = number("FAKE_CUDNN_NO_FUSED", 0);
	if (missing == 1 || (missing == 2 && *alpha2 != 0)) return not_supported;
	if (*alpha1 != 1 || (*activation == 5 && algorithm != 1)) return not_supported;
	if (!same(z, y) || !z_data || !bias_data || bias->n != 1 || bias->c != y->c || bias->h != 1 || bias->w != 1 || bias->type != y->type) return bad_param;
	convolving a = {*c, *x, *w, *y, x_data, w_data, z_data, bias_data, y_data, *alpha2, *activation};
	return convolve(h, &a, algorithm, workspace, bytes);
}

typedef struct {
	pooling p;
	tensor x, y;
	const void *x_data;
	void *y_data;
} windowing;

static void run_pooling(void *argument) {
	windowing *a = argument;
	const pooling *p = &a->p;
	float *x = read(&a->x, a->x_data), *y = malloc(elements(&a->y) * sizeof *y);
	for (size_t i = 0; i < elements(&a->y); i++) {
		size_t plane = i / (size_t)(a->y.h * a->y.w);
		int top = (int)(i / (size_t)a->y.w % (size_t)a->y.h) * p->stride_h - p->pad_h, left = (int)(i % (size_t)a->y.w) * p->stride_w - p->pad_w;
		float best = -INFINITY, sum = 0;
		int cells = 0;
		for (int r = top < 0 ? 0 : top; r < top + p->h && r < a->x.h; r++) {
			for (int s = left < 0 ? 0 : left; s < left + p->w && s < a->x.w; s++) {
				float v = x[plane * (size_t)(a->x.h * a->x.w) + (size_t)(r * a->x.w + s)];
				best = v > best ? v : best;
				sum += v;
				cells++;
			}
		}
		y[i] = p->mode == 3 ? best : sum / (float)(p->mode == 1 ? p->h * p->w : cells);
	}
	free(x);
	write(&a->y, a->y_data, y);
}

unsigned cudnnPoolingForward(handle *h, const pooling *p, const float *alpha, const tensor *x, const void *x_data, const float *beta,
	const tensor *y, void *y_data) {
	int rows = (x->h + 2 * p->pad_h - p->h) / p->stride_h + 1, columns = (x->w + 2 * p->pad_w - p->w) / p->stride_w + 1;
	if (*alpha != 1 || *beta != 0 || !x_data || !y_data || x_data == y_data) return bad_param;
	if (x->n != y->n || x->c != y->c || y->h != rows || y->w != columns || x->layout != y->layout || x->type != y->type) return bad_param;
	windowing a = {*p, *x, *y, x_data, y_data};
	return submit(h->stream, run_pooling, &a, sizeof a, 3000) ? execution_failed : 0;
}

static void run_softmax(void *argument) {
	windowing *a = argument;
	float *x = read(&a->x, a->x_data), *y = malloc(elements(&a->y) * sizeof *y);
	size_t plane = (size_t)a->x.h * (size_t)a->x.w, channels = (size_t)a->x.c;
	for (size_t i = 0; i < (size_t)a->x.n * plane; i++) {
		size_t base = i / plane * plane * channels + i % plane;
		float most = -INFINITY, sum = 0;
		for (size_t c = 0; c < channels; c++) most = fmaxf(most, x[base + c * plane]);
		for (size_t c = 0; c < channels; c++) sum += y[base + c * plane] = expf(x[base + c * plane] - most);
		for (size_t c = 0; c < channels; c++) y[base + c * plane] /= sum;
	}
	free(x);
	write(&a->y, a->y_data, y);
}

unsigned cudnnSoftmaxForward(handle *h, unsigned algorithm, unsigned mode, const float *alpha, const tensor *x, const void *x_data,
	const float *beta, const tensor *y, void *y_data) {
	if (algorithm != 1 || mode != 1 || *alpha != 1 || *beta != 0 || !same(x, y) || !x_data || !y_data) return bad_param;
	windowing a = {{0}, *x, *y, x_data, y_data};
	return submit(h->stream, run_softmax, &a, sizeof a, 3000) ? execution_failed : 0;
}

#include "graph.inc"
