"""The table of watched loops: what their steps waited for, and what a perfect loader would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dl2cli.report.entries import Entry
from dl2cli.report.metrics import ratio
from dl2cli.report.model import TrainingRun, WatchedEpoch
from dl2cli.report.tables.table import Field, Style, Table, build, num, text


def watched_epochs(entry: Entry) -> tuple[WatchedEpoch, ...]:
    """Return what `dl2cli.watch` found; nothing for a run that was not watched."""
    return entry.run.watched if isinstance(entry.run, TrainingRun) else ()


def replayed(entry: Entry) -> WatchedEpoch | None:
    """Return the last epoch that was fed from kept batches, or None."""
    found = [epoch for epoch in watched_epochs(entry) if epoch.replay_img_s is not None]
    return found[-1] if found else None


def waits(entries: Sequence[Entry]) -> Table:
    """What the steps of each watched loop waited for in its last epoch, as its rank 0 saw it."""

    def last(get: Callable[[WatchedEpoch], object]) -> Callable[[Entry], object]:
        return lambda entry: get(watched_epochs(entry)[-1])

    def wait(key: str, title: str, rank: int, about: str) -> Field[Entry]:
        get = last(lambda epoch: getattr(epoch, key))
        return num(key, title, get, unit="s", style=Style.DURATION, rank=rank, about=about)

    def share(key: str, title: str, rank: int, about: str) -> Field[Entry]:
        get = last(lambda epoch: getattr(epoch, key))
        return num(key, title, get, style=Style.SHARE, rank=rank, about=about)

    def replay(entry: Entry) -> float | None:
        epoch = replayed(entry)
        return epoch.replay_img_s if epoch else None

    def gain(entry: Entry) -> float | None:
        epoch = replayed(entry)
        return ratio(epoch.replay_img_s, epoch.loaded_img_s) if epoch else None

    fields: list[Field[Entry]] = [
        text("run", "Run", lambda e: e.name, 0),
        num("epoch", "Epoch", last(lambda epoch: epoch.index + 1), rank=2),
        text("bottleneck", "Bound by", last(lambda epoch: epoch.bound), 0,
             "what the loop waits for; a rank: the others wait for it"),
        num("straggler_rank", "Slow rank", last(lambda epoch: epoch.straggler_rank), rank=3,
            digits=0, about="the rank that the others wait for"),
        share("stall", "Stall", 0, "waits / time, both from the first batch on"),
        num("replay_gain", "Perfect", gain, unit="x", digits=2, rank=0,
            about="with kept batches instead of the loader: so many times as fast"),
        wait("wait_p50_s", "p50", 0, "half of the batches were waited for no longer"),
        wait("wait_p95_s", "p95", 0, "of the waits for all batches but the first"),
        wait("wait_p99_s", "p99", 1, "of the waits for all batches but the first"),
        wait("wait_max_s", "Worst", 0, "of the waits for all batches but the first"),
        wait("first_batch_s", "1st batch", 1, "the start of the loader and its workers"),
        num("first_epoch_batch_s", "In 1st epoch", lambda e: watched_epochs(e)[0].first_batch_s,
            unit="s", style=Style.DURATION, rank=2, about="the first batch of the first epoch"),
        share("cpu_share", "CPU", 1, "of the usable cores, by this rank and its loader"),
        share("workers_cpu_share", "Loader's CPU", 1, "the part of the loader's own processes"),
        num("replay_img_s", "Perfect rate", replay, unit="img/s", rank=1,
            about="the same loop, fed from kept batches"),
        text("file", "File", lambda e: e.run.source.file, 3),
    ]  # fmt: skip
    rows = [entry for entry in entries if watched_epochs(entry)]
    about = "Of the last epoch of each loop that dl2cli.watch watched, as its rank 0 saw it."
    return replace(build("waits", "Waits of watched loops", fields, rows, about), sparse=True)
