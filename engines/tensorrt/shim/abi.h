// The C face of TensorRT, whose own API is C++ classes. genbench opens a shim
// library at run time and asks it for one table; the shim is compiled where
// TensorRT's headers are, one for each major version, because the layout of the
// classes' tables changes between them.
//
// Functions that can fail return NULL, or a message which the caller frees.
#ifndef GENBENCH_TRT_ABI_H
#define GENBENCH_TRT_ABI_H

#include <stddef.h>
#include <stdint.h>

// GB_TRT_ABI changes with anything in this file.
#define GB_TRT_ABI 3

// What a model is built in; the numbers are ours.
enum { gb_trt_fp32, gb_trt_tf32, gb_trt_fp16, gb_trt_bf16, gb_trt_int8, gb_trt_fp8 };

// Element types of inputs and outputs; the numbers are ours.
enum {
	gb_trt_float32, gb_trt_float16, gb_trt_bfloat16,
	gb_trt_signed8, gb_trt_unsigned8, gb_trt_signed32, gb_trt_signed64, gb_trt_boolean,
	gb_trt_other
};

#define GB_TRT_MAX_DIMS 8

// A gb_trt_tensor describes an input or output. The name belongs to the engine.
typedef struct {
	const char *name;
	int input; // 1 for an input, 0 for an output
	int host; // 1 where TensorRT wants it in the host's memory
	int type;
	int rank;
	int64_t dims[GB_TRT_MAX_DIMS];
} gb_trt_tensor;

// A gb_trt_blob is bytes that the shim allocated; free_blob gives them back.
typedef struct {
	void *data;
	size_t size;
} gb_trt_blob;

// A gb_trt_shape fixes the extents of an input that the model leaves open.
typedef struct {
	const char *name;
	int rank;
	int64_t dims[GB_TRT_MAX_DIMS];
} gb_trt_shape;

typedef struct {
	const void *model; // ONNX
	size_t model_size;
	const char *path; // of the model's file, beside which its other files lie; NULL without
	const gb_trt_shape *inputs;
	int input_count;
	const void *timing; // a timing cache of an earlier build; NULL for none
	size_t timing_size;
	int precision;
} gb_trt_build;

// A gb_trt_engine is a plan on the current CUDA context with one execution context.
typedef struct gb_trt_engine gb_trt_engine;

typedef struct {
	int abi; // GB_TRT_ABI of the shim
	int headers; // NV_TENSORRT_VERSION that it was compiled with

	// load takes handles of dlopen: libnvinfer and libnvonnxparser. It refuses a major
	// version other than the headers', and an older version, whose classes lack
	// functions that the headers have. It comes before all else.
	char *(*load)(void *infer, void *parser);

	// version is the library's, in the numbering of its headers.
	int (*version)(void);

	// build compiles a model, timing candidates on the current device. A timing cache that
	// the library does not take is left out. timing may come back empty.
	char *(*build)(const gb_trt_build *what, gb_trt_blob *plan, gb_trt_blob *timing);
	void (*free_blob)(gb_trt_blob *blob);

	char *(*open)(const void *plan, size_t size, gb_trt_engine **engine);
	void (*close)(gb_trt_engine *engine);

	int (*tensors)(const gb_trt_engine *engine);
	void (*tensor)(const gb_trt_engine *engine, int index, gb_trt_tensor *out);

	// bind gives a tensor its device memory, which stays the caller's.
	char *(*bind)(gb_trt_engine *engine, const char *name, uint64_t address);

	// use names the CUstream that run submits to.
	void (*use)(gb_trt_engine *engine, uint64_t stream);

	// run is the entry of the timed loop: one inference of a gb_trt_engine. It
	// gives 0 or 1; failure is the library's words for the last 1, or for a bind that
	// failed since, not to be freed.
	int (*run)(void *engine);
	const char *(*failure)(const gb_trt_engine *engine);

	// memory is what the execution context holds on the device for itself, in bytes:
	// neither weights nor inputs and outputs.
	int64_t (*memory)(const gb_trt_engine *engine);

	// inspect gives the layers as JSON, in TensorRT's own form.
	char *(*inspect)(gb_trt_engine *engine, gb_trt_blob *json);

	// watch has every further run record when its layers begin and end, which makes it
	// slower. layers then gives what those of the last run took, once the stream has
	// been waited for: for each, in the order of execution, the milliseconds in
	// decimal, a space, the layer's name, and a zero byte.
	char *(*watch)(gb_trt_engine *engine);
	char *(*layers)(gb_trt_engine *engine, gb_trt_blob *times);
} gb_trt_table;

// gb_trt is the one symbol of a shim.
#ifdef __cplusplus
extern "C"
#endif
const gb_trt_table *gb_trt(void);

#endif
