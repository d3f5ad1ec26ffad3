#!/bin/sh
# Checks genbench on a real GPU in one go, in under nine minutes, and leaves a
# directory with everything it saw: gpu-check.sh [DEVICE]
#
# DEVICE is an index or UUID as `nvidia-smi -L` prints it; 0 without. Nothing of the
# board's settings is changed. cuDNN is taken from $GENBENCH_CUDNN, the loader's path
# or pip's folders. The exit status is 0 where no step failed; a step that could not
# run says why and is no failure, but for those that need nothing but a GPU and cuDNN.
set -u
device=${1:-0}
here=$(cd "$(dirname "$0")" && pwd)
cd "$here" || exit 1
out=$here/gpu-check-$(date -u +%Y%m%d-%H%M%S)
mkdir -p "$out" || exit 1
summary=$out/summary.txt
failed=0
began=$(date +%s)
budget=540 # seconds in all

say() { echo "$*" | tee -a "$summary"; }

# step NAME SECONDS COMMAND... runs a command with a time limit, its words in a file
# of its own.
step() {
	name=$1 seconds=$2
	shift 2
	left=$((budget - ($(date +%s) - began)))
	if [ "$left" -lt 5 ]; then
		say "skipped  $name: the nine minutes are over"
		return 1
	fi
	if [ "$seconds" -gt "$left" ]; then seconds=$left; fi
	from=$(date +%s)
	timeout --kill-after=10 "$seconds" "$@" >"$out/$name.txt" 2>&1
	status=$?
	took=$(($(date +%s) - from))
	case $status in
	0) say "passed   $name ($took s)" ;;
	124 | 137)
		say "FAILED   $name: not done after $seconds s, see $name.txt"
		failed=1
		;;
	*)
		say "FAILED   $name: exit $status ($took s), see $name.txt"
		failed=1
		;;
	esac
	return "$status"
}

# tests FOLDER BINARY PATTERN is a command for step: the tests of a package, which a
# skip does not satisfy. cuda and cudnn are required: absent, they fail.
tests() {
	cat <<COMMAND
cd '$here/$1' && ./'$2' -test.v -test.timeout 5m -test.run '$3'
COMMAND
}

say "genbench $(cat COMMIT) on device $device, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
{
	uname -srm
	nvidia-smi -L
	nvidia-smi
	nvidia-smi -q -d CLOCK,POWER,PERFORMANCE,TEMPERATURE
} >"$out/machine.txt" 2>&1

# The tests open the first GPU that CUDA shows.
case $device in
GPU-* | MIG-*) CUDA_VISIBLE_DEVICES=$device ;;
*) CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-$device} ;;
esac
CUDA_DEVICE_ORDER=PCI_BUS_ID
GENBENCH_REQUIRE=cuda,cudnn
export CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER GENBENCH_REQUIRE

step doctor 30 ./genbench doctor
step engines 30 ./genbench list engines

# A kernel of known length through the same loop as an inference, eager, as a graph,
# back to back and with a flushed cache; then clocks, memory and capture.
step truth 60 sh -c "$(tests hardware hardware.test '^(TestCUDATruth|TestEffectiveClock|TestCUDATime|TestCUDACaptureRunsNothing|TestCUDAEngineSeams)')"
# The suite against the reference in every precision, and the golden logits.
step conformance 180 sh -c "$(tests engines/cudnn cudnn.test '^TestConformance$') -test.short"

# Measuring needs a genbench that can be told the device.
if ! ./genbench run --help 2>&1 | grep -q -- '--device'; then
	say "skipped  measurements: this genbench has no run --device"
else
	measure() {
		name=$1 seconds=$2
		shift 2
		step "$name" "$seconds" ./genbench run --device 0 --engines cudnn --profile quick --out "$out/$name" "$@"
	}
	# The same point twice must not differ (A/A).
	measure aa-first 40 --models resnet-50 --precisions fp16 --batches 8 --seed 1
	measure aa-second 40 --models resnet-50 --precisions fp16 --batches 8 --seed 2
	if ./genbench compare --help >/dev/null 2>&1; then
		step aa-compare 20 ./genbench compare "$out/aa-first" "$out/aa-second"
	else
		say "skipped  aa-compare: this genbench has no compare"
	fi
	measure genet 150 --models genet-small,genet-normal,genet-large,resnet-50,efficientnet-b0,efficientnet-b3,mobilenetv2-1.0 \
		--precisions fp32,fp16 --batches 1,8,32,64
fi

python=${PYTHON:-python3}
if "$python" -c 'import torch, torchvision; assert torch.cuda.is_available()' >"$out/torch-import.txt" 2>&1; then
	step torch 90 "$python" torch_loop.py
else
	say "skipped  torch: $(tail -n 1 "$out/torch-import.txt")"
fi

say "$(($(date +%s) - began)) s in all; everything is in $out"
exit "$failed"
