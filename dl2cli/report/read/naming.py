"""What the directory names of runs say: storage, loader, codec and quality."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from dl2cli.dataset.naming import Variant, parse_variant

STORAGE_LABELS = ("mem", "ssd", "hdd", "sas", "synth")

_CODEC_DIR = re.compile(r"(enc|dec)-(mp|dl|st)-(.+?)(?:-(\d+(?:\.\d+)?|lossless))?")
_METHODS = {"mp": "multiprocessing", "dl": "dataloader", "st": "one thread"}
_LOADERS = {"dalic": "dali-cpu", "dalig": "dali-gpu", "pytorch": "pytorch"}


@dataclass(frozen=True, slots=True)
class CodecName:
    """What the directory of a codec experiment says."""

    encodes: bool
    method: str  # one of _METHODS
    variant: Variant


def stem_of(file: str) -> str:
    """Return a path without the ending of its name, and without `.gz` behind that."""
    return str(PurePosixPath(file.removesuffix(".gz")).with_suffix(""))


def storage_label(directory: str) -> str | None:
    """Return the storage in a run directory's name (its last such word), or None."""
    words = re.split(r"[-_./]", PurePosixPath(directory).name.lower())
    return next((word for word in reversed(words) if word in STORAGE_LABELS), None)


def parse_codec_directory(directory: str) -> CodecName | None:
    """Read `enc-dl-bmshj2018_factorized-mse-1`, `dec-mp-webp-85`, `enc-dl-lossyless-0.1`."""
    match = _CODEC_DIR.fullmatch(PurePosixPath(directory).name)
    if match is None:
        return None
    side, method, label, quality = match.groups()
    name = f"{label}-{quality}" if quality else label
    variant = parse_variant(name) or Variant(name, label.removesuffix("-mse"), quality)
    return CodecName(side == "enc", _METHODS[method], variant)


def parse_standalone_directory(directory: str) -> tuple[Variant | None, str | None, str | None]:
    """Read `standalone-<variant>-<storage>-dalic` as (variant, storage, loader)."""
    words = PurePosixPath(directory).name.split("-")
    loader = next((_LOADERS[word] for word in words if word in _LOADERS), None)
    storage = storage_label(directory)
    rest = [w for w in words if w not in _LOADERS and w not in (storage, "standalone")]
    return parse_variant("-".join(rest)), storage, loader
