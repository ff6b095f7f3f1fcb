#!/usr/bin/env bash
# Fuzzes the JPEG splitter, both transcoders, the record parser, the decoding of regions, and the
# native decoder beside libjpeg, under AddressSanitizer (clang's runtime for it: libclang-rt-14-dev
# in Debian 12).
# Usage: scripts/fuzz.sh [SECONDS_A_TARGET]   (default 60; what it finds stays in build/fuzz)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
build=build/fuzz
CXX=${CXX:-clang++} cmake -S dl2cli_native -B "$build" -DDL2_PYTHON=OFF -DDL2_FUZZ=ON \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DDL2_SANITIZE=fuzzer-no-link,address,undefined >/dev/null
cmake --build "$build" --parallel "$(nproc)" >"$build/build.log" 2>&1 ||
    { cat "$build/build.log"; exit 1; }

python=${DL2_VENV:-.venv}/bin/python
for target in fuzz_jpeg fuzz_record fuzz_region fuzz_transcode fuzz_decode; do
    mkdir -p "$build/corpus-$target"
    # Seeds: real JPEGs of every kind, and the records that a conversion of them writes.
    PYTHONPATH=tests "$python" scripts/fuzz_seeds.py "$target" "$build/corpus-$target"
    "$build/fuzz/$target" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$build/$target-" "$build/corpus-$target" \
        2>"$build/$target.log" || { tail -n 40 "$build/$target.log"; exit 1; }
    grep -E 'stat::(number_of_executed_units|new_units_added|peak_rss_mb)' "$build/$target.log" |
        sed "s/^/$target /"
done
