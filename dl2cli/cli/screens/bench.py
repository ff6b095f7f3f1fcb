"""The result of `dl2 bench-io` on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dl2cli.cli.framework.output import printable
from dl2cli.cli.framework.shared import facts_table, size
from dl2cli.cli.screens.bench_chart import Line, chart
from dl2cli.dataset.location import DatasetKind

if TYPE_CHECKING:
    from dl2cli.bench.compare import LoaderComparison
    from dl2cli.bench.diagnosis.recommendations import Recommendation
    from dl2cli.bench.model.what_if import WhatIf
    from dl2cli.bench.probes.loader import LoadResult
    from dl2cli.bench.result import BenchResult
    from dl2cli.bench.statistics import Spread
    from dl2cli.bench.storage.report import StorageReport
    from dl2cli.bench.storage.requests import StoreReading

_STYLE: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD, "pad_edge": False}
_BOUNDS = {"storage": "storage", "prep": "decoding", "compute": "compute"}


def render(result: BenchResult, width: int) -> list[RenderableType]:
    """Return what is shown, in order, for a terminal of so many columns."""
    parts: list[RenderableType] = [_overview(result)]
    if result.storage is not None and result.storage.results:
        parts.append(_storage(result.storage))
    if result.store:
        parts.append(_store(result.store))
    if result.loading:
        parts.append(_loading(result.loading))
    if result.runs:
        parts.append(_runs(result))
    if result.what_if is not None:
        parts += _what_if(result.what_if, width)
    if result.verdict is not None:
        parts.append(Text(f"\n{result.verdict.sentence}\n", style="bold"))
    if result.recommendations:
        parts.extend(_recommendations(result.recommendations))
    elif result.verdict is not None:
        parts.append(Text("Nothing in the data path would gain 5 % or more."))
    parts += [Text(f"• {printable(note)}", style="dim") for note in result.notes]
    return parts


def _table(title: str, *columns: str, left: int = 1) -> Table:
    """Return a table whose first `left` columns hold words, the others numbers."""
    table = Table(title=title, padding=(0, 1, 0, 0), **_STYLE)
    for index, column in enumerate(columns):
        is_word = index < left
        table.add_column(
            column, justify="left" if is_word else "right", overflow="fold", no_wrap=not is_word
        )
    return table


def _rate(spread: Spread) -> str:
    """Return a median with its spread: "812 ±4%", half of what the runs differ by."""
    return _rate_of(spread, 1.0)


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{1000 * seconds:.3g}" if seconds else "0"


def _bytes(count: float) -> str:
    return size(count) if count else "0"


def _bandwidth(bytes_s: float) -> str:
    return "memory" if math.isinf(bytes_s) else f"{size(bytes_s)}/s"


def _overview(result: BenchResult) -> Table:
    table = facts_table(printable(str(result.data)))
    table.add_row("images", f"{result.images:,}, {result.image_size} pixels a side")
    machine = result.machine
    table.add_row(
        "machine",
        f"{machine.cores} cores, {size(machine.memory_bytes)} of memory"
        + (f", {machine.gpu}" if machine.gpu else ""),
    )
    if result.compute is not None:
        compute = result.compute
        what = "a sleep in the place of an accelerator"
        if not compute.emulated:
            what = f"{compute.arch} on the {compute.device.upper()}"
        rate = _rate(compute.rate_img_s)
        table.add_row("compute", f"{what}: {rate} images/s, batches of {compute.batch_size}")
    table.add_row("storage", _where(result))
    counters = result.counters
    if counters is not None:
        device = counters.device_read_bytes_s
        disk = "" if device is None else f", {counters.device} read {_bandwidth(device)}"
        table.add_row(
            "meanwhile",
            f"this program used {counters.process_cpu_pct / 100:.1f} cores, all programs "
            f"{counters.machine_cpu_pct / 100 * machine.cores:.1f}{disk}",
        )
    times = "once each" if result.repeat == 1 else f"{result.repeat} times each"
    times = times if result.complete else "until it was interrupted"
    table.add_row("measured", f"{times}, {result.wall_s:.0f} s in all")
    return table


def _where(result: BenchResult) -> str:
    storage = result.storage
    place = f"{storage.file_system} on {storage.device}" if storage and storage.device else "local"
    if result.store:
        place = "an object store or web server"
    return f"{place}, throttled to {result.throttle}" if result.throttle else place


def _store(readings: tuple[StoreReading, ...]) -> Table:
    """Show a line for each fidelity: what an epoch asks for, and how it comes."""
    columns = ["GETs", "bytes", "an image", "MB/s", "images/s", "p50 ms", "p99 ms"]
    prices = any(each.price is not None for each in readings)
    table = _table("An epoch from the store", "k", *columns, *(["price"] if prices else []))
    for each in readings:
        price = [] if each.price is None else [f"{each.price:,.4g}"]
        table.add_row(
            str(each.scans),
            f"{each.requests:,}",
            _bytes(each.bytes_received),
            _bytes(each.bytes_per_image),
            f"{each.rate_bytes_s / 1e6:.1f}",
            f"{each.rate_img_s:.0f}",
            _ms(each.latency_p50_s),
            _ms(each.latency_p99_s),
            *price,
        )
    return table


def _storage(report: StorageReport) -> Table:
    """Show a line for each fidelity and order: cold, direct and warm beside each other."""
    accesses = tuple(dict.fromkeys(result.access for result in report.results))
    first = accesses[0]
    title = f"The files alone, read as fast as possible; images/s and latency are {first}"
    rates = (f"{access} MB/s" for access in accesses)
    columns = (*rates, "images/s", "ms", "p99 ms", "cached")
    table = _table(title, "k" if report.kind is DatasetKind.PCR else "", "order", *columns, left=2)
    rows = {(result.scans, result.order): result for result in report.results[::-1]}
    for scans, order in reversed(rows):
        found = {r.access: r for r in report.results if (r.scans, r.order) == (scans, order)}
        if first not in found:
            continue
        cold = found[first]
        share = cold.verdict.cache_share
        spreads = (found[a].rate_bytes_s if a in found else None for a in accesses)
        table.add_row(
            "files" if scans is None else str(scans),
            str(order),
            *("–" if spread is None else _rate_of(spread, 1e-6) for spread in spreads),
            f"{cold.rate_img_s.median:,.0f}",
            _ms(cold.latency_s[0] if cold.latency_s else None),
            _ms(cold.latency_s[2] if cold.latency_s else None),
            "?" if share is None else f"{share:.0%}",
            style="yellow" if cold.served_from_cache else None,
        )
    return table


def _rate_of(spread: Spread, unit: float) -> str:
    if len(spread.runs) == 1:
        return f"{spread.median * unit:,.0f}"
    mark = "!" if spread.noisy else ""
    return f"{spread.median * unit:,.0f} ±{spread.relative / 2:.0%}{mark}"


def _loading(results: Sequence[LoadResult]) -> Table:
    columns = ("workers", "images/s", "bytes", "fetch", "decode", "CPU", "slowest batch")
    table = _table(
        "Loaders alone, from the page cache; ms an image, or a batch", "loader", *columns
    )
    for result in results:
        table.add_row(
            _loader(result.variant.loader, result.variant.scans),
            str(result.variant.workers),
            _rate(result.rate_img_s),
            _bytes(result.bytes_per_image),
            _ms(result.fetch_s),
            _ms(result.decode_s),
            _ms(result.cpu_s),
            f"{1000 * result.wait_s[-1]:,.0f}",
        )
    return table


def _loader(name: str, scans: int | None) -> str:
    return name if scans is None else f"{name} k={scans}"


def _runs(result: BenchResult) -> Table:
    workers = result.runs[0].workers
    plural = "s" if workers > 1 else ""
    columns = ("images/s", "compute", "prep stall", "fetch stall", "AU", "bound by")
    table = _table(
        f"Loader, {workers} worker{plural}, and training step; ms an image", "data", *columns
    )
    for run in result.runs:
        condition = "cached" if run.condition == "warm" else run.condition
        if run.condition == "cold" and run.served == "page cache":
            condition = "not cold: cached"
        name = f"{_loader(run.loader, run.scans)} {condition}"
        table.add_row(
            run.loader if run.condition == run.loader else name,
            _rate(run.rate),
            _ms(run.compute_s),
            _ms(run.prep_stall_s),
            _ms(run.fetch_stall_s),
            "–" if run.au is None else f"{run.au:.0%}",
            _BOUNDS.get(run.bound or "", "–"),
        )
    return table


def _recommendations(found: Sequence[Recommendation]) -> list[Text]:
    """Return lines; a command keeps to one of its own, however long, so that it can be copied."""
    lines = [Text("What to change, by predicted gain", style="italic")]
    for each in found:
        gain = f"x {each.gain:.2f}, {each.rate_img_s:,.0f} images/s: "
        text = Text(gain, style="bold").append(printable(each.change), style="not bold")
        lines.append(text.append(f" ({each.basis})", style="not bold dim"))
        if each.command is not None:
            command = f"  $ {printable(each.command)}"
            lines.append(Text(command, style="cyan", no_wrap=True, overflow="ignore"))
    return lines


def _what_if(what_if: WhatIf, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = [_predictions(what_if), _crossovers(what_if)]
    shown = [curve for curve, cost in zip(what_if.curves, what_if.costs, strict=True)
             if cost.measured]  # fmt: skip
    points = [_short(b) for b in shown[0].bandwidth_bytes_s]
    lines = [Line(_scans(curve.scans), curve.rate_img_s) for curve in shown]
    parts.append(Text("\nWhat if storage had this bandwidth? (predicted)", style="italic"))
    parts.append(chart(lines, points, min(width, 100), "MB/s"))
    if what_if.checks:
        parts.append(_checks(what_if))
    return parts


def _scans(scans: int | None) -> str:
    return "files" if scans is None else f"k={scans}"


def _short(bytes_s: float) -> str:
    return f"{bytes_s / 1e6:.3g}"


def _predictions(what_if: WhatIf) -> Table:
    measured = [i for i, cost in enumerate(what_if.costs) if cost.measured]
    names = (_scans(what_if.scans[i]) for i in measured)
    table = _table("What if? images/s, predicted", "situation", *names)
    for prediction in what_if.predictions:
        values = (f"{prediction.rate_img_s[i]:,.0f}" for i in measured)
        table.add_row(printable(prediction.scenario.name), *values)
    return table


def _crossovers(what_if: WhatIf) -> Table:
    columns: tuple[str, ...] = ("bytes", "storage bounds below", "beats all scans below")
    title = "Where fewer scans begin to pay"
    if what_if.scans == (None,):
        title, columns = "Where storage begins to bound", columns[:2]
    table = _table(title, "", *columns)
    for crossover, cost in zip(what_if.crossovers, what_if.costs, strict=True):
        pays = crossover.pays_below_bytes_s
        text = "any speed" if crossover.pays == "always" else "–"
        if pays is not None:
            text = f"{size(pays)}/s"
        table.add_row(
            _scans(crossover.scans),
            _bytes(cost.bytes_per_image),
            f"{size(crossover.fetch_bound_below_bytes_s)}/s",
            *([text] if len(columns) == 3 else []),
            style=None if cost.measured else "dim",
        )
    return table


def _checks(what_if: WhatIf) -> Table:
    columns = ("predicted", "measured", "error")
    table = _table("Predictions against throttled runs, images/s", "run", *columns)
    for check in what_if.checks:
        table.add_row(
            f"{_scans(check.scans)}, {check.throttle}",
            f"{check.predicted_img_s:,.0f}",
            _rate(check.measured_img_s),
            f"{check.error:.1%}",
        )
    table.caption = f"median error {what_if.median_error or 0:.1%}"
    return table


def render_comparison(result: LoaderComparison) -> list[RenderableType]:
    """Return a comparison as it is shown."""
    where = "with the training step" if result.with_step else "loading alone"
    limits = result.a.variant.throttle
    how = f"throttled to {limits}" if limits else "from the page cache"
    table = _table(f"In alternation, {where}, {how}", "", "images/s", "bytes", "CPU ms", left=1)
    for mark, each in (("A", result.a), ("B", result.b)):
        name = f"{mark}: {each.variant.name}, {each.variant.data}"
        table.add_row(
            printable(name), _rate(each.rate_img_s), _bytes(each.bytes_per_image), _ms(each.cpu_s)
        )
    ratio = result.ratio
    sentence = f"A / B = {ratio.median:.2f} (from {ratio.low:.2f} to {ratio.high:.2f} over "
    sentence += f"{len(ratio.runs)} round{'s' if len(ratio.runs) > 1 else ''})"
    if ratio.noisy:
        sentence += "; the machine is noisy"
    return [table, Text(sentence + ".", style="bold")]
