#!/usr/bin/env bash
# Runs the examples, watching, and what else works with torch's loaders and networks, with the newest torch,
# torchvision and timm that were tried. torchvision does not go with the torch of .venv, and brings CUDA: 5.5 GB.
#   scripts/test_examples.sh [REQUIREMENT ...]
# The REQUIREMENTS replace these versions, as in torch==2.0.1 torchvision==0.15.2 timm 'numpy<2'. They go into a
# virtual environment of their own, DL2_EXAMPLES_VENV (build/examples), which is kept for the next time.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,6s/^# //p' "$0"
    exit
fi
[[ $# -gt 0 ]] || set -- torch==2.14.1 torchvision==0.29.1 timm==1.0.31
install_packages g++ cmake ninja-build libjpeg-dev
venv=${DL2_EXAMPLES_VENV:-$root/build/examples}
cd "$root"
set_up test,train "$@"
python -c 'import timm, torch, torchvision
print("torch", torch.__version__, "torchvision", torchvision.__version__, "timm", timm.__version__)'
pytest tests/scripts/test_examples.py tests/watching tests/loaders/pytorch tests/training/models
