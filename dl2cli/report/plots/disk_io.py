"""Plots of disk I/O and page cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dl2cli.drawing import INK
from dl2cli.report.io_stats import DiskStats
from dl2cli.report.metrics import mean
from dl2cli.report.model import DiskSample, DiskTrace
from dl2cli.report.plots import palette
from dl2cli.report.plots.canvas import Canvas, Plot, Tip, brief, chunks, slug

MIB, GIB = 2**20, 2**30
MAX_POINTS = 600
MAX_BARS = 16
MAX_TRACES = 8


def disk_plots(disks: Sequence[DiskStats], traces: Sequence[DiskTrace]) -> Iterator[Plot]:
    """Yield, for all runs, disk reads stacked with the page cache, and each trace over time."""
    known = [d for d in disks if d.read_epoch_bytes is not None and d.page_cache_bytes is not None]
    for suffix, part in chunks(known, MAX_BARS):
        title = f"Disk reads and page cache{suffix}"

        def draw(canvas: Canvas, part: Sequence[DiskStats] = part) -> None:
            _draw_cache(canvas, part)

        yield Plot(slug(title), title, 1.7 + 0.4 * len(part), draw)
    names = {disk.file: disk.name for disk in disks}
    for trace in traces[:MAX_TRACES]:
        readable = trace.clock is not None and any(s.read_bytes for s in trace.samples)
        if readable and trace.file in names:
            name = names[trace.file]

            def draw_trace(canvas: Canvas, trace: DiskTrace = trace) -> None:
                _draw_trace(canvas, trace)

            yield Plot(slug("disk-over-time", name), f"Disk over time: {name}", 3.6, draw_trace)


def _draw_cache(canvas: Canvas, disks: Sequence[DiskStats]) -> None:
    axes = canvas.figure.subplots()
    for y, disk in enumerate(disks):
        cache = (disk.page_cache_bytes or 0) / GIB
        read = (disk.read_epoch_bytes or 0.0) / GIB
        first = (disk.read_first_epoch_bytes or 0.0) / GIB
        once = y == 0
        axes.barh(y, cache, 0.6, color=palette.COMPUTE, edgecolor=INK, linewidth=0.5,
                  label="page cache" if once else None)  # fmt: skip
        axes.barh(y, read, 0.6, cache, color=palette.FETCH, edgecolor=INK, linewidth=0.5,
                  label="read from disk in a later epoch" if once else None)  # fmt: skip
        axes.plot([first, first], [y - 0.42, y + 0.42], color=palette.RED, linewidth=2,
                  label="data size (read in the first epoch)" if once else None)  # fmt: skip
        axes.annotate(f"{cache:.1f} + {read:.1f} GiB", (max(cache + read, first), y), (4, 0),
                      textcoords="offset points", va="center", fontsize=8)  # fmt: skip
        canvas.tips.append(Tip(axes, cache / 2, y, f"{disk.name}: page cache {cache:.2f} GiB"))
        canvas.tips.append(
            Tip(axes, cache + read, y, f"{disk.name}: an epoch reads {read:.2f} GiB")
        )
        canvas.tips.append(Tip(axes, first, y - 0.4, f"{disk.name}: first epoch {first:.2f} GiB"))
    axes.set_yticks(range(len(disks)), [brief(disk.name) for disk in disks])
    axes.set_ylim(len(disks) - 0.5, -0.5)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.25)
    axes.set_xlabel("GiB")
    axes.grid(axis="x")
    canvas.figure.legend(loc="outside lower center", ncols=2)


def _draw_trace(canvas: Canvas, trace: DiskTrace) -> None:
    above, below = canvas.figure.subplots(2, 1, sharex=True)
    start = trace.samples[0].clock_s or 0.0
    width = -(-len(trace.samples) // MAX_POINTS)
    bins = [trace.samples[i : i + width] for i in range(0, len(trace.samples), width)]
    minutes = [((part[-1].clock_s or 0.0) - start) / 60 for part in bins]
    speeds = [_speed(part) for part in bins]
    waits = [mean(s.iowait_pct for s in part) or 0.0 for part in bins]
    above.plot(minutes, speeds, color=palette.RAW_COLOUR, linewidth=1)
    above.fill_between(minutes, speeds, color=palette.RAW_COLOUR, alpha=0.25)
    above.set_ylabel("disk reads (MiB/s)")
    below.plot(minutes, waits, color=palette.RED, linewidth=1)
    below.set_ylabel("iowait (% of CPU)")
    below.set_xlabel(f"minutes (means of {width} samples)")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.grid()
    canvas.tips += [
        Tip(above, x, y, f"{x:.1f} min: {y:.1f} MiB/s")
        for x, y in zip(minutes, speeds, strict=True)
    ]
    canvas.tips += [
        Tip(below, x, y, f"{x:.1f} min: iowait {y:.2f} %")
        for x, y in zip(minutes, waits, strict=True)
    ]


def _speed(part: Sequence[DiskSample]) -> float:
    seconds = sum(sample.interval_s or 0.0 for sample in part)
    return sum(sample.read_bytes or 0.0 for sample in part) / MIB / seconds if seconds else 0.0
