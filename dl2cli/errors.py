"""The error tree, and the exit code of each kind.

Every error that a user can cause or meet is a `Dl2Error`. Its text is one or two sentences: what
happened, where, and what to do next. `dl2cli.cli.main` is the one place that prints it.
"""

from enum import IntEnum


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
    """The command line, or an argument of the Python API, asks for something that cannot be."""

    exit_code = ExitCode.USAGE


class DataError(Dl2Error):
    """Data on disk is damaged, incomplete, or not what it claims to be."""

    exit_code = ExitCode.BAD_DATA


class StorageError(Dl2Error):
    """The operating system refused to read or write: a full disk, a missing permission."""

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
