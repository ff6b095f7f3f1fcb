"""`dl2 sample`: the built-in sample set, to try everything without data of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from dl2cli.cli.options import JsonOption, help_text, image_progress
from dl2cli.cli.output import Output, printable

_HELP = """\
Make the built-in sample set, if it is not there yet, and print its folder.

It is an ImageFolder in train/ and val/ of 360 generated pictures in 6 classes (20 MB), which a
small network tells apart by structure and colour together. It is kept under DL2_HOME, or in the
user's cache folder, and made once.

Example: [bold]dl2 convert $(dl2 sample) out/[/bold]
"""


@dataclass(frozen=True)
class SampleReport:
    """Where the sample set is."""

    path: Path


def register(app: typer.Typer) -> None:
    """Add `dl2 sample` to the program."""
    app.command("sample", help=help_text(_HELP))(sample)


def sample(json: JsonOption = False) -> None:
    """Make the sample set and print its folder (the help text is `_HELP`)."""
    from dl2cli.dataset.sample import ensure_sample_set

    output = Output(json_mode=json)
    with image_progress(output, "Making the sample set") as tell:
        path = ensure_sample_set(on_image=tell)
    if json:
        output.result(SampleReport(path))
    else:
        typer.echo(printable(str(path)))  # as it is, without the line breaks of a table
