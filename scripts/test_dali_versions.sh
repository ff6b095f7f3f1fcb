#!/usr/bin/env bash
# Run the loaders' tests with the oldest and the newest DALI that dl2 supports, on the CPU.
#   scripts/test_dali_versions.sh [REQUIREMENT ...]
# A REQUIREMENT is one DALI, as in nvidia-dali-cuda110==1.34.0; each gets a virtual environment of
# its own in DL2_DALI_VENVS (build/dali), which is kept for the next time.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

install_packages g++ cmake ninja-build libjpeg-dev
[[ $# -gt 0 ]] || set -- nvidia-dali-cuda110==1.34.0 nvidia-dali-cuda130==2.4.0
venvs=${DL2_DALI_VENVS:-$root/build/dali}
cd "$root"

failed=()
for requirement in "$@"; do
    say "$requirement"
    venv=$venvs/$requirement
    (
        set_up test,train "$requirement"
        python -c 'import warnings; warnings.simplefilter("ignore"); import nvidia.dali.fn'
        pytest tests/loaders
    ) || failed+=("$requirement")
done
[[ ${#failed[@]} -eq 0 ]] || die "the loaders' tests failed with ${failed[*]}"
