"""The folder of a variant: hidden while it grows, renamed when it is whole, never others' files."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dl2cli.durability import sync_folder
from dl2cli.errors import DataError, UsageError
from dl2cli.variants.state import STATE, open_state
from dl2cli.variants.worker import TEMPORARY

_SHOWN: Final = 3  # names in a message


@dataclass(frozen=True)
class VariantFolder:
    """Where a variant is: `out` once it is complete, `working` until then."""

    name: str
    out: Path
    complete: bool

    @property
    def working(self) -> Path:
        """The hidden folder of an unfinished variant, which no listing takes for a dataset."""
        return self.out.with_name(f".{self.name}.unfinished")

    @property
    def current(self) -> Path:
        """Where the files are now."""
        return self.out if self.complete else self.working

    def publish(self) -> VariantFolder:
        """Give a finished variant its name, durably."""
        for folder, _, names in os.walk(self.working, topdown=False):
            for name in names:
                if name.startswith(TEMPORARY) and name.endswith(".tmp"):  # of a killed run
                    Path(folder, name).unlink()
            sync_folder(Path(folder))
        self.working.rename(self.out)
        sync_folder(self.out.parent)
        return VariantFolder(self.name, self.out, complete=True)


def prepare(
    out: Path, name: str, wanted: dict[str, Any], *, force: bool, resume: bool
) -> VariantFolder:
    """Make the folder of a variant ready, or find it complete.

    Args:
        out: the folder for all variants.
        name: of the variant.
        wanted: what decides its bytes; a variant that is there must agree with it.
        force: replace it.
        resume: go on with an unfinished one.

    Raises:
        UsageError: other files are there, or a variant that was made otherwise.
        DataError: it was finished, and has lost files since.
    """
    folder = VariantFolder(name, out / name, complete=False)
    if force:
        # Whatever is in a hidden folder with our state in it is ours.
        if (folder.working / STATE).is_file():
            shutil.rmtree(folder.working)
        _remove(folder.out)
    if os.path.lexists(folder.out):
        if not (folder.out / STATE).is_file():
            raise UsageError(
                f"{folder.out} is there already, and was not made by dl2 convert; choose another "
                "folder."
            )
        folder = VariantFolder(name, folder.out, complete=True)
        _check_same(folder, wanted)
        lost = _lost(folder.out)
        if lost:
            raise DataError(
                f"{folder.out} is finished, but {lost[0][1]} is missing or not as long as it was; "
                "--force makes it anew."
            )
        return folder
    if (folder.working / STATE).is_file() and _has_settings(folder.working):
        if not resume:
            raise UsageError(
                f"{folder.out} is unfinished; --resume continues it, --force starts anew."
            )
        _check_same(folder, wanted)
        with open_state(folder.working) as state:
            state.forget([source for source, _ in _lost(folder.working)])
        return folder
    folder.working.mkdir(exist_ok=True)
    (folder.working / STATE).unlink(missing_ok=True)  # of a run that was killed at its very start
    with open_state(folder.working, create=True) as state:
        state.store(**wanted)
    return folder


def _has_settings(folder: Path) -> bool:
    with contextlib.suppress(Exception), open_state(folder) as state:
        return bool(state.settings())
    return False


def _check_same(folder: VariantFolder, wanted: dict[str, Any]) -> None:
    with open_state(folder.current) as state:
        stored = state.settings()
    differing = [key for key in wanted if stored.get(key) != wanted[key]]
    if not differing:
        return
    kind = "finished" if folder.complete else "unfinished"
    if differing == ["source_fingerprint"]:
        what = "from other files: its source has changed since"
    else:
        what = (
            "with other options ("
            + "; ".join(
                f"{key} {stored.get(key)!r}, now {wanted[key]!r}"
                for key in differing
                if key not in {"source_fingerprint", "quality_list"}
            )
            + ")"
        )
        what = what.replace(" ()", " (another list of qualities)")
    raise UsageError(f"{folder.out} is {kind} and was made {what}; --force makes it anew.")


def _lost(folder: Path) -> list[tuple[str, str]]:
    """Return source and file of the images that are not there as the state says."""

    def is_there(file: str, count: int) -> bool:
        try:
            return (folder / file).stat().st_size == count
        except (FileNotFoundError, NotADirectoryError):
            return False

    with open_state(folder) as state:
        return [(source, file) for source, file, size in state.files() if not is_there(file, size)]


def _remove(folder: Path) -> None:
    """Remove a variant that dl2 made, and nothing else. Raises UsageError."""
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not (folder / STATE).is_file():
        raise UsageError(f"{folder} was not made by dl2 convert, so --force does not replace it.")
    with open_state(folder) as state:
        ours = {file for _, file, _ in state.files()}
    for file in ours:
        (folder / file).unlink(missing_ok=True)
    foreign = []
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(parent, name)
            if name.startswith(TEMPORARY):
                if name != STATE and not name.startswith(STATE):
                    path.unlink()
            else:
                foreign.append(str(path))
        if not foreign and Path(parent) != folder:
            Path(parent).rmdir()
    if foreign:
        shown = ", ".join(sorted(foreign)[:_SHOWN]) + (", ..." if len(foreign) > _SHOWN else "")
        raise UsageError(
            f"{folder} holds files that dl2 convert did not make ({shown}): move them elsewhere."
        )
    for name in os.listdir(folder):  # noqa: PTH208 - the state goes last
        (folder / name).unlink()
    folder.rmdir()
