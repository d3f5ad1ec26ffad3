#!/bin/sh
# Fetches what `make check-abi` compares with: vendor.sh FOLDER
#
# From wheels of NVIDIA's on PyPI it keeps the headers, the libraries that genbench
# opens and the PTX compiler, about 100 MB; the wheels themselves, some 2.5 GB, go
# again. What is there already is not fetched twice.
set -eu
folder=$1
python=${PYTHON:-python3}

# fetch NAME WHEEL==VERSION PATTERN... keeps the members that match a pattern.
fetch() {
	name=$1 wheel=$2
	shift 2
	test -e "$folder/$name/complete" && return
	mkdir -p "$folder/$name"
	download=$(mktemp -d "$folder/.download-XXXXXX")
	echo "fetching $wheel"
	"$python" -m pip download --quiet --no-deps --only-binary :all: --disable-pip-version-check --dest "$download" "$wheel"
	"$python" - "$download" "$folder/$name" "$@" <<'PYTHON'
import fnmatch, pathlib, sys, zipfile

download, target, *patterns = sys.argv[1:]
(wheel,) = pathlib.Path(download).iterdir()
with zipfile.ZipFile(wheel) as archive:
    members = [m for m in archive.namelist() if any(fnmatch.fnmatch(m, p) for p in patterns)]
    assert members, f"{wheel.name} has nothing of {patterns}"
    archive.extractall(target, members)
PYTHON
	rm -r "$download"
	touch "$folder/$name/complete"
}

mkdir -p "$folder"
fetch cuda-12/runtime nvidia-cuda-runtime-cu12==12.9.79 '*/include/*'
fetch cuda-12/cudnn-8 nvidia-cudnn-cu12==8.9.7.29 '*/include/*' '*/libcudnn.so.*'
fetch cuda-12/cudnn-9 nvidia-cudnn-cu12==9.28.0.42 '*/include/*' '*/libcudnn.so.*'
fetch cuda-12/nvcc nvidia-cuda-nvcc-cu12==12.9.86 '*/bin/ptxas'
fetch cuda-13/runtime nvidia-cuda-runtime==13.5.37 '*/include/*'
fetch cuda-13/cudnn-9 nvidia-cudnn-cu13==9.28.1.4 '*/include/*' '*/libcudnn.so.*'
fetch nvrtc-11.8 nvidia-cuda-nvrtc-cu11==11.8.89 '*/libnvrtc*.so*'

# Real drivers, which load without a GPU and then find none. Debian alone packs them.
for release in bookworm trixie; do
	test -e "$folder/driver-$release/complete" && continue
	command -v apt-get >/dev/null && test -e /usr/share/keyrings/debian-archive-keyring.gpg || continue
	echo "fetching libcuda1 of Debian $release"
	# Whatever mirror this machine's apt is set to.
	mirror=$(apt-get indextargets --format '$(REPO_URI)' | sed -n 1p)
	test -n "$mirror" || continue
	apt=$(mktemp -d)
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$folder/driver-$release"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release non-free" >"$apt/list"
	options="-qq -oDir::State::Lists=$apt/lists -oDir::Etc::SourceList=$apt/list -oDir::Etc::SourceParts=/dev/null -oDir::State::status=/dev/null -oDir::Cache=$apt/cache -oAPT::Sandbox::User="
	# shellcheck disable=SC2086 # options are words
	if (cd "$apt" && apt-get $options update && apt-get $options download libcuda1); then
		dpkg -x "$apt"/libcuda1_*.deb "$folder/driver-$release"
		touch "$folder/driver-$release/complete"
	fi
	rm -r "$apt"
done
