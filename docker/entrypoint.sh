#!/bin/sh
# The container's entry point: a dl2 subcommand or option goes to dl2, every other command is run as it is.
# Where nothing is mounted at /work, whatever would be written there is lost with the container, so training
# is refused.
set -eu

[ $# -gt 0 ] || set -- --help
case $1 in
    -*) set -- dl2 "$@" ;;
    dl2 | *[!a-z-]*) ;; # dl2 itself, and what has no subcommand's form: a path, python3
    *) if dl2 "$1" --help >/dev/null 2>&1; then set -- dl2 "$@"; fi ;;
esac

if [ "$1" = dl2 ] && [ "${2:-}" = train ] && ! grep -q ' /work[/ ]' /proc/self/mountinfo; then
    for argument in "$@"; do
        case $argument in -h | --help | --workspace | --workspace=*) exec "$@" ;; esac
    done
    echo "dl2: no folder is mounted at /work, where the run would be written: it would be lost with the container." \
        "Use docker/run_docker.sh, or add -v \"\$PWD:/work\" to docker run." >&2
    exit 2
fi
exec "$@"
