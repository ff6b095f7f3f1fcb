"""Plan a conversion: which image goes to which record, and what decides the bytes.

The plan is a function of the listing and the options, so that every process of a conversion that
is spread over machines comes to the same plan by itself.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from dl2cli.dataset.discovery import ImageFile, ImageFolder, discover
from dl2cli.dataset.location import folders_to_convert
from dl2cli.dataset.resize import check_max_side
from dl2cli.dataset.splits import union_classes
from dl2cli.errors import UsageError, is_file_fault, system_failure
from dl2cli.pcr import index
from dl2cli.pcr.config import ConvertConfig, ConvertPlan
from dl2cli.pcr.reencoding.lossy import is_lossy
from dl2cli.pcr.script_choice import PROPERTY
from dl2cli.stores.path import is_remote
from dl2cli_native import _core


def plan(config: ConvertConfig) -> ConvertPlan:
    """Say what `convert` would do, and write nothing. Raises as `convert` does for the source."""
    folder = discover(config.source, config.classes)
    source_bytes = 0
    for file in folder.files:
        path = config.source / file.path
        try:
            source_bytes += path.stat().st_size
        except OSError as error:
            if not is_file_fault(error):
                raise system_failure(path, error) from error
    return ConvertPlan(
        source=config.source,
        out=config.out,
        images=len(folder.files),
        classes=len(folder.classes),
        records=-(-len(folder.files) // config.images_per_record),
        source_bytes=source_bytes,
        ignored=count_ignored(folder),
        scan_groups=config.script.groups,
        notes=folder.warnings,
    )


def split_configs(config: ConvertConfig) -> tuple[ConvertConfig, ...]:
    """Return a config for each split of the source (train, val), with common labels.

    A source without splits gives the config itself.

    Raises:
        UsageError, StorageError: as `convert` does.
        DataError: a split holds no class folders; this is checked before any split is converted.
    """
    check_options(config)
    splits = folders_to_convert(config.source)
    if list(splits) == [""]:
        return (config,)
    classes = union_classes(splits.values())
    return tuple(
        replace(config, source=path, out=config.out / name, classes=classes)
        for name, path in splits.items()
    )


def check_options(config: ConvertConfig) -> None:
    """Refuse options that make no sense. Raises UsageError."""
    for name, most in (
        ("images_per_record", index.MAX_RECORD_IMAGES),
        ("quality", 100),
        ("quality_cap", 100),
        ("workers", 1024),
    ):
        value = getattr(config, name)
        if value is not None and not 1 <= value <= most:
            raise UsageError(f"{name} must be 1 to {most}, not {value}.")
    check_max_side(config.max_side)
    if config.keep_damaged and is_lossy(config):
        raise UsageError(
            "--keep-damaged keeps what can be decoded of a damaged JPEG as it is, so it does not "
            "go with --max-side or --quality-cap."
        )
    if is_remote(config.out):
        return
    # Not `resolve`, which raises over a loop of links.
    source, out = (Path(os.path.realpath(path)) for path in (config.source, config.out))
    if out == source or source in out.parents:
        raise UsageError(
            f"{config.out} lies inside {config.source}, which is only ever read; "
            "choose a folder outside."
        )


def record_order(config: ConvertConfig, folder: ImageFolder) -> list[ImageFile]:
    """Return the images in the order of the records, a function of seed and paths alone."""
    if not config.shuffle:
        return list(folder.files)
    seed = str(config.seed).encode()

    def key(file: ImageFile) -> bytes:
        return hashlib.blake2b(os.fsencode(file.path), key=seed[:64], digest_size=16).digest()

    return sorted(folder.files, key=key)


def output_properties(config: ConvertConfig, folder: ImageFolder) -> dict[str, Any]:
    """Return everything that decides the bytes of the output; a resumed run must agree with it."""
    limits = config.limits
    choice = {} if config.script_choice is None else {PROPERTY: config.script_choice}
    return {
        **choice,
        "format_version": index.FORMAT_VERSION,
        "source_fingerprint": folder.fingerprint(),
        "images_per_record": config.images_per_record,
        "scan_script": config.script.text,
        "scan_script_name": config.script.name,
        "seed": config.seed,
        "shuffle": config.shuffle,
        "keep_metadata": config.keep_metadata,
        "keep_damaged": config.keep_damaged,
        "quality": config.quality,
        "quality_cap": config.quality_cap,
        "max_side": config.max_side,
        "limits": [limits.max_pixels, limits.max_bytes, limits.max_scans, limits.max_scan_pixels],
        "libjpeg": _core.libjpeg_version(),
    }


def count_ignored(folder: ImageFolder) -> dict[str, int]:
    """Count the files that were left out, by reason."""
    return dict(sorted(Counter(file.reason for file in folder.ignored).items()))
