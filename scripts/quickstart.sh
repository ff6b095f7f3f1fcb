#!/usr/bin/env bash
# From a bare Debian or Ubuntu to a first result: set up, then go through what dl2 can do.
#   scripts/quickstart.sh [FOLDER]
# FOLDER is an ImageFolder (one folder a class, or train/ and val/ of that form) and is only read;
# without it the built-in sample set is made. Results go to DL2_OUT (./dl2-quickstart).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

usage="usage: scripts/quickstart.sh [FOLDER]"
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,5s/^# //p' "$0"
    exit
fi
[[ $# -le 1 && ${1:-} != -* ]] || die "$usage"
[[ $# -eq 0 || -d $1 ]] || die "$1 is not a folder. $usage"

install_packages g++ libjpeg-dev imagemagick
make_venv
prefer_cpu_torch
set_up analysis,plots,train "torch==$tested_torch"
program=$(dl2 --help)

bad_data=0

# Run a subcommand, if this version has it.
step() {
    local status=0
    grep -qE "^[^[:alnum:]]*$1 " <<<"$program" || return 0
    say "dl2 $*"
    dl2 "$@" || status=$?
    case $status in
        0) ;;
        3)
            say "dl2 $1 found bad data (above), and this goes on"
            bad_data=3
            ;;
        4) say "dl2 $1 is left out: the part that it names is not installed" ;;
        *) die "dl2 $1 ended with exit code $status" ;;
    esac
}

step env
source_folder=$(realpath "${1:-$(dl2 sample)}")
out=${DL2_OUT:-$PWD/dl2-quickstart}/$(basename "$source_folder")
say "Images: $source_folder"
say "Results: $out"
mkdir -p "$out"
echo '*' >"$out/.gitignore" # where this is the repository, results are none of its business

step analyze-images "$source_folder"
step convert "$source_folder" "$out/pcr" --force
first=
for split in "" /train /val /valid /validation /test; do # a source in splits becomes a dataset a split
    if [[ -f $out/pcr$split/PCR.db ]]; then
        first=${first:-$out/pcr$split}
        step inspect "$out/pcr$split" --against "$source_folder$split"
    fi
done
# The same pictures with two of their scans and with all, to be looked at.
rm -rf "$out/few-scans" "$out/all-scans"
step extract "$first" "$out/few-scans" --scans 2 --most 8
step extract "$first" "$out/all-scans" --most 8
step bench-io "$first"
# Two short trainings, which differ in the bytes that they read. The sample set is learned in 30 epochs;
# of your images these are only the first minutes. --tail pad gives the smallest folder a batch, too.
epochs=30
[[ $# -eq 0 ]] || epochs=3
for scans in 10 3; do
    step train --data "$out/pcr" --scans "$scans" --arch small_cnn --image-size 64 --batch-size 8 \
        --lr 0.03 --lr-policy cosine --epochs "$epochs" --time-budget 5m --tail pad --device cpu \
        --seed 1 --workspace "$out/logs" --name "scans-$scans" --overwrite
done
if compgen -G "$out/logs/*" >/dev/null; then
    step report "$out/logs" --html "$out/report.html"
fi
say "Done. Open $out/report.html, and compare the pictures in few-scans with those in all-scans."
exit "$bad_data"
