"""Comparisons: a run's baseline, its clock, the time to an accuracy, the best within a budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dl2cli.dataset.naming import KNOWN_IMAGES
from dl2cli.errors import UsageError
from dl2cli.report.config import DEFAULT_BASELINE, ReportConfig
from dl2cli.report.entries import Entry, is_given
from dl2cli.report.model import BenchIoRun, Epoch, Kind, LogNote, RegimenRun, Severity, TrainingRun
from dl2cli.report.read.values import finite, is_named

# Runs are like for like when these agree; the field that the baseline names is left out.
PEER_FIELDS = (
    "kind",
    "dataset",
    "variant",
    "storage",
    "loader",
    "dataset_class",
    "cache_size_bytes",
    "arch",
    "workers",
    "global_batch",
    "mixup",
    "epochs_asked",
)
LOADER_FIELDS = ("loader", "dataset_class", "cache_size_bytes")
BOUND_BY_DATA = 0.3  # from this share of waiting on, a run is bound by its data path
BOUND_BY_COMPUTE = 0.05
# What `dl2cli.watch` calls its bottlenecks: it looks into the loader, and so knows more of them.
_WATCHED_CAUSES = {
    "the model": "compute",
    "storage": "storage",
    "decoding": "decode",
    "the transform": "transform",
    "collating": "collating",
    "handing batches over": "handing over",
}
TRAININGS = (Kind.TRAIN, Kind.STAGE, Kind.REGIMEN)


def baselines(entries: Sequence[Entry], pattern: str) -> dict[str, Entry]:
    """Find the baseline of each run, by run name.

    `pattern` is a variant (`raw`), a storage (`hdd`), or a glob over run names. For a variant or
    storage, the baseline is the first run that agrees with the run in everything else
    (PEER_FIELDS); of several, the first with the same seed. Among the runs that a glob names, the
    baseline is the comparable one that agrees with the run most. Where there is no raw run, the
    default stands for the PCR runs with the most scans.
    """
    usable = [entry for entry in entries if entry.run.duplicate_of is None]
    if pattern == DEFAULT_BASELINE:
        pattern = _default_variant(usable)
    for field in ("variant", "storage"):
        # A stage cannot be a baseline: its training began elsewhere.
        candidates = [
            entry
            for entry in usable
            if getattr(entry.setup, field) == pattern and entry.run.kind is not Kind.STAGE
        ]
        if candidates:
            return _baselines_but(field, entries, candidates)
    found: dict[str, Entry] = {}
    named = [entry for entry in usable if is_named(entry.name, pattern)]
    for entry in entries if named else ():
        if (peer := _closest(entry, named)) is not None:
            found[entry.name] = peer
    return found


def _default_variant(entries: Sequence[Entry]) -> str:
    variants = {entry.setup.variant for entry in entries if entry.setup.variant}
    scans = [int(v[4:]) for v in variants if v.startswith("pcr-") and v[4:].isdecimal()]
    if DEFAULT_BASELINE in variants or not scans:
        return DEFAULT_BASELINE
    return f"pcr-{max(scans)}"


def _baselines_but(
    field: str, entries: Sequence[Entry], candidates: Sequence[Entry]
) -> dict[str, Entry]:
    """Find for each run the first candidate that agrees with it in all but one field.

    Records are read by a loader of their own, so for them the loader may differ too.
    """
    like = [name for name in PEER_FIELDS if name != field]
    loose = [name for name in like if name not in LOADER_FIELDS]
    strict_peers: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    loose_peers: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in candidates:
        strict_peers[_key(entry, like)].append(entry)
        loose_peers[_key(entry, loose)].append(entry)
    found: dict[str, Entry] = {}
    for entry in entries:
        peers = strict_peers.get(_key(entry, like), [])
        if not peers and entry.setup.codec == "pcr":
            peers = loose_peers.get(_key(entry, loose), [])
        if peers:
            seed = entry.setup.seed
            found[entry.name] = next((p for p in peers if p.setup.seed == seed), peers[0])
    return found


def repeats(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Find for each run, by its name, itself and those that repeat it, perhaps with other seeds."""
    alike: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        alike[_key(entry, PEER_FIELDS)].append(entry)
    return {entry.name: same for same in alike.values() for entry in same}


def _key(entry: Entry, fields: Sequence[str]) -> tuple[object, ...]:
    return tuple(_normal(entry.field(field)) for field in fields)


def _normal(value: object) -> object:
    return Kind.TRAIN.value if value in (Kind.STAGE.value, Kind.REGIMEN.value) else value


def _closest(entry: Entry, named: Sequence[Entry]) -> Entry | None:
    usable = [peer for peer in named if comparable(entry, peer)]
    return max(
        usable,
        key=lambda peer: sum(entry.field(field) == peer.field(field) for field in PEER_FIELDS),
        default=None,
    )


def comparable(one: Entry, other: Entry) -> bool:
    """Tell whether two runs may be compared: kind, model and, as far as known, data are the same.

    Synthetic data stands for any. Data sets that are not known by name may be two forms of one.
    """
    if _key(one, ("kind", "arch")) != _key(other, ("kind", "arch")):
        return False
    names = {one.setup.dataset, other.setup.dataset}
    return len(names) == 1 or "synthetic" in names or names.isdisjoint(KNOWN_IMAGES)


def rate_of(entry: Entry) -> float | None:
    """Return the rate that runs are compared by: of the whole epoch, else of the iterations."""
    timing = entry.timing
    if timing.rate_epoch_img_s is not None:
        return timing.rate_epoch_img_s
    return timing.rate_train_img_s


def speedup(entry: Entry, baseline: Entry | None) -> float | None:
    """Return the run's rate over the baseline's, both by the same definition."""
    if baseline is None:
        return None
    for name in ("rate_epoch_img_s", "rate_train_img_s"):
        own, other = getattr(entry.timing, name), getattr(baseline.timing, name)
        if own is not None and other:
            return finite(own / other)
    return None


def bound_of(entry: Entry) -> str | None:
    """Tell what an iteration mostly waits for, or None where that was not measured.

    bench-io's own model counts for its measurements, and for a watched loop what watching found in
    its last epoch. Else it is what `stall_frac` says, a lower bound of the wait for data: "compute"
    below BOUND_BY_COMPUTE, from BOUND_BY_DATA on "storage", "decode", or "data" where the log does
    not split the wait, and "partly ..." between the two.
    """
    run, timing = entry.run, entry.timing
    if isinstance(run, BenchIoRun) and run.bound is not None:
        return {"prep": "decode"}.get(run.bound, run.bound)
    if timing.stall_frac is None or run.kind is Kind.STANDALONE:
        return None
    watched = run.watched[-1] if isinstance(run, TrainingRun) and run.watched else None
    if watched is not None and watched.straggler_rank is not None:
        return watched.bound
    if timing.stall_frac < BOUND_BY_COMPUTE or entry.setup.dataset == "synthetic":
        return "compute"
    cause = "data"
    if timing.fetch_stall_s is not None and timing.prep_stall_s is not None:
        cause = "storage" if timing.fetch_stall_s >= timing.prep_stall_s else "decode"
    if watched is not None:
        cause = _WATCHED_CAUSES.get(watched.bottleneck or "", cause)
        if cause == "compute":  # its batches come unevenly
            return cause
    return cause if timing.stall_frac >= BOUND_BY_DATA else f"partly {cause}"


@dataclass(frozen=True, slots=True)
class Clock:
    """When each epoch of a run ended: seconds since the start of the training.

    `source` says whose time it is: `own` (the log's elapsed time, stages of a regimen one after
    the other), the seconds an epoch that were borrowed, and from whom, or why it is unknown.
    """

    source: str
    ends: tuple[tuple[Epoch, float], ...]


def own_clock(run: TrainingRun | RegimenRun) -> Clock:
    """Return the clock of the run itself.

    A log that begins at a later epoch (a stage, a resumed training) does not know what the epochs
    before it took: its clock has no ends.
    """
    stages = run.stages if isinstance(run, RegimenRun) else (run,)
    first = next((epoch.index for stage in stages for epoch in stage.epochs), 0)
    if first > 0:
        return Clock(f"unknown before epoch {first + 1}", ())
    journal = run.stage_times_s if isinstance(run, RegimenRun) else ()
    ends: list[tuple[Epoch, float]] = []
    offset = 0.0
    for index, stage in enumerate(stages):
        ends += [(e, offset + e.end_s) for e in stage.epochs if e.end_s is not None]
        time_s = journal[index] if index < len(journal) else stage.total_s
        offset += time_s if time_s is not None else stage.total_s or 0.0
    return Clock("own", tuple(ends))


def clocks(entries: Sequence[Entry], config: ReportConfig) -> dict[str, Clock]:
    """Return the clock of each training: its own, or with the borrowed epoch time.

    Raises:
        UsageError: an epoch time is to be borrowed of a run that is not there or has none.
    """
    result: dict[str, Clock] = {}
    for entry in entries:
        run = entry.run
        if not isinstance(run, TrainingRun | RegimenRun):
            continue
        borrowed = _borrowed(entry, entries, config)
        if borrowed is None:
            result[entry.name] = own_clock(run)
            continue
        source, seconds = borrowed
        stages = run.stages if isinstance(run, RegimenRun) else (run,)
        ends = tuple((e, (e.index + 1) * seconds) for stage in stages for e in stage.epochs)
        result[entry.name] = Clock(source, ends)
    return result


def _borrowed(
    entry: Entry, entries: Sequence[Entry], config: ReportConfig
) -> tuple[str, float] | None:
    for given in config.epoch_times:
        if not is_named(entry.name, given.pattern):
            continue
        if given.seconds is not None:
            return (f"{given.seconds:g} s an epoch", given.seconds)
        named = [other for other in entries if is_named(other.name, given.run or "")]
        lender = _closest(entry, named) if named else None
        seconds = lender.timing.epoch_mean_s if lender else None
        if lender is None or seconds is None:
            if named and lender is None:
                continue
            raise UsageError(f"--epoch-time: no run with a mean epoch time matches {given.run!r}.")
        return (f"epoch time of {lender.name}", seconds)
    return None


def unused_options(entries: Sequence[Entry], config: ReportConfig) -> Iterator[LogNote]:
    """Yield a note on each option that names runs that do not exist."""

    def note(option: str, name: str, what: str) -> LogNote:
        text = f"The option {option} names {name}, but there is no such {what}."
        return LogNote(Severity.WARNING, "unused option", text, "")

    name = config.baseline
    if name != DEFAULT_BASELINE and not any(
        name in (e.setup.variant, e.setup.storage) or is_named(e.name, name) for e in entries
    ):
        yield note("--baseline", name, "variant, storage or run")
    for given in config.images:
        if not any(is_given(entry.run, given.pattern) for entry in entries):
            yield note("--images-per-epoch", given.pattern, "run or data set")
    for borrowed in config.epoch_times:
        takers = [entry for entry in entries if is_named(entry.name, borrowed.pattern)]
        if not takers:
            yield note("--epoch-time", borrowed.pattern, "run")
            continue
        lenders = [entry for entry in entries if is_named(entry.name, borrowed.run or "")]
        if borrowed.run and not any(comparable(t, other) for t in takers for other in lenders):
            text = (
                f"The option --epoch-time names {borrowed.run}, of another model or data set than "
                f"{takers[0].name}: it changes nothing."
            )
            yield LogNote(Severity.WARNING, "unused option", text, "")


def time_to(clock: Clock, target_pct: float) -> float | None:
    """Return the seconds until the first epoch with at least this validation top-1, or None."""
    for epoch, end_s in clock.ends:
        top1 = finite(epoch.v_top1_pct)
        if top1 is not None and top1 >= target_pct:
            return end_s
    return None


def best_within(clock: Clock, budget_s: float) -> tuple[Epoch, int, float] | None:
    """Return (best epoch, epochs done, its end) within a time, or None when none fits."""
    done = [(e, end) for e, end in clock.ends if end <= budget_s]
    known = [(e, end) for e, end in done if finite(e.v_top1_pct) is not None]
    if not known:
        return None
    epoch, end_s = max(known, key=lambda item: item[0].v_top1_pct or 0.0)
    return epoch, len(done), end_s
