"""The tables of speed: throughput a run, throughput a group, disk I/O, codecs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dl2cli.report.compare import rate_of, speedup
from dl2cli.report.entries import Entry, compared
from dl2cli.report.io_stats import DiskStats
from dl2cli.report.metrics import mean, sample_std, standard_error
from dl2cli.report.model import BenchIoRun, CodecRun, Kind
from dl2cli.report.tables.overview import training_field
from dl2cli.report.tables.table import Cell, Field, Style, Table, build, num, text


def _seconds(key: str, title: str, rank: int, about: str = "") -> Field[Entry]:
    return num(
        key,
        title,
        lambda e: getattr(e.timing, key),
        unit="s",
        style=Style.DURATION,
        rank=rank,
        about=about,
    )


def _epoch(key: str, title: str, rank: int, about: str = "") -> Field[Entry]:
    return num(key, title, lambda e: getattr(e.timing, key), unit="s", rank=rank, about=about)


def _rate(key: str, title: str, rank: int, about: str) -> Field[Entry]:
    return num(key, title, lambda e: getattr(e.timing, key), unit="img/s", rank=rank, about=about)


def _share(key: str, title: str, rank: int, about: str = "") -> Field[Entry]:
    return num(
        key, title, lambda e: getattr(e.timing, key), style=Style.SHARE, rank=rank, about=about
    )


def _count(key: str, title: str, about: str = "") -> Field[Entry]:
    return num(key, title, lambda e: getattr(e.timing, key), rank=3, digits=0, about=about)


def _store_fields() -> list[Field[Entry]]:
    return [
        num("store_requests", "Requests", lambda e: e.timing.store.requests, rank=2, digits=0,
            about="to the object store, an epoch"),
        num("store_retries", "Retries", lambda e: e.timing.store.retries, rank=3, digits=0,
            about="requests made again, an epoch"),
        num("store_hedges", "Hedges", lambda e: e.timing.store.hedges, rank=3, digits=0,
            about="second requests beside slow ones, an epoch"),
        num("store_bytes", "From store", lambda e: e.timing.store.store_bytes,
            style=Style.BYTES, rank=2, about="bytes an epoch from the object store"),
        num("cache_bytes", "From cache", lambda e: e.timing.store.cache_bytes,
            style=Style.BYTES, rank=2, about="bytes an epoch from the cache before it"),
        num("store_latency_p50_s", "Latency", lambda e: e.timing.store.latency_p50_s, unit="s",
            style=Style.DURATION, rank=3, about="median of a request to the store"),
        num("store_latency_p99_s", "p99", lambda e: e.timing.store.latency_p99_s, unit="s",
            style=Style.DURATION, rank=2, about="99th percentile of a request to the store"),
    ]  # fmt: skip


def throughput(entries: Sequence[Entry], base: Mapping[str, Entry], drop_first: int = 1) -> Table:
    """How fast each run was, what it waited for, and how it compares with its baseline."""
    fields: list[Field[Entry]] = [
        text("run", "Run", lambda e: e.name, 0),
        text("variant", "Variant", lambda e: e.setup.variant, 2),
        text("storage", "Storage", lambda e: e.setup.storage, 2),
        num("workers", "Workers", lambda e: e.setup.workers, rank=2),
        _rate("rate_epoch_img_s", "Rate", 0, "(training + validated images) / mean epoch time"),
        _rate("rate_train_img_s", "Train rate", 1, "global batch / mean iteration time"),
        num(
            "speedup",
            "Speed-up",
            lambda e: speedup(e, base.get(e.name)),
            unit="x",
            digits=2,
            rank=0,
            about="rate / rate of the baseline",
        ),
        text("baseline", "Baseline", lambda e: _name(base.get(e.name)), 2),
        _share("stall_frac", "Stall", 0, "mean data / mean iteration time: a lower bound"),
        _share("stall_frac_first", "1st stall", 2, "stall in the first epoch"),
        _epoch("epoch_first_s", "1st epoch", 0),
        _epoch("epoch_mean_s", "Mean", 0, "mean of the epochs that count"),
        _epoch("epoch_std_s", "Std", 1, "sample standard deviation of the epoch times"),
        _epoch("epoch_min_s", "Min", 1),
        _epoch("epoch_max_s", "Max", 1),
        _epoch("epoch_sum_s", "Sum", 3, "total of all epochs"),
        _seconds("data_s", "Data", 2, "an iteration waits for its batch"),
        _seconds("fetch_stall_s", "Fetch", 2, "the part of Data that waits for storage"),
        _seconds("prep_stall_s", "Prep", 2, "the part of Data that waits for decode"),
        _seconds("compute_s", "Compute", 2),
        _seconds("iteration_s", "Iteration", 2),
        num(
            "bytes_per_image",
            "Bytes/image",
            lambda e: e.timing.bytes_per_image,
            style=Style.BYTES,
            rank=2,
        ),
        *_store_fields(),
        _count("images_train", "Images", "training images an epoch"),
        _count("images_val", "Validated", "validation images an epoch"),
        _rate("rate_notebook_img_s", "Notebook", 3, "as the published notebooks compute it"),
        _rate("rate_speedmean_img_s", "Speed mean", 3, "mean of logged speeds: wrong, a detector"),
        _count("steps", "T records"),
        _count("steps_last_iteration", "T last"),
        num("v_records", "V records", lambda e: training_field(e.run, "v_records"), rank=3),
        _seconds("steps_data_s", "T data", 3),
        _seconds("steps_compute_s", "T compute", 3),
        _seconds("steps_iteration_s", "T iteration", 3),
        _share("steps_stall_frac", "T stall", 3),
        _seconds("v_data_s", "V data", 3),
        _seconds("v_iteration_s", "V iteration", 3),
        text("file", "File", lambda e: e.run.source.file, 3),
    ]
    rows = [e for e in entries if e.timing.epochs_done or isinstance(e.run, BenchIoRun)]
    dropped = "first epoch" if drop_first == 1 else f"first {drop_first} epochs"
    means = f"leave out the {dropped} of each file" if drop_first else "are over all epochs"
    about = f"Means {means}; the stall is a lower bound."
    return build("throughput", "Throughput", fields, rows, about)


def _name(entry: Entry | None) -> str | None:
    return entry.name if entry else None


@dataclass(frozen=True, slots=True)
class _Group:
    key: tuple[Cell, ...]
    members: tuple[Entry, ...]

    def rate(self) -> float | None:
        """Images of all members over the time of all members, never a mean of rates."""
        timed = [
            (t.images_train + t.images_val, t.epoch_mean_s)
            for t in (entry.timing for entry in self.members)
            if t.images_train is not None and t.images_val is not None and t.epoch_mean_s
        ]
        seconds = sum(time_s for _, time_s in timed)
        return sum(images for images, _ in timed) / seconds if seconds else None


def groups(entries: Sequence[Entry], fields: Sequence[str]) -> Table:
    """What the runs of each combination of fields did together."""
    members: dict[tuple[Cell, ...], list[Entry]] = defaultdict(list)
    for entry in compared(entries):
        if rate_of(entry) is not None:
            members[tuple(_plain(entry.field(name)) for name in fields)].append(entry)
    rows = [_Group(key, tuple(found)) for key, found in members.items()]

    def epoch_times(group: _Group) -> list[float | None]:
        return [entry.timing.epoch_mean_s for entry in group.members]

    seconds = Style.DURATION
    columns: list[Field[_Group]] = [
        *(_key_field(name, index) for index, name in enumerate(fields)),
        num("runs", "Runs", lambda g: len(g.members), rank=0),
        num("rate_epoch_img_s", "Rate", _Group.rate, unit="img/s", rank=0, about="total / total"),
        num("epoch_mean_s", "Epoch", lambda g: mean(epoch_times(g)), style=seconds, unit="s",
            rank=0),
        num("epoch_std_s", "Std", lambda g: sample_std(epoch_times(g)), style=seconds, unit="s",
            about="between runs"),
        num("stall_frac", "Stall", lambda g: mean(e.timing.stall_frac for e in g.members),
            style=Style.SHARE, rank=0),
        num("mean_top1_pct", "Mean top-1", lambda g: mean(_scores(g)), unit="%", digits=2, rank=0,
            about="mean of the runs' best top-1"),
        num("error_top1_pct", "±", lambda g: standard_error(_scores(g)), unit="%", digits=2,
            rank=0, about="standard error of that mean: deviation between runs / sqrt(runs)"),
        num("best_top1_pct", "Best top-1", lambda g: max(
            (e.accuracy.best_top1_pct for e in g.members if e.accuracy.best_top1_pct is not None),
            default=None), unit="%", digits=2),
    ]  # fmt: skip
    return build("groups", f"By {', '.join(fields)}", columns, rows)


def _scores(group: _Group) -> list[float | None]:
    return [entry.accuracy.best_top1_pct for entry in group.members]


def _plain(value: object) -> Cell:
    return value if value is None or isinstance(value, int | float) else str(value)


def _key_field(name: str, index: int) -> Field[_Group]:
    return text(name, name.replace("_", " ").capitalize(), lambda g: g.key[index], 0)


def codecs(entries: Sequence[Entry]) -> Table:
    """How fast images were encoded and decoded, and to how many bits a pixel."""

    def stats(key: str, title: str, rank: int, unit: str, about: str = "") -> Field[Entry]:
        style = Style.DURATION if unit == "s" else Style.NUMBER
        return num(
            key,
            title,
            lambda e: getattr(e.codec, key),
            unit=unit,
            style=style,
            rank=rank,
            about=about,
        )

    fields: list[Field[Entry]] = [
        text("run", "Run", lambda e: e.name, 1),
        text("codec", "Codec", lambda e: e.setup.codec, 1),
        text("quality", "Quality", lambda e: e.setup.quality, 1),
        text("side", "Does", lambda e: "encode" if e.run.kind is Kind.CODEC_ENC else "decode", 0),
        text("device", "Device", lambda e: e.setup.device, 0),
        text("loader", "Method", lambda e: e.setup.loader, 2),
        text("dataset", "Data set", lambda e: e.setup.dataset, 2),
        stats("images", "Images", 2, ""),
        stats("rate_total_img_s", "Rate", 0, "img/s", "all images / total wall time"),
        stats("rate_times_img_s", "Rate of times", 1, "img/s", "images / sum of the times"),
        stats("time_per_image_s", "An image", 0, "s", "sum of the times / images"),
        text("time_key", "Times", lambda e: _codec(e).time_key, 2),
        stats("times", "Count", 2, ""),
        stats("time_sum_s", "Sum", 3, "s"),
        stats("time_mean_s", "Mean", 2, "s", "of a time: per image, or per batch"),
        stats("time_p50_s", "p50", 1, "s"),
        stats("time_p99_s", "p99", 1, "s"),
        stats("cpu_per_image_s", "CPU", 1, "s", "the processor's seconds an image"),
        num("bpp_mean", "bpp", lambda e: e.codec and e.codec.bpp_mean, digits=3, rank=0),
        num(
            "ms_ssim_mean",
            "MS-SSIM",
            lambda e: e.codec and e.codec.ms_ssim_mean,
            digits=4,
            rank=0,
            about="of a sample",
        ),
        num(
            "psnr_mean_db",
            "PSNR",
            lambda e: e.codec and e.codec.psnr_mean_db,
            unit="dB",
            digits=1,
            rank=1,
            about="of those that differ at all",
        ),
        num("total_s", "Total", lambda e: e.total_s, unit="s", style=Style.DURATION, rank=1),
        text("warnings", "Remarks", lambda e: ", ".join(n.code for n in e.run.notes)),
        text("file", "File", lambda e: e.run.source.file, 3),
    ]
    rows = [entry for entry in entries if isinstance(entry.run, CodecRun)]
    about = "`opens only`: the published decode logs time the opening of a file, not its decoding."
    return build("codecs", "Codecs", fields, rows, about)


def _codec(entry: Entry) -> CodecRun:
    assert isinstance(entry.run, CodecRun)
    return entry.run


def disk_io(stats: Sequence[DiskStats]) -> Table:
    """What the disk and the page cache did during a run."""

    def size(key: str, title: str, rank: int = 1, about: str = "") -> Field[DiskStats]:
        return num(
            key,
            title,
            lambda d: getattr(d, key),
            unit="B",
            style=Style.BYTES,
            rank=rank,
            about=about,
        )

    fields: list[Field[DiskStats]] = [
        text("run", "Run", lambda d: d.name, 0),
        text("devices", "Disk", lambda d: d.devices),
        num("samples", "Samples", lambda d: d.samples, rank=2),
        num("span_s", "Span", lambda d: d.span_s, unit="s", style=Style.DURATION),
        size("read_bytes", "Read", 0),
        size("written_bytes", "Written", 2),
        size("read_first_epoch_bytes", "1st epoch", 0, "read from disk within it"),
        size("read_epoch_bytes", "Later epoch", 0, "mean of those that count"),
        text("epochs_covered", "Epochs", lambda d: d.epochs_covered, 2, "that the trace covers"),
        size("read_mean_bytes_s", "Read/s", 1, "mean over the span"),
        size("read_max_bytes_s", "Peak/s", 1, "the best interval"),
        num("iowait_mean_pct", "iowait", lambda d: d.iowait_mean_pct, unit="%", digits=2),
        num("iowait_max_pct", "max", lambda d: d.iowait_max_pct, unit="%", digits=2, rank=2),
        size("page_cache_bytes", "Page cache", 0, "Cached, when meminfo was copied"),
        size("memory_bytes", "Memory", 2),
        text("missing", "Missing", lambda d: d.missing, 2, "why no verdict is possible"),
        text("file", "File", lambda d: d.file, 3),
    ]
    return build("disk_io", "Disk I/O and page cache", fields, stats)
