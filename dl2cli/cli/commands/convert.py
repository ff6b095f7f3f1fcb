"""`dl2 convert`: an ImageFolder becomes a PCR dataset, or lossy variants of itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, flag, no, option, refuse_given
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import (
    CODEC,
    JSON,
    MOST_PIXELS,
    PREPARE,
    SCHEDULER,
    SEED,
    WORKERS,
)
from dl2cli.cli.screens.convert import part_table, plan_table, result_tables
from dl2cli.cores import usable_cores
from dl2cli.errors import UsageError
from dl2cli.stores.path import is_remote

if TYPE_CHECKING:
    from dl2cli.cluster.parts import PartResult
    from dl2cli.pcr.config import (
        ConvertConfig,
        ConvertPlan,
        ConvertProgress,
        ConvertResult,
        MeasureFidelity,
    )
    from dl2cli.pcr.pipeline import RunRecords

_TEXT = """
SOURCE holds one folder per class, or train/ and val/ folders of that form, which become OUT/train
and OUT/val with the same labels. It is only read, never changed. Each JPEG is rearranged into
progressive scans with identical pixels, and the scans are grouped, so that a reader can load only
the first k groups. To continue an interrupted conversion, give the same command again.

Images are files ending in jpg, jpeg, jpe, jfif, png, webp, gif, bmp, dib, tif, tiff, ppm, pgm, jp2,
j2k or jpx, anywhere below a class folder, also through links. Hidden files and all others are left
out and counted. The format is told from a file's content: anything but an ordinary JPEG is encoded
once at --quality. Files that cannot be converted are listed with their reason, at the end and in
PCR_sources.db.

With --to jpeg, webp or jpeg2000 the images are encoded anew instead, with loss, into one
ImageFolder for each quality: OUT/jpeg-10, OUT/jpeg-50, ... Each gets its name when it is complete.
Their encoding times, bits per pixel and likeness go to OUT/logs for dl2 report.
"""


_QUALITY = 95  # for images that are not JPEGs
_ONLY_VARIANTS = ("lossless", "quality_list", "webp_method", "fraction", "log")


@dataclass(frozen=True)
class ConvertReport:
    """One entry for each converted ImageFolder: one, or one a split."""

    datasets: tuple[ConvertResult, ...] | tuple[ConvertPlan, ...] | tuple[PartResult, ...]


class _Layout(Options):
    """How images are arranged."""

    panel = "Records"

    images_per_record: int = option(
        "Put this many images into a record file.", default=1024, least=1
    )
    scan_script: str = option(
        "Divide images into scan groups by: default, the ten scans of jpegtran; rate, ten "
        "groups that show photos of high quality in fewer bytes; fast and spectral, five and six "
        "groups that decode faster; a file in the syntax of jpegtran -scans; or auto, which "
        "searches for the script that suits these images (auto:bytes, auto:decode or auto:both).",
        default="default",
        metavar="SCRIPT",
    )
    seed: int = SEED
    shuffle: bool = no("Keep images in the order of their paths.")


class _Images(Options):
    """What becomes of images that are not ordinary JPEGs."""

    panel = "Images"

    quality: tuple[int, ...] = option(
        "Encode images that are not JPEG at this quality; with --to, make a variant of each of "
        "these qualities. Of JPEG 2000 it is the PSNR in dB.",
        metavar="Q,...", least=1, most=100, default=(), shown="95",
    )  # fmt: skip
    quality_cap: int | None = option(
        "Encode JPEGs of a higher quality anew at this one, with loss.",
        metavar="Q", least=1, most=100,
    )  # fmt: skip
    max_side: int | None = option(
        "Scale larger images down to this longest side, with loss.", metavar="PIXELS", least=1
    )
    keep_metadata: Literal["none", "icc", "exif", "all"] = option(
        "Carry these JPEG markers over.", default="none"
    )
    keep_damaged: bool = flag("Keep the part of a damaged JPEG that can be decoded.")
    max_pixels: int = option(
        "Reject images that have more pixels than this.", default=100_000_000, least=1
    )
    on_error: Literal["skip", "fail"] = option(
        "Leave out a file that cannot be converted, or stop at the first one.", default="skip"
    )


class _Variants(Options):
    """Lossy variants instead of PCR."""

    panel = "Lossy variants"

    to: Literal["pcr", "jpeg", "webp", "jpeg2000", "raw"] = option(
        "Make a PCR dataset, or ImageFolders in this format; raw copies a --fraction.",
        default="pcr",
    )
    lossless: bool = flag("Make a lossless variant (WebP, JPEG 2000).")
    quality_list: Path | None = option(
        "Copy JPEGs that have the quality or less already, by this CSV of dl2 analyze-images.",
        metavar="FILE",
    )
    webp_method: int = option(
        "Search for smaller WebP files, from 0 (fast) to 6.", default=4, least=0, most=6
    )
    fraction: float = option(
        "Take this share of each class's training images: the first by name, or drawn with --seed.",
        default=1.0, least=0.01, most=1,
    )  # fmt: skip
    log: Path | None = option("Write logs for dl2 report here.", metavar="DIR", shown="OUT/logs")


class _RunOptions(Options):
    """How the conversion runs."""

    panel = "Run"

    force: bool = flag("Replace the dataset at OUT, finished or not.")
    resume: bool = no("Refuse to continue an unfinished conversion.")
    workers: int | None = WORKERS
    codec: Literal["native", "libjpeg"] = CODEC
    mssim_samples: int | None = option(
        "Measure MS-SSIM and PSNR at each fidelity on this many images.",
        least=0, shown="0; 100 of variants",
    )  # fmt: skip
    dry_run: bool = flag("Say what would be done, and write nothing.")
    json: bool = JSON


class _Machines(Options):
    """How the work is divided among machines."""

    panel = "Several machines"

    part: str | None = option(
        "Convert only part I of N, for a job array; every part takes the same command otherwise.",
        metavar="I/N",
    )
    merge: bool = flag("Join the parts in OUT: dl2 convert OUT --merge.")
    scheduler: str | None = SCHEDULER


class ConvertOptions(_Layout, _Images, _Variants, _RunOptions, _Machines):
    """The options of `dl2 convert`."""

    source: Path = argument("SOURCE", "The ImageFolder to convert.", url=True)
    out: Path | None = argument(
        "OUT",
        "The folder of the dataset, which need not exist yet, or its URL in a store.",
        url=True,
    )


def convert(options: ConvertOptions) -> None:
    """Convert an ImageFolder, or each of its splits, to a PCR dataset or to variants."""
    _check_places(options)
    if options.to != "pcr":
        from dl2cli.cli.commands.convert_variants import convert_variants

        convert_variants(options)
        return
    refuse_given(options, _ONLY_VARIANTS, "is for lossy variants: it needs --to jpeg or the like")
    from dl2cli.pcr.config import ConvertConfig
    from dl2cli.pcr.convert import convert as run
    from dl2cli.pcr.plan import plan, split_configs
    from dl2cli.pcr.scan_script import DEFAULT, load
    from dl2cli.pcr.script_choice import auto_goal
    from dl2cli.provenance import provenance
    from dl2cli_native._core import Limits

    output = Output(json_mode=options.json)
    if options.merge:
        _merge(options, output)
        return
    if options.out is None:
        raise UsageError("OUT is missing: give the folder of the dataset after SOURCE.")
    goal = auto_goal(options.scan_script)
    if goal:
        from dl2cli.cli.framework.auto_script import check_search

        check_search(dry_run=options.dry_run, part=options.part)
    config = ConvertConfig(
        source=options.source,
        out=options.out,
        images_per_record=options.images_per_record,
        script=DEFAULT if goal else load(options.scan_script),
        seed=options.seed,
        shuffle=options.shuffle,
        workers=options.workers or usable_cores(),
        force=options.force,
        resume=options.resume,
        on_error=options.on_error,
        keep_metadata=options.keep_metadata,
        keep_damaged=options.keep_damaged,
        quality=_one_quality(options),
        quality_cap=options.quality_cap,
        max_side=options.max_side,
        codec=options.codec,
        limits=Limits(max_pixels=min(options.max_pixels, MOST_PIXELS)),
    )
    if options.dry_run:
        plans = tuple(plan(each) for each in split_configs(config))
        for note in (note for each in plans for note in each.notes):
            output.message(note)
        output.result(ConvertReport(plans), *map(plan_table, plans))
        return
    if options.part is not None:
        if options.scheduler is not None:
            raise UsageError("--part needs no scheduler: give one of the two.")
        _convert_part(config, options.part, output)
        return
    engine = _engine(options, output)
    configs = split_configs(config)
    if goal:
        from dl2cli.cli.framework.auto_script import choose_script

        choice = choose_script(configs, goal, output)
        configs = tuple(
            replace(each, script=choice.script, script_choice=choice.why) for each in configs
        )
    results = []
    for each in configs:
        with _progress(output, f"Converting {each.source.name}") as (tell, tell_measured):
            if options.mssim_samples:
                measure = _measure(options.mssim_samples, tell_measured)
                each = replace(each, measure_fidelity=measure)  # noqa: PLW2901
            results.append(run(each, tell, output.message, engine))
    output.result(
        ConvertReport(tuple(results)),
        *(part for r in results for part in result_tables(r)),
        provenance=lambda: provenance(config, data=options.source),
    )


def _check_places(options: ConvertOptions) -> None:
    """Refuse URLs where only folders will do. Raises UsageError."""
    if is_remote(options.source) and not options.merge:
        raise UsageError(f"SOURCE must be on this machine, not at the URL {options.source}.")
    if options.to != "pcr" and options.out is not None and is_remote(options.out):
        raise UsageError(f"--to needs a folder for OUT, not {options.out}.")


def _one_quality(options: ConvertOptions) -> int:
    if len(options.quality) > 1:
        raise UsageError("Several qualities make several variants: give --to jpeg, too.")
    return options.quality[0] if options.quality else _QUALITY


COMMAND = Command(
    name="convert",
    options=ConvertOptions,
    run=convert,
    about="Convert an ImageFolder to a PCR dataset, without loss, or to lossy variants.",
    text=_TEXT,
    examples=("training_set out/", "training_set variants/ --to jpeg --quality 10,50,85"),
    group=PREPARE,
)


def _engine(options: ConvertOptions, output: Output) -> RunRecords:
    """Return who converts the records: this machine's threads, or a cluster."""
    if options.scheduler is None:
        from dl2cli.pcr.pipeline import run_here

        return run_here
    from dl2cli.cluster.dask_engine import DaskEngine

    return DaskEngine(options.scheduler, output.message)


def _convert_part(config: ConvertConfig, text: str, output: Output) -> None:
    from dl2cli.cluster.part import Part
    from dl2cli.cluster.parts import convert_part
    from dl2cli.pcr.plan import split_configs
    from dl2cli.provenance import provenance

    part = Part.parse(text)
    results = []
    for each in split_configs(config):
        with _progress(output, f"Part {part} of {each.source.name}") as (tell, _):
            results.append(convert_part(each, part, tell, output.message))
    output.result(
        ConvertReport(tuple(results)),
        *map(part_table, results),
        provenance=lambda: provenance((config, str(part)), data=config.source),
    )
    if is_remote(config.out):
        output.message(f"When all parts are done, dl2 convert {config.out} --merge joins them.")
    elif not any(result.waiting_for for result in results):
        output.message(f"All parts are done: dl2 convert {config.out} --merge joins them.")


def _merge(options: ConvertOptions, output: Output) -> None:
    from dl2cli.cluster.merge import merge
    from dl2cli.provenance import provenance

    if options.given.keys() - {"source", "merge", "json"}:
        raise UsageError(
            "--merge takes only the folder of the parts, which says all the rest: "
            "dl2 convert OUT --merge."
        )
    results = merge(options.source)
    for note in (note for each in results for note in each.notes):
        output.message(note)
    output.result(
        ConvertReport(results),
        *(part for r in results for part in result_tables(r)),
        provenance=lambda: provenance(options.settings(), data=options.source),
    )


def _measure(samples: int, tell: Callable[[int, int], None]) -> MeasureFidelity:
    from dl2cli.analysis.fidelity.dataset import measure_dataset

    return lambda dataset: measure_dataset(dataset, samples, tell)


@contextmanager
def _progress(
    output: Output, title: str
) -> Iterator[tuple[Callable[[ConvertProgress], None], Callable[[int, int], None]]]:
    """Show images, images/s, MB/s, ETA and rejects on stderr, then a bar of what is measured."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}", markup=False),
        TimeRemainingColumn(),
    )
    start = time.perf_counter()
    first: int | None = None
    with output.progress(*columns) as progress:
        task = progress.add_task(title, total=None, rates="")
        measuring = progress.add_task("Measuring MS-SSIM", total=None, rates="", visible=False)

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

        def tell_measured(done: int, total: int) -> None:
            progress.update(measuring, completed=done, total=total, visible=True)

        yield tell, tell_measured
