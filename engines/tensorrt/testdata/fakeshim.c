// A shim without TensorRT: it keeps the ONNX model as its plan and has ONNX Runtime
// compute it, as work of the fake CUDA driver in the driver's memory. So the adapter,
// the models it exports and the order of its work are tested without a GPU.
//
// The environment says where the two libraries are (FAKE_TRT_COMPUTES, GENBENCH_CUDA),
// and what fails: FAKE_TRT_FAULT is "build", "plan", "bind", "run" or "report"; "host",
// "unknown shape" or "other types" for tensors of that kind; "abi" for a shim of another
// genbench. FAKE_TRT_SEARCH is added to a plan: what a search chose.
// Layer i of a model takes i+1 microseconds. A build opens its library of kernels by the
// bare name, as TensorRT does.
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

// A plan is these words, the precision as a digit, what the search chose, the number of
// inputs whose shapes are fixed, each, and the model.
static const char magic[] = "fake plan ";
typedef struct {
	char magic[sizeof magic - 1];
	char precision;
	char chosen[16];
	int inputs;
} plan_head;
typedef struct {
	char name[64];
	int rank;
	int64_t dims[GB_TRT_MAX_DIMS];
} plan_input;

static char *build(const gb_trt_build *what, gb_trt_blob *plan, gb_trt_blob *timing) {
	if (fault("build")) return strdup("parse model: node stem.conv (Conv): no implementation");
	if (dlopen("libnvinfer_builder_resource.so.10.16.0", RTLD_NOW) == NULL) return strdup(dlerror());
	size_t inputs = (size_t)what->input_count;
	plan->size = sizeof(plan_head) + inputs * sizeof(plan_input) + what->model_size;
	plan_head *head = plan->data = calloc(1, plan->size);
	memcpy(head->magic, magic, sizeof head->magic);
	head->precision = (char)('0' + what->precision);
	// A search that starts from what another one timed chooses the same.
	const char *search = getenv("FAKE_TRT_SEARCH");
	if (what->timing_size > 0) snprintf(head->chosen, sizeof head->chosen, "%.*s", (int)what->timing_size, (const char *)what->timing);
	else snprintf(head->chosen, sizeof head->chosen, "%s", search == NULL ? "first" : search);
	head->inputs = what->input_count;
	plan_input *fixed = (plan_input *)(head + 1);
	for (size_t i = 0; i < inputs; i++) {
		snprintf(fixed[i].name, sizeof fixed[i].name, "%s", what->inputs[i].name);
		fixed[i].rank = what->inputs[i].rank;
		memcpy(fixed[i].dims, what->inputs[i].dims, sizeof fixed[i].dims);
	}
	memcpy(fixed + inputs, what->model, what->model_size);
	return copy_out(head->chosen, strlen(head->chosen), timing);
}

// What is read of ONNX's protobuf: the graph (field 7) and in it the inputs (11) and
// outputs (12): name (1), type (2), its tensor (1), with element type (1) and shape
// (2), whose dims (1) may have a value (1); and the nodes (1): name (3), operator (4).

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

enum { max_ends = 8 };

typedef struct {
	gb_trt_tensor public;
	char name[64];
	void *address;
	size_t bytes;
	int onnx_type;
	int open; // its shape is not known before an inference
} tensor_state;

// TensorProto.DataType: FLOAT 1, UINT8 2, INT8 3, INT32 6, INT64 7, BOOL 9, FLOAT16 10,
// BFLOAT16 16.
static void set_type(tensor_state *t, int onnx_type) {
	static const struct { int onnx, ours; size_t bytes; } types[] = {
		{1, gb_trt_float32, 4}, {2, gb_trt_unsigned8, 1}, {3, gb_trt_signed8, 1}, {6, gb_trt_signed32, 4},
		{7, gb_trt_signed64, 8}, {9, gb_trt_boolean, 1}, {10, gb_trt_float16, 2}, {16, gb_trt_bfloat16, 2},
	};
	t->onnx_type = onnx_type;
	t->public.type = gb_trt_other;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (types[i].onnx != onnx_type) continue;
		t->public.type = types[i].ours;
		t->bytes = types[i].bytes;
		for (int k = 0; k < t->public.rank; k++) t->bytes *= (size_t)t->public.dims[k];
	}
}

static void read_tensor(span info, int input, tensor_state *t) {
	span part, name = inside(info, 1), tensor = inside(inside(info, 2), 1), shape = {0};
	uint64_t value = 0;
	int type = 0;
	snprintf(t->name, sizeof t->name, "%.*s", (int)(name.end - name.at), (const char *)name.at);
	t->public.name = t->name;
	t->public.input = input;
	t->open = 1; // without a shape
	for (int number; (number = next(&tensor, &part, &value)) != 0;) {
		if (number == 1) type = (int)value;
		if (number == 2) {
			shape = part;
			t->open = 0;
		}
	}
	for (int number; (number = next(&shape, &part, &value)) != 0;) {
		if (number != 1) continue;
		span dim = part, unused;
		uint64_t extent = 0;
		if (next(&dim, &unused, &extent) != 1) t->open = 1; // a name or nothing
		t->public.dims[t->public.rank++] = (int64_t)extent;
	}
	set_type(t, type);
}

struct gb_trt_engine {
	OrtSession *session;
	tensor_state ends[max_ends]; // inputs, then outputs
	int inputs, count;
	char *inspection; // JSON
	char *times;
	size_t times_bytes;
	int precision;
	int watched, ran;
	uint64_t stream;
	char *failure;
};

static void close_engine(gb_trt_engine *engine) {
	if (engine->session != NULL) ort->ReleaseSession(engine->session);
	free(engine->inspection);
	free(engine->times);
	free(engine->failure);
	free(engine);
}

static char *make_value(tensor_state *t, void *memory, OrtValue **value) {
	OrtMemoryInfo *where = NULL;
	char *failed = words(ort->CreateCpuMemoryInfo(gb_ort_device_allocator, gb_ort_mem_default, &where));
	if (failed != NULL) return failed;
	failed = words(ort->CreateTensorWithDataAsOrtValue(where, memory, t->bytes, t->public.dims, (size_t)t->public.rank, (unsigned)t->onnx_type, value));
	ort->ReleaseMemoryInfo(where);
	return failed;
}

// learn finds out the shapes of outputs by an inference on zeros.
static char *learn(gb_trt_engine *engine) {
	const char *names[max_ends];
	OrtValue *values[max_ends] = {0};
	void *zeros[max_ends] = {0};
	char *failed = NULL;
	for (int i = 0; i < engine->count; i++) {
		names[i] = engine->ends[i].name;
		if (i < engine->inputs && failed == NULL) {
			zeros[i] = calloc(1, engine->ends[i].bytes + 1);
			failed = make_value(&engine->ends[i], zeros[i], &values[i]);
		}
	}
	if (failed == NULL) {
		failed = words(ort->Run(engine->session, NULL, names, (const OrtValue *const *)values, (size_t)engine->inputs,
			names + engine->inputs, (size_t)(engine->count - engine->inputs), values + engine->inputs));
	}
	for (int i = engine->inputs; failed == NULL && i < engine->count; i++) {
		tensor_state *t = &engine->ends[i];
		OrtTensorTypeAndShapeInfo *info = NULL;
		size_t rank = 0;
		failed = words(ort->GetTensorTypeAndShape(values[i], &info));
		if (failed == NULL) failed = words(ort->GetDimensionsCount(info, &rank));
		if (failed == NULL) failed = words(ort->GetDimensions(info, t->public.dims, rank));
		if (info != NULL) ort->ReleaseTensorTypeAndShapeInfo(info);
		t->public.rank = (int)rank;
		set_type(t, t->onnx_type);
	}
	for (int i = 0; i < engine->count; i++) {
		if (values[i] != NULL) ort->ReleaseValue(values[i]);
		free(zeros[i]);
	}
	return failed;
}

// read_nodes makes a layer of every node, by another name, as TensorRT gives them.
static void read_nodes(gb_trt_engine *engine, span graph, const char *chosen) {
	// In the order of the precisions of abi.h.
	static const char *formats[] = {"Float", "Float", "Half", "BFloat16", "Int8", "FP8"};
	size_t json_bytes = 0;
	FILE *json = open_memstream(&engine->inspection, &json_bytes);
	FILE *times = open_memstream(&engine->times, &engine->times_bytes);
	fprintf(json, "{\"Layers\": [");
	span part;
	uint64_t value;
	int layer = 0;
	for (int number; (number = next(&graph, &part, &value)) != 0;) {
		if (number != 1) continue;
		span name = inside(part, 3), op = inside(part, 4);
		int name_bytes = (int)(name.end - name.at), op_bytes = (int)(op.end - op.at);
		fprintf(json, "%s{\"Name\": \"layer %d\", \"LayerType\": \"%.*s\", \"TacticName\": \"fake%s_%s\", \"Metadata\": \"[ONNX Layer: %.*s]\", "
			"\"Outputs\": [{\"Format/Datatype\": \"%s\"}]}", layer == 0 ? "" : ", ", layer, op_bytes, (const char *)op.at,
			engine->precision == gb_trt_tf32 ? "_tf32" : "", chosen, name_bytes, (const char *)name.at, formats[engine->precision]);
		fprintf(times, "%g layer %d", 0.001 * (layer + 1), layer);
		fputc(0, times);
		layer++;
	}
	fprintf(json, "], \"Bindings\": []}");
	fclose(json);
	fclose(times);
}

static char *open_engine(const void *plan, size_t size, gb_trt_engine **out) {
	const plan_head *head = plan;
	if (fault("plan") || size < sizeof *head || memcmp(head->magic, magic, sizeof head->magic) != 0) return strdup("read plan: magic tag does not match");
	gb_trt_engine *engine = calloc(1, sizeof *engine);
	const plan_input *fixed = (const plan_input *)(head + 1);
	const unsigned char *model = (const unsigned char *)(fixed + head->inputs), *end = (const unsigned char *)plan + size;
	engine->precision = head->precision - '0';
	span all = {model, end}, graph = inside(all, 7), fields = graph, part;
	uint64_t value;
	int open = 0;
	for (int input = 1; input >= 0; input--) {
		fields = graph;
		for (int number; (number = next(&fields, &part, &value)) != 0;)
			if (number == (input ? 11 : 12) && engine->count < max_ends) read_tensor(part, input, &engine->ends[engine->count++]);
		if (input) engine->inputs = engine->count;
	}
	for (int i = 0; i < engine->count; i++) {
		tensor_state *t = &engine->ends[i];
		for (int k = 0; i < engine->inputs && k < head->inputs; k++) {
			if (strcmp(fixed[k].name, t->name) != 0) continue;
			t->public.rank = fixed[k].rank;
			memcpy(t->public.dims, fixed[k].dims, sizeof t->public.dims);
			t->open = 0;
			set_type(t, t->onnx_type);
		}
		open |= t->open;
	}
	read_nodes(engine, graph, head->chosen);
	OrtSessionOptions *options = NULL;
	char *failed = words(ort->CreateSessionOptions(&options));
	if (failed == NULL) failed = words(ort->SetIntraOpNumThreads(options, 1));
	// ONNX Runtime's fusions are wrong about E4M3 (engines/onnxruntime, order).
	if (failed == NULL && engine->precision == gb_trt_fp8) failed = words(ort->SetSessionGraphOptimizationLevel(options, gb_ort_optimise_basic));
	// Without this its sums of 8-bit products overflow on x86 without VNNI (likewise).
	if (failed == NULL) failed = words(ort->AddSessionConfigEntry(options, "session.x64quantprecision", "1"));
	if (failed == NULL) failed = words(ort->CreateSessionFromArray(environment, model, (size_t)(end - model), options, &engine->session));
	if (failed == NULL && open) failed = learn(engine);
	if (options != NULL) ort->ReleaseSessionOptions(options);
	if (failed != NULL) {
		close_engine(engine);
		return failed;
	}
	*out = engine;
	return NULL;
}

static int tensors(const gb_trt_engine *engine) { return engine->count; }

static void tensor(const gb_trt_engine *engine, int index, gb_trt_tensor *out) {
	*out = engine->ends[index].public;
	out->host = fault("host");
	if (fault("unknown shape")) out->dims[0] = -1;
	if (fault("other types")) out->type = gb_trt_signed8;
}

static void fail(gb_trt_engine *engine, char *text) {
	free(engine->failure);
	engine->failure = text;
}

static char *bind_tensor(gb_trt_engine *engine, const char *name, uint64_t address) {
	if (fault("bind")) {
		fail(engine, strdup("bind: misaligned address"));
		return strdup(engine->failure);
	}
	for (int i = 0; i < engine->count; i++) {
		if (strcmp(engine->ends[i].name, name) != 0) continue;
		engine->ends[i].address = (void *)(uintptr_t)address;
		return NULL;
	}
	return strdup("no tensor of that name");
}

static void use(gb_trt_engine *engine, uint64_t stream) { engine->stream = stream; }

// What was submitted keeps the addresses that were bound then.
typedef struct {
	gb_trt_engine *engine;
	void *addresses[max_ends];
} work;

// compute is the work itself, done when the stream is waited for. What goes wrong
// here is a fault of the fake and must not pass for one of the adapter.
static void compute(void *argument) {
	work *w = argument;
	gb_trt_engine *engine = w->engine;
	const char *names[max_ends];
	OrtValue *values[max_ends] = {0};
	char *failed = NULL;
	for (int i = 0; i < engine->count; i++) {
		names[i] = engine->ends[i].name;
		if (failed == NULL) failed = make_value(&engine->ends[i], w->addresses[i], &values[i]);
	}
	if (failed == NULL) {
		failed = words(ort->Run(engine->session, NULL, names, (const OrtValue *const *)values, (size_t)engine->inputs,
			names + engine->inputs, (size_t)(engine->count - engine->inputs), values + engine->inputs));
	}
	for (int i = 0; i < engine->count; i++)
		if (values[i] != NULL) ort->ReleaseValue(values[i]);
	engine->ran = engine->watched;
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
	work w = {.engine = engine};
	for (int i = 0; i < engine->count; i++) w.addresses[i] = engine->ends[i].address;
	if (submit((void *)(uintptr_t)engine->stream, compute, &w, sizeof w, 50000) == 0) return 0;
	fail(engine, strdup("enqueue: the driver refused the work"));
	return 1;
}

static const char *failure(const gb_trt_engine *engine) { return engine->failure == NULL ? "" : engine->failure; }

static int64_t memory(const gb_trt_engine *engine) {
	size_t bytes = 0;
	for (int i = 0; i < engine->count; i++) bytes += engine->ends[i].bytes;
	return (int64_t)bytes;
}

static char *inspect(gb_trt_engine *engine, gb_trt_blob *json) { return copy_out(engine->inspection, strlen(engine->inspection), json); }

static char *watch(gb_trt_engine *engine) {
	engine->watched = 1;
	return NULL;
}

static char *layers(gb_trt_engine *engine, gb_trt_blob *times) {
	if (fault("report")) return strdup("report the layers' times: no profile");
	if (!engine->ran) return strdup("report the layers' times: no run was watched to its end");
	engine->ran = 0;
	return copy_out(engine->times, engine->times_bytes, times);
}

const gb_trt_table *gb_trt(void) {
	static gb_trt_table table = {
		GB_TRT_ABI, 101600, load, version, build, free_blob, open_engine, close_engine, tensors, tensor,
		bind_tensor, use, run, failure, memory, inspect, watch, layers,
	};
	table.abi = fault("abi") ? GB_TRT_ABI + 1 : GB_TRT_ABI;
	return &table;
}
