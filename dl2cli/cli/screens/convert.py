"""The plan and the result of `dl2 convert` on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table

from dl2cli.cli.framework.shared import facts_table, size
from dl2cli.text import without_controls

if TYPE_CHECKING:
    from dl2cli.cluster.parts import PartResult
    from dl2cli.pcr.config import ConvertPlan, ConvertResult

_SHOWN: Final = 10  # rejected files, and parts that are not done


def plan_table(plan: ConvertPlan) -> Table:
    """Return what a conversion would do."""
    table = facts_table("Nothing was written (--dry-run)")
    rows = [
        ("source", str(plan.source)),
        ("out", str(plan.out)),
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


def part_table(result: PartResult) -> Table:
    """Return what became of one part of a conversion."""
    number, count = result.part
    table = facts_table(f"Part {number}/{count}: {result.source} → {result.out}")
    rows = [
        ("records", f"{result.records:,} ({result.resumed_records:,} from an earlier run)"),
        ("images", f"{result.images:,} in {result.seconds:.1f} s"),
        ("rejected", f"{result.rejected:,}"),
    ]
    if result.waiting_for is not None:
        waiting = ", ".join(map(str, result.waiting_for[:_SHOWN])) or "none"
        more = len(result.waiting_for) - _SHOWN
        rows.append(("parts to do", waiting + (f" and {more:,} more" if more > 0 else "")))
    for row in rows:
        table.add_row(*row)
    return table


def _ignored(ignored: dict[str, int]) -> str:
    return "\n".join(f"{count:,} {reason}" for reason, count in ignored.items()) or "0"


def result_tables(result: ConvertResult) -> list[Table]:
    """Return what became of a conversion: sizes, fidelities, and files that were rejected."""
    tables = [_summary(result), _fidelities(result)]
    if result.rejected:
        tables.append(_rejects(result))
    return tables


def _summary(result: ConvertResult) -> Table:
    rate = result.converted_images / max(result.seconds, 1e-9)
    source_bytes, change = "unknown (there is no PCR_sources.db)", ""
    if result.source_bytes is not None:
        source_bytes = size(result.source_bytes)
        change = f" ({result.output_bytes / max(result.source_bytes, 1) - 1:+.1%})"
    table = facts_table(f"{result.source} → {result.out}")
    rows = [
        (
            "images",
            f"{result.images:,} in {result.classes:,} class{'es' if result.classes != 1 else ''}",
        ),
        ("records", f"{result.records:,} ({result.resumed_records:,} from an earlier run)"),
        ("source bytes", source_bytes),
        ("output bytes", size(result.output_bytes) + change),
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
    left = len(result.rejected) - _SHOWN
    caption = f"and {left:,} more: table `rejected` of {result.out}/PCR_sources.db"
    table = Table(title="Rejected files", caption=caption if left > 0 else None)
    table.add_column("file", overflow="fold")
    table.add_column("reason", overflow="fold")
    for each in result.rejected[:_SHOWN]:
        table.add_row(without_controls(each.path), each.reason)
    return table
