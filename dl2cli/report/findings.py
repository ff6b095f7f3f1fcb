"""Findings in words: which run is fastest, what bounds it, what compression gained and cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from dl2cli.report.compare import BOUND_BY_COMPUTE, BOUND_BY_DATA, TRAININGS, rate_of, speedup
from dl2cli.report.entries import Entry
from dl2cli.report.io_stats import DiskStats
from dl2cli.report.metrics import ratio
from dl2cli.report.model import Kind, LogNote, Severity
from dl2cli.report.tables.learning import delta_top1
from dl2cli.report.tables.table import duration, size
from dl2cli.report.tables.waits import replayed, watched_epochs

MAX_SENTENCES = 6  # of one kind
NO_READS_BYTES = 2**20  # what any machine reads beside
CACHED, NOT_CACHED = 0.05, 0.9  # reads of a later epoch / reads of the first
SAME_RATE = 1.05  # the fastest over the slowest: below it, runs are about as fast
COLD = 1.25  # the first epoch's time over the mean of the others

_KIND_WORDS = {
    Kind.TRAIN: "training",
    Kind.STAGE: "stage",
    Kind.REGIMEN: "regimen",
    Kind.STANDALONE: "loader run",
    Kind.CODEC_ENC: "encoding run",
    Kind.CODEC_DEC: "decoding run",
    Kind.BENCH: "bench-io measurement",
}


def findings(
    entries: Sequence[Entry],
    base: Mapping[str, Entry],
    disks: Sequence[DiskStats],
    notes: Sequence[LogNote],
) -> Iterator[str]:
    """Yield sentences, the most general first; `entries` hold no duplicates."""
    yield _what_is_here(entries, notes)
    for sentences in (
        _fastest(entries),
        _watched(entries),
        _bounds(entries),
        _compression(entries, base),
        _accuracies(entries),
        _cold_caches(entries),
        _unsteady(entries),
        _codecs(entries),
        _disks(disks),
    ):
        found = list(sentences)
        yield from found[:MAX_SENTENCES]
        if len(found) > MAX_SENTENCES:
            yield f"The tables have {len(found) - MAX_SENTENCES} more of this kind."


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _percent(share: float, digits: int = 0) -> str:
    return f"{share * 100:.{digits}f} %"


def _what_is_here(entries: Sequence[Entry], notes: Sequence[LogNote]) -> str:
    counts = Counter(entry.run.kind for entry in entries)
    parts = [_plural(counts[kind], word) for kind, word in _KIND_WORDS.items() if counts[kind]]
    bad = {note.file for note in notes if note.severity is Severity.ERROR}
    text = f"Compared: {', '.join(parts)}." if parts else "No run was found."
    return f"{text} {_plural(len(bad), 'file')} damaged: see the warnings." if bad else text


def _families(entries: Sequence[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Group trainings that may be compared for speed: same model, same global batch."""
    families: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.run.kind in TRAININGS and rate_of(entry) is not None:
            setup = entry.setup
            families[(setup.arch or "a model", setup.ranks)].append(entry)
    return families


def _fastest(entries: Sequence[Entry]) -> Iterator[str]:
    for (arch, gpus), members in _families(entries).items():
        bounds = [e for e in members if e.setup.dataset == "synthetic"]
        real = sorted(
            (e for e in members if e not in bounds), key=lambda e: rate_of(e) or 0.0, reverse=True
        )
        if len(real) > 1:
            best, worst = real[0], real[-1]
            times = ratio(rate_of(best), rate_of(worst)) or 1.0
            if times < SAME_RATE:
                low, high = rate_of(worst), rate_of(best)
                count = "both" if len(real) == 2 else f"all {len(real)}"
                yield (
                    f"{arch} on {gpus}: {count} runs are about as fast, "
                    f"with {low:.0f} to {high:.0f} img/s."
                )
                continue
            yield (
                f"{arch} on {gpus}: {best.name} is the fastest with {rate_of(best):.0f} img/s, "
                f"{times:.2f} times {worst.name}, the slowest ({rate_of(worst):.0f} img/s)."
            )
        if bounds and real:
            top = max(bounds, key=lambda e: rate_of(e) or 0.0)
            share = ratio(rate_of(real[0]), rate_of(top)) or 0.0
            rest = f"which no loader can beat; {real[0].name} reaches {_percent(share)} of it."
            if share > 1:
                rest = f"and {real[0].name} {_percent(share)} of it: they differ in more than "
                rest += "their data."
            yield f"{arch} on {gpus}: synthetic data gives {rate_of(top):.0f} img/s, {rest}"


def _verdict(entry: Entry) -> str | None:
    """Return what the log itself says of the last epoch of a watched loop."""
    epochs = watched_epochs(entry)
    return epochs[-1].text if epochs else None


def _watched(entries: Sequence[Entry]) -> Iterator[str]:
    """Repeat what watching found: it looked into the loader, which no other log can."""
    for entry in entries:
        epochs = watched_epochs(entry)
        if not epochs:
            continue
        said = {epoch.index: epoch for epoch in (replayed(entry), epochs[-1]) if epoch}
        for epoch in said.values():
            # Rank 0 takes its wait for a slow rank for computing.
            if epoch.text and not (epoch.straggler and epoch.bottleneck == "the model"):
                yield f"{entry.name}, epoch {epoch.index + 1}: {epoch.text}"
        late = [epoch for epoch in epochs if epoch.straggler]
        if late:
            times = "" if len(late) == 1 else f", as in {len(late)} of {len(epochs)} epochs"
            yield f"{entry.name}, epoch {late[-1].index + 1}{times}: {late[-1].straggler}"


def _bounds(entries: Sequence[Entry]) -> Iterator[str]:
    known = [
        (e.timing.stall_frac, e)
        for e in entries
        if e.timing.stall_frac is not None
        and (e.run.kind in TRAININGS or e.run.kind is Kind.BENCH)
        and e.setup.dataset != "synthetic"
        and not _verdict(e)
    ]
    bound = sorted((p for p in known if p[0] >= BOUND_BY_DATA), key=lambda p: -p[0])
    for stall, entry in bound:
        yield (
            f"{entry.name} is bound by its data path: at least {_percent(stall)} of an iteration "
            f"waits for the batch{_split(entry)}."
        )
    free = [(stall, entry) for stall, entry in known if stall < BOUND_BY_COMPUTE]
    if free:
        worst = max(stall for stall, _ in free)
        names = ", ".join(entry.name for _, entry in free[:3])
        more = f" and {len(free) - 3} more" if len(free) > 3 else ""
        yield (
            f"Bound by compute, with at most {_percent(worst, 1)} of waiting: {names}{more}. "
            "Fewer bytes cannot make them faster."
        )


def _split(entry: Entry) -> str:
    timing = entry.timing
    if timing.fetch_stall_s is None or timing.prep_stall_s is None or not timing.data_s:
        return ""
    fetch = timing.fetch_stall_s / timing.data_s
    cause = "storage" if fetch >= 0.5 else "decode"
    return f", {_percent(max(fetch, 1 - fetch))} of that for {cause}"


def _compression(entries: Sequence[Entry], base: Mapping[str, Entry]) -> Iterator[str]:
    rated = [e for e in entries if e.run.kind in (*TRAININGS, Kind.BENCH)]
    found = [(speedup(e, base.get(e.name)), e) for e in rated]
    compared = [(s, e) for s, e in found if s is not None and _differs(e, base[e.name])]
    for gain, entry in sorted(compared, key=lambda pair: -pair[0]):
        delta = delta_top1(entry, base)
        cost = ""
        if delta is not None:
            word = "gains" if delta > 0 else "costs"
            same = abs(delta) < 0.005
            cost = " at the same top-1" if same else f" and {word} {abs(delta):.2f} points of top-1"
        yield (
            f"{entry.name} ({entry.setup.variant}) runs at {gain:.2f} times the rate of "
            f"{base[entry.name].name}{cost}."
        )


def _differs(entry: Entry, other: Entry) -> bool:
    fields = ("dataset", "variant", "storage", "loader", "dataset_class", "workers")
    return any(entry.field(field) != other.field(field) for field in fields)


def _accuracies(entries: Sequence[Entry]) -> Iterator[str]:
    families: dict[tuple[str | None, str | None], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.accuracy.best_top1_pct is not None and entry.setup.dataset != "synthetic":
            families[(entry.setup.arch, entry.setup.dataset)].append(entry)
    for (arch, dataset), members in families.items():
        ranked = sorted(members, key=lambda e: -(e.accuracy.best_top1_pct or 0.0))
        best, acc = ranked[0], ranked[0].accuracy
        tied = [e for e in ranked if _same_top1(e, best)]
        if len(tied) > 1:
            names = ", ".join(e.name for e in tied[:5])
            more = f" and {len(tied) - 5} more runs" if len(tied) > 5 else ""
            yield (
                f"{arch} on {dataset}: {names}{more} have the same best top-1, "
                f"{acc.best_top1_pct:.2f} %."
            )
            continue
        time = f", after {duration(best.total_s)} in all" if best.total_s is not None else ""
        yield (
            f"{arch} on {dataset}: {best.name} has the best top-1, {acc.best_top1_pct:.2f} % in "
            f"epoch {acc.best_top1_epoch}{time}."
        )


def _same_top1(entry: Entry, other: Entry) -> bool:
    return (
        abs((entry.accuracy.best_top1_pct or 0.0) - (other.accuracy.best_top1_pct or 0.0)) < 0.005
    )


def _cold_caches(entries: Sequence[Entry]) -> Iterator[str]:
    cold = [
        (times, entry)
        for entry in entries
        if (times := ratio(entry.timing.epoch_first_s, entry.timing.epoch_mean_s)) is not None
        and times > COLD
        and entry.setup.dataset != "synthetic"
    ]
    cold.sort(key=lambda pair: -pair[0])
    if cold:
        names = ", ".join(f"{entry.name} {times:.1f} times" for times, entry in cold[:5])
        more = f" and {len(cold) - 5} more runs" if len(cold) > 5 else ""
        yield (
            "First epochs take longer than the mean epoch (cold caches, or warming up): "
            f"{names}{more}."
        )


def _unsteady(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        timing = entry.timing
        spread = ratio(timing.epoch_max_s, timing.epoch_min_s)
        if spread is not None and spread > 1.5 and timing.epoch_std_s is not None:
            yield (
                f"{entry.name}: epoch times vary {spread:.1f} times (std "
                f"{duration(timing.epoch_std_s)}), so its mean says little."
            )


def _codecs(entries: Sequence[Entry]) -> Iterator[str]:
    for kind, verb in ((Kind.CODEC_ENC, "encodes"), (Kind.CODEC_DEC, "decodes")):
        for device in ("cpu", "cuda"):
            rated = sorted(
                (
                    (rate, e)
                    for e in entries
                    if e.run.kind is kind and e.setup.device == device
                    if (rate := e.codec_rate_img_s) is not None
                ),
                key=lambda pair: -pair[0],
            )
            if len(rated) > 1:
                (fast, first), (slow, last) = rated[0], rated[-1]
                yield (
                    f"On {device}, {first.setup.variant} {verb} fastest ({fast:.1f} img/s), "
                    f"{last.setup.variant} slowest ({slow:.2f} img/s)."
                )


def _disks(disks: Sequence[DiskStats]) -> Iterator[str]:
    for disk in disks:
        if disk.missing:
            yield (
                f"{disk.name}: {disk.missing}, so nothing is said about disk reads and page cache."
            )
            continue
        first, later = disk.read_first_epoch_bytes, disk.read_epoch_bytes
        if first is None or later is None:
            continue
        if max(first, later) < NO_READS_BYTES:
            yield (
                f"{disk.name} reads {size(max(first, later))} an epoch from {disk.devices}: its "
                "data were in the page cache before, or lie on another device."
            )
            continue
        share = ratio(later, first)
        verdict = "the page cache holds a part of the data"
        if share is not None and share < CACHED:
            verdict = "the data fit the page cache"
        elif share is None or share > NOT_CACHED:
            verdict = "the page cache is too small"
        yield (
            f"{disk.name} reads {size(first)} from {disk.devices} in its first epoch and "
            f"{size(later)} in a later one: {verdict}."
        )
