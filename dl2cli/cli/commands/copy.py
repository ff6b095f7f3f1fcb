"""`dl2 copy`: a PCR dataset from one place to another, at a fidelity."""

from __future__ import annotations

from pathlib import Path

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, option
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import JSON, PREPARE, image_progress, size

_TEXT = """
Places are folders or URLs: s3://bucket/prefix, gs://, az://, https:// (to read). With --scans K,
the copy is a dataset of K scan groups: a small one for a laptop from a large one in a bucket. Its
images are the bytes that a reader at that fidelity has.

Every record is verified, and appears whole or not at all; the index comes last, so that nobody
reads half a dataset. The same command goes on with a copy that was stopped.
"""


class CopyOptions(Options):
    """The options of `dl2 copy`."""

    source: Path = argument("SRC", "The folder or URL of the PCR dataset.", url=True)
    out: Path = argument("DST", "Where to write it: a new or empty folder, or a URL.", url=True)
    scans: int | None = option(
        "Copy the first K scan groups of each image.", metavar="K", least=1, shown="all"
    )
    workers: int = option(
        "Copy this many records at a time.", "--workers", "-w", default=4, least=1
    )
    json: bool = JSON


def copy(options: CopyOptions) -> None:
    """Copy a PCR dataset between folders and stores."""
    from dl2cli import pcr
    from dl2cli.pcr.transfer.copy import copy as run
    from dl2cli.provenance import provenance

    output = Output(json_mode=options.json)
    with image_progress(output, f"Copying {options.source.name}") as tell:
        source = pcr.open(options.source)
        result = run(source, options.out, options.scans, tell, options.workers)
    resumed = f", {result.resumed_records:,} records were there" if result.resumed_records else ""
    output.result(
        result,
        f"{result.images:,} images in {result.records:,} records at fidelity {result.scans} in "
        f"{options.out}, {size(result.bytes_written)} written{resumed}",
        provenance=lambda: provenance(options.settings(), data=options.source),
    )


COMMAND = Command(
    name="copy",
    options=CopyOptions,
    run=copy,
    about="Copy a PCR dataset between folders and object stores, at a fidelity.",
    text=_TEXT,
    examples=("s3://bucket/imagenet/train small/train --scans 5",),
    group=PREPARE,
)
