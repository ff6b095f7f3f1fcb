#!/usr/bin/env bash
# Installs the wheel of a folder into a new virtual environment and uses it, with no compiler on PATH.
#   scripts/try_wheel.sh FOLDER [PYTHON]     (default: dist, and python3)
# Fails if pip would build anything, if a libjpeg of the system is used, if libjpeg has no vector code, or if
# a command does.
set -euo pipefail
folder=$(realpath "${1:-dist}")
python=${2:-python3}
work=$(mktemp -d)
trap '/bin/rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
# The installed dl2 is meant, not the one of the current folder.
cd "$work"
"$work/venv/bin/python" -m pip install --quiet --only-binary :all: --no-index --find-links "$folder" \
    --no-deps dl2cli
"$work/venv/bin/python" -m pip install --quiet --only-binary :all: --find-links "$folder" dl2cli
# Only what the wheel brings, and the tools that this script itself needs.
mkdir bin
for tool in dl2 python; do
    ln -s "$work/venv/bin/$tool" "bin/$tool"
done
export PATH=$work/bin HOME=$work
dl2 env --json >env.json
python - <<'END_OF_CHECK'
import json
import sys

env = json.load(open("env.json"))
jpeg = env["libjpeg"]
print(f"dl2 {env['dl2']}, codec {env['codec']}, libjpeg-turbo {jpeg['version']} in {jpeg['file']}")
if "dl2cli.libs" not in jpeg["file"]:
    sys.exit("error: dl2 uses a libjpeg that the wheel does not bring")
if not jpeg["simd"]:
    sys.exit("error: the wheel's libjpeg runs no vector code")
END_OF_CHECK
photos=$(dl2 sample 2>/dev/null)
dl2 convert "$photos" out --codec libjpeg >/dev/null 2>&1
dl2 convert "$photos" again >/dev/null 2>&1
dl2 inspect out/train --verify >/dev/null
dl2 inspect again/train --against "$photos/train"
