# `make` alone prints the targets.
.DEFAULT_GOAL := help
BIN := bin/genbench
OUT ?= genbench-$(shell date -u +%Y%m%d-%H%M%S)
OUT := $(OUT)

.PHONY: help build run test race vet agree agreement torch-ratio bench-self clean check-abi ptx trt-shim gpu-bundle gpu-check false-alarms gate-proof race-to-answer
# go-nvml binds every function of nvml.h, those that API 13 deprecates too; that
# this program calls none of them without a look-up does not quiet the compiler.
export CGO_CFLAGS ?= -O2 -g -Wno-deprecated-declarations


help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/genbench; needs Go and a C compiler
	go build -o $(BIN) ./cmd/genbench

run: build ## Measure the default suite and write a report with pictures
	$(BIN) setup onnxruntime
	$(BIN) run --out $(OUT)

# Packages are tested one after the other: several of them measure time, and a
# test that measures must not share the machine with another.
test: build vet ## Run all tests; fetches ONNX Runtime if there is none
	$(BIN) setup onnxruntime
	GENBENCH_REQUIRE=onnxruntime go test -p 1 ./...

RACE ?= ./...
race: build ## Run all tests under the race detector
	$(BIN) setup onnxruntime
	GENBENCH_REQUIRE=onnxruntime go test -p 1 -race -short $(RACE)

vet: ## Check formatting and run go vet
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these files'; exit 1; }
	go vet ./...

# The library's Python package in the version that `genbench setup` pins.
AGREE_ENV := bin/agree
LAUNCHES ?= 40
agree: build ## Compare with ONNX Runtime's own Python loop, in turn
	$(BIN) setup onnxruntime
	test -x $(AGREE_ENV)/bin/python || python3 -m venv $(AGREE_ENV)
	$(AGREE_ENV)/bin/python -m pip install --quiet numpy onnxruntime==1.32.0
	GENBENCH_AGREE_PYTHON=$(abspath $(AGREE_ENV))/bin/python GENBENCH_REQUIRE=onnxruntime go test -count=1 -v -timeout 3h -run AgreesWithPython ./engines/onnxruntime -agree-launches $(LAUNCHES)

# Eighty minutes for the default suite: MODELS and BATCHES name fewer points; more TURNS tell
# better how far processes lie apart.
WIDTH ?= 0.01
TURNS ?= 3
race-to-answer: build ## Time to a 1 % interval over processes, against a loop of 1000 inferences, in turn
	$(BIN) setup onnxruntime
	test -x $(AGREE_ENV)/bin/python || python3 -m venv $(AGREE_ENV)
	$(AGREE_ENV)/bin/python -m pip install --quiet numpy onnxruntime==1.32.0
	go test -count=1 -v -timeout 24h -run RaceToAnswer ./cmd/genbench -answer-binary $(abspath $(BIN)) -answer-python $(abspath $(AGREE_ENV))/bin/python \
		-answer-models "$(MODELS)" -answer-batches "$(BATCHES)" -answer-width $(WIDTH) -answer-turns $(TURNS)

IMAGES ?= 48
agreement: build ## Compare every precision with fp32 on five networks, through ONNX Runtime
	$(BIN) setup onnxruntime
	GENBENCH_REQUIRE=onnxruntime go test -count=1 -v -timeout 60m -run AgreeWithFP32 ./engines/onnxruntime -agreement $(IMAGES)

# PyPI's torch for Linux brings its CUDA libraries along: about 6 GB.
TORCH_ENV := bin/torch
torch-ratio: ## Compare the speed of export with torch.onnx.export, in turn
	test -x $(TORCH_ENV)/bin/python || python3 -m venv $(TORCH_ENV)
	$(TORCH_ENV)/bin/python -m pip install --quiet torch torchvision onnx onnxscript
	GENBENCH_TORCH_PYTHON=$(abspath $(TORCH_ENV))/bin/python go test -count=1 -v -timeout 30m -run TorchRatio ./models

# NVIDIA's headers and libraries, of CUDA 12 and 13 and cuDNN 8.9 and 9: 2.5 GB to
# fetch once, 100 MB to keep.
VENDOR := bin/vendor
check-abi: ## Check declarations, symbols and kernels against NVIDIA's own; fetches them
	sh hardware/native/vendor.sh $(VENDOR)
	GENBENCH_VENDOR=$(abspath $(VENDOR)) go test -count=1 -v -run 'Prototypes|Symbols|PTX|RealDriver' ./hardware/native ./engines/cudnn

NVRTC := $(VENDOR)/nvrtc-11.8/nvidia/cuda_nvrtc/lib
ptx: ## Compile the GPU kernels anew, with NVRTC of CUDA 11.8; fetches it
	sh hardware/native/vendor.sh $(VENDOR)
	for kernels in hardware/native/clock engines/cudnn/kernels/kernels; do \
		LD_LIBRARY_PATH=$(NVRTC) python3 hardware/native/ptx.py $(NVRTC)/libnvrtc.so.11.2 $$kernels.cu > $$kernels.ptx.new && \
		mv $$kernels.ptx.new $$kernels.ptx || exit 1; \
	done

trt-shim: build ## Compile the TensorRT shim; TRT_INCLUDE names the folder of NvInfer.h
	$(BIN) setup tensorrt --include '$(TRT_INCLUDE)'

gpu-bundle: ## Pack genbench and its GPU checks for a box without Go
	sh hardware/gpu/bundle.sh bin/gpu

DEVICE ?= 0
gpu-check: gpu-bundle ## Run the GPU checks on this machine; DEVICE is an index or UUID
	bin/gpu/genbench-gpu/gpu-check.sh $(DEVICE)

GATES ?= 1000
false-alarms: ## Simulate A/A gates: ours beside benchstat, Mann-Whitney and fixed thresholds
	go test -count=1 -v -timeout 60m -run FalseAlarmTable ./bench/verdict -gates $(GATES)

# The whole proof takes hours: an A/A gate of the default suite is up to 74 passes over it.
# Each gate is kept in GATE_PROOF_DIR as it ends; stopped and called again, the proof
# goes on, with AA=0 PLANTED=0 it prints its table alone. Gates of another binary or
# machine are listed apart. What lies in bin goes with `make clean`.
AA ?= 20
PLANTED ?= 10
AA_FLAGS ?=
GATE_PROOF_DIR ?= bin/gate-proof
gate-proof: build ## Real gates: A/A of the default suite, and a planted slow-down of 3 %
	$(BIN) setup onnxruntime
	GENBENCH_REQUIRE=onnxruntime go test -count=1 -v -timeout 72h -run GateProof ./cmd/genbench -gate-proof $(abspath $(GATE_PROOF_DIR)) -aa $(AA) -planted $(PLANTED) -aa-flags "$(AA_FLAGS)"

bench-self: ## Measure the harness: cost of the loop, allocations, export of GENet-large
	go test -run '^$$' -bench . -benchmem ./hardware ./models

clean: ## Remove what was built
	rm -rf bin
