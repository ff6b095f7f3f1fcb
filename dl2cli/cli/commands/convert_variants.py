"""`dl2 convert --to jpeg|webp|jpeg2000|raw`: an ImageFolder becomes lossy variants of itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from dl2cli.cli.framework.options import refuse_given
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import facts_table, size
from dl2cli.cores import usable_cores
from dl2cli.errors import UsageError
from dl2cli.text import without_controls

if TYPE_CHECKING:
    from dl2cli.cli.commands.convert import ConvertOptions
    from dl2cli.variants.config import (
        VariantsConfig,
        VariantsPlan,
        VariantsProgress,
        VariantsResult,
    )
    from dl2cli.variants.formats import Target

_SHOWN_REJECTS = 10
_SAMPLES = 100
_ONLY_PCR = (
    "images_per_record", "scan_script", "shuffle", "keep_damaged", "codec", "quality_cap",
    "part", "merge",
)  # fmt: skip


def convert_variants(options: ConvertOptions) -> None:
    """Make the variants that the options name."""
    from dl2cli.provenance import provenance
    from dl2cli.variants.convert import convert, plan

    refuse_given(options, _ONLY_PCR, "is for PCR datasets, and not for --to " + options.to)
    output = Output(json_mode=options.json)
    config = _config(options)
    if options.dry_run:
        planned = plan(config)
        for note in planned.notes:
            output.message(note)
        output.result(planned, _plan_table(planned))
        return
    with _progress(output, f"Converting {config.source.name}") as tell:
        result = convert(config, tell, output.message)
    output.result(
        result, *_tables(result), provenance=lambda: provenance(config, data=config.source)
    )


def _config(options: ConvertOptions) -> VariantsConfig:
    from dl2cli.variants.config import VariantsConfig
    from dl2cli_native._core import Limits

    if options.out is None:
        raise UsageError("OUT is missing: give the folder of the variants behind SOURCE.")
    return VariantsConfig(
        source=options.source,
        out=options.out,
        targets=tuple(_targets(options)),
        max_side=options.max_side,
        fraction=options.fraction,
        fraction_seed=options.seed if "seed" in options.given else None,
        quality_list=options.quality_list,
        samples=_SAMPLES if options.mssim_samples is None else options.mssim_samples,
        workers=options.workers or usable_cores(),
        force=options.force,
        resume=options.resume,
        on_error=options.on_error,
        keep_metadata=options.keep_metadata,
        limits=Limits(max_pixels=min(options.max_pixels, 1 << 40)),
        log=options.log,
    )


def _targets(options: ConvertOptions) -> Iterator[Target]:
    from dl2cli.variants.formats import Target

    form = options.to
    assert form != "pcr"
    if form == "raw":
        if options.quality or options.lossless:
            raise UsageError("--to raw copies the files: it takes no quality.")
        yield Target("raw")
        return
    if not options.quality and not options.lossless:
        raise UsageError(f"--to {form} needs --quality Q[,Q...], as in --quality 10,50,85.")
    for quality in options.quality:
        yield Target(form, quality, options.webp_method)
    if options.lossless:
        yield Target(form, None, options.webp_method)


@contextmanager
def _progress(output: Output, title: str) -> Iterator[Callable[[VariantsProgress], None]]:
    """Show images, images/s, ETA and rejects on stderr."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}", markup=False),
        TimeRemainingColumn(),
    )
    start = time.perf_counter()
    with output.progress(*columns) as progress:
        task = progress.add_task(title, total=None, rates="")

        def tell(state: VariantsProgress) -> None:
            seconds = max(time.perf_counter() - start, 1e-3)
            rates = f"{(state.done - state.resumed) / seconds:.0f} img/s"
            if state.rejected:
                rates += f", {state.rejected} rejected"
            progress.update(task, completed=state.done, total=state.images, rates=rates)

        yield tell


def _plan_table(plan: VariantsPlan) -> Table:
    table = facts_table("Nothing was written (--dry-run)")
    rows = [
        ("source", str(plan.source)),
        ("variants", "\n".join(str(plan.out / name) for name in plan.variants)),
        ("images in each", f"{plan.images:,}"),
        ("classes", f"{plan.classes:,}"),
        ("left out", "\n".join(f"{n:,} {why}" for why, n in plan.ignored.items()) or "0"),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _tables(result: VariantsResult) -> Iterator[Table | str]:
    table = Table(
        title=f"{result.source} → {result.variants[0].out.parent}",
        caption=f"{result.source_images:,} images in {result.classes:,} classes, "
        f"{size(result.source_bytes)}; {result.seconds:.1f} s",
    )
    table.add_column("variant", no_wrap=True)
    copies = any(each.copied for each in result.variants)
    headings = ("bytes", "share", "bpp", "enc. ms", "MS-SSIM", "PSNR dB")
    for heading in (*(["copied"] if copies else []), *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in result.variants:
        encoded = each.images - each.copied
        psnr = "" if each.psnr_db is None else f"{each.psnr_db:.1f}"
        table.add_row(
            each.name,
            *([f"{each.copied:,}"] if copies else []),
            size(each.output_bytes),
            f"{each.output_bytes / max(result.source_bytes, 1):.1%}",
            f"{each.bits_per_pixel:.3f}",
            f"{each.encode_s / encoded * 1e3:.1f}" if encoded else "",
            "" if each.ms_ssim is None else f"{each.ms_ssim:.4f}",
            "equal" if each.ms_ssim == 1.0 and not psnr else psnr,
        )
    yield table
    most = max(result.variants, key=lambda each: len(each.rejected))
    if most.rejected:
        yield _rejects(result)
    yield f"To compare them: dl2 report {most.log.parent.parent}"


def _rejects(result: VariantsResult) -> Table:
    found = {file.path: file.reason for each in result.variants for file in each.rejected}
    left = len(found) - _SHOWN_REJECTS
    caption = f"and {left:,} more (--json lists all)" if left > 0 else None
    table = Table(title="Rejected files", caption=caption)
    table.add_column("file", overflow="fold")
    table.add_column("reason", overflow="fold")
    for path, reason in sorted(found.items())[:_SHOWN_REJECTS]:
        table.add_row(without_controls(path), reason)
    return table
