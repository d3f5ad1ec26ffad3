// The words of CUDA C that kernels.cu uses, in C, for a grid of one thread.
#ifndef GENBENCH_KERNELS_HOST_H
#define GENBENCH_KERNELS_HOST_H

#include <math.h>
#include <string.h>

#define KERNEL(name) \
	static void name##_host(const gb_kernel a); \
	void name(const void *parameters, unsigned blocks, unsigned threads) { \
		(void)blocks, (void)threads; \
		gb_kernel a; \
		memcpy(&a, parameters, sizeof a); \
		name##_host(a); \
	} \
	static void name##_host(const gb_kernel a)
#define ELEMENTS for (unsigned i = 0; i < a.elements; i++)
#define PRIVATE static inline

PRIVATE float half_to_float(unsigned short v) {
	_Float16 h;
	memcpy(&h, &v, sizeof h);
	return (float)h;
}
PRIVATE unsigned short float_to_half(float f) {
	_Float16 h = (_Float16)f;
	unsigned short v;
	memcpy(&v, &h, sizeof v);
	return v;
}
PRIVATE float bits_to_float(unsigned v) {
	float f;
	memcpy(&f, &v, sizeof f);
	return f;
}
PRIVATE unsigned float_to_bits(float f) {
	unsigned v;
	memcpy(&v, &f, sizeof v);
	return v;
}

#endif
