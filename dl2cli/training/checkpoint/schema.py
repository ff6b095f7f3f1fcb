"""What a checkpoint must hold, entry by entry, so that using it meets no surprise.

A schema is a type, a predicate, or made of schemas:

    int, float, str, bool, Tensor     a value of that type (an int is a float, a bool is no int)
    None                              nothing
    (a, b)                            one or the other
    [a]                               a list (or tuple) of those
    {"x": a, Maybe("y"): b}           a dict with these entries, and perhaps others
    {str: a}                          a dict with any such keys and values
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dl2cli.stores.counters import StoreStats

MAX_COUNT = 1 << 40  # no training has more epochs, steps or images


@dataclass(frozen=True)
class Maybe:
    """A key that may be missing."""

    key: str


def count(value: object) -> bool:
    """Tell whether a value is a number of things."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def store_counts(value: object) -> bool:
    """Tell whether a value is what `StoreStats` counts."""
    length = len(StoreStats().counts)
    return isinstance(value, list | tuple) and len(value) == length and all(map(count, value))


def seed_fits(value: object) -> bool:
    """Tell whether a value can be a random seed of torch."""
    return isinstance(value, int) and -(1 << 63) <= value < 1 << 64


def checkpoint_schema() -> dict[Any, Any]:
    """Return the schema of a checkpoint. It needs torch, for its tensors."""
    from torch import Tensor

    meter = {
        "loss": float, "top1": int, "top5": int, "images": count, "batches": [count],
        "data_s": [float], "compute_s": [float], "bytes_read": count, "stages": {str: float},
        Maybe("store"): store_counts,
    }  # fmt: skip
    run_log = {
        Maybe("elapsed_s"): float,
        Maybe("epochs"): [[{str: (float, None)}]],
        Maybe("bytes"): count,
        Maybe("head"): str,
    }
    number_or_flag = (float, bool, None)
    return {
        "arch": str,
        "classes": [str],
        "model": {str: Tensor},
        "optimizer": {
            "state": {int: {str: (Tensor, *number_or_flag)}},
            "param_groups": [{"params": [int], str: (*number_or_flag, str, [float])}],
        },
        "precision": {
            Maybe("scaler"): {str: (float, Tensor)},
            Maybe("skipped_steps"): count,
        },
        "epoch": count,
        "iteration": count,
        "loader": {"epoch": count, "batch": count, str: (int, str, None)},
        "fidelity": {
            Maybe("scans"): (count, None),
            Maybe("size_px"): (count, None),
            Maybe("scaled_decode"): (bool, None),
        },
        "recorders": [{"iteration": count, Maybe("total"): meter, Maybe("window"): meter}],
        "seed": seed_fits,
        "world_size": count,
        "epochs_done": count,
        "observers": [{Maybe("RunLog"): run_log, str: {str: object}}],
        Maybe("best_top1"): (float, None),
        Maybe("best_epoch"): (count, None),
        Maybe("parameters"): {str: object},
        Maybe("options"): {str: (str, bool, [str])},
    }


def misfit(value: object, schema: Any, where: str) -> str | None:  # noqa: ANN401
    """Return what is wrong with a value, as a clause; None if it fits.

    `where` names the value: `optimizer.state`.
    """
    if isinstance(schema, tuple):
        return None if any(not misfit(value, each, where) for each in schema) else _wrong(where)
    if isinstance(schema, list):
        return _list_misfit(value, schema[0], where)
    if isinstance(schema, dict):
        return _dict_misfit(value, schema, where)
    if schema is None:
        return None if value is None else _wrong(where)
    if isinstance(schema, type):
        return None if _is(value, schema) else _wrong(where)
    return None if schema(value) else _wrong(where)


def _is(value: object, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _list_misfit(value: object, schema: Any, where: str) -> str | None:  # noqa: ANN401
    if not isinstance(value, list | tuple):
        return _wrong(where)
    if schema in (int, float, str):  # of which there may be many
        return None if all(_is(each, schema) for each in value) else _wrong(where)
    problems = (misfit(each, schema, f"{where}[{i}]") for i, each in enumerate(value))
    return next((problem for problem in problems if problem), None)


def _dict_misfit(value: object, schema: dict[Any, Any], where: str) -> str | None:
    if not isinstance(value, dict):
        return _wrong(where)
    named = {key.key if isinstance(key, Maybe) else key: each for key, each in schema.items()}
    for key in schema:
        if isinstance(key, str) and key not in value:
            return f"its entry {_name(where, key)!r} is missing"
    kinds = [key for key in schema if isinstance(key, type)]
    for key, each in value.items():
        if isinstance(key, str) and key in named:
            problem = misfit(each, named[key], _name(where, key))
        elif kinds and not _is(key, kinds[0]):
            problem = _wrong(where)
        else:
            problem = misfit(each, schema[kinds[0]], _name(where, key)) if kinds else None
        if problem:
            return problem
    return None


def _name(where: str, key: object) -> str:
    return f"{where}.{str(key)[:40]}".strip(".")


def _wrong(where: str) -> str:
    return f"its entry {where!r} has a wrong type or value"
