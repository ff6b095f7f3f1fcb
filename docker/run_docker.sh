#!/usr/bin/env bash
# A shell in dl2's container, or a command in it:
#   docker/run_docker.sh
#   docker/run_docker.sh dl2 convert data/photos data/photos-pcr
#   docker/run_docker.sh python my_training.py
# The current folder becomes /work, so that relative paths mean the same inside and outside and results stay on the host.
#   DL2_DATA    a folder of datasets that becomes /work/data (default: ./data)
#   DL2_LOGS    a folder for runs that becomes /work/logs (default: ./logs)
#   DL2_IMAGE   the image (default: dl2:cuda13 where there is a GPU and that image, else dl2:cpu)
#   DL2_SHM     shared memory for loaders with worker processes (default: 8g)
#   ENGINE      docker or podman
set -euo pipefail

engine=${ENGINE:-docker}
command -v "$engine" >/dev/null || { echo "error: $engine is not installed; ENGINE names another engine." >&2; exit 4; }

gpu=
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then gpu=yes; fi
image=${DL2_IMAGE:-dl2:cpu}
if [[ -z ${DL2_IMAGE:-} && -n $gpu ]]; then
    for candidate in dl2:cuda13 dl2:cuda11; do
        if "$engine" image inspect "$candidate" >/dev/null 2>&1; then image=$candidate && break; fi
    done
fi

# The user's own id, so that what is written belongs to the user.
options=(--rm --init --user "$(id -u):$(id -g)" --shm-size "${DL2_SHM:-8g}" --volume "$PWD:/work")
[[ -z ${DL2_DATA:-} ]] || options+=(--volume "$(realpath "$DL2_DATA"):/work/data")
if [[ -n ${DL2_LOGS:-} ]]; then
    mkdir -p "$DL2_LOGS"
    options+=(--volume "$(realpath "$DL2_LOGS"):/work/logs")
fi
[[ -z $gpu || $image == *:cpu ]] || options+=(--gpus all)
[[ ! -t 0 || ! -t 1 ]] || options+=(--interactive --tty)

[[ $# -gt 0 ]] || set -- bash
exec "$engine" run "${options[@]}" "$image" "$@"
