#!/usr/bin/env bash
# The studies of both papers as commands of dl2: what each asks, what it needs, how long it takes.
#   scripts/command_list.sh [EXPERIMENT...]
# prints the commands of the experiments named (variants h1 h2 h3 h4 codecs pcr tune cluster report;
# all without a name), one a line, to be read, changed, and piped into bash or a batch system:
#   scripts/command_list.sh h3 | bash
#
# Set these to where things are. The published runs used one or three GPUs, and ImageNet on a hard
# disk, an SSD, and in memory; the hours named here are rough ones for such a machine.
# reproduce_small.sh shows the same effects within an hour on two cores.
set -euo pipefail

: "${SSD:=/mnt/ssd}"                 # fast storage, 600 GB free
: "${HDD:=/mnt/hdd}"                 # slow storage, 600 GB free
: "${RAW:=$SSD/data-ssd/imagenet/raw}" # ImageNet as an ImageFolder: train/ and val/ (150 GB)
: "${LOGS:=logs}"                    # where run logs go
: "${GPUS:=3}"
: "${WORKERS:=20}"                   # of each GPU's process
root=${RAW%/raw}                     # holds the variants beside raw/, named as published
slow=$HDD/data-hdd/imagenet          # the same on the slow disk
qualities="10 25 50 75 85 95"

# train FOLDER OPTION...: a training on all GPUs, as the published runs were started.
train() {
    local name=$1
    shift
    echo "torchrun --standalone --nproc-per-node $GPUS -m dl2cli train --workspace $LOGS/$experiment" \
        "-n $name -w $WORKERS -b 256 -e 90 $*"
}

# ---- The data: half a day, once. Each quality reads and decodes ImageNet only once in all. ---------
variants() {
    echo "dl2 analyze-images $RAW -o $root/qualities.csv    # 20 min on 64 cores: who is below Q already?"
    echo "dl2 convert $RAW $root --to jpeg --quality ${qualities// /,} --quality-list $root/qualities.csv"
    echo "dl2 convert $RAW $root --to webp --quality 1,5,10,50,85"
    echo "dl2 convert $RAW $root --to jpeg2000 --quality 30,35,40    # beside the published formats"
    for percent in 10 20 50; do # subsets: is it better to drop images, or bits?
        echo "dl2 convert $RAW $root --to raw --fraction 0.$percent"
    done
    echo "dl2 convert $RAW $root/pcr    # one dataset with all ten fidelities: 2 h on 16 cores"
    echo "rsync -a $root/ $slow/    # a day at 100 MB/s; the page cache is part of what H1 measures"
}

# ---- H1: what do workers and storage cost? 3 epochs a run: 20 min to 3 h each -----------------------
h1() {
    for arch in alexnet resnet18 resnet50; do
        for workers in 4 8 16 20 40; do # H1a: enough workers? From memory, so that storage is no matter
            train "inet-$arch-raw-w$workers-mem" -d "$RAW" -a $arch -w $workers --run-epochs 3
        done
        for variant in raw jpeg-10 jpeg-85 webp-10; do # H1b: fewer bytes from slow storage
            train "inet-$arch-$variant-ssd" -d "$root/$variant" -a $arch --run-epochs 3
            train "inet-$arch-$variant-hdd" -d "$slow/$variant" -a $arch --run-epochs 3
        done
        # The bound: what the GPUs do without a data path
        train "inet-$arch-synth" -d "$RAW" -a $arch --loader synthetic --run-epochs 3
    done
    for loader in dali-cpu pytorch jpeg; do
        train "inet-alexnet-raw-hdd-$loader" -d "$slow/raw" -a alexnet --loader $loader --run-epochs 3
    done
    echo "dl2 bench-io $slow/raw --compute-rate 4000 --save-log $LOGS/h1/bench-hdd.json    # 3 min: why"
}

# ---- H2: how much may be lost? Whole trainings: half a day (AlexNet) to four days (ResNet-50) each ---
h2() {
    for arch in alexnet resnet50; do
        for variant in raw jpeg-10 jpeg-25 jpeg-50 jpeg-75 jpeg-85 raw-10 raw-20 raw-50; do
            train "acc-inet-$arch-$variant-mem" -d "$root/$variant" -a $arch # in space: accuracy a byte
        done
        for hours in 10 24; do # in time: what a budget buys on slow storage
            for variant in raw jpeg-10 jpeg-50 jpeg-85; do
                train "time-inet-$arch-$variant-hdd-${hours}h" -d "$slow/$variant" -a $arch \
                    --time-budget "${hours}h"
            done
        done
    done
}

# ---- H3: begin with few bytes, end with all: two to four days each ---------------------------------
h3() {
    for start in 45 80; do
        for quality in 10 50; do
            train "inet-r50-$quality:${start}_raw-hdd" -a resnet50 \
                --stage "$slow/jpeg-$quality@0" --stage "$slow/raw@$start"
        done
    done
}

# ---- H4: a cache that fits a part: 6 epochs each, 1 to 6 h ------------------------------------------
h4() {
    # The published sizes, in bytes
    for variant in raw jpeg-85; do
        train "inet-alex-hdd-$variant-pytorch" -d "$slow/$variant" -a alexnet --loader pytorch \
            --skip-validation --run-epochs 6
        for cache in 43486543872 48855252992 60666413056; do
            train "inet-alex-hdd-$variant-minio-$((cache >> 30))G" -d "$slow/$variant" -a alexnet \
                --loader pytorch --dataset-class MinIOFolder --cache-size $cache \
                --skip-validation --run-epochs 6
        done
    done
}

# ---- Codecs: what do encoding and decoding cost? Minutes; encoding is logged by `variants` -----------
codecs() {
    echo "dl2 bench-io --sample 2000 --save-log $LOGS/codecs --decode $(printf '%s,' \
        "$RAW" "$root"/{jpeg,webp}-{10,50,85} "$root"/jpeg2000-{30,40})$root/pcr:1,$root/pcr:5"
    echo "dl2 analyze-images $root/pcr -a quality,size,fidelity -o $LOGS/codecs/scans.csv    # MS-SSIM of each k"
}

# ---- PCR: accuracy and time at 1, 2, 5 and 10 scan groups: as H2, the faster the smaller k -----------
pcr() {
    for arch in resnet18 shufflenet_v2_x1_0; do
        for k in 1 2 5 10; do
            train "pcr-$arch-k$k-hdd" -d "$slow/pcr" -a $arch --scans $k --val-scans $k
        done
    done
    for k in 1 2 5 10; do # the rate alone, 5 min each
        echo "dl2 bench-io $slow/pcr --scans $k --compute-rate 4000 --save-log $LOGS/pcr/bench-k$k.json"
    done
    # The paper's other data sets: fine-grained tasks need more scans.
    echo "dl2 import ham10000 HAM10000 $SSD/ham10000 && dl2 convert $SSD/ham10000 $SSD/ham10000-pcr"
    echo "dl2 import stanford-cars cars $SSD/cars && dl2 convert $SSD/cars $SSD/cars-pcr"
    echo "dl2 import celeba-hq CelebAMask-HQ $SSD/celeba && dl2 convert $SSD/celeba $SSD/celeba-pcr"
    for dataset in ham10000 cars celeba; do # 1 to 4 h each on one GPU
        for k in 1 2 5 10; do
            train "pcr-$dataset-k$k" -d "$SSD/$dataset-pcr" -a resnet18 -e 150 --scans $k --val-scans $k
        done
    done
}

# ---- PCR: the fidelity changes while training -------------------------------------------------------
tune() {
    train pcr-resnet18-schedule -d "$slow/pcr" -a resnet18 --scan-schedule 2@0,5@45,10@80
    train pcr-resnet18-autotune -d "$slow/pcr" -a resnet18 --autotune-scans --autotune-every 5
}

# ---- Distributed: ten machines that share one file server ---------------------------------------------
cluster() {
    # On each machine, with NODE_RANK from 0 to 9; HEAD is the name of the first.
    for k in 1 2 5 10; do
        echo "torchrun --nnodes 10 --node-rank \$NODE_RANK --nproc-per-node 1 --rdzv-backend c10d" \
            "--rdzv-endpoint \$HEAD:29500 -m dl2cli train --workspace $LOGS/cluster -n pcr-10nodes-k$k" \
            "-d $slow/pcr -a resnet18 -b 128 --scans $k --val-scans $k"
    done
}

# ---- What came out: one page, seconds ----------------------------------------------------------------
report() {
    echo "dl2 report $LOGS --baseline raw --group-by arch,variant,storage --budget 10 --budget 24 --html report.html"
}

experiments=(variants h1 h2 h3 h4 codecs pcr tune cluster report)
for experiment in "${@:-${experiments[@]}}"; do
    case " ${experiments[*]} " in
    *" $experiment "*) "$experiment" ;;
    *)
        sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
done
