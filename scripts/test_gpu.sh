#!/usr/bin/env bash
# Prove an installation on a machine with an NVIDIA GPU: build, run the tests that need a GPU, measure.
#   scripts/test_gpu.sh [--offline FOLDER]
# The tests and measurements take at most eight minutes; the build comes before. Rows are printed as they
# come, and are written to DL2_OUT (./dl2-gpu.json), so that a run that is cut short tells something too.
# It changes nothing outside build/ in this tree and a temporary folder of 2 GB, which it removes: no
# system packages, no settings of the GPU. Batches are chosen to fit the GPU memory that is free, and the
# images are generated. DL2_PYTHON names the Python to use (3.11 to 3.13); a torch that it has is used as
# it is. DL2_TEST_GPU_DEVICE=cpu tries the script itself on a CPU, with sizes that mean nothing.
#
# With --offline nothing is asked of any package index: FOLDER has all that is missing there. Fill it on a
# machine with a network, for the Python of the GPU machine (here 3.11; torch is not in it):
#   pip download --dest FOLDER --only-binary :all: --python-version 3.11 \
#       --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
#       --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
#       'scikit-build-core>=0.10' 'pybind11>=2.13' cmake ninja 'numpy>=1.24' 'Pillow>=10.1' \
#       'psutil>=5.9' 'rich>=13.7' 'typer>=0.26,<0.30' 'safetensors>=0.4.1' 'pytest>=8' 'hypothesis>=6.100'
#   pip download --dest FOLDER --only-binary :all: --python-version 3.11 \
#       --platform manylinux2014_x86_64 'nvidia-dali-cuda120>=1.34,<3'    # large, and may be left out
#   (cd FOLDER && apt-get download libjpeg62-turbo libjpeg62-turbo-dev)   # of the GPU machine's Debian; in
#       Ubuntu libjpeg-turbo8 libjpeg-turbo8-dev; not needed where the headers of libjpeg are installed
# A C++ compiler and, where there is no torch, a wheel of torch with all that it requires are needed too.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

usage="usage: scripts/test_gpu.sh [--offline FOLDER]"
offline=
case ${1:-} in
    -h | --help)
        sed -n '2,/^set -e/s/^# \{0,1\}//p' "$0"
        exit
        ;;
    --offline)
        [[ $# -eq 2 && -d $2 ]] || die "--offline needs a folder of wheels and Debian packages. $usage"
        offline=$(realpath "$2")
        ;;
    "") [[ $# -eq 0 ]] || die "$usage" ;;
    *) die "$usage" ;;
esac
results=$(realpath "${DL2_OUT:-dl2-gpu.json}")
[[ -d $(dirname "$results") ]] || die "$(dirname "$results") is not a folder: DL2_OUT names the file to write."
venv=${DL2_VENV:-$root/build/gpu/venv}
prefix=$root/build/gpu/prefix
mkdir -p "$root/build/gpu"
log=$root/build/gpu/build.log

# Run a command whose output goes to the log; return its status.
quietly() {
    printf '+ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1
}

# Say what the driver is, before anything is built for it.
check_driver() {
    [[ ${DL2_TEST_GPU_DEVICE:-} != cpu ]] || return 0
    command -v nvidia-smi >/dev/null || die "There is no nvidia-smi here: no NVIDIA driver is installed."
    nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used --format=csv,noheader ||
        die "nvidia-smi finds no GPU that works."
}

# Print the Python to use: the first that has torch, or else any that is new enough.
python_with_torch() {
    local candidate
    for candidate in ${DL2_PYTHON:+"$DL2_PYTHON"} python3 python python3.11 python3.12 python3.13; do
        if "$candidate" -c 'import sys, torch; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    find_python
}

# Make an environment that sees the packages of the Python in use, also where that is an environment too.
make_gpu_venv() {
    local python packages_folder
    python=$(python_with_torch) || die "Python 3.11 or newer is needed. DL2_PYTHON=/path/to/python names one."
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python lacks venv: as root, run apt-get install python3-venv, or let DL2_PYTHON name another."
    "$python" -m venv --clear --system-site-packages "$venv"
    packages_folder=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$venv/bin/python" - "$packages_folder" <<'END'
import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "dl2_parent.pth").write_text(sys.argv[1] + "\n")
END
    PATH=$venv/bin:$PATH
    python -c 'import sys, sysconfig, os; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
        die "The headers of $python are missing: as root, run apt-get install python3-dev."
}

# Unpack Debian packages into a prefix of our own, where CMake and the linker find them.
unpack_packages() {
    local package architecture
    local -a found
    mapfile -t found < <(find "$offline" -maxdepth 1 -name '*.deb' | sort)
    [[ ${#found[@]} -gt 0 ]] || return 0
    command -v dpkg >/dev/null || die "$offline has Debian packages, and there is no dpkg here to unpack them."
    rm -rf "$prefix"
    mkdir -p "$prefix"
    for package in "${found[@]}"; do
        quietly dpkg -x "$package" "$prefix" || die "${package##*/} cannot be unpacked: $(tail -n 1 "$log")"
    done
    architecture=$(${CXX:-c++} -dumpmachine)
    export CMAKE_PREFIX_PATH=$prefix/usr${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
    export CMAKE_LIBRARY_PATH=$prefix/usr/lib/$architecture:$prefix/usr/lib
    export CMAKE_INCLUDE_PATH=$prefix/usr/include:$prefix/usr/include/$architecture
    export CPATH=$CMAKE_INCLUDE_PATH${CPATH:+:$CPATH}
    export LIBRARY_PATH=$CMAKE_LIBRARY_PATH${LIBRARY_PATH:+:$LIBRARY_PATH}
    export LD_LIBRARY_PATH=$CMAKE_LIBRARY_PATH${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# Install requirements: from the folder alone, or from the package index.
install() {
    local -a from=()
    [[ -z $offline ]] || from=(--no-index --find-links "$offline")
    quietly python -m pip install "${from[@]}" "$@"
}

# Print what dl2, its build and the tests in question require; of torch nothing where there is one.
requirements() {
    python - "$root/pyproject.toml" <<'END'
import importlib.util, re, sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))
extras = project["project"]["optional-dependencies"]
wanted = project["build-system"]["requires"] + project["project"]["dependencies"] + extras["train"]
wanted += [one for one in extras["test"] if re.match(r"(pytest|hypothesis)[>=]", one)]
has_torch = importlib.util.find_spec("torch") is not None
print(*(one for one in wanted if not (has_torch and re.match("torch[>=]", one))), sep="\n")
END
}

# Build this tree, without its own requirements: a torch that is there is used whatever its version.
build() {
    local -a packages
    command -v "${CXX:-c++}" >/dev/null || die "A C++ compiler is needed: as root, run apt-get install g++."
    say "Building in $venv; all that is said goes to $log"
    [[ -z $offline ]] || unpack_packages
    mapfile -t packages < <(requirements)
    command -v cmake >/dev/null || packages+=(cmake)
    command -v ninja >/dev/null || packages+=(ninja)
    install "${packages[@]}" || die "These cannot be installed${offline:+ from $offline}: $(tail -n 1 "$log")"
    quietly python -m pip install --no-index --no-build-isolation --no-deps --editable "$root" \
        --config-settings=build-dir="$root/build/gpu/{wheel_tag}" || {
        grep -E 'error|libjpeg|apt-get' "$log" | tail -n 8 >&2
        die "dl2 cannot be built; all that was said is in $log. libjpeg's headers may be missing: as root, run
  apt-get install libjpeg-dev${offline:+, or put libjpeg62-turbo and libjpeg62-turbo-dev into $offline}"
    }
}

# Install DALI for the CUDA of torch, last of all, since it is large; print a sentence where that fails.
install_dali() {
    local cuda
    [[ ${DL2_TEST_GPU_DEVICE:-} != cpu ]] || return 0
    python -c 'import nvidia.dali' 2>/dev/null && return
    cuda=$(python -c 'import torch; print((torch.version.cuda or "").split(".")[0])')
    [[ -n $cuda ]] || { say "DALI is left out: this torch has no CUDA." && return; }
    say "Installing NVIDIA DALI for CUDA $cuda"
    install "nvidia-dali-cuda${cuda}0" ||
        say "DALI is left out: it cannot be installed${offline:+ from $offline} ($(tail -n 1 "$log"))."
}

check_driver
: >"$log"
make_gpu_venv
build
work=$(mktemp -d "${TMPDIR:-/tmp}/dl2-gpu-XXXXXX")
trap 'rm -rf "$work"' EXIT
rm -f "$results"
began=$SECONDS
status=0
run() { python "$root/scripts/bench_gpu.py" "$results" --work "$work" "$@" || status=$?; }
run --parts tests,synthetic,photos,loaders,stalls,nccl,bench-io --seconds 400
[[ $status -le 1 ]] || exit "$status"
spent=$((SECONDS - began))
install_dali
run --parts dali-tests,dali --seconds $((470 - spent))
say "The table is in $results"
exit "$status"
