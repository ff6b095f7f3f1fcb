"""What a dataset's index keeps of a scan script that was searched for: what was chosen, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dl2cli.errors import UsageError
from dl2cli.pcr import index
from dl2cli.pcr.database import open_database
from dl2cli.pcr.scan_script import ScanScript, parse

AUTO: Final = "auto"
GOALS: Final = ("bytes", "decode", "both")
PROPERTY: Final = "scan_script_choice"  # of the index; readers that do not know it skip it


@dataclass(frozen=True)
class ScriptChoice:
    """A script that was searched for; `why` is JSON: objective, sample, what each k gives."""

    script: ScanScript
    why: dict[str, Any]


@dataclass(frozen=True)
class MeasuredLevel:
    """What the search measured at fidelity `scans`; PSNR is None where images are identical."""

    scans: int
    psnr_db: float | None
    ssim: float
    ms_ssim: float


def auto_goal(name: str) -> str | None:
    """Return what `auto` or `auto:GOAL` looks for; None for the name of a script or file.

    Raises:
        UsageError: it is not known.
    """
    word, colon, goal = name.partition(":")
    if word != AUTO:
        return None
    goal = goal if colon else GOALS[0]
    if goal not in GOALS:
        raise UsageError(
            f"The objective of --scan-script auto must be {', '.join(GOALS[:-1])} or {GOALS[-1]}, "
            f"not {goal!r}."
        )
    return goal


def recorded_choice(out: Path) -> ScriptChoice | None:
    """Return the choice that a conversion to `out` made, finished or not; None if there is none.

    Raises:
        DataError, StorageError: its index cannot be read.
    """
    if not (out / index.INDEX).is_file():
        return None
    with open_database(out / index.INDEX) as database:
        if not database.has_table("dataset"):
            return None
        properties = index.read_properties(database)
    why, text = properties.get(PROPERTY), properties.get("scan_script")
    if not isinstance(why, dict) or not isinstance(text, str):
        return None
    return ScriptChoice(parse(text, str(properties.get("scan_script_name"))), why)


def measured_levels(properties: dict[str, Any]) -> tuple[int, tuple[MeasuredLevel, ...]]:
    """Return the size (0: whole images) and what was measured there; nothing if that is unknown.

    An index may come from a stranger: what has another form is left out.
    """
    why = properties.get(PROPERTY)
    try:
        assert isinstance(why, dict)
        levels = tuple(
            MeasuredLevel(
                int(each["scans"]),
                None if each["psnr_db"] is None else float(each["psnr_db"]),
                float(each["ssim"]),
                float(each["ms_ssim"]),
            )
            for each in why["levels"]
        )
        return int(why["size"]), levels
    except (AssertionError, KeyError, TypeError, ValueError, OverflowError):
        return 0, ()
