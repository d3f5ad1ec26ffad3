#include "rotate.h"

static OrtStatus *fill(gb_ort_rotated *r, const OrtMemoryInfo *memory, const uint64_t *addresses) {
	const gb_ort_session *s = r->session;
	OrtStatus *status = s->api->CreateIoBinding(s->session, &r->binding);
	for (size_t i = 0; status == NULL && i < s->inputs.count; i++) {
		const gb_ort_tensor *t = &s->inputs.tensors[i];
		status = s->api->CreateTensorWithDataAsOrtValue(memory, (void *)(uintptr_t)addresses[i], t->bytes, t->shape, t->rank, t->element, &r->inputs[i]);
		if (status == NULL) status = s->api->BindInput(r->binding, s->inputs.names[i], r->inputs[i]);
	}
	for (size_t i = 0; status == NULL && i < s->outputs.count; i++) {
		status = s->api->BindOutput(r->binding, s->outputs.names[i], s->outputs.values[i]);
	}
	return status;
}

char *gb_ort_rotate(gb_ort_rotated *r, gb_ort_session *s, const uint64_t *addresses) {
	r->session = s;
	OrtMemoryInfo *memory = NULL;
	OrtStatus *status = s->api->CreateMemoryInfo("Cuda", gb_ort_device_allocator, s->gpu, gb_ort_mem_default, &memory);
	if (status == NULL) status = fill(r, memory, addresses);
	if (memory != NULL) s->api->ReleaseMemoryInfo(memory);
	return gb_ort_words(s->api, status);
}

void gb_ort_forget_rotated(gb_ort_rotated *r) {
	if (r->session == NULL) return;
	if (r->binding != NULL) r->session->api->ReleaseIoBinding(r->binding);
	for (size_t i = 0; i < r->session->inputs.count; i++) {
		if (r->inputs[i] != NULL) r->session->api->ReleaseValue(r->inputs[i]);
	}
}

int gb_ort_submit_rotated(void *rotated) {
	gb_ort_rotated *r = rotated;
	OrtIoBinding *home = r->session->binding;
	r->session->binding = r->binding;
	int code = gb_ort_submit(r->session);
	r->session->binding = home;
	return code;
}
