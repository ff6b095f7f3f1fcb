"""`dl2 extract`: the images of a PCR dataset, back as plain JPEG files."""

from __future__ import annotations

from pathlib import Path

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, option
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import JSON, PREPARE, image_progress, size

_TEXT = """
Files get their original names; an image that was not a JPEG gets .jpg appended to its name. With
--scans K, the files hold the first K scan groups, as a reader at that fidelity sees them.

A file appears when it is whole, and an interrupted extraction goes on where it stopped when the
same command is given again.
"""


class ExtractOptions(Options):
    """The options of `dl2 extract`."""

    dataset: Path = argument("DATASET", "The folder or URL of the PCR dataset.", url=True)
    folder: Path = argument("DIR", "Where to write the images: a new or empty folder.")
    scans: int | None = option(
        "Write the first K scan groups of each image.", metavar="K", least=1, shown="all"
    )
    most: int | None = option("Stop after this many images.", least=1, shown="all")
    json: bool = JSON


def extract(options: ExtractOptions) -> None:
    """Write the images of a PCR dataset as plain JPEG files."""
    from dl2cli import pcr
    from dl2cli.pcr.extraction.extract import extract as run
    from dl2cli.provenance import provenance

    output = Output(json_mode=options.json)
    with image_progress(output, f"Extracting {options.dataset.name}") as tell:
        result = run(pcr.open(options.dataset), options.folder, options.scans, options.most, tell)
    output.result(
        result,
        f"{result.images:,} images at fidelity {result.scans} in {options.folder}, "
        f"{size(result.bytes_written)} written",
        provenance=lambda: provenance(options.settings(), data=options.dataset),
    )
    if result.renamed:
        output.message(
            f"{result.renamed:,} images have record and slot in their name, because their own name "
            "was taken, too long or not allowed there."
        )


COMMAND = Command(
    name="extract",
    options=ExtractOptions,
    run=extract,
    about="Write the images of a PCR dataset as an ImageFolder of plain JPEG files.",
    text=_TEXT,
    examples=("out/train photos/ --scans 5",),
    group=PREPARE,
)
