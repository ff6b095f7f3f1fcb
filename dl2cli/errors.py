"""The error tree, and the exit code of each kind.

Every error that a user can cause or meet is a `Dl2Error`. Its text is one or two sentences: what
happened, where, and what to do next. `dl2cli.cli.main` is the one place that prints it.
"""

import errno
import os
from enum import IntEnum
from typing import Final

# The codes that are about the file itself: it is not there (any more), it is not a file, or this
# user may not read it. Every other code (EIO, ESTALE, ENOTCONN, ENOMEM, EMFILE, ETIMEDOUT) means
# that a disk, a share or a machine failed, and says nothing about the file.
# dl2/error.hpp has the same list.
FILE_ERRNOS: Final = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EACCES,
        errno.EPERM,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)


class ExitCode(IntEnum):
    """What the `dl2` process returns."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    BAD_DATA = 3
    MISSING_DEPENDENCY = 4
    THRESHOLD_MISSED = 5
    INTERRUPTED = 130


class Dl2Error(Exception):
    """An error with a sentence for the user and an exit code for the shell."""

    exit_code = ExitCode.UNEXPECTED


class UsageError(Dl2Error):
    """The command line, or an argument of the Python API, asks for something impossible."""

    exit_code = ExitCode.USAGE


class DataError(Dl2Error):
    """Data on disk is damaged, incomplete, or not what it claims to be."""

    exit_code = ExitCode.BAD_DATA


class StorageError(Dl2Error):
    """The operating system could not read or write: a full disk, a lost share, no memory."""

    exit_code = ExitCode.UNEXPECTED


class MissingDependency(Dl2Error):  # noqa: N818 - the name says what is wrong
    """An optional part is not installed; `extra` is the name of the extra that brings it."""

    exit_code = ExitCode.MISSING_DEPENDENCY

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(f"{part} is needed for this: pip install 'dl2cli[{extra}]'.")
        self.part = part
        self.extra = extra


class ThresholdMissed(Dl2Error):  # noqa: N818
    """A threshold that the user set was missed."""

    exit_code = ExitCode.THRESHOLD_MISSED


class Interrupted(Dl2Error):  # noqa: N818
    """The user stopped the work (Ctrl-C); the text says how to go on."""

    exit_code = ExitCode.INTERRUPTED


def is_file_fault(error: BaseException) -> bool:
    """Tell whether an error is true of the file that was read, so that the file may be rejected.

    False means that the system failed: then the work has to stop (`system_failure`), because the
    same file may be read without trouble later. Errors of Pillow and other decoders are OSErrors
    without a code; they are about the content.
    """
    if isinstance(error, MemoryError):
        return False
    return not isinstance(error, OSError) or error.errno is None or error.errno in FILE_ERRNOS


def system_failure(path: str | os.PathLike[str], error: OSError | MemoryError) -> StorageError:
    """Return the error that stops the work because the system failed to read `path`."""
    if isinstance(error, MemoryError) or error.errno == errno.ENOMEM:
        return StorageError(
            f"{os.fspath(path)} cannot be read: there is not enough memory. Use fewer workers, or "
            "a machine with more memory."
        )
    reason = error.strerror or error
    if error.errno in FILE_ERRNOS:
        return StorageError(f"{os.fspath(path)} cannot be read: {reason}.")
    if error.errno == errno.EREMOTEIO:  # an object store (dl2cli.stores)
        return StorageError(
            f"{os.fspath(path)} cannot be read: {reason}. The store or the network failed, which "
            "says nothing about the data: run the same command again once it works."
        )
    return StorageError(
        f"{os.fspath(path)} cannot be read: {reason}. The disk, the share or this machine failed, "
        "which says nothing about the file: run the same command again once it works."
    )
