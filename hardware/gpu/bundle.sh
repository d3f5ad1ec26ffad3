#!/bin/sh
# Packs what a GPU box without Go, a compiler or a network needs: bundle.sh FOLDER
#
# FOLDER/genbench-gpu.tar.gz unpacks to genbench-gpu/ with gpu-check.sh in it.
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
cp hardware/gpu/gpu-check.sh hardware/gpu/torch_loop.py "$tree/"
chmod +x "$tree/gpu-check.sh"
git rev-parse HEAD >"$tree/COMMIT" 2>/dev/null || echo unknown >"$tree/COMMIT"

tar -C "$out" -czf "$out/genbench-gpu.tar.gz" genbench-gpu
bytes=$(wc -c <"$out/genbench-gpu.tar.gz")
if [ "$bytes" -ge "$limit" ]; then
	echo "bundle.sh: $out/genbench-gpu.tar.gz has $bytes bytes, the limit is $limit" >&2
	exit 1
fi
echo "$out/genbench-gpu.tar.gz: $bytes bytes"
