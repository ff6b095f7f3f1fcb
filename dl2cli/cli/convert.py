"""`dl2 convert`: an ImageFolder becomes a PCR dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from dl2cli.cli.options import JsonOption, WorkersOption, help_text, size
from dl2cli.cli.output import Output, printable
from dl2cli.cores import usable_cores

if TYPE_CHECKING:
    from dl2cli.pcr.config import (
        ConvertConfig,
        ConvertPlan,
        ConvertProgress,
        ConvertResult,
        MeasureFidelity,
    )

_SHOWN_REJECTS = 10
_MOST_PIXELS = 1 << 40  # more than any image has

_HELP = """\
Convert an ImageFolder to a PCR dataset, without loss.

SOURCE holds one folder a class, or train/ and val/ folders of that form, which become OUT/train and
OUT/val with the same labels. It is only ever read. Each JPEG is rearranged into progressive scans
with identical pixels, and the scans are grouped, so that a reader takes only the first k groups.
An interrupted conversion goes on where it stopped when the same command is given again.

[bold]What counts as an image:[/bold] files ending in jpg, jpeg, jpe, jfif, png, webp, gif, bmp,
dib, tif, tiff, ppm or pgm, anywhere below a class folder, also through links. Hidden files and all
others are left out and counted. Content decides the format: what is no ordinary JPEG is encoded
once at --quality. Bad files are listed with their reason, at the end and in PCR_sources.db.

Example: [bold]dl2 convert training_set out/[/bold]
"""


@dataclass(frozen=True)
class ConvertReport:
    """One entry for each converted ImageFolder: one, or one a split."""

    datasets: tuple[ConvertResult, ...] | tuple[ConvertPlan, ...]


def register(app: typer.Typer) -> None:
    """Add `dl2 convert` to the program."""
    app.command("convert", help=help_text(_HELP))(convert)


def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The ImageFolder to convert.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder of the dataset; made if need be.")
    ],
    images_per_record: Annotated[
        int, typer.Option(min=1, help="Images a record file holds.")
    ] = 1024,
    scan_script: Annotated[
        str,
        typer.Option(
            metavar="default|spectral|FILE",
            help="How images are divided into scan groups: jpegtran's ten scans; six scans that "
            "decode faster; or a file in the syntax of jpegtran -scans.",
        ),
    ] = "default",
    seed: Annotated[int, typer.Option(help="Of the order of images in the records.")] = 0,
    shuffle: Annotated[bool, typer.Option(help="Shuffle, or keep the order of paths.")] = True,
    workers: WorkersOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the dataset at OUT, finished or not.")
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Go on with an unfinished conversion, or refuse to.")
    ] = True,
    on_error: Annotated[
        Literal["skip", "fail"],
        typer.Option(help="Skip and list bad files, or fail at the first."),
    ] = "skip",
    keep_metadata: Annotated[
        Literal["none", "icc", "exif", "all"],
        typer.Option(help="JPEG markers to carry over beside the image."),
    ] = "none",
    keep_damaged: Annotated[
        bool, typer.Option("--keep-damaged", help="Keep what a damaged JPEG still shows.")
    ] = False,
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="JPEG quality of what must be re-encoded.")
    ] = 95,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Reject images of more pixels than this.")
    ] = 100_000_000,
    mssim_samples: Annotated[
        int,
        typer.Option(min=0, help="Measure MS-SSIM and PSNR at each fidelity on so many images."),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Convert an ImageFolder to a PCR dataset (the help text is `_HELP`)."""
    from dl2cli.pcr.config import ConvertConfig
    from dl2cli.pcr.convert import convert as run
    from dl2cli.pcr.convert import plan, split_configs
    from dl2cli.pcr.scan_script import load
    from dl2cli_native._core import Limits

    output = Output(json_mode=json)
    config = ConvertConfig(
        source=source,
        out=out,
        images_per_record=images_per_record,
        script=load(scan_script),
        seed=seed,
        shuffle=shuffle,
        workers=workers or usable_cores(),
        force=force,
        resume=resume,
        on_error=on_error,
        keep_metadata=keep_metadata,
        keep_damaged=keep_damaged,
        quality=quality,
        limits=Limits(max_pixels=min(max_pixels, _MOST_PIXELS)),
        measure_fidelity=_measure(mssim_samples) if mssim_samples else None,
    )
    if dry_run:
        plans = tuple(plan(each) for each in split_configs(config))
        output.result(ConvertReport(plans), *map(_plan_table, plans))
        return
    results = tuple(_run(run, each, output) for each in split_configs(config))
    output.result(ConvertReport(results), *(part for r in results for part in _tables(r)))


def _measure(samples: int) -> MeasureFidelity:
    from dl2cli.analysis.fidelity.dataset import measure_dataset

    return lambda dataset: measure_dataset(dataset, samples)


def _run(
    run: Callable[
        [ConvertConfig, Callable[[ConvertProgress], None], Callable[[str], None]], ConvertResult
    ],
    config: ConvertConfig,
    output: Output,
) -> ConvertResult:
    with _progress(output, f"Converting {escape(printable(config.source.name))}") as tell:
        return run(config, tell, output.message)


@contextmanager
def _progress(output: Output, title: str) -> Iterator[Callable[[ConvertProgress], None]]:
    """Show images, images/s, MB/s, ETA and rejects on stderr."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}"),
        TimeRemainingColumn(),
    )
    start = time.perf_counter()
    first: int | None = None
    with output.progress(*columns) as progress:
        task = progress.add_task(title, total=None, rates="")

        def tell(state: ConvertProgress) -> None:
            nonlocal first
            # Images of records that an earlier run finished say nothing about this run's speed.
            first = state.resumed if first is None else first
            seconds = max(time.perf_counter() - start, 1e-3)
            rates = (
                f"{(state.done - first) / seconds:.0f} img/s, "
                f"{state.source_bytes / seconds / 1e6:.1f} MB/s"
            )
            if state.rejected:
                rates += f", {state.rejected} rejected"
            progress.update(task, completed=state.done, total=state.images, rates=rates)

        yield tell


def _plan_table(plan: ConvertPlan) -> Table:
    table = Table(title="Nothing was written (--dry-run)", show_header=False)
    rows = [
        ("source", escape(printable(str(plan.source)))),
        ("out", escape(printable(str(plan.out)))),
        ("images", f"{plan.images:,}"),
        ("classes", f"{plan.classes:,}"),
        ("records", f"{plan.records:,}"),
        ("scan groups", str(plan.scan_groups)),
        ("source bytes", size(plan.source_bytes)),
        ("left out", _ignored(plan.ignored)),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _ignored(ignored: dict[str, int]) -> str:
    return "\n".join(f"{count:,} {reason}" for reason, count in ignored.items()) or "0"


def _tables(result: ConvertResult) -> list[Table]:
    tables = [_summary(result), _fidelities(result)]
    if result.rejected:
        tables.append(_rejects(result))
    return tables


def _summary(result: ConvertResult) -> Table:
    rate = result.converted_images / max(result.seconds, 1e-9)
    change = result.output_bytes / max(result.source_bytes, 1) - 1
    table = Table(title=escape(printable(f"{result.source} → {result.out}")), show_header=False)
    rows = [
        ("images", f"{result.images:,} in {result.classes:,} classes"),
        ("records", f"{result.records:,} ({result.resumed_records:,} from an earlier run)"),
        ("source bytes", size(result.source_bytes)),
        ("output bytes", f"{size(result.output_bytes)} ({change:+.1%})"),
        ("time", f"{result.seconds:.1f} s, {rate:.0f} images/s"),
        ("re-encoded", f"{result.reencoded:,}"),
        ("kept though damaged", f"{result.kept_damaged:,}"),
        ("rejected", f"{len(result.rejected):,}"),
        ("left out", _ignored(result.ignored)),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _fidelities(result: ConvertResult) -> Table:
    table = Table(title="What a reader takes at each fidelity")
    table.add_column("scans k", justify="right")
    table.add_column("bytes", justify="right")
    table.add_column("bytes an image", justify="right")
    table.add_column("share", justify="right")
    measured = {each.scans: each for each in result.fidelity}
    if measured:
        table.add_column("MS-SSIM", justify="right")
        table.add_column("PSNR", justify="right")
    for scans, count in enumerate(result.bytes_at_scans, start=1):
        row = [
            str(scans),
            size(count),
            size(count / max(result.images, 1)),
            f"{count / max(result.output_bytes, 1):.1%}",
        ]
        if scans in measured:
            psnr = measured[scans].psnr_db
            row += [
                f"{measured[scans].ms_ssim:.4f}",
                "identical" if psnr is None else f"{psnr:.1f} dB",
            ]
        table.add_row(*row)
    return table


def _rejects(result: ConvertResult) -> Table:
    left = len(result.rejected) - _SHOWN_REJECTS
    caption = f"and {left:,} more: table `rejected` of {result.out}/PCR_sources.db"
    table = Table(title="Rejected files", caption=escape(printable(caption)) if left > 0 else None)
    table.add_column("file", overflow="fold")
    table.add_column("reason", overflow="fold")
    for each in result.rejected[:_SHOWN_REJECTS]:
        table.add_row(escape(printable(each.path)), escape(printable(each.reason)))
    return table
