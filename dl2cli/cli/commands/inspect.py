"""`dl2 inspect`: what is in a PCR dataset, and whether it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, flag, option
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import JSON, PREPARE, WORKERS, facts_table, image_progress, size
from dl2cli.cores import usable_cores
from dl2cli.errors import ExitCode
from dl2cli.text import without_controls

if TYPE_CHECKING:
    from dl2cli.pcr.dataset import Dataset
    from dl2cli.pcr.verify import VerifyResult

_SHOWN_DAMAGE = 20

_TEXT = """
With --verify, everything is read, and structure, checksums, counts and the decoding of every image
are checked. With --against SOURCE, each image's DCT coefficients and pixels are also compared with
its source's. Damage is listed, and the exit code is then 3.
"""


@dataclass(frozen=True)
class FidelityBytes:
    """What a reader takes at fidelity `scans`; `share` is of the bytes at full fidelity."""

    scans: int
    bytes: int
    bytes_per_image: float
    share: float


@dataclass(frozen=True)
class InspectReport:
    """What is in a dataset; `verification` only where it was asked for.

    `missing` says which record files are not there, or not as long as the index says.
    """

    path: Path
    images: int
    classes: tuple[str, ...]
    records: int
    groups: int
    published_format: bool
    fidelities: tuple[FidelityBytes, ...]
    properties: dict[str, Any]
    missing: tuple[str, ...]
    verification: VerifyResult | None


class InspectOptions(Options):
    """The options of `dl2 inspect`."""

    dataset: Path = argument("DATASET", "The folder or URL of the PCR dataset.", url=True)
    verify: bool = flag("Read and check everything.")
    against: Path | None = option(
        "Compare each image with its source in this ImageFolder; implies --verify.",
        metavar="SOURCE",
    )
    max_pixels: int = option(
        "Verify images of up to this many pixels, whatever the dataset itself allows.",
        least=1,
        default=100_000_000,
    )
    workers: int | None = WORKERS
    json: bool = JSON


def inspect(options: InspectOptions) -> None:
    """Show what is in a PCR dataset, and check it if that is asked for."""
    from dl2cli import pcr
    from dl2cli.pcr.verify import verify as run
    from dl2cli.provenance import provenance

    output = Output(json_mode=options.json)
    opened = pcr.open(options.dataset)
    verification = None
    if options.verify or options.against is not None:
        workers = options.workers or usable_cores()
        with image_progress(output, f"Verifying {options.dataset.name}") as tell:
            verification = run(opened, options.against, workers, tell, options.max_pixels)
    report = _describe(opened, verification)
    output.result(
        report,
        *_tables(report),
        provenance=lambda: provenance(options.settings(), data=options.dataset),
    )
    for reason in report.missing if verification is None else ():
        output.message(reason)
    if report.missing or (verification is not None and verification.damage):
        raise typer.Exit(ExitCode.BAD_DATA)


COMMAND = Command(
    name="inspect",
    options=InspectOptions,
    run=inspect,
    about="Show what is in a PCR dataset: images, classes, records, and the bytes at each "
    "fidelity.",
    text=_TEXT,
    examples=("out/train --verify --against training_set/train",),
    group=PREPARE,
)


def _describe(dataset: Dataset, verification: VerifyResult | None) -> InspectReport:
    full = max(dataset.prefix_bytes(dataset.groups), 1) if dataset.groups else 1
    fidelities = []
    for scans in range(1, dataset.groups + 1):
        count = dataset.prefix_bytes(scans)
        share = count / full
        fidelities.append(FidelityBytes(scans, count, count / max(dataset.image_count, 1), share))
    return InspectReport(
        path=dataset.path,
        images=dataset.image_count,
        classes=dataset.classes,
        records=len(dataset.records),
        groups=dataset.groups,
        published_format=dataset.is_published_format,
        fidelities=tuple(fidelities),
        properties=dataset.properties,
        missing=tuple(dataset.missing_records()),
        verification=verification,
    )


def _tables(report: InspectReport) -> list[Table]:
    from dl2cli.pcr.script_choice import PROPERTY

    properties = report.properties
    table = facts_table(str(report.path))
    table.add_row("images", f"{report.images:,}")
    table.add_row("classes", f"{len(report.classes):,}")
    table.add_row("records", f"{report.records:,}")
    table.add_row("scan groups", str(report.groups))
    if report.published_format:
        table.add_row("format", "PCR_Release converter: no checksums, no class names")
    for key in ("scan_script_name", "images_per_record", "seed", "shuffle", "quality", "libjpeg"):
        if key in properties:
            table.add_row(key.replace("_", " "), str(properties[key]))
    choice = properties.get(PROPERTY)
    if isinstance(choice, dict) and isinstance(choice.get("why"), list):
        table.add_row("chosen because", "\n".join(map(str, choice["why"])) or "it scored best")
    tables = [table, _fidelity_table(report)]
    if report.verification is not None:
        tables.append(_verification_table(report.verification))
    return tables


def _fidelity_table(report: InspectReport) -> Table:
    """Show bytes at each k, and quality where converting has measured it."""
    from dl2cli.pcr.script_choice import measured_levels

    table = Table(title="What a reader takes at each fidelity")
    for column in ("scans k", "bytes", "bytes an image", "share"):
        table.add_column(column, justify="right")
    quality = _quality(report)
    if quality:
        table.add_column("MS-SSIM", justify="right")
        table.add_column("PSNR", justify="right")
    for each in report.fidelities:
        table.add_row(
            str(each.scans),
            size(each.bytes),
            size(each.bytes_per_image),
            f"{each.share:.1%}",
            *quality.get(each.scans, ()),
        )
    size_px, levels = measured_levels(report.properties)
    if levels and "fidelity" not in report.properties:
        at = f"at {size_px} x {size_px} pixels" if size_px else "of whole images"
        table.caption = f"MS-SSIM and PSNR {at}, on the sample of the search for the script"
    return table


def _quality(report: InspectReport) -> dict[int, tuple[str, str]]:
    """Return MS-SSIM and PSNR by k: of the dataset's images, else of the search for its script."""
    from dl2cli.pcr.config import stored_fidelity
    from dl2cli.pcr.script_choice import measured_levels

    levels: list[tuple[int, float, float | None]] = []
    for stored in stored_fidelity(report.properties):
        levels.append((stored.scans, stored.ms_ssim, stored.psnr_db))
    if not levels:
        _, searched = measured_levels(report.properties)
        levels = [(level.scans, level.ms_ssim, level.psnr_db) for level in searched]
    return {
        scans: (f"{ms_ssim:.4f}", "identical" if psnr_db is None else f"{psnr_db:.1f} dB")
        for scans, ms_ssim, psnr_db in levels
    }


def _verification_table(result: VerifyResult) -> Table:
    if not result.damage:
        table = facts_table("Verified: no damage")
        table.add_row("records read", f"{result.records:,}")
        table.add_row("images decoded", f"{result.images:,}")
        if result.too_large:
            table.add_row("not decoded: above --max-pixels", f"{result.too_large:,}")
        if result.proved_lossless or result.not_comparable:
            table.add_row("equal to their source", f"{result.proved_lossless:,}")
            table.add_row("re-encoded or kept damaged", f"{result.not_comparable:,}")
        return table
    left = len(result.damage) - _SHOWN_DAMAGE
    caption = f"and {left:,} more (--json lists all)" if left > 0 else None
    table = Table(title=f"Damage: {len(result.damage):,} findings", caption=caption)
    table.add_column("record")
    table.add_column("image", justify="right")
    table.add_column("source", overflow="fold")
    table.add_column("reason", overflow="fold")
    for each in result.damage[:_SHOWN_DAMAGE]:
        slot = "" if each.slot is None else str(each.slot)
        source = without_controls(each.source or "")
        table.add_row(each.record, slot, source, each.reason)
    return table
