#ifndef GENBENCH_TRT_BRIDGE_H
#define GENBENCH_TRT_BRIDGE_H

#include "../../hardware/native/driver.h"
#include "shim/abi.h"

static inline unsigned gb_trt_enter(const gb_cuda_device *d) { return d->api->cuCtxSetCurrent(d->context); }

// Go cannot call a C function pointer; these do it.

static inline const gb_trt_table *gb_trt_ask(void *symbol) { return ((const gb_trt_table *(*)(void))symbol)(); }
static inline char *gb_trt_load(const gb_trt_table *t, void *infer, void *parser) { return t->load(infer, parser); }
static inline int gb_trt_version(const gb_trt_table *t) { return t->version(); }
static inline char *gb_trt_build_plan(const gb_trt_table *t, const gb_trt_build *what, gb_trt_blob *plan, gb_trt_blob *timing) { return t->build(what, plan, timing); }
static inline void gb_trt_free_blob(const gb_trt_table *t, gb_trt_blob *blob) { t->free_blob(blob); }
static inline char *gb_trt_open(const gb_trt_table *t, const void *plan, size_t size, gb_trt_engine **engine) { return t->open(plan, size, engine); }
static inline void gb_trt_close(const gb_trt_table *t, gb_trt_engine *engine) { t->close(engine); }
static inline int gb_trt_tensors(const gb_trt_table *t, const gb_trt_engine *engine) { return t->tensors(engine); }
static inline void gb_trt_describe(const gb_trt_table *t, const gb_trt_engine *engine, int index, gb_trt_tensor *out) { t->tensor(engine, index, out); }
static inline char *gb_trt_bind(const gb_trt_table *t, gb_trt_engine *engine, const char *name, uint64_t address) { return t->bind(engine, name, address); }
static inline void gb_trt_use(const gb_trt_table *t, gb_trt_engine *engine, uint64_t stream) { t->use(engine, stream); }
static inline const char *gb_trt_failure(const gb_trt_table *t, const gb_trt_engine *engine) { return t->failure(engine); }
static inline int64_t gb_trt_memory(const gb_trt_table *t, const gb_trt_engine *engine) { return t->memory(engine); }
static inline char *gb_trt_inspect(const gb_trt_table *t, gb_trt_engine *engine, gb_trt_blob *json) { return t->inspect(engine, json); }

static inline char *gb_trt_watch(const gb_trt_table *t, gb_trt_engine *engine) { return t->watch(engine); }
static inline char *gb_trt_layers(const gb_trt_table *t, gb_trt_engine *engine, gb_trt_blob *times) { return t->layers(engine, times); }

// The version of a library, before a shim for it is chosen.
static inline int gb_trt_infer_version(void *symbol) { return ((int32_t (*)(void))symbol)(); }

#endif
