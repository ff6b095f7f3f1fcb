"""One session of a training log, as the reader gathers it, and the notes on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dl2cli.report.model import Epoch, LogNote, Severity, Status, Step, StoreUse
from dl2cli.report.read.values import finite, float_of, int_of, seconds_of
from dl2cli.text import clean_text


@dataclass(slots=True)
class LoggedSession:
    """What one P record and everything up to the next one add up to (mutable while reading)."""

    params: dict[str, Any] = field(default_factory=dict)
    has_params: bool = False
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict)
    epoch_times: dict[int, tuple[float | None, float | None]] = field(default_factory=dict)
    steps: dict[tuple[int, int], list[float | None]] = field(default_factory=dict)
    notices: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    v_steps: set[tuple[int, int]] = field(default_factory=set)
    summary: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    first_unix_s: float | None = None
    last_unix_s: float | None = None
    offset_s: float | None = None
    elapsed_s: float | None = None
    lines: int = 0
    nonfinite: int = 0
    nulls: int = 0
    malformed: int = 0
    other_lines: int = 0
    bad_lines: int = 0
    cut: bool = False
    crlf: bool = False
    legacy_lines: int = 0  # of another encoding than UTF-8
    too_many: bool = False
    closed: bool = False
    backwards: bool = False
    clock_changed: bool = False
    repeated: set[int] = field(default_factory=set)
    unreadable: str | None = None


def status_of(session: LoggedSession) -> Status:
    """Tell how far the log goes."""
    if not session.has_params and not session.epochs and not session.steps:
        return Status.NO_PARAMETERS
    torn = session.cut or session.unreadable is not None
    if session.summary and _has_both_halves(session.summary):
        return Status.CUT if torn else Status.COMPLETE
    if torn or session.summary or any(not _is_whole(e) for e in session.epochs.values()):
        return Status.CUT
    if not session.epochs and not session.steps:
        return Status.PARAMETERS_ONLY
    return Status.NO_SUMMARY if session.has_params else Status.NO_PARAMETERS


def _has_both_halves(data: Mapping[str, Any]) -> bool:
    ends = {key.rpartition(".")[2] for key in data}
    return "data_time" in ends and "iteration_time" in ends


def _is_whole(epoch: Mapping[str, Any]) -> bool:
    return "e.total_time" in epoch and _has_both_halves(epoch)


def notes_of(session: LoggedSession, file: str) -> Iterator[LogNote]:
    """Yield a note for each kind of damage or oddity in a session."""
    yield from _damage_notes(session, file)

    def warn(code: str, text: str) -> LogNote:
        return LogNote(Severity.WARNING, code, text, file)

    if absurd := session.nonfinite + absurd_steps(session):
        yield warn("nonfinite", f"Values that are NaN, infinite or absurd: {absurd}.")
    if session.nulls:
        yield warn("nulls", f"Values that are null: {session.nulls}.")
    if session.other_lines:
        yield warn("other text", f"Lines of other text, passed over: {session.other_lines}.")
    if session.repeated:
        epochs = ", ".join(str(e + 1) for e in sorted(session.repeated)[:5])
        yield warn("repeated epochs", f"Epochs logged twice (the later one counts): {epochs}.")
    if missing := _gap(session):
        yield warn("missing epochs", f"Epochs absent between the first and the last: {missing}.")
    if session.backwards:
        yield warn("clock", "Elapsed times run backwards.")
    if session.clock_changed:
        yield warn("clock", "The local clock changed against UTC (daylight saving?).")
    if session.legacy_lines:
        lines = session.legacy_lines
        yield warn("text", f"Lines that are not UTF-8, and were read as Windows-1252: {lines}.")
    if session.crlf:
        yield LogNote(Severity.INFO, "crlf", "Lines end with CR LF.", file)


def _damage_notes(session: LoggedSession, file: str) -> Iterator[LogNote]:
    def error(code: str, text: str) -> LogNote:
        return LogNote(Severity.ERROR, code, text, file)

    if session.unreadable:
        yield error("unreadable", session.unreadable)
    if session.cut:
        yield error("cut", "The last line is cut off.")
    if session.bad_lines > session.cut:
        yield error("damaged", f"Lines that cannot be parsed: {session.bad_lines - session.cut}.")
    if session.malformed:
        yield error("damaged", f"Records without a valid step or data: {session.malformed}.")
    if session.too_many:
        yield error("too many", "More records than any training writes: the rest is left out.")
    if not session.has_params:
        yield error("no parameters", "There is no parameter record (P).")
    partial = [e for e, data in session.epochs.items() if not _is_whole(data)]
    if partial:
        names = ", ".join(str(e + 1) for e in sorted(partial)[:5])
        yield error("incomplete epoch", f"Some records of epoch {names} are missing.")
    if session.summary:
        if not _has_both_halves(session.summary):
            yield error("cut", "The log ends inside its summary.")
    elif session.epochs:
        text = f"No summary: the run goes on, or was stopped, at epoch {max(session.epochs) + 1}."
        yield LogNote(Severity.WARNING, "no summary", text, file)
    elif session.has_params:
        yield LogNote(Severity.WARNING, "no epoch", "There is no finished epoch.", file)


def _gap(session: LoggedSession) -> int:
    indices = session.epochs.keys()
    return max(indices) - min(indices) + 1 - len(indices) if indices else 0


def epochs_of(session: LoggedSession) -> tuple[Epoch, ...]:
    """Return the merged epochs in the order of their index."""
    return tuple(
        _epoch(index, session.epochs[index], session.epoch_times[index])
        for index in sorted(session.epochs)
    )


def _epoch(index: int, data: dict[str, Any], times: tuple[float | None, float | None]) -> Epoch:
    return Epoch(
        index=index,
        end_s=times[0],
        end_unix_s=times[1],
        total_s=seconds_of(data.get("e.total_time")),
        data_s=float_of(data, "t.data_time"),
        fetch_stall_s=float_of(data, "t.fetch_time"),
        prep_stall_s=float_of(data, "t.prep_time"),
        compute_s=float_of(data, "t.compute_time"),
        iteration_s=float_of(data, "t.iteration_time"),
        iteration_speed_img_s=float_of(data, "t.iteration_speed"),
        top1_pct=float_of(data, "t.top1"),
        loss=float_of(data, "t.loss"),
        v_top1_pct=float_of(data, "v.top1"),
        v_top5_pct=float_of(data, "v.top5"),
        v_loss=float_of(data, "v.loss"),
        v_data_s=float_of(data, "v.data_time"),
        v_iteration_s=float_of(data, "v.iteration_time"),
        bytes_read=float_of(data, "e.bytes_read"),
        store=StoreUse(
            requests=float_of(data, "e.store_requests"),
            retries=float_of(data, "e.store_retries"),
            hedges=float_of(data, "e.store_hedges"),
            store_bytes=float_of(data, "e.store_bytes"),
            cache_bytes=float_of(data, "e.cache_bytes"),
            latency_p50_s=float_of(data, "e.store_latency_p50"),
            latency_p99_s=float_of(data, "e.store_latency_p99"),
        ),
    )


def steps_of(session: LoggedSession) -> tuple[Step, ...]:
    """Return the merged T records in the order of epoch and iteration."""
    return tuple(
        Step(epoch, iteration, data_s, compute_s, iteration_s)
        for (epoch, iteration), (data_s, compute_s, iteration_s) in sorted(session.steps.items())
    )


def absurd_steps(session: LoggedSession) -> int:
    """Return how many of the iterations' times are NaN, infinite or absurd."""
    values = (value for times in session.steps.values() for value in times)
    return sum(value is not None and finite(value) is None for value in values)


def summary_of(session: LoggedSession) -> dict[str, float]:
    """Return the finite numbers of the S record."""
    found = ((key, finite(float_of(session.summary, key))) for key in session.summary)
    return {clean_text(key, 60): value for key, value in found if value is not None}


def mean_images(session: LoggedSession) -> int | None:
    """Return how many images an epoch trained on, on average, where the epochs tell."""
    counts = [int_of(epoch, "e.images") for epoch in session.epochs.values()]
    known = [count for count in counts if count is not None and count > 0]
    return round(sum(known) / len(known)) if known else None


def positive(params: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number above zero, or None (the logs use -1 for "not set")."""
    value = int_of(params, key)
    return value if value is not None and value > 0 else None
