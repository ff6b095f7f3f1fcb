"""`dl2 bench-io`: what is training waiting for, and what should change?"""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dl2cli.cli.options import JsonOption, help_text
from dl2cli.cli.output import SCHEMA_VERSION, Output, jsonable
from dl2cli.errors import Interrupted, ThresholdMissed, UsageError

if TYPE_CHECKING:
    from dl2cli.bench.config import BenchConfig
    from dl2cli.bench.result import BenchResult
    from dl2cli.bench.run import BenchProgress

_HELP = """\
Find the bottleneck of loading a dataset: storage, decoding or compute, and say what to change.

DATASET is a PCR dataset or an ImageFolder; of one with splits, train. It is only ever read. Loader
and training step run on data that costs nothing, on cached data and on data from storage; the
differences are the prep stall and the fetch stall. --throttle makes storage really slow, so that a
slow disk or a network share can be tried on a fast one.

[bold]Compute[/bold] is the real training step of --arch (by default small_cnn on a CPU, resnet50 on
a GPU), or, with --compute-rate, a sleep in the place of an accelerator that is elsewhere.

[bold]Predictions[/bold] of other storage, cores, caches, accelerators and fidelities come from the
measured rates, and are compared with throttled runs; their error is shown.

Example: [bold]dl2 bench-io out/train --compute-rate 2500 --throttle 20MB/s[/bold]

Example: [bold]dl2 bench-io out/train --what-if "storage=50MB/s cores=8"[/bold]

Example: [bold]dl2 bench-io out/train --compare pcr:10 pcr:5[/bold]
"""


def register(app: typer.Typer) -> None:
    """Add `dl2 bench-io` to the program."""
    app.command("bench-io", help=help_text(_HELP))(bench_io)


def bench_io(
    dataset: Annotated[
        Path | None, typer.Argument(help="The images; --compare of two datasets needs none.")
    ] = None,
    loader: Annotated[
        list[str] | None,
        typer.Option(
            "--loader", "-l", metavar="LIST", show_default="what fits the data",
            help="Loaders to measure, the first is the subject: commas or repetition.",
        ),
    ] = None,
    scans: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIST", show_default="1,2, half and all",
            help="Fidelities of a PCR dataset; the verdict is about the largest.",
        ),
    ] = None,
    workers: Annotated[
        list[str] | None,
        typer.Option(
            "--workers", "-w", metavar="LIST", show_default="1 and all cores",
            help="Threads or processes that decode; the verdict is about the largest.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", "-b", min=1, help="Images a step.",
            show_default="64; 16 for a model on a CPU",
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=8, help="Side of the images that are computed.")] = 224,
    arch: Annotated[
        str | None,
        typer.Option("--arch", "-a", help="Model.", show_default="small_cnn; resnet50 on a GPU"),
    ] = None,
    compute_rate: Annotated[
        str | None,
        typer.Option(metavar="IMG/S", help="Images/s of an accelerator that is elsewhere."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda.", show_default="a GPU if there is one")
    ] = None,
    amp: Annotated[bool, typer.Option("--amp", help="Mixed precision.")] = False,
    throttle: Annotated[
        str | None,
        typer.Option(
            metavar="LIMITS", help="Read no faster than this, for real: 100MB/s,latency=10ms.",
            show_default=False,
        ),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SETTINGS", show_default=False,
            help="Predict this, too: storage=, latency=, cores=, cache=, accelerator=; repeatable.",
        ),
    ] = None,
    checks: Annotated[
        int, typer.Option(min=0, max=8, help="Throttled runs that check the predictions.")
    ] = 4,
    repeat: Annotated[int, typer.Option(min=1, help="How often each run is measured.")] = 3,
    seconds: Annotated[float, typer.Option(help="About how long a run may last.")] = 3.0,
    storage: Annotated[bool, typer.Option(help="Measure the files alone, too.")] = True,
    sample: Annotated[
        int,
        typer.Option(
            min=0, max=10_000,
            help="Convert so many images in a temporary folder, to predict other formats.",
        ),
    ] = 200,
    seed: Annotated[int, typer.Option(help="Of order and crops.")] = 0,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B", show_default=False,
            help="Only the ratio of two loaders or datasets, run in turn; :K sets a fidelity.",
        ),
    ] = None,
    require_au: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT", min=0, max=100, show_default=False,
            help="Exit with 5 if accelerator utilisation is lower.",
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the runs as CSV.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the predictions as .png or .svg.")
    ] = None,
    save_log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what --json prints, for dl2 report.")
    ] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Find the bottleneck (the help text is `_HELP`)."""
    from dl2cli.bench.config import BenchConfig, ComputeConfig
    from dl2cli.bench.model.scenario import quantity

    if dataset is None and compare is None:
        raise UsageError("Name a dataset: dl2 bench-io DATASET.")
    rate = quantity(compute_rate, "img/s") if compute_rate is not None else None
    if rate is not None and (arch is not None or device is not None or amp):
        raise UsageError("--compute-rate stands for a model: leave out --arch, --device and --amp.")
    config = BenchConfig(
        data=dataset if dataset is not None else Path(),
        loaders=_words(loader),
        scans=_numbers(scans, "--scans"),
        workers=_numbers(workers, "--workers"),
        batch_size=batch_size or 0,
        image_size=size,
        compute=ComputeConfig(arch, rate, device, amp),
        throttle=throttle,
        repeat=repeat,
        run_s=seconds,
        storage=storage,
        sample_images=sample,
        checks=checks,
        scenarios=tuple(what_if or ()),
        seed=seed,
    )
    output = Output(json_mode=json)
    if compare is not None:
        if csv or plot or save_log or what_if or require_au is not None:
            raise UsageError("--compare gives a ratio alone: on the screen, or with --json.")
        if dataset is None:
            _check_datasets(compare)
        _compare(config, compare, output, with_step=rate is not None or arch is not None)
        return
    files = _Files(csv, plot, save_log)
    files.check()
    result = _bench(config, output, files)
    if require_au is not None:
        _require(result, require_au)


def _check_datasets(names: tuple[str, str]) -> None:
    """Refuse a loader where no dataset is named. Raises UsageError."""
    from dl2cli.loaders.registry import LOADERS

    for name in (text.partition(":")[0] for text in names):
        if name in LOADERS:
            raise UsageError(
                f"{name} is a loader: name the dataset that it is to read, as in "
                f"dl2 bench-io DATASET --compare {' '.join(names)}. (A folder is ./{name}.)"
            )


def _words(values: list[str] | None) -> tuple[str, ...]:
    words = [word.strip() for value in values or () for word in value.split(",")]
    return tuple(dict.fromkeys(word for word in words if word))


def _numbers(values: list[str] | None, option: str) -> tuple[int, ...]:
    words = _words(values)
    for word in words:
        if not re.fullmatch(r"[1-9][0-9]{0,5}", word):
            raise UsageError(f"{option} takes whole numbers, as in 1,2,5; {word!r} is none.")
    return tuple(int(word) for word in words)


class _Files:
    """What is written beside the screen."""

    def __init__(self, csv: Path | None, plot: Path | None, log: Path | None) -> None:
        self.csv, self.plot, self.log = csv, plot, log

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
    from dl2cli.cli.bench_screen import render

    try:
        with _progress(output) as tell:
            result = bench(config, tell)
    except BenchInterrupted as interrupted:
        output.result(interrupted.result, *render(interrupted.result, output.out.width))
        files.write(interrupted.result)
        raise
    # Shown first: a disk that is full must not cost what took minutes to measure.
    output.result(result, *render(result, output.out.width))
    files.write(result)
    return result


def _require(result: BenchResult, percent: float) -> None:
    au = result.verdict.au if result.verdict is not None else 0.0
    if 100 * au < percent:
        raise ThresholdMissed(
            f"accelerator utilisation is {100 * au:.1f} %, {percent:g} % were asked for."
        )


def _compare(
    config: BenchConfig, names: tuple[str, str], output: Output, *, with_step: bool
) -> None:
    from dl2cli.bench.compare import compare
    from dl2cli.cli.bench_screen import render_comparison

    columns = (TextColumn("comparing"), BarColumn(bar_width=20), TimeRemainingColumn())
    try:
        with output.progress(*columns) as display:
            task = display.add_task("", total=None)

            def tell(done: int, total: int) -> None:
                display.update(task, completed=done, total=total)

            result = compare(config, names, with_step=with_step, on_round=tell)
    except KeyboardInterrupt:
        raise Interrupted("Interrupted before anything was compared.") from None
    output.result(result, *render_comparison(result))
    if not result.complete:
        raise Interrupted("Interrupted: the ratio is of the rounds until then.")


@contextmanager
def _progress(output: Output) -> Iterator[Callable[[BenchProgress], None]]:
    """Show what is running, and how long all of it will take, on stderr."""
    columns: tuple[Any, ...] = (
        BarColumn(bar_width=16),  # leaves room for the ^C that a terminal prints
        TimeElapsedColumn(),
        TextColumn("of about"),
        TextColumn("{task.fields[total_text]}"),
        TextColumn("{task.description}"),
    )
    with output.progress(*columns) as display:
        task = display.add_task("starting", total=None, total_text="…")

        def tell(state: BenchProgress) -> None:
            elapsed = display.tasks[task].elapsed or 0.0
            # The plan's seconds, stretched by how much longer the part that is done took.
            pace = max(elapsed / state.done_s, 1.0) if state.done_s > 5 else 1.0
            left = (state.total_s - state.done_s) * pace
            minutes, rest = divmod(round(elapsed + left), 60)
            display.update(
                task, completed=state.done_s, total=state.total_s, description=state.doing,
                total_text=f"{minutes}:{rest:02d}",
            )  # fmt: skip

        yield tell
