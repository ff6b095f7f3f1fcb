"""`dl2 extract`: the images of a PCR dataset, back as plain JPEG files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from dl2cli.cli.options import JsonOption, help_text, image_progress, size
from dl2cli.cli.output import Output, printable

_HELP = """\
Give the images of a PCR dataset back as an ImageFolder of plain JPEG files.

Files get their original names; what was no JPEG gets .jpg behind its name. With --scans K the files
hold the first K scan groups, as a reader at that fidelity sees them.

Example: [bold]dl2 extract out/ photos/ --scans 5[/bold]
"""


def register(app: typer.Typer) -> None:
    """Add `dl2 extract` to the program."""
    app.command("extract", help=help_text(_HELP))(extract)


def extract(
    dataset: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the dataset.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    scans: Annotated[
        int | None, typer.Option(min=1, help="The fidelity.", show_default="all scan groups")
    ] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many images.", show_default="all")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Give the images back as plain JPEG files (the help text is `_HELP`)."""
    from dl2cli import pcr
    from dl2cli.pcr.extract import extract as run

    output = Output(json_mode=json)
    with image_progress(output, f"Extracting {escape(printable(dataset.name))}") as tell:
        result = run(pcr.open(dataset), folder, scans, most, tell)
    output.result(
        result,
        f"{result.images:,} images at fidelity {result.scans} in {escape(printable(str(folder)))}, "
        f"{size(result.bytes_written)}",
    )
