"""`dl2 report`: run logs become tables, plots and one HTML page."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dl2cli.cli.options import help_text
from dl2cli.cli.output import Output
from dl2cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from dl2cli.report.config import ReportConfig
    from dl2cli.report.read.discover import Finder
    from dl2cli.report.report import Report


class Format(enum.StrEnum):
    """How tables are written to stdout."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"
    LATEX = "latex"


class PlotFormat(enum.StrEnum):
    """How plots are written."""

    SVG = "svg"
    PNG = "png"
    PDF = "pdf"


_HELP = """\
Compare runs: tables, plots and one HTML page from run logs.

Finds, by content, the logs of `dl2 train` and `dl2 bench-io` and all published (DL)2 logs under the
folders: trainings, loader runs, codecs, regimens, iostat and meminfo.

Exit code 0: done, also after Ctrl-C in --watch. 3: done, but a file is damaged, cut or unreadable;
what could be read is shown, with a status and a warning. A log without a summary (a training that
goes on) is no damage.

Example: [bold]dl2 report logs/ --baseline raw --html report.html[/bold]
"""

_WHAT, _OUT, _HOW = "What is compared", "What is written", "How it is computed"


def register(app: typer.Typer) -> None:
    """Add `dl2 report` to the program."""
    app.command("report", help=help_text(_HELP))(report)


def report(
    logdir: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOGDIR", help="Folders (or files) with run logs.", show_default=False
        ),
    ],
    *,
    select: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Only runs whose name matches, or FIELD=GLOB such as "
            "arch=resnet50. Repeatable: one field's patterns are alternatives.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What runs are compared with: a variant (raw), a "
            "storage (hdd), both with all else equal, or a glob over run names.",
            rich_help_panel=_WHAT,
        ),
    ] = "raw",
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Add a table that joins runs by fields, such as storage,workers. Repeatable.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Sort tables by a column of the CSV; -COLUMN is descending.",
            rich_help_panel=_WHAT,
        ),
    ] = "",
    drop_first: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Epochs at the start of each log that means leave out (cold caches).",
            rich_help_panel=_HOW,
        ),
    ] = 1,
    images_per_epoch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PATTERN=]TRAIN[+VAL]",
            help="Images an epoch, which logs do not "
            "tell; PATTERN is a run or a data set. Repeatable.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    target: Annotated[
        list[float] | None,
        typer.Option(
            metavar="PERCENT", help="Show the time to this top-1. Repeatable.", rich_help_panel=_HOW
        ),
    ] = None,
    budget: Annotated[
        list[float] | None,
        typer.Option(
            metavar="HOURS",
            help="Show the best accuracy within this time. Repeatable.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    epoch_time: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PATTERN=]SECONDS|RUN",
            help="For times to an accuracy and budgets, "
            "an epoch lasts so long, or as long as another run's mean; else each run's own clock "
            "counts. Repeatable, the first match counts.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    format_: Annotated[
        Format,
        typer.Option("--format", "-f", help="Of the tables on stdout.", rich_help_panel=_OUT),
    ] = Format.TABLE,
    json_: Annotated[
        bool, typer.Option("--json", help="The same as --format json.", rich_help_panel=_OUT)
    ] = False,
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only these tables: overview, throughput, groups, "
            "accuracy, budget, regimens, codecs, disk_io, parameters, warnings. Repeatable.",
            rich_help_panel=_OUT,
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the plots there.", rich_help_panel=_OUT),
    ] = None,
    plot_format: Annotated[
        PlotFormat | None,
        typer.Option(help="Of the plots.", show_default="svg", rich_help_panel=_OUT),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write everything as one page without external resources.",
            rich_help_panel=_OUT,
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Follow the logs and write again whenever they change, until Ctrl-C.",
            rich_help_panel=_OUT,
        ),
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.2,
            help="How often --watch looks.",
            show_default="2",
            rich_help_panel=_OUT,
        ),
    ] = None,
) -> None:
    """Turn the options into a configuration, and write the report where they say."""
    needs = {
        "--table budget": ("budget" in (table or []), budget, "--budget HOURS"),
        "--table groups": ("groups" in (table or []), group_by, "--group-by FIELD"),
        "--plot-format": (plot_format is not None, plots, "--plots DIR"),
        "--interval": (interval is not None, watch, "--watch"),
    }
    for option, (is_given, other, name) in needs.items():
        if is_given and not other:
            raise UsageError(f"{option} does nothing without {name}: give both or neither.")
    if json_ and format_ not in (Format.TABLE, Format.JSON):
        raise UsageError(f"--json and --format {format_.value}: choose one.")
    from dl2cli.report.config import EpochImages, EpochTime, ReportConfig, Selection
    from dl2cli.report.read.discover import Finder

    config = ReportConfig(
        drop_first=drop_first,
        baseline=baseline,
        select=tuple(Selection.parse(text) for text in select or ()),
        group_by=tuple(
            dict.fromkeys(name.strip() for text in group_by or () for name in text.split(","))
        ),
        sort=sort,
        images=tuple(EpochImages.parse(text) for text in images_per_epoch or ()),
        targets_pct=tuple(target or ()),
        budgets_h=tuple(budget or ()),
        epoch_times=tuple(EpochTime.parse(text) for text in epoch_time or ()),
    )
    writer = _Writer(
        Format.JSON if json_ else format_, table or [], plots, plot_format or PlotFormat.SVG, html
    )
    finder = Finder(logdir, skip=[path for path in (html, plots) if path is not None])
    if watch:
        _watch(finder, config, writer, interval or 2.0)
        return
    result = writer.load(finder, config)
    writer.write(result)
    if not result.entries and not result.disks and not result.qualities:
        raise DataError(
            f"No run log was found under {', '.join(str(d) for d in logdir)}"
            f"{' that matches --select' if select else ''}."
        )
    if result.damaged:
        files = sorted({note.file for note in result.notes if note.severity == "error"})
        count = "1 file" if len(files) == 1 else f"{len(files)} files"
        raise DataError(f"{count} cannot be read in full (see the warnings), first {files[0]}.")


class _Writer:
    """Writes a report where the options say."""

    def __init__(
        self,
        format_: Format,
        names: list[str],
        plots: Path | None,
        plot_format: PlotFormat,
        html: Path | None,
    ) -> None:
        from dl2cli.report.report import TABLE_NAMES

        if unknown := [name for name in names if name not in TABLE_NAMES]:
            raise UsageError(
                f"--table: there is no {unknown[0]!r}; there are {', '.join(TABLE_NAMES)}."
            )
        self.format = format_
        self.names = names
        self.plots = plots
        self.plot_format = plot_format
        self.html = html
        self.output = Output(json_mode=format_ is Format.JSON)
        self.refresh_s: float | None = None

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
        """Write stdout, then plots, then the page."""
        self._write_tables(result)
        if self.plots is not None:
            from dl2cli.report.plots.figures import write_plots

            written = write_plots(result, self.plots, self.plot_format.value)
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
            case Format.JSON:
                self.output.result(
                    {
                        "tables": {t.name: t.records() for t in tables},
                        "findings": result.findings,
                        "files_read": result.corpus.files_read,
                        "files_ignored": result.corpus.files_ignored,
                    }
                )
            case Format.CSV:
                sys.stdout.write(render.to_csv(tables))
            case Format.MARKDOWN:
                sys.stdout.write(render.to_markdown(tables))
            case Format.LATEX:
                sys.stdout.write(render.to_latex(tables))
            case Format.TABLE:
                from dl2cli.cli.report_screen import print_report

                print_report(self.output.out, result, tables, findings=not self.names)
        sys.stdout.flush()


def _watch(finder: Finder, config: ReportConfig, writer: _Writer, interval: float) -> None:
    from dl2cli.report.read.watch import changes

    writer.refresh_s = interval
    try:
        for _ in changes(finder, interval):
            if writer.output.out.is_terminal and writer.format is Format.TABLE:
                writer.output.out.clear()
            result = writer.load(finder, config)
            writer.write(result)
            writer.output.message("Watching; Ctrl-C ends.")
    except KeyboardInterrupt:
        writer.output.message("Stopped watching.")
