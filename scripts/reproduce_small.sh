#!/usr/bin/env bash
# Both studies in small, end to end on a CPU, as one HTML page: OUT/report.html.
#   scripts/reproduce_small.sh [--quick] [--seeds N] OUT [PHOTOS]
# PHOTOS is an ImageFolder (with train/ and val/), by default the built-in sample set; bytes, rates
# and caches are measured on it. Accuracy is measured on a task that hangs on fine detail, which
# make_textures.py makes. --quick goes through all of it with tiny sizes, to see that it runs.
#
# It takes about a quarter of an hour on two idle cores. What is done is not done again: after
# Ctrl-C, the same command continues. Every step's output is in OUT/steps/. README.md says what to
# look for.
set -euo pipefail

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; }

quick=0 seeds=3
while [[ $# -gt 0 ]]; do
    case $1 in
    --quick) quick=1 ;;
    --seeds) seeds=${2:?--seeds needs a number} && shift ;;
    -h | --help) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
    *) break ;;
    esac
    shift
done
[[ $# -ge 1 ]] || { usage >&2 && exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1/steps" "$1/logs" "$1/data"
out=$(cd "$1" && pwd)
if [[ -x $here/../.venv/bin/dl2 ]]; then
    PATH=$here/../.venv/bin:$PATH # as quickstart.sh and test.sh set it up
fi
command -v dl2 >/dev/null || { echo "error: there is no dl2; run scripts/quickstart.sh first" >&2 && exit 4; }
photos=${2:-$(dl2 sample)}
data=$out/data logs=$out/logs

images=2000 epochs=12 side=80 samples=40 percent=25 rate_epochs=3 rate_side=64 rate_batch=16 run_s=1 repeat=3
if ((quick)); then
    images=120 epochs=2 side=32 samples=2 percent=50 rate_epochs=2 rate_side=32 rate_batch=4 run_s=0.1 repeat=1
    seeds=1
fi
fraction=0.$percent

# step NAME COMMAND...: run a command, unless it was done before; its output goes to a file.
step() {
    local name=$1 file=$out/steps/$1
    shift
    [[ -e $file.done ]] && return
    printf '%s  %s\n' "$(date +%T)" "$name"
    "$@" >"$file.log" 2>&1 || {
        tail -n 15 "$file.log" >&2
        echo "error: $name failed; all that it said is in $file.log" >&2
        exit 1
    }
    touch "$file.done"
}

# train EXPERIMENT NAME OPTION...: one training, whose log goes to logs/EXPERIMENT/NAME.
train() {
    local experiment=$1 name=$2
    shift 2
    step "$experiment-$name" dl2 train --workspace "$logs/$experiment" -n "$name" --overwrite \
        -a small_cnn --device cpu "$@"
}

# ---- The data, in every form -------------------------------------------------------------------
textures=$data/textures/raw
step textures python "$here/make_textures.py" "$textures" --images "$images" --side 72
step textures-jpeg dl2 convert "$textures" "$data/textures" --to jpeg --quality 10,25 \
    --log "$logs/textures" --mssim-samples 40
step textures-pcr dl2 convert "$textures" "$data/textures/pcr" --images-per-record 128

# ---- PCR: accuracy against k; (DL)2, H2: accuracy against quality ---------------------------------
# Several seeds, so that differences can be held against their errors.
learn() {
    local name=$1 seed=$2
    shift 2
    train accuracy "$name-seed$seed" -e "$epochs" -b 16 --image-size "$side" --lr 0.05 \
        --lr-policy cosine --seed "$seed" "$@"
}

for seed in $(seq "$seeds"); do
    for k in 10 5 2; do
        learn "textures-pcr-$k" "$seed" -d "$data/textures/pcr" --scans "$k" --val-scans "$k"
    done
    learn textures-jpeg-10 "$seed" -d "$data/textures/jpeg-10"
    learn textures-raw "$seed" -d "$textures"
done
learn textures-jpeg-25 1 -d "$data/textures/jpeg-25"
learn textures-pcr-1 1 -d "$data/textures/pcr" --scans 1 --val-scans 1

# ---- (DL)2, H3: regimens; PCR: fidelity by epoch, and chosen by the tuner -------------------------
half=$(((epochs + 1) / 2))
for seed in $(seq "$seeds"); do
    learn textures-regimen "$seed" --stage "$data/textures/jpeg-10@0" --stage "$textures@$half"
    learn textures-schedule "$seed" -d "$data/textures/pcr" --scan-schedule "5@0,10@$half"
done
for threshold in 0.90 0.98; do
    learn "textures-autotune-$threshold" 1 -d "$data/textures/pcr" --autotune-scans --autotune-every 3 \
        --autotune-threshold "$threshold"
done

# ---- Bytes: encoders beside scan groups, on photos --------------------------------------------
step photos-jpeg dl2 convert "$photos" "$data/photos" --to jpeg --quality 10,50,85 \
    --log "$logs/photos" --mssim-samples "$samples"
step photos-webp dl2 convert "$photos" "$data/photos" --to webp --quality 10,50,85 \
    --log "$logs/photos" --mssim-samples "$samples"
step photos-jpeg2000 dl2 convert "$photos" "$data/photos" --to jpeg2000 --quality 28,34,40 \
    --log "$logs/photos" --mssim-samples "$samples"
step photos-pcr dl2 convert "$photos" "$data/photos/pcr" --images-per-record 64
step photos-fidelity dl2 analyze-images "$data/photos/pcr" -a quality,size,fidelity \
    --fidelity-samples "$samples" --compare none -o "$logs/photos/scans.csv"

step photos-decode dl2 bench-io --sample "$samples" --repeat "$repeat" --save-log "$logs/photos" \
    --decode "$photos,$data/photos/jpeg-10,$data/photos/jpeg-50,$data/photos/jpeg-85,$data/photos/webp-10,$data/photos/webp-50,$data/photos/jpeg2000-34,$data/photos/pcr:5,$data/photos/pcr:10"

# ---- (DL)2, H1: rates by form of the data and speed of storage; stalls -----------------------------
# A part of the photos, so that an epoch from slow storage is short.
part=$data/photos-part
mkdir -p "$part"
step part-raw dl2 convert "$photos" "$data/fraction" --to raw --fraction "$fraction"
step part-name cp -al "$data/fraction/raw-$percent" "$part/raw"
step part-jpeg dl2 convert "$part/raw" "$part" --to jpeg --quality 10 --mssim-samples 0
step part-webp dl2 convert "$part/raw" "$part" --to webp --quality 10 --mssim-samples 0
step part-pcr dl2 convert "$part/raw" "$part/pcr" --images-per-record 16

# rate NAME STORAGE OPTION...: a short training whose rate counts, from storage that is so slow.
rate() {
    local name=$1 storage=$2 limit=()
    shift 2
    [[ $storage == mem ]] || limit=(--throttle "$storage")
    train rates "$name-${storage//\//}" -e "$rate_epochs" -b "$rate_batch" --image-size "$rate_side" \
        --skip-validation --seed 1 "${limit[@]}" "$@"
}

for storage in mem 1MB/s; do
    rate photos-raw "$storage" -d "$part/raw"
    rate photos-jpeg10 "$storage" -d "$part/jpeg-10"
    rate photos-webp10 "$storage" -d "$part/webp-10"
    for k in 10 5 1; do
        rate "photos-pcr-k$k" "$storage" -d "$part/pcr" --scans "$k"
    done
done
for workers in 1 2; do
    rate "photos-raw-w$workers" mem -d "$part/raw" -w "$workers"
done

# ---- (DL)2, H4: MinIO's cache of growing size, from slow storage -------------------------------
# Without a cache every epoch reads all of it; with one, only what is not in it.
size=$(du -sb --apparent-size "$part/raw/train" | cut -f1)
cache() {
    local name=$1
    shift
    train cache "photos-$name" -e "$rate_epochs" -b "$rate_batch" --image-size "$rate_side" --skip-validation --seed 1 \
        -d "$part/raw" --loader pytorch -w 1 --persistent-workers --throttle 1MB/s "$@"
}
cache none
for share in 35 65 110; do
    cache "minio$share" --dataset-class MinIOFolder --cache-size $((size * share / 100))
done

# ---- The bottleneck, as bench-io explains it -----------------------------------------------------
step bench dl2 bench-io "$part/pcr" --throttle 1MB/s --seconds "$run_s" --repeat "$repeat" \
    -b "$rate_batch" --size "$rate_side" --no-storage --checks 0 --what-if "cache=1MB" --save-log "$logs/bench.json"

# ---- One page --------------------------------------------------------------------------------------
dl2 report "$logs" --group-by dataset,variant,storage --html "$out/report.html" --table answer \
    || [[ $? -eq 3 ]] # a log that is cut off is shown as such
echo "The report: $out/report.html"
