"""One of the N parts of a conversion: which records are its, and what its files are called."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dl2cli.errors import UsageError

MAX_PARTS: Final = 1_000_000
_PART_INDEX: Final = re.compile(r"PCR_part_(\d+)_of_(\d+)\.db")


@dataclass(frozen=True)
class Part:
    """Part `number`, from 1, of `count`. Its text is "3/8"."""

    number: int
    count: int

    def __post_init__(self) -> None:
        """Raises UsageError."""
        if not 1 <= self.number <= self.count <= MAX_PARTS:
            raise UsageError(
                f"A part must be I/N with I from 1 to N, and N at most {MAX_PARTS:,}, not {self}."
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read "3/8". Raises UsageError."""
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if match is None:
            raise UsageError(f"--part must be I/N, such as 3/8, not {text!r}.")
        return cls(int(match[1]), int(match[2]))

    @property
    def stem(self) -> str:
        """What the names of its files in OUT begin with."""
        return f"PCR_part_{self.number}_of_{self.count}"

    def has(self, record: int) -> bool:
        """Tell whether a record belongs to this part."""
        return record % self.count == self.number - 1


def parts_in(out: Path) -> tuple[Part, ...]:
    """Return the parts whose index is in OUT, finished or not, in order."""
    try:
        names = sorted(os.listdir(out))  # noqa: PTH208 - names, not paths
    except OSError:
        return ()
    matches = filter(None, map(_PART_INDEX.fullmatch, names))
    return tuple(sorted((Part(int(m[1]), int(m[2])) for m in matches), key=lambda p: p.number))
