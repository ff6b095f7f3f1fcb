"""What a thread of a data loader is doing: the stage and the line, read from its stack.

A sample of a stack says where the thread is, and the thread's own CPU clock says whether it
computes there or is blocked. Together they tell a slow disk from a slow transform.
"""

from __future__ import annotations

import linecache
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import CodeType
from typing import Any, Final

# Stages of loading, in the order of the work; these are words that the user sees.
STORAGE: Final = "storage"
DECODE: Final = "decoding"
TRANSFORM: Final = "the transform"
COLLATE: Final = "collating"
SEND: Final = "handing batches over"
STAGES: Final = (STORAGE, DECODE, TRANSFORM, COLLATE, SEND)

_TRANSFORM_NAME: Final = re.compile(r"transform|augment", re.IGNORECASE)
# A line that reads, even within a transform, waits for storage when it is blocked.
_READS: Final = re.compile(
    r"\b(open|read|read_\w+|imread|fromfile|load|recv|urlopen|get_object|download\w*|fetch\w*|"
    r"decode_file|memmap|preadv?)\b\s*\("
)
_SENDS: Final = ("put", "_send_bytes", "send_bytes", "send")
_FETCHING, _WORKER_LOOP, _WAITS, _OWN = "fetching", "worker", "waits", "own"  # kinds of frames
_STANDARD: Final = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib"))
_FETCH: Final = "torch/utils/data/_utils/fetch.py"
_COLLATE: Final = "torch/utils/data/_utils/collate.py"
_WORKER: Final = "torch/utils/data/_utils/worker.py"
_WAITING: Final = (
    "/threading.py", "/queue.py", "/selectors.py", "/asyncio/base_events.py",
    "/concurrent/futures/thread.py", "/multiprocessing/connection.py",
    "/multiprocessing/queues.py", "/multiprocessing/synchronize.py",
    "torch/utils/data/_utils/pin_memory.py", "/socketserver.py",
)  # fmt: skip

Stack = Sequence[tuple[CodeType, int]]  # code and line of each frame, the innermost first


@dataclass(frozen=True)
class Place:
    """Where a thread was found: the line of the user's that was being executed.

    Attributes:
        file: the source file.
        line: its line, from 1.
        function: the function.
        stage: COLLATE, SEND, TRANSFORM, or DECODE for everything else.
    """

    file: str
    line: int
    function: str
    stage: str

    def __str__(self) -> str:
        name = self.file.rpartition("/")[2]
        return f"{name}:{self.line} in {self.function}"


def find_place(
    stack: Stack, known: Mapping[CodeType, str], stop: CodeType | None = None
) -> Place | None:
    """Return where a thread is, or None if it only waits for work.

    Args:
        stack: of the thread; without frames it has ended.
        known: the stages of code that is the loader's own, as `stages_of_code` finds them.
        stop: the code of the function below which frames are of no interest.
    """
    if not stack:
        return None
    fetching = in_worker = False
    stage = DECODE
    own: tuple[CodeType, int] | None = None
    for code, line in stack:
        kind = _kind_of(code)
        if kind == _WORKER_LOOP or code is stop:
            in_worker = kind == _WORKER_LOOP
            break  # what lies below is the loop that started the worker, or the user's
        if kind == _FETCHING:
            fetching = True
        elif kind in (COLLATE, TRANSFORM):
            stage = kind
        stage = known.get(code, stage)
        if own is None and kind in (_OWN, TRANSFORM):
            own = code, line
    innermost = stack[0][0]
    if in_worker and not fetching:
        if innermost.co_name not in _SENDS:
            return None
        stage = SEND
    elif not fetching and _kind_of(innermost) == _WAITS:
        return None
    code, line = own or stack[0]
    return Place(code.co_filename, line, code.co_name, stage)


def is_between(stack: Stack) -> bool:
    """Tell whether a thread is found between two calls of torch's loop over the samples.

    That takes no time. Python looks up there after C code that took some, and whose caller, say a
    transform that ends with an operator, has returned since.
    """
    return bool(stack) and _kind_of(stack[0][0]) == _FETCHING


@lru_cache(maxsize=4096)
def _kind_of(code: CodeType) -> str:
    """Return what a frame of some code says of the thread that it is in."""
    file = code.co_filename
    if file.endswith(_FETCH):
        return _FETCHING
    if file.endswith(_COLLATE):
        return COLLATE
    if file.endswith(_WORKER):
        return _WORKER_LOOP
    if file.endswith(_WAITING):
        return _WAITS
    if _TRANSFORM_NAME.search(code.co_name):
        return TRANSFORM
    return _OWN if _is_own(file) else ""


def _is_own(file: str) -> bool:
    """Tell whether a file is the user's: neither Python's nor an installed package's."""
    if "site-packages" in file or "dist-packages" in file or file.startswith("<"):
        return False
    return not file.startswith(_STANDARD)


def stage_of(place: Place, *, blocked: bool) -> str:
    """Return the stage that a sample counts for.

    A thread that is blocked and neither transforms nor collates waits for storage (or for the
    network, or sleeps); one that is blocked within a transform does so if its line reads.
    """
    if not blocked or place.stage in (SEND, COLLATE):
        return place.stage
    if place.stage == TRANSFORM and not _READS.search(linecache.getline(place.file, place.line)):
        return TRANSFORM
    return STORAGE


def stages_of_code(dataset: object, collate: object = None) -> dict[CodeType, str]:
    """Return the code of a dataset's transforms (also in a Subset), and of its collating."""
    found = {code: TRANSFORM for value in _transforms(dataset, 4) for code in _codes(value, 3)}
    return found | dict.fromkeys(_codes(collate, 0), COLLATE)


def _transforms(dataset: object, depth: int) -> Iterator[object]:
    try:
        attributes = vars(dataset)
    except TypeError:
        return
    for name, value in attributes.items():
        if _TRANSFORM_NAME.search(name) and value is not None:
            yield value
        elif name in ("dataset", "datasets", "source", "pipeline") and depth:
            inner = value if isinstance(value, list | tuple) else [value]
            for each in inner[:16]:
                yield from _transforms(each, depth - 1)


def _codes(value: object, depth: int) -> Iterator[CodeType]:
    """Yield the code that runs when `value` is called, and the code of its parts."""
    if isinstance(value, partial):
        yield from _codes(value.func, depth)
        return
    if isinstance(value, list | tuple):
        for part in value[:32] if depth else ():
            yield from _codes(part, depth - 1)
        return
    function: Any = getattr(value, "__func__", value)
    if isinstance(code := getattr(function, "__code__", None), CodeType):
        yield code
        return
    kind = type(value)
    # torch's modules share one __call__, the model's among them; what is their own is forward.
    names = ("forward",) if hasattr(kind, "_wrapped_call_impl") else ("__call__", "forward")
    for name in names:
        if isinstance(code := getattr(getattr(kind, name, None), "__code__", None), CodeType):
            yield code
    if depth and isinstance(parts := getattr(value, "transforms", None), list | tuple):
        yield from _codes(parts, depth - 1)


@dataclass(frozen=True)
class Inside:
    """What was seen of the threads or processes that load.

    Attributes:
        samples: (place, whether it was blocked): how often it was found there.
        idle: how often one was found waiting for work.
    """

    samples: dict[tuple[Place, bool], int]
    idle: int

    @property
    def busy(self) -> int:
        """How often one was found at work."""
        return sum(self.samples.values())

    def stages(self) -> dict[str, float]:
        """Return each stage's share of the work, in the order of STAGES; empty without samples."""
        counts = dict.fromkeys(STAGES, 0)
        for (place, blocked), count in self.samples.items():
            counts[stage_of(place, blocked=blocked)] += count
        return {stage: count / self.busy for stage, count in counts.items() if count}

    def busiest(self, stage: str) -> tuple[Place, bool] | None:
        """Return the line at which a stage was found most often, and if it was blocked there."""
        found = [
            (count, place, blocked)
            for (place, blocked), count in self.samples.items()
            if stage_of(place, blocked=blocked) == stage
        ]
        if not found:
            return None
        _, place, blocked = max(found, key=lambda each: each[0])
        return place, blocked

    def since(self, before: Inside) -> Inside:
        """Return what was seen after an earlier moment."""
        counts = {key: n - before.samples.get(key, 0) for key, n in self.samples.items()}
        return Inside({key: n for key, n in counts.items() if n > 0}, self.idle - before.idle)


def merged(parts: Iterable[Inside]) -> Inside:
    """Return what was seen in all parts together."""
    samples: dict[tuple[Place, bool], int] = {}
    idle = 0
    for part in parts:
        idle += part.idle
        for key, count in part.samples.items():
            samples[key] = samples.get(key, 0) + count
    return Inside(samples, idle)
