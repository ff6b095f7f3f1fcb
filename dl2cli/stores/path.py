"""A dataset's place as the user names it: a folder, or the URL of a prefix in an object store.

    dataset_path("photos")              # Path("photos")
    dataset_path("file:///data/photos") # Path("/data/photos")
    dataset_path("s3://bucket/photos")  # StorePath: str() is the URL, / appends a name

A `StorePath` walks through options, configurations and messages as any `Path` does. Whoever reads
what lies there asks `is_remote` first.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PosixPath
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from dl2cli.errors import UsageError

SCHEMES: Final = ("s3", "s3a", "gs", "az", "adl", "abfs", "abfss", "https", "http")
_LOCAL: Final = "file"
# `Path` makes one slash of two: both spellings are understood.
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//?)(.*)", re.DOTALL)


class StorePath(PosixPath):
    """The URL of an object, or of a prefix, in an object store or on a web server."""

    @property
    def url(self) -> str:
        """The URL, without a slash at its end."""
        text = super().__str__()
        scheme, colon, rest = text.partition(":/")
        return f"{scheme}://{rest}" if colon else text

    def __str__(self) -> str:
        return self.url

    def __fspath__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"StorePath({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return StorePath, (super().__str__(),)

    def is_absolute(self) -> bool:
        """Tell that it does not depend on the current folder."""
        return True

    def absolute(self) -> Self:
        """Return itself."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Return itself."""
        return self

    def expanduser(self) -> Self:
        """Return itself."""
        return self


def dataset_path(place: str | os.PathLike[str]) -> Path:
    """Return a place as the user names it: a `StorePath` for a URL, else a `Path`.

    Raises:
        UsageError: a URL that cannot be read, and why.
    """
    if isinstance(place, StorePath):
        return place
    text = os.fspath(place)
    match = _URL.fullmatch(text)
    if match is None:
        return Path(text)
    scheme, slashes, rest = match[1].lower(), match[2], match[3]
    if scheme == _LOCAL:
        return _local(text, slashes + rest)
    if scheme not in SCHEMES:
        if slashes == "//":
            raise UsageError(
                f"{text} cannot be read: dl2 knows {', '.join(SCHEMES)} and file, not {scheme}."
            )
        return Path(text)
    parts = urlsplit(f"{scheme}://{rest}")
    if not parts.netloc:
        raise UsageError(f"{text} names no bucket or server.")
    if "@" in parts.netloc and scheme not in ("abfs", "abfss"):
        raise UsageError(
            f"{scheme}://...@{parts.netloc.rpartition('@')[2]} holds a user name or a password, "
            "which would be written to logs. Set it in the environment (dl2cli/stores/README.md)."
        )
    if scheme in ("http", "https") and (parts.query or parts.fragment):
        raise UsageError(
            f"{scheme}://{parts.netloc}{parts.path} has a query or a fragment behind it: names of "
            "records are appended to a URL, which a signed URL of one object does not allow."
        )
    return StorePath(f"{scheme}:/{rest}")


def is_remote(path: Path) -> bool:
    """Tell whether a place is in a store."""
    return isinstance(path, StorePath)


def _local(text: str, rest: str) -> Path:
    """Return the folder that a file URL names."""
    parts = urlsplit(f"{_LOCAL}:{rest}")
    path = rest if rest.startswith("/") and not rest.startswith("//") else parts.path
    if parts.netloc not in ("", "localhost") and rest.startswith("//"):
        raise UsageError(f"{text} names another machine; write file:///folder.")
    return Path(unquote(path))
