"""`dl2 sample`: the built-in sample set, to try everything without data of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options
from dl2cli.cli.framework.output import Output, printable
from dl2cli.cli.framework.shared import HELP, JSON, image_progress

_TEXT = """
It is an ImageFolder in train/ and val/ of 360 generated pictures in 6 classes (20 MB), which a
small network can only tell apart by structure and colour together. It is made once, and kept under
$DL2_HOME or in your cache folder.
"""


@dataclass(frozen=True)
class SampleReport:
    """Where the sample set is."""

    path: Path


class SampleOptions(Options):
    """The options of `dl2 sample`."""

    json: bool = JSON


def sample(options: SampleOptions) -> None:
    """Make the sample set and print its folder."""
    from dl2cli.dataset.sample import ensure_sample_set

    output = Output(json_mode=options.json)
    with image_progress(output, "Making the sample set", at_once=False) as tell:
        path = ensure_sample_set(on_image=tell)
    if options.json:
        output.result(SampleReport(path))
    else:
        output.write(f"{printable(str(path))}\n")  # whole, without the line breaks of a table


COMMAND = Command(
    name="sample",
    options=SampleOptions,
    run=sample,
    about="Make the built-in sample set if it is not there yet, and print its folder.",
    text=_TEXT,
    examples=("",),
    group=HELP,
)
