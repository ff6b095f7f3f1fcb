"""A seeded split into train and val that keeps groups together and every class in both."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from dl2cli.dataset.importers.base import LabelledFile


def split_files(
    files: Sequence[LabelledFile], val_fraction: float, seed: int
) -> tuple[LabelledFile, ...]:
    """Give each file a split, "train" or "val".

    In each class the groups are put into an order that depends on the seed and on their names
    alone, and the first ones become val until they hold `val_fraction` of the class's images.
    Adding images to other classes moves nothing. A group whose images have several labels is
    counted with the first label in sorted order. A class of one group stays in train.
    """
    groups: dict[str, list[LabelledFile]] = defaultdict(list)
    for file in files:
        groups[file.group or f"\0{file.path}"].append(file)
    by_class: dict[str, list[str]] = defaultdict(list)
    for name, members in groups.items():
        by_class[min(member.label for member in members)].append(name)
    validation: set[str] = set()
    for names in by_class.values():
        names.sort(key=lambda name: (_rank(seed, name), name))
        wanted = val_fraction * sum(len(groups[name]) for name in names)
        taken = 0
        for name in names[:-1]:  # at least one group stays in train
            if taken + len(groups[name]) / 2 > wanted:
                break
            validation.add(name)
            taken += len(groups[name])
    return tuple(
        replace(file, split="val" if (file.group or f"\0{file.path}") in validation else "train")
        for file in files
    )


def _rank(seed: int, name: str) -> bytes:
    """Return what orders groups; of an image that stands alone, its file's name counts.

    Where the source lies must not matter.
    """
    if name.startswith("\0"):
        name = PurePath(name[1:]).name
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
