#!/usr/bin/env bash
# How long `dl2 --help` takes: wall and processor seconds, the median of 20 runs. Under 0.3 s is
# the aim, on a machine that does nothing else.
set -euo pipefail
dl2=${DL2_VENV:-$(dirname "$0")/../.venv}/bin/dl2
TIMEFORMAT='%R %U %S'
for _ in {1..20}; do
    { time "$dl2" --help >/dev/null; } 2>&1
done | awk '{ print $1, $2 + $3 }' | sort -n | sed -n 10p |
    awk '{ printf "dl2 --help: %.3f s, of which %.3f s of processor time\n", $1, $2 }'
