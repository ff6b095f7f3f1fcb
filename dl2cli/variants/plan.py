"""Which source files become which files of the variants: a function of listing and options."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dl2cli.dataset.discovery import JPEG_SUFFIXES, ImageFile, discover
from dl2cli.dataset.location import folders_to_convert
from dl2cli.dataset.splits import SPLIT_NAMES, union_classes
from dl2cli.variants.config import VariantsConfig
from dl2cli.variants.formats import SUFFIXES, Format


class PlannedFile(NamedTuple):
    """A source file.

    `path` is relative to the source; `name` the same with the usual name of its split, as
    `dl2 analyze-images` calls it.
    """

    path: str
    name: str


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        files: the source files that are converted: all, or the subset.
        folders: the class folders that each variant gets, also where a class has no image.
        classes: number of classes.
        ignored: files that were left out by rule, counted by reason.
        fingerprint: of the listing, to tell on a resume whether it changed.
        notes: what looks like a mistake in the source.
    """

    files: tuple[PlannedFile, ...]
    folders: tuple[str, ...]
    classes: int
    ignored: dict[str, int]
    fingerprint: str
    notes: tuple[str, ...]


def make_plan(config: VariantsConfig) -> Plan:
    """List the source, all of its splits before anything is done.

    Raises:
        UsageError, StorageError, DataError: as `discover` and `folders_to_convert`.
    """
    splits = folders_to_convert(config.source)
    classes = union_classes(splits.values())
    files: list[PlannedFile] = []
    folders: list[str] = []
    notes: list[str] = []
    ignored: Counter[str] = Counter()
    digest = hashlib.sha256()
    for split, root in splits.items():
        folder = discover(root, classes)
        chosen: Sequence[ImageFile] = folder.files
        if split in ("", SPLIT_NAMES[0]) and config.percent < 100:
            chosen = subset(folder.files, config.percent, config.fraction_seed)
        inside = "" if root == config.source else f"{root.relative_to(config.source)}/"
        prefix = f"{split}/" if split else ""
        files += [PlannedFile(inside + each.path, prefix + each.path) for each in chosen]
        folders += [prefix + name for name in classes]
        notes += folder.warnings
        ignored.update(each.reason for each in folder.ignored)
        digest.update(os.fsencode(f"{split}\0{folder.fingerprint()}\0"))
    return Plan(
        files=tuple(files),
        folders=tuple(folders),
        classes=len(classes),
        ignored=dict(sorted(ignored.items())),
        fingerprint=digest.hexdigest(),
        notes=tuple(notes),
    )


def subset(files: Iterable[ImageFile], percent: int, seed: int | None) -> list[ImageFile]:
    """Return a share of each class's files, rounded down, but one at least.

    Without a seed they are the first ones in the order of their names, as in the published
    subsets; with one they are drawn, and a larger share holds a smaller one.
    """
    by_label: dict[int, list[ImageFile]] = defaultdict(list)
    for file in files:
        by_label[file.label].append(file)
    chosen: set[str] = set()
    for members in by_label.values():
        order = members if seed is None else sorted(members, key=lambda each: rank(each.path, seed))
        chosen.update(each.path for each in order[: max(1, len(members) * percent // 100)])
    return [file for members in by_label.values() for file in members if file.path in chosen]


def rank(name: str, seed: int) -> bytes:
    """Return where a name comes in an order that a seed shuffles."""
    key = str(seed).encode()[:64]
    return hashlib.blake2b(os.fsencode(name), key=key, digest_size=16).digest()


def target_names(files: Sequence[PlannedFile], form: Format) -> list[str]:
    """Return the name of each file in a variant of a format, relative to its folder.

    The ending becomes the format's. Copies keep their names, and so do files with any ending
    of a JPEG in a JPEG variant. Of two files that would have one name, both keep their old
    ending before the new one.
    """
    if form == "raw":
        return [file.name for file in files]
    kept = JPEG_SUFFIXES if form == "jpeg" else {SUFFIXES[form]}
    names = [_with_ending(file.name, SUFFIXES[form], kept) for file in files]
    count = Counter(name.casefold() for name in names)  # some file systems know no case
    return [
        file.name + SUFFIXES[form] if count[name.casefold()] > 1 and name != file.name else name
        for file, name in zip(files, names, strict=True)
    ]


def _with_ending(name: str, ending: str, kept: Iterable[str]) -> str:
    path = PurePosixPath(name)
    return name if path.suffix.lower() in kept else str(path.with_suffix(ending))


def sample(files: Sequence[PlannedFile], count: int) -> frozenset[str]:
    """Return the names of the files to measure: the same ones for each variant and each run."""
    return frozenset(sorted((file.name for file in files), key=lambda n: rank(n, 0))[:count])


def source_bytes(source: Path, files: Iterable[PlannedFile]) -> int:
    """Return the bytes of the files that are there."""
    total = 0
    for file in files:
        try:
            total += (source / file.path).stat().st_size
        except OSError:  # whoever reads it will say why
            continue
    return total
