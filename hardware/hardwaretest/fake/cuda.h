// What doubles of CUDA's libraries ask of the fake driver.
#ifndef FAKE_CUDA_H
#define FAKE_CUDA_H

#include <stddef.h>
#include <stdint.h>

// fake_cuda_submit queues work on a stream, as a kernel launch does: it runs, on
// host memory, when the stream is next waited for, and takes ns of the device's
// virtual time. The argument's bytes are copied. The result is a CUresult.
unsigned fake_cuda_submit(void *stream, void (*run)(void *argument), const void *argument, size_t bytes, int64_t ns);

// fake_cuda_kernel makes a kernel known by name: what PTX says of it is not looked
// at, but for its parameters, whose bytes come one behind the other.
typedef void fake_cuda_body(const void *parameters, unsigned blocks, unsigned threads);
void fake_cuda_kernel(const char *name, fake_cuda_body *body);

// fake_cuda_number reads a setting of the environment, FAKE_CUDA_<key>.
long long fake_cuda_number(const char *key, long long otherwise);

#endif
