#!/bin/sh
# Checks genbench on a real GPU in one go, in under nine minutes, and leaves a
# directory with everything it saw: gpu-check.sh [DEVICE]
#
# DEVICE is an index or UUID as `nvidia-smi -L` prints it; 0 without. Nothing of the
# board's settings is changed. cuDNN is taken from $GENBENCH_CUDNN, the loader's path
# or pip's folders. The exit status is 0 where no step failed; a step that could not
# run says why and is no failure, but for those that need nothing but a GPU and cuDNN.
#
# A folder named in $OUT gets summary.txt and gpu-check.tar.gz anew after every step, so
# that they are there however this ends. $BUDGET is the seconds in all, $SUITE the grid
# to measure, $PYTHON the Python that may have PyTorch.
set -u
device=${1:-0}
here=$(cd "$(dirname "$0")" && pwd)
cd "$here" || exit 1
name=gpu-check-$(date -u +%Y%m%d-%H%M%S)
out=$here/$name
mkdir -p "$out" || exit 1
summary=$out/summary.txt
failed=0
began=$(date +%s)
budget=${BUDGET:-540}
suite=${SUITE:-$here/check.yaml}
python=${PYTHON:-python3}

say() { echo "$*" | tee -a "$summary"; }

# left is the seconds that remain.
left() { echo $((budget - ($(date +%s) - began))); }

# pack leaves what there is where it was asked for.
pack() {
	test -n "${OUT:-}" || return 0
	mkdir -p "$OUT" && cp "$summary" "$OUT/summary.txt" &&
		tar -C "$here" -czf "$OUT/gpu-check.part" "$name" && mv "$OUT/gpu-check.part" "$OUT/gpu-check.tar.gz"
}
trap 'say "STOPPED  after $(($(date +%s) - began)) s"; pack; exit 1' INT TERM

# step NAME SECONDS COMMAND... runs a command with a time limit, its words in a file
# of its own.
step() {
	step=$1 seconds=$2
	shift 2
	if [ "$(left)" -lt 10 ]; then
		say "skipped  $step: the time is over"
		return 1
	fi
	if [ "$seconds" -gt "$(left)" ]; then seconds=$(left); fi
	from=$(date +%s)
	timeout --kill-after=5 "$seconds" "$@" >"$out/$step.txt" 2>&1
	status=$?
	took=$(($(date +%s) - from))
	case $status in
	0) say "passed   $step ($took s)" ;;
	124 | 137)
		say "FAILED   $step: not done after $seconds s, see $step.txt"
		failed=1
		;;
	*)
		say "FAILED   $step: exit $status ($took s), see $step.txt"
		failed=1
		;;
	esac
	pack
	return "$status"
}

# tests NAME SECONDS FOLDER BINARY PATTERN [FLAG] runs tests of a package, where the
# package's sources would be. A test that was skipped, or a pattern that finds none, has
# shown nothing.
tests() {
	step "$1" "$2" sh -c 'cd "$1" && exec "./$2" -test.v -test.timeout 5m -test.run "$3" $4' sh "$here/$3" "$4" "$5" "${6:-}" || return
	if grep -qE '^ *--- SKIP|no tests to run' "$out/$1.txt"; then
		say "FAILED   $1: not all of its tests ran, see $1.txt"
		failed=1
	fi
}

say "genbench $(cat COMMIT) on device $device, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
{
	uname -srm
	nvidia-smi -L
	nvidia-smi
	nvidia-smi -q -d CLOCK,POWER,PERFORMANCE,TEMPERATURE
	"$python" -m pip list
} >"$out/machine.txt" 2>&1

# Everything below opens the first GPU that CUDA shows.
CUDA_VISIBLE_DEVICES=${1:-${CUDA_VISIBLE_DEVICES:-0}}
CUDA_DEVICE_ORDER=PCI_BUS_ID
GENBENCH_REQUIRE=cuda,cudnn
export CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER GENBENCH_REQUIRE

# The doctor's findings about a machine are no failure of genbench's.
timeout 60 ./genbench doctor >"$out/doctor.txt" 2>&1
say "ran      doctor: exit $?, see doctor.txt"
step engines 60 ./genbench list engines

# A kernel of known length through the same loop as an inference, eager, as a graph,
# back to back and with a flushed cache; then clocks, memory, capture and layers.
tests truth 60 hardware hardware.test '^(TestCUDATruth|TestEffectiveClock|TestCUDATime.*|TestCUDACaptureRunsNothing|TestCUDAEngineSeams|TestTimePieces.*|TestFreedMemory.*)$'
# The suite against the reference in every precision, and the golden logits.
tests conformance 150 engines/cudnn cudnn.test '^TestConformance$' -test.short

# run NAME SECONDS FLAG... measures into a directory of that name.
run() {
	run=$1 seconds=$2
	shift 2
	step "$run" "$seconds" ./genbench run --device 0 --clocks float --suite "$suite" --engines cudnn --out "$out/$run" "$@"
}

# PyTorch before and after, so that a GPU that warms up favours neither.
if "$python" -c 'import torch; assert torch.cuda.is_available()' >"$out/torch-import.txt" 2>&1; then
	torch=yes
else
	torch=no
	say "skipped  torch: $(tail -n 1 "$out/torch-import.txt")"
fi
if [ $torch = yes ]; then step torch-before 60 "$python" torch_loop.py eager graph; fi
if run cudnn 120 --layers; then
	./genbench report "$out/cudnn" --format json >"$out/cudnn.json" 2>"$out/cudnn-report.txt"
fi
if [ $torch = yes ]; then
	step torch-after 60 "$python" torch_loop.py eager graph
	if [ -s "$out/cudnn.json" ]; then
		step ratios 10 "$python" torch_ratios.py "$out/cudnn.json" "$out/torch-before.txt" "$out/torch-after.txt"
	fi
fi

# The same point twice must not differ (A/A).
if run aa-first 60 --models resnet-50 --batches 8 --seed 1 && run aa-second 60 --models resnet-50 --batches 8 --seed 2; then
	step aa-compare 20 ./genbench compare "$out/aa-first" "$out/aa-second"
fi

if [ -x genbench-witness ]; then
	step witness 60 ./genbench-witness
else
	say "skipped  witness: this bundle was made where CUDA's headers were not"
fi

if [ $torch = yes ]; then step torch-compile 60 "$python" torch_loop.py compile; fi

# What time is left goes to more of the grid; what was measured when it ends is kept.
rest=$(($(left) - 15))
if [ "$rest" -ge 40 ]; then
	timeout --kill-after=10 "$rest" ./genbench run --device 0 --clocks float --suite "$suite" --engines cudnn --launches 1 --out "$out/wide" \
		--models genet-small,genet-normal,genet-large,resnet-50,efficientnet-b0,efficientnet-b3,mobilenetv2-1.0 \
		--precisions fp16,fp32 --batches 1,8,32,64 >"$out/wide.txt" 2>&1
	say "ran      wide: exit $? after at most $rest s; what was measured is in wide/report.md"
fi

say "$(($(date +%s) - began)) s in all; everything is in $out"
pack
exit "$failed"
