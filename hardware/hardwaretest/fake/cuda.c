// A libcuda.so.1 without a GPU. Device memory is host memory, and time on the device
// is virtual: what is submitted to a stream runs when the stream is waited for, not
// before, so that a caller who forgets to wait reads what was there. Answers are set
// by the environment, at every call (a CUresult stands as its number in cuda.h):
//
//	FAKE_CUDA_DRIVER      version, as cuDriverGetVersion counts; 13000
//	FAKE_CUDA_INIT        what cuInit returns; 0
//	FAKE_CUDA_DEVICES     how many devices there are; 1
//	FAKE_CUDA_CAPABILITY  of the devices, ten times the major and the minor; 80
//	FAKE_CUDA_MIG         1: a device is a MIG instance by its name
//	FAKE_CUDA_MEMORY      bytes of a device; 4 GiB
//	FAKE_CUDA_JIT         what loading a module returns; 0
//	FAKE_CUDA_LAUNCH      what launching a kernel returns; 0
//	FAKE_CUDA_BREAK       1: the next kernel that runs breaks the device, which
//	                      returns FAKE_CUDA_CODE (719) from then on
//	FAKE_CUDA_CAPTURE     what beginning a capture returns; 0
//	FAKE_CUDA_MHZ         of the multiprocessors, from their last reading on; 1410
//	FAKE_CUDA_EXCLUSIVE   a file: one process at a time may have a context
//	FAKE_CUDA_HANG        1: a stream asked whether it is done says no
//	FAKE_CUDA_UNIFIED     1: a captured copy tells addresses, not kinds of memory
#include "cuda.h"

#include <stdio.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { invalid_value = 1, out_of_memory = 2, device_unavailable = 46, no_device = 100, invalid_device = 101, illegal_address = 700, not_found = 500,
	not_ready = 600, invalid_image = 200, invalid_context = 201, invalid_handle = 400, capture_unsupported = 900,
	capture_invalidated = 901 };
enum { multiprocessors = 4, launch_ns = 2000, copy_ns = 1000, canary_bytes = 64 };

long long fake_cuda_number(const char *key, long long otherwise) {
	char name[64];
	snprintf(name, sizeof name, "FAKE_CUDA_%s", key);
	const char *value = getenv(name);
	return value ? strtoll(value, NULL, 0) : otherwise;
}

// A task is queued work, with a copy of its argument.
typedef struct task task;
struct task {
	task *next;
	void (*run)(void *argument);
	int64_t ns;
	int kernel; // whether FAKE_CUDA_BREAK applies
	size_t bytes;
	_Alignas(16) char argument[];
};

typedef struct {
	task *first, **last;
} queue;

struct stream {
	struct stream *next; // of all that there are
	queue work;
	queue *capture; // where submitted work goes instead while capturing
	int64_t now, counted; // the second of the cycles
	double cycles;
};

struct event {
	int64_t ns;
	int recorded;
};

typedef struct {
	char name[64];
	fake_cuda_body *body;
	int count;
	size_t bytes[16]; // of each parameter
} function;

typedef struct {
	int count;
	function functions[64];
} module;

typedef struct block block;
struct block {
	block *next;
	size_t bytes;
	char *memory;
};

static struct {
	unsigned broken;
	size_t used;
	block *blocks;
	struct stream *streams;
	int known;
	struct {
		char name[64];
		fake_cuda_body *body;
	} kernels[64];
} fake;

static __thread void *current; // context

static queue *reset(queue *q) {
	q->first = NULL;
	q->last = &q->first;
	return q;
}

static unsigned push(struct stream *s, void (*run)(void *), const void *argument, size_t bytes, int64_t ns, int kernel) {
	if (fake.broken) return fake.broken;
	if (s == NULL) return invalid_handle;
	task *t = malloc(sizeof *t + bytes);
	*t = (task){.run = run, .ns = ns, .kernel = kernel, .bytes = bytes};
	if (bytes > 0) memcpy(t->argument, argument, bytes);
	queue *q = s->capture ? s->capture : &s->work;
	*q->last = t;
	q->last = &t->next;
	return 0;
}

unsigned fake_cuda_submit(void *stream, void (*run)(void *), const void *argument, size_t bytes, int64_t ns) {
	return push(stream, run, argument, bytes, ns, 1);
}

void fake_cuda_kernel(const char *name, fake_cuda_body *body) {
	for (int i = 0; i < fake.known; i++) {
		if (strcmp(fake.kernels[i].name, name) == 0) return;
	}
	snprintf(fake.kernels[fake.known].name, sizeof fake.kernels[0].name, "%s", name);
	fake.kernels[fake.known++].body = body;
}

static struct stream *running; // whose time a task may read or set

static unsigned drain(struct stream *s) {
	if (s == NULL) return invalid_handle;
	running = s;
	while (s->work.first) {
		task *t = s->work.first;
		s->work.first = t->next;
		if (!fake.broken && t->kernel && fake_cuda_number("BREAK", 0)) fake.broken = (unsigned)fake_cuda_number("CODE", 719);
		if (!fake.broken) t->run(t->argument);
		s->now += t->ns;
		free(t);
	}
	reset(&s->work);
	return fake.broken;
}

unsigned cuDriverGetVersion(int *version) { return *version = (int)fake_cuda_number("DRIVER", 13000), 0; }
unsigned cuInit(unsigned flags) { return flags ? invalid_value : (unsigned)fake_cuda_number("INIT", 0); }

static const struct {
	unsigned code;
	const char *name, *text;
} words[] = {
	{0, "CUDA_SUCCESS", "no error"},
	{1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
	{2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
	{34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
	{46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
	{100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
	{101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
	{200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
	{201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
	{222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
	{400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
	{500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
	{600, "CUDA_ERROR_NOT_READY", "device not ready"},
	{700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
	{701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
	{719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
	{900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
	{901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
	{999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

unsigned cuGetErrorName(unsigned code, const char **name) {
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (words[i].code == code) return *name = words[i].name, 0;
	}
	return *name = NULL, invalid_value;
}
unsigned cuGetErrorString(unsigned code, const char **text) {
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (words[i].code == code) return *text = words[i].text, 0;
	}
	return *text = NULL, invalid_value;
}

static int devices(void) { return (int)fake_cuda_number("DEVICES", 1); }
unsigned cuDeviceGetCount(int *n) { return (*n = devices()) ? 0 : no_device; }
unsigned cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal < devices() ? 0 : invalid_device; }
unsigned cuDeviceGetName(char *name, int size, int device) {
	(void)device;
	return snprintf(name, (size_t)size, "Fake GPU%s", fake_cuda_number("MIG", 0) ? " MIG 1g.5gb" : ""), 0;
}
unsigned cuDeviceGetUuid_v2(char *uuid, int device) {
	for (int i = 0; i < 16; i++) uuid[i] = (char)(0xa0 + i);
	return uuid[15] = (char)device, 0;
}
unsigned cuDeviceTotalMem_v2(size_t *bytes, int device) { return (void)device, *bytes = (size_t)fake_cuda_number("MEMORY", 4LL << 30), 0; }
unsigned cuDeviceGetAttribute(int *value, unsigned attribute, int device) {
	(void)device;
	int capability = (int)fake_cuda_number("CAPABILITY", 80);
	switch (attribute) {
	case 16: return *value = multiprocessors, 0;
	case 38: return *value = 1 << 16, 0;
	case 75: return *value = capability / 10, 0;
	case 76: return *value = capability % 10, 0;
	}
	return invalid_value;
}
// The lock of the file is the board's: the system gives it back with the process.
static int retained, board = -1;
unsigned cuDevicePrimaryCtxRetain(void **context, int device) {
	static char contexts[16];
	const char *exclusive = getenv("FAKE_CUDA_EXCLUSIVE");
	if (exclusive && board < 0) {
		board = open(exclusive, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (board < 0 || flock(board, LOCK_EX | LOCK_NB)) {
			if (board >= 0) close(board);
			return board = -1, device_unavailable;
		}
	}
	retained++;
	return *context = &contexts[device], fake.broken;
}
unsigned cuDevicePrimaryCtxRelease_v2(int device) {
	(void)device;
	if (--retained == 0 && board >= 0) {
		close(board);
		board = -1;
	}
	return 0;
}
unsigned cuCtxSetCurrent(void *context) { return current = context, fake.broken; }

unsigned cuMemAlloc_v2(char **pointer, size_t bytes) {
	if (fake.broken) return fake.broken;
	if (!current) return invalid_context;
	if (bytes == 0) return invalid_value;
	if (fake.used + bytes > (size_t)fake_cuda_number("MEMORY", 4LL << 30)) return out_of_memory;
	block *b = malloc(sizeof *b);
	void *memory;
	if (posix_memalign(&memory, 256, bytes + canary_bytes) != 0) return free(b), out_of_memory;
	// What nobody wrote is no zero; of a huge piece a part must do.
	memset(memory, 0xa5, bytes < 1 << 20 ? bytes : 1 << 20);
	memset((char *)memory + bytes, 0xa5, canary_bytes);
	*b = (block){fake.blocks, bytes, memory};
	fake.blocks = b;
	fake.used += bytes;
	*pointer = memory;
	return 0;
}
// Memory is freed when all submitted work has ended, as the driver does it: work that a
// failed block left behind must not write to what is somebody else's by then. A write
// behind the end of a piece of memory is found here.
unsigned cuMemFree_v2(char *pointer) {
	if (!current) return invalid_context;
	for (struct stream *s = fake.streams; s; s = s->next) drain(s);
	for (block **at = &fake.blocks; *at; at = &(*at)->next) {
		block *b = *at;
		if (b->memory != pointer) continue;
		int spoilt = 0;
		for (int i = 0; i < canary_bytes; i++) spoilt |= (unsigned char)pointer[b->bytes + (size_t)i] != 0xa5;
		*at = b->next;
		fake.used -= b->bytes;
		free(pointer);
		free(b);
		return fake.broken ? fake.broken : spoilt ? illegal_address : 0;
	}
	return invalid_value;
}
static int holds(const char *pointer, size_t bytes) {
	for (block *b = fake.blocks; b; b = b->next) {
		if (pointer >= b->memory && pointer + bytes <= b->memory + b->bytes) return 1;
	}
	return 0;
}
unsigned cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) {
	if (flags || !current) return invalid_value;
	return (*pointer = malloc(bytes)) ? 0 : out_of_memory;
}
unsigned cuMemFreeHost(void *pointer) { return free(pointer), 0; }

struct copy {
	char *to;
	const char *from;
	size_t bytes;
};
static void run_copy(void *argument) {
	struct copy *c = argument;
	memcpy(c->to, c->from, c->bytes);
}
static void run_fill(void *argument) {
	struct copy *c = argument;
	memset(c->to, (int)(size_t)c->from, c->bytes);
}
unsigned cuMemcpyHtoDAsync_v2(char *to, const void *from, size_t bytes, struct stream *s) {
	struct copy c = {to, from, bytes};
	return holds(to, bytes) ? push(s, run_copy, &c, sizeof c, copy_ns, 0) : invalid_value;
}
unsigned cuMemcpyDtoHAsync_v2(void *to, const char *from, size_t bytes, struct stream *s) {
	struct copy c = {to, from, bytes};
	return holds(from, bytes) ? push(s, run_copy, &c, sizeof c, copy_ns, 0) : invalid_value;
}
unsigned cuMemsetD8Async(char *to, unsigned char value, size_t bytes, struct stream *s) {
	struct copy c = {to, (const char *)(size_t)value, bytes};
	return holds(to, bytes) ? push(s, run_fill, &c, sizeof c, copy_ns, 0) : invalid_value;
}

unsigned cuStreamCreate(struct stream **s, unsigned flags) {
	if (fake.broken) return fake.broken;
	if (flags != 1 || !current) return invalid_value;
	*s = calloc(1, sizeof **s);
	(*s)->next = fake.streams;
	fake.streams = *s;
	reset(&(*s)->work);
	return 0;
}
unsigned cuStreamDestroy_v2(struct stream *s) {
	unsigned result = drain(s);
	struct stream **at = &fake.streams;
	while (*at && *at != s) at = &(*at)->next;
	if (*at) *at = s->next;
	free(s);
	return result;
}
unsigned cuStreamSynchronize(struct stream *s) {
	if (s && s->capture) return capture_unsupported;
	return drain(s);
}
unsigned cuStreamQuery(struct stream *s) {
	if (fake_cuda_number("HANG", 0)) return not_ready;
	return drain(s);
}

unsigned cuEventCreate(struct event **e, unsigned flags) {
	if (flags || !current) return invalid_value;
	*e = calloc(1, sizeof **e);
	return fake.broken;
}
// Work that records the event may still be queued, so its memory stays.
unsigned cuEventDestroy_v2(struct event *e) { return (void)e, fake.broken; }
static void run_record(void *argument) {
	struct event *e = *(struct event **)argument;
	*e = (struct event){running->now, 1};
}
unsigned cuEventRecord(struct event *e, struct stream *s) {
	e->recorded = 0;
	return push(s, run_record, &e, sizeof e, 0, 0);
}
unsigned cuEventElapsedTime(float *ms, const struct event *from, const struct event *to) {
	if (fake.broken) return fake.broken;
	if (!from->recorded || !to->recorded) return not_ready;
	*ms = (float)((double)(to->ns - from->ns) / 1e6);
	return 0;
}

// parameters reads the sizes of a kernel's parameters from the text behind its name.
static void parameters(function *f, const char *text) {
	const char *end = strchr(text, ')');
	for (const char *p = strstr(text, ".param"); p && p < end; p = strstr(p + 1, ".param")) {
		const char *stop = strpbrk(p, ",)"), *array = strchr(p, '[');
		size_t bytes = strstr(p, "64") && strstr(p, "64") < strchr(p, '_') ? 8 : 4;
		if (array && array < stop) bytes = (size_t)atoi(array + 1);
		f->bytes[f->count++] = bytes;
	}
}

static void run_delay(const void *p, unsigned blocks, unsigned threads) {
	(void)blocks, (void)threads;
	running->now += *(const int64_t *)p - launch_ns;
}
static void run_hold(const void *p, unsigned blocks, unsigned threads) {
	(void)blocks, (void)threads;
	unsigned *gate = *(unsigned *const *)p;
	running->now -= launch_ns; // it began long before it could end
	if (gate[0]) return;
	running->now += ((const int64_t *)p)[1];
	gate[1] = 1;
}
static void run_ticks(const void *p, unsigned blocks, unsigned threads) {
	(void)threads;
	uint64_t *out = *(uint64_t *const *)p;
	running->cycles += (double)(running->now - running->counted) * (double)fake_cuda_number("MHZ", 1410) / 1000;
	running->counted = running->now;
	for (unsigned i = 0; i < blocks; i++) {
		out[3 * i] = i % multiprocessors;
		out[3 * i + 1] = (uint64_t)running->now;
		out[3 * i + 2] = (uint64_t)running->cycles;
	}
}

unsigned cuModuleLoadDataEx(module **m, const char *ptx, unsigned count, unsigned *options, void **values) {
	unsigned result = (unsigned)fake_cuda_number("JIT", 0);
	if (result || !strstr(ptx, ".entry")) {
		if (count == 2 && options[0] == 5 && options[1] == 6) snprintf(values[0], (size_t)values[1], "the fake compiles nothing today");
		return result ? result : invalid_image;
	}
	fake_cuda_kernel("gb_delay", run_delay);
	fake_cuda_kernel("gb_hold", run_hold);
	fake_cuda_kernel("gb_ticks", run_ticks);
	*m = calloc(1, sizeof **m);
	for (const char *p = strstr(ptx, ".entry "); p; p = strstr(p + 1, ".entry ")) {
		function *f = &(*m)->functions[(*m)->count++];
		size_t length = strcspn(p + 7, "(");
		snprintf(f->name, sizeof f->name, "%.*s", (int)length, p + 7);
		parameters(f, p + 7 + length);
		for (int i = 0; i < fake.known; i++) {
			if (strcmp(fake.kernels[i].name, f->name) == 0) f->body = fake.kernels[i].body;
		}
	}
	return fake.broken;
}
unsigned cuModuleGetFunction(function **f, module *m, const char *name) {
	for (int i = 0; i < m->count; i++) {
		if (strcmp(m->functions[i].name, name) == 0 && m->functions[i].body) return *f = &m->functions[i], 0;
	}
	return not_found;
}
unsigned cuModuleUnload(module *m) { return free(m), fake.broken; }

struct launch {
	fake_cuda_body *body;
	unsigned blocks, threads;
	_Alignas(8) char parameters[512];
};
static void run_launch(void *argument) {
	struct launch *l = argument;
	l->body(l->parameters, l->blocks, l->threads);
}
unsigned cuLaunchKernel(function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
	unsigned shared, struct stream *s, void **params, void **extra) {
	unsigned result = (unsigned)fake_cuda_number("LAUNCH", 0);
	if (result) return result;
	if (!gx || gy != 1 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1 || shared || extra) return invalid_value;
	struct launch l = {.body = f->body, .blocks = gx, .threads = bx};
	size_t at = 0;
	for (int i = 0; i < f->count; i++) {
		at = (at + (f->bytes[i] >= 8 ? 7 : 3)) & ~(size_t)(f->bytes[i] >= 8 ? 7 : 3);
		memcpy(l.parameters + at, params[i], f->bytes[i]);
		at += f->bytes[i];
	}
	return push(s, run_launch, &l, sizeof l, launch_ns, 1);
}

unsigned cuStreamBeginCapture_v2(struct stream *s, unsigned mode) {
	unsigned result = (unsigned)fake_cuda_number("CAPTURE", 0);
	if (result || s->capture || mode != 1) return result ? result : invalid_value;
	s->capture = reset(malloc(sizeof *s->capture));
	return fake.broken;
}
unsigned cuStreamEndCapture(struct stream *s, queue **graph) {
	*graph = s->capture;
	s->capture = NULL;
	return *graph ? fake.broken : capture_invalidated;
}
// A call of a function on the host, as cuLaunchHostFunc makes, which a test captures.
static void run_host(void *argument) { (void)argument; }
int fake_cuda_host_function(void *stream) { return (int)push(stream, run_host, NULL, 0, 0, 0); }
// Work within a graph of its own. The argument names the stream and what is in it.
struct within {
	struct stream *stream;
	int (*submit)(void *stream);
};
static void run_graph(void *argument) {
	queue *q = *(queue **)argument;
	for (task *t = q->first; t; t = t->next) t->run(t->argument);
}
int fake_cuda_within(void *argument) {
	struct within *w = argument;
	struct stream inside = {.capture = reset(malloc(sizeof(queue)))};
	int result = w->submit(&inside);
	return result ? result : (int)push(w->stream, run_graph, &inside.capture, sizeof inside.capture, 0, 0);
}

// CUDA_MEMCPY3D of cuda.h, as far as the fake fills it in.
struct side {
	size_t x[4];
	unsigned type;
	const void *host, *device;
	void *others[2];
	size_t sizes[2];
};
struct copied {
	struct side from, to;
	size_t extent[3];
};
static void fill_side(struct side *side, const void *address, size_t bytes) {
	int device = holds(address, bytes);
	side->type = fake_cuda_number("UNIFIED", 0) ? 4 : device ? 2 : 1;
	if (side->type == 1) side->host = address;
	else side->device = address;
}
unsigned cuGraphNodeGetType(const task *node, unsigned *type) {
	*type = node->run == run_copy ? 1 : node->run == run_fill ? 2 : node->run == run_host ? 3 : node->run == run_graph ? 4 : 0;
	return fake.broken;
}
unsigned cuGraphMemcpyNodeGetParams(const task *node, struct copied *copy) {
	const struct copy *c = (const struct copy *)node->argument;
	if (node->run != run_copy) return invalid_value;
	*copy = (struct copied){.extent = {c->bytes, 1, 1}};
	fill_side(&copy->from, c->from, c->bytes);
	fill_side(&copy->to, c->to, c->bytes);
	return fake.broken;
}
unsigned cuGraphChildGraphNodeGetGraph(const task *node, queue **graph) {
	if (node->run != run_graph) return invalid_value;
	return *graph = *(queue *const *)node->argument, fake.broken;
}
unsigned cuPointerGetAttribute(unsigned *value, unsigned attribute, const void *pointer) {
	if (attribute != 2 || !holds(pointer, 1)) return invalid_value;
	return *value = 2, fake.broken;
}
// fake_cuda_device_copy copies within a piece of device memory.
int fake_cuda_device_copy(void *stream) {
	block *b = fake.blocks;
	struct copy c = {b->memory, b->memory, 1};
	return (int)push(stream, run_copy, &c, sizeof c, copy_ns, 0);
}

static void discard(queue *q) {
	for (task *t = q->first; t;) {
		task *next = t->next;
		free(t);
		t = next;
	}
	free(q);
}
unsigned cuGraphDestroy(queue *graph) { return discard(graph), fake.broken; }
unsigned cuGraphExecDestroy(queue *exec) { return discard(exec), fake.broken; }
unsigned cuGraphGetNodes(const queue *graph, task **nodes, size_t *count) {
	size_t room = *count;
	*count = 0;
	for (task *t = graph->first; t; t = t->next) {
		if (nodes && *count == room) break;
		if (nodes) nodes[*count] = t;
		++*count;
	}
	return fake.broken;
}
unsigned cuGraphInstantiateWithFlags(queue **exec, const queue *graph, unsigned long long flags) {
	if (flags) return invalid_value;
	struct stream to = {.capture = reset(malloc(sizeof(queue)))};
	for (task *t = graph->first; t; t = t->next) push(&to, t->run, t->argument, t->bytes, t->ns, t->kernel);
	return *exec = to.capture, fake.broken;
}
unsigned cuGraphUpload(queue *exec, struct stream *s) { return (void)exec, (void)s, fake.broken; }
unsigned cuGraphLaunch(const queue *exec, struct stream *s) {
	unsigned result = fake.broken;
	for (task *t = exec->first; t && !result; t = t->next) result = push(s, t->run, t->argument, t->bytes, t->ns, t->kernel);
	return result;
}
