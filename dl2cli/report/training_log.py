"""The reader of training logs: `DLLL ` + one JSON object a line, by the published logger.

Logical records are split over lines and merged by step. `dl2 train` writes the same format. Keys
that are not known are kept (parameters) or passed over (metrics). These further keys have a
meaning here; each is optional:

* P: `scans` (scan groups read), `dataset` and `variant` (names that override what the data path
  says), `storage`, `train_images`, `val_images` (images an epoch).
* E: `t.fetch_time` and `t.prep_time` (s, mean an iteration; they split `t.data_time` into waiting
  for storage and for decode), `e.bytes_read` (bytes of the epoch from storage).

The published logger opens its file anew, so a file with several P records was put together by
hand: each P starts a session, and each session is a run of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dl2cli.errors import DataError
from dl2cli.report.model import Epoch, Level, Note, Status, Step
from dl2cli.report.textfile import iter_lines
from dl2cli.report.values import (
    MAX_COUNT,
    clean_text,
    finite,
    float_of,
    int_of,
    number,
    parse_json,
    seconds_of,
)

PREFIX = b"DLLL {"
MAX_EPOCHS = 100_000
MAX_STEPS = 300_000
MAX_SESSIONS = 100
MAX_SUMMARY_KEYS = 200

# What is kept of an E record; a hostile log cannot fill memory with keys of its own.
_EPOCH_KEYS = frozenset(
    f"t.{name}"
    for name in (
        *("top1", "loss", "data_time", "fetch_time", "prep_time", "compute_time"),
        *("iteration_time", "iteration_speed"),
    )
) | {
    *("v.top1", "v.top5", "v.loss", "v.data_time", "v.iteration_time"),
    *("e.total_time", "e.bytes_read"),
}
_STEP_KEYS = ("t.data_time", "t.compute_time", "t.iteration_time")


@dataclass(slots=True)
class Session:
    """What one P record and everything up to the next one add up to (mutable while reading)."""

    params: dict[str, Any] = field(default_factory=dict)
    has_params: bool = False
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict)
    epoch_times: dict[int, tuple[float | None, float | None]] = field(default_factory=dict)
    steps: dict[tuple[int, int], list[float | None]] = field(default_factory=dict)
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
    too_many: bool = False
    backwards: bool = False
    clock_changed: bool = False
    repeated: set[int] = field(default_factory=set)
    unreadable: str | None = None


def looks_like_training_log(head: bytes) -> bool:
    """Tell from the first bytes of a file whether a record is in it."""
    return b'DLLL {"' in head or head.startswith(b"DLLL ")


def read_sessions(path: Path) -> list[Session]:
    """Read a training log; damage is counted in the sessions, never raised.

    Raises:
        DataError: the file cannot be opened.
    """
    sessions = [Session()]
    try:
        for line in iter_lines(path):
            _take_line(sessions, line)
    except DataError as error:
        if not sessions[-1].lines:
            raise
        sessions[-1].unreadable = str(error)
    return sessions


def _take_line(sessions: list[Session], line: bytes) -> None:
    session = sessions[-1]
    record = _parse_record(line)
    if record is None:
        _take_other(session, line)
        return
    session.cut = False
    if line.endswith(b"\r\n"):
        session.crlf = True
    if not line.startswith(PREFIX):
        session.other_lines += 1
    step = record.get("step")
    if step == ["P"] and (session.has_params or session.lines):
        if len(sessions) >= MAX_SESSIONS:
            session.too_many = True
            return
        session = Session()
        sessions.append(session)
    # A look at the bytes spares a look at each value of nearly every record.
    odd = b"NaN" in line or b"Infinity" in line or b"null" in line
    _take_record(session, record, step, odd)


def _take_other(session: Session, line: bytes) -> None:
    """Count a line that is no record: another program's words, or the remains of a record."""
    whole = line.endswith(b"\n")
    torn = PREFIX in line or line.startswith(b"DLLL") or (not whole and b"DLLL".startswith(line))
    session.cut = torn and not whole
    if torn:
        session.bad_lines += 1
    else:
        session.other_lines += 1


def _parse_record(line: bytes) -> dict[str, Any] | None:
    # Text may stand before a record on its line, also the torn beginning of another record.
    first = line.find(PREFIX)
    for position in (first, line.rfind(PREFIX)) if first > 0 else (first,):
        if position < 0:
            break
        try:
            record = parse_json(line[position + 5 :].decode())
        except ValueError:
            continue
        if isinstance(record, dict):
            return record
    return None


def _take_record(session: Session, record: dict[str, Any], step: object, odd: bool) -> None:
    session.lines += 1
    _take_times(session, record)
    if record.get("type") == "METADATA":
        return
    data = record.get("data")
    if not isinstance(data, dict) or not isinstance(step, list) or not step:
        session.malformed += 1
        return
    if step == ["P"]:
        session.params, session.has_params = data, True
        return
    for value in data.values() if odd else ():
        if value is None:
            session.nulls += 1
        elif isinstance(value, float) and not math.isfinite(value):
            session.nonfinite += 1
    if not _take_step(session, step, data):
        session.malformed += 1


def _take_step(session: Session, step: list[Any], data: dict[str, Any]) -> bool:
    """Merge a record into what has the same step; tells whether the step is a valid one."""
    kind, *numbers = step
    if kind == "S" and not numbers:
        room = MAX_SUMMARY_KEYS - len(session.summary)
        session.summary.update(list(data.items())[: max(0, room)])
        return True
    if len(numbers) != (1 if kind == "E" else 2) or not all(map(_is_count, numbers)):
        return False
    if kind == "T":
        _take_iteration(session, (numbers[0], numbers[1]), data)
    elif kind == "V":
        if len(session.v_steps) < MAX_STEPS:
            session.v_steps.add((numbers[0], numbers[1]))
    elif kind == "E" and numbers[0] < MAX_EPOCHS:
        _take_epoch(session, numbers[0], data)
    else:
        return False
    return True


def _is_count(value: object) -> bool:
    return value.__class__ is int and 0 <= value < MAX_COUNT


def _take_iteration(session: Session, step: tuple[int, int], data: dict[str, Any]) -> None:
    merged = session.steps.get(step)
    if merged is None:
        if len(session.steps) >= MAX_STEPS:
            session.too_many = True
            return
        merged = session.steps[step] = [None] * len(_STEP_KEYS)
    for index, key in enumerate(_STEP_KEYS):
        if key in data:
            merged[index] = number(data[key])


def _take_epoch(session: Session, epoch: int, data: dict[str, Any]) -> None:
    merged = session.epochs.setdefault(epoch, {})
    known = {key: data[key] for key in _EPOCH_KEYS & data.keys()}
    if not merged.keys().isdisjoint(known):
        session.repeated.add(epoch)
    merged.update(known)
    session.epoch_times[epoch] = (session.elapsed_s, session.last_unix_s)


def _take_times(session: Session, record: Mapping[str, Any]) -> None:
    elapsed = seconds_of(record.get("elapsedtime"))
    unix = seconds_of(record.get("timestamp"))
    if elapsed is not None:
        session.backwards |= session.elapsed_s is not None and elapsed < session.elapsed_s
        session.elapsed_s = elapsed
    if unix is None:
        return
    session.last_unix_s = unix
    step = record.get("step")
    # Dates are read once an epoch only: they are slow to parse and serve the clock's offset.
    if session.first_unix_s is not None and not (isinstance(step, list) and step[:1] == ["E"]):
        return
    local = local_seconds(record.get("datetime"))
    offset = None if local is None else round((local - unix) / 900) * 900.0
    if session.first_unix_s is None:
        session.first_unix_s = unix
        session.start = clean_text(str(record.get("datetime", "")), 40) if local else None
        session.offset_s = offset
    elif offset is not None and session.offset_s is not None and offset != session.offset_s:
        session.clock_changed = True


def local_seconds(text: object) -> float | None:
    """Read the log's local date, with or without a fraction, as seconds as if it were UTC."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text[:40])
    except ValueError:
        return None
    return (moment.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()


def status_of(session: Session) -> Status:
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


def notes_of(session: Session, file: str) -> Iterator[Note]:
    """Yield a note for each kind of damage or oddity in a session."""
    yield from _damage_notes(session, file)

    def warn(code: str, text: str) -> Note:
        return Note(Level.WARNING, code, text, file)

    if session.nonfinite:
        yield warn("nonfinite", f"Values that are NaN or infinite: {session.nonfinite}.")
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
    if session.crlf:
        yield Note(Level.INFO, "crlf", "Lines end with CR LF.", file)


def _damage_notes(session: Session, file: str) -> Iterator[Note]:
    def error(code: str, text: str) -> Note:
        return Note(Level.ERROR, code, text, file)

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
        yield Note(Level.WARNING, "no summary", text, file)
    elif session.has_params:
        yield Note(Level.WARNING, "no epoch", "There is no finished epoch.", file)


def _gap(session: Session) -> int:
    indices = session.epochs.keys()
    return max(indices) - min(indices) + 1 - len(indices) if indices else 0


def epochs_of(session: Session) -> tuple[Epoch, ...]:
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
        fetch_s=float_of(data, "t.fetch_time"),
        prep_s=float_of(data, "t.prep_time"),
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
    )


def steps_of(session: Session) -> tuple[Step, ...]:
    """Return the merged T records in the order of epoch and iteration."""
    return tuple(
        Step(epoch, iteration, data_s, compute_s, iteration_s)
        for (epoch, iteration), (data_s, compute_s, iteration_s) in sorted(session.steps.items())
    )


def summary_of(session: Session) -> dict[str, float]:
    """Return the finite numbers of the S record."""
    found = ((key, finite(float_of(session.summary, key))) for key in session.summary)
    return {clean_text(key, 60): value for key, value in found if value is not None}


def positive(params: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number above zero, or None (the logs use -1 for "not set")."""
    value = int_of(params, key)
    return value if value is not None and value > 0 else None
