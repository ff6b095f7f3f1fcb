"""Where a result comes from: the one block that every log and JSON result has.

MLPerf Storage's rules ask of a result that it can be traced: the code and its hash, the versions of
all that matters, the configuration, the storage and the state of its caches. What cannot be told is
"unknown", never null, so that nobody takes it for "none".
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import dl2cli
from dl2cli import environment
from dl2cli.block_device import find_device
from dl2cli.environment import UNKNOWN

CACHE_LEFT: Final = f"{UNKNOWN}: left as it was, and not asked about"
_GIT_S: Final = 5.0
_HASHED: Final = (".py", ".so", ".j2", ".css", ".js")
# Where a run's results go, and which process it is, says nothing of what it does.
_NO_SETTINGS: Final = frozenset(
    {"experiment_name", "workspace", "resume", "report_file", "gpu", "local_rank", "folder", "out"}
)


def provenance(
    configuration: object,
    *,
    data: str | Path | None = None,
    cache: str = CACHE_LEFT,
    device: str = "cpu",
) -> dict[str, Any]:
    """Return where a result comes from, JSON types only, without any null.

    Args:
        configuration: what was asked for: a dataclass, or a mapping of parameters.
        data: where the data lies; None if that has no meaning.
        cache: the state of the caches above the storage, in words.
        device: "cpu" or "cuda:N"; for the latter, torch is asked for the GPU's name.
    """
    return {
        "code": dict(_code()),
        "versions": environment.all_versions() | environment.loaded_versions(),
        "configuration_sha256": configuration_hash(configuration),
        "host": known(environment.host(device)),
        "storage": _storage(data),
        "cache": cache,
    }


def configuration_hash(configuration: object) -> str:
    """Return a hash of all settings, the same for equal ones; it leaves out where results go."""
    text = json.dumps(_plain(configuration), sort_keys=True, default=_text)
    return hashlib.sha256(text.encode()).hexdigest()


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with "unknown" in the place of each None."""
    return {key: UNKNOWN if value is None else value for key, value in values.items()}


def _plain(value: object) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return _plain({field.name: getattr(value, field.name) for field in fields})
    if isinstance(value, Mapping):
        items = ((str(key), item) for key, item in value.items())
        return {key: _plain(item) for key, item in items if key not in _NO_SETTINGS}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _text(value: object) -> str:
    """Return a name that is the same in every process: an object's own would have its address."""
    if isinstance(value, Path):
        return str(value)
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text


@lru_cache(maxsize=1)
def _code() -> Mapping[str, str]:
    """Return dl2's version, its commit where it runs from a checkout, and a hash of its files."""
    package = Path(dl2cli.__file__).parent
    return {
        "version": dl2cli.__version__,
        "commit": _commit(package.parent),
        "sha256": _source_hash(package),
    }


def _commit(root: Path) -> str:
    if not (root / ".git").exists() or not (root / "dl2cli_native").is_dir():
        return UNKNOWN  # installed; a repository around it would be another's
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty"],
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return done.stdout.strip() or UNKNOWN


def _source_hash(package: Path) -> str:
    """Return the hash of all files that are executed, the native core among them."""
    total = hashlib.sha256()
    try:
        files = sorted(path for path in package.rglob("*") if path.suffix in _HASHED)
        for file in files:
            total.update(f"{file.relative_to(package).as_posix()}\0".encode())
            total.update(hashlib.sha256(file.read_bytes()).digest())
        core = environment.native_core_file()
        if core is not None:
            total.update(hashlib.sha256(core.read_bytes()).digest())
    except OSError:
        return UNKNOWN
    return total.hexdigest()


def _storage(data: str | Path | None) -> dict[str, str]:
    if data is None:
        return {"path": UNKNOWN, "file_system": UNKNOWN, "device": UNKNOWN}
    found = find_device(data)
    device = "memory" if found.in_memory else found.name or UNKNOWN
    return {"path": str(data), "file_system": found.file_system, "device": device}
