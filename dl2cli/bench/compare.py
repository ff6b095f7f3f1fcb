"""Two datasets or two loaders in alternation: how many times as fast is A as B?

Each round runs both, and which one goes first changes from round to round. What is reported is the
ratio within each round: a machine that is slow for a while is slow for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from dl2cli.bench.config import BenchConfig
from dl2cli.bench.probes.compute import make_step
from dl2cli.bench.probes.loader import Condition, LoaderProbe, LoadResult
from dl2cli.bench.probes.loader_variant import LoaderVariant
from dl2cli.bench.probes.plan import parse_loader_variant, usual_batch
from dl2cli.bench.statistics import Spread
from dl2cli.loaders.base import require_torch
from dl2cli.loaders.contents import count_images, data_files

KIND: Final = "dl2-bench-io-comparison"


@dataclass(frozen=True)
class LoaderComparison:
    """What a comparison gave.

    Attributes:
        kind: says what this document is.
        a: the first.
        b: the second.
        ratio: rate of A over rate of B in each round.
        with_step: whether a training step, or a sleep in its place, followed the loaders.
        complete: False after Ctrl-C.
    """

    kind: str
    a: LoadResult
    b: LoadResult
    ratio: Spread
    with_step: bool
    complete: bool


def compare(
    config: BenchConfig,
    names: tuple[str, str],
    *,
    with_step: bool,
    on_round: Callable[[int, int], None] | None = None,
) -> LoaderComparison:
    """Compare two loader variants, from the page cache, or throttled if `config` says so.

    Args:
        config: the options; `data` is the dataset that loaders are compared on, and is not used
            where both names are datasets.
        names: each a loader, or a dataset; both may end in ":K", a fidelity.
        with_step: follow the loaders by the training step; else they are measured alone.
        on_round: told of the rounds that are done, and of how many there are.

    Raises:
        UsageError: a name is neither a loader nor a dataset, or cannot be read so.
        DataError: damaged data.
        MissingDependency: a part is not installed.
        KeyboardInterrupt: before the first round was complete.
    """
    require_torch()
    variants = [parse_loader_variant(config, name) for name in names]
    images = min(count_images(variant.data) for variant in variants)
    config = replace(config, batch_size=config.batch_size or usual_batch(config.compute, images))
    probes = [_probe(config, variant, with_step=with_step) for variant in variants]
    condition: Condition = "throttled" if config.throttle else "warm"
    complete = True
    try:
        for probe in probes:
            probe.warm_up()
        for turn in range(config.repeat):
            for probe in probes if turn % 2 == 0 else probes[::-1]:
                probe.measure(condition)
            if on_round is not None:
                on_round(turn + 1, config.repeat)
    except KeyboardInterrupt:
        if not all(probe.has(condition) for probe in probes):
            raise
        complete = False
    a, b = (probe.result(condition) for probe in probes)
    pairs = zip(a.rate_img_s.runs, b.rate_img_s.runs, strict=False)  # the last may lack its other
    ratio = Spread.of(first / second for first, second in pairs)
    return LoaderComparison(KIND, a, b, ratio, with_step, complete)


def _probe(config: BenchConfig, variant: LoaderVariant, *, with_step: bool) -> LoaderProbe:
    here = replace(config, data=variant.data)
    files = data_files(variant.data)
    if not with_step:
        return LoaderProbe(here, variant, files)
    classes = len(variant.throttled(None).create(here, normalized=False).classes)
    step = make_step(here, classes)
    return LoaderProbe(here, variant, files, step, normalized=step.normalized)
