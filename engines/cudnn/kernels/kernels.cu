// Kernels for what cuDNN's legacy API lacks. kernels.ptx is this file as NVRTC 11.8
// compiles it (`make ptx`); as plain C the tests' fake of cuDNN runs the same text.
//
// Every thread computes elements a whole grid apart, in float, and rounds once. An
// index is 32 bits, because dividing longer ones takes a GPU longer than the memory;
// tensors of more than 2^31 elements are refused when a session is built.
#include "kernels.h"

#ifdef __CUDACC__
#define KERNEL(name) extern "C" __global__ void name(const gb_kernel a)
#define ELEMENTS \
	for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < a.elements; i += gridDim.x * blockDim.x)
#define PRIVATE __device__ static inline
PRIVATE float half_to_float(unsigned short v) {
	float f;
	asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v));
	return f;
}
PRIVATE unsigned short float_to_half(float f) {
	unsigned short v;
	asm("cvt.rn.f16.f32 %0, %1;" : "=h"(v) : "f"(f));
	return v;
}
PRIVATE float bits_to_float(unsigned v) { return __uint_as_float(v); }
PRIVATE unsigned float_to_bits(float f) { return __float_as_uint(f); }
#else
#include "host.h" // the same names in C
#endif

// The bits of E4M3 lie in a float as those of 2^-120 times the number, subnormal ones
// too. Only sm_89 has an instruction for it.
PRIVATE float fp8_to_float(unsigned char v) {
	unsigned sign = (unsigned)(v & 0x80) << 24, rest = v & 0x7fu;
	if (rest == 0x7fu) return bits_to_float(sign | 0x7fc00000u);
	return bits_to_float(sign | float_to_bits(bits_to_float(rest << 20) * 1.3292279957849159e36f)); // 2^120
}

// To the nearest, ties to even, and to 448 what is beyond, as QuantizeLinear of ONNX does.
PRIVATE unsigned char float_to_fp8(float f) {
	unsigned bits = float_to_bits(f), sign = bits >> 24 & 0x80u;
	bits &= 0x7fffffffu;
	if (bits > 0x7f800000u) return (unsigned char)(sign | 0x7fu);
	if (bits >= 0x43e00000u) return (unsigned char)(sign | 0x7eu);
	// Below 2^-6 the last bit is worth 2^-9, as that of a float from 2^14 on.
	if (bits < 0x3c800000u) return (unsigned char)(sign | (float_to_bits(bits_to_float(bits) + 16384.0f) - 0x46800000u));
	return (unsigned char)(sign | ((bits - 0x3c000000u + 0x7ffffu + (bits >> 20 & 1u)) >> 20));
}

PRIVATE float load(const void *from, unsigned i, int type, float step) {
	if (type == gb_int8) return step * (float)((const signed char *)from)[i];
	if (type == gb_fp8) return step * fp8_to_float(((const unsigned char *)from)[i]);
	if (type == gb_half) return half_to_float(((const unsigned short *)from)[i]);
	if (type == gb_bfloat) return bits_to_float((unsigned)((const unsigned short *)from)[i] << 16);
	return ((const float *)from)[i];
}

PRIVATE void store(void *to, unsigned i, int type, float step, float v) {
	if (type == gb_int8) {
		// To the nearest, ties to even, as QuantizeLinear of ONNX does, which beyond the
		// range goes to -128, where this ends at -127.
		((signed char *)to)[i] = (signed char)fminf(fmaxf(rintf(v / step), -127.0f), 127.0f);
	} else if (type == gb_fp8) {
		((unsigned char *)to)[i] = float_to_fp8(v / step);
	} else if (type == gb_half) {
		((unsigned short *)to)[i] = float_to_half(v);
	} else if (type == gb_bfloat) {
		// To the nearest, ties to even. A NaN must not round to infinity.
		unsigned bits = float_to_bits(v);
		unsigned rounded = v != v ? bits | 0x400000u : bits + 0x7fffu + ((bits >> 16) & 1u);
		((unsigned short *)to)[i] = (unsigned short)(rounded >> 16);
	} else {
		((float *)to)[i] = v;
	}
}

PRIVATE float clip6(float v) { return fminf(fmaxf(v, 0.0f), 6.0f); }

PRIVATE float activate(float v, int function) {
	switch (function) {
	case gb_relu: return fmaxf(v, 0.0f);
	case gb_relu6: return clip6(v);
	case gb_silu: return v / (1.0f + expf(-v));
	case gb_hardswish: return v * clip6(v + 3.0f) / 6.0f;
	case gb_hardsigmoid: return clip6(v + 3.0f) / 6.0f;
	case gb_sigmoid: return 1.0f / (1.0f + expf(-v));
	}
	return v;
}

// channel gives the channel of element i of a tensor of a.c channels.
PRIVATE int channel(const gb_kernel *a, unsigned i) {
	if (a->nhwc) return (int)(i % a->c);
	return (int)(i / ((unsigned)a->h * a->w) % a->c);
}

// y = function(x·scale + shift + z), where scale, shift and z may be absent. x or z
// may be y. With nothing but x and y it converts between their types.
KERNEL(gb_pointwise) {
	ELEMENTS {
		float v = load(a.x, i, a.x_type, a.x_step);
		if (a.scale) v *= a.scale[channel(&a, i)];
		if (a.shift) v += a.shift[channel(&a, i)];
		if (a.z) v += load(a.z, i, a.z_type, a.z_step);
		store(a.y, i, a.y_type, a.y_step, activate(v, a.function));
	}
}

// y = x·z; an operand that is a gate has one element for each image and channel.
KERNEL(gb_multiply) {
	ELEMENTS {
		unsigned plane = (unsigned)a.h * a.w;
		unsigned gate = a.nhwc ? i / (plane * a.c) * a.c + i % a.c : i / plane;
		float x = load(a.x, a.x_gate ? gate : i, a.x_type, a.x_step);
		float z = load(a.z, a.z_gate ? gate : i, a.z_type, a.z_step);
		store(a.y, i, a.y_type, a.y_step, x * z);
	}
}

// Copies a.c channels, from channel `from` of x_channels to channel `to` of
// y_channels. With groups the channels are interleaved, as a channel shuffle does.
KERNEL(gb_channels) {
	ELEMENTS {
		unsigned plane = (unsigned)a.h * a.w, image, pixel;
		int c;
		if (a.nhwc) {
			c = (int)(i % a.c);
			pixel = i / a.c % plane;
		} else {
			pixel = i % plane;
			c = (int)(i / plane % a.c);
		}
		image = i / (plane * a.c);
		int from = a.from + c % a.groups * (a.c / a.groups) + c / a.groups, to = a.to + c;
		unsigned source = a.nhwc ? (image * plane + pixel) * a.x_channels + from : (image * a.x_channels + from) * plane + pixel;
		unsigned target = a.nhwc ? (image * plane + pixel) * a.y_channels + to : (image * a.y_channels + to) * plane + pixel;
		store(a.y, target, a.y_type, a.y_step, load(a.x, source, a.x_type, a.x_step));
	}
}

// y is x with the channels outermost: NHWC to NCHW.
KERNEL(gb_planes) {
	ELEMENTS {
		unsigned plane = (unsigned)a.h * a.w;
		unsigned image = i / (plane * a.c), pixel = i % plane;
		int c = (int)(i / plane % a.c);
		store(a.y, i, a.y_type, a.y_step, load(a.x, (image * plane + pixel) * a.c + c, a.x_type, a.x_step));
	}
}

// Pooling by PyTorch's rule, which lets a last window reach beyond the padding;
// cuDNN has no such windows.
KERNEL(gb_pool) {
	ELEMENTS {
		unsigned plane = (unsigned)a.h * a.w;
		unsigned image = i / (plane * a.c), pixel = a.nhwc ? i / a.c % plane : i % plane;
		int c = channel(&a, i);
		int top = (int)(pixel / a.w) * a.stride - a.pad, left = (int)(pixel % a.w) * a.stride - a.pad;
		int bottom = top + a.window, right = left + a.window, cells = 0;
		float best = 0.0f, sum = 0.0f;
		for (int y = top < 0 ? 0 : top; y < bottom && y < a.x_h; y++) {
			for (int x = left < 0 ? 0 : left; x < right && x < a.x_w; x++) {
				unsigned at = a.nhwc ? ((image * a.x_h + y) * a.x_w + x) * a.c + c : ((image * a.c + c) * a.x_h + y) * a.x_w + x;
				float v = load(a.x, at, a.x_type, a.x_step);
				best = cells == 0 ? v : fmaxf(best, v);
				sum += v;
				cells++;
			}
		}
		if (a.count_pad) {
			int rows = (bottom < a.x_h + a.pad ? bottom : a.x_h + a.pad) - top;
			int columns = (right < a.x_w + a.pad ? right : a.x_w + a.pad) - left;
			cells = rows * columns;
		}
		store(a.y, i, a.y_type, a.y_step, a.maximum ? best : sum / (float)cells);
	}
}
