"""`dl2 bench-io`: what is training waiting for, and what should change?"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, flag, no, option
from dl2cli.cli.framework.output import SCHEMA_VERSION, Output, jsonable
from dl2cli.cli.framework.shared import (
    CODEC,
    EXIF_ORIENTATION,
    JSON,
    SEED,
    TRAIN,
    arch_names,
    loader_names,
)
from dl2cli.errors import Interrupted, ThresholdMissed, UsageError

if TYPE_CHECKING:
    from dl2cli.bench.config import BenchConfig
    from dl2cli.bench.result import BenchResult

_TEXT = """
DATASET is a PCR dataset or an ImageFolder; of a folder with splits, train is measured. It is only
read, never changed. The loader and the training step run on synthetic data, on cached data and on
data from storage; the differences are the prep stall and the fetch stall. --throttle slows
reading down for real, so that you can try a slow disk or a network share on a fast one.

Compute is the real training step of --arch, or with --compute-rate a pause as long as the step of
an accelerator that this machine does not have.

Other storage, cores, caches, accelerators and fidelities are predicted from the measured rates. The
predictions are checked against throttled runs, and their error is shown.
"""


class _Data(Options):
    """What is loaded."""

    panel = "Data"

    loader: tuple[str, ...] = option(
        "Measure these loaders, and find the bottleneck of the first. Name a loader of your own as "
        "package.module:factory: a function that returns an iterable of batches.",
        "--loader",
        "-l",
        metavar="LIST",
        default=(),
        shown="what fits the data",
        completes=loader_names,
    )
    scans: tuple[int, ...] = option(
        "Measure a PCR dataset at these fidelities, and find the bottleneck at the largest.",
        metavar="LIST",
        default=(),
        shown="1,2, half and all",
        least=1,
    )
    workers: tuple[int, ...] = option(
        "Decode with this many threads or processes, and find the bottleneck with the most.",
        "--workers",
        "-w",
        metavar="LIST",
        default=(),
        shown="1 and all cores",
        least=1,
        most=999_999,
    )
    batch_size: int | None = option(
        "Load this many images per step.",
        "--batch-size",
        "-b",
        least=1,
        shown="64; 16 for a model on a CPU",
    )
    throttle: str | None = option(
        "Read no faster than this, for real, as in 100MB/s,latency=10ms.", metavar="LIMITS"
    )
    codec: Literal["native", "libjpeg"] = CODEC
    exif_orientation: Literal["ignore", "apply"] = EXIF_ORIENTATION
    seed: int = SEED


class _Compute(Options):
    """What is trained."""

    panel = "Compute"

    arch: str | None = option(
        "Train this model.",
        "--arch",
        "-a",
        shown="small_cnn; resnet50 on a GPU",
        completes=arch_names,
    )
    size: int = option("Training image size in pixels.", default=224, least=8)
    compute_rate: str | None = option(
        "Stand in for an accelerator that trains this many images/s, instead of --arch.",
        metavar="IMG/S",
    )
    device: Literal["cpu", "cuda"] | None = option(
        "Train on this device.", shown="a GPU if there is one"
    )
    amp: bool = flag("Use mixed precision.")


class _Method(Options):
    """How it is measured."""

    panel = "Measurement"

    seconds: float = option("Let a run last about this long.", default=3.0, metavar="SECONDS")
    repeat: int = option("Measure each run this many times.", default=3, least=1)
    storage: bool = no("Do not measure reading the files alone.")
    sample: int = option(
        "Convert this many images in a temporary folder, to predict other formats.",
        default=200,
        least=0,
        most=10_000,
    )
    compare: tuple[str, str] | None = option(
        "Measure only the ratio of two loaders or datasets, run in turn; :K sets a fidelity.",
        metavar="A B",
    )
    decode: tuple[str, ...] = option(
        "Measure only how fast one thread decodes --sample images of these datasets to pixels; "
        ":K sets a fidelity. --save-log then names a folder.",
        metavar="DATASET,...", default=(),
    )  # fmt: skip


class _Prediction(Options):
    """What is predicted from it."""

    panel = "Prediction"

    what_if: list[str] | None = option(
        'Predict this, too, as in "storage=50MB/s cores=8"; also latency=, cache= and '
        "accelerator=. Repeatable.",
        metavar="SETTINGS",
    )
    checks: int = option(
        "Check the predictions with this many throttled runs.", default=4, least=0, most=8
    )


class _Prices(Options):
    """What a store asks."""

    panel = "Prices of a store"

    price_requests: float | None = option(
        "Say what an epoch costs at this price of 1,000 GET requests.", least=0, metavar="PRICE"
    )
    price_gb: float | None = option(
        "Say what an epoch costs at this price of a gigabyte that leaves the store.",
        least=0, metavar="PRICE",
    )  # fmt: skip


class _Exports(Options):
    """What is written."""

    panel = "Output"

    require_au: float | None = option(
        "Exit with code 5 if accelerator utilisation is lower. It counts decoding as waiting, "
        "unlike MLPerf Storage's.",
        metavar="PERCENT",
        least=0,
        most=100,
    )
    csv: Path | None = option("Write the runs as CSV.", metavar="FILE")
    plot: Path | None = option("Draw the predictions as .png or .svg.", metavar="FILE")
    save_log: Path | None = option("Write the result as JSON, for dl2 report.", metavar="FILE")
    json: bool = JSON


class BenchOptions(_Data, _Compute, _Method, _Prediction, _Prices, _Exports):
    """The options of `dl2 bench-io`."""

    dataset: Path | None = argument(
        "DATASET",
        "The images to load, also by URL; --compare of two datasets and --decode need none.",
        url=True,
    )


def bench_io(options: BenchOptions) -> None:
    """Measure loading and training, find the bottleneck, and predict what would change it."""
    from dl2cli.bench.config import BenchConfig, ComputeConfig
    from dl2cli.bench.model.scenario import quantity

    dataset, compare = options.dataset, options.compare
    if options.decode:
        from dl2cli.cli.commands.bench_decode import bench_decode

        bench_decode(options)
        return
    if dataset is None and compare is None:
        raise UsageError("Name a dataset: dl2 bench-io DATASET.")
    rate = None
    if options.compute_rate is not None:
        rate = quantity(options.compute_rate, "img/s")
        if options.arch is not None or options.device is not None or options.amp:
            raise UsageError(
                "--compute-rate takes the place of a model: leave out --arch, --device and --amp."
            )
    config = BenchConfig(
        data=dataset if dataset is not None else Path(),
        loaders=options.loader,
        scans=options.scans,
        workers=options.workers,
        batch_size=options.batch_size or 0,
        image_size=options.size,
        compute=ComputeConfig(options.arch, rate, options.device, options.amp),
        throttle=options.throttle,
        repeat=options.repeat,
        run_s=options.seconds,
        storage=options.storage,
        sample_images=options.sample,
        checks=options.checks,
        scenarios=tuple(options.what_if or ()),
        seed=options.seed,
        codec=options.codec,
        exif_orientation=options.exif_orientation,
        price_requests=options.price_requests,
        price_gb=options.price_gb,
    )
    output = Output(json_mode=options.json)
    files = _Files(options.csv, options.plot, options.save_log)
    if compare is not None:
        if files.any or options.what_if or options.require_au is not None:
            raise UsageError(
                "--compare gives only a ratio, on the screen or with --json: leave out --csv, "
                "--plot, --save-log, --what-if and --require-au."
            )
        if dataset is None:
            _check_datasets(compare)
        with_step = rate is not None or options.arch is not None
        _compare(config, compare, output, with_step=with_step)
        return
    files.check()
    result = _bench(config, output, files)
    if options.require_au is not None:
        _require(result, options.require_au)


COMMAND = Command(
    name="bench-io",
    options=BenchOptions,
    run=bench_io,
    about="Find the bottleneck of loading a dataset: storage, decoding or compute, and say what to "
    "change.",
    text=_TEXT,
    examples=(
        "out/train --compute-rate 2500 --throttle 20MB/s",
        'out/train --what-if "storage=50MB/s cores=8"',
        "out/train --compare pcr:10 pcr:5",
        "photos/ --loader mypackage.data:make_loader",
        "--decode photos,variants/jpeg-10,variants/webp-10,out:5",
    ),
    group=TRAIN,
)


def _check_datasets(names: tuple[str, str]) -> None:
    """Refuse a loader where no dataset is named. Raises UsageError."""
    from dl2cli.loaders.registry import LOADERS

    for name in (text.partition(":")[0] for text in names):
        if name in LOADERS:
            raise UsageError(
                f"{name} is a loader: name the dataset that it is to read, as in "
                f"dl2 bench-io DATASET --compare {' '.join(names)}. (A folder is ./{name}.)"
            )


class _Files:
    """What is written beside the screen."""

    def __init__(self, csv: Path | None, plot: Path | None, log: Path | None) -> None:
        self.csv, self.plot, self.log = csv, plot, log

    @property
    def any(self) -> bool:
        """Whether one was asked for."""
        return any(path is not None for path in (self.csv, self.plot, self.log))

    def check(self) -> None:
        """Refuse what cannot be written before minutes are spent on it. Raises UsageError."""
        from dl2cli.bench.export import check_plot

        for path in (self.csv, self.plot, self.log):
            if path is not None and not path.absolute().parent.is_dir():
                raise UsageError(f"{path}: there is no folder {path.absolute().parent}.")
            if path is not None and path.is_dir():
                raise UsageError(f"{path} is a folder: name the file to write.")
        if self.plot is not None:
            check_plot(self.plot)

    def write(self, result: BenchResult) -> None:
        """Write them. Raises StorageError."""
        from dl2cli.bench.export import draw_curves, to_csv, write_text

        if self.csv is not None:
            write_text(self.csv, to_csv(result))
        if self.log is not None:
            document = {"schema_version": SCHEMA_VERSION, **jsonable(result)}
            text = json_module.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
            write_text(self.log, text + "\n")
        if self.plot is not None and result.what_if is not None:
            draw_curves(result.what_if, f"{result.dataset}: predicted", self.plot)


def _bench(config: BenchConfig, output: Output, files: _Files) -> BenchResult:
    from dl2cli.bench.result import BenchInterrupted
    from dl2cli.bench.run import bench
    from dl2cli.cli.screens.bench import render
    from dl2cli.cli.screens.bench_progress import show_progress

    interruption: BenchInterrupted | None = None
    try:
        with show_progress(output) as tell:
            result = bench(config, tell)
    except BenchInterrupted as interrupted:
        interruption, result = interrupted, interrupted.result
    try:
        files.write(result)  # before anything is printed: the reader of stdout may leave
    finally:  # a disk that is full must not cost what took minutes to measure
        output.result(result, *render(result, output.out.width))
    if interruption is not None:
        raise interruption
    return result


def _require(result: BenchResult, percent: float) -> None:
    au = result.verdict.au if result.verdict is not None else 0.0
    if 100 * au < percent:
        raise ThresholdMissed(
            f"Accelerator utilisation is {100 * au:.1f} %, less than the {percent:g} % that "
            "--require-au asks for. It counts decoding as waiting, unlike MLPerf Storage's."
        )


def _compare(
    config: BenchConfig, names: tuple[str, str], output: Output, *, with_step: bool
) -> None:
    from dl2cli.bench.compare import compare
    from dl2cli.cli.screens.bench import render_comparison
    from dl2cli.provenance import provenance

    columns = (
        TextColumn("comparing", markup=False),
        BarColumn(bar_width=20),
        TimeRemainingColumn(),
    )
    try:
        with output.progress(*columns) as display:
            task = display.add_task("", total=None)

            def tell(done: int, total: int) -> None:
                display.update(task, completed=done, total=total)

            result = compare(config, names, with_step=with_step, on_round=tell)
    except KeyboardInterrupt:
        raise Interrupted("Interrupted before anything was compared.") from None
    output.result(
        result,
        *render_comparison(result),
        provenance=lambda: provenance((config, names), data=config.data),
    )
    if not result.complete:
        raise Interrupted("Interrupted: the ratio is of the rounds until then.")
