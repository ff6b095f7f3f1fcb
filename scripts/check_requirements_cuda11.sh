#!/usr/bin/env bash
# Try whether requirements_cuda11.txt resolves today, together with what dl2 asks for: a dry run,
# in a virtual environment of its own. It still downloads the wheels (about 2.5 GB) where the index
# does not serve their metadata alone.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
requirements=$root/requirements_cuda11.txt

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${DL2_PYTHON:-python3.11}" -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip install --quiet --upgrade pip

# dl2's own requirements, so that the pins are known to agree with the ranges in pyproject.toml.
"$python" - "$root/pyproject.toml" >"$work/dl2.txt" <<'END'
import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extras = project["optional-dependencies"]
wanted = project["dependencies"] + [r for e in ("train", "dali-cuda11", "imagemagick", "plots") for r in extras[e]]
print(*wanted, sep="\n")
END
"$python" -m pip install --dry-run --requirement "$requirements" --requirement "$work/dl2.txt" \
    >"$work/log" || { tail -n 20 "$work/log" >&2; exit 1; }
grep '^Would install' "$work/log"
