"""The result of `dl2 analyze-images -a scripts` on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dl2cli.cli.framework.shared import facts_table, size

if TYPE_CHECKING:
    from dl2cli.analysis.scripts.result import (
        LossyLevel,
        ScriptCurve,
        ScriptLevel,
        ScriptReport,
    )

_FRONT = "•"


def render_scripts(report: ScriptReport, plots: tuple[Path, ...]) -> list[RenderableType]:
    """Return what is shown of a search, in order; `plots` are the files that were drawn."""
    parts: list[RenderableType] = [_overview(report), _script(report.found), _levels(report)]
    parts += [Text(sentence, style="bold") for sentence in report.sentences]
    written = [*([report.script_file] if report.script_file else []), *plots]
    if written:
        parts.append(Text("Written: " + ", ".join(map(str, written))))
    if report.script_file is not None:
        parts.append(Text(f"Use it with: dl2 convert --scan-script {report.script_file} ..."))
    return parts


def _overview(report: ScriptReport) -> Table:
    objective = report.objective
    table = facts_table(f"Scan scripts for {report.root}")
    table.add_row("sample", f"{report.images:,} images, seed {report.seed}")
    for reason, count in report.left_out.items():
        table.add_row("left out", f"{count:,} that {reason}")
    at = f"{report.size} x {report.size} pixels, cut out and resized as an evaluation does"
    table.add_row("quality", f"{objective.metric.value} at {at if report.size else 'full size'}")
    price = objective.price_kb_per_ms
    at_price = "" if price is None else f", a millisecond for {price:g} kB"
    table.add_row("objective", objective.goal.value + at_price)
    table.add_row("looked at", f"{report.scripts_looked_at:,} scripts")
    table.add_row("measured", f"{report.scripts_measured:,} scripts")
    if report.states_resumed:
        table.add_row("resumed", f"{report.states_resumed:,} measurements of an earlier run")
    scores = [report.found, *report.others]
    table.add_row("score", ", ".join(f"{c.name} {c.score_db:.2f} dB" for c in scores))
    table.add_row("time", f"{report.elapsed_s:.0f} s, {report.cpu_s:.0f} s of CPU time")
    return table


def _script(curve: ScriptCurve) -> Text:
    return Text(
        f"\nThe script {curve.name}, a group each line ('+': joins the one before):\n{curve.text}"
    )


def _levels(report: ScriptReport) -> Table:
    at = f"{report.size} pixels" if report.size else "full size"
    table = Table(
        title=f"What a reader gets for its bytes (at {at})",
        caption=f"{_FRONT}: no other script here gives as much for as little",
    )
    table.add_column("")
    columns = ("bytes", "share", "decode", "MS-SSIM", "SSIM", "PSNR")
    for column in columns:
        table.add_column(column, justify="right")
    curves = [report.found, *report.others]
    for curve in curves:
        for level in curve.levels:
            last = level is curve.levels[-1]
            table.add_row(*_level(curve.name, level), end_section=last)
    for lossy in report.lossy:
        table.add_row(*_lossy(lossy))
    return table


def _level(name: str, level: ScriptLevel) -> list[str]:
    return [
        f"{name} k={level.scans}{' ' + _FRONT if level.on_front else ''}",
        size(level.mean_bytes),
        f"{level.share:.1%}",
        f"{level.decode_ms_estimate:.2f} ms",
        f"{level.ms_ssim:.4f}",
        f"{level.ssim:.4f}",
        "identical" if level.psnr_db is None else f"{level.psnr_db:.1f} dB",
    ]


def _lossy(level: LossyLevel) -> list[str]:
    return [
        f"{level.setting}{' ' + _FRONT if level.on_front else ''}",
        size(level.mean_bytes),
        f"{level.share:.1%}",
        "",
        f"{level.ms_ssim:.4f}",
        f"{level.ssim:.4f}",
        f"{level.psnr_db:.1f} dB",
    ]
