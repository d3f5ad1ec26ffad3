// What the kernels of kernels.cu are told; C and CUDA C read the same declaration.
#ifndef GENBENCH_KERNELS_H
#define GENBENCH_KERNELS_H

// gb_tensor_type is the element type of x, y or z. Parameters of a channel are float in
// every precision. An element of gb_int8, or of gb_fp8, which is E4M3, stands for itself
// times the tensor's step.
enum gb_tensor_type { gb_float, gb_half, gb_bfloat, gb_int8, gb_fp8 };

// gb_function is an activation; its values are models.ActivationFunc's.
enum gb_function { gb_none, gb_relu, gb_relu6, gb_silu, gb_hardswish, gb_hardsigmoid, gb_sigmoid };

// gb_kernel is the one parameter of every kernel. Extents are those of y, n×c×h×w in
// either layout, where a kernel does not say otherwise.
typedef struct {
	const void *x, *z;
	void *y;
	const float *scale, *shift; // one for each channel, or NULL
	unsigned elements;          // how many the kernel computes, less than 2^31
	int x_type, z_type, y_type;
	float x_step, z_step, y_step; // of gb_int8 and gb_fp8
	int function;
	int nhwc;
	int c, h, w;
	int x_channels, from, y_channels, to, groups;   // gb_channels
	int x_h, x_w, window, stride, pad, maximum, count_pad; // gb_pool
	int x_gate, z_gate;                             // gb_multiply
} gb_kernel;

#endif
