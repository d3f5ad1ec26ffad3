#include "driver.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const gb_cuda_status well = {gb_call_none, 0};

// TRY ends the function it is in with the first call that fails.
#define TRY(api, name, ...) \
	do { \
		unsigned result = (api)->name(__VA_ARGS__); \
		if (result != 0) return (gb_cuda_status){gb_call_##name, result}; \
	} while (0)

const char *gb_cuda_name(int call) {
	switch (call) {
#define X(name, params) \
	case gb_call_##name: \
		return #name;
		GB_CUDA_FUNCTIONS(X)
		GB_CUDA_OPTIONAL(X)
#undef X
	}
	return "";
}

int gb_cuda_load(gb_cuda *api, void *library) {
	void *symbol;
#define X(name, params) \
	if ((symbol = dlsym(library, #name)) == NULL) return gb_call_##name; \
	memcpy(&api->name, &symbol, sizeof symbol);
	GB_CUDA_FUNCTIONS(X)
#undef X
#define X(name, params) \
	symbol = dlsym(library, #name); \
	memcpy(&api->name, &symbol, sizeof symbol);
	GB_CUDA_OPTIONAL(X)
#undef X
	return gb_call_none;
}

int gb_cuda_driver_version(const gb_cuda *api) {
	int version = 0;
	return api->cuDriverGetVersion(&version) == 0 ? version : 0;
}

gb_cuda_status gb_cuda_init(const gb_cuda *api) {
	TRY(api, cuInit, 0);
	return well;
}

gb_cuda_message gb_cuda_words(const gb_cuda *api, unsigned result) {
	gb_cuda_message m = {NULL, NULL};
	if (api->cuGetErrorName(result, &m.name) != 0) m.name = NULL;
	if (api->cuGetErrorString(result, &m.text) != 0) m.text = NULL;
	return m;
}

gb_cuda_status gb_cuda_device_count(const gb_cuda *api, int *count) {
	TRY(api, cuDeviceGetCount, count);
	return well;
}

gb_cuda_status gb_cuda_describe(const gb_cuda *api, int ordinal, gb_cuda_info *info) {
	int device;
	TRY(api, cuDeviceGet, &device, ordinal);
	TRY(api, cuDeviceGetName, info->name, (int)sizeof info->name, device);
	TRY(api, cuDeviceGetUuid_v2, &info->uuid, device);
	TRY(api, cuDeviceTotalMem_v2, &info->memory, device);
	TRY(api, cuDeviceGetAttribute, &info->multiprocessors, gb_cu_sm_count, device);
	TRY(api, cuDeviceGetAttribute, &info->l2_bytes, gb_cu_l2_bytes, device);
	TRY(api, cuDeviceGetAttribute, &info->capability_major, gb_cu_capability_major, device);
	TRY(api, cuDeviceGetAttribute, &info->capability_minor, gb_cu_capability_minor, device);
	return well;
}

gb_cuda_status gb_cuda_open_device(gb_cuda_device *d, const gb_cuda *api, int ordinal) {
	d->api = api;
	TRY(api, cuDeviceGet, &d->device, ordinal);
	TRY(api, cuDevicePrimaryCtxRetain, &d->context, d->device);
	return well;
}

gb_cuda_status gb_cuda_close_device(gb_cuda_device *d) {
	TRY(d->api, cuDevicePrimaryCtxRelease_v2, d->device);
	return well;
}

gb_cuda_status gb_cuda_open_stream(gb_cuda_stream *s, const gb_cuda_device *d) {
	*s = (gb_cuda_stream){.api = d->api, .context = d->context};
	TRY(s->api, cuCtxSetCurrent, s->context);
	TRY(s->api, cuStreamCreate, &s->stream, gb_cu_stream_non_blocking);
	TRY(s->api, cuEventCreate, &s->from, gb_cu_event_default);
	TRY(s->api, cuEventCreate, &s->to, gb_cu_event_default);
	return well;
}

// keep notes the first failure and continues, so that the rest is given back.
static void keep(gb_cuda_status *first, int call, unsigned result) {
	if (first->result == 0 && result != 0) *first = (gb_cuda_status){call, result};
}

gb_cuda_status gb_cuda_close_stream(gb_cuda_stream *s) {
	gb_cuda_status first = well;
	keep(&first, gb_call_cuCtxSetCurrent, s->api->cuCtxSetCurrent(s->context));
	if (s->flush != 0) keep(&first, gb_call_cuMemFree_v2, s->api->cuMemFree_v2(s->flush));
	if (s->from != NULL) keep(&first, gb_call_cuEventDestroy_v2, s->api->cuEventDestroy_v2(s->from));
	if (s->to != NULL) keep(&first, gb_call_cuEventDestroy_v2, s->api->cuEventDestroy_v2(s->to));
	if (s->stream != NULL) keep(&first, gb_call_cuStreamDestroy_v2, s->api->cuStreamDestroy_v2(s->stream));
	return first;
}

gb_cuda_status gb_cuda_synchronize(const gb_cuda_stream *s) {
	TRY(s->api, cuCtxSetCurrent, s->context);
	TRY(s->api, cuStreamSynchronize, s->stream);
	return well;
}

gb_cuda_status gb_cuda_query(const gb_cuda_stream *s) {
	TRY(s->api, cuCtxSetCurrent, s->context);
	TRY(s->api, cuStreamQuery, s->stream);
	return well;
}

gb_cuda_status gb_cuda_alloc(const gb_cuda_device *d, size_t bytes, gb_cu_pointer *pointer) {
	TRY(d->api, cuCtxSetCurrent, d->context);
	TRY(d->api, cuMemAlloc_v2, pointer, bytes);
	return well;
}

gb_cuda_status gb_cuda_free(const gb_cuda_device *d, gb_cu_pointer pointer) {
	TRY(d->api, cuCtxSetCurrent, d->context);
	TRY(d->api, cuMemFree_v2, pointer);
	return well;
}

gb_cuda_status gb_cuda_alloc_pinned(const gb_cuda_device *d, size_t bytes, void **pointer) {
	TRY(d->api, cuCtxSetCurrent, d->context);
	TRY(d->api, cuMemHostAlloc, pointer, bytes, 0);
	return well;
}

gb_cuda_status gb_cuda_free_pinned(const gb_cuda_device *d, void *pointer) {
	TRY(d->api, cuCtxSetCurrent, d->context);
	TRY(d->api, cuMemFreeHost, pointer);
	return well;
}

gb_cuda_status gb_cuda_copy_in(const gb_cuda_stream *s, gb_cu_pointer to, const void *from, size_t bytes) {
	TRY(s->api, cuCtxSetCurrent, s->context);
	TRY(s->api, cuMemcpyHtoDAsync_v2, to, from, bytes, s->stream);
	TRY(s->api, cuStreamSynchronize, s->stream);
	return well;
}

gb_cuda_status gb_cuda_copy_out(const gb_cuda_stream *s, void *to, gb_cu_pointer from, size_t bytes) {
	TRY(s->api, cuCtxSetCurrent, s->context);
	TRY(s->api, cuMemcpyDtoHAsync_v2, to, from, bytes, s->stream);
	TRY(s->api, cuStreamSynchronize, s->stream);
	return well;
}

gb_cuda_status gb_cuda_fill(const gb_cuda_stream *s, gb_cu_pointer to, unsigned char value, size_t bytes) {
	TRY(s->api, cuCtxSetCurrent, s->context);
	TRY(s->api, cuMemsetD8Async, to, value, bytes, s->stream);
	TRY(s->api, cuStreamSynchronize, s->stream);
	return well;
}

gb_cuda_status gb_cuda_load_module(const gb_cuda_device *d, const char *ptx, char *log, size_t log_bytes, CUmodule *module) {
	TRY(d->api, cuCtxSetCurrent, d->context);
	unsigned options[] = {gb_cu_jit_error_log, gb_cu_jit_error_log_bytes};
	// An option's value is in the pointer itself.
	void *values[] = {log, (void *)(uintptr_t)log_bytes};
	TRY(d->api, cuModuleLoadDataEx, module, ptx, 2, options, values);
	return well;
}

gb_cuda_status gb_cuda_find_function(const gb_cuda_device *d, CUmodule module, const char *name, CUfunction *function) {
	TRY(d->api, cuCtxSetCurrent, d->context);
	TRY(d->api, cuModuleGetFunction, function, module, name);
	return well;
}

gb_cuda_status gb_cuda_unload_module(const gb_cuda_device *d, CUmodule module) {
	TRY(d->api, cuCtxSetCurrent, d->context);
	TRY(d->api, cuModuleUnload, module);
	return well;
}

int gb_cuda_run_launch(void *arg) {
	gb_cuda_launch *l = arg;
	void *params[gb_cuda_max_arguments];
	for (int i = 0; i < l->count; i++) params[i] = &l->arguments[i];
	unsigned result = l->stream->api->cuLaunchKernel(
		l->function, l->blocks, 1, 1, l->threads, 1, 1, 0, l->stream->stream, params, NULL);
	if (result != 0) l->status = (gb_cuda_status){gb_call_cuLaunchKernel, result};
	return (int)result;
}

gb_cuda_status gb_cuda_submit(gb_cuda_launch *l) {
	TRY(l->stream->api, cuCtxSetCurrent, l->stream->context);
	return gb_cuda_run_launch(l) == 0 ? well : l->status;
}

int gb_cuda_run_copy(void *arg) {
	gb_cuda_copy *c = arg;
	const gb_cuda *api = c->stream->api;
	int call = c->out ? gb_call_cuMemcpyDtoHAsync_v2 : gb_call_cuMemcpyHtoDAsync_v2;
	unsigned result = c->out ? api->cuMemcpyDtoHAsync_v2(c->host, c->device, c->bytes, c->stream->stream)
	                         : api->cuMemcpyHtoDAsync_v2(c->device, c->host, c->bytes, c->stream->stream);
	if (result != 0) c->status = (gb_cuda_status){call, result};
	return (int)result;
}

// on_host says whether a side of a copy is memory of the host. Memory given only by an
// address may be pinned, which the driver reports, or not, and then it knows nothing of it.
static int on_host(const gb_cuda *api, const struct gb_cu_copy_side *side, gb_cuda_status *status) {
	if (side->type != gb_cu_memory_unified) return side->type == gb_cu_memory_host;
	unsigned type = 0;
	unsigned result = api->cuPointerGetAttribute(&type, gb_cu_pointer_memory, side->device);
	if (result == gb_cu_error_invalid_value) return 1;
	keep(status, gb_call_cuPointerGetAttribute, result);
	return type == gb_cu_memory_host;
}

static gb_cuda_status look_at(const gb_cuda *api, CUgraph graph, int *unsafe);

static gb_cuda_status look_at_node(const gb_cuda *api, CUgraphNode node, int *unsafe) {
	unsigned type;
	TRY(api, cuGraphNodeGetType, node, &type);
	if (type == gb_cu_node_host) *unsafe = gb_cuda_host_function;
	if (type == gb_cu_node_copy) {
		gb_cu_copy copy;
		gb_cuda_status status = well;
		TRY(api, cuGraphMemcpyNodeGetParams, node, &copy);
		if (on_host(api, &copy.from, &status) || on_host(api, &copy.to, &status)) *unsafe = gb_cuda_host_copy;
		return status;
	}
	if (type == gb_cu_node_graph) {
		CUgraph within;
		TRY(api, cuGraphChildGraphNodeGetGraph, node, &within);
		return look_at(api, within, unsafe);
	}
	return well;
}

// look_at finds what makes a graph unsafe.
static gb_cuda_status look_at(const gb_cuda *api, CUgraph graph, int *unsafe) {
	size_t count;
	TRY(api, cuGraphGetNodes, graph, NULL, &count);
	CUgraphNode *nodes = calloc(count + 1, sizeof *nodes);
	gb_cuda_status status = well;
	keep(&status, gb_call_cuGraphGetNodes, api->cuGraphGetNodes(graph, nodes, &count));
	for (size_t i = 0; i < count && *unsafe == gb_cuda_safe && status.result == 0; i++) {
		status = look_at_node(api, nodes[i], unsafe);
	}
	free(nodes);
	return status;
}

// missing is the first function that a driver lacks for looking at a graph, or
// gb_call_none.
static int missing(const gb_cuda *api) {
#define X(name, params) \
	if (api->name == NULL) return gb_call_##name;
	GB_CUDA_OPTIONAL(X)
#undef X
	return gb_call_none;
}

gb_cuda_end gb_cuda_capture(const gb_cuda_stream *s, gb_func func, void *arg, gb_cuda_graph *g) {
	const gb_cuda *api = s->api;
	gb_cuda_end end = {.status = well};
	CUgraph graph = NULL;
	*g = (gb_cuda_graph){.stream = s, .missing = missing(api)};
	if (g->missing != gb_call_none) {
		g->unsafe = gb_cuda_unseen;
		return end;
	}
	keep(&end.status, gb_call_cuCtxSetCurrent, api->cuCtxSetCurrent(s->context));
	if (end.status.result != 0) return end;
	// Thread-local: another thread may allocate meanwhile, this one must not.
	keep(&end.status, gb_call_cuStreamBeginCapture_v2, api->cuStreamBeginCapture_v2(s->stream, gb_cu_capture_thread_local));
	if (end.status.result != 0) return end;
	end.code = func(arg);
	// A capture that failed must be ended too.
	unsigned ended = api->cuStreamEndCapture(s->stream, &graph);
	if (end.code == 0) keep(&end.status, gb_call_cuStreamEndCapture, ended);
	if (end.code == 0 && end.status.result == 0) {
		keep(&end.status, gb_call_cuGraphGetNodes, api->cuGraphGetNodes(graph, NULL, &g->nodes));
	}
	if (end.code == 0 && end.status.result == 0) end.status = look_at(api, graph, &g->unsafe);
	if (end.code == 0 && end.status.result == 0 && g->unsafe == gb_cuda_safe) {
		keep(&end.status, gb_call_cuGraphInstantiateWithFlags, api->cuGraphInstantiateWithFlags(&g->exec, graph, 0));
	}
	if (g->exec != NULL && end.status.result == 0) {
		// Otherwise the first replay would pay for the upload.
		keep(&end.status, gb_call_cuGraphUpload, api->cuGraphUpload(g->exec, s->stream));
		keep(&end.status, gb_call_cuStreamSynchronize, api->cuStreamSynchronize(s->stream));
	}
	if (graph != NULL) keep(&end.status, gb_call_cuGraphDestroy, api->cuGraphDestroy(graph));
	if (g->exec != NULL && (end.code != 0 || end.status.result != 0)) {
		keep(&end.status, gb_call_cuGraphExecDestroy, api->cuGraphExecDestroy(g->exec));
		g->exec = NULL;
	}
	return end;
}

int gb_cuda_run_graph(void *arg) {
	gb_cuda_graph *g = arg;
	unsigned result = g->stream->api->cuGraphLaunch(g->exec, g->stream->stream);
	if (result != 0) g->status = (gb_cuda_status){gb_call_cuGraphLaunch, result};
	return (int)result;
}

gb_cuda_status gb_cuda_close_graph(const gb_cuda_stream *s, gb_cuda_graph *g) {
	TRY(s->api, cuCtxSetCurrent, s->context);
	TRY(s->api, cuGraphExecDestroy, g->exec);
	return well;
}

// submit_sample puts a group between the stream's events.
static gb_cuda_status submit_sample(const gb_cuda_stream *s, gb_func func, void *arg, int64_t group, gb_sample *out, int *code) {
	TRY(s->api, cuEventRecord, s->from, s->stream);
	int64_t submit = gb_now();
	for (int64_t i = 0; i < group; i++) {
		if ((*code = func(arg)) != 0) return well;
	}
	out->enqueue_ns = (gb_now() - submit) / group;
	TRY(s->api, cuEventRecord, s->to, s->stream);
	return well;
}

// let_go ends the hold of a stream, whatever became of the submission.
static void let_go(const gb_cuda_stream *s) { __atomic_store_n(&s->gate->open, 1, __ATOMIC_RELEASE); }

// time_sample takes one sample; *code is what the timed function returned.
static gb_cuda_status time_sample(const gb_cuda_stream *s, gb_func func, void *arg, int64_t group, gb_sample *out, int *code) {
	const gb_cuda *api = s->api;
	if (s->flush_bytes != 0) {
		TRY(api, cuMemsetD8Async, s->flush, 0, s->flush_bytes, s->stream);
		// Host time must not begin with the rest of the flush.
		TRY(api, cuStreamSynchronize, s->stream);
	}
	if (s->hold != NULL) {
		*s->gate = (gb_cuda_gate){0, 0};
		if (gb_cuda_run_launch(s->hold) != 0) return s->hold->status;
	}
	int64_t start = gb_now();
	gb_cuda_status submitted = submit_sample(s, func, arg, group, out, code);
	if (s->hold != NULL) let_go(s);
	if (*code != 0 || submitted.result != 0) return submitted;
	TRY(api, cuStreamSynchronize, s->stream);
	int64_t end = gb_now();
	float milliseconds;
	TRY(api, cuEventElapsedTime, &milliseconds, s->from, s->to);
	out->device_ns = (int64_t)((double)milliseconds * 1e6 / (double)group + 0.5);
	out->host_ns = (end - start) / group;
	return well;
}

gb_cuda_end gb_time_cuda(const gb_cuda_stream *s, gb_func func, void *arg, int64_t group, gb_sample *out, int64_t n) {
	gb_cuda_end end = {.status = well};
	keep(&end.status, gb_call_cuCtxSetCurrent, s->api->cuCtxSetCurrent(s->context));
	// What earlier calls left in the stream must not count for the first sample.
	if (end.status.result == 0) keep(&end.status, gb_call_cuStreamSynchronize, s->api->cuStreamSynchronize(s->stream));
	for (; end.done < n && end.status.result == 0; end.done++) {
		end.status = time_sample(s, func, arg, group, &out[end.done], &end.code);
		if (end.code != 0 || end.status.result != 0) break;
		if (s->hold != NULL && (end.expired = (int)s->gate->expired) != 0) break;
	}
	return end;
}
