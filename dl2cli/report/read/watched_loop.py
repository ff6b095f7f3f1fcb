"""What the log of a loop that `dl2cli.watch` watched has beyond that of a training.

E records have `e.first_batch`, `e.wait_p50`, `e.wait_p95`, `e.wait_p99` and `e.wait_max` (s),
`e.stall`, `e.cpu_share` and `e.workers_cpu_share` (fractions) and `e.replay_rate` (images/s). N
records of the kinds `bottleneck` and `straggler` say what it means, in `n.text` and `n.values`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dl2cli.report.model import WatchedEpoch
from dl2cli.report.read.values import MAX_COUNT, finite, float_of, int_of
from dl2cli.text import clean_text

EPOCH_KEYS: Final = (
    *("e.first_batch", "e.wait_p50", "e.wait_p95", "e.wait_p99", "e.wait_max"),
    *("e.stall", "e.cpu_share", "e.workers_cpu_share", "e.replay_rate"),
)
_MAX_NOTICES: Final = 10_000  # the last ones; a hostile log cannot fill memory with sentences
_MAX_TEXT: Final = 1_000  # characters
_BOTTLENECK, _STRAGGLER = "bottleneck", "straggler"

Notices = dict[tuple[int, str], dict[str, Any]]  # by epoch and kind: the text and the values


def take_notice(notices: Notices, step: Sequence[Any], data: Mapping[str, Any]) -> None:
    """Keep an N record's data if it is on a watched loop; a later one of an epoch counts."""
    kind, values = data.get("n.kind"), data.get("n.values")
    epoch = step[1] if len(step) == 3 else None
    if epoch.__class__ is not int or not 0 <= epoch < MAX_COUNT or not isinstance(values, dict):
        return
    if kind not in (_BOTTLENECK, _STRAGGLER):
        return
    text = data.get("n.text")
    replay = values.get("replay")
    notices.pop((epoch, kind), None)
    notices[epoch, kind] = {
        "text": clean_text(text, _MAX_TEXT) if isinstance(text, str) else None,
        "bottleneck": _text(values.get("bottleneck")),
        "rank": int_of(values, "rank"),
        "loaded_img_s": float_of(replay, "loaded_img_s") if isinstance(replay, dict) else None,
    }
    if len(notices) > _MAX_NOTICES:
        del notices[next(iter(notices))]


def watched_epochs(
    epochs: Mapping[int, Mapping[str, Any]], notices: Notices
) -> tuple[WatchedEpoch, ...]:
    """Return the epochs of a watched loop in their order; none where no loop was watched."""
    return tuple(
        _epoch(index, epochs[index], notices)
        for index in sorted(epochs)
        if "e.first_batch" in epochs[index]
    )


def _epoch(index: int, data: Mapping[str, Any], notices: Notices) -> WatchedEpoch:
    verdict = notices.get((index, _BOTTLENECK), {})
    straggler = notices.get((index, _STRAGGLER), {})

    def value(key: str) -> float | None:
        return finite(float_of(data, key))  # "unknown" is None, too

    return WatchedEpoch(
        index=index,
        first_batch_s=value("e.first_batch"),
        wait_p50_s=value("e.wait_p50"),
        wait_p95_s=value("e.wait_p95"),
        wait_p99_s=value("e.wait_p99"),
        wait_max_s=value("e.wait_max"),
        stall=value("e.stall"),
        cpu_share=value("e.cpu_share"),
        workers_cpu_share=value("e.workers_cpu_share"),
        replay_img_s=value("e.replay_rate"),
        loaded_img_s=finite(verdict.get("loaded_img_s")),
        bottleneck=verdict.get("bottleneck"),
        text=verdict.get("text"),
        straggler_rank=straggler.get("rank"),
        straggler=straggler.get("text"),
    )


def _text(value: object) -> str | None:
    return clean_text(value, 60) if isinstance(value, str) and value else None
