"""Reads the text files that name a dataset's images and classes."""

from __future__ import annotations

from pathlib import Path

from dl2cli.errors import DataError, UsageError, system_failure

_MAX_BYTES = 1 << 30  # a table of 14 million files has about 600 MB


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text in UTF-8, with or without a byte order mark.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not text in UTF-8, or is empty.
        StorageError: the system cannot read it.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(
                f"{path} is larger than {_MAX_BYTES:,} bytes: it is not a list of images."
            )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UsageError(f"There is no {path}, which names the images and their classes.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8: {error.reason}.") from error
    except OSError as error:
        raise system_failure(path, error) from error
    if not lines:
        raise DataError(f"{path} is empty.")
    return lines
