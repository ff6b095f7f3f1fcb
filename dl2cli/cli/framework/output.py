"""The one output sink: results on stdout, progress and messages on stderr.

Text from outside (names of files, contents of logs) passes `dl2cli.text` here, on its way to the
terminal, so that no command has to think of it: no control characters, no markup, no emoji codes,
and nothing that the terminal's encoding cannot hold.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, Final, cast

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.progress import Progress, ProgressColumn
from rich.segment import Segment
from rich.text import Text

from dl2cli.errors import StorageError
from dl2cli.text import encodable, without_controls

SCHEMA_VERSION = 1
HEARD: Final = "Ctrl-C was heard. Waiting for what is running to stop."


Provenance = Callable[[], dict[str, Any]]  # a call, because it costs time that only JSON needs


def jsonable(value: Any) -> Any:  # noqa: ANN401 - JSON is untyped
    """Turn a result (dataclasses, enums, paths, NaN) into what strict JSON can hold.

    NaN and the infinities become null: JSON has no token for them.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if isinstance(value, enum.Enum):
        return jsonable(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return printable(str(value))
    if isinstance(value, str):
        return printable(value)
    return value


def printable(text: str) -> str:
    """Escape bytes that are not valid UTF-8 (in names of files), so that text can be written."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Screen(Console):
    """A console on which every string is text: no markup, no emoji codes, no control characters.

    A `Text` gives a string a style. Line breaks stay; a name that may hold one goes through
    `dl2cli.text.clean_text` first.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - rich's
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:  # noqa: ANN401 - rich's
        """Make a string safe before rich measures it."""
        return super().render_str(self.safe(text), **{**settings, "emoji": False, "markup": False})

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Make a `Text`, or anything that can be drawn, safe to show."""
        for segment in super().render(renderable, options):
            if segment.control or (segment.text.isascii() and segment.text.isprintable()):
                yield segment
            else:
                yield Segment(self.safe(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Raise when the reader of stdout has left, so that the program decides what to do."""
        raise BrokenPipeError

    def safe(self, text: str) -> str:
        """Return a text that this console can show."""
        return encodable(without_controls(text, keep=" \n\t\u00a0\u3000"), self.encoding)


class _Stderr:
    """Standard error: if a message cannot be written, it is lost and the work goes on."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


class _Bars(Progress):
    """Bars that leave room for the ^C that a terminal echoes, so that they can be erased."""

    def get_renderable(self) -> RenderableType:
        return _Narrower(super().get_renderable())


class _Narrower:
    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Constrain(self._content, max(options.max_width - 3, 1))


class Output:
    """Prints a command's result as rich tables, or as one JSON document on stdout.

    Rich honours NO_COLOR by itself. There is no bar unless stderr is a terminal. Errors are text on
    stderr even in JSON mode: stdout gets a whole document or nothing.
    """

    _latest: ClassVar[Output | None] = None

    def __init__(self, *, json_mode: bool = False, heard: str = HEARD) -> None:
        """Say `heard` when Ctrl-C has not ended the command after a second."""
        self.json_mode = json_mode
        self.heard = heard
        self.out = Screen()
        self.err = Screen(file=cast(IO[str], _Stderr()))
        Output._latest = self

    @classmethod
    def tell_heard(cls) -> None:
        """Answer a Ctrl-C through the sink that is in use: it knows what is drawn on stderr."""
        output = cls._latest or cls()
        output.message(output.heard)

    def message(self, text: str) -> None:
        """Print a line for the user on stderr."""
        self.err.print(text, soft_wrap=True)

    def result(
        self, result: object, *renderables: RenderableType, provenance: Provenance | None = None
    ) -> None:
        """Print a result: as JSON with `--json`, else the renderables that show it.

        `provenance` makes what is added to the JSON document under that name.

        Raises:
            StorageError: stdout is on a full disk, or cannot be written for another reason.
            BrokenPipeError: its reader has left.
        """
        if self.json_mode:
            document = {"schema_version": SCHEMA_VERSION, **jsonable(result)}
            if provenance is not None:
                document["provenance"] = jsonable(provenance())
            ascii_only = not self.out.encoding.startswith("utf")
            text = json.dumps(document, indent=2, ensure_ascii=ascii_only, allow_nan=False)
            self.write(text + "\n")
            return
        with writing_stdout():
            for renderable in renderables:
                # A command to copy is one line, however long; rich forgets that a Text wants it so.
                whole = isinstance(renderable, Text) and bool(renderable.no_wrap)
                self.out.print(
                    renderable, crop=not whole, no_wrap=whole, overflow="ignore" if whole else None
                )

    def write(self, text: str) -> None:
        """Write a text to stdout as it is (JSON, CSV, a path). Raises as `result`."""
        with writing_stdout():
            sys.stdout.write(text)

    @property
    def redraws(self) -> bool:
        """Whether stderr can be drawn over. FORCE_COLOR gives a file colours, but no cursor."""
        return self.err.is_terminal and sys.stderr.isatty()

    def progress(self, *columns: ProgressColumn) -> Progress:
        """Return a progress display on stderr, which is disabled unless stderr is a terminal."""
        return _Bars(*columns, console=self.err, transient=True, disable=not self.redraws)


@contextlib.contextmanager
def writing_stdout() -> Iterator[None]:
    """Flush what the block prints to stdout, and explain what prevents it.

    Raises:
        StorageError: stdout is on a full disk, or cannot be written for another reason.
        BrokenPipeError: its reader has left.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:  # not of the stream
            raise
        raise StorageError(f"Standard output cannot be written: {error.strerror}.") from None


def prepare_streams() -> None:
    """Make stdout and stderr writable, whatever they are.

    A stream that the shell closed (`>&-`) is opened on /dev/null, or the next file that is opened
    would take its place. A character that a stream's encoding lacks becomes an escape.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        _escape_what_is_lacking(stream)


def _escape_what_is_lacking(stream: IO[str]) -> None:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def give_up(stream: IO[str]) -> None:
    """Discard what is still written to a stream, so that Python does not fail when it ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(nothing, stream.fileno())
    os.close(nothing)


def flush_or_give_up() -> None:
    """Write what is still to be written, where that is possible."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            give_up(stream)
