"""The one output sink: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn
from rich.text import Text

SCHEMA_VERSION = 1


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
    """Escape what is no valid UTF-8 (names of files are bytes), so that it can be printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Output:
    """Prints a command's result as rich tables, or as one JSON document on stdout.

    Rich honours NO_COLOR by itself. There is no bar when stderr is no terminal.
    """

    def __init__(self, *, json_mode: bool = False) -> None:
        self.json_mode = json_mode
        self.out = Console()
        self.err = Console(stderr=True)

    def message(self, text: str) -> None:
        """Print a line for the user on stderr."""
        self.err.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def result(self, result: object, *renderables: RenderableType) -> None:
        """Print a result: as JSON with `--json`, else the renderables that show it."""
        if self.json_mode:
            document = {"schema_version": SCHEMA_VERSION, **jsonable(result)}
            json.dump(document, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
            sys.stdout.write("\n")
            sys.stdout.flush()
            return
        for renderable in renderables:
            # A command to copy is one line, however long; rich forgets that a Text wants it so.
            whole = isinstance(renderable, Text) and bool(renderable.no_wrap)
            self.out.print(
                renderable, crop=not whole, no_wrap=whole, overflow="ignore" if whole else None
            )

    def progress(self, *columns: ProgressColumn) -> Progress:
        """Return a progress display on stderr, disabled where stderr is no terminal."""
        return Progress(
            *columns, console=self.err, transient=True, disable=not self.err.is_terminal
        )
