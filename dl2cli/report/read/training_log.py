"""The reader of training logs: `DLLL ` + one JSON object a line, by the published logger.

Logical records are split over lines and merged by step. `dl2 train` writes the same format. Keys
that are not known are kept (parameters) or passed over (metrics). These further keys have a
meaning here; each is optional:

* P: `scans` (scan groups read: a number, or a schedule as text), `dataset` and `variant` (names
  that override what the data path says), `storage`, `train_images`, `val_images` (an epoch).
* E: `t.fetch_time` and `t.prep_time` (s, mean an iteration; they split `t.data_time` into waiting
  for storage and for decode), `e.bytes_read` (bytes of the epoch's training from storage), of data
  in an object store `e.store_*` and `e.cache_bytes` (the table in training/README.md) and, of
  a loop that was only watched, whose P has no `train_images`, `e.images` (trained on in the epoch).

Of the records of a step `["N", epoch, iteration]`, notices for people, those on a watched loop are
kept (watched_loop.py), and the others passed over.

The published logger opens its file anew, so a file with several P records was put together by
hand: each P starts a session, and each session is a run of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dl2cli.errors import DataError
from dl2cli.report.read.session import LoggedSession
from dl2cli.report.read.text_file import decoded, iter_lines
from dl2cli.report.read.values import (
    MAX_COUNT,
    finite,
    number,
    parse_json,
    seconds_of,
)
from dl2cli.report.read.watched_loop import EPOCH_KEYS as WATCHED_KEYS
from dl2cli.report.read.watched_loop import take_notice
from dl2cli.text import clean_text

PREFIX = b"DLLL {"
# In a record of iterations, of which there are many, a look at the bytes spares one at each value.
_ODD_WORDS = re.compile(rb"NaN|Infinity|null")
MAX_EPOCHS = 100_000
MAX_STEPS = 300_000
MAX_SESSIONS = 100
MAX_SUMMARY_KEYS = 200

# What is kept of an E record; a hostile log cannot fill memory with keys of its own.
_EPOCH_KEYS = frozenset(
    ["e.total_time", "e.images", "e.bytes_read", "t.fetch_time", "t.prep_time", "t.iteration_speed"]
    + [f"{side}.{name}" for side in "tv" for name in ("top1", "loss", "data_time")]
    + ["t.compute_time", "t.iteration_time", "v.top5", "v.iteration_time", *WATCHED_KEYS]
    + ["e.store_requests", "e.store_retries", "e.store_bytes", "e.cache_bytes"]
    + ["e.store_hedges", "e.store_latency_p50", "e.store_latency_p99"]
)
_STEP_KEYS = ("t.data_time", "t.compute_time", "t.iteration_time")


def looks_like_training_log(head: bytes) -> bool:
    """Tell from the first bytes of a file whether a record is in it."""
    return b'DLLL {"' in head or head.startswith(b"DLLL ")


def read_sessions(path: Path) -> list[LoggedSession]:
    """Read a training log; damage is counted in the sessions, never raised.

    Raises:
        DataError: the file cannot be opened.
    """
    sessions = [LoggedSession()]
    try:
        for line in iter_lines(path):
            _take_line(sessions, line)
    except DataError as error:
        if not sessions[-1].lines:
            raise
        sessions[-1].unreadable = str(error)
    return sessions


def _take_line(sessions: list[LoggedSession], line: bytes) -> None:
    session = sessions[-1]
    if session.closed:
        return
    record, position, legacy = _parse_record(line)
    if record is None:
        _take_other(session, line)
        return
    session.cut = False
    session.legacy_lines += legacy
    if line.endswith(b"\r\n"):
        session.crlf = True
    if position > 0:
        session.other_lines += 1
    step = record.get("step")
    if step == ["P"] and (session.has_params or session.lines):
        if len(sessions) >= MAX_SESSIONS:
            session.too_many = session.closed = True
            return
        session = LoggedSession()
        sessions.append(session)
    odd = _ODD_WORDS.search(line) is not None
    _take_record(session, record, step, odd)


def _take_other(session: LoggedSession, line: bytes) -> None:
    """Count a line that is not a record: another program's words, or the remains of a record."""
    whole = line.endswith(b"\n")
    torn = PREFIX in line or line.startswith(b"DLLL") or (not whole and b"DLLL".startswith(line))
    session.cut = torn and not whole
    if torn:
        session.bad_lines += 1
    else:
        session.other_lines += 1


def _parse_record(line: bytes) -> tuple[dict[str, Any] | None, int, bool]:
    """Return a line's record, where it begins, and whether its text is not UTF-8.

    Text may stand before it, also the torn beginning of another record.
    """
    position = line.find(PREFIX)
    while position >= 0:
        try:
            text, legacy = decoded(line[position + 5 :])
            record = parse_json(text)
        except ValueError:
            record = None
        if isinstance(record, dict):
            return record, position, legacy
        last = line.rfind(PREFIX)
        position = last if last > position else -1
    return None, -1, False


def _take_record(session: LoggedSession, record: dict[str, Any], step: object, odd: bool) -> None:
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
    if step[0] == "N":
        take_notice(session.notices, step, data)
        return
    iterations = step[0] == "T"
    if odd or not iterations:
        _count_odd_values(session, data, iterations)
    if not _take_step(session, step, data):
        session.malformed += 1


def _count_odd_values(session: LoggedSession, data: dict[str, Any], iterations: bool) -> None:
    for key, value in data.items():
        if value is None:
            session.nulls += 1
        # Those that are kept of an iteration are counted once all are read (`absurd_steps`).
        elif not (iterations and key in _STEP_KEYS) and _is_absurd(key, value):
            session.nonfinite += 1


def _is_absurd(key: str, value: object) -> bool:
    """Tell whether a value is a number that can be no measurement: NaN, 1e999, 10**40."""
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return key == "e.total_time" and seconds_of(value) is None
    return isinstance(value, int | float) and finite(number(value)) is None


def _take_step(session: LoggedSession, step: list[Any], data: dict[str, Any]) -> bool:
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


def _take_iteration(session: LoggedSession, step: tuple[int, int], data: dict[str, Any]) -> None:
    merged = session.steps.get(step)
    if merged is None:
        if len(session.steps) >= MAX_STEPS:
            session.too_many = True
            return
        merged = session.steps[step] = [None] * len(_STEP_KEYS)
    for index, key in enumerate(_STEP_KEYS):
        if key in data:
            merged[index] = number(data[key])


def _take_epoch(session: LoggedSession, epoch: int, data: dict[str, Any]) -> None:
    merged = session.epochs.setdefault(epoch, {})
    known = {key: data[key] for key in _EPOCH_KEYS & data.keys()}
    if not merged.keys().isdisjoint(known):
        session.repeated.add(epoch)
    merged.update(known)
    session.epoch_times[epoch] = (session.elapsed_s, session.last_unix_s)


def _take_times(session: LoggedSession, record: Mapping[str, Any]) -> None:
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
