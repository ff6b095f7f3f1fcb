"""`dl2 report`: run logs become tables, plots and one HTML page."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, flag, option
from dl2cli.cli.framework.output import Output, writing_stdout
from dl2cli.cli.framework.shared import JSON, TRAIN
from dl2cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from dl2cli.report.config import ReportConfig
    from dl2cli.report.read.discover import Finder
    from dl2cli.report.report import Report


_TEXT = """
The logs of dl2 train and dl2 bench-io and all published logs of the (DL)2 program are found under
the folders by their content: trainings, loader runs, codecs, regimens, iostat and meminfo.

Exit code 0: done, also after Ctrl-C in --watch. 3: done, but a file is damaged, cut off or
unreadable; what could be read is shown, with a status and a warning. A log without a summary (of a
training that is still running) is not damage.
"""


def _table_names() -> tuple[str, ...]:
    from dl2cli.report.report import TABLE_NAMES

    return TABLE_NAMES


class _Selection(Options):
    """What is compared."""

    panel = "What is compared"

    select: list[str] | None = option(
        "Show only runs whose name matches, or FIELD=GLOB such as arch=resnet50. Repeatable: "
        "patterns for one field are alternatives.",
        metavar="GLOB",
    )
    baseline: str = option(
        "Compare runs with a variant (raw) or a storage (hdd), all else equal, or with the runs "
        "whose name matches a glob.",
        default="raw",
        metavar="NAME",
    )
    group_by: list[str] | None = option(
        "Add a table that joins runs by these fields, as in storage,workers. Repeatable.",
        metavar="FIELD",
    )
    sort: str = option(
        "Sort tables by a column of the CSV; -COLUMN sorts in descending order.",
        default="",
        metavar="COLUMN",
    )


class _Compared(Options):
    """How it is computed."""

    panel = "How it is computed"

    drop_first: int = option(
        "Leave the first N epochs of each log out of means: caches are cold then.", default=1
    )
    images_per_epoch: list[str] | None = option(
        "Say how many images an epoch has where logs do not tell; PATTERN is a run or a dataset. "
        "Repeatable.",
        metavar="[PATTERN=]TRAIN[+VAL]",
    )
    target: list[float] | None = option(
        "Show the time to this top-1 accuracy. Repeatable.", metavar="PERCENT"
    )
    budget: list[float] | None = option(
        "Show the best accuracy within this time. Repeatable.", metavar="HOURS"
    )
    epoch_time: list[str] | None = option(
        "Take an epoch to last this long, or as long as the mean of another run, in times to an "
        "accuracy and budgets; by default, each run's own clock counts. Repeatable, the first "
        "match counts.",
        metavar="[PATTERN=]SECONDS|RUN",
    )


class _Written(Options):
    """What is written."""

    panel = "What is written"

    format: Literal["table", "csv", "json", "markdown", "latex"] = option(
        "Write the tables to stdout in this format.", "--format", "-f", default="table"
    )
    json: bool = JSON
    table: list[str] | None = option("Show only this table. Repeatable.", choices=_table_names)
    plots: Path | None = option("Write the plots into this folder.", metavar="DIR")
    plot_format: Literal["svg", "png", "pdf"] | None = option(
        "Draw plots in this format.", shown="svg"
    )
    html: Path | None = option(
        "Write everything as one page without external resources.", metavar="FILE"
    )
    watch: bool = flag("Follow the logs and write again whenever they change, until Ctrl-C.")
    interval: float | None = option(
        "With --watch, look at the logs this often.", metavar="SECONDS", least=0.2, shown="2"
    )


class ReportOptions(_Selection, _Compared, _Written):
    """The options of `dl2 report`."""

    logdir: list[Path] = argument("LOGDIR", "Folders (or files) with run logs.")


def report(options: ReportOptions) -> None:
    """Turn the options into a configuration, and write the report where they say."""
    tables = options.table or []
    needs = {
        "--table budget": ("budget" in tables, options.budget, "--budget HOURS"),
        "--table groups": ("groups" in tables, options.group_by, "--group-by FIELD"),
        "--plot-format": (options.plot_format is not None, options.plots, "--plots DIR"),
        "--interval": (options.interval is not None, options.watch, "--watch"),
    }
    for name, (is_given, other, needed) in needs.items():
        if is_given and not other:
            raise UsageError(f"{name} does nothing without {needed}: give both or neither.")
    if options.json and options.format not in ("table", "json"):
        raise UsageError(f"--json and --format {options.format}: choose one.")
    from dl2cli.report.read.discover import Finder

    config = _config(options)
    writer = _Writer(options)
    writer.check()
    written = [path for path in (options.html, options.plots) if path is not None]
    finder = Finder(options.logdir, skip=written)
    if options.watch:
        _watch(finder, config, writer, options.interval or 2.0)
        return
    result = writer.load(finder, config)
    writer.write(result)
    if not result.entries and not result.disks and not result.qualities:
        raise DataError(
            f"No run log was found under {', '.join(str(d) for d in options.logdir)}"
            f"{' that matches --select' if options.select else ''}."
        )
    if result.damaged:
        files = sorted({note.file for note in result.notes if note.severity == "error"})
        count = "1 file" if len(files) == 1 else f"{len(files)} files"
        raise DataError(f"{count} cannot be read in full (see the warnings), first {files[0]}.")


def _config(options: ReportOptions) -> ReportConfig:
    from dl2cli.report.config import EpochImages, EpochTime, ReportConfig, Selection

    fields = (name.strip() for text in options.group_by or () for name in text.split(","))
    return ReportConfig(
        drop_first=options.drop_first,
        baseline=options.baseline,
        select=tuple(Selection.parse(text) for text in options.select or ()),
        group_by=tuple(dict.fromkeys(fields)),
        sort=options.sort,
        tables=tuple(options.table or ()),
        images=tuple(EpochImages.parse(text) for text in options.images_per_epoch or ()),
        targets_pct=tuple(options.target or ()),
        budgets_h=tuple(options.budget or ()),
        epoch_times=tuple(EpochTime.parse(text) for text in options.epoch_time or ()),
    )


class _Writer:
    """Writes a report where the options say."""

    def __init__(self, options: ReportOptions) -> None:
        self.format = "json" if options.json else options.format
        self.names = options.table or []
        self.plots = options.plots
        self.plot_format = options.plot_format or "svg"
        self.html = options.html
        self.output = Output(json_mode=self.format == "json")
        self.refresh_s: float | None = None

    def check(self) -> None:
        """Refuse what cannot be written before anything is read. Raises UsageError."""
        from dl2cli.output_file import check_output_file
        from dl2cli.report.plots.figures import check_folder

        if self.html is not None:
            check_output_file(self.html, option="--html")
        if self.plots is not None:
            check_folder(self.plots)

    def load(self, finder: Finder, config: ReportConfig) -> Report:
        """Read the logs, with a bar on a terminal."""
        from dl2cli.report.report import build_report

        with self.output.progress() as progress:
            task = progress.add_task("Reading logs", total=None)

            def show(file: str, index: int, count: int) -> None:
                progress.update(task, completed=index, total=count)

            corpus = finder.load(show)
        return build_report(corpus, config)

    def write(self, result: Report) -> None:
        """Write plots and page, then stdout, also where those cannot be written."""
        # The logs' records stay: collecting garbage after each plot need not look at them again.
        gc.freeze()
        try:
            self._write_files(result)
        finally:
            gc.unfreeze()
            self._write_tables(result)

    def _write_files(self, result: Report) -> None:
        if self.plots is not None:
            from dl2cli.report.plots.figures import write_plots

            written = write_plots(result, self.plots, self.plot_format)
            self.output.message(f"{len(written)} plots written to {self.plots}.")
        if self.html is not None:
            from dl2cli.report.page.html import write_html

            write_html(result, self.html, refresh_s=self.refresh_s)
            self.output.message(f"Page written to {self.html}.")

    def _write_tables(self, result: Report) -> None:
        from dl2cli.report.tables import render

        tables = [t for t in result.tables if not self.names or t.name in self.names]
        for name in self.names:
            if result.table(name) is None:
                self.output.message(f"Nothing to show in the table {name}.")
        match self.format:
            case "json":
                self.output.result(
                    {
                        "tables": {t.name: t.records() for t in tables},
                        "findings": result.findings,
                        "files_read": result.corpus.files_read,
                        "files_ignored": result.corpus.files_ignored,
                    }
                )
            case "csv":
                self.output.write(render.to_csv(tables))
            case "markdown":
                self.output.write(render.to_markdown(tables))
            case "latex":
                self.output.write(render.to_latex(tables))
            case _:
                from dl2cli.cli.screens.report import print_report, print_summary

                with writing_stdout():
                    if self.html is not None and not self.names:
                        print_summary(self.output.out, result, str(self.html))
                    else:
                        print_report(self.output.out, result, tables, findings=not self.names)


def _watch(finder: Finder, config: ReportConfig, writer: _Writer, interval: float) -> None:
    from dl2cli.report.read.watch import changes

    writer.refresh_s = interval
    try:
        for _ in changes(finder, interval):
            if writer.output.out.is_terminal and writer.format == "table":
                writer.output.out.clear()
            result = writer.load(finder, config)
            writer.write(result)
            writer.output.message("Watching; Ctrl-C ends.")
    except KeyboardInterrupt:
        writer.output.message("Stopped watching.")


COMMAND = Command(
    name="report",
    options=ReportOptions,
    run=report,
    about="Compare runs: tables, plots and one HTML page from run logs.",
    text=_TEXT,
    examples=("logs/ --baseline raw --html report.html",),
    group=TRAIN,
)
