#!/usr/bin/env bash
# Set up, then check everything: style, types, native tests, Python tests.
#   scripts/test.sh [PYTEST ARGUMENT...]
# DL2_TEST_DATA may name a folder with real photos and published logs, for the tests that use them.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

install_packages g++ cmake ninja-build libjpeg-dev imagemagick libjpeg-turbo-progs doctest-dev \
    clang shellcheck
install_optional_package chromium
install_optional_package iproute2 # network namespaces: machines of tests/cluster and tests/training
install_optional_package webp # cwebp, which variants are compared with
install_optional_server nginx # a web server with ranges, for tests/stores
# clang-format is pinned, and not the distribution's: each version formats a little differently.
# The loaders are tested with these versions of torch and DALI; dl2 takes any torch from 2.0.
set_up test clang-format==14.0.6 "torch==$tested_torch" nvidia-dali-cuda130==2.4.0 pytorch-msssim
cd "$root"

# Every check runs, whatever the others say; pytest comes last, so that its summary does too.
failed=()
check() {
    say "${*:1:2}"
    "$@" || failed+=("${*:1:2}")
}

check shellcheck -x scripts/*.sh docker/*.sh .ci/run
check ruff check --quiet
check ruff format --quiet --check
mapfile -d '' -t native < <(find dl2cli_native tests/native -name '*.[ch]pp' -print0)
check clang-format --dry-run --Werror "${native[@]}"
check mypy
check lint-imports
if [[ -x scripts/test_native.sh ]]; then
    check scripts/test_native.sh
fi
# A test that watches the clock may fail once on a busy machine: it is run again, and told as rerun.
check pytest -n 2 --reruns 1 -rR "$@"

[[ ${#failed[@]} -eq 0 ]] || die "these checks failed: ${failed[*]}"
