# `make` alone prints the targets.
.DEFAULT_GOAL := help
BIN := bin/genbench
OUT := genbench-$(shell date -u +%Y%m%d-%H%M%S)

.PHONY: help build run test race vet agree false-alarms gate-proof bench-self clean

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

race: build ## Run all tests under the race detector
	$(BIN) setup onnxruntime
	GENBENCH_REQUIRE=onnxruntime go test -p 1 -race -short ./...

vet: ## Check formatting and run go vet
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these files'; exit 1; }
	go vet ./...

# The library's Python package in the version that `genbench setup` pins.
AGREE_ENV := bin/agree
agree: build ## Compare with ONNX Runtime's own Python loop, in turn
	$(BIN) setup onnxruntime
	test -x $(AGREE_ENV)/bin/python || python3 -m venv $(AGREE_ENV)
	$(AGREE_ENV)/bin/python -m pip install --quiet numpy onnxruntime==1.32.0
	GENBENCH_AGREE_PYTHON=$(abspath $(AGREE_ENV))/bin/python GENBENCH_REQUIRE=onnxruntime go test -count=1 -v -run AgreesWithPython ./engines/onnxruntime

GATES ?= 1000
false-alarms: ## Simulate A/A gates: ours beside benchstat, Mann-Whitney and fixed thresholds
	go test -count=1 -v -timeout 60m -run FalseAlarmTable ./bench/verdict -gates $(GATES)

# The whole proof takes hours: an A/A gate of the default suite is up to 64 launches.
AA ?= 20
PLANTED ?= 10
AA_FLAGS ?=
gate-proof: build ## Real gates: A/A of the default suite, and a planted slow-down of 3 %
	$(BIN) setup onnxruntime
	GENBENCH_REQUIRE=onnxruntime go test -count=1 -v -timeout 72h -run GateProof ./cmd/genbench -aa $(AA) -planted $(PLANTED) -aa-flags "$(AA_FLAGS)"

bench-self: ## Measure the harness: cost of the loop, allocations, export of GENet-large
	go test -run '^$$' -bench . -benchmem ./hardware ./models

clean: ## Remove what was built
	rm -rf bin
