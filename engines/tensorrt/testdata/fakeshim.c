// A shim without TensorRT: it keeps the ONNX model as its plan and has ONNX Runtime
// compute it, as work of the fake CUDA driver in the driver's memory. So the adapter,
// the models it exports and the order of its work are tested without a GPU.
//
// The environment says where the two libraries are (FAKE_TRT_COMPUTES, GENBENCH_CUDA),
// and what fails: FAKE_TRT_FAULT is "build", "plan" or "run", or "abi" for a shim of
// another genbench.
#include "abi.h"
#include "api.h"
#include "cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fault(const char *name) {
	const char *wanted = getenv("FAKE_TRT_FAULT");
	return wanted != NULL && strcmp(wanted, name) == 0;
}

static const gb_ort_api *ort;
static OrtEnv *environment;
static int32_t (*infer_version)(void);
static unsigned (*submit)(void *stream, void (*run)(void *argument), const void *argument, size_t bytes, int64_t ns);

static char *words(OrtStatus *status) {
	if (status == NULL) return NULL;
	char *text = strdup(ort->GetErrorMessage(status));
	ort->ReleaseStatus(status);
	return text;
}

static char *load(void *infer, void *parser) {
	if (dlsym(parser, "createNvOnnxParser_INTERNAL") == NULL) return strdup("symbol createNvOnnxParser_INTERNAL is missing");
	infer_version = (int32_t (*)(void))dlsym(infer, "getInferLibVersion");
	if (infer_version == NULL) return strdup("symbol getInferLibVersion is missing");
	// Every fake driver has a state of its own, so it is asked for anew.
	void *driver = dlopen(getenv("GENBENCH_CUDA"), RTLD_NOW | RTLD_NOLOAD);
	if (driver == NULL) return strdup("the fake CUDA driver is not loaded");
	submit = (unsigned (*)(void *, void (*)(void *), const void *, size_t, int64_t))dlsym(driver, "fake_cuda_submit");
	dlclose(driver);
	if (submit == NULL) return strdup("symbol fake_cuda_submit is missing");
	if (ort != NULL) return NULL;
	void *library = dlopen(getenv("FAKE_TRT_COMPUTES"), RTLD_NOW);
	if (library == NULL) return strdup(dlerror());
	const gb_ort_base *(*base)(void) = (const gb_ort_base *(*)(void))dlsym(library, "OrtGetApiBase");
	if (base == NULL) return strdup("symbol OrtGetApiBase is missing");
	ort = base()->GetApi(17);
	return words(ort->CreateEnv(gb_ort_log_error, "fake TensorRT", &environment));
}

static int version(void) { return infer_version(); }

static char *copy_out(const void *data, size_t size, gb_trt_blob *blob) {
	blob->data = malloc(size);
	blob->size = size;
	memcpy(blob->data, data, size);
	return NULL;
}

static void free_blob(gb_trt_blob *blob) {
	free(blob->data);
	blob->data = NULL;
	blob->size = 0;
}

// A plan is these words, the precision as a digit, and the model.
static const char magic[] = "fake plan ";
enum { head_bytes = sizeof magic };

static char *build(const gb_trt_build *what, gb_trt_blob *plan, gb_trt_blob *timing) {
	if (fault("build")) return strdup("parse model: node stem.conv (Conv): no implementation");
	plan->size = head_bytes + what->model_size;
	plan->data = malloc(plan->size);
	memcpy(plan->data, magic, head_bytes - 1);
	((char *)plan->data)[head_bytes - 1] = (char)('0' + what->precision);
	memcpy((char *)plan->data + head_bytes, what->model, what->model_size);
	return copy_out("times", 5, timing);
}

// What is read of ONNX's protobuf: the graph (field 7) and in it the first input
// (11) and output (12): name (1), type (2), its tensor (1), with element type (1)
// and shape (2), whose dims (1) have a value (1).

typedef struct { const unsigned char *at, *end; } span;

static uint64_t varint(span *s) {
	uint64_t value = 0;
	for (int shift = 0; s->at < s->end && shift < 64; shift += 7) {
		unsigned char byte = *s->at++;
		value |= (uint64_t)(byte & 127) << shift;
		if (byte < 128) break;
	}
	return value;
}

// next gives the following field's number, 0 at the end; a nested message in part,
// a number in value.
static int next(span *s, span *part, uint64_t *value) {
	if (s->at >= s->end) return 0;
	uint64_t key = varint(s);
	switch (key & 7) {
	case 0: *value = varint(s); break;
	case 1: s->at += 8; break;
	case 5: s->at += 4; break;
	case 2:
		*value = varint(s);
		part->at = s->at;
		part->end = s->at += *value;
		break;
	default: return 0;
	}
	return (int)(key >> 3);
}

static span inside(span message, int field) {
	span part = {0}, none = {0};
	uint64_t value;
	for (int number; (number = next(&message, &part, &value)) != 0;)
		if (number == field) return part;
	return none;
}

typedef struct {
	gb_trt_tensor public;
	char name[64];
	void *address;
	size_t bytes;
	int onnx_type;
} tensor_state;

static void read_tensor(span info, int input, tensor_state *t) {
	span part, name = inside(info, 1), tensor = inside(inside(info, 2), 1), shape = {0};
	uint64_t value = 0;
	snprintf(t->name, sizeof t->name, "%.*s", (int)(name.end - name.at), (const char *)name.at);
	t->public.name = t->name;
	t->public.input = input;
	for (int number; (number = next(&tensor, &part, &value)) != 0;) {
		if (number == 1) t->onnx_type = (int)value;
		if (number == 2) shape = part;
	}
	// TensorProto.DataType: FLOAT 1, FLOAT16 10, BFLOAT16 16.
	t->public.type = t->onnx_type == 1 ? gb_trt_float32 : t->onnx_type == 10 ? gb_trt_float16 : t->onnx_type == 16 ? gb_trt_bfloat16 : gb_trt_other;
	t->bytes = t->onnx_type == 1 ? 4 : 2;
	for (int number; (number = next(&shape, &part, &value)) != 0;) {
		if (number != 1) continue;
		span dim = part, unused;
		uint64_t extent = 0;
		next(&dim, &unused, &extent);
		t->public.dims[t->public.rank++] = (int64_t)extent;
		t->bytes *= extent;
	}
}

struct gb_trt_engine {
	OrtSession *session;
	tensor_state ends[2];
	int precision;
	uint64_t stream;
	char *failure;
};

static void close_engine(gb_trt_engine *engine) {
	if (engine->session != NULL) ort->ReleaseSession(engine->session);
	free(engine->failure);
	free(engine);
}

static char *open_engine(const void *plan, size_t size, gb_trt_engine **out) {
	if (fault("plan") || size < head_bytes || memcmp(plan, magic, head_bytes - 1) != 0) return strdup("read plan: magic tag does not match");
	gb_trt_engine *engine = calloc(1, sizeof *engine);
	const unsigned char *model = (const unsigned char *)plan + head_bytes;
	engine->precision = ((const char *)plan)[head_bytes - 1] - '0';
	span all = {model, model + size - head_bytes}, graph = inside(all, 7);
	read_tensor(inside(graph, 11), 1, &engine->ends[0]);
	read_tensor(inside(graph, 12), 0, &engine->ends[1]);
	OrtSessionOptions *options = NULL;
	char *failed = words(ort->CreateSessionOptions(&options));
	if (failed == NULL) failed = words(ort->SetIntraOpNumThreads(options, 1));
	if (failed == NULL) failed = words(ort->CreateSessionFromArray(environment, model, size - head_bytes, options, &engine->session));
	if (options != NULL) ort->ReleaseSessionOptions(options);
	if (failed != NULL) {
		close_engine(engine);
		return failed;
	}
	*out = engine;
	return NULL;
}

static int tensors(const gb_trt_engine *engine) {
	(void)engine;
	return 2;
}

static void tensor(const gb_trt_engine *engine, int index, gb_trt_tensor *out) { *out = engine->ends[index].public; }

static char *bind_tensor(gb_trt_engine *engine, const char *name, uint64_t address) {
	for (int i = 0; i < 2; i++) {
		tensor_state *t = &engine->ends[i];
		if (strcmp(t->name, name) != 0) continue;
		t->address = (void *)(uintptr_t)address;
		return NULL;
	}
	return strdup("no tensor of that name");
}

static void use(gb_trt_engine *engine, uint64_t stream) { engine->stream = stream; }

static void fail(gb_trt_engine *engine, char *text) {
	free(engine->failure);
	engine->failure = text;
}

// What was submitted keeps the addresses that were bound then.
typedef struct {
	gb_trt_engine *engine;
	void *addresses[2];
} work;

// compute is the work itself, done when the stream is waited for. What goes wrong
// here is a fault of the fake and must not pass for one of the adapter.
static void compute(void *argument) {
	work *w = argument;
	OrtMemoryInfo *memory = NULL;
	OrtValue *values[2] = {NULL, NULL};
	const char *names[2];
	char *failed = words(ort->CreateCpuMemoryInfo(gb_ort_device_allocator, gb_ort_mem_default, &memory));
	for (int i = 0; failed == NULL && i < 2; i++) {
		const tensor_state *t = &w->engine->ends[i];
		names[i] = t->name;
		failed = words(ort->CreateTensorWithDataAsOrtValue(memory, w->addresses[i], t->bytes, t->public.dims, (size_t)t->public.rank, t->onnx_type, &values[i]));
	}
	const OrtValue *in = values[0];
	if (failed == NULL) failed = words(ort->Run(w->engine->session, NULL, &names[0], &in, 1, &names[1], 1, &values[1]));
	for (int i = 0; i < 2; i++)
		if (values[i] != NULL) ort->ReleaseValue(values[i]);
	if (memory != NULL) ort->ReleaseMemoryInfo(memory);
	if (failed != NULL) {
		fprintf(stderr, "fake TensorRT: %s\n", failed);
		abort();
	}
}

static int run(void *session) {
	gb_trt_engine *engine = session;
	if (fault("run")) {
		fail(engine, strdup("enqueue: illegal memory access"));
		return 1;
	}
	work w = {engine, {engine->ends[0].address, engine->ends[1].address}};
	if (submit((void *)(uintptr_t)engine->stream, compute, &w, sizeof w, 50000) == 0) return 0;
	fail(engine, strdup("enqueue: the driver refused the work"));
	return 1;
}

static const char *failure(const gb_trt_engine *engine) { return engine->failure == NULL ? "" : engine->failure; }

static int64_t memory(const gb_trt_engine *engine) { return (int64_t)(engine->ends[0].bytes + engine->ends[1].bytes); }

static char *inspect(gb_trt_engine *engine, gb_trt_blob *json) {
	// In the order of the precisions of abi.h.
	static const char *formats[] = {"Float", "Float", "Half", "BFloat16", "Int8"};
	const char *tactic = engine->precision == gb_trt_tf32 ? "fake_tf32" : "fake";
	char text[256];
	int n = snprintf(text, sizeof text, "{\"Layers\": [{\"Name\": \"all\", \"TacticName\": \"%s\", \"Outputs\": [{\"Format/Datatype\": \"%s\"}]}]}",
		tactic, formats[engine->precision]);
	return copy_out(text, (size_t)n, json);
}

const gb_trt_table *gb_trt(void) {
	static gb_trt_table table = {
		GB_TRT_ABI, 101600, load, version, build, free_blob, open_engine, close_engine, tensors, tensor,
		bind_tensor, use, run, failure, memory, inspect,
	};
	table.abi = fault("abi") ? GB_TRT_ABI + 1 : GB_TRT_ABI;
	return &table;
}
