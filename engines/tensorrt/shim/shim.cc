// Implements abi.h on TensorRT 8.6, 10 and 11. Compiled with TensorRT's headers and
// linked with none of its libraries: the three functions through which everything
// else is reached are looked up in the libraries that genbench opened.
//
//   c++ -std=c++17 -O2 -shared -fPIC -I TENSORRT/include -o libgenbench_trt10.so shim.cc -ldl
#include "abi.h"

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <type_traits>

namespace {

using namespace nvinfer1;

// TensorRT 8.6.1 calls itself 8601 and 10.16.1 calls itself 101601: see
// NV_TENSORRT_VERSION in NvInferRuntimeBase.h of either.
int major_of(int version) { return version >= 100000 ? version / 10000 : version / 1000; }

// TensorRT speaks through a logger and gives a null pointer where it fails; the
// words and the failure are brought together here. Its threads log too.
class Words : public ILogger {
public:
	void log(Severity severity, char const *text) noexcept override {
		if (severity > Severity::kERROR) return;
		std::lock_guard<std::mutex> hold(mutex);
		if (said.size() > 8192) return;
		if (!said.empty()) said += "; ";
		said += text;
	}
	std::string take() {
		std::lock_guard<std::mutex> hold(mutex);
		std::string words;
		words.swap(said);
		return words;
	}

private:
	std::mutex mutex;
	std::string said;
};

using BuilderEntry = void *(*)(void *, int32_t);
using RuntimeEntry = void *(*)(void *, int32_t);
using ParserEntry = void *(*)(void *, void *, int);
using VersionEntry = int32_t (*)();

// The library is a singleton of its process, and so is this.
struct Library {
	BuilderEntry builder = nullptr;
	RuntimeEntry runtime = nullptr;
	ParserEntry parser = nullptr;
	VersionEntry version = nullptr;
	Words words;
};

Library &library() {
	static Library the;
	return the;
}

char *message(const std::string &what) {
	std::string words = library().words.take();
	return strdup((words.empty() ? what : what + ": " + words).c_str());
}

// Nothing may be thrown into C.
template <typename Body> char *guarded(Body body) {
	try {
		return body();
	} catch (const std::bad_alloc &) {
		return strdup("out of host memory");
	} catch (const std::exception &e) {
		return message(e.what());
	}
}

template <typename Entry> char *find(void *handle, const char *name, Entry &entry) {
	entry = reinterpret_cast<Entry>(dlsym(handle, name));
	return entry == nullptr ? strdup((std::string("symbol ") + name + " is missing").c_str()) : nullptr;
}

char *load(void *infer, void *parser) {
	return guarded([&]() -> char * {
		Library &lib = library();
		char *failed = find(infer, "getInferLibVersion", lib.version);
		if (failed == nullptr && (major_of(lib.version()) != NV_TENSORRT_MAJOR || lib.version() < NV_TENSORRT_VERSION)) {
			return strdup(("the library is version " + std::to_string(lib.version()) + " of TensorRT, this shim was compiled for " +
				std::to_string(NV_TENSORRT_VERSION) + " and wants that or a newer one of its major version").c_str());
		}
		if (failed == nullptr) failed = find(infer, "createInferBuilder_INTERNAL", lib.builder);
		if (failed == nullptr) failed = find(infer, "createInferRuntime_INTERNAL", lib.runtime);
		if (failed == nullptr) failed = find(parser, "createNvOnnxParser_INTERNAL", lib.parser);
		return failed;
	});
}

int version() { return library().version(); }

char *copy_out(const void *data, size_t size, gb_trt_blob *blob) {
	blob->data = malloc(size == 0 ? 1 : size);
	if (blob->data == nullptr) return strdup("out of host memory");
	memcpy(blob->data, data, size);
	blob->size = size;
	return nullptr;
}

void free_blob(gb_trt_blob *blob) {
	free(blob->data);
	*blob = gb_trt_blob{nullptr, 0};
}

// Precision is written into the model. TensorRT 8 must also be allowed it; version 10
// is told to take the model's types as they stand, 11 knows no other way.
uint32_t network_flags() {
#if NV_TENSORRT_MAJOR < 10
	return 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
#elif NV_TENSORRT_MAJOR < 11
	return 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else
	return 0;
#endif
}

char *set_precision(IBuilderConfig &config, int precision) {
	// TF32 is on by default, and fp32 would not be fp32.
	if (precision == gb_trt_tf32) {
		config.setFlag(BuilderFlag::kTF32);
	} else {
		config.clearFlag(BuilderFlag::kTF32);
	}
#if NV_TENSORRT_MAJOR < 10
	switch (precision) {
	case gb_trt_fp16: config.setFlag(BuilderFlag::kFP16); break;
	case gb_trt_int8: config.setFlag(BuilderFlag::kINT8); break;
	case gb_trt_bf16: return strdup("TensorRT 8 has no bf16");
	default: break;
	}
#endif
	return nullptr;
}

std::string parse_errors(const nvonnxparser::IParser &parser) {
	std::string words = "parse model";
	for (int i = 0; i < parser.getNbErrors(); i++) {
		const nvonnxparser::IParserError &e = *parser.getError(i);
#if NV_TENSORRT_MAJOR < 10
		std::string node = std::to_string(e.node());
#else
		std::string node = std::string(e.nodeName()) + " (" + e.nodeOperator() + ")";
#endif
		words += std::string(i == 0 ? ": node " : "; node ") + node + ": " + e.desc();
	}
	return words;
}

// fix_input gives an input of the network its extents, after which nothing about it is
// open and no optimisation profile is needed.
char *fix_input(INetworkDefinition &network, const gb_trt_shape &shape) {
	for (int i = 0; i < network.getNbInputs(); i++) {
		ITensor *input = network.getInput(i);
		if (strcmp(input->getName(), shape.name) != 0) continue;
		Dims dims{};
		dims.nbDims = shape.rank;
		for (int k = 0; k < shape.rank; k++) dims.d[k] = static_cast<std::remove_reference_t<decltype(dims.d[0])>>(shape.dims[k]);
		input->setDimensions(dims);
		return nullptr;
	}
	return strdup((std::string("the parsed model has no input ") + shape.name).c_str());
}

char *build(const gb_trt_build *what, gb_trt_blob *plan, gb_trt_blob *timing) {
	return guarded([&]() -> char * {
		Library &lib = library();
		lib.words.take(); // of what came before
		*plan = *timing = gb_trt_blob{nullptr, 0};
		// First, to be destroyed last: it "must exceed the lifetime of all builders that use
		// it" (NvInfer.h, IBuilderConfig::createTimingCache).
		std::unique_ptr<ITimingCache> cache;
		std::unique_ptr<IBuilder> builder(static_cast<IBuilder *>(lib.builder(&lib.words, NV_TENSORRT_VERSION)));
		if (!builder) return message("create builder");
		std::unique_ptr<INetworkDefinition> network(builder->createNetworkV2(network_flags()));
		if (!network) return message("create network");
		std::unique_ptr<nvonnxparser::IParser> parser(
			static_cast<nvonnxparser::IParser *>(lib.parser(network.get(), &lib.words, NV_ONNX_PARSER_VERSION)));
		if (!parser) return message("create parser");
		if (!parser->parse(what->model, what->model_size, what->path)) {
			return message(parse_errors(*parser));
		}
		for (int i = 0; i < what->input_count; i++) {
			if (char *failed = fix_input(*network, what->inputs[i])) return failed;
		}
		std::unique_ptr<IBuilderConfig> config(builder->createBuilderConfig());
		if (!config) return message("create builder configuration");
		if (char *failed = set_precision(*config, what->precision)) return failed;
		config->setProfilingVerbosity(ProfilingVerbosity::kDETAILED);
		auto use_timing = [&](const void *data, size_t size) {
			cache.reset(config->createTimingCache(data, size));
			return cache && config->setTimingCache(*cache, false);
		};
		if (!use_timing(what->timing, what->timing_size)) {
			lib.words.take(); // the cache is torn, or the GPU is not what it was: all is timed again
			if (!use_timing(nullptr, 0)) return message("use an empty timing cache");
		}
		std::unique_ptr<IHostMemory> bytes(builder->buildSerializedNetwork(*network, *config));
		if (!bytes) return message("build plan");
		if (char *failed = copy_out(bytes->data(), bytes->size(), plan)) return failed;
		std::unique_ptr<IHostMemory> times(cache->serialize());
		char *failed = times ? copy_out(times->data(), times->size(), timing) : nullptr;
		if (failed != nullptr) free_blob(plan);
		return failed;
	});
}

} // namespace

// Times keeps what a run's layers took. TensorRT calls it from within report.
class Times : public IProfiler {
public:
	void reportLayerTime(char const *layer, float ms) noexcept override {
		try {
			char number[32];
			snprintf(number, sizeof number, "%.9g ", static_cast<double>(ms));
			said += number;
			said += layer;
			said += '\0';
		} catch (...) {
			failed = true; // out of memory, which must not be thrown into TensorRT
		}
	}
	std::string said;
	bool failed = false;
};

// Members are destroyed in the reverse of their order: the context goes before
// what it reports to and before the engine, the engine before the runtime.
struct gb_trt_engine {
	std::unique_ptr<IRuntime> runtime;
	std::unique_ptr<ICudaEngine> engine;
	Times times;
	std::unique_ptr<IExecutionContext> context;
	cudaStream_t stream = nullptr;
	std::string failure;
};

namespace {

char *open(const void *plan, size_t size, gb_trt_engine **out) {
	return guarded([&]() -> char * {
		Library &lib = library();
		lib.words.take();
		auto engine = std::make_unique<gb_trt_engine>();
		engine->runtime.reset(static_cast<IRuntime *>(lib.runtime(&lib.words, NV_TENSORRT_VERSION)));
		if (!engine->runtime) return message("create runtime");
		engine->engine.reset(engine->runtime->deserializeCudaEngine(plan, size));
		if (!engine->engine) return message("read plan");
		engine->context.reset(engine->engine->createExecutionContext());
		if (!engine->context) return message("create execution context");
		*out = engine.release();
		return nullptr;
	});
}

void close(gb_trt_engine *engine) { delete engine; }

int tensors(const gb_trt_engine *engine) { return engine->engine->getNbIOTensors(); }

void tensor(const gb_trt_engine *engine, int index, gb_trt_tensor *out) {
	const char *name = engine->engine->getIOTensorName(index);
	Dims dims = engine->engine->getTensorShape(name);
	*out = gb_trt_tensor{};
	out->name = name;
	out->input = engine->engine->getTensorIOMode(name) == TensorIOMode::kINPUT;
	out->host = engine->engine->getTensorLocation(name) == TensorLocation::kHOST;
	out->rank = dims.nbDims;
	for (int i = 0; i < dims.nbDims && i < GB_TRT_MAX_DIMS; i++) out->dims[i] = dims.d[i];
	switch (engine->engine->getTensorDataType(name)) {
	case DataType::kFLOAT: out->type = gb_trt_float32; break;
	case DataType::kHALF: out->type = gb_trt_float16; break;
	case DataType::kINT8: out->type = gb_trt_signed8; break;
	case DataType::kUINT8: out->type = gb_trt_unsigned8; break;
	case DataType::kINT32: out->type = gb_trt_signed32; break;
	case DataType::kBOOL: out->type = gb_trt_boolean; break;
#if NV_TENSORRT_MAJOR >= 10
	case DataType::kBF16: out->type = gb_trt_bfloat16; break;
	case DataType::kINT64: out->type = gb_trt_signed64; break;
#endif
	default: out->type = gb_trt_other; break;
	}
}

char *bind(gb_trt_engine *engine, const char *name, uint64_t address) {
	return guarded([&]() -> char * {
		void *memory = reinterpret_cast<void *>(static_cast<uintptr_t>(address));
		if (engine->context->setTensorAddress(name, memory)) return nullptr;
		char *failed = message(std::string("bind ") + name);
		engine->failure = failed;
		return failed;
	});
}

void use(gb_trt_engine *engine, uint64_t stream) {
	engine->stream = reinterpret_cast<cudaStream_t>(static_cast<uintptr_t>(stream));
	library().words.take(); // so that run finds its own
}

int run(void *session) {
	auto *engine = static_cast<gb_trt_engine *>(session);
	if (engine->context->enqueueV3(engine->stream)) return 0;
	engine->failure = library().words.take();
	return 1;
}

const char *failure(const gb_trt_engine *engine) { return engine->failure.c_str(); }

int64_t memory(const gb_trt_engine *engine) {
#if NV_TENSORRT_MAJOR < 10 || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR < 1)
	return static_cast<int64_t>(engine->engine->getDeviceMemorySize());
#else
	return engine->engine->getDeviceMemorySizeV2();
#endif
}

char *inspect(gb_trt_engine *engine, gb_trt_blob *json) {
	return guarded([&]() -> char * {
		library().words.take();
		std::unique_ptr<IEngineInspector> inspector(engine->engine->createEngineInspector());
		if (!inspector) return message("create inspector");
		inspector->setExecutionContext(engine->context.get());
		const char *text = inspector->getEngineInformation(LayerInformationFormat::kJSON);
		if (text == nullptr) return message("inspect plan");
		return copy_out(text, strlen(text), json);
	});
}

char *watch(gb_trt_engine *engine) {
	return guarded([&]() -> char * {
		engine->context->setProfiler(&engine->times);
		// Otherwise enqueueV3 would wait for the stream itself.
		engine->context->setEnqueueEmitsProfile(false);
		return nullptr;
	});
}

char *layers(gb_trt_engine *engine, gb_trt_blob *times) {
	return guarded([&]() -> char * {
		engine->times.said.clear();
		if (!engine->context->reportToProfiler()) return message("report the layers' times");
		if (engine->times.failed) return strdup("out of host memory");
		return copy_out(engine->times.said.data(), engine->times.said.size(), times);
	});
}

const gb_trt_table table = {
	GB_TRT_ABI, NV_TENSORRT_VERSION, load, version, build, free_blob, open, close, tensors, tensor,
	bind, use, run, failure, memory, inspect, watch, layers,
};

} // namespace

extern "C" __attribute__((visibility("default"))) const gb_trt_table *gb_trt(void) { return &table; }
