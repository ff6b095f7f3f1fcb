# shellcheck shell=bash
# What quickstart.sh and test.sh share: system packages, a virtual environment, the build.
# To be sourced. DL2_VENV names the virtual environment (.venv), DL2_PYTHON the Python to make it of.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${DL2_VENV:-$root/.venv}
# A fresh machine gets this one, so that the tests and the first steps run what was tried.
# shellcheck disable=SC2034  # whoever sources this uses it
tested_torch=2.13.0
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Print those of the given Debian packages that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        if [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            printf '%s\n' "$package"
        fi
    done
}

# Run a command as root, or return 1 where that is not possible.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
        sudo "$@" # asks for a password only where somebody can type it
    else
        return 1
    fi
}

# Install those of the given Debian packages that are missing.
install_packages() {
    local log=$root/build/apt.log
    local -a missing
    if ! command -v dpkg-query >/dev/null; then
        say "This is no Debian or Ubuntu. Please install these packages, or their like: $*"
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    [[ ${#missing[@]} -gt 0 ]] || return 0
    as_root true || die "system packages are missing, and this is neither root nor sudo. As root, run:
  apt-get install ${missing[*]}"
    say "Installing system packages: ${missing[*]}"
    as_root apt-get update -qq >"$log" 2>&1 || true # old lists may do, and if not, the next line says so
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        die "apt-get could not install them; all that it said is in $log"
    }
}

# Install a package that only some tests use, where that can be done.
install_optional_package() {
    if [[ -n $(missing_packages "$1") ]] && apt-cache show "$1" >/dev/null 2>&1 && as_root true; then
        install_packages "$1"
    fi
}

# Install a server that the tests start themselves, and keep its own service from running.
install_optional_server() {
    [[ -n $(missing_packages "$1") ]] || return 0
    install_optional_package "$1"
    if command -v systemctl >/dev/null; then
        as_root systemctl disable --now "$1" >/dev/null 2>&1 || true # systemd may not be running
    fi
}

# Print the Python to use: 3.11 or newer.
find_python() {
    local candidate
    for candidate in ${DL2_PYTHON:+"$DL2_PYTHON"} python3.11 python3 python3.12 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

# Make the virtual environment, with Python itself when that is missing too.
make_venv() {
    # Stopped in the middle, venv leaves a folder without pip.
    "$venv/bin/python" -c 'import pip' 2>/dev/null && return
    local python version
    find_python >/dev/null || install_packages python3.11 python3.11-venv python3.11-dev
    python=$(find_python) || die "Python 3.11 or newer is needed. DL2_PYTHON=/path/to/python names one."
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    # In Debian, parts of the standard library and the headers are packages of their own.
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_packages "$version-venv"
    "$python" -c 'import os, sysconfig
os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || install_packages "$version-dev"
    say "Making a virtual environment in $venv ($version)"
    "$python" -m venv "$venv"
}

# Let pip find torch's builds for CPUs where there is no GPU: a tenth of the size of the usual ones.
prefer_cpu_torch() {
    local index=https://download.pytorch.org/whl/cpu
    command -v nvidia-smi >/dev/null && return
    if "$venv/bin/python" -c 'import sys, urllib.request
urllib.request.urlopen(sys.argv[1] + "/torch/", timeout=5).close()' "$index" 2>/dev/null; then
        export PIP_EXTRA_INDEX_URL=$index
    fi
}

# Print a hash of all that an installation depends on: the requirements, the native sources, Python.
installation_key() {
    {
        printf '%s\n' "$root" "$@"
        "$venv/bin/python" -VV
        find "$root/pyproject.toml" "$root/dl2cli_native" -type f ! -name '*.so' ! -name '*.py[ci]' \
            -print0 | sort -z | xargs -0 sha256sum
    } | sha256sum
}

# install_dl2 EXTRAS [REQUIREMENT...]: build and install this tree, unless that is done already.
install_dl2() {
    local extras=$1 key
    local -a build_tools pip=("$venv/bin/python" -m pip install --quiet)
    local stamp=$venv/dl2-installed-$extras
    key=$(installation_key "$@")
    if [[ -f $stamp && $(<"$stamp") == "$key" ]]; then
        return
    fi
    say "Building and installing dl2 and what it requires (a minute or two the first time)"
    # Without build isolation the build tools stay, and the next build compiles only what changed;
    # setuptools and wheel are for requirements that come as sources.
    mapfile -t build_tools < <("$venv/bin/python" - "$root/pyproject.toml" <<'END'
import sys, tomllib
print(*tomllib.load(open(sys.argv[1], "rb"))["build-system"]["requires"], sep="\n")
END
    )
    "${pip[@]}" --upgrade pip setuptools wheel "${build_tools[@]}"
    "${pip[@]}" --no-build-isolation --editable "${root}[$extras]" "${@:2}"
    printf '%s\n' "$key" >"$stamp"
}

# set_up EXTRAS [REQUIREMENT...]: make the virtual environment, install dl2, and use it.
set_up() {
    make_venv
    install_dl2 "$@"
    PATH=$venv/bin:$PATH
}

mkdir -p "$root/build"
