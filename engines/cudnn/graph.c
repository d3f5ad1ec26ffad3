#include "program.h"

int gb_has_graphs(const gb_cudnn *api) {
	int all = 1;
#define X(result, name, params) all = all && api->name != NULL;
	GB_CUDNN_GRAPH_FUNCTIONS(X)
#undef X
	return all;
}

static unsigned enter(gb_program *p) {
	p->status = p->cuda->cuCtxSetCurrent(p->context);
	p->driver_call = p->status != 0 ? gb_call_cuCtxSetCurrent : gb_call_none;
	return p->status;
}

unsigned gb_backend_create(gb_program *p, unsigned type, cudnnBackendDescriptor_t *d) {
	p->driver_call = gb_call_none;
	return p->status = p->api->cudnnBackendCreateDescriptor(type, d);
}

unsigned gb_backend_set(gb_program *p, cudnnBackendDescriptor_t d, unsigned name, unsigned type, int64_t count, const void *elements) {
	p->driver_call = gb_call_none;
	return p->status = p->api->cudnnBackendSetAttribute(d, name, type, count, elements);
}

unsigned gb_backend_get(gb_program *p, cudnnBackendDescriptor_t d, unsigned name, unsigned type, int64_t room, int64_t *count, void *elements) {
	p->driver_call = gb_call_none;
	return p->status = p->api->cudnnBackendGetAttribute(d, name, type, room, count, elements);
}

unsigned gb_backend_finalize(gb_program *p, cudnnBackendDescriptor_t d) {
	return enter(p) != 0 ? p->status : (p->status = p->api->cudnnBackendFinalize(d));
}

unsigned gb_backend_destroy(gb_program *p, cudnnBackendDescriptor_t d) {
	return enter(p) != 0 ? p->status : (p->status = p->api->cudnnBackendDestroyDescriptor(d));
}
