#!/usr/bin/env bash
# Builds the native tests with sanitizers and runs them.
# Usage: scripts/test_native.sh [SANITIZERS ...]   (default: address,undefined; another is thread)
set -euo pipefail
cd "$(dirname "$0")/.."

for sanitizers in "${@:-address,undefined}"; do
    build="build/native-${sanitizers//,/-}"
    # Little optimisation and few symbols: the compiler takes longer than the tests.
    cmake -S dl2cli_native -B "$build" -G Ninja -DDL2_PYTHON=OFF -DDL2_TESTS=ON \
        -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" \
        -DDL2_SANITIZE="$sanitizers" >/dev/null
    cmake --build "$build" --parallel "$(nproc)" >"$build/build.log" 2>&1 ||
        { cat "$build/build.log"; exit 1; }
    UBSAN_OPTIONS=halt_on_error=1 ctest --test-dir "$build" --output-on-failure
done
