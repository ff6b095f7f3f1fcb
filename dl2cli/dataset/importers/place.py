"""Puts files into an ImageFolder: by hard link, symlink or copy, each whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from dl2cli.dataset.importers.base import Placing
from dl2cli.errors import StorageError, UsageError

_UNSAFE = re.compile(r"[/\0\x01-\x1f\x7f]+")


def class_folder(label: str) -> str:
    """Return a folder name for a class: "Ram C/V Van" becomes "Ram C-V Van".

    Raises:
        UsageError: the label has no character that a name can have.
    """
    name = _UNSAFE.sub("-", label.strip()).lstrip(".")
    if not name or len(os.fsencode(name)) > 255:
        raise UsageError(f"The class {label!r} cannot be the name of a folder.")
    return name


def place_file(source: Path, target: Path, placing: Placing) -> bool:
    """Put a file at `target`; return False where an earlier run has put the same file there.

    Raises:
        UsageError: another file has that name, or a hard link cannot cross to another file system.
        StorageError: the file cannot be placed.
    """
    if _is_placed(source, target, placing):
        return False
    temporary = target.with_name(f".dl2-import-{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)
        if placing is Placing.SYMLINK:
            temporary.symlink_to(os.path.abspath(source))  # noqa: PTH100 - links stay as named
        elif placing is Placing.HARDLINK:
            os.link(source, temporary)
        else:
            shutil.copy2(source, temporary)
        temporary.rename(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno == errno.EXDEV:
            raise UsageError(
                f"{target.parent} lies on another file system than {source}: a hard link cannot "
                "lead there. Use --by symlink or --by copy."
            ) from error
        raise StorageError(
            f"{source} cannot be placed at {target}: {error.strerror}. The same command continues "
            "once that is mended."
        ) from error
    return True


def _is_placed(source: Path, target: Path, placing: Placing) -> bool:
    if not os.path.lexists(target):
        return False
    if target.is_symlink():
        same = placing is Placing.SYMLINK and target.resolve() == source.resolve()
    elif placing is Placing.COPY:
        there, here = target.stat(), source.stat()
        same = (there.st_size, there.st_mtime_ns) == (here.st_size, here.st_mtime_ns)
    else:
        same = placing is Placing.HARDLINK and target.samefile(source)
    if not same:
        raise UsageError(f"{target} is there already, and is not {source}: choose another folder.")
    return True
