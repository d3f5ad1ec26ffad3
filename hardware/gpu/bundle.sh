#!/bin/sh
# Packs what a GPU box without Go, a compiler or a network needs: bundle.sh FOLDER
#
# FOLDER/genbench-gpu.tar.gz unpacks to genbench-gpu/ with gpu-check.sh in it. The
# independent witness is packed where CUDA_INCLUDE names a folder with cuda.h of CUDA
# 11.8 to 12.x; its driver's library is found on the box alone.
set -eu
out=$1
limit=$((60 * 1000 * 1000)) # bytes

root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
tree=$out/genbench-gpu
rm -rf "$tree"
# The tests look for the module's root and their data from where they run.
mkdir -p "$tree/hardware" "$tree/engines/cudnn" "$tree/models/testdata"
cd "$root"
go build -ldflags '-s -w' -o "$tree/genbench" ./cmd/genbench
go test -c -ldflags '-s -w' -o "$tree/hardware/hardware.test" ./hardware
go test -c -ldflags '-s -w' -o "$tree/engines/cudnn/cudnn.test" ./engines/cudnn
cp go.mod "$tree/"
cp models/testdata/golden.json "$tree/models/testdata/"
cp hardware/gpu/gpu-check.sh hardware/gpu/check.yaml hardware/gpu/torch_loop.py hardware/gpu/torch_ratios.py "$tree/"
if [ -n "${CUDA_INCLUDE:-}" ]; then
	# gorgonia.org/cu links with -lcuda, of which a build machine needs no more than the name.
	stub=$(mktemp -d)
	echo | cc -shared -x c -o "$stub/libcuda.so" -Wl,-soname,libcuda.so.1 -
	CGO_CFLAGS="-O2 -Wno-deprecated-declarations -I$CUDA_INCLUDE" CGO_LDFLAGS="-L$stub -Wl,--unresolved-symbols=ignore-all -Wl,--no-as-needed" \
		CGO_LDFLAGS_ALLOW='.*' go build -tags gorgonia -ldflags '-s -w' -o "$tree/genbench-witness" ./cmd/genbench-witness
	rm -r "$stub"
fi
chmod +x "$tree/gpu-check.sh"
git rev-parse HEAD >"$tree/COMMIT" 2>/dev/null || echo unknown >"$tree/COMMIT"

tar -C "$out" -czf "$out/genbench-gpu.tar.gz" genbench-gpu
bytes=$(wc -c <"$out/genbench-gpu.tar.gz")
if [ "$bytes" -ge "$limit" ]; then
	echo "bundle.sh: $out/genbench-gpu.tar.gz has $bytes bytes, the limit is $limit" >&2
	exit 1
fi
echo "$out/genbench-gpu.tar.gz: $bytes bytes"
